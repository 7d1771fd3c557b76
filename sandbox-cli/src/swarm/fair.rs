//! What may be asked of the protocol: under which faults what is promised, and by when.

use crate::scenario::{Do, Kill, Scenario, Who};
use routing_core::config::NodeConfig;
use routing_core::time::Ticks;

/// How long after the last fault everything has converged, with these settings and so many nodes.
///
/// Who was given up is tried again, one after the other; who lost its way in tries to join again; places are kept for a
/// grace; then each node compares with each of its fellows, twice if the first time found it a newcomer.
pub fn settling(config: &NodeConfig, nodes: u32) -> Ticks {
    let spans = [
        (config.grace, 2),
        (config.compare_every, 3),
        (config.neighbour_probe_every, 4),
        (config.revive_every, u64::from(nodes)),
        (config.join_retry_max, 2),
        (Ticks::seconds(30), 1),
    ];
    Ticks(spans.iter().map(|(span, times)| span.0 * times).sum())
}

/// How many nodes the federation is founded with.
pub fn founders(scenario: &Scenario) -> u32 {
    scenario.steps.iter().find_map(|step| if let Do::Join(join) = &step.what { join.nodes } else { None }).unwrap_or(0)
}

/// How many nodes may die in all without any record being in danger: fewer than half of a record's holders.
pub fn deaths_max(scenario: &Scenario) -> u32 {
    (founders(scenario).min(scenario.node.holders.into()).saturating_sub(1)) / 2
}

/// Whether so many die that records may be lost with them.
pub fn is_mass_death(scenario: &Scenario, step: &Do) -> bool {
    let Do::Kill(Kill::Nodes(who)) = step else { return matches!(step, Do::Kill(_)) };
    count(who, founders(scenario)) > deaths_max(scenario)
}

/// Whether stores are so small that records must be dropped.
pub fn is_cramped(scenario: &Scenario) -> bool {
    let users =
        scenario.steps.iter().map(|step| if let Do::Register(register) = &step.what { register.users } else { 0 });
    u64::from(scenario.node.records_max) < users.map(u64::from).sum()
}

/// Whether what happens leaves a failure somebody's fault: that enough nodes remain to speak of a network, and that
/// nobody has to hand records over who cannot reach those that should have them.
pub fn is_fair(scenario: &Scenario) -> bool {
    let nodes = founders(scenario);
    let (mut gone, mut stopped, mut dead, mut mass_deaths, mut is_cut) = (0, 0, 0, 0, false);
    for step in &scenario.steps {
        match &step.what {
            what @ Do::Kill(Kill::Nodes(_)) if is_mass_death(scenario, what) => {
                mass_deaths += 1;
                // Who is stopped or apart from the others has what they would need.
                if nodes < 8 || is_cut || stopped > 0 {
                    return false;
                }
            }
            Do::Kill(Kill::Nodes(who)) => {
                dead += count(who, nodes);
                gone += count(who, nodes);
            }
            Do::Leave(who) => {
                gone += count(who, nodes);
                if is_cut || stopped > 0 {
                    return false;
                }
            }
            Do::Away(who) | Do::Halt(who) => stopped += count(who, nodes),
            Do::Churn(_) => {
                stopped += nodes / 4;
                if nodes < 8 {
                    return false;
                }
            }
            Do::Restart(restart) if nodes < 4 && step.over < restart.down => return false,
            Do::Run(_) => stopped = 0,
            Do::Partition(_) => is_cut = true,
            Do::Heal => is_cut = false,
            _ => {}
        }
        if nodes < 4 && gone + stopped > 0 && gone + stopped >= nodes {
            return false;
        }
        if (gone + stopped) * 2 > nodes + 1 {
            return false;
        }
    }
    dead <= deaths_max(scenario) && mass_deaths <= 1 && (mass_deaths == 0 || dead == 0)
}

fn count(who: &Who, nodes: u32) -> u32 {
    match who {
        Who::Nodes(count) => *count,
        Who::Share(share) => ((f64::from(nodes) * share).round() as u32).max(1),
    }
}
