//! The node as a pure state machine.
//!
//! ```text
//!   operations asked  ─┐
//!   links and messages ├─▶  NodeState::turn  ─▶  one ordered list of effects
//!   the time, now     ─┘
//! ```
//!
//! [`NodeState::turn`] is the only way in, for the driver and for the simulator alike. It reads no clock, socket or
//! global; the same state and the same turn give the same effects on every machine. This file only dispatches; each
//! operation has a file of its own: [`join`](self) is how a node becomes part of the network, and so on.

mod absent;
mod announce;
mod answer;
mod compare;
mod core;
mod fellowship;
mod join;
mod kept;
mod leave;
mod lookup;
mod offenders;
mod register;
mod requests;
mod seen;
mod upkeep;

use crate::config::NodeConfig;
use crate::contact::{Address, Contact, Standing, Versions};
use crate::effect::{Effect, Effects, Notice, Operation, OperationId, Outcome, Target};
use crate::error::{DepartError, JoinError, LookupError, RegisterError};
use crate::heard::Heard;
use crate::id::Grid;
use crate::key::SecretKey;
use crate::message::{Farewell, Message};
use crate::record::Record;
use crate::store::RecordStore;
use crate::table::{Entry, RoutingTable};
use crate::time::{Tick, Ticks};
use compare::Comparisons;
use core::{Core, Role};
use offenders::Offenders;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use requests::{Pending, Purpose, Requests};
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

/// The join that a node begins by itself, after it was cut off: no caller waits for it.
const AGAIN: OperationId = OperationId(u64::MAX);

#[derive(Debug)]
enum Running {
    Join(join::Join),
    Register(register::Register),
    Lookup(lookup::Lookup),
    Leave(leave::Leave),
    Announce(announce::Announce),
}

impl Running {
    fn next_wake(&self) -> Tick {
        match self {
            Running::Join(join) => join.next_wake,
            Running::Register(register) => register.next_wake(),
            Running::Lookup(lookup) => lookup.next_wake(),
            Running::Leave(leave) => leave.next_wake(),
            Running::Announce(announce) => announce.next_wake(),
        }
    }
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
            requests: Requests::starting_at(rng.next_u32()),
            dials: Vec::new(),
            newcomer: None,
            departed: BTreeMap::new(),
            doubted: Vec::new(),
            absent: absent::Absent::default(),
            dead: VecDeque::new(),
            seen: seen::Seen::default(),
            upkeep_bytes: 0,
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

    fn on_asked(&mut self, id: OperationId, operation: Operation) {
        let is_busy = self.operations.len() >= self.core.config.operations_max as usize;
        let is_stopped = self.phase == Phase::Departed;
        let entries = match &self.core.role {
            Role::Client(entries) => entries.clone(),
            Role::Node(_) => Vec::new(),
        };
        let core = &mut self.core;
        let refuse = |core: &mut Core, outcome| core.effect(Effect::Complete(id, outcome));
        let running = match operation {
            Operation::Join(entries) => return self.join(id, entries),
            Operation::Leave => return self.leave(id),
            Operation::Away(span) => return self.away(id, span),
            Operation::Cancel(target) => return self.cancel(target),
            Operation::Lookup(..) if is_stopped => return refuse(core, Outcome::Answered(Err(LookupError::Stopped))),
            Operation::Lookup(..) if is_busy => return refuse(core, Outcome::Answered(Err(LookupError::Busy))),
            Operation::Lookup(key, consistency) => {
                lookup::Lookup::start(core, id, key, consistency, &entries).map(Running::Lookup)
            }
            Operation::Register(_) | Operation::Announce if is_stopped => {
                return refuse(core, Outcome::Registered(Err(RegisterError::Stopped)));
            }
            Operation::Register(_) | Operation::Announce if is_busy => {
                return refuse(core, Outcome::Registered(Err(RegisterError::Busy)));
            }
            Operation::Register(records) => {
                let invalid =
                    records.iter().enumerate().find_map(|(index, record)| Some((index, record.verify().err()?)));
                if let Some((index, reason)) = invalid {
                    return refuse(core, Outcome::Registered(Err(RegisterError::Invalid { index, reason })));
                }
                register::Register::start(core, id, records, &entries).map(Running::Register)
            }
            Operation::Announce => announce::Announce::start(core, id).map(Running::Announce),
        };
        if let Some(running) = running {
            self.run(id, running);
        }
    }

    /// Keeps an operation under way, and its timer.
    fn run(&mut self, id: OperationId, running: Running) {
        self.timers.insert((running.next_wake(), id));
        self.operations.insert(id, Box::new(running));
    }

    fn join(&mut self, id: OperationId, entries: Vec<Target>) {
        // A join that has failed goes on trying, until other entry points are named.
        let failed = self.operations.iter().find(|(_, running)| match &***running {
            Running::Join(join) => join.is_reported(),
            _ => false,
        });
        if let Some((failed, _)) = failed {
            self.cancel(*failed);
        }
        if self.phase != Phase::Outside || !self.core.is_node() {
            return self.core.effect(Effect::Complete(id, Outcome::Joined(Err(JoinError::NotNow))));
        }
        if entries.is_empty() {
            // With nobody to compare with, though an earlier attempt to join may have hoped so.
            self.core.newcomer = None;
            // The first of its network: there is nobody to learn from.
            self.core.effect(Effect::Complete(id, Outcome::Joined(Ok(Joined { contacts: 0, round_trips: 0 }))));
            return self.on_joined();
        }
        self.phase = Phase::Joining;
        // Until it has compared its range with others, nothing that this node says counts.
        self.core.newcomer = Some(BTreeSet::new());
        let join = join::Join::start(&mut self.core, id, entries);
        self.run(id, Running::Join(join));
    }

    fn on_joined(&mut self) {
        self.phase = Phase::Joined;
        self.upkeep.start(&mut self.core);
        self.announcing.start(&mut self.core);
    }

    fn leave(&mut self, id: OperationId) {
        if self.phase != Phase::Joined {
            return self.core.effect(Effect::Complete(id, Outcome::Departed(Err(DepartError::NotJoined))));
        }
        let leave = leave::Leave::start(&mut self.core, id);
        self.run(id, Running::Leave(leave));
        self.is_leaving = true;
    }

    /// A leaver goes once its heirs have what it held, and nobody waits for anything that was asked of it.
    fn depart_if_ready(&mut self) {
        let now = self.core.now;
        let leaving = self.operations.iter().find_map(|(id, running)| match &**running {
            Running::Leave(leave) => Some((*id, leave.is_ready(), leave.is_due(now))),
            _ => None,
        });
        let is_waited_for = self.operations.values().any(|running| match &**running {
            Running::Lookup(_) => true,
            Running::Register(register) => !register.is_reported(),
            Running::Join(_) | Running::Leave(_) | Running::Announce(_) => false,
        });
        if let Some((id, true, is_due)) = leaving
            && (is_due || !is_waited_for)
        {
            self.with_operation(id, |running, core, _| {
                if let Running::Leave(leave) = running {
                    leave.say_goodbye(core);
                }
                false
            });
        }
    }

    fn away(&mut self, id: OperationId, span: Ticks) {
        if self.phase != Phase::Joined {
            return self.core.effect(Effect::Complete(id, Outcome::Departed(Err(DepartError::NotJoined))));
        }
        self.core.say_farewell(Standing::Away { for_ms: Core::bounded_absence(span).0 });
        self.core.effect(Effect::Complete(id, Outcome::Departed(Ok(()))));
        self.on_departed();
    }

    /// Everything under way ends; the node does nothing any more.
    fn on_departed(&mut self) {
        self.phase = Phase::Departed;
        self.is_leaving = false;
        self.upkeep.stop();
        self.announcing.stop();
        self.core.requests = Requests::default();
        self.core.dials.clear();
        self.timers.clear();
        for (id, running) in std::mem::take(&mut self.operations) {
            self.core.end_early(id, &running, false);
        }
    }

    fn cancel(&mut self, id: OperationId) {
        if let Some(running) = self.operations.remove(&id) {
            self.timers.remove(&(running.next_wake(), id));
            self.core.end_early(id, &running, true);
            if matches!(*running, Running::Join(_)) {
                self.phase = Phase::Outside;
            }
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Requested(contact) => self.on_requested(&contact),
            Heard::Linked(target, contact) => self.on_linked(&target, &contact),
            Heard::Message(from, message) => self.on_message(from, message),
            Heard::Lost(target, _) => self.on_lost(&target),
        }
    }

    fn on_requested(&mut self, contact: &Arc<Contact>) {
        if self.phase == Phase::Departed {
            return;
        }
        self.core.effect(Effect::Accept(contact.grid()));
        self.on_proven(contact);
        self.core.remember_caller(contact);
        self.core.table.on_heard(&contact.grid());
    }

    /// A link has proven that somebody is there, whoever asked for it, and whatever was said of it.
    fn on_proven(&mut self, contact: &Arc<Contact>) {
        let grid = contact.grid();
        self.core.departed.remove(&grid);
        self.meet(contact);
        self.core.table.on_link(&grid);
        self.core.on_back_if_available(&grid);
        if self.core.table.entry(&grid).is_some_and(|entry| entry.failures() > 0) {
            // It reaches us. Whether we reach it is another question.
            self.core.doubt(contact);
        }
    }

    /// Takes note of somebody; if it is a neighbour to be, upkeep will greet it soon.
    fn meet(&mut self, contact: &Arc<Contact>) {
        if self.core.meet(contact) && self.phase == Phase::Joined && self.is_near(&contact.grid()) {
            self.upkeep.hurry(self.core.now);
        }
    }

    fn is_near(&self, grid: &Grid) -> bool {
        self.upkeep.is_near(self.core.grid().0.prefix() ^ grid.0.prefix())
    }

    fn on_linked(&mut self, target: &Target, contact: &Arc<Contact>) {
        self.on_proven(contact);
        let (reached, others) =
            std::mem::take(&mut self.core.dials).into_iter().partition(|(dialled, _)| dialled == target);
        self.core.dials = others;
        for (_, id) in <Vec<(Target, OperationId)>>::into_iter(reached) {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.on_linked(core, comparisons, contact) == join::Progress::Going,
                Running::Register(register) => register.on_linked(core, target, contact),
                Running::Lookup(lookup) => lookup.on_linked(core, target, contact),
                Running::Leave(_) | Running::Announce(_) => true,
            });
        }
    }

    fn on_lost(&mut self, target: &Target) {
        let (failed, others) =
            std::mem::take(&mut self.core.dials).into_iter().partition(|(dialled, _)| dialled == target);
        self.core.dials = others;
        for (_, id) in <Vec<(Target, OperationId)>>::into_iter(failed) {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.on_unreachable(core, comparisons) == join::Progress::Going,
                Running::Register(register) => register.on_unreachable(core, target),
                Running::Lookup(lookup) => lookup.on_unreachable(core, target),
                Running::Leave(_) | Running::Announce(_) => true,
            });
        }
        if let Some(grid) = target.grid {
            self.core.table.set_linked(&grid, false);
            for (_, pending) in self.core.requests.take_to(&grid) {
                self.on_silence(pending);
            }
        }
    }

    fn on_message(&mut self, from: Grid, message: Message) {
        if self.phase == Phase::Departed {
            return;
        }
        // Over a link that stands there is nothing else by which a silent contact would be found to be back.
        let silent = self.core.table.on_heard(&from);
        self.core.doubted.extend(silent);
        match message {
            Message::Find(find) => self.core.on_find(from, &find),
            Message::Store(store) => {
                let changes = self.core.fellowship.changes();
                self.core.on_store(from, &store);
                if !store.id.is_for_operation() && self.core.fellowship.changes() != changes {
                    self.upkeep.on_given(self.core.now);
                }
            }
            Message::Compare(compare) => self.core.on_compare(from, &compare),
            Message::Fetch(fetch) => self.core.on_fetch(from, &fetch),
            Message::Sample(sample) => self.core.on_sample(from, &sample),
            Message::Farewell(farewell) => self.on_farewell(from, &farewell),
            Message::Found(_)
            | Message::Stored(_)
            | Message::Compared(_)
            | Message::Fetched(_)
            | Message::Sampled(_)
            | Message::Unknown(_) => {
                self.on_answer(from, message);
            }
        }
    }

    fn on_farewell(&mut self, from: Grid, farewell: &Farewell) {
        let contact = &farewell.contact;
        // Only the leaver itself can say that it goes, and only with a card that it has signed.
        if contact.grid() != from || !contact.verify() {
            self.core.blame(from);
            return;
        }
        for other in farewell.acquainted.iter() {
            self.meet(other);
        }
        match contact.standing() {
            Standing::Left => {
                self.core.forget_departed(contact);
                self.upkeep.hurry(self.core.now);
                self.core.notify(Notice::NeighbourLeft(from));
            }
            Standing::Away { .. } => {
                self.meet(contact);
                if self.is_near(&from) {
                    self.core.on_away(contact);
                }
            }
            Standing::Here => self.meet(contact),
        }
        self.core.table.set_linked(&from, false);
    }

    fn on_answer(&mut self, from: Grid, message: Message) {
        let Some(pending) = message.id().and_then(|id| self.core.requests.take(id, &from)) else {
            self.core.stats.answers_unexpected += 1;
            return;
        };
        if !pending.request.is_answered_by(&message) {
            // As good as none. Who does not know the kind of the request says so, and is not to blame.
            if !matches!(message, Message::Unknown(_)) {
                self.core.blame(from);
            }
            return self.on_silence(pending);
        }
        let round_trip = self.core.now.since(pending.sent);
        if matches!(pending.purpose, Purpose::Revive) {
            self.on_revived(&pending.peer);
        }
        self.core.table.on_answer(&from, round_trip);
        self.core.on_back(&from);
        if let Message::Found(found) = &message {
            self.core.table.on_scale(&from, found.own_scale);
        }
        match (&pending.purpose, &message) {
            (Purpose::Operation(_) | Purpose::Bequest(_) | Purpose::Announce, _) => {
                self.on_operation_answer(&pending, &message);
            }
            (Purpose::Probe, Message::Found(found)) => {
                for named in found.contacts.iter().flat_map(|contacts| contacts.iter()) {
                    self.meet(&named.contact);
                }
            }
            (Purpose::Compare(start, bits), Message::Compared(compared)) => {
                let range = (*start, *bits);
                self.core.on_compared(&mut self.comparisons, &pending, compared, range);
                self.after_comparison();
            }
            (Purpose::Fetch(_), Message::Fetched(fetched)) => {
                self.core.on_fetched(&mut self.comparisons, pending, fetched);
                self.after_comparison();
            }
            (Purpose::Refill, Message::Sampled(sampled)) => {
                for named in sampled.contacts.iter() {
                    self.meet(&named.contact);
                }
            }
            (Purpose::HandOver, Message::Stored(_)) | (Purpose::Revive, Message::Found(_)) => {}
            (Purpose::Missed, Message::Fetched(fetched)) => self.core.on_missed(fetched),
            // Each purpose has its kind of request, and the answer is of that kind.
            _ => self.on_silence(pending),
        }
    }

    fn on_operation_answer(&mut self, pending: &Pending, message: &Message) {
        let Some(id) = pending.purpose.operation() else { return };
        self.with_operation(id, |running, core, comparisons| match (running, message) {
            (Running::Join(join), Message::Found(found)) => {
                join.on_found(core, comparisons, pending, found) == join::Progress::Going
            }
            (Running::Join(join), Message::Sampled(sampled)) => {
                join.on_sampled(core, comparisons, pending, sampled) == join::Progress::Going
            }
            (Running::Join(join), _) => join.on_silence(core, comparisons, pending) == join::Progress::Going,
            (Running::Register(register), Message::Found(found)) => register.on_found(core, pending, found),
            (Running::Register(register), Message::Stored(stored)) => register.on_stored(core, pending, stored),
            (Running::Register(register), _) => register.on_silence(core, pending),
            (Running::Lookup(lookup), Message::Found(found)) => lookup.on_found(core, pending, found),
            (Running::Lookup(lookup), _) => lookup.on_silence(core, pending),
            (Running::Leave(leave), _) => {
                leave.on_heir();
                true
            }
            (Running::Announce(announce), Message::Found(found)) => announce.on_found(core, pending, found),
            (Running::Announce(announce), Message::Stored(stored)) => announce.on_stored(core, pending, stored),
            (Running::Announce(announce), Message::Compared(compared)) => announce.on_compared(core, pending, compared),
            (Running::Announce(announce), _) => announce.on_silence(core, pending),
        });
    }

    /// A request has been given up.
    fn on_silence(&mut self, pending: Pending) {
        self.core.stats.requests_expired += 1;
        let grid = pending.peer.grid();
        self.on_contact_failed(&pending.peer);
        match &pending.purpose {
            Purpose::Operation(_) | Purpose::Bequest(_) | Purpose::Announce => {
                let Some(id) = pending.purpose.operation() else { return };
                self.with_operation(id, |running, core, comparisons| match running {
                    Running::Join(join) => join.on_silence(core, comparisons, &pending) == join::Progress::Going,
                    Running::Register(register) => register.on_silence(core, &pending),
                    Running::Lookup(lookup) => lookup.on_silence(core, &pending),
                    Running::Leave(leave) => {
                        leave.on_heir();
                        true
                    }
                    Running::Announce(announce) => announce.on_silence(core, &pending),
                })
            }
            Purpose::Compare(..) | Purpose::Fetch(_) => {
                self.core.on_comparison_failed(&mut self.comparisons, grid);
                self.after_comparison();
            }
            Purpose::Probe | Purpose::Refill | Purpose::HandOver | Purpose::Missed | Purpose::Revive => {}
        }
    }

    /// A contact left a request unanswered.
    fn on_contact_failed(&mut self, contact: &Arc<Contact>) {
        let grid = contact.grid();
        let is_near = self.phase == Phase::Joined && self.is_near(&grid);
        match self.core.table.on_failure(&grid) {
            // A neighbour is asked again at once: much depends on it.
            Some(1) if is_near => self.core.doubt(contact),
            Some(2) if is_near => {
                self.core.on_absent(grid, self.core.now + self.core.config.grace);
                if self.upkeep.on_neighbour_silent(&self.core) {
                    // Some of this server's users may have lost all their holders.
                    self.announcing.hurry(&mut self.core);
                }
            }
            Some(failures) if failures >= FORGOTTEN_FAILURES && !self.core.absent.contains(&grid) => {
                self.core.bury(&grid);
                self.core.notify(Notice::NeighbourLost(grid));
            }
            _ => {}
        }
    }

    /// Somebody that was given up answers again. If it has not restarted meanwhile, not it was gone but the way to it, and
    /// with it perhaps to many others: this node joins once more, through it.
    fn on_revived(&mut self, peer: &Arc<Contact>) {
        let grid = peer.grid();
        self.core.dead.retain(|dead| dead.grid() != grid);
        self.meet(peer);
        let card = self.core.table.entry(&grid).map(|entry| entry.contact().sequence());
        // Where few are known the many need not have been many.
        let holders = usize::from(self.core.config.holders);
        let many_were_lost = self.core.dead.len() >= holders || self.core.table.len() < holders;
        if card == Some(peer.sequence()) && many_were_lost {
            self.rejoin(vec![Target::contact(peer)]);
        }
    }

    /// Joins once more, without a caller. Until it has compared its range with others, what this node says counts for
    /// nothing.
    fn rejoin(&mut self, entries: Vec<Target>) {
        let is_joining = self.operations.values().any(|running| matches!(**running, Running::Join(_)));
        if is_joining || self.phase != Phase::Joined || !self.upkeep.may_rejoin(self.core.now) {
            return;
        }
        self.core.newcomer = Some(BTreeSet::new());
        let join = join::Join::start_again(&mut self.core, AGAIN, entries);
        self.run(AGAIN, Running::Join(join));
    }

    /// A join waits for its comparisons, too.
    fn after_comparison(&mut self) {
        let joining =
            self.operations.iter().find(|(_, running)| matches!(***running, Running::Join(_))).map(|(id, _)| *id);
        if let Some(id) = joining {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.progress(core, comparisons) == join::Progress::Going,
                _ => true,
            });
        }
    }

    /// Lets an operation go on; `step` says whether it is still under way afterwards.
    fn with_operation(
        &mut self,
        id: OperationId,
        step: impl FnOnce(&mut Running, &mut Core, &mut Comparisons) -> bool,
    ) {
        let Some(running) = self.operations.get_mut(&id) else { return };
        let timer = running.next_wake();
        let goes_on = step(running, &mut self.core, &mut self.comparisons);
        let next = running.next_wake();
        if goes_on && next == timer {
            return;
        }
        self.timers.remove(&(timer, id));
        if goes_on {
            self.timers.insert((next, id));
        } else if let Some(running) = self.operations.remove(&id) {
            self.core.dials.retain(|(_, waiting)| *waiting != id);
            match *running {
                Running::Join(_) => {
                    self.on_joined();
                    if id == AGAIN {
                        self.core.hand_over_to_holders();
                    }
                }
                Running::Leave(_) => self.on_departed(),
                Running::Register(_) | Running::Lookup(_) | Running::Announce(_) => {}
            }
        }
    }

    fn on_due(&mut self) {
        let now = self.core.now;
        while let Some((id, pending)) = self.core.requests.take_expired(now) {
            if let Err(pending) = self.core.ask_again(id, pending) {
                self.on_silence(pending);
            }
        }
        while let Some((tick, id)) = self.timers.first().copied().filter(|(tick, _)| *tick <= now) {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.on_wake(core, comparisons) == join::Progress::Going,
                Running::Register(register) => register.on_wake(core),
                Running::Lookup(lookup) => lookup.on_wake(core),
                Running::Leave(leave) => {
                    leave.say_goodbye(core);
                    false
                }
                Running::Announce(announce) => announce.on_wake(core),
            });
            assert!(!self.timers.contains(&(tick, id)), "an operation that was woken sleeps longer or ends");
        }
        self.upkeep.on_wake(&mut self.core, &mut self.comparisons);
        self.announce_if_due();
    }
}

/// How many failures in a row make a contact be given up.
const FORGOTTEN_FAILURES: u8 = 4;

impl Core {
    /// A neighbour does not answer, or has said so before: it keeps its place until then.
    fn on_absent(&mut self, grid: Grid, until: Tick) {
        self.absent.add(grid, until);
        self.fellowship.on_change(&self.contact.grid(), &grid);
    }

    /// Somebody is said to be away: if so, it keeps its place for as long as it has said, but not without end.
    fn on_away(&mut self, contact: &Arc<Contact>) {
        self.meet(contact);
        let is_away = self.table.entry(&contact.grid()).is_some_and(Entry::is_away);
        if let Standing::Away { for_ms } = contact.standing()
            && is_away
        {
            let span = Core::bounded_absence(Ticks(for_ms)).max(self.config.grace);
            self.on_absent(contact.grid(), self.now + span);
        }
    }

    /// Somebody answers.
    fn on_back(&mut self, grid: &Grid) {
        if !self.absent.is_empty() && self.absent.remove(grid) {
            self.fellowship.on_change(&self.contact.grid(), grid);
        }
    }

    /// Somebody has proven itself or signed a newer card: unless it leaves requests unanswered, it is there.
    fn on_back_if_available(&mut self, grid: &Grid) {
        if !self.absent.is_empty() && self.table.entry(grid).is_some_and(Entry::is_available) {
            self.on_back(grid);
        }
    }

    /// An operation ends without having come to its end: its caller hears why.
    fn end_early(&mut self, id: OperationId, running: &Running, is_cancelled: bool) {
        self.dials.retain(|(_, waiting)| *waiting != id);
        let outcome = match running {
            Running::Join(join) if join.is_reported() => return,
            Running::Register(register) if register.is_reported() => return,
            Running::Announce(_) if id == announce::OWN => return,
            Running::Join(_) => {
                Outcome::Joined(Err(if is_cancelled { JoinError::Cancelled } else { JoinError::NotNow }))
            }
            Running::Register(_) | Running::Announce(_) => {
                Outcome::Registered(Err(if is_cancelled { RegisterError::Cancelled } else { RegisterError::Stopped }))
            }
            Running::Lookup(_) => {
                Outcome::Answered(Err(if is_cancelled { LookupError::Cancelled } else { LookupError::Stopped }))
            }
            Running::Leave(_) => Outcome::Departed(Err(DepartError::Cancelled)),
        };
        self.effect(Effect::Complete(id, outcome));
    }
}

#[cfg(test)]
mod tests;
