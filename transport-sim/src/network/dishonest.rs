//! Dishonest nodes: the production state machine, with what it answers twisted after its turn.
//!
//! ```text
//!   what is heard ─▶ the liar takes note of requests and records
//!                 ─▶ NodeState::turn ─▶ effects ─▶ the liar twists the answers among them
//! ```
//!
//! So a liar asks, joins, probes and stores like everybody else, and nobody can tell it from an honest node but by its
//! answers. What it remembers is its own, and what it draws is a function of the seed, its number and how many lies it
//! has told: a run with liars is as repeatable as one without.

use super::{Network, NodeIndex};
use routing_core::account::Account;
use routing_core::canonical;
use routing_core::contact::{Address, Contact, Standing as Presence, Versions};
use routing_core::domain::Domain;
use routing_core::effect::{Effect, Effects};
use routing_core::heard::Heard;
use routing_core::holders::Scale;
use routing_core::id::{Grid, Id, Key};
use routing_core::key::{Hash, Purpose, SecretKey, Signature, signed_bytes};
use routing_core::message::{
    Brief, CONTACTS_MAX, Copy, Difference, Found, List, Message, Named, Refusal, Standing, StoreResult, StoreVerdict,
    Stored,
};
use routing_core::record::{
    Body, Claim, ClaimKind, ClaimValue, FORMAT, KeyChange, Placement, Record, Residence, Signer,
};
use routing_core::state::NodeState;
use routing_core::time::Ticks;
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

/// How a dishonest node behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// It answers no request, and still asks.
    Silent,
    /// Its answers carry invented records: altered, signed by keys of its own, of other users, with false rivals.
    Forge,
    /// It serves the oldest record that it ever saw of each key, says that it keeps newer ones, and that holders who
    /// compare with it have the same.
    Stale,
    /// It names only its friends, says that nobody else is there, and that there is no record.
    Misroute,
    /// All of these: half of such nodes keep to one of them, the others choose anew for each answer.
    Mixed,
}

/// Those who are in it together: whom a liar names.
#[derive(Clone, Debug, Default)]
pub struct Friends {
    /// In order of their ids.
    contacts: Vec<Arc<Contact>>,
}

impl Friends {
    /// These.
    pub fn new(mut contacts: Vec<Arc<Contact>>) -> Self {
        contacts.sort_unstable_by_key(|contact| contact.grid());
        Self { contacts }
    }

    /// Those that share the leading `bits` (at most 64 count) of `place`.
    fn sharing(&self, place: &Id, bits: u32) -> &[Arc<Contact>] {
        let rest = u64::MAX.checked_shr(bits).unwrap_or(0);
        let (low, high) = (place.prefix() & !rest, place.prefix() | rest);
        let first = self.contacts.partition_point(|contact| contact.grid().0.prefix() < low);
        let end = self.contacts.partition_point(|contact| contact.grid().0.prefix() <= high);
        &self.contacts[first..end]
    }

    /// The `count` nearest to `place`, nearest first.
    fn nearest(&self, place: &Id, count: usize) -> Vec<Arc<Contact>> {
        let around = (0..=64).rev().map(|bits| self.sharing(place, bits)).find(|around| around.len() >= count);
        let mut nearest = around.unwrap_or(&self.contacts).to_vec();
        nearest.sort_unstable_by_key(|contact| place.distance(&contact.grid().0));
        nearest.truncate(count);
        nearest
    }
}

/// What a dishonest node has beside its state machine.
#[derive(Debug)]
pub(super) struct Liar {
    behaviour: Behaviour,
    friends: Arc<Friends>,
    seed: u64,
    lies: u64,
    /// The identity in whose name it forges, and the key of it.
    account: Account,
    secret: SecretKey,
    /// The oldest record that it ever saw of each key.
    oldest: BTreeMap<Key, Arc<Record>>,
    /// The requests that it heard in this turn.
    requests: Vec<(Grid, Message)>,
}

impl Network {
    /// From now on this node lies. One that lies already keeps what it remembers. Only nodes whose state machine the
    /// network runs can; for code of somebody's own, and for nodes that are gone, nothing happens.
    pub fn corrupt(&mut self, node: NodeIndex, behaviour: Behaviour, friends: Arc<Friends>) {
        let seed = hashed(&(self.seed, node, "liar"));
        let Some(live) = self.live_mut(node) else { return };
        let Some(state) = live.runner.state() else { return };
        let fixed = match behaviour {
            Behaviour::Mixed if seed.is_multiple_of(2) => SINGLE[(seed >> 8) as usize % SINGLE.len()],
            _ => behaviour,
        };
        match &mut live.liar {
            Some(liar) => (liar.behaviour, liar.friends) = (fixed, friends),
            none => {
                let oldest = state.store().iter().map(|(key, stored)| (*key, stored.held().record().clone()));
                *none = Some(Box::new(Liar::new(fixed, friends, seed, oldest.collect())));
            }
        }
    }

    /// The friends of a liar are these from now on.
    pub fn befriend(&mut self, node: NodeIndex, friends: Arc<Friends>) {
        let down = self.down.get_mut(&node).and_then(|down| down.liar.as_mut());
        let live = self.slots[node].live.as_mut().and_then(|live| live.liar.as_mut());
        if let Some(liar) = live.or(down) {
            liar.friends = friends;
        }
    }

    /// Whether this node lies, or did before it went down and will when it comes back.
    pub fn is_dishonest(&self, node: NodeIndex) -> bool {
        self.live(node)
            .map_or_else(|| self.down.get(&node).is_some_and(|down| down.liar.is_some()), |live| live.liar.is_some())
    }
}

const SINGLE: [Behaviour; 4] = [Behaviour::Silent, Behaviour::Forge, Behaviour::Stale, Behaviour::Misroute];

fn hashed(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Liar {
    fn new(behaviour: Behaviour, friends: Arc<Friends>, seed: u64, oldest: BTreeMap<Key, Arc<Record>>) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        let account = Account::new(secret, None, [0; 16]);
        let secret = SecretKey::from_seed(secret);
        Self { behaviour, friends, seed, lies: 0, account, secret, oldest, requests: Vec::new() }
    }

    fn draw(&mut self) -> u64 {
        self.lies += 1;
        hashed(&(self.seed, self.lies))
    }

    /// Takes note of what the node is about to hear.
    pub(super) fn listen(&mut self, heard: &[Heard]) {
        self.requests.clear();
        for heard in heard {
            let Heard::Message(from, message) = heard else { continue };
            match message {
                Message::Store(store) => store.items.iter().for_each(|item| self.remember(&item.copy)),
                Message::Fetched(fetched) => fetched.copies.iter().for_each(|copy| self.remember(copy)),
                Message::Found(Found { copy: Some(copy), .. }) => self.remember(copy),
                _ => {}
            }
            if message.is_request() {
                self.requests.push((*from, message.clone()));
            }
        }
    }

    fn remember(&mut self, copy: &Copy) {
        if copy.record.verify().is_err() {
            return;
        }
        let oldest = self.oldest.entry(copy.record.key()).or_insert_with(|| copy.record.clone());
        if oldest.guid() == copy.record.guid() && oldest.outranks(&copy.record) {
            *oldest = copy.record.clone();
        }
    }

    /// Twists the answers that the node gives in this turn.
    pub(super) fn twist(&mut self, state: &NodeState, effects: &mut Effects) {
        effects.retain_mut(|effect| match effect {
            Effect::Send(to, message) if !message.is_request() && !matches!(message, Message::Farewell(_)) => {
                let request = self.requests.iter().find(|(from, asked)| from == to && asked.id() == message.id());
                let request = request.map(|(_, request)| request.clone());
                let behaviour = match self.behaviour {
                    Behaviour::Mixed => SINGLE[self.draw() as usize % SINGLE.len()],
                    single => single,
                };
                match (behaviour, request) {
                    (Behaviour::Silent, _) => return false,
                    (Behaviour::Forge, Some(request)) => self.forge(state, &request, message),
                    (Behaviour::Stale, Some(request)) => self.serve_old(&request, message),
                    (Behaviour::Misroute, Some(request)) => self.misroute(&request, message),
                    (_, None) | (Behaviour::Mixed, _) => {}
                }
                true
            }
            _ => true,
        });
    }

    fn serve_old(&self, request: &Message, answer: &mut Message) {
        let old =
            |key: &Key| self.oldest.get(key).map(|record| Copy { record: record.clone(), rival: None, age: Ticks(0) });
        match (request, answer) {
            (Message::Find(find), Message::Found(found)) => {
                if let Some(copy) = find.want.key(find.target).and_then(|key| old(&key)) {
                    found.copy = Some(Arc::new(copy));
                    found.standing = Standing::Settled;
                }
            }
            (Message::Store(_), Message::Stored(stored)) => {
                let kept = |result: &StoreResult| StoreResult { verdict: StoreVerdict::Kept, ..*result };
                stored.results = stored.results.iter().map(kept).collect();
            }
            (Message::Compare(_), Message::Compared(compared)) => compared.difference = Difference::Same,
            (Message::Fetch(fetch), Message::Fetched(fetched)) => {
                fetched.copies = fetch.keys.iter().filter_map(old).collect();
            }
            _ => {}
        }
    }

    fn misroute(&mut self, request: &Message, answer: &mut Message) {
        let named = |contact: Arc<Contact>| Named { contact, is_hearsay: false };
        match (request, answer) {
            (Message::Find(find), Message::Found(found)) => {
                let friends = self.friends.nearest(&find.target, find.groups.into());
                found.contacts = (find.groups > 0).then(|| friends.into_iter().map(named).collect());
                found.copy = None;
                (found.is_complete, found.standing) = (find.groups > 0, Standing::Settled);
                // Far too many nodes, so that no set is widened; far too few, so that all are; no word at all.
                let scale = Scale([30 << 8, 4 << 8, 0][self.draw() as usize % 3]);
                (found.own_scale, found.scale) = (scale, scale);
            }
            (Message::Store(store), Message::Stored(Stored { results, contacts, .. })) => {
                let other = |result: &StoreResult| StoreResult { sees_other_set: true, ..result.clone() };
                *results = results.iter().map(other).collect();
                let first = store.items.iter().take(8).map(|item| item.copy.record.key().id);
                let friends = first.flat_map(|place| self.friends.nearest(&place, 16));
                *contacts = friends.map(named).collect();
            }
            (Message::Sample(sample), Message::Sampled(sampled)) => {
                let friends = self.friends.sharing(&sample.part.start, sample.part.bits.into()).iter();
                sampled.contacts = friends.take(sample.part.count.into()).cloned().map(named).collect();
            }
            (Message::Compare(_), Message::Compared(compared)) => compared.difference = Difference::Same,
            (Message::Fetch(_), Message::Fetched(fetched)) => fetched.copies = List::default(),
            _ => {}
        }
    }

    fn forge(&mut self, state: &NodeState, request: &Message, answer: &mut Message) {
        match (request, answer) {
            (Message::Find(find), Message::Found(found)) => {
                if let Some(key) = find.want.key(find.target) {
                    found.copy = Some(Arc::new(self.forged(state, &key)));
                    found.standing = Standing::Settled;
                }
                let mut contacts = found.contacts.take().map(|contacts| contacts.to_vec()).unwrap_or_default();
                contacts.push(Named { contact: Arc::new(self.forged_card(state)), is_hearsay: false });
                found.contacts = Some(contacts.into_iter().collect::<List<_, CONTACTS_MAX>>());
            }
            (Message::Store(store), Message::Stored(stored)) => {
                let keys = store.items.iter().map(|item| item.copy.record.key());
                let results = keys.zip(stored.results.iter()).map(|(key, result)| {
                    let verdict = match self.draw() % 4 {
                        0 => StoreVerdict::Newer(Arc::new(self.forged(state, &key))),
                        1 => StoreVerdict::Conflict(Arc::new(self.forged(state, &key))),
                        2 => StoreVerdict::Refused(Refusal::OtherClaimant),
                        _ => StoreVerdict::Kept,
                    };
                    StoreResult { verdict, sees_other_set: result.sees_other_set }
                });
                stored.results = results.collect();
            }
            (Message::Compare(compare), Message::Compared(compared)) => {
                // All that it has there, under hashes that make the other fetch it.
                let range = &compare.range;
                let keys = state.store().iter().map(|(key, _)| *key);
                let there = keys.filter(|key| key.id.common_bits(&range.start) >= u32::from(range.bits));
                let briefs: Vec<Brief> = there.take(64).map(|key| Brief { key, hash: hashed(&key) }).collect();
                compared.difference = Difference::Listing(briefs.into_iter().collect());
            }
            (Message::Fetch(fetch), Message::Fetched(fetched)) => {
                fetched.copies = fetch.keys.iter().map(|key| self.forged(state, key)).collect();
            }
            _ => {}
        }
    }

    /// A card in the name of another node, signed by a key of the liar's own.
    fn forged_card(&mut self, state: &NodeState) -> Contact {
        let victim = state.table().iter().next().map_or_else(Address::none, |entry| entry.contact().address().clone());
        let sequence = self.draw();
        Contact::sign(&self.secret, victim, sequence, Presence::Here, Versions::CURRENT)
    }

    /// Something that is not what its user last signed: in all the ways that the types allow.
    fn forged(&mut self, state: &NodeState, key: &Key) -> Copy {
        let way = self.draw() % 8;
        let copy = |record, rival| Copy { record: Arc::new(record), rival, age: Ticks(0) };
        let known = state.store().get(key).map(|stored| stored.held().record().clone());
        let known = known.or_else(|| self.oldest.get(key).cloned());
        let Some(real) = known else {
            // A record of another user is valid, and nobody's genesis can be made up.
            let mut own = self.account.clone();
            let other = own.place(hideout(), 0);
            let body = bent(other.body(), own.guid().0, u64::MAX);
            let signature = Signature::from_bytes([0x5a; 64]);
            let garbage = Record::from_parts(other.genesis().clone(), Vec::new(), body, signature);
            return copy(if way.is_multiple_of(2) { other } else { garbage }, None);
        };
        let (genesis, changes) = (real.genesis().clone(), real.changes().to_vec());
        let version = if way.is_multiple_of(2) { u64::MAX } else { real.version().saturating_add(1) };
        let body = bent(real.body(), self.account.guid().0, version);
        match way {
            // The body is another than was signed.
            0 => copy(Record::from_parts(genesis, changes, body, *real.signature()), None),
            // A placement signed by a key of the liar's own, under the victim's GUID.
            1 | 2 => copy(self.signed_by_self(&real, changes, body), None),
            // The same behind a change of keys that the liar signed itself.
            3 | 4 => {
                let by = if way == 3 { Signer::Signing } else { Signer::Recovery };
                let follows = changes.last().map_or(Hash(real.guid().0.0), KeyChange::hash);
                let (signing, recovery) = (self.secret.public(), real.recovery_key());
                let purpose = if way == 3 { Purpose::KeyChange } else { Purpose::Recovery };
                let what = canonical::to_bytes(&(follows, by, signing, recovery));
                let signature = self.secret.sign(&signed_bytes(purpose, FORMAT, &real.guid().0, &follows, &what));
                let change = KeyChange { follows, by, signing, recovery, signature };
                let changes = changes.into_iter().chain([change]).collect();
                copy(self.signed_by_self(&real, changes, body), None)
            }
            // The true record, contradicted by a false one.
            5 => {
                let rival = self.signed_by_self(&real, changes, body);
                Copy { record: real, rival: Some(Arc::new(rival)), age: Ticks(0) }
            }
            // Of a format that does not exist.
            6 => {
                let mut bytes = real.to_bytes();
                bytes[0] = FORMAT + 1;
                copy(Record::from_bytes(&bytes).unwrap_or_else(|_| self.signed_by_self(&real, changes, body)), None)
            }
            // Valid, but of the liar: nothing under a user's key, a rival's under a claimed text.
            _ => copy(self.own_record(real.body()), None),
        }
    }

    fn signed_by_self(&self, real: &Record, changes: Vec<KeyChange>, body: Body) -> Record {
        let follows = changes.last().map_or(Hash(real.guid().0.0), KeyChange::hash);
        let bytes = signed_bytes(Purpose::Record, FORMAT, &real.guid().0, &follows, &canonical::to_bytes(&body));
        Record::from_parts(real.genesis().clone(), changes, body, self.secret.sign(&bytes))
    }

    fn own_record(&self, like: &Body) -> Record {
        let mut own = self.account.clone();
        let claim = match like {
            Body::Claim(Claim { kind: ClaimKind::Name, text, .. }) => own.claim_name(text, 0).ok(),
            Body::Claim(Claim { kind: ClaimKind::Legacy, text, .. }) => own.claim_legacy(text, hideout(), 0).ok(),
            Body::Placement(_) => None,
        };
        claim.unwrap_or_else(|| own.place(hideout(), 0))
    }
}

/// Where liars say that users live.
fn hideout() -> Domain {
    "hideout.example".parse().expect("letters make a domain")
}

/// The same body with a higher version and another answer.
fn bent(body: &Body, liar: Id, version: u64) -> Body {
    match body {
        Body::Placement(Placement { issued_ms, .. }) => {
            Body::Placement(Placement { version, at: Residence::Home(hideout()), issued_ms: *issued_ms })
        }
        Body::Claim(claim) => {
            let value = match claim.kind {
                ClaimKind::Name => ClaimValue::User(routing_core::id::Guid(liar)),
                ClaimKind::Legacy => ClaimValue::Home(hideout()),
            };
            Body::Claim(Claim { version, value, ..claim.clone() })
        }
    }
}
