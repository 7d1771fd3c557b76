//! Fixed bytes, eight at a time: `#[serde(with = "words")]` on an array whose length is a multiple of eight.
//!
//! Serde has an array of bytes written and read one by one, and ids are most of what travels. Postcard writes an `f64` as
//! its eight bytes, whatever they are, so an id is handed to it as four of these: the same bytes in an eighth of the steps.
//! Nothing is computed with them, and each bit pattern is kept, those that are no number included ([`f64::from_bits`]).

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};
use std::fmt;

#[cfg(all(target_arch = "x86", not(target_feature = "sse2")))]
compile_error!("the registers of the x87 do not keep every bit pattern");

const WORD: usize = size_of::<u64>();

pub(crate) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
    const { assert!(N.is_multiple_of(WORD)) };
    if serializer.is_human_readable() {
        return serializer.collect_seq(bytes);
    }
    let mut tuple = serializer.serialize_tuple(N / WORD)?;
    for word in bytes.chunks_exact(WORD) {
        let word = u64::from_le_bytes(word.try_into().expect("chunks have this length"));
        tuple.serialize_element(&f64::from_bits(word))?;
    }
    tuple.end()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    struct Bytes<const N: usize> {
        is_human_readable: bool,
    }

    impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0; N];
            for (index, word) in bytes.chunks_exact_mut(WORD).enumerate() {
                let missing = || A::Error::invalid_length(index * WORD, &self);
                if self.is_human_readable {
                    for byte in word {
                        *byte = seq.next_element()?.ok_or_else(missing)?;
                    }
                } else {
                    let read: f64 = seq.next_element()?.ok_or_else(missing)?;
                    word.copy_from_slice(&read.to_bits().to_le_bytes());
                }
            }
            Ok(bytes)
        }
    }

    let is_human_readable = deserializer.is_human_readable();
    let length = if is_human_readable { N } else { N / WORD };
    deserializer.deserialize_tuple(length, Bytes { is_human_readable })
}

#[cfg(test)]
mod tests {
    use crate::canonical;
    use crate::id::Id;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    /// As serde has it.
    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct OneByOne([u8; 32]);

    proptest! {
        #[test]
        fn the_bytes_are_the_same_as_one_by_one(bytes: [u8; 32]) {
            let written = canonical::to_bytes(&Id(bytes));
            prop_assert_eq!(&written, &bytes);
            prop_assert_eq!(&written, &canonical::to_bytes(&OneByOne(bytes)));
            prop_assert_eq!(canonical::from_bytes::<Id>(&written), Ok(Id(bytes)));
            prop_assert!(canonical::from_bytes::<Id>(&written[..31]).is_err());
        }
    }

    #[test]
    fn what_is_no_number_keeps_each_bit() {
        for exponent in [[0xf0, 0x7f], [0xf0, 0xff], [0xf8, 0x7f], [0xff, 0xff], [0xf4, 0x7f]] {
            for low in [0, 1, 0x80, 0xff] {
                let word = [low, 0, low, 0, 0, low, exponent[0] | (low & 7), exponent[1]];
                let bytes: Vec<u8> = word.iter().copied().cycle().take(32).collect();
                let id = Id(bytes.clone().try_into().unwrap());
                assert_eq!(canonical::to_bytes(&id), bytes);
                assert_eq!(canonical::from_bytes::<Id>(&bytes), Ok(id));
            }
        }
    }
}
