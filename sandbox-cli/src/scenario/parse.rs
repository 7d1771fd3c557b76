//! From text to scenario.

use super::keys::{Keys, Must, Problem, ScenarioError, Source, value};
use super::step::NAMES;
use super::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a whole scenario; see [`Scenario::parse`].
pub(super) fn scenario(text: &str, file: &str, dir: &Path) -> Result<Scenario, ScenarioError> {
    let source = Source { text, file };
    let document = DeTable::parse(text).map_err(|error| not_toml(source, &error))?;
    let mut keys = Keys::new(source, "a scenario", 0, document.into_inner());
    keys.only(&["name", "seed", "tick", "network", "node", "step"])?;
    keys.optional("tick", tick)?;
    let stem = || Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let scenario = Scenario {
        name: keys.optional("name", value::text)?.unwrap_or_else(stem),
        file: file.to_owned(),
        seed: keys.optional("seed", value::seed)?.unwrap_or(0),
        network: keys.take("network").map_or(Ok(Network::default()), |table| network(source, table, dir))?,
        node: keys.take("node").map_or(Ok(NodeConfig::default()), |table| node(source, table))?,
        steps: steps(&mut keys, dir)?,
    };
    keys.finish()?;
    Ok(scenario)
}

fn not_toml(source: Source<'_>, error: &toml::de::Error) -> ScenarioError {
    let line = source.line(error.span().map_or(0, |span| span.start));
    // The parser's messages may run over lines; ours are one line each.
    let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
    ScenarioError::NotToml { file: source.file.to_owned(), line, message }
}

/// The unit of virtual time: for now it may be said, and not chosen.
fn tick(value: &DeValue<'_>) -> Result<(), Must> {
    value::time(value).ok().filter(|tick| *tick == Ticks::millis(1)).map(|_| ()).ok_or("be \"1ms\"")
}

fn network<'i>(source: Source<'i>, table: Spanned<DeValue<'i>>, dir: &Path) -> Result<Network, ScenarioError> {
    let mut keys = Keys::within(source, "network", table)?;
    keys.call("[network]".to_owned());
    keys.only(&["delay", "loss", "duplicate", "link_round_trips", "links_max"])?;
    let default = Network::default();
    let network = Network {
        delay: keys.take("delay").map_or(Ok(default.delay), |table| delay(source, table, dir))?,
        loss: keys.optional("loss", value::share)?.unwrap_or(default.loss),
        duplicate: keys.optional("duplicate", value::share)?.unwrap_or(default.duplicate),
        link_round_trips: keys.optional("link_round_trips", value::link_round_trips)?,
        links_max: keys.optional("links_max", value::count)?,
        lines: keys.lines(),
    };
    keys.finish()?;
    Ok(network)
}

/// The keys of a delay, of all kinds.
const DELAY: [&str; 6] = ["kind", "value", "min", "max", "file", "jitter"];

fn delay<'i>(source: Source<'i>, table: Spanned<DeValue<'i>>, dir: &Path) -> Result<DelaySpec, ScenarioError> {
    let mut keys = Keys::within(source, "delay", table)?;
    keys.only(&DELAY)?;
    let delay = delay_from(&mut keys, &[], dir)?;
    keys.finish()?;
    Ok(delay)
}

/// Reads a delay out of a table that may also have the keys of `others`.
fn delay_from(keys: &mut Keys<'_>, others: &[&'static str], dir: &Path) -> Result<DelaySpec, ScenarioError> {
    let kind = keys.required("kind", one_of(&["constant", "uniform", "matrix"], "be constant, uniform or matrix"))?;
    let own: &[_] = [&["value"] as &[_], &["min", "max"], &["file", "jitter"]][kind];
    keys.only(&[&["kind"], own, others].concat())?;
    Ok(match kind {
        0 => DelaySpec::Constant { value: keys.required("value", value::some_time)? },
        1 => {
            let (min, max) = (keys.required("min", value::some_time)?, keys.required("max", value::some_time)?);
            if min > max {
                return Err(keys.impossible("min", "not be longer than max"));
            }
            DelaySpec::Uniform { min, max }
        }
        _ => DelaySpec::Matrix {
            file: keys.required("file", path(dir))?,
            jitter: keys.optional("jitter", value::not_negative)?.unwrap_or(0.0),
        },
    })
}

/// The index of a word among those allowed.
fn one_of<'a>(words: &'a [&'a str], must: Must) -> impl Fn(&DeValue<'_>) -> Result<usize, Must> + 'a {
    move |value| value.as_str().and_then(|text| words.iter().position(|word| *word == text)).ok_or(must)
}

fn path(dir: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, Must> + '_ {
    |value| value.as_str().filter(|text| !text.is_empty()).map(|text| dir.join(text)).ok_or("be the path of a file")
}

fn node<'i>(source: Source<'i>, table: Spanned<DeValue<'i>>) -> Result<NodeConfig, ScenarioError> {
    let at = table.span().start;
    let DeValue::Table(fields) = table.get_ref() else {
        return Err(source.impossible(table.span(), "node", "be a table"));
    };
    // What serde complains about stands at a field's name or in its value.
    let places: Vec<_> =
        fields.iter().map(|(key, value)| (key.get_ref().to_string(), key.span(), value.span())).collect();
    let read = NodeConfig::deserialize(toml::de::ValueDeserializer::from(table));
    let config = read.map_err(|error| {
        let span = error.span().unwrap_or(at..at);
        let found = places.iter().find(|(_, key, value)| key.start <= span.start && span.end <= value.end);
        match found {
            Some((key, place, _)) if place.contains(&span.start) => {
                let known = default_fields().keys().cloned().collect();
                source.error(span.start, key, Problem::Unknown { table: "[node]".to_owned(), known })
            }
            Some((key, _, value)) => {
                let must = match usual_time(key) {
                    Some(time) => format!("be a time such as \"{time}\", in quotes, and no more than a century"),
                    None => format!("be valid: {}", error.message()),
                };
                source.impossible(value.clone(), key, &must)
            }
            None => not_toml(source, &error),
        }
    })?;
    config.validate().map_err(|error| {
        let must = format!("be {}", error.must);
        match places.iter().find(|(key, ..)| key == error.field) {
            Some((key, _, value)) => source.impossible(value.clone(), key, &must),
            // The field has its default; the relation to one that was set does not hold.
            None => {
                let value = format!("{} (the default)", error.value);
                source.error(at, error.field, Problem::Impossible { value, must })
            }
        }
    })?;
    Ok(config)
}

/// All settings of a node, with their defaults.
fn default_fields() -> toml::Table {
    match toml::Value::try_from(NodeConfig::default()) {
        Ok(toml::Value::Table(fields)) => fields,
        _ => toml::Table::new(),
    }
}

/// The default of a setting that is a time.
fn usual_time(field: &str) -> Option<Ticks> {
    default_fields().get(field)?.as_str()?.parse().ok()
}

fn steps(keys: &mut Keys<'_>, dir: &Path) -> Result<Vec<Step>, ScenarioError> {
    const MUST: &str = "be one or more tables, each headed [[step]]";
    let source = keys.source();
    let tables = keys.take("step").ok_or_else(|| keys.missing("step"))?;
    let span = tables.span();
    let DeValue::Array(tables) = tables.into_inner() else { return Err(source.impossible(span, "step", MUST)) };
    if tables.is_empty() {
        return Err(source.impossible(span, "step", MUST));
    }
    tables.into_iter().map(|table| Keys::within(source, "step", table).and_then(|keys| step(keys, dir))).collect()
}

fn step(mut keys: Keys<'_>, dir: &Path) -> Result<Step, ScenarioError> {
    const STEP: Must = "be join, register, announce, lookup, wait, migrate, close, rotate, recover, claim, leave, \
        away, kill, halt, run, restart, cadence, churn, partition, heal, loss, delay or dishonest";
    keys.call("a step".to_owned());
    let name = NAMES[keys.required("do", one_of(&NAMES, STEP))?];
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    keys.call(format!("{article} {name} step"));
    keys.only(&[own_keys(name), &COMMON].concat())?;
    let what = what(name, &mut keys, dir)?;
    let expected = keys.take("expect").map(|table| {
        let mut keys = Keys::within(keys.source(), "expect", table)?;
        keys.call(format!("expect of {article} {name} step"));
        expect(keys, &what)
    });
    let expect = expected.transpose()?;
    let step = Step {
        what,
        over: keys.optional("over", value::time)?.unwrap_or_default(),
        meanwhile: keys.optional("meanwhile", value::truth)?.unwrap_or(false),
        expect,
        lines: keys.lines(),
    };
    keys.finish()?;
    Ok(step)
}

/// The keys that each step may have, besides `do`.
const COMMON: [&str; 3] = ["over", "meanwhile", "expect"];

/// The keys of a step besides `do` and those that each step may have, as the handbook lists them.
fn own_keys(name: &str) -> &'static [&'static str] {
    match name {
        "join" => &["nodes", "every", "entry_points", "servers"],
        "register" => &["users", "home_servers", "from", "entry_points"],
        "lookup" => &["count", "of", "from", "entry_points", "zipf", "consistency"],
        "wait" => &["time"],
        "migrate" | "close" | "rotate" => &["users", "from", "entry_points"],
        "recover" => &["users", "thief"],
        "claim" => &["names", "rivals", "from", "entry_points"],
        "kill" => &["share", "nodes", "site"],
        "restart" => &["share", "nodes", "down", "proper"],
        "cadence" => &["share", "nodes", "every"],
        "churn" => &["time", "session", "down"],
        "partition" => &["parts", "one_way"],
        "loss" => &["rate", "duplicate"],
        "delay" => &["delay", "kind", "value", "min", "max", "file", "jitter"],
        "dishonest" => &["share", "nodes", "behaviour", "aim", "place"],
        "heal" => &[],
        // announce, leave, away, halt, run
        _ => &["share", "nodes"],
    }
}

fn what(name: &str, keys: &mut Keys<'_>, dir: &Path) -> Result<Do, ScenarioError> {
    Ok(match name {
        "join" => Do::Join(join(keys, dir)?),
        "register" => Do::Register(Register {
            users: keys.required("users", value::operations)?,
            home_servers: keys.optional("home_servers", value::count)?,
            from: origin(keys)?,
            entry_points: entry_points(keys)?,
        }),
        "announce" => Do::Announce(who(keys)?),
        "lookup" => Do::Lookup(lookup(keys)?),
        "wait" => Do::Wait(keys.required("time", value::time)?),
        "migrate" => Do::Migrate(change(keys)?),
        "close" => Do::Close(change(keys)?),
        "rotate" => Do::Rotate(change(keys)?),
        "recover" => Do::Recover(Recover {
            users: keys.required("users", value::operations)?,
            thief: keys.optional("thief", value::truth)?.unwrap_or(false),
        }),
        "claim" => Do::Claim(claim(keys)?),
        "leave" => Do::Leave(who(keys)?),
        "away" => Do::Away(who(keys)?),
        "kill" => Do::Kill(kill(keys)?),
        "halt" => Do::Halt(who(keys)?),
        "run" => Do::Run(who(keys)?),
        "restart" => Do::Restart(Restart {
            who: who(keys)?,
            down: keys.required("down", value::time)?,
            proper: keys.optional("proper", value::truth)?.unwrap_or(false),
        }),
        "cadence" => Do::Cadence(Slow { who: who(keys)?, every: keys.required("every", value::count)? }),
        "churn" => Do::Churn(Churn {
            time: keys.required("time", value::time)?,
            session: keys.required("session", value::some_time)?,
            down: keys.required("down", value::some_time)?,
        }),
        "partition" => Do::Partition(Partition {
            parts: keys.required("parts", value::shares)?,
            one_way: keys.optional("one_way", value::truth)?.unwrap_or(false),
        }),
        "heal" => Do::Heal,
        "loss" => Do::Loss(loss(keys)?),
        "delay" => Do::Delay(delay_step(keys, dir)?),
        "dishonest" => Do::Dishonest(dishonest(keys)?),
        _ => unreachable!("each name in NAMES has its arm"),
    })
}

fn join(keys: &mut Keys<'_>, dir: &Path) -> Result<Join, ScenarioError> {
    let join = Join {
        nodes: keys.optional("nodes", value::nodes)?,
        every: keys.optional("every", value::count)?.unwrap_or(1),
        entry_points: entry_points(keys)?,
        servers: keys.optional("servers", path(dir))?,
    };
    if join.nodes.is_none() && join.servers.is_none() {
        return Err(keys.missing("nodes"));
    }
    Ok(join)
}

fn lookup(keys: &mut Keys<'_>) -> Result<Lookup, ScenarioError> {
    const OF: [Of; 6] = [Of::Users, Of::Hosted, Of::Stranded, Of::Names, Of::Aimed, Of::All];
    const LEVELS: [Consistency; 4] =
        [Consistency::Quick, Consistency::Quorum, Consistency::All, Consistency::Confirmed];
    const WORDS: [&str; 6] = ["users", "hosted", "stranded", "names", "aimed", "all"];
    let of = one_of(&WORDS, "be users, hosted, stranded, names, aimed or all");
    let level = one_of(&["quick", "quorum", "all", "confirmed"], "be quick, quorum, all or confirmed");
    Ok(Lookup {
        count: keys.required("count", value::operations)?,
        of: keys.optional("of", of)?.map_or(Of::default(), |index| OF[index]),
        from: origin(keys)?,
        entry_points: entry_points(keys)?,
        zipf: keys.optional("zipf", value::not_negative)?.unwrap_or(0.0),
        consistency: keys.optional("consistency", level)?.map_or(Consistency::default(), |index| LEVELS[index]),
    })
}

fn change(keys: &mut Keys<'_>) -> Result<Change, ScenarioError> {
    Ok(Change {
        users: keys.required("users", value::operations)?,
        from: origin(keys)?,
        entry_points: entry_points(keys)?,
    })
}

fn claim(keys: &mut Keys<'_>) -> Result<Claim, ScenarioError> {
    let claim = Claim {
        names: keys.required("names", value::operations)?,
        rivals: keys.optional("rivals", value::whole)?.unwrap_or(0),
        from: origin(keys)?,
        entry_points: entry_points(keys)?,
    };
    if claim.rivals > claim.names {
        return Err(keys.impossible("rivals", "not be more than names"));
    }
    Ok(claim)
}

fn kill(keys: &mut Keys<'_>) -> Result<Kill, ScenarioError> {
    let site = keys.optional("site", |value| match value {
        DeValue::Boolean(true) => Ok(None),
        DeValue::String(label) if !label.is_empty() => Ok(Some(label.to_string())),
        _ => Err("be a region's label, or true for one drawn"),
    })?;
    let Some(site) = site else { return Ok(Kill::Nodes(who(keys)?)) };
    if keys.has("share") || keys.has("nodes") {
        return Err(keys.impossible("site", "not stand beside share or nodes"));
    }
    Ok(Kill::Site(site))
}

fn loss(keys: &mut Keys<'_>) -> Result<Loss, ScenarioError> {
    let loss =
        Loss { rate: keys.optional("rate", value::share)?, duplicate: keys.optional("duplicate", value::share)? };
    if loss.rate.is_none() && loss.duplicate.is_none() {
        return Err(keys.missing("rate"));
    }
    Ok(loss)
}

/// The delay of a `delay` step: a table under `delay`, as in `[network]`, or the keys of that table in the step itself.
fn delay_step(keys: &mut Keys<'_>, dir: &Path) -> Result<DelaySpec, ScenarioError> {
    let own = DELAY.into_iter().find(|key| keys.has(key));
    let Some(table) = keys.take("delay") else {
        return if own.is_some() { delay_from(keys, &COMMON, dir) } else { Err(keys.missing("delay")) };
    };
    if let Some(key) = own {
        keys.take(key);
        return Err(keys.impossible(key, "not stand beside delay: say it in the one place or in the other"));
    }
    delay(keys.source(), table, dir)
}

fn dishonest(keys: &mut Keys<'_>) -> Result<Dishonest, ScenarioError> {
    const BEHAVIOURS: [Behaviour; 5] =
        [Behaviour::Silent, Behaviour::Forge, Behaviour::Stale, Behaviour::Misroute, Behaviour::Mixed];
    let behaviour =
        one_of(&["silent", "forge", "stale", "misroute", "mixed"], "be silent, forge, stale, misroute or mixed");
    let who = who(keys)?;
    let behaviour = BEHAVIOURS[keys.required("behaviour", behaviour)?];
    let aim = keys.optional("aim", value::count)?;
    let place = keys.optional("place", one_of(&["near", "spread"], "be near or spread"))?;
    if place.is_some() && aim.is_none() {
        return Err(keys.impossible("place", "stand beside aim: without it nodes of the network turn where they are"));
    }
    let place = if place == Some(1) { Place::Spread } else { Place::Near };
    Ok(Dishonest { who, behaviour, aim, place })
}

fn who(keys: &mut Keys<'_>) -> Result<Who, ScenarioError> {
    let (share, nodes) = (keys.optional("share", value::share)?, keys.optional("nodes", value::nodes)?);
    match (share, nodes) {
        (Some(share), None) => Ok(Who::Share(share)),
        (None, Some(nodes)) => Ok(Who::Nodes(nodes)),
        (Some(_), Some(_)) => Err(keys.impossible("nodes", "not stand beside share: say one of the two")),
        (None, None) => Err(keys.missing("share or nodes")),
    }
}

fn origin(keys: &mut Keys<'_>) -> Result<Origin, ScenarioError> {
    let from = keys.optional("from", one_of(&["client", "node"], "be client or node"))?;
    Ok(if from == Some(1) { Origin::Node } else { Origin::Client })
}

fn entry_points(keys: &mut Keys<'_>) -> Result<u32, ScenarioError> {
    Ok(keys.optional("entry_points", value::entry_points)?.unwrap_or(ENTRY_POINTS))
}

/// What may be expected of any step, what only of those that consist of operations, and what only of registrations.
const EXPECT_ALWAYS: [&str; 2] = ["records_moved_max", "upkeep_peak_max"];
const EXPECT_OF_REGISTERS: [&str; 1] = ["holders_true_share_min"];
const EXPECT_OF_OPERATIONS: [&str; 10] = [
    "correct_min",
    "wrong_max",
    "absent_max",
    "unreachable_max",
    "conflict_max",
    "unsettled_max",
    "regressions_max",
    "round_trips_p50_max",
    "round_trips_p99_max",
    "latency_ms_p50_max",
];

fn expect(mut keys: Keys<'_>, of: &Do) -> Result<Expect, ScenarioError> {
    let of_operations: &[_] = if of.has_operations() { &EXPECT_OF_OPERATIONS } else { &[] };
    let of_registers: &[_] = if matches!(of, Do::Register(_)) { &EXPECT_OF_REGISTERS } else { &[] };
    keys.only(&[of_operations, of_registers, &EXPECT_ALWAYS].concat())?;
    let expect = Expect {
        correct_min: keys.optional("correct_min", value::share)?,
        wrong_max: keys.optional("wrong_max", value::share)?,
        absent_max: keys.optional("absent_max", value::share)?,
        unreachable_max: keys.optional("unreachable_max", value::share)?,
        conflict_max: keys.optional("conflict_max", value::share)?,
        unsettled_max: keys.optional("unsettled_max", value::share)?,
        regressions_max: keys.optional("regressions_max", value::whole)?,
        round_trips_p50_max: keys.optional("round_trips_p50_max", value::not_negative)?,
        round_trips_p99_max: keys.optional("round_trips_p99_max", value::not_negative)?,
        latency_ms_p50_max: keys.optional("latency_ms_p50_max", value::not_negative)?,
        holders_true_share_min: keys.optional("holders_true_share_min", value::share)?,
        records_moved_max: keys.optional("records_moved_max", value::whole)?,
        upkeep_peak_max: keys.optional("upkeep_peak_max", value::not_negative)?,
    };
    keys.finish()?;
    Ok(expect)
}
