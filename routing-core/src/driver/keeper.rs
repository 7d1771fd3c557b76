//! What makes records durable.

use crate::contact::Contact;
use crate::effect::Effect;
use crate::id::{Guid, Key};
use crate::message::Copy;
use crate::record::Record;
use async_trait::async_trait;
use std::sync::Arc;

/// Something that must outlive the process.
#[derive(Clone, Debug)]
pub enum Durable {
    /// This record is held now, in place of whatever was held under its key.
    Keep(Arc<Copy>),
    /// Nothing need be held under this key any longer.
    Forget(Key),
    /// The record held under this key is, or is no longer, one of those to be handed on: see
    /// [`Kept::strays`](crate::state::Kept::strays).
    Stray(Key, bool),
    /// This user lives here, by this record, in place of an earlier one: see [`Kept::homed`](crate::state::Kept::homed).
    Home(Arc<Record>),
    /// This user does not live here any more.
    MovedOut(Guid),
    /// Where to begin after a restart, in place of what was remembered before.
    Remember(Vec<Arc<Contact>>),
}

impl Durable {
    /// The part of an effect that is for a keeper; any other effect is given back.
    pub fn of(effect: Effect) -> Result<Self, Effect> {
        match effect {
            Effect::Keep(copy) => Ok(Durable::Keep(copy)),
            Effect::Forget(key) => Ok(Durable::Forget(key)),
            Effect::Stray(key, is_stray) => Ok(Durable::Stray(key, is_stray)),
            Effect::Home(record) => Ok(Durable::Home(record)),
            Effect::MovedOut(guid) => Ok(Durable::MovedOut(guid)),
            Effect::Remember(contacts) => Ok(Durable::Remember(contacts)),
            other => Err(other),
        }
    }
}

/// Why a keeper could not keep.
pub type KeepError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a node's records durable.
///
/// `()` keeps nothing: right for simulations, tests and clients.
#[async_trait]
pub trait Keeper: Send {
    /// Makes all of `batch`, which is everything of one turn and never empty, durable: in its order, and together or
    /// not at all. Nothing else of the turn happens before this is ready: no message leaves, no caller hears of it.
    ///
    /// An error ends the node: it must not tell others that it holds what it would not hold after a restart. What was
    /// kept before is what a restarted node begins with, and nobody was told of more than that.
    ///
    /// Need not be cancel-safe: the driver drops it only when it is dropped itself, as by a crash.
    async fn commit(&mut self, batch: &[Durable]) -> Result<(), KeepError>;
}

#[async_trait]
impl Keeper for () {
    async fn commit(&mut self, _: &[Durable]) -> Result<(), KeepError> {
        Ok(())
    }
}
