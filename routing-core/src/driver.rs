//! The async loop that runs a node over any transport.
//!
//! ```text
//!   NodeHandle ─ commands ─┐                              ┌─▶ Keeper: committed first, or nothing else happens
//!   Connection ─ heard ────┼─▶ gather ─▶ NodeState::turn ─┼─▶ Connection: request, accept, send, close, in order
//!   Clock ────── due ──────┘      ▲                       ├─▶ callers: each its outcome
//!                                 └───────────────────────┴─▶ Observer: what happened
//! ```
//!
//! [`RoutingNode`] adds nothing to the protocol: it waits, has the state machine take one turn with everything that is
//! ready, and does what the turn wants done. Since each turn ends with what is due, neither a flood of commands nor one
//! of messages holds up the timers.
//!
//! # Polled by hand
//!
//! A simulator may poll the very same future itself, once for each tick at which a node has something to do, and gets
//! exactly the turns that it would have made by calling [`NodeState::turn`]:
//!
//! - A poll takes at most one turn, at the one tick that the [`Clock`] shows, with all that is ready: up to
//!   [`COMMANDS_MAX`] operations in order of asking, then all that was heard, then what is due. If nothing is ready
//!   there is no turn.
//! - If the connection and the keeper are ready at once, all effects of the turn are out when the poll returns, and the
//!   clock has been asked for the next wake-up.
//! - Nothing depends on tokio's runtime, on its timers (those are the [`SystemClock`]'s) or on the cooperative budget of
//!   the task that the simulator itself runs in.
//!
//! Where the state must be looked at between the turns, [`RoutingNode::step`] does the same, one turn a call.

mod clock;
mod handle;
mod keeper;
mod signal;
#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use handle::{Asked, COMMANDS_MAX, NodeHandle, Stopped, SubmitError};
pub use keeper::{Durable, KeepError, Keeper};
pub use signal::{Observer, Signal, Slot};

use crate::connection::Connection;
use crate::effect::{Effect, Effects, Notice, Operation, OperationId, Outcome};
use crate::heard::Heard;
use crate::state::{NodeState, Phase};
use crate::time::Tick;
use handle::Callers;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use tracing::{Instrument, Span, debug, info, info_span, trace, warn};

/// Why a node stopped without having departed. Callers that wait hear that it has stopped; to the other nodes it looks
/// killed. Build it again from what its keeper kept, and join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError<E: std::error::Error + 'static> {
    /// The transport is gone. What the last turn kept is durable; its messages may have left in part.
    #[error("the transport is gone")]
    Connection(#[source] E),
    /// The last turn's records could not be made durable. None of its messages left, and no caller heard of it.
    #[error("records could not be made durable")]
    Keeper(#[source] KeepError),
}

/// A node, or a client, and all that it takes to run it.
///
/// A network of one, over a transport on which nobody is ever heard:
///
/// ```
/// use routing_core::account::Account;
/// use routing_core::connection::Connection;
/// use routing_core::driver::RoutingNode;
/// use routing_core::effect::{Consistency, Target};
/// use routing_core::{heard::Heard, id::Grid, key::SecretKey, message::Message, state::NodeState};
/// use std::{convert::Infallible, sync::Arc};
///
/// struct Silence;
/// #[async_trait::async_trait]
/// impl Connection for Silence {
///     type Error = Infallible;
///     async fn request(&mut self, _: &Target) -> Result<(), Infallible> { Ok(()) }
///     async fn accept(&mut self, _: Grid) -> Result<(), Infallible> { Ok(()) }
///     async fn send(&mut self, _: Grid, _: Message) -> Result<(), Infallible> { Ok(()) }
///     async fn close(&mut self, _: Grid) -> Result<(), Infallible> { Ok(()) }
///     async fn listen(&mut self, _: &mut Vec<Heard>) -> Result<(), Infallible> { std::future::pending().await }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Arc::new(SecretKey::from_seed([1; 32]));
/// let node = RoutingNode::new(NodeState::node(secret, "chat.example".parse()?, Arc::default(), 1), Silence);
/// let handle = node.handle();
/// let running = tokio::spawn(node.run());
/// handle.join(vec![]).await?;
/// let record = Arc::new(Account::new([2; 32], None, [3; 16]).place("chat.example".parse()?, 0));
/// handle.register(vec![record.clone()]).await?;
/// assert_eq!(handle.lookup(record.key(), Consistency::Quorum).await?.record, Some(record));
/// handle.leave().await?;
/// running.await??;
/// # Ok(())
/// # }
/// ```
pub struct RoutingNode<C: Connection, K: Clock = SystemClock> {
    state: NodeState,
    connection: C,
    clock: K,
    keeper: Box<dyn Keeper>,
    observer: Box<dyn Observer>,
    /// One handle of its own, so that the channel outlives the callers' handles.
    handle: NodeHandle,
    callers: Callers,
    span: Span,
    // What a turn takes and gives, reused from turn to turn.
    asked: Vec<(OperationId, Operation)>,
    heard: Vec<Heard>,
    effects: Effects,
    durables: Vec<Durable>,
    told: Told,
}

/// What a turn has to say to callers and observer, once everything else is done.
#[derive(Default)]
struct Told {
    outcomes: Vec<(OperationId, Outcome)>,
    notices: Vec<Notice>,
}

impl<C: Connection> RoutingNode<C> {
    /// A node that runs over `connection`, by the system's clock, keeps nothing and is observed by nobody.
    pub fn new(state: NodeState, connection: C) -> Self {
        let (handle, callers) = handle::channel(state.grid());
        Self {
            span: info_span!("node", id = ?state.grid().0),
            state,
            connection,
            clock: SystemClock::new(),
            keeper: Box::new(()),
            observer: Box::new(()),
            handle,
            callers,
            asked: Vec::new(),
            heard: Vec::new(),
            effects: Effects::new(),
            durables: Vec::new(),
            told: Told::default(),
        }
    }
}

impl<C: Connection, K: Clock> RoutingNode<C, K> {
    /// The same node by another clock.
    pub fn with_clock<L: Clock>(self, clock: L) -> RoutingNode<C, L> {
        // Spelt out, as a node of another type cannot be made by updating this one.
        RoutingNode {
            state: self.state,
            connection: self.connection,
            clock,
            keeper: self.keeper,
            observer: self.observer,
            handle: self.handle,
            callers: self.callers,
            span: self.span,
            asked: self.asked,
            heard: self.heard,
            effects: self.effects,
            durables: self.durables,
            told: self.told,
        }
    }

    /// The same node, whose records `keeper` makes durable.
    pub fn with_keeper(mut self, keeper: impl Keeper + 'static) -> Self {
        self.keeper = Box::new(keeper);
        self
    }

    /// The same node, observed by `observer`. For more than one, give it a [`Signal`].
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// What callers ask this node through. To be taken before [`run`](Self::run).
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// The node's state after its last turn.
    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// Runs the node until it has departed, and gives its state back: what it then still holds and knows.
    ///
    /// Dropping the future kills the node: nobody is told, and callers that wait hear that it has stopped. What its
    /// keeper kept stays.
    pub fn run(mut self) -> impl Future<Output = Result<NodeState, DriverError<C::Error>>> + Send {
        let span = self.span.clone();
        let run = async move {
            // Whether nothing but the turn itself has happened in this poll so far: see `gather`.
            let mut has_turned = false;
            while self.advance(has_turned).await? != Phase::Departed {
                has_turned = true;
            }
            Ok(self.state)
        };
        run.instrument(span)
    }

    /// Waits for something to do, takes one turn and does what it wants done; says where the node is in its life then.
    /// [`run`](Self::run) repeats this until [`Phase::Departed`].
    ///
    /// Cancel-safe while it waits. Dropped later, the rest of the turn's effects is lost, so drop a pending step only
    /// where connection and keeper are ready at once. After a departure or an error the node has stopped, and
    /// there must be no further step.
    pub async fn step(&mut self) -> Result<Phase, DriverError<C::Error>> {
        let span = self.span.clone();
        self.advance(false).instrument(span).await
    }

    async fn advance(&mut self, has_turned: bool) -> Result<Phase, DriverError<C::Error>> {
        let result = match self.gather(has_turned).await {
            Ok(now) => self.turn(now).await,
            Err(error) => Err(DriverError::Connection(error)),
        };
        match &result {
            Err(DriverError::Connection(error)) => warn!(%error, "the transport is gone, the node stops"),
            Err(DriverError::Keeper(error)) => {
                warn!(%error, "records could not be made durable, the node stops; check the disk");
            }
            Ok(Phase::Departed) => {}
            Ok(_) => return result,
        }
        self.callers.stop();
        self.effects.clear();
        result
    }

    /// Waits until there is something to do, and gathers all of it that is ready, in the order in which a turn takes it.
    /// Cancel-safe: what was gathered stays in the node.
    ///
    /// `has_turned` says that this is first polled in the same poll of the task as the turn before it. If there is more
    /// to do at once, it then waits for the next poll: so a poll has one turn at most, and a node that is never out of
    /// work lets other tasks run.
    async fn gather(&mut self, mut has_turned: bool) -> Result<Tick, C::Error> {
        let Self { state, connection, clock, callers, asked, heard, .. } = self;
        let wake = state.next_wake();
        let mut sleep = pin!(async {
            match wake {
                Some(tick) => clock.sleep_until(tick).await,
                None => pending().await,
            }
        });
        // A wait that was dropped may have left something.
        let mut is_heard = !heard.is_empty();
        let mut listen = connection.listen(heard);
        let (mut has_listened, mut has_slept) = (false, false);
        poll_fn(|cx| {
            let may_turn = !std::mem::take(&mut has_turned);
            callers.gather(cx, asked);
            if !has_listened && let Poll::Ready(result) = listen.as_mut().poll(cx) {
                result?;
                has_listened = true;
                is_heard = true;
            }
            // Asked for even if there is enough to do, so that a clock always knows of the next wake-up.
            has_slept = has_slept || sleep.as_mut().poll(cx).is_ready();
            let is_due = has_slept || wake.is_some_and(|wake| clock.now() >= wake);
            if asked.is_empty() && !is_heard && !is_due {
                return Poll::Pending;
            }
            if !may_turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(clock.now()))
        })
        .await
    }

    /// One turn at `now`, and what it wants done.
    async fn turn(&mut self, now: Tick) -> Result<Phase, DriverError<C::Error>> {
        let before = self.state.phase();
        let is_due = self.state.next_wake().is_some_and(|wake| now >= wake);
        if self.asked.is_empty() && self.heard.is_empty() && !is_due {
            // Woken too early.
            return Ok(before);
        }
        let (asked, heard) = (self.asked.len(), self.heard.len());
        self.state.turn(now, &mut self.asked, &mut self.heard, &mut self.effects);
        trace!(now = now.0, asked, heard, effects = self.effects.len(), "turn");
        self.commit().await?;
        let result = self.carry_out().await;
        self.tell();
        result?;
        let phase = self.state.phase();
        if phase != before {
            match phase {
                Phase::Joined => info!(contacts = self.state.table().len(), "joined"),
                Phase::Departed => info!("departed"),
                _ => {}
            }
        }
        Ok(phase)
    }

    /// Has what must outlive the process made durable, before anything else of the turn happens.
    async fn commit(&mut self) -> Result<(), DriverError<C::Error>> {
        let is_durable = |effect: &mut Effect| {
            matches!(
                effect,
                Effect::Keep(_)
                    | Effect::Forget(_)
                    | Effect::Stray(..)
                    | Effect::Home(_)
                    | Effect::MovedOut(_)
                    | Effect::Remember(_)
            )
        };
        let durables = self.effects.extract_if(.., is_durable).map(Durable::of);
        self.durables.clear();
        self.durables.extend(durables.filter_map(Result::ok));
        if self.durables.is_empty() {
            return Ok(());
        }
        self.keeper.commit(&self.durables).await.map_err(DriverError::Keeper)
    }

    /// Carries out the other effects in their order, up to the first that fails; what callers and observer are to be
    /// told of it is set aside.
    async fn carry_out(&mut self) -> Result<(), DriverError<C::Error>> {
        let connection = &mut self.connection;
        for effect in self.effects.drain(..) {
            let result = match effect {
                Effect::Request(target) => connection.request(&target).await,
                Effect::Accept(peer) => connection.accept(peer).await,
                Effect::Send(to, message) => connection.send(to, message).await,
                Effect::Close(peer) => connection.close(peer).await,
                Effect::Complete(id, outcome) => {
                    self.told.outcomes.push((id, outcome));
                    Ok(())
                }
                Effect::Notify(notice) => {
                    self.told.notices.push(notice);
                    Ok(())
                }
                Effect::Keep(_)
                | Effect::Forget(_)
                | Effect::Stray(..)
                | Effect::Home(_)
                | Effect::MovedOut(_)
                | Effect::Remember(_) => {
                    unreachable!("what is for the keeper was committed")
                }
            };
            result.map_err(DriverError::Connection)?;
        }
        Ok(())
    }

    /// Completes the callers, then tells the observer.
    fn tell(&mut self) {
        for (id, outcome) in self.told.outcomes.drain(..) {
            debug!(id = id.0, outcome = %Summary(&outcome), "ended");
            self.callers.complete(id, outcome);
        }
        for notice in self.told.notices.drain(..) {
            match &notice {
                Notice::JoinRetry(wait) => warn!(%wait, "no entry point answered, trying again; check that one runs"),
                Notice::Conflict(copy) => {
                    warn!(guid = ?copy.record.guid(), "two records contradict each other: somebody else has the key");
                }
                other => debug!(notice = ?other, "notice"),
            }
            self.observer.on_notice(&notice);
        }
    }
}

impl<C: Connection, K: Clock> fmt::Debug for RoutingNode<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingNode").field("id", &self.state.grid()).field("phase", &self.state.phase()).finish()
    }
}

/// An outcome in a few words, for the log.
struct Summary<'a>(&'a Outcome);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::Joined(Ok(joined)) => write!(f, "joined, {} contacts", joined.contacts),
            Outcome::Joined(Err(error)) => error.fmt(f),
            Outcome::Registered(Ok(registered)) => {
                let acknowledged = registered.records.iter().filter(|record| record.is_acknowledged).count();
                write!(f, "{acknowledged} of {} records acknowledged", registered.records.len())
            }
            Outcome::Registered(Err(error)) => error.fmt(f),
            Outcome::Answered(Ok(answer)) => write!(f, "{:?}", answer.verdict),
            Outcome::Answered(Err(error)) => error.fmt(f),
            Outcome::Departed(Ok(())) => f.write_str("departed"),
            Outcome::Departed(Err(error)) => error.fmt(f),
        }
    }
}
