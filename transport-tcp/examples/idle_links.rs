//! How much memory an idle link takes, at the end that opened it and at the end that took it.
//!
//! `cargo run --release -p transport-tcp --example idle_links [LINKS]`. The peers live in a process of their own, so
//! that each end is counted apart; what is counted is the resident memory of this process, with all that the allocator
//! keeps. What the system keeps for its sockets is not in it.

#![allow(clippy::unwrap_used, reason = "an example that cannot run should stop")]

use routing_core::connection::Connection;
use routing_core::contact::{Contact, Standing, Versions};
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::id::{Guid, Id};
use routing_core::key::SecretKey;
use routing_core::message::{Fetch, Message, RequestId};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
use transport_tcp::{TcpConfig, TcpConnection};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, count, address] = [0, 1, 2].map(|index| arguments.get(index).cloned().unwrap_or_default());
    match role.as_str() {
        "dialled" => be_dialled(count.parse().unwrap()).await,
        "dialling" => dial(count.parse().unwrap(), &address).await,
        "opened" => measure_opened(count.parse().unwrap()).await,
        "taken" => measure_taken(count.parse().unwrap()).await,
        links => {
            let links = if links.is_empty() { "1000" } else { links };
            // A process for each, as none gives memory back.
            for end in ["opened", "taken"] {
                let program = std::env::current_exe().unwrap();
                assert!(Command::new(program).args([end, links]).status().unwrap().success());
            }
        }
    }
}

async fn measure_opened(links: usize) {
    let mut node = node(0).await;
    let (mut child, said) = peers(&["dialled", &links.to_string()]);
    let targets: Vec<Target> = said.lines().take(links).map(|line| target(&line.unwrap())).collect();
    let before = resident();
    for target in &targets {
        node.connection.request(target).await.unwrap();
        node.connection.send(target.grid.unwrap(), message()).await.unwrap();
    }
    node.hear_messages(links).await;
    println!("opened: {} bytes of memory for each of {links} idle links", (resident() - before) / links);
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn measure_taken(links: usize) {
    let mut node = node(1).await;
    let before = resident();
    let (mut child, _said) = peers(&["dialling", &links.to_string(), &node.address]);
    node.hear_messages(links).await;
    println!("taken:  {} bytes of memory for each of {links} idle links", (resident() - before) / links);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A process with the peers, and what it says.
fn peers(arguments: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Nodes that are dialled: says where, then gives back what it hears.
async fn be_dialled(count: usize) {
    let mut nodes = Vec::new();
    for seed in 0..count {
        nodes.push(node(seed as u64 + 10).await);
    }
    for node in &nodes {
        println!("{} {}", node.grid.0, node.address);
    }
    std::io::stdout().flush().unwrap();
    let echoes = nodes.into_iter().map(|node| tokio::spawn(node.echo()));
    for echo in echoes.collect::<Vec<_>>() {
        echo.await.unwrap();
    }
}

/// Clients that dial: each says something, and gives back what it hears.
async fn dial(count: usize, address: &str) {
    let target = Target::address(address.parse().unwrap());
    let mut clients = Vec::new();
    for seed in 0..count {
        let secret = Arc::new(SecretKey::from_seed(seed_bytes(seed as u64 + 10)));
        let mut connection = TcpConnection::client(secret, config()).unwrap();
        connection.request(&target).await.unwrap();
        let mut heard = Vec::new();
        while heard.is_empty() {
            connection.listen(&mut heard).await.unwrap();
        }
        let Heard::Linked(_, contact) = &heard[0] else { panic!("{heard:?}") };
        connection.send(contact.grid(), message()).await.unwrap();
        clients.push(connection);
    }
    loop {
        for client in &mut clients {
            client.listen(&mut Vec::new()).await.unwrap();
        }
    }
}

struct Node {
    connection: TcpConnection,
    address: String,
    grid: routing_core::id::Grid,
}

impl Node {
    async fn hear_messages(&mut self, count: usize) {
        let (mut heard, mut messages) = (Vec::new(), 0);
        while messages < count {
            self.connection.listen(&mut heard).await.unwrap();
            for heard in heard.drain(..) {
                match heard {
                    Heard::Requested(contact) => self.connection.accept(contact.grid()).await.unwrap(),
                    Heard::Message(..) => messages += 1,
                    Heard::Linked(..) => {}
                    Heard::Lost(target, reason) => panic!("{target:?}: {reason:?}"),
                }
            }
        }
        // What the last one left behind is cleared away.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    async fn echo(mut self) {
        let mut heard = Vec::new();
        loop {
            self.connection.listen(&mut heard).await.unwrap();
            for heard in heard.drain(..) {
                match heard {
                    Heard::Requested(contact) => self.connection.accept(contact.grid()).await.unwrap(),
                    Heard::Message(from, message) => self.connection.send(from, message).await.unwrap(),
                    Heard::Linked(..) | Heard::Lost(..) => {}
                }
            }
        }
    }
}

async fn node(seed: u64) -> Node {
    let secret = Arc::new(SecretKey::from_seed(seed_bytes(seed)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let card = Contact::sign(&secret, address.parse().unwrap(), 0, Standing::Here, Versions::CURRENT);
    let grid = card.grid();
    let connection = TcpConnection::listening(vec![listener], secret, card.into(), config()).unwrap();
    Node { connection, address, grid }
}

fn target(line: &str) -> Target {
    let (grid, address) = line.split_once(' ').unwrap();
    Target { grid: Some(routing_core::id::Grid(grid.parse().unwrap())), address: address.parse().unwrap() }
}

/// A message of about 10 KB, as answers to somebody who joins have.
fn message() -> Message {
    let key = Guid(Id([7; 32])).into();
    Message::Fetch(Fetch { id: RequestId(1), keys: std::iter::repeat_n(key, 300).collect() })
}

fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes
}

fn config() -> TcpConfig {
    TcpConfig { links_max: 20_000, links_inbound_max: 19_999, ..TcpConfig::lab() }
}

/// The resident memory of this process, in bytes, as Linux tells it.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}
