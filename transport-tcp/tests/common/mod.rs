//! What the tests on sockets share. All of it is on the loopback, at ports that the system chose.

#![allow(dead_code, reason = "each file of tests uses a part")]

use routing_core::connection::Connection;
use routing_core::contact::{Address, Contact, Standing, Versions};
use routing_core::driver::RoutingNode;
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::key::SecretKey;
use routing_core::message::Message;
use routing_core::state::NodeState;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use transport_tcp::{TcpConfig, TcpConnection, TcpHandle};

/// Fails a test that is stuck. No test depends on how long anything takes.
pub(crate) async fn patient<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test is stuck")
}

pub(crate) fn lab() -> TcpConfig {
    TcpConfig::lab()
}

pub(crate) fn secret(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed([seed; 32]))
}

/// A node that listens, not running yet, and where.
pub(crate) async fn node_at(seed: u8, config: TcpConfig) -> (RoutingNode<TcpConnection>, Address, TcpHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let state = NodeState::node(secret(seed), address.clone(), Arc::default(), seed.into());
    let connection = TcpConnection::listening(vec![listener], secret(seed), state.contact().clone(), config).unwrap();
    let handle = connection.handle();
    (RoutingNode::new(state, connection), address, handle)
}

/// One end of links, without a node behind it: it takes up every link, and keeps what else it hears.
pub(crate) struct Peer {
    pub(crate) connection: TcpConnection,
    pub(crate) contact: Arc<Contact>,
    pub(crate) handle: TcpHandle,
    waiting: Vec<Heard>,
}

impl Peer {
    pub(crate) async fn new(seed: u8, config: TcpConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::with(seed, listener, &address, config)
    }

    pub(crate) fn with(seed: u8, listener: TcpListener, address: &str, config: TcpConfig) -> Self {
        let address = address.parse().unwrap();
        let contact = Arc::new(Contact::sign(&secret(seed), address, 0, Standing::Here, Versions::CURRENT));
        let connection = TcpConnection::listening(vec![listener], secret(seed), contact.clone(), config).unwrap();
        let handle = connection.handle();
        Self { connection, contact, handle, waiting: Vec::new() }
    }

    pub(crate) fn grid(&self) -> Grid {
        self.contact.grid()
    }

    pub(crate) fn target(&self) -> Target {
        Target::contact(&self.contact)
    }

    pub(crate) async fn request(&mut self, target: &Target) {
        self.connection.request(target).await.unwrap();
    }

    pub(crate) async fn send(&mut self, to: Grid, message: &Message) {
        self.connection.send(to, message.clone()).await.unwrap();
    }

    /// The next thing heard. Links that others ask for are taken up.
    pub(crate) async fn hear(&mut self) -> Heard {
        while self.waiting.is_empty() {
            self.connection.listen(&mut self.waiting).await.unwrap();
        }
        let heard = self.waiting.remove(0);
        if let Heard::Requested(contact) = &heard {
            self.connection.accept(contact.grid()).await.unwrap();
        }
        heard
    }

    /// The next message, whatever else is heard before.
    pub(crate) async fn message(&mut self) -> (Grid, Message) {
        loop {
            if let Heard::Message(from, message) = self.hear().await {
                return (from, message);
            }
        }
    }

    /// Listens for as long as nothing else ends the test.
    pub(crate) async fn go_on(&mut self) {
        loop {
            self.hear().await;
        }
    }
}
