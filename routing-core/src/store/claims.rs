//! Whose a claimed text is: who was heard first, unless somebody else was heard almost as soon.
//!
//! Two people who claim one text at the same time reach different holders first. So whoever is heard within a minute of
//! the first is compared with the first by [`Record::claim_hash`](crate::record::Record::claim_hash), which says the
//! same everywhere: all holders that hear both within that minute keep the same one. After it the text is taken, and
//! only its claimant changes it.

use crate::id::Kind;
use crate::key::Hash;
use crate::message::Copy;
use crate::time::{Tick, Ticks};

/// How long after the first claim to a text another one may still displace it.
const RIVALS_HEARD: Ticks = Ticks::minutes(1);

/// When a text was first claimed, and what it takes to displace the claimant. It stays here: it does not travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FirstHeard {
    at: Tick,
    /// The smallest hash heard in time, which is one of the present claimant's. Of all his claims, so that the order in
    /// which his versions come changes nothing.
    least: Hash,
}

impl FirstHeard {
    /// Of a claim that is the first for its key. Who passes a copy on has heard it before: `announced` is when.
    pub(super) fn of(copy: &Copy, announced: Tick) -> Option<Box<Self>> {
        let is_claim = copy.record.key().kind == Kind::Claim;
        is_claim.then(|| Box::new(Self { at: announced, least: least(copy) }))
    }

    /// The minute is over, whatever the clock says.
    pub(super) fn end(&mut self) {
        self.least = Hash([0; 32]);
    }

    /// Another claim to the key is heard. Says whether the key is its claimant's from now on.
    pub(super) fn hear(&mut self, copy: &Copy, now: Tick) -> bool {
        let is_less = now.since(self.at) <= RIVALS_HEARD && least(copy) < self.least;
        if is_less {
            self.least = least(copy);
        }
        is_less
    }
}

fn least(copy: &Copy) -> Hash {
    let rival = copy.rival.as_ref().map(|rival| rival.claim_hash());
    rival.into_iter().fold(copy.record.claim_hash(), Hash::min)
}
