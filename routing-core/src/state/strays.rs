//! Records that are kept here in place of their holders, and handed on once these are back: hinted handoff.
//!
//! ```text
//!   a record comes, and this node stands in for one of its holders, or most of these cannot be reached
//!     -> a stray: most of its holders may never have heard of it
//!   most of them can be reached again
//!     -> one of them: comparing brings it to the others
//!     -> none of them: the two nearest are given it, until one of them has answered
//! ```
//!
//! What a server announces for its own users is none: it sees to that itself.

use super::core::Core;
use crate::contact::Group;
use crate::effect::Effect;
use crate::holders::{Admission, Place, Tally};
use crate::id::{Grid, Key};
use crate::message::{Copy, Message, Stored};
use crate::state::requests::Pending;

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
        let is_stray = match self.lasting_place(&key) {
            // Whoever gives this node what it would not hold in anybody's place is mistaken, and gives it to others, too.
            Some(Place::Outside) => self.is_holder_of(&key),
            Some(_) => false,
            None => true,
        };
        if !is_own && is_stray {
            self.mark(key, true);
        }
    }

    fn mark(&mut self, key: Key, is_stray: bool) {
        let is_changed = if is_stray { self.strays.insert(key) } else { self.strays.remove(&key) };
        if is_changed {
            self.effect(Effect::Stray(key, is_stray));
        }
    }

    /// Gives each stray to its holders, if most of them can be reached.
    pub(super) fn hand_over_strays(&mut self) {
        let mut homeless = Vec::new();
        for key in self.strays.clone() {
            let Some(stored) = self.store.get(&key) else {
                self.mark(key, false);
                continue;
            };
            let is_own = stored.held().record().home().is_some_and(|home| self.contact.is_at(home));
            match self.lasting_place(&key) {
                Some(place) if is_own || place != Place::Outside => self.mark(key, false),
                Some(_) => homeless.push(key),
                None => {}
            }
        }
        self.hand_over_to_holders(homeless);
    }

    /// Somebody was handed records, and has answered: it knows them now, or greater ones.
    pub(super) fn on_handed_over_to(&mut self, pending: &Pending, stored: &Stored) {
        let Message::Store(store) = &pending.request else { return };
        for item in store.items.iter().take(stored.results.len()) {
            let key = item.copy.record.key();
            let is_newest = |held: &crate::store::StoredRecord| *held.held().record() == item.copy.record;
            if self.store.get(&key).is_none_or(is_newest) {
                self.mark(key, false);
            }
        }
    }

    /// Whether this one, which is no holder of `key`, may have what no holder has.
    pub(super) fn is_stray(&self, key: &Key) -> bool {
        self.strays.contains(key)
    }
}
