//! What waits to leave for one peer, whichever of its links takes it.
//!
//! Messages are written as frames when they are handed over, one after the other in one buffer. The link that is in use
//! takes all of it at once: what a turn says to a peer leaves in one piece. While no link stands yet they wait here, and
//! if a link is exchanged for another, what it had not begun to write goes with the other one.

use crate::link::LinkId;
use crate::lock;
use routing_core::message::Message;
use routing_core::wire::{WireError, write_frame};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

/// Memory that is kept for what comes next; what is larger is given back.
const KEPT: usize = 1_024;

/// The most that is set aside beforehand.
const EXPECTED_MAX: usize = 32 << 10;

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// What waits for all peers together.
    total: Arc<AtomicUsize>,
}

#[derive(Default, Debug)]
struct Queue {
    frames: Vec<u8>,
    /// How many frames these are.
    count: u64,
    /// How many bytes the last piece had that was taken: the next will not be much longer.
    expected: usize,
    /// Taken by a link and not written yet.
    taken: usize,
    /// The link that is in use, and what wakes it.
    user: LinkId,
    waker: Option<Waker>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotTaken {
    /// Too much is waiting.
    Full,
    /// It is longer than a frame may be.
    TooLong,
}

impl Outbox {
    pub(crate) fn new(total: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), total })
    }

    /// Adds a message, if no more than `max` bytes wait already.
    pub(crate) fn push(&self, message: &Message, max: usize) -> Result<(), NotTaken> {
        let mut queue = lock(&self.queue);
        let before = queue.frames.len();
        if before + queue.taken > max {
            return Err(NotTaken::Full);
        }
        if queue.frames.capacity() == 0 {
            let expected = queue.expected;
            queue.frames.reserve(expected);
        }
        write_frame(message, &mut queue.frames).map_err(|error| {
            debug_assert!(matches!(error, WireError::TooLong { .. }), "nothing else can be wrong with a message");
            NotTaken::TooLong
        })?;
        self.on_added(queue, 1, before);
        Ok(())
    }

    /// Adds what waits here to what waits there.
    pub(crate) fn move_to(&self, other: &Outbox) {
        let held = self.take_held();
        if held.count > 0 {
            let mut queue = lock(&other.queue);
            let before = queue.frames.len();
            queue.frames.extend_from_slice(&held.frames);
            other.on_added(queue, held.count, before);
        }
    }

    fn on_added(&self, mut queue: MutexGuard<'_, Queue>, count: u64, before: usize) {
        queue.count += count;
        self.total.fetch_add(queue.frames.len() - before, Ordering::Relaxed);
        // Whoever takes it takes all of it: woken once is enough.
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on `link` takes what waits. It has to be woken once.
    pub(crate) fn give_to(&self, link: LinkId) {
        let mut queue = lock(&self.queue);
        queue.user = link;
        queue.waker = None;
    }

    /// Exchanges what waits, which is so many frames, for `empty`, a buffer to be used again; nothing, if another link is
    /// in use. If nothing waits, `waker` is woken when something does.
    pub(crate) fn take(&self, link: LinkId, empty: Vec<u8>, waker: &Waker) -> (Vec<u8>, u64) {
        debug_assert!(empty.is_empty(), "what is exchanged is lost");
        let mut queue = lock(&self.queue);
        if queue.user != link {
            return (empty, 0);
        }
        if queue.frames.is_empty() {
            match &mut queue.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return (kept(empty), 0);
        }
        queue.exchange(empty)
    }

    /// What waited for the dial that has proven who is there.
    pub(crate) fn take_held(&self) -> Held<'_> {
        let (frames, count) = lock(&self.queue).exchange(Vec::new());
        Held { frames, count, outbox: self }
    }

    /// So many of the bytes taken are written, or will never be.
    pub(crate) fn done(&self, bytes: usize) {
        lock(&self.queue).taken -= bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        let queue = lock(&self.queue);
        queue.frames.len() + queue.taken
    }
}

/// What a dial writes before its link stands. It counts as waiting until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    pub(crate) frames: Vec<u8>,
    pub(crate) count: u64,
    outbox: &'a Outbox,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.outbox.done(self.frames.len());
    }
}

impl Queue {
    fn exchange(&mut self, empty: Vec<u8>) -> (Vec<u8>, u64) {
        self.taken += self.frames.len();
        self.expected = self.frames.len().min(EXPECTED_MAX);
        (std::mem::replace(&mut self.frames, kept(empty)), std::mem::take(&mut self.count))
    }
}

/// A buffer to be used again, or an empty one if it is too large to be kept.
fn kept(buffer: Vec<u8>) -> Vec<u8> {
    if buffer.capacity() > KEPT { Vec::new() } else { buffer }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let length = self.queue.get_mut().map_or(0, |queue| queue.frames.len() + queue.taken);
        self.total.fetch_sub(length, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::message::RequestId;

    #[test]
    fn what_waits_is_counted_until_it_is_written_and_bounded() {
        let total = Arc::<AtomicUsize>::default();
        let outbox = Outbox::new(total.clone());
        let message = Message::Unknown(RequestId(5));
        assert_eq!(outbox.push(&message, 5), Ok(()));
        assert_eq!(outbox.push(&message, 5), Err(NotTaken::Full));
        outbox.give_to(LinkId(2));
        assert!(outbox.take(LinkId(1), Vec::new(), Waker::noop()).0.is_empty(), "another link is in use");
        let (frames, count) = outbox.take(LinkId(2), Vec::new(), Waker::noop());
        assert_eq!((frames.len(), count), (6, 1));
        assert_eq!((frames.len(), outbox.len(), total.load(Ordering::Relaxed)), (6, 6, 6));
        assert_eq!(outbox.push(&message, 5), Err(NotTaken::Full), "what is being written waits, too");
        outbox.done(6);
        assert_eq!(outbox.push(&message, 5), Ok(()));
        drop(outbox);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
