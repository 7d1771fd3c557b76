//! What goes first when a store is full.
//!
//! First what the node is no holder of; then records that the domain they name never announced over a proven link; then
//! the others. Within each of these the domain with most bytes there pays, and within a domain the record that was not
//! announced for longest, tombstones last. Distance plays no part: ids and keys can be ground.
//!
//! Domains are counted by their group, since names below a registered one cost nothing. Why bytes are counted within each
//! rank, and what tombstones belong to: `docs/decisions/0013-what-a-full-store-drops.md`.

use super::StoredRecord;
use crate::contact::Group;
use crate::id::Key;
use crate::time::Tick;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What a record is worth when room is needed, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Worth {
    /// Whether this node is a holder of it, by what is known.
    pub(super) is_held: bool,
    /// Whether the domain that it names has announced it over a proven link.
    pub(super) is_announced: bool,
}

impl Worth {
    /// Of what the node is no holder of, nothing else counts.
    fn rank(self) -> Self {
        Self { is_announced: self.is_held && self.is_announced, ..self }
    }
}

/// All records of a store in the order in which they go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ranking {
    queues: BTreeMap<(Worth, Group), Queue>,
    /// The same queues by what they are worth and by their bytes, the most first.
    order: BTreeSet<(Worth, Reverse<u64>, Group)>,
}

/// The records of one domain in the order in which they go: whether it is a tombstone, when it was announced.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Queue {
    bytes: u64,
    records: BTreeSet<(bool, Tick, Key)>,
}

impl Ranking {
    pub(super) fn of<'a>(records: impl Iterator<Item = (&'a Key, &'a StoredRecord)>) -> Self {
        let mut ranking = Self::default();
        records.for_each(|(key, stored)| ranking.insert(key, stored));
        ranking
    }

    /// What goes first.
    pub(super) fn first(&self) -> Option<Key> {
        let (worth, _, group) = self.order.first()?;
        let (_, _, key) = self.queues.get(&(*worth, *group))?.records.first()?;
        Some(*key)
    }

    pub(super) fn insert(&mut self, key: &Key, stored: &StoredRecord) {
        let (worth, group) = (stored.worth.rank(), stored.group);
        let queue = self.queues.entry((worth, group)).or_default();
        self.order.remove(&(worth, Reverse(queue.bytes), group));
        queue.bytes += stored.bytes();
        queue.records.insert(place(key, stored));
        self.order.insert((worth, Reverse(queue.bytes), group));
    }

    pub(super) fn remove(&mut self, key: &Key, stored: &StoredRecord) {
        let (worth, group) = (stored.worth.rank(), stored.group);
        let Some(queue) = self.queues.get_mut(&(worth, group)) else { return };
        self.order.remove(&(worth, Reverse(queue.bytes), group));
        queue.bytes -= stored.bytes();
        queue.records.remove(&place(key, stored));
        if queue.records.is_empty() {
            self.queues.remove(&(worth, group));
        } else {
            self.order.insert((worth, Reverse(queue.bytes), group));
        }
    }
}

fn place(key: &Key, stored: &StoredRecord) -> (bool, Tick, Key) {
    (stored.held.record().is_closed(), stored.announced, *key)
}
