//! How each holder is handed its records once, and not in pieces: a server that registers many users asks around who is
//! there before it hands over anything, and what comes to light later goes out in waves.
//!
//! ```text
//!   the keyspace, cut into parts with no more nodes than an answer names
//!     -> in each part that many records belong to, one node is asked whom it sees around itself
//!   -> the holders of all records are found
//!   -> all who have something to get, the first wave
//!     -> some answer that others are holders, too: those are gathered
//!   -> once all have answered, or take long, those who were gathered: the next wave
//! ```
//!
//! Whoever is asked is believed no more than anybody who names contacts: each holder says by itself if it sees others.

use super::{PeerNo, Register};
use crate::contact::Contact;
use crate::id::Id;
use crate::message::{COPIES_MAX, Find, Message, RequestId, Want};
use crate::state::core::Core;
use crate::state::requests::{Pending, Purpose};
use crate::time::Tick;
use std::sync::Arc;

/// Who is asked what it sees around itself, before anything is handed over.
#[derive(Debug, Default)]
pub(super) struct Survey {
    due: Vec<Arc<Contact>>,
    awaited: usize,
}

impl Survey {
    fn is_over(&self) -> bool {
        self.due.is_empty() && self.awaited == 0
    }
}

/// Those who wait for the next wave.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    peers: Vec<PeerNo>,
    /// When they have waited for long enough.
    until: Option<Tick>,
}

impl Gathered {
    pub(super) fn next_wake(&self) -> Option<Tick> {
        self.until
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// So many leading bits are shared in a part of the keyspace that has three quarters of so many groups at most, if there
/// are so many nodes: parts differ.
fn part_bits(nodes: u64, groups: u16) -> u8 {
    let at_most = (u64::from(groups) * 3 / 4).max(1);
    nodes.div_ceil(at_most).max(1).next_power_of_two().ilog2() as u8
}

impl Register {
    /// Decides who is asked whom it sees. A table without room for everybody would not keep what is heard; then the
    /// holders are searched for. Who knows most need not ask: the holders name the others. Whoever lives around itself a node
    /// knows anyway.
    pub(super) fn plan_survey(&mut self, core: &Core) {
        // In a network that has just grown only the own neighbourhood tells how much there is that nobody has told of.
        let nodes = core.scale().nodes().max(core.table.near_scale().nodes());
        let knows_most = core.table.len() as u64 * 4 >= nodes * 3;
        if !core.is_node() || core.table.is_partial() || knows_most {
            return;
        }
        let bits = part_bits(nodes, core.config.groups_max());
        // A few records cost less than the question.
        let many = usize::from(core.config.holders);
        let place = |writing: usize| self.writings[writing].record.key().id;
        let mut first = 0;
        while first < self.writings.len() {
            let start = place(first);
            let (_, high) = start.slice(bits);
            let count = self.writings[first..].iter().take_while(|writing| writing.record.key().id <= high).count();
            if count >= many && core.grid().0.common_bits(&start) < u32::from(bits) {
                self.survey.due.extend(resident(core, &start, bits));
            }
            first += count.max(1);
        }
    }

    /// Goes on with the survey. Says whether it is over.
    pub(super) fn has_surveyed(&mut self, core: &mut Core, led_by: u8) -> bool {
        let groups = core.config.groups_max();
        while self.survey.awaited < core.config.bundles_at_once_max as usize {
            let Some(peer) = self.survey.due.pop() else { break };
            let target = peer.grid().0;
            let find =
                Find { id: RequestId(0), target, want: Want::Contacts, groups, set: core.view(&target, groups).name };
            self.survey.awaited += 1;
            core.ask(&peer, false, Purpose::of(self.id), led_by.saturating_add(1), |id| {
                Message::Find(Find { id, ..find })
            });
        }
        self.survey.is_over()
    }

    /// Somebody was asked in a survey and has answered, or did not; says whether this is about one. Whom it named is in the
    /// table already.
    pub(super) fn on_surveyed(&mut self, pending: &Pending) -> bool {
        let is_survey = !self.survey.is_over() && matches!(pending.request, Message::Find(_));
        self.survey.awaited -= usize::from(is_survey && self.survey.awaited > 0);
        is_survey
    }

    /// Notes a peer that has something to get. Among many records there may be more for it soon, unless it has enough for a
    /// bundle or is tried once more.
    pub(super) fn line_up(&mut self, core: &Core, index: PeerNo) {
        let is_one_of_many = self.lanes.len() > 1 && self.announcing.is_none();
        if is_one_of_many && self.peers[index].tries == 0 && self.fitting(core, index) == self.queued(index) {
            self.gathered.peers.push(index);
        } else {
            self.ready.push(index);
        }
    }

    fn queued(&self, index: PeerNo) -> usize {
        self.peers[index].queue.len()
    }

    /// How many of the records that wait for this peer fit one bundle.
    pub(super) fn fitting(&self, core: &Core, index: PeerNo) -> usize {
        let mut room = core.config.bundle_bytes_max as usize;
        let queue = self.peers[index].queue.iter().take(COPIES_MAX);
        let fitting = queue.take_while(|writing| {
            let length = self.writings[**writing].record.encoded_len() + 16;
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        });
        fitting.count()
    }

    /// The next wave begins when nobody can add to it any more, or when that takes long.
    pub(super) fn begin_wave(&mut self, core: &Core, is_resolved: bool) {
        if self.gathered.peers.is_empty() {
            return;
        }
        let is_complete = is_resolved && self.in_flight == 0 && self.ready.is_empty();
        if is_complete || self.gathered.is_due(core.now) {
            self.gathered.until = None;
            self.ready.append(&mut self.gathered.peers);
        } else if self.ready.is_empty() && self.gathered.until.is_none() {
            self.gathered.until = Some(core.now + core.config.answer_timeout);
        }
    }
}

/// Somebody who lives in this part of the keyspace and has answered before.
fn resident(core: &Core, start: &Id, bits: u8) -> Option<Arc<Contact>> {
    let is_there = |contact: &Contact| contact.grid().0.common_bits(start) >= u32::from(bits);
    let mut there = core.table.nearest(start).take_while(|entry| is_there(entry.contact()));
    there.find(|entry| entry.is_available() && entry.has_answered()).map(|entry| entry.contact().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_keyspace_has_no_more_nodes_than_an_answer_names() {
        for (nodes, bits) in [(0, 0), (1, 0), (48, 0), (49, 1), (2_000, 6), (10_000, 8)] {
            assert_eq!(part_bits(nodes, 64), bits, "{nodes}");
        }
        assert!(part_bits(1 << 41, 1) <= 64);
    }
}
