//! What the background costs: whom it falls upon, and how often nodes wake for it.

use lookup_tests::Testbed;
use routing_core::config::NodeConfig;
use routing_core::id::Grid;
use routing_core::time::Ticks;
use std::collections::BTreeMap;
use transport_sim::delay::{Delay, DelaySpec};
use transport_sim::network::{Mode, Network};
use transport_sim::sandbox::{RoutingSandbox, Setup};

/// How many tables each node is in, in ascending order.
fn known_to(federation: &RoutingSandbox<Network>) -> Vec<usize> {
    let mut counts = BTreeMap::<Grid, usize>::new();
    for member in federation.members() {
        let state = federation.network().state(member.node).expect("all run");
        counts.entry(state.grid()).or_default();
        for entry in state.table().iter() {
            *counts.entry(entry.contact().grid()).or_default() += 1;
        }
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

#[test]
fn who_was_there_first_is_known_to_hardly_more_than_others_once_tables_have_been_drawn() {
    let config = NodeConfig { holders: 4, claim_holders: 3, neighbours_max: 48, ..NodeConfig::default() };
    config.validate().expect("a small network may have small tables");
    let delay = Delay::load(&DelaySpec::Constant { value: Ticks(30) }, "".as_ref(), 1).expect("needs no file");
    let mut federation = RoutingSandbox::with(Setup { seed: 1, config, delay, mode: Mode::Direct });
    for servers in [1, 99, 100, 200, 200] {
        federation.start(servers);
    }
    let young = known_to(&federation);
    assert!(young.last() >= Some(&300), "the first are known to more than half: {young:?}");
    federation.wait(Ticks::minutes(10));
    let drawn = known_to(&federation);
    let mean = drawn.iter().sum::<usize>() / drawn.len();
    assert!((40..=48).contains(&mean), "tables are full: {mean}");
    assert!(drawn.last() <= Some(&(mean * 2)) && drawn.first() >= Some(&(mean / 3)), "{drawn:?}");
}

fn quiet_network(servers: usize) -> RoutingSandbox<Network> {
    let mut federation = RoutingSandbox::new(1);
    federation.start(1);
    federation.start(servers - 1);
    federation.wait(Ticks::minutes(20));
    federation
}

#[test]
fn in_a_quiet_network_nodes_wake_to_say_something() {
    let mut federation = quiet_network(100);
    let before = federation.network().counters();
    federation.wait(Ticks::minutes(20));
    let after = federation.network().counters();
    let messages = (after.sent - before.sent).messages;
    let wakes = after.events - before.events - messages;
    assert!(messages > 10_000, "neighbours are asked: {messages}");
    // Each question takes one, and is half of an exchange; refills and what expires take the others.
    assert!(wakes < messages * 3 / 4, "{wakes} wake-ups for {messages} messages");
}

#[test]
fn in_an_outage_nobody_is_asked_who_has_just_been_heard_from() {
    let mut federation = quiet_network(90);
    (60..90).for_each(|server| federation.kill(server));
    // Until the first silence is noticed.
    federation.wait(Ticks::seconds(10));
    let before = federation.network().counters();
    federation.wait(Ticks::seconds(30));
    let after = federation.network().counters();
    let messages = (after.sent - before.sent).messages;
    let left = federation.network().indices().filter(|node| federation.network().state(*node).is_some()).count();
    assert!(
        (10_000..15_000).contains(&messages),
        "{messages} messages of {left} nodes, each of which asks those it must"
    );
}
