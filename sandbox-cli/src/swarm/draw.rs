//! Drawing a run: a federation, its settings and what befalls it, all from a seed and the run's number.
//!
//! A run first draws which *features* it has at all, then uses only these. Runs in which everything happens at once hide
//! faults from each other; with a coin for each feature, each pair of features meets often and is alone often.

mod extras;

use super::fair;
use crate::scenario::{
    Change, Churn, Consistency, DelaySpec, Do, Expect, Join, Kill, Lines, Lookup, Loss, Network, Of, Origin, Partition,
    Recover, Register, Restart, Scenario, Slow, Step, Who,
};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::config::NodeConfig;
use routing_core::time::Ticks;
use std::collections::BTreeSet;
use std::ops::Range;

/// What may happen in a run. To add one: a name here, what it does in [`Draws::happening`], and what it must not be
/// mixed with in `fair.rs`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Feature {
    Loss,
    Duplication,
    Cadence,
    Delay,
    Kill,
    MassDeath,
    Leave,
    Away,
    Halt,
    Restart,
    Churn,
    Partition,
    Join,
    Register,
    Migrate,
    Close,
    Rotate,
    Recover,
    Thief,
    Announce,
    SmallTable,
    SmallStore,
}

/// Each with the chance in a hundred that a run has it.
const FEATURES: [(Feature, u64); 22] = [
    (Feature::Loss, 30),
    (Feature::Duplication, 25),
    (Feature::Cadence, 20),
    (Feature::Delay, 15),
    (Feature::Kill, 35),
    (Feature::MassDeath, 10),
    (Feature::Leave, 35),
    (Feature::Away, 20),
    (Feature::Halt, 20),
    (Feature::Restart, 35),
    (Feature::Churn, 15),
    (Feature::Partition, 35),
    (Feature::Join, 40),
    (Feature::Register, 30),
    (Feature::Migrate, 50),
    (Feature::Close, 25),
    (Feature::Rotate, 25),
    (Feature::Recover, 25),
    (Feature::Thief, 40),
    (Feature::Announce, 20),
    (Feature::SmallTable, 20),
    (Feature::SmallStore, 8),
];

/// A run as it was drawn. Its first steps found the federation, its last ones end all faults and ask for everybody;
/// those between may be left out.
#[derive(Clone, PartialEq, Debug)]
pub struct Drawn {
    /// All of it.
    pub scenario: Scenario,
    /// The steps that may be left out, counted from 0.
    pub body: Range<usize>,
}

/// A part of a run: what was cut from it to make it smaller.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cut {
    /// How many nodes the first join has; none: as drawn.
    pub nodes: Option<u32>,
    /// How many users the first registration has; none: as drawn.
    pub users: Option<u32>,
    /// Which steps of the body are kept, counted from 0 in the whole scenario; none: all.
    pub steps: Option<BTreeSet<usize>>,
}

impl Drawn {
    /// What is left after a cut.
    pub fn cut(&self, cut: &Cut) -> Scenario {
        let is_kept =
            |index: &usize| !self.body.contains(index) || cut.steps.as_ref().is_none_or(|kept| kept.contains(index));
        let steps = self.scenario.steps.iter().enumerate().filter(|(index, _)| is_kept(index));
        let mut scenario = Scenario { steps: steps.map(|(_, step)| step.clone()).collect(), ..self.scenario.clone() };
        for step in &mut scenario.steps[..self.body.start] {
            match &mut step.what {
                Do::Join(join) => join.nodes = cut.nodes.or(join.nodes),
                Do::Register(register) => register.users = cut.users.unwrap_or(register.users),
                _ => {}
            }
        }
        scenario
    }

    /// How many nodes and users the federation is founded with.
    pub fn founded(&self) -> (u32, u32) {
        let (mut nodes, mut users) = (0, 0);
        for step in &self.scenario.steps[..self.body.start] {
            match &step.what {
                Do::Join(join) => nodes += join.nodes.unwrap_or(0),
                Do::Register(register) => users += register.users,
                _ => {}
            }
        }
        (nodes, users)
    }
}

/// Draws run number `run` of a seed.
pub fn draw(seed: u64, run: u32) -> Drawn {
    let run_seed = Xoshiro256PlusPlus::seed_from_u64(seed).next_u64() ^ u64::from(run);
    let mut draws = Draws { rng: Xoshiro256PlusPlus::seed_from_u64(run_seed), features: BTreeSet::new() };
    let nodes = if draws.chance(15) { draws.between(1, 5) } else { draws.between(6, 40) } as u32;
    draws.features =
        FEATURES.into_iter().filter(|(_, percent)| draws.chance(*percent)).map(|(feature, _)| feature).collect();
    let node = draws.settings(nodes);
    let users = draws.between(5, 60) as u32;
    let mut steps = draws.founding(nodes, users);
    let first = steps.len();
    let mut scenario = Scenario {
        name: format!("swarm-{seed}-{run}"),
        file: String::new(),
        seed: draws.rng.next_u64() >> 32,
        network: Network { delay: draws.delay(), ..Network::default() },
        node,
        steps: Vec::new(),
    };
    for _ in 0..draws.between(3, 12) {
        let before = steps.len();
        draws.happening(nodes, &mut steps);
        // What would make a failure nobody's fault is not done.
        scenario.steps = steps.clone();
        if !fair::is_fair(&scenario) {
            steps.truncate(before);
        }
    }
    let body = first..steps.len();
    if let Some(last) = steps.last_mut() {
        last.meanwhile = false;
    }
    steps.extend(draws.ending(&scenario.node, nodes));
    scenario.steps = steps;
    let mut drawn = Drawn { scenario, body };
    extras::add(&mut drawn, run_seed);
    drawn
}

/// With how many steps each run ends that look up, move and look up again.
const FINDING_STEPS: usize = 4;

struct Draws {
    rng: Xoshiro256PlusPlus,
    features: BTreeSet<Feature>,
}

impl Draws {
    /// A number from `least` to `most`.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.rng.next_u64() % (most.max(least) - least + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() as u64 - 1) as usize]
    }

    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Whether this happens now, in a run that has it.
    fn now(&mut self, feature: Feature) -> bool {
        self.has(feature) && self.chance(50)
    }

    fn seconds(&mut self, least: u64, most: u64) -> Ticks {
        Ticks::seconds(self.between(least, most))
    }

    fn settings(&mut self, nodes: u32) -> NodeConfig {
        let holders = self.between(4, 8) as u16;
        let join_retry = Ticks::millis(self.between(500, 2_000));
        let mut config = NodeConfig {
            holders,
            alpha: self.between(1, 5) as u16,
            neighbour_probe_every: self.seconds(4, 15),
            contact_probe_every: self.seconds(20, 90),
            grace: self.seconds(5, 25),
            compare_every: self.seconds(8, 30),
            revive_every: Ticks::millis(self.between(500, 2_000)),
            register_deadline: self.seconds(10, 60),
            join_deadline: self.seconds(10, 60),
            leave_deadline: self.seconds(10, 60),
            join_retry,
            join_retry_max: Ticks(join_retry.0 * self.between(1, 6)),
            announce_every: self.one_of(&[Ticks(0), Ticks::minutes(1), Ticks::hours(24)]),
            bundle_bytes_max: self.one_of(&[16_384, 262_144]),
            upkeep_bytes_per_second: self.one_of(&[256, 2_048]),
            ..NodeConfig::default()
        };
        if self.has(Feature::SmallTable) {
            config.neighbours_max = u32::from(holders) * 4 + self.between(0, u64::from(nodes)) as u32;
        }
        if self.has(Feature::SmallStore) {
            config.records_max = self.between(1, 20) as u32;
        }
        config
    }

    fn delay(&mut self) -> DelaySpec {
        let min = self.between(1, 100);
        if self.chance(30) {
            return DelaySpec::Constant { value: Ticks(min) };
        }
        DelaySpec::Uniform { min: Ticks(min), max: Ticks(min + self.between(0, 150)) }
    }

    fn founding(&mut self, nodes: u32, users: u32) -> Vec<Step> {
        let join = Join { nodes: Some(nodes), every: 1, entry_points: self.between(1, 3) as u32, servers: None };
        let over = Ticks(u64::from(nodes) * self.between(10, 300));
        let from = self.origin();
        vec![
            Step { over, ..step(Do::Join(join)) },
            step(Do::Wait(self.seconds(10, 25))),
            step(Do::Register(Register { users, home_servers: None, from, entry_points: 3 })),
        ]
    }

    fn origin(&mut self) -> Origin {
        self.one_of(&[Origin::Client, Origin::Node])
    }

    fn some(&mut self, most: u32) -> Who {
        Who::Nodes(self.between(1, u64::from(most.max(1))) as u32)
    }

    fn change(&mut self) -> Change {
        // A home that is down writes nothing, and one that is halted would never end.
        Change { users: self.between(1, 12) as u32, from: Origin::Client, entry_points: self.between(1, 3) as u32 }
    }

    fn lookup(&mut self, count: u32) -> Do {
        let consistency = self.one_of(&[Consistency::Quick, Consistency::Quorum, Consistency::All]);
        let (from, entry_points) = (self.origin(), self.between(1, 3) as u32);
        Do::Lookup(Lookup { count, of: Of::Users, from, entry_points, zipf: 0.0, consistency })
    }

    /// One thing that happens, as a step or some.
    fn happening(&mut self, nodes: u32, steps: &mut Vec<Step>) {
        let present: Vec<Feature> = self.features.iter().copied().collect();
        let feature = if present.is_empty() { None } else { Some(self.one_of(&present)) };
        let few = nodes.div_ceil(5);
        let mut over = if self.chance(50) { self.seconds(1, 15) } else { Ticks(0) };
        // While these go on others may ask.
        let mut may_meanwhile = true;
        let what = match feature {
            Some(Feature::Loss) => {
                Do::Loss(Loss { rate: Some(self.one_of(&[0.0, 0.01, 0.05, 0.15])), duplicate: None })
            }
            Some(Feature::Duplication) => Do::Loss(Loss { rate: None, duplicate: Some(self.one_of(&[0.0, 0.1, 1.0])) }),
            Some(Feature::Cadence) => Do::Cadence(Slow { who: self.some(few), every: self.one_of(&[1, 7, 50, 200]) }),
            Some(Feature::Delay) => Do::Delay(self.delay()),
            Some(Feature::Kill) => Do::Kill(Kill::Nodes(self.some(3))),
            Some(Feature::MassDeath) => Do::Kill(Kill::Nodes(Who::Share(0.1 * self.between(3, 6) as f64))),
            Some(Feature::Leave) => Do::Leave(self.some(few)),
            Some(Feature::Away) => Do::Away(self.some(few)),
            Some(Feature::Halt) => {
                // Who is halted in the middle of an operation never ends it.
                may_meanwhile = false;
                Do::Halt(self.some(few))
            }
            Some(Feature::Restart) => {
                let who = if self.chance(20) { Who::Share(1.0) } else { self.some(few * 2) };
                over = self.seconds(5, 30);
                Do::Restart(Restart { who, down: self.seconds(2, 20), proper: self.chance(50) })
            }
            Some(Feature::Churn) => {
                let down = self.between(3, 15);
                let session = Ticks::seconds(down * self.between(4, 8));
                Do::Churn(Churn { time: self.seconds(20, 60), session, down: Ticks::seconds(down) })
            }
            Some(Feature::Partition) if is_cut(steps) => Do::Heal,
            Some(Feature::Partition) => Do::Partition(self.partition()),
            Some(Feature::Join) => Do::Join(Join {
                nodes: Some(self.between(1, u64::from(few) + 2) as u32),
                every: self.one_of(&[1, 1, 20]),
                entry_points: self.between(1, 3) as u32,
                servers: None,
            }),
            Some(Feature::Register) => {
                let (users, from) = (self.between(1, 10) as u32, self.origin());
                Do::Register(Register { users, home_servers: None, from, entry_points: self.between(1, 3) as u32 })
            }
            Some(Feature::Migrate) => Do::Migrate(Change { from: self.origin(), ..self.change() }),
            Some(Feature::Close) => Do::Close(self.change()),
            Some(Feature::Rotate) => Do::Rotate(self.change()),
            Some(Feature::Recover | Feature::Thief) => {
                Do::Recover(Recover { users: self.between(1, 6) as u32, thief: self.has(Feature::Thief) })
            }
            Some(Feature::Announce) => {
                may_meanwhile = false;
                Do::Announce(self.some(few))
            }
            Some(Feature::SmallTable | Feature::SmallStore) | None => Do::Wait(self.seconds(1, 30)),
        };
        let meanwhile = may_meanwhile && self.chance(40);
        steps.push(Step { over, meanwhile, ..step(what) });
        if meanwhile {
            let over = self.seconds(1, 20);
            let count = self.between(5, 60) as u32;
            steps.push(Step { over, ..step(self.lookup(count)) });
        }
        if self.chance(40) {
            steps.push(step(Do::Wait(self.seconds(1, 40))));
        }
        if self.now(Feature::Halt) || self.now(Feature::Away) || self.now(Feature::Churn) {
            steps.push(step(Do::Run(Who::Share(1.0))));
        }
        if self.chance(40) {
            let count = self.between(5, 40) as u32;
            steps.push(step(self.lookup(count)));
        }
    }

    fn partition(&mut self) -> Partition {
        let parts = match self.between(1, 4) {
            1 => vec![0.5, 0.5],
            2 => vec![0.8, 0.2],
            3 => vec![0.4, 0.3, 0.3],
            _ => vec![0.25; 4],
        };
        Partition { parts, one_way: self.chance(30) }
    }

    /// All faults end; after some time everybody is asked for.
    fn ending(&mut self, config: &NodeConfig, nodes: u32) -> Vec<Step> {
        let all = |from, consistency| {
            let lookup = Lookup { count: 40, of: Of::Users, from, entry_points: 3, zipf: 0.0, consistency };
            let expect = Expect { correct_min: Some(1.0), wrong_max: Some(0.0), ..Expect::default() };
            Step { expect: Some(expect), over: Ticks::seconds(2), ..step(Do::Lookup(lookup)) }
        };
        let moves = Change { users: 5, from: Origin::Client, entry_points: 3 };
        vec![
            step(Do::Heal),
            step(Do::Loss(Loss { rate: Some(0.0), duplicate: Some(0.0) })),
            step(Do::Run(Who::Share(1.0))),
            step(Do::Cadence(Slow { who: Who::Share(1.0), every: 1 })),
            step(Do::Wait(fair::settling(config, nodes))),
            all(Origin::Client, Consistency::Quorum),
            all(Origin::Node, Consistency::All),
            step(Do::Migrate(moves)),
            all(Origin::Node, Consistency::Quorum),
        ]
    }
}

/// Whether the network is in parts after these steps.
fn is_cut(steps: &[Step]) -> bool {
    let last = steps.iter().rev().find(|step| matches!(step.what, Do::Heal | Do::Partition(_)));
    last.is_some_and(|step| step.what != Do::Heal)
}

fn step(what: Do) -> Step {
    Step { lines: Lines::default(), what, over: Ticks(0), meanwhile: false, expect: None }
}
