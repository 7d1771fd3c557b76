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
//! comes back after a stop takes everything for one that was written shortly before.

use super::core::Core;
use crate::contact::Group;
use crate::holders::{Admission, Place, Tally};
use crate::id::{Grid, Key};
use crate::message::{Copy, Message, Stored};
use crate::state::requests::Pending;
use crate::time::Ticks;

/// After a stop, what is older is no stray: where a cut lasted longer than places are kept, it has been noticed, and whoever
/// meets the others again joins once more.
const AGE_MAX: Ticks = Ticks::minutes(10);

impl Core {
    /// What this node is to `key` among all that it knows, whether they answer or not, and wherever somebody may see the set
    /// widened; `None` while most of the holders cannot be reached, those who were given up included: they may be on the
    /// other side of a cut.
    fn lasting_place(&self, key: &Key) -> Option<Place> {
        let (groups, scale) = (self.config.holders_of(key.kind), self.table.scale_floor());
        let view = self.view_of(&key.id, groups, scale, |_| true);
        let distance = |grid: Grid| grid.0.prefix() ^ key.id.prefix();
        let known = view
            .others
            .iter()
            .map(|(entry, _)| (distance(entry.contact().grid()), entry.group(), entry.is_available()));
        let mut nodes: Vec<(u64, Group, bool)> = known.collect();
        nodes.push((distance(self.grid()), self.group_of(&self.contact), true));
        let farthest = nodes.iter().map(|(distance, ..)| *distance).max().unwrap_or(u64::MAX);
        let dead = self.dead.iter().map(|contact| (distance(contact.grid()), contact));
        nodes.extend(
            dead.filter(|(distance, _)| *distance < farthest)
                .map(|(distance, contact)| (distance, contact.group(), false)),
        );
        nodes.sort_unstable();
        let mut admission = Admission::new(groups, scale);
        let mut tally = Tally::default();
        for (distance, group, is_available) in nodes {
            tally.add(admission.admit(distance, group), group, is_available);
        }
        tally.is_majority().then_some(view.own_place)
    }

    /// A record was kept: notes whether its holders may not know of it.
    pub(super) fn note_stray(&mut self, copy: &Copy) {
        let key = copy.record.key();
        let is_own = copy.record.home().is_some_and(|home| self.contact.is_at(home));
        let is_held = || self.lasting_place(&key).is_some_and(|place| place != Place::Outside);
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
            match self.lasting_place(key) {
                Some(place) if is_own || place != Place::Outside => false,
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
