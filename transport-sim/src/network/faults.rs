//! What goes wrong with a network on purpose: it falls into parts, and nodes go down and come back.
//!
//! A cut stops messages, not links: who has a link across goes on sending, and nothing arrives. What is on its way when
//! the parts come apart does not arrive either. A link that is asked for across is lost after the dial time-out, also
//! where only one direction is cut: opening one takes both.

use super::{Condition, Live, Network, NodeIndex, Runner};
use crate::driven::Driven;
use crate::network::Mode;
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
    place: u32,
    cadence: Cadence,
    sequence: u64,
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
        self.slots[node.0 as usize].part = part;
    }

    /// The part that a node or client was put into.
    pub fn part(&self, node: NodeIndex) -> u16 {
        self.slots[node.0 as usize].part
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
        let kept = self.state(node).map(NodeState::kept);
        let live = self.slots[node.0 as usize].live.take();
        if let (Some(kept), Some(live)) = (kept, live) {
            let Live { place, cadence, sequence, .. } = *live;
            self.down.insert(node, Down { kept, place, cadence, sequence });
        }
    }

    /// A node that is down comes back, as the state that `restore` makes of what it kept. What was on its way to it
    /// when it went down is lost. Says whether it was down.
    pub fn revive(&mut self, node: NodeIndex, restore: impl FnOnce(Kept) -> NodeState) -> bool {
        let Some(Down { kept, place, cadence, sequence }) = self.down.remove(&node) else { return false };
        let state = restore(kept);
        let contact = state.contact().clone();
        let runner = match self.mode {
            Mode::Direct => Runner::Direct(Box::new(state)),
            Mode::Driver => Runner::Driven(Box::new(Driven::new(state, &self.time))),
        };
        let live = Live { cadence, sequence, ..Live::new(contact, place, runner) };
        let slot = &mut self.slots[node.0 as usize];
        slot.life += 1;
        slot.live = Some(Box::new(live));
        true
    }

    /// A node has done its last turn: it is down if it said that it will be back, else gone.
    pub(super) fn end(&mut self, node: NodeIndex) {
        let is_away = self.state(node).is_some_and(|state| matches!(state.contact().standing(), Standing::Away { .. }));
        if is_away {
            self.stop(node);
        } else {
            self.slots[node.0 as usize].has_left = true;
            self.drop_node(node);
        }
    }

    /// Why a node is not there.
    pub(super) fn absence(&self, node: NodeIndex) -> Condition {
        if self.down.contains_key(&node) {
            Condition::Down
        } else if self.slots[node.0 as usize].has_left {
            Condition::Left
        } else {
            Condition::Killed
        }
    }

    /// Whether something that was sent to a node in an earlier life arrives in a later one.
    pub(super) fn is_stale(&self, node: NodeIndex, life: u32) -> bool {
        self.slots[node.0 as usize].life != life
    }

    /// In which of its lives a node is.
    pub(super) fn life(&self, node: NodeIndex) -> u32 {
        self.slots[node.0 as usize].life
    }
}
