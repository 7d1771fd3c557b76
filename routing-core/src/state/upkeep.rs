//! Keeping the table true in the background, within a budget of bytes.
//!
//! Two sweeps probe contacts one by one. The *near* sweep goes round the own neighbourhood every minute and asks each
//! node whether it sees the same nodes around us: that is how later arrivals and departures there are heard of. The *far*
//! sweep goes round the whole table, so that hearsay proves itself and who is gone is noticed. Who was heard from since the
//! last round is passed over (as a page in use is by the clock algorithm), so two nodes that know each other do not both
//! probe.
//!
//! *Refills* bring whom this node does not know: whoever comes next in the far sweep is asked about a part of the keyspace,
//! and told by two bytes each who is known there, so that the answer holds nobody else. Everybody is asked as often as
//! anybody. Reasons: decision 0024.

use super::budget::Account;
use super::compare::Comparisons;
use super::core::Core;
use super::requests::Purpose;
use crate::contact::Contact;
use crate::effect::Notice;
use crate::holders::SetName;
use crate::id::{Grid, Id};
use crate::message::{Find, Mark, Message, Part, Sample, Want};
use crate::table::{Entry, REGION_BITS, REGIONS};
use crate::time::{Tick, Ticks};
use rand_core::Rng;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a comparison costs where nothing differs: question and answer with their framing, in bytes.
const COMPARISON_BYTES: usize = 96;
/// The least pause between two probes of one sweep.
const PROBE_PAUSE: Ticks = Ticks(100);
/// How many contacts that were heard from anyway one sweep passes over at a time.
const PASSED_OVER_MAX: usize = 64;
/// How often somebody is asked whom this node does not know: soon while it is short of contacts and that brings somebody,
/// seldom else.
const REFILL_PAUSE: Ticks = Ticks::seconds(2);
const REFILL_PAUSE_MAX: Ticks = Ticks::seconds(30);
/// How many contacts are expected at most in a part about which somebody is asked: their marks cost as much as four cards.
const REFILL_PART: u64 = 256;
/// How many contacts such an answer brings at most where upkeep pays, and nobody is in a hurry: what the far sweep has for
/// itself in half a minute pays for so many, and for the proof of about as many. In a hurry it brings all who are expected.
const REFILL_CONTACTS: u64 = 16;
/// An answer that brought one in so many of those who are expected there was worth its question: the next may come soon.
const REFILL_WORTH: u64 = 16;
/// How many a neighbour names at most where it does not see the same neighbours.
const ACQUAINTANCES: u16 = 16;
/// Parts that share more leading bits with the own id are the near sweep's affair.
const REFILL_DEPTH_MAX: u32 = 40;
/// The least pause between two probes of neighbours that have not answered yet, and between two urgent comparisons.
const EAGER_PAUSE: Ticks = Ticks(20);
/// How long things are left to come to rest before what the lost held is compared.
const REST: Ticks = Ticks::seconds(3);
/// How soon after one another a share of the neighbourhood must fall silent to be an outage, and which share.
const OUTAGE: Ticks = Ticks::minutes(1);
const OUTAGE_SHARE: usize = 8;
/// How long between two times that all neighbours are asked: those who take the places of the silent ones must become
/// known first, and all others have just answered.
const ROLL_CALL_PAUSE: Ticks = Ticks::seconds(5);
/// For how long after joining once more a node compares again whatever it is given.
const AFTER_A_CUT: Ticks = Ticks::minutes(2);
/// How long between two times that a node joins once more by itself.
const REJOIN_PAUSE: Ticks = Ticks::minutes(1);

#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The own neighbourhood when it was looked up last.
    near: Vec<Arc<Contact>>,
    near_next: usize,
    /// Whether it may have changed since this was asked last.
    has_near_changed: bool,
    /// How far the own neighbourhood reaches, in leading 64 bits; everywhere while fewer than 4 k groups are known.
    near_edge: u64,
    /// Whether somebody in it may not have answered yet.
    has_strangers: bool,
    pub(crate) near_wake: Option<Tick>,
    far_bin: usize,
    far_index: usize,
    pub(crate) far_wake: Option<Tick>,
    /// When somebody is asked whom this node does not know, and how long to wait after a vain attempt.
    pub(crate) refill_wake: Option<Tick>,
    refill_pause: Ticks,
    /// How many contacts the next answer has to bring to be worth its question.
    pub(super) refill_worth: u64,
    /// How many parts have been asked about.
    pub(super) refill_part: u32,
    /// Fellow holders that this round of comparisons has not come to, and what it is for.
    round: VecDeque<Arc<Contact>>,
    haste: Haste,
    /// Whether one round has begun since this node joined.
    has_begun_rounds: bool,
    /// Up to which change of the fellowship it has compared.
    compared: Option<u64>,
    compare_wake: Option<Tick>,
    /// When somebody who was given up is tried.
    revive_wake: Option<Tick>,
    /// How many neighbours have fallen silent since then.
    silent: usize,
    silent_since: Tick,
    /// How many neighbours are still to be asked at once whether they are there.
    roll_call: usize,
    /// When that was begun last.
    roll_called: Option<Tick>,
    rejoined: Option<Tick>,
    /// When this node joins once more, and through whom: there was reason to too soon after the last time.
    rejoin_wake: Option<(Tick, Arc<Contact>)>,
}

/// What a round of comparisons is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Haste {
    /// To find what was missed.
    #[default]
    None,
    /// Somebody was lost: to be begun.
    Called,
    /// Somebody was lost: under way.
    Urgent,
}

impl Upkeep {
    pub(super) fn start(&mut self, core: &mut Core) {
        core.budget.start(core.now, core.config.repair_bytes_per_second);
        let first = core.rng.next_u64() % core.config.compare_every.0.max(1);
        self.compare_wake = Some(core.now + Ticks(first));
        self.has_begun_rounds = false;
        self.revive_wake = Some(core.now + core.config.revive_every);
        self.has_near_changed = true;
        self.near_edge = u64::MAX;
        self.near_wake = Some(core.now + Ticks(1_000));
        self.far_wake = Some(core.now + Ticks(1_000));
        self.refill_pause = REFILL_PAUSE;
        self.refill_wake = Some(core.now + REFILL_PAUSE);
    }

    pub(super) fn stop(&mut self) {
        *self = Upkeep::default();
    }

    pub(super) fn next_wake(&self) -> Option<Tick> {
        let rejoin_wake = self.rejoin_wake.as_ref().map(|(wake, _)| *wake);
        let wakes = [self.near_wake, self.far_wake, self.refill_wake, self.compare_wake, self.revive_wake, rejoin_wake];
        wakes.into_iter().flatten().min()
    }

    /// Whether somebody so far away (in leading 64 bits) belongs to the own neighbourhood.
    pub(super) fn is_near(&self, distance: u64) -> bool {
        distance <= self.near_edge
    }

    /// Whether somebody may have come to the own neighbourhood, left it or renewed a card since this was asked last.
    pub(super) fn take_neighbourhood_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_near_changed)
    }

    /// Somebody new turned up in the own neighbourhood, or somebody left it: the sweep begins anew, and soon.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.near.clear();
        self.has_near_changed = true;
        self.near_wake = self.near_wake.map(|wake| wake.min(now + EAGER_PAUSE));
        // The network grows, or shrinks: what was enough to know may be too little now.
        self.refill_pause = REFILL_PAUSE;
        self.refill_wake = self.refill_wake.map(|wake| wake.min(now + REFILL_PAUSE));
    }

    pub(super) fn on_wake(&mut self, core: &mut Core, comparisons: &mut Comparisons) {
        if self.compare_wake.is_some_and(|wake| core.now >= wake) {
            self.compare_next(core, comparisons);
        }
        if self.revive_wake.is_some_and(|wake| core.now >= wake) {
            self.revive_one(core);
        }
        if self.near_wake.is_some_and(|wake| core.now >= wake) {
            self.probe_near(core);
        }
        // Refills are few: where both wait for the same account, they go first, or they would never go.
        if self.refill_wake.is_some_and(|wake| core.now >= wake) {
            self.refill(core);
        }
        if self.far_wake.is_some_and(|wake| core.now >= wake) {
            self.probe_far(core);
        }
    }

    /// A neighbour has fallen silent. When many do within a short time, it is an outage: all are asked at once whether they
    /// are there. Says whether one has begun.
    pub(super) fn on_neighbour_silent(&mut self, core: &Core) -> bool {
        if core.now.since(self.silent_since) > OUTAGE {
            (self.silent, self.silent_since) = (0, core.now);
        }
        self.silent += 1;
        self.hurry(core.now);
        let may_call = self.roll_called.is_none_or(|called| core.now.since(called) >= ROLL_CALL_PAUSE);
        let is_outage = may_call && self.silent * OUTAGE_SHARE > self.near.len().max(usize::from(core.config.holders));
        if is_outage {
            (self.silent, self.silent_since, self.roll_called) = (0, core.now, Some(core.now));
            self.roll_call = usize::from(core.config.holders) * 4;
        }
        // Some keys may have lost the majority of their holders: then places are taken at once.
        self.call(core.now);
        is_outage
    }

    /// A record was given outside of any operation. After a cut that may be one of which no other holder knows.
    pub(super) fn on_given(&mut self, now: Tick) {
        if self.rejoined.is_some_and(|rejoined| now.since(rejoined) < AFTER_A_CUT) {
            self.call(now);
        }
    }

    /// Comparisons begin anew, soon.
    fn call(&mut self, now: Tick) {
        self.haste = Haste::Called;
        self.round.clear();
        self.compare_wake = self.compare_wake.map(|_| now + REST);
    }

    /// One comparison after the other, with all fellows. After an urgent round what the lost held is here as far as
    /// anybody has it.
    fn compare_next(&mut self, core: &mut Core, comparisons: &mut Comparisons) {
        if core.absent.expire(core.now) {
            core.fellowship.clear();
            return self.call(core.now);
        }
        if let Some(fellow) = self.round.pop_front() {
            if core.table.entry(&fellow.grid()).is_some_and(Entry::is_available) {
                if self.haste != Haste::Urgent {
                    core.budget.spend(Account::Near, COMPARISON_BYTES);
                }
                core.compare_with(comparisons, &fellow);
            }
        } else if self.haste == Haste::Urgent && (!comparisons.is_empty() || core.fetch_claims(comparisons)) {
            self.compare_wake = Some(core.now + REST);
            return;
        } else {
            if self.haste == Haste::Urgent {
                core.count_votes(comparisons);
                for lost in core.absent.on_compared() {
                    core.bury(&lost);
                    core.notify(Notice::NeighbourLost(lost));
                }
            }
            core.hand_over_strays();
            self.haste = if self.haste == Haste::Called { Haste::Urgent } else { Haste::None };
            comparisons.is_urgent = self.haste == Haste::Urgent;
            comparisons.gives = std::mem::replace(&mut self.has_begun_rounds, true);
            core.begin_votes(comparisons);
            // Where nothing had to move, nothing has to until something changes here; whoever changes compares. Who holds
            // nothing has nothing to compare.
            let changes = Some(core.fellowship.changes());
            let is_equal = comparisons.take_were_equal() && self.compared == changes;
            let is_needed = self.haste == Haste::Urgent || !is_equal && !core.store.is_empty();
            self.round = if is_needed { core.fellows().into() } else { VecDeque::new() };
            self.compared = changes;
        }
        let rate = core.config.compare_every.0 / (self.round.len() as u64 + 1);
        let pause = if self.haste == Haste::Urgent { EAGER_PAUSE } else { Ticks(rate).max(EAGER_PAUSE) };
        let next = core.now + pause;
        self.compare_wake = Some(core.absent.next_due().map_or(next, |due| next.min(due.max(core.now + Ticks(1)))));
    }

    /// Tries somebody who was given up.
    fn revive_one(&mut self, core: &mut Core) {
        self.revive_wake = Some(core.now + core.config.revive_every);
        if let Some(contact) = core.dead.next() {
            ask_for_a_word(core, &contact, Purpose::Revive);
        }
    }

    /// Whether this node may join once more by itself; it does so then.
    pub(super) fn may_rejoin(&mut self, now: Tick) -> bool {
        let may = self.rejoined.is_none_or(|rejoined| now.since(rejoined) >= REJOIN_PAUSE);
        if may {
            self.rejoined = Some(now);
        }
        may
    }

    /// This node may not join once more yet: it does so through `peer` as soon as it may. Else who was cut off a second
    /// time would hear of the others one by one, and never hand over what was written without them.
    pub(super) fn rejoin_later(&mut self, now: Tick, peer: &Arc<Contact>) {
        let wake = self.rejoined.map_or(now, |rejoined| rejoined + REJOIN_PAUSE).max(now + Ticks(1_000));
        self.rejoin_wake.get_or_insert_with(|| (wake, peer.clone()));
    }

    /// Through whom this node joins once more, if it is time. Says so once.
    pub(super) fn take_rejoin(&mut self, now: Tick) -> Option<Arc<Contact>> {
        self.rejoin_wake.take_if(|(wake, _)| now >= *wake).map(|(_, peer)| peer)
    }

    /// Asks those in doubt whether they are there, once this node is in. Each is asked once at a time.
    pub(super) fn ask_doubted(&mut self, core: &mut Core) {
        if self.far_wake.is_none() {
            return;
        }
        for (contact, account) in std::mem::take(&mut core.doubted) {
            let is_doubted = |entry: &Entry| !entry.has_answered() || entry.failures() > 0;
            if !core.table.entry(&contact.grid()).is_some_and(is_doubted) {
                continue;
            }
            if core.table.begin_probe(&contact.grid()) {
                let place = contact.grid().0;
                self.probe(core, &contact, place, account);
            }
        }
    }

    /// Who joined while the network was small knows a small part of what there is now, and nobody tells a node of those who
    /// come later, unless they are neighbours: so it asks. If the density itself is in doubt, it asks many for that.
    fn refill(&mut self, core: &mut Core) {
        self.refill_wake = Some(core.now + self.refill_pause);
        if core.table.is_scale_in_doubt() {
            self.refill_pause = self.longer_pause();
            if core.closed_for(Account::Repair) == Ticks(0) {
                // From everywhere at once: ids ground into some places are a majority of a few words, and none of all.
                for region in 0..REGIONS {
                    if let Some(contact) = anybody_of_region(core, region) {
                        ask_for_a_word(core, &contact, Purpose::Probe(Account::Repair));
                    }
                }
            }
            return;
        }
        let Some((part, bits, expected)) = self.next_part(core) else {
            self.refill_pause = self.longer_pause();
            return;
        };
        let account = Self::refill_account(core);
        let closed = core.closed_for(account);
        if closed > Ticks(0) {
            self.refill_wake = Some(core.now + closed.max(PROBE_PAUSE));
            return;
        }
        // Anybody may know those whom nobody around there knows: each attempt asks another. Asked only within that part, two
        // groups that do not know of each other would never hear of each other.
        if let Some(informant) = self.next_far(core) {
            self.refill_part = self.refill_part.wrapping_add(1);
            let (pause, count) = match account {
                Account::Repair => (self.longer_pause(), expected.clamp(REFILL_CONTACTS, REFILL_PART) as u16),
                Account::Near | Account::Far => (REFILL_PAUSE_MAX, REFILL_CONTACTS as u16),
            };
            (self.refill_pause, self.refill_worth) = (pause, expected.div_ceil(REFILL_WORTH).max(1));
            // While it knows so few, everybody who may be there is of use.
            let with_hearsay = account == Account::Repair && !core.table.is_partial();
            ask_whom_else(core, &informant, (&part, bits), count, with_hearsay, Purpose::Refill(account));
        }
    }

    /// The part of the keyspace about which somebody is asked next, by leading bits, and how many contacts are expected there.
    /// While there is room for everybody, all parts in turn; else a drawn one of those in which too few are known, as of the
    /// farthest perhaps nobody is known yet who knows anybody.
    pub(super) fn next_part(&self, core: &mut Core) -> Option<(Id, u8, u64)> {
        let own = core.grid().0;
        let parts_of = |contacts: u64| contacts.div_ceil(REFILL_PART).max(1).next_power_of_two();
        if core.table.is_partial() {
            let lacking: Vec<u32> = (0..=REFILL_DEPTH_MAX).filter(|shared| core.table.lacks(*shared)).collect();
            let shared = *lacking.get(core.rng.next_u64() as usize % lacking.len().max(1))?;
            let expected = core.table.expected_in(shared);
            let parts = parts_of(expected);
            let part = drawn_within(core, &own.flip(shared), (shared + 1) as u8);
            return Some((part, (shared + 1 + parts.ilog2()) as u8, expected / parts));
        }
        let nodes = core.table.scale().nodes().min(core.config.neighbours_max.into());
        let bits = parts_of(nodes).ilog2();
        let turn = self.refill_part.reverse_bits();
        let mut part = own;
        for bit in (0..bits).filter(|bit| turn << bit >> 31 == 1) {
            part = part.flip(bit);
        }
        Some((part, bits as u8, nodes >> bits))
    }

    /// Who pays for a question whom else there is. A table that lacks most is in a hurry. The others may come as upkeep allows:
    /// whom one hears of must prove itself out of the same budget, so hearing of it sooner is of little use.
    pub(super) fn refill_account(core: &Core) -> Account {
        if core.table.is_partial() || core.table.is_short() { Account::Repair } else { Account::Far }
    }

    fn longer_pause(&self) -> Ticks {
        REFILL_PAUSE_MAX.min(Ticks(self.refill_pause.0 * 2))
    }

    /// Somebody was asked for contacts that this node does not know, and has named so many of them.
    pub(super) fn on_refilled(&mut self, now: Tick, account: Account, brought: usize) {
        if account == Account::Repair && brought as u64 >= self.refill_worth {
            self.refill_pause = REFILL_PAUSE;
            self.refill_wake = self.refill_wake.map(|wake| wake.min(now + REFILL_PAUSE));
        }
    }

    fn probe_near(&mut self, core: &mut Core) {
        if self.near_next >= self.near.len() {
            let neighbourhood = usize::from(core.config.holders) * 4;
            let own = core.grid().0;
            self.near = core
                .table
                .nearest(&own)
                .filter(|entry| !core.absent.contains(&entry.contact().grid()))
                .take(neighbourhood)
                .map(|entry| entry.contact().clone())
                .collect();
            let edge = self.near.get(neighbourhood - 1);
            self.near_edge = edge.map_or(u64::MAX, |edge| own.prefix() ^ edge.grid().0.prefix());
            self.near_next = 0;
            self.has_near_changed = true;
            self.has_strangers = true;
        }
        // Neighbours that have not answered yet come first, and soon; and so do all of them in an outage.
        let is_stranger = |contact: &Arc<Contact>| {
            core.table.entry(&contact.grid()).is_some_and(|entry| !entry.has_answered() && entry.failures() == 0)
        };
        let mut strangers = if self.has_strangers { self.near_next..self.near.len() } else { 0..0 };
        let stranger = strangers.find(|index| is_stranger(&self.near[*index]));
        self.has_strangers = stranger.is_some();
        if stranger.is_some() || self.roll_call > 0 {
            let closed = core.closed_for(Account::Repair);
            if closed > Ticks(0) {
                self.near_wake = Some(core.now + closed);
                return;
            }
            if let Some(stranger) = stranger {
                self.near.swap(self.near_next, stranger);
            } else {
                self.roll_call -= 1;
            }
            self.near_wake = Some(core.now + EAGER_PAUSE);
            return self.probe_next_neighbour(core, Account::Repair);
        }
        let pause = Ticks(core.config.neighbour_probe_every.0 / self.near.len().max(1) as u64).max(EAGER_PAUSE);
        self.near_wake = Some(core.now + pause.max(core.closed_for(Account::Near)));
        if core.closed_for(Account::Near) == Ticks(0) {
            self.probe_next_neighbour(core, Account::Near);
        }
    }

    /// Who was heard from since the last round need not be asked, unless there is reason to ask everybody.
    fn probe_next_neighbour(&mut self, core: &mut Core, account: Account) {
        let Some(contact) = self.near.get(self.near_next).cloned() else { return };
        self.near_next += 1;
        if !core.table.take_recent(&contact.grid()) || account == Account::Repair {
            let own = core.grid().0;
            self.probe(core, &contact, own, account);
        }
    }

    fn probe_far(&mut self, core: &mut Core) {
        // While there is hearsay, as fast as the budget allows; then one round of the table in `contact_probe_every`.
        let has_hearsay = core.table.answered() < core.table.len();
        let round = if has_hearsay { 0 } else { core.config.contact_probe_every.0 };
        let pause = Ticks(round / core.table.len().max(1) as u64).max(PROBE_PAUSE);
        let closed = core.closed_for(Account::Far);
        if closed == Ticks(0)
            && let Some(contact) = self.next_far(core)
        {
            ask_for_a_word(core, &contact, Purpose::Probe(Account::Far));
        }
        self.far_wake = Some(core.now + pause.max(core.closed_for(Account::Far)));
    }

    /// The next contact of the table that was not heard from since the last round. Bins are walked in bit-reversed
    /// order, so that each part of the keyspace is met early, and each node begins with its own, so that those who joined at
    /// one time do not all come to the same contacts at one time.
    fn next_far(&mut self, core: &mut Core) -> Option<Arc<Contact>> {
        for _ in 0..PASSED_OVER_MAX {
            let bins = core.table.bins();
            let bits = bins.ilog2();
            if self.far_bin >= bins {
                self.far_bin = 0;
            }
            let step = self.far_bin.reverse_bits().checked_shr(usize::BITS - bits).unwrap_or(0);
            let bin = step ^ core.grid().0.prefix().checked_shr(64 - bits).unwrap_or(0) as usize;
            let Some(entry) = core.table.bin(bin).get(self.far_index) else {
                self.far_index = 0;
                self.far_bin += 1;
                continue;
            };
            self.far_index += 1;
            let (contact, has_answered) = (entry.contact().clone(), entry.has_answered());
            let was_recent = core.table.take_recent(&contact.grid());
            if !was_recent || !has_answered {
                return Some(contact);
            }
        }
        None
    }

    /// Asks `contact` whether it sees the same holders of `place`.
    fn probe(&mut self, core: &mut Core, contact: &Arc<Contact>, place: Id, account: Account) {
        let is_complete = core.table.is_complete_at(&place);
        let (groups, set) = if is_complete {
            (core.config.holders, core.view(&place, core.config.holders).name)
        } else {
            (0, SetName::NONE)
        };
        core.ask(contact, false, Purpose::Probe(account), 0, |id| {
            Message::Find(Find { id, target: place, want: Want::Agreement, groups, set })
        });
    }
}

/// `peer` does not see the holders of `place` that this node sees: it is asked for those that this node does not know. Mostly
/// there are none, since it is the peer that knows too few, or widens the set otherwise.
pub(super) fn acquaint(core: &mut Core, peer: &Arc<Contact>, place: &Id, account: Account) {
    let view = core.view(place, core.config.holders);
    let Some((farthest, _)) = view.others.last() else { return };
    let bits = (farthest.prefix() ^ place.prefix()).leading_zeros() as u8;
    drop(view);
    ask_whom_else(core, peer, (place, bits), ACQUAINTANCES, false, Purpose::Acquaint(account));
}

/// Asks `peer` for at most `count` contacts that share so many leading bits with a place and that this node does not know.
fn ask_whom_else(
    core: &mut Core,
    peer: &Arc<Contact>,
    (place, bits): (&Id, u8),
    count: u16,
    with_hearsay: bool,
    purpose: Purpose,
) {
    let start = drawn_within(core, place, bits);
    let is_in = |grid: &Grid| grid.0.common_bits(&start) >= bits.into();
    let known = core.table.known_in(&start, bits).chain(core.dead.refused().filter(is_in));
    let known = known.map(|grid| Mark::new(&start, &grid)).collect();
    let part = Arc::new(Part { start, bits, count, with_hearsay, known });
    core.ask(peer, false, purpose, 0, |id| Message::Sample(Sample { id, part }));
}

/// A drawn place that shares so many leading bits with `part`.
fn drawn_within(core: &mut Core, part: &Id, bits: u8) -> Id {
    let (low, high) = part.slice(bits);
    let mut place = low;
    core.rng.fill_bytes(&mut place.0);
    for (byte, (low, high)) in place.0.iter_mut().zip(low.0.iter().zip(&high.0)) {
        *byte = low | (*byte & (low ^ high));
    }
    place
}

/// A drawn contact of this region. A place is drawn, and not a contact: however many ids are ground into a few places, few
/// places lie next to them.
fn anybody_of_region(core: &mut Core, region: usize) -> Option<Arc<Contact>> {
    let mut part = core.grid().0;
    part.0[0] = (region << (8 - REGION_BITS)) as u8;
    let place = drawn_within(core, &part, REGION_BITS as u8);
    let found = core.table.nearest(&place).find(|contact| contact.failures() == 0);
    found.map(|entry| entry.contact().clone())
}

/// Asks a contact for nothing but what each answer tells: that it is there, and how dense the keyspace is where it lies.
fn ask_for_a_word(core: &mut Core, contact: &Arc<Contact>, purpose: Purpose) {
    let (target, set) = (contact.grid().0, SetName::NONE);
    core.ask(contact, false, purpose, 0, |id| Message::Find(Find { id, target, want: Want::Contacts, groups: 0, set }));
}
