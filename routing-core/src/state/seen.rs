//! What lookups of this node have brought, bounded: the greatest record of each key that was asked for lately.
//!
//! Holders may fall behind what was seen once, as after a partition in which the asker stood on the other side. An asker
//! that remembers is not told a lesser record than it saw before, and its read repair tells the holders.

use crate::id::Key;
use crate::record::Record;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many keys are remembered, the latest.
const SEEN_MAX: usize = 1_024;

/// The greatest records seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    records: BTreeMap<Key, Arc<Record>>,
    order: VecDeque<Key>,
}

impl Seen {
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// Remembers a record, which must be valid, if it is the greatest of its key so far.
    pub(crate) fn add(&mut self, record: &Arc<Record>) {
        let key = record.key();
        match self.records.get_mut(&key) {
            Some(known) => {
                if record.outranks(known) {
                    *known = record.clone();
                }
            }
            None => {
                if self.order.len() == SEEN_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.records.remove(&oldest);
                }
                self.order.push_back(key);
                self.records.insert(key, record.clone());
            }
        }
    }
}
