//! What a simulated network is made of: who is in it, and how long messages take.

pub mod delay;
mod rows;
pub mod servers;
