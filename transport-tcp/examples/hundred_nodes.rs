//! A hundred nodes in one process, on real sockets with TLS: how long they take to join, and what lookups cost.
//!
//! `cargo run --release -p transport-tcp --example hundred_nodes [NODES]`. CPU time and memory are those of the whole
//! process, so of all nodes together, as Linux tells them.

#![allow(clippy::unwrap_used, reason = "an example that cannot run should stop")]

use routing_core::account::Account;
use routing_core::config::NodeConfig;
use routing_core::driver::{NodeHandle, RoutingNode};
use routing_core::effect::{Consistency, Target};
use routing_core::key::SecretKey;
use routing_core::record::Record;
use routing_core::state::NodeState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use transport_tcp::{Hosts, SystemResolver, TcpConfig, TcpConnection, TcpHandle};

/// As a server has it whose threads drop what others have made.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: usize = 1_000;
const LOOKUPS: usize = 10_000;
const AT_ONCE: usize = 16;
/// If the nodes never come to rest, the lookups begin after so long.
const REST_MAX: Duration = Duration::from_secs(180);

struct Running {
    handle: NodeHandle,
    sockets: TcpHandle,
    task: JoinHandle<()>,
}

#[tokio::main]
async fn main() {
    let nodes = std::env::args().nth(1).map_or(100, |count| count.parse().unwrap());
    let start = Instant::now();
    let mut running = start_nodes(nodes).await;
    println!("{nodes} nodes joined in {:.2?}, with {:.2?} of CPU", start.elapsed(), cpu_time());

    let records: Vec<Arc<Record>> = (0..RECORDS).map(|user| record(user, nodes)).collect();
    let start = Instant::now();
    let mut acknowledged = 0;
    for (index, chunk) in records.chunks(RECORDS.div_ceil(nodes)).enumerate() {
        let registered = running[index % nodes].handle.register(chunk.to_vec()).await.unwrap();
        acknowledged += registered.records.iter().filter(|record| record.is_acknowledged).count();
    }
    println!("{acknowledged} of {RECORDS} records acknowledged in {:.2?}", start.elapsed());

    come_to_rest().await;
    for consistency in [Consistency::Quorum, Consistency::Quick] {
        look_up(&running, &records, consistency).await;
    }
    println!("{:.2} MB of memory for each node", resident() as f64 / 1e6 / nodes as f64);

    for node in running.split_off(nodes * 7 / 10) {
        node.task.abort();
    }
    // At once: these lookups are to meet the dead.
    for consistency in [Consistency::Quorum, Consistency::Quick] {
        look_up(&running, &records, consistency).await;
    }
    let stats = running[0].sockets.stats();
    let counted: Vec<String> =
        stats.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    println!("links of the first node: {}", counted.join(", "));
}

async fn start_nodes(count: usize) -> Vec<Running> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let place = |(index, listener): (usize, &TcpListener)| (domain(index), vec![listener.local_addr().unwrap()]);
    let hosts: Vec<(String, Vec<SocketAddr>)> = listeners.iter().enumerate().map(place).collect();
    let hosts = Arc::new(Hosts::new(hosts, SystemResolver));
    let config = Arc::new(NodeConfig { lab: true, ..NodeConfig::default() });
    let mut running = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let secret = Arc::new(SecretKey::from_seed(bytes(index)));
        let state = NodeState::node(secret.clone(), domain(index).parse().unwrap(), config.clone(), index as u64);
        let connection =
            TcpConnection::listening(vec![listener], secret, state.contact().clone(), TcpConfig::lab()).unwrap();
        let connection = connection.with_resolver(hosts.clone());
        let sockets = connection.handle();
        let node = RoutingNode::new(state, connection);
        let handle = node.handle();
        let task = tokio::spawn(async move { drop(node.run().await) });
        running.push(Running { handle, sockets, task });
    }
    running[0].handle.join(vec![]).await.unwrap();
    let doors: Vec<Target> = (0..3).map(|index| Target::address(domain(index).parse().unwrap())).collect();
    let joins = running[1..].iter().map(|node| {
        let (handle, doors) = (node.handle.clone(), doors.clone());
        tokio::spawn(async move { handle.join(doors).await })
    });
    for join in joins.collect::<Vec<_>>() {
        join.await.unwrap().unwrap();
    }
    running
}

/// Waits until the process has used less than a twentieth of a core for a second, so that lookups do not pay for what the
/// nodes still do after joining and registering: getting to know each other, and comparing what they hold.
async fn come_to_rest() {
    let (start, cpu) = (Instant::now(), cpu_time());
    loop {
        let (before, began) = (cpu_time(), Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cpu_time() - before < began.elapsed() / 20 || start.elapsed() > REST_MAX {
            break;
        }
    }
    println!("came to rest in {:.2?}, with {:.2?} of CPU", start.elapsed(), cpu_time() - cpu);
}

/// Random lookups from random nodes, so many at once.
async fn look_up(running: &[Running], records: &[Arc<Record>], consistency: Consistency) {
    let (start, cpu) = (Instant::now(), cpu_time());
    let askers = (0..AT_ONCE).map(|asker| {
        let handles: Vec<NodeHandle> = running.iter().map(|node| node.handle.clone()).collect();
        let records = records.to_vec();
        tokio::spawn(async move {
            let (mut found, mut waited) = (0, Vec::new());
            for number in (asker..LOOKUPS).step_by(AT_ONCE) {
                let draw = number.wrapping_mul(0x9e37_79b9);
                let (handle, record) = (&handles[draw % handles.len()], &records[(draw >> 8) % records.len()]);
                let start = Instant::now();
                let answer = handle.lookup(record.key(), consistency).await.unwrap();
                waited.push(start.elapsed());
                found += usize::from(answer.record.as_ref() == Some(record));
            }
            (found, waited)
        })
    });
    let (mut found, mut waited) = (0, Vec::new());
    for asker in askers.collect::<Vec<_>>() {
        let (right, times) = asker.await.unwrap();
        found += right;
        waited.extend(times);
    }
    waited.sort_unstable();
    let cpu = (cpu_time() - cpu) / LOOKUPS as u32;
    let [half, most] = [50, 99].map(|percent| waited[waited.len() * percent / 100]);
    println!(
        "{found} of {LOOKUPS} found ({consistency:?}, {} nodes) in {:.2?}: {cpu:.0?} of CPU for each, p50 {half:.2?}, p99 {most:.2?}",
        running.len(),
        start.elapsed(),
    );
}

fn record(user: usize, nodes: usize) -> Arc<Record> {
    let mut account = Account::new(bytes(user + 1_000_000), Some(bytes(user + 2_000_000)), [3; 16]);
    Arc::new(account.place(domain(user % nodes).parse().unwrap(), 0))
}

fn domain(index: usize) -> String {
    format!("n{index:06}.example")
}

fn bytes(seed: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(seed as u64).to_be_bytes());
    bytes
}

/// What this process has used of the processors: its ticks of a hundredth of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
    let ticks: u64 = [12, 13].iter().map(|index| fields[*index].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}
