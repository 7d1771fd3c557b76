//! What callers hold of a running node.
//!
//! ```text
//!   NodeHandle ──  commands, bounded  ──▶ RoutingNode
//!   Asked      ──  cancellations      ──▶
//!              ◀── outcome, once      ──
//! ```

use crate::effect::{Consistency, Operation, OperationId, Outcome, Target};
use crate::error::{DepartError, JoinError, LookupError, RegisterError};
use crate::id::{Grid, Key};
use crate::record::Record;
use crate::state::{Answer, Joined, Registered};
use crate::time::Ticks;
use futures::channel::mpsc as unbounded;
use futures::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

/// How many commands wait for a node at most, and how many it takes up in one turn.
pub const COMMANDS_MAX: usize = 256;

/// The node has stopped: it has departed, failed or been dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

/// Why an operation was not taken. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many commands as may are waiting already; try again after the node's next turn.
    #[error("{COMMANDS_MAX} commands are waiting for the node already; try again after its next turn")]
    Full,
    /// A cancellation is no operation of its own: drop the [`Asked`] of what is to be cancelled.
    #[error("a cancellation is no operation of its own: drop the operation that it is for")]
    NotAnOperation,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

#[derive(Debug)]
struct Command {
    id: OperationId,
    operation: Operation,
    reply: oneshot::Sender<Outcome>,
}

/// Asks things of a node that runs somewhere else. Cheap to clone; dropping all handles does not stop the node.
///
/// Each call hands one operation over and waits for its outcome. While [`COMMANDS_MAX`] of them wait for the node's
/// next turn, further calls wait for a place. **All calls are cancel-safe**: one that is dropped while it waits for a
/// place has done nothing, one that is dropped later cancels its operation, and what that had already written to other
/// nodes stays written.
#[derive(Clone)]
pub struct NodeHandle {
    grid: Grid,
    commands: mpsc::Sender<Command>,
    cancelled: unbounded::UnboundedSender<OperationId>,
    last_id: Arc<Mutex<u64>>,
}

impl NodeHandle {
    /// The node's id.
    pub fn id(&self) -> Grid {
        self.grid
    }

    /// Becomes part of the network that `entry_points` are in; with none of them, begins a new one.
    ///
    /// Cancel-safe: dropped, the node gives up joining. After [`JoinError::NoEntryPoint`] it goes on trying by itself.
    pub async fn join(&self, entry_points: Vec<Target>) -> Result<Joined, JoinError> {
        match self.ask(Operation::Join(entry_points)).await {
            Ok(Outcome::Joined(joined)) => joined,
            Ok(other) => mistaken(&other),
            Err(Stopped) => Err(JoinError::Stopped),
        }
    }

    /// Hands `records` to their holders; the answer says for each what became of it. Many at once is the normal case.
    /// After the answer the node goes on until each holder that can be reached has them.
    ///
    /// Cancel-safe: dropped, no further holder is asked; what some hold already they keep.
    pub async fn register(&self, records: Vec<Arc<Record>>) -> Result<Registered, RegisterError> {
        self.written(Operation::Register(records)).await
    }

    /// Hands the newest records of all users of this server to their holders again.
    ///
    /// Cancel-safe, as [`register`](Self::register) is.
    pub async fn announce(&self) -> Result<Registered, RegisterError> {
        self.written(Operation::Announce).await
    }

    async fn written(&self, operation: Operation) -> Result<Registered, RegisterError> {
        match self.ask(operation).await {
            Ok(Outcome::Registered(registered)) => registered.map(|registered| *registered),
            Ok(other) => mistaken(&other),
            Err(Stopped) => Err(RegisterError::Stopped),
        }
    }

    /// Finds what is registered under `key`, as sure as `consistency` says.
    ///
    /// Cancel-safe: dropped, the lookup ends; it had changed nothing.
    pub async fn lookup(&self, key: Key, consistency: Consistency) -> Result<Answer, LookupError> {
        match self.ask(Operation::Lookup(key, consistency)).await {
            Ok(Outcome::Answered(answer)) => answer.map(|answer| *answer),
            Ok(other) => mistaken(&other),
            Err(Stopped) => Err(LookupError::Stopped),
        }
    }

    /// Says that this node will be back within `span`, and stops it.
    ///
    /// Cancel-safe: dropped before the node's next turn, it stays; dropped later, it has gone.
    pub async fn away(&self, span: Ticks) -> Result<(), DepartError> {
        self.departed(Operation::Away(span)).await
    }

    /// Hands over what this node holds, says goodbye for good, and stops it.
    ///
    /// Cancel-safe: dropped before the farewell is said, the node stays; what it handed over, others hold, too.
    pub async fn leave(&self) -> Result<(), DepartError> {
        self.departed(Operation::Leave).await
    }

    async fn departed(&self, operation: Operation) -> Result<(), DepartError> {
        match self.ask(operation).await {
            Ok(Outcome::Departed(departed)) => departed,
            Ok(other) => mistaken(&other),
            Err(Stopped) => Err(DepartError::Stopped),
        }
    }

    async fn ask(&self, operation: Operation) -> Result<Outcome, Stopped> {
        let place = self.commands.reserve().await.map_err(|_| Stopped)?;
        self.hand_over(place, operation).await
    }

    /// Hands an operation over without waiting: for whoever runs many nodes by hand and wants ids that repeat.
    ///
    /// Operations of one node are numbered 1, 2, 3, … in the order in which they are handed over, over all its handles,
    /// and are taken up in that order.
    pub fn submit(&self, operation: Operation) -> Result<Asked, SubmitError> {
        if matches!(operation, Operation::Cancel(_)) {
            return Err(SubmitError::NotAnOperation);
        }
        match self.commands.try_reserve() {
            Ok(place) => Ok(self.hand_over(place, operation)),
            Err(mpsc::error::TrySendError::Full(())) => Err(SubmitError::Full),
            Err(mpsc::error::TrySendError::Closed(())) => Err(SubmitError::Stopped),
        }
    }

    fn hand_over(&self, place: mpsc::Permit<'_, Command>, operation: Operation) -> Asked {
        let (reply, outcome) = oneshot::channel();
        // Held while the command is put into the channel, so that ids and places in the queue are in one order.
        let mut last_id = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last_id += 1;
        let id = OperationId(*last_id);
        place.send(Command { id, operation, reply });
        Asked { id, outcome: Some(outcome), cancelled: self.cancelled.clone() }
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeHandle").field(&self.grid).finish()
    }
}

/// The state machine ends each operation with the outcome of its own kind.
fn mistaken(outcome: &Outcome) -> ! {
    unreachable!("an operation ended with the outcome of another kind: {outcome:?}")
}

/// An operation that was handed over. A future of its outcome; dropped before that, it cancels the operation.
#[derive(Debug)]
#[must_use = "an operation is cancelled when this is dropped"]
pub struct Asked {
    id: OperationId,
    /// `None` once the outcome was taken.
    outcome: Option<oneshot::Receiver<Outcome>>,
    cancelled: unbounded::UnboundedSender<OperationId>,
}

impl Asked {
    /// The operation's id.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// The outcome, if the operation has ended; it is given once.
    pub fn try_take(&mut self) -> Result<Option<Outcome>, Stopped> {
        let taken = match &mut self.outcome {
            Some(outcome) => outcome.try_recv(),
            None => return Ok(None),
        };
        if let Err(oneshot::error::TryRecvError::Empty) = taken {
            return Ok(None);
        }
        self.outcome = None;
        taken.map(Some).map_err(|_| Stopped)
    }
}

impl Future for Asked {
    type Output = Result<Outcome, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = &mut self.outcome else { return Poll::Pending };
        let outcome = ready!(outcome.poll_unpin(cx));
        self.outcome = None;
        Poll::Ready(outcome.map_err(|_| Stopped))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Closed first: a command that the node has not taken up yet is then never begun.
        if let Some(outcome) = self.outcome.take() {
            drop(outcome);
            let _ = self.cancelled.unbounded_send(self.id);
        }
    }
}

/// The node's end: what was asked, and who waits for it.
pub(super) struct Callers {
    commands: mpsc::Receiver<Command>,
    /// Not bounded by the channel, since a drop can neither wait nor fail; bounded in fact, as there is at most one for
    /// each operation that was handed over, and those are.
    cancelled: unbounded::UnboundedReceiver<OperationId>,
    /// Cancellations read, but not passed on: their operations may still be in the queue.
    cancelling: Vec<OperationId>,
    waiting: BTreeMap<OperationId, oneshot::Sender<Outcome>>,
}

/// A node's two ends of everything that callers say to it.
pub(super) fn channel(grid: Grid) -> (NodeHandle, Callers) {
    let (commands, commands_taken) = mpsc::channel(COMMANDS_MAX);
    let (cancelled, cancelled_taken) = unbounded::unbounded();
    let handle = NodeHandle { grid, commands, cancelled, last_id: Arc::default() };
    let callers = Callers {
        commands: commands_taken,
        cancelled: cancelled_taken,
        cancelling: Vec::new(),
        waiting: BTreeMap::new(),
    };
    (handle, callers)
}

impl Callers {
    /// Moves what was asked to the end of `asked`, until that has [`COMMANDS_MAX`] entries, then the cancellations. If
    /// there is room left, `cx` is woken when more is asked.
    ///
    /// Cancellations are read before commands and passed on only once the queue is empty: so none overtakes its
    /// operation.
    pub(super) fn gather(&mut self, cx: &mut Context<'_>, asked: &mut Vec<(OperationId, Operation)>) {
        while let Poll::Ready(Some(id)) = self.cancelled.poll_next_unpin(cx) {
            self.cancelling.push(id);
        }
        while asked.len() < COMMANDS_MAX {
            let Some(command) = self.next(cx) else {
                let cancel = |id| (id, Operation::Cancel(id));
                asked.extend(self.cancelling.drain(..).map(cancel));
                return;
            };
            if command.reply.is_closed() {
                // Nobody waits any more, so it is not begun at all; its cancellation will find nothing.
                continue;
            }
            tracing::debug!(id = command.id.0, operation = name(&command.operation), "asked");
            asked.push((command.id, command.operation));
            self.waiting.insert(command.id, command.reply);
        }
    }

    /// `poll_recv` counts against the budget of the tokio task it happens to be polled in, and says *pending* to a
    /// full queue when that is used up; `try_recv` does not. So the queue is emptied by the one, and the other only asks
    /// to be woken. A node polled by hand thus sees all that is there, whoever polls it.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(_) => match self.commands.poll_recv(cx) {
                Poll::Ready(command) => command,
                Poll::Pending => None,
            },
        }
    }

    /// Tells whoever asked how it ended, if anybody still waits.
    pub(super) fn complete(&mut self, id: OperationId, outcome: Outcome) {
        if let Some(reply) = self.waiting.remove(&id) {
            let _ = reply.send(outcome);
        }
    }

    /// The node has stopped: all who wait, also for a place, hear so.
    pub(super) fn stop(&mut self) {
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        self.waiting.clear();
    }
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Join(_) => "join",
        Operation::Register(_) => "register",
        Operation::Announce => "announce",
        Operation::Lookup(..) => "lookup",
        Operation::Away(_) => "away",
        Operation::Leave => "leave",
        Operation::Cancel(_) => "cancel",
    }
}
