//! What the connection tells one of its links to do, and what it asks of it.

use crate::link::EndReason;
use crate::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use tokio::time::Instant;

/// Shared by the connection and the task of one link.
#[derive(Default, Debug)]
pub(crate) struct Control {
    orders: Mutex<Orders>,
    /// Milliseconds from the start of the connection to the last message, either way.
    last_used: AtomicU64,
}

#[derive(Default, Debug)]
struct Orders {
    now: Ordered,
    /// A batch of messages waits to be heard, and whether the link waits for that to read on.
    has_batch: bool,
    wants_room: bool,
    waker: Option<Waker>,
}

/// What the link is to do.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Ordered {
    /// The node wants to hear what is said.
    pub(crate) is_accepted: bool,
    /// End, after what is to be written.
    pub(crate) ending: Option<EndReason>,
    /// End at once.
    pub(crate) is_aborted: bool,
    /// Another link has taken its place since then; the peer should end this one.
    pub(crate) surplus_since: Option<Instant>,
}

impl Control {
    /// What is to be done; `waker` is called when that changes.
    pub(crate) fn ordered(&self, waker: &Waker) -> Ordered {
        let mut orders = lock(&self.orders);
        match &mut orders.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        orders.now
    }

    pub(crate) fn accept(&self) {
        self.order(|now| now.is_accepted = true);
    }

    pub(crate) fn end(&self, reason: EndReason) {
        self.order(|now| now.ending = now.ending.or(Some(reason)));
    }

    pub(crate) fn abort(&self) {
        self.order(|now| now.is_aborted = true);
    }

    pub(crate) fn set_surplus(&self, since: Option<Instant>) {
        self.order(|now| now.surplus_since = since);
    }

    /// Whether the link may read on. If not, it is woken when it may.
    pub(crate) fn has_room(&self) -> bool {
        let mut orders = lock(&self.orders);
        orders.wants_room = orders.has_batch;
        !orders.has_batch
    }

    /// The link has handed over a batch.
    pub(crate) fn on_batch(&self) {
        lock(&self.orders).has_batch = true;
    }

    /// The batch was heard.
    pub(crate) fn on_heard(&self) {
        let mut orders = lock(&self.orders);
        orders.has_batch = false;
        if std::mem::take(&mut orders.wants_room) {
            let waker = orders.waker.clone();
            drop(orders);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(crate) fn set_last_used(&self, millis: u64) {
        self.last_used.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn order(&self, change: impl FnOnce(&mut Ordered)) {
        let mut orders = lock(&self.orders);
        change(&mut orders.now);
        let waker = orders.waker.clone();
        drop(orders);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
