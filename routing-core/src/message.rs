//! What nodes say to each other: one request and one answer for each exchange.
//!
//! | request | answer | for |
//! | --- | --- | --- |
//! | [`Find`] | [`Found`] | approach a place, read a record, probe a contact, check a neighbourhood |
//! | [`Store`] | [`Stored`] | write, refresh, repair, hand over |
//! | [`Compare`] | [`Compared`] | find what two holders of the same keys have differently |
//! | [`Fetch`] | [`Fetched`] | get the records that a comparison found missing |
//! | [`Sample`] | [`Sampled`] | fill a table |
//! | [`Farewell`] | none | away for a while, or gone for good |
//!
//! A message is at most 64 bytes in memory; what is larger is shared, so that a simulated network hands over pointers.
//! Only [`crate::wire`] knows how a message looks on a link.

use crate::canonical::bounded_list;
use crate::contact::Contact;
use crate::domain::Domain;
use crate::holders::{Scale, SetName};
use crate::id::{Id, Key, Kind};
use crate::key::Hash;
use crate::record::{Record, RecordError};
use crate::time::Ticks;
use crate::wire::FRAME_MAX;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Joins a request and its answer, which echoes it. Chosen by the asker, unique among what it awaits from that peer.
/// Odd ids belong to operations somebody waits for, even ones to upkeep, so that either end can tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RequestId(pub u32);

impl RequestId {
    /// Whether an operation waits for the answer; else it is upkeep.
    pub fn is_for_operation(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A shared list of at most `MAX` elements. A longer one does not decode, before it takes more memory than that.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Arc<[T]>);

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

/// Collects the first `MAX` elements; callers cut what they send to the limit beforehand.
impl<T, const MAX: usize> FromIterator<T> for List<T, MAX> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().take(MAX).collect())
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A vector grows to the next power of two, and even that is no larger than the largest frame.
        const { assert!(size_of::<T>() * MAX.next_power_of_two() <= FRAME_MAX) };
        bounded_list::<_, T, MAX>(deserializer).map(|elements| Self(elements.into()))
    }
}

/// The most contacts in one message: about half a megabyte.
pub const CONTACTS_MAX: usize = 4_096;
/// The most records in one message; what they weigh is bounded by the frame.
pub const COPIES_MAX: usize = 4_096;
/// The most marks in one question.
pub const MARKS_MAX: usize = 512;
/// The most keys in one listing or fetch.
pub const KEYS_MAX: usize = 8_192;

/// Anything that one node says to another. A later release adds kinds at the end, and begins each with a request id:
/// who does not know the kind can still answer [`Message::Unknown`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Who is nearest to a place, and what do you hold there?
    Find(Find),
    /// The answer to [`Message::Find`].
    Found(Found),
    /// Keep these records.
    Store(Store),
    /// The answer to [`Message::Store`].
    Stored(Stored),
    /// Do we hold the same?
    Compare(Compare),
    /// The answer to [`Message::Compare`].
    Compared(Compared),
    /// Give me these records.
    Fetch(Fetch),
    /// The answer to [`Message::Fetch`].
    Fetched(Fetched),
    /// Name some contacts from a part of the keyspace.
    Sample(Sample),
    /// The answer to [`Message::Sample`].
    Sampled(Sampled),
    /// I go; here are some others.
    Farewell(Farewell),
    /// The answer to a request of a kind that the peer does not know. Never punished.
    Unknown(RequestId),
}

/// Asks for the contacts nearest to a place and, with a key, for the record there.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Find {
    /// Echoed by the answer.
    pub id: RequestId,
    /// The place.
    pub target: Id,
    /// What is wanted there.
    pub want: Want,
    /// How many groups of contacts to name: k, or a few k for somebody who joins. None with 0.
    pub groups: u16,
    /// The name of the set of so many groups that the asker sees; a peer that sees the same one names nobody.
    pub set: SetName,
}

/// What a [`Find`] is after.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Want {
    /// Contacts that have answered the peer.
    Contacts,
    /// Contacts for somebody who joins: hearsay may be among them, marked.
    Introductions,
    /// The user record stored at the target, and contacts.
    Record,
    /// The claim stored at the target, and contacts.
    Claim,
    /// Whether the peer sees the asker's set of holders: it names nobody.
    Agreement,
}

impl Want {
    /// The key whose record is wanted, of those at `place`.
    pub fn key(self, place: Id) -> Option<Key> {
        match self {
            Want::Record => Some(Key { kind: Kind::User, id: place }),
            Want::Claim => Some(Key { kind: Kind::Claim, id: place }),
            Want::Contacts | Want::Introductions | Want::Agreement => None,
        }
    }
}

/// What a peer knows of a place.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Found {
    /// That of the request.
    pub id: RequestId,
    /// What weight the answer has.
    pub standing: Standing,
    /// Whether the place lies where the peer knows everybody: a hint that the search has arrived.
    pub is_complete: bool,
    /// How many nodes the keyspace seems to hold by the peer's own contacts: one word of many, for nodes to agree upon.
    pub own_scale: Scale,
    /// How many it holds by what the peer has heard from all over it, for those who have no table of their own.
    pub scale: Scale,
    /// The record, if one is wanted and held.
    pub copy: Option<Arc<Copy>>,
    /// The nearest contacts, nearest first; `None` if the peer sees the asker's set. None of them where only that was asked.
    pub contacts: Option<List<Named, CONTACTS_MAX>>,
}

/// Whether what a holder says of a key counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// A holder that has compared the range with most of the others: what it says counts.
    Settled,
    /// *Not yet*: new to the range, or no holder in its own view. A record from it is used, its silence means nothing.
    NotYet,
}

/// A contact that is named to somebody.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its card.
    pub contact: Arc<Contact>,
    /// Whether it has not answered the informant itself.
    pub is_hearsay: bool,
}

/// A record with what travels beside it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Copy {
    /// The greatest record known.
    pub record: Arc<Record>,
    /// The greatest that is in conflict with it: the proof of conflict.
    pub rival: Option<Arc<Record>>,
    /// Running time since the home-server or the user's client announced it.
    pub age: Ticks,
}

impl Copy {
    /// Whether record and rival are valid, and the rival is one: of the same key, and by the same claimant. Half a copy must
    /// not be taken. `known` is valid, and so is what equals it.
    pub(crate) fn is_valid_beside(&self, known: Option<&Record>) -> bool {
        let is_rival = |rival: &Record| {
            rival.key() == self.record.key() && rival.guid() == self.record.guid() && rival.verify().is_ok()
        };
        self.record.verify_beside(known).is_ok() && self.rival.as_deref().is_none_or(is_rival)
    }

    /// Whether a release after this one has written some of it. That cannot be verified, and is no offence.
    pub(crate) fn is_of_later_format(&self) -> bool {
        let is_later = |record: &Record| matches!(record.verify(), Err(RecordError::UnknownFormat { .. }));
        is_later(&self.record) || self.rival.as_deref().is_some_and(is_later)
    }
}

/// Hands over records.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Store {
    /// Echoed by the answer.
    pub id: RequestId,
    /// The records, each with the set of holders that the writer sees.
    pub items: List<StoreItem, COPIES_MAX>,
}

/// One record to keep.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StoreItem {
    /// The record; age 0 from the user's client or home-server, the age at the giver from another holder.
    pub copy: Copy,
    /// The name of the set that the writer gives it to; a peer that sees another names its own.
    pub set: SetName,
}

/// What became of the records of one [`Store`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// That of the request.
    pub id: RequestId,
    /// One result for each record, in the order of the request.
    pub results: List<StoreResult, COPIES_MAX>,
    /// The holders of those records for which the peer sees another set.
    pub contacts: List<Named, CONTACTS_MAX>,
}

/// What a holder made of one record.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StoreResult {
    /// Whether it is kept.
    pub verdict: StoreVerdict,
    /// Whether the peer sees another set of holders.
    pub sees_other_set: bool,
}

/// Whether a holder keeps a record.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StoreVerdict {
    /// It holds exactly this record now.
    Kept,
    /// It keeps it, and holds proof of a conflict.
    Conflict(Arc<Copy>),
    /// It knows a greater one.
    Newer(Arc<Copy>),
    /// It does not keep it. Nothing was changed.
    Refused(Refusal),
}

/// Why a record is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// It is not valid.
    Invalid,
    /// The store is full of what matters more.
    Full,
    /// The key is another claimant's.
    OtherClaimant,
}

/// Asks whether two holders have the same records of the keys that both of them hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Compare {
    /// Echoed by the answer.
    pub id: RequestId,
    /// Which keys, and the asker's digest of what it has there.
    pub range: Arc<Range>,
}

/// A part of the keyspace and the digest of what somebody holds there.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Range {
    /// The keys that share the leading `bits` of this place.
    pub start: Id,
    /// How many leading bits; 0 for all.
    pub bits: u8,
    /// BLAKE3 over (key, [`Brief::hash`]) in the order of keys.
    pub digest: Hash,
    /// Of the records of one server's users only. It need not be a holder itself, and announces them: that they are the
    /// same renews their ages.
    pub users: Option<UsersOf>,
}

/// The users of one server, as far as the one who is asked holds their records.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct UsersOf {
    /// The domain that the records name.
    pub domain: Domain,
    /// By how many nodes the server widens sets of holders: the peer does as the server does, else the two would seldom
    /// mean the same records.
    pub scale: Scale,
}

/// How two holders differ.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// That of the request.
    pub id: RequestId,
    /// The difference.
    pub difference: Difference,
}

/// The answer to a comparison.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Difference {
    /// The digests are equal.
    Same,
    /// They differ: this is what the peer has in the range.
    Listing(List<Brief, KEYS_MAX>),
    /// They differ, and the range holds too much to list: compare its 16 parts, of which these are the peer's digests.
    Split(Arc<[Hash; 16]>),
}

/// A record by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Brief {
    /// Its key.
    pub key: Key,
    /// The first 8 bytes of its hash; where a rival is held, too, of the hash of both hashes.
    pub hash: u64,
}

/// Asks for records by key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fetch {
    /// Echoed by the answer.
    pub id: RequestId,
    /// Which ones.
    pub keys: List<Key, KEYS_MAX>,
}

/// The records asked for, as far as they are held and fit.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fetched {
    /// That of the request.
    pub id: RequestId,
    /// The copies.
    pub copies: List<Copy, COPIES_MAX>,
}

/// Asks for contacts from a part of the keyspace, spread evenly.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Echoed by the answer.
    pub id: RequestId,
    /// Which ones.
    pub part: Arc<Part>,
}

/// Contacts that are wanted: from a part of the keyspace, and not those who are known.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The part shares the leading `bits` of this place. Its last eight bytes are the salt of the marks.
    pub start: Id,
    /// How many leading bits; 0 for all.
    pub bits: u8,
    /// At most so many contacts.
    pub count: u16,
    /// Whether those who have not answered the peer are wanted, too, marked as hearsay: by somebody who joins, or is still
    /// filling its table.
    pub with_hearsay: bool,
    /// The marks of those whom the asker knows there, who need not be named.
    pub known: List<Mark, MARKS_MAX>,
}

/// Stands for a contact where both sides know it: two bytes instead of a card. Two contacts have the same mark once in 65,536
/// times; the salt is drawn anew for each question, so that nobody stays hidden behind another, and nobody can grind an id to
/// hide somebody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Mark([u8; 2]);

impl Mark {
    /// The mark of a contact whose id begins with `prefix`, in a question about a part that begins with `start`, by whose last
    /// eight bytes it is salted: the leading two bytes of the product of a constant with the prefix, XOR the salt.
    pub fn new(start: &Id, prefix: u64) -> Self {
        let salt = start.0.last_chunk().map_or(0, |salt| u64::from_be_bytes(*salt));
        let [first, second, ..] = (prefix ^ salt).wrapping_mul(MARK_FACTOR).to_be_bytes();
        Self([first, second])
    }
}

/// 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, 6.4): leading bits of a product depend on all
/// bits of what is multiplied.
const MARK_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Some contacts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Sampled {
    /// That of the request.
    pub id: RequestId,
    /// The contacts.
    pub contacts: List<Named, CONTACTS_MAX>,
}

/// The last word of a node that goes, for a while or for good, as its newest card says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Farewell {
    /// Its card: away, or left.
    pub contact: Arc<Contact>,
    /// Neighbours of the leaver, so that those it connected know each other.
    pub acquainted: List<Arc<Contact>, CONTACTS_MAX>,
}

impl Message {
    /// How many kinds there are: one more than the highest [`Message::kind`].
    pub const KINDS: u32 = 12;

    /// The number of its kind, with which its encoding begins.
    pub fn kind(&self) -> u32 {
        match self {
            Message::Find(_) => 0,
            Message::Found(_) => 1,
            Message::Store(_) => 2,
            Message::Stored(_) => 3,
            Message::Compare(_) => 4,
            Message::Compared(_) => 5,
            Message::Fetch(_) => 6,
            Message::Fetched(_) => 7,
            Message::Sample(_) => 8,
            Message::Sampled(_) => 9,
            Message::Farewell(_) => 10,
            Message::Unknown(_) => 11,
        }
    }

    /// The id that joins request and answer; none for a farewell.
    pub fn id(&self) -> Option<RequestId> {
        match self {
            Message::Find(Find { id, .. })
            | Message::Found(Found { id, .. })
            | Message::Store(Store { id, .. })
            | Message::Stored(Stored { id, .. })
            | Message::Compare(Compare { id, .. })
            | Message::Compared(Compared { id, .. })
            | Message::Fetch(Fetch { id, .. })
            | Message::Fetched(Fetched { id, .. })
            | Message::Sample(Sample { id, .. })
            | Message::Sampled(Sampled { id, .. })
            | Message::Unknown(id) => Some(*id),
            Message::Farewell(_) => None,
        }
    }

    /// Whether it belongs to an operation somebody waits for, as request or as answer.
    pub fn is_for_operation(&self) -> bool {
        self.id().is_some_and(RequestId::is_for_operation)
    }

    /// Whether it asks for an answer, or is one.
    pub fn is_request(&self) -> bool {
        use Message::{Compare, Fetch, Find, Sample, Store};
        matches!(self, Find(_) | Store(_) | Compare(_) | Fetch(_) | Sample(_))
    }

    /// Whether `answer` is of the kind that this request asks for.
    pub fn is_answered_by(&self, answer: &Message) -> bool {
        use Message::{Compare, Compared, Fetch, Fetched, Find, Found, Sample, Sampled, Store, Stored};
        matches!(
            (self, answer),
            (Find(_), Found(_))
                | (Store(_), Stored(_))
                | (Compare(_), Compared(_))
                | (Fetch(_), Fetched(_))
                | (Sample(_), Sampled(_))
        )
    }

    /// How many copies of records it carries to be kept.
    pub fn copies(&self) -> usize {
        match self {
            Message::Store(store) => store.items.len(),
            Message::Fetched(fetched) => fetched.copies.len(),
            _ => 0,
        }
    }

    /// How many records whoever is asked has to take in or to hand over before it can answer.
    pub fn records_asked(&self) -> usize {
        match self {
            Message::Store(store) => store.items.len(),
            Message::Fetch(fetch) => fetch.keys.len(),
            _ => 0,
        }
    }

    /// How many bytes [`crate::wire::encode`] makes of it, without doing it.
    pub fn encoded_len(&self) -> usize {
        1 + match self {
            Message::Find(find) => varint(find.id.0) + 32 + 1 + varint(find.groups.into()) + varint(find.set.0),
            Message::Found(found) => {
                let contacts = found.contacts.as_ref().map_or(0, |contacts| list(contacts, Named::encoded_len));
                let scales = varint(found.own_scale.0.into()) + varint(found.scale.0.into());
                varint(found.id.0) + 2 + scales + optional_copy(&found.copy) + 1 + contacts
            }
            Message::Store(store) => {
                varint(store.id.0) + list(&store.items, |item| item.copy.encoded_len() + varint(item.set.0))
            }
            Message::Stored(stored) => {
                let result = |result: &StoreResult| 1 + result.verdict.encoded_len();
                varint(stored.id.0) + list(&stored.results, result) + list(&stored.contacts, Named::encoded_len)
            }
            Message::Compare(compare) => {
                let users = compare.range.users.as_ref();
                let users = users.map_or(0, |of| of.domain.encoded_len() + varint(of.scale.0.into()));
                varint(compare.id.0) + 65 + 1 + users
            }
            Message::Compared(compared) => {
                varint(compared.id.0)
                    + 1
                    + match &compared.difference {
                        Difference::Same => 0,
                        Difference::Listing(briefs) => list(briefs, |brief| 33 + varint64(brief.hash)),
                        Difference::Split(_) => 16 * 32,
                    }
            }
            Message::Fetch(fetch) => varint(fetch.id.0) + list(&fetch.keys, |_| 33),
            Message::Fetched(fetched) => varint(fetched.id.0) + list(&fetched.copies, Copy::encoded_len),
            Message::Sample(Sample { id, part }) => {
                varint(id.0) + 34 + varint(part.count.into()) + list(&part.known, |_| size_of::<Mark>())
            }
            Message::Sampled(sampled) => varint(sampled.id.0) + list(&sampled.contacts, Named::encoded_len),
            Message::Farewell(farewell) => {
                farewell.contact.encoded_len() + list(&farewell.acquainted, |contact| contact.encoded_len())
            }
            Message::Unknown(id) => varint(id.0),
        }
    }
}

impl Named {
    /// How many bytes it takes on a link.
    pub fn encoded_len(&self) -> usize {
        self.contact.encoded_len() + 1
    }
}

impl StoreVerdict {
    /// How many bytes it takes on a link.
    pub fn encoded_len(&self) -> usize {
        1 + match self {
            StoreVerdict::Kept => 0,
            StoreVerdict::Conflict(copy) | StoreVerdict::Newer(copy) => copy.encoded_len(),
            StoreVerdict::Refused(_) => 1,
        }
    }
}

impl Copy {
    /// How many bytes it takes on a link.
    pub fn encoded_len(&self) -> usize {
        self.record.encoded_len()
            + 1
            + self.rival.as_ref().map_or(0, |rival| rival.encoded_len())
            + varint64(self.age.0)
    }
}

fn optional_copy(copy: &Option<Arc<Copy>>) -> usize {
    1 + copy.as_ref().map_or(0, |copy| copy.encoded_len())
}

fn list<T>(elements: &[T], length: impl Fn(&T) -> usize) -> usize {
    varint64(elements.len() as u64) + elements.iter().map(length).sum::<usize>()
}

pub(crate) fn varint(value: u32) -> usize {
    varint64(value.into())
}

/// How many bytes a number takes in LEB128, seven bits to the byte.
fn varint64(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_at_most_64_bytes_in_memory() {
        assert!(size_of::<Message>() <= 64, "{}", size_of::<Message>());
    }

    /// Of 200 ids, some pair has the same mark in about every third question.
    #[test]
    fn nobody_is_hidden_behind_another_in_two_questions() {
        let prefixes: Vec<u64> = (0..200u8).map(|byte| Id::of(&[byte]).prefix()).collect();
        let mut hidden = std::collections::BTreeSet::new();
        for question in 0..64u8 {
            let start = Id::of(&[question, 1]);
            let mut marks: Vec<_> = prefixes.iter().map(|prefix| (Mark::new(&start, *prefix), *prefix)).collect();
            marks.sort_unstable();
            for pair in marks.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                assert!(hidden.insert((pair[0].1, pair[1].1)), "{pair:?} again");
            }
        }
        assert!((5..60).contains(&hidden.len()), "{} pairs in 64 questions", hidden.len());
    }
}
