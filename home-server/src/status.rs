//! How a running node is: written by the node's own loop after each turn, read by health and metrics.

use async_trait::async_trait;
use routing_core::connection::Connection;
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::state::{NodeState, Phase, Stats};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a node's state says of itself, after some turn.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Where the node is in its life.
    pub phase: Phase,
    /// Whether what it says of the records it holds counts.
    pub is_settled: bool,
    /// How many contacts it knows.
    pub contacts: usize,
    /// How many of them have answered it.
    pub neighbours: usize,
    /// How many records it holds.
    pub records: usize,
    /// How many bytes these are, as they are encoded.
    pub record_bytes: u64,
    /// How many users live here.
    pub users: usize,
    /// How many operations are under way.
    pub operations: usize,
    /// What it has counted.
    pub stats: Stats,
}

impl Snapshot {
    fn of(state: &NodeState) -> Self {
        Self {
            phase: state.phase(),
            is_settled: state.is_settled(),
            contacts: state.table().len(),
            neighbours: state.table().answered(),
            records: state.store().len(),
            record_bytes: state.store().bytes(),
            // Exact, and does not walk over a million users after each turn.
            users: state.homed().size_hint().0,
            operations: state.operations(),
            stats: state.stats(),
        }
    }
}

/// A place for the newest snapshot. A clone is the same place.
#[derive(Clone, Debug)]
pub struct Status {
    newest: Arc<Mutex<Snapshot>>,
    moved: Arc<AtomicU64>,
}

impl Status {
    /// The status of a node that has made no turn yet.
    pub fn new(state: &NodeState) -> Self {
        Self { newest: Arc::new(Mutex::new(Snapshot::of(state))), moved: Arc::default() }
    }

    /// Notes how the node is now.
    pub fn note(&self, state: &NodeState) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Snapshot::of(state);
    }

    /// How the node was after its last turn.
    pub fn snapshot(&self) -> Snapshot {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many copies of records the node has given to others outside of operations: what upkeep has moved.
    pub fn records_moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}

/// The same connection, with the copies counted that are given outside of operations.
#[derive(Debug)]
pub struct Counted<C> {
    inner: C,
    status: Status,
}

impl<C> Counted<C> {
    /// Counts for `status` what is sent over `inner`.
    pub fn new(inner: C, status: Status) -> Self {
        Self { inner, status }
    }
}

#[async_trait]
impl<C: Connection> Connection for Counted<C> {
    type Error = C::Error;

    async fn request(&mut self, peer: &Target) -> Result<(), C::Error> {
        self.inner.request(peer).await
    }

    async fn accept(&mut self, peer: Grid) -> Result<(), C::Error> {
        self.inner.accept(peer).await
    }

    async fn send(&mut self, to: Grid, message: Message) -> Result<(), C::Error> {
        if !message.is_for_operation() {
            self.status.moved.fetch_add(message.copies() as u64, Ordering::Relaxed);
        }
        self.inner.send(to, message).await
    }

    async fn close(&mut self, peer: Grid) -> Result<(), C::Error> {
        self.inner.close(peer).await
    }

    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), C::Error> {
        self.inner.listen(heard).await
    }
}
