//! What a node hears from its transport.

use crate::contact::Contact;
use crate::effect::Target;
use crate::id::Grid;
use crate::message::Message;
use std::sync::Arc;

/// Something heard. Ids here are proven by the link, never claimed by the sender.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A peer asked for a link; it is taken up with [`crate::effect::Effect::Accept`] or lapses.
    Requested(Arc<Contact>),
    /// The link that was asked for stands, and this is who is there.
    Linked(Target, Arc<Contact>),
    /// A message arrived.
    Message(Grid, Message),
    /// A link ended, or could not be made.
    Lost(Target, LossReason),
}

/// Why there is no link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LossReason {
    /// Nobody answered the dial in time.
    Unreachable,
    /// It was idle, and its place was needed.
    Idle,
    /// The peer ended it.
    Closed,
    /// Somebody else answered than the target said.
    OtherNode,
}
