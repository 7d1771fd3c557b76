//! Steps in words, for headings and progress bars.

use super::*;
use std::fmt::{self, Display};

/// A number with its thousands apart: `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage without needless digits: `30 %`, `99.87 %`.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 1e2)
}

/// A number with what it is one of: `1 node`, `1,000 nodes`.
pub(crate) fn counted(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn asked_by(from: Origin, entry_points: u32) -> String {
    match from {
        Origin::Client => format!("by clients through {}", counted(entry_points, "entry point")),
        Origin::Node => "by nodes".to_owned(),
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Share(share) => write!(f, "{} of the nodes", percent(*share)),
            Who::Nodes(nodes) => f.write_str(&counted(*nodes, "node")),
        }
    }
}

/// How long messages take, in words. No `Display`: the type may live in another crate.
fn delay(delay: &DelaySpec) -> String {
    match delay {
        DelaySpec::Constant { value } => value.to_string(),
        DelaySpec::Uniform { min, max } => format!("{min} to {max}"),
        DelaySpec::Matrix { file, jitter } => {
            format!("{}, jitter {jitter}", file.file_name().unwrap_or_default().to_string_lossy())
        }
    }
}

impl Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            Of::Users => "users",
            Of::Hosted => "users of living servers",
            Of::Stranded => "users of dead servers",
            Of::Names => "names",
            Of::Aimed => "users aimed at",
            Of::All => "users and names",
        };
        write!(f, "{} of {of}, {}", counted(self.count, "lookup"), self.consistency)?;
        if self.zipf > 0.0 {
            write!(f, ", zipf {}", self.zipf)?;
        }
        write!(f, ", {}", asked_by(self.from, self.entry_points))
    }
}

impl Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.as_ref().map(|file| file.file_name().unwrap_or_default().to_string_lossy());
        match (self.nodes, servers) {
            (Some(nodes), Some(file)) => write!(f, "{} of {file}", counted(nodes, "server"))?,
            (Some(nodes), None) => f.write_str(&counted(nodes, "node"))?,
            (None, Some(file)) => write!(f, "all servers of {file}")?,
            (None, None) => f.write_str("nobody")?,
        }
        write!(f, " through {}", counted(self.entry_points, "entry point"))?;
        if self.every > 1 { write!(f, ", each at every {}th tick", self.every) } else { Ok(()) }
    }
}

/// What the step was told, without its name: `30 % of the nodes`.
impl Display for Do {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Do::Join(join) => join.fmt(f),
            Do::Register(register) => {
                write!(f, "{}", counted(register.users, "user"))?;
                if let Some(servers) = register.home_servers {
                    write!(f, " on {}", counted(servers, "server"))?;
                }
                match register.from {
                    Origin::Node => f.write_str(", each server its own"),
                    from => write!(f, ", {}", asked_by(from, register.entry_points)),
                }
            }
            Do::Lookup(lookup) => lookup.fmt(f),
            Do::Wait(time) => time.fmt(f),
            Do::Migrate(change) | Do::Close(change) | Do::Rotate(change) => {
                write!(f, "{}, {}", counted(change.users, "account"), asked_by(change.from, change.entry_points))
            }
            Do::Recover(recover) => {
                let thief = if recover.thief { ", each against a thief" } else { "" };
                write!(f, "{}{thief}", counted(recover.users, "account"))
            }
            Do::Claim(claim) => {
                write!(f, "{}", counted(claim.names, "name"))?;
                if claim.rivals > 0 {
                    write!(f, ", {} of them twice", grouped(claim.rivals.into()))?;
                }
                write!(f, ", {}", asked_by(claim.from, claim.entry_points))
            }
            Do::Announce(who) | Do::Leave(who) | Do::Away(who) | Do::Halt(who) | Do::Run(who) => who.fmt(f),
            Do::Kill(Kill::Nodes(who)) => who.fmt(f),
            Do::Kill(Kill::Site(Some(site))) => write!(f, "the site {site}"),
            Do::Kill(Kill::Site(None)) => f.write_str("one site"),
            Do::Restart(restart) => {
                let manner = if restart.proper { "properly" } else { "without a word" };
                write!(f, "{}, down for {}, {manner}", restart.who, restart.down)
            }
            Do::Cadence(slow) => write!(f, "{} at every {}th tick", slow.who, slow.every),
            Do::Churn(churn) => {
                write!(f, "{}, sessions of {} and pauses of {} on average", churn.time, churn.session, churn.down)
            }
            Do::Partition(partition) => {
                let parts: Vec<_> = partition.parts.iter().map(|part| percent(*part)).collect();
                write!(f, "{}{}", parts.join(" | "), if partition.one_way { ", one way" } else { "" })
            }
            Do::Heal => f.write_str("all links restored"),
            Do::Loss(loss) => {
                let lost = loss.rate.map(|rate| format!("{} lost", percent(rate)));
                let twice = loss.duplicate.map(|rate| format!("{} twice", percent(rate)));
                f.write_str(&lost.into_iter().chain(twice).collect::<Vec<_>>().join(", "))
            }
            Do::Delay(spec) => f.write_str(&delay(spec)),
            Do::Dishonest(dishonest) => {
                let behaviour = format!("{:?}", dishonest.behaviour).to_lowercase();
                write!(f, "{}, {behaviour}", dishonest.who)?;
                match dishonest.aim {
                    Some(aim) => write!(f, ", aimed at {}", counted(aim, "user")),
                    None => Ok(()),
                }
            }
        }
    }
}
