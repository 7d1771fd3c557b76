//! The async driver, and any other async code, run by the network: polled by hand, once at each tick that it is given.
//!
//! Nothing here waits: a connection of the simulator is ready at once, and so is a keeper that keeps nothing. So a poll
//! that takes a turn also carries it out to its end, and one that is pending had nothing to do.

use crate::connection::{Port, SimClock, SimConnection, Time};
use crate::network::NodeIndex;
use routing_core::driver::{Asked, NodeHandle, Observer, RoutingNode};
use routing_core::effect::{Effect, Effects, Notice, Operation, OperationId};
use routing_core::heard::Heard;
use routing_core::state::NodeState;
use routing_core::time::Tick;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A node that the real driver runs.
pub(crate) struct Driven {
    node: RoutingNode<SimConnection, SimClock>,
    handle: NodeHandle,
    port: Port,
    /// What was asked and has not ended.
    waiting: Vec<Asked>,
    notices: Notices,
}

impl Driven {
    pub(crate) fn new(state: NodeState, time: &Time) -> Self {
        let (port, connection, clock) = Port::open(time);
        let notices = Notices::default();
        let node = RoutingNode::new(state, connection).with_clock(clock).with_observer(notices.clone());
        Self { handle: node.handle(), node, port, waiting: Vec::new(), notices }
    }

    /// The node's state after its last turn.
    pub(crate) fn state(&self) -> &NodeState {
        self.node.state()
    }

    /// One turn, as [`NodeState::turn`] would take it: `asked` and `heard` are emptied, effects are appended. Outcomes
    /// come in order of asking, after the links' effects, and notices last.
    pub(crate) fn turn(
        &mut self,
        asked: &mut Vec<(OperationId, Operation)>,
        heard: &mut Vec<Heard>,
        effects: &mut Effects,
    ) {
        for (id, operation) in asked.drain(..) {
            let asked =
                self.handle.submit(operation).expect("the network asks a running node for what it has room for");
            assert_eq!(asked.id(), id, "network and driver number operations alike");
            self.waiting.push(asked);
        }
        self.port.deliver(heard);
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = pin!(self.node.step()).poll(&mut cx) {
            result.expect("neither a simulated connection nor a keeper that keeps nothing fails");
        }
        self.port.collect(effects);
        self.waiting.retain_mut(|asked| match asked.try_take() {
            Ok(Some(outcome)) => {
                effects.push(Effect::Complete(asked.id(), outcome));
                false
            }
            Ok(None) => true,
            Err(_) => false,
        });
        effects.extend(self.notices.take().into_iter().map(Effect::Notify));
    }
}

/// What the node gave notice of in its turn.
#[derive(Clone, Default)]
struct Notices(Arc<Mutex<Vec<Notice>>>);

impl Notices {
    fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Notices {
    fn on_notice(&mut self, notice: &Notice) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone());
    }
}

/// Async code of somebody's own that runs on the network.
pub(crate) struct Hosted {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    port: Port,
    alarm: Arc<Alarm>,
}

impl Hosted {
    pub(crate) fn new(
        node: NodeIndex,
        bell: &Bell,
        port: Port,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let alarm = Arc::new(Alarm { node, bell: bell.clone(), rings: AtomicBool::new(false) });
        Self { future: Box::pin(future), port, alarm }
    }

    /// Polls the future once, after all of `heard`. Says whether it has ended.
    pub(crate) fn turn(&mut self, now: Tick, heard: &mut Vec<Heard>, effects: &mut Effects) -> bool {
        self.port.deliver(heard);
        self.port.wake_due(now);
        // Whatever it was woken for so far, this poll is for it.
        self.alarm.rings.store(false, Ordering::Release);
        let waker = Waker::from(self.alarm.clone());
        let is_ready = self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        self.port.collect(effects);
        is_ready
    }

    /// When the first of its sleeps ends.
    pub(crate) fn next_wake(&self) -> Option<Tick> {
        self.port.next_wake()
    }

    /// Whether it was woken since its last poll.
    pub(crate) fn is_woken(&self) -> bool {
        self.alarm.rings.load(Ordering::Acquire)
    }
}

/// Where a network hears which of its hosted nodes were woken.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Mutex<Vec<NodeIndex>>>);

impl Bell {
    /// Who was woken since this was asked last, by number. Some may have been polled since.
    pub(crate) fn take(&self) -> Vec<NodeIndex> {
        let mut woken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        woken.sort_unstable();
        woken.dedup();
        woken
    }
}

/// What a hosted node's code is woken by.
struct Alarm {
    node: NodeIndex,
    bell: Bell,
    rings: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rings.swap(true, Ordering::AcqRel) {
            self.bell.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.node);
        }
    }
}
