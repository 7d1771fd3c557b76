//! A lookup network that no one owns: its node, as a state machine that does nothing by itself.
//!
//! Thousands of independent home-servers form it. Each user has an id for life and lives on one of them today; anybody can
//! ask any of them where. A node goes in with [`NodeState::turn`](state::NodeState::turn): what it is asked to do, what it has
//! heard, and the time go in, and one ordered list of [effects](effect::Effect) comes out. It reads no clock, socket, thread
//! or global, so the same node runs in a simulation of a million and on real links.
//!
//! Whoever runs one does not call `turn`: with the feature `driver` (on by default), [`driver::RoutingNode`] is the loop that
//! does, over anything that implements [`connection::Connection`]. Without that feature the crate needs no async runtime. Here
//! two nodes meet by hand, which is all that a driver, a transport and a simulator are about:
//!
//! ```
//! use routing_core::config::NodeConfig;
//! use routing_core::effect::{Effect, Effects, Operation, OperationId, Outcome, Target};
//! use routing_core::heard::Heard;
//! use routing_core::key::SecretKey;
//! use routing_core::state::NodeState;
//! use routing_core::time::Tick;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = |seed: u8, address: &str| {
//!     let secret = Arc::new(SecretKey::from_seed([seed; 32]));
//!     Ok::<_, Box<dyn std::error::Error>>(NodeState::node(secret, address.parse()?, Arc::new(NodeConfig::default()), seed.into()))
//! };
//! let mut nodes = [node(1, "one.example")?, node(2, "two.example")?];
//! let cards = nodes.each_ref().map(|node| node.contact().clone());
//!
//! // The first begins a network of its own, the second joins it through the first.
//! let through_the_first = vec![Target::address(cards[0].address().clone())];
//! let mut asked = [
//!     vec![(OperationId(1), Operation::Join(Vec::new()))],
//!     vec![(OperationId(1), Operation::Join(through_the_first))],
//! ];
//! let mut heard = [Vec::new(), Vec::new()];
//! let mut joined = 0;
//! for now in 0..100 {
//!     for (this, other) in [(0, 1), (1, 0)] {
//!         let mut effects = Effects::new();
//!         nodes[this].turn(Tick(now), &mut asked[this], &mut heard[this], &mut effects);
//!         for effect in effects {
//!             match effect {
//!                 // The transport: a link is one when both know of it.
//!                 Effect::Request(target) => {
//!                     heard[this].push(Heard::Linked(target, cards[other].clone()));
//!                     heard[other].push(Heard::Requested(cards[this].clone()));
//!                 }
//!                 Effect::Send(_, message) => heard[other].push(Heard::Message(cards[this].grid(), message)),
//!                 Effect::Complete(_, Outcome::Joined(result)) => joined += usize::from(result.is_ok()),
//!                 _ => {}
//!             }
//!         }
//!     }
//! }
//! assert_eq!(joined, 2);
//! assert!(nodes[0].table().entry(&cards[1].grid()).is_some());
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!   id, key, canonical        places and distances, signatures, the one encoding of each value
//!   domain, contact, record   who is where: signed cards and records; account writes a user's
//!   holders, ballot           who holds a key, and what a majority of them says
//!   table, store, search      whom a node knows, what it holds, whom it asks next
//!   message, wire             what nodes say to each other, and how it is framed
//!   effect, heard, state      what goes into a turn and comes out, and the machine itself
//!   connection, driver        the trait that a transport implements, and the loop over it
//!   config, error, time       settings with their reasons, what can go wrong, ticks
//! ```

pub mod account;
pub mod ballot;
pub mod canonical;
pub mod config;
pub mod connection;
pub mod contact;
pub mod domain;
#[cfg(feature = "driver")]
pub mod driver;
pub mod effect;
pub mod error;
pub mod heard;
pub mod holders;
pub mod id;
pub mod key;
pub mod message;
pub mod record;
pub mod search;
pub mod state;
pub mod store;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod wire;
mod words;
