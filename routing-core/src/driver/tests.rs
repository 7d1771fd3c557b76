//! Two nodes and more over a network in memory: in a tokio runtime with paused time, and polled by hand.

mod by_hand;
mod memory;
mod world;

use super::*;
use crate::account::Account;
use crate::config::NodeConfig;
use crate::contact::Contact;
use crate::effect::{Consistency, Target};
use crate::error::{DepartError, JoinError, LookupError, RegisterError};
use crate::id::Grid;
use crate::key::SecretKey;
use crate::record::Record;
use crate::state::Verdict;
use crate::time::Ticks;
use memory::{MemoryNetwork, TransportGone};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

type Ran = Result<NodeState, DriverError<TransportGone>>;

fn config() -> Arc<NodeConfig> {
    Arc::new(NodeConfig::default())
}

fn state(seed: u8, address: &str) -> NodeState {
    let secret = Arc::new(SecretKey::from_seed([seed; 32]));
    NodeState::node(secret, address.parse().unwrap(), config(), u64::from(seed))
}

fn client(entry_points: &[&str]) -> NodeState {
    let secret = Arc::new(SecretKey::from_seed([99; 32]));
    NodeState::client(
        Arc::new(Contact::client(&secret)),
        entry_points.iter().map(|address| at(address)).collect(),
        config(),
        99,
    )
}

fn at(address: &str) -> Target {
    Target::address(address.parse().unwrap())
}

/// A record of a user of its own that names `home`.
fn record(seed: u8, home: &str) -> Arc<Record> {
    Arc::new(Account::new([seed; 32], None, [seed; 16]).place(home.parse().unwrap(), 0))
}

/// Two nodes that run in tasks of their own, the second joined through the first.
struct Pair {
    network: MemoryNetwork,
    a: NodeHandle,
    b: NodeHandle,
    a_runs: JoinHandle<Ran>,
    b_runs: JoinHandle<Ran>,
}

impl Pair {
    async fn joined() -> Self {
        Self::observed(()).await
    }

    /// A pair whose first node is observed.
    async fn observed(observer: impl Observer + 'static) -> Self {
        let network = MemoryNetwork::default();
        let (a, b) = (state(1, "a.example"), state(2, "b.example"));
        let (a_link, b_link) = (network.connection(&a), network.connection(&b));
        let a = RoutingNode::new(a, a_link).with_observer(observer);
        let b = RoutingNode::new(b, b_link);
        let pair = Self {
            network,
            a: a.handle(),
            b: b.handle(),
            a_runs: tokio::spawn(a.run()),
            b_runs: tokio::spawn(b.run()),
        };
        assert_eq!(pair.a.join(vec![]).await.unwrap().contacts, 0);
        assert_eq!(pair.b.join(vec![at("a.example")]).await.unwrap().contacts, 1);
        pair
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_join_register_look_up_and_leave() {
    let pair = Pair::joined().await;
    assert_ne!(pair.a.id(), pair.b.id());
    let record = record(7, "b.example");
    let registered = pair.b.register(vec![record.clone()]).await.unwrap();
    assert!(registered.records[0].is_acknowledged);

    let answer = pair.a.lookup(record.key(), Consistency::All).await.unwrap();
    assert_eq!((answer.verdict, answer.record), (Verdict::Found, Some(record.clone())));
    assert!(pair.b.announce().await.unwrap().records[0].is_acknowledged);

    pair.b.leave().await.unwrap();
    let b = pair.b_runs.await.unwrap().unwrap();
    assert_eq!(b.phase(), Phase::Departed);
    let answer = pair.a.lookup(record.key(), Consistency::All).await.unwrap();
    assert_eq!((answer.verdict, answer.record), (Verdict::Found, Some(record)));

    pair.a.away(Ticks::minutes(1)).await.unwrap();
    let a = pair.a_runs.await.unwrap().unwrap();
    assert!(a.table().is_empty(), "a node that left is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_handles_runs_on() {
    let pair = Pair::joined().await;
    drop(pair.a);
    tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
    let record = record(7, "b.example");
    assert_eq!(pair.b.register(vec![record]).await.unwrap().records[0].holders.len(), 1);
    assert!(!pair.a_runs.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_without_joining() {
    let pair = Pair::joined().await;
    let record = record(7, "b.example");
    pair.b.register(vec![record.clone()]).await.unwrap();
    let state = client(&["a.example"]);
    let link = pair.network.connection(&state);
    let client = RoutingNode::new(state, link);
    let handle = client.handle();
    tokio::spawn(client.run());
    assert_eq!(handle.join(vec![]).await, Err(JoinError::NotNow));
    assert_eq!(handle.lookup(record.key(), Consistency::Quorum).await.unwrap().verdict, Verdict::Found);
}

#[tokio::test(start_paused = true)]
async fn a_join_that_nobody_answers_ends_and_succeeds_later_by_itself() {
    let network = MemoryNetwork::default();
    let b = state(2, "b.example");
    let b_link = network.connection(&b);
    let signal = Signal::new();
    let (retries, settled) = (Arc::new(Mutex::new(0)), Arc::new(tokio::sync::Notify::new()));
    let _slot = signal.connect({
        let (retries, settled) = (retries.clone(), settled.clone());
        move |notice| match notice {
            Notice::JoinRetry(_) => *retries.lock().unwrap() += 1,
            Notice::Settled => settled.notify_one(),
            _ => {}
        }
    });
    let b = RoutingNode::new(b, b_link).with_observer(signal.clone());
    let handle = b.handle();
    tokio::spawn(b.run());
    assert_eq!(handle.join(vec![at("a.example")]).await, Err(JoinError::NoEntryPoint { tried: 1 }));

    let a = state(1, "a.example");
    let a_link = network.connection(&a);
    let a = RoutingNode::new(a, a_link);
    let a_handle = a.handle();
    tokio::spawn(a.run());
    a_handle.join(vec![]).await.unwrap();
    settled.notified().await;
    assert!(*retries.lock().unwrap() >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_is_gone_ends_the_node_and_completes_its_callers() {
    let network = MemoryNetwork::default();
    network.swallow("nowhere.example");
    let state = state(1, "a.example");
    let link = network.connection(&state);
    let node = RoutingNode::new(state, link);
    let handle = node.handle();
    let joining = tokio::spawn({
        let handle = handle.clone();
        async move { handle.join(vec![at("nowhere.example")]).await }
    });
    let runs = tokio::spawn(node.run());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    network.break_down("a.example");
    assert!(matches!(runs.await.unwrap(), Err(DriverError::Connection(TransportGone))));
    assert_eq!(joining.await.unwrap(), Err(JoinError::Stopped));

    let key = record(7, "a.example").key();
    assert_eq!(handle.join(vec![]).await, Err(JoinError::Stopped));
    assert_eq!(handle.lookup(key, Consistency::Quick).await.unwrap_err(), LookupError::Stopped);
    assert_eq!(handle.register(vec![]).await.unwrap_err(), RegisterError::Stopped);
    assert_eq!(handle.leave().await, Err(DepartError::Stopped));
    assert_eq!(handle.submit(Operation::Announce).unwrap_err(), SubmitError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_dropped_leaves_no_caller_waiting() {
    let network = MemoryNetwork::default();
    network.swallow("nowhere.example");
    let state = state(1, "a.example");
    let link = network.connection(&state);
    let node = RoutingNode::new(state, link);
    let handle = node.handle();
    let runs = tokio::spawn(node.run());
    let (joined, ()) = tokio::join!(handle.join(vec![at("nowhere.example")]), async {
        tokio::task::yield_now().await;
        runs.abort();
    });
    assert_eq!(joined, Err(JoinError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_what_happens_until_its_slot_is_dropped() {
    let signal = Signal::new();
    let left: Arc<Mutex<Vec<Grid>>> = Arc::default();
    let connect = |left: &Arc<Mutex<Vec<Grid>>>| {
        let left = left.clone();
        signal.connect(move |notice| {
            if let Notice::NeighbourLeft(grid) = notice {
                left.lock().unwrap().push(*grid);
            }
        })
    };
    let deaf: Arc<Mutex<Vec<Grid>>> = Arc::default();
    let (_slot, dropped) = (connect(&left), connect(&deaf));
    let pair = Pair::observed(signal.clone()).await;
    drop(dropped);
    pair.b.leave().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(*left.lock().unwrap(), [pair.b.id()]);
    assert!(deaf.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_callers_than_places_are_all_served() {
    let pair = Pair::joined().await;
    let key = record(7, "b.example").key();
    let lookups = (0..3 * COMMANDS_MAX).map(|_| pair.b.lookup(key, Consistency::All));
    for answer in futures::future::join_all(lookups).await {
        assert_eq!(answer.unwrap().verdict, Verdict::Absent);
    }
}
