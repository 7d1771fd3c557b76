//! What outlives a stop, and a node that comes back with it.
//!
//! ```text
//!   stopped: kept() ──▶ Kept ──▶ restore(): knows whom it knew, holds what it held, is outside
//!                                   └─▶ Operation::Join(kept.entry_points()): in again, from nobody's door but its own
//! ```
//!
//! A driver builds [`Kept`] from its own storage, out of what [`Effect`](crate::effect::Effect) told it to make durable;
//! a simulator takes it from the state of the node that stops.

use super::NodeState;
use super::core::{Core, Role};
use crate::config::NodeConfig;
use crate::contact::{Address, Contact, Standing, Versions};
use crate::effect::Target;
use crate::id::Key;
use crate::key::SecretKey;
use crate::message::Copy;
use crate::record::Record;
use crate::time::Tick;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What of a node outlives a stop, beside its key.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Kept {
    /// The sequence of the node's card: of the one it had when it stopped, or of the one it began with. A node that
    /// stops signs one more, its farewell, and may have no time to write that down.
    pub sequence: u64,
    /// Whom to begin with: the contacts of the last [`Effect::Remember`](crate::effect::Effect::Remember).
    pub contacts: Vec<Arc<Contact>>,
    /// The records held, with their rivals, and with their ages when the node stopped: age is running time.
    pub copies: Vec<Copy>,
    /// Which of them are kept in place of their holders, most of whom may never have heard of them.
    pub strays: Vec<Key>,
    /// The newest records of the users whom this server is home to, whoever holds them. What is among `copies` need not be
    /// here, too.
    pub homed: Vec<Arc<Record>>,
}

impl Kept {
    /// The remembered contacts as entry points: a node that comes back needs no others.
    pub fn entry_points(&self) -> Vec<Target> {
        self.contacts.iter().map(|contact| Target::contact(contact)).collect()
    }
}

impl NodeState {
    /// What of this node would outlive its stop now.
    pub fn kept(&self) -> Kept {
        Kept {
            sequence: self.core.contact.sequence(),
            contacts: self.core.remembered(),
            copies: self.core.store.iter().map(|(_, stored)| stored.copy(self.core.now)).collect(),
            strays: self.core.strays.iter().copied().collect(),
            homed: self.core.homed.values().cloned().collect(),
        }
    }

    /// A node that comes back at `now`: by the same key the same node, with a newer card than any before. Whom it knew
    /// has to prove itself again. It is outside until it is told to join; until it has compared its range with others,
    /// what it says of the records it holds does not count.
    ///
    /// What does not hold in `kept` is left out: storage may be damaged, or from a node with a larger store.
    pub fn restore(
        secret: Arc<SecretKey>,
        address: Address,
        config: Arc<NodeConfig>,
        seed: u64,
        kept: Kept,
        now: Tick,
    ) -> Self {
        // Beyond the farewell that may have followed the sequence that was kept.
        let sequence = kept.sequence.saturating_add(2);
        let card = Contact::sign(&secret, address, sequence, Standing::Here, Versions::CURRENT);
        let mut node = Self::with_role(Arc::new(card), config, seed, Role::Node(secret));
        let core = &mut node.core;
        core.now = now;
        core.newcomer = Some(BTreeSet::new());
        for contact in &kept.contacts {
            core.meet(contact);
        }
        for copy in &kept.copies {
            core.store.restore(copy, now);
        }
        core.strays = kept.strays.iter().filter(|key| core.store.get(key).is_some()).copied().collect();
        for record in kept.copies.iter().map(|copy| &copy.record).chain(&kept.homed) {
            core.change_home(record);
        }
        node
    }
}

impl Core {
    /// Where to begin after a stop: the own neighbourhood, as far as it can be relied upon, then those who are silent or
    /// were given up last. A part of a cut network whose nodes all restart would know nobody beyond itself otherwise, for
    /// ever.
    pub(super) fn remembered(&self) -> Vec<Arc<Contact>> {
        let count = usize::from(self.config.holders) * 4;
        let mut contacts = self.remembered_near();
        contacts.extend(self.dead.iter().take(count).cloned());
        contacts
    }

    /// The same without those who were given up.
    pub(super) fn remembered_near(&self) -> Vec<Arc<Contact>> {
        let count = usize::from(self.config.holders) * 4;
        let near = |is_available: bool| {
            let nearest = self.table.nearest(&self.grid().0).filter(move |entry| entry.is_available() == is_available);
            nearest.take(count).map(|entry| entry.contact().clone())
        };
        near(true).chain(near(false)).collect()
    }
}
