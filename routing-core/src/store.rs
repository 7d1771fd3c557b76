//! The records a node holds, bounded.
//!
//! A record is merged with what is there by the one order of [`crate::record`]; nothing else decides. Beside it the
//! store keeps when it was last announced: age is a hint for what goes first when room is needed, never a judge.
//!
//! Between claims of different claimants the order says nothing. There the first heard stays: see [`claims`].

mod claims;

use crate::id::Key;
use crate::key::Hash;
use crate::message::{Brief, Copy, Refusal, StoreVerdict};
use crate::record::{Held, Merged};
use crate::time::Tick;
use claims::FirstHeard;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One key's record, its rival if there is proof of a conflict, and when it was announced.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    held: Held,
    announced: Tick,
    /// Of a claim: since when its key is taken. Boxed, since most records are no claims.
    first_heard: Option<Box<FirstHeard>>,
}

impl StoredRecord {
    /// The record and its rival.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// What goes to somebody else.
    pub fn copy(&self, now: Tick) -> Copy {
        Copy { record: self.held.record().clone(), rival: self.held.rival().cloned(), age: now.since(self.announced) }
    }

    fn brief(&self, key: Key) -> Brief {
        Brief { key, hash: self.held.brief_hash() }
    }
}

/// What a store made of a copy.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What the giver is told.
    pub verdict: StoreVerdict,
    /// Whether the store holds something else now: it must be made durable.
    pub is_changed: bool,
}

/// A bounded map of records, ordered by key.
#[derive(Clone, Debug)]
pub struct RecordStore {
    records: BTreeMap<Key, StoredRecord>,
    records_max: usize,
}

impl RecordStore {
    /// The empty store for at most `records_max` records.
    pub fn new(records_max: u32) -> Self {
        Self { records: BTreeMap::new(), records_max: records_max as usize }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What is held under `key`.
    pub fn get(&self, key: &Key) -> Option<&StoredRecord> {
        self.records.get(key)
    }

    /// All that is held, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &StoredRecord)> {
        self.records.iter()
    }

    /// Merges a copy. Invalid records and new ones beyond the bound are refused; the store is then unchanged.
    pub fn put(&mut self, copy: &Copy, now: Tick) -> Kept {
        let refused = |refusal| Kept { verdict: StoreVerdict::Refused(refusal), is_changed: false };
        let key = copy.record.key();
        let is_valid = copy.record.verify().is_ok()
            && copy.rival.as_ref().is_none_or(|rival| {
                // Of another claimant it would be no rival, and half a copy must not be taken.
                rival.key() == key && rival.guid() == copy.record.guid() && rival.verify().is_ok()
            });
        if !is_valid {
            return refused(Refusal::Invalid);
        }
        let is_full = self.records.len() >= self.records_max;
        let announced = now - copy.age;
        let Some(stored) = self.records.get_mut(&key) else {
            if is_full {
                return refused(Refusal::Full);
            }
            let held = Held::of(copy.record.clone(), copy.rival.clone());
            let verdict = verdict(&held, copy, now, announced);
            let first_heard = FirstHeard::of(copy, announced);
            self.records.insert(key, StoredRecord { held, announced, first_heard });
            return Kept { verdict, is_changed: true };
        };
        let is_displaced = stored.first_heard.as_mut().is_some_and(|first| first.hear(copy, now));
        if is_displaced && copy.record.guid() != stored.held.record().guid() {
            stored.held = Held::of(copy.record.clone(), copy.rival.clone());
            stored.announced = announced;
            return Kept { verdict: verdict(&stored.held, copy, now, announced), is_changed: true };
        }
        let before = stored.held.record().clone();
        let mut is_changed = false;
        for record in std::iter::once(&copy.record).chain(&copy.rival) {
            match stored.held.merge(record.clone()) {
                Merged::OtherClaimant => return refused(Refusal::OtherClaimant),
                merged => is_changed |= merged.changed(),
            }
        }
        if *stored.held.record() == before {
            // The same record announced again, by whomever: the younger age counts.
            if copy.record == *stored.held.record() {
                stored.announced = stored.announced.max(announced);
            }
        } else {
            stored.announced = announced;
        }
        Kept { verdict: verdict(&stored.held, copy, now, stored.announced), is_changed }
    }

    /// Drops what is held under `key`.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.records.remove(key).is_some()
    }

    /// The digest of the records that `admit` picks: BLAKE3 over (key, record hash) in the order of keys.
    pub fn digest(&self, mut admit: impl FnMut(&Key) -> bool) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for (key, stored) in self.records.iter().filter(|(key, _)| admit(key)) {
            hasher.update(&[key.kind as u8]);
            hasher.update(&key.id.0);
            hasher.update(&stored.held.hash().0);
        }
        Hash(*hasher.finalize().as_bytes())
    }

    /// The names of the records that `admit` picks.
    pub fn list(&self, mut admit: impl FnMut(&Key) -> bool) -> Vec<Brief> {
        let picked = self.records.iter().filter(|(key, _)| admit(key));
        picked.map(|(key, stored)| stored.brief(*key)).collect()
    }

    /// The name of what is held under `key`.
    pub fn brief(&self, key: &Key) -> Option<Brief> {
        self.records.get(key).map(|stored| stored.brief(*key))
    }
}

fn verdict(held: &Held, offered: &Copy, now: Tick, announced: Tick) -> StoreVerdict {
    let copy =
        || Arc::new(Copy { record: held.record().clone(), rival: held.rival().cloned(), age: now.since(announced) });
    if *held.record() != offered.record {
        StoreVerdict::Newer(copy())
    } else if held.rival().is_some() {
        StoreVerdict::Conflict(copy())
    } else {
        StoreVerdict::Kept
    }
}

#[cfg(test)]
mod tests;
