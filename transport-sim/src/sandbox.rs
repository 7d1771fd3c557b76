//! A federation in a box: nodes, users with their keys, and the truth about both.
//!
//! Two ways to use it. The *seed API* is for tests and first steps: each call runs the network until it has its answer.
//! The *tasks* in [`tasks`] are for workloads: many operations under way at once, judged as they end.
//!
//! ```
//! use transport_sim::sandbox::RoutingSandbox;
//!
//! let mut sandbox = RoutingSandbox::new(7);
//! let first = sandbox.new_node();
//! sandbox.join(first, &[])?;
//! for _ in 0..20 {
//!     let node = sandbox.new_node();
//!     sandbox.join(node, &[first])?;
//! }
//! let alice = sandbox.new_user();
//! sandbox.register_guid(&[first], alice, "n000003.example")?;
//! let route = sandbox.route_guid(&[first], alice, "n000003.example")?;
//! assert!(route.is_as_expected());
//! # Ok::<(), transport_sim::sandbox::SandboxError>(())
//! ```
//!
//! It runs on the simulated network, or on any other [`Carrier`]: users, their keys, the workload and what is true of it
//! are the same. What needs a simulated network does nothing elsewhere, and says so.

pub mod attack;
mod faults;
mod names;
pub mod tasks;

use crate::carrier::Carrier;
use crate::delay::{Delay, DelaySpec};
use crate::network::{Condition, Mode, Network, NodeIndex};
use crate::oracle::Oracle;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::account::Account;
use routing_core::config::NodeConfig;
use routing_core::contact::{Address, Contact};
use routing_core::domain::{Domain, DomainError};
use routing_core::effect::{Consistency, Operation, Target};
use routing_core::error::{DepartError, JoinError, LookupError, RegisterError};
use routing_core::id::{Grid, Guid};
use routing_core::key::SecretKey;
use routing_core::record::Record;
use routing_core::state::{Answer, Joined, NodeState, Registered, Verdict};
use routing_core::time::{Tick, Ticks};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tasks::{Asker, Task};

pub use names::Name;

/// A federation on the network `C`, a simulated one unless another is named.
pub struct RoutingSandbox<C = Network> {
    network: C,
    config: Arc<NodeConfig>,
    rng: Xoshiro256PlusPlus,
    /// The nodes, without clients, in order of creation.
    members: Vec<Member>,
    users: Vec<User>,
    by_guid: FxHashMap<Guid, usize>,
    names: Vec<Name>,
    /// Who claims the GUIDs that the sandbox has no key for.
    legacy: BTreeMap<Guid, Account>,
    tasks: FxHashMap<(NodeIndex, routing_core::effect::OperationId), Task>,
    done: Vec<tasks::Done>,
    /// Clients whose operation has ended, until they have told every holder.
    retiring: Vec<NodeIndex>,
    /// Servers whose join goes on though it was reported as failed.
    late: Vec<faults::Late>,
    /// The greatest record that a node was given for each user it asked for.
    seen: FxHashMap<(NodeIndex, usize), Arc<Record>>,
    /// Who has written something that was acknowledged, until every holder has it.
    writers: Vec<NodeIndex>,
    /// The cards of forgotten clients, for new ones: nobody remembers a client, and making keys costs more than most
    /// operations.
    cards: Vec<(Arc<SecretKey>, Arc<Contact>)>,
    /// The keys of the clients that are under way.
    client_keys: FxHashMap<NodeIndex, Arc<SecretKey>>,
    /// The users that ids were ground next to.
    aimed_at: Vec<usize>,
    oracle: Option<Oracle>,
}

impl<C: fmt::Debug> fmt::Debug for RoutingSandbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (members, users) = (self.members.len(), self.users.len());
        let mut debug = f.debug_struct("RoutingSandbox");
        debug.field("network", &self.network).field("members", &members).field("users", &users).finish_non_exhaustive()
    }
}

/// A server of the federation.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its node.
    pub node: NodeIndex,
    /// Its id.
    pub grid: Grid,
    /// Its name.
    pub domain: Domain,
    /// How many users it has in real life, at least 1: draws of home-servers are weighted with it.
    pub weight: u64,
    /// The site it is at: its region, else what the delay matrix calls its place.
    pub region: Option<Box<str>>,
    /// Whether its join has succeeded.
    pub has_joined: bool,
    secret: Arc<SecretKey>,
}

/// A user, as the one who holds the keys knows it.
#[derive(Clone, Debug)]
pub struct User {
    account: Account,
    home: Option<usize>,
    /// The newest record that was signed.
    signed: Option<Arc<Record>>,
    /// The greatest record whose registration was acknowledged.
    acknowledged: Option<Arc<Record>>,
    /// What a thief has signed in the user's name.
    stolen: Option<Arc<Record>>,
    is_closed: bool,
    rotations: u8,
}

impl User {
    /// The user's id.
    pub fn guid(&self) -> Guid {
        self.account.guid()
    }

    /// The server that the newest signed record names, by number.
    pub fn home(&self) -> Option<usize> {
        self.home
    }

    /// The version of the greatest acknowledged record.
    pub fn acknowledged(&self) -> Option<u64> {
        self.acknowledged.as_ref().map(|record| record.version())
    }

    /// The greatest record whose registration was acknowledged.
    pub fn acknowledged_record(&self) -> Option<&Arc<Record>> {
        self.acknowledged.as_ref()
    }

    /// What a thief has signed in the user's name.
    pub fn stolen_record(&self) -> Option<&Arc<Record>> {
        self.stolen.as_ref()
    }

    /// Whether the user has signed a tombstone.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }
}

/// How a sandbox is set up.
#[derive(Debug)]
pub struct Setup {
    /// All draws follow from it.
    pub seed: u64,
    /// The settings of each node and client.
    pub config: NodeConfig,
    /// How long messages take.
    pub delay: Delay,
    /// How nodes are run.
    pub mode: Mode,
}

/// What the sandbox cannot do, or what an operation ended with.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// No living node has this id.
    #[error("no living node has the id {0}")]
    UnknownNode(Grid),
    /// An operation of a client needs somewhere to start.
    #[error("no entry point given")]
    NoEntryPoint,
    /// The name is no domain.
    #[error("{0:?} is no domain: {1}")]
    Domain(String, DomainError),
    /// The join failed.
    #[error("join: {0}")]
    Join(#[from] JoinError),
    /// The registration failed.
    #[error("register: {0}")]
    Register(#[from] RegisterError),
    /// The lookup failed.
    #[error("lookup: {0}")]
    Lookup(#[from] LookupError),
    /// The departure failed.
    #[error("leave: {0}")]
    Depart(#[from] DepartError),
    /// The operation has not ended in an hour of virtual time: the node that it was given to does not run.
    #[error("no outcome: the node does not run")]
    NoOutcome,
}

/// The answer to [`RoutingSandbox::route_guid`].
#[derive(Clone, Debug)]
pub struct Route {
    /// What the question expected.
    pub expected: Domain,
    /// What the network says, with the trace.
    pub answer: Answer,
}

impl Route {
    /// Whether the user lives where it was expected.
    pub fn is_as_expected(&self) -> bool {
        matches!(self.answer.verdict, Verdict::Found | Verdict::Conflict) && self.home() == Some(&self.expected)
    }

    /// Where the network says that the user lives.
    pub fn home(&self) -> Option<&Domain> {
        self.answer.record.as_ref().and_then(|record| record.home())
    }
}

/// How many of the nodes that should hold some records do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrueHolders {
    /// Which share of all of them.
    pub share: f64,
    /// How many of those of one record, on average.
    pub mean: f64,
}

impl RoutingSandbox {
    /// An empty sandbox with default settings and delays.
    pub fn new(seed: u64) -> Self {
        let delay =
            Delay::load(&DelaySpec::default(), std::path::Path::new("."), seed).expect("a uniform delay needs no file");
        Self::with(Setup { seed, config: NodeConfig::default(), delay, mode: Mode::Direct })
    }

    /// An empty sandbox.
    pub fn with(setup: Setup) -> Self {
        let Setup { seed, config, delay, mode } = setup;
        Self::on(Network::new(seed, mode, delay), seed, config)
    }
}

impl<C: Carrier> RoutingSandbox<C> {
    /// An empty federation on a network of the caller's. All draws follow from `seed`; `config` is for each node and
    /// client.
    pub fn on(network: C, seed: u64, config: NodeConfig) -> Self {
        Self {
            network,
            config: Arc::new(config),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            members: Vec::new(),
            users: Vec::new(),
            by_guid: FxHashMap::default(),
            names: Vec::new(),
            legacy: BTreeMap::new(),
            tasks: FxHashMap::default(),
            done: Vec::new(),
            retiring: Vec::new(),
            late: Vec::new(),
            seen: FxHashMap::default(),
            writers: Vec::new(),
            cards: Vec::new(),
            client_keys: FxHashMap::default(),
            aimed_at: Vec::new(),
            oracle: None,
        }
    }

    /// The network under it.
    pub fn network(&self) -> &C {
        &self.network
    }

    /// The network under it, to change its weather.
    pub fn network_mut(&mut self) -> &mut C {
        &mut self.network
    }

    /// The servers, in order of creation.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The users, in order of creation.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The generator that all draws of a workload come from.
    pub fn rng(&mut self) -> &mut Xoshiro256PlusPlus {
        &mut self.rng
    }

    fn seed_bytes(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    /// A new node at a domain of its own, not part of any network yet.
    pub fn new_node(&mut self) -> Grid {
        let member = self.add_server(node_name(self.members.len() + 1), 1, None);
        self.members[member].grid
    }

    /// A new node at `domain`, by number. Its place in the delay matrix is that of its region, else drawn.
    pub fn add_server(&mut self, domain: Domain, weight: u64, region: Option<&str>) -> usize {
        let secret = Arc::new(SecretKey::from_seed(self.seed_bytes()));
        self.add_server_with(secret, domain, weight, region)
    }

    fn add_server_with(&mut self, secret: Arc<SecretKey>, domain: Domain, weight: u64, region: Option<&str>) -> usize {
        let place = self.draw_place(region);
        let matrix = self.network.simulated().and_then(|network| network.delay().matrix());
        let region =
            region.or_else(|| matrix.and_then(|matrix| matrix.labels().get(place as usize)).map(|label| &**label));
        let region = region.map(Box::from);
        let address = Address::from(&domain);
        let state = NodeState::node(secret.clone(), address, self.config.clone(), self.rng.next_u64());
        let grid = state.grid();
        let node = self.network.add(&secret, state, place);
        self.members.push(Member { node, grid, domain, weight: weight.max(1), region, has_joined: false, secret });
        self.oracle = None;
        self.members.len() - 1
    }

    /// Where in the delay matrix somebody is; at the one place there is, where delays are not simulated.
    fn draw_place(&mut self, region: Option<&str>) -> u32 {
        let delay = self.network.simulated().map(Network::delay);
        let labelled = region.and_then(|region| delay?.place_for(region));
        let places = delay.map_or(1, Delay::places);
        labelled.unwrap_or_else(|| (self.rng.next_u64() % u64::from(places)) as u32)
    }

    fn member_of(&self, grid: &Grid) -> Result<NodeIndex, SandboxError> {
        let node = self.network.index_of(grid).ok_or(SandboxError::UnknownNode(*grid))?;
        match self.network.condition(node) {
            Condition::Running | Condition::Halted => Ok(node),
            Condition::Left | Condition::Killed | Condition::Down => Err(SandboxError::UnknownNode(*grid)),
        }
    }

    fn asker(&self, entry_points: &[Grid]) -> Result<Asker, SandboxError> {
        if entry_points.is_empty() {
            return Err(SandboxError::NoEntryPoint);
        }
        entry_points.iter().map(|grid| self.member_of(grid)).collect::<Result<_, _>>().map(Asker::Client)
    }

    fn domain(&self, name: &str) -> Result<Domain, SandboxError> {
        name.parse().map_err(|error| SandboxError::Domain(name.to_owned(), error))
    }

    /// Lets a node join through others; with none of them it begins a network of its own.
    pub fn join(&mut self, grid: Grid, entry_points: &[Grid]) -> Result<Joined, SandboxError> {
        let node = self.member_of(&grid)?;
        let targets: Result<Vec<Target>, SandboxError> =
            entry_points.iter().map(|grid| self.target(self.member_of(grid)?)).collect();
        match self.complete(node, Operation::Join(targets?))? {
            routing_core::effect::Outcome::Joined(result) => {
                let joined = result?;
                self.mark_joined(node);
                Ok(joined)
            }
            _ => Err(SandboxError::NoOutcome),
        }
    }

    fn mark_joined(&mut self, node: NodeIndex) {
        if let Some(member) = self.members.iter_mut().find(|member| member.node == node) {
            member.has_joined = true;
        }
    }

    fn target(&self, node: NodeIndex) -> Result<Target, SandboxError> {
        let contact = self.network.contact(node).ok_or_else(|| SandboxError::UnknownNode(self.network.grid(node)))?;
        Ok(Target::contact(contact))
    }

    /// Runs a node at exactly every `every`-th tick; −1 halts it: its inbox then keeps the oldest 256 messages. On a
    /// network that is not simulated nodes run when they have something to do.
    pub fn run_node(&mut self, grid: Grid, every: i64) -> Result<(), SandboxError> {
        let node = self.member_of(&grid)?;
        let Some(network) = self.network.simulated_mut() else { return Ok(()) };
        match u64::try_from(every) {
            Ok(every) => network.run(node, every),
            Err(_) => network.halt(node),
        }
        Ok(())
    }

    /// Lets a node leave properly.
    pub fn remove_node(&mut self, grid: Grid) -> Result<(), SandboxError> {
        let node = self.member_of(&grid)?;
        match self.complete(node, Operation::Leave)? {
            routing_core::effect::Outcome::Departed(result) => result?,
            _ => return Err(SandboxError::NoOutcome),
        }
        self.oracle = None;
        Ok(())
    }

    /// Kills a node: gone without a word.
    pub fn kill_node(&mut self, grid: Grid) -> Result<(), SandboxError> {
        let node = self.member_of(&grid)?;
        self.network.kill(node);
        self.oracle = None;
        Ok(())
    }

    /// A new user, who lives nowhere yet. The sandbox keeps the keys.
    pub fn new_user(&mut self) -> Guid {
        self.add_users(1);
        self.users[self.users.len() - 1].guid()
    }

    /// Draws the keys of new users. Making them is curve arithmetic, which all threads share.
    fn add_users(&mut self, count: usize) {
        let mut draw = || {
            let (signing, recovery) = (self.seed_bytes(), self.seed_bytes());
            let mut nonce = [0; 16];
            self.rng.fill_bytes(&mut nonce);
            (signing, recovery, nonce)
        };
        let seeds: Vec<([u8; 32], [u8; 32], [u8; 16])> = (0..count).map(|_| draw()).collect();
        let make = |seeds: &[([u8; 32], [u8; 32], [u8; 16])]| -> Vec<Account> {
            seeds.iter().map(|(signing, recovery, nonce)| Account::new(*signing, Some(*recovery), *nonce)).collect()
        };
        let portion = count.div_ceil(self.network.threads()).max(64);
        let accounts: Vec<Account> = std::thread::scope(|scope| {
            let portions: Vec<_> = seeds.chunks(portion).map(|seeds| scope.spawn(move || make(seeds))).collect();
            portions.into_iter().flat_map(|made| made.join().expect("making keys does not fail")).collect()
        });
        for account in accounts {
            self.by_guid.insert(account.guid(), self.users.len());
            self.users.push(User {
                account,
                home: None,
                signed: None,
                acknowledged: None,
                stolen: None,
                is_closed: false,
                rotations: 0,
            });
        }
    }

    /// A client registers that the user lives at `domain`. For a GUID that the sandbox has no key for, since it did not
    /// come from [`new_user`](Self::new_user), that is a claim of the kind `Legacy`.
    pub fn register_guid(
        &mut self,
        entry_points: &[Grid],
        guid: Guid,
        domain: &str,
    ) -> Result<Registered, SandboxError> {
        let asker = self.asker(entry_points)?;
        let domain = self.domain(domain)?;
        let record = match self.by_guid.get(&guid) {
            Some(&user) => {
                self.users[user].home = self.members.iter().position(|member| member.domain == domain);
                self.sign_placement(user, domain)
            }
            None => self.sign_legacy(guid, domain),
        };
        let node = self.asking_node(&asker)?;
        match self.complete(node, Operation::Register(vec![record]))? {
            routing_core::effect::Outcome::Registered(result) => {
                let registered = *result?;
                self.acknowledge(&registered);
                self.retiring.push(node);
                Ok(registered)
            }
            _ => Err(SandboxError::NoOutcome),
        }
    }

    /// A client looks up where the user lives, with the default consistency.
    pub fn route_guid(
        &mut self,
        entry_points: &[Grid],
        guid: Guid,
        expected_domain: &str,
    ) -> Result<Route, SandboxError> {
        let expected = self.domain(expected_domain)?;
        let asker = self.asker(entry_points)?;
        let node = self.asking_node(&asker)?;
        let key = if self.by_guid.contains_key(&guid) { guid.into() } else { names::legacy_key(&guid) };
        match self.complete(node, Operation::Lookup(key, Consistency::default()))? {
            routing_core::effect::Outcome::Answered(result) => {
                self.retiring.push(node);
                Ok(Route { expected, answer: *result? })
            }
            _ => Err(SandboxError::NoOutcome),
        }
    }

    /// The present tick.
    pub fn now(&self) -> Tick {
        self.network.now()
    }

    /// Lets `ticks` ticks pass.
    pub fn tick(&mut self, ticks: u64) {
        let end = self.now() + Ticks(ticks);
        while self.now() < end {
            self.step();
        }
    }

    /// Lets time pass until `is_done` says so, but no more than `limit`. Says whether it did.
    pub fn run_until(&mut self, limit: Ticks, mut is_done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now() + limit;
        while !is_done(self) {
            if self.now() >= end {
                return false;
            }
            self.step();
        }
        true
    }

    /// Whether some write that has been acknowledged is still on its way to a holder.
    pub fn is_spreading(&self) -> bool {
        !self.writers.is_empty()
    }

    fn step(&mut self) {
        let now = self.network.tick();
        self.settle_tasks();
        if now.0.is_multiple_of(16) && !self.late.is_empty() {
            self.settle_late();
        }
        let network = &self.network;
        self.writers.retain(|node| network.is_writing(*node));
        if now.0.is_multiple_of(16) && !self.retiring.is_empty() {
            let (network, cards, keys) = (&mut self.network, &mut self.cards, &mut self.client_keys);
            self.retiring.retain(|client| {
                let is_idle = network.is_idle(*client);
                if is_idle {
                    let (secret, card) = (keys.remove(client), network.contact(*client).cloned());
                    if network.drop_client(*client) {
                        cards.extend(secret.zip(card));
                    }
                }
                !is_idle
            });
        }
    }

    /// Asks a node for something, and runs the network until it has ended.
    fn complete(
        &mut self,
        node: NodeIndex,
        operation: Operation,
    ) -> Result<routing_core::effect::Outcome, SandboxError> {
        let id = self.network.ask(node, operation, 0).ok_or(SandboxError::NoOutcome)?;
        self.tasks.insert((node, id), Task::Awaited(None));
        let is_ended = |sandbox: &Self| matches!(sandbox.tasks.get(&(node, id)), Some(Task::Awaited(Some(_))));
        self.run_until(Ticks::hours(1), is_ended);
        match self.tasks.remove(&(node, id)) {
            Some(Task::Awaited(Some(outcome))) => Ok(*outcome),
            _ => Err(SandboxError::NoOutcome),
        }
    }

    /// All living nodes, as the oracle sees them.
    pub fn oracle(&mut self) -> &Oracle {
        if self.oracle.is_none() {
            let network = &self.network;
            let joined = self.members.iter().filter(|member| member.has_joined);
            let living = joined.filter_map(|member| Some((member.node, &**network.contact(member.node)?)));
            self.oracle = Some(Oracle::new(living));
        }
        self.oracle.as_ref().expect("it was made just now")
    }

    /// How many of their true holders hold these users' newest acknowledged records; `None` if there is
    /// nothing to hold, or if a holder's state cannot be seen (it is somebody's own code).
    pub fn true_holders(&mut self, users: &[usize]) -> Option<TrueHolders> {
        let groups = self.config.holders;
        self.oracle();
        let oracle = self.oracle.as_ref()?;
        let (mut holders, mut holding, mut records) = (0u64, 0u64, 0u64);
        for user in users.iter().map(|user| &self.users[*user]) {
            let Some(least) = &user.acknowledged else { continue };
            records += 1;
            for node in oracle.holders(&user.guid().0, groups) {
                let held = self.network.held(node, &user.guid().into()).ok()?;
                holders += 1;
                holding += u64::from(held.is_some_and(|held| !least.outranks(&held)));
            }
        }
        (holders > 0)
            .then(|| TrueHolders { share: holding as f64 / holders as f64, mean: holding as f64 / records as f64 })
    }

    /// Asserts the invariants of every living node. For tests and the ends of runs; it walks the whole network.
    pub fn check(&self) {
        for member in &self.members {
            self.network.check(member.node);
        }
    }
}

/// The name of the server with this number, from 1, where no list of servers names it.
fn node_name(number: usize) -> Domain {
    format!("n{number:06}.example").parse().expect("letters and digits make a domain")
}
