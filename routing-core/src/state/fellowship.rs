//! How far the holders of each key reach that this node holds: who lies within holds the key, too.
//!
//! Comparing a range with one fellow after the other takes the keys that both hold. To work out a key's holders costs a
//! walk through the table, so it is done once and kept until somebody comes or goes within that distance.

use super::core::Core;
use crate::holders::Place;
use crate::id::{Grid, Id, Key, Kind};
use crate::message::Brief;
use std::collections::{BTreeMap, BTreeSet};

/// With how many it is remembered that all was the same: more than there are fellows. Anybody may ask, and strangers hold
/// nothing together with this node, which is the same for both; with whoever finds no room is compared as ever.
const AGREED_MAX: usize = 256;

/// The reach of each key's holders, as far as it was worked out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fellowship {
    /// In leading 64 bits of the distance; keys that this node is no holder of are not in it.
    reaches: BTreeMap<Key, u64>,
    /// No reach is greater.
    reach_max: u64,
    /// Keys whose reach is not known, or not any more.
    doubted: BTreeSet<Key>,
    /// Whether the keys of the store have been listed.
    is_begun: bool,
    /// How often what is held here, or who else holds it, may have changed.
    changes: u64,
    /// With whom everything was found to be the same since then, by the leading 64 bits of their ids.
    agreed: (u64, Vec<u64>),
}

impl Fellowship {
    /// The keys that share the leading `bits` of `start` and that both this node, `own`, and `peer` hold, as this node sees it, in
    /// order; of those that [`Core::find_fellows`] saw.
    fn shared_with(&self, own: Grid, peer: Grid, start: &Id, bits: u8) -> impl Iterator<Item = &Key> {
        let place = peer.0.prefix();
        // Anybody may ask, as often as it likes: who is too far away to hold anything with this node costs no walk.
        let may_share = !self.is_out_of_reach(own.0.prefix() ^ place);
        let (low, high) = start.slice(bits);
        let ranges = [Kind::User, Kind::Claim].map(|kind| Key { kind, id: low }..=Key { kind, id: high });
        let held = ranges.into_iter().filter(move |_| may_share).flat_map(|range| self.reaches.range(range));
        held.filter(move |(key, reach)| key.id.prefix() ^ place <= **reach).map(|(key, _)| key)
    }

    /// Whether whoever is so far away from this node holds none of its keys: both of a key's holders lie within its reach.
    fn is_out_of_reach(&self, distance: u64) -> bool {
        distance.leading_zeros() < self.reach_max.leading_zeros()
    }

    /// A record was kept, perhaps of a new key.
    pub(crate) fn on_kept(&mut self, key: &Key) {
        self.changes += 1;
        self.on_offered(key);
    }

    /// A record is not held any more.
    pub(super) fn on_dropped(&mut self, key: &Key) {
        self.reaches.remove(key);
        self.doubted.remove(key);
    }

    /// Somebody hands over what is held already. This node may have become a holder since it looked: who is to inherit a
    /// record has it before the leaver is gone.
    pub(crate) fn on_offered(&mut self, key: &Key) {
        if self.is_begun && !self.reaches.contains_key(key) {
            self.doubted.insert(*key);
        }
    }

    /// Somebody was met, is gone, is absent, or is back: the keys around it are doubted. `own` is this node.
    pub(crate) fn on_change(&mut self, own: &Grid, grid: &Grid) {
        let (own, prefix) = (own.0.prefix(), grid.0.prefix());
        if self.reaches.is_empty() || self.is_out_of_reach(own ^ prefix) {
            return;
        }
        self.changes += 1;
        let doubted = &mut self.doubted;
        self.reaches.retain(|key, reach| {
            let stays = key.id.prefix() ^ prefix > *reach;
            if !stays {
                doubted.insert(*key);
            }
            stays
        });
    }

    /// All is to be worked out anew.
    pub(crate) fn clear(&mut self) {
        *self = Self { changes: self.changes + 1, ..Self::default() };
    }

    /// A comparison of all that this node and `fellow` hold found the same, whichever of them asked for it.
    pub(super) fn on_agreed(&mut self, fellow: &Grid) {
        let (changes, agreed) = &mut self.agreed;
        if *changes != self.changes {
            *changes = self.changes;
            agreed.clear();
        }
        if agreed.len() < AGREED_MAX && !agreed.contains(&fellow.0.prefix()) {
            agreed.push(fellow.0.prefix());
        }
    }

    /// Whether such a comparison need not be made once more.
    pub(super) fn has_agreed(&self, fellow: &Grid) -> bool {
        let (changes, agreed) = &self.agreed;
        *changes == self.changes && agreed.contains(&fellow.0.prefix())
    }

    /// How often something has changed that may make a comparison come out otherwise: while it is the same number, what
    /// was the same is the same.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}

#[cfg(test)]
impl Fellowship {
    /// Of how many keys something is remembered.
    pub(super) fn known(&self) -> usize {
        self.reaches.len() + self.doubted.len()
    }
}

impl Core {
    /// The names of what this node holds together with `peer`, of keys that share the leading `bits` of `start`.
    pub(super) fn shared(&self, peer: Grid, start: &Id, bits: u8) -> impl Iterator<Item = Brief> {
        let keys = self.fellowship.shared_with(self.grid(), peer, start, bits);
        keys.filter_map(|key| self.store.brief(key))
    }

    /// Works out the reaches of all keys in the store for which they are not known.
    pub(super) fn find_fellows(&mut self) {
        let mut fellowship = std::mem::take(&mut self.fellowship);
        if !fellowship.is_begun {
            fellowship.is_begun = true;
            fellowship.doubted = self.store.iter().map(|(key, _)| *key).collect();
        }
        for key in std::mem::take(&mut fellowship.doubted) {
            let Some(reach) = self.store.get(&key).and_then(|_| self.reach(&key)) else { continue };
            fellowship.reach_max = fellowship.reach_max.max(reach);
            fellowship.reaches.insert(key, reach);
        }
        self.fellowship = fellowship;
    }

    /// How far the holders of `key` reach, if this node is one of them, in leading 64 bits of the distance.
    pub(super) fn reach(&self, key: &Key) -> Option<u64> {
        let view = self.duty(&key.id, self.config.holders_of(key.kind));
        if view.own_place == Place::Outside {
            return None;
        }
        let place = key.id.prefix();
        let farthest = view.others.last().map_or(0, |(entry, _)| entry.prefix() ^ place);
        Some(if view.is_full { farthest.max(self.grid().0.prefix() ^ place) } else { u64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{id, rng};

    #[test]
    fn however_many_ask_no_more_are_remembered_than_there_is_room_for_and_none_once_something_has_changed() {
        let (mut fellowship, mut rng) = (Fellowship::default(), rng(1));
        let fellow = Grid(id(&mut rng));
        fellowship.on_agreed(&fellow);
        (0..1_000).for_each(|_| fellowship.on_agreed(&Grid(id(&mut rng))));
        assert!(fellowship.has_agreed(&fellow));
        assert_eq!(fellowship.agreed.1.len(), AGREED_MAX);
        fellowship.clear();
        assert!(!fellowship.has_agreed(&fellow));
    }

    #[test]
    fn what_is_held_together_with_a_peer_is_what_lies_within_the_reach_of_both_whoever_asks() {
        let mut rng = rng(2);
        let own = Grid(id(&mut rng));
        let mut fellowship = Fellowship::default();
        for number in 0..2_000 {
            // Keys around this node, each of which it holds by its own reach.
            let key = crate::testing::id_near(&mut rng, &own.0, 4 + number % 8);
            let reach = (key.prefix() ^ own.0.prefix()) * (1 + u64::from(number) % 3);
            fellowship.reach_max = fellowship.reach_max.max(reach);
            let kind = if number % 5 == 0 { Kind::Claim } else { Kind::User };
            fellowship.reaches.insert(Key { kind, id: key }, reach);
        }
        let mut shared = 0;
        for round in 0..200 {
            let peer = Grid(crate::testing::id_near(&mut rng, &own.0, round % 12));
            let (start, bits) = (crate::testing::id_near(&mut rng, &own.0, round % 7), (round % 9) as u8);
            let is_shared = |(key, reach): &(&Key, &u64)| {
                key.id.common_bits(&start) >= u32::from(bits) && key.id.prefix() ^ peer.0.prefix() <= **reach
            };
            let expected: Vec<&Key> = fellowship.reaches.iter().filter(is_shared).map(|(key, _)| key).collect();
            let found: Vec<&Key> = fellowship.shared_with(own, peer, &start, bits).collect();
            assert_eq!(found, expected);
            shared += found.len();
        }
        assert!(shared > 1_000);
    }
}
