//! What carries a federation: it runs the nodes, brings their messages, and tells the time.
//!
//! [`Network`] is the simulated one, in virtual time. Another may run the same nodes over real sockets: users, their keys,
//! the workload and what is true about it are the [sandbox's](crate::sandbox), whatever carries it.

use crate::network::{Condition, Counters, Finished, Network, NodeIndex, Traffic};
use routing_core::contact::Contact;
use routing_core::effect::{Operation, OperationId};
use routing_core::id::{Grid, Key};
use routing_core::key::SecretKey;
use routing_core::record::Record;
use routing_core::state::{Kept, NodeState, Phase};
use routing_core::time::Tick;
use std::io;
use std::sync::Arc;

/// Runs the nodes of a federation and what they say to each other. Nodes and clients are numbered in the order in which
/// they were added; numbers that were never given out are not asked for.
pub trait Carrier {
    /// The present tick. It never goes back.
    fn now(&self) -> Tick;

    /// Lets time pass: a tick where it is virtual; where it is not, until the next tick or the next operation's end.
    fn tick(&mut self) -> Tick;

    /// Adds a node or client, whose card `secret` has signed. `place` is where a delay matrix has it.
    fn add(&mut self, secret: &Arc<SecretKey>, state: NodeState, place: u32) -> NodeIndex;

    /// Drops a client that has done what it was made for. Says whether another may have its key at once.
    fn drop_client(&mut self, client: NodeIndex) -> bool;

    /// Asks a node to do something. Its traffic is counted in `ledger`. `None` if the node is gone.
    fn ask(&mut self, node: NodeIndex, operation: Operation, ledger: usize) -> Option<OperationId>;

    /// The operations that have ended since this was asked last.
    fn take_finished(&mut self) -> Vec<Finished>;

    /// How many operations of one step may be under way at once.
    fn operations_max(&self) -> u64 {
        u64::MAX
    }

    /// A node is gone without a word.
    fn kill(&mut self, node: NodeIndex);

    /// A node is down without a word, and may come back with what it has kept.
    fn stop(&mut self, node: NodeIndex);

    /// A node that is down comes back, as the state that `restore` makes of what it kept. Says whether it was down.
    fn revive(&mut self, node: NodeIndex, restore: impl FnOnce(Kept) -> NodeState) -> bool;

    /// The id of a node.
    fn grid(&self, node: NodeIndex) -> Grid;

    /// The node with this id.
    fn index_of(&self, grid: &Grid) -> Option<NodeIndex>;

    /// The node's card as it was when the node was added, if it is alive.
    fn contact(&self, node: NodeIndex) -> Option<&Arc<Contact>>;

    /// What the node does. Clients that were dropped count as killed.
    fn condition(&self, node: NodeIndex) -> Condition;

    /// Where the node is in its life, if it is alive and this can be seen.
    fn phase(&self, node: NodeIndex) -> Option<Phase>;

    /// Whether some registration of the node, acknowledged or not, is still on its way to a holder.
    fn is_writing(&self, node: NodeIndex) -> bool;

    /// Whether a client does nothing for anybody any more.
    fn is_idle(&self, node: NodeIndex) -> bool;

    /// The record that the node holds under `key`, if it holds one.
    fn held(&self, node: NodeIndex, key: &Key) -> Result<Option<Arc<Record>>, Unseen>;

    /// Asserts the invariants of a node, as far as it can be seen into.
    fn check(&self, node: NodeIndex) {
        let _ = node;
    }

    /// What was counted since the beginning.
    fn counters(&self) -> Counters;

    /// Opens a ledger for the traffic of some operations, and gives its number.
    fn open_ledger(&mut self) -> usize;

    /// What was counted in a ledger.
    fn ledger(&self, ledger: usize) -> Traffic;

    /// On how many threads the nodes run.
    fn threads(&self) -> usize;

    /// What has kept a node from starting, told once: whatever is found out after that says nothing.
    fn take_failure(&mut self) -> Option<io::Error> {
        None
    }

    /// The simulated network, where this is one: weather, faults and lies are its affair, and there are none elsewhere.
    fn simulated(&self) -> Option<&Network> {
        None
    }

    /// The same, to change it.
    fn simulated_mut(&mut self) -> Option<&mut Network> {
        None
    }
}

/// The node is gone, or cannot be seen into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the node is gone, or cannot be seen into")]
pub struct Unseen;

impl Carrier for Network {
    fn now(&self) -> Tick {
        self.now()
    }

    fn tick(&mut self) -> Tick {
        self.tick()
    }

    fn add(&mut self, _: &Arc<SecretKey>, state: NodeState, place: u32) -> NodeIndex {
        self.add(state, place)
    }

    fn drop_client(&mut self, client: NodeIndex) -> bool {
        self.drop_client(client);
        true
    }

    fn ask(&mut self, node: NodeIndex, operation: Operation, ledger: usize) -> Option<OperationId> {
        self.ask(node, operation, ledger)
    }

    fn take_finished(&mut self) -> Vec<Finished> {
        self.take_finished()
    }

    fn kill(&mut self, node: NodeIndex) {
        self.kill(node);
    }

    fn stop(&mut self, node: NodeIndex) {
        self.stop(node);
    }

    fn revive(&mut self, node: NodeIndex, restore: impl FnOnce(Kept) -> NodeState) -> bool {
        self.revive(node, restore)
    }

    fn grid(&self, node: NodeIndex) -> Grid {
        self.grid(node)
    }

    fn index_of(&self, grid: &Grid) -> Option<NodeIndex> {
        self.index_of(grid)
    }

    fn contact(&self, node: NodeIndex) -> Option<&Arc<Contact>> {
        self.contact(node)
    }

    fn condition(&self, node: NodeIndex) -> Condition {
        self.condition(node)
    }

    fn phase(&self, node: NodeIndex) -> Option<Phase> {
        self.state(node).map(NodeState::phase)
    }

    fn is_writing(&self, node: NodeIndex) -> bool {
        self.state(node).is_some_and(NodeState::is_writing)
    }

    fn is_idle(&self, node: NodeIndex) -> bool {
        self.is_idle(node)
    }

    fn held(&self, node: NodeIndex, key: &Key) -> Result<Option<Arc<Record>>, Unseen> {
        let state = self.state(node).ok_or(Unseen)?;
        Ok(state.store().get(key).map(|stored| stored.held().record().clone()))
    }

    fn check(&self, node: NodeIndex) {
        if let Some(state) = self.state(node) {
            state.check();
        }
    }

    fn counters(&self) -> Counters {
        self.counters()
    }

    fn open_ledger(&mut self) -> usize {
        self.open_ledger()
    }

    fn ledger(&self, ledger: usize) -> Traffic {
        self.ledger(ledger)
    }

    fn threads(&self) -> usize {
        self.threads()
    }

    fn simulated(&self) -> Option<&Network> {
        Some(self)
    }

    fn simulated_mut(&mut self) -> Option<&mut Network> {
        Some(self)
    }
}
