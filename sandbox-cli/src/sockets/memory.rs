//! What a node keeps over a stop, in memory.

use super::lock;
use async_trait::async_trait;
use routing_core::contact::Contact;
use routing_core::driver::{Durable, KeepError, Keeper};
use routing_core::id::{Guid, Key};
use routing_core::message::Copy;
use routing_core::record::Record;
use routing_core::state::Kept;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A keeper that forgets when the process ends. A clone is the same memory.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    copies: BTreeMap<Key, Arc<Copy>>,
    strays: BTreeSet<Key>,
    homed: BTreeMap<Guid, Arc<Record>>,
    contacts: Vec<Arc<Contact>>,
}

impl Memory {
    /// The record kept under `key`: what the node holds, as nobody is told of anything before it is kept.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Record>> {
        lock(&self.0).copies.get(key).map(|copy| copy.record.clone())
    }

    /// Leaves of what a node had when it stopped what it has made durable. The ages of its records are as they were then.
    pub(super) fn limit(&self, kept: &mut Kept) {
        let contents = lock(&self.0);
        let is_kept =
            |copy: &Copy| contents.copies.get(&copy.record.key()).is_some_and(|durable| durable.record == copy.record);
        kept.copies.retain(is_kept);
        kept.strays.retain(|key| contents.strays.contains(key));
        kept.contacts.clone_from(&contents.contacts);
        kept.homed = contents.homed.values().cloned().collect();
    }
}

#[async_trait]
impl Keeper for Memory {
    async fn commit(&mut self, batch: &[Durable]) -> Result<(), KeepError> {
        let mut kept = lock(&self.0);
        for durable in batch {
            match durable {
                Durable::Keep(copy) => _ = kept.copies.insert(copy.record.key(), copy.clone()),
                Durable::Forget(key) => {
                    kept.copies.remove(key);
                    kept.strays.remove(key);
                }
                Durable::Stray(key, true) => _ = kept.strays.insert(*key),
                Durable::Stray(key, false) => _ = kept.strays.remove(key),
                Durable::Home(record) => _ = kept.homed.insert(record.guid(), record.clone()),
                Durable::MovedOut(guid) => _ = kept.homed.remove(guid),
                Durable::Remember(contacts) => kept.contacts.clone_from(contacts),
            }
        }
        Ok(())
    }
}
