//! The turns of one tick, taken on as many threads as there are.
//!
//! No node sees another within a tick, so turns may be taken in any order and at the same time: a [`Turn`] owns its node
//! while it is under way. The caller's thread hands turns out as nodes hear what is there for them, and carries out what they
//! want done, in order of the nodes, while later ones are still being taken: so that no thread waits for either.
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
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// With fewer events than this, handing turns to others costs more than it saves.
const SHARED_LEAST: usize = 4;
/// How often a thread looks for work before it sleeps: some tens of microseconds. Threads that have no core to
/// themselves would keep the others from theirs.
const LOOKS: u32 = 20_000;

/// So many turns are looked at before they are taken.
pub(super) const GROUP: usize = 8;
/// How many turns a thread takes at a time at most: the first ones are to be carried out soon.
const PORTION_MAX: usize = 16;

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
        (self.now, self.node, self.chain) = (now, node, slot.chain);
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
    fn look_at(turns: &[Box<Turn>]) {
        for turn in turns {
            if let Some(Live { runner: Runner::Direct(state), liar, asked, .. }) = turn.live.as_deref() {
                black_box((liar.is_some(), asked.len(), state.phase(), state.table().len(), state.store().len()));
            }
        }
    }

    pub(super) fn take_all(turns: &mut [Box<Turn>]) {
        for group in turns.chunks_mut(GROUP) {
            Self::look_at(group);
            group.iter_mut().for_each(|turn| turn.take());
        }
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
    /// Counts how often turns were handed out; each thread looks whether it has changed.
    round: AtomicU64,
    /// Whether some thread has gone to sleep: from then on each portion wakes one.
    has_sleepers: AtomicBool,
    /// The threads are to end.
    is_over: AtomicBool,
    /// A thread has panicked: its turns will never be done.
    has_failed: AtomicBool,
}

/// The turns of a tick in portions, which have numbers in order of the nodes.
#[derive(Default)]
struct Work {
    waiting: VecDeque<(usize, Turns)>,
    /// Those that are taken, by their numbers, and which of them the caller has been given.
    taken: Vec<Option<Turns>>,
    given: usize,
    /// Emptied portions, kept for their room.
    spare: Vec<Turns>,
}

/// How the portion stands that is to be carried out next.
enum Next {
    /// It is taken.
    Taken(Turns),
    /// It is not, and this one has not been begun.
    Waits(usize, Turns),
    /// Another thread is at it.
    UnderWay,
    /// There is none left.
    Over,
}

impl Work {
    fn next(&mut self) -> Next {
        let Some(next) = self.taken.get_mut(self.given) else {
            self.taken.clear();
            self.given = 0;
            return Next::Over;
        };
        if let Some(turns) = next.take() {
            self.given += 1;
            return Next::Taken(turns);
        }
        self.waiting.pop_front().map_or(Next::UnderWay, |(number, turns)| Next::Waits(number, turns))
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes turns as long as some are waiting.
    fn take_turns(&self) {
        let mut next = self.work().waiting.pop_front();
        while let Some((number, mut turns)) = next {
            Turn::take_all(&mut turns);
            let mut work = self.work();
            work.taken[number] = Some(turns);
            next = work.waiting.pop_front();
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
                // What is handed out after this may wake us; what was before it is seen by the next look.
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

    /// How many turns are to be [handed out](Self::hand_out) at a time in a tick that has so many events, if it is worth
    /// it at all.
    pub(super) fn portion(&self, events: usize) -> Option<usize> {
        let is_worth_it = !self.threads.is_empty() && events >= SHARED_LEAST;
        is_worth_it.then(|| (events / (self.threads() * 8)).clamp(1, PORTION_MAX))
    }

    /// Gives the threads these turns to take, which follow those that were handed out before.
    /// [`next_taken`](Self::next_taken) brings them back.
    pub(super) fn hand_out(&self, turns: &mut Turns) {
        let number = {
            let mut work = self.shared.work();
            let mut portion = work.spare.pop().unwrap_or_default();
            portion.append(turns);
            let number = work.taken.len();
            work.taken.push(None);
            work.waiting.push_back((number, portion));
            number
        };
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        if self.shared.has_sleepers.load(Ordering::SeqCst)
            && let Some(thread) = self.threads.get(number % self.threads.len().max(1))
        {
            thread.thread().unpark();
        }
    }

    /// The next turns in the order in which they were handed out, once they are taken, until there are none left. Meanwhile
    /// this thread takes others.
    pub(super) fn next_taken(&self) -> Option<Turns> {
        loop {
            let next = self.shared.work().next();
            match next {
                Next::Taken(turns) => return Some(turns),
                Next::Over => return None,
                Next::Waits(number, mut turns) => {
                    Turn::take_all(&mut turns);
                    self.shared.work().taken[number] = Some(turns);
                }
                Next::UnderWay => {
                    assert!(!self.shared.has_failed.load(Ordering::SeqCst), "a node panicked in its turn, see above");
                    if self.looks_max == 0 {
                        std::thread::yield_now();
                    } else {
                        (0..64).for_each(|_| std::hint::spin_loop());
                    }
                }
            }
        }
    }

    /// What [`next_taken`](Self::next_taken) gave, emptied.
    pub(super) fn give_back(&self, portion: Turns) {
        self.shared.work().spare.push(portion);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_back_in_the_order_in_which_they_were_handed_out_on_any_number_of_threads() {
        for threads in [2, 3, 8] {
            let workers = Workers::new(threads);
            for count in [1, 4, 5, 64, 1_000, 0, 333] {
                let portion = workers.portion(count).unwrap_or(1);
                let mut turns = Turns::new();
                for node in 0..count as u32 {
                    turns.push(Box::new(Turn { node: NodeIndex(node), ..Turn::default() }));
                    if turns.len() == portion {
                        workers.hand_out(&mut turns);
                        assert!(turns.is_empty());
                    }
                }
                workers.hand_out(&mut turns);
                let mut back = Vec::new();
                while let Some(mut taken) = workers.next_taken() {
                    back.extend(taken.drain(..).map(|turn| turn.node.0));
                    workers.give_back(taken);
                }
                assert!(back.into_iter().eq(0..count as u32), "{threads} threads, {count} turns");
            }
        }
    }

    #[test]
    fn a_few_events_are_not_worth_sharing_and_one_thread_shares_with_nobody() {
        assert_eq!(Workers::new(1).portion(1_000), None);
        let workers = Workers::new(2);
        assert_eq!([3, 4, 160, 100_000].map(|events| workers.portion(events)), [None, Some(1), Some(10), Some(16)]);
    }
}
