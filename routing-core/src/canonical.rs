//! The one encoding of a value: postcard, refused on reading unless it is what writing would have produced.
//!
//! Postcard alone is not canonical: it takes integers that are longer than they need to be and leaves trailing bytes
//! unread. With both refused, equal values have equal bytes and equal hashes, which signatures and digests rest on.
//! Length limits belong to the types: [`bounded_list`] and [`bounded_text`] serve as `deserialize_with`.

use postcard::ser_flavors::{Flavor, Size};
use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// Bytes that are not the canonical encoding of any value of the type. Nothing was decoded; the sender is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The bytes end too early, hold a text that is no UTF-8, an unknown variant, a list beyond its limit and the like.
    #[error("the bytes encode no value of this type")]
    Malformed,
    /// The bytes can be read, but go on after the value or are not how it is written.
    #[error("the bytes are not the canonical encoding of their value")]
    NotCanonical,
}

/// The canonical encoding of `value`.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect(WRITABLE)
}

/// Reads a value from its canonical encoding, and from nothing else.
pub fn from_bytes<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, CanonicalError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|_| CanonicalError::Malformed)?;
    let read = &bytes[..bytes.len() - rest.len()];
    match postcard::serialize_with_flavor(&value, Same { left: read }) {
        Ok(true) if rest.is_empty() => Ok(value),
        _ => Err(CanonicalError::NotCanonical),
    }
}

/// How many bytes [`to_bytes`] would give, without writing them.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    postcard::serialize_with_flavor(value, Size::default()).expect(WRITABLE)
}

const WRITABLE: &str = "our types know their lengths, and memory is the only sink";

/// A sink that compares what is written with what was read instead of storing it.
struct Same<'a> {
    left: &'a [u8],
}

impl Flavor for Same<'_> {
    type Output = bool;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        let (expected, left) = self.left.split_first().ok_or(postcard::Error::SerializeBufferFull)?;
        self.left = left;
        if *expected == byte { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let (expected, left) = self.left.split_at_checked(bytes.len()).ok_or(postcard::Error::SerializeBufferFull)?;
        self.left = left;
        if expected == bytes { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.left.is_empty())
    }
}

/// Reads a list of at most `MAX` elements: `#[serde(deserialize_with = "bounded_list::<_, _, 16>")]`.
///
/// A length prefix is a stranger's claim: a longer list is an error before its first element is read where the prefix
/// says so, and memory grows with the elements that are really there.
pub fn bounded_list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let promised = seq.size_hint().unwrap_or(0);
            if promised > MAX {
                return Err(de::Error::invalid_length(promised, &self));
            }
            let mut list = Vec::with_capacity(promised.min(16));
            while let Some(element) = seq.next_element()? {
                if list.len() == MAX {
                    return Err(de::Error::invalid_length(MAX + 1, &self));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

/// Reads a text of at most `MAX` bytes: `#[serde(deserialize_with = "bounded_text::<_, _, 255>")]`.
///
/// The text is measured where it lies in the input, before anything is copied.
pub fn bounded_text<'de, D, T, const MAX: usize>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> From<&'a str>,
{
    struct Text<T, const MAX: usize>(PhantomData<T>);

    impl<T: for<'a> From<&'a str>, const MAX: usize> Visitor<'_> for Text<T, MAX> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a text of at most {MAX} bytes")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            if text.len() > MAX { Err(E::invalid_length(text.len(), &self)) } else { Ok(T::from(text)) }
        }
    }

    deserializer.deserialize_str(Text::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Sample {
        number: u64,
        #[serde(deserialize_with = "bounded_list::<_, _, 3>")]
        list: Vec<u16>,
        #[serde(deserialize_with = "bounded_text::<_, _, 5>")]
        text: String,
        flag: Option<bool>,
    }

    fn sample() -> Sample {
        Sample { number: 300, list: vec![1, 2, 3], text: "grüß".chars().take(3).collect(), flag: Some(true) }
    }

    #[test]
    fn a_value_is_read_back_and_its_length_is_known_without_writing() {
        let bytes = to_bytes(&sample());
        assert_eq!(from_bytes(&bytes), Ok(sample()));
        assert_eq!(encoded_len(&sample()), bytes.len());
    }

    #[test]
    fn overlong_integers_and_trailing_bytes_are_refused() {
        assert_eq!(from_bytes::<u64>(&[5]), Ok(5));
        assert_eq!(from_bytes::<u64>(&[0x85, 0]), Err(CanonicalError::NotCanonical));
        assert_eq!(from_bytes::<u64>(&[5, 0]), Err(CanonicalError::NotCanonical));
        assert_eq!(from_bytes::<u64>(&[]), Err(CanonicalError::Malformed));
        assert_eq!(from_bytes::<String>(&[0x81, 0, b'a']), Err(CanonicalError::NotCanonical));
    }

    #[test]
    fn a_list_or_a_text_beyond_its_limit_is_refused() {
        let four = Sample { list: vec![1, 2, 3, 4], ..sample() };
        assert_eq!(from_bytes::<Sample>(&to_bytes(&four)), Err(CanonicalError::Malformed));
        let six = Sample { text: "sixsix".into(), ..sample() };
        assert_eq!(from_bytes::<Sample>(&to_bytes(&six)), Err(CanonicalError::Malformed));
        // A list that promises 2^63 elements and holds none.
        let mut hostile = vec![1];
        hostile.extend([0xff; 8]);
        hostile.push(0x7f);
        assert_eq!(from_bytes::<Sample>(&hostile), Err(CanonicalError::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn whatever_is_accepted_is_what_writing_gives(bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..24)) {
            if let Ok(sample) = from_bytes::<Sample>(&bytes) {
                prop_assert_eq!(to_bytes(&sample), bytes);
            }
        }
    }
}
