//! A home-server hands its users' records to their holders again: every day, after an outage, and when it is told to.
//!
//! ```text
//!   all users who live here, by key
//!     -> stretches of the keyspace, one after the other, with a pause that pays for what the last one cost
//!     -> each holder is told the digest of what it should have there, and says whether it has that
//!          -> the same: nothing moves, and the ages there begin anew
//!          -> something differs: it lists what it has, and is given what it lacks
//! ```
//!
//! How one stretch is handed over is the business of [`super::register`], whose manner this is. What it means to the
//! holder is at the end of this file: only who is at the domain in question is told anything.

use super::NodeState;
use super::compare::difference;
use super::core::Core;
use super::operations::{Progress, Running};
use super::register::{Register, Registered, Registration};
use super::requests::Pending;
use crate::domain::Domain;
use crate::effect::{Effect, Notice, OperationId, Outcome};
use crate::id::{Grid, Guid, Id, Kind};
use crate::message::{Brief, Compared, Difference, Fetched, Found, Range, Stored, UsersOf};
use crate::record::Record;
use crate::time::{Tick, Ticks};
use rand_core::Rng;
use std::sync::Arc;

/// The announcement that the node makes by itself: no caller waits for it.
pub(super) const OWN: OperationId = OperationId(u64::MAX - 1);

/// How many users a stretch has, if it still has a few times k nodes then: with fewer, most holders would be asked in
/// several stretches.
const STRETCH_USERS: usize = 1_024;
/// How many users a stretch has at most, however few nodes there are: each takes a place for each of its holders.
const STRETCH_USERS_MAX: usize = 16_384;
/// After an outage a server announces its users within this time: not all in the same moment, if all were away.
const HURRY: Ticks = Ticks::minutes(1);

/// When the node announces its users by itself.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next: Option<Tick>,
}

impl Schedule {
    /// The node has joined: the first time is drawn, so that servers which start together do not announce together.
    pub(super) fn start(&mut self, core: &mut Core) {
        let every = core.config.announce_every;
        self.next = (every > Ticks(0)).then(|| core.now + Ticks(1 + core.rng.next_u64() % every.0));
        // It lives here already: so this node comes back.
        if !core.homed.is_empty() {
            self.hurry(core);
        }
    }

    pub(super) fn stop(&mut self) {
        self.next = None;
    }

    /// What the holders have may be old, or lost: the node was away or down, or cut off from most of its neighbourhood.
    pub(super) fn hurry(&mut self, core: &mut Core) {
        let soon = core.now + Ticks(1 + core.rng.next_u64() % HURRY.0);
        self.next = self.next.map(|next| next.min(soon));
    }

    pub(super) fn next_wake(&self) -> Option<Tick> {
        self.next
    }

    /// Whether it is time. Says so once.
    fn is_due(&mut self, core: &Core) -> bool {
        let is_due = self.next.is_some_and(|next| core.now >= next);
        if is_due {
            self.next = Some(core.now + core.config.announce_every);
        }
        is_due
    }
}

impl NodeState {
    /// Begins the announcement that the node makes by itself, if it is time.
    pub(super) fn announce_if_due(&mut self) {
        if self.announcing.is_due(&self.core) && !self.core.homed.is_empty() && !self.operations.contains_key(&OWN) {
            let announce = Announce::start(&mut self.core, OWN);
            if let Some(announce) = announce {
                self.run(OWN, Running::Announce(announce));
            }
        }
    }
}

/// An announcement under way.
#[derive(Debug)]
pub(crate) struct Announce {
    id: OperationId,
    domain: Option<Domain>,
    /// How many leading bits the keys of a stretch share, and the number of the next one; none after the last.
    bits: u8,
    next: Option<u64>,
    /// Where the stretch under way begins.
    start: Id,
    stretch: Option<Register>,
    /// What it has cost so far, if it was begun once more.
    doubtful_bytes: u64,
    /// When the next stretch begins, while what the last one cost is being paid for.
    resume: Option<Tick>,
    users: u32,
    acknowledged: u32,
    /// What became of each record, if somebody waits for it.
    records: Vec<Registration>,
    round_trips: u8,
}

/// The leading bits of a stretch, for so many users and about so many nodes.
fn stretch_bits(users: usize, nodes: u64, holders: u16) -> u8 {
    let halvings = |count: usize, bound: usize| count.div_ceil(bound).next_power_of_two().ilog2();
    let with_nodes = (nodes / (u64::from(holders) * 4)).max(1).ilog2();
    halvings(users, STRETCH_USERS).min(with_nodes).max(halvings(users, STRETCH_USERS_MAX)) as u8
}

/// Stretch number `index` of those that share so many leading bits: where it begins.
fn stretch_start(index: u64, bits: u8) -> Id {
    let mut id = [0; 32];
    let prefix = if bits == 0 { 0 } else { index << (64 - u32::from(bits)) };
    id[..8].copy_from_slice(&prefix.to_be_bytes());
    Id(id)
}

impl Announce {
    /// Begins. `None` if nothing has to be waited for.
    pub(super) fn start(core: &mut Core, id: OperationId) -> Option<Self> {
        let bits = stretch_bits(core.homed.len(), core.scale().nodes(), core.config.holders);
        let mut announce = Self {
            id,
            domain: core.contact.address().domain(),
            bits,
            next: Some(0),
            start: stretch_start(0, bits),
            stretch: None,
            doubtful_bytes: 0,
            resume: None,
            users: 0,
            acknowledged: 0,
            records: Vec::new(),
            round_trips: 0,
        };
        match announce.go_on(core) {
            Progress::Going => Some(announce),
            Progress::Done => None,
        }
    }

    pub(super) fn next_wake(&self) -> Tick {
        let stretch = self.stretch.as_ref().map(Register::next_wake);
        self.resume.into_iter().chain(stretch).min().unwrap_or(Tick(u64::MAX))
    }

    pub(super) fn on_found(&mut self, core: &mut Core, pending: &Pending, found: &Found) -> Progress {
        self.with_stretch(core, |stretch, core| stretch.on_found(core, pending, found))
    }

    pub(super) fn on_stored(&mut self, core: &mut Core, pending: &Pending, stored: &Stored) -> Progress {
        self.with_stretch(core, |stretch, core| stretch.on_stored(core, pending, stored))
    }

    pub(super) fn on_compared(&mut self, core: &mut Core, pending: &Pending, compared: &Compared) -> Progress {
        self.with_stretch(core, |stretch, core| stretch.on_compared(core, pending, compared))
    }

    pub(super) fn on_silence(&mut self, core: &mut Core, pending: &Pending) -> Progress {
        self.with_stretch(core, |stretch, core| stretch.on_silence(core, pending))
    }

    pub(super) fn on_wake(&mut self, core: &mut Core) -> Progress {
        if self.resume.take_if(|resume| core.now >= *resume).is_some() {
            return self.go_on(core);
        }
        self.with_stretch(core, Register::on_wake)
    }

    fn with_stretch(&mut self, core: &mut Core, step: impl FnOnce(&mut Register, &mut Core) -> Progress) -> Progress {
        let Some(stretch) = &mut self.stretch else { return Progress::Going };
        if step(stretch, core) == Progress::Going {
            return Progress::Going;
        }
        if stretch.is_doubtful() {
            self.doubtful_bytes = stretch.bytes_sent();
            self.begin_stretch(core, true);
        } else if let Some(stretch) = self.stretch.take() {
            self.end_stretch(core, &stretch);
        }
        if self.stretch.is_some() || self.resume.is_some() {
            return Progress::Going;
        }
        self.go_on(core)
    }

    /// Begins the next stretch that somebody lives in. Goes on if there is one, or something to wait for.
    fn go_on(&mut self, core: &mut Core) -> Progress {
        while let Some(index) = self.next {
            self.next = (index + 1 < 1 << self.bits).then_some(index + 1);
            self.start = stretch_start(index, self.bits);
            self.begin_stretch(core, false);
            if self.stretch.is_some() || self.resume.is_some() {
                return Progress::Going;
            }
        }
        self.report(core);
        Progress::Done
    }

    /// Begins with this stretch, perhaps once more. It may end at once, as where nobody lives in it.
    fn begin_stretch(&mut self, core: &mut Core, asks_the_way: bool) {
        self.stretch = None;
        let range = (self.start, self.bits);
        let records = core.homed_in(&self.start, self.bits);
        if records.is_empty() {
            return;
        }
        match Register::announce(core, self.id, records, self.domain.clone(), range, asks_the_way) {
            (stretch, Progress::Going) => self.stretch = Some(stretch),
            (stretch, Progress::Done) => self.end_stretch(core, &stretch),
        }
    }

    fn end_stretch(&mut self, core: &Core, stretch: &Register) {
        let bytes = std::mem::take(&mut self.doubtful_bytes) + stretch.bytes_sent();
        let registered = stretch.registered();
        self.users += registered.records.len() as u32;
        self.acknowledged += registered.records.iter().filter(|record| record.is_acknowledged).count() as u32;
        self.round_trips = self.round_trips.max(registered.round_trips);
        if self.id != OWN {
            self.records.extend(registered.records);
        }
        let cost = Ticks(bytes * 1_000 / u64::from(core.config.repair_bytes_per_second));
        self.resume = (self.next.is_some() && cost > Ticks(0)).then(|| core.now + cost);
    }

    fn report(&mut self, core: &mut Core) {
        let (users, acknowledged) = (self.users, self.acknowledged);
        core.notify(Notice::Announced { users, acknowledged });
        if self.id != OWN {
            let registered = Registered { records: std::mem::take(&mut self.records), round_trips: self.round_trips };
            core.effect(Effect::Complete(self.id, Outcome::Registered(Ok(Box::new(registered)))));
        }
    }
}

impl Core {
    /// The newest records of the users who live here and whose keys share the leading `bits` of `start`.
    fn homed_in(&self, start: &Id, bits: u8) -> Vec<Arc<Record>> {
        let (low, high) = start.slice(bits);
        self.homed.range(Guid(low)..=Guid(high)).map(|(_, record)| record.clone()).collect()
    }

    /// A holder listed users of this server whom the server has never heard of.
    pub(super) fn on_missed(&mut self, fetched: &Fetched) {
        for copy in fetched.copies.iter() {
            self.keep(copy);
        }
    }

    /// What this node has to say to a server that announces the users of `domain`: of those whose records it holds, if
    /// they are the same, their ages begin anew. To anybody else it has nothing to say: it is nobody's business who
    /// lives where.
    pub(super) fn announced(&mut self, from: Grid, range: &Range, users: &UsersOf) -> Difference {
        let UsersOf { domain, scale } = users;
        let is_theirs = self.speaks_for(&from, domain);
        let named = is_theirs.then(|| self.store.range(Kind::User, &range.start, range.bits)).into_iter().flatten();
        let named = named.filter(|(_, stored)| stored.held().record().home() == Some(domain));
        let briefs: Vec<Brief> = named
            .filter(|(key, _)| self.is_holder_by(key, *scale))
            .map(|(key, stored)| Brief::of(*key, stored.held().record(), stored.held().rival()))
            .collect();
        let difference = difference(&briefs, range);
        if matches!(difference, Difference::Same) {
            briefs.iter().for_each(|brief| self.store.announce(&brief.key, self.now));
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_no_smaller_than_a_few_times_k_nodes_unless_they_have_too_many_users() {
        assert_eq!(stretch_bits(100, 10_000, 16), 0);
        assert_eq!(stretch_bits(5_000, 300, 16), 2);
        assert_eq!(stretch_bits(1_000_000, 10_000, 16), 7);
        assert_eq!(stretch_bits(1_000_000, 10, 16), 6);
        assert_eq!(stretch_bits(0, 0, 16), 0);
    }

    #[test]
    fn stretches_follow_each_other_without_gap() {
        for bits in [0, 1, 3] {
            let slices: Vec<_> = (0..1 << bits).map(|index| stretch_start(index, bits).slice(bits)).collect();
            assert_eq!((slices[0].0, slices[slices.len() - 1].1), (Id([0; 32]), Id([0xff; 32])));
            assert!(slices.windows(2).all(|pair| pair[0].1.prefix() + 1 == pair[1].0.prefix()));
        }
    }
}
