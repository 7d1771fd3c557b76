//! The queue of everything that will happen: a timing wheel of single ticks, with far deadlines kept apart.
//!
//! One slot for each of the next 8,192 ticks, so that putting and taking cost the same however much waits (Varghese and
//! Lauck, SOSP 1987). What is due later waits in an ordered map and moves into the wheel when its tick comes in reach. The
//! events of a slot lie in chunks that all slots share, so that the wheel takes what waits, and little more.

use routing_core::time::Tick;
use std::collections::BTreeMap;

/// How many ticks ahead the wheel reaches: more than nearly all delays and time-outs.
const SLOTS: u64 = 8_192;
/// How many events lie together. A slot that kept its own buffer would keep the largest it ever needed: in a large network
/// that was half of all memory, for a few events a slot.
const CHUNK: usize = 8;
/// No chunk.
const NONE: u32 = u32::MAX;

/// Events by tick. Within a tick in the order in which they were put.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Slot>,
    chunks: Vec<Chunk<T>>,
    /// Chunks that no slot has, the one to be used next last.
    free: Vec<u32>,
    /// The tick that was taken last.
    now: u64,
    far: BTreeMap<u64, Vec<T>>,
    length: usize,
}

/// The chunks of one tick, by their numbers.
#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    events: Vec<T>,
    next: u32,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        let slots = vec![Slot { first: NONE, last: NONE }; SLOTS as usize];
        Self { slots, chunks: Vec::new(), free: Vec::new(), now: 0, far: BTreeMap::new(), length: 0 }
    }
}

impl<T> Wheel<T> {
    /// How many events wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts an event at `at`, which must be later than the tick that was taken last; an earlier one counts as the next.
    pub fn put(&mut self, at: Tick, event: T) {
        let at = at.0.max(self.now + 1);
        self.length += 1;
        if at - self.now < SLOTS {
            self.append(at, event);
        } else {
            self.far.entry(at).or_default().push(event);
        }
    }

    /// Goes on to the next tick and moves what is due then into `due`, which is emptied first.
    pub fn advance(&mut self, due: &mut Vec<T>) -> Tick {
        due.clear();
        self.now += 1;
        let reach = self.now + SLOTS - 1;
        if let Some(entry) = self.far.first_entry().filter(|entry| *entry.key() <= reach) {
            // One tick comes in reach at a time, and its slot was emptied when the wheel passed it.
            let (at, events) = entry.remove_entry();
            events.into_iter().for_each(|event| self.append(at, event));
        }
        let slot = &mut self.slots[(self.now % SLOTS) as usize];
        let mut next = std::mem::replace(slot, Slot { first: NONE, last: NONE }).first;
        while next != NONE {
            let chunk = &mut self.chunks[next as usize];
            due.append(&mut chunk.events);
            self.free.push(next);
            next = chunk.next;
        }
        self.length -= due.len();
        Tick(self.now)
    }

    /// Puts an event at the end of the slot of a tick that is in reach.
    fn append(&mut self, at: u64, event: T) {
        let slot = &mut self.slots[(at % SLOTS) as usize];
        if let Some(chunk) = self.chunks.get_mut(slot.last as usize)
            && chunk.events.len() < CHUNK
        {
            return chunk.events.push(event);
        }
        let added = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk { events: Vec::with_capacity(CHUNK), next: NONE });
            (self.chunks.len() - 1) as u32
        });
        let chunk = &mut self.chunks[added as usize];
        chunk.events.push(event);
        chunk.next = NONE;
        match self.chunks.get_mut(slot.last as usize) {
            Some(last) => last.next = added,
            None => slot.first = added,
        }
        slot.last = added;
    }

    /// The tick that was taken last.
    pub fn now(&self) -> Tick {
        Tick(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn events_come_at_their_tick_in_the_order_in_which_they_were_put() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut wheel = Wheel::default();
        let mut model: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut due = Vec::new();
        for number in 0..40_000 {
            let at = wheel.now().0
                + 1
                + [rng.next_u64() % 5, rng.next_u64() % 9_000, rng.next_u64() % 60_000][number as usize % 3];
            wheel.put(Tick(at), number);
            model.entry(at).or_default().push(number);
            if number % 2 == 0 {
                let tick = wheel.advance(&mut due);
                let mut expected = model.remove(&tick.0).unwrap_or_default();
                // Far events join their slot before nearer ones are put there, so the order is that of putting.
                expected.sort_unstable();
                assert_eq!(due, expected, "tick {}", tick.0);
            }
        }
        while !model.is_empty() {
            let tick = wheel.advance(&mut due);
            assert_eq!(due, model.remove(&tick.0).unwrap_or_default());
        }
        assert!(wheel.is_empty());
    }

    #[test]
    fn many_events_at_one_tick_after_the_other_take_no_more_room_than_those_of_one() {
        let (mut wheel, mut due) = (Wheel::default(), Vec::new());
        for _ in 0..3 * SLOTS {
            (0..100).for_each(|number| wheel.put(Tick(wheel.now().0 + 1), number));
            wheel.advance(&mut due);
            assert!(due.iter().copied().eq(0..100));
        }
        assert_eq!(wheel.chunks.len(), 100usize.div_ceil(CHUNK));
    }
}
