//! The outside world of a node: links to its peers, and nothing else.
//!
//! ```text
//!   request ─▶ ┐                ┌ ─▶ Heard::Linked, or Heard::Lost
//!   accept  ─▶ │                │ ─▶ Heard::Requested
//!   send    ─▶ ├─▶ transport ─▶ ┤ ─▶ Heard::Message
//!   close   ─▶ ┘                └ ─▶ Heard::Lost
//!   four verbs act               one waits: listen
//! ```
//!
//! Links are facts, not objects: a node names its peers by [`Grid`] and [`Target`], and what stands between them is the
//! transport's own affair. A simulator moves messages from one inbox to another; a real transport keeps sockets and
//! tasks behind the same five verbs.

use crate::effect::Target;
use crate::heard::Heard;
use crate::id::Grid;
use crate::message::Message;
use async_trait::async_trait;

/// A node's links to its peers.
///
/// `Err` means that the whole transport is gone, and ends the node. The failure of one link is never an error: it is
/// heard as [`Heard::Lost`].
///
/// The four verbs that act take note of what is wanted and return; none waits for a peer. They are called one after the
/// other, in the order of a turn's effects, and never while [`listen`](Self::listen) is under way.
///
/// A connection that is dropped still delivers what was handed over, as far as it can in a short time: a node's last
/// words are sent right before it ends.
#[async_trait]
pub trait Connection: Send {
    /// Why the transport is gone.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Asks for a link. It is heard as [`Heard::Linked`], with this very target and the card of whoever proved to be
    /// there, or as [`Heard::Lost`] with this very target. A target that a link stands to already is heard as linked at
    /// once.
    ///
    /// A [`send`](Self::send) may follow at once; the transport holds it, within bounds, until the link stands.
    ///
    /// Not cancel-safe: dropped before it is ready, it may have asked or not.
    async fn request(&mut self, peer: &Target) -> Result<(), Self::Error>;

    /// Takes up the link that `peer` asked for. A request that is left alone lapses.
    ///
    /// Not cancel-safe: dropped before it is ready, it may have accepted or not.
    async fn accept(&mut self, peer: Grid) -> Result<(), Self::Error>;

    /// Hands over one message. Never waits for the peer: a link that is full is a lost link, and a message to somebody
    /// without a link is lost.
    ///
    /// Not cancel-safe: dropped before it is ready, it may have handed the message over or not.
    async fn send(&mut self, to: Grid, message: Message) -> Result<(), Self::Error>;

    /// Ends the link to `peer`, if there is one, after what was handed over for it.
    ///
    /// Not cancel-safe: dropped before it is ready, the link may have ended or not.
    async fn close(&mut self, peer: Grid) -> Result<(), Self::Error>;

    /// Waits until something is heard, then moves all of it to the end of `heard`, in order of arrival.
    ///
    /// Cancel-safe, and implementations must keep it so: dropped before it is ready, nothing is lost; what it had moved
    /// is in `heard`, the rest is heard next time.
    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Self::Error>;
}
