//! Nodes polled by hand, by a clock that the test advances.

use super::*;
use crate::heard::LossReason;
use crate::holders::SetName;
use crate::message::{Copy, Find, Message, RequestId, Store, StoreItem, Want};
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready_err};

#[derive(Clone, Default)]
struct HandClock(Arc<AtomicU64>);

impl HandClock {
    fn set(&self, tick: u64) {
        self.0.store(tick, SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Tick {
        Tick(self.0.load(SeqCst))
    }

    async fn sleep_until(&self, tick: Tick) {
        poll_fn(|_| if self.now() >= tick { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// What a node did with the world, in one list; and what it is to hear next.
#[derive(Clone, Default)]
struct Script {
    heard: Arc<Mutex<VecDeque<Heard>>>,
    done: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn say(&self, heard: Heard) {
        self.heard.lock().unwrap().push_back(heard);
    }

    fn take_done(&self) -> Vec<String> {
        std::mem::take(&mut *self.done.lock().unwrap())
    }

    fn note(&self, what: &str) {
        self.done.lock().unwrap().push(what.to_owned());
    }
}

#[async_trait]
impl Connection for Script {
    type Error = Infallible;

    async fn request(&mut self, _: &Target) -> Result<(), Infallible> {
        self.note("request");
        Ok(())
    }
    async fn accept(&mut self, _: Grid) -> Result<(), Infallible> {
        self.note("accept");
        Ok(())
    }
    async fn send(&mut self, _: Grid, message: Message) -> Result<(), Infallible> {
        self.note(format!("send {message:?}").split('(').next().unwrap());
        Ok(())
    }
    async fn close(&mut self, _: Grid) -> Result<(), Infallible> {
        self.note("close");
        Ok(())
    }
    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Infallible> {
        poll_fn(|_| if self.heard.lock().unwrap().is_empty() { Poll::Pending } else { Poll::Ready(()) }).await;
        heard.extend(self.heard.lock().unwrap().drain(..));
        Ok(())
    }
}

/// A keeper that writes into the list of its connection, or fails.
struct Recorder {
    script: Script,
    fails: bool,
}

#[async_trait]
impl Keeper for Recorder {
    async fn commit(&mut self, batch: &[Durable]) -> Result<(), KeepError> {
        self.script.note(&format!("commit {}", batch.len()));
        if self.fails { Err("the disk is full".into()) } else { Ok(()) }
    }
}

/// A node that began a network of its own.
fn alone(script: &Script, clock: &HandClock) -> RoutingNode<Script, HandClock> {
    RoutingNode::new(state(1, "a.example"), script.clone()).with_clock(clock.clone())
}

/// A peer asks something, and then has two records stored.
fn say_find_and_store(script: &Script) {
    let peer = state(2, "b.example");
    let from = peer.grid();
    let find = Find { id: RequestId(1), target: from.0, want: Want::Contacts, groups: 4, set: SetName::NONE };
    script.say(Heard::Requested(peer.contact().clone()));
    script.say(Heard::Message(from, Message::Find(find)));
    let copy = |seed| Copy { record: record(seed, "b.example"), rival: None, age: Ticks(0) };
    let item = |seed| StoreItem { copy: copy(seed), set: SetName::NONE };
    let store = Store { id: RequestId(3), items: [item(7), item(8)].into_iter().collect() };
    script.say(Heard::Message(from, Message::Store(store)));
}

#[test]
fn records_are_durable_before_any_message_of_the_turn_leaves() {
    let (script, clock) = (Script::default(), HandClock::default());
    let node = alone(&script, &clock).with_keeper(Recorder { script: script.clone(), fails: false });
    let _joined = node.handle().submit(Operation::Join(vec![])).unwrap();
    let mut run = spawn(node.run());
    assert_pending!(run.poll());
    say_find_and_store(&script);
    assert_pending!(run.poll());
    assert_eq!(script.take_done(), ["commit 2", "accept", "send Found", "send Stored"]);
}

#[test]
fn what_cannot_be_kept_is_told_to_nobody() {
    let (script, clock) = (Script::default(), HandClock::default());
    let node = alone(&script, &clock).with_keeper(Recorder { script: script.clone(), fails: true });
    let handle = node.handle();
    let _joined = handle.submit(Operation::Join(vec![])).unwrap();
    let mut run = spawn(node.run());
    assert_pending!(run.poll());
    say_find_and_store(&script);
    let mut lookup = handle.submit(Operation::Lookup(record(7, "b.example").key(), Consistency::Quick)).unwrap();
    let error = assert_ready_err!(run.poll());
    assert!(matches!(error, DriverError::Keeper(error) if error.to_string() == "the disk is full"));
    assert_eq!(script.take_done(), ["commit 2"]);
    assert!(matches!(lookup.try_take(), Err(Stopped)));
}

#[test]
fn operations_are_numbered_in_the_order_of_asking_and_bounded() {
    let (script, clock) = (Script::default(), HandClock::default());
    let node = alone(&script, &clock);
    let (one, other) = (node.handle(), node.handle().clone());
    let key = record(7, "b.example").key();
    let ask = |handle: &NodeHandle| handle.submit(Operation::Lookup(key, Consistency::Quick));
    let mut asked: Vec<Asked> =
        (0..COMMANDS_MAX).map(|n| ask(if n % 2 == 0 { &one } else { &other }).unwrap()).collect();
    let ids: Vec<u64> = asked.iter().map(|asked| asked.id().0).collect();
    assert!(ids.iter().copied().eq(1..=COMMANDS_MAX as u64));
    assert_eq!(ask(&one).unwrap_err(), SubmitError::Full);
    assert_eq!(one.submit(Operation::Cancel(OperationId(1))).unwrap_err(), SubmitError::NotAnOperation);
    let mut run = spawn(node.run());
    assert_pending!(run.poll());
    assert!(asked.iter_mut().all(|asked| matches!(asked.try_take(), Ok(Some(Outcome::Answered(Ok(_)))))));
    assert!(asked.iter_mut().all(|asked| matches!(asked.try_take(), Ok(None))), "an outcome is given once");
    assert_eq!(ask(&one).unwrap().id().0, COMMANDS_MAX as u64 + 1);
}

#[test]
fn a_flood_of_commands_holds_up_no_timer() {
    let (script, clock) = (Script::default(), HandClock::default());
    let node = alone(&script, &clock);
    let handle = node.handle();
    let mut join = handle.submit(Operation::Join(vec![at("nowhere.example")])).unwrap();
    let mut run = spawn(node.run());
    let key = record(7, "b.example").key();
    let deadline = config().join_deadline.0;
    for tick in (0..=deadline).step_by(1_000) {
        clock.set(tick);
        let flood: Vec<_> =
            std::iter::from_fn(|| handle.submit(Operation::Lookup(key, Consistency::All)).ok()).collect();
        assert!(flood.len() >= COMMANDS_MAX - 1);
        assert_pending!(run.poll());
        let ended = join.try_take().unwrap();
        assert_eq!(ended.is_some(), tick == deadline, "{ended:?}");
    }
}

#[test]
fn a_poll_takes_one_turn_however_much_there_is_to_do() {
    /// Hears something new whenever it is asked.
    struct Chatter(Script);
    #[async_trait]
    impl Connection for Chatter {
        type Error = Infallible;
        async fn request(&mut self, target: &Target) -> Result<(), Infallible> {
            self.0.request(target).await
        }
        async fn accept(&mut self, peer: Grid) -> Result<(), Infallible> {
            self.0.accept(peer).await
        }
        async fn send(&mut self, to: Grid, message: Message) -> Result<(), Infallible> {
            self.0.send(to, message).await
        }
        async fn close(&mut self, peer: Grid) -> Result<(), Infallible> {
            self.0.close(peer).await
        }
        async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Infallible> {
            heard.push(Heard::Requested(state(2, "b.example").contact().clone()));
            Ok(())
        }
    }
    let script = Script::default();
    let node = RoutingNode::new(state(1, "a.example"), Chatter(script.clone())).with_clock(HandClock::default());
    let mut run = spawn(node.run());
    for _ in 0..5 {
        assert_pending!(run.poll());
        assert_eq!(script.take_done(), ["accept"]);
        assert!(run.is_woken(), "there is more to do");
    }
}

#[test]
fn a_dropped_caller_cancels_its_operation() {
    let script = Script::default();
    let mut node = RoutingNode::new(client(&["nowhere.example"]), script.clone()).with_clock(HandClock::default());
    let handle = node.handle();
    let lookup = || handle.submit(Operation::Lookup(record(7, "b.example").key(), Consistency::All)).unwrap();
    let (kept, dropped) = (lookup(), lookup());
    assert_eq!(spawn(node.step()).poll().map(Result::unwrap), Poll::Ready(Phase::Outside));
    assert!(!node.state().is_idle());
    drop(dropped);
    assert!(spawn(node.step()).poll().is_ready());
    assert!(!node.state().is_idle(), "the other lookup goes on");
    drop(kept);
    assert!(spawn(node.step()).poll().is_ready());
    assert!(node.state().is_idle());
    assert_eq!(script.take_done(), ["request", "request"]);

    drop(lookup());
    assert!(spawn(node.step()).poll().is_ready());
    assert!(script.take_done().is_empty(), "what nobody waits for is not begun");
    assert!(spawn(node.step()).poll().is_pending());
}

#[test]
fn a_cancellation_does_not_overtake_its_operation() {
    let script = Script::default();
    let mut node = RoutingNode::new(client(&["nowhere.example"]), script.clone()).with_clock(HandClock::default());
    let handle = node.handle();
    let lookup = || handle.submit(Operation::Lookup(record(7, "b.example").key(), Consistency::All)).unwrap();
    let first = lookup();
    let mut asked: Vec<Asked> = (1..COMMANDS_MAX).map(|_| lookup()).collect();
    assert!(spawn(node.step()).poll().is_ready());
    asked.extend((0..COMMANDS_MAX).map(|_| lookup()));
    drop(first);
    // The queue is full, so the cancellation waits for the turn after this one.
    assert!(spawn(node.step()).poll().is_ready());
    assert_eq!(script.take_done().len(), 2 * COMMANDS_MAX);
    drop(asked);
    assert!(spawn(node.step()).poll().is_ready());
    assert!(node.state().is_idle());
}

#[test]
fn a_wait_that_is_dropped_loses_nothing() {
    let (script, clock) = (Script::default(), HandClock::default());
    let mut node = alone(&script, &clock);
    let _joined = node.handle().submit(Operation::Join(vec![])).unwrap();
    assert_eq!(spawn(node.step()).poll().map(Result::unwrap), Poll::Ready(Phase::Joined));
    for _ in 0..3 {
        assert!(spawn(node.step()).poll().is_pending());
    }
    let peer = state(2, "b.example");
    script.say(Heard::Requested(peer.contact().clone()));
    script.say(Heard::Lost(Target::contact(peer.contact()), LossReason::Closed));
    assert!(spawn(node.step()).poll().is_ready());
    assert_eq!(script.take_done(), ["accept"]);
    assert_eq!(node.state().table().len(), 1);
}

/// A network in virtual time: links take a tick, messages three.
#[derive(Default)]
struct World {
    now: u64,
    contacts: Vec<Arc<crate::contact::Contact>>,
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
                    Effect::Keep(_) | Effect::Forget(_) | Effect::Remember(_) | Effect::Notify(_) => {}
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
