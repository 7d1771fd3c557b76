//! Going: away for a while, or for good.
//!
//! A leaver hands its records to whoever becomes a holder without it, waits until they have them and until the lookups
//! and registrations that somebody asked of it have ended, then says farewell to
//! everybody it knows and acquaints its neighbours with each other, so that the graph stays connected. Then it stops.
//! Who goes away for a while moves nothing: it says so, and that it will be back.

use super::compare::HEIRS;
use super::core::{Core, Role};
use super::requests::Purpose;
use crate::contact::{Contact, Standing};
use crate::effect::{Effect, OperationId, Outcome, Target};
use crate::holders::Place;
use crate::id::{Grid, Key};
use crate::message::{Farewell, List, Message, Store};
use crate::table::Entry;
use crate::time::{Tick, Ticks};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many neighbours a leaver names in its farewell.
const ACQUAINTED: usize = 16;

#[derive(Debug)]
pub(crate) struct Leave {
    id: OperationId,
    awaited: usize,
    deadline: Tick,
}

impl Leave {
    /// Begins to leave: hands over the records.
    pub(super) fn start(core: &mut Core, id: OperationId) -> Self {
        let mut leave = Self { id, awaited: 0, deadline: core.now + core.config.leave_deadline };
        let mut gifts: BTreeMap<Grid, (Arc<Contact>, Vec<Key>)> = BTreeMap::new();
        for key in core.store.iter().map(|(key, _)| *key) {
            for heir in core.heirs(&key) {
                gifts.entry(heir.grid()).or_insert_with(|| (heir, Vec::new())).1.push(key);
            }
        }
        for (heir, keys) in gifts.into_values() {
            for items in core.bundles(keys.iter()) {
                let items = items.into_iter().collect();
                core.ask(&heir, false, Purpose::Bequest(id), 1, |id| Message::Store(Store { id, items }));
                leave.awaited += 1;
            }
        }
        leave
    }

    pub(super) fn next_wake(&self) -> Tick {
        self.deadline
    }

    /// An heir has answered, or was asked in vain.
    pub(super) fn on_heir(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// Whether all heirs have answered.
    pub(super) fn is_ready(&self) -> bool {
        self.awaited == 0
    }

    /// Whether it has taken too long.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        now >= self.deadline
    }

    /// The end of it.
    pub(super) fn say_goodbye(&self, core: &mut Core) {
        core.say_farewell(Standing::Left);
        core.effect(Effect::Complete(self.id, Outcome::Departed(Ok(()))));
    }
}

impl Core {
    /// Who becomes a holder of `key` when this node is gone.
    fn heirs(&self, key: &Key) -> Vec<Arc<Contact>> {
        let holders = self.config.holders_of(key.kind);
        let now = self.view(&key.id, holders);
        if now.own_place == Place::Outside {
            let holders = now.others.iter().take(if self.is_stray(key) { HEIRS } else { 0 });
            return holders.map(|(entry, _)| entry.contact().clone()).collect();
        }
        // One group more than now: whoever is in that set and not in today's takes this node's place.
        let with_next = self.view(&key.id, holders + 1);
        let is_new =
            |entry: &Entry| !now.others.iter().any(|(known, _)| known.contact().grid() == entry.contact().grid());
        let heirs = with_next.others.iter().filter(|(entry, _)| is_new(entry));
        heirs.map(|(entry, _)| entry.contact().clone()).collect()
    }

    /// Tells everybody known that this node goes, with a new card, and its neighbours who its other neighbours are. Those first to
    /// whom a link stands: it may have to make room for one to somebody else.
    pub(super) fn say_farewell(&mut self, standing: Standing) {
        let Role::Node(secret) = &self.role else { return };
        let card = Contact::sign(
            secret,
            self.contact.address().clone(),
            self.contact.sequence() + 1,
            standing,
            self.contact.versions(),
        );
        self.contact = Arc::new(card);
        let neighbourhood = usize::from(self.config.holders) * 4;
        let own = self.grid().0;
        let known: Vec<(Arc<Contact>, bool)> =
            self.table.nearest(&own).map(|entry| (entry.contact().clone(), entry.is_linked())).collect();
        let those = |linked: bool| known.iter().enumerate().filter(move |(_, (_, is_linked))| *is_linked == linked);
        for (index, (contact, is_linked)) in those(true).chain(those(false)) {
            let acquainted: List<Arc<Contact>, { crate::message::CONTACTS_MAX }> = if index < neighbourhood {
                // Each hears of those beside the leaver, and of those next to itself in the order of distance.
                let start = index.saturating_sub(ACQUAINTED / 2);
                let others = known.iter().enumerate().skip(start).filter(|(other, _)| *other != index);
                others.take(ACQUAINTED).map(|(_, (contact, _))| contact.clone()).collect()
            } else {
                List::default()
            };
            if !is_linked {
                self.effect(Effect::Request(Target::contact(contact)));
            }
            let farewell = Farewell { contact: self.contact.clone(), acquainted };
            self.effect(Effect::Send(contact.grid(), Message::Farewell(farewell)));
        }
    }

    /// How long an absence may be announced for: a day.
    pub(super) fn bounded_absence(span: Ticks) -> Ticks {
        span.min(Ticks::hours(24))
    }
}
