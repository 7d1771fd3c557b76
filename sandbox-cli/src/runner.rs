//! Carrying out a scenario: steps become actions at ticks, actions become operations, and their outcomes are counted.
//!
//! Steps that run together form a group: a step marked `meanwhile`, and the one after it. A group ends when each of its
//! steps has: all its actions done, all their operations ended, and its time passed.

mod act;
mod error;
mod group;
mod plan;
mod rosters;
mod sockets;
mod traced;
mod watch;

pub use error::{Position, RunError};
pub(crate) use plan::{another_home, doors, stand_at};
pub use sockets::NotOnSockets;
pub(crate) use traced::traced_hop;
pub use watch::Watch;

use crate::options::{Options, Transport};
use crate::progress::Progress;
use crate::report::{Report, StepReport, rate};
use crate::scenario::{Do, Network as Weather, Scenario, Step};
use crate::trace::TraceWriter;
use rosters::Rosters;
use routing_core::time::Tick;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use transport_sim::carrier::Carrier;
use transport_sim::delay::Delay;
use transport_sim::network::{LinkCost, Mode};
use transport_sim::sandbox::{RoutingSandbox, Setup};

/// The most nodes that `--driver` takes: each is a task with channels of its own.
const DRIVER_NODES_MAX: u64 = 2_000;

/// Runs a scenario, to which the options have been applied already. The report is not judged yet.
pub fn execute(scenario: &Scenario, options: &Options, progress: &Progress) -> Result<Report, RunError> {
    match options.transport {
        Transport::Sim => execute_watched(scenario, options, progress, &mut ()),
        Transport::Tcp => {
            let (sandbox, servers) = sockets::federation(scenario, options, progress)?;
            // A step that changes delays was refused.
            let world = World { sandbox, servers, delays: BTreeMap::new() };
            run(world, scenario, options, progress, &mut ())
        }
    }
}

/// The same on the simulated network, while somebody looks on.
pub fn execute_watched(
    scenario: &Scenario,
    options: &Options,
    progress: &Progress,
    watch: &mut dyn Watch,
) -> Result<Report, RunError> {
    scenario.node.validate()?;
    let servers = Rosters::read(scenario, options)?;
    let nodes = servers.nodes(scenario);
    if options.driver && nodes > DRIVER_NODES_MAX {
        return Err(RunError::TooManyForDriver(nodes));
    }
    let mode = if options.driver { Mode::Driver } else { Mode::Direct };
    let delay = Delay::load(&scenario.network.delay, Path::new(""), scenario.seed).map_err(|error| {
        let place = match options.matrix {
            Some(_) => Position::option("--matrix"),
            None => Position::of(scenario, &scenario.network.lines, "delay"),
        };
        RunError::Delay { place, error }
    })?;
    let delays = later_delays(scenario)?;
    let Weather { link_round_trips, links_max, .. } = scenario.network;
    let mut config = scenario.node.clone();
    if let Some(links_max) = links_max {
        config.fit_links(links_max);
    }
    let mut sandbox = RoutingSandbox::with(Setup { seed: scenario.seed, config, delay, mode });
    let network = sandbox.network_mut();
    network.set_loss(scenario.network.loss);
    network.set_duplicate(scenario.network.duplicate);
    network.set_link_cost(LinkCost { round_trips: link_round_trips.unwrap_or(0), links_max });
    // The driver's nodes share a thread: they are for comparing, not for speed.
    network.set_threads(if options.driver { 1 } else { options.threads().get() });
    run(World { sandbox, servers, delays }, scenario, options, progress, watch)
}

/// The delays that steps bring, by step, counted from 0. They are read before anything runs: a file that is not there
/// would end a run of hours.
fn later_delays(scenario: &Scenario) -> Result<BTreeMap<usize, Delay>, RunError> {
    let mut delays = BTreeMap::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        let Do::Delay(spec) = &step.what else { continue };
        let delay = Delay::load(spec, Path::new(""), scenario.seed).map_err(|error| {
            let key = if step.lines.has("delay") { "delay" } else { "file" };
            RunError::Delay { place: Position::of(scenario, &step.lines, key), error }
        })?;
        delays.insert(index, delay);
    }
    Ok(delays)
}

/// A federation that is empty yet, and all that the scenario will want for it.
struct World<C> {
    sandbox: RoutingSandbox<C>,
    servers: Rosters,
    delays: BTreeMap<usize, Delay>,
}

/// Tells the scenario to a federation that is empty yet.
fn run<C: Carrier>(
    World { sandbox, servers, delays }: World<C>,
    scenario: &Scenario,
    options: &Options,
    progress: &Progress,
    watch: &mut dyn Watch<C>,
) -> Result<Report, RunError> {
    let trace = options.trace.as_deref().map(TraceWriter::create).transpose()?;
    let (began, start) = (Instant::now(), sandbox.now());
    let mut runner = Runner { scenario, progress, sandbox, start, servers, delays, reports: Vec::new(), trace, watch };
    let mut first = 0;
    while first < scenario.steps.len() {
        let together = scenario.steps[first..].iter().take_while(|step| step.meanwhile).count() + 1;
        let last = (first + together).min(scenario.steps.len());
        runner.run_group(first..last)?;
        first = last;
    }
    if cfg!(debug_assertions) {
        runner.sandbox.check();
    }
    if let Some(trace) = runner.trace.take() {
        trace.finish()?;
    }
    let network = runner.sandbox.network();
    let wall_seconds = began.elapsed().as_secs_f64();
    let (events, passed) = (network.counters().events, network.now().since(start));
    Ok(Report {
        scenario: scenario.name.clone(),
        seed: scenario.seed,
        transport: options.transport.name(),
        nodes: runner.sandbox.members().len() as u64,
        threads: network.threads() as u64,
        ticks: passed.0,
        virtual_seconds: passed.as_seconds(),
        wall_seconds,
        events,
        events_per_second: rate(events, wall_seconds),
        peak_rss_bytes: peak_rss_bytes(),
        digest: network.simulated().map(|network| network.digest().to_hex().to_string()),
        steps: runner.reports,
        failed: Vec::new(),
    })
}

struct Runner<'a, C> {
    scenario: &'a Scenario,
    progress: &'a Progress,
    sandbox: RoutingSandbox<C>,
    /// The tick at which the first step begins.
    start: Tick,
    servers: Rosters,
    /// Those that steps bring.
    delays: BTreeMap<usize, Delay>,
    reports: Vec<StepReport>,
    trace: Option<TraceWriter>,
    watch: &'a mut dyn Watch<C>,
}

impl<'a, C> Runner<'a, C> {
    fn step(&self, index: usize) -> &'a Step {
        &self.scenario.steps[index]
    }
}

/// The most memory that this process ever held, where the system tells (Linux does).
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}

#[cfg(test)]
mod tests;
