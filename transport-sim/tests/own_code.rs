//! Async code of one's own on the simulated network.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use futures::StreamExt;
use futures::channel::mpsc;
use routing_core::account::Account;
use routing_core::config::NodeConfig;
use routing_core::connection::Connection;
use routing_core::driver::{Clock, NodeHandle, RoutingNode};
use routing_core::effect::{Consistency, Operation, Target};
use routing_core::heard::Heard;
use routing_core::holders::SetName;
use routing_core::key::SecretKey;
use routing_core::message::{Find, Message, RequestId, Want};
use routing_core::record::Record;
use routing_core::state::NodeState;
use routing_core::time::{Tick, Ticks};
use std::path::Path;
use std::sync::{Arc, Mutex};
use transport_sim::connection::{SimClock, SimConnection};
use transport_sim::delay::{Delay, DelaySpec};
use transport_sim::network::{Condition, Counters, Mode, Network, NodeIndex};

fn network(seed: u64, mode: Mode) -> Network {
    let delay = DelaySpec::Uniform { min: Ticks(5), max: Ticks(50) };
    Network::new(seed, mode, Delay::load(&delay, Path::new(""), seed).unwrap())
}

fn state(number: u8) -> NodeState {
    let secret = Arc::new(SecretKey::from_seed([number; 32]));
    NodeState::node(secret, domain(number).parse().unwrap(), Arc::new(NodeConfig::default()), number.into())
}

fn domain(number: u8) -> String {
    format!("n{number}.example")
}

fn target(number: u8) -> Target {
    Target::address(domain(number).parse().unwrap())
}

fn tick(network: &mut Network, ticks: u64) {
    for _ in 0..ticks {
        network.tick();
    }
}

/// What a test hears from code that it has spawned.
type Log = Arc<Mutex<Vec<(Tick, String)>>>;

fn note(log: &Log, clock: &SimClock, what: &str) {
    log.lock().unwrap().push((clock.now(), what.to_owned()));
}

fn take(log: &Log) -> Vec<(Tick, String)> {
    std::mem::take(&mut log.lock().unwrap())
}

#[test]
fn code_that_is_no_node_speaks_the_protocol_by_itself() {
    let run = |mode| {
        let mut network = network(1, mode);
        let first = network.add(state(1), 0);
        network.ask(first, Operation::Join(vec![]), 0).unwrap();
        let own = state(2).contact().clone();
        let log = Log::default();
        network.spawn(own.clone(), 0, {
            let log = log.clone();
            |mut connection, clock| async move {
                connection.request(&target(1)).await.unwrap();
                let mut heard = Vec::new();
                connection.listen(&mut heard).await.unwrap();
                let Some(Heard::Linked(_, peer)) = heard.pop() else { panic!("no link") };
                note(&log, &clock, "linked");
                let set = SetName::NONE;
                let find = Find { id: RequestId(1), target: own.grid().0, want: Want::Contacts, groups: 4, set };
                connection.send(peer.grid(), Message::Find(find)).await.unwrap();
                while !matches!(heard.pop(), Some(Heard::Message(_, Message::Found(_)))) {
                    connection.listen(&mut heard).await.unwrap();
                }
                note(&log, &clock, "found");
            }
        });
        tick(&mut network, 200);
        (network.digest(), take(&log))
    };
    let (digest, log) = run(Mode::Direct);
    assert_eq!(log.len(), 2);
    assert_eq!((&log[0].0, log[0].1.as_str()), (&Tick(2), "linked"));
    assert_eq!((digest, log), run(Mode::Driver));
}

#[test]
fn code_sleeps_by_its_clock_and_is_woken_by_a_channel_at_the_next_tick() {
    let mut network = network(1, Mode::Direct);
    let log = Log::default();
    let (say, mut said) = mpsc::unbounded::<&str>();
    let node = network.spawn(state(1).contact().clone(), 0, {
        let log = log.clone();
        |_connection, clock| async move {
            note(&log, &clock, "begins");
            clock.sleep_until(Tick(100)).await;
            note(&log, &clock, "woke up");
            let hears = async {
                while let Some(what) = said.next().await {
                    note(&log, &clock, what);
                }
            };
            // A sleep beside something else that is waited for.
            futures::join!(hears, clock.sleep_until(Tick(150)));
            note(&log, &clock, "ends");
        }
    });
    tick(&mut network, 120);
    assert_eq!(take(&log), [(Tick(1), "begins".into()), (Tick(100), "woke up".into())]);
    say.unbounded_send("hello").unwrap();
    tick(&mut network, 10);
    assert_eq!(take(&log), [(Tick(121), "hello".into())]);
    drop(say);
    tick(&mut network, 100);
    assert_eq!(take(&log), [(Tick(150), "ends".into())]);
    assert_eq!(network.condition(node), Condition::Killed, "nothing is left of it");
}

#[test]
fn halted_code_is_not_polled_and_killed_code_is_dropped() {
    let mut network = network(1, Mode::Direct);
    let log = Log::default();
    let alive = Arc::new(());
    let node = network.spawn(state(1).contact().clone(), 0, {
        let (log, alive) = (log.clone(), alive.clone());
        |_connection, clock| async move {
            let _alive = alive;
            loop {
                note(&log, &clock, "polled");
                clock.sleep_until(clock.now() + Ticks(10)).await;
            }
        }
    });
    tick(&mut network, 25);
    assert_eq!(take(&log).len(), 3);
    network.halt(node);
    tick(&mut network, 50);
    assert!(take(&log).is_empty());
    network.resume(node);
    tick(&mut network, 1);
    assert_eq!(take(&log), [(Tick(76), "polled".into())]);
    network.kill(node);
    assert_eq!(Arc::strong_count(&alive), 1);
    tick(&mut network, 50);
    assert!(take(&log).is_empty());
}

/// The driver's own loop, woken only by what it hears, by its clock and by its callers, takes the turns that the state
/// machine would take.
#[test]
fn a_node_that_runs_itself_delivers_the_same_messages() {
    fn record(number: u8) -> Arc<Record> {
        Arc::new(Account::new([number; 32], None, [number; 16]).place(domain(3).parse().unwrap(), 0))
    }
    fn life(ask: &mut dyn FnMut(&mut Network, usize, Operation), network: &mut Network) -> (String, Counters) {
        ask(network, 0, Operation::Join(vec![]));
        for number in 1..8 {
            tick(network, 90);
            ask(network, number, Operation::Join(vec![target(1), target(number as u8)]));
        }
        tick(network, 20_000);
        ask(network, 2, Operation::Register((0..40).map(record).collect()));
        tick(network, 5_000);
        for number in 0..8 {
            ask(network, number, Operation::Lookup(record(number as u8 * 5).key(), Consistency::All));
        }
        ask(network, 5, Operation::Leave);
        tick(network, 120_000);
        // Woken more often, they handle more events: by their own callers, and by each link that stands.
        (network.digest().to_string(), Counters { events: 0, ..network.counters() })
    }
    let direct = {
        let mut network = network(3, Mode::Direct);
        let nodes: Vec<NodeIndex> = (1..9).map(|number| network.add(state(number), 0)).collect();
        life(&mut |network, node, operation| assert!(network.ask(nodes[node], operation, 0).is_some()), &mut network)
    };
    let by_itself = {
        let mut network = network(3, Mode::Direct);
        let mut handles: Vec<NodeHandle> = Vec::new();
        for number in 1..9 {
            let state = state(number);
            let contact = state.contact().clone();
            network.spawn(contact, 0, |connection: SimConnection, clock| {
                let node = RoutingNode::new(state, connection).with_clock(clock);
                handles.push(node.handle());
                async move { drop(node.run().await.unwrap()) }
            });
        }
        let mut asked = Vec::new();
        life(&mut |_, node, operation| asked.push(handles[node].submit(operation).unwrap()), &mut network)
    };
    assert!(direct.1.sent.messages > 200, "{:?}", direct.1);
    assert_eq!(direct, by_itself);
}
