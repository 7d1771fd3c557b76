//! Records that are kept here in place of their holders, and handed on once these are back: hinted handoff.
//!
//! ```text
//!   a record comes, and this node is none of its holders, or most of these cannot be reached
//!     -> a stray: most of its holders may never have heard of it
//!   most of them can be reached again
//!     -> one of them: comparing brings it to the others
//!     -> none of them: the two nearest are asked whether they have it, and given it if not, until one of them has it
//! ```
//!
//! What a server announces for its own users is none: it sees to that itself.

use super::compare::HEIRS;
use super::core::Core;
use crate::contact::{Contact, Group};
use crate::effect::Effect;
use crate::holders::{Admission, Place, Tally};
use crate::id::{Grid, Key};
use crate::message::{Compare, Compared, Copy, Difference, Message, Range, Stored};
use crate::state::requests::{Pending, Purpose};
use crate::store::digest;
use std::sync::Arc;

/// How many are looked at in one turn, each of which may cost two questions and two records: anybody can write what this node does not
/// hold.
const STRAYS_AT_ONCE: usize = 64;

impl Core {
    /// What this node is to `key` among all that it knows, whether they answer or not, and wherever somebody may see the set
    /// widened; `None` while most of the holders cannot be reached, those who were given up included: they may be on the
    /// other side of a cut; and while this node is new, and may not know who they are.
    fn lasting_place(&self, key: &Key) -> Option<Place> {
        if self.newcomer.is_some() {
            return None;
        }
        let (groups, scale) = (self.config.holders_of(key.kind), self.table.scale_floor());
        let view = self.view_of(&key.id, groups, scale, |_| true);
        let distance = |grid: Grid| grid.0.prefix() ^ key.id.prefix();
        let known = view
            .others
            .iter()
            .map(|(entry, _)| (distance(entry.contact().grid()), entry.group(), entry.is_available()));
        let mut nodes: Vec<(u64, Group, bool)> = known.collect();
        nodes.push((distance(self.grid()), self.contact.group(), true));
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
            self.mark(key, true);
        }
    }

    pub(super) fn mark(&mut self, key: Key, is_stray: bool) {
        let is_changed = if is_stray { self.strays.insert(key) } else { self.strays.remove(&key) };
        if is_changed {
            self.effect(Effect::Stray(key, is_stray));
        }
    }

    /// Gives the next few strays from `from` on to their holders, if most of these can be reached. Says from which on it has to
    /// go on.
    pub(super) fn hand_over_strays(&mut self, from: Key) -> Option<Key> {
        let mut homeless = Vec::new();
        let mut following = self.strays.range(from..).copied();
        let due: Vec<Key> = following.by_ref().take(STRAYS_AT_ONCE).collect();
        let next = following.next();
        for key in due {
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
        for key in homeless {
            let Some(brief) = self.store.brief(&key) else { continue };
            let view = self.view(&key.id, self.config.holders_of(key.kind));
            let holders = view.others.iter().take(HEIRS).map(|(holder, _)| holder.contact().clone());
            let holders: Vec<Arc<Contact>> = holders.collect();
            drop(view);
            let range =
                Arc::new(Range { start: key.id, bits: u8::MAX, digest: digest([brief].into_iter()), users: None });
            for holder in holders {
                let range = range.clone();
                self.ask(&holder, false, Purpose::Stray(key), 0, |id| Message::Compare(Compare { id, range }));
            }
        }
        next
    }

    /// A holder says whether it has this: if not, or something else, it is given it.
    pub(super) fn on_stray_compared(&mut self, holder: &Arc<Contact>, key: Key, compared: &Compared) {
        match compared.difference {
            Difference::Same => self.on_known_to(&holder.grid(), key),
            Difference::Listing(_) | Difference::Split(_) => self.hand_over(holder, vec![key]),
        }
    }

    /// Somebody was handed records, and has answered: it knows them now, or greater ones.
    pub(super) fn on_handed_over_to(&mut self, pending: &Pending, stored: &Stored) {
        let Message::Store(store) = &pending.request else { return };
        for item in store.items.iter().take(stored.results.len()) {
            let key = item.copy.record.key();
            let is_newest = |held: &crate::store::StoredRecord| *held.held().record() == item.copy.record;
            if self.store.get(&key).is_none_or(is_newest) {
                self.on_known_to(&pending.peer.grid(), key);
            }
        }
    }

    /// Somebody has what is kept here. That is the end of a stray if it is one of the holders, and most of them can be
    /// reached: in a part of a network that is cut, others stand in for them.
    fn on_known_to(&mut self, peer: &Grid, key: Key) {
        let is_holder = || {
            let view = self.view(&key.id, self.config.holders_of(key.kind));
            view.others.iter().any(|(entry, _)| entry.contact().grid() == *peer)
        };
        if self.strays.contains(&key) && self.lasting_place(&key).is_some() && is_holder() {
            self.mark(key, false);
        }
    }

    /// Whether this one, which is no holder of `key`, may have what no holder has.
    pub(super) fn is_stray(&self, key: &Key) -> bool {
        self.strays.contains(key)
    }
}
