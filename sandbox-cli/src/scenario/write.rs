//! From scenario to text: a file that is read as the same scenario.

use super::{Behaviour, Change, DelaySpec, Do, Kill, Network, Of, Origin, Place, Scenario, Step, Who};
use routing_core::config::NodeConfig;
use std::fmt::Display;
use toml::Value;

/// The keys of a table, in the order in which they are written.
#[derive(Default)]
struct Table(Vec<(String, Value)>);

impl Table {
    fn put(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    fn number(&mut self, key: &str, value: impl Into<i64>) -> &mut Self {
        self.put(key, value.into())
    }

    /// A time, a path or another thing that is written between quotes.
    fn text(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.put(key, value.to_string())
    }

    fn who(&mut self, who: &Who) -> &mut Self {
        match who {
            Who::Share(share) => self.put("share", *share),
            Who::Nodes(nodes) => self.number("nodes", *nodes),
        }
    }

    fn from(&mut self, from: Origin, entry_points: u32) -> &mut Self {
        let name = match from {
            Origin::Client => "client",
            Origin::Node => "node",
        };
        self.put("from", name).number("entry_points", entry_points)
    }

    fn change(&mut self, change: &Change) -> &mut Self {
        self.number("users", change.users).from(change.from, change.entry_points)
    }

    fn delay(&mut self, delay: &DelaySpec) -> &mut Self {
        match delay {
            DelaySpec::Constant { value } => self.put("kind", "constant").text("value", value),
            DelaySpec::Uniform { min, max } => self.put("kind", "uniform").text("min", min).text("max", max),
            DelaySpec::Matrix { file, jitter } => {
                self.put("kind", "matrix").text("file", file.display()).put("jitter", *jitter)
            }
        }
    }

    fn lines(&self) -> String {
        self.0.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// On one line, as the value of a key.
    fn inline(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("{{ {} }}", pairs.join(", "))
    }
}

impl Scenario {
    /// The text of a file that is read as this scenario. Paths are written as they are here: resolved.
    pub fn to_toml(&self) -> String {
        let mut text = format!("name = {}\nseed = {}\n", Value::from(self.name.as_str()), self.seed);
        text += &network(&self.network);
        let node = node(&self.node);
        if !node.is_empty() {
            text += &format!("\n[node]\n{node}");
        }
        for one in &self.steps {
            text += &format!("\n[[step]]\n{}", step(one));
        }
        text
    }
}

fn network(network: &Network) -> String {
    let mut delay = Table::default();
    delay.delay(&network.delay);
    let mut rest = Table::default();
    rest.put("loss", network.loss).put("duplicate", network.duplicate);
    if let Some(link_round_trips) = network.link_round_trips {
        rest.number("link_round_trips", link_round_trips);
    }
    if let Some(links_max) = network.links_max {
        rest.number("links_max", links_max);
    }
    format!("\n[network]\ndelay = {}\n{}", delay.inline(), rest.lines())
}

/// The settings that are not the default.
fn node(config: &NodeConfig) -> String {
    let (set, default) = (Value::try_from(config), Value::try_from(NodeConfig::default()));
    let (Ok(Value::Table(set)), Ok(Value::Table(default))) = (set, default) else { return String::new() };
    let changed = set.iter().filter(|(key, value)| default.get(*key) != Some(value));
    changed.map(|(key, value)| format!("{key} = {value}\n")).collect()
}

fn step(step: &Step) -> String {
    let mut table = Table::default();
    table.put("do", step.what.name());
    what(&mut table, &step.what);
    if step.over.0 > 0 {
        table.text("over", step.over);
    }
    if step.meanwhile {
        table.put("meanwhile", true);
    }
    let mut expected = Table::default();
    if let Some(expect) = &step.expect {
        for (key, bound) in [
            ("correct_min", expect.correct_min),
            ("wrong_max", expect.wrong_max),
            ("absent_max", expect.absent_max),
            ("unreachable_max", expect.unreachable_max),
            ("conflict_max", expect.conflict_max),
            ("unsettled_max", expect.unsettled_max),
            ("round_trips_p50_max", expect.round_trips_p50_max),
            ("round_trips_p99_max", expect.round_trips_p99_max),
            ("latency_ms_p50_max", expect.latency_ms_p50_max),
            ("holders_true_share_min", expect.holders_true_share_min),
            ("upkeep_peak_max", expect.upkeep_peak_max),
        ] {
            if let Some(bound) = bound {
                expected.put(key, bound);
            }
        }
        for (key, bound) in
            [("regressions_max", expect.regressions_max), ("records_moved_max", expect.records_moved_max)]
        {
            if let Some(bound) = bound {
                expected.number(key, bound);
            }
        }
    }
    let expected = if step.expect.is_some() { format!("expect = {}\n", expected.inline()) } else { String::new() };
    table.lines() + &expected
}

/// The keys of a step that belong to what it does.
fn what(table: &mut Table, what: &Do) {
    match what {
        Do::Join(join) => {
            if let Some(nodes) = join.nodes {
                table.number("nodes", nodes);
            }
            table.number("every", join.every).number("entry_points", join.entry_points);
            if let Some(servers) = &join.servers {
                table.text("servers", servers.display());
            }
        }
        Do::Register(register) => {
            table.number("users", register.users);
            if let Some(servers) = register.home_servers {
                table.number("home_servers", servers);
            }
            table.from(register.from, register.entry_points);
        }
        Do::Lookup(lookup) => {
            let of = match lookup.of {
                Of::Users => "users",
                Of::Hosted => "hosted",
                Of::Stranded => "stranded",
                Of::Names => "names",
                Of::Aimed => "aimed",
                Of::All => "all",
            };
            table.number("count", lookup.count).put("of", of).from(lookup.from, lookup.entry_points);
            table.put("zipf", lookup.zipf).text("consistency", lookup.consistency);
        }
        Do::Wait(time) => _ = table.text("time", time),
        Do::Migrate(change) | Do::Close(change) | Do::Rotate(change) => _ = table.change(change),
        Do::Recover(recover) => _ = table.number("users", recover.users).put("thief", recover.thief),
        Do::Claim(claim) => {
            table.number("names", claim.names).number("rivals", claim.rivals).from(claim.from, claim.entry_points);
        }
        Do::Announce(who) | Do::Leave(who) | Do::Away(who) | Do::Halt(who) | Do::Run(who) => _ = table.who(who),
        Do::Kill(Kill::Nodes(who)) => _ = table.who(who),
        Do::Kill(Kill::Site(Some(site))) => _ = table.put("site", site.as_str()),
        Do::Kill(Kill::Site(None)) => _ = table.put("site", true),
        Do::Restart(restart) => _ = table.who(&restart.who).text("down", restart.down).put("proper", restart.proper),
        Do::Cadence(slow) => _ = table.who(&slow.who).number("every", slow.every),
        Do::Churn(churn) => {
            table.text("time", churn.time).text("session", churn.session).text("down", churn.down);
        }
        Do::Partition(partition) => {
            table.put("parts", partition.parts.clone()).put("one_way", partition.one_way);
        }
        Do::Heal => {}
        Do::Loss(loss) => {
            for (key, rate) in [("rate", loss.rate), ("duplicate", loss.duplicate)] {
                if let Some(rate) = rate {
                    table.put(key, rate);
                }
            }
        }
        Do::Delay(delay) => _ = table.delay(delay),
        Do::Dishonest(dishonest) => {
            let behaviour = match dishonest.behaviour {
                Behaviour::Silent => "silent",
                Behaviour::Forge => "forge",
                Behaviour::Stale => "stale",
                Behaviour::Misroute => "misroute",
                Behaviour::Mixed => "mixed",
            };
            table.who(&dishonest.who).put("behaviour", behaviour);
            if let Some(aim) = dishonest.aim {
                let place = if dishonest.place == Place::Near { "near" } else { "spread" };
                table.number("aim", aim).put("place", place);
            }
        }
    }
}
