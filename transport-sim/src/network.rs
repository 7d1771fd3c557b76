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
mod standing;
mod turns;

use crate::connection::Time;
use crate::delay::Delay;
use crate::driven::{Bell, Driven, Hosted};
use crate::wheel::Wheel;
use dishonest::Liar;
use faults::{Cut, Down};
use meter::Meter;
use routing_core::contact::{Address, Contact};
use routing_core::effect::{Notice, Operation, OperationId, Outcome};
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::state::NodeState;
use routing_core::time::{Cadence, Tick, Ticks};
use rustc_hash::FxHashMap;
pub use standing::LinkCost;
use standing::Links;
use std::sync::Arc;
use turns::{Inbox, Turn, Turns, Workers};

/// How many messages a halted or slow node's inbox keeps: the oldest.
const INBOX_MAX: usize = 256;
/// How long a dial to somebody who does not answer takes.
pub const DIAL_TIMEOUT: Ticks = Ticks::seconds(5);
/// What the length of a frame adds to each message.
const FRAME_OVERHEAD: u64 = 4;

/// Names a node or client of the network: its number in the order of creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
    /// Orders the events of a tick: by node, links before messages, messages by sender and sequence.
    fn rank(&self) -> (NodeIndex, u8, NodeIndex, u64) {
        match self {
            Event::Hear { to, .. } => (*to, 0, NodeIndex(0), 0),
            Event::Deliver { to, from, sequence, .. } => (*to, 1, *from, *sequence),
            Event::Wake(node) => (*node, 2, NodeIndex(0), 0),
            Event::Lapse { to, peer } => (*to, 3, *peer, 0),
        }
    }
}

enum Runner {
    Direct(Box<NodeState>),
    Driven(Box<Driven>),
    Hosted(Box<Hosted>),
}

impl Runner {
    /// The node's state machine; the code of somebody's own keeps its state to itself.
    fn state(&self) -> Option<&NodeState> {
        match self {
            Runner::Direct(state) => Some(state),
            Runner::Driven(driven) => Some(driven.state()),
            Runner::Hosted(_) => None,
        }
    }
}

struct Live {
    runner: Runner,
    /// What makes it dishonest.
    liar: Option<Box<Liar>>,
    contact: Arc<Contact>,
    place: u32,
    condition: Condition,
    cadence: Cadence,
    sequence: u64,
    /// The next tick at which the node wants to run by itself, and the earliest for which a wake-up is queued.
    wake: Option<Tick>,
    queued: Option<Tick>,
    asked: Vec<(OperationId, Operation)>,
    inbox: Inbox,
    messages_waiting: usize,
    last_operation: u64,
    /// Which ledger the traffic of its operations is counted in.
    ledger: usize,
}

impl Live {
    fn new(contact: Arc<Contact>, place: u32, runner: Runner) -> Self {
        Self {
            runner,
            liar: None,
            contact,
            place,
            condition: Condition::Running,
            cadence: Cadence::EACH_TICK,
            sequence: 0,
            wake: None,
            queued: None,
            asked: Vec::new(),
            inbox: Inbox::new(),
            messages_waiting: 0,
            last_operation: 0,
            ledger: 0,
        }
    }
}

struct Slot {
    grid: Grid,
    /// The chained hash of all that was delivered.
    chain: u64,
    live: Option<Box<Live>>,
    /// How often it has come back.
    life: u32,
    /// What it has sent outside operations in this window of the [`Meter`], in bytes.
    spent: u32,
    /// Where it is while the network is cut.
    part: u16,
    /// Whether it said farewell before it went.
    has_left: bool,
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
    slots: Vec<Slot>,
    /// Who is down and may come back.
    down: FxHashMap<NodeIndex, Down>,
    by_grid: FxHashMap<Grid, NodeIndex>,
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
    // Empty between two ticks, kept for their room.
    due: Vec<Event>,
    called: Vec<(NodeIndex, bool)>,
    turns: Turns,
    spare: Turns,
    /// Emptied inboxes, for whoever is sent something next.
    inboxes: Vec<Inbox>,
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
            slots: Vec::new(),
            down: FxHashMap::default(),
            by_grid: FxHashMap::default(),
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
            due: Vec::new(),
            called: Vec::new(),
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
        for slot in &self.slots {
            hasher.update(&slot.chain.to_be_bytes());
        }
        hasher.finalize()
    }

    /// Queues a wake-up, unless an earlier one is queued already.
    fn wake_at(&mut self, node: NodeIndex, at: Tick) {
        let Some(live) = self.live_mut(node) else { return };
        let at = live.cadence.at_or_after(at);
        live.wake = Some(live.wake.map_or(at, |wake| wake.min(at)));
        if live.queued.is_none_or(|queued| at < queued) {
            live.queued = Some(at);
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
        due.sort_by_key(Event::rank);
        // (node, whether it wanted to run at this tick by itself)
        let mut called: Vec<(NodeIndex, bool)> = std::mem::take(&mut self.called);
        for event in due.drain(..) {
            let node = event.rank().0;
            let is_woken = self.receive(now, event);
            match called.last_mut() {
                Some((last, woken)) if *last == node => *woken |= is_woken,
                _ => called.push((node, is_woken)),
            }
        }
        self.due = due;
        let mut turns = std::mem::take(&mut self.turns);
        for (node, is_woken) in called.drain(..) {
            turns.extend(self.begin_turn(now, node, is_woken));
        }
        self.called = called;
        self.workers.run(&mut turns);
        for turn in &mut turns {
            let slot = &mut self.slots[turn.node.0 as usize];
            (slot.chain, slot.live) = (turn.chain, turn.live.take());
        }
        for turn in &mut turns {
            self.carry_out(now, turn.node, &mut turn.effects, &turn.lengths);
            let has_more = self.live(turn.node).is_some_and(|live| !live.asked.is_empty());
            if let Some(next) = if has_more { Some(Tick(now.0 + 1)) } else { turn.next_wake } {
                self.wake_at(turn.node, next);
            }
        }
        for mut turn in turns.drain(..) {
            if turn.is_over {
                self.end(turn.node);
            }
            if turn.inbox.capacity() > 0 {
                self.inboxes.push(std::mem::take(&mut turn.inbox));
            }
            turn.clear();
            self.spare.push(turn);
        }
        self.turns = turns;
        now
    }

    /// Puts one event where its node will find it. Says whether it was a wake-up that is still wanted.
    fn receive(&mut self, now: Tick, event: Event) -> bool {
        let node = event.rank().0;
        let is_lost = match &event {
            Event::Deliver { from, life, .. } => self.is_stale(node, *life) || self.is_stopped(*from, node),
            Event::Hear { life, .. } => self.is_stale(node, *life),
            Event::Wake(_) | Event::Lapse { .. } => false,
        };
        if is_lost {
            return false;
        }
        if let Event::Lapse { peer, .. } = event {
            self.lapse(now, node, peer);
            return false;
        }
        let opener = match &event {
            Event::Deliver { from, opens_link: true, .. } => self.live(*from).map(|live| live.contact.clone()),
            _ => None,
        };
        let Some(live) = self.slots[node.0 as usize].live.as_deref_mut() else { return false };
        match event {
            Event::Wake(_) => {
                live.queued = live.queued.filter(|queued| *queued > now);
                match live.wake {
                    Some(wake) if wake <= now => return true,
                    // The node has changed its mind since, and sleeps longer.
                    Some(wake) if live.condition == Condition::Running => self.wake_at(node, wake),
                    _ => {}
                }
            }
            Event::Hear { heard, .. } => self.put_into_inbox(node, node, *heard),
            Event::Lapse { .. } => {}
            Event::Deliver { from, message, .. } => {
                if live.messages_waiting < INBOX_MAX
                    || live.condition == Condition::Running && live.cadence == Cadence::EACH_TICK
                {
                    live.messages_waiting += 1;
                    if let Some(contact) = opener {
                        self.put_into_inbox(node, from, Heard::Requested(contact));
                    }
                    let sender = self.slots[from.0 as usize].grid;
                    self.put_into_inbox(node, from, Heard::Message(sender, message));
                }
            }
        }
        false
    }

    fn put_into_inbox(&mut self, node: NodeIndex, from: NodeIndex, heard: Heard) {
        let Some(live) = self.slots[node.0 as usize].live.as_deref_mut() else { return };
        if live.inbox.capacity() == 0 {
            live.inbox = self.inboxes.pop().unwrap_or_default();
        }
        live.inbox.push((from, heard));
    }

    /// Lets a node take its turn, if it runs at this tick; else it will at the next one of its cadence.
    fn begin_turn(&mut self, now: Tick, node: NodeIndex, is_woken: bool) -> Option<Box<Turn>> {
        let live = self.slots[node.0 as usize].live.as_deref_mut()?;
        if live.condition != Condition::Running || live.inbox.is_empty() && !is_woken {
            return None;
        }
        if live.cadence.at_or_after(now) != now {
            self.wake_at(node, now);
            return None;
        }
        self.counters.events += live.messages_waiting as u64 + u64::from(is_woken);
        live.messages_waiting = 0;
        live.wake = None;
        let slot = &mut self.slots[node.0 as usize];
        let live = slot.live.take()?;
        let Some(mut turn) = self.spare.pop() else { return Some(Box::new(Turn::new(now, node, slot.chain, live))) };
        turn.renew(now, node, slot.chain, live);
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
    use std::path::Path;

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
            assert!([from, to].iter().all(|node| network.live(*node).unwrap().inbox.capacity() == 0));
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
            (network.wheel.len(), network.live(nodes[0]).unwrap().inbox.len(), network.counters())
        };
        let (events, heard, counters) = run([0, 1, 2]);
        assert_eq!((events, heard, counters.links_opened), (1, 1, 1), "the message brings the news of the link");
        assert_eq!(run([0, 2, 1]), (events, heard, counters));
        assert_eq!(run([2, 0, 1]), (events, heard, counters));
        assert_eq!(run([1, 0, 2]).0, 3, "a message that goes before opens nothing");
    }
}
