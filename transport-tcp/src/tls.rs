//! TLS 1.3 with the node's own key at both ends: no certificates, no authorities, no names.
//!
//! Each side shows its Ed25519 key as a raw public key (RFC 7250) and signs the handshake with it. The GRID is the hash
//! of that key, so a link that stands has proven who is there. Network and version are agreed with ALPN, in the same
//! round trip: see [`protocols`].
//!
//! The secret stays in its [`SecretKey`], and signatures are verified by the one strict function that verifies all
//! others: rustls is told how to call them.

use routing_core::contact::Versions;
use routing_core::id::Grid;
use routing_core::key::{Algorithm, PublicKey, SecretKey, Signature, verify};
use routing_core::wire::Network;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    ServerConfig, SignatureAlgorithm, SignatureScheme, version,
};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What comes before the 32 bytes of a key in its SubjectPublicKeyInfo (RFC 8410): sequence, Ed25519, bit string.
const KEY_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What is offered and chosen with ALPN: `lookup/`, a version, `/` and the network's name, for each version that is
/// spoken, the highest first. So two nodes of different networks, or without a common version, never get further.
fn protocols(network: &Network, versions: Versions) -> Vec<Vec<u8>> {
    let protocol = |version: u8| format!("lookup/{version}/{}", network.as_str()).into_bytes();
    (versions.least..=versions.most).rev().map(protocol).collect()
}

/// How a node dials.
pub(crate) fn client_config(secret: &Arc<SecretKey>, network: &Network) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyVerifier))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(identity(secret))));
    config.alpn_protocols = protocols(network, Versions::CURRENT);
    // A link stands for long, and a ticket would take memory for each peer.
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// How a node is dialled.
pub(crate) fn server_config(secret: &Arc<SecretKey>, network: &Network) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(KeyVerifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity(secret))));
    config.alpn_protocols = protocols(network, Versions::CURRENT);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The name that a dialler gives: TLS wants one, and nothing looks at it.
pub(crate) fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

/// Who the link has proven to be at its other end; nobody before the handshake is complete.
pub(crate) fn proven(link: &CommonState) -> Option<Grid> {
    let [key] = link.peer_certificates()? else { return None };
    Some(Grid::from(&public_key(key).ok()?))
}

/// Whether network and version were agreed upon.
pub(crate) fn has_agreed(link: &CommonState) -> bool {
    link.alpn_protocol().is_some()
}

/// What of TLS 1.3 is used. The ciphers whose hash processors have instructions for come first: a handshake hashes a lot,
/// and keys of 128 bits are as strong as the curves.
fn provider() -> Arc<CryptoProvider> {
    use ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384];
    let kx_groups = vec![ring::kx_group::X25519];
    Arc::new(CryptoProvider { cipher_suites, kx_groups, ..ring::default_provider() })
}

fn identity(secret: &Arc<SecretKey>) -> Arc<CertifiedKey> {
    let key = [&KEY_PREFIX[..], &secret.public().bytes].concat();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(key)], Arc::new(OwnKey(secret.clone()))))
}

/// The key in a SubjectPublicKeyInfo, which for Ed25519 has one spelling.
fn public_key(der: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let bytes = der.strip_prefix(&KEY_PREFIX).and_then(|key| key.try_into().ok());
    let bytes = bytes.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    Ok(PublicKey { algorithm: Algorithm::ED25519, bytes })
}

/// The node's own key, as rustls asks for it. What TLS signs begins with 64 spaces, so no such signature passes for that
/// of a card or a record.
#[derive(Clone, Debug)]
struct OwnKey(Arc<SecretKey>);

impl SigningKey for OwnKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for OwnKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Takes any Ed25519 key that signs the handshake: whose it is, and whether that is who was wanted, is asked afterwards.
#[derive(Debug)]
struct KeyVerifier;

impl KeyVerifier {
    fn verify_key(key: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !others.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        public_key(key).map(|_| ())
    }

    fn verify_signature(
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let bad_signature = Error::InvalidCertificate(CertificateError::BadSignature);
        let Ok(signature) = signed.signature().try_into().map(Signature::from_bytes) else { return Err(bad_signature) };
        if verify(&public_key(key)?, message, &signature) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(bad_signature)
        }
    }
}

/// The part that rustls asks alike of who verifies servers and of who verifies clients.
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            key: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Self::verify_signature(message, key, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::verify_key(key, others).map(|()| ServerCertVerified::assertion())
    }

    verify_signatures!();
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::verify_key(key, others).map(|()| ClientCertVerified::assertion())
    }

    verify_signatures!();
}
