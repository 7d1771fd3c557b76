//! Why a scenario is not run to its end, and where the mistake is.

use super::{DRIVER_NODES_MAX, NotOnSockets};
use crate::scenario::{Lines, Scenario};
use crate::sockets::OpenFiles;
use crate::trace::TraceError;
use std::fmt;
use std::path::PathBuf;
use transport_sim::delay::DelayError;
use transport_sim::sandbox::SandboxError;
use transport_sim::servers::ServersError;

/// Where the mistake is, as a message begins: file, line and key of the scenario, or an option of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position(Box<str>);

impl Position {
    /// A key of a table that stands on these lines, or a step by its name.
    pub(super) fn of(scenario: &Scenario, lines: &Lines, key: &str) -> Self {
        Position(format!("{}:{}: {key}", scenario.file, lines.of(key)).into())
    }

    pub(super) fn option(option: &str) -> Self {
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
