//! A small network in virtual time.

use super::*;

/// How many ticks a message takes, and a link.
pub(crate) const DELAY: u64 = 10;
/// After how many ticks a dial of somebody who is not there is given up.
pub(crate) const DIAL: u64 = 500;

/// A network without loss in which everything takes [`DELAY`], but for what the slow send.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Option<NodeState>>,
    pub(crate) contacts: Vec<Arc<Contact>>,
    pub(crate) queue: BTreeMap<(u64, u64), (usize, Heard)>,
    pub(crate) sequence: u64,
    pub(crate) outcomes: BTreeMap<OperationId, Outcome>,
    /// All messages handed over: from, to, what.
    pub(crate) sent: Vec<(usize, Grid, Message)>,
    /// All links asked for: by whom, to where.
    pub(crate) dialled: Vec<(usize, Target)>,
    /// What nodes dropped, and what they said of themselves.
    pub(crate) forgotten: Vec<(usize, Key)>,
    pub(crate) notices: Vec<(usize, Notice)>,
    /// Who lives where, as the servers had it made durable.
    pub(crate) homes: BTreeMap<(usize, Guid), Arc<Record>>,
    /// Whom each node told to remember last, and how often.
    pub(crate) remembered: BTreeMap<usize, (Vec<Arc<Contact>>, usize)>,
    pub(crate) config: Arc<NodeConfig>,
    /// What dishonest nodes answer instead of taking a turn.
    pub(crate) liars: BTreeMap<usize, fn(&Message) -> Option<Message>>,
    /// How much longer whatever these nodes send takes.
    pub(crate) slow: BTreeMap<usize, u64>,
}

impl World {
    pub(crate) fn new(config: NodeConfig) -> Self {
        let (nodes, contacts, queue) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (outcomes, sent) = (BTreeMap::new(), Vec::new());
        Self {
            now: 0,
            nodes,
            contacts,
            queue,
            sequence: 0,
            liars: BTreeMap::new(),
            slow: BTreeMap::new(),
            outcomes,
            sent,
            dialled: Vec::new(),
            forgotten: Vec::new(),
            notices: Vec::new(),
            homes: BTreeMap::new(),
            remembered: BTreeMap::new(),
            config: Arc::new(config),
        }
    }

    /// A network of so many joined nodes.
    pub(crate) fn of(count: usize, holders: u16) -> Self {
        Self::with(count, NodeConfig { holders, ..NodeConfig::default() })
    }

    pub(crate) fn with(count: usize, config: NodeConfig) -> Self {
        let mut world = Self::new(config);
        for index in 0..count {
            let joined = world.join_one();
            assert!(matches!(joined, Ok(Joined { .. })), "{index}: {joined:?}");
        }
        world.run(5_000);
        world
    }

    pub(crate) fn start(&mut self) -> usize {
        self.start_at(&format!("n{}.example", self.nodes.len()))
    }

    pub(crate) fn start_at(&mut self, address: &str) -> usize {
        let index = self.nodes.len();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let address = address.parse().unwrap();
        let node = NodeState::node(Arc::new(SecretKey::from_seed(seed)), address, self.config.clone(), index as u64);
        self.add(node)
    }

    pub(crate) fn add(&mut self, node: NodeState) -> usize {
        self.contacts.push(node.contact().clone());
        self.nodes.push(Some(node));
        self.nodes.len() - 1
    }

    pub(crate) fn client(&mut self, entries: &[usize]) -> usize {
        let card = Contact::client(&SecretKey::from_seed([200; 32]));
        let entries = entries.iter().map(|entry| self.target(*entry)).collect();
        self.add(NodeState::client(Arc::new(card), entries, self.config.clone(), 99))
    }

    pub(crate) fn target(&self, index: usize) -> Target {
        Target::address(self.contacts[index].address().clone())
    }

    pub(crate) fn grid(&self, index: usize) -> Grid {
        self.contacts[index].grid()
    }

    pub(crate) fn node(&self, index: usize) -> &NodeState {
        self.nodes[index].as_ref().unwrap()
    }

    pub(crate) fn join_one(&mut self) -> Result<Joined, JoinError> {
        self.join_at(&format!("n{}.example", self.nodes.len()))
    }

    pub(crate) fn join_at(&mut self, address: &str) -> Result<Joined, JoinError> {
        let entries: Vec<Target> = (0..self.nodes.len().min(3)).map(|entry| self.target(entry)).collect();
        let index = self.start_at(address);
        match self.perform(index, Operation::Join(entries)) {
            Outcome::Joined(joined) => joined,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask(&mut self, node: usize, operation: Operation) -> OperationId {
        self.sequence += 1;
        let id = OperationId(self.sequence);
        self.turn(node, vec![(id, operation)], Vec::new());
        id
    }

    pub(crate) fn outcome(&mut self, id: OperationId) -> Outcome {
        for _ in 0..200_000 {
            if let Some(outcome) = self.outcomes.remove(&id) {
                return outcome;
            }
            self.step();
        }
        panic!("operation {id:?} has not ended by {}", self.now);
    }

    pub(crate) fn perform(&mut self, node: usize, operation: Operation) -> Outcome {
        let id = self.ask(node, operation);
        self.outcome(id)
    }

    pub(crate) fn lookup(&mut self, node: usize, key: Key, consistency: Consistency) -> Answer {
        match self.perform(node, Operation::Lookup(key, consistency)) {
            Outcome::Answered(Ok(answer)) => *answer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn register(&mut self, node: usize, records: &[Arc<Record>]) -> Registered {
        match self.perform(node, Operation::Register(records.to_vec())) {
            Outcome::Registered(Ok(registered)) => *registered,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn hear(&mut self, node: usize, heard: Heard) {
        self.turn(node, Vec::new(), vec![heard]);
    }

    pub(crate) fn turn(&mut self, index: usize, mut asked: Vec<(OperationId, Operation)>, mut heard: Vec<Heard>) {
        let own = self.contacts[index].grid();
        if let Some(lie) = self.liars.get(&index).copied() {
            for heard in heard {
                if let Heard::Message(from, message) = heard
                    && let Some(answer) = lie(&message)
                    && let Some(to) = self.contacts.iter().position(|contact| contact.grid() == from)
                {
                    self.post(DELAY, to, Heard::Message(own, answer));
                }
            }
            return;
        }
        let Some(node) = &mut self.nodes[index] else { return };
        let mut effects = Effects::new();
        node.turn(Tick(self.now), &mut asked, &mut heard, &mut effects);
        node.check();
        let own = node.contact().clone();
        for effect in effects {
            match effect {
                Effect::Request(target) => {
                    self.dialled.push((index, target.clone()));
                    let is_it = |contact: &Arc<Contact>| *contact.address() == target.address;
                    match self.contacts.iter().position(is_it).filter(|peer| self.nodes[*peer].is_some()) {
                        Some(peer) => {
                            self.post(DELAY, peer, Heard::Requested(own.clone()));
                            self.post(DELAY, index, Heard::Linked(target, self.contacts[peer].clone()));
                        }
                        None => self.post(DIAL, index, Heard::Lost(target, LossReason::Unreachable)),
                    }
                }
                Effect::Send(to, message) => {
                    self.sent.push((index, to, message.clone()));
                    if let Some(peer) = self.contacts.iter().position(|contact| contact.grid() == to) {
                        let delay = DELAY + self.slow.get(&index).copied().unwrap_or(0);
                        self.post(delay, peer, Heard::Message(own.grid(), message));
                    }
                }
                Effect::Complete(id, outcome) => {
                    assert!(self.outcomes.insert(id, outcome).is_none(), "an operation ends once");
                }
                Effect::Forget(key) => self.forgotten.push((index, key)),
                Effect::Notify(notice) => self.notices.push((index, notice)),
                Effect::Home(record) => _ = self.homes.insert((index, record.guid()), record),
                Effect::MovedOut(guid) => {
                    assert!(self.homes.remove(&(index, guid)).is_some(), "nobody moves out who was not in");
                }
                Effect::Remember(contacts) => {
                    let (last, times) = self.remembered.entry(index).or_default();
                    (*last, *times) = (contacts, *times + 1);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn post(&mut self, after: u64, to: usize, heard: Heard) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), (to, heard));
    }

    /// Goes on to the next tick at which something happens.
    pub(crate) fn step(&mut self) {
        let wakes = self.nodes.iter().flatten().filter_map(|node| node.next_wake()).map(|wake| wake.0);
        let next = wakes.chain(self.queue.keys().next().map(|(tick, _)| *tick)).min().unwrap_or(self.now);
        self.now = next.max(self.now + 1);
        let due = self.queue.split_off(&(self.now + 1, 0));
        let mut inboxes: BTreeMap<usize, Vec<Heard>> = BTreeMap::new();
        for (to, heard) in std::mem::replace(&mut self.queue, due).into_values() {
            inboxes.entry(to).or_default().push(heard);
        }
        for index in 0..self.nodes.len() {
            let is_due = |node: &NodeState| node.next_wake().is_some_and(|wake| wake.0 <= self.now);
            let heard = inboxes.remove(&index).unwrap_or_default();
            if !heard.is_empty() || self.nodes[index].as_ref().is_some_and(is_due) {
                self.turn(index, Vec::new(), heard);
            }
        }
    }

    pub(crate) fn run(&mut self, ticks: u64) {
        let end = self.now + ticks;
        while self.now < end {
            self.step();
        }
    }

    /// The living nodes in order of their distance to a place.
    pub(crate) fn nearest(&self, place: &Id) -> Vec<usize> {
        let mut living: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].as_ref().is_some_and(|node| node.phase() == Phase::Joined))
            .collect();
        living.sort_by_key(|index| place.distance(&self.grid(*index).0));
        living
    }

    pub(crate) fn holders(&self, key: &Key) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|index| self.nodes[*index].as_ref().is_some_and(|node| node.store().get(key).is_some()))
            .collect()
    }
}

pub(crate) fn user(seed: u64) -> Account {
    let mut signing = [7; 32];
    signing[..8].copy_from_slice(&seed.to_be_bytes());
    Account::new(signing, None, [0; 16])
}

pub(crate) fn place(account: &mut Account, home: &str) -> Arc<Record> {
    Arc::new(account.place(home.parse().unwrap(), 0))
}
