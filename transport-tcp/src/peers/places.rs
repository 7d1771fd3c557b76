//! Whose place a new link gets where there are too many.
//!
//! Looking through all links for the idlest takes as long as a handshake, and those who want places come by the hundred. So
//! one look finds some at a time, and the next newcomers get theirs. One that was used since is passed over: whatever the
//! look did not find had been used later than all that it found, so the first that was not used is the idlest still. Where
//! nobody is idle, nobody looks again for a moment.

use super::Peers;
use crate::control::Control;
use crate::link::{EndReason, LinkId};
use routing_core::heard::LossReason;
use routing_core::id::Grid;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An eighth as many as there may be links may end or wait for a place, before nobody is dialled for another place.
const BESIDE_SHARE: usize = 8;
/// How many idle links one look finds at most.
const FOUND_MAX: usize = 16;
/// How long nobody looks for idle links where there were none.
const PAUSE: Duration = Duration::from_millis(10);

/// The idlest links as they were at the last look, the idlest first.
#[derive(Default, Debug)]
pub(super) struct Idlest {
    found: VecDeque<Idle>,
    /// There were none; before that moment nobody looks again.
    none_until: Option<Instant>,
}

/// A link on which nobody waited for an answer, and when it was used.
#[derive(Clone, Copy, Debug)]
struct Idle {
    grid: Grid,
    id: LinkId,
    last_used: u64,
}

impl Peers {
    /// Whether each place that others may have is taken. Dials have places of their own in what others leave.
    pub(super) fn is_full(&self) -> bool {
        let config = &self.shared.config;
        self.standing >= config.links_max as usize || self.standing_inbound >= config.links_inbound_max as usize
    }

    /// Whether there is a place for one more dial, also that of an idle link.
    pub(super) fn has_room_to_dial(&mut self) -> bool {
        let links_max = self.shared.config.links_max as usize;
        let lacking = (self.standing + self.dialling + 1).saturating_sub(links_max);
        if lacking == 0 {
            return true;
        }
        // What is about to end has its file open yet, and who waits to be heard has one, too.
        let beside = self.running - self.standing + self.newcomers.len();
        beside <= links_max / BESIDE_SHARE && self.has_idle(false, lacking.min(FOUND_MAX))
    }

    /// Ends links while there are too many, but not that of `newest`.
    pub(super) fn make_room(&mut self, newest: &Grid) {
        let (max, inbound_max) = (self.shared.config.links_max as usize, self.shared.config.links_inbound_max as usize);
        while self.standing > max || self.standing_inbound > inbound_max {
            let is_inbound_only = self.standing_inbound > inbound_max;
            if !self.crowd_out(is_inbound_only, Some(newest)) {
                return;
            }
        }
    }

    /// Ends a link on which nobody waits for an answer, or any, if there is none of these: the idlest of them. Says whether
    /// there was one.
    pub(super) fn crowd_out(&mut self, is_inbound_only: bool, except: Option<&Grid>) -> bool {
        let of = usize::from(is_inbound_only);
        let (mut chosen, mut has_looked) = (None, false);
        while chosen.is_none() {
            match self.idlest[of].found.pop_front() {
                Some(idle) if Some(&idle.grid) != except => {
                    chosen = self.still_idle(&idle).map(|control| (idle, control))
                }
                Some(_) => {}
                None if !has_looked => {
                    self.look(is_inbound_only);
                    has_looked = true;
                }
                None => break,
            }
        }
        let chosen = chosen.or_else(|| {
            let others = self.links(is_inbound_only).filter(|(link, ..)| Some(&link.grid) != except);
            let idlest = others.min_by_key(|(link, ..)| link.last_used);
            idlest.map(|(link, control, _)| (link, control.clone()))
        });
        let Some((link, control)) = chosen else { return false };
        control.end(EndReason::CrowdedOut);
        self.forget_link(link.id, &link.grid, LossReason::Idle);
        true
    }

    /// Whether so many links are idle, at most [`FOUND_MAX`].
    pub(super) fn has_idle(&mut self, is_inbound_only: bool, count: usize) -> bool {
        let of = usize::from(is_inbound_only);
        let mut found = std::mem::take(&mut self.idlest[of].found);
        found.retain(|idle| self.still_idle(idle).is_some());
        self.idlest[of].found = found;
        if self.idlest[of].found.len() < count && self.idlest[of].none_until.is_none_or(|until| self.now >= until) {
            self.look(is_inbound_only);
        }
        self.idlest[of].found.len() >= count
    }

    /// Looks for the idlest links.
    fn look(&mut self, is_inbound_only: bool) {
        let mut found: Vec<Idle> =
            self.links(is_inbound_only).filter(|(.., is_awaited)| !is_awaited).map(|(link, ..)| link).collect();
        found.sort_unstable_by_key(|idle| (idle.last_used, idle.id));
        found.truncate(FOUND_MAX);
        let none_until = found.is_empty().then(|| self.now + PAUSE);
        self.idlest[usize::from(is_inbound_only)] = Idlest { found: found.into(), none_until };
    }

    /// All links, or those that others have opened: what is to be known of each, and whether somebody waits for an answer.
    fn links(&self, is_inbound_only: bool) -> impl Iterator<Item = (Idle, &Arc<Control>, bool)> {
        let patience = self.shared.config.answer_expected;
        self.peers.iter().flat_map(move |(grid, peer)| {
            let is_awaited = peer.is_awaited(self.now, patience);
            let links = peer.links.iter().filter(move |link| link.is_inbound || !is_inbound_only);
            links.map(move |link| {
                let idle = Idle { grid: *grid, id: link.id, last_used: link.control.last_used() };
                (idle, &link.control, is_awaited)
            })
        })
    }

    /// The link, if it stands, was not used since and nobody waits for an answer.
    fn still_idle(&self, idle: &Idle) -> Option<Arc<Control>> {
        let peer = self.peers.get(&idle.grid)?;
        let link = peer.links.iter().find(|link| link.id == idle.id)?;
        let is_idle = link.control.last_used() == idle.last_used
            && !peer.is_awaited(self.now, self.shared.config.answer_expected);
        is_idle.then(|| link.control.clone())
    }
}
