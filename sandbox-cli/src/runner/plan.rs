//! From a step to what happens when: who is meant is drawn by the seed.

use super::{Position, RunError, Runner};
use crate::report::StepReport;
use crate::scenario::{
    self, Behaviour, Churn, Claim, Dishonest, Do, Join, Kill, Lookup, Of, Origin, Recover, Register, Restart, Who,
};
use rand_core::Rng;
use routing_core::domain::Domain;
use routing_core::time::{Tick, Ticks};
use std::collections::{BTreeSet, VecDeque};
use transport_sim::carrier::Carrier;
use transport_sim::network::{Condition, Network, NodeIndex};
use transport_sim::sandbox::tasks::{Asker, Change};
use transport_sim::sandbox::{Member, RoutingSandbox};
use transport_sim::servers::Server;

/// For how long `away` says that a node will be gone. It may be longer, or shorter: only `run` ends it.
const AWAY: Ticks = Ticks::hours(1);

/// One thing to do.
pub(super) enum Action {
    Join {
        domain: Domain,
        weight: u64,
        region: Option<String>,
        every: u32,
        entry_points: u32,
    },
    Register {
        users: Vec<usize>,
        asker: Actor,
    },
    Announce(usize),
    Claim {
        name: usize,
        claimants: usize,
        asker: Actor,
    },
    Lookup {
        what: Wanted,
        asker: Actor,
    },
    Move {
        user: usize,
        asker: Actor,
    },
    Change {
        user: usize,
        change: Change,
        asker: Actor,
    },
    Recover {
        user: usize,
        thief: bool,
    },
    Leave(usize),
    /// Says that it will be back within so long, and stops.
    Away(usize, Ticks),
    /// Is down without a word.
    Stop(usize),
    /// Comes back.
    Return(usize),
    Kill(usize),
    Halt(usize),
    Run(usize),
    Cadence(usize, u32),
    Loss {
        rate: Option<f64>,
        duplicate: Option<f64>,
    },
    Partition {
        parts: Vec<f64>,
        one_way: bool,
    },
    Heal,
    Delay,
    /// These lie from now on.
    Corrupt {
        members: Vec<usize>,
        behaviour: Behaviour,
    },
    /// A liar whose id was ground joins.
    Infiltrate(usize),
}

/// What is looked up, by number.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    User(usize),
    Name(usize),
}

/// Who carries an operation out; the entry points are drawn when it begins.
#[derive(Clone, Copy)]
pub(super) enum Actor {
    /// A new client with so many entry points.
    Client(u32),
    /// Some running node.
    AnyNode,
    /// The node of this server.
    Member(usize),
}

impl Actor {
    /// A server acts for its own user.
    pub(super) fn at(self, home: usize) -> Self {
        match self {
            Actor::AnyNode => Actor::Member(home),
            Actor::Client(_) | Actor::Member(_) => self,
        }
    }

    fn of(from: Origin, entry_points: u32) -> Self {
        match from {
            Origin::Client => Actor::Client(entry_points),
            Origin::Node => Actor::AnyNode,
        }
    }
}

/// What a step does, and when it may end.
pub(super) struct Plan {
    /// In order of their ticks.
    pub(super) actions: VecDeque<(Tick, Action)>,
    /// Not before this.
    pub(super) ends: Tick,
    /// The users whose records a register step makes.
    pub(super) users: Vec<usize>,
    /// Once the step has ended.
    pub(super) report: Option<StepReport>,
}

impl<C: Carrier> Runner<'_, C> {
    pub(super) fn plan(&mut self, index: usize, busy: &mut BTreeSet<usize>) -> Result<Plan, RunError> {
        let step = self.step(index);
        let (start, over) = (self.sandbox.now(), step.over);
        let mut users = Vec::new();
        let mut ends = start + over;
        // What happens at a tick of its own, whatever the step is spread over.
        let mut timed: Vec<(Tick, Action)> = Vec::new();
        let actions: Vec<Action> = match &step.what {
            Do::Join(join) => self.plan_join(join),
            Do::Register(register) => {
                let (actions, new) = self.plan_register(register);
                users = new;
                actions
            }
            Do::Claim(claim) => self.plan_claims(claim),
            Do::Lookup(lookup) => self.plan_lookups(lookup),
            Do::Migrate(change) => {
                let asker = Actor::of(change.from, change.entry_points);
                let chosen = self.accounts(change.users, busy);
                chosen.into_iter().map(|user| Action::Move { user, asker }).collect()
            }
            Do::Close(change) => self.plan_changes(change, Change::Close, busy),
            Do::Rotate(change) => self.plan_changes(change, Change::Rotate, busy),
            Do::Announce(who) => self.some_running(who).into_iter().map(Action::Announce).collect(),
            Do::Leave(who) => self.some_running(who).into_iter().map(Action::Leave).collect(),
            Do::Kill(Kill::Nodes(who)) => self.some_running(who).into_iter().map(Action::Kill).collect(),
            Do::Kill(Kill::Site(site)) => self.at_site(index, site.as_deref())?.into_iter().map(Action::Kill).collect(),
            Do::Away(who) => self.some_running(who).into_iter().map(|member| Action::Away(member, AWAY)).collect(),
            Do::Restart(restart) => {
                timed = self.plan_restarts(restart, start, over);
                Vec::new()
            }
            Do::Churn(churn) => {
                timed = self.plan_churn(churn, start);
                ends = ends.max(start + churn.time);
                Vec::new()
            }
            Do::Partition(partition) => {
                vec![Action::Partition { parts: partition.parts.clone(), one_way: partition.one_way }]
            }
            Do::Heal => vec![Action::Heal],
            Do::Recover(recover) => self.plan_recoveries(recover, busy),
            Do::Halt(who) => self.some_running(who).into_iter().map(Action::Halt).collect(),
            Do::Cadence(slow) => {
                self.some_running(&slow.who).into_iter().map(|member| Action::Cadence(member, slow.every)).collect()
            }
            Do::Run(who) => {
                let stopped: BTreeSet<usize> = self.sandbox.halted().into_iter().chain(self.sandbox.down()).collect();
                let stopped: Vec<usize> = stopped.into_iter().collect();
                self.some_of(&stopped, who).into_iter().map(Action::Run).collect()
            }
            Do::Loss(loss) => vec![Action::Loss { rate: loss.rate, duplicate: loss.duplicate }],
            Do::Delay(_) => vec![Action::Delay],
            Do::Dishonest(dishonest) => self.plan_dishonest(dishonest, step.over == Ticks(0)),
            Do::Wait(time) => {
                ends = start + *time;
                Vec::new()
            }
        };
        let count = actions.len();
        let actions = actions
            .into_iter()
            .enumerate()
            .map(|(number, action)| (spaced(start, over, number, count), action))
            .chain(timed)
            .collect();
        Ok(Plan { actions, ends, users, report: None })
    }

    fn plan_join(&mut self, join: &Join) -> Vec<Action> {
        let Join { every, entry_points, .. } = *join;
        let servers: Vec<Server> = match &join.servers {
            None => {
                let taken = self.sandbox.members().len();
                let nodes = join.nodes.unwrap_or(0) as usize;
                let domains = (taken + 1..=taken + nodes).map(|number| format!("n{number:06}.example").parse());
                let domain =
                    |parsed: Result<Domain, _>| parsed.expect("letters, digits and a dot between are a domain");
                domains.map(|parsed| Server { domain: domain(parsed), users: 1, region: None }).collect()
            }
            Some(file) => self.servers.take(file, join.nodes),
        };
        let joins = servers.into_iter().map(|Server { domain, users, region }| Action::Join {
            domain,
            weight: users,
            region,
            every,
            entry_points,
        });
        joins.collect()
    }

    /// New users, each on a running server, drawn by the servers' sizes.
    fn plan_register(&mut self, register: &Register) -> (Vec<Action>, Vec<usize>) {
        let running = self.sandbox.running();
        let homes = match register.home_servers {
            Some(count) => self.sandbox.draw_some(&running, count as usize),
            None => running,
        };
        if homes.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let weights: Vec<f64> = homes.iter().map(|home| self.sandbox.members()[*home].weight as f64).collect();
        let draw = Weighted::new(&weights);
        let mut chosen: Vec<usize> = (0..register.users).map(|_| homes[draw.draw(&mut self.sandbox)]).collect();
        if register.from == Origin::Node {
            chosen.sort_unstable();
        }
        let users = self.sandbox.new_users(&chosen);
        let actions = match register.from {
            Origin::Client => {
                let asker = Actor::Client(register.entry_points);
                users.iter().map(|user| Action::Register { users: vec![*user], asker }).collect()
            }
            Origin::Node => {
                let members: Vec<(usize, usize)> = chosen.iter().copied().zip(users.iter().copied()).collect();
                let by_home = members.chunk_by(|a, b| a.0 == b.0);
                by_home
                    .map(|own| Action::Register {
                        users: own.iter().map(|(_, user)| *user).collect(),
                        asker: Actor::Member(own[0].0),
                    })
                    .collect()
            }
        };
        (actions, users)
    }

    /// New names, of which the first are claimed twice.
    fn plan_claims(&mut self, claim: &Claim) -> Vec<Action> {
        let asker = Actor::of(claim.from, claim.entry_points);
        let claims = (0..claim.names).map(|number| {
            let claimants = if number < claim.rivals { 2 } else { 1 };
            Action::Claim { name: self.sandbox.new_name(), claimants, asker }
        });
        claims.collect()
    }

    fn plan_lookups(&mut self, lookup: &Lookup) -> Vec<Action> {
        let mut known: Vec<Wanted> = Vec::new();
        if lookup.of != Of::Names {
            let mut users = self.users_where(|user| user.acknowledged().is_some());
            match lookup.of {
                Of::Aimed => users.retain(|user| self.sandbox.aimed_at().contains(user)),
                Of::Hosted => users.retain(|user| !self.is_stranded(*user)),
                Of::Stranded => users.retain(|user| self.is_stranded(*user)),
                Of::Users | Of::Names | Of::All => {}
            }
            known.extend(users.into_iter().map(Wanted::User));
        }
        if matches!(lookup.of, Of::Names | Of::All) {
            let names = self.sandbox.names().iter().enumerate().filter(|(_, name)| name.is_acknowledged());
            known.extend(names.map(|(index, _)| Wanted::Name(index)));
        }
        if known.is_empty() {
            return Vec::new();
        }
        let asker = Actor::of(lookup.from, lookup.entry_points);
        let weights: Vec<f64> = (1..=known.len()).map(|rank| libm::pow(rank as f64, -lookup.zipf)).collect();
        let draw = Weighted::new(&weights);
        (0..lookup.count).map(|_| Action::Lookup { what: known[draw.draw(&mut self.sandbox)], asker }).collect()
    }

    fn plan_changes(&mut self, change: &scenario::Change, what: Change, busy: &mut BTreeSet<usize>) -> Vec<Action> {
        let asker = Actor::of(change.from, change.entry_points);
        let chosen = self.accounts(change.users, busy);
        chosen.into_iter().map(|user| Action::Change { user, change: what, asker }).collect()
    }

    /// Running nodes turn; or new ones come, with ids ground next to users that are drawn.
    fn plan_dishonest(&mut self, step: &Dishonest, at_once: bool) -> Vec<Action> {
        let Dishonest { behaviour, place, .. } = *step;
        let Some(victims) = step.aim else {
            let turning = self.some_honest(&step.who);
            // Those who turn together are friends from the beginning.
            let portion = if at_once { turning.len().max(1) } else { 1 };
            return turning.chunks(portion).map(|some| Action::Corrupt { members: some.to_vec(), behaviour }).collect();
        };
        let known = self.users_where(|user| user.acknowledged().is_some());
        let victims = self.sandbox.draw_some(&known, victims as usize);
        let running = self.sandbox.running().len();
        let count = count_of(running, &step.who);
        let mut liars = Vec::with_capacity(count);
        for (index, victim) in victims.iter().enumerate() {
            self.progress.preparing(format!("trying keys for user {} of {}", index + 1, victims.len()));
            let share = count * (index + 1) / victims.len() - count * index / victims.len();
            liars.extend(self.sandbox.add_ground_servers(*victim, share, place));
        }
        self.sandbox.corrupt(&liars, behaviour);
        liars.into_iter().map(Action::Infiltrate).collect()
    }

    /// Each of them is gone for the same time.
    fn plan_restarts(&mut self, restart: &Restart, start: Tick, over: Ticks) -> Vec<(Tick, Action)> {
        let chosen = self.some_running(&restart.who);
        let count = chosen.len();
        let restarts = chosen.into_iter().enumerate().flat_map(|(number, member)| {
            let at = spaced(start, over, number, count);
            let stop = if restart.proper { Action::Away(member, restart.down) } else { Action::Stop(member) };
            [(at, stop), (at + restart.down, Action::Return(member))]
        });
        in_order(restarts.collect())
    }

    /// Each running node's sessions and pauses, until the time is over. A session that has begun already is, by what
    /// is known of it, as long as any.
    fn plan_churn(&mut self, churn: &Churn, start: Tick) -> Vec<(Tick, Action)> {
        let end = start + churn.time;
        let mut actions = Vec::new();
        for member in self.sandbox.running() {
            let mut at = start;
            loop {
                at += exponential(&mut self.sandbox, churn.session);
                if at >= end {
                    break;
                }
                actions.push((at, Action::Stop(member)));
                at += exponential(&mut self.sandbox, churn.down);
                if at >= end {
                    break;
                }
                actions.push((at, Action::Return(member)));
            }
        }
        in_order(actions)
    }

    /// The living servers at a site; at one that is drawn, if none is named.
    fn at_site(&mut self, index: usize, site: Option<&str>) -> Result<Vec<usize>, RunError> {
        let living: Vec<usize> =
            (0..self.sandbox.members().len()).filter(|member| self.sandbox.lives(*member)).collect();
        let region = |runner: &Self, member: usize| runner.sandbox.members()[member].region.clone();
        let site: Option<Box<str>> = match site {
            Some(site) => Some(site.into()),
            None => {
                let sites: BTreeSet<Box<str>> = living.iter().filter_map(|member| region(self, *member)).collect();
                let sites: Vec<Box<str>> = sites.into_iter().collect();
                self.sandbox.draw_some(&sites, 1).pop()
            }
        };
        let there: Vec<usize> =
            living.into_iter().filter(|member| site.is_some() && region(self, *member) == site).collect();
        if there.is_empty() {
            let site = site.map_or("any site".to_owned(), |site| format!("{site:?}"));
            let place = Position::of(self.scenario, &self.step(index).lines, "site");
            return Err(RunError::Site { place, site });
        }
        Ok(there)
    }

    /// Accounts to be recovered: those whose server does not live come first.
    fn plan_recoveries(&mut self, recover: &Recover, busy: &mut BTreeSet<usize>) -> Vec<Action> {
        let mut open = self.users_where(|user| user.acknowledged().is_some() && !user.is_closed());
        open.retain(|user| !busy.contains(user));
        let (stranded, others): (Vec<usize>, Vec<usize>) = open.into_iter().partition(|user| self.is_stranded(*user));
        let mut chosen = self.sandbox.draw_some(&stranded, recover.users as usize);
        let left = recover.users as usize - chosen.len();
        chosen.extend(self.sandbox.draw_some(&others, left));
        busy.extend(&chosen);
        chosen.into_iter().map(|user| Action::Recover { user, thief: recover.thief }).collect()
    }

    /// Whether the server that a user's latest record names does not live.
    fn is_stranded(&self, user: usize) -> bool {
        self.sandbox.users()[user].home().is_none_or(|home| !self.sandbox.lives(home))
    }

    fn users_where(&self, admit: impl Fn(&transport_sim::sandbox::User) -> bool) -> Vec<usize> {
        let users = self.sandbox.users().iter().enumerate();
        users.filter(|(_, user)| admit(user)).map(|(index, _)| index).collect()
    }

    /// Some living, unclosed accounts that no other step of the group writes for.
    fn accounts(&mut self, count: u32, busy: &mut BTreeSet<usize>) -> Vec<usize> {
        let mut open = self.users_where(|user| user.acknowledged().is_some() && !user.is_closed());
        open.retain(|user| !busy.contains(user));
        let chosen = self.sandbox.draw_some(&open, count as usize);
        busy.extend(&chosen);
        chosen
    }

    fn some_running(&mut self, who: &Who) -> Vec<usize> {
        let running = self.sandbox.running();
        self.some_of(&running, who)
    }

    /// Some honest ones of those that run. A share is one of all that run.
    fn some_honest(&mut self, who: &Who) -> Vec<usize> {
        let mut running = self.sandbox.running();
        let count = count_of(running.len(), who);
        running.retain(|member| !self.sandbox.is_dishonest(*member));
        self.sandbox.draw_some(&running, count)
    }

    fn some_of(&mut self, of: &[usize], who: &Who) -> Vec<usize> {
        self.sandbox.draw_some(of, count_of(of.len(), who))
    }
}

/// How many of so many are meant.
fn count_of(of: usize, who: &Who) -> usize {
    match who {
        Who::Nodes(nodes) => *nodes as usize,
        Who::Share(share) => ((of as f64 * share).round() as usize).max(1),
    }
}

/// Ticks spread evenly: the `index`-th of `count` within `over`.
fn spaced(start: Tick, over: Ticks, index: usize, count: usize) -> Tick {
    start + Ticks((u128::from(over.0) * index as u128 / count.max(1) as u128) as u64)
}

/// Sorted by their ticks; of those at one tick the earlier planned first.
fn in_order(mut actions: Vec<(Tick, Action)>) -> Vec<(Tick, Action)> {
    actions.sort_by_key(|(at, _)| *at);
    actions
}

/// A number in [0, 1), from the sandbox's generator.
fn fraction<C: Carrier>(sandbox: &mut RoutingSandbox<C>) -> f64 {
    (sandbox.rng().next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A time drawn exponentially, at least a tick.
fn exponential<C: Carrier>(sandbox: &mut RoutingSandbox<C>, mean: Ticks) -> Ticks {
    let drawn = -libm::log(1.0 - fraction(sandbox)) * mean.0 as f64;
    Ticks((drawn as u64).max(1))
}

/// Some running members, drawn; all of them if there are no more than `count`.
fn some_running_members<C: Carrier>(sandbox: &mut RoutingSandbox<C>, count: usize) -> Vec<usize> {
    some_members(sandbox, count, |_, _| true)
}

/// Some honest members that run.
fn some_honest_members<C: Carrier>(sandbox: &mut RoutingSandbox<C>, count: usize) -> Vec<usize> {
    some_members(sandbox, count, |sandbox, member| !sandbox.is_dishonest(member))
}

fn some_members<C: Carrier>(
    sandbox: &mut RoutingSandbox<C>,
    count: usize,
    admit: impl Fn(&RoutingSandbox<C>, usize) -> bool,
) -> Vec<usize> {
    let members = sandbox.members().len();
    let mut chosen: Vec<usize> = Vec::with_capacity(count);
    // Most members run, so a few tries find enough; else the whole list is gone through.
    for _ in 0..count * 8 {
        if chosen.len() == count || members == 0 {
            return chosen;
        }
        let member = sandbox.draw(members);
        let is_running = sandbox.members()[member].has_joined
            && sandbox.network().condition(sandbox.members()[member].node) == Condition::Running
            && admit(sandbox, member);
        if is_running && !chosen.contains(&member) {
            chosen.push(member);
        }
    }
    let mut running = sandbox.running();
    running.retain(|member| admit(sandbox, *member));
    sandbox.draw_some(&running, count)
}

/// The nodes through which a newcomer joins, or a client asks: some that are in, at least one of them honest; one that is
/// on its way in if nobody is. Who joined through nobody would begin a network of its own, which stays apart for good.
pub(crate) fn doors<C: Carrier>(sandbox: &mut RoutingSandbox<C>, count: usize) -> Vec<NodeIndex> {
    let chosen = doors_near(sandbox, count, None);
    if chosen.is_empty() { nobody_in(sandbox) } else { chosen }
}

/// The same, all in the part of the network that `near` is in; by default in that of the first one drawn, so that a part
/// is drawn by its size.
fn doors_near<C: Carrier>(sandbox: &mut RoutingSandbox<C>, count: usize, near: Option<NodeIndex>) -> Vec<NodeIndex> {
    if sandbox.network().simulated().is_some_and(Network::is_cut) && count > 0 {
        let near = near.or_else(|| {
            let first = some_running_members(sandbox, 1);
            first.first().map(|member| sandbox.members()[*member].node)
        });
        let (network, members) = (sandbox.network().simulated(), sandbox.members());
        let are_apart = |one, other| network.is_some_and(|network| network.are_apart(one, other));
        let running = sandbox.running().into_iter().map(|member| members[member].node);
        let mut there: Vec<NodeIndex> =
            running.filter(|node| near.is_none_or(|near| !are_apart(near, *node))).collect();
        let mut chosen = sandbox.draw_some(&there, count);
        if !chosen.is_empty() && chosen.iter().all(|node| sandbox.is_liar(*node)) {
            there.retain(|node| !sandbox.is_liar(*node));
            let honest = sandbox.draw_some(&there, 1);
            chosen.truncate(chosen.len() - honest.len());
            chosen.extend(honest);
        }
        return chosen;
    }
    let mut chosen = some_running_members(sandbox, count);
    if !chosen.is_empty() && chosen.iter().all(|member| sandbox.is_dishonest(*member)) {
        let honest = some_honest_members(sandbox, 1);
        chosen.truncate(chosen.len() - honest.len());
        chosen.extend(honest);
    }
    if chosen.is_empty() {
        return nobody_in(sandbox);
    }
    let members = sandbox.members();
    chosen.iter().map(|member| members[*member].node).collect()
}

/// Whom to ask where nobody is in: the first who lives, else the very first.
fn nobody_in<C: Carrier>(sandbox: &RoutingSandbox<C>) -> Vec<NodeIndex> {
    let (members, first) = (sandbox.members(), sandbox.members().first());
    let lives = |member: &&Member| sandbox.network().condition(member.node) == Condition::Running;
    members.iter().find(lives).or(first).map(|member| member.node).into_iter().collect()
}

/// A newcomer stands in the part of the network that its first entry point is in.
pub(crate) fn stand_at<C: Carrier>(sandbox: &mut RoutingSandbox<C>, member: usize, entry_points: &[NodeIndex]) {
    let Some(door) = entry_points.first() else { return };
    let node = sandbox.members()[member].node;
    if let Some(network) = sandbox.network_mut().simulated_mut() {
        network.set_part(node, network.part(*door));
    }
}

/// Who carries an operation out, drawn now.
pub(super) fn asker<C: Carrier>(sandbox: &mut RoutingSandbox<C>, actor: Actor) -> Asker {
    asker_near(sandbox, actor, None)
}

/// The same; a client stands in the part of the network that the user's home is in.
pub(super) fn asker_near<C: Carrier>(sandbox: &mut RoutingSandbox<C>, actor: Actor, home: Option<usize>) -> Asker {
    // The word of a liar counts for nothing, so it is asked to do nothing.
    let honest = |sandbox: &mut RoutingSandbox<C>, near| {
        let one = doors_near(sandbox, 1, near).first().copied();
        one.map_or(Asker::Client(Vec::new()), Asker::Node)
    };
    match actor {
        Actor::Client(entry_points) => {
            let near = home.map(|home| sandbox.members()[home].node);
            Asker::Client(doors_near(sandbox, entry_points as usize, near))
        }
        Actor::AnyNode => honest(sandbox, None),
        Actor::Member(member) => {
            let node = sandbox.members()[member].node;
            if sandbox.is_dishonest(member) { honest(sandbox, Some(node)) } else { Asker::Node(node) }
        }
    }
}

/// Several who do something at once: clients, or different nodes as far as there are so many.
pub(super) fn askers_elsewhere<C: Carrier>(sandbox: &mut RoutingSandbox<C>, actor: Actor, count: usize) -> Vec<Asker> {
    match actor {
        Actor::AnyNode => {
            let nodes = doors(sandbox, count);
            nodes.iter().cycle().take(count).map(|node| Asker::Node(*node)).collect()
        }
        Actor::Client(_) | Actor::Member(_) => (0..count).map(|_| asker(sandbox, actor)).collect(),
    }
}

/// Another running server for a user to move to, drawn by size; `None` if there is none.
pub(crate) fn another_home<C: Carrier>(sandbox: &mut RoutingSandbox<C>, user: usize) -> Option<usize> {
    let home = sandbox.users()[user].home();
    let heaviest = sandbox.members().iter().map(|member| member.weight).max()?;
    // Rejection: a member is taken with a chance in proportion to its size. The largest may hold a third of all users,
    // so after some tries any other running one will do.
    for _ in 0..32 {
        let member = some_running_members(sandbox, 1).first().copied()?;
        let share = sandbox.members()[member].weight as f64 / heaviest as f64;
        if Some(member) != home && fraction(sandbox) < share {
            return Some(member);
        }
    }
    let mut running = sandbox.running();
    running.retain(|member| Some(*member) != home);
    sandbox.draw_some(&running, 1).first().copied()
}

/// Draws from indices in proportion to weights.
struct Weighted {
    cumulative: Vec<f64>,
}

impl Weighted {
    fn new(weights: &[f64]) -> Self {
        let mut total = 0.0;
        let cumulative = weights.iter().map(|weight| {
            total += weight;
            total
        });
        Self { cumulative: cumulative.collect() }
    }

    fn draw<C: Carrier>(&self, sandbox: &mut RoutingSandbox<C>) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let point = fraction(sandbox) * total;
        self.cumulative.partition_point(|sum| *sum <= point).min(self.cumulative.len().saturating_sub(1))
    }
}
