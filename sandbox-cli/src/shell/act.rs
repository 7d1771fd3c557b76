//! Doing what was typed. Each act runs the network until it has its outcome.

use super::command::Command;
use super::names::{self, Known, node_name, user_name};
use super::{Complaint, Reply, Shell, show};
use crate::runner::{another_home, doors, stand_at, traced_hop};
use crate::scenario::{Consistency, ENTRY_POINTS};
use crate::trace::{self, Asker as TracedAsker, TracedLookup};
use routing_core::domain::Domain;
use routing_core::id::{Grid, Guid};
use routing_core::state::{HolderSaid, Registered, Verdict};
use routing_core::time::{Tick, Ticks};
use std::path::Path;
use transport_sim::network::{Condition, NodeIndex};
use transport_sim::sandbox::tasks::{Asker, Change, Done};
use transport_sim::sandbox::{Route, SandboxError};

/// What lies between two of several nodes that are started.
const START_PAUSE: Ticks = Ticks::millis(30);
/// How long the first nodes are given to hear of each other.
const ACQUAINTANCE: Ticks = Ticks::seconds(10);
/// The longest that anything is waited for, as in the seed API.
const PATIENCE: Ticks = Ticks::hours(1);
/// The most newcomers that are named one by one.
const NAMED_MAX: usize = 10;

impl Shell {
    pub(super) fn act(&mut self, command: Command) -> Result<Reply, Complaint> {
        let text = match command {
            Command::New { count, via } => self.start(count, &via)?,
            Command::Cadence { node, every } => self.run_node(&node, every)?,
            Command::Remove(nodes) => self.remove(&nodes)?,
            Command::Kill(nodes) => self.kill(&nodes)?,
            Command::Register { guid, domain, via } => self.register(guid.as_deref(), &domain, &via)?,
            Command::Route { guid, expected, via } => self.route(&guid, expected.as_deref(), &via)?,
            Command::Migrate { guid, to, via } => self.migrate(&guid, to.as_deref(), &via)?,
            Command::Close { guid, via } => self.close(&guid, &via)?,
            Command::Tick(ticks) => self.pass(Ticks(ticks)),
            Command::Run(time) => self.pass(time),
            Command::Time => self.time(),
            Command::Nodes { all } => show::nodes(&self.sandbox, all),
            Command::Users { all } => show::users(&self.sandbox, &self.users, all),
            Command::Node(node) => show::node(&self.sandbox, names::node(&self.sandbox, &node)?),
            Command::Holders(guid) => {
                let guid = names::user(&self.users, &guid)?;
                show::holders(&mut self.sandbox, &self.users, guid)
            }
            Command::Partition { parts, one_way } => {
                self.sandbox.partition(&parts, one_way);
                show::parts(&self.sandbox, parts.len(), one_way)
            }
            Command::Heal => {
                self.sandbox.heal();
                "the network is whole\n".to_owned()
            }
            Command::Loss(rate) => {
                self.sandbox.network_mut().set_loss(rate);
                format!("{} % of all messages are lost from now on\n", (rate * 1e4).round() / 1e2)
            }
            Command::Save(file) => self.save(&file)?,
            Command::Help(usage) => show::help(usage),
            Command::Quit => return Ok(Reply::Farewell),
        };
        Ok(Reply::Text(text))
    }

    /// The first nodes, before anything is typed.
    pub(super) fn begin(&mut self, count: u32) -> Result<(), Complaint> {
        self.start(count, &[])?;
        self.sandbox.tick(ACQUAINTANCE.0);
        Ok(())
    }

    fn start(&mut self, count: u32, via: &[String]) -> Result<String, Complaint> {
        let via = self.living(via)?;
        let (first, began) = (self.sandbox.members().len(), self.sandbox.now());
        for _ in 0..count {
            let entry_points = match &via[..] {
                [] if self.sandbox.running().is_empty() => Vec::new(),
                [] => doors(&mut self.sandbox, ENTRY_POINTS as usize),
                via => via.to_vec(),
            };
            let member = self.add_server();
            stand_at(&mut self.sandbox, member, &entry_points);
            self.sandbox.start_join(0, member, &entry_points);
            // There is nobody to join before the first one is in.
            let pause = if entry_points.is_empty() { PATIENCE } else { START_PAUSE };
            self.sandbox.run_until(pause, |sandbox| entry_points.is_empty() && !sandbox.running().is_empty());
        }
        let is_in = |shell: &Self| {
            (first..first + count as usize).filter(|new| shell.sandbox.members()[*new].has_joined).count()
        };
        self.settle(count as usize);
        let (asked, joined) = (count as usize, is_in(self));
        if joined < asked {
            return Err(Complaint::NotIn { missing: asked - joined, asked });
        }
        let took = self.sandbox.now().since(began);
        if asked > NAMED_MAX {
            let last = first + asked;
            return Ok(format!("n{} to n{last} have joined, in {:.3} s\n", first + 1, took.as_seconds()));
        }
        Ok((first..first + asked).map(|new| show::newcomer(&self.sandbox, new)).collect())
    }

    /// The next server of the list, or one at a domain made up for it.
    fn add_server(&mut self) -> usize {
        match self.servers.pop_front() {
            Some(server) => self.sandbox.add_server(server.domain, server.users, server.region.as_deref()),
            None => {
                self.sandbox.new_node();
                self.sandbox.members().len() - 1
            }
        }
    }

    fn run_node(&mut self, node: &str, every: i64) -> Result<String, Complaint> {
        let member = names::living(&self.sandbox, node)?;
        self.sandbox.run_node(self.sandbox.members()[member].grid, every)?;
        let name = node_name(&self.sandbox, member);
        Ok(match every {
            1 => format!("{name} runs at every tick\n"),
            2.. => format!("{name} runs at every {every}th tick\n"),
            _ => format!("{name} is halted: its inbox keeps the oldest 256 messages\n"),
        })
    }

    fn remove(&mut self, nodes: &[String]) -> Result<String, Complaint> {
        let members = self.each(nodes)?;
        let is_halted = |member: &&usize| {
            self.sandbox.network().condition(self.sandbox.members()[**member].node) == Condition::Halted
        };
        if let Some(halted) = members.iter().find(is_halted) {
            return Err(Complaint::Halted(node_name(&self.sandbox, *halted)));
        }
        let mut text = String::new();
        for member in members {
            let began = self.sandbox.now();
            self.sandbox.remove_node(self.sandbox.members()[member].grid)?;
            text += &format!("{} has left, in {}\n", node_name(&self.sandbox, member), took(began, self.sandbox.now()));
        }
        Ok(text)
    }

    fn kill(&mut self, nodes: &[String]) -> Result<String, Complaint> {
        let members = self.each(nodes)?;
        let mut text = String::new();
        for member in members {
            self.sandbox.kill_node(self.sandbox.members()[member].grid)?;
            text += &format!("{} is gone\n", node_name(&self.sandbox, member));
        }
        Ok(text)
    }

    /// The living nodes that are meant, each once, in the order in which they were named first.
    fn each(&self, nodes: &[String]) -> Result<Vec<usize>, Complaint> {
        let mut members = Vec::new();
        for node in nodes {
            let member = names::living(&self.sandbox, node)?;
            if !members.contains(&member) {
                members.push(member);
            }
        }
        Ok(members)
    }

    fn register(&mut self, guid: Option<&str>, home: &str, via: &[String]) -> Result<String, Complaint> {
        let named = guid.map(|guid| names::user(&self.users, guid)).transpose()?;
        if let Some(guid) = named {
            self.open_account(&guid)?;
        }
        let home = self.home(home)?;
        let via = self.grids(via)?;
        let guid = named.unwrap_or_else(|| self.sandbox.new_user());
        match self.users.iter_mut().find(|known| known.guid == guid) {
            Some(known) => known.told = Some(home.clone()),
            None => self.users.push(Known { guid, told: Some(home.clone()) }),
        }
        let began = self.sandbox.now();
        let registered = self.sandbox.register_guid(&via, guid, home.as_str())?;
        let took = took(began, self.sandbox.now());
        let said = holders_said(&registered);
        let what = match self.account(&guid) {
            Some(_) => "lives at",
            None => "is claimed to live at",
        };
        let is_acknowledged = registered.records.iter().all(|registration| registration.is_acknowledged);
        if !is_acknowledged {
            return Err(Complaint::NotAcknowledged(said));
        }
        let elsewhere = if self.server(&home).is_some() { "" } else { ", which is no node here" };
        let name = user_name(&self.users, &guid);
        Ok(format!("{name} {what} {home}{elsewhere}: {said}, {}, {took}\n{guid}\n", trips(registered.round_trips)))
    }

    fn route(&mut self, guid: &str, expected: Option<&str>, via: &[String]) -> Result<String, Complaint> {
        let guid = names::user(&self.users, guid)?;
        let wanted = expected.map(|domain| self.home(domain)).transpose()?;
        let via = self.grids(via)?;
        let told = self.users.iter().find(|known| known.guid == guid).and_then(|known| known.told.clone());
        let truth = wanted.clone().or(told);
        let began = self.sandbox.now();
        // Somebody of whom nothing is known is expected nowhere.
        let route = self.sandbox.route_guid(&via, guid, truth.as_ref().map_or("nowhere.invalid", Domain::as_str))?;
        let ended = self.sandbox.now();
        let answer = self.explained(guid, &route, truth.is_some(), began, ended);
        match wanted {
            Some(expected) if !route.is_as_expected() => {
                Err(Complaint::NotAsExpected { answer: answer.trim_end().to_owned(), expected: expected.to_string() })
            }
            _ => Ok(answer),
        }
    }

    /// The answer in a sentence, and how it came about.
    fn explained(&self, guid: Guid, route: &Route, is_judged: bool, began: Tick, ended: Tick) -> String {
        let answer = &route.answer;
        let is_closed = self.account(&guid).is_some_and(|user| self.sandbox.users()[user].is_closed());
        let result = match answer.verdict {
            Verdict::Found | Verdict::Conflict if is_closed || is_judged && !route.is_as_expected() => "wrong",
            Verdict::Found if is_judged => "found as expected",
            verdict => verdict.name(),
        };
        let is_unsettled = !answer.is_settled && answer.record.is_some();
        let lookup = TracedLookup {
            step: 0,
            key: answer.key.id,
            asker: TracedAsker::Client,
            started_ms: began.0,
            ended_ms: ended.0,
            result: format!("{result}{}", if is_unsettled { ", unsettled" } else { "" }),
            consistency: Consistency::Quorum,
            round_trips: answer.round_trips.into(),
            hops: answer.trace.iter().map(|hop| traced_hop(hop, ended)).collect(),
        };
        let name = user_name(&self.users, &guid);
        let found = match (&answer.record, route.home()) {
            (Some(record), Some(home)) => format!("{name} lives at {home}: record v{}", record.version()),
            (Some(record), None) => format!("{name} has no home: record v{}", record.version()),
            (None, _) => format!("nothing is found of {name}"),
        };
        let groups = if answer.confirmations == 1 { "group" } else { "groups" };
        format!("{found}, confirmed by {} {groups} of holders\n{}", answer.confirmations, trace::tell(&lookup))
    }

    fn migrate(&mut self, guid: &str, to: Option<&str>, via: &[String]) -> Result<String, Complaint> {
        let guid = names::user(&self.users, guid)?;
        let user = self.open_account(&guid)?.ok_or_else(|| Complaint::NoKey(user_name(&self.users, &guid)))?;
        let to = match to {
            Some(to) => {
                let home = self.home(to)?;
                self.server(&home).ok_or_else(|| Complaint::NoServer(home.to_string()))?
            }
            None => another_home(&mut self.sandbox, user).ok_or(Complaint::Nobody)?,
        };
        let said = self.change(user, Change::Move(to), via)?;
        let home = self.sandbox.members()[to].domain.clone();
        let text = format!("{} lives at {home}: {said}\n", user_name(&self.users, &guid));
        self.tell(&guid, Some(home));
        Ok(text)
    }

    fn close(&mut self, guid: &str, via: &[String]) -> Result<String, Complaint> {
        let guid = names::user(&self.users, guid)?;
        let user = self.open_account(&guid)?.ok_or_else(|| Complaint::NoKey(user_name(&self.users, &guid)))?;
        let said = self.change(user, Change::Close, via)?;
        self.tell(&guid, None);
        Ok(format!("{} has closed the account: {said}\n", user_name(&self.users, &guid)))
    }

    fn tell(&mut self, guid: &Guid, home: Option<Domain>) {
        if let Some(known) = self.users.iter_mut().find(|known| known.guid == *guid) {
            known.told = home;
        }
    }

    fn change(&mut self, user: usize, change: Change, via: &[String]) -> Result<String, Complaint> {
        let entry_points = self.entry_points(via)?;
        self.sandbox.start_change(0, user, change, &Asker::Client(entry_points))?;
        match self.settle(1).first() {
            Some(done) if done.correct > 0 => {
                let depth = done.round_trips.unwrap_or(0) as u8;
                Ok(format!("acknowledged, {}, {} ms", trips(depth), done.latency_ms))
            }
            Some(_) => Err(Complaint::NotAcknowledged("too few holders keep it".to_owned())),
            None => Err(SandboxError::NoOutcome.into()),
        }
    }

    fn pass(&mut self, time: Ticks) -> String {
        self.sandbox.tick(time.0);
        self.time()
    }

    fn time(&self) -> String {
        format!("{:.3} s, tick {}\n", self.seconds(), self.sandbox.now().0)
    }

    fn save(&self, file: &Path) -> Result<String, Complaint> {
        let mut text = format!("# sandbox-cli shell {} < {}\n", self.options, file.display());
        for line in &self.typed {
            text += &format!("{line}\n");
        }
        std::fs::write(file, text).map_err(|error| Complaint::File { file: file.to_owned(), error })?;
        Ok(format!("{} lines in {}\n", self.typed.len(), file.display()))
    }

    /// Lets time pass until so many operations have ended, or none ends any more.
    fn settle(&mut self, count: usize) -> Vec<Done> {
        let (end, mut done) = (self.sandbox.now() + PATIENCE, self.sandbox.take_done());
        while done.len() < count && self.sandbox.now() < end {
            self.sandbox.tick(1);
            done.extend(self.sandbox.take_done());
        }
        done
    }

    /// The account of somebody whose keys the sandbox has, by number.
    fn account(&self, guid: &Guid) -> Option<usize> {
        self.sandbox.users().iter().position(|user| user.guid() == *guid)
    }

    /// The same, if it is not closed.
    fn open_account(&self, guid: &Guid) -> Result<Option<usize>, Complaint> {
        let account = self.account(guid);
        if account.is_some_and(|user| self.sandbox.users()[user].is_closed()) {
            return Err(Complaint::Closed(user_name(&self.users, guid)));
        }
        Ok(account)
    }

    /// The server at a domain, by number.
    fn server(&self, home: &Domain) -> Option<usize> {
        self.sandbox.members().iter().position(|member| member.domain == *home)
    }

    /// A home: a domain, or that of a node.
    fn home(&self, text: &str) -> Result<Domain, Complaint> {
        if text.contains('.') {
            return domain(text);
        }
        let member = names::node(&self.sandbox, text)?;
        Ok(self.sandbox.members()[member].domain.clone())
    }

    fn living(&self, via: &[String]) -> Result<Vec<NodeIndex>, Complaint> {
        let members = via.iter().map(|node| names::living(&self.sandbox, node));
        members.map(|member| Ok(self.sandbox.members()[member?].node)).collect()
    }

    /// Where somebody begins who asks: at those named, or at some that are drawn.
    fn entry_points(&mut self, via: &[String]) -> Result<Vec<NodeIndex>, Complaint> {
        if !via.is_empty() {
            return self.living(via);
        }
        if self.sandbox.running().is_empty() {
            return Err(Complaint::Nobody);
        }
        Ok(doors(&mut self.sandbox, ENTRY_POINTS as usize))
    }

    fn grids(&mut self, via: &[String]) -> Result<Vec<Grid>, Complaint> {
        let nodes = self.entry_points(via)?;
        Ok(nodes.into_iter().map(|node| self.sandbox.network().grid(node)).collect())
    }
}

fn domain(text: &str) -> Result<Domain, Complaint> {
    text.parse().map_err(|_| Complaint::Domain(text.to_owned()))
}

fn took(began: Tick, ended: Tick) -> String {
    format!("{} ms", ended.since(began).0)
}

fn trips(count: u8) -> String {
    format!("{count} round trip{}", if count == 1 { "" } else { "s" })
}

/// Tells one kind of word of a holder from the others.
type Admits = fn(HolderSaid) -> bool;

/// What the holders made of a record: `14 of 16 holders keep it, 2 are silent`.
fn holders_said(registered: &Registered) -> String {
    let said = || registered.records.iter().flat_map(|registration| &registration.holders).map(|(_, said)| *said);
    let count = |admit: Admits| said().filter(|said| admit(*said)).count();
    let mut parts = vec![format!("{} of {} holders keep it", count(|said| said == HolderSaid::Kept), said().count())];
    let others: [(&str, &str, Admits); 4] = [
        ("knows a greater record", "know a greater record", |said| said == HolderSaid::Newer),
        ("refuses it", "refuse it", |said| matches!(said, HolderSaid::Refused(_))),
        ("is silent", "are silent", |said| said == HolderSaid::Silent),
        ("has not answered yet", "have not answered yet", |said| said == HolderSaid::Waiting),
    ];
    for (of_one, of_several, admit) in others {
        match count(admit) {
            0 => {}
            1 => parts.push(format!("1 {of_one}")),
            count => parts.push(format!("{count} {of_several}")),
        }
    }
    parts.join(", ")
}
