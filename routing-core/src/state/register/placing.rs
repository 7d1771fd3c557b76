//! Who gets which record: its holders, found in the table or by a search along the keyspace, and its home-server.

use super::writing::Stretch;
use super::{HolderSaid, Lane, PeerNo, Register, SEARCH_SHARE, WritingNo};
use crate::contact::{Address, Contact};
use crate::effect::{Effect, Target};
use crate::holders::Place;
use crate::id::{Grid, Id, Kind};
use crate::message::{Copy, Find, Message, RequestId, Want};
use crate::search::{Search, Seat};
use crate::state::core::Core;
use crate::state::lookup::{GUIDES, SEARCH_PAUSE, SEARCH_TRIES_MAX};
use crate::state::requests::Purpose;
use crate::store::Origin;
use crate::time::Ticks;
use std::sync::Arc;

impl Register {
    /// Whether the holders of this are known without asking anybody the way.
    fn is_known(&self, core: &Core, target: &Id) -> bool {
        core.knows_all_at(target) && !self.announcing.as_ref().is_some_and(|announcing| announcing.asks_the_way)
    }

    pub(super) fn begin_search(&mut self, core: &Core, lane: usize) {
        let Lane { next, end, .. } = self.lanes[lane];
        if self.lanes[lane].search.is_none() && next < end {
            let key = self.writings[next].record.key();
            let is_known = self.is_known(core, &key.id);
            let search = &mut self.lanes[lane].search;
            // One record asks for its own holders only, many for everybody in their stretch of the keyspace. The holders
            // of one claim are nearly as many as that.
            let is_stretch = key.kind != Kind::Claim && end - next > 1;
            let groups = core.config.holders_of(key.kind) * if is_stretch { 4 } else { 1 };
            let search = search.insert(core.search(key.id, groups));
            if is_known {
                search.arrive();
            }
            // A client has no table: each of its searches starts at the entry points.
            for entry in self.entries.iter().filter_map(|grid| self.index.get(grid)) {
                let contact = &self.peers[*entry].contact;
                search.add_known(contact, core.acquaintance(&contact.grid()));
            }
        }
    }

    pub(super) fn advance_lane(&mut self, core: &mut Core, lane: usize, led_by: u8) {
        loop {
            if self.lanes[lane].next == self.lanes[lane].end || self.lanes[lane].is_paused {
                return;
            }
            let next = self.lanes[lane].next;
            let target = self.writings[next].record.key().id;
            let is_known = core.table.is_empty() || self.is_known(core, &target);
            if core.is_node() && self.lanes[lane].search.is_none() && is_known {
                self.lanes[lane].next += 1;
                self.assign_from_table(core, WritingNo(next as u32));
                continue;
            }
            self.begin_search(core, lane);
            let Some(search) = &mut self.lanes[lane].search else { return };
            // A record handed to a liar's friends is lost, so several are asked the way, and all of them heard.
            let asks: Vec<Arc<Contact>> = std::iter::from_fn(|| {
                let guide = search.next_guide(GUIDES).cloned();
                if let Some(guide) = &guide {
                    search.on_guide(&guide.grid());
                }
                let next = || if search.has_arrived() { None } else { search.next().cloned() };
                let peer = guide.or_else(next).or_else(|| search.next_on_a_way())?;
                search.on_asked(&peer.grid());
                Some(peer)
            })
            .collect();
            let is_waiting =
                search.candidates().iter().any(|candidate| matches!(candidate.state(), crate::search::State::Asked));
            // Arrived: the holders are those in the window, and each of them will say if it sees others.
            let is_shown = search.has_arrived() && search.has_followed_all_guides();
            // The quickest entry points may be a liar's, so that all of them are heard.
            if self.entries_awaited == 0 && asks.is_empty() && (is_shown || !is_waiting) {
                let has_heard = search.candidates().iter().any(|candidate| candidate.answer().is_some());
                let lane_state = &mut self.lanes[lane];
                if lane_state.search.as_ref().is_some_and(|search| !search.has_arrived())
                    && has_heard
                    && lane_state.tries < SEARCH_TRIES_MAX
                    && core.now < lane_state.began + Ticks(core.config.register_deadline.0 / SEARCH_SHARE)
                {
                    // As in a lookup: those who were asked know more in a moment.
                    lane_state.tries += 1;
                    lane_state.is_paused = true;
                    self.retry = Some(core.now + SEARCH_PAUSE);
                    return;
                }
                lane_state.tries = 0;
                lane_state.began = core.now;
                let Lane { next, end, search: Some(search), .. } = lane_state else { return };
                let first = *next;
                let kind = self.writings[first].kind();
                let stretch = Stretch::of(search, core.config.holders_of(kind));
                let covered = (first + 1..*end)
                    .map(|index| self.writings[index].record.key())
                    .take_while(|key| key.kind == kind && stretch.covers(&key.id))
                    .count();
                *next = first + 1 + covered;
                let found = self.lanes[lane].search.take();
                if let Some(search) = &found {
                    for index in first..=first + covered {
                        self.assign_from_search(core, WritingNo(index as u32), search);
                    }
                }
                continue;
            }
            let (target, groups, set) = (*search.target(), search.groups(), search.set_name());
            for peer in asks {
                let is_linked = self.index.get(&peer.grid()).is_some_and(|index| self.peers[*index].is_linked);
                self.peer(&peer, true);
                let find = Find { id: RequestId(0), target, want: Want::Contacts, groups, set };
                core.ask(&peer, is_linked, Purpose::of(self.id), led_by.saturating_add(1), |id| {
                    Message::Find(Find { id, ..find })
                });
            }
            return;
        }
    }

    pub(super) fn assign_from_table(&mut self, core: &mut Core, writing: WritingNo) {
        let key = self.writings[writing].record.key();
        // A write that is new goes to whoever stands in for those who are away; what is announced again need not.
        let is_announced = self.announcing.is_some();
        let groups = core.config.holders_of(key.kind);
        let view = if is_announced { core.old_holders(&key.id, groups) } else { core.view(&key.id, groups) };
        let others = view.others.iter().filter(|(entry, _)| entry.is_available());
        let holders = others.map(|(entry, _)| (entry.contact().clone(), entry.has_answered())).collect();
        let own_place = view.own_place;
        drop(view);
        self.assign(core, writing, holders, own_place);
    }

    pub(super) fn assign_from_search(&mut self, core: &mut Core, writing: WritingNo, search: &Search<()>) {
        let key = self.writings[writing].record.key();
        let groups = core.config.holders_of(key.kind);
        // The stretch's search may have had another target: its candidates are sorted anew.
        let mut own_search: Search<()> = Search::new(key.id, groups, 1, core.own_seat(), self.scale(core));
        for candidate in
            search.candidates().iter().filter(|candidate| !matches!(candidate.state(), crate::search::State::Silent))
        {
            own_search.add_known(candidate.contact(), core.acquaintance(&candidate.contact().grid()));
        }
        let (mut holders, mut own_place) = (Vec::new(), Place::Outside);
        let window = own_search.window();
        let is_holder =
            |index: &usize| window.iter().any(|seat| matches!(seat, Seat::Other(other, _) if other == index));
        let spares = (0..own_search.candidates().len()).filter(|index| !is_holder(index)).take(groups.into());
        self.writings[writing].spares =
            spares.map(|index| self.peer(own_search.candidates()[index].contact(), false)).collect();
        for seat in window {
            match seat {
                Seat::Own(place, _) => own_place = place,
                Seat::Other(index, _) => {
                    let contact = own_search.candidates()[index].contact();
                    let is_credible =
                        search.candidate(&contact.grid()).is_some_and(|candidate| candidate.is_credible());
                    holders.push((contact.clone(), is_credible));
                }
            }
        }
        self.assign(core, writing, holders, own_place);
    }

    pub(super) fn assign(
        &mut self,
        core: &mut Core,
        writing: WritingNo,
        holders: Vec<(Arc<Contact>, bool)>,
        own_place: Place,
    ) {
        if own_place != Place::Outside {
            let copy = Copy { record: self.writings[writing].record.clone(), rival: None, age: Ticks(0) };
            let is_announced = copy.record.home().is_some_and(|home| core.contact.is_at(home));
            let verdict = core.keep_from(&copy, Origin { is_announced, is_written: true, ..Origin::default() });
            let (said, greater) = HolderSaid::of(&verdict);
            core.note_stray(&copy);
            self.writings[writing].own = Some(said);
            if let Some(greater) = greater {
                self.on_greater(core, writing, greater);
            }
        }
        for (contact, is_credible) in holders {
            self.add_slot(core, writing, &contact, is_credible, true);
        }
        self.writings[writing].name_set(core.grid());
        // A network of one, or no holder at all: there is nobody to wait for.
        if self.writings[writing].slots.is_empty() && !self.writings[writing].is_decided {
            let kept = self.writings[writing].own == Some(HolderSaid::Kept);
            let writing = &mut self.writings[writing];
            writing.is_decided = true;
            writing.is_acknowledged = kept && writing.greater.is_none();
            self.undecided -= 1;
        }
    }

    /// A holder sees another set: those of it who are nearer than the ones known are holders, too.
    pub(super) fn widen_slots(&mut self, core: &Core, writing: WritingNo, informant: Grid, contacts: &[Arc<Contact>]) {
        let key = self.writings[writing].record.key();
        let groups = core.config.holders_of(key.kind);
        let scale = self.scale(core);
        let state = &self.writings[writing];
        // An answer names the holders of all records of a bundle, most of whom are far from this one.
        let reach = state.reach(groups, scale);
        let is_near = |contact: &&Arc<Contact>| contact.grid().0.prefix() ^ key.id.prefix() <= reach;
        let near: Vec<&Arc<Contact>> = contacts.iter().filter(is_near).collect();
        let is_new =
            |contact: &&Arc<Contact>| self.index.get(&contact.grid()).is_none_or(|peer| !state.is_held_by(*peer));
        if !near.iter().any(is_new) {
            // Somebody else believes in them, too.
            for contact in near {
                self.add_slot(core, writing, contact, true, true);
            }
            self.writings[writing].name_set(core.grid());
            return;
        }
        let mut search: Search<()> = Search::new(key.id, groups, 1, core.own_seat(), scale);
        for slot in state.seated() {
            search.add_known(&self.peers[slot.peer].contact, Default::default());
        }
        for contact in &near {
            search.add_named(contact, informant, core.acquaintance(&contact.grid()));
        }
        let (window, candidates) = (search.window(), search.candidates());
        for seat in window {
            if let Seat::Other(index, _) = seat {
                let contact = candidates[index].contact();
                let is_named = near.iter().any(|named| named.grid() == contact.grid());
                if is_named {
                    let is_credible = core.acquaintance(&contact.grid()).is_neighbour;
                    self.add_slot(core, writing, contact, is_credible, true);
                }
            }
        }
        self.writings[writing].name_set(core.grid());
    }

    pub(super) fn add_slot(
        &mut self,
        core: &Core,
        writing: WritingNo,
        contact: &Arc<Contact>,
        is_credible: bool,
        is_holder: bool,
    ) {
        let index = self.peer(contact, false);
        if self.writings[writing].add(index, contact, is_credible, is_holder) {
            self.peers[index].queue.push(writing);
            self.make_ready(core, index);
        }
    }

    /// A holder stays silent: of those who are next, whoever is a holder without it gets the record, too. It may be gone
    /// for longer than those knew who named it.
    pub(super) fn replace_silent(&mut self, core: &Core, writing: WritingNo) {
        let spares = std::mem::take(&mut self.writings[writing].spares);
        if spares.is_empty() {
            return;
        }
        let key = self.writings[writing].record.key();
        let groups = core.config.holders_of(key.kind);
        let mut search: Search<()> = Search::new(key.id, groups, 1, core.own_seat(), self.scale(core));
        let reached = self.writings[writing].reached().map(|slot| slot.peer);
        for peer in reached.chain(spares.iter().copied()) {
            search.add_known(&self.peers[peer].contact, Default::default());
        }
        let is_holder = |grid: Grid| {
            let seat = |seat: &Seat| match seat {
                Seat::Other(index, _) => Some(search.candidates()[*index].contact().grid()),
                Seat::Own(..) => None,
            };
            search.window().iter().any(|other| seat(other) == Some(grid))
        };
        let (holders, spares): (Vec<PeerNo>, Vec<PeerNo>) =
            spares.into_iter().partition(|spare| is_holder(self.peers[*spare].contact.grid()));
        self.writings[writing].spares = spares;
        for holder in holders {
            let contact = self.peers[holder].contact.clone();
            let is_credible = core.acquaintance(&contact.grid()).is_neighbour;
            self.add_slot(core, writing, &contact, is_credible, true);
        }
        self.writings[writing].name_set(core.grid());
    }

    /// The home-servers named get a copy, whoever registers.
    pub(super) fn dial_homes(&mut self, core: &mut Core) {
        let homes: Vec<Address> = self.homes.keys().cloned().collect();
        for address in homes {
            let is_dialled = core.dials.iter().any(|(target, id)| *id == self.id && target.address == address);
            if is_dialled {
                continue;
            }
            let known =
                self.peers.iter().find(|peer| *peer.contact.address() == address).map(|peer| peer.contact.clone());
            match known {
                Some(contact) => {
                    if let Some(writings) = self.homes.remove(&address) {
                        self.give_to_home(core, &contact, &writings);
                    }
                }
                None => {
                    let target = Target::address(address);
                    core.dials.push((target.clone(), self.id));
                    core.effect(Effect::Request(target));
                }
            }
        }
    }

    pub(super) fn give_to_home(&mut self, core: &Core, contact: &Arc<Contact>, writings: &[WritingNo]) {
        let peer = self.peer(contact, true);
        for writing in writings {
            let is_holder = self.writings[*writing].slots.iter().any(|slot| slot.peer == peer);
            if !is_holder {
                self.add_slot(core, *writing, contact, true, false);
            }
        }
    }
}
