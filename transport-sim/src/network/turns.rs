//! The turns of one tick, taken on as many threads as there are.
//!
//! No node sees another within a tick, so turns may be taken in any order and at the same time: a [`Turn`] owns its node
//! while it is under way, and what it wants done is carried out afterwards, in order of the nodes.
//!
//! A tick is over within microseconds, and its turns with it, so the threads wait for the next one awake; one that has
//! waited for long sleeps.

use super::NodeIndex;
use super::slots::{Live, Runner, Slot};
use routing_core::driver::COMMANDS_MAX;
use routing_core::effect::{Effect, Effects, Operation, OperationId};
use routing_core::heard::Heard;
use routing_core::state::Phase;
use routing_core::time::{Tick, Ticks};
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// With fewer turns than this, handing them to others costs more than it saves.
const SHARED_LEAST: usize = 4;
/// How often a thread looks for work before it sleeps: some tens of microseconds. Threads that have no core to
/// themselves would keep the others from theirs.
const LOOKS: u32 = 20_000;

/// So many turns are looked at before they are taken.
pub(super) const GROUP: usize = 8;

/// What came for a node since its last turn.
pub(super) type Inbox = Vec<Heard>;

/// Turns change hands many times, and each is some hundred bytes: what is passed on are pointers.
pub(super) type Turns = Vec<Box<Turn>>;

/// One node's turn at one tick. It is used again for another, with the room that its buffers have.
#[derive(Default)]
pub(super) struct Turn {
    now: Tick,
    pub(super) node: NodeIndex,
    /// The chained hash of all that was delivered to the node.
    pub(super) chain: u64,
    /// The node itself; always there but for the moment in which it is handed over.
    pub(super) live: Option<Box<Live>>,
    /// Whether it is known to be run directly.
    is_plain: bool,
    asked: Vec<(OperationId, Operation)>,
    /// The node's inbox: it has none once it is emptied, as each would keep the room for the most that ever came.
    pub(super) heard: Inbox,
    /// What it wants done, and the encoded lengths of the messages among it, in order.
    pub(super) effects: Effects,
    pub(super) lengths: Vec<u32>,
    /// When it wants to run again.
    pub(super) next_wake: Option<Tick>,
    /// Whether it does nothing any more.
    pub(super) is_over: bool,
}

impl Turn {
    /// Makes it the turn of the node in `slot` at `now`, once it is cleared.
    pub(super) fn begin(&mut self, now: Tick, node: NodeIndex, slot: &mut Slot) {
        (self.now, self.node, self.chain, self.is_plain) = (now, node, slot.chain, slot.is_plain);
        self.live = slot.live.take();
        self.heard = std::mem::take(&mut slot.inbox);
    }

    /// Leaves nothing of it but room.
    pub(super) fn clear(&mut self) {
        self.asked.clear();
        self.heard.clear();
        self.effects.clear();
        self.lengths.clear();
        (self.next_wake, self.is_over) = (None, false);
    }

    /// Fetches what these turns begin with. In a large network none of it is in the cache: looked at one after the
    /// other, the nodes of several turns come from the memory at once; in its turn each would be waited for. What lies
    /// behind further pointers takes as long to fetch here as there.
    pub(super) fn look_at(turns: &[Box<Turn>]) {
        for turn in turns {
            if let Some(Live { runner: Runner::Direct(state), liar, asked, .. }) = turn.live.as_deref() {
                black_box((liar.is_some(), asked.len(), state.phase(), state.table().len(), state.store().len()));
            }
        }
    }

    /// Code of somebody's own may share what it likes with others, so it runs on one thread, in order of the nodes.
    fn may_be_shared(&self) -> bool {
        self.is_plain || self.live.as_ref().is_some_and(|live| matches!(live.runner, Runner::Direct(_)))
    }

    pub(super) fn take(&mut self) {
        let Self { now, chain, asked, heard, effects, .. } = self;
        let Some(live) = self.live.as_deref_mut() else { return };
        for heard in heard.iter() {
            if let Heard::Message(sender, message) = heard {
                let mut hasher = SipHasher13::new();
                (*chain, now.0, sender.0.prefix(), message).hash(&mut hasher);
                *chain = hasher.finish();
            }
        }
        asked.extend(live.asked.drain(..live.asked.len().min(COMMANDS_MAX)));
        if let Some(liar) = &mut live.liar {
            liar.listen(heard);
        }
        (self.is_over, self.next_wake) = match &mut live.runner {
            Runner::Direct(state) => {
                state.turn(*now, asked, heard, effects);
                (state.phase() == Phase::Departed, state.next_wake())
            }
            Runner::Driven(driven) => {
                driven.turn(asked, heard, effects);
                (driven.state().phase() == Phase::Departed, driven.state().next_wake())
            }
            Runner::Hosted(hosted) => (hosted.turn(*now, heard, effects), hosted.next_wake()),
        };
        if let (Some(liar), Some(state)) = (&mut live.liar, live.runner.state()) {
            liar.twist(state, effects);
        }
        if !live.asked.is_empty() {
            self.next_wake = Some(*now + Ticks(1));
        }
        self.lengths.extend(self.effects.iter().filter_map(|effect| match effect {
            Effect::Send(_, message) => Some(message.encoded_len() as u32),
            _ => None,
        }));
    }
}

/// The threads that take turns beside the caller's.
pub(super) struct Workers {
    shared: Arc<Shared>,
    /// How often each looks before it waits asleep.
    looks_max: u32,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    /// Counts the ticks that had work to share; each thread looks whether it has changed.
    round: AtomicU64,
    /// Whether some thread sleeps and wants to be woken.
    has_sleepers: AtomicBool,
    /// The threads are to end.
    is_over: AtomicBool,
    /// A thread has panicked: its turns will never be done.
    has_failed: AtomicBool,
}

#[derive(Default)]
struct Work {
    waiting: Turns,
    done: Turns,
    /// How many turns a thread takes at a time.
    portion: usize,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes turns as long as some are waiting.
    fn take_turns(&self) {
        let mut portion = Turns::new();
        loop {
            {
                let mut work = self.work();
                work.done.append(&mut portion);
                let left = work.waiting.len();
                let rest = left - work.portion.min(left);
                portion.extend(work.waiting.drain(rest..));
            }
            if portion.is_empty() {
                return;
            }
            for group in portion.chunks_mut(GROUP) {
                Turn::look_at(group);
                group.iter_mut().for_each(|turn| turn.take());
            }
        }
    }

    /// What a thread does beside the caller's.
    fn serve(&self, looks_max: u32) {
        let mut seen = 0;
        loop {
            let mut looks = 0;
            while self.round.load(Ordering::SeqCst) == seen && !self.is_over.load(Ordering::SeqCst) {
                looks += 1;
                if looks < looks_max {
                    std::hint::spin_loop();
                    continue;
                }
                // Whoever begins a round after this wakes us; whoever began one before it is seen by the next look.
                self.has_sleepers.store(true, Ordering::SeqCst);
                if self.round.load(Ordering::SeqCst) == seen && !self.is_over.load(Ordering::SeqCst) {
                    std::thread::park();
                }
            }
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            seen = self.round.load(Ordering::SeqCst);
            self.take_turns();
        }
    }
}

/// Tells the others if its thread panics.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_failed.store(true, Ordering::SeqCst);
        }
    }
}

impl Workers {
    /// `threads` in all; the caller's is one of them.
    pub(super) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let looks_max = if threads <= cores { LOOKS } else { 0 };
        let threads = (1..threads.max(1)).map(|_| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                let alarm = Alarm(&shared);
                alarm.0.serve(looks_max);
            })
        });
        Self { threads: threads.collect(), shared, looks_max }
    }

    /// How many threads take turns, the caller's among them.
    pub(super) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Takes all these turns, if they can be shared and that is worth it. Afterwards they are in order of their nodes.
    pub(super) fn run(&self, turns: &mut Turns) -> bool {
        if self.threads.is_empty() || turns.len() < SHARED_LEAST || !turns.iter().all(|turn| turn.may_be_shared()) {
            return false;
        }
        let count = turns.len();
        {
            let mut work = self.shared.work();
            work.portion = (count / (self.threads() * 4)).max(1);
            work.waiting.append(turns);
        }
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        if self.shared.has_sleepers.swap(false, Ordering::SeqCst) {
            self.threads.iter().for_each(|thread| thread.thread().unpark());
        }
        self.shared.take_turns();
        loop {
            {
                let mut work = self.shared.work();
                if work.done.len() == count {
                    turns.append(&mut work.done);
                    break;
                }
            }
            assert!(!self.shared.has_failed.load(Ordering::SeqCst), "a node panicked in its turn, see above");
            if self.looks_max == 0 {
                std::thread::yield_now();
            } else {
                (0..64).for_each(|_| std::hint::spin_loop());
            }
        }
        turns.sort_unstable_by_key(|turn| turn.node);
        true
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // One that panicked has said so, and the network panicked with it.
            let _ = thread.join();
        }
    }
}
