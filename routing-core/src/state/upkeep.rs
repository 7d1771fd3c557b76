//! Keeping the table true in the background, within a budget of bytes.
//!
//! Two sweeps probe contacts one by one. The *near* sweep goes round the own neighbourhood every minute and asks each
//! node whether it sees the same nodes around us: that is how later arrivals and departures are heard of. The *far*
//! sweep goes round the whole table, asking each contact about its own surroundings, so that hearsay proves itself and
//! what nobody told us comes to light. Who was heard from since the last round is passed over (as a page in use is by
//! the clock algorithm), so two nodes that know each other do not both probe.

use super::core::Core;
use super::requests::Purpose;
use crate::contact::Contact;
use crate::effect::Notice;
use crate::holders::SetName;
use crate::id::{Grid, Id};
use crate::message::{Find, Message, RequestId, Sample, Want};
use crate::time::{Tick, Ticks};
use rand_core::Rng;
use std::sync::Arc;

/// What opening a link counts against a budget, in bytes.
pub(crate) const LINK_BYTES: i64 = 64;
/// What a probe costs on average beside the link: question and answer with their framing, in bytes.
const PROBE_BYTES: i64 = 88;
/// How many contacts that were heard from anyway one sweep passes over at a time.
const PASSED_OVER_MAX: usize = 64;
/// How many failures in a row make a contact be forgotten.
const FORGOTTEN_FAILURES: u8 = 4;
/// How often the table is looked over for parts in which too few are known: soon while some are found, seldom else.
const REFILL_PAUSE: Ticks = Ticks::seconds(2);
const REFILL_PAUSE_MAX: Ticks = Ticks::seconds(30);
/// How many contacts one such request brings at most: what a second of the repair budget pays for.
const REFILL_CONTACTS: usize = 512;
/// Parts that share more leading bits with the own id are the near sweep's affair.
const REFILL_DEPTH_MAX: u32 = 40;
/// The least pause between two probes of neighbours that have not answered yet.
const EAGER_PAUSE: Ticks = Ticks(20);

#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The own neighbourhood when it was looked up last.
    near: Vec<Arc<Contact>>,
    near_next: usize,
    /// How far the own neighbourhood reaches, in leading 64 bits; everywhere while fewer than 4 k groups are known.
    near_edge: u64,
    /// Whether somebody in it may not have answered yet.
    has_strangers: bool,
    pub(crate) near_wake: Option<Tick>,
    far_bin: usize,
    far_index: usize,
    pub(crate) far_wake: Option<Tick>,
    /// When the table is looked over for parts in which too few are known, and how long to wait after a vain attempt.
    pub(crate) refill_wake: Option<Tick>,
    refill_pause: Ticks,
    /// Bytes saved up, at most for a second of probes.
    credit: i64,
    credited: Tick,
}

impl Upkeep {
    pub(super) fn start(&mut self, core: &Core) {
        self.credited = core.now;
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
        self.near_wake.into_iter().chain(self.far_wake).chain(self.refill_wake).min()
    }

    /// Whether somebody so far away (in leading 64 bits) belongs to the own neighbourhood.
    pub(super) fn is_near(&self, distance: u64) -> bool {
        distance <= self.near_edge
    }

    /// Somebody new turned up in the own neighbourhood, or somebody left it: the sweep begins anew, and soon.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.near.clear();
        self.near_wake = self.near_wake.map(|wake| wake.min(now + EAGER_PAUSE));
        // The network grows, or shrinks: what was enough to know may be too little now.
        self.refill_pause = REFILL_PAUSE;
        self.refill_wake = self.refill_wake.map(|wake| wake.min(now + REFILL_PAUSE));
    }

    pub(super) fn on_wake(&mut self, core: &mut Core) {
        if self.near_wake.is_some_and(|wake| core.now >= wake) {
            self.probe_near(core);
        }
        if self.far_wake.is_some_and(|wake| core.now >= wake) {
            self.probe_far(core);
        }
        if self.refill_wake.is_some_and(|wake| core.now >= wake) {
            self.refill(core);
        }
    }

    /// Probes those next to places that somebody asked for. Each is asked once, so this costs no more than the far sweep
    /// would have in time.
    pub(super) fn meet_strangers(&mut self, core: &mut Core) {
        for contact in std::mem::take(&mut core.strangers) {
            let is_stranger =
                core.table.entry(&contact.grid()).is_some_and(|entry| !entry.has_answered() && entry.failures() == 0);
            if self.far_wake.is_some() && is_stranger && !core.table.begin_probe(&contact.grid()) {
                let place = contact.grid().0;
                self.probe(core, &contact, place);
            }
        }
    }

    /// Who joined while the network was small knows a small part of what there is now. Where far fewer are known than the
    /// density tells, somebody is asked for more, as on joining.
    fn refill(&mut self, core: &mut Core) {
        self.refill_wake = Some(core.now + self.refill_pause);
        let lacking: Vec<u32> = (0..=REFILL_DEPTH_MAX).filter(|shared| core.table.lacks(*shared)).collect();
        if lacking.is_empty() {
            self.refill_pause = REFILL_PAUSE_MAX.min(Ticks(self.refill_pause.0 * 2));
            return;
        }
        // One of them, drawn: of the farthest perhaps nobody is known yet who knows anybody.
        let shared = lacking[core.rng.next_u64() as usize % lacking.len()];
        self.refill_pause = REFILL_PAUSE;
        // Anybody may know those whom nobody around here knows: a drawn place, so that each attempt asks another. Asked only
        // within that part, two groups that do not know of each other would never hear of each other.
        let mut place = core.grid().0;
        core.rng.fill_bytes(&mut place.0);
        let informant = core.table.nearest(&place).find(|contact| contact.failures() == 0);
        if let Some(informant) = informant.map(|entry| entry.contact().clone()) {
            let start = core.grid().0.flip(shared);
            let count = core.table.share_of(shared).min(REFILL_CONTACTS) as u16;
            let sample = Sample { id: RequestId(0), start, bits: (shared + 1) as u8, count };
            core.ask(&informant, false, Purpose::Refill, 0, |id| Message::Sample(Sample { id, ..sample }));
        }
    }

    fn probe_near(&mut self, core: &mut Core) {
        if self.near_next >= self.near.len() {
            let neighbourhood = usize::from(core.config.holders) * 4;
            let own = core.grid().0;
            self.near = core.table.nearest(&own).take(neighbourhood).map(|entry| entry.contact().clone()).collect();
            let edge = self.near.get(neighbourhood - 1);
            self.near_edge = edge.map_or(u64::MAX, |edge| own.prefix() ^ edge.grid().0.prefix());
            self.near_next = 0;
            self.has_strangers = true;
        }
        // Neighbours that have not answered yet come first, and soon.
        if self.has_strangers {
            let is_stranger = |contact: &Arc<Contact>| {
                core.table.entry(&contact.grid()).is_some_and(|entry| !entry.has_answered() && entry.failures() == 0)
            };
            if let Some(first) = (self.near_next..self.near.len()).find(|index| is_stranger(&self.near[*index])) {
                self.near.swap(self.near_next, first);
                let contact = self.near[self.near_next].clone();
                self.near_next += 1;
                self.probe_neighbour(core, &contact);
                self.near_wake = Some(core.now + EAGER_PAUSE);
                return;
            }
            self.has_strangers = false;
        }
        let pause = Ticks(core.config.neighbour_probe_every.0 / self.near.len().max(1) as u64).max(EAGER_PAUSE);
        self.near_wake = Some(core.now + pause);
        if let Some(contact) = self.near.get(self.near_next).cloned() {
            self.near_next += 1;
            if !core.table.take_recent(&contact.grid()) {
                self.probe_neighbour(core, &contact);
            }
        }
    }

    /// A stranger is met once, as part of its joining or this node's; the sweeps share what upkeep may cost.
    fn probe_neighbour(&mut self, core: &mut Core, contact: &Arc<Contact>) {
        let own = core.grid().0;
        let is_stranger = core.table.entry(&contact.grid()).is_some_and(|entry| !entry.has_answered());
        let credit = self.credit;
        self.probe(core, contact, own);
        if is_stranger {
            self.credit = credit;
        }
    }

    fn probe_far(&mut self, core: &mut Core) {
        let rate = i64::from(core.config.upkeep_bytes_per_second);
        self.credit = (self.credit + rate * core.now.since(self.credited).0.min(60_000) as i64 / 1_000).min(rate);
        self.credited = core.now;
        // While there is hearsay, as fast as the budget allows; then one round of the table in `contact_probe_every`.
        let has_hearsay = core.table.answered() < core.table.len();
        let round = if has_hearsay { 0 } else { core.config.contact_probe_every.0 };
        let round_pause = round / core.table.len().max(1) as u64;
        let budget_pause = ((LINK_BYTES + PROBE_BYTES) * 1_000 / rate) as u64;
        self.far_wake = Some(core.now + Ticks(round_pause.max(budget_pause).max(1)));
        if self.credit < 0 {
            return;
        }
        if let Some(contact) = self.next_far(core) {
            let place = contact.grid().0;
            self.probe(core, &contact, place);
        }
    }

    /// The next contact of the table that was not heard from since the last round. Bins are walked in bit-reversed
    /// order, so that each part of the keyspace is met early.
    fn next_far(&mut self, core: &mut Core) -> Option<Arc<Contact>> {
        for _ in 0..PASSED_OVER_MAX {
            let bins = core.table.bins();
            let bits = bins.ilog2();
            if self.far_bin >= bins {
                self.far_bin = 0;
            }
            let bin = self.far_bin.reverse_bits().checked_shr(usize::BITS - bits).unwrap_or(0);
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

    /// Asks `contact` who is around `place`; an answer names nobody if it sees what we see.
    fn probe(&mut self, core: &mut Core, contact: &Arc<Contact>, place: Id) {
        let is_complete = core.table.is_complete_at(&place);
        let (groups, set) = if is_complete {
            (core.config.holders, core.view(&place, core.config.holders).name)
        } else {
            (0, SetName::NONE)
        };
        let is_linked = core.table.entry(&contact.grid()).is_some_and(|entry| entry.is_linked());
        self.credit -= PROBE_BYTES + if is_linked { 0 } else { LINK_BYTES };
        core.ask(contact, false, Purpose::Probe, 0, |id| {
            Message::Find(Find { id, target: place, want: Want::Contacts, groups, set })
        });
    }
}

impl Core {
    /// A contact left a request unanswered.
    pub(super) fn on_contact_failed(&mut self, grid: &Grid) {
        if self.table.on_failure(grid).is_some_and(|failures| failures >= FORGOTTEN_FAILURES) {
            self.table.remove(grid);
            self.notify(Notice::NeighbourLost(*grid));
        }
    }
}
