//! What all operations of a node share: identity, table, store, the requests under way, and how a request is sent.

use super::absent::Absent;
use super::budget::{Account, Budget, LINK_BYTES};
use super::dead::Dead;
use super::fellowship::Fellowship;
use super::offenders::Offenders;
use super::proof::{Announcement, Caller};
use super::requests::{Pending, Purpose, Requests};
use super::seen::Seen;
use crate::config::NodeConfig;
use crate::contact::{Contact, Group};
use crate::effect::{Effect, Effects, Notice, OperationId, Target};
use crate::holders::{Admission, Place, Scale, SetName, Tally};
use crate::id::{Grid, Guid, Id, Key, Kind};
use crate::key::SecretKey;
use crate::message::{Copy, Message, Named, RequestId, StoreVerdict};
use crate::record::Record;
use crate::search::{Acquaintance, Search};
use crate::state::Stats;
use crate::store::{Origin, RecordStore};
use crate::table::{Entry, Offered, RoutingTable};
use crate::time::{Tick, Ticks};
use crate::wire;
use rand_xoshiro::Xoshiro256PlusPlus;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

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
    /// Who called and has no place in the table, the latest last.
    pub(crate) callers: VecDeque<Caller>,
    /// Announcements that wait until their server was dialled back.
    pub(crate) unproven: Vec<(Target, Announcement)>,
    pub(crate) requests: Requests,
    /// Addresses dialled without knowing who is there, and which operation waits for them.
    pub(crate) dials: Vec<(Target, OperationId)>,
    /// While this node is new to its range: the fellow holders it has compared it with.
    pub(crate) newcomer: Option<BTreeSet<Grid>>,
    /// The newest cards of those who left: what is heard of them by gossip changes nothing.
    pub(crate) departed: BTreeMap<Grid, u64>,
    /// Whom upkeep asks as soon as it can whether they are there: known by hearsay only next to a place that somebody
    /// asked for, or silent once, or heard of again after silence.
    pub(crate) doubted: Vec<(Arc<Contact>, Account)>,
    /// Neighbours that do not answer.
    pub(crate) absent: Absent,
    /// Contacts that were given up: one of them is tried every few seconds, for ever.
    pub(crate) dead: Dead,
    /// The greatest records that lookups of this node have brought: no later answer falls behind them.
    pub(crate) seen: Seen,
    /// Records kept in place of their holders, most of whom may never have heard of them.
    pub(crate) strays: BTreeSet<Key>,
    pub(crate) budget: Budget,
    /// The name of the set of holders of the own place, and by which table and scale.
    pub(super) own_set: Option<(u64, Scale, SetName)>,
    /// Who holds what of the store, as far as it was worked out.
    pub(crate) fellowship: Fellowship,
    pub(crate) offenders: Offenders,
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) stats: Stats,
    /// The effects of the turn in progress.
    pub(crate) effects: Effects,
}

/// How many departed nodes are remembered.
const DEPARTED_MAX: usize = 4_096;

/// How much longer an answer may take for each record that is handed over or asked for, if those are many: so long take 350
/// bytes at 35 KB/s, the slowest link that is served. To verify one takes a hundredth of that.
const PATIENCE_PER_RECORD_MS: u64 = 10;

/// How many contacts wait to be asked whether they are there: more than a neighbourhood, all of which may fall silent.
const DOUBTED_MAX: usize = 256;
/// Of how many records a full store looks whether this node holds them, at each new one: a store that is flooded is gone
/// round before a sixteenth of it is replaced, and it costs about as much as verifying a record.
const LOOKS: usize = 16;

/// The holders of a place as this node sees them.
pub(crate) struct View<'a> {
    /// The others among them with their places, nearest first, without this node.
    pub(crate) others: SmallVec<[(&'a Entry, Place); 24]>,
    /// The name of the whole set.
    pub(crate) name: SetName,
    /// What this node itself is to the place.
    pub(crate) own_place: Place,
    /// Whether there are more contacts than these: else any newcomer is a holder, however far.
    pub(crate) is_full: bool,
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

    /// By which scale it is beyond doubt who holds what.
    pub(crate) fn clear_scale(&self) -> Scale {
        self.table.scale_bound()
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.effects.push(Effect::Notify(notice));
    }

    /// The asker's own seat in a search: nodes may be holders themselves.
    pub(crate) fn own_seat(&self) -> Option<(Grid, Group)> {
        self.is_node().then(|| (self.grid(), self.contact.group()))
    }

    /// How long to wait for an answer of somebody with this round-trip time, whom this asks. The second time twice as long:
    /// the round trip may have grown (RFC 6298, 5.5).
    fn patience(&self, round_trip: Option<Ticks>, request: &Message, is_repeated: bool) -> Ticks {
        let records = request.records_asked() as u64;
        if records > 1 {
            // What small messages took says nothing about many records, nor about who else hands some over meanwhile.
            return self.config.answer_timeout + Ticks(records * PATIENCE_PER_RECORD_MS);
        }
        match round_trip {
            Some(round_trip) => {
                let once = Ticks(round_trip.0 * 3).max(self.config.answer_timeout_min);
                Ticks(if is_repeated { once.0 * 2 } else { once.0 }).min(self.config.answer_timeout)
            }
            None => self.config.answer_timeout,
        }
    }

    /// Sends a request to `peer`, and remembers who waits for the answer. A link is asked for if none is known to stand, or
    /// if `peer` only called: it is dialled back before its answers count. `is_linked` says that the caller knows of a
    /// link that the table does not.
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
        self.send_request(id, peer.clone(), is_linked, purpose, depth, message, None);
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
        first_sent: Option<Tick>,
    ) {
        let is_repeated = first_sent.is_some();
        let grid = peer.grid();
        let entry = self.table.entry(&grid);
        let patience = self.patience(entry.and_then(Entry::round_trip), &request, is_repeated);
        let is_linked = is_linked || entry.is_some_and(Entry::is_reached);
        if let Some(account) = purpose.account() {
            let link = if is_linked { 0 } else { LINK_BYTES as usize };
            self.pay(account, &request, link);
        }
        if !is_linked {
            self.effect(Effect::Request(Target::contact(&peer)));
        }
        self.effect(Effect::Send(grid, request.clone()));
        let expires = self.now + patience;
        let sent = first_sent.unwrap_or(self.now);
        self.requests.insert(id, Pending { peer, purpose, depth, sent, expires, request, is_repeated });
    }

    /// A question or its answer is paid for.
    pub(crate) fn pay(&mut self, account: Account, message: &Message, link: usize) {
        self.budget.spend(account, wire::frame_len(message) + link);
    }

    /// For how long nothing may be spent on this account.
    pub(crate) fn closed_for(&mut self, account: Account) -> Ticks {
        let NodeConfig { upkeep_bytes_per_second: upkeep, repair_bytes_per_second: repair, .. } = *self.config;
        self.budget.earn(self.now, upkeep, repair);
        self.budget.closed_for(account, if account == Account::Repair { repair } else { upkeep })
    }

    /// A request expired: sends it once more, or where the link that was asked for does not stand yet, waits as long again.
    /// `Err` gives it back if that was done already.
    pub(crate) fn ask_again(&mut self, id: RequestId, pending: Pending) -> Result<(), Pending> {
        if pending.is_repeated {
            return Err(pending);
        }
        let grid = pending.peer.grid();
        if self.table.entry(&grid).is_some_and(|entry| !entry.is_linked()) {
            let expires = self.now + pending.expires.since(pending.sent);
            self.requests.insert(id, Pending { expires, is_repeated: true, ..pending });
            return Ok(());
        }
        let depth = pending.depth.saturating_add(1);
        // The link may be what failed.
        self.table.set_linked(&grid, false);
        self.send_request(id, pending.peer, false, pending.purpose, depth, pending.request, Some(pending.sent));
        Ok(())
    }

    /// Takes note of a contact from outside. Only a card that is valid and of a node enters the table.
    pub(crate) fn meet(&mut self, contact: &Arc<Contact>) -> bool {
        if !self.is_worth_knowing(contact) {
            return false;
        }
        self.is_node() && self.offer(contact) == Offered::New
    }

    fn offer(&mut self, contact: &Arc<Contact>) -> Offered {
        let offered = self.table.offer(contact);
        if offered == Offered::New {
            self.dead.remove(&contact.grid());
            self.fellowship.on_change(&self.contact.grid(), &contact.grid());
        }
        if offered == Offered::Renewed {
            self.on_back_if_available(&contact.grid());
        }
        if matches!(offered, Offered::New | Offered::Renewed) {
            self.note_away(contact);
        }
        offered
    }

    /// Whether a contact may be used: a valid card of another node that has not left, and was not given up.
    pub(crate) fn is_worth_knowing(&mut self, contact: &Arc<Contact>) -> bool {
        if contact.is_client() || contact.grid() == self.grid() || self.dead.refuses(contact) {
            return false;
        }
        let known = self.table.entry(&contact.grid()).map(|entry| &**entry.contact());
        if !contact.verify_beside(known) {
            self.stats.contacts_invalid += 1;
            return false;
        }
        !contact.has_left() && self.departed.get(&contact.grid()).is_none_or(|sequence| contact.sequence() > *sequence)
    }

    /// Upkeep asks whether it is there, as soon as it can, at the cost of `account`.
    pub(crate) fn doubt(&mut self, contact: &Arc<Contact>, account: Account) {
        let is_known = self.doubted.iter().any(|(doubted, _)| doubted.grid() == contact.grid());
        if !is_known && self.doubted.len() < DOUBTED_MAX {
            self.doubted.push((contact.clone(), account));
        }
    }

    /// Somebody is given up: it may be tried again.
    pub(crate) fn bury(&mut self, grid: &Grid) {
        if let Some(contact) = self.forget(grid) {
            self.dead.add(contact);
        }
    }

    fn forget(&mut self, grid: &Grid) -> Option<Arc<Contact>> {
        let was_absent = self.absent.remove(grid);
        let forgotten = self.table.remove(grid);
        if was_absent || forgotten.is_some() {
            self.fellowship.on_change(&self.contact.grid(), grid);
        }
        forgotten
    }

    /// A node has left for good. Says whether it was known.
    pub(crate) fn forget_departed(&mut self, contact: &Contact) -> bool {
        let was_known = self.forget(&contact.grid()).is_some();
        self.dead.remove(&contact.grid());
        while self.departed.len() >= DEPARTED_MAX {
            self.departed.pop_first();
        }
        self.departed.insert(contact.grid(), contact.sequence());
        was_known
    }

    pub(crate) fn acquaintance(&self, grid: &Grid) -> Acquaintance {
        self.acquaintance_of(grid, self.table.entry(grid))
    }

    fn acquaintance_of(&self, grid: &Grid, entry: Option<&Entry>) -> Acquaintance {
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

    /// A search from the own table: its nearest contacts are the first candidates. A client's search begins empty. Whether
    /// it has arrived already, the caller says.
    pub(crate) fn search<A>(&self, target: Id, groups: u16) -> Search<A> {
        let mut search = Search::new(target, groups, self.config.alpha, self.own_seat(), self.scale());
        let reserve = usize::from(groups) * 2 + 8;
        let mut last_core = 0;
        let mut admission = Admission::new(groups, self.scale());
        for (index, entry) in self.table.nearest(&target).filter(|entry| entry.is_available()).enumerate() {
            if admission.admit(entry.prefix() ^ target.prefix(), entry.group()) != Place::Outside {
                last_core = index;
            }
            // The window itself, and as many again to fall back upon.
            if index > last_core + reserve {
                break;
            }
            search.add_known(entry.contact(), self.acquaintance_of(&entry.contact().grid(), Some(entry)));
        }
        search
    }

    /// Whether everybody near `target` is in the table, so that a search for it has arrived before it begins.
    pub(crate) fn knows_all_at(&self, target: &Id) -> bool {
        !self.table.is_empty() && self.table.is_complete_at(target)
    }

    /// The holders of `target` that can be asked: the nearest `groups` groups of those who answer, itself included.
    pub(crate) fn view(&self, target: &Id, groups: u16) -> View<'_> {
        self.view_of(target, groups, self.scale(), Entry::is_available)
    }

    /// The name of the set of holders of `place`. That of the own place, which each neighbour is asked for, is remembered.
    pub(crate) fn set_name_at(&mut self, place: &Id) -> SetName {
        if *place != self.grid().0 {
            return self.view(place, self.config.holders).name;
        }
        let (version, scale) = (self.table.version(), self.scale());
        if let Some((known_version, known_scale, name)) = self.own_set
            && (known_version, known_scale) == (version, scale)
        {
            debug_assert_eq!(name, self.view(place, self.config.holders).name, "nothing has changed");
            return name;
        }
        let name = self.view(place, self.config.holders).name;
        self.own_set = Some((version, scale, name));
        name
    }

    /// The holders of `target` by duty: those who are absent keep their places, while a majority answers.
    pub(crate) fn duty(&self, target: &Id, groups: u16) -> View<'_> {
        self.full_duty(target, groups).unwrap_or_else(|| self.view(target, groups))
    }

    /// The holders of `target` with those who are absent and keep their places; `None` if nobody near is absent, or if a
    /// majority is.
    fn full_duty(&self, target: &Id, groups: u16) -> Option<View<'_>> {
        if self.absent.is_empty() {
            return None;
        }
        let keeps_place = |entry: &Entry| entry.is_available() || self.absent.keeps_place(&entry.contact().grid());
        self.with_places_kept(target, groups, self.scale(), keeps_place)
    }

    /// The holders of `target` that are told again what they should have had long since: nobody stands in for those who
    /// do not answer, wherever they are, while a majority does.
    pub(crate) fn old_holders(&self, target: &Id, groups: u16) -> View<'_> {
        self.clear_view(target, groups, |_| true)
    }

    /// Whether `grid` is a holder of `key` beyond doubt: also if the density were a little greater. Else whoever lacks the
    /// record is left without it, as nobody relies on it: nodes differ a little about the density, and each time that one
    /// changed its mind, whole ranges would move.
    pub(crate) fn is_clear_holder(&self, key: &Key, grid: &Grid) -> bool {
        let keeps_place = |entry: &Entry| entry.is_available() || self.absent.keeps_place(&entry.contact().grid());
        let view = self.clear_view(&key.id, self.config.holders_of(key.kind), keeps_place);
        if *grid == self.grid() {
            return view.own_place != Place::Outside;
        }
        view.others.iter().any(|(entry, _)| entry.contact().grid() == *grid)
    }

    /// The holders of `target` beyond doubt; those whose place is kept count while a majority is available.
    fn clear_view(&self, target: &Id, groups: u16, keeps_place: impl Fn(&Entry) -> bool) -> View<'_> {
        let scale = self.clear_scale();
        let view = self.with_places_kept(target, groups, scale, keeps_place);
        view.unwrap_or_else(|| self.view_of(target, groups, scale, Entry::is_available))
    }

    /// The holders of `target` among those that `keeps_place`, if a majority of them is available.
    fn with_places_kept(
        &self,
        target: &Id,
        groups: u16,
        scale: Scale,
        keeps_place: impl Fn(&Entry) -> bool,
    ) -> Option<View<'_>> {
        let view = self.view_of(target, groups, scale, keeps_place);
        let mut tally = Tally::default();
        for (entry, place) in &view.others {
            tally.add(*place, entry.group(), entry.is_available());
        }
        tally.add(view.own_place, self.contact.group(), true);
        tally.is_majority().then_some(view)
    }

    /// The holders of `target` if there were only those contacts that `counts`, and the keyspace were so dense.
    pub(crate) fn view_of(&self, target: &Id, groups: u16, scale: Scale, counts: impl Fn(&Entry) -> bool) -> View<'_> {
        let mut admission = Admission::new(groups, scale);
        let own = self.grid();
        let own_distance = target.distance(&own.0);
        let own_prefix = target.prefix() ^ own.0.prefix();
        let (mut own_place, mut is_full) = (None, false);
        let mut others: SmallVec<[(&Entry, Place); 24]> = SmallVec::new();
        let mut members: SmallVec<[u64; 24]> = SmallVec::new();
        for entry in self.table.nearest(target).filter(|entry| counts(entry)) {
            let distance = entry.prefix() ^ target.prefix();
            if own_place.is_none()
                && self.is_node()
                && (own_prefix < distance
                    || own_prefix == distance && own_distance < target.distance(&entry.contact().grid().0))
            {
                let place = admission.admit(own_prefix, self.contact.group());
                own_place = Some(place);
                if place != Place::Outside {
                    members.push(own.0.prefix());
                }
            }
            let place = admission.admit(distance, entry.group());
            if place == Place::Outside {
                is_full = true;
                break;
            }
            members.push(entry.prefix());
            others.push((entry, place));
        }
        if own_place.is_none() && self.is_node() {
            let place = admission.admit(own_prefix, self.contact.group());
            own_place = Some(place);
            if place != Place::Outside {
                members.push(own.0.prefix());
            }
        }
        let own_place = own_place.unwrap_or(Place::Outside);
        View { others, name: SetName::of(members.into_iter()), own_place, is_full }
    }

    /// What this node is to `key`, and whether what it says of it counts: it is a holder, and not new to the range.
    pub(crate) fn standing_for(&self, key: &Key, view: &View<'_>) -> (Place, bool) {
        // Who knows too few there to be one of them by the density is mistaken about being one.
        if self.table.lacks(self.grid().0.common_bits(&key.id)) {
            return (view.own_place, false);
        }
        let mut own_place = view.own_place;
        if own_place != Place::Outside && !self.absent.is_empty() {
            // A place that this node took from somebody is new to it until what that one held has been compared.
            let is_old = |entry: &Entry| entry.is_available() || self.absent.is_to_be_compared(&entry.contact().grid());
            let groups = self.config.holders_of(key.kind);
            own_place = match self.full_duty(&key.id, groups) {
                Some(duty) if duty.own_place == Place::Outside => Place::Outside,
                _ => self.view_of(&key.id, groups, self.scale(), is_old).own_place,
            };
        }
        if own_place == Place::Outside {
            return (own_place, false);
        }
        let Some(compared) = &self.newcomer else { return (own_place, true) };
        // Whose a claim is, a newcomer knows only when all votes are counted.
        if key.kind == Kind::Claim {
            return (own_place, false);
        }
        let mut tally = Tally::default();
        for (entry, place) in &view.others {
            tally.add(*place, entry.group(), compared.contains(&entry.contact().grid()));
        }
        (own_place, tally.is_majority())
    }

    /// Merges a copy into the store, keeps what changed, and tells of conflicts.
    pub(crate) fn keep(&mut self, copy: &Copy) -> StoreVerdict {
        self.keep_from(copy, Origin::default())
    }

    /// The same for a copy of which it is known who hands it over.
    pub(crate) fn keep_from(&mut self, copy: &Copy, origin: Origin) -> StoreVerdict {
        let is_foreign = self.look_for_room(copy);
        let kept = self.store.put_from(copy, self.now, Origin { is_foreign, ..origin });
        for key in kept.dropped {
            self.on_dropped(key);
        }
        match &kept.verdict {
            StoreVerdict::Refused(crate::message::Refusal::Invalid) => self.stats.records_invalid += 1,
            StoreVerdict::Conflict(proof) if kept.is_changed => self.notify(Notice::Conflict(proof.clone())),
            _ => {}
        }
        if kept.is_changed {
            self.fellowship.on_kept(&copy.record.key());
            let now = self.now;
            if let Some(stored) = self.store.get(&copy.record.key()) {
                let copy = Arc::new(stored.copy(now));
                self.effect(Effect::Keep(copy));
            }
        } else if self.store.get(&copy.record.key()).is_some() {
            self.fellowship.on_offered(&copy.record.key());
        }
        // What is held already may be greater: a lesser record brings no user back that has gone.
        let held = self.store.get(&copy.record.key()).map(|stored| stored.held().record().clone());
        self.take_home(held.as_ref().unwrap_or(&copy.record));
        kept.verdict
    }

    /// A record is not held any more.
    pub(super) fn on_dropped(&mut self, key: Key) {
        self.mark(key, false);
        self.fellowship.on_dropped(&key);
        self.effect(Effect::Forget(key));
    }

    /// Before a full store takes in a new record: looks whether this node still is a holder of some of what it has. Says
    /// whether it is none of the new one.
    fn look_for_room(&mut self, copy: &Copy) -> bool {
        if !self.store.is_full_for(copy) || copy.record.verify().is_err() {
            return false;
        }
        let key = copy.record.key();
        if self.store.get(&key).is_some() {
            return false;
        }
        for key in self.store.look_again(LOOKS) {
            let is_held = self.is_holder_of(&key);
            self.store.mark(&key, is_held);
        }
        !self.is_holder_of(&key)
    }

    /// Whether this node is a holder of `key`, as it sees it.
    pub(crate) fn is_holder_of(&self, key: &Key) -> bool {
        self.is_holder_by(key, self.scale())
    }

    /// Whether it would be one if the keyspace held so many nodes.
    pub(crate) fn is_holder_by(&self, key: &Key, scale: Scale) -> bool {
        let mut admission = Admission::new(self.config.holders_of(key.kind), scale);
        let own = self.grid();
        let own_distance = own.0.prefix() ^ key.id.prefix();
        for entry in self.table.nearest(&key.id).filter(|entry| entry.is_available()) {
            let distance = entry.prefix() ^ key.id.prefix();
            if distance > own_distance
                || distance == own_distance && key.id.distance(&own.0) < key.id.distance(&entry.contact().grid().0)
            {
                break;
            }
            if admission.admit(distance, entry.group()) == Place::Outside {
                return false;
            }
        }
        self.is_node() && admission.admit(own_distance, self.contact.group()) != Place::Outside
    }

    /// If the record names this server, or used to: remembers or forgets that its user lives here. The record must be
    /// valid.
    pub(crate) fn take_home(&mut self, record: &Arc<Record>) {
        if self.change_home(record) {
            let guid = record.guid();
            let lives_here = self.homed.contains_key(&guid);
            self.effect(if lives_here { Effect::Home(record.clone()) } else { Effect::MovedOut(guid) });
        }
    }

    /// The same for what is durable already. Says whether anything has changed.
    pub(super) fn change_home(&mut self, record: &Arc<Record>) -> bool {
        if record.key() != Key::from(record.guid()) {
            return false;
        }
        let names_us = self.is_node() && record.home().is_some_and(|home| self.contact.is_at(home));
        let known = self.homed.get(&record.guid());
        if !names_us && known.is_none() || record.verify().is_err() {
            return false;
        }
        if known.is_some_and(|known| !record.outranks(known)) {
            return false;
        }
        if names_us && known.is_none() && self.homed.len() >= self.config.records_max as usize {
            return false;
        }
        if names_us {
            self.homed.insert(record.guid(), record.clone());
        } else {
            self.homed.remove(&record.guid());
        }
        true
    }

    /// Offers what somebody named to the table, and gives back who may be asked: not those who are away.
    pub(crate) fn meet_all(&mut self, named: &[Named]) -> Vec<Arc<Contact>> {
        let mut usable = Vec::with_capacity(named.len());
        for Named { contact, .. } in named {
            if self.is_worth_knowing(contact) {
                if self.is_node() {
                    self.offer(contact);
                }
                if !contact.is_away() {
                    usable.push(contact.clone());
                }
            }
        }
        usable
    }
}
