//! What goes wrong with a network on purpose: it falls into parts, and nodes go down and come back.
//!
//! A cut stops messages, not links: who has a link across goes on sending, and nothing arrives. What is on its way when
//! the parts come apart does not arrive either. A link that is asked for across is lost after the dial time-out, also
//! where only one direction is cut: opening one takes both.

use super::dishonest::Liar;
use super::slots::{Live, Runner};
use super::{Condition, Network, NodeIndex};
use routing_core::contact::Standing;
use routing_core::state::{Kept, NodeState};
use routing_core::time::Cadence;

/// How a network is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// Nothing passes between two parts.
    Whole,
    /// Nothing passes from a later part to an earlier one.
    OneWay,
}

/// What is left of a node that is down and may come back.
pub(super) struct Down {
    kept: Kept,
    cadence: Cadence,
    /// Who lied goes on lying when it comes back.
    pub(super) liar: Option<Box<Liar>>,
}

impl Network {
    /// Cuts the network into the parts that [`Network::set_part`] has named. `one_way`: only messages from a later part
    /// to an earlier one are stopped.
    pub fn cut(&mut self, one_way: bool) {
        self.cut = Some(if one_way { Cut::OneWay } else { Cut::Whole });
    }

    /// The network is whole again.
    pub fn heal(&mut self) {
        self.cut = None;
    }

    /// Whether the network is in parts.
    pub fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Puts a node or client into a part. It counts while the network is cut; who was put nowhere is in part 0.
    pub fn set_part(&mut self, node: NodeIndex, part: u16) {
        self.slots[node].part = part;
    }

    /// The part that a node or client was put into.
    pub fn part(&self, node: NodeIndex) -> u16 {
        self.slots[node].part
    }

    /// Whether the two are in different parts of a cut network: no link between them can be opened.
    pub fn are_apart(&self, one: NodeIndex, other: NodeIndex) -> bool {
        self.is_cut() && self.part(one) != self.part(other)
    }

    /// Whether messages from one to the other are stopped.
    pub(super) fn is_stopped(&self, from: NodeIndex, to: NodeIndex) -> bool {
        match self.cut {
            None => false,
            Some(Cut::Whole) => self.part(from) != self.part(to),
            Some(Cut::OneWay) => self.part(from) > self.part(to),
        }
    }

    /// A node is down without a word, and may come back with what it has kept. One that was [spawned](Self::spawn) keeps
    /// its state to itself, so it is gone.
    pub fn stop(&mut self, node: NodeIndex) {
        if !self.slots[node].is_alive() {
            return;
        }
        let kept = self.state(node).map(NodeState::kept);
        let condition = if kept.is_some() { Condition::Down } else { Condition::Killed };
        let live = self.take_live(node, condition);
        if let (Some(kept), Some(live)) = (kept, live) {
            let Live { cadence, liar, .. } = *live;
            self.down.insert(node, Down { kept, cadence, liar });
        }
    }

    /// A node that is down comes back, as the state that `restore` makes of what it kept. What was on its way to it
    /// when it went down is lost. Says whether it was down.
    pub fn revive(&mut self, node: NodeIndex, restore: impl FnOnce(Kept) -> NodeState) -> bool {
        let Some(Down { kept, cadence, liar }) = self.down.remove(&node) else { return false };
        let state = restore(kept);
        let contact = state.contact().clone();
        let runner = Runner::new(self.mode, state, &self.time);
        let slot = &mut self.slots[node];
        slot.life += 1;
        slot.begin(contact, cadence, liar, runner);
        true
    }

    /// A node has done its last turn: it is down if it said that it will be back, else gone.
    pub(super) fn end(&mut self, node: NodeIndex) {
        let standing = self.state(node).map(|state| state.contact().standing());
        if matches!(standing, Some(Standing::Away { .. })) {
            self.stop(node);
        } else {
            // Of code of somebody's own that has ended nobody knows whether it took its leave.
            self.take_live(node, if standing.is_some() { Condition::Left } else { Condition::Killed });
        }
    }

    /// Whether something that was sent to a node in an earlier life arrives in a later one.
    pub(super) fn is_stale(&self, node: NodeIndex, life: u32) -> bool {
        self.slots[node].life != life
    }

    /// In which of its lives a node is.
    pub(super) fn life(&self, node: NodeIndex) -> u32 {
        self.slots[node].life
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::{Delay, DelaySpec};
    use crate::network::DIAL_TIMEOUT;
    use crate::network::Mode;
    use routing_core::effect::{Effect, Effects, Target};
    use routing_core::holders::SetName;
    use routing_core::key::SecretKey;
    use routing_core::message::{Find, Message, RequestId, Want};
    use routing_core::time::{Tick, Ticks};
    use std::path::Path;
    use std::sync::Arc;

    const EARLY: NodeIndex = NodeIndex(0);
    const LATE: NodeIndex = NodeIndex(1);

    fn secret(node: NodeIndex) -> Arc<SecretKey> {
        Arc::new(SecretKey::from_seed([node.0 as u8 + 1; 32]))
    }

    /// Two nodes that know nothing of each other, 5 ms apart, one in part 0 and one in part 1.
    fn two() -> Network {
        let delay = Delay::load(&DelaySpec::Constant { value: Ticks(5) }, Path::new(""), 1).unwrap();
        let mut network = Network::new(1, Mode::Direct, delay);
        for node in [EARLY, LATE] {
            let address = format!("n{}.example", node.0).parse().unwrap();
            assert_eq!(network.add(NodeState::node(secret(node), address, Arc::default(), 1), 0), node);
        }
        network.set_part(LATE, 1);
        network
    }

    /// Sends a question, over a new link or one that stands.
    fn ask(network: &mut Network, from: NodeIndex, to: NodeIndex, opens_link: bool) {
        let peer = network.contact(to).unwrap().clone();
        let find =
            Find { id: RequestId(1), target: peer.grid().0, want: Want::Contacts, groups: 4, set: SetName::NONE };
        let mut effects = Effects::new();
        effects.extend(opens_link.then(|| Effect::Request(Target::contact(&peer))));
        effects.push(Effect::Send(peer.grid(), Message::Find(find)));
        network.carry_out(network.now(), from, &mut effects, &[]);
    }

    /// How many messages arrive within the time that one takes.
    fn arrivals(network: &mut Network) -> u64 {
        let before = network.counters().events;
        (0..5).for_each(|_| _ = network.tick());
        network.counters().events - before
    }

    #[test]
    fn nothing_passes_between_two_parts_until_the_network_is_whole() {
        let mut network = two();
        network.cut(false);
        for (from, to) in [(EARLY, LATE), (LATE, EARLY)] {
            ask(&mut network, from, to, false);
            assert_eq!(arrivals(&mut network), 0);
        }
        network.heal();
        ask(&mut network, LATE, EARLY, false);
        assert_eq!(arrivals(&mut network), 1);
    }

    #[test]
    fn a_cut_in_one_direction_stops_what_goes_to_the_earlier_part() {
        let mut network = two();
        network.cut(true);
        ask(&mut network, LATE, EARLY, false);
        assert_eq!(arrivals(&mut network), 0);
        ask(&mut network, EARLY, LATE, false);
        assert_eq!(arrivals(&mut network), 1);
    }

    #[test]
    fn a_link_across_a_cut_is_lost_after_the_dial_time_out_and_what_follows_it_too() {
        for one_way in [false, true] {
            for (from, to) in [(EARLY, LATE), (LATE, EARLY)] {
                let mut network = two();
                network.cut(one_way);
                ask(&mut network, from, to, true);
                assert_eq!(network.counters().links_opened, 1);
                assert_eq!((network.wheel.len(), network.slots[from].inbox.len()), (1, 0), "{from:?} {one_way}");
                (0..DIAL_TIMEOUT.0 - 1).for_each(|_| _ = network.tick());
                assert_eq!(network.wheel.len(), 1);
                network.tick();
                assert_eq!((network.wheel.len(), network.counters().events), (0, 0));
            }
        }
    }

    #[test]
    fn what_is_on_its_way_when_the_parts_come_apart_is_lost() {
        let mut network = two();
        ask(&mut network, EARLY, LATE, true);
        network.tick();
        network.cut(false);
        assert_eq!(arrivals(&mut network), 0);
    }

    #[test]
    fn a_message_that_is_doubled_arrives_twice_and_was_sent_once() {
        let mut network = two();
        network.set_duplicate(1.0);
        ask(&mut network, EARLY, LATE, true);
        assert_eq!((arrivals(&mut network), network.counters().sent.messages), (2, 3), "and two answers");
        network.set_loss(1.0);
        ask(&mut network, EARLY, LATE, false);
        let waiting = network.wheel.len();
        ask(&mut network, EARLY, LATE, false);
        assert_eq!(network.wheel.len(), waiting, "what is lost is not doubled");
    }

    #[test]
    fn who_comes_back_hears_nothing_that_was_meant_for_an_earlier_life() {
        for is_stopped in [false, true] {
            let mut network = two();
            let before = network.contact(LATE).unwrap().clone();
            ask(&mut network, EARLY, LATE, true);
            network.tick();
            if is_stopped {
                network.stop(LATE);
                assert_eq!(network.condition(LATE), Condition::Down);
                let address = before.address().clone();
                let restore = |kept| NodeState::restore(secret(LATE), address, Arc::default(), 2, kept, Tick(1));
                assert!(network.revive(LATE, restore));
                assert!(network.contact(LATE).unwrap().supersedes(&before));
            }
            assert!(!network.revive(LATE, |_| unreachable!("it is not down")));
            assert_eq!(arrivals(&mut network), u64::from(!is_stopped));
        }
    }
}
