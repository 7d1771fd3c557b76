//! From a TCP connection to a link that has proven who is there.
//!
//! ```text
//!   dialler                                dialled
//!      │ ── TLS: key, signature, protocol ───▶ │
//!      │ ◀─ TLS: key, signature, protocol ──── │   both know each other's GRID, network and version
//!      │ ── hello, messages ─────────────────▶ │
//!      │ ◀─ hello, messages ────────────────── │   both have each other's card
//! ```
//!
//! The hello is written before the handshake begins, and TLS sends it as soon as it may: after the peer has proven its
//! key. What is in it is no secret.

use crate::cards::Cards;
use crate::gate::Slot;
use crate::handshakes::Socket;
use crate::shared::Shared;
use crate::stats::Counters;
use crate::tls;
use routing_core::contact::Contact;
use routing_core::id::Grid;
use routing_core::wire::{FRAME_OVERHEAD, HELLO_MAX, Hello, HelloError, agree, payload_len};
use rustls::CommonState;
use socket2::SockRef;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tracing::debug;

/// A link that has proven who is there, and heard its card.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) stream: TlsStream<Socket>,
    pub(crate) contact: Arc<Contact>,
    /// Its place among those whom others opened, if it is one of these.
    pub(crate) slot: Option<Slot>,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("it took too long")]
    TimedOut,
    #[error("the connection broke, or the peer speaks no TLS as it is spoken here")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("the peer showed a card that is not signed by its key")]
    ForeignCard,
    #[error("somebody else is there")]
    OtherNode(Grid),
}

impl HandshakeError {
    /// Counts it, and tells who looks.
    pub(crate) fn note(&self, counters: &Counters) {
        debug!(error = %self, "no link");
        match self {
            Self::TimedOut => counters.handshakes_timed_out.one(),
            Self::Broken(error) if is_other_protocol(error) => counters.handshakes_other_network.one(),
            Self::Broken(_) => counters.handshakes_failed.one(),
            Self::Hello(HelloError::OtherNetwork { .. }) => counters.handshakes_other_network.one(),
            Self::Hello(HelloError::NoCommonVersion { .. }) => counters.handshakes_no_version.one(),
            Self::Hello(_) | Self::ForeignCard => counters.hellos_invalid.one(),
            // The dial that wanted somebody else counts it.
            Self::OtherNode(_) => {}
        }
    }
}

/// Whether network or version were what TLS could not agree upon.
fn is_other_protocol(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        error,
        Some(
            rustls::Error::NoApplicationProtocol
                | rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
        )
    )
}

/// What all sockets are set to: small messages leave at once, and a peer that acknowledges nothing is gone.
pub(crate) fn prepare(socket: &TcpStream, unacknowledged_max: Duration) {
    // A system that cannot do this does without.
    let _ = socket.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(unacknowledged_max));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (unacknowledged_max, SockRef::from(socket));
}

/// The part of a dial after TCP: TLS, with who must be there. The hello is on its way afterwards.
pub(crate) async fn dialling(
    shared: &Shared,
    socket: Socket,
    expected: Option<Grid>,
) -> Result<(TlsStream<Socket>, Grid), HandshakeError> {
    let hello = &shared.hello_frame;
    let stream = shared.connector.connect_with(tls::nobody(), socket, |tls| put(tls.writer(), hello)).await?;
    let grid = proven(stream.get_ref().1)?;
    if expected.is_some_and(|expected| expected != grid) || grid == shared.grid {
        return Err(HandshakeError::OtherNode(grid));
    }
    Ok((TlsStream::Client(stream), grid))
}

/// The other side: TLS with whoever dialled.
pub(crate) async fn dialled(shared: &Shared, socket: Socket) -> Result<(TlsStream<Socket>, Grid), HandshakeError> {
    let hello = &shared.hello_frame;
    let stream = shared.acceptor.accept_with(socket, |tls| put(tls.writer(), hello)).await?;
    let grid = proven(stream.get_ref().1)?;
    if grid == shared.grid {
        return Err(HandshakeError::OtherNode(grid));
    }
    Ok((TlsStream::Server(stream), grid))
}

/// Hears the peer's hello, the first frame of the link, and returns its card.
pub(crate) async fn hear_hello(
    shared: &Shared,
    stream: &mut TlsStream<Socket>,
    grid: Grid,
) -> Result<Arc<Contact>, HandshakeError> {
    let mut header = [0; FRAME_OVERHEAD];
    stream.read_exact(&mut header).await?;
    let length = payload_len(header, HELLO_MAX).map_err(|_| HelloError::Unreadable)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    judge(&shared.hello, &shared.cards, &payload, grid)
}

/// What a hello is worth from somebody who is proven to be `grid`. Separate from the sockets, so that it can be fed with
/// anything.
pub(crate) fn judge(ours: &Hello, cards: &Cards, payload: &[u8], grid: Grid) -> Result<Arc<Contact>, HandshakeError> {
    let theirs = Hello::decode(payload)?;
    // There is one version so far; with the next, the link keeps which.
    agree(ours, &theirs)?;
    if theirs.contact.grid() != grid {
        return Err(HandshakeError::ForeignCard);
    }
    cards.check(theirs.contact).ok_or(HandshakeError::ForeignCard)
}

fn proven(tls: &CommonState) -> Result<Grid, HandshakeError> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    if !tls::has_agreed(tls) {
        return Err(HelloError::OtherProtocol.into());
    }
    tls::proven(tls).ok_or_else(|| broken().into())
}

fn put(mut writer: impl Write, hello: &[u8]) {
    // TLS keeps it until the handshake is complete; it is far below what it would refuse.
    let written = writer.write_all(hello);
    debug_assert!(written.is_ok(), "a hello is short");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use routing_core::contact::Versions;
    use routing_core::key::SecretKey;

    fn hello(network: &str, seed: u8) -> Hello {
        let contact = Contact::client(&SecretKey::from_seed([seed; 32])).into();
        Hello { network: network.parse().unwrap(), versions: Versions::CURRENT, contact }
    }

    #[test]
    fn a_hello_counts_if_its_card_is_that_of_the_key_that_the_link_has_proven() {
        let (ours, theirs, cards) = (hello("main", 1), hello("main", 2), Cards::default());
        let grid = theirs.contact.grid();
        assert_eq!(judge(&ours, &cards, &theirs.encode(), grid).unwrap().grid(), grid);
        let foreign = judge(&ours, &cards, &theirs.encode(), ours.contact.grid());
        assert!(matches!(foreign, Err(HandshakeError::ForeignCard)));
        let other = judge(&ours, &cards, &hello("other", 2).encode(), grid);
        assert!(matches!(other, Err(HandshakeError::Hello(HelloError::OtherNetwork { .. }))));
        let mut forged = theirs.encode();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(matches!(judge(&ours, &cards, &forged, grid), Err(HandshakeError::ForeignCard)));
    }

    /// `HELLO_CASES` is how many are tried (100,000); a failure names the seed that repeats it.
    #[test]
    fn no_damaged_hello_is_taken_for_another_or_makes_a_panic() {
        let cases = std::env::var("HELLO_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
        let (ours, theirs, cards) = (hello("main", 1), hello("main", 2), Cards::default());
        let (grid, whole) = (theirs.contact.grid(), theirs.encode());
        for seed in 0..cases {
            let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut bytes = whole.clone();
            match dice.next_u32() % 4 {
                0 => bytes = (0..dice.next_u32() as usize % (HELLO_MAX + 9)).map(|_| dice.next_u32() as u8).collect(),
                1 => bytes.truncate(dice.next_u32() as usize % whole.len()),
                2 => bytes.extend((0..1 + dice.next_u32() % 9).map(|_| dice.next_u32() as u8)),
                _ => {
                    let index = dice.next_u32() as usize % bytes.len();
                    bytes[index] ^= 1 << (dice.next_u32() % 8);
                }
            }
            // Of a hello that was changed, only the versions may differ and be agreed upon all the same.
            if let Ok(contact) = judge(&ours, &cards, &bytes, grid) {
                assert_eq!(contact.hash(), theirs.contact.hash(), "seed {seed}");
            }
        }
    }
}
