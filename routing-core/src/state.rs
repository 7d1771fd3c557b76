//! The node as a pure state machine.
//!
//! ```text
//!   operations asked  ─┐
//!   links and messages ├─▶  NodeState::turn  ─▶  one ordered list of effects
//!   the time, now     ─┘
//! ```
//!
//! [`NodeState::turn`] is the only way in, for the driver and for the simulator alike. It reads no clock, socket or
//! global; the same state and the same turn give the same effects on every machine. Who is asked to do something begins in
//! `operations`, what is heard in `hearing`; each operation has a file of its own: `join` is how a node becomes part of the
//! network, and so on.

mod absent;
mod announce;
mod answer;
mod budget;
mod compare;
mod core;
mod dead;
mod fellowship;
mod hearing;
mod join;
mod kept;
mod leave;
mod lookup;
mod offenders;
mod operations;
mod proof;
mod register;
mod remembering;
mod requests;
mod seen;
mod strays;
mod upkeep;

use crate::config::NodeConfig;
use crate::contact::{Address, Contact, Standing, Versions};
use crate::effect::{Effects, Operation, OperationId, Target};
use crate::heard::Heard;
use crate::id::Grid;
use crate::key::SecretKey;
use crate::record::Record;
use crate::store::RecordStore;
use crate::table::RoutingTable;
use crate::time::Tick;
use compare::Comparisons;
use core::{Core, Role};
use offenders::Offenders;
use operations::{Progress, Running};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use requests::Requests;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use join::Joined;
pub use kept::Kept;
pub use lookup::{Answer, Hop, Said, Verdict};
pub use register::{HolderSaid, Registered, Registration};

/// What a node has counted. Plain numbers: whoever runs many nodes sums them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Cards whose signature did not hold.
    pub contacts_invalid: u64,
    /// Records that were not valid.
    pub records_invalid: u64,
    /// Answers that no honest peer gives.
    pub peers_misbehaved: u64,
    /// Answers to nothing that was asked, or too late.
    pub answers_unexpected: u64,
    /// Requests that were left unanswered.
    pub requests_expired: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.contacts_invalid += other.contacts_invalid;
        self.records_invalid += other.records_invalid;
        self.peers_misbehaved += other.peers_misbehaved;
        self.answers_unexpected += other.answers_unexpected;
        self.requests_expired += other.requests_expired;
    }
}

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Not part of a network yet: started, or a client, which stays so.
    Outside,
    /// On its way in.
    Joining,
    /// Part of the network.
    Joined,
    /// Has said farewell, and does nothing any more.
    Departed,
}

/// One node, or one client.
#[derive(Debug)]
pub struct NodeState {
    core: Core,
    phase: Phase,
    operations: BTreeMap<OperationId, Box<Running>>,
    is_leaving: bool,
    timers: BTreeSet<(Tick, OperationId)>,
    comparisons: Comparisons,
    upkeep: upkeep::Upkeep,
    remembering: remembering::Remembering,
    announcing: announce::Schedule,
}

impl NodeState {
    /// A routing node at `address`. `seed` seeds its generator; the same seed and the same turns repeat a run.
    pub fn node(secret: Arc<SecretKey>, address: Address, config: Arc<NodeConfig>, seed: u64) -> Self {
        let card = Contact::sign(&secret, address, 0, Standing::Here, Versions::CURRENT);
        Self::with_role(Arc::new(card), config, seed, Role::Node(secret))
    }

    /// A client with the card [`Contact::client`] made: it registers and looks up through `entry_points`, and becomes
    /// part of nobody's table.
    pub fn client(card: Arc<Contact>, entry_points: Vec<Target>, config: Arc<NodeConfig>, seed: u64) -> Self {
        Self::with_role(card, config, seed, Role::Client(entry_points))
    }

    fn with_role(contact: Arc<Contact>, config: Arc<NodeConfig>, seed: u64, role: Role) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let core = Core {
            table: RoutingTable::new(contact.grid(), config.neighbours_max, config.holders * 4),
            store: RecordStore::new(config.records_max).with_bytes_max(config.store_bytes_max),
            config,
            contact,
            role,
            now: Tick(0),
            homed: BTreeMap::new(),
            callers: VecDeque::new(),
            unproven: Vec::new(),
            requests: Requests::starting_at(rng.next_u32()),
            dials: Vec::new(),
            newcomer: None,
            departed: BTreeMap::new(),
            doubted: Vec::new(),
            absent: absent::Absent::default(),
            dead: dead::Dead::default(),
            seen: seen::Seen::default(),
            strays: BTreeSet::new(),
            budget: budget::Budget::default(),
            own_set: None,
            fellowship: fellowship::Fellowship::default(),
            offenders: Offenders::default(),
            rng,
            stats: Stats::default(),
            effects: Effects::new(),
        };
        Self {
            core,
            phase: Phase::Outside,
            operations: BTreeMap::new(),
            is_leaving: false,
            timers: BTreeSet::new(),
            comparisons: Comparisons::default(),
            upkeep: upkeep::Upkeep::default(),
            remembering: remembering::Remembering::default(),
            announcing: announce::Schedule::default(),
        }
    }

    /// The node's id.
    pub fn grid(&self) -> Grid {
        self.core.grid()
    }

    /// The node's own card.
    pub fn contact(&self) -> &Arc<Contact> {
        &self.core.contact
    }

    /// Where the node is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whom the node knows.
    pub fn table(&self) -> &RoutingTable {
        &self.core.table
    }

    /// What the node holds.
    pub fn store(&self) -> &RecordStore {
        &self.core.store
    }

    /// The newest records of the users that this server is home to.
    pub fn homed(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.core.homed.values()
    }

    /// Whether its answers about all it holds count: it has compared its range with most of its fellow holders.
    pub fn is_settled(&self) -> bool {
        self.core.newcomer.is_none()
    }

    /// Whether some registration, acknowledged or not, is still on its way to a holder.
    pub fn is_writing(&self) -> bool {
        self.operations.values().any(|running| matches!(**running, Running::Register(_)))
    }

    /// How many operations are under way, of callers and of its own.
    pub fn operations(&self) -> usize {
        self.operations.len()
    }

    /// What the node has counted.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// Whether nothing is under way that the node does for somebody: a client may be dropped then.
    pub fn is_idle(&self) -> bool {
        self.operations.is_empty() && self.core.requests.is_empty()
    }

    /// The only way in, for driver and simulator alike: operations asked, then all heard in order, then what was due.
    /// Same state and same turn: same effects, on every machine. Afterwards [`next_wake`](Self::next_wake) is later
    /// than `now`. `asked` and `heard` are emptied; effects are appended.
    pub fn turn(
        &mut self,
        now: Tick,
        asked: &mut Vec<(OperationId, Operation)>,
        heard: &mut Vec<Heard>,
        effects: &mut Effects,
    ) {
        std::mem::swap(&mut self.core.effects, effects);
        self.core.now = self.core.now.max(now);
        for (id, operation) in asked.drain(..) {
            self.on_asked(id, operation);
        }
        for heard in heard.drain(..) {
            self.on_heard(heard);
        }
        self.on_due();
        self.upkeep.ask_doubted(&mut self.core);
        if self.is_leaving {
            self.depart_if_ready();
        }
        self.remember_if_due();
        std::mem::swap(&mut self.core.effects, effects);
        debug_assert!(self.next_wake().is_none_or(|wake| wake > self.core.now), "what was due has been done");
    }

    /// The earliest tick at which a turn would change anything by itself. Waking early does nothing.
    pub fn next_wake(&self) -> Option<Tick> {
        let timers = self.timers.first().map(|(tick, _)| *tick);
        let sweeps = [self.upkeep.next_wake(), self.announcing.next_wake()];
        [timers, self.core.requests.next_due()].into_iter().chain(sweeps).flatten().min()
    }

    /// Asserts what must hold between any two turns. For tests and simulations; it walks the whole state.
    pub fn check(&self) {
        self.core.requests.check();
        let operations: BTreeSet<OperationId> = self.timers.iter().map(|(_, id)| *id).collect();
        assert!(operations.iter().eq(self.operations.keys()), "each operation has its timer");
        assert!(self.core.table.len() <= self.core.config.neighbours_max as usize, "the table keeps its budget");
        self.core.store.check();
        assert!(self.core.table.entry(&self.grid()).is_none(), "no node is its own contact");
        let answered = self.core.table.iter().filter(|entry| entry.has_answered()).count();
        assert_eq!(answered, self.core.table.answered(), "neighbours are counted right");
    }

    fn on_due(&mut self) {
        let now = self.core.now;
        while let Some((id, pending)) = self.core.requests.take_expired(now) {
            if let Err(pending) = self.core.ask_again(id, pending) {
                self.on_silence(pending);
            }
        }
        while let Some((tick, id)) = self.timers.first().copied().filter(|(tick, _)| *tick <= now) {
            self.with_operation(id, |running, core, _| match running {
                Running::Join(join) => join.on_wake(core),
                Running::Register(register) => register.on_wake(core),
                Running::Lookup(lookup) => lookup.on_wake(core),
                Running::Leave(leave) => {
                    leave.say_goodbye(core);
                    Progress::Done
                }
                Running::Announce(announce) => announce.on_wake(core),
            });
            assert!(!self.timers.contains(&(tick, id)), "an operation that was woken sleeps longer or ends");
        }
        self.upkeep.on_wake(&mut self.core, &mut self.comparisons);
        if let Some(peer) = self.upkeep.take_rejoin(now) {
            self.rejoin(&peer);
        }
        self.announce_if_due();
    }
}

#[cfg(test)]
mod tests;
