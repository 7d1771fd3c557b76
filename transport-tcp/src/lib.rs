//! The lookup network over real sockets: an empty shell for now. Nothing here is public yet.
//!
//! What it will be: `TcpConnection`, a [`Connection`](routing_core::connection::Connection) over TCP with TLS, so that
//! [`RoutingNode`](routing_core::driver::RoutingNode) runs between machines as it runs in the sandbox, unchanged.
//!
//! ```text
//!   TcpConnection ─ request, accept, send, close ─▶ links: one task a link, bounded queues
//!                 ◀─ listen ───────────────────────  │
//!                                                    ├─ handshake: proves the peer's id, agrees on network and version
//!                                                    └─ frames: length and message, each of bounded size
//! ```
//!
//! - **Links.** One for a pair of nodes, also when both dial at once. Idle ones lapse, their number is bounded, and a
//!   peer that is slow costs itself: a full queue is a lost link, heard as
//!   [`Heard::Lost`](routing_core::heard::Heard::Lost).
//! - **Handshake.** TLS both ways, without a certificate authority: the key that a [`Grid`](routing_core::id::Grid) is
//!   the hash of is the key that the link proves, before anything else is heard from it. The name of the network and a
//!   range of protocol versions are agreed upon with it.
//! - **Frames.** A length, then a message in its one canonical encoding.
//!
//! The state machine knows none of this, and its rules do not depend on it.
