//! Telling whom to remember: where this node begins after a stop, written down before there is a stop.
//!
//! ```text
//!   the neighbourhood may have changed ─▶ few were told, or a minute has passed ─▶ others than were told ─▶ Remember
//! ```
//!
//! Whoever was given up goes with it, but is no reason to tell: they take turns at being tried, and change all the time.

use super::core::Core;
use super::{NodeState, Phase};
use crate::contact::Contact;
use crate::effect::Effect;
use crate::id::Id;
use crate::time::{Tick, Ticks};
use std::sync::Arc;

/// With fewer than this each change is told at once: who knows few depends on each.
const FEW: usize = 16;
/// How long between two times else. Of 4 k neighbours one that is still there is enough to come back, and each time is a
/// transaction on somebody's disk.
const PAUSE: Ticks = Ticks::minutes(1);

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Remembering {
    count: usize,
    /// Of the set of cards, without those who were given up; nothing while nobody was told.
    digest: Option<u64>,
    /// When others are told, if those were many.
    next: Tick,
}

impl NodeState {
    /// Tells whom to remember, if that has changed and it is time.
    pub(super) fn remember_if_due(&mut self) {
        if self.phase == Phase::Joined && (self.remembering.count < FEW || self.core.now >= self.remembering.next) {
            self.remember();
        }
    }

    /// The same at any time: before a stop there is no other.
    pub(super) fn remember(&mut self) {
        if self.upkeep.take_neighbourhood_changed() {
            self.remembering.tell(&mut self.core);
        }
    }
}

impl Remembering {
    fn tell(&mut self, core: &mut Core) {
        let near = core.remembered_near();
        let digest = (!near.is_empty()).then(|| digest(&near));
        if digest == self.digest {
            return;
        }
        let contacts = core.remembered();
        *self = Self { count: contacts.len(), digest, next: core.now + PAUSE };
        core.effect(Effect::Remember(contacts));
    }
}

/// Of a set of cards, whatever their order: who is silent for a moment changes places with others.
fn digest(contacts: &[Arc<Contact>]) -> u64 {
    let mut cards: Vec<_> = contacts.iter().map(|contact| (contact.grid().0.prefix(), contact.sequence())).collect();
    cards.sort_unstable();
    let bytes: Vec<u8> =
        cards.iter().flat_map(|(id, sequence)| [id.to_be_bytes(), sequence.to_be_bytes()]).flatten().collect();
    Id::of(&bytes).prefix()
}
