//! Servers are found by their names: one whose address changes, and whose name is gone for a while, is found again, and
//! neither it nor anybody else is restarted.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{lab, patient, secret};
use routing_core::account::Account;
use routing_core::config::NodeConfig;
use routing_core::contact::Contact;
use routing_core::driver::{NodeHandle, RoutingNode};
use routing_core::effect::{Consistency, Target};
use routing_core::record::Record;
use routing_core::state::{Answer, NodeState};
use routing_core::time::Ticks;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use transport_tcp::{Resolver, TcpConnection, TcpHandle};

const SERVERS: u8 = 6;
/// The server that moves.
const MOVER: u8 = 3;

/// What the DNS says: answers that change.
#[derive(Clone, Default, Debug)]
struct Names(Arc<Mutex<BTreeMap<String, SocketAddr>>>);

impl Names {
    fn set(&self, name: &str, address: SocketAddr) {
        self.0.lock().unwrap().insert(name.to_owned(), address);
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

#[async_trait::async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let address = self.0.lock().unwrap().get(name).copied();
        address.map(|address| vec![address]).ok_or(io::ErrorKind::NotFound.into())
    }
}

/// An address at which a server is to be reached, as its provider gives it. When it is dropped nobody is there any more,
/// and all connections that went through it break, while the server behind it goes on.
struct Front {
    address: SocketAddr,
    task: AbortHandle,
}

impl Front {
    async fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut outer, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut inner = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                });
            }
        });
        Self { address, task: task.abort_handle() }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn domain(server: u8) -> String {
    format!("s{server}.example")
}

fn config() -> Arc<NodeConfig> {
    // Whoever is silent is asked again soon, and given up soon, so that nobody has to wait for the test.
    let soon = Ticks::millis(200);
    let sooner = NodeConfig { contact_probe_every: soon, grace: soon, revive_every: soon, ..NodeConfig::default() };
    Arc::new(NodeConfig { lab: true, upkeep_bytes_per_second: 4_096, ..sooner })
}

/// Servers at domains, and the ways that lead to the one that moves and from there to the others.
struct World {
    names: Names,
    /// Where the mover finds the others: its connections break, too, when it moves.
    mover_names: Names,
    servers: Vec<(NodeHandle, TcpHandle)>,
    ways: Vec<Front>,
    record: Arc<Record>,
}

impl World {
    async fn new() -> Self {
        let (names, mover_names) = (Names::default(), Names::default());
        let mut world = Self {
            names,
            mover_names,
            servers: Vec::new(),
            ways: Vec::new(),
            record: Arc::new(Account::new([2; 32], None, [3; 16]).place(domain(MOVER).parse().unwrap(), 0)),
        };
        let mut nodes = Vec::new();
        for server in 0..SERVERS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = domain(server).parse().unwrap();
            let state = NodeState::node(secret(server + 1), address, config(), server.into());
            let card = state.contact().clone();
            let connection = TcpConnection::listening(vec![listener], secret(server + 1), card, lab()).unwrap();
            let names = if server == MOVER { &world.mover_names } else { &world.names };
            let connection = connection.with_resolver(names.clone());
            let links = connection.handle();
            world.names.set(&domain(server), links.addresses()[0]);
            let node = RoutingNode::new(state, connection);
            world.servers.push((node.handle(), links));
            nodes.push(node);
        }
        world.appear().await;
        world.connect().await;
        for (server, node) in (0..SERVERS).zip(nodes) {
            tokio::spawn(node.run());
            let doors = (0..server).map(|door| Target::address(domain(door).parse().unwrap())).collect();
            world.servers[usize::from(server)].0.join(doors).await.unwrap();
        }
        world
    }

    fn mover(&self) -> &(NodeHandle, TcpHandle) {
        &self.servers[usize::from(MOVER)]
    }

    fn others(&self) -> impl Iterator<Item = &(NodeHandle, TcpHandle)> {
        self.servers.iter().filter(|(handle, _)| handle.id() != self.mover().0.id())
    }

    /// All connections to and from the mover break; nobody finds it by its name, nor does it find anybody.
    fn cut(&mut self) {
        self.ways.clear();
        self.names.remove(&domain(MOVER));
        for server in (0..SERVERS).filter(|server| *server != MOVER) {
            self.mover_names.remove(&domain(server));
        }
    }

    /// It is somewhere else, and its name leads there.
    async fn appear(&mut self) {
        let front = Front::new(self.mover().1.addresses()[0]).await;
        self.names.set(&domain(MOVER), front.address);
        self.ways.push(front);
    }

    /// The mover finds the others.
    async fn connect(&mut self) {
        for server in (0..SERVERS).filter(|server| *server != MOVER) {
            let front = Front::new(self.servers[usize::from(server)].1.addresses()[0]).await;
            self.mover_names.set(&domain(server), front.address);
            self.ways.push(front);
        }
    }

    /// Asks one server for the record, of all holders.
    async fn look_up(&self, handle: &NodeHandle) -> Answer {
        let answer = handle.lookup(self.record.key(), Consistency::All).await.unwrap();
        assert_eq!(answer.record.as_ref(), Some(&self.record), "it is found all the while");
        answer
    }

    /// Waits until this server hears all others as holders, the mover, too.
    async fn until_it_counts(&self, handle: &NodeHandle) {
        until(|| async { self.look_up(handle).await.confirmations == usize::from(SERVERS) }).await;
    }

    /// Waits until lookups go through the mover again: whoever asks hears it as one of the holders, it is confirmed as the
    /// home of its user, which takes a dial to its name, and a stranger who knows only that name is answered.
    async fn until_the_mover_answers_everybody(&self) {
        for (handle, _) in &self.servers {
            self.until_it_counts(handle).await;
            let confirmed = || async { handle.lookup(self.record.key(), Consistency::Confirmed).await.unwrap() };
            until(|| async { confirmed().await.is_confirmed }).await;
        }
        let key = secret(99);
        let connection = TcpConnection::client(key.clone(), lab()).unwrap().with_resolver(self.names.clone());
        let door = Target::address(domain(MOVER).parse().unwrap());
        let state = NodeState::client(Contact::client(&key).into(), vec![door], config(), 9);
        let client = RoutingNode::new(state, connection);
        let handle = client.handle();
        let running = tokio::spawn(client.run());
        self.look_up(&handle).await;
        running.abort();
    }
}

async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_moves_and_whose_name_is_gone_for_a_while_serves_lookups_again_without_any_restart() {
    patient(async {
        let mut world = World::new().await;
        let registered = world.mover().0.register(vec![world.record.clone()]).await.unwrap();
        assert!(registered.records[0].is_acknowledged);
        world.until_the_mover_answers_everybody().await;

        // Its address changes, and its name leads to the new one at once.
        world.cut();
        world.appear().await;
        world.connect().await;
        world.until_the_mover_answers_everybody().await;

        // It changes again, and the name leads nowhere until all others have given it up.
        world.cut();
        for (handle, links) in world.others() {
            let before = links.stats().names_unresolved;
            until(|| async { world.look_up(handle).await.confirmations < usize::from(SERVERS) }).await;
            until(|| async { links.stats().names_unresolved > before + 3 }).await;
        }
        // They find it by its name alone: it cannot call them yet.
        world.appear().await;
        for (handle, _) in world.others() {
            world.until_it_counts(handle).await;
        }
        world.connect().await;
        world.until_the_mover_answers_everybody().await;
    })
    .await;
}
