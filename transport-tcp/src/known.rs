//! The addresses at which a dial has found somebody, so that these go on being found whatever strangers say.
//!
//! Anybody can sign cards with addresses that never answer, and each such dial takes its place for ten seconds. Therefore dials
//! to addresses that only a card names have a share of all places. What an operator or a record names is no stranger's.

use routing_core::contact::Address;
use routing_core::effect::Target;
use std::collections::{BTreeMap, HashMap};

/// How many addresses are remembered: some times as many as a node has links. Those found longest ago go first.
const KNOWN_MAX: usize = 4_096;

/// Of `places` for dials so many as strangers may have: half.
pub(crate) fn share(places: u32) -> usize {
    (places / 2).max(1) as usize
}

#[derive(Default, Debug)]
pub(crate) struct Known {
    /// With the number of the find that was the last there.
    addresses: HashMap<Address, u64>,
    by_find: BTreeMap<u64, Address>,
    finds: u64,
}

impl Known {
    /// Somebody was found at `address`.
    pub(crate) fn find(&mut self, address: &Address) {
        self.finds += 1;
        if let Some(before) = self.addresses.insert(address.clone(), self.finds) {
            self.by_find.remove(&before);
        }
        self.by_find.insert(self.finds, address.clone());
        if self.by_find.len() > KNOWN_MAX
            && let Some((_, oldest)) = self.by_find.pop_first()
        {
            self.addresses.remove(&oldest);
        }
    }

    /// Whether nothing but a card says that somebody is there.
    pub(crate) fn is_stranger(&self, target: &Target) -> bool {
        target.grid.is_some() && !self.addresses.contains_key(&target.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::id::{Grid, Id};

    fn target(number: usize) -> Target {
        Target { grid: Some(Grid(Id([1; 32]))), address: format!("{number}.example").parse().unwrap() }
    }

    #[test]
    fn who_is_found_again_and_again_is_no_stranger_however_many_others_are_found() {
        let mut known = Known::default();
        assert!(known.is_stranger(&target(0)));
        assert!(!known.is_stranger(&Target::address(target(0).address)), "an entry point");
        for number in 0..3 * KNOWN_MAX {
            known.find(&target(number).address);
            known.find(&target(0).address);
            assert!(known.addresses.len() <= KNOWN_MAX && known.by_find.len() == known.addresses.len());
        }
        assert!(!known.is_stranger(&target(0)) && !known.is_stranger(&target(3 * KNOWN_MAX - 1)));
        assert!(known.is_stranger(&target(1)));
    }
}
