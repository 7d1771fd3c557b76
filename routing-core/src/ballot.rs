//! Whose a claimed text is, by the word of those who hold it. Here, and only here, holders vote.
//!
//! A user's record proves itself; that a claim came first does not. So what most holders keep is the answer, each group
//! having one vote, and under two thirds nobody's word is enough.

use crate::contact::Group;
use crate::message::Copy;
use crate::record::{Held, Record};
use std::cmp::Reverse;
use std::sync::Arc;

/// One claimant's part of a vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The claimant's greatest claim.
    pub record: Arc<Record>,
    /// How many groups of holders keep this claimant's.
    pub groups: usize,
}

/// The claims to one key, and who keeps which. Copies are verified before they are told.
#[derive(Clone, Debug, Default)]
pub struct Ballot {
    /// In the order in which they were first heard of.
    claimants: Vec<(Held, usize)>,
    voters: Vec<Group>,
}

impl Ballot {
    /// What a holder of this group keeps. Of a group whose nodes disagree the first told counts.
    pub fn cast(&mut self, group: Group, copy: &Copy) {
        let has_voted = self.voters.contains(&group);
        if !has_voted {
            self.voters.push(group);
        }
        let (_, votes) = self.claimant(copy);
        *votes += usize::from(!has_voted);
    }

    /// What somebody keeps whose word does not count.
    pub fn hear(&mut self, copy: &Copy) {
        self.claimant(copy);
    }

    fn claimant(&mut self, copy: &Copy) -> &mut (Held, usize) {
        let heard = Held::of(copy.record.clone(), copy.rival.clone());
        let known = self.claimants.iter().position(|(held, _)| held.record().guid() == copy.record.guid());
        let index = known.unwrap_or(self.claimants.len());
        match known {
            Some(index) => {
                self.claimants[index].0.merge_held(&heard);
            }
            None => self.claimants.push((heard, 0)),
        }
        &mut self.claimants[index]
    }

    /// Whose claim most groups keep; of several the one with the smaller [`Record::claim_hash`].
    pub fn winner(&self) -> Option<&Held> {
        self.ranked().first().map(|(held, _)| held)
    }

    /// Each claimant's part, most votes first.
    pub fn votes(&self) -> Vec<Vote> {
        self.ranked().iter().map(|(held, groups)| Vote { record: held.record().clone(), groups: *groups }).collect()
    }

    /// Whether some have voted, and fewer than two thirds of them for the winner.
    pub fn is_contested(&self) -> bool {
        self.ranked().first().is_some_and(|(_, votes)| votes * 3 < self.voters.len() * 2)
    }

    fn ranked(&self) -> Vec<&(Held, usize)> {
        let mut ranked: Vec<_> = self.claimants.iter().collect();
        ranked.sort_by_cached_key(|(held, votes)| (Reverse(*votes), held.record().claim_hash()));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::time::Ticks;

    fn claim(seed: u8) -> Copy {
        let record = Account::new([seed; 32], None, [0; 16]).claim_name("ann", 0).unwrap();
        Copy { record: Arc::new(record), rival: None, age: Ticks(0) }
    }

    fn counts(ballot: &Ballot) -> Vec<usize> {
        ballot.votes().iter().map(|vote| vote.groups).collect()
    }

    #[test]
    fn an_operator_with_many_nodes_has_one_vote() {
        let (ann, bob) = (claim(1), claim(2));
        let mut ballot = Ballot::default();
        for (group, copy) in [(1, &ann), (2, &ann), (7, &bob), (7, &bob), (7, &ann)] {
            ballot.cast(Group(group), copy);
        }
        assert_eq!(ballot.winner().unwrap().record(), &ann.record);
        assert_eq!((counts(&ballot), ballot.is_contested()), (vec![2, 1], false));
    }

    #[test]
    fn under_two_thirds_a_text_is_contested() {
        let (ann, bob) = (claim(1), claim(2));
        let mut ballot = Ballot::default();
        assert!(!ballot.is_contested() && ballot.winner().is_none());
        for group in 0..3 {
            ballot.cast(Group(group), &ann);
        }
        ballot.cast(Group(10), &bob);
        assert!(!ballot.is_contested());
        ballot.cast(Group(11), &bob);
        assert_eq!((counts(&ballot), ballot.is_contested()), (vec![3, 2], true));
    }

    #[test]
    fn who_does_not_count_is_heard_and_has_no_vote() {
        let (ann, bob) = (claim(1), claim(2));
        let mut ballot = Ballot::default();
        ballot.hear(&bob);
        assert_eq!((counts(&ballot), ballot.is_contested()), (vec![0], false));
        ballot.cast(Group(1), &ann);
        assert_eq!(ballot.winner().unwrap().record(), &ann.record);
        assert_eq!((counts(&ballot), ballot.is_contested()), (vec![1, 0], false));
    }

    #[test]
    fn versions_of_one_claimant_are_one_candidate_and_the_greatest_is_presented() {
        let mut account = Account::new([1; 32], None, [0; 16]);
        let mut claim = || {
            let record = Arc::new(account.claim_name("ann", 0).unwrap());
            Copy { record, rival: None, age: Ticks(0) }
        };
        let (old, new) = (claim(), claim());
        let mut ballot = Ballot::default();
        ballot.cast(Group(1), &new);
        ballot.cast(Group(2), &old);
        assert_eq!(ballot.votes(), [Vote { record: new.record, groups: 2 }]);
    }
}
