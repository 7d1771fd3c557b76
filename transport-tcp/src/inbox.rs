//! What the tasks of links, dials and listeners have to say to the connection, in order.
//!
//! Its length is bounded by those who write to it: a link has one batch here at most, a dial or handshake one event, and
//! each of these is bounded in number.

use crate::control::Control;
use crate::dial::{DialError, DialId};
use crate::handshake::Greeted;
use crate::link::{Batch, EndReason, LinkId};
use crate::lock;
use routing_core::id::Grid;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A dial has ended.
    Dialled(DialId, Result<Box<Greeted>, DialError>),
    /// Somebody who dialled has proven who it is.
    Greeted(Box<Greeted>),
    /// Messages of a link, which waits until they are heard.
    Messages(Batch, Arc<Control>),
    /// A link has ended.
    Ended(LinkId, Grid, EndReason),
}

#[derive(Default, Debug)]
pub(crate) struct Inbox {
    events: Mutex<Events>,
}

#[derive(Default, Debug)]
struct Events {
    list: Vec<Event>,
    listener: Option<Waker>,
    /// Nobody will ask again: what happens now is dropped, with the sockets that come with it.
    is_closed: bool,
}

impl Inbox {
    pub(crate) fn push(&self, event: Event) {
        let mut events = lock(&self.events);
        if events.is_closed {
            return;
        }
        events.list.push(event);
        let listener = events.listener.take();
        drop(events);
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    /// The connection is no more.
    pub(crate) fn close(&self) {
        let mut events = lock(&self.events);
        events.is_closed = true;
        let list = std::mem::take(&mut events.list);
        // Dropping an event may end a task, which has something to say.
        drop(events);
        drop(list);
    }

    /// Exchanges what has happened for `empty`, once there is something.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, empty: &mut Vec<Event>) -> Poll<()> {
        let mut events = lock(&self.events);
        if events.list.is_empty() {
            events.listener = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut events.list, empty);
        Poll::Ready(())
    }
}
