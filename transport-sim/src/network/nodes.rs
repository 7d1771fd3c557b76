//! Who is there: nodes and clients are added, asked, run at their cadence, halted, and taken away.

use super::slots::{Live, Runner, Slot};
use super::{Condition, Network, NodeIndex};
use crate::connection::{Port, SimClock, SimConnection};
use crate::driven::Hosted;
use routing_core::contact::{Address, Contact};
use routing_core::effect::{Operation, OperationId};
use routing_core::id::Grid;
use routing_core::state::NodeState;
use routing_core::time::{Cadence, Tick};
use std::future::Future;
use std::sync::Arc;

impl Network {
    /// Adds a node or client. It runs at each tick, and takes its first turn when it is asked something. A client's
    /// place is drawn by the caller, as a node's is.
    pub fn add(&mut self, state: NodeState, place: u32) -> NodeIndex {
        let contact = state.contact().clone();
        let runner = Runner::new(self.mode, state, &self.time);
        self.insert(contact, place, runner)
    }

    /// Adds a node, or a client, that is async code of the caller's own: a whole home-server, or something that speaks
    /// the protocol by itself. It is first polled at the next tick, and in every [`Mode`](super::Mode) in the same way; the module
    /// [`connection`](crate::connection) says when. `contact` is the card that its links prove.
    ///
    /// Nothing can be [asked](Self::ask) of it from outside, and its state is its own.
    pub fn spawn<F>(
        &mut self,
        contact: Arc<Contact>,
        place: u32,
        code: impl FnOnce(SimConnection, SimClock) -> F,
    ) -> NodeIndex
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (port, connection, clock) = Port::open(&self.time);
        let hosted = Hosted::new(self.next_index(), &self.bell, port, code(connection, clock));
        let index = self.insert(contact, place, Runner::Hosted(Box::new(hosted)));
        self.has_own_code = true;
        self.wake_at(index, Tick(self.now().0 + 1));
        index
    }

    fn next_index(&self) -> NodeIndex {
        NodeIndex(u32::try_from(self.slots.len()).expect("a network has fewer than 2^32 nodes"))
    }

    fn insert(&mut self, contact: Arc<Contact>, place: u32, runner: Runner) -> NodeIndex {
        let (index, grid) = (self.next_index(), contact.grid());
        self.by_grid.insert(grid, index);
        if !contact.is_client() {
            self.by_address.insert(contact.address().clone(), index);
        }
        self.slots.push(Slot::new(contact, place, runner));
        index
    }

    pub(super) fn live(&self, node: NodeIndex) -> Option<&Live> {
        self.slots[node].live.as_deref()
    }

    pub(super) fn live_mut(&mut self, node: NodeIndex) -> Option<&mut Live> {
        self.slots[node].live.as_deref_mut()
    }

    /// The id of a node.
    pub fn grid(&self, node: NodeIndex) -> Grid {
        self.slots[node].grid
    }

    /// The node with this id.
    pub fn index_of(&self, grid: &Grid) -> Option<NodeIndex> {
        self.by_grid.get(grid).copied()
    }

    /// The node at this address.
    pub fn index_at(&self, address: &Address) -> Option<NodeIndex> {
        self.by_address.get(address).copied()
    }

    /// The node's state machine as its last turn left it, if it is alive. One that was [spawned](Self::spawn) keeps its
    /// own to itself.
    pub fn state(&self, node: NodeIndex) -> Option<&NodeState> {
        self.live(node)?.runner.state()
    }

    /// The node's card as it was when the node was added.
    pub fn contact(&self, node: NodeIndex) -> Option<&Arc<Contact>> {
        self.slots[node].contact.as_ref()
    }

    /// Where in the delay matrix the node is.
    pub fn place(&self, node: NodeIndex) -> Option<u32> {
        let slot = &self.slots[node];
        slot.is_alive().then_some(slot.place)
    }

    /// What the node does. Clients that were dropped count as killed.
    pub fn condition(&self, node: NodeIndex) -> Condition {
        self.slots[node].condition
    }

    /// Asks a node to do something, in its next turn; a turn takes up [`COMMANDS_MAX`](routing_core::driver::COMMANDS_MAX) operations at most, so more wait
    /// for the turns after that. Its traffic is counted in `ledger`.
    ///
    /// `None` if the node is gone or was [spawned](Self::spawn), and for [`Operation::Cancel`], which is no operation of
    /// its own.
    pub fn ask(&mut self, node: NodeIndex, operation: Operation, ledger: usize) -> Option<OperationId> {
        let next = Tick(self.now().0 + 1);
        let live = self.live_mut(node)?;
        if matches!(live.runner, Runner::Hosted(_)) || matches!(operation, Operation::Cancel(_)) {
            return None;
        }
        live.last_operation += 1;
        let id = OperationId(live.last_operation);
        live.asked.push((id, operation));
        self.slots[node].ledger = u32::try_from(ledger).expect("a run has fewer than 2^32 ledgers");
        self.wake_at(node, next);
        Some(id)
    }

    /// Runs a node at every `every`-th tick from the next one on. A halted node goes on.
    pub fn run(&mut self, node: NodeIndex, every: u64) {
        let next = Tick(self.now().0 + 1);
        let slot = &mut self.slots[node];
        slot.set_cadence(Cadence::starting(next, every));
        if slot.condition == Condition::Halted {
            slot.condition = Condition::Running;
        }
        self.wake_at(node, next);
    }

    /// Lets a node go on after a halt, at the cadence that it had.
    pub fn resume(&mut self, node: NodeIndex) {
        let next = Tick(self.now().0 + 1);
        let slot = &mut self.slots[node];
        if slot.condition == Condition::Halted {
            slot.condition = Condition::Running;
            self.wake_at(node, next);
        }
    }

    /// A node hears and does nothing from now on.
    pub fn halt(&mut self, node: NodeIndex) {
        let slot = &mut self.slots[node];
        if slot.condition == Condition::Running {
            slot.condition = Condition::Halted;
        }
    }

    /// A node is gone without a word.
    pub fn kill(&mut self, node: NodeIndex) {
        let was_down = self.down.remove(&node).is_some();
        if was_down || self.slots[node].is_alive() {
            self.take_live(node, Condition::Killed);
        }
    }

    /// Drops a client that has done what it was made for. Its part in the digest stays.
    pub fn drop_client(&mut self, node: NodeIndex) {
        let grid = self.grid(node);
        self.by_grid.remove(&grid);
        self.kill(node);
    }

    /// Takes a node's life, and its links with it. This is how it is not there any more.
    pub(super) fn take_live(&mut self, node: NodeIndex, condition: Condition) -> Option<Box<Live>> {
        if let Some(links) = &mut self.links {
            links.remove(node);
        }
        self.slots[node].end(condition)
    }

    /// Whether a client does nothing for anybody any more.
    pub fn is_idle(&self, node: NodeIndex) -> bool {
        self.live(node).is_none_or(|live| {
            live.asked.is_empty()
                && match &live.runner {
                    Runner::Direct(state) => state.is_idle(),
                    Runner::Driven(driven) => driven.state().is_idle(),
                    Runner::Hosted(_) => false,
                }
        })
    }

    /// All nodes and clients that ever were, by number.
    pub fn indices(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.slots.len() as u32).map(NodeIndex)
    }
}
