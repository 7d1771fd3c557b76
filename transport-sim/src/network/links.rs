//! What a turn wants done, carried out: links asked for, and messages on their way.

use super::{Condition, Event, FRAME_OVERHEAD, Finished, Live, Network, NodeIndex, Runner};
use crate::network::DIAL_TIMEOUT;
use routing_core::effect::{Effect, Effects, Target};
use routing_core::heard::{Heard, LossReason};
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::time::{Tick, Ticks};

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
                // Links hold no state here.
                Effect::Accept(_) | Effect::Close(_) => {
                    if let Some(target) = requested.take() {
                        self.request(now, node, target, false);
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

    /// A link is asked for. Where the peer runs, both ends hear of it; the asker's message, if it follows at once,
    /// brings the news to the peer.
    fn request(&mut self, now: Tick, node: NodeIndex, target: Target, is_followed: bool) {
        self.counters.links_opened += 1;
        let peer = match target.grid {
            Some(grid) => self.index_of(&grid),
            None => self.index_at(&target.address),
        };
        let running = peer.filter(|peer| self.condition(*peer) == Condition::Running && !self.are_apart(node, *peer));
        let contact = running.and_then(|peer| self.live(peer)).map(|live| live.contact.clone());
        let next = Tick(now.0 + 1);
        let life = self.life(node);
        match (running, contact) {
            (Some(_), Some(contact)) if is_followed => {
                let heard = Heard::Linked(target, contact);
                match self.live_mut(node) {
                    // Who knows what somebody's own code waits for?
                    Some(Live { runner: Runner::Hosted(_), .. }) => {
                        self.wheel.put(next, Event::Hear { to: node, life, heard: Box::new(heard) });
                    }
                    // In the state machine nothing waits for this but the message that follows, so it needs no turn.
                    Some(live) => live.inbox.push((node, heard)),
                    None => {}
                }
            }
            (Some(peer), Some(contact)) => {
                if let Some(own) = self.live(node).map(|live| live.contact.clone()) {
                    let heard = Box::new(Heard::Requested(own));
                    self.wheel.put(next, Event::Hear { to: peer, life: self.life(peer), heard });
                }
                let heard = Box::new(Heard::Linked(target, contact));
                self.wheel.put(next, Event::Hear { to: node, life, heard });
            }
            _ => {
                let heard = Box::new(Heard::Lost(target, LossReason::Unreachable));
                self.wheel.put(now + DIAL_TIMEOUT, Event::Hear { to: node, life, heard });
            }
        }
    }

    fn send(&mut self, now: Tick, from: NodeIndex, to: Grid, message: Message, length: u64, opens_link: bool) {
        let bytes = length + FRAME_OVERHEAD;
        self.counters.sent.add(bytes);
        let receiver = self.index_of(&to);
        if message.is_for_operation() {
            // A request is counted for who sends it, an answer for who gets it.
            let asker = if message.is_request() { Some(from) } else { receiver };
            let ledger = asker.and_then(|asker| self.live(asker)).map_or(0, |live| live.ledger);
            self.ledgers[ledger].add(bytes);
        } else {
            self.counters.records_moved += message.copies() as u64;
        }
        let Some(live) = self.live_mut(from) else { return };
        let (sequence, place) = (live.sequence, live.place);
        live.sequence += 1;
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
        if self.duplicate > 0.0 && self.delay.doubled(self.duplicate, sender, sequence) {
            let delay = self.delay.one_way_again(place, there, sender, sequence).0.max(1);
            let again = message.clone();
            let event = Event::Deliver { to, life, from, sequence, opens_link: false, message: again };
            self.wheel.put(now + Ticks(delay), event);
        }
        let delay = self.delay.one_way(place, there, sender, sequence).0.max(1);
        self.wheel.put(now + Ticks(delay), Event::Deliver { to, life, from, sequence, opens_link, message });
    }
}
