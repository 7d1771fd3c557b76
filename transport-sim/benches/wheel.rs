//! The simulated network beside a bare timing wheel, in one run: `cargo bench -p transport-sim`.
//!
//! *Items* are events. [`transport_sim::yardstick`] says what the wheel does, and why that is a measure.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use divan::Bencher;
use divan::counter::ItemsCount;
use rand_core::Rng;
use routing_core::config::NodeConfig;
use routing_core::time::Ticks;
use std::path::Path;
use transport_sim::delay::{Delay, DelaySpec};
use transport_sim::network::Mode;
use transport_sim::sandbox::{RoutingSandbox, Setup};
use transport_sim::yardstick::BareWheel;

/// That of the sandbox's command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// How many events an iteration is.
const EVENTS: u64 = 100_000;
/// The same in a network, whose events cost more.
const NETWORK_EVENTS: u64 = 10_000;

#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 20, sample_size = 1)]
fn a_bare_wheel(bencher: Bencher<'_, '_>, nodes: u32) {
    let mut wheel = BareWheel::new(nodes, 1);
    wheel.deliver(6 * u64::from(nodes));
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| wheel.deliver(EVENTS));
}

/// Nodes that have joined, two minutes later, with nothing to do but upkeep. On one thread.
#[divan::bench(args = [200, 1_000], sample_count = 20, sample_size = 1)]
fn a_quiet_network(bencher: Bencher<'_, '_>, nodes: u32) {
    let mut sandbox = joined(nodes);
    sandbox.tick(Ticks::minutes(2).0);
    let mut goal = sandbox.network().counters().events;
    bencher.counter(ItemsCount::new(NETWORK_EVENTS)).bench_local(|| {
        // What a tick has too many is taken off the next iteration.
        goal += NETWORK_EVENTS;
        while sandbox.network().counters().events < goal {
            sandbox.tick(1);
        }
    });
}

/// A federation of so many nodes, each of which knows 256 others at most, as those of `sandbox-cli scale` do.
fn joined(nodes: u32) -> RoutingSandbox {
    let delay = DelaySpec::Uniform { min: Ticks(20), max: Ticks(120) };
    let delay = Delay::load(&delay, Path::new(""), 1).unwrap();
    let config = NodeConfig { neighbours_max: 256, ..NodeConfig::default() };
    let mut sandbox = RoutingSandbox::with(Setup { seed: 1, config, delay, mode: Mode::Direct });
    let first = sandbox.new_node();
    sandbox.join(first, &[]).unwrap();
    for number in 1..nodes as usize {
        sandbox.new_node();
        let doors = [0; 3].map(|_| sandbox.rng().next_u64() as usize % number);
        let doors = doors.map(|door| sandbox.members()[door].node);
        sandbox.start_join(0, number, &doors);
        sandbox.tick(20);
    }
    assert!(sandbox.run_until(Ticks::minutes(10), |sandbox| sandbox.members().iter().all(|member| member.has_joined)));
    sandbox
}
