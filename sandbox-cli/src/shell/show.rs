//! What the sandbox looks like, in tables.

use super::command::{COMMANDS, Usage};
use super::names::{Known, node_name, user_name};
use anstyle::Style;
use routing_core::config::NodeConfig;
use routing_core::id::{Guid, Key};
use routing_core::record::{ClaimKind, Record, claim_key};
use std::collections::BTreeSet;
use transport_sim::network::{Condition, NodeIndex};
use transport_sim::sandbox::RoutingSandbox;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
/// How many lines a list has that was not asked for in full.
const LINES_MAX: usize = 20;
/// How many neighbours are named.
const NEIGHBOURS_MAX: usize = 8;

/// One who has just joined.
pub(super) fn newcomer(sandbox: &RoutingSandbox, member: usize) -> String {
    let server = &sandbox.members()[member];
    let contacts = sandbox.network().state(server.node).map_or(0, |state| state.table().len());
    let others = counted(contacts, "other");
    format!("n{} {} at {} has joined and knows {others}\n", member + 1, server.grid.0, server.domain)
}

/// The list of nodes.
pub(super) fn nodes(sandbox: &RoutingSandbox, all: bool) -> String {
    let members = sandbox.members();
    if members.is_empty() {
        return "nobody is there yet: new starts a node\n".to_owned();
    }
    let shown = if all { members.len() } else { members.len().min(LINES_MAX) };
    let conditions: Vec<String> = (0..shown).map(|member| condition(sandbox, member)).collect();
    let width = members[..shown].iter().map(|member| member.domain.as_str().len()).max().unwrap_or(0);
    let wide = conditions.iter().map(String::len).max().unwrap_or(0);
    let mut text = format!("{DIM}{:<6}  {:<8}  {:<width$}  {:<wide$}  knows  records{DIM:#}\n", "", "id", "domain", "");
    for (index, (member, condition)) in members.iter().zip(conditions).enumerate() {
        let number = format!("n{}", index + 1);
        let line = format!("{number:<6}  {:<8}  {:<width$}  {condition:<wide$}", short(member.grid.0), member.domain);
        text += &match sandbox.network().state(member.node) {
            Some(state) => format!("{line}  {:>5}  {:>7}\n", state.table().len(), state.store().len()),
            None => format!("{}\n", line.trim_end()),
        };
    }
    text + &left_out(members.len() - shown, "nodes")
}

fn left_out(count: usize, list: &str) -> String {
    if count == 0 { String::new() } else { format!("{DIM}and {count} more: {list} all{DIM:#}\n") }
}

fn short(id: routing_core::id::Id) -> String {
    format!("{id:?}")
}

/// What a node does, and where it stands.
fn condition(sandbox: &RoutingSandbox, member: usize) -> String {
    let server = &sandbox.members()[member];
    let network = sandbox.network();
    let is = match network.condition(server.node) {
        Condition::Running if server.has_joined => "runs",
        Condition::Running => "joins",
        Condition::Halted => "halted",
        Condition::Left => return "left".to_owned(),
        Condition::Killed => return "killed".to_owned(),
        Condition::Down => "down",
    };
    if network.is_cut() { format!("{is}, part {}", network.part(server.node) + 1) } else { is.to_owned() }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The list of users.
pub(super) fn users(sandbox: &RoutingSandbox, known: &[Known], all: bool) -> String {
    if known.is_empty() {
        return "nobody is registered yet: register n1 makes a user\n".to_owned();
    }
    let shown = if all { known.len() } else { known.len().min(LINES_MAX) };
    let mut text = String::new();
    for (index, one) in known[..shown].iter().enumerate() {
        let account = sandbox.users().iter().find(|user| user.guid() == one.guid);
        let version = account.and_then(|user| user.acknowledged()).map(|version| format!("v{version} acknowledged"));
        let state = match account {
            None => "claimed".to_owned(),
            Some(_) => version.unwrap_or_else(|| "not acknowledged".to_owned()),
        };
        let home = one.told.as_ref().map_or("closed", |home| home.as_str());
        let number = format!("u{}", index + 1);
        text += &format!("{number:<6}  {:<8}  {home}  {DIM}{state}{DIM:#}\n", short(one.guid.0));
    }
    text + &left_out(known.len() - shown, "users")
}

/// One node, looked into.
pub(super) fn node(sandbox: &RoutingSandbox, member: usize) -> String {
    let server = &sandbox.members()[member];
    let place = server.region.as_ref().map(|region| format!(", at {region}")).unwrap_or_default();
    let mut text = format!("{BOLD}n{}{BOLD:#}  {}\n", member + 1, server.grid.0);
    text += &format!("  {}, {}{place}\n", server.domain, condition(sandbox, member));
    let Some(state) = sandbox.network().state(server.node) else { return text };
    let table = state.table();
    text += &format!("  knows {}, of which {} have answered\n", counted(table.len(), "node"), table.answered());
    let (records, homed) = (counted(state.store().len(), "record"), counted(state.homed().count(), "user"));
    text += &format!("  keeps {records} of {} bytes, and is the home of {homed}\n", state.store().bytes());
    let name = |entry: &routing_core::table::Entry| {
        let member = sandbox.members().iter().position(|member| member.grid == entry.contact().grid());
        member.map_or_else(|| format!("{:?}", entry.contact().grid().0), |member| node_name(sandbox, member))
    };
    let nearest: Vec<String> = table.nearest(&server.grid.0).take(NEIGHBOURS_MAX).map(name).collect();
    if !nearest.is_empty() {
        text += &format!("  nearest to it: {}\n", nearest.join(", "));
    }
    text
}

/// Where somebody's record is stored: a claim, if the sandbox has no key.
fn key_of(sandbox: &RoutingSandbox, guid: Guid) -> Key {
    let has_key = sandbox.users().iter().any(|user| user.guid() == guid);
    if has_key { guid.into() } else { claim_key(ClaimKind::Legacy, &guid.to_string()) }
}

/// The true holders of somebody's record, and all who hold it.
pub(super) fn holders(sandbox: &mut RoutingSandbox, known: &[Known], guid: Guid) -> String {
    let key = key_of(sandbox, guid);
    let groups = NodeConfig::default().holders_of(key.kind);
    let oracle = sandbox.oracle();
    let (holders, nodes) = (oracle.holders(&key.id, groups), oracle.len());
    let sandbox = &*sandbox;
    let what = |node: NodeIndex| {
        let stored = sandbox.network().state(node).and_then(|state| state.store().get(&key));
        stored.map(|stored| told(stored.held().record()))
    };
    let true_holders: BTreeSet<NodeIndex> = holders.iter().copied().collect();
    let mut text =
        format!("{BOLD}{}{BOLD:#}: {} true holders among {nodes} nodes\n", user_name(known, &guid), holders.len());
    let (mut having, mut others) = (0, Vec::new());
    for node in &holders {
        let Some(member) = sandbox.members().iter().position(|member| member.node == *node) else { continue };
        let what = what(*node);
        having += usize::from(what.is_some());
        let what = what.unwrap_or_else(|| format!("{DIM}nothing{DIM:#}"));
        let name = node_name(sandbox, member);
        text += &format!("  {name:<17}  {}  {what}\n", sandbox.members()[member].domain);
    }
    for (member, server) in sandbox.members().iter().enumerate() {
        if !true_holders.contains(&server.node) && what(server.node).is_some() {
            others.push(node_name(sandbox, member));
        }
    }
    text += &format!("held by {having} of them");
    match others.len() {
        0 => text + "\n",
        1..=NEIGHBOURS_MAX => text + &format!(", and by {}\n", others.join(", ")),
        count => text + &format!(", and by {count} others\n"),
    }
}

fn told(record: &Record) -> String {
    match record.home() {
        Some(home) => format!("v{} at {home}", record.version()),
        None => format!("v{}, closed", record.version()),
    }
}

/// How many nodes stand in each part.
pub(super) fn parts(sandbox: &RoutingSandbox, parts: usize, one_way: bool) -> String {
    let size = |part: usize| {
        let living = (0..sandbox.members().len()).filter(|member| sandbox.lives(*member));
        living.filter(|member| usize::from(sandbox.network().part(sandbox.members()[*member].node)) == part).count()
    };
    let sizes: Vec<String> = (0..parts).map(|part| size(part).to_string()).collect();
    let way = if one_way { "; earlier parts still reach later ones" } else { "" };
    format!("the network is in {parts} parts, of {} nodes{way}\n", sizes.join(" | "))
}

/// All commands, or one in full.
pub(super) fn help(usage: Option<&Usage>) -> String {
    if let Some(usage) = usage {
        let more = if usage.more.is_empty() { String::new() } else { format!("{}\n", usage.more) };
        return format!("{BOLD}{usage}{BOLD:#}\n{}\n{more}", usage.what);
    }
    let width = COMMANDS.iter().map(|usage| usage.to_string().len()).max().unwrap_or(0);
    let mut text = String::new();
    for usage in &COMMANDS {
        text += &format!("{:<width$}  {DIM}{}{DIM:#}\n", usage.to_string(), usage.what);
    }
    text + "\nA NODE is a domain, a number such as n3, or the first digits of a GRID; a GUID a number such as u1, or its \
            first\ndigits. help COMMAND says more.\n"
}
