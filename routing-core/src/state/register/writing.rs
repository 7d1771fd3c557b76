//! One record on its way to its holders, and the stretch of keys that one search finds the holders of.

use super::{HolderSaid, Peer, PeerNo, Registration};
use crate::contact::{Contact, Group};
use crate::holders::{Admission, Place, Scale, SetName, Tally};
use crate::id::{Grid, Id, Kind};
use crate::message::Copy;
use crate::record::{Body, Record};
use crate::search::{Search, Seat};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Writing {
    pub(super) record: Arc<Record>,
    /// Who gets it, nearest first.
    pub(super) slots: Vec<Slot>,
    /// The next nearest, of whom some take the places of holders that stay silent.
    pub(super) spares: Vec<PeerNo>,
    /// What this node's own store made of it, if it is a holder itself.
    pub(super) own: Option<HolderSaid>,
    pub(super) greater: Option<Arc<Copy>>,
    /// The name of the set that it is given to.
    pub(super) set: SetName,
    /// How many have not said anything yet.
    waiting: usize,
    /// How many keep it.
    kept: usize,
    /// Whether the outcome of this record is known.
    pub(super) is_decided: bool,
    pub(super) is_acknowledged: bool,
}

/// The number of a record on its way, in the order of keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct WritingNo(pub(super) u32);

impl Index<WritingNo> for Vec<Writing> {
    type Output = Writing;
    fn index(&self, number: WritingNo) -> &Writing {
        &self[number.0 as usize]
    }
}

impl IndexMut<WritingNo> for Vec<Writing> {
    fn index_mut(&mut self, number: WritingNo) -> &mut Writing {
        &mut self[number.0 as usize]
    }
}

/// One holder of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// How far the holder is from the key, in leading 64 bits.
    distance: u64,
    pub(super) peer: PeerNo,
    group: Group,
    said: HolderSaid,
    /// Whether it holds its seat though silent: met before, or named by more than one.
    is_credible: bool,
    /// The home-server gets a copy, too, but is no holder because of that.
    is_holder: bool,
    /// How many holders have named others instead of it.
    unnamed: u16,
}

impl Writing {
    pub(super) fn new(record: Arc<Record>) -> Self {
        Self {
            record,
            slots: Vec::new(),
            spares: Vec::new(),
            own: None,
            greater: None,
            set: SetName::NONE,
            waiting: 0,
            kept: 0,
            is_decided: false,
            is_acknowledged: false,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.record.body() {
            Body::Placement(_) => Kind::User,
            Body::Claim(_) => Kind::Claim,
        }
    }

    /// The holders as they are known, without those who stay silent.
    pub(super) fn reached(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.is_holder && slot.said != HolderSaid::Silent)
    }

    /// Those who count as holders. Who is silent does if there is reason to believe in it, and if not most of those who
    /// have answered name others: then it has been given up, by whomever it was named.
    pub(super) fn seated(&self) -> impl Iterator<Item = &Slot> {
        let answered = self.reached().filter(|slot| slot.said != HolderSaid::Waiting).count();
        self.slots.iter().filter(move |slot| {
            let is_believed = slot.is_credible && usize::from(slot.unnamed) * 2 <= answered;
            slot.is_holder && (slot.said != HolderSaid::Silent || is_believed)
        })
    }

    /// How far from the key somebody may be and still be a holder, by those who count as holders now.
    pub(super) fn reach(&self, holders: u16, scale: Scale) -> u64 {
        let mut admission = Admission::new(holders, scale);
        let full_at = self.seated().find(|slot| {
            admission.admit(slot.distance, slot.group);
            admission.is_full()
        });
        full_at.map_or(u64::MAX, |slot| slot.distance.max(scale.radius(holders).unwrap_or(0)))
    }

    /// Whether this peer is known to be one of its holders.
    pub(super) fn is_held_by(&self, peer: PeerNo) -> bool {
        self.slots.iter().any(|slot| slot.peer == peer && slot.is_holder)
    }

    /// A holder sees another set, whose members it has named: `is_named` says of whom.
    pub(super) fn on_other_set(&mut self, informant: PeerNo, is_named: impl Fn(PeerNo) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| slot.peer != informant && !is_named(slot.peer)) {
            slot.unnamed = slot.unnamed.saturating_add(1);
        }
    }

    /// Adds somebody who gets the record. Says whether it is new.
    pub(super) fn add(&mut self, peer: PeerNo, contact: &Contact, is_credible: bool, is_holder: bool) -> bool {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.peer == peer) {
            if is_holder && !slot.is_holder {
                slot.is_holder = true;
                self.waiting += usize::from(slot.said == HolderSaid::Waiting);
                self.kept += usize::from(slot.said == HolderSaid::Kept);
            }
            // Named once more: somebody else believes in it, too.
            slot.is_credible = true;
            return false;
        }
        let distance = self.record.key().id.prefix() ^ contact.grid().0.prefix();
        let group = contact.group();
        let slot = Slot { distance, peer, group, said: HolderSaid::Waiting, is_credible, is_holder, unnamed: 0 };
        let index = self.slots.partition_point(|known| known.distance < distance);
        self.slots.insert(index, slot);
        self.waiting += usize::from(is_holder);
        true
    }

    /// Names the set anew, after somebody was added.
    pub(super) fn name_set(&mut self, own: Grid) {
        let target = self.record.key().id.prefix();
        let own = self.own.map(|_| target ^ own.0.prefix());
        let holders = self.slots.iter().filter(|slot| slot.is_holder && slot.said != HolderSaid::Silent);
        let nearer = holders.clone().map(|slot| slot.distance).filter(|distance| own.is_none_or(|own| *distance < own));
        let farther = holders.map(|slot| slot.distance).filter(|distance| own.is_some_and(|own| *distance >= own));
        self.set = SetName::of(nearer.chain(own).chain(farther).map(|distance| distance ^ target));
    }

    pub(super) fn on_said(&mut self, peer: PeerNo, said: HolderSaid) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.peer == peer) else { return };
        if slot.said == HolderSaid::Waiting && slot.is_holder {
            self.waiting -= 1;
            self.kept += usize::from(said == HolderSaid::Kept);
        }
        slot.said = said;
    }

    /// Whether most of those who get it keep it.
    pub(super) fn is_mostly_kept(&self) -> bool {
        self.kept * 2 > self.slots.len()
    }

    /// Whether the record is acknowledged; `None` while that is open.
    pub(super) fn decide(&self, own: Option<(Grid, Group)>, holders: u16, scale: Scale) -> Option<bool> {
        if self.greater.as_ref().is_some_and(|greater| greater.record != self.record) {
            return Some(false);
        }
        // Groups are counted only once they can be a majority.
        let kept = self.kept + usize::from(self.own == Some(HolderSaid::Kept));
        if self.waiting > 0 && kept * 2 < self.slots.len().min(holders.into()) {
            return None;
        }
        let target = self.record.key().id.prefix();
        let mut own = own.filter(|_| self.own.is_some()).map(|(grid, group)| (target ^ grid.0.prefix(), group));
        let mut admission = Admission::new(holders, scale);
        let mut tally = Tally::default();
        for slot in self.seated() {
            if let Some((distance, group)) = own.take_if(|(distance, _)| *distance < slot.distance) {
                tally.add(admission.admit(distance, group), group, self.own == Some(HolderSaid::Kept));
            }
            let place = admission.admit(slot.distance, slot.group);
            if place == Place::Outside {
                break;
            }
            tally.add(place, slot.group, slot.said == HolderSaid::Kept);
        }
        if let Some((distance, group)) = own {
            tally.add(admission.admit(distance, group), group, self.own == Some(HolderSaid::Kept));
        }
        // In a widened set ids were ground, to keep a majority from answering or to be one: it takes all who can be
        // reached, and they are enough.
        if tally.is_widened() {
            return (self.waiting == 0).then(|| tally.voted() > 0);
        }
        if tally.is_majority() {
            return Some(true);
        }
        (self.waiting == 0).then_some(false)
    }

    pub(super) fn registration(&self, peers: &[Peer]) -> Registration {
        let holders = self.slots.iter().filter(|slot| slot.is_holder);
        Registration {
            record: self.record.clone(),
            is_acknowledged: self.is_acknowledged,
            holders: holders.map(|slot| (peers[slot.peer.0 as usize].contact.clone(), slot.said)).collect(),
            greater: self.greater.clone(),
        }
    }
}

/// The part of the keyspace in which a search has found everybody.
pub(super) struct Stretch {
    start: Id,
    /// Keys that share so many leading bits with `start` have all their holders among the search's candidates.
    bits: Option<u32>,
}

impl Stretch {
    pub(super) fn of(search: &Search<()>, holders: u16) -> Self {
        let start = *search.target();
        let window = search.window();
        let others = window.iter().filter_map(|seat| match seat {
            Seat::Other(index, _) => Some(search.candidates()[*index].contact()),
            Seat::Own(..) => None,
        });
        let Some(farthest) = others.clone().next_back() else { return Self { start, bits: None } };
        // Everybody nearer than the farthest is known, so everybody who shares one bit more than that one does.
        let bits = start.common_bits(&farthest.grid().0) + 1;
        let mut groups: Vec<Group> = others
            .filter(|contact| start.common_bits(&contact.grid().0) >= bits)
            .map(|contact| contact.group())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        Self { start, bits: (groups.len() >= usize::from(holders)).then_some(bits) }
    }

    pub(super) fn covers(&self, key: &Id) -> bool {
        self.bits.is_some_and(|bits| self.start.common_bits(key) >= bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{place, user};
    use crate::testing::{contact, contacts, id_near, rng};

    /// The home-server gets a copy; that it is one of the holders, too, may come to light later.
    #[test]
    fn a_home_that_turns_out_to_be_a_holder_is_waited_for_and_counted_like_any() {
        let contacts = contacts(&mut rng(1), 3);
        for says_it_first in [false, true] {
            let mut writing = Writing::new(place(&mut user(1), "home.example"));
            assert!(writing.add(PeerNo(0), &contacts[0], true, false));
            if says_it_first {
                writing.on_said(PeerNo(0), HolderSaid::Kept);
            }
            assert!(!writing.add(PeerNo(0), &contacts[0], true, true));
            assert!(
                writing.add(PeerNo(1), &contacts[1], true, true) && writing.add(PeerNo(2), &contacts[2], true, true)
            );
            writing.on_said(PeerNo(0), HolderSaid::Kept);
            assert_eq!(writing.decide(None, 3, Scale::UNKNOWN), None);
            writing.on_said(PeerNo(1), HolderSaid::Silent);
            writing.on_said(PeerNo(2), HolderSaid::Kept);
            assert_eq!(writing.decide(None, 3, Scale::UNKNOWN), Some(true), "{says_it_first}");
            assert_eq!((writing.waiting, writing.kept), (0, 2));
        }
    }

    /// Whoever stays silent may be one whom a liar wants left out, or dead for longer than those know who named it.
    #[test]
    fn the_silent_keep_their_seats_unless_most_who_answer_name_others() {
        for (unnamed_by, is_acknowledged) in [(2, false), (3, true)] {
            let mut writing = Writing::new(place(&mut user(1), "home.example"));
            for (peer, contact) in (0..).map(PeerNo).zip(&contacts(&mut rng(3), 10)) {
                writing.add(peer, contact, true, true);
            }
            (5..10).for_each(|peer| writing.on_said(PeerNo(peer), HolderSaid::Silent));
            (0..5).for_each(|peer| writing.on_said(PeerNo(peer), HolderSaid::Kept));
            assert_eq!(writing.decide(None, 10, Scale::UNKNOWN), Some(false), "five of ten are no majority");
            (0..unnamed_by).for_each(|informant| writing.on_other_set(PeerNo(informant), |peer| peer != PeerNo(9)));
            assert_eq!(writing.decide(None, 10, Scale::UNKNOWN), Some(is_acknowledged), "{unnamed_by}");
        }
    }

    #[test]
    fn in_a_widened_set_a_majority_of_ground_ids_acknowledges_nothing() {
        let (mut rng, mut account) = (rng(2), user(1));
        let record = place(&mut account, "home.example");
        let place = record.key().id;
        let mut writing = Writing::new(record);
        // Seven ids that share 30 bits with the key, and one where the holders of a network of 2^10 nodes are.
        for peer in 0..7 {
            let ground = contact(id_near(&mut rng, &place, 30));
            writing.add(PeerNo(peer), &ground, true, true);
        }
        writing.add(PeerNo(7), &contact(id_near(&mut rng, &place, 10)), true, true);
        let decide = |writing: &Writing| writing.decide(None, 4, Scale::of_nodes(1 << 10));
        (0..7).for_each(|peer| writing.on_said(PeerNo(peer), HolderSaid::Kept));
        assert_eq!(decide(&writing), None, "the honest one has not answered");
        writing.on_said(PeerNo(7), HolderSaid::Kept);
        assert_eq!(decide(&writing), Some(true));
    }
}
