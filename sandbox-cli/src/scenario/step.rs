//! The steps of a scenario: what each can be told, with its defaults.

use super::{Behaviour, Lines, Place};
use routing_core::time::Ticks;
use std::path::PathBuf;

/// One step of a scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Where it and its keys stand.
    pub lines: Lines,
    /// What happens.
    pub what: Do,
    /// The time over which it is spread evenly; zero: all at once.
    pub over: Ticks,
    /// Whether the next step starts together with this one; the step after them waits for both.
    pub meanwhile: bool,
    /// What must hold at the end; the run fails otherwise.
    pub expect: Option<Expect>,
}

/// What happens in a step.
#[derive(Clone, PartialEq, Debug)]
pub enum Do {
    /// Nodes start and join by the protocol.
    Join(Join),
    /// New users are registered.
    Register(Register),
    /// These servers announce all their users again.
    Announce(Who),
    /// Keys with an acknowledged write are looked up.
    Lookup(Lookup),
    /// Nothing but time.
    Wait(Ticks),
    /// Accounts move to another running server.
    Migrate(Change),
    /// Accounts get a tombstone.
    Close(Change),
    /// Accounts change keys by the signing key.
    Rotate(Change),
    /// Accounts change keys by the recovery key.
    Recover(Recover),
    /// Usernames are claimed.
    Claim(Claim),
    /// Nodes leave for good, properly.
    Leave(Who),
    /// Nodes say that they will be back, and stop until `run`.
    Away(Who),
    /// Nodes are gone without a word.
    Kill(Kill),
    /// Nodes hear and do nothing until `run`.
    Halt(Who),
    /// Nodes that were stopped go on.
    Run(Who),
    /// Nodes stop and come back.
    Restart(Restart),
    /// Nodes run at every n-th tick only.
    Cadence(Slow),
    /// Nodes come and go at random for a time.
    Churn(Churn),
    /// The network falls into parts.
    Partition(Partition),
    /// The network is whole again.
    Heal,
    /// Messages are lost or doubled from now on.
    Loss(Loss),
    /// Messages take as long as this says from now on.
    Delay(super::DelaySpec),
    /// Nodes turn, or join, dishonest.
    Dishonest(Dishonest),
}

/// The names of all steps, as a file spells them, in the order of the handbook.
pub(super) const NAMES: [&str; 23] = [
    "join",
    "register",
    "announce",
    "lookup",
    "wait",
    "migrate",
    "close",
    "rotate",
    "recover",
    "claim",
    "leave",
    "away",
    "kill",
    "halt",
    "run",
    "restart",
    "cadence",
    "churn",
    "partition",
    "heal",
    "loss",
    "delay",
    "dishonest",
];

impl Do {
    /// The step's name, as a file spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Do::Join(_) => "join",
            Do::Register(_) => "register",
            Do::Announce(_) => "announce",
            Do::Lookup(_) => "lookup",
            Do::Wait(_) => "wait",
            Do::Migrate(_) => "migrate",
            Do::Close(_) => "close",
            Do::Rotate(_) => "rotate",
            Do::Recover(_) => "recover",
            Do::Claim(_) => "claim",
            Do::Leave(_) => "leave",
            Do::Away(_) => "away",
            Do::Kill(_) => "kill",
            Do::Halt(_) => "halt",
            Do::Run(_) => "run",
            Do::Restart(_) => "restart",
            Do::Cadence(_) => "cadence",
            Do::Churn(_) => "churn",
            Do::Partition(_) => "partition",
            Do::Heal => "heal",
            Do::Loss(_) => "loss",
            Do::Delay(_) => "delay",
            Do::Dishonest(_) => "dishonest",
        }
    }

    /// Whether it writes records. Such a step ends when each has reached every holder that can be reached.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Do::Register(_)
                | Do::Announce(_)
                | Do::Migrate(_)
                | Do::Close(_)
                | Do::Rotate(_)
                | Do::Recover(_)
                | Do::Claim(_)
        )
    }

    /// Whether the step consists of operations, which have outcomes that can be counted and expected.
    pub fn has_operations(&self) -> bool {
        matches!(
            self,
            Do::Join(_)
                | Do::Register(_)
                | Do::Announce(_)
                | Do::Lookup(_)
                | Do::Migrate(_)
                | Do::Close(_)
                | Do::Rotate(_)
                | Do::Recover(_)
                | Do::Claim(_)
        )
    }
}

/// Which nodes a step is about, drawn by the seed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Who {
    /// This share of them, 0 to 1, rounded to nearest, at least one.
    Share(f64),
    /// This many.
    Nodes(u32),
}

/// Who starts an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// Somebody who is no node, through entry points; made for the operation and forgotten after it.
    #[default]
    Client,
    /// A node, out of its own table.
    Node,
}

/// What is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Of {
    /// Users.
    #[default]
    Users,
    /// Users whose home-server lives when the step begins.
    Hosted,
    /// Users whose home-server does not: dead, down, or gone.
    Stranded,
    /// Claimed usernames.
    Names,
    /// Users whose GUIDs ids were ground next to.
    Aimed,
    /// All of them.
    All,
}

/// How sure a lookup's answer must be. Not the core's [`Consistency`](routing_core::effect::Consistency), which has no words
/// for its levels and may get more of them, but those that a scenario and a trace can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Three holders agree.
    Quick,
    /// More than half of the holders' groups have answered and agree.
    #[default]
    Quorum,
    /// Every reachable holder has answered.
    All,
    /// As `Quorum`, and the home-server named says so itself.
    Confirmed,
}

impl From<Consistency> for routing_core::effect::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Quick => Self::Quick,
            Consistency::Quorum => Self::Quorum,
            Consistency::All => Self::All,
            Consistency::Confirmed => Self::Confirmed,
        }
    }
}

impl std::fmt::Display for Consistency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Consistency::Quick => "quick",
            Consistency::Quorum => "quorum",
            Consistency::All => "all",
            Consistency::Confirmed => "confirmed",
        })
    }
}

/// Nodes join.
#[derive(Clone, PartialEq, Debug)]
pub struct Join {
    /// How many; default all of `servers`, and required without it.
    pub nodes: Option<u32>,
    /// The cadence: each of them runs at every n-th tick. Default 1.
    pub every: u32,
    /// Through how many nodes that are already in. Default 3.
    pub entry_points: u32,
    /// A CSV file of servers, with columns `domain`, `users` and `region`. Without it: `n000001.example` and so on.
    pub servers: Option<PathBuf>,
}

/// Users are registered.
#[derive(Clone, PartialEq, Debug)]
pub struct Register {
    /// How many.
    pub users: u32,
    /// On how many of the servers; default all.
    pub home_servers: Option<u32>,
    /// Who registers: a client for itself, or each server its own users in bulk.
    pub from: Origin,
    /// Through how many entry points a client starts. Default 3.
    pub entry_points: u32,
}

/// Keys are looked up.
#[derive(Clone, PartialEq, Debug)]
pub struct Lookup {
    /// How many lookups.
    pub count: u32,
    /// What is looked up.
    pub of: Of,
    /// Who asks.
    pub from: Origin,
    /// Through how many entry points a client starts. Default 3.
    pub entry_points: u32,
    /// How skewed the choice of keys is: the exponent of Zipf's law; 0 (the default): all alike.
    pub zipf: f64,
    /// How sure the answer must be.
    pub consistency: Consistency,
}

/// Accounts are changed: migrated, closed or rotated.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// How many accounts, drawn from those living and unclosed.
    pub users: u32,
    /// Who writes.
    pub from: Origin,
    /// Through how many entry points a client starts. Default 3.
    pub entry_points: u32,
}

/// Accounts are recovered.
#[derive(Clone, PartialEq, Debug)]
pub struct Recover {
    /// How many accounts, those of dead servers first.
    pub users: u32,
    /// Whether the old key publishes a rival at the same tick.
    pub thief: bool,
}

/// Usernames are claimed.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    /// How many.
    pub names: u32,
    /// How many of them are claimed by a second claimant at the same tick. Default none.
    pub rivals: u32,
    /// Who writes.
    pub from: Origin,
    /// Through how many entry points a client starts. Default 3.
    pub entry_points: u32,
}

/// Nodes are killed.
#[derive(Clone, PartialEq, Debug)]
pub enum Kill {
    /// Drawn from all that run.
    Nodes(Who),
    /// All of one site: the region of this label, or one drawn.
    Site(Option<String>),
}

/// Nodes stop and come back with their key, remembered contacts and stored records.
#[derive(Clone, PartialEq, Debug)]
pub struct Restart {
    /// Which.
    pub who: Who,
    /// How long each is gone.
    pub down: Ticks,
    /// Whether they say `away` first. Default no.
    pub proper: bool,
}

/// Nodes run more slowly.
#[derive(Clone, PartialEq, Debug)]
pub struct Slow {
    /// Which.
    pub who: Who,
    /// At every how-manieth tick they run, at least 1.
    pub every: u32,
}

/// Nodes come and go. Sessions and pauses are drawn exponentially; at the end those down stay down.
#[derive(Clone, PartialEq, Debug)]
pub struct Churn {
    /// For how long.
    pub time: Ticks,
    /// The mean session.
    pub session: Ticks,
    /// The mean pause.
    pub down: Ticks,
}

/// The network falls into parts.
#[derive(Clone, PartialEq, Debug)]
pub struct Partition {
    /// The share of each part; they add up to 1.
    pub parts: Vec<f64>,
    /// Whether only messages from a later part to an earlier one are stopped. Default no.
    pub one_way: bool,
}

/// Messages are lost or doubled. What is not said stays as it was; at least one is said.
#[derive(Clone, PartialEq, Debug)]
pub struct Loss {
    /// The share that is lost.
    pub rate: Option<f64>,
    /// The share that arrives twice.
    pub duplicate: Option<f64>,
}

/// Nodes turn dishonest, or dishonest ones join next to chosen users.
#[derive(Clone, PartialEq, Debug)]
pub struct Dishonest {
    /// Which.
    pub who: Who,
    /// What they do.
    pub behaviour: Behaviour,
    /// Next to the GUIDs of how many users new nodes join with ids ground for it; without it, nodes of the network turn.
    pub aim: Option<u32>,
    /// Where the ids ground for it lie.
    pub place: Place,
}

/// What must hold when a step has ended. Shares are of the operations asked.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Expect {
    /// The least share of correct answers.
    pub correct_min: Option<f64>,
    /// The greatest share of wrong answers.
    pub wrong_max: Option<f64>,
    /// The greatest share of answers that say there is no record.
    pub absent_max: Option<f64>,
    /// The greatest share of operations that reached too few.
    pub unreachable_max: Option<f64>,
    /// The greatest share of answers with proof of a conflict, or contested claims.
    pub conflict_max: Option<f64>,
    /// The greatest share of answers without a majority.
    pub unsettled_max: Option<f64>,
    /// The most lookups that gave a node less than it was given before.
    pub regressions_max: Option<u32>,
    /// The most round trips at the median.
    pub round_trips_p50_max: Option<f64>,
    /// The most round trips at the 99th percentile.
    pub round_trips_p99_max: Option<f64>,
    /// The longest latency at the median, in milliseconds.
    pub latency_ms_p50_max: Option<f64>,
    /// The least share of the true holders that hold their record.
    pub holders_true_share_min: Option<f64>,
    /// The most copies of records that are given to nodes outside an operation. Of any step.
    pub records_moved_max: Option<u32>,
    /// The most that one node sends outside operations within ten seconds, in bytes a second. Of any step.
    pub upkeep_peak_max: Option<f64>,
}
