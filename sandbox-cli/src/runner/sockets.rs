//! Scenarios on real nodes: what can be told to them, and what they need.

use super::{Position, Rosters, RunError};
use crate::options::Options;
use crate::progress::Progress;
use crate::scenario::{Do, Network, Scenario};
use crate::sockets::{Loopback, OpenFiles, Sockets};

/// Something that only the simulated network can do. Nothing was run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotOnSockets {
    /// A step, or a key of one.
    #[error(
        "{file}:{line}: {what}: only the simulated network can do that; leave it out, or run it with --transport sim"
    )]
    Step {
        /// The scenario's file.
        file: String,
        /// The line of the step, or of the key.
        line: usize,
        /// The step or key, as the file spells it.
        what: &'static str,
    },
    /// An option of the command line.
    #[error("{0}: only for --transport sim; leave it out")]
    Option(&'static str),
}

/// A federation on sockets, empty yet, for a scenario that can be told to it; and its servers.
pub(super) fn federation(
    scenario: &Scenario,
    options: &Options,
    progress: &Progress,
) -> Result<(Loopback, Rosters), RunError> {
    refuse(scenario, options)?;
    scenario.node.validate()?;
    let links_max = scenario.network.links_max;
    let mut config = scenario.node.clone();
    config.fit_links(Sockets::config(links_max).links_max);
    Sockets::config(links_max).validate().map_err(|error| {
        let place = Position::of(scenario, &scenario.network.lines, "links_max");
        RunError::Links { place, error }
    })?;
    let servers = Rosters::read(scenario, options)?;
    OpenFiles::provide(servers.nodes(scenario), links_max)?;
    if scenario.network.delay != Network::default().delay {
        progress.note("on sockets messages take as long as they take: the delay of [network] is for the simulated one");
    }
    let sockets = Sockets::open(links_max, options.threads()).map_err(RunError::Start)?;
    Ok((Loopback::on(sockets, scenario.seed, config), servers))
}

/// Refuses, by name, what would silently not happen.
fn refuse(scenario: &Scenario, options: &Options) -> Result<(), NotOnSockets> {
    for (is_given, option) in [(options.driver, "--driver"), (options.matrix.is_some(), "--matrix")] {
        if is_given {
            return Err(NotOnSockets::Option(option));
        }
    }
    let network = &scenario.network;
    let weather = [
        (network.loss > 0.0, "loss"),
        (network.duplicate > 0.0, "duplicate"),
        (network.link_round_trips.is_some_and(|round_trips| round_trips > 0), "link_round_trips"),
    ];
    let weather = weather.into_iter().filter(|(is_given, _)| *is_given).map(|(_, what)| (network.lines.of(what), what));
    let steps = scenario.steps.iter().filter_map(|step| {
        let what = match &step.what {
            Do::Join(join) if join.every > 1 => "every",
            Do::Halt(_)
            | Do::Cadence(_)
            | Do::Partition(_)
            | Do::Heal
            | Do::Loss(_)
            | Do::Delay(_)
            | Do::Dishonest(_) => step.what.name(),
            _ => return None,
        };
        Some((step.lines.of(what), what))
    });
    match weather.chain(steps).next() {
        Some((line, what)) => Err(NotOnSockets::Step { file: scenario.file.clone(), line, what }),
        None => Ok(()),
    }
}
