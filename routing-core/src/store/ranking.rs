//! What goes first when a store is full.
//!
//! First what the node is no holder of; then users whose domain never announced them over a proven link; then the others.
//! Within each of these the domain with most bytes there pays, and within a domain the record that was not announced for
//! longest, tombstones last. Distance plays no part: ids and keys can be ground.
//!
//! Claims, and tombstones that no domain answers for, are one group among the others, in which the latest to come goes
//! first: nobody announces them anew, so whoever floods a store with them would else outlast all that was there.
//!
//! Domains are counted by their group, since names below a registered one cost nothing. Why bytes are counted within each
//! rank, and what tombstones belong to: `docs/decisions/0013-what-a-full-store-drops.md`.

use super::{NOBODY, StoredRecord};
use crate::contact::Group;
use crate::id::Key;
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

impl StoredRecord {
    /// In which rank it is. Of what the node is no holder of, nothing else counts. What no domain can announce is not behind
    /// for that: anybody can make up domains that announce nothing, as many as it takes to drive out all of that rank.
    fn rank(&self) -> Worth {
        let is_held = self.worth.is_held;
        Worth { is_held, is_announced: is_held && (self.worth.is_announced || self.group == NOBODY) }
    }
}

/// A place in the order of one domain's records, the first to go first.
type Turn = (bool, u64, Key);

/// All records of a store in the order in which they go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ranking {
    queues: BTreeMap<(Worth, Group), Queue>,
    /// The same queues by what they are worth and by their bytes, the most first.
    order: BTreeSet<(Worth, Reverse<u64>, Group)>,
}

/// The records of one domain in the order in which they go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Queue {
    bytes: u64,
    records: BTreeSet<Turn>,
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
        let (worth, group) = (stored.rank(), stored.group);
        let queue = self.queues.entry((worth, group)).or_default();
        self.order.remove(&(worth, Reverse(queue.bytes), group));
        queue.bytes += stored.bytes();
        queue.records.insert(turn(key, stored));
        self.order.insert((worth, Reverse(queue.bytes), group));
    }

    pub(super) fn remove(&mut self, key: &Key, stored: &StoredRecord) {
        let (worth, group) = (stored.rank(), stored.group);
        let Some(queue) = self.queues.get_mut(&(worth, group)) else { return };
        self.order.remove(&(worth, Reverse(queue.bytes), group));
        queue.bytes -= stored.bytes();
        queue.records.remove(&turn(key, stored));
        if queue.records.is_empty() {
            self.queues.remove(&(worth, group));
        } else {
            self.order.insert((worth, Reverse(queue.bytes), group));
        }
    }
}

/// When a record's turn to go comes within its domain: whether it is a tombstone, and its age, the oldest first.
///
/// Of what is nobody's the latest to come goes first, and a tombstone no later than a name, since anybody can make either.
/// How old it is said to be does not count, since he says that, too.
fn turn(key: &Key, stored: &StoredRecord) -> Turn {
    if stored.group == NOBODY {
        return (false, u64::MAX - stored.since.0, *key);
    }
    (stored.held.record().is_closed(), stored.announced.0, *key)
}
