//! What this node has asked and not heard yet.

use super::announce;
use super::budget::Account;
use crate::contact::Contact;
use crate::effect::OperationId;
use crate::id::{Grid, Id, Key};
use crate::message::{Brief, Message, RequestId};
use crate::time::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// An operation.
    Operation(OperationId),
    /// Upkeep: is it alive, and does it see the same neighbourhood?
    Probe(Account),
    /// Upkeep: is it alive, and whom does it draw to take the place of the contact whose id begins with these 64 bits?
    Draw(u64),
    /// Upkeep: who is there that this node does not know, where it does not see the same?
    Acquaint(Account),
    /// Upkeep: who else is where all should be known?
    Refill(Account),
    /// Upkeep: who is where too few are known, outside the own slice of a table that leaves some out?
    Gap,
    /// A comparison with a fellow holder of the keys that share so many leading bits of this place.
    Compare(Id, u8),
    /// Whether a holder has this record, which is kept in its place.
    Stray(Key),
    /// The records that a comparison found missing; these are still to be asked for afterwards.
    Fetch(Vec<Brief>),
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
            Purpose::Draw(_) => Some(Account::Far),
            Purpose::Gap | Purpose::Revive => Some(Account::Repair),
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
    /// When it was sent first.
    pub(crate) sent: Tick,
    pub(crate) expires: Tick,
    /// What was asked: sent once more if it stays unanswered, and only an answer of its kind is one.
    pub(crate) request: Message,
    /// Whether it has been sent once more.
    pub(crate) is_repeated: bool,
}

/// The requests under way, by id and by when they expire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    pending: BTreeMap<RequestId, Pending>,
    due: BTreeSet<(Tick, RequestId)>,
    last: u32,
}

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
        if let Some(old) = self.pending.insert(id, pending) {
            self.due.remove(&(old.expires, id));
        }
        self.due.insert((expires, id));
    }

    /// The request that this answer belongs to; an answer from anybody else than was asked is none.
    pub(crate) fn take(&mut self, id: RequestId, from: &Grid) -> Option<Pending> {
        if self.pending.get(&id)?.peer.grid() != *from {
            return None;
        }
        let pending = self.pending.remove(&id)?;
        self.due.remove(&(pending.expires, id));
        Some(pending)
    }

    /// A request whose time is over.
    pub(crate) fn take_expired(&mut self, now: Tick) -> Option<(RequestId, Pending)> {
        let (expires, id) = *self.due.first()?;
        if expires > now {
            return None;
        }
        self.due.remove(&(expires, id));
        self.pending.remove(&id).map(|pending| (id, pending))
    }

    /// All requests to a peer whose link is lost.
    pub(crate) fn take_to(&mut self, peer: &Grid) -> Vec<(RequestId, Pending)> {
        let ids: Vec<RequestId> =
            self.pending.iter().filter(|(_, pending)| pending.peer.grid() == *peer).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.take(id, peer).map(|pending| (id, pending))).collect()
    }

    pub(crate) fn next_due(&self) -> Option<Tick> {
        self.due.first().map(|(tick, _)| *tick)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Both indices tell the same.
    pub(crate) fn check(&self) {
        assert_eq!(self.pending.len(), self.due.len(), "each request under way expires once");
        for (id, pending) in &self.pending {
            assert!(self.due.contains(&(pending.expires, *id)), "a request's expiry is on the list");
        }
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
                        let mut lost: Vec<RequestId> =
                            model.values().filter(|(_, whom, _)| *whom == peer).map(|(id, ..)| *id).collect();
                        lost.sort_unstable();
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
}
