//! Records: what the network stores, signed by the one it is about, so that anyone can verify it alone.
//!
//! ```text
//! genesis ── change ── change ── body
//!    │          └ names what it follows by hash, signed by the key in force before it
//!    └ its hash is the GUID       └ signed by the key in force after all changes
//! ```
//!
//! A record is verified, ordered and kept whole, never spliced. Which of two wins is told by [`Record::cmp_rank`]; two
//! that contradict each other are kept together as [`Held`]. Nothing here knows whether a record is new or current.

mod held;
mod order;

pub use held::{Held, Merged};
pub(crate) use order::cmp_chain;
pub use order::{Conflict, conflict};

use crate::canonical::{self, CanonicalError, bounded_list, bounded_text};
use crate::domain::Domain;
use crate::id::{Guid, Id, Key, Kind};
use crate::key::{Hash, PublicKey, Purpose, SecretKey, Signature, signed_bytes, verify};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::OnceLock;

/// The format number of the records that this release writes and understands.
pub const FORMAT: u8 = 1;

/// How many key changes a record may carry.
pub const CHANGES_MAX: usize = 16;

/// How many bytes the text of a claim may have.
pub const CLAIM_TEXT_MAX: usize = 255;

const GENESIS_TAG: &[u8; 16] = b"lookup/genesis\0\0";
const CLAIM_TAG: &[u8; 16] = b"lookup/claim\0\0\0\0";

/// Where an identity begins. Its hash is the GUID, so none of it ever changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// The first signing key.
    pub signing: PublicKey,
    /// The first recovery key. Without one, whoever steals the signing key has the identity for good.
    pub recovery: Option<PublicKey>,
    /// Lets one pair of keys begin several identities.
    pub nonce: [u8; 16],
}

impl Genesis {
    /// The GUID: BLAKE3 of the tag `lookup/genesis` (16 bytes, zero-padded) and the canonical bytes.
    pub fn guid(&self) -> Guid {
        Guid(tagged(GENESIS_TAG, self))
    }
}

/// Which of an identity's two keys signed a key change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Signer {
    /// The signing key in force before the change. It cannot replace the recovery key.
    Signing,
    /// The recovery key in force before the change.
    Recovery,
}

/// A change of keys: which keys are in force afterwards, and who says so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct KeyChange {
    /// The hash of the change before this one; the bytes of the GUID if there is none.
    pub follows: Hash,
    /// Who signed it.
    pub by: Signer,
    /// The signing key from now on.
    pub signing: PublicKey,
    /// The recovery key from now on.
    pub recovery: Option<PublicKey>,
    /// By the key that `by` names, over the change without its signature.
    pub signature: Signature,
}

impl KeyChange {
    /// The hash by which the next change names this one. It covers the signature.
    pub fn hash(&self) -> Hash {
        Hash::of(&canonical::to_bytes(self))
    }

    pub(crate) fn signed(
        subject: &Guid,
        follows: Hash,
        by: Signer,
        secret: &SecretKey,
        signing: PublicKey,
        recovery: Option<PublicKey>,
    ) -> Self {
        let mut change = KeyChange { follows, by, signing, recovery, signature: Signature::from_bytes([0; 64]) };
        change.signature = secret.sign(&change.signed_bytes(subject));
        change
    }

    fn signed_bytes(&self, subject: &Guid) -> Vec<u8> {
        let purpose = match self.by {
            Signer::Signing => Purpose::KeyChange,
            Signer::Recovery => Purpose::Recovery,
        };
        let body = canonical::to_bytes(&(self.follows, self.by, self.signing, self.recovery));
        signed_bytes(purpose, FORMAT, &subject.0, &self.follows, &body)
    }
}

/// Where a user lives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Residence {
    /// On the home-server of this domain.
    Home(Domain),
    /// Nowhere any more: the tombstone.
    Closed,
}

/// A user's word on where he lives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// Counts the identity's records; under equal key changes the higher one wins.
    pub version: u64,
    /// Where.
    pub at: Residence,
    /// When the writer says that it was written, in milliseconds since the Unix epoch. A hint, never a judge.
    pub issued_ms: u64,
}

/// What kind of text is claimed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ClaimKind {
    /// A username. Stands for a [`ClaimValue::User`].
    Name,
    /// An id from an older system. Stands for a [`ClaimValue::Home`].
    Legacy,
}

/// What the claimed text stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ClaimValue {
    /// A user.
    User(Guid),
    /// A home-server.
    Home(Domain),
}

/// A claim to a text that belongs to no key by nature. The claimant is the record's identity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// What kind of text this is.
    pub kind: ClaimKind,
    /// The text, at most [`CLAIM_TEXT_MAX`] bytes, taken as it is: who wants `Ann` and `ann` to be one name folds them
    /// before claiming and before asking.
    #[serde(deserialize_with = "bounded_text::<_, _, CLAIM_TEXT_MAX>")]
    pub text: Box<str>,
    /// Counts the identity's records; under equal key changes the higher one wins.
    pub version: u64,
    /// What the text stands for. Must fit the kind.
    pub value: ClaimValue,
    /// When the writer says that it was written, in milliseconds since the Unix epoch. A hint, never a judge.
    pub issued_ms: u64,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Body {
    /// Where its user lives.
    Placement(Placement),
    /// That its identity claims a text.
    Claim(Claim),
}

/// Where claims to a text are stored: BLAKE3 of the tag `lookup/claim` (16 bytes, zero-padded) and the canonical bytes
/// of kind and text. The tag keeps it from ever being a GUID.
pub fn claim_key(kind: ClaimKind, text: &str) -> Key {
    Key { kind: Kind::Claim, id: tagged(CLAIM_TAG, &(kind, text)) }
}

fn tagged<T: Serialize>(tag: &[u8; 16], value: &T) -> Id {
    let mut bytes = tag.to_vec();
    bytes.extend_from_slice(&canonical::to_bytes(value));
    Id::of(&bytes)
}

/// Why a record is not valid. It says nothing about its identity, and must be neither kept nor passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Written by a later release, perhaps. Nobody is to blame.
    #[error("record format {format} is unknown")]
    UnknownFormat {
        /// The number that it carries.
        format: u8,
    },
    /// More than [`CHANGES_MAX`] key changes.
    #[error("a record has at most {CHANGES_MAX} key changes")]
    TooManyChanges,
    /// A key change does not name the one before it.
    #[error("key change {index} does not follow the one before it")]
    BrokenChain {
        /// Which one, counted from 0.
        index: u8,
    },
    /// A key change's signature is not by the key that it must be by.
    #[error("key change {index} is not signed by the key that it says")]
    BadChangeSignature {
        /// Which one, counted from 0.
        index: u8,
    },
    /// A key change signed by the signing key touches the recovery key.
    #[error("key change {index} replaces the recovery key, but is signed by the signing key")]
    RecoveryKeyChanged {
        /// Which one, counted from 0.
        index: u8,
    },
    /// A key change is said to be signed by a recovery key, and there is none.
    #[error("key change {index} needs a recovery key, and there is none")]
    NoRecoveryKey {
        /// Which one, counted from 0.
        index: u8,
    },
    /// A name that stands for a domain, or a legacy id that stands for a user.
    #[error("the value does not fit the kind of the claim")]
    ValueDoesNotFit,
    /// A claimed text of more than [`CLAIM_TEXT_MAX`] bytes.
    #[error("a claimed text has at most {CLAIM_TEXT_MAX} bytes")]
    TextTooLong,
    /// The body's signature is not by the key in force.
    #[error("the record is not signed by the key in force")]
    BadSignature,
}

/// What is encoded and signed of a record; the rest of it follows from this.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Data {
    format: u8,
    genesis: Genesis,
    #[serde(deserialize_with = "bounded_list::<_, _, CHANGES_MAX>")]
    changes: Vec<KeyChange>,
    body: Body,
    signature: Signature,
}

/// A record: an identity's genesis, its key changes, and one signed body. Shared as `Arc<Record>`.
///
/// It never changes, so it remembers what has been worked out about it: whether it is valid, its hash, its length and
/// its GUID. None of these is encoded or compared.
///
/// ```
/// use routing_core::{account::Account, record::Record};
///
/// let mut account = Account::new([1; 32], Some([2; 32]), [0; 16]);
/// let record = account.place("home.example".parse()?, 0);
/// let received = Record::from_bytes(&record.to_bytes())?;
/// received.verify()?;
/// assert_eq!(received.guid(), account.guid());
/// assert_eq!(received.home().map(|home| home.as_str()), Some("home.example"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Record {
    data: Data,
    guid: OnceLock<Guid>,
    encoded: OnceLock<(u32, Hash)>,
    verified: OnceLock<Result<(), RecordError>>,
}

impl Record {
    /// Puts a record together from its parts, such as a signature that was made elsewhere. Nothing is verified.
    pub fn from_parts(genesis: Genesis, changes: Vec<KeyChange>, body: Body, signature: Signature) -> Self {
        Data { format: FORMAT, genesis, changes, body, signature }.into()
    }

    pub(crate) fn signed(genesis: Genesis, changes: Vec<KeyChange>, body: Body, secret: &SecretKey) -> Self {
        let mut record = Self::from_parts(genesis, changes, body, Signature::from_bytes([0; 64]));
        record.data.signature = secret.sign(&record.signed_bytes());
        record
    }

    /// Reads a record. It is not verified yet, and may be of a format that this release does not know.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::from_bytes(bytes)
    }

    /// The canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// How many bytes [`Record::to_bytes`] gives. Remembered.
    pub fn encoded_len(&self) -> usize {
        self.encoded().0 as usize
    }

    /// BLAKE3 of [`Record::to_bytes`]. Remembered.
    pub fn hash(&self) -> Hash {
        self.encoded().1
    }

    fn encoded(&self) -> (u32, Hash) {
        *self.encoded.get_or_init(|| {
            let bytes = self.to_bytes();
            (bytes.len() as u32, Hash::of(&bytes))
        })
    }

    /// Where the identity begins.
    pub fn genesis(&self) -> &Genesis {
        &self.data.genesis
    }

    /// The key changes, oldest first.
    pub fn changes(&self) -> &[KeyChange] {
        &self.data.changes
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.data.body
    }

    /// The signature over the body.
    pub fn signature(&self) -> &Signature {
        &self.data.signature
    }

    /// Who speaks: the user of a placement, the claimant of a claim. Remembered.
    pub fn guid(&self) -> Guid {
        *self.guid.get_or_init(|| self.data.genesis.guid())
    }

    /// What it is stored under: the GUID for a placement, [`claim_key`] for a claim (hashed anew each time).
    pub fn key(&self) -> Key {
        match &self.data.body {
            Body::Placement(_) => self.guid().into(),
            Body::Claim(claim) => claim_key(claim.kind, &claim.text),
        }
    }

    /// The body's version.
    pub fn version(&self) -> u64 {
        match &self.data.body {
            Body::Placement(placement) => placement.version,
            Body::Claim(claim) => claim.version,
        }
    }

    /// The home-server that it names. None for a tombstone, and for a name, which stands for a user.
    pub fn home(&self) -> Option<&Domain> {
        match &self.data.body {
            Body::Placement(Placement { at: Residence::Home(home), .. }) => Some(home),
            Body::Claim(Claim { value: ClaimValue::Home(home), .. }) => Some(home),
            _ => None,
        }
    }

    /// Whether it is a tombstone.
    pub fn is_closed(&self) -> bool {
        matches!(self.data.body, Body::Placement(Placement { at: Residence::Closed, .. }))
    }

    /// When the writer says that it was written, in milliseconds since the Unix epoch. A hint, never a judge.
    pub fn issued_ms(&self) -> u64 {
        match &self.data.body {
            Body::Placement(placement) => placement.issued_ms,
            Body::Claim(claim) => claim.issued_ms,
        }
    }

    /// The signing key in force after all changes.
    pub fn signing_key(&self) -> PublicKey {
        self.data.changes.last().map_or(self.data.genesis.signing, |change| change.signing)
    }

    /// The recovery key in force after all changes.
    pub fn recovery_key(&self) -> Option<PublicKey> {
        self.data.changes.last().map_or(self.data.genesis.recovery, |change| change.recovery)
    }

    /// Whether all of it was said by those who may say it. Remembered: only the first call costs signatures.
    pub fn verify(&self) -> Result<(), RecordError> {
        *self.verified.get_or_init(|| self.check())
    }

    /// The same, and without a signature if it equals `known`, which is valid: many holders answer with one record, and
    /// each answer brings a copy of its own.
    pub fn verify_beside(&self, known: Option<&Record>) -> Result<(), RecordError> {
        if self.verified.get().is_none() && known.is_some_and(|known| known == self && known.verify().is_ok()) {
            return *self.verified.get_or_init(|| Ok(()));
        }
        self.verify()
    }

    fn check(&self) -> Result<(), RecordError> {
        let Data { format, changes, body, signature, .. } = &self.data;
        if *format != FORMAT {
            return Err(RecordError::UnknownFormat { format: *format });
        }
        if changes.len() > CHANGES_MAX {
            return Err(RecordError::TooManyChanges);
        }
        if let Body::Claim(claim) = body {
            check_claim(claim)?;
        }
        let signing = self.check_chain()?;
        if verify(&signing, &self.signed_bytes(), signature) { Ok(()) } else { Err(RecordError::BadSignature) }
    }

    /// Walks from the genesis through the changes and returns the signing key in force at the end.
    fn check_chain(&self) -> Result<PublicKey, RecordError> {
        let guid = self.guid();
        let Genesis { mut signing, mut recovery, .. } = self.data.genesis;
        let mut newest = Hash(guid.0.0);
        for (index, change) in (0..).zip(&self.data.changes) {
            if change.follows != newest {
                return Err(RecordError::BrokenChain { index });
            }
            let key = match change.by {
                Signer::Signing if change.recovery != recovery => {
                    return Err(RecordError::RecoveryKeyChanged { index });
                }
                Signer::Signing => signing,
                Signer::Recovery => recovery.ok_or(RecordError::NoRecoveryKey { index })?,
            };
            if !verify(&key, &change.signed_bytes(&guid), &change.signature) {
                return Err(RecordError::BadChangeSignature { index });
            }
            (signing, recovery, newest) = (change.signing, change.recovery, change.hash());
        }
        Ok(signing)
    }

    /// The bytes that the record's own signature covers.
    fn signed_bytes(&self) -> Vec<u8> {
        let Data { format, changes, body, .. } = &self.data;
        let guid = self.guid();
        signed_bytes(Purpose::Record, *format, &guid.0, &newest(&guid, changes), &canonical::to_bytes(body))
    }
}

/// What the next change or body follows: the newest change's hash, or the GUID.
pub(crate) fn newest(guid: &Guid, changes: &[KeyChange]) -> Hash {
    changes.last().map_or(Hash(guid.0.0), KeyChange::hash)
}

fn check_claim(claim: &Claim) -> Result<(), RecordError> {
    if claim.text.len() > CLAIM_TEXT_MAX {
        return Err(RecordError::TextTooLong);
    }
    match (claim.kind, &claim.value) {
        (ClaimKind::Name, ClaimValue::User(_)) | (ClaimKind::Legacy, ClaimValue::Home(_)) => Ok(()),
        _ => Err(RecordError::ValueDoesNotFit),
    }
}

impl From<Data> for Record {
    fn from(data: Data) -> Self {
        Self { data, guid: OnceLock::new(), encoded: OnceLock::new(), verified: OnceLock::new() }
    }
}

/// One line for logs: whose it is, what it says, and the beginning of its hash.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (guid, version, changes, hash) = (self.guid(), self.version(), self.changes().len(), self.hash());
        write!(f, "Record({guid:?} ")?;
        match self.body() {
            Body::Placement(Placement { at: Residence::Home(home), .. }) => write!(f, "at {home}")?,
            Body::Placement(Placement { at: Residence::Closed, .. }) => write!(f, "closed")?,
            Body::Claim(claim) => write!(f, "claims {:?} {:?} for {:?}", claim.kind, claim.text, claim.value)?,
        }
        write!(f, ", version {version}, {changes} key changes, {hash:?})")
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.data == other.data
    }
}

impl Eq for Record {}

/// Feeds the first eight bytes of [`Record::hash`]: plenty for a table or a digest.
impl std::hash::Hash for Record {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.encoded().1.0[..8]);
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Data::deserialize(deserializer).map(Record::from)
    }
}

#[cfg(test)]
mod tests;
