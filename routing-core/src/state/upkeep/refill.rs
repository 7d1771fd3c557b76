//! Whom else is there: how a node hears of those that are neither its neighbours nor have called it.
//!
//! Whoever comes next in the far sweep is asked about a part of the keyspace, and told by two bytes each who is known there, so
//! that the answer holds nobody else. So everybody is asked as often as anybody; only where a table leaves some out, every other
//! question goes to somebody next to the part, and half of them are about the own slice, in which all are to be known, unless
//! asking about others brings somebody each time. Neighbours that do not see the same neighbourhood are asked so, too, about
//! that. Reasons: decisions 0024 and 0026.

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

/// A part of the keyspace about which somebody is asked, by its leading bits.
pub(crate) struct Gap {
    pub(crate) part: Id,
    pub(crate) bits: u8,
    /// How many contacts are wanted, and how many there are to be expected.
    count: u16,
    expected: u64,
    account: Account,
    /// Whether hearsay is wanted, too.
    with_hearsay: bool,
}

impl Upkeep {
    /// Who joined while the network was small knows a small part of what there is now, and nobody tells a node of those who
    /// come later, unless they are neighbours: so it asks. If the density itself is in doubt, it asks many for that.
    pub(crate) fn refill(&mut self, core: &mut Core) {
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
        let gap = self.next_gap(core);
        let closed = core.closed_for(gap.account);
        if closed > Ticks(0) {
            self.refill_wake = Some(core.now + closed.max(PROBE_PAUSE));
            return;
        }
        if let Some(informant) = self.next_informant(core, &gap) {
            let Gap { part, bits, count, expected, account, with_hearsay } = gap;
            self.refill_part = self.refill_part.wrapping_add(1);
            self.refill_pause = if account == Account::Repair { self.longer_pause() } else { REFILL_PAUSE_MAX };
            self.refill_worth = expected.div_ceil(REFILL_WORTH).max(1);
            ask_whom_else(core, &informant, (&part, bits), count, with_hearsay, Purpose::Refill(account), 0);
        }
    }

    /// Where more contacts are wanted. While there is room for everybody, all parts of the keyspace in turn; else a drawn one of the
    /// own slice, and as often one of those outside in which too few are known, if there are such; one of these in any case where
    /// the last answer has brought somebody for one: that is soon, and the own slice has the pace of upkeep.
    pub(crate) fn next_gap(&self, core: &mut Core) -> Gap {
        let is_partial = core.table.is_partial();
        let is_outside_first = self.refill_pause == REFILL_PAUSE || self.refill_part & 2 == 0;
        let outside = if is_partial && is_outside_first { drawn_gap(core) } else { None };
        if let Some(gap) = outside {
            return gap;
        }
        let own = core.grid().0;
        let (slice_bits, complete_bits) = core.table.own_slice_bits();
        let nodes = core.table.scale().nodes().checked_shr(complete_bits.into()).unwrap_or(0);
        let nodes = nodes.min(core.config.neighbours_max.into());
        let part_bits = nodes.div_ceil(REFILL_PART).max(1).next_power_of_two().ilog2();
        let part = if is_partial {
            drawn_within(core, &own, slice_bits)
        } else {
            let turn = self.refill_part.reverse_bits();
            (0..part_bits).filter(|bit| turn << bit >> 31 == 1).fold(own, |part, bit| part.flip(bit))
        };
        let expected = nodes >> part_bits;
        let account = self.refill_account(core);
        let count = match account {
            Account::Repair => expected.clamp(REFILL_CONTACTS, REFILL_PART),
            Account::Near | Account::Far if part.common_bits(&own) < complete_bits.into() => REFILL_CONTACTS_GIVEN_UP,
            Account::Near | Account::Far => REFILL_CONTACTS,
        };
        // While it knows so few, everybody who may be there is of use.
        let with_hearsay = account == Account::Repair;
        Gap { part, bits: complete_bits + part_bits as u8, count: count as u16, expected, account, with_hearsay }
    }

    /// Who is asked. Anybody may know those whom nobody around there knows: each attempt asks another. Asked only within that
    /// part, two groups that do not know of each other would never hear of each other; but where only some are known of each
    /// part, those who are next to it know most there, and are asked every other time.
    fn next_informant(&mut self, core: &mut Core, gap: &Gap) -> Option<Arc<Contact>> {
        if core.table.is_partial() && self.refill_part.is_multiple_of(2) {
            let nearest = core.table.nearest(&gap.part).find(|entry| entry.has_answered() && entry.failures() == 0);
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
        let is_filling = self.filling_until.is_some_and(|until| core.now < until) && !core.table.is_full();
        if core.table.is_short() || is_filling { Account::Repair } else { Account::Far }
    }

    fn longer_pause(&self) -> Ticks {
        REFILL_PAUSE_MAX.min(Ticks(self.refill_pause.0 * 2))
    }

    /// Somebody was asked for contacts that this node does not know, and has named so many of them.
    pub(crate) fn on_refilled(&mut self, now: Tick, account: Account, brought: usize) {
        if account == Account::Repair && brought as u64 >= self.refill_worth {
            self.refill_soon(now);
        }
    }

    /// The next question comes soon, and so do those after it for as long as that is of use.
    pub(super) fn refill_soon(&mut self, now: Tick) {
        self.refill_pause = REFILL_PAUSE;
        self.refill_wake = self.refill_wake.map(|wake| wake.min(now + REFILL_PAUSE));
    }

    /// The node has joined.
    pub(super) fn start_filling(&mut self, now: Tick) {
        self.filling_until = Some(now + FILLING);
        self.refill_pause = REFILL_PAUSE;
        self.refill_wake = Some(now + REFILL_PAUSE);
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
fn drawn_gap(core: &mut Core) -> Option<Gap> {
    (0..GAP_DRAWS).find_map(|_| {
        let part = drawn_within(core, &Id([0; 32]), 0);
        let (bits, count) = core.table.gap_at(&part)?;
        Some(Gap { part, bits, count, expected: count.into(), account: Account::Repair, with_hearsay: false })
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
