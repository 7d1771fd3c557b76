//! A small home-server: a routing node of the lookup network as a daemon, and the commands of its users.
//!
//! ```text
//!   main      command line, exit codes
//!   config    file, environment, flags ─▶ one Config
//!   serve     RoutingNode over TcpConnection: start, join, away, leave
//!   store     the node's Keeper: one redb database
//!   status    how the node is, after each turn
//!   admin     /health and /metrics
//!   client    lookup and register, by somebody who is no node
//!   keyfile   a user's keys
//!   hosts     names that a file leads somewhere, before the resolver is asked
//!   logs      what is logged, and how
//! ```
//!
//! This is what somebody copies from who builds the network into a server of their own: everything about the protocol is in
//! `routing-core`, everything about sockets in `transport-tcp`; here is what is left to whoever runs them. Begin with
//! [`serve`].

pub mod admin;
pub mod client;
pub mod config;
pub mod hosts;
pub mod keyfile;
pub mod logs;
pub mod serve;
pub mod status;
pub mod store;
