//! The lookup network over real sockets: `TcpConnection`, a [`Connection`](routing_core::connection::Connection) over TCP
//! with TLS 1.3, so that [`RoutingNode`](routing_core::driver::RoutingNode) runs between machines as it runs in the
//! sandbox, unchanged.

mod config;
mod connection;
mod control;
mod dial;
mod frame;
mod gate;
mod handshake;
mod inbox;
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
