//! Handing records to their holders: one, or a million at once.
//!
//! ```text
//!   records, sorted by key
//!     -> lanes: each finds the holders of one record after the other, out of the table where that is complete,
//!        else by a search that finds the holders of a whole stretch of keys
//!     -> peers: each gets its records in bundles, one bundle at a time, and answers for each record
//! ```
//!
//! A record is acknowledged once a majority of its holders keep it; the writer goes on until each holder that can be
//! reached has it. A holder that knows a greater record says so, and that surfaces even if it is only one.

mod checking;
mod gathering;
mod placing;
mod writing;

use super::budget::LINK_BYTES;
use super::core::Core;
use super::operations::Progress;
use super::requests::{Pending, Purpose};
use crate::contact::{Address, Contact};
use crate::domain::Domain;
use crate::effect::{Effect, Notice, OperationId, Outcome, Target};
use crate::holders::{Scale, SetName, agreed};
use crate::id::{Grid, Id};
use crate::message::{Brief, Copy, Found, Message, Refusal, Store, StoreItem, StoreVerdict, Stored};
use crate::record::{Held, Record};
use crate::search::Search;
use crate::time::{Tick, Ticks};
use checking::{Announcing, Check};
use gathering::{Gathered, Survey};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use writing::{Writing, WritingNo};

/// How many searches for holders are under way at once.
const LANES_MAX: usize = 8;
/// An announcement, for which nobody is in a hurry, does so much less at once.
const CHECKS_SHARE: u32 = 8;
/// In which part of the time for a registration a search for holders begins again that has not arrived. Where ids were ground
/// into the place nobody near may be sure of knowing everybody, and one search of so crowded a place takes seconds.
const SEARCH_SHARE: u64 = 4;
/// How often a bundle is tried again before its peer counts as silent.
const TRIES_MAX: u8 = 2;

/// What became of a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// One entry for each record, sorted by key.
    pub records: Vec<Registration>,
    /// Depth of the last answer that was waited for.
    pub round_trips: u8,
}

/// What became of one record.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The record.
    pub record: Arc<Record>,
    /// Whether a majority of its holders keep it (in a widened set without a majority: whether each that can be reached
    /// has answered), and nobody knows a greater one.
    pub is_acknowledged: bool,
    /// What each holder said so far. Those still [`HolderSaid::Waiting`] are being tried on.
    pub holders: Vec<(Arc<Contact>, HolderSaid)>,
    /// The greater record, or the proof of a conflict, that a holder answered with.
    pub greater: Option<Arc<Copy>>,
}

impl Registration {
    /// Whether it is known that the claim was refused: most holders have answered, it is not acknowledged, and some of
    /// them keep another claimant's.
    pub fn is_anothers(&self) -> bool {
        let count = |admit: fn(&HolderSaid) -> bool| self.holders.iter().filter(|(_, said)| admit(said)).count();
        let answered = count(|said| !matches!(said, HolderSaid::Waiting | HolderSaid::Silent));
        let refused = count(|said| *said == HolderSaid::Refused(Refusal::OtherClaimant));
        !self.is_acknowledged && refused > 0 && answered * 2 > self.holders.len()
    }
}

/// What one holder made of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HolderSaid {
    /// Nothing yet.
    Waiting,
    /// It keeps it.
    Kept,
    /// It knows a greater one.
    Newer,
    /// It does not keep it.
    Refused(Refusal),
    /// It does not answer.
    Silent,
}

impl HolderSaid {
    /// What a verdict says, and the greater copy that comes with it.
    fn of(verdict: &StoreVerdict) -> (Self, Option<&Arc<Copy>>) {
        match verdict {
            StoreVerdict::Kept => (HolderSaid::Kept, None),
            StoreVerdict::Conflict(proof) => (HolderSaid::Kept, Some(proof)),
            StoreVerdict::Newer(copy) => (HolderSaid::Newer, Some(copy)),
            StoreVerdict::Refused(refusal) => (HolderSaid::Refused(*refusal), None),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Register {
    id: OperationId,
    /// Set if this is a part of an announcement, which hands over only what a holder lacks.
    announcing: Option<Announcing>,
    /// Set if it has no caller of its own.
    is_part: bool,
    writings: Vec<Writing>,
    peers: Vec<Peer>,
    index: BTreeMap<Grid, PeerNo>,
    /// Peers that have something to get and await no answer; and those who get it in the next wave.
    ready: Vec<PeerNo>,
    gathered: Gathered,
    survey: Survey,
    lanes: Vec<Lane>,
    /// In an announcement: which writing which peer lacks.
    lacking: Vec<(WritingNo, PeerNo)>,
    /// Whether most of those that were taken for some record's holders lack it, so that they may be none.
    is_doubtful: bool,
    /// Domains whose servers get a copy of the records that name them; dialled once the holders are known.
    homes: BTreeMap<Address, Vec<WritingNo>>,
    scales: Vec<Scale>,
    /// The entry points that were reached, and how many are still awaited.
    entries: Vec<Grid>,
    entries_awaited: usize,
    in_flight: usize,
    /// What was sent to the holders, with the links to them.
    bytes: u64,
    undecided: usize,
    is_reported: bool,
    depth: u8,
    /// When paused lanes begin again.
    retry: Option<Tick>,
    deadline: Tick,
}

#[derive(Debug)]
struct Peer {
    contact: Arc<Contact>,
    is_linked: bool,
    queue: Vec<WritingNo>,
    bundle: Vec<WritingNo>,
    tries: u8,
    /// Whether it is on the list of those who have something to get and await no answer.
    is_ready: bool,
    /// In an announcement: how far the comparison with it is, once it has begun.
    check: Option<Box<Check>>,
}

/// The number of a peer, in the order in which they were added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PeerNo(u32);

impl Index<PeerNo> for Vec<Peer> {
    type Output = Peer;
    fn index(&self, number: PeerNo) -> &Peer {
        &self[number.0 as usize]
    }
}

impl IndexMut<PeerNo> for Vec<Peer> {
    fn index_mut(&mut self, number: PeerNo) -> &mut Peer {
        &mut self[number.0 as usize]
    }
}

/// Finds the holders of the records in one stretch of keys, in order.
#[derive(Debug)]
struct Lane {
    next: usize,
    end: usize,
    search: Option<Search<()>>,
    /// How often the search has begun again, since when, and whether it waits to do so.
    tries: u8,
    began: Tick,
    is_paused: bool,
}

impl Register {
    pub(super) fn start(
        core: &mut Core,
        id: OperationId,
        records: Vec<Arc<Record>>,
        entries: &[Target],
    ) -> Option<Self> {
        let mut register = Self::new(core, id, records, entries);
        for target in entries {
            core.dials.push((target.clone(), id));
            core.effect(Effect::Request(target.clone()));
        }
        if entries.is_empty() {
            register.plan_survey(core);
            if register.advance(core, 0) == Progress::Done {
                return None;
            }
        }
        Some(register)
    }

    /// Announces these records, all that this server has in one range, to those whom it takes for their holders, or whom
    /// others do; says whether it goes on. Without a domain of its own a server hands over all of them. It is part of an
    /// announcement, to which it leaves the last word.
    pub(super) fn announce(
        core: &mut Core,
        id: OperationId,
        records: Vec<Arc<Record>>,
        domain: Option<Domain>,
        range: (Id, u8),
        asks_the_way: bool,
    ) -> (Self, Progress) {
        let mut register = Self::new(core, id, records, &[]);
        register.announcing = domain.map(|domain| Announcing { domain, range, asks_the_way });
        register.is_part = true;
        let progress = register.advance(core, 0);
        (register, progress)
    }

    fn new(core: &mut Core, id: OperationId, mut records: Vec<Arc<Record>>, entries: &[Target]) -> Self {
        records.sort_by_key(|record| record.key());
        let lanes = records.len().div_ceil(usize::from(core.config.holders) * 4).clamp(1, LANES_MAX);
        let cut = |lane: usize| records.len() * lane / lanes;
        let lanes = (0..lanes)
            .map(|lane| Lane {
                next: cut(lane),
                end: cut(lane + 1),
                search: None,
                tries: 0,
                began: core.now,
                is_paused: false,
            })
            .collect();
        let mut homes: BTreeMap<Address, Vec<WritingNo>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            core.take_home(record);
            let is_elsewhere = |home: &&crate::domain::Domain| !core.contact.is_at(home);
            if let Some(home) = record.home().filter(is_elsewhere) {
                homes.entry(Address::from(home)).or_default().push(WritingNo(index as u32));
            }
        }
        // The more there is to do, the longer it may take: a minute, and ten milliseconds a record.
        let allowance = core.config.register_deadline + Ticks(records.len() as u64 * 10);
        Self {
            id,
            announcing: None,
            is_part: false,
            bytes: 0,
            undecided: records.len(),
            writings: records.into_iter().map(Writing::new).collect(),
            peers: Vec::new(),
            index: BTreeMap::new(),
            ready: Vec::new(),
            gathered: Gathered::default(),
            survey: Survey::default(),
            lanes,
            lacking: Vec::new(),
            is_doubtful: false,
            homes,
            scales: Vec::new(),
            entries: Vec::new(),
            entries_awaited: entries.len(),
            in_flight: 0,
            is_reported: false,
            depth: 0,
            retry: None,
            deadline: core.now + allowance,
        }
    }

    /// Whether the caller has been told how it went.
    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }

    pub(super) fn next_wake(&self) -> Tick {
        self.retry.into_iter().chain(self.gathered.next_wake()).fold(self.deadline, Tick::min)
    }

    pub(super) fn on_linked(&mut self, core: &mut Core, target: &Target, contact: &Arc<Contact>) -> Progress {
        // While entry points are awaited this is one of them, though a home-server may be at the same address.
        if self.entries_awaited == 0
            && let Some(writings) = self.homes.remove(&target.address)
        {
            self.give_to_home(core, contact, &writings);
            return self.advance(core, self.depth);
        }
        self.entries_awaited = self.entries_awaited.saturating_sub(1);
        if core.is_worth_knowing(contact) {
            self.entries.push(contact.grid());
            self.peer(contact, target.address == *contact.address());
            let acquaintance = core.acquaintance(&contact.grid());
            for lane in 0..self.lanes.len() {
                self.begin_search(core, lane);
                if let Some(search) = &mut self.lanes[lane].search {
                    search.add_known(contact, acquaintance);
                }
            }
        }
        self.advance(core, 0)
    }

    pub(super) fn on_unreachable(&mut self, core: &mut Core, target: &Target) -> Progress {
        if self.entries_awaited == 0 {
            self.homes.remove(&target.address);
        }
        self.entries_awaited = self.entries_awaited.saturating_sub(1);
        self.advance(core, 0)
    }

    /// Somebody was found on the way to the holders.
    pub(super) fn on_found(&mut self, core: &mut Core, pending: &Pending, found: &Found) -> Progress {
        let informant = pending.peer.grid();
        let contacts = found.contacts.as_ref().map(|contacts| core.meet_all(contacts)).unwrap_or_default();
        if self.on_surveyed(pending) {
            return self.advance(core, pending.depth);
        }
        // Entry points were chosen by the writer; those next to a key may be many ids of one liar.
        if self.entries.contains(&informant) {
            self.scales.push(found.scale);
        }
        let scale = self.scale(core);
        for search in self.lanes.iter_mut().filter_map(|lane| lane.search.as_mut()) {
            if search.candidate(&informant).is_none() {
                continue;
            }
            for contact in &contacts {
                search.add_named(contact, informant, core.acquaintance(&contact.grid()));
            }
            search.set_scale(scale);
            if found.is_complete {
                search.arrive_by(&informant);
            }
            search.on_answer(&informant, ());
        }
        self.advance(core, pending.depth)
    }

    fn scale(&self, core: &Core) -> Scale {
        if self.announcing.is_some() {
            core.clear_scale()
        } else if core.is_node() {
            core.scale()
        } else {
            agreed(&self.scales)
        }
    }

    pub(super) fn on_stored(&mut self, core: &mut Core, pending: &Pending, stored: &Stored) -> Progress {
        let Some(&index) = self.index.get(&pending.peer.grid()) else { return Progress::Going };
        let bundle = std::mem::take(&mut self.peers[index].bundle);
        if bundle.is_empty() {
            return Progress::Going;
        }
        self.in_flight -= 1;
        self.peers[index].tries = 0;
        let contacts = core.meet_all(&stored.contacts);
        let mut named: Option<SmallVec<[PeerNo; 32]>> = None;
        for (position, writing) in bundle.into_iter().enumerate() {
            // An answer with too few results leaves the rest unsaid: those are handed over again, unless none was said.
            if position >= stored.results.len() && !stored.results.is_empty() {
                self.peers[index].queue.push(writing);
                continue;
            }
            let (said, greater, sees_other_set) = match stored.results.get(position) {
                Some(result) => {
                    let (said, greater) = HolderSaid::of(&result.verdict);
                    (said, greater, result.sees_other_set)
                }
                None => (HolderSaid::Silent, None, false),
            };
            let is_of_later_format = greater.is_some_and(|greater| greater.is_of_later_format());
            let is_believed = greater.is_none_or(|greater| self.on_greater(core, writing, greater));
            if !is_believed && !is_of_later_format {
                core.blame(pending.peer.grid());
            }
            let said = if said == HolderSaid::Newer && !is_believed { HolderSaid::Silent } else { said };
            if said == HolderSaid::Kept
                && let Some(check) = &mut self.peers[index].check
            {
                let Writing { record, greater, .. } = &self.writings[writing];
                let rival = greater.as_ref().and_then(|greater| greater.rival.as_ref());
                check.on_kept(Brief::of(record.key(), record, rival));
            }
            if sees_other_set {
                // Peers that are added below are in no slot that is still looked at.
                let named = named.get_or_insert_with(|| {
                    let numbers = stored.contacts.iter().map(|named| self.index.get(&named.contact.grid()).copied());
                    numbers.flatten().collect()
                });
                self.writings[writing].on_other_set(index, |peer| named.contains(&peer));
                self.widen_slots(core, writing, pending.peer.grid(), &contacts);
            }
            self.on_said(core, writing, index, said, pending.depth);
        }
        self.make_ready(core, index);
        self.advance(core, pending.depth)
    }

    /// A holder knows a greater record, or proof of a conflict. To be believed it must be valid, and be that: whoever
    /// kept an old record could else undo any write. Says whether it is believed.
    fn on_greater(&mut self, core: &mut Core, writing: WritingNo, copy: &Copy) -> bool {
        let writing = &mut self.writings[writing];
        let mut held = Held::new(writing.record.clone());
        for record in std::iter::once(&copy.record).chain(&copy.rival).filter(|record| record.verify().is_ok()) {
            held.merge(record.clone());
        }
        if held.record() == &writing.record && held.rival().is_none() {
            return false;
        }
        if writing.greater.as_ref().is_none_or(|known| held.record().outranks(&known.record)) {
            let (record, rival) = (held.record().clone(), held.rival().cloned());
            let greater = Arc::new(Copy { record, rival, age: copy.age });
            writing.greater = Some(greater.clone());
            if core.homed.contains_key(&greater.record.guid()) {
                // Kept, so that a lesser record that comes later brings nobody back who has gone.
                core.keep(&greater);
            }
            core.take_home(&greater.record);
        }
        true
    }

    pub(super) fn on_silence(&mut self, core: &mut Core, pending: &Pending) -> Progress {
        let grid = pending.peer.grid();
        if matches!(pending.request, Message::Compare(_)) {
            self.on_check_failed(core, pending);
        } else if self.on_surveyed(pending) {
            // Then what is known already has to do.
        } else if !matches!(pending.request, Message::Store(_)) {
            // A question on the way to the holders; a bundle to the same peer may still be answered.
            for search in self.lanes.iter_mut().filter_map(|lane| lane.search.as_mut()) {
                search.on_silence(&grid);
            }
        } else if let Some(&index) = self.index.get(&grid) {
            let peer = &mut self.peers[index];
            let bundle = std::mem::take(&mut peer.bundle);
            if !bundle.is_empty() {
                self.in_flight -= 1;
                peer.tries = peer.tries.saturating_add(1);
                if peer.tries < TRIES_MAX {
                    peer.is_linked = false;
                    peer.queue.splice(0..0, bundle);
                    self.make_ready(core, index);
                } else {
                    let unsaid = std::mem::take(&mut peer.queue);
                    for writing in bundle.into_iter().chain(unsaid) {
                        self.on_said(core, writing, index, HolderSaid::Silent, pending.depth);
                    }
                }
            }
        }
        self.advance(core, pending.depth)
    }

    pub(super) fn on_wake(&mut self, core: &mut Core) -> Progress {
        let is_retried = self.retry.take_if(|retry| core.now >= *retry).is_some();
        if is_retried {
            for lane in self.lanes.iter_mut().filter(|lane| lane.is_paused) {
                lane.is_paused = false;
                if let Some(search) = &mut lane.search {
                    search.begin_again();
                }
            }
        }
        if (is_retried || self.gathered.is_due(core.now)) && self.advance(core, self.depth) == Progress::Done {
            return Progress::Done;
        }
        if core.now < self.deadline {
            return Progress::Going;
        }
        if self.is_reported {
            self.on_over(core);
            return Progress::Done;
        }
        self.report(core);
        // As long again to reach the others.
        self.deadline = core.now + core.config.register_deadline;
        Progress::Going
    }

    fn on_said(&mut self, core: &Core, writing: WritingNo, peer: PeerNo, said: HolderSaid, depth: u8) {
        let scale = self.scale(core);
        self.writings[writing].on_said(peer, said);
        // What is announced again needs nobody to stand in for those who are away, while most have it.
        let is_replaced = self.announcing.is_none() || !self.writings[writing].is_mostly_kept();
        if said == HolderSaid::Silent && is_replaced {
            self.replace_silent(core, writing);
        }
        let writing = &mut self.writings[writing];
        if writing.is_decided {
            return;
        }
        if let Some(is_acknowledged) = writing.decide(core.own_seat(), core.config.holders_of(writing.kind()), scale) {
            writing.is_decided = true;
            writing.is_acknowledged = is_acknowledged;
            self.undecided -= 1;
            self.depth = self.depth.max(depth);
        }
    }

    /// Finds holders, hands out bundles, reports.
    fn advance(&mut self, core: &mut Core, led_by: u8) -> Progress {
        if !self.has_surveyed(core, led_by) {
            return Progress::Going;
        }
        for lane in 0..self.lanes.len() {
            self.advance_lane(core, lane, led_by);
        }
        let is_resolved = self.entries_awaited == 0 && self.lanes.iter().all(|lane| lane.next == lane.end);
        if is_resolved {
            self.dial_homes(core);
        }
        // A digest is of all that a holder should have: everybody's holders must be known.
        if is_resolved || self.announcing.is_none() {
            self.begin_wave(core, is_resolved);
            self.flush(core, led_by);
            self.begin_wave(core, is_resolved);
            if self.in_flight == 0 && self.give_what_is_lacking(core) {
                self.flush(core, led_by);
            }
        }
        if self.undecided == 0 && !self.is_reported {
            self.report(core);
        }
        let is_decided = self.undecided == 0 || self.is_doubtful;
        let is_over = is_resolved && self.in_flight == 0 && self.homes.is_empty() && is_decided;
        if is_over {
            self.on_over(core);
            return Progress::Done;
        }
        Progress::Going
    }

    fn on_over(&self, core: &mut Core) {
        if !self.is_part {
            core.notify(Notice::Spread(self.id));
        }
    }

    /// The peer's number; it is added if new.
    fn peer(&mut self, contact: &Arc<Contact>, is_linked: bool) -> PeerNo {
        let next = PeerNo(self.peers.len() as u32);
        let index = *self.index.entry(contact.grid()).or_insert(next);
        if index == next {
            let contact = contact.clone();
            self.peers.push(Peer {
                contact,
                is_linked,
                queue: Vec::new(),
                bundle: Vec::new(),
                tries: 0,
                is_ready: false,
                check: None,
            });
        }
        self.peers[index].is_linked |= is_linked;
        index
    }

    /// Notes a peer that has something to get and awaits no answer.
    fn make_ready(&mut self, core: &Core, index: PeerNo) {
        let peer = &mut self.peers[index];
        let (is_awaited, has_more) =
            peer.check.as_ref().map_or((false, false), |check| (check.is_awaited(), check.has_more()));
        let awaits_nothing = peer.bundle.is_empty() && !is_awaited;
        if !peer.is_ready && awaits_nothing && (has_more || !peer.queue.is_empty()) {
            peer.is_ready = true;
            self.line_up(core, index);
        }
    }

    /// Sends the next bundle to each peer that awaits none.
    fn flush(&mut self, core: &mut Core, led_by: u8) {
        let bundles = core.config.bundles_at_once_max;
        let in_flight_max = if self.announcing.is_some() { (bundles / CHECKS_SHARE).max(1) } else { bundles };
        while self.in_flight < in_flight_max as usize {
            let Some(index) = self.ready.pop() else { return };
            self.peers[index].is_ready = false;
            if self.announcing.is_some() && self.check(core, index, led_by) {
                continue;
            }
            let count = self.fitting(core, index).max(1);
            let peer = &mut self.peers[index];
            peer.bundle = peer.queue.drain(..count).collect();
            let (contact, is_linked, bundle) = (peer.contact.clone(), peer.is_linked, peer.bundle.clone());
            peer.is_linked = true;
            // Those to whom a record is announced are its holders by duty; that some see stand-ins for who is away changes nothing.
            let is_announced = self.announcing.is_some();
            let items: Vec<StoreItem> = bundle
                .iter()
                .map(|index| {
                    let writing = &self.writings[*index];
                    let copy = Copy { record: writing.record.clone(), rival: None, age: Ticks(0) };
                    StoreItem { copy, set: if is_announced { SetName::NONE } else { writing.set } }
                })
                .collect();
            self.in_flight += 1;
            let length = items.iter().map(|item| item.copy.encoded_len() + size_of::<u32>()).sum();
            self.count_bytes(core, &contact, is_linked, length);
            core.ask(&contact, is_linked, Purpose::of(self.id), led_by.saturating_add(1), |id| {
                Message::Store(Store { id, items: items.into_iter().collect() })
            });
        }
    }

    fn count_bytes(&mut self, core: &Core, peer: &Contact, is_linked: bool, length: usize) {
        let is_linked = is_linked || core.table.entry(&peer.grid()).is_some_and(|entry| entry.is_reached());
        self.bytes += length as u64 + if is_linked { 0 } else { u64::from(LINK_BYTES) };
    }

    /// Whether most of those that were taken for some record's holders lack it: it is to be announced once more, to whom
    /// others take for them.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// How many bytes were sent to holders, a link counted as what a budget counts it for.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes
    }

    /// What became of the records until now.
    pub(super) fn registered(&self) -> Registered {
        let records = self.writings.iter().map(|writing| writing.registration(&self.peers)).collect();
        Registered { records, round_trips: self.depth }
    }

    fn report(&mut self, core: &mut Core) {
        self.is_reported = true;
        if !self.is_part {
            let registered = self.registered();
            core.effect(Effect::Complete(self.id, Outcome::Registered(Ok(Box::new(registered)))));
        }
    }
}
