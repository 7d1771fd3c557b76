//! Holders compare what they have of the keys they share, and only what differs moves.
//!
//! ```text
//!   newcomer                     fellow holder
//!      | ------ Compare(digest) ----> |
//!      | <--- Same, or a listing ---- |      (or the digests of 16 parts, if there is too much to list)
//!      | ------- Fetch(keys) -------> |      what the newcomer lacks or has differently
//!      | <------- records ----------- |
//!      | ------- Store(records) ----> |      what the fellow lacks or has in a lesser version
//! ```
//!
//! A node that is new to its range compares it with all fellow holders. Until it has done so with most of a key's
//! holders, its answers about that key are marked *not yet*. Claims it takes by the votes of its fellows: see [`claims`].

mod claims;
mod fetching;

use super::core::Core;
use super::requests::{Pending, Purpose};
use crate::contact::{Contact, Group};
use crate::effect::Notice;
use crate::holders::{Place, SetName};
use crate::id::{Grid, Id, Key, Kind};
use crate::message::{
    Brief, Compare, Compared, Copy, Difference, Fetch, Fetched, KEYS_MAX, Message, Range, Refusal, Store, StoreItem,
    StoreVerdict,
};
use crate::record::Held;
use crate::store::digest;
use crate::time::{Tick, Ticks};
use claims::ClaimVotes;
use fetching::Fetching;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// To how many holders a record is handed by who is none any more: one may be gone without anybody knowing yet.
pub(super) const HEIRS: usize = 2;

/// How often one fellow may split a range. A store of the largest size makes a few hundred listings.
const SPLITS_MAX: u32 = 1_024;

/// How long one fellow's answers may take in all.
const PATIENCE: Ticks = Ticks::minutes(1);
/// How much longer for each record that it hands over and that was lacking. 64 together are worth about as much as the answer
/// with them may take before it counts as none: so whoever gives what it lists may list as much as it likes, also over a slow
/// link that others share. Who does not is given up in time.
const PATIENCE_PER_RECORD: Ticks = Ticks(80);

/// Comparisons under way: how many answers are still awaited from whom.
#[derive(Debug, Default)]
pub(crate) struct Comparisons {
    awaited: BTreeMap<Grid, Awaited>,
    /// Whether something had to move, or somebody did not answer, since that was asked last.
    has_moved: bool,
    /// Whether somebody was lost, so that all who share his range compare at the same time.
    pub(super) is_urgent: bool,
    /// Whether fellows are given what they lack, though nobody was lost: not in the first round after joining, when somebody
    /// may not be known yet who holds it in place of the fellow.
    pub(super) gives: bool,
    /// How fellow holders vote on claims, while this node is new to its range.
    claims: ClaimVotes,
    fetching: Fetching,
    /// Whether those are asked, too, who are so far away that only claims may be held together with them.
    is_wide: bool,
}

/// What is awaited from one fellow.
#[derive(Debug, Default)]
struct Awaited {
    answers: u32,
    splits: u32,
    /// How much longer its answers have taken than what it handed over is worth.
    taken: Ticks,
    /// Up to when that is counted: where several questions are under way at once, time passes once.
    counted: Tick,
}

impl Awaited {
    /// It has answered what was asked then, and handed over so many records that were lacking. Says whether it may go on.
    /// While nothing is asked of it, since others list the same, no time passes for it.
    fn on_answer(&mut self, asked: Tick, now: Tick, gained: usize) -> bool {
        let taken = self.taken + now.since(self.counted.max(asked));
        self.taken = Ticks(taken.0.saturating_sub(gained as u64 * PATIENCE_PER_RECORD.0));
        self.counted = now;
        self.taken <= PATIENCE
    }
}

/// What came of one fetch.
#[derive(Default)]
struct Gains {
    /// What was asked for and is handed over, each once however many copies there are.
    handed_over: BTreeSet<Key>,
    /// How much of that was lacking.
    gained: usize,
    /// Of what this node has a greater version.
    lesser_there: Vec<Key>,
}

impl Comparisons {
    pub(crate) fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether nothing had to move since the last time, and nothing is under way.
    pub(crate) fn take_were_equal(&mut self) -> bool {
        !std::mem::take(&mut self.has_moved) && self.is_empty()
    }
}

/// Ranges that share more leading bits are not split any more.
pub(super) const SPLIT_BITS_MAX: u8 = 60;

/// The sub-range number `part` of 16 of the keys that share the leading `bits` of `start`.
pub(super) fn part(start: &Id, bits: u8, part: u8) -> Id {
    (0..4).fold(*start, |id, bit| {
        let index = u32::from(bits) + bit;
        let is_set = id.0[(index / 8) as usize] & (0x80 >> (index % 8)) != 0;
        if is_set == (part & (8 >> bit) != 0) { id } else { id.flip(index) }
    })
}

/// How what is listed here differs from what the asker has in `range`. Too many to be listed are split, as long as that is of use.
pub(super) fn difference(briefs: &[Brief], range: &Range) -> Difference {
    if digest(briefs.iter().copied()) == range.digest {
        return Difference::Same;
    }
    if briefs.len() <= KEYS_MAX || range.bits > SPLIT_BITS_MAX {
        return Difference::Listing(briefs.iter().copied().collect());
    }
    Difference::Split(Arc::new(std::array::from_fn(|index| {
        let start = part(&range.start, range.bits, index as u8);
        let shared_bits = u32::from(range.bits) + 4;
        digest(briefs.iter().copied().filter(|brief| brief.key.id.common_bits(&start) >= shared_bits))
    })))
}

impl Core {
    /// The nodes with whom this one may hold a key together: the nearest 3 k groups. A key that two nodes hold lies
    /// within k nodes of both, so the second is among the 2 k nearest of the first but for uneven ids. Only who holds
    /// claims looks as far as their k reaches.
    pub(super) fn fellows(&self) -> Vec<Arc<Contact>> {
        self.fellows_of(if self.holds_claims() { Kind::Claim } else { Kind::User })
    }

    pub(super) fn holds_claims(&self) -> bool {
        self.store.range(Kind::Claim, &self.grid().0, 0).next().is_some()
    }

    fn fellows_of(&self, kind: Kind) -> Vec<Arc<Contact>> {
        let holders = self.config.holders.max(self.config.holders_of(kind));
        let mut groups: Vec<Group> = Vec::new();
        let mut fellows = Vec::new();
        for entry in self.table.nearest(&self.grid().0).filter(|entry| entry.is_available()) {
            if !groups.contains(&entry.group()) {
                if groups.len() == usize::from(holders) * 3 {
                    break;
                }
                groups.push(entry.group());
            }
            fellows.push(entry.contact().clone());
        }
        fellows
    }

    /// This node is new to its range: compares it with everybody who may share a key.
    pub(super) fn begin_as_newcomer(&mut self, comparisons: &mut Comparisons) {
        self.newcomer = Some(BTreeSet::new());
        comparisons.claims = ClaimVotes::default();
        comparisons.is_wide = false;
        for fellow in self.fellows() {
            self.compare(comparisons, &fellow, self.grid().0, 0);
        }
        self.settle_if_compared(comparisons);
    }

    /// Compares all that both hold.
    pub(super) fn compare_with(&mut self, comparisons: &mut Comparisons, fellow: &Arc<Contact>) {
        self.compare(comparisons, fellow, self.grid().0, 0);
    }

    fn compare(&mut self, comparisons: &mut Comparisons, fellow: &Arc<Contact>, start: Id, bits: u8) {
        let grid = fellow.grid();
        self.find_fellows();
        let range = Arc::new(Range { start, bits, digest: digest(self.shared(grid, &start, bits)), users: None });
        comparisons.awaited.entry(grid).or_default().answers += 1;
        self.ask(fellow, false, Purpose::Compare(start, bits), 0, |id| Message::Compare(Compare { id, range }));
    }

    pub(super) fn on_compared(
        &mut self,
        comparisons: &mut Comparisons,
        pending: &Pending,
        compared: &Compared,
        range: (Id, u8),
    ) {
        let fellow = &pending.peer;
        // Nothing is awaited from a fellow that one of its answers was missed from: it does not count any more.
        let Some(awaited) = comparisons.awaited.get_mut(&fellow.grid()) else { return };
        if !awaited.on_answer(pending.sent, self.now, 0) {
            return self.end_one(comparisons, fellow.grid(), false);
        }
        if matches!(compared.difference, Difference::Split(_)) {
            awaited.splits += 1;
            if awaited.splits > SPLITS_MAX {
                self.blame(fellow.grid());
                return self.end_one(comparisons, fellow.grid(), false);
            }
        }
        self.find_fellows();
        match &compared.difference {
            Difference::Same => {
                self.note_same(&mut comparisons.claims, fellow, range);
                if range.1 == 0 {
                    self.fellowship.on_agreed(&fellow.grid());
                }
            }
            Difference::Listing(theirs) => self.on_listing(comparisons, fellow, theirs, range),
            Difference::Split(digests) => {
                let (start, bits) = range;
                // A hostile peer could split for ever: the parts must stay within the keyspace.
                for (index, theirs) in digests.iter().enumerate().filter(|_| bits <= SPLIT_BITS_MAX) {
                    let start = part(&start, bits, index as u8);
                    if digest(self.shared(fellow.grid(), &start, bits + 4)) != *theirs {
                        self.compare(comparisons, fellow, start, bits + 4);
                    } else {
                        self.note_same(&mut comparisons.claims, fellow, (start, bits + 4));
                    }
                }
            }
        }
        self.end_one(comparisons, fellow.grid(), true);
    }

    pub(super) fn on_listing(
        &mut self,
        comparisons: &mut Comparisons,
        fellow: &Arc<Contact>,
        theirs: &[Brief],
        (start, bits): (Id, u8),
    ) {
        // What was not asked about is not taken, and nothing twice: it would be asked for in vain, which takes its time.
        let mut listed: BTreeSet<Key> = BTreeSet::new();
        let is_due = |brief: &&Brief| brief.key.id.common_bits(&start) >= u32::from(bits) && listed.insert(brief.key);
        let theirs: Vec<Brief> = theirs.iter().filter(is_due).copied().collect();
        self.note_votes(&mut comparisons.claims, fellow, &theirs);
        let wanted: Vec<Brief> = theirs
            .iter()
            .filter(|brief| !self.is_voted_on(&mut comparisons.claims, &brief.key))
            .filter(|brief| match self.store.brief(&brief.key) {
                Some(own) => own != **brief,
                // Who is only filling its table may know nobody there but itself.
                None => self.table.is_filled_at(&brief.key.id) && self.is_clear_holder(&brief.key, &self.grid()),
            })
            .copied()
            .collect();
        // Who is new does not know yet who holds what, and would give away what is there already. Those who lack something
        // ask for it themselves.
        if self.newcomer.is_none() {
            let shared = self.shared(fellow.grid(), &start, bits).map(|brief| brief.key);
            // Keys that it does not take this node for a holder of are not in its list.
            let are_both = |key: &Key| [fellow.grid(), self.grid()].iter().all(|grid| self.is_clear_holder(key, grid));
            let mut missing_there: Vec<Key> = shared.filter(|key| !listed.contains(key)).filter(are_both).collect();
            comparisons.has_moved |= !missing_there.is_empty();
            if comparisons.is_urgent {
                missing_there.retain(|key| self.is_heir(key, &fellow.grid()));
            }
            if comparisons.is_urgent || comparisons.gives {
                self.hand_over(fellow, missing_there);
            }
        }
        comparisons.has_moved |= !wanted.is_empty();
        self.want(comparisons, fellow, wanted);
    }

    pub(super) fn on_fetched(&mut self, comparisons: &mut Comparisons, pending: Pending, fetched: &Fetched) {
        let Message::Fetch(Fetch { keys: asked, .. }) = &pending.request else { return };
        let asked: BTreeSet<Key> = asked.iter().copied().collect();
        let grid = pending.peer.grid();
        let Gains { handed_over, gained, lesser_there } = self.take_over(comparisons, &grid, &asked, fetched);
        self.hand_over(&pending.peer, lesser_there);
        let Some(awaited) = comparisons.awaited.get_mut(&grid) else { return };
        let may_go_on = awaited.on_answer(pending.sent, self.now, gained);
        // Who lists what it does not hand over is asked for no more of it: each question takes its time.
        if !may_go_on || handed_over.len() * 2 < asked.len() {
            return self.end_one(comparisons, grid, false);
        }
        self.on_handed_over(comparisons, pending);
        self.end_one(comparisons, grid, true);
    }

    /// Merges what a fellow hands over.
    fn take_over(
        &mut self,
        comparisons: &mut Comparisons,
        fellow: &Grid,
        asked: &BTreeSet<Key>,
        fetched: &Fetched,
    ) -> Gains {
        let mut gains = Gains::default();
        for copy in fetched.copies.iter() {
            let key = copy.record.key();
            let is_voted_on = self.is_voted_on(&mut comparisons.claims, &key);
            let before = self.store.brief(&key);
            let is_valid = if is_voted_on {
                self.note_claim(&mut comparisons.claims, fellow, copy)
            } else {
                self.keep(copy) != StoreVerdict::Refused(Refusal::Invalid)
            };
            if !is_valid && !copy.is_of_later_format() {
                self.blame(*fellow);
            }
            let is_given = is_valid || copy.is_of_later_format();
            if is_given && asked.contains(&key) && gains.handed_over.insert(key) {
                // Each vote is asked for once.
                gains.gained += usize::from(is_voted_on && is_valid || self.store.brief(&key) != before);
            }
            // Who keeps another's claim would not take ours.
            let is_lesser = |held: &Held| *held.record() != copy.record && held.record().guid() == copy.record.guid();
            if !is_voted_on && self.store.get(&key).is_some_and(|stored| is_lesser(stored.held())) {
                gains.lesser_there.push(key);
            }
        }
        gains
    }

    /// A comparison or fetch was left unanswered: that fellow does not count.
    pub(super) fn on_comparison_failed(&mut self, comparisons: &mut Comparisons, fellow: Grid) {
        self.end_one(comparisons, fellow, false);
    }

    fn end_one(&mut self, comparisons: &mut Comparisons, fellow: Grid, in_good_order: bool) {
        comparisons.has_moved |= !in_good_order;
        let Some(awaited) = comparisons.awaited.get_mut(&fellow) else { return };
        awaited.answers -= 1;
        if awaited.answers == 0 || !in_good_order {
            comparisons.awaited.remove(&fellow);
            if !in_good_order {
                comparisons.fetching.give_up(&fellow);
                self.resume(comparisons);
            }
            if let Some(compared) = self.newcomer.as_mut().filter(|_| in_good_order) {
                compared.insert(fellow);
            }
        }
        self.settle_if_compared(comparisons);
    }

    fn settle_if_compared(&mut self, comparisons: &mut Comparisons) {
        if !comparisons.is_empty() || self.newcomer.is_none() {
            return;
        }
        if !comparisons.claims.is_empty() && !comparisons.is_wide {
            comparisons.is_wide = true;
            let compared = self.newcomer.clone().unwrap_or_default();
            for fellow in self.fellows_of(Kind::Claim) {
                if !compared.contains(&fellow.grid()) {
                    self.compare(comparisons, &fellow, self.grid().0, 0);
                }
            }
        }
        if !comparisons.is_empty() || self.fetch_claims(comparisons) {
            return;
        }
        self.count_votes(comparisons);
        self.newcomer = None;
        self.notify(Notice::Settled);
    }

    /// Whether this node is one of the nearest holders of `key` but for `fellow`. When all of them compare at once, the
    /// others leave it to these to hand over what it lacks; but where ids may be ground, those are a liar's.
    fn is_heir(&self, key: &Key, fellow: &Grid) -> bool {
        let own = key.id.distance(&self.grid().0);
        let view = self.view(&key.id, self.config.holders_of(key.kind));
        let is_widened = view.others.last().is_some_and(|(_, place)| *place == Place::Widened);
        let others = view.others.iter().map(|(entry, _)| entry.contact().grid()).filter(|grid| grid != fellow);
        is_widened || others.take(HEIRS).filter(|grid| key.id.distance(&grid.0) < own).count() < HEIRS
    }

    /// After a cut: while the network was in parts, this node was a holder of keys that it is none of now, and those who
    /// are may not have heard of what was written meanwhile.
    pub(super) fn hand_over_all(&mut self) {
        let foreign = self.store.iter().map(|(key, _)| *key).filter(|key| !self.is_holder_of(key));
        self.hand_over_to_holders(foreign.collect());
    }

    /// The nearest holders of each of these keys are given its record, and compare with the others.
    pub(super) fn hand_over_to_holders(&mut self, keys: Vec<Key>) {
        let mut gifts: BTreeMap<Grid, (Arc<Contact>, Vec<Key>)> = BTreeMap::new();
        for key in keys {
            let view = self.view(&key.id, self.config.holders_of(key.kind));
            for (holder, _) in view.others.iter().take(HEIRS) {
                let contact = holder.contact();
                gifts.entry(contact.grid()).or_insert_with(|| (contact.clone(), Vec::new())).1.push(key);
            }
        }
        for (holder, keys) in gifts.into_values() {
            self.hand_over(&holder, keys);
        }
    }

    /// Gives a node records outside of any operation, as many to a message as fit.
    pub(super) fn hand_over(&mut self, to: &Arc<Contact>, keys: Vec<Key>) {
        for items in self.bundles(keys.iter()) {
            self.ask(to, false, Purpose::HandOver, 0, |id| {
                Message::Store(Store { id, items: items.into_iter().collect() })
            });
        }
    }

    /// The records held under these keys, in bundles that fit a message.
    pub(super) fn bundles<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> Vec<Vec<StoreItem>> {
        let mut bundles: Vec<Vec<StoreItem>> = Vec::new();
        let mut room = 0;
        for stored in keys.filter_map(|key| self.store.get(key)) {
            let copy: Copy = stored.copy(self.now);
            let length = copy.record.encoded_len() + copy.rival.as_ref().map_or(0, |rival| rival.encoded_len()) + 16;
            if bundles.last().is_none_or(|bundle| length > room || bundle.len() == crate::message::COPIES_MAX) {
                bundles.push(Vec::new());
                room = self.config.bundle_bytes_max as usize;
            }
            room = room.saturating_sub(length);
            if let Some(bundle) = bundles.last_mut() {
                bundle.push(StoreItem { copy, set: SetName::NONE });
            }
        }
        bundles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many answers that each take so long and bring so many records a fellow is given up.
    fn answers(takes: Ticks, gained: usize) -> Option<usize> {
        let mut awaited = Awaited::default();
        (0..10_000u64).position(|number| {
            let asked = Tick(1_000_000 + number * takes.0);
            !awaited.on_answer(asked, asked + takes, gained)
        })
    }

    #[test]
    fn who_gives_what_it_lists_may_take_its_time_and_who_does_not_is_given_up_within_minutes() {
        let (late, slow) = (Ticks(5_200), Ticks(940));
        assert_eq!(answers(late, 0), Some(11));
        assert_eq!(answers(late, 1), Some(11));
        assert_eq!(answers(late, 32), Some(22));
        assert!(answers(late, 64).is_none_or(|answers| answers * 64 > 40_000));
        assert_eq!(answers(slow, 64), None, "over a link of 35 KB/s");
        assert_eq!(answers(Ticks(4 * 940), 64), None, "which three others use, too");
    }

    #[test]
    fn the_time_of_a_fellow_passes_once_however_many_questions_are_under_way_and_not_while_there_are_none() {
        let mut awaited = Awaited::default();
        let begun = Tick(1_000_000);
        assert!((0..100).all(|_| awaited.on_answer(begun, begun + Ticks::seconds(50), 0)));
        let later = begun + Ticks::hours(1);
        assert!(awaited.on_answer(later, later + Ticks::seconds(10), 0));
        assert!(!awaited.on_answer(later, later + Ticks::seconds(11), 0));
    }

    #[test]
    fn what_is_too_much_to_be_listed_is_split_into_the_digests_of_sixteen_parts() {
        let start = Id::of(b"somewhere");
        let brief = |number: u32| {
            let (low, high) = start.slice(8);
            let Id(drawn) = Id::of(&number.to_be_bytes());
            let id = Id(std::array::from_fn(|at| low.0[at] | (drawn[at] & (low.0[at] ^ high.0[at]))));
            Brief { key: Key { kind: Kind::User, id }, hash: number.into() }
        };
        let mut briefs: Vec<Brief> = (0..=KEYS_MAX as u32).map(brief).collect();
        briefs.sort_unstable_by_key(|brief| brief.key);
        let range = |bits, digest| Range { start, bits, digest, users: None };
        let empty = digest(std::iter::empty());
        let Difference::Split(digests) = difference(&briefs, &range(8, empty)) else { panic!("they are too many") };
        for (index, found) in digests.iter().enumerate() {
            let (low, high) = part(&start, 8, index as u8).slice(12);
            let there = briefs.iter().copied().filter(|brief| low <= brief.key.id && brief.key.id <= high);
            assert_eq!(*found, digest(there));
        }
        assert!(
            matches!(difference(&briefs, &range(61, empty)), Difference::Listing(listed) if listed.len() == KEYS_MAX)
        );
        assert!(
            matches!(difference(&briefs[1..], &range(8, empty)), Difference::Listing(listed) if *listed == briefs[1..])
        );
        assert!(matches!(difference(&briefs, &range(8, digest(briefs.iter().copied()))), Difference::Same));
    }

    #[test]
    fn a_range_is_split_into_sixteen_parts_that_share_its_leading_bits() {
        let start = Id::of(b"somewhere");
        for bits in [0, 3, 7, 8, 60] {
            let parts: BTreeSet<Id> = (0..16).map(|index| part(&start, bits, index)).collect();
            assert_eq!(parts.len(), 16);
            assert!(parts.iter().all(|id| id.common_bits(&start) >= u32::from(bits)));
            assert!(parts.iter().any(|id| id.common_bits(&start) >= u32::from(bits) + 4));
        }
    }
}
