//! Who wants to know what happens to a node: one observer, or many closures connected to a signal.

use crate::effect::Notice;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Is told what happens to a node, after the turn in which it happened. Nothing in the protocol depends on it, but the
/// node waits for it to return: what takes long belongs into a task of its own.
///
/// `()` ignores all; [`Signal`] tells any number of closures.
pub trait Observer: Send {
    /// Something happened.
    fn on_notice(&mut self, notice: &Notice);
}

impl Observer for () {
    fn on_notice(&mut self, _: &Notice) {}
}

type SlotFn = Box<dyn FnMut(&Notice) + Send>;

#[derive(Default)]
struct Slots {
    last_id: u64,
    by_id: BTreeMap<u64, Arc<Mutex<SlotFn>>>,
}

/// A signal, which closures are connected to: the slots. A clone is the same signal, so keep one and give another to
/// [`with_observer`](crate::driver::RoutingNode::with_observer).
///
/// ```
/// use routing_core::driver::{Observer, Signal};
/// use routing_core::effect::Notice;
/// use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
///
/// static SETTLED: AtomicU32 = AtomicU32::new(0);
/// let mut signal = Signal::new();
/// let slot = signal.connect(|notice| {
///     SETTLED.fetch_add(matches!(notice, Notice::Settled).into(), SeqCst);
/// });
/// signal.on_notice(&Notice::Settled);
/// drop(slot);
/// signal.on_notice(&Notice::Settled);
/// assert_eq!(SETTLED.load(SeqCst), 1);
/// ```
#[derive(Clone, Default)]
pub struct Signal {
    slots: Arc<Mutex<Slots>>,
}

impl Signal {
    /// A signal without slots.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `slot` at each notice, in order of connection, until the guard is dropped.
    ///
    /// A slot may connect and disconnect slots, itself included; one connected while a notice is told hears from the
    /// next one on.
    pub fn connect(&self, slot: impl FnMut(&Notice) + Send + 'static) -> Slot {
        let mut slots = lock(&self.slots);
        slots.last_id += 1;
        let id = slots.last_id;
        slots.by_id.insert(id, Arc::new(Mutex::new(Box::new(slot))));
        Slot { id, slots: Arc::downgrade(&self.slots) }
    }

    /// How many slots are connected.
    pub fn len(&self) -> usize {
        lock(&self.slots).by_id.len()
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Observer for Signal {
    fn on_notice(&mut self, notice: &Notice) {
        // No slot is called under the lock of the list, so that slots may change the list.
        let ids: Vec<u64> = lock(&self.slots).by_id.keys().copied().collect();
        for id in ids {
            let slot = lock(&self.slots).by_id.get(&id).cloned();
            if let Some(slot) = slot {
                lock(&slot)(notice);
            }
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("slots", &self.len()).finish()
    }
}

/// A connected closure; dropping it disconnects. A call that another thread has begun by then still ends.
#[derive(Debug)]
#[must_use = "a slot is disconnected when its guard is dropped"]
pub struct Slot {
    id: u64,
    slots: Weak<Mutex<Slots>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.upgrade() {
            // Bound first and dropped last: what the closure owns may be another slot of this signal.
            let _closure = lock(&slots).by_id.remove(&self.id);
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("len", &self.by_id.len()).finish()
    }
}

/// A slot that panicked has poisoned nothing but itself, and the list is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn a_slot_is_called_until_its_guard_is_dropped() {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut signal = Signal::new();
        let count = |step: usize| {
            let calls = calls.clone();
            move |_: &Notice| {
                calls.fetch_add(step, SeqCst);
            }
        };
        let one = signal.connect(count(1));
        let ten = signal.clone().connect(count(10));
        signal.on_notice(&Notice::Settled);
        assert_eq!((calls.load(SeqCst), signal.len()), (11, 2));
        drop(one);
        signal.on_notice(&Notice::Settled);
        assert_eq!((calls.load(SeqCst), signal.len()), (21, 1));
        drop(ten);
        signal.on_notice(&Notice::Settled);
        assert_eq!(calls.load(SeqCst), 21);
        assert!(signal.is_empty());
    }

    #[test]
    fn a_slot_may_disconnect_itself_and_others_and_connect_new_ones() {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut signal = Signal::new();
        let guards: Arc<Mutex<Vec<Slot>>> = Arc::default();
        let once = {
            let (calls, guards, signal) = (calls.clone(), guards.clone(), signal.clone());
            move |_: &Notice| {
                guards.lock().unwrap().clear();
                let calls = calls.clone();
                let late = signal.connect(move |_| {
                    calls.fetch_add(100, SeqCst);
                });
                guards.lock().unwrap().push(late);
            }
        };
        let (first, second) = (signal.connect(once), signal.connect(|_| panic!("disconnected before its turn")));
        guards.lock().unwrap().extend([first, second]);
        signal.on_notice(&Notice::Settled);
        assert_eq!(calls.load(SeqCst), 0);
        signal.on_notice(&Notice::Settled);
        assert_eq!(calls.load(SeqCst), 100);
    }
}
