//! Who is where its card says: found out by dialling the address on the card, and by nothing else.
//!
//! ```text
//!   it calls ─▶ its questions are answered; it is hearsay, and speaks for no domain
//!                  │ this node has a question for it, or it announces the users of the domain on its card
//!                  ▼
//!               dialled at the address on its card ─┬─ it is there ─▶ proven: its answers and announcements count
//!                                                   └─ somebody else, or nobody ─▶ as before
//! ```
//!
//! The table keeps the proof for its contacts. Those without a place there never have to answer anything; but they may be
//! home-servers, and announce their users.

use super::core::Core;
use crate::contact::Contact;
use crate::domain::Domain;
use crate::effect::{Effect, Target};
use crate::id::{Grid, Key};
use crate::message::Compare;
use std::sync::Arc;

/// How many callers without a place in the table are remembered.
const CALLERS_MAX: usize = 1_024;
/// How many announcements wait until their servers were dialled back. More are answered as those of strangers.
const UNPROVEN_MAX: usize = 64;

/// Somebody who called and has no place in the table.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The leading 64 bits of its id: nobody else's card need be looked at to find one.
    prefix: u64,
    contact: Arc<Contact>,
    is_proven: bool,
}

impl Caller {
    fn is(&self, grid: &Grid) -> bool {
        self.prefix == grid.0.prefix() && self.contact.grid() == *grid
    }
}

/// What a server has announced that is not proven to be that server.
#[derive(Clone, Debug)]
pub(crate) enum Announcement {
    /// It wants to know whether its users' records are here; it has no answer yet.
    Asked(Compare),
    /// It has given the records under these keys, which are kept as anybody's.
    Given(Vec<Key>),
}

impl Core {
    /// Remembers who called, if the table does not.
    pub(super) fn remember_caller(&mut self, contact: &Arc<Contact>) {
        let grid = contact.grid();
        if self.table.entry(&grid).is_some() || !self.is_worth_knowing(contact) {
            return;
        }
        let known = self.callers.iter().find(|caller| caller.is(&grid));
        let is_proven = known.is_some_and(|known| known.is_proven && known.contact.address() == contact.address());
        self.remember_as_caller(contact, is_proven);
    }

    /// Remembers somebody who has no place in the table and may call, or has a link already.
    pub(super) fn remember_as_caller(&mut self, contact: &Arc<Contact>, is_proven: bool) {
        let grid = contact.grid();
        if let Some(known) = self.callers.iter().position(|caller| caller.is(&grid)) {
            self.callers.remove(known);
        } else if self.callers.len() >= CALLERS_MAX {
            self.callers.pop_front();
        }
        self.callers.push_back(Caller { prefix: grid.0.prefix(), contact: contact.clone(), is_proven });
    }

    /// A link stands to where `target` was dialled, and `contact` is there.
    pub(super) fn on_reached(&mut self, contact: &Contact, target: &Target) {
        let grid = contact.grid();
        self.table.on_reached(&grid, &target.address);
        let caller = self.callers.iter_mut().find(|caller| caller.is(&grid));
        if let Some(caller) = caller.filter(|caller| *caller.contact.address() == target.address) {
            caller.is_proven = true;
        }
        self.on_tried(target);
    }

    /// Whether the node `from` is the server `home`: its card says so, and it was there when this node dialled it.
    pub(super) fn speaks_for(&self, from: &Grid, home: &Domain) -> bool {
        self.card_of(from).is_some_and(|(contact, is_proven)| is_proven && contact.is_at(home))
    }

    /// The card of the node `from`, if it is not proven to be where that says.
    pub(super) fn claimant(&self, from: &Grid) -> Option<&Arc<Contact>> {
        self.card_of(from).filter(|(_, is_proven)| !is_proven).map(|(contact, _)| contact)
    }

    /// Dials somebody back who has announced something. Says whether that waits: not too much does.
    pub(super) fn wait_for_proof(&mut self, from: &Grid, announcement: Announcement) -> bool {
        let Some(contact) = self.claimant(from).filter(|_| self.unproven.len() < UNPROVEN_MAX) else { return false };
        let target = Target::contact(contact);
        self.unproven.push((target.clone(), announcement));
        self.effect(Effect::Request(target));
        true
    }

    /// A dial has ended: what waited for it is met by what is known now.
    pub(super) fn on_tried(&mut self, target: &Target) {
        if self.unproven.is_empty() {
            return;
        }
        let tried: Vec<_> = self.unproven.extract_if(.., |(dialled, _)| dialled == target).collect();
        for (target, announcement) in tried {
            let Some(from) = target.grid else { continue };
            match announcement {
                Announcement::Asked(compare) => self.on_announced(from, &compare),
                Announcement::Given(keys) => self.on_proven_gift(&from, &keys),
            }
        }
    }

    /// Whoever has given these records was dialled: if it is the server that they name, it has announced them.
    fn on_proven_gift(&mut self, from: &Grid, keys: &[Key]) {
        let Some(server) = self.card_of(from).filter(|(_, is_proven)| *is_proven).map(|(contact, _)| contact.clone())
        else {
            return;
        };
        let now = self.now;
        for key in keys {
            let home = self.store.get(key).and_then(|stored| stored.held().record().home());
            if home.is_some_and(|home| server.is_at(home)) {
                self.store.announce(key, now);
            }
        }
    }

    /// The newest card of a node that a link has proven, and whether it is where that says.
    fn card_of(&self, grid: &Grid) -> Option<(&Arc<Contact>, bool)> {
        if let Some(entry) = self.table.entry(grid) {
            return Some((entry.contact(), entry.is_proven()));
        }
        let caller = self.callers.iter().find(|caller| caller.is(grid))?;
        Some((&caller.contact, caller.is_proven))
    }
}
