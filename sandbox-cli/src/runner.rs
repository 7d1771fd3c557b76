//! Carrying out a scenario: steps become actions at ticks, actions become operations, and their outcomes are counted.
//!
//! Steps that run together form a group: a step marked `meanwhile`, and the one after it. A group ends when each of its
//! steps has: all its actions done, all their operations ended, and its time passed.

mod plan;
mod sockets;
mod watch;

pub(crate) use plan::{ENTRY_POINTS, another_home, doors, stand_at};
pub use sockets::NotOnSockets;
pub use watch::Watch;

use crate::options::{Options, Transport};
use crate::progress::Progress;
use crate::report::{Holders, Operations, Report, StepReport, rate};
use crate::scenario::{Consistency, Do, Lines, Lookup, Network as Weather, Scenario, Step};
use crate::sockets::OpenFiles;
use crate::trace::{Asker as TracedAsker, Hop, TraceError, TraceWriter, TracedLookup};
use plan::{Action, Actor, Plan, Wanted};
use rand_core::Rng;
use routing_core::effect::Consistency as Level;
use routing_core::message::Standing;
use routing_core::record::Body;
use routing_core::state::{self, Verdict};
use routing_core::time::{Tick, Ticks};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use transport_sim::carrier::Carrier;
use transport_sim::delay::{Delay, DelayError};
use transport_sim::network::{Condition, Counters, LinkCost, Mode, Network, Traffic};
use transport_sim::sandbox::tasks::{Asker, Change, Done, LookupDone};
use transport_sim::sandbox::{RoutingSandbox, SandboxError, Setup};
use transport_sim::servers::{Server, Servers, ServersError};

/// The most nodes that `--driver` takes: each is a task with channels of its own.
const DRIVER_NODES_MAX: u64 = 2_000;
/// How many ticks pass between two looks of the progress bar.
const PROGRESS_TICKS: u64 = 64;

/// Where the mistake is, as a message begins: file, line and key of the scenario, or an option of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position(Box<str>);

impl Position {
    /// A key of a table that stands on these lines, or a step by its name.
    fn of(scenario: &Scenario, lines: &Lines, key: &str) -> Self {
        Position(format!("{}:{}: {key}", scenario.file, lines.of(key)).into())
    }

    fn option(option: &str) -> Self {
        Position(option.into())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a scenario was not run to its end. There is no report then.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scenario or its options ask for what only the simulated network can do.
    #[error(transparent)]
    NotOnSockets(#[from] NotOnSockets),
    /// The bound for links makes no sense on sockets.
    #[error("{place}: {error}")]
    Links {
        /// Where it is set.
        place: Position,
        /// What is wrong with it.
        error: routing_core::config::ConfigError,
    },
    /// More files would have to be open at once than may be.
    #[error(transparent)]
    OpenFiles(#[from] OpenFiles),
    /// The system has no more files or threads.
    #[error("a node could not be started: {0}; if files have run out, lower --nodes, or set links_max in [network]")]
    Start(#[source] std::io::Error),
    /// The settings of the nodes make no sense.
    #[error("[node] {0}")]
    Config(#[from] routing_core::config::ConfigError),
    /// Too many nodes for the async driver.
    #[error("--driver takes at most {DRIVER_NODES_MAX} nodes, the scenario has {0}; lower --nodes")]
    TooManyForDriver(u64),
    /// The delays cannot be used. Nothing was run.
    #[error("{place}: {error}")]
    Delay {
        /// Where they are named.
        place: Position,
        /// What is wrong with them.
        error: DelayError,
    },
    /// The list of servers cannot be read. Nothing was run.
    #[error("{place}: cannot read {}: {error}", list.display())]
    Unreadable {
        /// Where it is named.
        place: Position,
        /// The list.
        list: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The list of servers cannot be used. Nothing was run.
    #[error("{place}: {error}")]
    Servers {
        /// Where it is named.
        place: Position,
        /// What is wrong with it.
        error: ServersError,
    },
    /// The join asks for more nodes than its list of servers has. Nothing was run.
    #[error("{place}: {nodes} nodes, but {servers} servers of {} have not joined by then", list.display())]
    TooFewServers {
        /// Where their number is said.
        place: Position,
        /// How many nodes it wants.
        nodes: usize,
        /// How many servers are left by then.
        servers: usize,
        /// The list.
        list: PathBuf,
    },
    /// Nobody is at the site that is to fail.
    #[error(
        "{place}: no living node is at {site}; a node's site is the region in its list of servers, or its place in the matrix"
    )]
    Site {
        /// Where the site is named.
        place: Position,
        /// The site as named, or what was asked for.
        site: String,
    },
    /// The trace cannot be written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The sandbox refused what a step wants.
    #[error("{place}: {error}")]
    Sandbox {
        /// The step.
        place: Position,
        /// What it said.
        error: SandboxError,
    },
    /// Whoever watched had seen enough.
    #[error("stopped by whoever watched")]
    Stopped,
}

impl RunError {
    /// Whether it names a file or an option itself; else it is about the scenario as a whole.
    pub fn is_placed(&self) -> bool {
        match self {
            RunError::NotOnSockets(_)
            | RunError::Links { .. }
            | RunError::Delay { .. }
            | RunError::Unreadable { .. }
            | RunError::Servers { .. }
            | RunError::TooFewServers { .. }
            | RunError::Site { .. }
            | RunError::Trace(_)
            | RunError::Sandbox { .. } => true,
            RunError::OpenFiles(_)
            | RunError::Start(_)
            | RunError::Config(_)
            | RunError::TooManyForDriver(_)
            | RunError::Stopped => false,
        }
    }
}

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

/// The lists of servers that a scenario names, each read once.
struct Rosters {
    /// By file, and how many of each have joined.
    lists: Vec<(PathBuf, Vec<Server>, usize)>,
}

impl Rosters {
    /// Reads them, and sees that each join finds as many servers as it wants.
    fn read(scenario: &Scenario, options: &Options) -> Result<Self, RunError> {
        let mut lists: Vec<(PathBuf, Vec<Server>, usize)> = Vec::new();
        // The command line changes the first join alone.
        let (mut servers_option, mut nodes_option) = (options.servers.as_ref(), options.nodes);
        for step in &scenario.steps {
            let Do::Join(join) = &step.what else { continue };
            let place = |is_option: bool, option, key| {
                if is_option { Position::option(option) } else { Position::of(scenario, &step.lines, key) }
            };
            let named = || place(servers_option.is_some(), "--servers", "servers");
            if let Some(file) = &join.servers {
                let at = match lists.iter().position(|(known, ..)| known == file) {
                    Some(at) => at,
                    None => {
                        let text = std::fs::read_to_string(file).map_err(|error| RunError::Unreadable {
                            place: named(),
                            list: file.clone(),
                            error,
                        })?;
                        let list = Servers::parse(&text, &file.display().to_string())
                            .map_err(|error| RunError::Servers { place: named(), error })?;
                        lists.push((file.clone(), list, 0));
                        lists.len() - 1
                    }
                };
                let (list, servers, taken) = &mut lists[at];
                let left = servers.len() - *taken;
                let nodes = join.nodes.map_or(left, |nodes| nodes as usize);
                if nodes > left {
                    let place = place(nodes_option.is_some(), "--nodes", "nodes");
                    return Err(RunError::TooFewServers { place, nodes, servers: left, list: list.clone() });
                }
                *taken += nodes;
            }
            (servers_option, nodes_option) = (None, None);
        }
        // Nobody has joined yet.
        lists.iter_mut().for_each(|(.., taken)| *taken = 0);
        Ok(Self { lists })
    }

    /// How many nodes the scenario starts in all.
    fn nodes(&self, scenario: &Scenario) -> u64 {
        let joins = scenario.steps.iter().filter_map(|step| match &step.what {
            Do::Join(join) => Some(join),
            _ => None,
        });
        let nodes = joins.map(|join| {
            let list = self.lists.iter().find(|(file, ..)| Some(file) == join.servers.as_ref());
            join.nodes.map_or(list.map_or(0, |(_, list, _)| list.len() as u64), u64::from)
        });
        nodes.sum()
    }
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

/// A step under way.
struct Active {
    index: usize,
    plan: Plan,
    begun: Begun,
    done: u64,
    outstanding: u64,
    operations: Operations,
    has_ended: bool,
}

/// What was so when a step began.
struct Begun {
    at: Tick,
    wall: Instant,
    counters: Counters,
    ledger: usize,
    /// What each node had sent outside operations.
    upkeep: Option<Vec<u64>>,
}

impl<'a, C: Carrier> Runner<'a, C> {
    fn step(&self, index: usize) -> &'a Step {
        &self.scenario.steps[index]
    }

    fn run_group(&mut self, steps: std::ops::Range<usize>) -> Result<(), RunError> {
        go_on(self.watch.on_begin(steps.clone(), &mut self.sandbox))?;
        // Two steps of a group do not write for the same user at once: neither would know of the other.
        let mut busy = BTreeSet::new();
        let mut active = Vec::new();
        for index in steps.clone() {
            let begun = Begun {
                at: self.sandbox.now(),
                wall: Instant::now(),
                counters: self.sandbox.network().counters(),
                ledger: self.sandbox.network_mut().open_ledger(),
                upkeep: self.sandbox.network().simulated().map(Network::upkeep_of_each),
            };
            let plan = self.plan(index, &mut busy)?;
            let outstanding = 0;
            active.push(Active {
                index,
                plan,
                begun,
                done: 0,
                outstanding,
                operations: Operations::default(),
                has_ended: false,
            });
        }
        let shown = active.len() - 1;
        let total = active[shown].plan.actions.len() as u64;
        let step = self.step(steps.end - 1);
        self.progress.begin(steps.end, step, step.what.has_operations().then_some(total));
        loop {
            let now = self.sandbox.now();
            for step in &mut active {
                let room = self.sandbox.network().operations_max();
                while step.outstanding < room && step.plan.actions.front().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, action)) = step.plan.actions.pop_front() {
                        let begun = self.carry_out(step.index, step.begun.ledger, action);
                        step.outstanding += begun.map_err(|error| self.refused(step.index, error))?;
                    }
                }
            }
            for done in self.sandbox.take_done() {
                let owner = active.iter_mut().find(|step| step.begun.ledger == done.tag);
                if let Some(step) = owner {
                    step.outstanding = step.outstanding.saturating_sub(1);
                    step.done += 1;
                    self.write_trace(step.index, &done)?;
                    go_on(self.watch.on_done(step.index, &done, &mut self.sandbox))?;
                    step.count(done);
                }
            }
            let mut is_over = true;
            for step in &mut active {
                let is_quiet = !self.scenario.steps[step.index].what.writes() || !self.sandbox.is_spreading();
                let is_done = step.plan.actions.is_empty() && step.outstanding == 0 && now >= step.plan.ends;
                if !step.has_ended && is_done && is_quiet {
                    step.has_ended = true;
                    let report = self.report(step);
                    step.plan.report = Some(report);
                }
                is_over &= step.has_ended;
            }
            if is_over {
                break;
            }
            if now.0.is_multiple_of(PROGRESS_TICKS) {
                self.progress.update(active[shown].done, now.since(self.start), self.sandbox.living() as u64);
            }
            self.sandbox.tick(1);
            if let Some(error) = self.sandbox.network_mut().take_failure() {
                return Err(RunError::Start(error));
            }
            go_on(self.watch.on_tick(&self.sandbox))?;
        }
        go_on(self.watch.on_end(steps, &mut self.sandbox))?;
        self.reports.extend(active.into_iter().filter_map(|step| step.plan.report));
        Ok(())
    }

    /// Does one thing. Says how many operations have begun with it.
    fn carry_out(&mut self, index: usize, ledger: usize, action: Action) -> Result<u64, SandboxError> {
        let sandbox = &mut self.sandbox;
        match action {
            Action::Join { domain, weight, region, every, entry_points } => {
                let entry_points = plan::doors(sandbox, entry_points as usize);
                let member = sandbox.add_server(domain, weight, region.as_deref());
                plan::stand_at(sandbox, member, &entry_points);
                if every > 1 {
                    let grid = sandbox.members()[member].grid;
                    sandbox.run_node(grid, every.into())?;
                }
                sandbox.start_join(ledger, member, &entry_points);
                Ok(1)
            }
            Action::Register { users, asker } => {
                let home = users.first().and_then(|user| sandbox.users()[*user].home());
                let asker = plan::asker_near(sandbox, asker, home);
                let operations = if matches!(asker, Asker::Client(_)) { users.len() as u64 } else { 1 };
                sandbox.start_register(ledger, &users, &asker)?;
                Ok(operations)
            }
            Action::Announce(member) => {
                sandbox.start_announce(ledger, member);
                Ok(1)
            }
            Action::Claim { name, claimants, asker } => {
                let askers = plan::askers_elsewhere(sandbox, asker, claimants);
                for asker in &askers {
                    sandbox.start_claim(ledger, name, asker)?;
                }
                Ok(askers.len() as u64)
            }
            Action::Lookup { what, asker } => {
                let Do::Lookup(lookup) = &self.scenario.steps[index].what else { return Ok(0) };
                let level = match lookup.consistency {
                    Consistency::Quick => Level::Quick,
                    Consistency::Quorum => Level::Quorum,
                    Consistency::All => Level::All,
                    Consistency::Confirmed => Level::Confirmed,
                };
                let asker = plan::asker(sandbox, asker);
                match what {
                    Wanted::User(user) => sandbox.start_lookup(ledger, user, level, &asker)?,
                    Wanted::Name(name) => sandbox.start_lookup_name(ledger, name, level, &asker)?,
                }
                Ok(1)
            }
            Action::Move { user, asker } => {
                let Some(home) = plan::another_home(sandbox, user) else { return Ok(0) };
                let asker = plan::asker_near(sandbox, asker.at(home), Some(home));
                sandbox.start_change(ledger, user, Change::Move(home), &asker)?;
                Ok(1)
            }
            Action::Change { user, change, asker } => {
                let home = sandbox.users()[user].home();
                let asker = plan::asker(sandbox, home.map_or(asker, |home| asker.at(home)));
                sandbox.start_change(ledger, user, change, &asker)?;
                Ok(1)
            }
            Action::Recover { user, thief } => {
                let Some(home) = plan::another_home(sandbox, user) else { return Ok(0) };
                let client = Actor::Client(plan::ENTRY_POINTS);
                let mut begun = 1;
                if thief && let Some(elsewhere) = plan::another_home(sandbox, user) {
                    let asker = plan::asker_near(sandbox, client, Some(elsewhere));
                    sandbox.start_theft(ledger, user, elsewhere, &asker)?;
                    begun += 1;
                }
                let asker = plan::asker_near(sandbox, client, Some(home));
                sandbox.start_change(ledger, user, Change::Recover(home), &asker)?;
                Ok(begun)
            }
            Action::Away(member, span) => {
                sandbox.start_away(ledger, member, span);
                Ok(1)
            }
            Action::Stop(member) => {
                sandbox.stop(member);
                Ok(0)
            }
            Action::Return(member) => {
                // Who has not come to say farewell in all this time goes without.
                if sandbox.lives(member) {
                    sandbox.stop(member);
                }
                Ok(u64::from(sandbox.start_return(ledger, member)))
            }
            Action::Partition { parts, one_way } => {
                sandbox.partition(&parts, one_way);
                Ok(0)
            }
            Action::Heal => {
                sandbox.heal();
                Ok(0)
            }
            Action::Leave(member) => {
                sandbox.start_leave(ledger, member);
                Ok(1)
            }
            Action::Kill(member) => {
                sandbox.kill(member);
                Ok(0)
            }
            Action::Halt(member) => {
                let node = sandbox.members()[member].node;
                self.weather(|network| network.halt(node))
            }
            Action::Run(member) if sandbox.network().condition(sandbox.members()[member].node) == Condition::Down => {
                Ok(u64::from(sandbox.start_return(ledger, member)))
            }
            Action::Run(member) => {
                let node = sandbox.members()[member].node;
                self.weather(|network| network.resume(node))
            }
            Action::Cadence(member, every) => {
                let node = sandbox.members()[member].node;
                self.weather(|network| network.run(node, every.into()))
            }
            Action::Loss { rate, duplicate } => self.weather(|network| {
                if let Some(rate) = rate {
                    network.set_loss(rate);
                }
                if let Some(rate) = duplicate {
                    network.set_duplicate(rate);
                }
            }),
            Action::Delay => match self.delays.get(&index).cloned() {
                Some(delay) => self.weather(|network| network.set_delay(delay)),
                None => Ok(0),
            },
            Action::Corrupt { members, behaviour } => {
                sandbox.corrupt(&members, behaviour);
                Ok(0)
            }
            Action::Infiltrate(member) => {
                let entry_points = plan::doors(sandbox, plan::ENTRY_POINTS as usize);
                plan::stand_at(sandbox, member, &entry_points);
                sandbox.start_join(ledger, member, &entry_points);
                Ok(1)
            }
        }
    }

    /// The sandbox refused what a step wants.
    fn refused(&self, index: usize, error: SandboxError) -> RunError {
        let step = self.step(index);
        RunError::Sandbox { place: Position::of(self.scenario, &step.lines, step.what.name()), error }
    }

    /// Changes the simulated network; elsewhere the scenario was refused. Begins no operation.
    fn weather(&mut self, change: impl FnOnce(&mut Network)) -> Result<u64, SandboxError> {
        self.sandbox.network_mut().simulated_mut().map(change);
        Ok(0)
    }

    fn report(&mut self, step: &mut Active) -> StepReport {
        let what = &self.step(step.index).what;
        let (now, counters) = (self.sandbox.now(), self.sandbox.network().counters());
        let before = step.begun.counters;
        let sent = counters.sent - before.sent;
        let took = now.since(step.begun.at);
        let mut operations = std::mem::take(&mut step.operations);
        let Traffic { messages, bytes } = self.sandbox.network().ledger(step.begun.ledger);
        (operations.op_messages, operations.op_bytes) = (messages, bytes);
        operations.summarise();
        let holders = matches!(what, Do::Register(_)).then(|| {
            let shares = self.sandbox.holders_true_share(&step.plan.users);
            let records = step.plan.users.len() as u64;
            Holders {
                records,
                holders_mean: shares.map(|shares| shares.1),
                holders_true_share: shares.map(|shares| shares.0),
            }
        });
        let network = self.sandbox.network().simulated();
        let upkeep_most = network.zip(step.begun.upkeep.take()).map(|(network, before)| {
            let before = before.into_iter().chain(std::iter::repeat(0));
            let sent = network.upkeep_of_each().into_iter().zip(before).map(|(now, before)| now - before);
            rate(sent.max().unwrap_or(0), took.as_seconds())
        });
        StepReport {
            name: what.name(),
            at_seconds: step.begun.at.since(self.start).as_seconds(),
            seconds: took.as_seconds(),
            wall_seconds: step.begun.wall.elapsed().as_secs_f64(),
            nodes_alive: self.sandbox.living() as u64,
            messages: sent.messages,
            bytes: sent.bytes,
            links_opened: counters.links_opened - before.links_opened,
            records_moved: counters.records_moved - before.records_moved,
            upkeep_bytes: (counters.upkeep - before.upkeep).bytes,
            upkeep_most,
            upkeep_peak: network.map(|network| network.upkeep_peak(step.begun.at)),
            operations: what.has_operations().then_some(operations),
            holders,
        }
    }

    fn write_trace(&mut self, index: usize, done: &Done) -> Result<(), RunError> {
        let (Some(trace), Some(lookup)) = (&mut self.trace, &done.lookup) else { return Ok(()) };
        let Do::Lookup(Lookup { consistency, .. }) = &self.scenario.steps[index].what else { return Ok(()) };
        trace.write(&traced(index + 1, *consistency, done, lookup))?;
        Ok(())
    }
}

impl Active {
    fn count(&mut self, done: Done) {
        let operations = &mut self.operations;
        operations.asked += u64::from(done.asked);
        operations.correct += u64::from(done.correct);
        operations.wrong += u64::from(done.wrong);
        operations.absent += u64::from(done.absent);
        operations.unreachable += u64::from(done.unreachable);
        operations.conflict += u64::from(done.conflict);
        operations.unsettled += u64::from(done.unsettled);
        operations.local += u64::from(done.local);
        operations.regressions += u64::from(done.regressions);
        operations.round_trips_samples.extend(done.round_trips);
        // A thief's write is nobody's operation.
        if done.asked > 0 {
            operations.latency_ms_samples.push(done.latency_ms);
        }
    }
}

fn traced(step: usize, consistency: Consistency, done: &Done, lookup: &LookupDone) -> TracedLookup {
    let answer = lookup.answer.as_ref();
    let result = match answer.map(|answer| answer.verdict) {
        _ if done.wrong > 0 => "wrong",
        Some(Verdict::Found) => "found as expected",
        Some(Verdict::Conflict) => "conflict",
        Some(Verdict::Contested) => "contested",
        Some(Verdict::Closed) => "closed",
        Some(Verdict::Absent) => "absent",
        Some(Verdict::Unreachable) | None => "unreachable",
    };
    let unsettled = if done.unsettled > 0 { ", unsettled" } else { "" };
    let trace = answer.map(|answer| answer.trace.as_slice()).unwrap_or_default();
    TracedLookup {
        step,
        key: lookup.key.id,
        asker: lookup.asker.map_or(TracedAsker::Client, |grid| TracedAsker::Node(grid.0)),
        started_ms: lookup.started.0,
        ended_ms: lookup.ended.0,
        result: format!("{result}{unsettled}"),
        consistency,
        round_trips: done.round_trips.unwrap_or(0),
        hops: trace.iter().map(|hop| traced_hop(hop, lookup.ended)).collect(),
    }
}

/// One question of a lookup that ended at `ended`.
pub(crate) fn traced_hop(hop: &state::Hop, ended: Tick) -> Hop {
    let (at, said) = match &hop.said {
        None => (ended, "silent".to_owned()),
        Some((at, said)) => {
            let mut parts = Vec::new();
            if let Some(copy) = &said.copy {
                let what = match copy.record.body() {
                    Body::Placement(_) => copy.record.home().map_or("closed".to_owned(), |home| format!("at {home}")),
                    Body::Claim(_) => format!("by {}", copy.record.guid()),
                };
                parts.push(format!("record v{} {what}", copy.record.version()));
            } else {
                parts.push("no record".to_owned());
            }
            if said.standing == Standing::NotYet {
                parts.push("not yet a holder".to_owned());
            }
            parts.push(said.named.map_or("same set".to_owned(), |named| format!("{named} contacts")));
            (*at, parts.join(", "))
        }
    };
    let domain = hop.peer.address().domain().map(|domain| domain.to_string());
    Hop { at_ms: at.0, depth: hop.depth.into(), peer: hop.peer.grid().0, domain, said }
}

/// The most memory that this process ever held, where the system tells (Linux does).
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}

/// A watcher that has seen enough ends the run.
fn go_on(watched: ControlFlow<()>) -> Result<(), RunError> {
    if watched.is_break() { Err(RunError::Stopped) } else { Ok(()) }
}

/// Ticks spread evenly: the `index`-th of `count` within `over`.
fn spaced(start: Tick, over: Ticks, index: usize, count: usize) -> Tick {
    start + Ticks((u128::from(over.0) * index as u128 / count.max(1) as u128) as u64)
}

/// A number in [0, 1), from the sandbox's generator.
fn fraction<C: Carrier>(sandbox: &mut RoutingSandbox<C>) -> f64 {
    (sandbox.rng().next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
