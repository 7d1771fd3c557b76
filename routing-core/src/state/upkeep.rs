//! Keeping the table true in the background, within a budget of bytes.
//!
//! Two sweeps probe contacts one by one. The *near* sweep goes round the own neighbourhood every minute and asks each
//! node whether it sees the same nodes around us: that is how later arrivals and departures there are heard of. The *far*
//! sweep goes round the whole table, so that hearsay proves itself and who is gone is noticed; where the table leaves some
//! out, each far contact draws who takes its place. Who was heard from since the last round is passed over (as a page in use
//! is by the clock algorithm), so two nodes that know each other do not both probe.
//!
//! *Refills* bring whom this node does not know.

mod refill;
mod sweeps;

use super::budget::Account;
use super::compare::Comparisons;
use super::core::Core;
use super::requests::Purpose;
use crate::contact::Contact;
use crate::effect::Notice;
use crate::id::{Grid, Key};
use crate::table::Entry;
use crate::time::{Tick, Ticks};
use rand_core::Rng;
use std::collections::VecDeque;
use std::sync::Arc;
use sweeps::ask_for_a_word;

pub(super) use refill::{Pace, ask_whom_else};

/// What a comparison costs where nothing differs: question and answer with their framing, in bytes.
const COMPARISON_BYTES: usize = 96;
/// How long between two looks at some strays.
const STRAYS_PAUSE: Ticks = Ticks::seconds(1);
/// The least pause between two probes of one sweep.
const PROBE_PAUSE: Ticks = Ticks(100);
/// The least pause between two probes of neighbours that have not answered yet, and between two urgent comparisons.
const EAGER_PAUSE: Ticks = Ticks(20);
/// How long things are left to come to rest before what the lost held is compared: the first time, and at most when more
/// are found to be lost again and again.
const REST: Ticks = Ticks::seconds(3);
const REST_MAX: Ticks = Ticks::seconds(12);
/// How soon after one another so many neighbours must fall silent to be an outage: more than one for each eight holders of a
/// key. Some keys may have lost as many then, and nobody should wait for a round of the sweep to find out.
const OUTAGE: Ticks = Ticks::minutes(1);
const OUTAGE_SHARE: u32 = 8;
/// How long between two times that all neighbours are asked: those who take the places of the silent ones must become
/// known first, and all others have just answered.
const ROLL_CALL_PAUSE: Ticks = Ticks::seconds(5);
/// For how long whoever was heard from after a roll call began need not be asked by the next one.
const ROLL_FRESH: Ticks = Ticks::seconds(10);
/// For how long after joining once more a node compares again whatever it is given.
const AFTER_A_CUT: Ticks = Ticks::minutes(2);
/// How long between two times that a node joins once more by itself.
const REJOIN_PAUSE: Ticks = Ticks::minutes(1);

#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The own neighbourhood when it was looked up last, by the leading 64 bits of the ids.
    near: Vec<u64>,
    near_next: usize,
    /// How many after that have been heard from, and are passed over when the sweep wakes.
    near_passed: u32,
    /// Whether the neighbourhood may have changed since this was asked last.
    has_near_changed: bool,
    /// How far the own neighbourhood reaches, in leading 64 bits; everywhere while fewer than 4 k groups are known.
    near_edge: u64,
    /// Who comes before this one has been looked at for whether it has not answered yet.
    stranger_next: usize,
    pub(crate) near_wake: Option<Tick>,
    far_bin: usize,
    far_index: usize,
    pub(crate) far_wake: Option<Tick>,
    /// When somebody is asked whom this node does not know where all should be known, and about a slice outside that has too few.
    pub(crate) refill: Pace,
    pub(crate) gaps: Pace,
    /// How many contacts the next answer about the former has to bring to be worth its question.
    pub(super) refill_worth: u16,
    /// Until when the table is filled in a hurry.
    filling_until: Option<Tick>,
    /// How many neighbours that saw another set have named nobody new, one after the other, and how many were not asked since.
    asked_in_vain: u8,
    passed_over: u8,
    /// Fellow holders that this round of comparisons has not come to, and what it is for.
    round: VecDeque<Arc<Contact>>,
    /// How long it leaves between one of them and the next, where there is no haste.
    pace: Ticks,
    haste: Haste,
    /// How long things are left to come to rest before the next urgent round, and when one began last.
    rest: Ticks,
    hastened: Option<Tick>,
    /// Whether one round has begun since this node joined.
    has_begun_rounds: bool,
    /// Up to which change of the fellowship it has compared.
    compared: Option<u64>,
    pub(crate) compare_wake: Option<Tick>,
    /// When some strays are looked at next, and from which on.
    strays: Option<(Tick, Box<Key>)>,
    /// When somebody who was given up is tried.
    revive_wake: Option<Tick>,
    /// How many neighbours have fallen silent since then.
    silent: u32,
    silent_since: Tick,
    /// How many neighbours are still to be asked at once whether they are there.
    roll_call: u32,
    /// When that was begun last, and since when whoever was heard from is not asked.
    pub(super) roll_called: Option<Tick>,
    roll_since: Tick,
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
        self.has_near_changed = true;
        self.near_edge = u64::MAX;
        self.near_wake = Some(core.now + Ticks(1_000));
        self.far_wake = Some(core.now + Ticks(1_000));
        self.start_filling(core.now);
    }

    pub(super) fn stop(&mut self) {
        *self = Upkeep::default();
    }

    pub(super) fn next_wake(&self) -> Option<Tick> {
        let rejoin_wake = self.rejoin_wake.as_ref().map(|(wake, _)| *wake);
        let strays_wake = self.strays.as_ref().map(|(wake, _)| *wake);
        let sweeps = [self.near_wake, self.far_wake, self.refill.wake, self.gaps.wake];
        let wakes = [self.compare_wake, self.revive_wake];
        sweeps.into_iter().chain(wakes).chain([rejoin_wake, strays_wake]).flatten().min()
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
        self.near_passed = 0;
        self.has_near_changed = true;
        self.near_wake = self.near_wake.map(|wake| wake.min(now + EAGER_PAUSE));
        // The network grows, or shrinks: what was enough to know may be too little now. Far away that is no news.
        self.refill.soon(now);
    }

    pub(super) fn on_wake(&mut self, core: &mut Core, comparisons: &mut Comparisons) {
        if self.compare_wake.is_some_and(|wake| core.now >= wake) {
            self.compare_next(core, comparisons);
        }
        if let Some((_, from)) = self.strays.take_if(|(wake, _)| core.now >= *wake) {
            let next = core.hand_over_strays(*from);
            self.strays = next.map(|next| (core.now + STRAYS_PAUSE, Box::new(next)));
        }
        if self.revive_wake.is_some_and(|wake| core.now >= wake) {
            self.revive_one(core);
        }
        if self.near_wake.is_some_and(|wake| core.now >= wake) {
            self.probe_near(core);
        }
        // Refills are few: where one waits for the same account as the far sweep, it goes first, or it would never go.
        if self.refill.is_due(core.now) {
            self.ask_where_all_should_be_known(core);
        }
        if core.table.is_partial() && self.gaps.wake.is_none() && self.refill.wake.is_some() {
            self.gaps.start(core.now);
        }
        if self.gaps.is_due(core.now) {
            self.ask_about_a_gap(core);
        }
        if self.far_wake.is_some_and(|wake| core.now >= wake) {
            self.probe_far(core);
        }
        // Who has given up nobody need not wake for it.
        if core.dead.is_empty() || self.far_wake.is_none() {
            self.revive_wake = None;
        } else if self.revive_wake.is_none() {
            self.revive_wake = Some(core.now + core.config.revive_every);
        }
    }

    /// A neighbour has fallen silent. When many do within a short time, it is an outage: all are asked at once whether they
    /// are there. Who has never answered is none of them: anybody can invent those. Says whether an outage has begun.
    pub(super) fn on_neighbour_silent(&mut self, core: &mut Core, has_answered: bool) -> bool {
        if core.now.since(self.silent_since) > OUTAGE {
            (self.silent, self.silent_since) = (0, core.now);
        }
        self.silent += u32::from(has_answered);
        self.hurry(core.now);
        let may_call = self.roll_called.is_none_or(|called| core.now.since(called) >= ROLL_CALL_PAUSE);
        let is_outage = may_call && self.silent * OUTAGE_SHARE > core.config.holders.into();
        if is_outage {
            (self.silent, self.silent_since, self.roll_called) = (0, core.now, Some(core.now));
            // Who is known by hearsay only may be gone, too.
            self.filling_until = None;
            self.roll_call = u32::from(core.config.holders) * 4;
            if core.now.since(self.roll_since) >= ROLL_FRESH {
                self.roll_since = core.now;
                core.table.forget_recent();
            }
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

    /// Comparisons begin anew, soon: one round does for all who are lost before it begins. The next one has to wait for twice
    /// as long.
    fn call(&mut self, now: Tick) {
        self.round.clear();
        let is_called = std::mem::replace(&mut self.haste, Haste::Called) == Haste::Called;
        if is_called && self.compare_wake.is_some_and(|wake| wake > now) {
            return;
        }
        if self.hastened.is_none_or(|hastened| now.since(hastened) > OUTAGE) {
            self.rest = REST;
        }
        self.compare_wake = self.compare_wake.map(|_| now + self.rest);
    }

    /// One comparison after the other, with all fellows. After an urgent round what the lost held is here as far as
    /// anybody has it.
    fn compare_next(&mut self, core: &mut Core, comparisons: &mut Comparisons) {
        if core.absent.expire(core.now) {
            core.fellowship.clear();
            return self.call(core.now);
        }
        if let Some(fellow) = self.next_fellow(core) {
            if self.haste != Haste::Urgent {
                core.budget.spend(Account::Near, COMPARISON_BYTES);
            }
            core.compare_with(comparisons, &fellow);
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
            self.strays = self.strays.take().or(core.strays.first().map(|first| (core.now, Box::new(*first))));
            self.haste = if self.haste == Haste::Called { Haste::Urgent } else { Haste::None };
            if self.haste == Haste::Urgent {
                self.hastened = Some(core.now);
                self.rest = Ticks(self.rest.0 * 2).min(REST_MAX);
            }
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
            self.pace = Ticks(core.config.compare_every.0 / (self.round.len() as u64 + 1)).max(EAGER_PAUSE);
        }
        let pause = if self.haste == Haste::Urgent { EAGER_PAUSE } else { self.pace };
        let next = core.now + pause;
        self.compare_wake = Some(core.absent.next_due().map_or(next, |due| next.min(due.max(core.now + Ticks(1)))));
    }

    /// With whom this round compares next. If a fellow has asked meanwhile, and both had the same, so much is known; but votes
    /// on claims are counted in answers.
    fn next_fellow(&mut self, core: &Core) -> Option<Arc<Contact>> {
        let is_known = |fellow: &Grid| core.fellowship.has_agreed(fellow) && !core.holds_claims();
        let may_ask = |fellow: &Grid| core.table.entry(fellow).is_some_and(Entry::is_available) && !is_known(fellow);
        while let Some(fellow) = self.round.pop_front() {
            if may_ask(&fellow.grid()) {
                return Some(fellow);
            }
        }
        None
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
}
