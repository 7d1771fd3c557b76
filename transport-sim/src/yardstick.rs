//! What a simulator could do on a machine at best: a [`BareWheel`], which delivers events and has no protocol.
//!
//! Its nodes have 1 KB of state each, and each event that a node is given has it read and written all. Then the node
//! sends one event on, to a node that is drawn, after a delay that is drawn: 20 to 120 ticks, as in the simulated
//! network. So as many events are under way as there are nodes, always.
//!
//! The two sizes make it a measure. An event has 64 bytes: a line of a processor's cache, and what a
//! [`Message`](routing_core::message::Message) has at most. A state has 1 KB, of the tens that a real node has: something
//! must be read to decide anything. So a few thousand nodes lie in a processor's caches, and a hundred thousand, which
//! are 100 MB, do not. Whoever simulates nodes that know something pays this much for each event; by what a simulator
//! is slower than its wheel, protocol and bookkeeping cost more.
//!
//! One thread, and no clock: whoever wants a rate measures how long [`BareWheel::deliver`] takes.

use crate::wheel::Wheel;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::time::{Tick, Ticks};

/// How many bytes an event has.
pub const EVENT_BYTES: usize = 64;
/// How many bytes of its state a node reads and writes for each event.
pub const STATE_BYTES: usize = 1_024;
/// How long events take: the least, and how many values there are from it on.
const DELAY_LEAST: Ticks = Ticks(20);
const DELAY_SPREAD: u64 = 101;

/// Nodes that know nothing and pass events on.
#[derive(Debug)]
pub struct BareWheel {
    wheel: Wheel<Event>,
    states: Vec<State>,
    dice: Xoshiro256PlusPlus,
    /// The events of the present tick, and how many of them have been delivered.
    due: Vec<Event>,
    delivered: usize,
}

#[derive(Debug)]
struct Event {
    to: u32,
    load: [u64; 7],
}

/// The first word counts the node's events.
#[derive(Debug)]
#[repr(align(64))]
struct State([u64; STATE_BYTES / 8]);

const _: () = assert!(size_of::<Event>() == EVENT_BYTES && size_of::<State>() == STATE_BYTES);

impl BareWheel {
    /// So many nodes, at least one, with an event under way to each. The same seed gives the same events.
    pub fn new(nodes: u32, seed: u64) -> Self {
        assert!(nodes > 0, "somebody must pass the events on");
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut wheel = Wheel::default();
        for to in 0..nodes {
            let (_, delay) = draw(&mut dice, nodes);
            wheel.put(Tick(0) + delay, Event { to, load: [to.into(); 7] });
        }
        // All of it is written, so that the system has given the memory before anybody measures.
        let states = (1..=u64::from(nodes)).map(State::unused).collect();
        Self { wheel, states, dice, due: Vec::new(), delivered: 0 }
    }

    /// Lets time pass until so many more events have been delivered, exactly.
    pub fn deliver(&mut self, events: u64) {
        let mut left = events;
        while left > 0 {
            if self.delivered == self.due.len() {
                self.wheel.advance(&mut self.due);
                self.delivered = 0;
            }
            let now = self.wheel.now();
            let waiting = &self.due[self.delivered..];
            let taken = waiting.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            for event in &waiting[..taken] {
                let load = self.states[event.to as usize].take_in(event);
                let (to, delay) = draw(&mut self.dice, self.states.len() as u32);
                self.wheel.put(now + delay, Event { to, load });
            }
            self.delivered += taken;
            left -= taken as u64;
        }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.states.len()
    }
}

impl State {
    fn unused(filling: u64) -> Self {
        let mut words = [filling; STATE_BYTES / 8];
        words[0] = 0;
        Self(words)
    }

    /// Reads and writes all of it. What goes on with the next event is made of it.
    fn take_in(&mut self, event: &Event) -> [u64; 7] {
        let [count, words @ ..] = &mut self.0;
        *count += 1;
        let heard = event.load.iter().fold(*count, |sum, word| sum.wrapping_add(*word)) | 1;
        let mut sum = 0_u64;
        for word in words.iter_mut() {
            *word = word.wrapping_add(heard);
            sum = sum.wrapping_add(*word);
        }
        let [first, second, third, fourth, fifth, sixth, ..] = *words;
        [sum, first, second, third, fourth, fifth, sixth]
    }
}

/// Draws whom an event goes to, and how long it takes.
fn draw(dice: &mut Xoshiro256PlusPlus, nodes: u32) -> (u32, Ticks) {
    let bits = dice.next_u64();
    let to = ((bits >> 32) * u64::from(nodes)) >> 32;
    let more = ((bits & u64::from(u32::MAX)) * DELAY_SPREAD) >> 32;
    (to as u32, DELAY_LEAST + Ticks(more))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many events each node has been given.
    fn counts(bare: &BareWheel) -> Vec<u64> {
        bare.states.iter().map(|state| state.0[0]).collect()
    }

    #[test]
    fn as_many_events_are_delivered_as_are_asked_for_and_as_many_are_under_way_as_there_are_nodes() {
        let mut bare = BareWheel::new(50, 1);
        let mut asked = 0;
        for events in [0, 1, 2, 1_000, 7, 33_333] {
            bare.deliver(events);
            asked += events;
            assert_eq!(counts(&bare).iter().sum::<u64>(), asked);
            assert_eq!(bare.wheel.len() + bare.due.len() - bare.delivered, bare.nodes());
        }
    }

    #[test]
    fn all_of_each_state_is_written() {
        let mut bare = BareWheel::new(300, 2);
        // Nobody is sent to before tick 20, and the first event of each is there at tick 120: six hops at most.
        bare.deliver(6 * 300);
        for (number, state) in (1..).zip(&bare.states) {
            assert!(state.0[0] > 0 && state.0[1..].iter().all(|word| *word != number), "node {number}");
        }
    }

    #[test]
    fn delays_are_those_of_the_simulated_network_and_reach_everybody() {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(3);
        let drawn: Vec<(u32, Ticks)> = (0..20_000).map(|_| draw(&mut dice, 30)).collect();
        let (nodes, delays): (std::collections::BTreeSet<u32>, std::collections::BTreeSet<u64>) =
            drawn.iter().map(|(to, delay)| (*to, delay.0)).unzip();
        assert!(nodes.into_iter().eq(0..30) && delays.into_iter().eq(20..=120));
    }

    #[test]
    fn the_same_seed_gives_the_same_events_however_many_are_asked_for_at_once() {
        let run = |seed, steps: u64| {
            let mut bare = BareWheel::new(40, seed);
            (0..steps).for_each(|_| bare.deliver(6_000 / steps));
            bare.states.into_iter().map(|state| state.0).collect::<Vec<_>>()
        };
        assert!(run(1, 1) == run(1, 600), "events of a tick wait for who asks");
        assert!(run(1, 1) != run(2, 1));
    }
}
