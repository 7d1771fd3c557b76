//! Asking contacts one by one whether they are there: neighbours once a minute, the others as the budget allows.

use super::refill::ask_whom_else;
use super::{EAGER_PAUSE, PROBE_PAUSE, Upkeep};
use crate::contact::Contact;
use crate::holders::SetName;
use crate::id::Id;
use crate::message::{Find, Message, Sampled, Want};
use crate::state::budget::Account;
use crate::state::core::Core;
use crate::state::requests::Purpose;
use crate::table::Entry;
use crate::time::Ticks;
use smallvec::SmallVec;
use std::sync::Arc;

/// How many contacts that were heard from anyway one sweep passes over at a time.
const PASSED_OVER_MAX: usize = 64;
/// How much longer than its account is closed the far sweep sleeps: less than the account may save for.
const SLACK: Ticks = Ticks(800);

impl Upkeep {
    /// Asks those in doubt whether they are there, once this node is in. Each is asked once at a time.
    pub(crate) fn ask_doubted(&mut self, core: &mut Core) {
        if self.far_wake.is_none() {
            return;
        }
        for (contact, account) in std::mem::take(&mut core.doubted) {
            let is_doubted = |entry: &Entry| !entry.has_answered() || entry.failures() > 0;
            if !core.table.entry(&contact.grid()).is_some_and(is_doubted) {
                continue;
            }
            if core.table.begin_probe(&contact.grid()) {
                let place = contact.grid().0;
                self.probe(core, &contact, place, account);
            }
        }
    }

    pub(super) fn probe_near(&mut self, core: &mut Core) {
        for _ in 0..std::mem::take(&mut self.near_passed) {
            if let Some(prefix) = self.near.get(self.near_next) {
                core.table.take_recent_at(*prefix);
                self.near_next += 1;
            }
        }
        if self.near_next >= self.near.len() {
            let neighbourhood = usize::from(core.config.holders) * 4;
            let own = core.grid().0;
            let near = core.table.nearest(&own).filter(|entry| !core.absent.contains_at(entry.prefix()));
            let near: SmallVec<[&Entry; 64]> = near.take(neighbourhood).collect();
            self.near.clear();
            self.near.extend(near.iter().map(|entry| entry.prefix()));
            self.stranger_next = near.iter().position(|entry| is_stranger(entry)).unwrap_or(near.len());
            let edge = self.near.get(neighbourhood - 1);
            self.near_edge = edge.map_or(u64::MAX, |edge| own.prefix() ^ edge);
            self.near_next = 0;
            self.has_near_changed = true;
        }
        // Neighbours that have not answered yet come first, and soon; and so do all of them in an outage.
        let is_stranger = |prefix: &u64| core.table.entry_at(*prefix).is_some_and(is_stranger);
        let from = self.stranger_next.max(self.near_next);
        let stranger = self.near.iter().skip(from).position(is_stranger).map(|after| from + after);
        self.stranger_next = stranger.map_or(self.near.len(), |stranger| stranger + 1);
        if stranger.is_none() && self.roll_call > 0 {
            // Whoever was heard from since the call began has answered it, and who is being asked may.
            let is_missing = |entry: &Entry| !entry.is_recent() && !entry.is_probed();
            let is_missing = |prefix: &u64| core.table.entry_at(*prefix).is_some_and(is_missing);
            let rest = self.near.get(self.near_next..).unwrap_or_default();
            let passed = rest.iter().position(is_missing).unwrap_or(rest.len()).min(self.roll_call as usize);
            self.near_next += passed;
            self.roll_call -= passed as u32;
        }
        if stranger.is_some() || self.roll_call > 0 {
            let closed = core.closed_for(Account::Repair);
            if closed > Ticks(0) {
                self.stranger_next = stranger.unwrap_or(self.near.len());
                self.near_wake = Some(core.now + closed);
                return;
            }
            if let Some(stranger) = stranger {
                self.near.swap(self.near_next, stranger);
            } else {
                self.roll_call -= 1;
            }
            self.near_wake = Some(core.now + EAGER_PAUSE);
            return self.probe_next_neighbour(core, Account::Repair);
        }
        let pause = Ticks(core.config.neighbour_probe_every.0 / self.near.len().max(1) as u64).max(EAGER_PAUSE);
        let closed = core.closed_for(Account::Near);
        if closed > Ticks(0) {
            self.near_wake = Some(core.now + pause.max(closed));
            return;
        }
        self.probe_next_neighbour(core, Account::Near);
        // It is the turn of the next one that needs to be asked when that of all between has passed.
        let is_heard = |prefix: &&u64| core.table.entry_at(**prefix).is_some_and(Entry::is_recent);
        let passed = self.near.iter().skip(self.near_next).take_while(is_heard).count();
        self.near_passed = passed as u32;
        self.near_wake = Some(core.now + Ticks(pause.0 * (passed as u64 + 1)).max(core.closed_for(Account::Near)));
    }

    /// Who was heard from since the last round need not be asked, unless there is reason to ask everybody.
    fn probe_next_neighbour(&mut self, core: &mut Core, account: Account) {
        let Some(prefix) = self.near.get(self.near_next) else { return };
        self.near_next += 1;
        let Some(contact) = core.table.entry_at(*prefix).map(|entry| entry.contact().clone()) else { return };
        let was_recent = core.table.take_recent(&contact.grid());
        if account == Account::Repair {
            core.table.begin_probe(&contact.grid());
        } else if was_recent {
            return;
        }
        let own = core.grid().0;
        self.probe(core, &contact, own, account);
    }

    pub(super) fn probe_far(&mut self, core: &mut Core) {
        // While there is hearsay, as fast as the budget allows; then one round of the table in `contact_probe_every`.
        let has_hearsay = core.table.answered() < core.table.len();
        let round = if has_hearsay { 0 } else { core.config.contact_probe_every.0 };
        let pause = Ticks(round / core.table.len().max(1) as u64).max(PROBE_PAUSE);
        let closed = core.closed_for(Account::Far);
        if closed == Ticks(0)
            && let Some(contact) = self.next_far(core)
        {
            let place = contact.grid().0;
            match core.table.who_draws(&contact.grid()) {
                Some((peer, bits)) => {
                    let part = (&peer.grid().0, bits);
                    ask_whom_else(core, &peer, part, 1, false, Purpose::Draw(place.prefix()), 0);
                }
                None => ask_for_a_word(core, &contact, Purpose::Probe(Account::Far)),
            }
        }
        let closed = core.closed_for(Account::Far);
        // What is answered meanwhile keeps the account closed for longer: who sleeps a little longer wakes less often in vain,
        // and loses nothing, since what comes in meanwhile is saved.
        let closed = if closed == Ticks(0) { closed } else { closed + SLACK };
        self.far_wake = Some(core.now + pause.max(closed));
    }

    /// The next contact of the table that was not heard from since the last round. Bins are walked in bit-reversed
    /// order, so that each part of the keyspace is met early, and each node begins with its own, so that those who joined at
    /// one time do not all come to the same contacts at one time.
    pub(super) fn next_far(&mut self, core: &mut Core) -> Option<Arc<Contact>> {
        for _ in 0..PASSED_OVER_MAX {
            let bins = core.table.bins();
            let bits = bins.ilog2();
            if self.far_bin >= bins {
                self.far_bin = 0;
            }
            let step = self.far_bin.reverse_bits().checked_shr(usize::BITS - bits).unwrap_or(0);
            let bin = step ^ core.grid().0.prefix().checked_shr(64 - bits).unwrap_or(0) as usize;
            let Some(entry) = core.table.bin(bin).get(self.far_index) else {
                self.far_index = 0;
                self.far_bin += 1;
                continue;
            };
            self.far_index += 1;
            let (contact, has_answered) = (entry.contact().clone(), entry.has_answered());
            let was_recent = core.table.take_recent(&contact.grid());
            if !was_recent || !has_answered {
                return Some(contact);
            }
        }
        None
    }

    /// Asks `contact` whether it sees the same holders of `place`.
    fn probe(&mut self, core: &mut Core, contact: &Arc<Contact>, place: Id, account: Account) {
        let is_complete = core.table.is_complete_at(&place);
        let (groups, set) =
            if is_complete { (core.config.holders, core.set_name_at(&place)) } else { (0, SetName::NONE) };
        core.ask(contact, false, Purpose::Probe(account), 0, |id| {
            Message::Find(Find { id, target: place, want: Want::Agreement, groups, set })
        });
    }
}

impl Core {
    /// Somebody was drawn, or nobody, to take the place of the contact whose id begins with these 64 bits.
    pub(crate) fn on_drawn(&mut self, place: u64, sampled: &Sampled) {
        let other = sampled.contacts.iter().next().map(|named| &named.contact);
        let other = other.filter(|other| !other.is_away() && self.is_worth_knowing(other));
        let gives_way = self.table.entry_at(place).cloned();
        if self.table.on_drawn(place, other)
            && let Some(entry) = gives_way
        {
            // A link to it may stand, over which it speaks for its domain as before.
            self.remember_as_caller(entry.contact(), entry.is_proven());
        }
    }
}

/// Whether this neighbour was never asked, or has not had time to answer yet.
fn is_stranger(entry: &Entry) -> bool {
    !entry.has_answered() && entry.failures() == 0
}

/// Asks a contact for nothing but what each answer tells: that it is there, and how dense the keyspace is where it lies.
pub(super) fn ask_for_a_word(core: &mut Core, contact: &Arc<Contact>, purpose: Purpose) {
    let (target, set) = (contact.grid().0, SetName::NONE);
    core.ask(contact, false, purpose, 0, |id| Message::Find(Find { id, target, want: Want::Contacts, groups: 0, set }));
}
