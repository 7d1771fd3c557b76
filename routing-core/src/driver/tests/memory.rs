//! A network in memory: what is sent is heard at once.

use crate::connection::Connection;
use crate::contact::{Address, Contact};
use crate::effect::Target;
use crate::heard::{Heard, LossReason};
use crate::id::Grid;
use crate::message::Message;
use crate::state::NodeState;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("gone")]
pub(super) struct TransportGone;

type Said = Result<Heard, TransportGone>;

#[derive(Clone, Default)]
pub(super) struct MemoryNetwork {
    peers: Arc<Mutex<BTreeMap<Address, Option<Peer>>>>,
}

#[derive(Clone)]
struct Peer {
    contact: Arc<Contact>,
    inbox: UnboundedSender<Said>,
}

pub(super) struct MemoryConnection {
    network: MemoryNetwork,
    own: Peer,
    inbox: UnboundedReceiver<Said>,
}

impl MemoryNetwork {
    /// The connection of the node `state`.
    pub(super) fn connection(&self, state: &NodeState) -> MemoryConnection {
        let (sender, inbox) = unbounded_channel();
        let own = Peer { contact: state.contact().clone(), inbox: sender };
        let address = match state.contact().is_client() {
            // A client cannot be dialled; any place will do to answer it.
            true => format!("client-{}", state.grid()).parse().unwrap(),
            false => own.contact.address().clone(),
        };
        self.peers.lock().unwrap().insert(address, Some(own.clone()));
        MemoryConnection { network: self.clone(), own, inbox }
    }

    /// From now on, links to this address are neither made nor refused.
    pub(super) fn swallow(&self, address: &str) {
        self.peers.lock().unwrap().insert(address.parse().unwrap(), None);
    }

    /// The transport of the node at this address is gone.
    pub(super) fn break_down(&self, address: &str) {
        let peer = self.peers.lock().unwrap().remove(&address.parse().unwrap()).flatten();
        peer.unwrap().inbox.send(Err(TransportGone)).unwrap();
    }

    fn peer(&self, grid: &Grid) -> Option<Peer> {
        let peers = self.peers.lock().unwrap();
        peers.values().flatten().find(|peer| peer.contact.grid() == *grid).cloned()
    }
}

impl MemoryConnection {
    fn lost(&self, target: Target, reason: LossReason) {
        self.own.inbox.send(Ok(Heard::Lost(target, reason))).unwrap();
    }
}

#[async_trait]
impl Connection for MemoryConnection {
    type Error = TransportGone;

    async fn request(&mut self, target: &Target) -> Result<(), TransportGone> {
        let found = self.network.peers.lock().unwrap().get(&target.address).cloned();
        match found {
            Some(Some(peer)) if target.grid.is_none_or(|grid| grid == peer.contact.grid()) => {
                if peer.inbox.send(Ok(Heard::Requested(self.own.contact.clone()))).is_ok() {
                    let linked = Heard::Linked(target.clone(), peer.contact.clone());
                    self.own.inbox.send(Ok(linked)).unwrap();
                } else {
                    self.lost(target.clone(), LossReason::Unreachable);
                }
            }
            Some(None) => {}
            _ => self.lost(target.clone(), LossReason::Unreachable),
        }
        Ok(())
    }

    async fn accept(&mut self, _: Grid) -> Result<(), TransportGone> {
        Ok(())
    }

    async fn send(&mut self, to: Grid, message: Message) -> Result<(), TransportGone> {
        if let Some(peer) = self.network.peer(&to) {
            let _ = peer.inbox.send(Ok(Heard::Message(self.own.contact.grid(), message)));
        }
        Ok(())
    }

    async fn close(&mut self, peer: Grid) -> Result<(), TransportGone> {
        if let Some(peer) = self.network.peer(&peer) {
            let _ = peer.inbox.send(Ok(Heard::Lost(Target::contact(&self.own.contact), LossReason::Closed)));
        }
        Ok(())
    }

    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), TransportGone> {
        let mut next = self.inbox.recv().await;
        while let Some(said) = next.take() {
            heard.push(said?);
            next = self.inbox.try_recv().ok();
        }
        Ok(())
    }
}
