//! Carrying out a scenario.

use crate::options::{Options, Transport};
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::Scenario;

/// Why a scenario was not run to its end. There is no report then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RunError {
    /// The transport does not exist yet. Use another one.
    #[error("--transport {0}: not in this release")]
    Transport(&'static str),
    /// A step that a later release carries out. Leave it out of the scenario.
    #[error("step {step}, {name}: not in this release")]
    Step {
        /// The step, from 1.
        step: usize,
        /// Its name.
        name: &'static str,
    },
    /// This build cannot run anything.
    #[error("the simulator is not linked in")]
    NoSimulator,
}

/// Runs a scenario, to which the options have been applied already. The report is not judged yet.
pub fn execute(_scenario: &Scenario, options: &Options, _progress: &Progress) -> Result<Report, RunError> {
    if options.transport != Transport::Sim {
        return Err(RunError::Transport(options.transport.name()));
    }
    Err(RunError::NoSimulator)
}
