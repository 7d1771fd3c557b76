//! The records a node holds, bounded.
//!
//! A record is merged with what is there by the one order of [`crate::record`]; nothing else decides. Beside it the
//! store keeps when it was last announced: age is a hint for what goes first when room is needed, never a judge. What
//! that is, is said in `ranking`.
//!
//! Between claims of different claimants the order says nothing. There the first heard stays: see `claims`.

mod claims;

mod ranking;

use crate::contact::Group;
use crate::id::{Id, Key, Kind};
use crate::key::Hash;
use crate::message::{Brief, Copy, Refusal, StoreVerdict};
use crate::record::{Held, Merged, Record};
use crate::time::Tick;
use claims::FirstHeard;
use ranking::{Ranking, Worth};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// One key's record, its rival if there is proof of a conflict, when it was announced, and what it is worth when room is
/// needed.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    held: Held,
    announced: Tick,
    /// Since when something is held under its key, by this node's own clock: what others say of ages is no part of it.
    since: Tick,
    /// Whose it is: the group of the domain where the user lives, of a tombstone the one that it leaves if that has
    /// announced the user; else [`NOBODY`].
    group: Group,
    worth: Worth,
    /// Of a claim: since when its key is taken. Boxed, since most records are no claims.
    first_heard: Option<Box<FirstHeard>>,
}

/// The group of what no domain announces: claims, and tombstones of users for whom none has spoken here.
const NOBODY: Group = Group(0);

/// Where a copy comes from, and what this node is to it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Origin {
    /// Whether the domain that it names announced it just now, over a link that proves that.
    pub is_announced: bool,
    /// Whether this node is no holder of it. Asked only where room is needed.
    pub is_foreign: bool,
    /// Whether whoever writes it hands it over, rather than somebody who keeps it.
    pub is_written: bool,
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

    /// Whether the domain that it names has announced it over a proven link.
    pub fn is_announced(&self) -> bool {
        self.worth.is_announced
    }

    fn brief(&self, key: Key) -> Brief {
        Brief::of(key, self.held.record(), self.held.rival())
    }

    /// How many bytes it counts for: those of its records as they are encoded.
    fn bytes(&self) -> u64 {
        self.held.records().map(|record| record.encoded_len() as u64).sum()
    }
}

impl Brief {
    /// The name of a record held under `key`, and of its rival.
    pub fn of(key: Key, record: &Record, rival: Option<&Arc<Record>>) -> Self {
        let hash = match rival {
            None => record.hash(),
            Some(rival) => Hash::of(&[record.hash().0, rival.hash().0].concat()),
        };
        let [a, b, c, d, e, f, g, h, ..] = hash.0;
        Self { key, hash: u64::from_be_bytes([a, b, c, d, e, f, g, h]) }
    }
}

/// BLAKE3 over these names, which must be in the order of keys: equal for two who hold the same.
pub fn digest(briefs: impl Iterator<Item = Brief>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for Brief { key, hash } in briefs {
        hasher.update(&[key.kind as u8]).update(&key.id.0).update(&hash.to_be_bytes());
    }
    Hash(*hasher.finalize().as_bytes())
}

/// What a store made of a copy.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What the giver is told.
    pub verdict: StoreVerdict,
    /// Whether the store holds something else now: it must be made durable.
    pub is_changed: bool,
    /// What had to go for it.
    pub dropped: Vec<Key>,
}

/// A bounded map of records, ordered by key.
#[derive(Clone, Debug)]
pub struct RecordStore {
    records: BTreeMap<Key, StoredRecord>,
    records_max: usize,
    bytes: u64,
    bytes_max: u64,
    /// What goes first. Made when the store is full for the first time; most never are.
    ranking: Option<Box<Ranking>>,
    /// Where [`look_again`](Self::look_again) has stopped.
    hand: Option<Key>,
}

impl RecordStore {
    /// The empty store for at most `records_max` records.
    pub fn new(records_max: u32) -> Self {
        let records_max = records_max as usize;
        Self { records: BTreeMap::new(), records_max, bytes: 0, bytes_max: u64::MAX, ranking: None, hand: None }
    }

    /// The empty store for at most so many bytes of records, too, as they are encoded.
    pub fn with_bytes_max(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes the records have as they are encoded.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is held under `key`.
    pub fn get(&self, key: &Key) -> Option<&StoredRecord> {
        self.records.get(key)
    }

    /// All that is held, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &StoredRecord)> {
        self.records.iter()
    }

    /// What is held of one kind under keys that share the leading `bits` of `start`, in the order of keys.
    pub fn range(&self, kind: Kind, start: &Id, bits: u8) -> impl Iterator<Item = (&Key, &StoredRecord)> {
        let (low, high) = start.slice(bits);
        self.records.range(Key { kind, id: low }..=Key { kind, id: high })
    }

    /// Merges a copy of which nothing else is known.
    pub fn put(&mut self, copy: &Copy, now: Tick) -> Kept {
        self.put_from(copy, now, Origin::default())
    }

    /// Merges a copy that was held before a stop. When a claim was first heard is not known any more, only when it was
    /// announced last: its text is taken.
    pub fn restore(&mut self, copy: &Copy, now: Tick) -> Kept {
        let kept = self.put(copy, now);
        if let Some(first) = self.records.get_mut(&copy.record.key()).and_then(|stored| stored.first_heard.as_mut()) {
            first.end();
        }
        kept
    }

    /// Merges a copy. In a full store what goes first makes room for it. Invalid records are refused, and new ones if
    /// nothing less worthy is there; the store is then unchanged.
    pub fn put_from(&mut self, copy: &Copy, now: Tick, origin: Origin) -> Kept {
        let refused =
            |refusal| Kept { verdict: StoreVerdict::Refused(refusal), is_changed: false, dropped: Vec::new() };
        let key = copy.record.key();
        let known = self.records.get(&key).map(|stored| &**stored.held().record());
        if !copy.is_valid_beside(known) {
            return refused(Refusal::Invalid);
        }
        let announced = now - copy.age;
        let worth = Worth { is_held: !origin.is_foreign, is_announced: origin.is_announced };
        let offered = || Held::of(copy.record.clone(), copy.rival.clone());
        let Some(stored) = self.records.get(&key) else {
            let held = offered();
            let verdict = verdict(&held, copy, now, announced);
            let group = group(held.record()).unwrap_or(NOBODY);
            let first_heard = FirstHeard::of(copy, announced);
            let stored = StoredRecord { held, announced, since: now, group, worth, first_heard };
            return match self.admit(key, stored) {
                Some(dropped) => Kept { verdict, is_changed: true, dropped },
                None => refused(Refusal::Full),
            };
        };
        let mut merged = stored.clone();
        let is_earlier = merged.first_heard.as_mut().is_some_and(|first| {
            // Only a writer displaces a claimant: what is handed on would reach some holders in time and others too late.
            let is_his = copy.record.guid() == stored.held.record().guid();
            (is_his || origin.is_written) && first.hear(copy, now)
        });
        let is_displaced = is_earlier && copy.record.guid() != stored.held.record().guid();
        if is_displaced {
            merged.held = offered();
            merged.worth.is_announced = false;
        }
        let mut is_changed = is_displaced;
        for record in std::iter::once(&copy.record).chain(&copy.rival) {
            match merged.held.merge(record.clone()) {
                Merged::OtherClaimant => return refused(Refusal::OtherClaimant),
                merged => is_changed |= merged.changed(),
            }
        }
        let is_same = merged.held.record() == stored.held.record();
        if is_same && (copy.record == *stored.held.record() || copy.rival.as_ref() == Some(stored.held.record())) {
            // The same record announced again, by whomever: the younger age counts.
            merged.announced = stored.announced.max(announced);
            merged.worth.is_announced |= origin.is_announced && copy.record == *stored.held.record();
        } else if !is_same {
            merged.announced = announced;
            // A tombstone names no domain: it stays with the one that it was the last word to. Of a domain that has not
            // spoken for the user anybody may say that he lived there.
            let last = if stored.worth.is_announced { stored.group } else { NOBODY };
            let group = group(merged.held.record()).unwrap_or(last);
            merged.worth.is_announced = origin.is_announced || merged.worth.is_announced && group == stored.group;
            merged.group = group;
        }
        let verdict = verdict(&merged.held, copy, now, merged.announced);
        let dropped = self.replace(key, merged);
        Kept { verdict, is_changed, dropped }
    }

    /// Whether a new record would make something go.
    pub fn is_full_for(&self, copy: &Copy) -> bool {
        let bytes = copy.record.encoded_len() + copy.rival.as_ref().map_or(0, |rival| rival.encoded_len());
        self.records.len() >= self.records_max || self.bytes + bytes as u64 > self.bytes_max
    }

    /// The domain that this record names has announced it now, over a link that proves that.
    pub fn announce(&mut self, key: &Key, now: Tick) {
        let Some(stored) = self.records.get_mut(key) else { return };
        let before = stored.clone();
        stored.announced = stored.announced.max(now);
        stored.worth.is_announced = true;
        if let Some(ranking) = &mut self.ranking {
            ranking.remove(key, &before);
            ranking.insert(key, stored);
        }
    }

    /// Some keys of which it should be said anew, by [`mark`](Self::mark), whether this node holds them: the one that
    /// would go first, and `count` others. Called again and again this goes round the whole store.
    pub fn look_again(&mut self, count: usize) -> Vec<Key> {
        let first = self.first_to_go();
        let after = self.hand.map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys: Vec<Key> =
            self.records.range((after, Bound::Unbounded)).take(count).map(|(key, _)| *key).collect();
        self.hand = keys.last().copied().filter(|_| keys.len() == count);
        keys.extend(first);
        keys
    }

    /// Notes whether this node is a holder of `key`.
    pub fn mark(&mut self, key: &Key, is_held: bool) {
        let Some(stored) = self.records.get_mut(key).filter(|stored| stored.worth.is_held != is_held) else { return };
        if let Some(ranking) = &mut self.ranking {
            ranking.remove(key, stored);
        }
        stored.worth.is_held = is_held;
        if let Some(ranking) = &mut self.ranking {
            ranking.insert(key, stored);
        }
    }

    /// Takes in a new record. Says what went for it, or `None` if nothing less worthy was there.
    fn admit(&mut self, key: Key, stored: StoredRecord) -> Option<Vec<Key>> {
        self.insert(key, stored);
        let mut gone = Vec::new();
        while self.is_over() {
            let first = self.first_to_go()?;
            let stored = self.take(&first)?;
            if first == key {
                for (key, stored) in gone {
                    self.insert(key, stored);
                }
                return None;
            }
            gone.push((first, stored));
        }
        Some(gone.into_iter().map(|(key, _)| key).collect())
    }

    /// Puts another record in the place of one. It may have grown: then others go, and not itself. Says which.
    fn replace(&mut self, key: Key, stored: StoredRecord) -> Vec<Key> {
        let Some(before) = self.records.get(&key).cloned() else { return Vec::new() };
        self.bytes = self.bytes - before.bytes() + stored.bytes();
        if self.is_over() {
            self.rank();
        }
        if let Some(ranking) = &mut self.ranking {
            ranking.remove(&key, &before);
        }
        let mut gone = Vec::new();
        while self.is_over()
            && let Some(first) = self.first_to_go()
        {
            self.take(&first);
            gone.push(first);
        }
        if let Some(ranking) = &mut self.ranking {
            ranking.insert(&key, &stored);
        }
        self.records.insert(key, stored);
        gone
    }

    fn is_over(&self) -> bool {
        self.records.len() > self.records_max || self.bytes > self.bytes_max
    }

    fn first_to_go(&mut self) -> Option<Key> {
        self.rank().first()
    }

    fn rank(&mut self) -> &Ranking {
        self.ranking.get_or_insert_with(|| Box::new(Ranking::of(self.records.iter())))
    }

    fn insert(&mut self, key: Key, stored: StoredRecord) {
        self.bytes += stored.bytes();
        if let Some(ranking) = &mut self.ranking {
            ranking.insert(&key, &stored);
        }
        self.records.insert(key, stored);
    }

    fn take(&mut self, key: &Key) -> Option<StoredRecord> {
        let stored = self.records.remove(key)?;
        self.bytes -= stored.bytes();
        if let Some(ranking) = &mut self.ranking {
            ranking.remove(key, &stored);
        }
        Some(stored)
    }

    /// Drops what is held under `key`.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.take(key).is_some()
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

    /// Asserts that what is counted and ranked is what is there. For tests; it walks the whole store.
    pub fn check(&self) {
        assert!(!self.is_over(), "the store keeps its bounds");
        assert_eq!(self.bytes, self.records.values().map(StoredRecord::bytes).sum::<u64>(), "bytes are counted right");
        if let Some(ranking) = &self.ranking {
            assert_eq!(**ranking, Ranking::of(self.records.iter()), "the ranking is of what is there");
        }
    }
}

/// The group of the domain where a user lives; of tombstones, that is for what was there before to say. A claim may name a
/// domain, too, but that announces users only.
fn group(record: &Record) -> Option<Group> {
    match record.home() {
        Some(home) if record.key().kind == Kind::User => Some(Group::of_domain(home)),
        None if record.is_closed() => None,
        _ => Some(NOBODY),
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
