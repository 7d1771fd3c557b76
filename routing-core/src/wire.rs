//! How messages look on a link: frames, and the hello that each side begins with.
//!
//! ```text
//! frame   │ length: u32, big-endian │ payload: length bytes, at most FRAME_MAX │
//! payload │ kind: varint │ request id: varint │ body │            postcard, in its canonical form
//!
//! dialler ── hello ──▶ ◀── hello ── dialled      each a frame of at most HELLO_MAX; then agree() on both sides
//!         ── message ▶ ◀ message ──              frames in the version agreed
//! ```
//!
//! Nothing here reads a socket, and nothing here is proven: whose link it is the transport finds out, whether a
//! contact or a record is signed its reader asks. All that [`decode`] promises is that a message has one encoding, that
//! reading costs memory in proportion to the frame, and that no bytes make it panic.

use crate::canonical::{self, CanonicalError, bounded_text};
use crate::contact::{Contact, Versions};
use crate::message::{Message, RequestId, varint};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest payload of a frame, in bytes. A sender cuts its lists so that they fit: see [`Message::encoded_len`].
pub const FRAME_MAX: usize = 1 << 20;

/// The bytes of a frame before its payload.
pub const FRAME_OVERHEAD: usize = 4;

/// The longest payload of a hello, in bytes: all that a stranger may make us hold before we know who it is.
pub const HELLO_MAX: usize = 512;

/// What each hello begins with: the protocol's name, and the number of the hello's own format.
pub const MAGIC: [u8; 8] = *b"lookup\0\x01";

/// Bytes that are no message of ours. Nothing was decoded or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// A frame beyond its limit. Read no further, close the link; a writer sends less at once.
    #[error("a frame of {length} bytes is beyond the limit")]
    TooLong {
        /// How long the payload is or is said to be.
        length: usize,
    },
    /// A kind from a later release, perhaps. Answer [`Message::Unknown`] with the id, if it could be read; go on.
    #[error("a message of the unknown kind {kind}")]
    UnknownKind {
        /// The number of the kind.
        kind: u32,
        /// What follows it, which for every kind but [`Message::Farewell`] is the request id.
        id: Option<RequestId>,
    },
    /// No message: it ends too early, or holds what cannot be. Count it against the peer; the link may go on.
    #[error("the bytes encode no message")]
    Malformed,
    /// A message, but not as it is written. Count it against the peer; the link may go on.
    #[error("the bytes are not the canonical encoding of their message")]
    NotCanonical,
}

impl From<CanonicalError> for WireError {
    fn from(error: CanonicalError) -> Self {
        match error {
            CanonicalError::Malformed => WireError::Malformed,
            CanonicalError::NotCanonical => WireError::NotCanonical,
        }
    }
}

/// The payload of a message. [`decode`] refuses one that is longer than [`FRAME_MAX`].
pub fn encode(message: &Message) -> Vec<u8> {
    let mut payload = Vec::new();
    append(message, message.encoded_len(), &mut payload);
    payload
}

/// Reads a payload, which must be exactly what [`encode`] makes of the message.
pub fn decode(payload: &[u8]) -> Result<Message, WireError> {
    if payload.len() > FRAME_MAX {
        return Err(WireError::TooLong { length: payload.len() });
    }
    let (kind, rest) = take_number(payload)?;
    if kind >= Message::KINDS {
        let id = take_number(rest).ok().map(|(id, _)| RequestId(id));
        return Err(WireError::UnknownKind { kind, id });
    }
    Ok(canonical::from_bytes(payload)?)
}

/// Appends a message to what is to be written, as a frame. If it is too long, nothing is appended.
pub fn write_frame(message: &Message, buffer: &mut Vec<u8>) -> Result<(), WireError> {
    let length = message.encoded_len();
    if length > FRAME_MAX {
        return Err(WireError::TooLong { length });
    }
    buffer.reserve(FRAME_OVERHEAD + length);
    buffer.extend_from_slice(&(length as u32).to_be_bytes());
    append(message, length, buffer);
    Ok(())
}

/// The length of the payload that follows a frame's first bytes: at most `max`, which is [`HELLO_MAX`] for the first
/// frame and [`FRAME_MAX`] for the others. Asked before memory is set aside for it.
pub fn payload_len(header: [u8; FRAME_OVERHEAD], max: usize) -> Result<usize, WireError> {
    let length = u32::from_be_bytes(header) as usize;
    if length > max { Err(WireError::TooLong { length }) } else { Ok(length) }
}

/// How many bytes a message takes on a link.
pub fn frame_len(message: &Message) -> usize {
    FRAME_OVERHEAD + message.encoded_len()
}

/// Writes a message of `length` bytes to the end of `buffer`. Memory that is there already is filled quicker than a vector
/// that is asked for room at each byte.
fn append(message: &Message, length: usize, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.resize(start + length, 0);
    let written = postcard::to_slice(message, &mut buffer[start..]).expect("a message knows its own length");
    debug_assert_eq!(written.len(), length, "the length is known beforehand");
}

/// Reads a number that is no longer than it need be.
fn take_number(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let (number, rest) = postcard::take_from_bytes(bytes).map_err(|_| WireError::Malformed)?;
    if bytes.len() - rest.len() == varint(number) { Ok((number, rest)) } else { Err(WireError::NotCanonical) }
}

/// The name of a network: 1 to 64 bytes of text, the same at all its nodes. Two federations with different names never
/// merge by accident; that is all it is for, it is no secret.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Network(Arc<str>);

impl Network {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The name as text. A peer's may hold anything: escape it where it is shown, as `{:?}` does.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no network's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a network's name has 1 to 64 bytes, this has {length}")]
pub struct NetworkError {
    /// How long the text was, in bytes.
    pub length: usize,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let length = text.len();
        if (1..=Network::MAX).contains(&length) { Ok(Network(text.into())) } else { Err(NetworkError { length }) }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Arc<str> = bounded_text::<_, _, { Network::MAX }>(deserializer)?;
        // An empty name is one that somebody forgot to set, and would be equal to that of all who did.
        if text.is_empty() { Err(de::Error::custom(NetworkError { length: 0 })) } else { Ok(Network(text)) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The first thing that each side of a link says. Its layout never changes; what a later release wants to say besides
/// it says afterwards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The network that the node belongs to.
    pub network: Network,
    /// The versions that it speaks now; its card may be older.
    pub versions: Versions,
    /// Its card. The reader verifies it and compares its GRID with what the link has proven.
    pub contact: Arc<Contact>,
}

/// Why two nodes do not talk. The link is of no use to either; none of these is misconduct.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It does not begin with [`MAGIC`]: another service lives there. Do not dial it again soon.
    #[error("the peer speaks another protocol")]
    OtherProtocol,
    /// It begins well, but cannot be read, or not as it is written, or is too long.
    #[error("the peer's hello cannot be read")]
    Unreadable,
    /// A node of another network. Forget it.
    #[error("the peer belongs to the network {theirs:?}")]
    OtherNetwork {
        /// The peer's network.
        theirs: Network,
    },
    /// No version that both speak: one of the two needs an update.
    #[error("the peer speaks versions {} to {}, and none of ours", theirs.least, theirs.most)]
    NoCommonVersion {
        /// What the peer speaks.
        theirs: Versions,
    },
}

impl Hello {
    /// The payload of a hello, at most [`HELLO_MAX`] bytes. It travels in a frame like a message's.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = MAGIC.to_vec();
        payload.extend(canonical::to_bytes(self));
        payload
    }

    /// Reads a hello, which must be exactly what [`Hello::encode`] makes of it. Nothing in it is verified.
    pub fn decode(payload: &[u8]) -> Result<Self, HelloError> {
        let rest = payload.strip_prefix(&MAGIC).ok_or(HelloError::OtherProtocol)?;
        if payload.len() > HELLO_MAX {
            return Err(HelloError::Unreadable);
        }
        canonical::from_bytes(rest).map_err(|_| HelloError::Unreadable)
    }
}

/// The version to speak on a link: the highest that both speak, if both are of one network. Either side comes to the
/// same answer.
pub fn agree(ours: &Hello, theirs: &Hello) -> Result<u8, HelloError> {
    if ours.network != theirs.network {
        return Err(HelloError::OtherNetwork { theirs: theirs.network.clone() });
    }
    let least = ours.versions.least.max(theirs.versions.least);
    let most = ours.versions.most.min(theirs.versions.most);
    // A range that ends before it begins has nothing in common with any.
    if least <= most { Ok(most) } else { Err(HelloError::NoCommonVersion { theirs: theirs.versions }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Address, Standing};
    use crate::key::SecretKey;

    fn hello(network: &str, least: u8, most: u8) -> Hello {
        let address = "chat.example:8448".parse().unwrap();
        let contact = Contact::sign(&SecretKey::from_seed([1; 32]), address, 1, Standing::Here, Versions::CURRENT);
        Hello { network: network.parse().unwrap(), versions: Versions { least, most }, contact: contact.into() }
    }

    #[test]
    fn a_kind_that_is_not_known_is_told_with_its_request_id() {
        let unknown = |kind, id: Option<u32>| Err(WireError::UnknownKind { kind, id: id.map(RequestId) });
        assert_eq!(decode(&[12, 5, 1, 2, 3]), unknown(12, Some(5)));
        assert_eq!(decode(&[0xff, 0x01, 0x80, 0x01]), unknown(255, Some(128)));
        assert_eq!(decode(&[12]), unknown(12, None));
        assert_eq!(decode(&[12, 0x85, 0]), unknown(12, None), "an id is canonical, or none");
    }

    #[test]
    fn a_kind_or_an_id_has_one_spelling() {
        assert_eq!(decode(&[11, 5]), Ok(Message::Unknown(RequestId(5))));
        assert_eq!(decode(&[0x8b, 0, 5]), Err(WireError::NotCanonical));
        assert_eq!(decode(&[0x8c, 0, 5]), Err(WireError::NotCanonical));
        assert_eq!(decode(&[11, 0x85, 0]), Err(WireError::NotCanonical));
        assert_eq!(decode(&[11, 5, 0]), Err(WireError::NotCanonical));
        assert_eq!(decode(&[0xff; 6]), Err(WireError::Malformed));
        assert_eq!(decode(&[]), Err(WireError::Malformed));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_it_is_read() {
        assert_eq!(payload_len([0, 0x10, 0, 0], FRAME_MAX), Ok(FRAME_MAX));
        assert_eq!(payload_len([0, 0x10, 0, 1], FRAME_MAX), Err(WireError::TooLong { length: FRAME_MAX + 1 }));
        assert_eq!(payload_len([0xff; 4], HELLO_MAX), Err(WireError::TooLong { length: u32::MAX as usize }));
        assert_eq!(decode(&vec![0; FRAME_MAX + 1]), Err(WireError::TooLong { length: FRAME_MAX + 1 }));
    }

    #[test]
    fn frames_follow_each_other_in_a_buffer() {
        let mut buffer = Vec::new();
        for id in [5, 300] {
            write_frame(&Message::Unknown(RequestId(id)), &mut buffer).unwrap();
        }
        assert_eq!(buffer, [0, 0, 0, 2, 11, 5, 0, 0, 0, 3, 11, 0xac, 2]);
        assert_eq!(frame_len(&Message::Unknown(RequestId(300))), 7);
    }

    #[test]
    fn the_longest_hello_is_read_back_and_one_of_another_protocol_is_not() {
        let longest = Contact::sign(
            &SecretKey::from_seed([1; 32]),
            "x".repeat(Address::MAX).parse().unwrap(),
            u64::MAX,
            Standing::Away { for_ms: u64::MAX },
            Versions::CURRENT,
        );
        let longest = Hello { contact: longest.into(), ..hello(&"n".repeat(Network::MAX), 0, 255) };
        let bytes = longest.encode();
        assert!(bytes.len() <= HELLO_MAX, "{}", bytes.len());
        assert_eq!(Hello::decode(&bytes), Ok(longest));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), Err(HelloError::OtherProtocol));
        assert_eq!(Hello::decode(&bytes[..bytes.len() - 1]), Err(HelloError::Unreadable));
        assert_eq!(Hello::decode(&[bytes, vec![0]].concat()), Err(HelloError::Unreadable));
        assert_eq!(Hello::decode(&[&MAGIC[..], &[0; HELLO_MAX]].concat()), Err(HelloError::Unreadable));
    }

    #[test]
    fn a_network_has_a_name_and_a_short_one() {
        assert_eq!("".parse::<Network>(), Err(NetworkError { length: 0 }));
        assert_eq!("n".repeat(65).parse::<Network>(), Err(NetworkError { length: 65 }));
        for name in ["".to_owned(), "n".repeat(65)] {
            assert!(canonical::from_bytes::<Network>(&canonical::to_bytes(&name)).is_err());
        }
    }

    #[test]
    fn two_nodes_agree_on_the_highest_version_that_both_speak_or_not_at_all() {
        let ours = hello("federation", 2, 4);
        for (least, most, version) in [(1, 2, Some(2)), (3, 3, Some(3)), (1, 9, Some(4)), (4, 9, Some(4))] {
            let theirs = hello("federation", least, most);
            assert_eq!(agree(&ours, &theirs).ok(), version);
            assert_eq!(agree(&theirs, &ours).ok(), version);
        }
        for (least, most) in [(0, 1), (5, 9), (4, 2), (3, 2)] {
            let theirs = Versions { least, most };
            let error = agree(&ours, &hello("federation", least, most));
            assert_eq!(error, Err(HelloError::NoCommonVersion { theirs }));
        }
        let theirs = "Federation".parse().unwrap();
        assert_eq!(agree(&ours, &hello("Federation", 2, 4)), Err(HelloError::OtherNetwork { theirs }));
    }
}
