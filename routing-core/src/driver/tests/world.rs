//! Small networks in virtual time, run by direct calls and by polling the driver: both must do the same.

use super::by_hand::HandClock;
use super::*;
use crate::contact::Contact;
use crate::heard::LossReason;
use crate::message::Message;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tokio_test::task::spawn;

/// A network in virtual time: links take a tick, messages three.
#[derive(Default)]
struct World {
    now: u64,
    contacts: Vec<Arc<Contact>>,
    inboxes: Vec<BTreeMap<u64, Vec<Heard>>>,
    log: Vec<String>,
    outcomes: BTreeMap<(usize, u64), String>,
}

impl World {
    fn add(&mut self, state: &NodeState) {
        self.contacts.push(state.contact().clone());
        self.inboxes.push(BTreeMap::new());
    }

    fn deliver(&mut self, to: usize, after: u64, heard: Heard) {
        self.inboxes[to].entry(self.now + after).or_default().push(heard);
    }

    fn carry_out(&mut self, from: usize, effect: &Effect) {
        self.log.push(format!("{} {from} {effect:?}", self.now));
        let own = self.contacts[from].clone();
        let index = |grid: &Grid| self.contacts.iter().position(|contact| contact.grid() == *grid);
        match effect {
            Effect::Request(target) => {
                let peer = self.contacts.iter().position(|contact| *contact.address() == target.address);
                match peer {
                    Some(peer) => {
                        self.deliver(peer, 1, Heard::Requested(own));
                        self.deliver(from, 1, Heard::Linked(target.clone(), self.contacts[peer].clone()));
                    }
                    None => self.deliver(from, 500, Heard::Lost(target.clone(), LossReason::Unreachable)),
                }
            }
            Effect::Send(to, message) => {
                if let Some(to) = index(to) {
                    self.deliver(to, 3, Heard::Message(own.grid(), message.clone()));
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone)]
struct WorldConnection {
    world: Arc<Mutex<World>>,
    own: usize,
}

impl WorldConnection {
    fn carry_out(&self, effect: Effect) -> Result<(), Infallible> {
        self.world.lock().unwrap().carry_out(self.own, &effect);
        Ok(())
    }
}

#[async_trait]
impl Connection for WorldConnection {
    type Error = Infallible;

    async fn request(&mut self, target: &Target) -> Result<(), Infallible> {
        self.carry_out(Effect::Request(target.clone()))
    }
    async fn accept(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.carry_out(Effect::Accept(peer))
    }
    async fn send(&mut self, to: Grid, message: Message) -> Result<(), Infallible> {
        self.carry_out(Effect::Send(to, message))
    }
    async fn close(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.carry_out(Effect::Close(peer))
    }
    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Infallible> {
        let take = || {
            let mut world = self.world.lock().unwrap();
            let now = world.now;
            world.inboxes[self.own].remove(&now)
        };
        heard.extend(poll_fn(|_| take().map_or(Poll::Pending, Poll::Ready)).await);
        Ok(())
    }
}

const WORLD_NODES: usize = 4;
const WORLD_TICKS: u64 = 9_000;

fn world_states() -> Vec<NodeState> {
    (0..WORLD_NODES).map(|node| state(node as u8 + 1, &format!("n{node}.example"))).collect()
}

/// What the nodes are asked, and when.
fn world_asks(tick: u64, node: usize) -> Vec<Operation> {
    let records = || (20..26).map(|seed| record(seed, "n1.example")).collect();
    let lookup = |seed| Operation::Lookup(record(seed, "n1.example").key(), Consistency::Quorum);
    match (tick, node) {
        (10, 0) => vec![Operation::Join(vec![])],
        (20, 1) => vec![Operation::Join(vec![at("nowhere.example"), at("n0.example")])],
        (20, 2) => vec![Operation::Join(vec![at("n0.example")])],
        (700, 3) => vec![lookup(20), Operation::Join(vec![at("n1.example"), at("n2.example")])],
        (3_000, 1) => vec![Operation::Register(records()), lookup(20), lookup(50)],
        (3_500 | 6_500, 0) => vec![lookup(21), lookup(50)],
        (3_500 | 6_500, 3) => (20..26).map(lookup).chain([Operation::Announce]).collect(),
        (5_000, 2) => vec![Operation::Leave, lookup(22)],
        (6_000, 1) => vec![Operation::Announce],
        _ => vec![],
    }
}

fn world_of(states: &[NodeState]) -> World {
    let mut world = World::default();
    states.iter().for_each(|state| world.add(state));
    world
}

/// Calls [`NodeState::turn`] directly.
fn run_directly() -> World {
    let mut states = world_states();
    let mut world = world_of(&states);
    let mut last_ids = [0; WORLD_NODES];
    for tick in 0..WORLD_TICKS {
        world.now = tick;
        for (node, state) in states.iter_mut().enumerate() {
            if state.phase() == Phase::Departed {
                continue;
            }
            let mut asked = Vec::new();
            for operation in world_asks(tick, node) {
                last_ids[node] += 1;
                asked.push((OperationId(last_ids[node]), operation));
            }
            let mut heard = world.inboxes[node].remove(&tick).unwrap_or_default();
            if asked.is_empty() && heard.is_empty() && state.next_wake().is_none_or(|wake| wake.0 > tick) {
                continue;
            }
            let mut effects = Effects::new();
            state.turn(Tick(tick), &mut asked, &mut heard, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Complete(id, outcome) => {
                        world.outcomes.insert((node, id.0), format!("{tick} {outcome:?}"));
                    }
                    Effect::Keep(_)
                    | Effect::Forget(_)
                    | Effect::Stray(..)
                    | Effect::Home(_)
                    | Effect::MovedOut(_)
                    | Effect::Remember(_)
                    | Effect::Notify(_) => {}
                    effect => world.carry_out(node, &effect),
                }
            }
        }
    }
    world
}

/// Polls the driver, once a tick.
fn run_by_polling() -> World {
    let states = world_states();
    let world = Arc::new(Mutex::new(world_of(&states)));
    let clock = HandClock::default();
    let nodes = states.into_iter().enumerate().map(|(own, state)| {
        let connection = WorldConnection { world: world.clone(), own };
        RoutingNode::new(state, connection).with_clock(clock.clone())
    });
    let (handles, mut runs): (Vec<_>, Vec<_>) = nodes.map(|node| (node.handle(), Some(spawn(node.run())))).unzip();
    let mut asked: Vec<(usize, Asked)> = Vec::new();
    for tick in 0..WORLD_TICKS {
        world.lock().unwrap().now = tick;
        clock.set(tick);
        for (node, run) in runs.iter_mut().enumerate() {
            let Some(running) = run else { continue };
            for operation in world_asks(tick, node) {
                asked.push((node, handles[node].submit(operation).unwrap()));
            }
            if running.poll().map(Result::unwrap).is_ready() {
                *run = None;
            }
        }
        for (node, asked) in &mut asked {
            if let Some(outcome) = asked.try_take().unwrap() {
                let mut world = world.lock().unwrap();
                world.outcomes.insert((*node, asked.id().0), format!("{tick} {outcome:?}"));
            }
        }
    }
    drop(runs);
    Arc::into_inner(world).unwrap().into_inner().unwrap()
}

fn assert_same_runs(polled: &World, direct: &World) {
    assert!(direct.log.len() > 150, "{}", direct.log.len());
    for (polled, direct) in polled.log.iter().zip(&direct.log) {
        assert_eq!(polled, direct);
    }
    assert_eq!(polled.log.len(), direct.log.len());
    assert_eq!(direct.outcomes.len(), 29);
    assert_eq!(polled.outcomes, direct.outcomes);
}

#[test]
fn polled_by_hand_a_node_takes_the_turns_of_direct_calls() {
    assert_same_runs(&run_by_polling(), &run_directly());
}

#[tokio::test]
async fn the_budget_of_the_surrounding_task_does_not_matter() {
    // Uses up what this task may do before it yields, and never yields.
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    (0..10_000).for_each(|n| sender.send(n).unwrap());
    poll_fn(|cx| {
        while receiver.poll_recv(cx).is_ready() {}
        Poll::Ready(())
    })
    .await;
    assert!(!receiver.is_empty(), "the budget is used up");
    assert_same_runs(&run_by_polling(), &run_directly());
}
