//! What this node has asked and not heard yet.

use super::announce;
use super::budget::Account;
use crate::contact::Contact;
use crate::effect::OperationId;
use crate::id::{Grid, Id, Key};
use crate::message::{Message, RequestId};
use crate::time::Tick;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// An operation.
    Operation(OperationId),
    /// Upkeep: is it alive, and does it see the same neighbourhood?
    Probe(Account),
    /// Upkeep: who is there that this node does not know, where it does not see the same?
    Acquaint(Account),
    /// Upkeep: more contacts for a part of the keyspace in which too few are known.
    Refill(Account),
    /// A comparison with a fellow holder of the keys that share so many leading bits of this place.
    Compare(Id, u8),
    /// Whether a holder has this record, which is kept in its place.
    Stray(Key),
    /// The records that a comparison found missing; these are still to be asked for afterwards.
    Fetch(Vec<Key>),
    /// Somebody that was given up: is it back?
    Revive,
    /// Records handed over outside an operation.
    HandOver,
    /// The announcement that this node makes by itself.
    Announce,
    /// The records of users of this server of whom a holder has told it.
    Missed,
    /// Records handed to an heir by a node that leaves, which waits for the answer.
    Bequest(OperationId),
}

impl Purpose {
    /// That of an operation, which need not have a caller.
    pub(crate) fn of(id: OperationId) -> Self {
        if id == announce::OWN { Purpose::Announce } else { Purpose::Operation(id) }
    }

    /// Which account pays for question and answer, if one does; operations and repairs of records have their own measure.
    pub(crate) fn account(&self) -> Option<Account> {
        match self {
            Purpose::Probe(account) | Purpose::Acquaint(account) | Purpose::Refill(account) => Some(*account),
            Purpose::Revive => Some(Account::Repair),
            _ => None,
        }
    }

    /// The operation that waits for the answer, if one does.
    pub(crate) fn operation(&self) -> Option<OperationId> {
        match self {
            Purpose::Operation(id) | Purpose::Bequest(id) => Some(*id),
            Purpose::Announce => Some(announce::OWN),
            _ => None,
        }
    }
}

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) peer: Arc<Contact>,
    pub(crate) purpose: Purpose,
    /// How deep it is in its operation: 1 + the depth of what led to it.
    pub(crate) depth: u8,
    pub(crate) sent: Tick,
    pub(crate) expires: Tick,
    /// What was asked: sent once more if it stays unanswered, and only an answer of its kind is one.
    pub(crate) request: Message,
    /// Whether it has been sent once more.
    pub(crate) is_repeated: bool,
}

/// The requests under way, by id and by when they expire.
///
/// Most are answered in about the order in which they were sent, and a node has few: so they lie one after the other, and one
/// that is taken out moves little.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    /// In the order in which their ids were given out.
    pending: VecDeque<UnderWay>,
    /// The soonest on top, which is under way. Others of them may have ended meanwhile.
    due: BinaryHeap<Reverse<(Tick, RequestId)>>,
    last: u32,
}

#[derive(Clone, Debug)]
struct UnderWay {
    id: RequestId,
    expires: Tick,
    pending: Box<Pending>,
}

/// So many times what is needed may be kept, in room and in expiries of what has ended.
const SLACK: usize = 4;
const SLACK_LEAST: usize = 4;

impl Requests {
    /// None under way. Ids go on from `first`, so that an answer to an earlier life of this node fits nothing.
    pub(crate) fn starting_at(first: u32) -> Self {
        Self { last: first, ..Self::default() }
    }

    /// A fresh id, odd for operations and even for upkeep.
    pub(crate) fn next_id(&mut self, is_for_operation: bool) -> RequestId {
        self.last = self.last.wrapping_add(2) & !1;
        RequestId(self.last | u32::from(is_for_operation))
    }

    pub(crate) fn insert(&mut self, id: RequestId, pending: Pending) {
        let expires = pending.expires;
        self.due.push(Reverse((expires, id)));
        let request = UnderWay { id, expires, pending: Box::new(pending) };
        match self.index(id) {
            Ok(index) => self.pending[index] = request,
            Err(index) => self.pending.insert(index, request),
        }
        self.drop_ended();
    }

    /// The request that this answer belongs to; an answer from anybody else than was asked is none.
    pub(crate) fn take(&mut self, id: RequestId, from: &Grid) -> Option<Pending> {
        let index = self.index(id).ok()?;
        if self.pending[index].pending.peer.grid() != *from {
            return None;
        }
        self.remove(index)
    }

    /// A request whose time is over.
    pub(crate) fn take_expired(&mut self, now: Tick) -> Option<(RequestId, Pending)> {
        let Reverse((_, id)) = *self.due.peek().filter(|Reverse((expires, _))| *expires <= now)?;
        let index = self.index(id).ok()?;
        self.remove(index).map(|pending| (id, pending))
    }

    /// All requests to a peer whose link is lost.
    pub(crate) fn take_to(&mut self, peer: &Grid) -> Vec<(RequestId, Pending)> {
        let to_peer = self.pending.iter().filter(|request| request.pending.peer.grid() == *peer);
        let ids: Vec<RequestId> = to_peer.map(|request| request.id).collect();
        ids.into_iter().filter_map(|id| self.take(id, peer).map(|pending| (id, pending))).collect()
    }

    pub(crate) fn next_due(&self) -> Option<Tick> {
        self.due.peek().map(|Reverse((tick, _))| *tick)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Where a request is, or would be: ids are given out upwards, and begin anew after the last.
    fn index(&self, id: RequestId) -> Result<usize, usize> {
        let age = |id: RequestId| (self.last | 1).wrapping_sub(id.0);
        self.pending.binary_search_by(|request| age(id).cmp(&age(request.id)))
    }

    fn remove(&mut self, index: usize) -> Option<Pending> {
        let request = self.pending.remove(index)?;
        self.drop_ended();
        Some(*request.pending)
    }

    /// Whoever is on top of the due ones is under way afterwards, and nothing keeps much more room than it needs.
    fn drop_ended(&mut self) {
        while self.due.peek().is_some_and(|due| !self.is_under_way(due)) {
            self.due.pop();
        }
        let enough = self.pending.len().max(SLACK_LEAST) * SLACK;
        if self.due.len() > enough {
            let mut due = std::mem::take(&mut self.due);
            due.retain(|due| self.is_under_way(due));
            due.shrink_to(enough / 2);
            self.due = due;
        }
        if self.pending.capacity() > enough {
            self.pending.shrink_to(enough / 2);
        }
    }

    fn is_under_way(&self, Reverse((expires, id)): &Reverse<(Tick, RequestId)>) -> bool {
        self.index(*id).is_ok_and(|index| self.pending[index].expires == *expires)
    }

    /// Both tell the same.
    pub(crate) fn check(&self) {
        assert!(self.due.peek().is_none_or(|due| self.is_under_way(due)), "what is due first is under way");
        let due: BTreeSet<_> = self.due.iter().filter(|due| self.is_under_way(due)).collect();
        assert_eq!(self.pending.len(), due.len(), "each request under way expires once");
        assert!(self.pending.iter().all(|request| self.index(request.id).is_ok()), "each is found by its id");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Address, Standing, Versions};
    use crate::holders::SetName;
    use crate::key::SecretKey;
    use crate::message::{Find, Want};
    use crate::time::Ticks;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn peer(number: u8) -> Arc<Contact> {
        let secret = SecretKey::from_seed([number; 32]);
        Arc::new(Contact::sign(&secret, Address::none(), 0, Standing::Here, Versions::CURRENT))
    }

    fn pending(id: RequestId, peer: &Arc<Contact>, expires: Tick) -> Pending {
        let find = Find { id, target: Id([0; 32]), want: Want::Contacts, groups: 0, set: SetName::NONE };
        let (request, purpose) = (Message::Find(find), Purpose::Revive);
        Pending { peer: peer.clone(), purpose, depth: 0, sent: Tick(0), expires, request, is_repeated: false }
    }

    #[derive(Clone, Debug)]
    enum Deed {
        Ask { peer: usize, patience: u64 },
        Answer { nth: usize, from: usize },
        WaitLonger { nth: usize, patience: u64 },
        Pass { ticks: u64 },
        Lose { peer: usize },
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            6 => (0..3usize, 1..40u64).prop_map(|(peer, patience)| Deed::Ask { peer, patience }),
            3 => (0..100usize, 0..3usize).prop_map(|(nth, from)| Deed::Answer { nth, from }),
            1 => (0..100usize, 1..40u64).prop_map(|(nth, patience)| Deed::WaitLonger { nth, patience }),
            1 => (0..30u64).prop_map(|ticks| Deed::Pass { ticks }),
            1 => (0..3usize).prop_map(|peer| Deed::Lose { peer }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_asked_is_found_by_id_and_expires_in_order_also_where_ids_begin_anew(
            first in prop_oneof![Just(u32::MAX - 40), any::<u32>()],
            deeds in proptest::collection::vec(deed(), 0..400),
        ) {
            let peers = [1, 2, 3].map(peer);
            let mut requests = Requests::starting_at(first);
            // By order of asking: id, whom, and when it expires.
            let mut model: BTreeMap<usize, (RequestId, usize, Tick)> = BTreeMap::new();
            let mut now = Tick(0);
            for (number, deed) in deeds.into_iter().enumerate() {
                let nth = |nth: usize| (!model.is_empty()).then(|| *model.iter().nth(nth % model.len()).unwrap().0);
                match deed {
                    Deed::Ask { peer, patience } => {
                        let id = requests.next_id(number % 2 == 0);
                        requests.insert(id, pending(id, &peers[peer], now + Ticks(patience)));
                        model.insert(number, (id, peer, now + Ticks(patience)));
                    }
                    Deed::Answer { nth: which, from } => {
                        let Some(which) = nth(which) else { continue };
                        let (id, peer, expires) = model[&which];
                        let taken = requests.take(id, &peers[from].grid());
                        prop_assert_eq!(taken.map(|taken| taken.expires), (peer == from).then_some(expires));
                        if peer == from {
                            model.remove(&which);
                        }
                    }
                    Deed::WaitLonger { nth: which, patience } => {
                        let Some(which) = nth(which) else { continue };
                        let (id, peer, _) = model[&which];
                        requests.insert(id, pending(id, &peers[peer], now + Ticks(patience)));
                        model.insert(which, (id, peer, now + Ticks(patience)));
                    }
                    Deed::Pass { ticks } => {
                        now += Ticks(ticks);
                        let due = |model: &BTreeMap<usize, (RequestId, usize, Tick)>| {
                            let due = model.iter().filter(|(_, (_, _, expires))| *expires <= now);
                            due.min_by_key(|(_, (id, _, expires))| (*expires, *id)).map(|(which, _)| *which)
                        };
                        while let Some(which) = due(&model) {
                            let (id, _, expires) = model.remove(&which).unwrap();
                            let taken = requests.take_expired(now).map(|(id, taken)| (id, taken.expires));
                            prop_assert_eq!(taken, Some((id, expires)));
                        }
                        prop_assert!(requests.take_expired(now).is_none());
                    }
                    Deed::Lose { peer } => {
                        let lost: Vec<RequestId> =
                            model.values().filter(|(_, whom, _)| *whom == peer).map(|(id, ..)| *id).collect();
                        model.retain(|_, (_, whom, _)| *whom != peer);
                        let taken = requests.take_to(&peers[peer].grid());
                        prop_assert_eq!(taken.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), lost);
                    }
                }
                requests.check();
                prop_assert_eq!(requests.is_empty(), model.is_empty());
                prop_assert_eq!(requests.next_due(), model.values().map(|(_, _, expires)| *expires).min());
            }
        }
    }

    /// The table of what a node takes, in `docs/simulation.md`, rests on this and on the size of the state.
    #[test]
    fn a_request_under_way_takes_160_bytes() {
        assert_eq!(size_of::<Pending>() + size_of::<UnderWay>() + size_of::<Reverse<(Tick, RequestId)>>(), 160);
    }

    #[test]
    fn what_has_ended_takes_no_room_for_long() {
        let peer = peer(1);
        let mut requests = Requests::starting_at(0);
        let ids: Vec<RequestId> = (0..10_000).map(|_| requests.next_id(true)).collect();
        // The first one stays on top of the due ones for long.
        ids.iter().for_each(|id| requests.insert(*id, pending(*id, &peer, Tick(u64::from(id.0)))));
        for id in &ids[1..] {
            requests.take(*id, &peer.grid());
        }
        assert!(requests.due.len() <= SLACK_LEAST * SLACK && requests.due.capacity() <= SLACK_LEAST * SLACK * 2);
        assert!(requests.pending.capacity() <= SLACK_LEAST * SLACK * 2);
    }
}
