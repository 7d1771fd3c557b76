//! What can go wrong with an operation: one type for each, small and comparable.

use crate::record::RecordError;

/// Why a node did not join. Nothing was lost; unless cancelled it goes on trying by itself with growing waits, until
/// another join names other entry points.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Nobody at any of the entry points answered. Check their addresses and that one of them runs.
    #[error("none of {tried} entry points answered; check that one of them is running, or name others")]
    NoEntryPoint {
        /// How many were tried.
        tried: usize,
    },
    /// This node is a client, has left, or joins already.
    #[error("this node cannot join now: it is a client, is joining already, or has left")]
    NotNow,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Why nothing was registered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A record is not valid; nothing was sent.
    #[error("record {index} is not valid: {reason}")]
    Invalid {
        /// Its position in what was handed over.
        index: usize,
        /// What is wrong with it.
        reason: RecordError,
    },
    /// Too many operations are under way; nothing was sent, try again when some have ended.
    #[error("too many operations under way; try again when some have ended")]
    Busy,
    /// The node has stopped; if it did so meanwhile, some holders may have stored some records.
    #[error("the node has stopped")]
    Stopped,
    /// The caller gave up; some holders may have stored some records.
    #[error("cancelled")]
    Cancelled,
}

/// Why a lookup has no answer at all. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Too many operations are under way; try again when some have ended.
    #[error("too many operations under way; try again when some have ended")]
    Busy,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Why a node did not depart.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepartError {
    /// It is no part of a network, or has departed already.
    #[error("this node is not part of a network")]
    NotJoined,
    /// The node has stopped otherwise, before it could say farewell: to the others it looks killed.
    #[error("the node has stopped")]
    Stopped,
    /// The caller gave up before the farewell was said; the node stays.
    #[error("cancelled")]
    Cancelled,
}
