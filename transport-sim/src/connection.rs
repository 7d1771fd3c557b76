//! What async code sees of the simulated network: links, the time, and nothing else.
//!
//! ```text
//!                     ┌─ inbox ──▶ listen ─────────────────┐
//!   Network, a tick ──┤            now, sleep_until ───────┼──▶ your code, polled once
//!                     └◀─ outbox ─ request, accept, send, ─┘
//!                                  close
//! ```
//!
//! [`SimConnection`] and [`SimClock`] are what a [`RoutingNode`] needs to run here: with
//! [`Mode::Driver`](crate::network::Mode::Driver) the network makes them for every node that is added, and runs the real
//! driver in place of the bare state machine.
//!
//! # Your own code on the network
//!
//! [`Network::spawn`](crate::network::Network::spawn) makes them for you, and polls the future that you make of them:
//! a home-server with all that it has around its node, or something that is no node at all and speaks the protocol by
//! itself. It needs no runtime, and may use whatever does not need one either: channels, `select!`, `join!`, streams, as
//! long as time comes from the [`SimClock`]. Then the same seed gives the same run.
//!
//! - It is polled at a tick at which it hears something, at which one of its sleeps ends, or before which it was woken,
//!   as by a channel; once, however much there is to do. Code that wakes itself goes on at the next tick.
//! - What it hands over during a poll leaves at that tick. What is handed over at any other time, by another thread or
//!   another node's future, leaves with its next poll.
//! - When the future ends, so does the node, as one that said farewell. Killing the node drops the future.
//!
//! A node that joins by itself and looks somebody up:
//!
//! ```
//! use routing_core::account::Account;
//! use routing_core::driver::RoutingNode;
//! use routing_core::effect::{Consistency, Target};
//! use routing_core::{key::SecretKey, state::NodeState};
//! use std::sync::{Arc, mpsc};
//! use transport_sim::sandbox::RoutingSandbox;
//!
//! let mut sandbox = RoutingSandbox::new(7);
//! let first = sandbox.new_node();
//! sandbox.join(first, &[])?;
//! let alice = sandbox.new_user();
//! sandbox.register_guid(&[first], alice, "n000001.example")?;
//!
//! let secret = Arc::new(SecretKey::from_seed([1; 32]));
//! let state = NodeState::node(secret, "own.example".parse()?, Arc::default(), 1);
//! let door = Target::address("n000001.example".parse()?);
//! let (found, answers) = mpsc::channel();
//! sandbox.network_mut().spawn(state.contact().clone(), 0, |connection, clock| async move {
//!     let node = RoutingNode::new(state, connection).with_clock(clock);
//!     let handle = node.handle();
//!     let asks = async {
//!         handle.join(vec![door]).await.unwrap();
//!         found.send(handle.lookup(alice.into(), Consistency::Quorum).await.unwrap()).unwrap();
//!         handle.leave().await.unwrap();
//!     };
//!     let (ran, ()) = futures::join!(node.run(), asks);
//!     ran.unwrap();
//! });
//! sandbox.tick(10_000);
//! assert_eq!(answers.recv()?.record.unwrap().guid(), alice);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`RoutingNode`]: routing_core::driver::RoutingNode

use async_trait::async_trait;
use routing_core::connection::Connection;
use routing_core::driver::Clock;
use routing_core::effect::{Effect, Effects, Target};
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::time::Tick;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A node's links on the simulated network. All four verbs that act are ready at once; the network cannot be gone.
pub struct SimConnection(Arc<Mutex<Exchange>>);

/// What lies between a node's async code and the network.
#[derive(Default)]
struct Exchange {
    inbox: Vec<Heard>,
    outbox: Effects,
    /// Who waits for the inbox.
    listener: Option<Waker>,
}

impl SimConnection {
    fn put(&self, effect: Effect) {
        lock(&self.0).outbox.push(effect);
    }
}

#[async_trait]
impl Connection for SimConnection {
    type Error = Infallible;

    async fn request(&mut self, peer: &Target) -> Result<(), Infallible> {
        self.put(Effect::Request(peer.clone()));
        Ok(())
    }

    async fn accept(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.put(Effect::Accept(peer));
        Ok(())
    }

    async fn send(&mut self, to: Grid, message: Message) -> Result<(), Infallible> {
        self.put(Effect::Send(to, message));
        Ok(())
    }

    async fn close(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.put(Effect::Close(peer));
        Ok(())
    }

    /// Cancel-safe: what is heard is moved in the poll that is ready.
    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Infallible> {
        poll_fn(|cx| {
            let mut exchange = lock(&self.0);
            if exchange.inbox.is_empty() {
                exchange.listener = Some(cx.waker().clone());
                return Poll::Pending;
            }
            heard.append(&mut exchange.inbox);
            Poll::Ready(Ok(()))
        })
        .await
    }
}

impl fmt::Debug for SimConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = lock(&self.0);
        let (inbox, outbox) = (exchange.inbox.len(), exchange.outbox.len());
        f.debug_struct("SimConnection").field("inbox", &inbox).field("outbox", &outbox).finish()
    }
}

/// The network's time, as one node's async code sees it. A clone is the same clock.
#[derive(Clone)]
pub struct SimClock {
    now: Time,
    sleepers: Arc<Mutex<Sleepers>>,
}

/// The tick that it is, shared by a network and all its clocks.
#[derive(Clone, Default, Debug)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn set(&self, now: Tick) {
        // Whoever is polled at a tick is polled after it was set: by the same thread, or over a lock.
        self.0.store(now.0, Ordering::Relaxed);
    }

    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Sleepers {
    last_id: u64,
    by_end: BTreeMap<(Tick, u64), Waker>,
}

impl Clock for SimClock {
    fn now(&self) -> Tick {
        self.now.now()
    }

    fn sleep_until(&self, tick: Tick) -> impl Future<Output = ()> + Send {
        Sleep { clock: self, end: tick, id: None }
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimClock").field(&self.now()).finish()
    }
}

/// A sleep, which stands in its clock's list from its first poll until it ends or is dropped.
struct Sleep<'a> {
    clock: &'a SimClock,
    end: Tick,
    id: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.end {
            return Poll::Ready(());
        }
        let mut sleepers = lock(&self.clock.sleepers);
        let id = self.id.unwrap_or(sleepers.last_id + 1);
        sleepers.last_id = sleepers.last_id.max(id);
        sleepers.by_end.insert((self.end, id), cx.waker().clone());
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.clock.sleepers).by_end.remove(&(self.end, id));
        }
    }
}

/// The network's end of a node's connection and clock.
pub(crate) struct Port {
    exchange: Arc<Mutex<Exchange>>,
    sleepers: Arc<Mutex<Sleepers>>,
}

impl Port {
    /// A node's connection and clock, and the network's end of both.
    pub(crate) fn open(time: &Time) -> (Self, SimConnection, SimClock) {
        let port = Self { exchange: Arc::default(), sleepers: Arc::default() };
        let clock = SimClock { now: time.clone(), sleepers: port.sleepers.clone() };
        let connection = SimConnection(port.exchange.clone());
        (port, connection, clock)
    }

    /// Lets the node hear all of `heard`, in this order, and wakes who waits for it.
    pub(crate) fn deliver(&self, heard: &mut Vec<Heard>) {
        if heard.is_empty() {
            return;
        }
        let mut exchange = lock(&self.exchange);
        exchange.inbox.append(heard);
        let listener = exchange.listener.take();
        // Whoever is woken may look into the exchange.
        drop(exchange);
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    /// Wakes those who sleep until `now` or an earlier tick.
    pub(crate) fn wake_due(&self, now: Tick) {
        loop {
            let mut sleepers = lock(&self.sleepers);
            let Some(entry) = sleepers.by_end.first_entry().filter(|entry| entry.key().0 <= now) else { return };
            let waker = entry.remove();
            drop(sleepers);
            waker.wake();
        }
    }

    /// The first tick until which somebody sleeps.
    pub(crate) fn next_wake(&self) -> Option<Tick> {
        lock(&self.sleepers).by_end.first_key_value().map(|((end, _), _)| *end)
    }

    /// Moves what was handed over since the last time to the end of `effects`, in its order.
    pub(crate) fn collect(&self, effects: &mut Effects) {
        effects.append(&mut lock(&self.exchange).outbox);
    }
}

/// Nothing here is ever left half changed, so a panic elsewhere poisons nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::key::SecretKey;
    use std::pin::pin;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_listens_is_woken_and_a_dropped_wait_loses_nothing() {
        let (port, mut connection, _) = Port::open(&Time::default());
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut heard = Vec::new();
        assert!(pin!(connection.listen(&mut heard)).poll(&mut Context::from_waker(&waker)).is_pending());
        let contact = Arc::new(routing_core::contact::Contact::client(&SecretKey::from_seed([1; 32])));
        let mut two = vec![Heard::Requested(contact.clone()), Heard::Requested(contact)];
        port.deliver(&mut two);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(connection.listen(&mut heard)).poll(&mut cx).is_ready());
        assert_eq!((heard.len(), two.len()), (2, 0));
        assert!(pin!(connection.listen(&mut heard)).poll(&mut cx).is_pending());
    }

    #[test]
    fn a_clock_knows_of_each_sleep_until_it_ends_or_is_dropped() {
        let time = Time::default();
        let (port, _, clock) = Port::open(&time);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let (mut early, mut late) = (Box::pin(clock.sleep_until(Tick(5))), Box::pin(clock.sleep_until(Tick(9))));
        for _ in 0..2 {
            assert!(late.as_mut().poll(&mut cx).is_pending());
            assert!(early.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(port.next_wake(), Some(Tick(5)));
        time.set(Tick(6));
        port.wake_due(Tick(6));
        assert_eq!((count.0.load(Ordering::Relaxed), port.next_wake()), (1, Some(Tick(9))));
        assert!(early.as_mut().poll(&mut cx).is_ready());
        assert!(late.as_mut().poll(&mut cx).is_pending());
        drop(late);
        assert_eq!(port.next_wake(), None);
    }
}
