//! Domain names, and which of them may well belong to one operator.

use crate::canonical::bounded_text;
use psl::Type;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A home-server's domain: a DNS name in lower case, without a final dot. Cheap to clone.
///
/// International names are written in their ASCII form (`xn--…`). There is one spelling for each name, so equal names
/// are equal texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// The longest name, in bytes (RFC 1035).
    pub const MAX: usize = 253;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many bytes it takes on a link.
    pub(crate) fn encoded_len(&self) -> usize {
        crate::message::varint(self.0.len() as u32) + self.0.len()
    }

    /// The part that was registered with a registry: `example.co.uk` of `chat.example.co.uk`.
    ///
    /// By the ICANN section of the public suffix list. The private section names shared hosters (`github.io`) at
    /// their own request: whoever runs one could make as many groups as he liked, so here they count as one operator.
    /// Of a name that is itself a suffix, or below an unknown one, it is the last two labels, or the whole name.
    pub fn registrable(&self) -> &str {
        let name = self.as_str();
        let suffix = icann_suffix(name).filter(|suffix| suffix.len() < name.len());
        let labels = suffix.map_or(2, |suffix| suffix.split('.').count() + 1);
        last_labels(name, labels)
    }
}

/// The longest suffix of `name` in the ICANN section. The list answers with the longest of both sections, so below a
/// private suffix the search goes on with what that one is itself registered under.
fn icann_suffix(name: &str) -> Option<&str> {
    let mut rest = name;
    loop {
        let suffix = psl::suffix(rest.as_bytes())?;
        let text = rest.get(rest.len() - suffix.as_bytes().len()..)?;
        match suffix.typ()? {
            Type::Icann => return Some(text),
            Type::Private => rest = text.split_once('.')?.1,
        }
    }
}

fn last_labels(name: &str, count: usize) -> &str {
    match name.rmatch_indices('.').nth(count - 1) {
        Some((dot, _)) => &name[dot + 1..],
        None => name,
    }
}

/// A text that is no domain name. Nothing was changed; correct the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// The whole name is empty or too long.
    #[error("a domain name has 1 to 253 characters, this has {length}")]
    Length {
        /// How many bytes it has.
        length: usize,
    },
    /// A part between two dots is empty or too long.
    #[error("each part of a domain name has 1 to 63 characters")]
    Label,
    /// A character that no name has. Upper case is one of them: names have one spelling.
    #[error("{0:?} is not allowed in a domain name: lower-case letters, digits, hyphens and dots are")]
    Character(char),
    /// A hyphen at the start or the end of a part.
    #[error("no part of a domain name starts or ends with a hyphen")]
    Hyphen,
    /// The last part has digits only: that is an address, or nothing.
    #[error("the last part of a domain name is no number")]
    Number,
}

fn check(name: &str) -> Result<(), DomainError> {
    if name.is_empty() || name.len() > Domain::MAX {
        return Err(DomainError::Length { length: name.len() });
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        return Err(DomainError::Character(other));
    }
    for label in name.split('.') {
        if !(1..=63).contains(&label.len()) {
            return Err(DomainError::Label);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(DomainError::Hyphen);
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DomainError::Number);
    }
    Ok(())
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        check(text).map(|()| Domain(text.into()))
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Arc<str> = bounded_text::<_, _, { Domain::MAX }>(deserializer)?;
        check(&text).map_err(de::Error::custom)?;
        Ok(Domain(text))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{from_bytes, to_bytes};

    fn registrable(name: &str) -> String {
        name.parse::<Domain>().unwrap().registrable().to_owned()
    }

    #[test]
    fn the_registrable_part_is_one_label_more_than_the_suffix() {
        assert_eq!(registrable("chat.example.com"), "example.com");
        assert_eq!(registrable("example.com"), "example.com");
        assert_eq!(registrable("a.b.example.co.uk"), "example.co.uk");
        assert_eq!(registrable("matrix.city.kobe.jp"), "city.kobe.jp");
        assert_eq!(registrable("a.b.c.kobe.jp"), "b.c.kobe.jp");
    }

    #[test]
    fn suffixes_of_the_private_section_do_not_count() {
        assert_eq!(registrable("alice.github.io"), "github.io");
        assert_eq!(registrable("github.io"), "github.io");
        assert_eq!(registrable("social.masto.host"), "masto.host");
        assert_eq!(registrable("a.b.s3.dualstack.us-east-1.amazonaws.com"), "amazonaws.com");
        assert_eq!(registrable("shop.blogspot.co.uk"), "blogspot.co.uk");
    }

    #[test]
    fn a_suffix_and_an_unknown_name_fall_back_to_the_last_two_labels() {
        assert_eq!(registrable("co.uk"), "co.uk");
        assert_eq!(registrable("com"), "com");
        assert_eq!(registrable("c.kobe.jp"), "kobe.jp");
        assert_eq!(registrable("localhost"), "localhost");
        assert_eq!(registrable("n000001.example"), "n000001.example");
        assert_eq!(registrable("a.n000001.example"), "n000001.example");
    }

    #[test]
    fn only_names_in_their_one_spelling_are_accepted() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = vec!["a".repeat(63); 4].join(".");
        for (text, error) in [
            ("", DomainError::Length { length: 0 }),
            (longer.as_str(), DomainError::Length { length: 255 }),
            (long.as_str(), DomainError::Label),
            ("a..example", DomainError::Label),
            (".example", DomainError::Label),
            ("example.com.", DomainError::Label),
            ("Example.com", DomainError::Character('E')),
            ("bücher.example", DomainError::Character('ü')),
            ("a_b.example", DomainError::Character('_')),
            ("-a.example", DomainError::Hyphen),
            ("a-.example", DomainError::Hyphen),
            ("127.0.0.1", DomainError::Number),
        ] {
            assert_eq!(text.parse::<Domain>(), Err(error), "{text}");
            assert!(from_bytes::<Domain>(&to_bytes(text)).is_err(), "{text}");
        }
        for text in ["a", "xn--bcher-kva.example", "3com.com", "a-b.c"] {
            assert_eq!(from_bytes::<Domain>(&to_bytes(text)), Ok(text.parse().unwrap()));
        }
    }
}
