//! Which of two records of one identity wins, and whether they contradict each other.

use super::{KeyChange, Record, Signer};
use crate::canonical;
use crate::key::Hash;
use std::cmp::Ordering;

impl Record {
    /// The order of two valid records of one key and one identity; the greater wins everywhere, whoever heard it first.
    ///
    /// Compared in turn: the number of recoveries (key changes signed by a recovery key); the last of them, smaller
    /// hash first; the changes after it one by one, present over absent, then the smaller hash; the version; the
    /// signed body, smaller hash first; the signature, smaller first. It is total: `Equal` means identical.
    ///
    /// Between claims of different claimants it says nothing: there the holders vote.
    pub fn cmp_rank(&self, other: &Record) -> Ordering {
        if std::ptr::eq(self, other) {
            return Ordering::Equal;
        }
        cmp_chain(self.changes(), other.changes())
            .then_with(|| self.version().cmp(&other.version()))
            .then_with(|| if self.same_body(other) { Ordering::Equal } else { self.cmp_signed_bytes(other) })
            .then_with(|| other.signature().to_bytes().cmp(&self.signature().to_bytes()))
            // Reached only by records that are not valid; it keeps the order total for them, too.
            .then_with(|| if self == other { Ordering::Equal } else { other.hash().cmp(&self.hash()) })
    }

    /// Whether this record wins over `other`: see [`Record::cmp_rank`].
    pub fn outranks(&self, other: &Record) -> bool {
        self.cmp_rank(other) == Ordering::Greater
    }

    /// What decides between two claimants of one text who were heard within a minute: the smaller wins. BLAKE3 of the
    /// canonical bytes of the body, then those of the claimant's GUID.
    pub fn claim_hash(&self) -> Hash {
        Hash::of(&canonical::to_bytes(&(self.body(), self.guid())))
    }

    fn same_body(&self, other: &Record) -> bool {
        self.data.format == other.data.format && self.body() == other.body()
    }

    fn cmp_signed_bytes(&self, other: &Record) -> Ordering {
        Hash::of(&other.signed_bytes()).cmp(&Hash::of(&self.signed_bytes()))
    }
}

/// Records of different keys by key, then by identity; of one key and one identity by rank, so that the last is the
/// winner.
impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key()).then_with(|| self.guid().cmp(&other.guid())).then_with(|| self.cmp_rank(other))
    }
}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The part of the rank that the key changes decide.
pub(crate) fn cmp_chain(ours: &[KeyChange], theirs: &[KeyChange]) -> Ordering {
    let (ours, theirs) = (Chain::of(ours), Chain::of(theirs));
    ours.recoveries
        .cmp(&theirs.recoveries)
        .then_with(|| cmp_changes(ours.last, theirs.last))
        .then_with(|| cmp_changes(ours.later, theirs.later))
}

/// Compares one by one: present over absent, then the smaller hash.
fn cmp_changes(ours: &[KeyChange], theirs: &[KeyChange]) -> Ordering {
    match first_difference(ours, theirs) {
        Some((ours, theirs)) => theirs.hash().cmp(&ours.hash()),
        None => ours.len().cmp(&theirs.len()),
    }
}

fn first_difference<'a>(ours: &'a [KeyChange], theirs: &'a [KeyChange]) -> Option<(&'a KeyChange, &'a KeyChange)> {
    ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs)
}

/// A record's key changes as the order sees them. What came before the last recovery is named by its hash.
struct Chain<'a> {
    recoveries: usize,
    /// The last recovery: one change, or none.
    last: &'a [KeyChange],
    /// The changes after it.
    later: &'a [KeyChange],
}

impl<'a> Chain<'a> {
    fn of(changes: &'a [KeyChange]) -> Self {
        let is_recovery = |change: &KeyChange| change.by == Signer::Recovery;
        let recoveries = changes.iter().filter(|change| is_recovery(change)).count();
        match changes.iter().rposition(is_recovery) {
            Some(index) => Chain { recoveries, last: &changes[index..=index], later: &changes[index + 1..] },
            None => Chain { recoveries, last: &[], later: changes },
        }
    }
}

/// How two records of one key and one identity contradict each other: what no honest writer signs both of.
///
/// A conflict of chains is the greater one. It lasts until a recovery; one of placements ends with the next version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Conflict {
    /// Chain and version are equal, the bodies differ.
    Placement,
    /// As many recoveries, but different last ones; or different changes after the same last one.
    Chain,
}

/// Whether two valid records prove that somebody signed contradictory things. Records of different keys or identities
/// never do.
///
/// A record that merely carries more changes or a higher version than the other continues it: no conflict.
pub fn conflict(a: &Record, b: &Record) -> Option<Conflict> {
    if a.guid() != b.guid() || a.key() != b.key() {
        return None;
    }
    let (ours, theirs) = (Chain::of(a.changes()), Chain::of(b.changes()));
    if ours.recoveries != theirs.recoveries {
        return None;
    }
    if ours.last != theirs.last || first_difference(ours.later, theirs.later).is_some() {
        return Some(Conflict::Chain);
    }
    let same_state = ours.later.len() == theirs.later.len() && a.version() == b.version();
    (same_state && !a.same_body(b)).then_some(Conflict::Placement)
}
