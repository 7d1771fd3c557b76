//! Contacts that were given up: remembered, tried one by one, and not taken up again on anybody's word.
//!
//! ```text
//!   left four questions unanswered ─▶ dead ─┬─ answers, calls, or signs a newer card ─▶ a contact again
//!                                           └─ named by others by the card it had ──▶ ignored
//! ```
//!
//! Others give it up at other times, and until all have, some name it. Taken up each time, somebody who is gone would be
//! handed round for minutes. After a cut it is different: then those who were given up are there, and others know it.

use crate::contact::Contact;
use crate::id::Grid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many are remembered. Of more, the one that was tried or given up longest ago is forgotten.
const DEAD_MAX: usize = 1_024;

/// Who was given up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dead {
    contacts: BTreeMap<Grid, (Arc<Contact>, u32)>,
    /// The same ones, the next to be tried first.
    queue: VecDeque<Grid>,
    /// How often this node has joined once more. Who was given up before the last time may be there.
    joined: u32,
}

impl Dead {
    pub(crate) fn len(&self) -> usize {
        self.contacts.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.contacts.is_empty()
    }

    /// Somebody is given up.
    pub(crate) fn add(&mut self, contact: Arc<Contact>) {
        self.remove(&contact.grid());
        if self.queue.len() >= DEAD_MAX
            && let Some(oldest) = self.queue.pop_front()
        {
            self.contacts.remove(&oldest);
        }
        self.queue.push_back(contact.grid());
        self.contacts.insert(contact.grid(), (contact, self.joined));
    }

    /// It is there, or has left for good. Says whether it had been given up.
    pub(crate) fn remove(&mut self, grid: &Grid) -> bool {
        let is_dead = self.contacts.remove(grid).is_some();
        if is_dead {
            self.queue.retain(|dead| dead != grid);
        }
        is_dead
    }

    /// Whether this is the card of somebody who was given up, so that others who name it need not know better.
    pub(crate) fn refuses(&self, contact: &Contact) -> bool {
        let dead = self.contacts.get(&contact.grid());
        dead.is_some_and(|(dead, joined)| *joined == self.joined && contact.sequence() <= dead.sequence())
    }

    /// Those whom it refuses by the card they had.
    pub(crate) fn refused(&self) -> impl Iterator<Item = Grid> {
        self.contacts.iter().filter(|(_, (_, joined))| *joined == self.joined).map(|(grid, _)| *grid)
    }

    /// This node joins once more: whom it has given up may be there, and others may know.
    pub(crate) fn on_rejoin(&mut self) {
        self.joined = self.joined.wrapping_add(1);
    }

    /// The next to be tried, in turn.
    pub(crate) fn next(&mut self) -> Option<Arc<Contact>> {
        let grid = self.queue.pop_front()?;
        self.queue.push_back(grid);
        self.contacts.get(&grid).map(|(contact, _)| contact.clone())
    }

    /// All of them, the one to be tried last first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Contact>> {
        self.queue.iter().rev().filter_map(|grid| self.contacts.get(grid)).map(|(contact, _)| contact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Standing, Versions};
    use crate::key::SecretKey;

    fn card(number: u16, sequence: u64) -> Arc<Contact> {
        let mut seed = [7; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let address = "a.example".parse().unwrap();
        Arc::new(Contact::sign(&SecretKey::from_seed(seed), address, sequence, Standing::Here, Versions::CURRENT))
    }

    #[test]
    fn who_was_given_up_is_taken_up_by_a_newer_card_only_until_this_node_joins_once_more() {
        let mut dead = Dead::default();
        dead.add(card(1, 5));
        assert!(dead.refuses(&card(1, 5)) && dead.refuses(&card(1, 4)));
        assert!(!dead.refuses(&card(1, 6)) && !dead.refuses(&card(2, 5)));
        assert!(dead.refused().eq([card(1, 5).grid()]));
        dead.on_rejoin();
        assert!(!dead.refuses(&card(1, 5)) && dead.refused().next().is_none());
        assert_eq!(dead.next(), Some(card(1, 5)), "it is still tried");
        dead.add(card(1, 5));
        assert!(dead.refuses(&card(1, 5)), "given up once more");
        assert!(dead.remove(&card(1, 5).grid()) && !dead.refuses(&card(1, 5)));
        assert_eq!((dead.len(), dead.next()), (0, None));
    }

    #[test]
    fn each_is_tried_in_turn_and_no_more_are_remembered_than_there_is_room_for() {
        let mut dead = Dead::default();
        for number in 0..3 {
            dead.add(card(number, 0));
        }
        let tried: Vec<_> = (0..4).filter_map(|_| dead.next()).collect();
        assert_eq!(tried, [card(0, 0), card(1, 0), card(2, 0), card(0, 0)]);
        for number in 3..DEAD_MAX as u16 + 2 {
            dead.add(card(number, 0));
        }
        assert_eq!((dead.len(), dead.queue.len()), (DEAD_MAX, DEAD_MAX));
        assert!(!dead.refuses(&card(1, 0)) && !dead.refuses(&card(2, 0)) && dead.refuses(&card(0, 0)));
    }
}
