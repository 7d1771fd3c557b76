//! Places in the keyspace: node ids, user ids and store keys, and how far apart two of them are.
//!
//! Everything lives in one keyspace of 256 bits. The distance of two places is the XOR of their bits read as a number
//! (Maymounkov and Mazières, *Kademlia*, IPTPS 2002): symmetric, zero only for equal places, and for each place and
//! each distance there is exactly one place that far away, so two searches for one target meet.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in the 256-bit keyspace, most significant byte first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(#[serde(with = "crate::words")] pub [u8; 32]);

impl Id {
    /// The place of some content: its BLAKE3 hash.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The leading 64 bits. Enough to order contacts of one table by distance in practice; ties are settled by
    /// [`Id::distance`].
    pub fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// How far `other` is from here.
    pub fn distance(&self, other: &Id) -> Distance {
        let mut xor = [0; 32];
        for (out, (a, b)) in xor.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *out = a ^ b;
        }
        Distance(xor)
    }

    /// The number of leading bits that two places share, 0 to 256.
    pub fn common_bits(&self, other: &Id) -> u32 {
        match self.prefix() ^ other.prefix() {
            0 => self.distance(other).leading_zeros(),
            differing => differing.leading_zeros(),
        }
    }

    /// This place with bit `index` (0 = most significant) turned over. `index` must be below 256.
    pub fn flip(mut self, index: u32) -> Self {
        self.0[(index / 8) as usize] ^= 0x80 >> (index % 8);
        self
    }

    /// The first and the last of the places that share the leading `bits` of this one.
    pub fn slice(&self, bits: u8) -> (Id, Id) {
        let (mut low, mut high) = (*self, *self);
        for (index, (low, high)) in low.0.iter_mut().zip(&mut high.0).enumerate() {
            // The bits of this byte that are not shared.
            let free = match usize::from(bits).saturating_sub(index * 8) {
                0 => 0xff,
                shared @ 1..8 => 0xff >> shared,
                _ => 0,
            };
            *low &= !free;
            *high |= free;
        }
        (low, high)
    }
}

/// How far apart two places are; the lesser is the nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Distance(pub [u8; 32]);

impl Distance {
    /// The number of leading zero bits, 0 to 256; 256 for the distance of a place to itself.
    pub fn leading_zeros(&self) -> u32 {
        match self.0.iter().position(|byte| *byte != 0) {
            Some(index) => index as u32 * 8 + self.0[index].leading_zeros(),
            None => 256,
        }
    }
}

/// A routing node's id: BLAKE3 of its public key, so that a link can prove it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grid(pub Id);

/// A user's id for life: BLAKE3 of the user's genesis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Guid(pub Id);

/// What a record is about, which is also half of its store key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// A user's placement, stored under the GUID.
    User,
    /// A claim to a text (a username, a legacy id), stored under the hash of kind and text.
    Claim,
    /// Reserved for keys that hide whom they are about. Nothing is stored under it yet.
    Blinded,
}

/// What records are stored and looked up under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// What kind of record lives here.
    pub kind: Kind,
    /// Where in the keyspace: the nodes nearest to it are its holders.
    pub id: Id,
}

impl From<Guid> for Key {
    fn from(guid: Guid) -> Self {
        Key { kind: Kind::User, id: guid.0 }
    }
}

/// A text that is no id: ids are 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an id is 64 hexadecimal digits, this has {length} characters{}", if *.length == 64 { ", not all of them such digits" } else { "" })]
pub struct ParseIdError {
    /// How long the text was, in characters.
    pub length: usize,
}

impl std::str::FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = ParseIdError { length: text.chars().count() };
        if text.len() != 64 {
            return Err(error);
        }
        let mut bytes = [0; 32];
        for (out, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(error) };
            *out = (high * 16 + low) as u8;
        }
        Ok(Id(bytes))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The short form: the first 32 bits, enough to tell nodes apart in a log.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

macro_rules! names_a_place {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{:?}", stringify!($name), self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map($name)
            }
        }
    )*};
}
names_a_place!(Grid, Guid);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> impl Strategy<Value = Id> {
        // Ids that share long prefixes, too: whole random ones differ in their first byte nearly always.
        (any::<[u8; 32]>(), 0usize..=32).prop_map(|(mut bytes, shared)| {
            bytes[..shared].fill(0xa5);
            Id(bytes)
        })
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in id(), b in id(), c in id()) {
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&b).leading_zeros() == 256, a == b);
            // The triangle inequality holds strongly for XOR: the sum may be taken bit by bit, without carry.
            let (ab, bc, ac) = (a.distance(&b), b.distance(&c), a.distance(&c));
            for i in 0..32 {
                prop_assert_eq!(ac.0[i], ab.0[i] ^ bc.0[i]);
                prop_assert!(ac.0[i] | (ab.0[i] | bc.0[i]) == (ab.0[i] | bc.0[i]));
            }
        }

        #[test]
        fn for_each_distance_there_is_one_place_that_far_away(a in id(), b in id(), c in id()) {
            prop_assert_eq!(a.distance(&b) == a.distance(&c), b == c);
        }

        #[test]
        fn prefixes_order_as_distances_do(a in id(), b in id(), target in id()) {
            let (near, far) = (a.prefix() ^ target.prefix(), b.prefix() ^ target.prefix());
            if near != far {
                prop_assert_eq!(near < far, target.distance(&a) < target.distance(&b));
            }
        }

        #[test]
        fn turning_a_bit_over_leaves_the_bits_before_it_shared(a in id(), index in 0u32..256) {
            prop_assert_eq!(a.common_bits(&a.flip(index)), index);
            prop_assert_eq!(a.flip(index).flip(index), a);
        }

        #[test]
        fn a_slice_is_what_shares_the_leading_bits(a in id(), b in id(), bits: u8) {
            let (low, high) = a.slice(bits);
            prop_assert!(low <= a && a <= high);
            prop_assert_eq!((low..=high).contains(&b), a.common_bits(&b) >= u32::from(bits));
            prop_assert!(low.common_bits(&high) == u32::from(bits));
        }

        #[test]
        fn an_id_is_read_back_from_its_text(a in id()) {
            prop_assert_eq!(a.to_string().parse::<Id>().unwrap(), a);
        }
    }

    #[test]
    fn a_text_that_is_no_id_is_refused_with_its_length() {
        assert_eq!("abc".parse::<Id>(), Err(ParseIdError { length: 3 }));
        assert_eq!("zz".repeat(32).parse::<Grid>(), Err(ParseIdError { length: 64 }));
    }
}
