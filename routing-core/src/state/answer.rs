//! What others ask: requests are answered at once, out of table and store, without waiting for anybody.

use super::budget::Account;
use super::compare::difference;
use super::core::{Core, View};
use super::proof::Announcement;
use crate::effect::Effect;
use crate::holders::{Place, SetName};
use crate::id::{Grid, Guid, Id, Key, Kind};
use crate::message::{
    Brief, CONTACTS_MAX, COPIES_MAX, Compare, Compared, Copy, Difference, Fetch, Fetched, Find, Found, List, Mark,
    Message, Named, Refusal, Sample, Sampled, Standing, Store, StoreResult, StoreVerdict, Stored, Want,
};
use crate::record::Record;
use crate::store::Origin;
use crate::table::Entry;
use crate::time::Ticks;
use crate::wire;
use rand_core::Rng;
use smallvec::SmallVec;
use std::sync::Arc;

/// How many strangers wait to be met at most.
const STRANGERS_MAX: usize = 16;
/// How many of them one question brings.
const STRANGERS_AT_ONCE: usize = 3;
/// The most bytes that an answer is filled with: three quarters of a frame, so that whatever else it holds fits, too.
const ANSWER_BYTES_MAX: usize = 786_432;

/// As many of these contacts as fit an answer beside `taken` bytes.
fn fitting(contacts: impl Iterator<Item = Named>, mut taken: usize) -> List<Named, CONTACTS_MAX> {
    let fits = |named: &Named| {
        taken += named.encoded_len();
        taken <= ANSWER_BYTES_MAX
    };
    contacts.take_while(fits).collect()
}

fn named(entry: &Entry) -> Named {
    Named { contact: entry.contact().clone(), is_hearsay: !entry.has_answered() }
}

/// What somebody is told of the holders of a place.
struct Told<'a> {
    /// Those who may be named; `None` if the one who asks sees the same set.
    view: Option<View<'a>>,
    /// Whether that, or what it sees already, is all that is known here.
    is_whole: bool,
    /// Whether too few of the holders may be named to find the others through them.
    is_too_little: bool,
}

impl Told<'_> {
    /// The contacts, without the one who asks.
    fn named_to(&self, asker: Grid) -> impl Iterator<Item = Named> {
        let entries = self.view.iter().flat_map(|view| view.others.iter()).map(|(entry, _)| *entry);
        entries.filter(move |entry| entry.contact().grid() != asker).map(named)
    }
}

impl Core {
    fn reply(&mut self, to: Grid, message: Message) {
        self.effect(Effect::Send(to, message));
    }

    /// The same for an answer that may be to somebody's upkeep: then it is taken from what the own far sweep may spend.
    fn reply_by_upkeep(&mut self, to: Grid, message: Message) {
        if !message.is_for_operation() {
            self.budget.answer(wire::frame_len(&message));
        }
        self.reply(to, message);
    }

    /// What of its `view` of a place this node tells `asker`, who sees the set `seen`. Only contacts that have answered
    /// are named. That the two agree may rest on hearsay: it names nobody.
    fn told<'a>(&'a self, view: View<'a>, place: &Id, groups: u16, seen: SetName, asker: Grid) -> Told<'a> {
        if view.name == seen {
            return Told { view: None, is_whole: true, is_too_little: false };
        }
        let may_be_named =
            |entry: &Entry| entry.is_available() && (entry.has_answered() || entry.contact().grid() == asker);
        let nameable = view.others.iter().filter(|(entry, _)| may_be_named(entry)).count();
        if nameable == view.others.len() {
            return Told { view: Some(view), is_whole: true, is_too_little: false };
        }
        let is_too_little = nameable < usize::from(self.config.alpha);
        let view = self.view_of(place, groups, self.scale(), may_be_named);
        Told { view: (view.name != seen).then_some(view), is_whole: false, is_too_little }
    }

    pub(super) fn on_find(&mut self, from: Grid, find: &Find) {
        let groups = find.groups.min(self.config.groups_max());
        let key = find.want.key(find.target);
        let copy = key.and_then(|key| self.held_or_homed(&key)).map(Arc::new);
        let place = key.unwrap_or(Key { kind: Kind::User, id: find.target });
        let (standing, is_whole, contacts) = if groups == 0 {
            (Standing::NotYet, false, None)
        } else {
            let view = self.view(&find.target, groups);
            let is_settled = match find.want {
                // That weighs what is said of a record.
                Want::Agreement => false,
                _ => {
                    // Who holds the place only because the set is widened has no duty to have the record: not everybody
                    // sees the set widened, so its lack means nothing.
                    let (own_place, is_settled) = self.standing_for(&place, &view);
                    let may_lack_it = own_place == Place::Widened && copy.is_none();
                    is_settled && !may_lack_it
                }
            };
            let hearsay = view.others.iter().filter(|(entry, _)| !entry.has_answered());
            let strangers: SmallVec<[_; STRANGERS_AT_ONCE]> =
                hearsay.take(STRANGERS_AT_ONCE).map(|(entry, _)| entry.contact().clone()).collect();
            let told = match find.want {
                Want::Introductions if view.name != find.set => {
                    Told { view: Some(view), is_whole: true, is_too_little: false }
                }
                _ => self.told(view, &find.target, groups, find.set, from),
            };
            let contacts = told.view.is_some().then(|| match find.want {
                Want::Agreement => Vec::new(),
                _ => told.named_to(from).collect::<Vec<_>>(),
            });
            let (is_whole, is_too_little) = (told.is_whole, told.is_too_little);
            drop(told);
            // Who is new here must know who keeps a place meanwhile.
            let absentees = if find.want == Want::Introductions { self.away_neighbours(from) } else { Vec::new() };
            let contacts =
                if absentees.is_empty() { contacts } else { Some([contacts.unwrap_or_default(), absentees].concat()) };
            let contacts = contacts.map(|contacts| fitting(contacts.into_iter(), 0));
            if is_too_little && self.doubted.len() < STRANGERS_MAX {
                strangers.iter().for_each(|stranger| self.doubt(stranger, Account::Repair));
            }
            (if is_settled { Standing::Settled } else { Standing::NotYet }, is_whole, contacts)
        };
        let is_complete = is_whole && self.table.is_complete_at(&find.target);
        let (own_scale, scale) = (self.table.own_scale(), self.table.scale());
        let found = Found { id: find.id, standing, is_complete, own_scale, scale, copy, contacts };
        self.reply_by_upkeep(from, Message::Found(found));
    }

    /// What is held under `key`. A home-server knows its own users, though it may hold none of their records.
    fn held_or_homed(&self, key: &Key) -> Option<Copy> {
        let homed = || self.homed.get(&Guid(key.id)).filter(|_| key.kind == Kind::User);
        let of_own_user = |record: &Arc<Record>| Copy { record: record.clone(), rival: None, age: Ticks(0) };
        self.store.get(key).map(|stored| stored.copy(self.now)).or_else(|| homed().map(of_own_user))
    }

    /// The neighbours that have said they are away and keep their places, without `asker`.
    fn away_neighbours(&self, asker: Grid) -> Vec<Named> {
        let entries = self.absent.keeping_place().filter_map(|grid| self.table.entry(grid));
        entries.filter(|entry| entry.is_away() && entry.contact().grid() != asker).map(named).collect()
    }

    pub(super) fn on_store(&mut self, from: Grid, store: &Store) {
        let mut results = Vec::with_capacity(store.items.len());
        let mut unseen: Vec<Named> = Vec::new();
        let mut bytes = 0;
        let claimant = self.claimant(&from).cloned();
        let is_claim = |home| claimant.as_ref().is_some_and(|claimant| claimant.is_at(home));
        let mut claimed = Vec::new();
        // Where greater records fill the answer, the rest is left unsaid: the writer hands it over again.
        for item in store.items.iter() {
            if bytes > ANSWER_BYTES_MAX / 2 {
                break;
            }
            let home = item.copy.record.home().filter(|_| item.copy.age == Ticks(0));
            let is_announced = home.is_some_and(|home| self.speaks_for(&from, home));
            // Only who writes names the set. Whatever else is given comes from somebody who found it with its holders.
            let is_written = item.set != SetName::NONE;
            let verdict = self.keep_from(&item.copy, Origin { is_announced, is_written, ..Origin::default() });
            match &verdict {
                StoreVerdict::Refused(Refusal::Invalid) if !item.copy.is_of_later_format() => self.blame(from),
                StoreVerdict::Kept | StoreVerdict::Conflict(_) => {
                    if home.is_some_and(is_claim) {
                        claimed.push(item.copy.record.key());
                    }
                    if is_written {
                        self.note_stray(&item.copy);
                    }
                }
                StoreVerdict::Newer(_) | StoreVerdict::Refused(_) => {}
            }
            let mut sees_other_set = false;
            if is_written {
                let Key { kind, id: place } = item.copy.record.key();
                let holders = self.config.holders_of(kind);
                let told = self.told(self.view(&place, holders), &place, holders, item.set, from);
                sees_other_set = told.view.is_some();
                unseen.extend(told.named_to(from));
            }
            bytes += 1 + verdict.encoded_len();
            results.push(StoreResult { verdict, sees_other_set });
        }
        unseen.sort_unstable_by_key(|named| named.contact.grid());
        unseen.dedup_by_key(|named| named.contact.grid());
        let contacts = fitting(unseen.into_iter(), bytes);
        let stored = Stored { id: store.id, results: results.into_iter().collect(), contacts };
        self.reply(from, Message::Stored(stored));
        if !claimed.is_empty() {
            self.wait_for_proof(&from, Announcement::Given(claimed));
        }
    }

    pub(super) fn on_compare(&mut self, from: Grid, compare: &Compare) {
        let range = &compare.range;
        if let Some(users) = &range.users {
            let is_claim = self.claimant(&from).is_some_and(|claimant| claimant.is_at(&users.domain));
            if !is_claim || !self.wait_for_proof(&from, Announcement::Asked(compare.clone())) {
                self.on_announced(from, compare);
            }
            return;
        }
        self.find_fellows();
        let briefs: Vec<Brief> = if range.bits == u8::MAX {
            // That is about one key, by somebody who may be no holder of it.
            [Kind::User, Kind::Claim]
                .iter()
                .filter_map(|kind| self.store.brief(&Key { kind: *kind, id: range.start }))
                .collect()
        } else {
            self.shared(from, &range.start, range.bits).collect()
        };
        let difference = difference(&briefs, range);
        if range.bits == 0 && matches!(difference, Difference::Same) {
            self.fellowship.on_agreed(&from);
        }
        self.reply(from, Message::Compared(Compared { id: compare.id, difference }));
    }

    /// What a server is told of its users, and somebody who is not proven to be that server.
    pub(super) fn on_announced(&mut self, from: Grid, compare: &Compare) {
        let Some(users) = &compare.range.users else { return };
        let difference = self.announced(from, &compare.range, users);
        self.reply(from, Message::Compared(Compared { id: compare.id, difference }));
    }

    pub(super) fn on_fetch(&mut self, from: Grid, fetch: &Fetch) {
        let mut room = self.config.bundle_bytes_max as usize;
        let mut copies = Vec::new();
        for stored in fetch.keys.iter().filter_map(|key| self.store.get(key)) {
            let copy = stored.copy(self.now);
            let length = copy.record.encoded_len() + copy.rival.as_ref().map_or(0, |rival| rival.encoded_len()) + 16;
            if length > room || copies.len() == COPIES_MAX {
                break;
            }
            room -= length;
            copies.push(copy);
        }
        self.reply(from, Message::Fetched(Fetched { id: fetch.id, copies: copies.into_iter().collect() }));
    }

    pub(super) fn on_sample(&mut self, from: Grid, sample: &Sample) {
        let offset = self.rng.next_u64();
        let part = &sample.part;
        let count = usize::from(part.count).min(CONTACTS_MAX);
        let mut known = part.known.to_vec();
        known.sort_unstable();
        let is_known = |prefix| !known.is_empty() && known.binary_search(&Mark::new(&part.start, prefix)).is_ok();
        let admit = |entry: &Entry| {
            let may_be_named = entry.failures() == 0 && (entry.has_answered() || part.with_hearsay);
            may_be_named && !is_known(entry.prefix()) && entry.contact().grid() != from
        };
        let entries = self.table.sample(&part.start, part.bits, count, offset, admit);
        let contacts = fitting(entries.into_iter().map(named), 0);
        self.reply_by_upkeep(from, Message::Sampled(Sampled { id: sample.id, contacts }));
    }
}
