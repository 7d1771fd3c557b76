//! Handing over only what a holder lacks: how an announcement, which mostly says what is known, differs from a
//! registration.
//!
//! Once the holders of a whole stretch of keys are known, each is asked to compare what it has there of this server's
//! users with what it should have. Where that is the same, everything is said. Where something differs the holder lists
//! what it has; what it has in another version is handed over as in a registration, and then the range is compared once
//! more, since a comparison that finds both the same is what renews the ages of the rest.
//!
//! What a holder lacks it is given only if most holders lack it. Else it may be none of them: a server that has just come
//! back does not know everybody yet. If it is one, its fellows see to it. And where most lack something, they may all be
//! none of its holders: then everything is announced once more, to those whom others say to be the holders.

use super::{HolderSaid, PeerNo, Register, TRIES_MAX, WritingNo};
use crate::domain::Domain;
use crate::id::{Id, Key};
use crate::message::{Brief, Compare, Compared, Difference, Fetch, Message, Range, RequestId, UsersOf};
use crate::state::compare::{SPLIT_BITS_MAX, part};
use crate::state::core::Core;
use crate::state::operations::Progress;
use crate::state::requests::{Pending, Purpose};
use crate::store::digest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often a holder may split what it is asked to compare. Who holds as much of one domain as can be held makes fewer
/// listings than that.
const SPLITS_MAX: u32 = 256;
/// How many users that the server has not heard of it asks a holder for at a time: as many as fit a bundle.
const MISSED_MAX: usize = 64;

/// What an announcement compares: the records that name this domain, and share so many leading bits of a place.
#[derive(Debug)]
pub(super) struct Announcing {
    pub(super) domain: Domain,
    pub(super) range: (Id, u8),
    /// Whether others are asked who the holders are, though this server knows some who may be.
    pub(super) asks_the_way: bool,
}

/// How far the comparison with one holder is.
#[derive(Debug)]
pub(super) struct Check {
    /// What is still to be compared.
    due: Vec<(Id, u8)>,
    /// What differed, to be compared once more when the holder has what it lacked.
    again: Vec<(Id, u8)>,
    /// What the holder has in the ranges that differed.
    listed: BTreeMap<Key, u64>,
    /// Whether a comparison is under way, and whether it is a second one.
    is_awaited: bool,
    is_second: bool,
    splits: u32,
}

impl Check {
    fn of(range: (Id, u8)) -> Self {
        let (due, again, listed) = (vec![range], Vec::new(), BTreeMap::new());
        Self { due, again, listed, is_awaited: false, is_second: false, splits: 0 }
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    pub(super) fn has_more(&self) -> bool {
        !self.due.is_empty() || !self.again.is_empty()
    }

    /// The holder keeps a record now.
    pub(super) fn on_kept(&mut self, brief: Brief) {
        self.listed.insert(brief.key, brief.hash);
    }
}

fn is_within(key: &Key, (start, bits): (Id, u8)) -> bool {
    key.id.common_bits(&start) >= u32::from(bits)
}

impl Register {
    fn brief(&self, writing: WritingNo) -> Brief {
        let record = &self.writings[writing].record;
        Brief::of(record.key(), record, None)
    }

    /// Sends a comparison to a peer if one is due. Says whether there is nothing else for it at the moment.
    pub(super) fn check(&mut self, core: &mut Core, index: PeerNo, led_by: u8) -> bool {
        let Some(Announcing { domain, range, .. }) = &self.announcing else { return false };
        let (domain, whole) = (domain.clone(), *range);
        let peer = &mut self.peers[index];
        let check = peer.check.get_or_insert_with(|| Box::new(Check::of(whole)));
        let (range, digest) = if let Some(range) = check.due.pop() {
            let queue = std::mem::take(&mut peer.queue);
            let (mut bundle, rest): (Vec<WritingNo>, Vec<WritingNo>) =
                queue.into_iter().partition(|writing| is_within(&self.writings[*writing].record.key(), range));
            // Their numbers are in the order of keys.
            bundle.sort_unstable();
            (peer.queue, peer.bundle) = (rest, bundle.clone());
            (range, digest(bundle.into_iter().map(|writing| self.brief(writing))))
        } else if !peer.queue.is_empty() {
            return false;
        } else if let Some(range) = check.again.pop() {
            check.is_second = true;
            let listed = check.listed.iter().filter(|(key, _)| is_within(key, range));
            (range, digest(listed.map(|(key, hash)| Brief { key: *key, hash: *hash })))
        } else {
            return true;
        };
        let peer = &mut self.peers[index];
        if let Some(check) = &mut peer.check {
            check.is_awaited = true;
        }
        let (contact, is_linked) = (peer.contact.clone(), std::mem::replace(&mut peer.is_linked, true));
        let (start, bits) = range;
        let users = Some(UsersOf { domain, scale: core.clear_scale() });
        let range = Arc::new(Range { start, bits, digest, users });
        self.in_flight += 1;
        let request = Message::Compare(Compare { id: RequestId(u32::MAX), range: range.clone() });
        self.count_bytes(core, &contact, is_linked, request.encoded_len());
        core.ask(&contact, is_linked, Purpose::of(self.id), led_by.saturating_add(1), |id| {
            Message::Compare(Compare { id, range })
        });
        true
    }

    pub(in crate::state) fn on_compared(
        &mut self,
        core: &mut Core,
        pending: &Pending,
        compared: &Compared,
    ) -> Progress {
        let Some((index, range)) = self.checked(pending) else { return Progress::Going };
        let peer = &mut self.peers[index];
        let Some(check) = peer.check.as_mut().filter(|check| check.is_awaited) else { return Progress::Going };
        check.is_awaited = false;
        self.in_flight -= 1;
        peer.tries = 0;
        let bundle = std::mem::take(&mut peer.bundle);
        match &compared.difference {
            // What differs even now is compared again at the next announcement.
            _ if std::mem::take(&mut check.is_second) => {}
            Difference::Same => {
                for writing in bundle {
                    self.on_said(core, writing, index, HolderSaid::Kept, pending.depth);
                }
            }
            Difference::Listing(listing) => {
                let listed = listing.iter().filter(|brief| is_within(&brief.key, range));
                let listed = listed.map(|brief| (brief.key, brief.hash)).collect();
                self.on_listed(core, index, bundle, range, listed, pending.depth);
            }
            Difference::Split(_) => {
                let (start, bits) = range;
                check.splits += 1;
                if check.splits > SPLITS_MAX || bits > SPLIT_BITS_MAX {
                    core.blame(pending.peer.grid());
                } else {
                    let parts = (0..16).map(|index| (part(&start, bits, index), bits + 4));
                    let is_wanted = |part: &(Id, u8)| {
                        bundle.iter().any(|writing| is_within(&self.writings[*writing].record.key(), *part))
                    };
                    check.due.extend(parts.filter(is_wanted));
                }
                peer.queue.extend(bundle);
            }
        }
        self.make_ready(core, index);
        self.advance(core, pending.depth)
    }

    /// A holder has something else than it should: this is what.
    fn on_listed(
        &mut self,
        core: &mut Core,
        index: PeerNo,
        bundle: Vec<WritingNo>,
        range: (Id, u8),
        listed: BTreeMap<Key, u64>,
        depth: u8,
    ) {
        let (mut same, mut other) = (Vec::new(), Vec::new());
        for writing in bundle.iter().copied() {
            let brief = self.brief(writing);
            match listed.get(&brief.key) {
                Some(hash) if *hash == brief.hash => same.push(writing),
                Some(_) => other.push(writing),
                None => self.lacking.push((writing, index)),
            }
        }
        let mut missed = Vec::new();
        for (key, hash) in &listed {
            match self.writings.binary_search_by_key(key, |writing| writing.record.key()) {
                Ok(writing) => {
                    let writing = WritingNo(writing as u32);
                    // It believes to hold what it need not, by our view: so it had better be right.
                    if self.brief(writing).hash != *hash && !bundle.contains(&writing) {
                        other.push(writing);
                    }
                }
                Err(_) => missed.push(*key),
            }
        }
        let peer = &mut self.peers[index];
        peer.queue.extend(other);
        if let Some(check) = &mut peer.check {
            check.listed.extend(listed);
            if !same.is_empty() {
                check.again.push(range);
            }
        }
        let contact = peer.contact.clone();
        if !missed.is_empty() {
            let keys = missed.into_iter().take(MISSED_MAX).collect();
            core.ask(&contact, true, Purpose::Missed, 0, |id| Message::Fetch(Fetch { id, keys }));
        }
        for writing in same {
            self.on_said(core, writing, index, HolderSaid::Kept, depth);
        }
    }

    /// Everything has been compared: what most holders lack, those who lack it are given, if it is sure that they are the
    /// holders. Says whether that is anything.
    pub(super) fn give_what_is_lacking(&mut self, core: &Core) -> bool {
        let mut lacking = std::mem::take(&mut self.lacking);
        lacking.retain(|(writing, _)| !self.writings[*writing].is_acknowledged);
        if self.announcing.as_ref().is_some_and(|announcing| !announcing.asks_the_way) {
            self.is_doubtful |= !lacking.is_empty();
            return false;
        }
        for (writing, index) in &lacking {
            self.peers[*index].queue.push(*writing);
            self.make_ready(core, *index);
        }
        !lacking.is_empty()
    }

    /// A comparison was left unanswered.
    pub(super) fn on_check_failed(&mut self, core: &mut Core, pending: &Pending) {
        let Some((index, range)) = self.checked(pending) else { return };
        let peer = &mut self.peers[index];
        let Some(check) = peer.check.as_mut().filter(|check| check.is_awaited) else { return };
        check.is_awaited = false;
        self.in_flight -= 1;
        peer.tries = peer.tries.saturating_add(1);
        peer.is_linked = false;
        let bundle = std::mem::take(&mut peer.bundle);
        if std::mem::take(&mut check.is_second) {
            // Everything has been said; the ages of the rest are renewed another time.
        } else if peer.tries < TRIES_MAX {
            check.due.push(range);
            peer.queue.extend(bundle);
        } else {
            check.due.clear();
            check.again.clear();
            let unsaid = std::mem::take(&mut peer.queue);
            for writing in bundle.into_iter().chain(unsaid) {
                self.on_said(core, writing, index, HolderSaid::Silent, pending.depth);
            }
        }
        self.make_ready(core, index);
    }

    /// The peer that was asked to compare, and what.
    fn checked(&self, pending: &Pending) -> Option<(PeerNo, (Id, u8))> {
        let Message::Compare(compare) = &pending.request else { return None };
        let index = self.index.get(&pending.peer.grid())?;
        Some((*index, (compare.range.start, compare.range.bits)))
    }
}
