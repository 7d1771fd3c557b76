//! What a table knows of one contact.

use crate::contact::{Contact, Group};
use crate::time::Ticks;
use std::sync::Arc;

/// A round-trip time that nobody has measured yet.
pub(super) const UNMEASURED: u16 = u16::MAX;

/// One known contact. 24 bytes: a large network holds a hundred million of these.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) contact: Arc<Contact>,
    pub(super) prefix: u64,
    pub(super) group: Group,
    pub(super) round_trip_ms: u16,
    pub(super) failures: u8,
    pub(super) flags: u8,
}

pub(super) const ANSWERED: u8 = 1;
pub(super) const RECENT: u8 = 2;
pub(super) const LINKED: u8 = 4;
pub(super) const PROBED: u8 = 8;
pub(super) const AWAY: u8 = 16;
pub(super) const DOUBTED: u8 = 32;
pub(super) const PROVEN: u8 = 64;
pub(super) const DRAWN: u8 = 128;
/// How many unanswered requests in a row make a contact one that is not relied upon.
const UNRELIABLE_FAILURES: u8 = 2;

impl Entry {
    pub(super) fn new(contact: Arc<Contact>) -> Self {
        let (prefix, group) = (contact.grid().0.prefix(), contact.group());
        let flags = if contact.is_away() { AWAY } else { 0 };
        Self { contact, prefix, group, round_trip_ms: UNMEASURED, failures: 0, flags }
    }

    /// The contact's card.
    pub fn contact(&self) -> &Arc<Contact> {
        &self.contact
    }

    /// The leading 64 bits of its id.
    pub fn prefix(&self) -> u64 {
        self.prefix
    }

    /// Whom it belongs to, as far as majorities are concerned.
    pub fn group(&self) -> Group {
        self.group
    }

    /// Whether it has answered us, and is proven to be where it says: then it is a neighbour, and may be named to others.
    pub fn has_answered(&self) -> bool {
        self.flags & ANSWERED != 0 && self.is_proven()
    }

    /// Whether a link to it is believed to stand.
    pub fn is_linked(&self) -> bool {
        self.flags & LINKED != 0
    }

    /// Whether this node has dialled the address on its card, and it was there.
    pub fn is_proven(&self) -> bool {
        self.flags & PROVEN != 0
    }

    /// Whether it was heard from since somebody asked for that last.
    pub fn is_recent(&self) -> bool {
        self.flags & RECENT != 0
    }

    /// Whether somebody of its part of the keyspace has drawn it, or nobody else.
    pub fn is_drawn(&self) -> bool {
        self.flags & DRAWN != 0
    }

    /// Whether upkeep waits for what comes of a question whether it is there.
    pub fn is_probed(&self) -> bool {
        self.flags & PROBED != 0
    }

    /// Whether it may be asked over a link that stands: who only called is dialled back first.
    pub fn is_reached(&self) -> bool {
        self.is_linked() && self.is_proven()
    }

    /// The smoothed round-trip time, once measured.
    pub fn round_trip(&self) -> Option<Ticks> {
        (self.round_trip_ms != UNMEASURED).then_some(Ticks(self.round_trip_ms.into()))
    }

    /// How many requests in a row it left unanswered.
    pub fn failures(&self) -> u8 {
        self.failures
    }

    /// Whether it is relied upon: it has not said that it is away, and answered one of the last two requests, if any.
    pub fn is_available(&self) -> bool {
        self.failures < UNRELIABLE_FAILURES && !self.is_away()
    }

    /// Whether it has said that it is away for a while, and was not heard of since.
    pub fn is_away(&self) -> bool {
        self.flags & AWAY != 0
    }

    pub(super) fn set(&mut self, flag: u8, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }

    /// Whether it was heard from since this was asked last; forgets that it was.
    pub(super) fn take_recent(&mut self) -> bool {
        let was_recent = self.is_recent();
        self.set(RECENT, false);
        was_recent
    }

    /// The greater, the sooner it goes when room is needed: hearsay, then the unreliable, then the slow.
    pub(super) fn dispensability(&self) -> (bool, u8, u16, u64) {
        (!self.has_answered(), self.failures, self.round_trip_ms, self.prefix)
    }
}
