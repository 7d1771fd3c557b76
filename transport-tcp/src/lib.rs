//! The lookup network over real sockets: [`TcpConnection`], a [`Connection`](routing_core::connection::Connection) over
//! TCP with TLS 1.3, so that [`RoutingNode`](routing_core::driver::RoutingNode) runs between machines as it runs in the
//! sandbox, unchanged.
//!
//! ```text
//!   TcpConnection ─ request, accept, send, close ─▶ Peers: who is linked, who is being dialled
//!        ▲                                           │ spawns a task for each
//!        │ listen                                    ├─▶ dial: resolve, connect, TLS, hello ─┐
//!        │                                           ├─▶ link: reads and writes one socket ──┤
//!        └───────────────── Inbox ◀──────────────────┴── listen: gate, TLS, hello ───────────┘
//! ```
//!
//! - **Links** are proven: TLS at both ends with the node's own key, the one that its GRID is the hash of. Nothing is
//!   heard from anybody before. There is one for a pair of nodes, also when both dial at once; idle ones lapse.
//! - **Limits** are all in [`TcpConfig`], with their reasons. A peer that is slow, or sends too much, or never takes what it
//!   asked for, costs itself; a stranger costs a bounded number of sockets and a few kilobytes each. Each thing that was
//!   refused or ended is counted in [`TcpStats`].
//! - **Tasks.** One for each link, dial, handshake and listener. Outside of labs all but links run on a thread of their own,
//!   since a handshake is a quarter of a millisecond of arithmetic, for which nobody who is linked is to wait. All state about peers belongs to the connection; tasks
//!   tell it what happened through one inbox, and are told what to do through small shared structs. No lock is held
//!   across anything that waits.
//! - **Names** are looked up for each dial by a [`Resolver`], the system's unless another is given.
//!
//! How it looks on the wire is in `docs/protocol.md`; why, in `docs/decisions/0016-links-over-tls.md`.
//!
//! # A network of one machine
//!
//! ```
//! use routing_core::account::Account;
//! use routing_core::driver::RoutingNode;
//! use routing_core::effect::{Consistency, Target};
//! use routing_core::{key::SecretKey, state::NodeState};
//! use std::sync::Arc;
//! use transport_tcp::{TcpConfig, TcpConnection};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut nodes = Vec::new();
//! let mut door = Vec::new();
//! for seed in 1..=3 {
//!     // The system chooses the port; elsewhere it is the one that the node's domain is served at.
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?.to_string().parse()?;
//!     let secret = Arc::new(SecretKey::from_seed([seed; 32]));
//!     let state = NodeState::node(secret.clone(), address, Arc::default(), seed.into());
//!     let card = state.contact().clone();
//!     let connection = TcpConnection::listening(vec![listener], secret, card, TcpConfig::lab())?;
//!     let node = RoutingNode::new(state, connection);
//!     nodes.push(node.handle());
//!     door.push(Target::address(node.state().contact().address().clone()));
//!     tokio::spawn(node.run());
//!     nodes[nodes.len() - 1].join(door[..door.len() - 1].to_vec()).await?;
//! }
//! let record = Arc::new(Account::new([2; 32], None, [3; 16]).place("chat.example".parse()?, 0));
//! nodes[1].register(vec![record.clone()]).await?;
//! assert_eq!(nodes[2].lookup(record.key(), Consistency::All).await?.record, Some(record));
//! # Ok(())
//! # }
//! ```

mod cards;
mod config;
mod connection;
mod control;
mod dial;
mod frame;
mod gate;
mod handshake;
mod handshakes;
mod inbox;
mod known;
mod ledger;
mod link;
mod listen;
mod outbox;
mod peers;
mod rate;
mod resolve;
mod shared;
mod stats;
mod tls;

pub use config::{PORT, TcpConfig};
pub use connection::{OpenError, TcpConnection, TcpHandle};
pub use resolve::{Hosts, Resolver, SystemResolver};
pub use stats::TcpStats;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing behind a lock here is ever left half changed, so a panic elsewhere poisons nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
