//! What all operations of a node share: identity, table, store, the requests under way, and how a request is sent.

use super::offenders::Offenders;
use super::requests::{Pending, Purpose, Requests};
use crate::config::NodeConfig;
use crate::contact::{Contact, Group};
use crate::effect::{Effect, Effects, Notice, OperationId, Target};
use crate::holders::{Admission, Place, Scale, SetName};
use crate::id::{Grid, Guid, Id, Key};
use crate::key::SecretKey;
use crate::message::{Copy, Message, Named, RequestId, StoreVerdict};
use crate::record::Record;
use crate::search::{Acquaintance, Search};
use crate::state::Stats;
use crate::store::RecordStore;
use crate::table::{Entry, Offered, RoutingTable};
use crate::time::{Tick, Ticks};
use rand_xoshiro::Xoshiro256PlusPlus;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many unanswered requests in a row make a contact one that is not relied upon.
pub(crate) const UNRELIABLE_FAILURES: u8 = 2;

/// Whether this node is part of the network or only asks it.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// A routing node, with the key that signs its cards.
    Node(Arc<SecretKey>),
    /// A client: starts each operation at these, never joins, is never named.
    Client(Vec<Target>),
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) contact: Arc<Contact>,
    pub(crate) role: Role,
    pub(crate) now: Tick,
    pub(crate) table: RoutingTable,
    pub(crate) store: RecordStore,
    /// The newest records of the users that this server is home to: what it announces.
    pub(crate) homed: BTreeMap<Guid, Arc<Record>>,
    pub(crate) requests: Requests,
    /// Addresses dialled without knowing who is there, and which operation waits for them.
    pub(crate) dials: Vec<(Target, OperationId)>,
    /// While this node is new to its range: the fellow holders it has compared it with.
    pub(crate) newcomer: Option<BTreeSet<Grid>>,
    /// The newest cards of those who left: what is heard of them by gossip changes nothing.
    pub(crate) departed: BTreeMap<Grid, u64>,
    /// Somebody asked for a place next to which these are known by hearsay only: upkeep meets them, so that the next who
    /// asks can be told.
    pub(crate) strangers: Vec<Arc<Contact>>,
    pub(crate) offenders: Offenders,
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) stats: Stats,
    /// The effects of the turn in progress.
    pub(crate) effects: Effects,
}

/// How many departed nodes are remembered.
const DEPARTED_MAX: usize = 4_096;

/// The holders of a place as this node sees them.
pub(crate) struct View<'a> {
    /// The others among them with their places, nearest first, without this node.
    pub(crate) others: SmallVec<[(&'a Entry, Place); 24]>,
    /// The name of the whole set.
    pub(crate) name: SetName,
    /// What this node itself is to the place.
    pub(crate) own_place: Place,
}

impl Core {
    pub(crate) fn grid(&self) -> Grid {
        self.contact.grid()
    }

    pub(crate) fn is_node(&self) -> bool {
        matches!(self.role, Role::Node(_))
    }

    pub(crate) fn scale(&self) -> Scale {
        self.table.scale()
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.effects.push(Effect::Notify(notice));
    }

    /// The asker's own seat in a search: nodes may be holders themselves.
    pub(crate) fn own_seat(&self) -> Option<(Grid, Group)> {
        self.is_node().then(|| (self.grid(), self.group_of(&self.contact)))
    }

    pub(crate) fn group_of(&self, contact: &Contact) -> Group {
        contact.group()
    }

    /// How long to wait for an answer of somebody with this round-trip time.
    pub(crate) fn patience(&self, round_trip: Option<Ticks>) -> Ticks {
        match round_trip {
            Some(round_trip) => {
                Ticks(round_trip.0 * 3).max(self.config.answer_timeout_min).min(self.config.answer_timeout)
            }
            None => self.config.answer_timeout,
        }
    }

    /// Sends a request to `peer`, over a new link if none is known to stand, and remembers who waits for the answer.
    /// `is_linked` says that the caller knows of a link that the table does not.
    pub(crate) fn ask(
        &mut self,
        peer: &Arc<Contact>,
        is_linked: bool,
        purpose: Purpose,
        depth: u8,
        message: impl FnOnce(RequestId) -> Message,
    ) -> RequestId {
        let id = self.requests.next_id(matches!(purpose, Purpose::Operation(_)));
        let message = message(id);
        self.send_request(id, peer.clone(), is_linked, purpose, depth, message, false);
        id
    }

    #[allow(clippy::too_many_arguments, reason = "the two callers, first try and second, spell each of them out")]
    fn send_request(
        &mut self,
        id: RequestId,
        peer: Arc<Contact>,
        is_linked: bool,
        purpose: Purpose,
        depth: u8,
        request: Message,
        is_repeated: bool,
    ) {
        let grid = peer.grid();
        let entry = self.table.entry(&grid);
        let patience = self.patience(entry.and_then(Entry::round_trip));
        if !is_linked && !entry.is_some_and(Entry::is_linked) {
            self.effect(Effect::Request(Target::contact(&peer)));
        }
        self.effect(Effect::Send(grid, request.clone()));
        let expires = self.now + patience;
        self.requests.insert(id, Pending { peer, purpose, depth, sent: self.now, expires, request, is_repeated });
    }

    /// A request expired: sends it once more. `Err` gives it back if that was done already.
    pub(crate) fn ask_again(&mut self, id: RequestId, pending: Pending) -> Result<(), Pending> {
        if pending.is_repeated {
            return Err(pending);
        }
        let depth = pending.depth.saturating_add(1);
        // The link may be what failed.
        self.table.set_linked(&pending.peer.grid(), false);
        self.send_request(id, pending.peer, false, pending.purpose, depth, pending.request, true);
        Ok(())
    }

    /// Takes note of a contact from outside. Only a card that is valid and of a node enters the table.
    pub(crate) fn meet(&mut self, contact: &Arc<Contact>) -> bool {
        if !self.is_worth_knowing(contact) {
            return false;
        }
        if self.is_node() {
            return self.table.offer(contact) == Offered::New;
        }
        false
    }

    /// Whether a contact may be used: a valid card of another node that has not left.
    pub(crate) fn is_worth_knowing(&mut self, contact: &Arc<Contact>) -> bool {
        if contact.is_client() || contact.grid() == self.grid() {
            return false;
        }
        if !contact.verify() {
            self.stats.contacts_invalid += 1;
            return false;
        }
        !contact.has_left() && self.departed.get(&contact.grid()).is_none_or(|sequence| contact.sequence() > *sequence)
    }

    /// A node has left for good.
    pub(crate) fn forget_departed(&mut self, contact: &Contact) {
        self.table.remove(&contact.grid());
        while self.departed.len() >= DEPARTED_MAX {
            self.departed.pop_first();
        }
        self.departed.insert(contact.grid(), contact.sequence());
    }

    pub(crate) fn acquaintance(&self, grid: &Grid) -> Acquaintance {
        let entry = self.table.entry(grid);
        Acquaintance {
            is_neighbour: entry.is_some_and(Entry::has_answered),
            round_trip: entry.and_then(Entry::round_trip),
            repute: self.offenders.repute(grid, self.now),
        }
    }

    /// A peer said what no honest peer says, and that can be proven.
    pub(crate) fn blame(&mut self, peer: Grid) {
        self.stats.peers_misbehaved += 1;
        self.offenders.on_offence(peer, self.now);
    }

    /// A search from the own table: its nearest contacts are the first candidates. A client's search begins empty.
    pub(crate) fn search<A>(&self, target: Id, groups: u16) -> Search<A> {
        let mut search = Search::new(target, groups, self.config.alpha, self.own_seat(), self.scale());
        let reserve = usize::from(groups) * 2 + 8;
        let reliable = |entry: &&Entry| entry.failures() < UNRELIABLE_FAILURES;
        let mut last_core = 0;
        let mut admission = Admission::new(groups, self.scale());
        for (index, entry) in self.table.nearest(&target).filter(reliable).enumerate() {
            if admission.admit(entry.prefix() ^ target.prefix(), entry.group()) != Place::Outside {
                last_core = index;
            }
            // The window itself, and as many again to fall back upon.
            if index > last_core + reserve {
                break;
            }
            let acquaintance = Acquaintance {
                is_neighbour: entry.has_answered(),
                round_trip: entry.round_trip(),
                repute: self.offenders.repute(&entry.contact().grid(), self.now),
            };
            search.add_known(entry.contact(), acquaintance);
        }
        if !self.table.is_empty() && self.table.is_complete_at(&target) {
            search.arrive();
        }
        search
    }

    /// The holders of `target` as this node sees them: the nearest `groups` groups, itself included.
    pub(crate) fn view(&self, target: &Id, groups: u16) -> View<'_> {
        self.view_of(target, groups, |_| true)
    }

    /// The same if there were only those contacts that `counts`.
    pub(crate) fn view_of(&self, target: &Id, groups: u16, counts: impl Fn(&Entry) -> bool) -> View<'_> {
        let mut admission = Admission::new(groups, self.scale());
        let own = self.grid();
        let own_distance = target.distance(&own.0);
        let own_prefix = target.prefix() ^ own.0.prefix();
        let mut own_place = None;
        let mut others: SmallVec<[(&Entry, Place); 24]> = SmallVec::new();
        let mut members: SmallVec<[u64; 24]> = SmallVec::new();
        let is_reliable = |entry: &&Entry| entry.failures() < UNRELIABLE_FAILURES;
        for entry in self.table.nearest(target).filter(is_reliable).filter(|entry| counts(entry)) {
            let distance = entry.prefix() ^ target.prefix();
            if own_place.is_none()
                && self.is_node()
                && (own_prefix < distance
                    || own_prefix == distance && own_distance < target.distance(&entry.contact().grid().0))
            {
                let place = admission.admit(own_prefix, self.group_of(&self.contact));
                own_place = Some(place);
                if place != Place::Outside {
                    members.push(own.0.prefix());
                }
            }
            let place = admission.admit(distance, entry.group());
            if place == Place::Outside {
                break;
            }
            members.push(entry.prefix());
            others.push((entry, place));
        }
        if own_place.is_none() && self.is_node() {
            let place = admission.admit(own_prefix, self.group_of(&self.contact));
            own_place = Some(place);
            if place != Place::Outside {
                members.push(own.0.prefix());
            }
        }
        let own_place = own_place.unwrap_or(Place::Outside);
        View { others, name: SetName::of(members.into_iter()), own_place }
    }

    /// Whether what this node says of `key` counts: it is a holder, and not new to the range.
    pub(crate) fn is_settled_for(&self, key: &Id, view: &View<'_>) -> bool {
        // Who knows too few there to be one of them by the density is mistaken about being one.
        if view.own_place == Place::Outside || self.table.lacks(self.grid().0.common_bits(key)) {
            return false;
        }
        let Some(compared) = &self.newcomer else { return true };
        let mut tally = crate::holders::Tally::default();
        for (entry, place) in &view.others {
            tally.add(*place, entry.group(), compared.contains(&entry.contact().grid()));
        }
        view.others.is_empty() || tally.is_majority()
    }

    /// Merges a copy into the store, keeps what changed, and tells of conflicts.
    pub(crate) fn keep(&mut self, copy: &Copy) -> StoreVerdict {
        let kept = self.store.put(copy, self.now);
        match &kept.verdict {
            StoreVerdict::Refused(crate::message::Refusal::Invalid) => self.stats.records_invalid += 1,
            StoreVerdict::Conflict(proof) if kept.is_changed => self.notify(Notice::Conflict(proof.clone())),
            _ => {}
        }
        if kept.is_changed {
            let now = self.now;
            if let Some(stored) = self.store.get(&copy.record.key()) {
                let copy = Arc::new(stored.copy(now));
                self.effect(Effect::Keep(copy));
            }
        }
        self.take_home(&copy.record);
        kept.verdict
    }

    /// If the record names this server, or used to: remembers or forgets that its user lives here. The record must be
    /// valid.
    pub(crate) fn take_home(&mut self, record: &Arc<Record>) {
        if record.key() != Key::from(record.guid()) {
            return;
        }
        let names_us = self.is_node() && record.home().is_some_and(|home| self.contact.is_at(home));
        let known = self.homed.get(&record.guid());
        if !names_us && known.is_none() || record.verify().is_err() {
            return;
        }
        if known.is_some_and(|known| !record.outranks(known)) {
            return;
        }
        if names_us && known.is_none() && self.homed.len() >= self.config.records_max as usize {
            return;
        }
        if names_us {
            self.homed.insert(record.guid(), record.clone());
        } else {
            self.homed.remove(&record.guid());
        }
    }

    /// Offers what somebody named to the table, and gives back what may be used.
    pub(crate) fn meet_all(&mut self, named: &[Named]) -> Vec<Arc<Contact>> {
        let mut usable = Vec::with_capacity(named.len());
        for Named { contact, .. } in named {
            if self.is_worth_knowing(contact) {
                if self.is_node() {
                    self.table.offer(contact);
                }
                usable.push(contact.clone());
            }
        }
        usable
    }
}
