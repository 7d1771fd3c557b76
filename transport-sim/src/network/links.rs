//! What a turn wants done, carried out: links asked for, and messages on their way.

use super::slots::{Live, Runner};
use super::{Condition, Event, Finished, Network, NodeIndex};
use crate::network::DIAL_TIMEOUT;
use routing_core::contact::Contact;
use routing_core::effect::{Effect, Effects, Target};
use routing_core::heard::{Heard, LossReason};
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::time::{Tick, Ticks};
use routing_core::wire::FRAME_OVERHEAD;
use std::sync::Arc;

impl Network {
    /// Carries out what is for the links, in order. How the rest lies in between counts for nothing: the driver tells of
    /// outcomes and notices last, and keeps records first. `lengths` are those of the messages among them.
    pub(super) fn carry_out(&mut self, now: Tick, node: NodeIndex, effects: &mut Effects, lengths: &[u32]) {
        let mut lengths = lengths.iter();
        let ended_before = self.finished.len();
        // A link that was just asked for: if a message to the peer follows at once, that message opens it.
        let mut requested: Option<Target> = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Request(target) => {
                    if let Some(earlier) = requested.replace(target) {
                        self.request(now, node, earlier, false);
                    }
                }
                Effect::Send(to, message) => {
                    let opens_link = requested.as_ref().is_some_and(|target| target.grid == Some(to));
                    if let Some(target) = requested.take() {
                        self.request(now, node, target, opens_link);
                    }
                    let length =
                        lengths.next().map_or_else(|| message.encoded_len() as u64, |length| u64::from(*length));
                    self.send(now, node, to, message, length, opens_link);
                }
                Effect::Accept(_) => {
                    if let Some(target) = requested.take() {
                        self.request(now, node, target, false);
                    }
                }
                Effect::Close(peer) => {
                    if let Some(target) = requested.take() {
                        self.request(now, node, target, false);
                    }
                    let peer = self.index_of(&peer);
                    if let Some(peer) =
                        peer.filter(|peer| self.links.as_mut().is_some_and(|links| links.close(node, *peer)))
                    {
                        self.lose_link(Tick(now.0 + 1), peer, node);
                    }
                }
                Effect::Complete(operation, outcome) => {
                    self.finished.push(Finished { node, operation, at: now, outcome })
                }
                Effect::Notify(notice) if self.keeps_notices => self.notices.push((node, notice)),
                // Nothing outlives the run.
                Effect::Keep(_)
                | Effect::Forget(_)
                | Effect::Stray(..)
                | Effect::Home(_)
                | Effect::MovedOut(_)
                | Effect::Remember(_)
                | Effect::Notify(_) => {}
            }
        }
        if let Some(target) = requested {
            self.request(now, node, target, false);
        }
        // Those that end in one turn have ended at once: they are told of in order of asking.
        self.finished[ended_before..].sort_by_key(|finished| finished.operation);
    }

    /// Who can be reached at `target`, and its card.
    fn reachable(&self, node: NodeIndex, target: &Target) -> Option<(NodeIndex, Arc<Contact>)> {
        let peer = match target.grid {
            Some(grid) => self.index_of(&grid),
            None => self.index_at(&target.address),
        };
        let peer = peer.filter(|peer| self.condition(*peer) == Condition::Running && !self.are_apart(node, *peer))?;
        Some((peer, self.contact(peer)?.clone()))
    }

    /// A link is asked for. Where the peer runs, both ends hear of it; the asker's message, if it follows at once,
    /// brings the news to the peer.
    fn request(&mut self, now: Tick, node: NodeIndex, target: Target, is_followed: bool) {
        let Some((peer, contact)) = self.reachable(node, &target) else {
            self.counters.links_opened += 1;
            return self.hear(now + DIAL_TIMEOUT, node, Heard::Lost(target, LossReason::Unreachable));
        };
        let next = Tick(now.0 + 1);
        if self.links.is_some() {
            return match self.open_link(now, node, peer) {
                Some(stands_at) => self.hear(stands_at.max(next), node, Heard::Linked(target, contact)),
                None => self.hear(now + DIAL_TIMEOUT, node, Heard::Lost(target, LossReason::Unreachable)),
            };
        }
        let heard = Heard::Linked(target, contact);
        self.counters.links_opened += 1;
        if is_followed {
            match self.live_mut(node) {
                // Who knows what somebody's own code waits for?
                Some(Live { runner: Runner::Hosted(_), .. }) => self.hear(next, node, heard),
                // In the state machine nothing waits for this but the message that follows, so it needs no turn.
                Some(_) => self.put_into_inbox(node, heard),
                None => {}
            }
        } else {
            self.announce_link(next, node, peer);
            self.hear(next, node, heard);
        }
    }

    fn hear(&mut self, at: Tick, node: NodeIndex, heard: Heard) {
        let event = Event::Hear { to: node, life: self.life(node), heard: Box::new(heard) };
        self.wheel.put(at, event);
    }

    /// `peer` hears that `node` has opened a link.
    fn announce_link(&mut self, at: Tick, node: NodeIndex, peer: NodeIndex) {
        if let Some(own) = self.contact(node).cloned() {
            self.hear(at, peer, Heard::Requested(own));
        }
    }

    /// When the link to `peer` stands: the one that there is, or a new one. `None` if there is no room for it in the time
    /// that a dial may take.
    fn open_link(&mut self, now: Tick, node: NodeIndex, peer: NodeIndex) -> Option<Tick> {
        let links = self.links.as_mut()?;
        if let Some(stands_at) = links.lasting(node, peer) {
            return Some(stands_at);
        }
        self.counters.links_opened += 1;
        let round_trips = links.round_trips();
        let opening = links.make_room(now, node, peer);
        for (one, other, at) in opening.lapsing {
            self.wheel.put(at, Event::Lapse { to: one, peer: other });
        }
        if opening.begins_at > now + DIAL_TIMEOUT {
            return None;
        }
        let took: u64 = (0..round_trips).map(|_| self.round_trip(node, peer)).sum();
        let stands_at = opening.begins_at + Ticks(took.max(1));
        if let Some(links) = &mut self.links {
            links.open(node, peer, stands_at);
        }
        self.announce_link(stands_at, node, peer);
        Some(stands_at)
    }

    /// The place of a link goes to another one.
    pub(super) fn lapse(&mut self, now: Tick, node: NodeIndex, peer: NodeIndex) {
        if self.links.as_mut().is_some_and(|links| links.lapse(now, node, peer)) {
            for (one, other) in [(node, peer), (peer, node)] {
                self.lose_link(Tick(now.0 + 1), one, other);
            }
        }
    }

    /// How long something takes to `peer` and back, drawn as messages draw it. In ticks, at least one each way.
    fn round_trip(&mut self, node: NodeIndex, peer: NodeIndex) -> u64 {
        let (Some(here), Some(there)) = (self.place(node), self.place(peer)) else { return 2 };
        let slot = &mut self.slots[node];
        let sequence = slot.sequence;
        slot.sequence += 2;
        let sender = u64::from(node.0);
        let forth = self.delay.one_way(here, there, sender, sequence).0.max(1);
        forth + self.delay.one_way(there, here, sender, sequence + 1).0.max(1)
    }

    /// `node` hears that its link to `peer` is no more.
    fn lose_link(&mut self, at: Tick, node: NodeIndex, peer: NodeIndex) {
        if let Some(contact) = self.contact(peer).cloned() {
            self.hear(at, node, Heard::Lost(Target::contact(&contact), LossReason::Closed));
        }
    }

    /// When a message to `peer` leaves: once its link stands. `None` if there is none, which its sender hears of where
    /// somebody is there to say so.
    fn departure(&mut self, now: Tick, node: NodeIndex, peer: NodeIndex, opens_link: bool) -> Option<Tick> {
        let Some(links) = &self.links else { return Some(now) };
        let stands_at = links.stands_at(node, peer);
        if stands_at.is_none() && !opens_link && self.slots[peer].is_alive() {
            let round_trip = self.round_trip(node, peer);
            self.lose_link(now + Ticks(round_trip), node, peer);
        }
        Some(stands_at?.max(now))
    }

    fn send(&mut self, now: Tick, from: NodeIndex, to: Grid, message: Message, length: u64, opens_link: bool) {
        let bytes = length + FRAME_OVERHEAD as u64;
        self.counters.sent.add(bytes);
        let receiver = self.index_of(&to);
        if message.is_for_operation() {
            // A request is counted for who sends it, an answer for who gets it.
            let asker = if message.is_request() { Some(from) } else { receiver };
            let asker = asker.map(|asker| &self.slots[asker]).filter(|slot| slot.is_alive());
            self.ledgers[asker.map_or(0, |slot| slot.ledger as usize)].add(bytes);
        } else {
            self.counters.upkeep.add(bytes);
            self.counters.records_moved += message.copies() as u64;
            let spent = &mut self.slots[from].spent;
            *spent = spent.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        let slot = &mut self.slots[from];
        let (sequence, place) = (slot.sequence, slot.place);
        slot.sequence += 1;
        let sender = u64::from(from.0);
        if self.loss > 0.0 && self.delay.lost(self.loss, sender, sequence) {
            return;
        }
        let Some((to, there)) = receiver.and_then(|to| Some((to, self.place(to)?))) else { return };
        // What needs a link to be opened first goes nowhere if that cannot be done.
        if self.is_stopped(from, to) || opens_link && self.are_apart(from, to) {
            return;
        }
        let life = self.life(to);
        let Some(departure) = self.departure(now, from, to, opens_link) else { return };
        // The news of a link that has to be opened came when that stood.
        let opens_link = opens_link && self.links.is_none();
        if self.duplicate > 0.0 && self.delay.doubled(self.duplicate, sender, sequence) {
            let delay = self.delay.one_way_again(place, there, sender, sequence).0.max(1);
            let again = message.clone();
            let event = Event::Deliver { to, life, from, sequence, opens_link: false, message: again };
            self.wheel.put(departure + Ticks(delay), event);
        }
        let delay = self.delay.one_way(place, there, sender, sequence).0.max(1);
        if let Some(links) = &mut self.links {
            // An answer takes about as long as its question, and whoever has it may have one more.
            let busy = if message.is_request() { delay * 4 } else { delay };
            links.on_used(from, to, departure + Ticks(busy));
        }
        self.wheel.put(departure + Ticks(delay), Event::Deliver { to, life, from, sequence, opens_link, message });
    }
}
