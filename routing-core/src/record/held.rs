//! What a node keeps of one identity under one key: the winning record and, if there is one, the proof of a conflict.
//!
//! Merging is a semilattice: any order of arrival, any number of times, by ones or by twos, gives one result. The rule
//! and why it holds are in `docs/decisions/0002-conflicts-form-a-semilattice.md`.

use super::Record;
use super::order::{Conflict, conflict};
use std::cmp::Ordering;
use std::sync::Arc;

/// The greatest record seen of one identity under one key and, if any was seen, its greatest rival: a record in
/// [`conflict`] with it, one of chains before one of placements.
///
/// Claims of different claimants are not merged. Which of them holds a text is voted on by the holders, and a rival
/// here is a contradiction within one claimant only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    record: Arc<Record>,
    rival: Option<Arc<Record>>,
}

/// What a merge did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Merged {
    /// Nothing: it was held already, as the winner or as its rival.
    Same,
    /// Nothing: a lesser record, which proves no conflict or a lesser one than is known.
    Older,
    /// The winner stayed, and the other is its rival now.
    RivalNoted,
    /// The other is the winner now; see [`Held::rival`] for whether it is contested.
    Newer,
    /// Nothing: the same key, claimed by another identity.
    OtherClaimant,
    /// Nothing: a record of another key.
    OtherKey,
}

impl Merged {
    /// Whether what is held is another than before.
    pub fn changed(self) -> bool {
        matches!(self, Merged::Newer | Merged::RivalNoted)
    }
}

impl Held {
    /// Begins with one valid record.
    pub fn new(record: Arc<Record>) -> Self {
        Self { record, rival: None }
    }

    /// Begins with what a copy holds: a valid record and, if there is one, its rival.
    pub fn of(record: Arc<Record>, rival: Option<Arc<Record>>) -> Self {
        let mut held = Self::new(record);
        if let Some(rival) = rival {
            held.merge(rival);
        }
        held
    }

    /// The winner.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The greatest record that proves a conflict with the winner.
    pub fn rival(&self) -> Option<&Arc<Record>> {
        self.rival.as_ref()
    }

    /// How winner and rival contradict each other.
    pub fn conflict(&self) -> Option<Conflict> {
        self.rival.as_ref().and_then(|rival| conflict(&self.record, rival))
    }

    /// Both, the winner first.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        std::iter::once(&self.record).chain(&self.rival)
    }

    /// Takes in one more record. The caller has verified it: order and conflict mean nothing between invalid ones.
    pub fn merge(&mut self, other: Arc<Record>) -> Merged {
        if Arc::ptr_eq(&self.record, &other) {
            return Merged::Same;
        }
        if other.key() != self.record.key() {
            return Merged::OtherKey;
        }
        if other.guid() != self.record.guid() {
            return Merged::OtherClaimant;
        }
        match other.cmp_rank(&self.record) {
            Ordering::Equal => Merged::Same,
            Ordering::Greater => {
                let beaten = std::mem::replace(&mut self.record, other);
                let rival = self.rival.take();
                self.offer(beaten);
                if let Some(rival) = rival {
                    self.offer(rival);
                }
                Merged::Newer
            }
            Ordering::Less => self.offer(other),
        }
    }

    /// Takes in what another node holds. The caller has verified both of its records.
    pub fn merge_held(&mut self, other: &Held) -> Merged {
        let mut result = self.merge(other.record.clone());
        if let Some(rival) = &other.rival {
            match (result, self.merge(rival.clone())) {
                (Merged::Newer, _) | (_, Merged::Newer) => result = Merged::Newer,
                (_, Merged::RivalNoted) => result = Merged::RivalNoted,
                _ => {}
            }
        }
        result
    }

    /// Takes a lesser record as the rival if it is in conflict with the winner, more gravely than the present rival or
    /// as gravely and greater.
    fn offer(&mut self, candidate: Arc<Record>) -> Merged {
        if self.rival.as_ref() == Some(&candidate) {
            return Merged::Same;
        }
        let Some(kind) = conflict(&self.record, &candidate) else { return Merged::Older };
        if let (Some(rival), Some(known)) = (&self.rival, self.conflict())
            && kind.cmp(&known).then_with(|| candidate.cmp_rank(rival)).is_lt()
        {
            return Merged::Older;
        }
        self.rival = Some(candidate);
        Merged::RivalNoted
    }
}
