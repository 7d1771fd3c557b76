//! Tests that need more than one crate of the workspace, and the proof that the README's examples run.
//!
//! A test of a federation is written once, against the trait [`Testbed`], and run on two: the deterministic sandbox, where a
//! minute takes no time, and real nodes over TCP with TLS on the loopback. Users of the library may do the same with theirs:
//!
//! ```
//! use lookup_tests::{By, Testbed, loopback, sandbox};
//! use routing_core::effect::Consistency::Quorum;
//!
//! /// Alice moves, her old home-server vanishes, and everybody finds her at the new one.
//! fn alice_is_found(federation: &mut impl Testbed) {
//!     let servers = federation.start(6);
//!     let (users, registered) = federation.register(servers[1], 1, By::Server(servers[1]));
//!     assert!(registered.is_all_right());
//!     let alice = users[0];
//!
//!     // She has an app that is no node and begins at two servers that it was told of.
//!     let moved = federation.migrate(alice, servers[2], By::Client(&servers[3..5]));
//!     assert!(moved.is_all_right());
//!     federation.kill(servers[1]);
//!
//!     for asker in federation.running() {
//!         let asked = federation.look_up(alice, Quorum, By::Server(asker));
//!         assert!(asked.is_all_right(), "server {asker} was told {asked:?}");
//!     }
//! }
//!
//! alice_is_found(&mut sandbox(7));
//! alice_is_found(&mut loopback(7));
//! ```
//!
//! The suite of this crate is [`mod@scenarios`], each of which `tests/on_sandbox.rs` and `tests/on_sockets.rs` run. Tests of one
//! crate alone lie beside its code.

pub mod scenarios;
mod testbed;

pub use testbed::{By, Ended, Testbed, loopback, sandbox};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
