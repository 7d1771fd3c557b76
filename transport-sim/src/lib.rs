//! What a simulated network is made of: who is in it, and how long messages take.

pub mod connection;
pub mod delay;
mod driven;
pub mod network;
pub mod oracle;
mod rows;
pub mod sandbox;
pub mod servers;
pub mod wheel;
