//! Workloads: operations of many askers under way at once, judged by what is true when they end.

use super::faults::Late;
use super::{Member, RoutingSandbox, SandboxError};
use crate::carrier::Carrier;
use crate::network::{Condition, Finished, NodeIndex};
use rand_core::Rng;
use routing_core::contact::{Address, Contact};
use routing_core::domain::Domain;
use routing_core::effect::{Consistency, Operation, OperationId, Outcome, Target};
use routing_core::id::{Grid, Key};
use routing_core::key::SecretKey;
use routing_core::record::Record;
use routing_core::state::{Answer, NodeState, Registered, Verdict};
use routing_core::time::Tick;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Asker {
    /// Somebody who is no node, made for the operation and forgotten after it; it starts at these.
    Client(Vec<NodeIndex>),
    /// A node, out of its own table.
    Node(NodeIndex),
}

/// What a user does with its account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Lives at this server from now on.
    Move(usize),
    /// Changes keys by the signing key, and stays.
    Rotate,
    /// Closes the account.
    Close,
    /// Changes keys by the recovery key, and lives at this server from now on.
    Recover(usize),
}

/// An operation under way.
#[derive(Debug)]
pub(super) enum Task {
    /// Somebody waits for exactly this one.
    Awaited(Option<Box<Outcome>>),
    Join {
        tag: usize,
        started: Tick,
        member: usize,
    },
    Write {
        tag: usize,
        started: Tick,
        users: u32,
    },
    Lookup {
        tag: usize,
        started: Tick,
        user: usize,
        least: Arc<Record>,
    },
    /// A thief writes in a user's name: what comes of it is no user's affair.
    Theft {
        tag: usize,
    },
    /// A server that was down joins again.
    Return {
        tag: usize,
        member: usize,
        deadline: Tick,
    },
    Claim {
        tag: usize,
        started: Tick,
        name: usize,
    },
    LookupName {
        tag: usize,
        started: Tick,
        name: usize,
    },
    Depart {
        tag: usize,
        started: Tick,
    },
}

/// How an operation ended, and whether that was right.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What the caller gave it.
    pub tag: usize,
    /// How many things were asked for: 1, or the records of a bulk registration. The next four add up to it.
    pub asked: u32,
    /// Those that ended right.
    pub correct: u32,
    /// Lookups that presented something else than the truth.
    pub wrong: u32,
    /// Lookups that found nothing where there is something.
    pub absent: u32,
    /// Those without an answer or acknowledgement.
    pub unreachable: u32,
    /// Those that brought proof of a conflict, or a contested claim.
    pub conflict: u32,
    /// Answers without a majority.
    pub unsettled: u32,
    /// Lookups answered from the asker's own store.
    pub local: u32,
    /// Lookups that gave a node a lesser record than one it was given before, or none.
    pub regressions: u32,
    /// Depth of the last answer that was waited for; none where nobody was asked.
    pub round_trips: Option<u32>,
    /// How long it took.
    pub latency_ms: u32,
    /// What a lookup brought.
    pub lookup: Option<Box<LookupDone>>,
}

/// A lookup that has ended.
#[derive(Clone, Debug)]
pub struct LookupDone {
    /// What was looked for.
    pub key: Key,
    /// The node that asked; none for a client.
    pub asker: Option<Grid>,
    /// When it was asked.
    pub started: Tick,
    /// When it ended.
    pub ended: Tick,
    /// The answer; none if the asker stopped before.
    pub answer: Option<Answer>,
}

impl<C: Carrier> RoutingSandbox<C> {
    /// The node that carries out an operation: a new client, or the node itself.
    pub(super) fn asking_node(&mut self, asker: &Asker) -> Result<NodeIndex, SandboxError> {
        let entry_points = match asker {
            Asker::Node(node) => return Ok(*node),
            Asker::Client(entry_points) => entry_points,
        };
        let targets: Vec<Target> = entry_points
            .iter()
            .map(|node| self.target(*node).or_else(|gone| self.target_down(*node).ok_or(gone)))
            .collect::<Result<_, _>>()?;
        let (secret, card) = self.cards.pop().unwrap_or_else(|| {
            let secret = Arc::new(SecretKey::from_seed(self.seed_bytes()));
            let card = Arc::new(Contact::client(&secret));
            (secret, card)
        });
        let place = self.draw_place(None);
        let state = NodeState::client(card, targets, self.config.clone(), self.rng.next_u64());
        let client = self.network.add(&secret, state, place);
        self.client_keys.insert(client, secret);
        // It stands where its entry points are.
        if let Some((network, door)) = self.network.simulated_mut().zip(entry_points.first()) {
            network.set_part(client, network.part(*door));
        }
        Ok(client)
    }

    /// A server that is down has its address all the same, and who asks there hears nothing.
    fn target_down(&self, node: NodeIndex) -> Option<Target> {
        let member = self.members.iter().find(|member| member.node == node)?;
        Some(Target { address: Address::from(&member.domain), grid: Some(member.grid) })
    }

    /// Gives an operation to a node, counted in the ledger `tag`. A node that is gone never answers: the operation ends
    /// at once, as unreachable.
    pub(super) fn give(&mut self, node: NodeIndex, operation: Operation, task: Task) {
        let tag = task.tag();
        match self.network.ask(node, operation, tag) {
            Some(id) => {
                self.tasks.insert((node, id), task);
            }
            None => {
                let asked = task.asked();
                self.done.push(Done { tag, asked, unreachable: asked, ..Done::default() });
            }
        }
    }

    /// Lets a server join through these nodes.
    pub fn start_join(&mut self, tag: usize, member: usize, entry_points: &[NodeIndex]) {
        let targets = entry_points.iter().filter_map(|node| self.target(*node).ok()).collect();
        let (node, started) = (self.members[member].node, self.now());
        self.give(node, Operation::Join(targets), Task::Join { tag, started, member });
    }

    /// New users at these servers, one each, by number; nothing is registered yet.
    pub fn new_users(&mut self, homes: &[usize]) -> Vec<usize> {
        let first = self.users.len();
        self.add_users(homes.len());
        for (user, home) in self.users[first..].iter_mut().zip(homes) {
            user.home = Some(*home);
        }
        (first..self.users.len()).collect()
    }

    pub(super) fn sign_placement(&mut self, user: usize, domain: Domain) -> Arc<Record> {
        let issued_ms = self.now().0;
        let user = &mut self.users[user];
        let record = Arc::new(user.account.place(domain, issued_ms));
        user.signed = Some(record.clone());
        record
    }

    /// Registers users where they live. A node registers all of them at once, a client each by itself.
    pub fn start_register(&mut self, tag: usize, users: &[usize], asker: &Asker) -> Result<(), SandboxError> {
        let mut records = Vec::with_capacity(users.len());
        for &user in users {
            let home = self.users[user].home.map(|home| self.members[home].domain.clone());
            if let Some(domain) = home {
                records.push(self.sign_placement(user, domain));
            }
        }
        self.start_write(tag, records, asker)
    }

    /// A user changes something about the account and registers it. Who has closed it changes nothing any more.
    pub fn start_change(&mut self, tag: usize, user: usize, change: Change, asker: &Asker) -> Result<(), SandboxError> {
        let issued_ms = self.now().0;
        let seed = self.seed_bytes();
        let home = match change {
            Change::Move(member) | Change::Recover(member) => Some(member),
            Change::Rotate | Change::Close => self.users[user].home,
        };
        let domain = home.map(|home| self.members[home].domain.clone());
        let owner = &mut self.users[user];
        owner.home = home;
        let record = match (change, domain) {
            (Change::Close, _) | (_, None) => {
                owner.is_closed = true;
                owner.account.close(issued_ms)
            }
            (Change::Rotate, Some(domain)) => {
                // Sixteen changes are the most a record carries; who has made them all stays with the last key.
                owner.rotations += u8::from(owner.account.rotate(seed).is_ok());
                owner.account.place(domain, issued_ms)
            }
            (Change::Move(_), Some(domain)) => owner.account.place(domain, issued_ms),
            (Change::Recover(_), Some(domain)) => {
                // As above: who has made all changes that there is room for moves with the last key.
                let _ = owner.account.recover(seed, None);
                owner.account.place(domain, issued_ms)
            }
        };
        let record = Arc::new(record);
        owner.signed = Some(record.clone());
        self.start_write(tag, vec![record], asker)
    }

    fn start_write(&mut self, tag: usize, records: Vec<Arc<Record>>, asker: &Asker) -> Result<(), SandboxError> {
        let started = self.now();
        match asker {
            Asker::Node(node) => {
                let users = records.len() as u32;
                self.give(*node, Operation::Register(records), Task::Write { tag, started, users });
            }
            Asker::Client(_) => {
                for record in records {
                    let client = self.asking_node(asker)?;
                    self.give(client, Operation::Register(vec![record]), Task::Write { tag, started, users: 1 });
                }
            }
        }
        Ok(())
    }

    /// A thief with the user's present signing key registers that the user lives at this server. To be started before
    /// the user [recovers](Change::Recover).
    pub fn start_theft(&mut self, tag: usize, user: usize, home: usize, asker: &Asker) -> Result<(), SandboxError> {
        let issued_ms = self.now().0;
        let domain = self.members[home].domain.clone();
        let owner = &mut self.users[user];
        let record = Arc::new(owner.account.clone().place(domain, issued_ms));
        owner.stolen = Some(record.clone());
        let node = self.asking_node(asker)?;
        self.give(node, Operation::Register(vec![record]), Task::Theft { tag });
        Ok(())
    }

    /// A server announces all its users again.
    pub fn start_announce(&mut self, tag: usize, member: usize) {
        let started = self.now();
        self.give(self.members[member].node, Operation::Announce, Task::Write { tag, started, users: 0 });
    }

    /// Somebody looks a user up. Only users with an acknowledged record can be asked for: else nothing is true yet.
    pub fn start_lookup(
        &mut self,
        tag: usize,
        user: usize,
        consistency: Consistency,
        asker: &Asker,
    ) -> Result<(), SandboxError> {
        let Some(least) = self.users[user].acknowledged.clone() else { return Ok(()) };
        let key = Key::from(self.users[user].guid());
        let node = self.asking_node(asker)?;
        let started = self.now();
        self.give(node, Operation::Lookup(key, consistency), Task::Lookup { tag, started, user, least });
        Ok(())
    }

    /// A server leaves for good.
    pub fn start_leave(&mut self, tag: usize, member: usize) {
        let started = self.now();
        self.give(self.members[member].node, Operation::Leave, Task::Depart { tag, started });
    }

    /// A server is gone without a word. Operations that it had under way never end: they count as unreachable.
    pub fn kill(&mut self, member: usize) {
        let node = self.members[member].node;
        self.network.kill(node);
        self.oracle = None;
        self.abandon(node);
    }

    pub(super) fn abandon(&mut self, node: NodeIndex) {
        let mut abandoned: Vec<(NodeIndex, OperationId)> =
            self.tasks.keys().filter(|(of, _)| *of == node).copied().collect();
        abandoned.sort_unstable();
        for key in abandoned {
            if let Some(task) = self.tasks.remove(&key) {
                let asked = task.asked();
                self.done.push(Done { tag: task.tag(), asked, unreachable: asked, ..Done::default() });
            }
        }
    }

    /// The operations that have ended since this was asked last.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }

    /// The servers that run, by number.
    pub fn running(&self) -> Vec<usize> {
        let is_running =
            |member: &&Member| member.has_joined && self.network.condition(member.node) == Condition::Running;
        let members = self.members.iter().enumerate();
        members.filter(|(_, member)| is_running(member)).map(|(index, _)| index).collect()
    }

    /// Whether a server lives, running or halted.
    pub fn lives(&self, member: usize) -> bool {
        matches!(self.network.condition(self.members[member].node), Condition::Running | Condition::Halted)
    }

    /// How many servers live.
    pub fn living(&self) -> usize {
        (0..self.members.len()).filter(|member| self.lives(*member)).count()
    }

    pub(super) fn settle_tasks(&mut self) {
        // What a leaver ended in its last turn has ended, though its leaving is told of first.
        let mut departed = Vec::new();
        for finished in self.network.take_finished() {
            let key = (finished.node, finished.operation);
            let Some(task) = self.tasks.remove(&key) else { continue };
            if matches!(task, Task::Awaited(_)) {
                self.tasks.insert(key, Task::Awaited(Some(Box::new(finished.outcome))));
                continue;
            }
            let is_client = self.network.contact(finished.node).is_some_and(|contact| contact.is_client());
            if is_client {
                self.retiring.push(finished.node);
            }
            // Who may not go yet, because it is still on its way in, goes on with what it does.
            if matches!((&task, &finished.outcome), (Task::Depart { .. }, Outcome::Departed(Ok(_)))) {
                departed.push(finished.node);
            }
            let asker = (!is_client).then_some(finished.node);
            let done = self.settle(task, finished, asker);
            self.done.extend(done);
        }
        for node in departed {
            self.abandon(node);
        }
    }

    /// What has become of an operation, which `asker` began if that is a node. `None` if it is not over yet.
    fn settle(&mut self, task: Task, finished: Finished, asker: Option<NodeIndex>) -> Option<Done> {
        let Finished { node, at, outcome, .. } = finished;
        let took = |started: Tick| at.since(started).0 as u32;
        Some(match (task, outcome) {
            (Task::Join { tag, started, member }, Outcome::Joined(result)) => {
                self.members[member].has_joined |= result.is_ok();
                if result.is_err() {
                    self.late.push(Late::unawaited(member));
                }
                self.oracle = None;
                let done = Done::of_one(tag, result.is_ok(), took(started));
                let depth = result.ok().map(|joined| u32::from(joined.round_trips));
                Done { round_trips: depth.filter(|depth| *depth > 0), ..done }
            }
            (Task::Write { tag, started, users }, Outcome::Registered(result)) => {
                self.writers.push(node);
                let mut done = Done { tag, asked: users, latency_ms: took(started), ..Done::default() };
                if let Ok(registered) = result {
                    // Who announces knows best how much there is to announce.
                    done.asked = registered.records.len() as u32;
                    done.round_trips = Some(u32::from(registered.round_trips)).filter(|depth| *depth > 0);
                    (done.correct, done.conflict) = self.acknowledge(&registered);
                }
                done.unreachable = done.asked - done.correct;
                done
            }
            (Task::Theft { tag }, _) => {
                self.writers.push(node);
                Done { tag, ..Done::default() }
            }
            (Task::Return { tag, member, deadline }, Outcome::Joined(result)) => {
                self.on_returned(tag, member, deadline, result)?
            }
            (Task::Lookup { tag, started, user, least }, Outcome::Answered(result)) => {
                self.judge(tag, user, &least, started, at, asker, result.ok().map(|answer| *answer))
            }
            (Task::Claim { tag, started, name }, Outcome::Registered(result)) => {
                self.writers.push(node);
                self.judge_claim(tag, name, took(started), result.ok().map(|registered| *registered))
            }
            (Task::LookupName { tag, started, name }, Outcome::Answered(result)) => {
                let asker = asker.map(|node| self.network.grid(node));
                self.judge_name(tag, name, started, at, asker, result.ok().map(|answer| *answer))
            }
            (Task::Depart { tag, started }, Outcome::Departed(result)) => {
                self.oracle = None;
                Done::of_one(tag, result.is_ok(), took(started))
            }
            (task, _) => Done { tag: task.tag(), asked: task.asked(), unreachable: task.asked(), ..Done::default() },
        })
    }

    /// Notes which records are acknowledged. Says how many are, and how many came with proof of a conflict.
    pub(super) fn acknowledge(&mut self, registered: &Registered) -> (u32, u32) {
        let (mut acknowledged, mut conflicts) = (0, 0);
        for registration in &registered.records {
            conflicts += u32::from(registration.greater.as_ref().is_some_and(|greater| greater.rival.is_some()));
            if !registration.is_acknowledged {
                continue;
            }
            acknowledged += 1;
            let user = self.by_guid.get(&registration.record.guid()).map(|user| &mut self.users[*user]);
            if let Some(user) = user
                && user.stolen.as_ref() != Some(&registration.record)
                && user.acknowledged.as_ref().is_none_or(|known| registration.record.outranks(known))
            {
                user.acknowledged = Some(registration.record.clone());
            }
        }
        (acknowledged, conflicts)
    }

    /// Right is the greatest write acknowledged before the question was asked, or anything signed after it.
    #[allow(clippy::too_many_arguments, reason = "a lookup's whole story, told once")]
    fn judge(
        &mut self,
        tag: usize,
        user: usize,
        least: &Record,
        started: Tick,
        ended: Tick,
        asker: Option<NodeIndex>,
        answer: Option<Answer>,
    ) -> Done {
        let mut done = Done::of_lookup(tag, started, ended, answer.as_ref());
        if let Some(answer) = &answer {
            // Nothing greater than what the user has signed: a forgery is never right, whatever version it says.
            let owner = &self.users[user];
            let is_right = |record: &Arc<Record>| {
                record.guid() == owner.guid()
                    && !least.outranks(record)
                    && record.verify().is_ok()
                    && owner.signed.as_ref().is_some_and(|signed| !record.outranks(signed))
                    && owner.stolen.as_ref() != Some(record)
            };
            match answer.verdict {
                Verdict::Found | Verdict::Conflict | Verdict::Closed
                    if answer.record.as_ref().is_some_and(is_right) =>
                {
                    done.correct = 1
                }
                Verdict::Found | Verdict::Conflict | Verdict::Contested | Verdict::Closed => done.wrong = 1,
                Verdict::Absent => done.absent = 1,
                Verdict::Unreachable => done.unreachable = 1,
            }
            done.regressions = u32::from(asker.is_some_and(|node| self.has_regressed(node, user, answer)));
        } else {
            done.unreachable = 1;
        }
        let key = self.users[user].guid().into();
        let asker = asker.map(|node| self.network.grid(node));
        done.lookup = Some(Box::new(LookupDone { key, asker, started, ended, answer }));
        done
    }

    /// A number below `bound`, from the sandbox's generator. `bound` is at least 1.
    pub fn draw(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound.max(1) as u64) as usize
    }

    /// Up to `count` different ones of these, drawn.
    pub fn draw_some<T: Clone>(&mut self, from: &[T], count: usize) -> Vec<T> {
        let mut pool: Vec<T> = from.to_vec();
        let count = count.min(pool.len());
        for index in 0..count {
            let other = index + self.draw(pool.len() - index);
            pool.swap(index, other);
        }
        pool.truncate(count);
        pool
    }

    /// The address of a server.
    pub fn address(&self, member: usize) -> Address {
        Address::from(&self.members[member].domain)
    }
}

impl Done {
    /// One thing that was done as asked, or was not.
    fn of_one(tag: usize, is_done: bool, latency_ms: u32) -> Self {
        let correct = u32::from(is_done);
        Self { tag, asked: 1, correct, unreachable: 1 - correct, latency_ms, ..Self::default() }
    }

    /// What can be told of a lookup without judging it.
    pub(super) fn of_lookup(tag: usize, started: Tick, ended: Tick, answer: Option<&Answer>) -> Self {
        let mut done = Done { tag, asked: 1, latency_ms: ended.since(started).0 as u32, ..Done::default() };
        if let Some(answer) = answer {
            done.conflict = u32::from(matches!(answer.verdict, Verdict::Conflict | Verdict::Contested));
            done.unsettled = u32::from(!answer.is_settled && answer.record.is_some());
            done.local = u32::from(answer.round_trips == 0 && answer.verdict != Verdict::Unreachable);
            done.round_trips = Some(u32::from(answer.round_trips)).filter(|depth| *depth > 0);
        }
        done
    }
}

impl Task {
    fn tag(&self) -> usize {
        match self {
            Task::Awaited(_) => 0,
            Task::Join { tag, .. }
            | Task::Write { tag, .. }
            | Task::Lookup { tag, .. }
            | Task::Claim { tag, .. }
            | Task::LookupName { tag, .. }
            | Task::Depart { tag, .. }
            | Task::Theft { tag }
            | Task::Return { tag, .. } => *tag,
        }
    }

    fn asked(&self) -> u32 {
        match self {
            Task::Write { users, .. } => *users,
            Task::Theft { .. } => 0,
            _ => 1,
        }
    }
}
