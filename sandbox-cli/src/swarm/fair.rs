//! What may be asked of the protocol: under which faults what is promised, and by when.

use crate::scenario::{Do, Kill, Scenario, Step, Who};
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

/// How many bytes so many nodes may send in this time when nothing happens: what upkeep is allowed, and as much again, since
/// comparisons have a budget of their own. None where home-servers announce their users all the time.
pub fn quiet_bytes_max(config: &NodeConfig, nodes: u64, time: Ticks) -> Option<u64> {
    let upkeep = u64::from(config.upkeep_bytes_per_second) * nodes * time.0 / 1_000;
    let announces = config.announce_every.0 > 0 && config.announce_every < Ticks::hours(1);
    (!announces).then_some(upkeep * 2)
}

/// How long after a claim it is decided who has a name: holders that heard rivals within a minute of the first agree on
/// the smaller hash then, and a writer may take its time to reach all of them.
pub const CLAIMS_SETTLE: Ticks = Ticks::seconds(90);

/// Of fewer nodes one that lies is too large a share.
const LIARS_AMONG_LEAST: u32 = 8;

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

/// Whether a table has room for all, or at least for a whole neighbourhood in the half of it that is kept for that. With
/// less, some of a node's nearest may be on the other side of a slice's edge.
pub fn is_roomy(scenario: &Scenario, nodes: usize) -> bool {
    let budget = scenario.node.neighbours_max as usize;
    budget >= nodes || budget >= usize::from(scenario.node.holders) * 8
}

/// Whether stores are so small that records must be dropped.
pub fn is_cramped(scenario: &Scenario) -> bool {
    let records = scenario.steps.iter().map(|step| match &step.what {
        Do::Register(register) => register.users,
        Do::Claim(claim) => claim.names,
        _ => 0,
    });
    u64::from(scenario.node.records_max) < records.map(u64::from).sum()
}

/// Whether what happens leaves a failure somebody's fault: that enough nodes remain to speak of a network, and that
/// nobody has to hand records over who cannot reach those that should have them.
pub fn is_fair(scenario: &Scenario) -> bool {
    let nodes = founders(scenario);
    let (mut gone, mut stopped, mut dead, mut mass_deaths) = (0, 0, 0, 0);
    let (mut is_cut, mut has_liars) = (false, false);
    // How many may be down in the next step, because this one goes on meanwhile.
    let mut down_next = 0;
    for step in &scenario.steps {
        let down_now = std::mem::take(&mut down_next);
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
            Do::Restart(restart) => {
                let down = at_once(&restart.who, restart.down, step, nodes);
                if down >= nodes {
                    return false;
                }
                down_next = if step.meanwhile { down } else { 0 };
            }
            Do::Run(_) => stopped = 0,
            Do::Partition(_) => is_cut = true,
            Do::Heal => is_cut = false,
            Do::Dishonest(_) => has_liars = true,
            _ => {}
        }
        // Who comes back to find that all it knew have left for good meanwhile has nobody to join.
        if nodes < 4 && gone + stopped > 0 && gone + stopped + down_now >= nodes {
            return false;
        }
        if (gone + stopped) * 2 > nodes + 1 {
            return false;
        }
    }
    // Where many die and others lie, records are left that no honest node holds.
    let few_lie = !has_liars || nodes >= LIARS_AMONG_LEAST && mass_deaths == 0;
    dead <= deaths_max(scenario) && mass_deaths <= 1 && (mass_deaths == 0 || dead == 0) && few_lie
}

fn count(who: &Who, nodes: u32) -> u32 {
    match who {
        Who::Nodes(count) => *count,
        Who::Share(share) => ((f64::from(nodes) * share).round() as u32).max(1),
    }
}

/// How many are down at once when each of these is for so long, one after the other.
fn at_once(who: &Who, down: Ticks, step: &Step, nodes: u32) -> u32 {
    let share = down.0 as f64 / step.over.0.max(down.0).max(1) as f64;
    (f64::from(count(who, nodes)) * share).ceil() as u32
}

/// Who can be reached, step by step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    is_cut: bool,
    stopped: u32,
    dead: u32,
    is_lossy: bool,
    is_slow: bool,
}

impl Reach {
    /// Takes note of a step. Says whether a majority of a record's holders may be out of reach in it, or after it: then
    /// those that are left take their places, and what was acknowledged before may be known to nobody among them.
    pub fn divides(&mut self, scenario: &Scenario, step: &Step) -> bool {
        let nodes = founders(scenario);
        let mut stopped_now = 0;
        match &step.what {
            Do::Partition(_) => self.is_cut = true,
            Do::Heal => self.is_cut = false,
            Do::Away(who) | Do::Halt(who) => self.stopped += count(who, nodes),
            Do::Churn(_) => self.stopped += nodes / 4 + 1,
            Do::Run(_) => self.stopped = 0,
            Do::Loss(loss) => self.is_lossy |= loss.rate.is_some_and(|rate| rate > 0.0),
            Do::Cadence(slow) => self.is_slow |= slow.every > 1,
            what @ Do::Kill(_) if is_mass_death(scenario, what) => return true,
            Do::Kill(Kill::Nodes(who)) => self.dead += count(who, nodes),
            Do::Restart(restart) => {
                stopped_now = at_once(&restart.who, restart.down, step, nodes);
            }
            // Until the owner has recovered, a thief's word is as good as the owner's.
            Do::Recover(recover) if recover.thief => return true,
            _ => {}
        }
        self.is_cut || self.stopped + stopped_now + self.dead > deaths_max(scenario)
    }

    /// Whether some are stopped, for others to give up and to meet again later.
    pub fn is_stopped(&self) -> bool {
        self.stopped > 0
    }

    /// Whether nothing is, or was, in the way of anybody but for a partition that is over.
    pub fn is_untroubled(&self) -> bool {
        !self.is_cut && !self.is_lossy && !self.is_slow && self.stopped == 0 && self.dead == 0
    }
}

/// Whether this takes no record from any true holder, as long as nothing else is in the way: a write, or one node that
/// leaves.
pub fn keeps_records(step: &Step) -> bool {
    matches!(step.what, Do::Leave(Who::Nodes(1)) | Do::Register(_) | Do::Migrate(_) | Do::Close(_) | Do::Rotate(_))
}
