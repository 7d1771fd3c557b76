//! A deterministic, simulated network, and a federation in it: home-servers, users with their keys, and the truth about
//! both.
//!
//! The nodes are the production state machine, [`NodeState`](routing_core::state::NodeState); they join by the protocol,
//! and nothing is wired beforehand. The same seed gives the same run. Begin with [`sandbox::RoutingSandbox`]:
//!
//! ```
//! use transport_sim::sandbox::{RoutingSandbox, SandboxError};
//!
//! fn main() -> Result<(), SandboxError> {
//!     let mut federation = RoutingSandbox::new(7);
//!     let door = federation.new_node();
//!     federation.join(door, &[])?;
//!     for _ in 0..40 {
//!         let server = federation.new_node();
//!         federation.join(server, &[door])?;
//!     }
//!
//!     let alice = federation.new_user();
//!     federation.register_guid(&[door], alice, "n000003.example")?;
//!     // She moves, and her old home-server leaves for good.
//!     federation.register_guid(&[door], alice, "n000008.example")?;
//!     let old_home = federation.members()[2].grid;
//!     federation.remove_node(old_home)?;
//!
//!     let route = federation.route_guid(&[door], alice, "n000008.example")?;
//!     assert!(route.is_as_expected() && route.answer.is_settled);
//!     println!("{} holders confirm it, round trips: {}", route.answer.confirmations, route.answer.round_trips);
//!     Ok(())
//! }
//! ```
//!
//! ```text
//!   sandbox ─┬─▶ network ─┬─▶ wheel    what happens when
//!            │            ├─▶ delay    how long a message takes, and whether it is lost
//!            │            └─▶ NodeState, called directly or by the async driver
//!            ├─▶ oracle                who truly holds a key
//!            └─▶ servers               which home-servers there are
//!
//!   yardstick ───▶ wheel                 how fast events are without a protocol
//! ```

pub mod carrier;
pub mod connection;
pub mod delay;
mod driven;
pub mod network;
pub mod oracle;
mod rows;
pub mod sandbox;
pub mod servers;
pub mod wheel;
pub mod yardstick;
