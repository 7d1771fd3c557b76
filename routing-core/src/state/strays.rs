//! Records that are kept here in place of their holders, and handed on once these are back: hinted handoff.
//!
//! ```text
//!   a record comes, and this node is none of its holders, or most of these cannot be reached
//!     -> a stray: most of its holders may never have heard of it
//!   most of them can be reached again
//!     -> one of them: comparing brings it to the others
//!     -> none of them: the two nearest are given it, until one of them has answered
//! ```
//!
//! What a server announces for its own users is none: it sees to that itself. What was a stray is not written down, so who
//! comes back after a stop takes everything for one that may not have been announced since it was written.

use super::core::{Core, View};
use crate::holders::Place;
use crate::id::Key;
use crate::message::{Copy, Message, Stored};
use crate::state::requests::Pending;
use crate::time::Ticks;

/// What is older has been announced to its holders since.
const AGE_MAX: Ticks = Ticks::hours(24);

impl Core {
    /// The holders of `key` among all that are known, whether they answer or not; `None` if most of them do not.
    fn reachable_holders(&self, key: &Key) -> Option<View<'_>> {
        self.with_places_kept(&key.id, self.config.holders_of(key.kind), self.scale(), |_| true)
    }

    /// A record was kept: notes whether its holders may not know of it.
    pub(super) fn note_stray(&mut self, copy: &Copy) {
        let key = copy.record.key();
        let is_own = copy.record.home().is_some_and(|home| self.contact.is_at(home));
        let is_held = || self.reachable_holders(&key).is_some_and(|holders| holders.own_place != Place::Outside);
        if !is_own && !is_held() {
            self.strays.insert(key);
        }
    }

    /// After a stop nobody knows which were strays.
    pub(super) fn restore_strays(&mut self, copies: &[Copy]) {
        let young = copies.iter().filter(|copy| copy.age < AGE_MAX).map(|copy| copy.record.key());
        self.strays.extend(young);
    }

    /// Gives each stray to its holders, if most of them can be reached.
    pub(super) fn hand_over_strays(&mut self) {
        let mut homeless = Vec::new();
        let mut strays = std::mem::take(&mut self.strays);
        strays.retain(|key| {
            let Some(stored) = self.store.get(key) else { return false };
            let is_own = stored.held().record().home().is_some_and(|home| self.contact.is_at(home));
            match self.reachable_holders(key) {
                Some(holders) if is_own || holders.own_place != Place::Outside => false,
                Some(_) => {
                    homeless.push(*key);
                    true
                }
                None => true,
            }
        });
        self.strays = strays;
        self.hand_over_to_holders(homeless);
    }

    /// Somebody was handed records, and has answered: it knows them now, or greater ones.
    pub(super) fn on_handed_over_to(&mut self, pending: &Pending, stored: &Stored) {
        let Message::Store(store) = &pending.request else { return };
        for item in store.items.iter().take(stored.results.len()) {
            let key = item.copy.record.key();
            let is_newest = |held: &crate::store::StoredRecord| *held.held().record() == item.copy.record;
            if self.store.get(&key).is_none_or(is_newest) {
                self.strays.remove(&key);
            }
        }
    }

    /// Whether this one, which is no holder of `key`, may have what no holder has.
    pub(super) fn is_stray(&self, key: &Key) -> bool {
        self.strays.contains(key)
    }
}
