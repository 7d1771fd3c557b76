//! Contacts: a node as others know it, on a card that it signed itself.
//!
//! A card proves which key said what, not that the node can be reached, nor that the domain is its own: both are found
//! out by dialling it. A card is a little more than 130 bytes; it is shared as `Arc<Contact>` and never changes.

use crate::canonical::{self, bounded_text};
use crate::domain::Domain;
use crate::id::{Grid, Id};
use crate::key::{Hash, PublicKey, Purpose, SecretKey, Signature, signed_bytes, verify};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// The format number that a card's signature covers.
const FORMAT: u8 = 1;

/// Where a node can be dialled: `host` or `host:port`, the host being a domain, an IPv4 address or an IPv6 address in
/// brackets. Empty for a client, which is no node and is never named to others.
///
/// To the core it is text of at most 255 bytes; what cannot be read as above is left to the transport.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address(#[serde(deserialize_with = "bounded_text::<_, _, { Address::MAX }>")] Arc<str>);

impl Address {
    /// The longest address, in bytes.
    pub const MAX: usize = 255;

    /// The address of somebody who is no node.
    pub fn none() -> Self {
        Address("".into())
    }

    /// Whether this is the address of somebody who is no node.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain, if the host is one.
    pub fn domain(&self) -> Option<Domain> {
        self.split().and_then(|(host, _)| host.parse().ok())
    }

    /// The IP address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        let (host, _) = self.split()?;
        match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse().ok().map(IpAddr::V4),
        }
    }

    /// The port, if it is given.
    pub fn port(&self) -> Option<u16> {
        self.split().and_then(|(_, port)| port)
    }

    /// Host and port. The colons of an IPv6 address are inside its brackets, so the port's is the last one after them.
    fn split(&self) -> Option<(&str, Option<u16>)> {
        let host_end = self.0.rfind(']').map_or(0, |bracket| bracket + 1);
        match self.0[host_end..].find(':').map(|colon| host_end + colon) {
            Some(colon) => {
                let digits = &self.0[colon + 1..];
                // `parse` would also take a sign.
                let port = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
                Some((&self.0[..colon], Some(port)))
            }
            None => Some((&self.0, None)),
        }
    }
}

/// A text that is too long for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an address has at most 255 bytes, this has {length}")]
pub struct AddressError {
    /// How long the text was, in bytes.
    pub length: usize,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > Address::MAX { Err(AddressError { length: text.len() }) } else { Ok(Address(text.into())) }
    }
}

impl From<&Domain> for Address {
    fn from(domain: &Domain) -> Self {
        Address(domain.as_str().into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What a node says about its being there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// It answers.
    Here,
    /// It restarts: nobody asks it meanwhile, and nothing moves.
    Away {
        /// For how long, in milliseconds since the card was written.
        for_ms: u64,
    },
    /// It left for good.
    Left,
}

/// The protocol versions that a node speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub least: u8,
    /// The newest.
    pub most: u8,
}

impl Versions {
    /// What this release speaks.
    pub const CURRENT: Versions = Versions { least: 1, most: 1 };
}

/// Nodes that may well be one operator: of one registrable domain, else of one IP prefix (/24 or /48).
///
/// Addresses that lead nowhere from outside (loopback, link-local, private) are dialled in labs alone: each node at one is a group
/// of its own.
///
/// The first four bytes of BLAKE3 over a tag for the kind (`d`, `4`, `6`, `g`) and the domain or prefix. What has
/// neither is a group of its own, by its GRID. Two groups may share a number by chance, which at worst counts two
/// operators as one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Group(pub u32);

impl Group {
    /// The group of a node that is alone in it: a client, and who has neither a domain nor an address that leads to it from outside.
    pub fn alone(grid: &Grid) -> Self {
        Self::of(b'g', &grid.0.0)
    }

    /// The group of the node `grid` at `address`.
    pub fn at(address: &Address, grid: &Grid) -> Self {
        if let Some(domain) = address.domain() {
            return Self::of_domain(&domain);
        }
        match address.ip().map(|ip| ip.to_canonical()).filter(|ip| !is_local(ip)) {
            Some(IpAddr::V4(ip)) => Self::of(b'4', &ip.octets()[..3]),
            Some(IpAddr::V6(ip)) => Self::of(b'6', &ip.octets()[..6]),
            None => Self::alone(grid),
        }
    }

    /// The group of everybody below the registered part of `domain`.
    pub fn of_domain(domain: &Domain) -> Self {
        Self::of(b'd', domain.registrable().as_bytes())
    }

    fn of(kind: u8, what: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]).update(what);
        let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
        Group(u32::from_be_bytes([a, b, c, d]))
    }
}

/// Whether nobody but neighbours on the same network can be at this address.
fn is_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The GRID that belongs to a public key: BLAKE3 of its 33 canonical bytes, the algorithm's number and the key.
impl From<&PublicKey> for Grid {
    fn from(key: &PublicKey) -> Self {
        let mut bytes = [0; 33];
        bytes[0] = key.algorithm.0;
        bytes[1..].copy_from_slice(&key.bytes);
        Grid(Id::of(&bytes))
    }
}

/// What is encoded and signed of a contact; the rest of it follows from this.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Card {
    key: PublicKey,
    address: Address,
    sequence: u64,
    standing: Standing,
    versions: Versions,
    signature: Signature,
}

/// A node's signed card. What follows from it (GRID, hash, length, group) is worked out once, when it is made or read.
#[derive(Clone)]
pub struct Contact {
    card: Card,
    grid: Grid,
    hash: Hash,
    encoded_len: u32,
    group: Group,
    verified: OnceLock<bool>,
}

impl Contact {
    /// Writes and signs a card. Of two cards of one node the one with the higher `sequence` counts, so a node must not
    /// use one twice.
    pub fn sign(secret: &SecretKey, address: Address, sequence: u64, standing: Standing, versions: Versions) -> Self {
        let signature = Signature::from_bytes([0; 64]);
        let mut card = Card { key: secret.public(), address, sequence, standing, versions, signature };
        card.signature = secret.sign(&card.signed_bytes(&Grid::from(&card.key)));
        card.into()
    }

    /// The card of somebody who only asks: it has no address.
    pub fn client(secret: &SecretKey) -> Self {
        Self::sign(secret, Address::none(), 0, Standing::Here, Versions::CURRENT)
    }

    /// A card that nobody signed and that counts as verified, with an id and a group of the test's choice.
    #[cfg(test)]
    pub(crate) fn of_test(grid: Grid, group: Group) -> Self {
        let key = PublicKey { algorithm: crate::key::Algorithm::ED25519, bytes: grid.0.0 };
        let address = Address(format!("{}.example", grid.0).as_str().into());
        let signature = Signature::from_bytes([0; 64]);
        let card = Card { key, address, sequence: 0, standing: Standing::Here, versions: Versions::CURRENT, signature };
        Self { grid, group, verified: OnceLock::from(true), ..card.into() }
    }

    /// Whether the card was signed by its key. Remembered.
    pub fn verify(&self) -> bool {
        *self.verified.get_or_init(|| verify(&self.card.key, &self.card.signed_bytes(&self.grid), &self.card.signature))
    }

    /// The same, and without a signature if it equals `known`, which is valid: the same card is named by many.
    pub fn verify_beside(&self, known: Option<&Contact>) -> bool {
        if self.verified.get().is_none() && known.is_some_and(|known| known == self && known.verify()) {
            return *self.verified.get_or_init(|| true);
        }
        self.verify()
    }

    /// Whether this card counts and not `other`: the higher sequence does, then the smaller hash. Both are of one node.
    pub fn supersedes(&self, other: &Contact) -> bool {
        (self.card.sequence, other.hash) > (other.card.sequence, self.hash)
    }

    /// The node's public key.
    pub fn key(&self) -> &PublicKey {
        &self.card.key
    }

    /// Where it can be dialled.
    pub fn address(&self) -> &Address {
        &self.card.address
    }

    /// Counts the node's cards.
    pub fn sequence(&self) -> u64 {
        self.card.sequence
    }

    /// What it says about its being there.
    pub fn standing(&self) -> Standing {
        self.card.standing
    }

    /// The protocol versions that it speaks.
    pub fn versions(&self) -> Versions {
        self.card.versions
    }

    /// The node's id.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// BLAKE3 of the encoded card.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// How many bytes the encoded card has.
    pub fn encoded_len(&self) -> usize {
        self.encoded_len as usize
    }

    /// Whether this is somebody who only asks: no address, so nobody can dial it, and nobody names it.
    pub fn is_client(&self) -> bool {
        self.card.address.is_none()
    }

    /// Whether it has said goodbye for good.
    pub fn has_left(&self) -> bool {
        self.card.standing == Standing::Left
    }

    /// Whether it has said that it is away for a while.
    pub fn is_away(&self) -> bool {
        matches!(self.card.standing, Standing::Away { .. })
    }

    /// Whether its address is of the server `home`.
    pub fn is_at(&self, home: &Domain) -> bool {
        let host = self.card.address.as_str().strip_prefix(home.as_str());
        host.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// The group that its address puts it in. Whether the address is its own is another question.
    pub fn group(&self) -> Group {
        self.group
    }
}

impl Card {
    /// The bytes that the signature covers: subject and predecessor are both the GRID, as for a first record.
    fn signed_bytes(&self, grid: &Grid) -> Vec<u8> {
        let body = canonical::to_bytes(&(self.key, &self.address, self.sequence, self.standing, self.versions));
        signed_bytes(Purpose::Contact, FORMAT, &grid.0, &Hash(grid.0.0), &body)
    }
}

impl From<Card> for Contact {
    fn from(card: Card) -> Self {
        let grid = Grid::from(&card.key);
        let bytes = canonical::to_bytes(&card);
        let group = Group::at(&card.address, &grid);
        Self { grid, hash: Hash::of(&bytes), encoded_len: bytes.len() as u32, group, verified: OnceLock::new(), card }
    }
}

/// One line for logs.
impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Card { address, sequence, standing, .. } = &self.card;
        write!(f, "Contact({:?} {address:?}, sequence {sequence}, {standing:?}, {:?})", self.grid, self.hash)
    }
}

impl PartialEq for Contact {
    fn eq(&self, other: &Self) -> bool {
        self.card == other.card
    }
}

impl Eq for Contact {}

/// Feeds the first eight bytes of [`Contact::hash`]: plenty for a table or a digest.
impl std::hash::Hash for Contact {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.hash.0[..8]);
    }
}

impl Serialize for Contact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.card.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Contact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Card::deserialize(deserializer).map(Contact::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{from_bytes, to_bytes};

    const VERSIONS: Versions = Versions { least: 1, most: 1 };

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn contact(text: &str, sequence: u64) -> Contact {
        Contact::sign(&SecretKey::from_seed([1; 32]), address(text), sequence, Standing::Here, VERSIONS)
    }

    #[test]
    fn a_card_survives_the_wire_and_is_about_130_bytes() {
        for standing in [Standing::Here, Standing::Away { for_ms: 60_000 }, Standing::Left] {
            let secret = SecretKey::from_seed([1; 32]);
            let card = Contact::sign(&secret, address("chat.example.com:8448"), 1_700_000_000, standing, VERSIONS);
            let bytes = to_bytes(&card);
            assert_eq!(bytes.len(), card.encoded_len());
            assert!((120..=140).contains(&bytes.len()), "{}", bytes.len());
            let read: Contact = from_bytes(&bytes).unwrap();
            assert_eq!(read, card);
            assert_eq!((read.grid(), read.hash(), read.group()), (card.grid(), card.hash(), card.group()));
            assert!(read.verify());
        }
    }

    #[test]
    fn a_card_with_any_bit_turned_over_is_refused_or_does_not_verify() {
        let bytes = to_bytes(&contact("chat.example.com:8448", 300));
        for index in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[index / 8] ^= 1 << (index % 8);
            assert!(!from_bytes::<Contact>(&bytes).is_ok_and(|card| card.verify()), "bit {index}");
        }
    }

    #[test]
    fn of_two_cards_the_higher_sequence_counts_then_the_smaller_hash() {
        let (older, newer) = (contact("a.example", 1), contact("b.example", 2));
        assert!(newer.supersedes(&older) && !older.supersedes(&newer));
        let twin = contact("c.example", 2);
        assert_eq!(newer.supersedes(&twin), newer.hash() < twin.hash());
        assert_ne!(newer.supersedes(&twin), twin.supersedes(&newer));
        assert!(!newer.supersedes(&newer));
    }

    #[test]
    fn an_address_is_read_as_host_and_port() {
        for (text, domain, ip, port) in [
            ("chat.example", Some("chat.example"), None, None),
            ("chat.example:8448", Some("chat.example"), None, Some(8448)),
            ("192.0.2.1:80", None, Some("192.0.2.1"), Some(80)),
            ("192.0.2.1", None, Some("192.0.2.1"), None),
            ("[2001:db8::1]:80", None, Some("2001:db8::1"), Some(80)),
            ("[2001:db8::1]", None, Some("2001:db8::1"), None),
            ("", None, None, None),
            ("2001:db8::1", None, None, None),
            ("chat.example:", None, None, None),
            ("chat.example:+80", None, None, None),
            ("chat.example:99999", None, None, None),
            ("[192.0.2.1]:80", None, None, Some(80)),
            ("[2001:db8::1]x:80", None, None, Some(80)),
            ("what is this", None, None, None),
        ] {
            let address = address(text);
            assert_eq!(address.domain().map(|domain| domain.to_string()).as_deref(), domain, "{text}");
            assert_eq!(address.ip().map(|ip| ip.to_string()).as_deref(), ip, "{text}");
            assert_eq!(address.port(), port, "{text}");
        }
        assert_eq!("x".repeat(256).parse::<Address>(), Err(AddressError { length: 256 }));
        assert!(from_bytes::<Address>(&to_bytes(&"x".repeat(256))).is_err());
    }

    #[test]
    fn nodes_that_may_be_one_operator_share_a_group() {
        let group = |text| Group::at(&address(text), &Grid(Id([1; 32])));
        let same = [
            ("a.example.com:1", "b.example.com:2"),
            ("alice.github.io", "bob.github.io"),
            ("192.0.2.1", "192.0.2.200:80"),
            ("[2001:db8:1:2::1]", "[2001:db8:1:ffff::9]:80"),
            ("[::ffff:192.0.2.7]", "192.0.2.1"),
        ];
        for (one, two) in same {
            assert_eq!(group(one), group(two), "{one} {two}");
        }
        let different = [
            ("a.example.com", "a.example.org"),
            ("192.0.2.1", "192.0.3.1"),
            ("[2001:db8:1::1]", "[2001:db8:2::1]"),
            ("a.co.uk", "b.co.uk"),
        ];
        for (one, two) in different {
            assert_ne!(group(one), group(two), "{one} {two}");
        }
        let other = Group::at(&Address::none(), &Grid(Id([2; 32])));
        assert_ne!(group(""), other);
        assert_eq!(other, Group::alone(&Grid(Id([2; 32]))));
    }

    #[test]
    fn nodes_at_addresses_of_a_lab_are_groups_of_their_own() {
        for text in
            ["127.0.0.1:4001", "10.1.2.3", "169.254.0.9", "[::1]:4001", "[fd00::7]", "[fe80::7]", "[::ffff:127.0.0.1]"]
        {
            let group = |node: u8| Group::at(&address(text), &Grid(Id([node; 32])));
            assert_ne!(group(1), group(2), "{text}");
        }
    }

    #[test]
    fn a_grid_is_the_hash_of_the_canonical_bytes_of_its_key() {
        let key = SecretKey::from_seed([1; 32]).public();
        assert_eq!(Grid::from(&key), Grid(Id::of(&to_bytes(&key))));
    }
}
