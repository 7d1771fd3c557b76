//! Whose a claimed text is, for a node that is new to the range, or to a place in it: what most of its fellow holders keep.
//!
//! What it hears first means nothing, since it was not there when the text was claimed. So while it compares, claims are
//! not taken: what a fellow lists is its vote. When all have been compared with, each claim that somebody voted for is
//! fetched once; whoever does not hand over what it listed is passed over for another voter. Then the votes are counted.

use super::Comparisons;
use crate::ballot::Ballot;
use crate::contact::Contact;
use crate::id::{Grid, Id, Key, Kind};
use crate::message::{Brief, Copy};
use crate::record::Held;
use crate::state::core::Core;
use crate::store::StoredRecord;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What fellow holders keep of the claims that this node comes to hold.
#[derive(Debug, Default)]
pub(super) struct ClaimVotes {
    votes: BTreeMap<Key, Votes>,
    /// To which claims this node is new since somebody was lost: worked out once a round, since it costs several views.
    is_new: BTreeMap<Key, bool>,
}

/// The votes on one claim.
#[derive(Debug)]
struct Votes {
    /// How far its holders reach: who lies farther away has no vote.
    reach: u64,
    cast: Vec<Vote>,
}

#[derive(Debug)]
struct Vote {
    fellow: Arc<Contact>,
    /// The name of what it keeps, as in [`Brief`].
    hash: u64,
    copy: Option<Copy>,
    /// Whether it was asked for that.
    is_asked: bool,
}

impl ClaimVotes {
    pub(super) fn is_empty(&self) -> bool {
        self.votes.is_empty()
    }

    fn note(&mut self, fellow: &Arc<Contact>, brief: &Brief) {
        let Some(Votes { reach, cast: votes }) = self.votes.get_mut(&brief.key) else { return };
        let is_holder = brief.key.id.prefix() ^ fellow.grid().0.prefix() <= *reach;
        if is_holder && !votes.iter().any(|vote| vote.fellow.grid() == fellow.grid()) {
            votes.push(Vote { fellow: fellow.clone(), hash: brief.hash, copy: None, is_asked: false });
        }
    }

    /// A voter handed over what it keeps, which may be something newer than it has listed.
    fn hear(&mut self, fellow: &Grid, copy: &Copy) {
        let votes = self.votes.get_mut(&copy.record.key());
        if let Some(vote) = votes.and_then(|votes| votes.cast.iter_mut().find(|vote| vote.fellow.grid() == *fellow)) {
            let held = Held::of(copy.record.clone(), copy.rival.clone());
            (vote.hash, vote.copy) =
                (Brief::of(copy.record.key(), held.record(), held.rival()).hash, Some(copy.clone()));
        }
    }

    /// Whom to ask for what next: one voter for each claim that nobody has handed over yet.
    fn next_fetches(&mut self) -> BTreeMap<Grid, (Arc<Contact>, Vec<Brief>)> {
        let mut fetches: BTreeMap<Grid, (Arc<Contact>, Vec<Brief>)> = BTreeMap::new();
        for (key, Votes { cast: votes, .. }) in &mut self.votes {
            let mut known: Vec<u64> = votes.iter().filter(|vote| vote.copy.is_some()).map(|vote| vote.hash).collect();
            for vote in votes.iter_mut().filter(|vote| !vote.is_asked) {
                if !known.contains(&vote.hash) {
                    known.push(vote.hash);
                    vote.is_asked = true;
                    let of_fellow = fetches.entry(vote.fellow.grid());
                    of_fellow
                        .or_insert_with(|| (vote.fellow.clone(), Vec::new()))
                        .1
                        .push(Brief { key: *key, hash: vote.hash });
                }
            }
        }
        fetches
    }
}

/// What most voters keep. A vote for something that nobody has handed over counts for nothing.
fn count(key: &Key, mut votes: Vec<Vote>) -> Option<Copy> {
    votes.sort_by_key(|vote| key.id.distance(&vote.fellow.grid().0));
    let mut ballot = Ballot::default();
    let copies = || votes.iter().filter_map(|vote| vote.copy.as_ref().map(|copy| (vote.hash, copy)));
    for vote in &votes {
        if let Some((_, copy)) = copies().find(|(hash, _)| *hash == vote.hash) {
            ballot.cast(vote.fellow.group(), copy);
        }
    }
    let winner = ballot.winner()?;
    let ages = copies().filter(|(_, copy)| copy.record == *winner.record()).map(|(_, copy)| copy.age);
    Some(Copy { record: winner.record().clone(), rival: winner.rival().cloned(), age: ages.min().unwrap_or_default() })
}

impl Core {
    /// Whether this node does not take what it hears under `key`, but waits for the votes of its fellow holders.
    pub(super) fn is_voted_on(&self, votes: &mut ClaimVotes, key: &Key) -> bool {
        if key.kind != Kind::Claim {
            return false;
        }
        if self.newcomer.is_some() {
            return true;
        }
        if self.absent.is_empty() {
            return false;
        }
        if let Some(is_new) = votes.is_new.get(key) {
            return *is_new;
        }
        let is_new = self.is_new_to(key);
        if votes.is_new.len() < self.config.records_max as usize {
            votes.is_new.insert(*key, is_new);
        }
        is_new
    }

    /// Whether this node holds `key` only since somebody was lost.
    fn is_new_to(&self, key: &Key) -> bool {
        let view = self.view(&key.id, self.config.holders_of(key.kind));
        !self.standing_for(key, &view).1
    }

    /// All fellows are about to be compared with, since somebody was lost: they vote anew.
    pub(in crate::state) fn begin_votes(&self, comparisons: &mut Comparisons) {
        if self.newcomer.is_none() {
            comparisons.claims = ClaimVotes::default();
        }
    }

    /// What a fellow lists is its vote, if it is a holder.
    pub(super) fn note_votes(&self, votes: &mut ClaimVotes, fellow: &Arc<Contact>, listed: &[Brief]) {
        for brief in listed {
            let has_room = votes.votes.len() < self.config.records_max as usize;
            if !self.is_voted_on(votes, &brief.key) {
                continue;
            }
            if has_room
                && !votes.votes.contains_key(&brief.key)
                && let Some(reach) = self.reach(&brief.key)
            {
                votes.votes.insert(brief.key, Votes { reach, cast: Vec::new() });
            }
            votes.note(fellow, brief);
        }
    }

    /// A fellow has exactly what this node has in a range: it votes for that.
    pub(super) fn note_same(&self, votes: &mut ClaimVotes, fellow: &Arc<Contact>, (start, bits): (Id, u8)) {
        let listed =
            self.store.list(|key| key.id.common_bits(&start) >= u32::from(bits) && self.is_voted_on(votes, key));
        self.note_votes(votes, fellow, &listed);
    }

    /// A fellow hands over the claim that it votes for. Says whether it is valid.
    pub(super) fn note_claim(&mut self, votes: &mut ClaimVotes, fellow: &Grid, copy: &Copy) -> bool {
        let is_valid = copy.is_valid_beside(None);
        if is_valid {
            votes.hear(fellow, copy);
        } else {
            self.stats.records_invalid += 1;
        }
        is_valid
    }

    /// Asks for claims that were voted for and not seen yet. Says whether there are any.
    pub(in crate::state) fn fetch_claims(&mut self, comparisons: &mut Comparisons) -> bool {
        let fetches = comparisons.claims.next_fetches();
        let is_any = !fetches.is_empty();
        for (fellow, voted) in fetches.into_values() {
            self.fetch(comparisons, &fellow, voted);
        }
        is_any
    }

    /// All votes are in: what most fellow holders keep is kept here, too, whatever this node heard first.
    pub(in crate::state) fn count_votes(&mut self, comparisons: &mut Comparisons) {
        for (key, votes) in std::mem::take(&mut comparisons.claims).votes {
            let Some(copy) = count(&key, votes.cast) else { continue };
            let is_anothers = |stored: &StoredRecord| stored.held().record().guid() != copy.record.guid();
            if self.store.get(&key).is_some_and(is_anothers) {
                self.store.remove(&key);
                self.on_dropped(key);
            }
            self.keep(&copy);
        }
    }
}
