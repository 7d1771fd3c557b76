//! Scenario files: what happens to a simulated federation, step by step.
//!
//! A file is read in two passes. TOML's own grammar comes first; then each table is emptied key by key
//! (see `keys.rs`), so that a misspelt key or an impossible value is reported with file, line and key, which
//! serde loses inside tagged enums. Paths in a file are relative to the file and are resolved here, but not opened.

mod describe;
mod keys;
mod parse;
mod step;
mod write;

pub(crate) use describe::{counted, grouped};

pub use keys::{Lines, Problem, ScenarioError};
pub use step::{
    Change, Churn, Claim, Consistency, Dishonest, Do, Expect, Join, Kill, Lookup, Loss, Of, Origin, Partition, Recover,
    Register, Restart, Slow, Step, Who,
};

use crate::options::Options;
use routing_core::config::{ConfigError, NodeConfig};
use routing_core::time::Ticks;
use std::path::Path;

pub use transport_sim::delay::DelaySpec;
pub use transport_sim::network::dishonest::Behaviour;
pub use transport_sim::sandbox::attack::Aim as Place;

/// The most nodes that a step, or the command line, may ask for: ten times what a machine of today has room for. Beyond it
/// a typing error is likelier, and the room for so many is asked for before the first one starts.
pub const NODES_MAX: u32 = 10_000_000;

/// Through how many entry points a node joins, or a client starts, if nobody says.
pub(crate) const ENTRY_POINTS: u32 = 3;

/// The jitter of a matrix that `--matrix` puts in place of a delay without one: a tenth, about what the median pair of
/// measured servers shows.
pub const MATRIX_JITTER: f64 = 0.1;

/// A story to be told to a network: its settings, and the steps in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// What it is called; the file's name without extension if it does not say.
    pub name: String,
    /// Where it was read from, to say what is the matter with it.
    pub file: String,
    /// What everything random is drawn from: same seed and same scenario, same run.
    pub seed: u64,
    /// The network between the nodes.
    pub network: Network,
    /// The settings of every node.
    pub node: NodeConfig,
    /// What happens, in order. At least one.
    pub steps: Vec<Step>,
}

/// How messages travel.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    /// Where its table and keys stand.
    pub lines: Lines,
    /// How long a message takes one way. Default: uniform, 20 ms to 120 ms.
    pub delay: DelaySpec,
    /// The share of messages that is lost, 0 to 1. Default 0.
    pub loss: f64,
    /// The share of messages that arrives twice, 0 to 1. Default 0.
    pub duplicate: f64,
    /// How many round trips opening a link costs. Default none: a link is free, so that figures are the protocol's.
    pub link_round_trips: Option<u32>,
    /// How many links of a node may stand; the idlest lapses. Default no bound.
    pub links_max: Option<u32>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            lines: Lines::default(),
            delay: DelaySpec::default(),
            loss: 0.0,
            duplicate: 0.0,
            link_round_trips: None,
            links_max: None,
        }
    }
}

/// An option that does not fit the scenario. Nothing was run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// `--nodes` or `--servers` without a step that they could change.
    #[error("{option}: the scenario {scenario:?} has no join step to change")]
    NoJoin {
        /// The option as typed.
        option: &'static str,
        /// The scenario's name.
        scenario: String,
    },
    /// `--neighbours-max` does not go with the scenario's other settings of nodes.
    #[error("--neighbours-max {neighbours_max}: {} = {}: must be {}", error.field, error.value, error.must)]
    NeighboursMax {
        /// As typed.
        neighbours_max: u32,
        /// The setting that is impossible now.
        error: ConfigError,
    },
}

impl Scenario {
    /// Reads a scenario file. Files that it names are not opened.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ScenarioError::unreadable(file.clone(), &error))?;
        Self::parse(&text, &file, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a scenario from its text. `file_name` is what errors call it (and its stem the default name); paths in
    /// the text are resolved against `dir`.
    pub fn parse(text: &str, file_name: &str, dir: &Path) -> Result<Self, ScenarioError> {
        parse::scenario(text, file_name, dir)
    }

    /// Changes what the command line changes: `--seed`, `--nodes` and `--servers` of the first join, `--neighbours-max`, and
    /// `--matrix`, which replaces the network's delay and keeps its jitter if it was a matrix already, else takes
    /// [`MATRIX_JITTER`]. A scenario that could not be changed as asked is left half changed: drop it.
    pub fn apply(&mut self, options: &Options) -> Result<(), ApplyError> {
        if let Some(seed) = options.seed {
            self.seed = seed;
        }
        if let Some(nodes) = options.nodes {
            self.first_join("--nodes")?.nodes = Some(nodes);
        }
        if let Some(neighbours_max) = options.neighbours_max {
            self.node.neighbours_max = neighbours_max;
            self.node.validate().map_err(|error| ApplyError::NeighboursMax { neighbours_max, error })?;
        }
        if let Some(servers) = &options.servers {
            self.first_join("--servers")?.servers = Some(servers.clone());
        }
        if let Some(file) = &options.matrix {
            let jitter = match self.network.delay {
                DelaySpec::Matrix { jitter, .. } => jitter,
                _ => MATRIX_JITTER,
            };
            self.network.delay = DelaySpec::Matrix { file: file.clone(), jitter };
        }
        Ok(())
    }

    fn first_join(&mut self, option: &'static str) -> Result<&mut Join, ApplyError> {
        let scenario = &self.name;
        let error = ApplyError::NoJoin { option, scenario: scenario.clone() };
        let joins = self.steps.iter_mut().filter_map(|step| match &mut step.what {
            Do::Join(join) => Some(join),
            _ => None,
        });
        joins.into_iter().next().ok_or(error)
    }
}

#[cfg(test)]
mod tests;
