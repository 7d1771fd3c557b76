//! The queue of everything that will happen: a timing wheel of single ticks, with far deadlines kept apart.
//!
//! One slot for each of the next 8,192 ticks, so that putting and taking cost the same however much waits (Varghese and
//! Lauck, SOSP 1987). What is due later waits in an ordered map and moves into the wheel when its tick comes in reach.

use routing_core::time::Tick;
use std::collections::BTreeMap;

/// How many ticks ahead the wheel reaches: more than nearly all delays and time-outs.
const SLOTS: u64 = 8_192;

/// Events by tick. Within a tick in the order in which they were put.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<T>>,
    /// The tick that was taken last.
    now: u64,
    far: BTreeMap<u64, Vec<T>>,
    length: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now: 0, far: BTreeMap::new(), length: 0 }
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
            self.slots[(at % SLOTS) as usize].push(event);
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
            self.slots[(at % SLOTS) as usize].extend(events);
        }
        std::mem::swap(&mut self.slots[(self.now % SLOTS) as usize], due);
        self.length -= due.len();
        Tick(self.now)
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
}
