//! What is true: the oracle sees all nodes at once.
//!
//! It knows the true holders of a key exactly: the living nodes nearest to it until k groups are among them. It finds
//! them by walking the sorted ids; its own test compares that with brute force.

use crate::network::NodeIndex;
use routing_core::contact::{Contact, Group};
use routing_core::holders::{Admission, Place, Scale};
use routing_core::id::Id;

/// All living nodes, by id.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    nodes: Vec<(Id, Group, NodeIndex)>,
}

impl Oracle {
    /// Of these nodes.
    pub fn new<'a>(nodes: impl Iterator<Item = (NodeIndex, &'a Contact)>) -> Self {
        let mut nodes: Vec<_> = nodes.map(|(index, contact)| (contact.grid().0, contact.group(), index)).collect();
        nodes.sort_unstable();
        Self { nodes }
    }

    /// How many nodes live.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The true holders of `key`: the nodes nearest to it until `groups` groups are among them.
    pub fn holders(&self, key: &Id, groups: u16) -> Vec<NodeIndex> {
        let mut admission = Admission::new(groups, Scale::UNKNOWN);
        let mut holders = Vec::with_capacity(groups.into());
        self.walk(0, self.nodes.len(), 0, key, &mut |node| {
            let (id, group, index) = *node;
            let is_holder = admission.admit(id.prefix() ^ key.prefix(), group) != Place::Outside;
            if is_holder {
                holders.push(index);
            }
            is_holder
        });
        holders
    }

    /// Visits `nodes[low..high]`, which share their first `bit` bits, nearest first, until `visit` says that it is
    /// enough. Of two halves that differ in the next bit, the one that shares it with the key is the nearer.
    fn walk(
        &self,
        low: usize,
        high: usize,
        bit: u32,
        key: &Id,
        visit: &mut impl FnMut(&(Id, Group, NodeIndex)) -> bool,
    ) -> bool {
        if high - low <= 1 || bit == 256 {
            return self.nodes[low..high].iter().all(visit);
        }
        let is_set = |id: &Id| id.0[(bit / 8) as usize] & (0x80 >> (bit % 8)) != 0;
        let middle = low + self.nodes[low..high].partition_point(|(id, ..)| !is_set(id));
        let (first, second) =
            if is_set(key) { ((middle, high), (low, middle)) } else { ((low, middle), (middle, high)) };
        self.walk(first.0, first.1, bit + 1, key, visit) && self.walk(second.0, second.1, bit + 1, key, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn holders_are_those_that_brute_force_finds() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let id = |rng: &mut Xoshiro256PlusPlus| {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            Id(bytes)
        };
        for size in [1usize, 2, 3, 17, 400] {
            let mut nodes: Vec<(Id, Group, NodeIndex)> =
                (0..size).map(|index| (id(&mut rng), Group(index as u32 % 90), NodeIndex(index as u32))).collect();
            nodes.sort_unstable();
            let oracle = Oracle { nodes: nodes.clone() };
            for _ in 0..200 {
                let key = id(&mut rng);
                let mut sorted = nodes.clone();
                sorted.sort_by_key(|(node, ..)| key.distance(node));
                let mut groups = Vec::new();
                let mut expected = Vec::new();
                for (_, group, index) in sorted {
                    if groups.len() == 16 {
                        break;
                    }
                    expected.push(index);
                    if !groups.contains(&group) {
                        groups.push(group);
                    }
                }
                assert_eq!(oracle.holders(&key, 16), expected);
            }
        }
    }
}
