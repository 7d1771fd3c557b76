//! Links beside a bare TLS 1.3 echo of the same frames over the same runtime and the same rustls, in one run.
//!
//! `cargo bench -p transport-tcp`. A request is a message of 200 bytes that comes back; *items* are requests.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

#[allow(dead_code, reason = "the echo needs a part of it")]
#[path = "../src/tls.rs"]
mod tls;

use divan::Bencher;
use divan::counter::ItemsCount;
use routing_core::connection::Connection;
use routing_core::contact::{Contact, Standing, Versions};
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::id::{Grid, Guid, Id};
use routing_core::key::SecretKey;
use routing_core::message::{Fetch, Message, RequestId};
use routing_core::wire::frame_len;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};
use transport_tcp::{TcpConfig, TcpConnection};

/// As programs with many threads have it: messages are made by one thread and dropped by another, and the system's
/// allocator would have both wait for each other. The echo has it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// How many requests an iteration makes on all links together.
const REQUESTS: usize = 16_384;
/// The same, if each waits for the one before.
const SERIAL_REQUESTS: usize = 2_048;
const DEPTH: usize = 32;
const FRAME: usize = 200;

/// Links, and on each how many requests are in flight.
const SHAPES: [(usize, usize); 4] = [(1, 1), (64, 1), (1, DEPTH), (64, DEPTH)];

fn requests((links, depth): (usize, usize)) -> usize {
    if (links, depth) == (1, 1) { SERIAL_REQUESTS } else { REQUESTS }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn secret(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed([seed; 32]))
}

/// A message whose frame has 200 bytes, more or less: six keys.
fn message() -> Message {
    let key = Guid(Id([7; 32])).into();
    let message = Message::Fetch(Fetch { id: RequestId(1), keys: std::iter::repeat_n(key, 6).collect() });
    assert_eq!(frame_len(&message), FRAME + 5);
    message
}

#[divan::bench(args = SHAPES)]
fn a_bare_echo(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    let runtime = runtime();
    let (address, server) = runtime.block_on(echo_server());
    let mut links: Vec<_> = (0..shape.0).map(|_| runtime.block_on(echo_client(address))).collect();
    bencher.counter(ItemsCount::new(requests(shape))).bench_local(|| {
        let each = requests(shape) / shape.0;
        links = runtime.block_on(all(links.drain(..).map(|link| echo_requests(link, each, shape.1))));
    });
    server.abort();
}

#[divan::bench(args = SHAPES)]
fn links(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    let runtime = runtime();
    let (target, server) = runtime.block_on(node_server());
    let mut links: Vec<_> = (0..shape.0).map(|seed| runtime.block_on(node_client(seed as u8, &target))).collect();
    bencher.counter(ItemsCount::new(requests(shape))).bench_local(|| {
        let each = requests(shape) / shape.0;
        links = runtime.block_on(all(links.drain(..).map(|link| link_requests(link, each, shape.1))));
    });
    server.abort();
}

#[divan::bench]
fn bare_handshakes(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let (address, server) = runtime.block_on(echo_server());
    bencher.counter(ItemsCount::new(64_usize)).bench_local(|| {
        runtime.block_on(all((0..64).map(|_| echo_client(address))));
    });
    server.abort();
}

#[divan::bench]
fn handshakes_with_hello(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let (target, server) = runtime.block_on(node_server());
    bencher.counter(ItemsCount::new(64_usize)).bench_local(|| {
        let clients = (0..64).map(|seed| {
            let target = target.clone();
            async move { node_client(seed, &target).await }
        });
        runtime.block_on(all(clients));
    });
    server.abort();
}

/// Runs them as tasks of the runtime, side by side.
async fn all<T: Send + 'static>(tasks: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut set: JoinSet<T> = tasks.collect();
    let mut ended = Vec::with_capacity(set.len());
    while let Some(task) = set.join_next().await {
        ended.push(task.unwrap());
    }
    ended
}

type EchoClient = client::TlsStream<TcpStream>;

async fn echo_server() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let network = "bench".parse().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&secret(200), &network).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let accept = acceptor.accept(socket);
            tokio::spawn(async move {
                let Ok(mut stream) = accept.await else { return };
                let (reading, writing) = tokio::io::split(&mut stream);
                let (mut reading, mut writing) = (BufReader::new(reading), BufWriter::new(writing));
                let mut frame = [0; FRAME];
                while reading.read_exact(&mut frame).await.is_ok() {
                    writing.write_all(&frame).await.unwrap();
                    if reading.buffer().is_empty() {
                        writing.flush().await.unwrap();
                    }
                }
            });
        }
    });
    (address, server)
}

async fn echo_client(address: SocketAddr) -> EchoClient {
    let network = "bench".parse().unwrap();
    let connector = TlsConnector::from(Arc::new(tls::client_config(&secret(1), &network).unwrap()));
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    connector.connect(tls::nobody(), socket).await.unwrap()
}

async fn echo_requests(mut stream: EchoClient, requests: usize, depth: usize) -> EchoClient {
    let (reading, writing) = tokio::io::split(&mut stream);
    let (mut reading, mut writing) = (BufReader::new(reading), BufWriter::new(writing));
    let mut frame = [7; FRAME];
    for _ in 0..requests / depth {
        for _ in 0..depth {
            writing.write_all(&frame).await.unwrap();
        }
        writing.flush().await.unwrap();
        for _ in 0..depth {
            reading.read_exact(&mut frame).await.unwrap();
        }
    }
    stream
}

fn config() -> TcpConfig {
    // What is measured is how fast it can be, not how it is held back.
    TcpConfig { network: "bench".to_owned(), peer_bytes_per_second: 0, peer_messages_per_second: 0, ..TcpConfig::lab() }
}

struct LinkClient {
    connection: TcpConnection,
    server: Grid,
    heard: Vec<Heard>,
}

/// Gives back what it hears, as a node would that takes no time to think.
async fn node_server() -> (Target, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let contact = Arc::new(Contact::sign(&secret(200), address, 0, Standing::Here, Versions::CURRENT));
    let target = Target::contact(&contact);
    let mut connection = TcpConnection::listening(vec![listener], secret(200), contact, config()).unwrap();
    let server = tokio::spawn(async move {
        let mut heard = Vec::new();
        loop {
            connection.listen(&mut heard).await.unwrap();
            for heard in heard.drain(..) {
                match heard {
                    Heard::Requested(contact) => connection.accept(contact.grid()).await.unwrap(),
                    Heard::Message(from, message) => connection.send(from, message).await.unwrap(),
                    Heard::Linked(..) | Heard::Lost(..) => {}
                }
            }
        }
    });
    (target, server)
}

async fn node_client(seed: u8, target: &Target) -> LinkClient {
    let mut connection = TcpConnection::client(secret(seed), config()).unwrap();
    connection.request(target).await.unwrap();
    let mut heard = Vec::new();
    while heard.is_empty() {
        connection.listen(&mut heard).await.unwrap();
    }
    assert!(matches!(heard.pop(), Some(Heard::Linked(..))));
    LinkClient { connection, server: target.grid.unwrap(), heard }
}

async fn link_requests(mut client: LinkClient, requests: usize, depth: usize) -> LinkClient {
    let LinkClient { connection, server, heard } = &mut client;
    let message = message();
    for _ in 0..requests / depth {
        for _ in 0..depth {
            connection.send(*server, message.clone()).await.unwrap();
        }
        let mut answers = 0;
        while answers < depth {
            connection.listen(heard).await.unwrap();
            for heard in heard.drain(..) {
                assert!(matches!(heard, Heard::Message(..)), "{heard:?}");
                answers += 1;
            }
        }
    }
    client
}
