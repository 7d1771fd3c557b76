//! What a node hears: links that stand or are lost, requests, answers, silence. Each goes to whom it concerns.

use super::budget::Account;
use super::operations::{Progress, Running};
use super::requests::{Pending, Purpose};
use super::{NodeState, Phase};
use crate::contact::{Contact, Standing};
use crate::effect::{Effect, Notice, Target};
use crate::heard::Heard;
use crate::id::Grid;
use crate::message::{Farewell, Message, Sample, Sampled};
use crate::table::Entry;
use crate::time::Ticks;
use std::sync::Arc;

/// How many failures in a row make a contact be given up.
const FORGOTTEN_FAILURES: u8 = 4;

impl NodeState {
    pub(super) fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Requested(contact) => self.on_requested(&contact),
            Heard::Linked(target, contact) => self.on_linked(&target, &contact),
            Heard::Message(from, message) => self.on_message(from, message),
            Heard::Lost(target, _) => self.on_lost(&target),
        }
    }

    pub(super) fn on_requested(&mut self, contact: &Arc<Contact>) {
        if self.phase == Phase::Departed {
            return;
        }
        self.core.effect(Effect::Accept(contact.grid()));
        self.on_proven(contact);
        self.core.remember_caller(contact);
        if self.core.table.on_heard(&contact.grid()).is_some() {
            self.core.doubt(contact, Account::Repair);
        }
    }

    /// A link has proven that somebody is there, whoever asked for it, and whatever was said of it.
    pub(super) fn on_proven(&mut self, contact: &Arc<Contact>) {
        let grid = contact.grid();
        self.core.departed.remove(&grid);
        self.core.dead.remove(&grid);
        self.meet(contact);
        self.core.table.on_link(&grid);
        self.core.on_back_if_available(&grid);
    }

    /// Takes note of somebody; if it is a neighbour to be, upkeep will greet it soon. Says whether it was not known.
    pub(super) fn meet(&mut self, contact: &Arc<Contact>) -> bool {
        let is_new = self.core.meet(contact);
        if is_new && self.phase == Phase::Joined && self.is_near(&contact.grid()) {
            self.upkeep.hurry(self.core.now);
        }
        is_new
    }

    /// Takes note of those who were named. Says how many were not known, of the part asked about: in a full table they take
    /// others' places.
    fn meet_each(&mut self, pending: &Pending, sampled: &Sampled) -> usize {
        let Message::Sample(Sample { part, .. }) = &pending.request else { return 0 };
        let is_in = |grid: Grid| grid.0.common_bits(&part.start) >= part.bits.into();
        sampled.contacts.iter().filter(|named| self.meet(&named.contact) && is_in(named.contact.grid())).count()
    }

    pub(super) fn is_near(&self, grid: &Grid) -> bool {
        self.upkeep.is_near(self.core.grid().0.prefix() ^ grid.0.prefix())
    }

    pub(super) fn on_linked(&mut self, target: &Target, contact: &Arc<Contact>) {
        self.on_proven(contact);
        self.core.on_reached(contact, target);
        let reached: Vec<_> = self.core.dials.extract_if(.., |(dialled, _)| dialled == target).collect();
        for (_, id) in reached {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.on_linked(core, comparisons, contact),
                Running::Register(register) => register.on_linked(core, target, contact),
                Running::Lookup(lookup) => lookup.on_linked(core, target, contact),
                Running::Leave(_) | Running::Announce(_) => Progress::Going,
            });
        }
    }

    pub(super) fn on_lost(&mut self, target: &Target) {
        let failed: Vec<_> = self.core.dials.extract_if(.., |(dialled, _)| dialled == target).collect();
        for (_, id) in failed {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.on_unreachable(core, comparisons),
                Running::Register(register) => register.on_unreachable(core, target),
                Running::Lookup(lookup) => lookup.on_unreachable(core, target),
                Running::Leave(_) | Running::Announce(_) => Progress::Going,
            });
        }
        if let Some(grid) = target.grid {
            self.core.table.set_linked(&grid, false);
            for (_, pending) in self.core.requests.take_to(&grid) {
                self.on_silence(pending);
            }
        }
        self.core.on_tried(target);
    }

    pub(super) fn on_message(&mut self, from: Grid, message: Message) {
        if self.phase == Phase::Departed {
            return;
        }
        // Over a link that stands there is nothing else by which a silent contact would be found to be back.
        let silent = self.core.table.on_heard(&from).map(|entry| entry.contact().clone());
        // Some talk all the time, and never answer: these get what the upkeep of the neighbourhood may cost, and no more.
        if let Some(contact) = silent
            && self.core.closed_for(Account::Near) == Ticks(0)
        {
            self.core.doubt(&contact, Account::Near);
        }
        match message {
            Message::Find(find) => self.core.on_find(from, &find),
            Message::Store(store) => {
                let changes = self.core.fellowship.changes();
                self.core.on_store(from, &store);
                if !store.id.is_for_operation() && self.core.fellowship.changes() != changes {
                    self.upkeep.on_given(self.core.now);
                }
            }
            Message::Compare(compare) => self.core.on_compare(from, &compare),
            Message::Fetch(fetch) => self.core.on_fetch(from, &fetch),
            Message::Sample(sample) => self.core.on_sample(from, &sample),
            Message::Farewell(farewell) => self.on_farewell(from, &farewell),
            Message::Found(_)
            | Message::Stored(_)
            | Message::Compared(_)
            | Message::Fetched(_)
            | Message::Sampled(_)
            | Message::Unknown(_) => {
                self.on_answer(from, message);
            }
        }
    }

    pub(super) fn on_farewell(&mut self, from: Grid, farewell: &Farewell) {
        let contact = &farewell.contact;
        // Only the leaver itself can say that it goes, and only with a card that it has signed.
        if contact.grid() != from || !contact.verify() {
            self.core.blame(from);
            return;
        }
        for other in farewell.acquainted.iter() {
            self.meet(other);
        }
        match contact.standing() {
            Standing::Left => {
                // Anybody can say that it goes who was never here.
                if self.core.forget_departed(contact) {
                    if self.is_near(&from) {
                        self.upkeep.hurry(self.core.now);
                    }
                    self.core.notify(Notice::NeighbourLeft(from));
                }
            }
            Standing::Away { .. } | Standing::Here => {
                self.meet(contact);
            }
        }
        self.core.table.set_linked(&from, false);
    }

    pub(super) fn on_answer(&mut self, from: Grid, message: Message) {
        let Some(pending) = message.id().and_then(|id| self.core.requests.take(id, &from)) else {
            self.core.stats.answers_unexpected += 1;
            return;
        };
        if !pending.request.is_answered_by(&message) {
            // As good as none. Who does not know the kind of the request says so, and is not to blame.
            if !matches!(message, Message::Unknown(_)) {
                self.core.blame(from);
            }
            return self.on_silence(pending);
        }
        if let Some(account) = pending.purpose.account() {
            self.core.pay(account, &message, 0);
        }
        let round_trip = self.core.now.since(pending.sent);
        if self.core.dead.remove(&from) || matches!(pending.purpose, Purpose::Revive) {
            self.on_revived(&pending.peer);
        }
        self.core.table.on_answer(&from, round_trip);
        self.core.on_back(&from);
        // It is compared with what the own neighbourhood says, which says too little while the table is being filled.
        if let Message::Found(found) = &message
            && self.phase == Phase::Joined
        {
            self.core.table.on_scale(&from, found.own_scale);
        }
        match (&pending.purpose, &message) {
            (Purpose::Operation(_) | Purpose::Bequest(_) | Purpose::Announce, _) => {
                self.on_operation_answer(&pending, &message);
            }
            (Purpose::Probe(account), Message::Found(found)) => {
                if let Message::Find(find) = &pending.request
                    && found.contacts.is_some()
                {
                    self.upkeep.on_other_set(&mut self.core, &pending.peer, &find.target, *account);
                }
            }
            (Purpose::Draw(place), Message::Sampled(sampled)) => self.core.on_drawn(*place, sampled),
            (Purpose::Acquaint(_), Message::Sampled(sampled)) => {
                let before = self.core.table.version();
                for named in sampled.contacts.iter() {
                    self.meet(&named.contact);
                }
                if self.core.table.version() != before {
                    self.upkeep.on_acquainted();
                }
            }
            (Purpose::Compare(start, bits), Message::Compared(compared)) => {
                let range = (*start, *bits);
                self.core.on_compared(&mut self.comparisons, &pending, compared, range);
                self.after_comparison();
            }
            (Purpose::Stray(key), Message::Compared(compared)) => {
                self.core.on_stray_compared(&pending.peer, *key, compared);
            }
            (Purpose::Fetch(_), Message::Fetched(fetched)) => {
                self.core.on_fetched(&mut self.comparisons, pending, fetched);
                self.after_comparison();
            }
            (Purpose::Refill(account), Message::Sampled(sampled)) => {
                let brought = self.meet_each(&pending, sampled);
                self.upkeep.on_refilled(self.core.now, *account, brought);
            }
            (Purpose::Gap, Message::Sampled(sampled)) => {
                let brought = self.meet_each(&pending, sampled);
                self.upkeep.on_gap_filled(self.core.now, brought);
            }
            (Purpose::HandOver, Message::Stored(stored)) => self.core.on_handed_over_to(&pending, stored),
            (Purpose::Revive, Message::Found(_)) => {}
            (Purpose::Missed, Message::Fetched(fetched)) => self.core.on_missed(fetched),
            // Each purpose has its kind of request, and the answer is of that kind.
            _ => self.on_silence(pending),
        }
    }

    pub(super) fn on_operation_answer(&mut self, pending: &Pending, message: &Message) {
        let Some(id) = pending.purpose.operation() else { return };
        self.with_operation(id, |running, core, comparisons| match (running, message) {
            (Running::Join(join), Message::Found(found)) => join.on_found(core, comparisons, pending, found),
            (Running::Join(join), Message::Sampled(sampled)) => join.on_sampled(core, comparisons, pending, sampled),
            (Running::Join(join), _) => join.on_silence(core, comparisons, pending),
            (Running::Register(register), Message::Found(found)) => register.on_found(core, pending, found),
            (Running::Register(register), Message::Stored(stored)) => register.on_stored(core, pending, stored),
            (Running::Register(register), _) => register.on_silence(core, pending),
            (Running::Lookup(lookup), Message::Found(found)) => lookup.on_found(core, pending, found),
            (Running::Lookup(lookup), _) => lookup.on_silence(core, pending),
            (Running::Leave(leave), _) => {
                leave.on_heir();
                Progress::Going
            }
            (Running::Announce(announce), Message::Found(found)) => announce.on_found(core, pending, found),
            (Running::Announce(announce), Message::Stored(stored)) => announce.on_stored(core, pending, stored),
            (Running::Announce(announce), Message::Compared(compared)) => announce.on_compared(core, pending, compared),
            (Running::Announce(announce), _) => announce.on_silence(core, pending),
        });
    }

    /// A request has been given up.
    pub(super) fn on_silence(&mut self, pending: Pending) {
        self.core.stats.requests_expired += 1;
        let grid = pending.peer.grid();
        self.on_contact_failed(&pending.peer);
        match &pending.purpose {
            Purpose::Operation(_) | Purpose::Bequest(_) | Purpose::Announce => {
                let Some(id) = pending.purpose.operation() else { return };
                self.with_operation(id, |running, core, comparisons| match running {
                    Running::Join(join) => join.on_silence(core, comparisons, &pending),
                    Running::Register(register) => register.on_silence(core, &pending),
                    Running::Lookup(lookup) => lookup.on_silence(core, &pending),
                    Running::Leave(leave) => {
                        leave.on_heir();
                        Progress::Going
                    }
                    Running::Announce(announce) => announce.on_silence(core, &pending),
                })
            }
            Purpose::Compare(..) | Purpose::Fetch(_) => {
                self.core.on_comparison_failed(&mut self.comparisons, grid);
                self.after_comparison();
            }
            Purpose::Probe(_)
            | Purpose::Draw(_)
            | Purpose::Acquaint(_)
            | Purpose::Stray(_)
            | Purpose::Refill(_)
            | Purpose::Gap
            | Purpose::HandOver
            | Purpose::Missed
            | Purpose::Revive => {}
        }
    }

    /// A contact left a request unanswered.
    pub(super) fn on_contact_failed(&mut self, contact: &Arc<Contact>) {
        let grid = contact.grid();
        let is_near = self.phase == Phase::Joined && self.is_near(&grid);
        if self.core.table.take_doubt(&grid) {
            self.core.doubt(contact, Account::Near);
        }
        match self.core.table.on_failure(&grid) {
            // A neighbour is asked again at once: much depends on it.
            Some(1) if is_near => self.core.doubt(contact, Account::Repair),
            Some(2) if is_near => {
                self.core.on_absent(grid, self.core.now + self.core.config.grace);
                let has_answered = self.core.table.entry(&grid).is_some_and(Entry::has_answered);
                if self.upkeep.on_neighbour_silent(&mut self.core, has_answered) {
                    // Some of this server's users may have lost all their holders.
                    self.announcing.hurry(&mut self.core);
                }
            }
            Some(failures) if failures >= FORGOTTEN_FAILURES && !self.core.absent.contains(&grid) => {
                self.core.bury(&grid);
                self.core.notify(Notice::NeighbourLost(grid));
            }
            _ => {}
        }
    }

    /// Somebody that was given up answers again. If it has not restarted meanwhile, not it was gone but the way to it, and
    /// with it perhaps to many others: this node joins once more, through it.
    pub(super) fn on_revived(&mut self, peer: &Arc<Contact>) {
        let grid = peer.grid();
        self.meet(peer);
        let card = self.core.table.entry(&grid).map(|entry| entry.contact().sequence());
        // Where few are known the many need not have been many.
        let holders = usize::from(self.core.config.holders);
        let many_were_lost = self.core.dead.len() >= holders || self.core.table.len() < holders;
        if card == Some(peer.sequence()) && many_were_lost {
            self.rejoin(peer);
        }
    }
}
