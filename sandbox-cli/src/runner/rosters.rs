//! The servers that a scenario's nodes are, out of the lists that its joins name.

use super::{Position, RunError};
use crate::options::Options;
use crate::scenario::{Do, Scenario};
use std::path::{Path, PathBuf};
use transport_sim::servers::{Server, Servers};

/// The lists of servers that a scenario names, each read once.
pub(super) struct Rosters {
    /// By file, and how many of each have joined.
    lists: Vec<(PathBuf, Vec<Server>, usize)>,
}

impl Rosters {
    /// Reads them, and sees that each join finds as many servers as it wants.
    pub(super) fn read(scenario: &Scenario, options: &Options) -> Result<Self, RunError> {
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
    pub(super) fn nodes(&self, scenario: &Scenario) -> u64 {
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

    /// The next so many servers of a list, by default all that are left, which join now.
    pub(super) fn take(&mut self, file: &Path, nodes: Option<u32>) -> Vec<Server> {
        let Some((_, all, taken)) = self.lists.iter_mut().find(|(known, ..)| known == file) else {
            return Vec::new();
        };
        let left = &all[*taken..];
        let nodes = nodes.map_or(left.len(), |nodes| left.len().min(nodes as usize));
        let chosen = left[..nodes].to_vec();
        *taken += nodes;
        chosen
    }
}
