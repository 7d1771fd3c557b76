//! The simulated network: it carries messages between nodes, one tick after the other.
//!
//! ```text
//!   a tick:  what is due reaches the inboxes, in (sender, sequence) order
//!            -> each node with something to do takes its turn
//!            -> what it sends is queued for a later tick
//! ```
//!
//! Nodes do not see each other within a tick, so the order in which they take their turns changes nothing. Delay and
//! loss of a message are functions of the seed, the sender and the sender's sequence number. So the same seed gives the
//! same run, whether nodes are run directly or by the async driver: both get the same turns, and of what a turn wants
//! done only the order of requests and messages counts here.
//!
//! [`turns`](self) spreads the turns of a tick over threads; what they want done is carried out one after the other.
//!
//! A link is free and holds no state here: a request is heard as linked in the requester's next turn where the peer runs,
//! else as lost after the dial time-out. [`LinkCost`] makes it cost what it costs on TCP.

pub mod dishonest;
mod faults;
mod links;
mod meter;
mod nodes;
mod slots;
mod standing;
mod turns;

use crate::connection::Time;
use crate::delay::Delay;
use crate::driven::Bell;
use crate::wheel::Wheel;
use faults::{Cut, Down};
use meter::Meter;
use routing_core::contact::Address;
use routing_core::effect::{Notice, OperationId, Outcome};
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::time::{Tick, Ticks};
use rustc_hash::FxHashMap;
use slots::{IdHasher, NEVER, Runner, Slots};
pub use standing::LinkCost;
use standing::Links;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use turns::{GROUP, Inbox, Turn, Turns, Workers};

/// How many messages a halted or slow node's inbox keeps: the oldest.
const INBOX_MAX: usize = 256;
/// How long a dial to somebody who does not answer takes.
pub const DIAL_TIMEOUT: Ticks = Ticks::seconds(5);

/// Names a node or client of the network: its number in the order of creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct NodeIndex(pub u32);

/// What a node does at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It takes its turns.
    Running,
    /// It hears and does nothing.
    Halted,
    /// It said farewell and stopped.
    Left,
    /// It is gone without a word.
    Killed,
    /// It is down, with or without a word, and may come back.
    Down,
}

/// How the nodes of a network are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Each turn is a call into the state machine.
    #[default]
    Direct,
    /// The async driver runs over [`crate::connection::SimConnection`], polled by hand.
    Driver,
}

/// What was sent, in all or for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// How many messages.
    pub messages: u64,
    /// Their encoded size with framing.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Traffic) {
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

impl std::ops::Sub for Traffic {
    type Output = Traffic;
    fn sub(self, earlier: Traffic) -> Traffic {
        Traffic { messages: self.messages - earlier.messages, bytes: self.bytes - earlier.bytes }
    }
}

/// What the network has counted since it began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// All that was sent.
    pub sent: Traffic,
    /// What of it no operation waited for.
    pub upkeep: Traffic,
    /// Links that were asked for.
    pub links_opened: u64,
    /// Copies of records given to nodes outside an operation.
    pub records_moved: u64,
    /// Messages delivered to nodes and wake-ups handled by nodes.
    pub events: u64,
}

/// An operation that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Whose it was.
    pub node: NodeIndex,
    /// Which.
    pub operation: OperationId,
    /// When it ended.
    pub at: Tick,
    /// How.
    pub outcome: Outcome,
}

enum Event {
    /// `life` says which of its lives the receiver was in: links end with it.
    Deliver {
        to: NodeIndex,
        life: u32,
        from: NodeIndex,
        sequence: u64,
        opens_link: bool,
        message: Message,
    },
    Hear {
        to: NodeIndex,
        life: u32,
        heard: Box<Heard>,
    },
    Wake(NodeIndex),
    /// A link makes room for another one.
    Lapse {
        to: NodeIndex,
        peer: NodeIndex,
    },
}

impl Event {
    /// Whom it is for.
    fn node(&self) -> NodeIndex {
        match self {
            Event::Hear { to, .. } | Event::Deliver { to, .. } | Event::Wake(to) | Event::Lapse { to, .. } => *to,
        }
    }

    /// Orders the events that a node has at one tick: links before messages, messages by sender and sequence.
    fn rank(&self) -> (u8, NodeIndex, u64) {
        match self {
            Event::Hear { .. } => (0, NodeIndex(0), 0),
            Event::Deliver { from, sequence, .. } => (1, *from, *sequence),
            Event::Wake(_) => (2, NodeIndex(0), 0),
            Event::Lapse { peer, .. } => (3, *peer, 0),
        }
    }
}

/// A network of nodes and clients, and its time.
pub struct Network {
    seed: u64,
    mode: Mode,
    delay: Delay,
    loss: f64,
    duplicate: f64,
    cut: Option<Cut>,
    /// The links that stand, where they cost something.
    links: Option<Links>,
    wheel: Wheel<Event>,
    slots: Slots,
    /// Who is down and may come back.
    down: FxHashMap<NodeIndex, Down>,
    by_grid: HashMap<Grid, NodeIndex, BuildHasherDefault<IdHasher>>,
    by_address: FxHashMap<Address, NodeIndex>,
    counters: Counters,
    meter: Meter,
    ledgers: Vec<Traffic>,
    finished: Vec<Finished>,
    notices: Vec<(NodeIndex, Notice)>,
    keeps_notices: bool,
    /// What the clocks of async code show, and where it is woken.
    time: Time,
    bell: Bell,
    workers: Workers,
    /// Whether some node is or was code of the caller's own.
    has_own_code: bool,
    // Empty between two ticks, kept for their room.
    due: Vec<Event>,
    /// For whom each of the due events is, and which it is.
    order: Vec<(NodeIndex, u32)>,
    turns: Turns,
    spare: Turns,
    /// Emptied inboxes, for whoever is sent something next.
    inboxes: Vec<Inbox>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("seed", &self.seed).field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Network {
    /// An empty network at tick 0.
    pub fn new(seed: u64, mode: Mode, delay: Delay) -> Self {
        Self {
            seed,
            mode,
            delay,
            loss: 0.0,
            duplicate: 0.0,
            cut: None,
            links: None,
            wheel: Wheel::default(),
            slots: Slots::default(),
            down: FxHashMap::default(),
            by_grid: HashMap::default(),
            by_address: FxHashMap::default(),
            counters: Counters::default(),
            meter: Meter::default(),
            ledgers: vec![Traffic::default()],
            finished: Vec::new(),
            notices: Vec::new(),
            keeps_notices: false,
            time: Time::default(),
            bell: Bell::default(),
            workers: Workers::new(1),
            has_own_code: false,
            due: Vec::new(),
            order: Vec::new(),
            turns: Turns::new(),
            spare: Vec::new(),
            inboxes: Vec::new(),
        }
    }

    /// The present tick.
    pub fn now(&self) -> Tick {
        self.wheel.now()
    }

    /// The seed that all of it follows from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How long messages take.
    pub fn delay(&self) -> &Delay {
        &self.delay
    }

    /// From now on messages take as long as this says.
    pub fn set_delay(&mut self, delay: Delay) {
        self.delay = delay;
    }

    /// From now on this share of the messages is lost.
    pub fn set_loss(&mut self, rate: f64) {
        self.loss = rate;
    }

    /// From now on this share of the messages that are not lost arrives twice.
    pub fn set_duplicate(&mut self, rate: f64) {
        self.duplicate = rate;
    }

    /// From now on links cost this; those that stood before are no more. To be said while nobody is there yet.
    pub fn set_link_cost(&mut self, cost: LinkCost) {
        self.links = (cost != LinkCost::default()).then(|| Links::new(cost));
    }

    /// What was counted since the beginning.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The most that one node has sent outside operations in any ten seconds that ended after `since`, in bytes a second.
    pub fn upkeep_peak(&self, since: Tick) -> f64 {
        self.meter.peak(since, self.now(), self.slots.iter().map(|slot| slot.spent))
    }

    /// How many bytes each node has sent outside operations since it was added, in order of their numbers.
    pub fn upkeep_of_each(&self) -> Vec<u64> {
        self.meter.totals(self.slots.iter().map(|slot| slot.spent))
    }

    /// From now on the nodes of a tick take their turns on so many threads, the caller's among them. The run is the same
    /// on any number.
    pub fn set_threads(&mut self, threads: usize) {
        if threads != self.workers.threads() {
            self.workers = Workers::new(threads);
        }
    }

    /// On how many threads nodes take their turns.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// Opens a ledger for the traffic of some operations, and gives its number.
    pub fn open_ledger(&mut self) -> usize {
        self.ledgers.push(Traffic::default());
        self.ledgers.len() - 1
    }

    /// What was counted in a ledger.
    pub fn ledger(&self, ledger: usize) -> Traffic {
        self.ledgers[ledger]
    }

    /// The operations that have ended since this was asked last.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Whether the notices of nodes are kept for [`Network::take_notices`].
    pub fn keep_notices(&mut self, keep: bool) {
        self.keeps_notices = keep;
    }

    /// What nodes gave notice of since this was asked last.
    pub fn take_notices(&mut self) -> Vec<(NodeIndex, Notice)> {
        std::mem::take(&mut self.notices)
    }

    /// The digest of all that was delivered: equal for equal runs, whatever machine, build or way of running.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for slot in self.slots.iter() {
            hasher.update(&slot.chain.to_be_bytes());
        }
        hasher.finalize()
    }

    /// Queues a wake-up, unless an earlier one is queued already.
    fn wake_at(&mut self, node: NodeIndex, at: Tick) {
        let slot = &mut self.slots[node];
        if !slot.is_alive() {
            return;
        }
        let at = slot.runs_at(at);
        slot.wake = slot.wake.min(at);
        if at < slot.queued {
            slot.queued = at;
            self.wheel.put(at, Event::Wake(node));
        }
    }

    /// Lets one tick pass.
    pub fn tick(&mut self) -> Tick {
        for node in self.bell.take() {
            let live = self.live(node);
            if live.is_some_and(|live| matches!(&live.runner, Runner::Hosted(hosted) if hosted.is_woken())) {
                self.wake_at(node, Tick(self.now().0 + 1));
            }
        }
        let mut due = std::mem::take(&mut self.due);
        let now = self.wheel.advance(&mut due);
        self.time.set(now);
        if meter::ends_at(now) {
            self.meter.turn(self.slots.iter_mut().map(|slot| &mut slot.spent));
        }
        let mut turns = std::mem::take(&mut self.turns);
        let mut order = std::mem::take(&mut self.order);
        order.extend(due.iter().zip(0..).map(|(event, index)| (event.node(), index)));
        order.iter().for_each(|(node, _)| self.slots[*node].look_at());
        order.sort_unstable();
        let portion = if self.may_share() { self.workers.portion(order.len()) } else { None };
        for of_node in order.chunk_by_mut(|(one, _), (other, _)| one == other) {
            if of_node.len() > 1 {
                of_node.sort_by_key(|(_, index)| due[*index as usize].rank());
            }
            let mut is_woken = false;
            for (node, index) in of_node.iter() {
                let event = std::mem::replace(&mut due[*index as usize], Event::Wake(*node));
                is_woken |= self.receive(now, event);
            }
            turns.extend(self.begin_turn(now, of_node[0].0, is_woken));
            if portion == Some(turns.len()) {
                self.workers.hand_out(&mut turns);
            }
        }
        order.clear();
        (self.due, self.order) = (due, order);
        if portion.is_some() {
            if !turns.is_empty() {
                self.workers.hand_out(&mut turns);
            }
            while let Some(mut taken) = self.workers.next_taken() {
                taken.iter_mut().for_each(|turn| self.end_turn(now, turn));
                turns.append(&mut taken);
                self.workers.give_back(taken);
            }
        } else {
            for group in turns.chunks_mut(GROUP) {
                Turn::take_all(group);
                group.iter_mut().for_each(|turn| self.end_turn(now, turn));
            }
        }
        turns.drain(..).for_each(|turn| self.put_away(turn));
        self.turns = turns;
        now
    }

    /// A turn that has been taken: whose last it was is gone, and the next ones use its room again.
    fn put_away(&mut self, mut turn: Box<Turn>) {
        if turn.is_over {
            self.end(turn.node);
        }
        turn.clear();
        if turn.heard.capacity() > 0 {
            self.inboxes.push(std::mem::take(&mut turn.heard));
        }
        self.spare.push(turn);
    }

    /// Whether turns may be taken on several threads: code of somebody's own may share what it likes, so it runs on one, in
    /// order of the nodes.
    fn may_share(&self) -> bool {
        self.mode == Mode::Direct && !self.has_own_code
    }

    /// Gives the node back to its place and carries out what it wants done.
    fn end_turn(&mut self, now: Tick, turn: &mut Turn) {
        let slot = &mut self.slots[turn.node];
        (slot.chain, slot.live) = (turn.chain, turn.live.take());
        self.carry_out(now, turn.node, &mut turn.effects, &turn.lengths);
        if let Some(next) = turn.next_wake {
            self.wake_at(turn.node, next);
        }
    }

    /// Puts one event where its node will find it. Says whether it was a wake-up that is still wanted.
    fn receive(&mut self, now: Tick, event: Event) -> bool {
        match event {
            Event::Wake(node) => {
                let slot = &mut self.slots[node];
                if slot.queued <= now {
                    slot.queued = NEVER;
                }
                if slot.wake <= now {
                    return true;
                }
                // The node has changed its mind since, and sleeps longer.
                let wake = slot.wake;
                if wake != NEVER && slot.condition == Condition::Running {
                    self.wake_at(node, wake);
                }
            }
            Event::Hear { to, life, heard } => {
                if !self.is_stale(to, life) {
                    self.put_into_inbox(to, *heard);
                }
            }
            Event::Deliver { to, life, from, opens_link, message, .. } => {
                if self.is_stale(to, life) || self.is_stopped(from, to) {
                    return false;
                }
                let slot = &mut self.slots[to];
                if slot.messages_waiting as usize >= INBOX_MAX && !slot.is_prompt() || !slot.is_alive() {
                    return false;
                }
                slot.messages_waiting += 1;
                let sender = &self.slots[from];
                let grid = sender.grid;
                if opens_link && let Some(contact) = sender.contact.clone() {
                    self.put_into_inbox(to, Heard::Requested(contact));
                }
                self.put_into_inbox(to, Heard::Message(grid, message));
            }
            Event::Lapse { to, peer } => self.lapse(now, to, peer),
        }
        false
    }

    fn put_into_inbox(&mut self, node: NodeIndex, heard: Heard) {
        let slot = &mut self.slots[node];
        if !slot.is_alive() {
            return;
        }
        if slot.inbox.capacity() == 0 {
            slot.inbox = self.inboxes.pop().unwrap_or_default();
        }
        slot.inbox.push(heard);
    }

    /// Lets a node take its turn, if it runs at this tick; else it will at the next one of its cadence.
    fn begin_turn(&mut self, now: Tick, node: NodeIndex, is_woken: bool) -> Option<Box<Turn>> {
        let slot = &mut self.slots[node];
        if slot.condition != Condition::Running || slot.inbox.is_empty() && !is_woken {
            return None;
        }
        if slot.runs_at(now) != now {
            self.wake_at(node, now);
            return None;
        }
        self.counters.events += u64::from(slot.messages_waiting) + u64::from(is_woken);
        slot.messages_waiting = 0;
        slot.wake = NEVER;
        let mut turn = self.spare.pop().unwrap_or_default();
        turn.begin(now, node, slot);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::DelaySpec;
    use routing_core::effect::{Effect, Target};
    use routing_core::key::SecretKey;
    use routing_core::message::{Find, RequestId, Want};
    use routing_core::state::NodeState;
    use std::path::Path;
    use std::sync::Arc;

    fn two() -> (Network, [NodeIndex; 2]) {
        let delay = Delay::load(&DelaySpec::Constant { value: Ticks(5) }, Path::new(""), 1).unwrap();
        let mut network = Network::new(1, Mode::Direct, delay);
        let nodes = [1, 2].map(|number: u8| {
            let secret = Arc::new(SecretKey::from_seed([number; 32]));
            let address = format!("n{number}.example").parse().unwrap();
            network.add(NodeState::node(secret, address, Arc::default(), 1), 0)
        });
        (network, nodes)
    }

    #[test]
    fn a_node_keeps_no_room_for_the_most_that_ever_came_at_once() {
        let (mut network, [from, to]) = two();
        let grid = network.contact(to).unwrap().grid();
        let link = Effect::Request(Target::contact(&network.contact(to).unwrap().clone()));
        for _ in 0..3 {
            for number in 0..100 {
                let send = Effect::Send(grid, Message::Unknown(RequestId(number)));
                network.carry_out(network.now(), from, &mut vec![link.clone(), send], &[]);
            }
            (0..10).for_each(|_| {
                network.tick();
            });
            network.wake_at(from, network.now() + Ticks(1));
            network.tick();
            assert!([from, to].iter().all(|node| network.slots[*node].inbox.capacity() == 0));
            assert_eq!(network.inboxes.len(), 2, "the next ones use them");
        }
        assert_eq!(network.counters().links_opened, 300);
    }

    /// The driver tells of notices last, the state machine as they come: what a message opens is the same.
    #[test]
    fn what_is_not_for_links_does_not_part_a_request_from_its_message() {
        let run = |order: [usize; 3]| {
            let (mut network, nodes) = two();
            let peer = network.contact(nodes[1]).unwrap().clone();
            let set = routing_core::holders::SetName::NONE;
            let find = Find { id: RequestId(1), target: peer.grid().0, want: Want::Contacts, groups: 4, set };
            let effects = [
                Effect::Request(Target::contact(&peer)),
                Effect::Send(peer.grid(), Message::Find(find)),
                Effect::Notify(Notice::Settled),
            ];
            let mut effects = order.map(|index| effects[index].clone()).to_vec();
            network.carry_out(Tick(0), nodes[0], &mut effects, &[]);
            (network.wheel.len(), network.slots[nodes[0]].inbox.len(), network.counters())
        };
        let (events, heard, counters) = run([0, 1, 2]);
        assert_eq!((events, heard, counters.links_opened), (1, 1, 1), "the message brings the news of the link");
        assert_eq!(run([0, 2, 1]), (events, heard, counters));
        assert_eq!(run([2, 0, 1]), (events, heard, counters));
        assert_eq!(run([1, 0, 2]).0, 3, "a message that goes before opens nothing");
    }
}
