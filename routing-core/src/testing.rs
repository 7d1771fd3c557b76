//! What the tests of several modules share: many ids and contacts, without the cost of signing them.

use crate::contact::{Contact, Group};
use crate::id::{Grid, Id};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

pub(crate) fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

pub(crate) fn id(rng: &mut Xoshiro256PlusPlus) -> Id {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    Id(bytes)
}

/// A random id that shares exactly the leading `bits` of `place`.
pub(crate) fn id_near(rng: &mut Xoshiro256PlusPlus, place: &Id, bits: u32) -> Id {
    let tail = id(rng);
    let mut near = *place;
    for index in bits + 1..256 {
        if (tail.0[(index / 8) as usize] ^ near.0[(index / 8) as usize]) & (0x80 >> (index % 8)) != 0 {
            near = near.flip(index);
        }
    }
    near.flip(bits)
}

pub(crate) fn below(rng: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    (rng.next_u64() % bound as u64) as usize
}

pub(crate) fn shuffle<T>(rng: &mut Xoshiro256PlusPlus, elements: &mut [T]) {
    for index in (1..elements.len()).rev() {
        elements.swap(index, below(rng, index + 1));
    }
}

/// A contact in a group of its own.
pub(crate) fn contact(id: Id) -> Arc<Contact> {
    contact_of(id, Group::alone(&Grid(id)))
}

pub(crate) fn contact_of(id: Id, group: Group) -> Arc<Contact> {
    Arc::new(Contact::of_test(Grid(id), group))
}

/// So many contacts at random places, each in a group of its own.
pub(crate) fn contacts(rng: &mut Xoshiro256PlusPlus, count: usize) -> Vec<Arc<Contact>> {
    (0..count).map(|_| contact(id(rng))).collect()
}
