//! A swarm: many small federations, drawn at random, to which everything happens that can happen.
//!
//! A run is a [`Scenario`], [drawn](mod@draw) from a seed and the run's number, and carried out by the same runner as any
//! other. A [`judge`] looks on: *safety* must hold all along, and once all faults have ended, *liveness*: everything
//! converges, and everybody is found. What may be asked for under which faults is said in [`fair`]. A run that fails is
//! made [smaller](mod@shrink) while it still fails in the same way, and can be repeated by one command.
//!
//! ```text
//!   seed, number ─ draw ─▶ Scenario ─▶ runner ─▶ Judge ─ Violation ─▶ shrink ─▶ one command
//!                             ▲                                         │
//!                             └────────── fewer steps, nodes, users ◀───┘
//! ```
//!
//! The ideas are from FoundationDB and TigerBeetle (the real code in a deterministic simulation, faults first and
//! liveness after them), from swarm testing (each run leaves out some features; Groce and others, 2012) and from delta
//! debugging (Zeller).

mod caught;
pub mod draw;
pub mod fair;
pub mod judge;
pub mod shrink;

use crate::options::{self, Options};
use crate::progress::Progress;
use crate::runner::{RunError, execute_watched};
use crate::scenario::Scenario;
use draw::{Cut, draw};
use judge::{Judge, Kind, Violation};
use serde::Serialize;
use shrink::{Shrunk, shrink};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs are counted from 0, and `--runs` says how many there are: this is the last one that it can reach.
const LAST_RUN: i64 = u32::MAX as i64 - 1;
/// No run has so many steps.
const STEPS_MAX: usize = 1_000;

/// The options of `swarm`.
#[derive(Clone, PartialEq, Debug, clap::Args)]
pub struct SwarmOptions {
    /// How many runs to draw and carry out
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(allow_negative_numbers = true)]
    pub runs: u32,
    /// Draw all runs from this seed
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Carry out this run alone
    #[arg(long, value_name = "RUN", value_parser = clap::value_parser!(u32).range(0..=LAST_RUN), allow_negative_numbers = true)]
    pub only: Option<u32>,
    /// Let the federation of that run begin with so many nodes
    #[arg(long, value_name = "N", requires = "only", value_parser = options::nodes(1), allow_negative_numbers = true)]
    pub nodes: Option<u32>,
    /// Let the federation of that run begin with so many users
    #[arg(long, value_name = "N", requires = "only", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(allow_negative_numbers = true)]
    pub users: Option<u32>,
    /// Leave out all steps but these between founding and ending of that run, such as 4,7-9; none for no step
    #[arg(long, value_name = "STEPS", requires = "only", value_parser = parse_steps)]
    pub steps: Option<Steps>,
    /// End with the first run that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Do not look for smaller runs that fail in the same way
    #[arg(long)]
    pub no_shrink: bool,
    /// Write the scenario of each failing run into this directory; with --only that of the run, however it ends
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Carry out so many runs at once; the result is the same on any number [default: all cores]
    #[arg(long, value_name = "N", value_parser = options::threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Numbers of steps, counted from 1.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Steps(pub BTreeSet<usize>);

fn parse_steps(text: &str) -> Result<Steps, String> {
    if text == "none" {
        return Ok(Steps::default());
    }
    let number = |text: &str| {
        let number = text.trim().parse::<usize>().ok().filter(|number| (1..=STEPS_MAX).contains(number));
        number.ok_or_else(|| format!("{text:?} is no step: write numbers from 1 such as 4,7-9, or none"))
    };
    let mut steps = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part} ends before it begins: write {last}-{first}"));
        }
        steps.extend(first..=last);
    }
    Ok(Steps(steps))
}

/// What a swarm found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Findings {
    /// What the runs were drawn from.
    pub seed: u64,
    /// How many runs were carried out.
    pub runs: u32,
    /// Those that failed, by number.
    pub failures: Vec<Failure>,
    /// Where the scenario of the one run was written that was asked for, if it did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<PathBuf>,
}

/// A run that failed, after it was made smaller.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Failure {
    /// Which run.
    pub run: u32,
    /// Which promise was broken.
    pub violation: Violation,
    /// What repeats it.
    pub command: String,
    /// Where its scenario was written.
    pub saved: Option<PathBuf>,
    /// The scenario itself.
    #[serde(skip)]
    pub scenario: Scenario,
}

/// Why a swarm could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// A part of a run is asked for that the run does not have. Nothing was run.
    #[error("--{option} {asked}: {problem}")]
    NoPart {
        /// The option.
        option: &'static str,
        /// What was asked for.
        asked: String,
        /// What the run has.
        problem: String,
    },
    /// A scenario cannot be written. Name another directory.
    #[error("cannot write {}: {error}", file.display())]
    Unwritable {
        /// Where to.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Carries out a swarm.
pub fn swarm(options: &SwarmOptions, progress: &Progress) -> Result<Findings, SwarmError> {
    if let Some(run) = options.only {
        is_part(options, run)?;
    }
    let all = options.only.map_or(0..options.runs, |run| run..run.saturating_add(1));
    let (next, found) = (AtomicU32::new(all.start), Mutex::new(Vec::new()));
    // No run after this one is of interest any more.
    let last = AtomicU32::new(all.end);
    let work = || {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= last.load(Ordering::Relaxed) {
                return;
            }
            if let Some(failure) = carry_out(options, run) {
                if options.fail_fast {
                    last.fetch_min(run, Ordering::Relaxed);
                }
                progress.note(&format!("run {run}: {}", failure.violation));
                found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(failure);
            }
            progress.count_run();
        }
    };
    let threads = Options { threads: options.threads, ..Options::default() }.threads().get();
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut failures = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failures.sort_by_key(|failure| failure.run);
    if options.fail_fast {
        failures.truncate(1);
    }
    let runs = match failures.first() {
        Some(failure) if options.fail_fast => failure.run + 1 - all.start,
        _ => all.len() as u32,
    };
    let mut saved = None;
    if let Some(dir) = &options.save {
        for failure in &mut failures {
            let head = format!("# {}\n# {}\n", failure.violation, failure.command);
            failure.saved = Some(save(dir, &failure.scenario, &head)?);
        }
        if let Some(run) = options.only.filter(|_| failures.is_empty()) {
            let cut = cut(options);
            let head = format!("# every promise was kept\n# {}\n", command(options.seed, run, &cut));
            saved = Some(save(dir, &draw(options.seed, run).cut(&cut), &head)?);
        }
    }
    Ok(Findings { seed: options.seed, runs, failures, saved })
}

/// The part of a run that is asked for.
fn cut(options: &SwarmOptions) -> Cut {
    let steps = options.steps.as_ref().map(|steps| steps.0.iter().map(|step| step - 1).collect());
    Cut { nodes: options.nodes, users: options.users, steps }
}

/// Refuses to cut from a run what it does not have.
fn is_part(options: &SwarmOptions, run: u32) -> Result<(), SwarmError> {
    let drawn = draw(options.seed, run);
    let (nodes, users) = drawn.founded();
    for (option, asked, all) in [("nodes", options.nodes, nodes), ("users", options.users, users)] {
        if let Some(asked) = asked.filter(|asked| *asked > all) {
            let problem = format!("run {run} begins with {all}; write as many or fewer");
            return Err(SwarmError::NoPart { option, asked: asked.to_string(), problem });
        }
    }
    let Some(steps) = cut(options).steps else { return Ok(()) };
    let strange: BTreeSet<usize> = steps.into_iter().filter(|step| !drawn.body.contains(step)).collect();
    if strange.is_empty() {
        return Ok(());
    }
    let may_go = spelled(&drawn.body.clone().collect());
    let problem = format!("of run {run} these steps may be kept or left out: {may_go}; it has the others in any case");
    Err(SwarmError::NoPart { option: "steps", asked: spelled(&strange), problem })
}

/// One run: what became of it, and the smallest part of it that fails in the same way.
fn carry_out(options: &SwarmOptions, run: u32) -> Option<Failure> {
    let drawn = draw(options.seed, run);
    let asked = cut(options);
    let violation = judged(&drawn.cut(&asked))?;
    let Shrunk { cut, violation } = if options.no_shrink || asked != Cut::default() {
        Shrunk { cut: asked, violation }
    } else {
        shrink(&drawn, violation, judged)
    };
    let command = command(options.seed, run, &cut);
    Some(Failure { run, violation, command, saved: None, scenario: drawn.cut(&cut) })
}

/// Carries out a run. Says which promise was broken first, if one was.
pub fn judged(scenario: &Scenario) -> Option<Violation> {
    let mut judge = Judge::new(scenario);
    let options = Options { threads: Some(NonZeroUsize::MIN), ..Options::default() };
    let result = caught::caught(|| execute_watched(scenario, &options, &Progress::hidden(), &mut judge));
    let (step, tick) = judge.place();
    match (judge.violation(), result) {
        (Some(violation), _) => Some(violation),
        (None, Ok(Ok(_) | Err(RunError::Stopped))) => None,
        (None, Ok(Err(error))) => Some(Violation { kind: Kind::Unusable, step, tick, what: error.to_string() }),
        (None, Err(panic)) => Some(Violation { kind: Kind::Panic, step, tick, what: panic }),
    }
}

/// The one command that repeats a run.
fn command(seed: u64, run: u32, cut: &Cut) -> String {
    let mut command = format!("sandbox-cli swarm --seed {seed} --only {run}");
    let mut say = |text: String| _ = write!(command, " {text}");
    if let Some(nodes) = cut.nodes {
        say(format!("--nodes {nodes}"));
    }
    if let Some(users) = cut.users {
        say(format!("--users {users}"));
    }
    if let Some(steps) = &cut.steps {
        say(format!("--steps {}", spelled(steps)));
    }
    command
}

/// Steps counted from 0, as the command line takes them.
fn spelled(steps: &BTreeSet<usize>) -> String {
    let steps: Vec<usize> = steps.iter().map(|step| step + 1).collect();
    let stretches = steps.chunk_by(|one, next| one + 1 == *next).map(|stretch| match stretch {
        [first, .., last] => format!("{first}-{last}"),
        _ => stretch[0].to_string(),
    });
    let text = stretches.collect::<Vec<_>>().join(",");
    if text.is_empty() { "none".to_owned() } else { text }
}

/// Writes a scenario below these comments, under its name.
fn save(dir: &Path, scenario: &Scenario, head: &str) -> Result<PathBuf, SwarmError> {
    let file = dir.join(format!("{}.toml", scenario.name));
    let text = format!("{head}\n{}", scenario.to_toml());
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, text));
    written.map_err(|error| SwarmError::Unwritable { file: file.clone(), error })?;
    Ok(file)
}

impl Findings {
    /// The same for people.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for failure in &self.failures {
            let Failure { run, violation, command, scenario, saved } = failure;
            text += &format!("run {run}: {violation}\n  {command}\n");
            if let Some(file) = saved {
                text += &format!("  {}\n", file.display());
            }
            for (number, step) in scenario.steps.iter().enumerate() {
                text += &format!("  {:>3} {} {}\n", number + 1, step.what.name(), step.what);
            }
        }
        if let Some(file) = &self.saved {
            text += &format!("{}\n", file.display());
        }
        let runs = if self.runs == 1 { "1 run".to_owned() } else { format!("{} runs", self.runs) };
        text + &format!("{runs} of seed {}, {} failed\n", self.seed, self.failures.len())
    }
}

#[cfg(test)]
mod tests;
