//! Becoming part of the network.
//!
//! ```text
//!   dial the entry points -> search for the own id, asking 4 k groups near it (so that they know us)
//!     -> fill the table: for each other part of the keyspace, one large request
//!     -> compare records with the fellow holders; until then answers are marked "not yet"
//! ```
//!
//! The join ends at its deadline, whoever still hands over records: the node is in, and goes on saying "not yet" until all
//! has been compared.
//!
//! A node that no entry point answers says so, and tries again with growing waits, also from everybody it knows.

use super::compare::Comparisons;
use super::core::Core;
use super::operations::Progress;
use super::requests::{Pending, Purpose};
use super::upkeep::ask_whom_else;
use crate::contact::Contact;
use crate::effect::{Effect, Notice, OperationId, Outcome, Target};
use crate::error::JoinError;
use crate::holders::{Scale, SetName, agreed};
use crate::id::Grid;
use crate::message::{CONTACTS_MAX, Find, Found, List, Message, Part, Sample, Sampled, Want};
use crate::search::{Search, Seat};
use crate::time::{Tick, Ticks};
use rand_core::Rng;
use std::sync::Arc;

/// How many contacts one request for a part of the keyspace should bring: about a quarter of a megabyte.
const SAMPLE_CONTACTS: u64 = 2_048;
/// Into how many requests a part is split at most.
const SAMPLE_PIECES_MAX: u64 = 64;

/// What a join has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// How many contacts are known now.
    pub contacts: usize,
    /// Depth of the last answer that was waited for.
    pub round_trips: u8,
}

#[derive(Debug)]
pub(crate) struct Join {
    id: OperationId,
    entries: Vec<Target>,
    search: Search<()>,
    /// How many were asked for introductions.
    introducers: usize,
    /// How far the window reached when it was looked at last, in leading 64 bits.
    reach: u64,
    /// What those who answered say of the density; nothing where the node has been in already, and its own table tells.
    scales: Option<Vec<Scale>>,
    /// Entry points dialled and not heard of yet.
    dialled: usize,
    stage: Stage,
    depth: u8,
    /// The outcome has been told; what goes on is between this node and the network.
    is_reported: bool,
    wait: Ticks,
    pub(crate) next_wake: Tick,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Searching,
    Filling { awaited: usize },
    Waiting,
}

impl Join {
    pub(super) fn start(core: &mut Core, id: OperationId, entries: Vec<Target>) -> Self {
        let search =
            Search::new(core.grid().0, core.config.holders * 4, core.config.alpha, core.own_seat(), core.scale());
        let wait = core.config.join_retry;
        let next_wake = core.now + core.config.join_deadline;
        let mut join = Self {
            id,
            entries,
            search,
            introducers: 0,
            reach: 0,
            scales: Some(Vec::new()),
            dialled: 0,
            stage: Stage::Searching,
            depth: 0,
            is_reported: false,
            wait,
            next_wake,
        };
        join.dial(core);
        join
    }

    /// Joins once more, for nobody.
    pub(super) fn start_again(core: &mut Core, id: OperationId, entries: Vec<Target>) -> Self {
        Self { is_reported: true, scales: None, ..Self::start(core, id, entries) }
    }

    /// Whether the caller has been told how it went.
    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }

    fn dial(&mut self, core: &mut Core) {
        self.stage = Stage::Searching;
        self.introducers = 0;
        self.next_wake = core.now + core.config.join_deadline;
        let place = core.grid().0;
        self.search = core.search(place, core.config.holders * 4);
        if core.knows_all_at(&place) {
            self.search.arrive();
        }
        // What an earlier attempt dialled in vain counts for nothing any more.
        core.dials.retain(|(_, waiting)| *waiting != self.id);
        for target in &self.entries {
            core.dials.push((target.clone(), self.id));
            core.effect(Effect::Request(target.clone()));
        }
        self.dialled = self.entries.len();
    }

    pub(super) fn on_linked(
        &mut self,
        core: &mut Core,
        comparisons: &mut Comparisons,
        contact: &Arc<Contact>,
    ) -> Progress {
        self.dialled = self.dialled.saturating_sub(1);
        if core.is_worth_knowing(contact) {
            self.search.add_known(contact, core.acquaintance(&contact.grid()));
        }
        self.advance(core, comparisons, 0)
    }

    pub(super) fn on_unreachable(&mut self, core: &mut Core, comparisons: &mut Comparisons) -> Progress {
        self.dialled = self.dialled.saturating_sub(1);
        self.advance(core, comparisons, 0)
    }

    pub(super) fn on_found(
        &mut self,
        core: &mut Core,
        comparisons: &mut Comparisons,
        pending: &Pending,
        found: &Found,
    ) -> Progress {
        let informant = pending.peer.grid();
        if let Some(contacts) = &found.contacts {
            for contact in core.meet_all(contacts) {
                self.search.add_named(&contact, informant, core.acquaintance(&contact.grid()));
            }
        }
        if found.is_complete {
            self.search.arrive_by(&informant);
        }
        if let Some(scales) = &mut self.scales {
            scales.push(found.scale);
            core.table.set_told(agreed(scales));
        }
        self.search.on_answer(&informant, ());
        self.advance(core, comparisons, pending.depth)
    }

    pub(super) fn on_sampled(
        &mut self,
        core: &mut Core,
        comparisons: &mut Comparisons,
        pending: &Pending,
        sampled: &Sampled,
    ) -> Progress {
        let contacts = core.meet_all(&sampled.contacts);
        if self.is_of_search(pending) {
            let informant = pending.peer.grid();
            for contact in &contacts {
                self.search.add_named(contact, informant, core.acquaintance(&contact.grid()));
            }
            self.search.on_answer(&informant, ());
            // Mostly nobody is named, and somebody else is still awaited.
            if contacts.is_empty() && self.search.is_awaited_within(self.reach) {
                return Progress::Going;
            }
            return self.advance(core, comparisons, pending.depth);
        }
        self.depth = self.depth.max(pending.depth);
        self.one_filled(core, comparisons)
    }

    pub(super) fn on_silence(&mut self, core: &mut Core, comparisons: &mut Comparisons, pending: &Pending) -> Progress {
        if !self.is_of_search(pending) {
            return self.one_filled(core, comparisons);
        }
        self.search.on_silence(&pending.peer.grid());
        self.advance(core, comparisons, pending.depth)
    }

    fn one_filled(&mut self, core: &mut Core, comparisons: &Comparisons) -> Progress {
        if let Stage::Filling { awaited } = &mut self.stage {
            *awaited = awaited.saturating_sub(1);
        }
        self.progress(core, comparisons)
    }

    /// Goes on with whatever the last news allows.
    fn advance(&mut self, core: &mut Core, comparisons: &mut Comparisons, led_by: u8) -> Progress {
        if self.stage != Stage::Searching {
            return self.progress(core, comparisons);
        }
        let window = self.search.window();
        self.reach = self.farthest(&window).map_or(0, |farthest| core.grid().0.prefix() ^ farthest.0.prefix());
        let (place, groups) = (*self.search.target(), core.config.holders * 4);
        let depth = led_by.saturating_add(1);
        while let Some(peer) = self.search.next_of(&window).cloned() {
            self.search.on_asked(&peer.grid());
            let purpose = Purpose::Operation(self.id);
            if self.search.has_arrived() && self.introducers >= usize::from(core.config.alpha) {
                // Some have said who is there, and who is away: the others, who shall know of this node, say whom they know
                // besides.
                let bits = self.neighbourhood_bits(&window);
                ask_whom_else(core, &peer, (&place, bits), CONTACTS_MAX as u16, true, purpose, depth);
            } else {
                self.introducers += 1;
                let set = if self.search.has_arrived() { self.search.name_of(&window) } else { SetName::NONE };
                core.ask(&peer, false, purpose, depth, |id| {
                    Message::Find(Find { id, target: place, want: Want::Introductions, groups, set })
                });
            }
        }
        let is_anybody_there = self.search.candidates().iter().any(|candidate| candidate.answer().is_some());
        if self.dialled == 0 && self.search.is_finished_in(&window) {
            self.depth = led_by;
            if !is_anybody_there {
                return self.fail(core);
            }
            self.fill(core, led_by.saturating_add(1));
            core.begin_as_newcomer(comparisons);
        }
        self.progress(core, comparisons)
    }

    /// How many leading bits of the own id make the largest part of the keyspace that lies within the window: all of it where
    /// the window is the whole network.
    fn neighbourhood_bits(&self, window: &[Seat]) -> u8 {
        if window.len() < usize::from(self.search.groups()) {
            return 0;
        }
        self.farthest(window).map_or(0, |farthest| (self.search.target().common_bits(&farthest.0) + 1).min(64) as u8)
    }

    fn farthest(&self, window: &[Seat]) -> Option<Grid> {
        window.iter().rev().find_map(|seat| match seat {
            Seat::Other(index, _) => Some(self.search.candidates()[*index].contact().grid()),
            Seat::Own(..) => None,
        })
    }

    /// Whether somebody near was asked whom else he knows, and not somebody anywhere for a part of the keyspace.
    fn is_of_search(&self, pending: &Pending) -> bool {
        match &pending.request {
            Message::Sample(sample) => {
                let Part { start, bits, .. } = &*sample.part;
                start.common_bits(self.search.target()) >= u32::from(*bits)
            }
            _ => true,
        }
    }

    fn fail(&mut self, core: &mut Core) -> Progress {
        if !self.is_reported {
            let error = JoinError::NoEntryPoint { tried: self.entries.len() };
            core.effect(Effect::Complete(self.id, Outcome::Joined(Err(error))));
            self.is_reported = true;
        }
        core.notify(Notice::JoinRetry(self.wait));
        self.stage = Stage::Waiting;
        self.next_wake = core.now + self.wait;
        self.wait = Ticks(self.wait.0 * 2).min(core.config.join_retry_max);
        Progress::Going
    }

    /// Asks for the parts of the keyspace that the search has not brought.
    fn fill(&mut self, core: &mut Core, depth: u8) {
        self.stage = Stage::Filling { awaited: 0 };
        let answered: Vec<Arc<Contact>> = self
            .search
            .candidates()
            .iter()
            .filter(|candidate| candidate.answer().is_some())
            .map(|candidate| candidate.contact().clone())
            .collect();
        let window = self.search.window();
        let groups_wanted = usize::from(core.config.holders) * 4;
        let Some(farthest) = self.farthest(&window).filter(|_| window.len() >= groups_wanted) else { return };
        let own = core.grid().0;
        let nodes = u128::from(window.len() as u64) << 64;
        let nodes = (nodes / (u128::from(own.prefix() ^ farthest.0.prefix()) + 1)).min(1 << 40) as u64;
        // So few words of the density err by an eighth. Where there is no room for everybody after all, the table notices.
        if nodes / 5 * 4 > u64::from(core.config.neighbours_max) {
            core.table.set_partial();
        }
        let mut awaited = 0;
        for shared in 0..=own.common_bits(&farthest.0).min(62) {
            let expected = (nodes >> (shared + 1)).max(1);
            let wanted = (core.table.share_of(shared) as u64).min(expected.saturating_mul(2)).max(1);
            let pieces = wanted.div_ceil(SAMPLE_CONTACTS * 2).next_power_of_two().min(SAMPLE_PIECES_MAX);
            let piece_bits = pieces.ilog2();
            for piece in 0..pieces {
                let start = (0..piece_bits).fold(own.flip(shared), |start, bit| {
                    if piece >> bit & 1 == 1 { start.flip(shared + 1 + bit) } else { start }
                });
                let count = wanted.div_ceil(pieces).min(CONTACTS_MAX as u64) as u16;
                let informant = &answered[core.rng.next_u64() as usize % answered.len()];
                let bits = (shared + 1 + piece_bits) as u8;
                let part = Arc::new(Part { start, bits, count, with_hearsay: true, known: List::default() });
                core.ask(informant, false, Purpose::Operation(self.id), depth, |id| {
                    Message::Sample(Sample { id, part: part.clone() })
                });
                awaited += 1;
            }
        }
        self.stage = Stage::Filling { awaited };
    }

    /// Whether all that was asked has been answered or given up.
    pub(super) fn progress(&mut self, core: &mut Core, comparisons: &Comparisons) -> Progress {
        if self.stage == (Stage::Filling { awaited: 0 }) && comparisons.is_empty() {
            return self.end(core);
        }
        Progress::Going
    }

    fn end(&self, core: &mut Core) -> Progress {
        if !self.is_reported {
            let joined = Joined { contacts: core.table.len(), round_trips: self.depth };
            core.effect(Effect::Complete(self.id, Outcome::Joined(Ok(joined))));
        }
        Progress::Done
    }

    pub(super) fn on_wake(&mut self, core: &mut Core) -> Progress {
        if core.now < self.next_wake {
            return Progress::Going;
        }
        if let Stage::Filling { .. } = self.stage {
            // The neighbourhood stands; what else there is to know comes with time. Comparing goes on by itself, and until
            // it is over, this node says so with each answer: it need not wait for whoever hands over slowly.
            return self.end(core);
        }
        if self.stage == Stage::Searching {
            // Too long, for whatever reason: the caller must not wait for ever.
            return self.fail(core);
        }
        // The wait is over: begin again, from all that is known.
        self.dial(core);
        Progress::Going
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;
    use crate::effect::{Effects, Operation};
    use crate::key::SecretKey;
    use crate::state::{NodeState, Phase};

    fn turn(node: &mut NodeState, now: Tick, asked: &[(u64, Operation)]) -> Effects {
        let mut asked = asked.iter().map(|(id, operation)| (OperationId(*id), operation.clone())).collect();
        let mut effects = Effects::new();
        node.turn(now, &mut asked, &mut Vec::new(), &mut effects);
        node.check();
        effects
    }

    fn node() -> NodeState {
        let secret = Arc::new(SecretKey::from_seed([1; 32]));
        NodeState::node(secret, "a.example".parse().unwrap(), Arc::default(), 1)
    }

    fn entry(address: &str) -> Vec<Target> {
        vec![Target::address(address.parse().unwrap())]
    }

    fn has_failed(effects: &Effects, id: u64) -> bool {
        let error = JoinError::NoEntryPoint { tried: 1 };
        effects.iter().any(|effect| match effect {
            Effect::Complete(completed, Outcome::Joined(Err(what))) => *completed == OperationId(id) && *what == error,
            _ => false,
        })
    }

    fn dials(effects: &Effects, address: &str) -> usize {
        effects.iter().filter(|effect| matches!(effect, Effect::Request(to) if to.address.as_str() == address)).count()
    }

    #[test]
    fn an_attempt_that_hears_nothing_ends_at_its_deadline_and_is_repeated() {
        let mut node = node();
        assert_eq!(dials(&turn(&mut node, Tick(0), &[(1, Operation::Join(entry("b.example")))]), "b.example"), 1);
        let deadline = Tick(0) + NodeConfig::default().join_deadline;
        assert_eq!(node.next_wake(), Some(deadline));
        assert!(has_failed(&turn(&mut node, deadline, &[]), 1));
        let retry = node.next_wake().unwrap();
        let effects = turn(&mut node, retry, &[]);
        assert_eq!(dials(&effects, "b.example"), 1);
        assert!(!has_failed(&effects, 1), "the caller has been told already");
    }

    #[test]
    fn other_entry_points_may_be_named_once_a_join_has_failed() {
        let mut node = node();
        turn(&mut node, Tick(0), &[(1, Operation::Join(entry("b.example")))]);
        let effects = turn(&mut node, Tick(1), &[(2, Operation::Join(entry("c.example")))]);
        assert_eq!(dials(&effects, "c.example"), 0, "one attempt at a time");
        let deadline = Tick(0) + NodeConfig::default().join_deadline;
        assert!(has_failed(&turn(&mut node, deadline, &[]), 1));
        let effects = turn(&mut node, deadline + Ticks(1), &[(3, Operation::Join(entry("c.example")))]);
        assert_eq!((dials(&effects, "c.example"), effects.len()), (1, 1));
        assert_eq!(node.phase(), Phase::Joining);
    }
}
