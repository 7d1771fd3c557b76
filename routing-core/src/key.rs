//! Keys, signatures and the one function that verifies them.
//!
//! A signature never covers bare data: it covers a [`Purpose`], the format number, the identity it speaks for and the
//! hash it follows, so that nothing signed for one purpose passes for another.

use crate::id::Id;
use crate::words;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// BLAKE3 of some canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hash(#[serde(with = "words")] pub [u8; 32]);

impl Hash {
    /// The hash of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Id(self.0))
    }
}

/// Which signature scheme a key belongs to. New schemes get new numbers; a key of an unknown one verifies nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Algorithm(pub u8);

impl Algorithm {
    /// Ed25519 (RFC 8032), verified strictly: no small-order keys, canonical encodings only.
    pub const ED25519: Algorithm = Algorithm(1);
}

/// A public key with its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey {
    /// How signatures by this key are made.
    pub algorithm: Algorithm,
    /// The key itself.
    #[serde(with = "words")]
    pub bytes: [u8; 32],
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey:{:?}", Id(self.bytes))
    }
}

/// A signature: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "words")] [u8; 64]);

impl Signature {
    /// From the 64 bytes of RFC 8032.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes of RFC 8032.
    pub fn to_bytes(self) -> [u8; 64] {
        self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.first_chunk().copied().unwrap_or_default();
        write!(f, "Signature:{:?}", Id(start))
    }
}

/// What a signature is for: the tag that its message begins with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// A record's body: a placement, a tombstone or a claim.
    Record,
    /// A key change signed by the signing key.
    KeyChange,
    /// A key change signed by the recovery key.
    Recovery,
    /// A node's contact card.
    Contact,
}

impl Purpose {
    fn tag(self) -> &'static [u8; 16] {
        match self {
            Purpose::Record => b"lookup/record\0\0\0",
            Purpose::KeyChange => b"lookup/key\0\0\0\0\0\0",
            Purpose::Recovery => b"lookup/recovery\0",
            Purpose::Contact => b"lookup/contact\0\0",
        }
    }
}

/// The bytes that a signature covers: tag, format number, whose identity, what it follows, and the body.
pub fn signed_bytes(purpose: Purpose, format: u8, subject: &Id, follows: &Hash, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(81 + body.len());
    bytes.extend_from_slice(purpose.tag());
    bytes.push(format);
    bytes.extend_from_slice(&subject.0);
    bytes.extend_from_slice(&follows.0);
    bytes.extend_from_slice(body);
    bytes
}

/// Whether `signature` over `bytes` is by `key`, verified strictly. The only place where signatures are verified.
pub fn verify(key: &PublicKey, bytes: &[u8], signature: &Signature) -> bool {
    if key.algorithm != Algorithm::ED25519 {
        return false;
    }
    let Ok(key) = VerifyingKey::from_bytes(&key.bytes) else { return false };
    key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(&signature.to_bytes())).is_ok()
}

/// A private key. Wiped from memory when dropped, never printed, never serialised.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that belongs to 32 secret bytes. They must come from a cryptographic generator, except in simulations.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey { algorithm: Algorithm::ED25519, bytes: self.0.verifying_key().to_bytes() }
    }

    /// Signs what [`signed_bytes`] has put together.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(bytes).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {:?}", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(purpose: Purpose) -> Vec<u8> {
        signed_bytes(purpose, 1, &Id::of(b"somebody"), &Hash::of(b"before"), b"body")
    }

    #[test]
    fn a_signature_holds_for_its_own_key_purpose_and_bytes_only() {
        let secret = SecretKey::from_seed([7; 32]);
        let signature = secret.sign(&message(Purpose::Record));
        assert!(verify(&secret.public(), &message(Purpose::Record), &signature));
        assert!(!verify(&secret.public(), &message(Purpose::Recovery), &signature));
        assert!(!verify(&SecretKey::from_seed([8; 32]).public(), &message(Purpose::Record), &signature));
    }

    #[test]
    fn a_key_of_an_unknown_algorithm_verifies_nothing() {
        let secret = SecretKey::from_seed([7; 32]);
        let signature = secret.sign(b"x");
        let key = PublicKey { algorithm: Algorithm(2), ..secret.public() };
        assert!(!verify(&key, b"x", &signature));
    }

    #[test]
    fn the_key_of_small_order_that_signs_everything_is_refused() {
        // The neutral element as key and as R, with s = 0: passes the plain equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let key = PublicKey { algorithm: Algorithm::ED25519, bytes: neutral };
        assert!(!verify(&key, b"anything", &Signature::from_bytes(signature)));
    }
}
