//! The cards that peers showed before, so that who comes back is believed without a signature to verify.

use crate::lock;
use routing_core::contact::Contact;
use std::sync::{Arc, Mutex};

/// How many are remembered at most: of those whose ids fall together the one that came last.
const CARDS: usize = 256;

#[derive(Debug)]
pub(crate) struct Cards(Mutex<Vec<Option<Arc<Contact>>>>);

impl Default for Cards {
    fn default() -> Self {
        Self(Mutex::new(vec![None; CARDS]))
    }
}

impl Cards {
    /// The card that was shown, if its key has signed it; in the place of an equal one that is remembered, that one.
    pub(crate) fn check(&self, shown: Arc<Contact>) -> Option<Arc<Contact>> {
        let index = shown.grid().0.prefix() as usize % CARDS;
        let known = lock(&self.0)[index].clone();
        if let Some(known) = known.filter(|known| *known == shown) {
            return Some(known);
        }
        if !shown.verify() {
            return None;
        }
        lock(&self.0)[index] = Some(shown.clone());
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::canonical::{from_bytes, to_bytes};
    use routing_core::key::SecretKey;

    fn read(bytes: &[u8]) -> Arc<Contact> {
        from_bytes::<Contact>(bytes).unwrap().into()
    }

    #[test]
    fn an_equal_card_is_known_again_and_one_that_was_never_valid_is_not_believed() {
        let card = to_bytes(&Contact::client(&SecretKey::from_seed([1; 32])));
        let cards = Cards::default();
        let first = cards.check(read(&card)).unwrap();
        assert!(Arc::ptr_eq(&cards.check(read(&card)).unwrap(), &first));
        let mut forged = card.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(cards.check(read(&forged)), None, "the same card with another signature");
        assert!(Arc::ptr_eq(&cards.check(read(&card)).unwrap(), &first), "the forgery has not taken its place");
        let fresh = Cards::default();
        assert_eq!(fresh.check(read(&forged)), None);
        assert_eq!(fresh.check(read(&forged)), None, "nor the second time");
    }
}
