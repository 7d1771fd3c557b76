//! What a turn wants done, in order.

use crate::contact::{Address, Contact};
use crate::error::{DepartError, JoinError, LookupError, RegisterError};
use crate::id::{Grid, Guid, Key};
use crate::message::{Copy, Message};
use crate::record::Record;
use crate::state::{Answer, Joined, Registered};
use crate::time::Ticks;
use std::sync::Arc;

/// Joins an operation and its outcome. Chosen by the caller, unique among its operations under way. The highest two are
/// the node's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId(pub u64);

/// What a node may be asked to do. Each ends with one [`Outcome`].
#[derive(Clone, Debug)]
pub enum Operation {
    /// Become part of the network that these are in; with none of them, begin a new one.
    Join(Vec<Target>),
    /// Hand these records to their holders.
    Register(Vec<Arc<Record>>),
    /// Hand the newest records of all own users to their holders again, as far as they lack them.
    Announce,
    /// Find what is registered under a key.
    Lookup(Key, Consistency),
    /// Say that this node will be back within so long, and stop.
    Away(Ticks),
    /// Hand over what this node holds, say goodbye for good, and stop.
    Leave,
    /// Give up an operation: it ends at once as cancelled. What it has written stays written.
    Cancel(OperationId),
}

/// How sure an answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Consistency {
    /// Three holders agree; may be stale.
    Quick,
    /// Holders of more than half of the k groups have answered and agree; if they differ, all are waited for.
    #[default]
    Quorum,
    /// Every holder that can be reached has answered.
    All,
    /// As [`Consistency::Quorum`], and then the home-server named is asked over a link that proves its domain. It can
    /// only bring a greater record; whether it said so is [`Answer::is_confirmed`].
    Confirmed,
}

/// An address and, if known, the id that it must prove: an entry point is often only an address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Where.
    pub address: Address,
    /// Who.
    pub grid: Option<Grid>,
}

impl Target {
    /// Whoever is at `address`.
    pub fn address(address: Address) -> Self {
        Self { address, grid: None }
    }

    /// This contact, where its card says it is.
    pub fn contact(contact: &Contact) -> Self {
        Self { address: contact.address().clone(), grid: Some(contact.grid()) }
    }
}

/// What a turn wants done by whoever runs the node.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask for a link.
    Request(Target),
    /// Take up the link that this peer asked for.
    Accept(Grid),
    /// Hand over a message.
    Send(Grid, Message),
    /// End a link.
    Close(Grid),
    /// Make this record durable, before any send of the same turn leaves.
    Keep(Arc<Copy>),
    /// This key's record need not be kept any longer, and is no stray.
    Forget(Key),
    /// Make durable that the record under this key is kept in place of its holders, who are to be given it, or that it is
    /// not any longer.
    Stray(Key, bool),
    /// Make durable that this user lives here, by this record: apart from what is held, since others may be the holders.
    Home(Arc<Record>),
    /// This user does not live here any more.
    MovedOut(Guid),
    /// Make these contacts durable: where to begin after a restart. Told whenever they have changed; of many at most once a
    /// minute.
    Remember(Vec<Arc<Contact>>),
    /// An operation has ended.
    Complete(OperationId, Outcome),
    /// Something that an operator or a user interface may want to know.
    Notify(Notice),
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of [`Operation::Join`].
    Joined(Result<Joined, JoinError>),
    /// Of [`Operation::Register`] and [`Operation::Announce`].
    Registered(Result<Box<Registered>, RegisterError>),
    /// Of [`Operation::Lookup`].
    Answered(Result<Box<Answer>, LookupError>),
    /// Of [`Operation::Away`] and [`Operation::Leave`].
    Departed(Result<(), DepartError>),
}

/// What happened, for observers. Nothing in the protocol waits for them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// No entry point answered; the node tries again after this wait.
    JoinRetry(Ticks),
    /// A neighbour said goodbye for good.
    NeighbourLeft(Grid),
    /// A neighbour no longer answers and was forgotten.
    NeighbourLost(Grid),
    /// This node compared its range with most of its fellow holders: its answers count from now on.
    Settled,
    /// Two records of one identity contradict each other: somebody else has the key.
    Conflict(Arc<Copy>),
    /// This server has announced its users, asked or by itself: so many, of whom the records of so many are with most of
    /// their holders.
    Announced {
        /// How many users live here.
        users: u32,
        /// How many of them were acknowledged.
        acknowledged: u32,
    },
    /// The writer of these operations has reached every holder that can be reached, after it was acknowledged.
    Spread(OperationId),
}

/// The list of effects of one turn. Reused from turn to turn.
pub type Effects = Vec<Effect>;
