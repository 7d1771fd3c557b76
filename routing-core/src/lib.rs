//! A lookup network that no one owns.

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
