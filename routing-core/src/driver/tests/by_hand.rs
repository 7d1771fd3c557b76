//! Nodes polled by hand, by a clock that the test advances.

use super::*;
use crate::heard::LossReason;
use crate::holders::SetName;
use crate::message::{Copy, Find, Message, RequestId, Store, StoreItem, Want};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready_err};

#[derive(Clone, Default)]
pub(super) struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub(super) fn set(&self, tick: u64) {
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
    let copy = |seed| Copy { record: record(seed, "c.example"), rival: None, age: Ticks(0) };
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
    // Both records, and whom to remember.
    assert_eq!(script.take_done(), ["commit 3", "accept", "send Found", "send Stored"]);
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
    assert_eq!(script.take_done(), ["commit 3"]);
    assert!(matches!(lookup.try_take(), Err(Stopped)));
}

#[test]
fn what_ended_before_the_transport_failed_is_told_and_the_rest_has_stopped() {
    /// Cannot ask for links any more.
    struct Torn;
    #[async_trait]
    impl Connection for Torn {
        type Error = TransportGone;
        async fn request(&mut self, _: &Target) -> Result<(), TransportGone> {
            Err(TransportGone)
        }
        async fn accept(&mut self, _: Grid) -> Result<(), TransportGone> {
            Ok(())
        }
        async fn send(&mut self, _: Grid, _: Message) -> Result<(), TransportGone> {
            panic!("nothing is sent after a failure")
        }
        async fn close(&mut self, _: Grid) -> Result<(), TransportGone> {
            Ok(())
        }
        async fn listen(&mut self, _: &mut Vec<Heard>) -> Result<(), TransportGone> {
            pending().await
        }
    }
    let node = RoutingNode::new(state(1, "a.example"), Torn).with_clock(HandClock::default());
    let handle = node.handle();
    let lookup = || handle.submit(Operation::Lookup(record(7, "b.example").key(), Consistency::All)).unwrap();
    let mut before = lookup();
    let mut join = handle.submit(Operation::Join(vec![at("b.example")])).unwrap();
    let mut after = lookup();
    assert!(matches!(assert_ready_err!(spawn(node.run()).poll()), DriverError::Connection(TransportGone)));
    assert!(matches!(before.try_take(), Ok(Some(Outcome::Answered(Ok(_))))));
    assert!(matches!(join.try_take(), Err(Stopped)));
    assert!(matches!(after.try_take(), Err(Stopped)));
    assert_eq!(handle.submit(Operation::Leave).unwrap_err(), SubmitError::Stopped);
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
