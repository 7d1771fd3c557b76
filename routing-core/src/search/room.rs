//! Who stays a candidate where there are more than a search remembers.

use super::Candidate;
use crate::contact::Group;
use std::collections::BTreeMap;

/// How many candidates may be of one group once room is needed: the ids of one operator, who has one vote however many
/// they are, must not crowd out the other holders.
pub(super) const CANDIDATES_OF_ONE_GROUP: usize = 16;
/// How many candidates are kept though others are nearer, the same number for each [`Source`]: inventions cost nothing and may all
/// be nearer than the holders. The 128 others are left to the nearest of all: twice as many as the holders that most searches
/// are for.
const CANDIDATES_RESERVED: usize = 256;

/// How many candidates each group has. Kept because looking at them all for each one too many, of whom an answer may name
/// thousands, costs more than the whole rest of a search.
#[derive(Clone, Default, Debug)]
pub(super) struct Crowd {
    of_group: BTreeMap<Group, usize>,
    /// How many are beyond the share of their group.
    pub(super) surplus: usize,
}

impl Crowd {
    pub(super) fn of<A>(candidates: &[Candidate<A>]) -> Self {
        let mut crowd = Self::default();
        candidates.iter().for_each(|candidate| crowd.add(candidate.contact.group()));
        crowd
    }

    pub(super) fn add(&mut self, group: Group) {
        let count = self.of_group.entry(group).or_default();
        *count += 1;
        self.surplus += usize::from(*count > CANDIDATES_OF_ONE_GROUP);
    }

    pub(super) fn remove(&mut self, group: Group) {
        if let Some(count) = self.of_group.get_mut(&group) {
            self.surplus -= usize::from(*count > CANDIDATES_OF_ONE_GROUP);
            *count -= 1;
            if *count == 0 {
                self.of_group.remove(&group);
            }
        }
    }

    /// Whether one more of this group, farther than all others, would be the one to drop.
    pub(super) fn has_no_room_at_the_end(&self, group: Group) -> bool {
        let count = self.of_group.get(&group).copied().unwrap_or(0);
        self.surplus == 0 || count >= CANDIDATES_OF_ONE_GROUP
    }
}

/// From where a candidate is known: 0 if the asker knows it by itself, else a number for each guide, and another one for each
/// way beyond its guide. There one of the liar's friends may be met, whose inventions must not cost what an honest guide said.
pub(super) type Source = usize;
const SOURCES: usize = 1 + 2 * u32::BITS as usize;

/// Says of candidates, nearest first, for whom room is reserved: for the nearest of each source. Ids of one group beyond its
/// share have none, and count for none: a liar may say of its inventions that they are of an honest holder's group, so that
/// each source counts by itself.
pub(super) struct Reserve {
    /// How many there may be of one source, and how many there are of each.
    share: usize,
    taken: [usize; SOURCES],
    /// How many of each source are of which group, where some group has more than its share.
    of_group: Option<BTreeMap<(Source, Group), usize>>,
}

impl Reserve {
    pub(super) fn new(ways: usize, counts_groups: bool) -> Self {
        let share = CANDIDATES_RESERVED / (1 + 2 * ways.min(u32::BITS as usize));
        Self { share, taken: [0; SOURCES], of_group: counts_groups.then(BTreeMap::new) }
    }

    pub(super) fn has_room<A>(&mut self, candidate: &Candidate<A>) -> bool {
        let mut has_room = false;
        for source in candidate.sources() {
            if let Some(of_group) = &mut self.of_group {
                let count = of_group.entry((source, candidate.contact.group())).or_default();
                *count += 1;
                if *count > CANDIDATES_OF_ONE_GROUP {
                    continue;
                }
            }
            has_room |= self.taken[source] < self.share;
            self.taken[source] += 1;
        }
        has_room
    }
}

/// In which order candidates are dropped, the last first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    OneTooManyOfItsGroup,
    Usual,
    Reserved,
    Engaged,
}
