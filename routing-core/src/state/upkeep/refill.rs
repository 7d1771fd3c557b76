//! Whom else is there: how a node hears of those that are neither its neighbours nor have called it.
//!
//! Whoever comes next in the far sweep is asked about a part of the keyspace, and told by two bytes each who is known there, so
//! that the answer holds nobody else. So everybody is asked as often as anybody; only where a table leaves some out, every other
//! question goes to somebody next to the part. Such a table asks about two things, each at its own pace: who else is in its own
//! slice, in which all are to be known, and who is in the slices outside of which it knows too few. Neighbours that do not see
//! the same neighbourhood are asked so, too, about that. Reasons: decisions 0024 and 0026.

use super::sweeps::ask_for_a_word;
use super::{PROBE_PAUSE, Upkeep};
use crate::contact::Contact;
use crate::id::{Grid, Id};
use crate::message::{Mark, Message, Part, Sample};
use crate::state::budget::Account;
use crate::state::core::Core;
use crate::state::requests::Purpose;
use crate::table::{REGION_BITS, REGIONS};
use crate::time::{Tick, Ticks};
use rand_core::Rng;
use std::sync::Arc;

/// How often somebody is asked whom this node does not know: soon while it is short of contacts and that brings somebody,
/// seldom else.
pub(super) const REFILL_PAUSE: Ticks = Ticks::seconds(2);
const REFILL_PAUSE_MAX: Ticks = Ticks::seconds(30);
/// For how long after it has joined a node fills its table in a hurry, and hears hearsay as it did when it joined. It is
/// short of most contacts only then, or after a disaster.
const FILLING: Ticks = Ticks::minutes(15);
/// How many contacts are expected at most in a part about which somebody is asked: their marks cost as much as four cards.
const REFILL_PART: u64 = 256;
/// How many contacts such an answer brings at most where upkeep pays, and nobody is in a hurry: what the far sweep has for
/// itself in half a minute pays for so many, and for the proof of about as many. In a hurry it brings all who are expected.
const REFILL_CONTACTS: u64 = 16;
/// The same where the own slice has given up some: they are named again.
const REFILL_CONTACTS_GIVEN_UP: u64 = 2;
/// An answer that brought one in so many of those who are expected there was worth its question: the next may come soon.
const REFILL_WORTH: u64 = 16;
/// How many a neighbour names at most where it does not see the same neighbours.
const ACQUAINTANCES: u16 = 16;
/// How many neighbours that do not see the same are passed over at most after those who named nobody new.
const IN_VAIN_MAX: u8 = 8;
/// How many places are drawn to find one around which too few are known: one in a hundred is found every other time.
const GAP_DRAWS: usize = 64;

/// When somebody is asked about a part of the keyspace, and how long to wait after a vain attempt.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) wake: Option<Tick>,
    pause: Ticks,
    /// How many parts have been asked about.
    pub(crate) asked: u32,
}

impl Pace {
    pub(super) fn start(&mut self, now: Tick) {
        self.pause = REFILL_PAUSE;
        self.wake = Some(now + REFILL_PAUSE);
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.wake.is_some_and(|wake| now >= wake)
    }

    fn slow_down(&mut self) {
        self.pause = REFILL_PAUSE_MAX.min(Ticks(self.pause.0 * 2));
    }

    /// The next question comes soon, and so do those after it for as long as that is of use.
    pub(super) fn soon(&mut self, now: Tick) {
        self.pause = REFILL_PAUSE;
        self.wake = self.wake.map(|wake| wake.min(now + REFILL_PAUSE));
    }
}

/// A part of the keyspace about which somebody is asked: those that share so many leading bits with a place.
pub(crate) struct Wanted {
    pub(crate) place: Id,
    pub(crate) bits: u8,
    /// How many contacts are wanted.
    count: u16,
}

impl Upkeep {
    /// Who joined while the network was small knows a small part of what there is now, and nobody tells a node of those who
    /// come later, unless they are neighbours: so it asks. If the density itself is in doubt, it asks many for that.
    pub(crate) fn ask_where_all_should_be_known(&mut self, core: &mut Core) {
        self.refill.wake = Some(core.now + self.refill.pause);
        if core.table.is_scale_in_doubt() {
            self.refill.slow_down();
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
        let account = self.refill_account(core);
        let closed = core.closed_for(account);
        if closed > Ticks(0) {
            self.refill.wake = Some(core.now + closed.max(PROBE_PAUSE));
            return;
        }
        let (part, expected) = self.next_part(core, account);
        if let Some(informant) = self.next_informant(core, &part.place, self.refill.asked) {
            self.refill.asked = self.refill.asked.wrapping_add(1);
            if account == Account::Repair {
                self.refill.slow_down();
            } else {
                self.refill.pause = REFILL_PAUSE_MAX;
            }
            self.refill_worth = expected.div_ceil(REFILL_WORTH).clamp(1, REFILL_PART) as u16;
            // While it knows so few, everybody who may be there is of use.
            let with_hearsay = account == Account::Repair;
            ask_whom_else(
                core,
                &informant,
                (&part.place, part.bits),
                part.count,
                with_hearsay,
                Purpose::Refill(account),
                0,
            );
        }
    }

    /// In a table that leaves some out: asks who is where too few are known outside the own slice.
    pub(crate) fn ask_about_a_gap(&mut self, core: &mut Core) {
        self.gaps.wake = Some(core.now + self.gaps.pause);
        let closed = core.closed_for(Account::Repair);
        if closed > Ticks(0) {
            self.gaps.wake = Some(core.now + closed.max(PROBE_PAUSE));
            return;
        }
        self.gaps.slow_down();
        let gap = if core.table.is_scale_in_doubt() { None } else { drawn_gap(core) };
        let Some(gap) = gap else { return };
        if let Some(informant) = self.next_informant(core, &gap.place, self.gaps.asked) {
            self.gaps.asked = self.gaps.asked.wrapping_add(1);
            let with_hearsay = self.is_new(core.now);
            ask_whom_else(core, &informant, (&gap.place, gap.bits), gap.count, with_hearsay, Purpose::Gap, 0);
        }
    }

    /// Where more contacts are wanted, and how many are to be expected there. While there is room for everybody, all parts of the
    /// keyspace in turn; else a drawn one of the own slice.
    pub(crate) fn next_part(&self, core: &mut Core, account: Account) -> (Wanted, u64) {
        let own = core.grid().0;
        let (slice_bits, complete_bits) = core.table.own_slice_bits();
        let nodes = core.table.scale().nodes().checked_shr(complete_bits.into()).unwrap_or(0);
        let nodes = nodes.min(core.config.neighbours_max.into());
        let part_bits = nodes.div_ceil(REFILL_PART).max(1).next_power_of_two().ilog2();
        let place = if core.table.is_partial() {
            drawn_within(core, &own, slice_bits)
        } else {
            let turn = self.refill.asked.reverse_bits();
            (0..part_bits).filter(|bit| turn << bit >> 31 == 1).fold(own, |place, bit| place.flip(bit))
        };
        let expected = nodes >> part_bits;
        let count = match account {
            Account::Repair => expected.clamp(REFILL_CONTACTS, REFILL_PART),
            Account::Near | Account::Far if place.common_bits(&own) < complete_bits.into() => REFILL_CONTACTS_GIVEN_UP,
            Account::Near | Account::Far => REFILL_CONTACTS,
        };
        (Wanted { place, bits: complete_bits + part_bits as u8, count: count as u16 }, expected)
    }

    /// Who is asked. Anybody may know those whom nobody around there knows: each attempt asks another. Asked only within that
    /// part, two groups that do not know of each other would never hear of each other; but where only some are known of each
    /// part, those who are next to it know most there, and are asked every other time.
    fn next_informant(&mut self, core: &mut Core, place: &Id, asked: u32) -> Option<Arc<Contact>> {
        if core.table.is_partial() && asked.is_multiple_of(2) {
            let nearest = core.table.nearest(place).find(|entry| entry.has_answered() && entry.failures() == 0);
            if let Some(nearest) = nearest {
                return Some(nearest.contact().clone());
            }
        }
        self.next_far(core)
    }

    /// Who pays for a question whom else there is where all should be known. A table that lacks most is in a hurry, and so is one
    /// that is being filled. The others may come as upkeep allows: whom one hears of must prove itself out of the same budget, so
    /// hearing of it sooner is of little use.
    pub(crate) fn refill_account(&self, core: &Core) -> Account {
        let is_filling = self.is_new(core.now) && !core.table.is_full();
        if core.table.is_short() || is_filling { Account::Repair } else { Account::Far }
    }

    /// Whether this node has joined a short time ago, and noticed no outage since: then hearsay is of use to it.
    fn is_new(&self, now: Tick) -> bool {
        self.filling_until.is_some_and(|until| now < until)
    }

    /// Somebody was asked who else is where all should be known, and has named so many who were not known.
    pub(crate) fn on_refilled(&mut self, now: Tick, account: Account, brought: usize) {
        if account == Account::Repair && brought >= self.refill_worth.into() {
            self.refill.soon(now);
        }
    }

    /// Somebody was asked about a gap, and has named so many who were not known.
    pub(crate) fn on_gap_filled(&mut self, now: Tick, brought: usize) {
        if brought > 0 {
            self.gaps.soon(now);
        }
    }

    /// The node has joined.
    pub(super) fn start_filling(&mut self, now: Tick) {
        self.filling_until = Some(now + FILLING);
        self.refill.start(now);
        // Its pace is an old one where the node has joined once more.
        self.gaps.soon(now);
    }

    /// `peer` does not see the holders of `place` that this node sees: it is asked for those that this node does not know.
    /// Mostly there are none, since it is the peer that knows too few, or widens the set otherwise: the more were asked in
    /// vain in a row, the more are passed over.
    pub(crate) fn on_other_set(&mut self, core: &mut Core, peer: &Arc<Contact>, place: &Id, account: Account) {
        if self.passed_over < self.asked_in_vain {
            self.passed_over += 1;
            return;
        }
        let view = core.view(place, core.config.holders);
        let Some((farthest, _)) = view.others.last() else { return };
        let bits = (farthest.prefix() ^ place.prefix()).leading_zeros() as u8;
        drop(view);
        (self.passed_over, self.asked_in_vain) = (0, (self.asked_in_vain + 1).min(IN_VAIN_MAX));
        ask_whom_else(core, peer, (place, bits), ACQUAINTANCES, false, Purpose::Acquaint(account), 0);
    }

    /// Somebody so asked has named somebody who was not known.
    pub(crate) fn on_acquainted(&mut self) {
        (self.passed_over, self.asked_in_vain) = (0, 0);
    }
}

/// A part of the keyspace outside the own slice in which too few are known, if one is found.
fn drawn_gap(core: &mut Core) -> Option<Wanted> {
    (0..GAP_DRAWS).find_map(|_| {
        let place = drawn_within(core, &Id([0; 32]), 0);
        let (bits, count) = core.table.gap_at(&place)?;
        Some(Wanted { place, bits, count })
    })
}

/// Asks `peer` for at most `count` contacts that share so many leading bits with a place and that this node does not know.
pub(crate) fn ask_whom_else(
    core: &mut Core,
    peer: &Arc<Contact>,
    (place, bits): (&Id, u8),
    count: u16,
    with_hearsay: bool,
    purpose: Purpose,
    depth: u8,
) {
    let start = drawn_within(core, place, bits);
    let is_in = |grid: &Grid| grid.0.common_bits(&start) >= bits.into();
    let refused = core.dead.refused().filter(is_in).map(|grid| grid.0.prefix());
    let known = core.table.known_in(&start, bits).chain(refused);
    let known = known.map(|prefix| Mark::new(&start, prefix)).collect();
    let part = Arc::new(Part { start, bits, count, with_hearsay, known });
    core.ask(peer, false, purpose, depth, |id| Message::Sample(Sample { id, part }));
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
