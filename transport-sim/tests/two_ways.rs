//! Nodes run directly and nodes run by the async driver are the same nodes: the same seed gives the same run.
//!
//! `SEED=7 cargo test -p transport-sim --test two_ways` runs each of these with that seed alone.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::account::Account;
use routing_core::config::NodeConfig;
use routing_core::contact::Contact;
use routing_core::effect::{Consistency, Operation, Target};
use routing_core::key::SecretKey;
use routing_core::state::NodeState;
use routing_core::time::Ticks;
use std::path::Path;
use std::sync::Arc;
use transport_sim::delay::{Delay, DelaySpec};
use transport_sim::network::{Counters, Mode, Network, NodeIndex};
use transport_sim::sandbox::tasks::{Asker, Change};
use transport_sim::sandbox::{RoutingSandbox, Setup, TrueHolders};

/// All that can be seen of a run.
#[derive(PartialEq)]
struct Seen {
    digest: String,
    counters: Counters,
    holders: Option<TrueHolders>,
    /// A line for each operation that ended, each notice, and each node's figures at the end.
    lines: Vec<String>,
}

/// A run under way.
struct Run {
    sandbox: RoutingSandbox,
    outstanding: usize,
    lines: Vec<String>,
    users: Vec<usize>,
}

impl Run {
    fn new(seed: u64, mode: Mode, loss: f64) -> Self {
        let delay = DelaySpec::Uniform { min: Ticks(2), max: Ticks(40) };
        let delay = Delay::load(&delay, Path::new(""), seed).unwrap();
        let mut sandbox = RoutingSandbox::with(Setup { seed, config: NodeConfig::default(), delay, mode });
        sandbox.network_mut().set_loss(loss);
        sandbox.network_mut().keep_notices(true);
        Self { sandbox, outstanding: 0, lines: Vec::new(), users: Vec::new() }
    }

    fn tick(&mut self) {
        self.sandbox.tick(1);
        let now = self.sandbox.now().0;
        for done in self.sandbox.take_done() {
            self.outstanding -= 1;
            self.lines.push(format!("{now} {done:?}"));
        }
        for (node, notice) in self.sandbox.network_mut().take_notices() {
            self.lines.push(format!("{now} {node:?} {notice:?}"));
        }
    }

    fn wait(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.tick();
        }
    }

    /// Runs until all that was asked has ended.
    fn finish(&mut self) {
        for _ in 0..600_000 {
            if self.outstanding == 0 {
                return;
            }
            self.tick();
        }
        panic!("{} operations have not ended in ten minutes", self.outstanding);
    }

    fn node(&self, member: usize) -> NodeIndex {
        self.sandbox.members()[member].node
    }

    fn any_node(&mut self) -> usize {
        let running = self.sandbox.running();
        running[self.sandbox.draw(running.len())]
    }

    /// A client at three nodes, or any node.
    fn asker(&mut self, is_client: bool) -> Asker {
        if is_client {
            let running: Vec<NodeIndex> = self.sandbox.running().into_iter().map(|member| self.node(member)).collect();
            Asker::Client(self.sandbox.draw_some(&running, 3))
        } else {
            let member = self.any_node();
            Asker::Node(self.node(member))
        }
    }

    fn join(&mut self, nodes: usize) {
        for number in 0..nodes {
            let members = self.sandbox.members().len();
            let member = self.sandbox.add_server(format!("s{members}.example").parse().unwrap(), 1, None);
            if number % 10 == 7 {
                let node = self.node(member);
                self.sandbox.network_mut().run(node, 7);
            }
            let running: Vec<NodeIndex> = self.sandbox.running().into_iter().map(|member| self.node(member)).collect();
            let doors = self.sandbox.draw_some(&running, 3);
            self.sandbox.start_join(0, member, &doors);
            self.outstanding += 1;
            self.wait(20);
        }
        self.finish();
    }

    fn register(&mut self, homes: usize, users_each: usize, by_clients: bool) {
        for _ in 0..homes {
            let home = self.any_node();
            let users = self.sandbox.new_users(&vec![home; users_each]);
            let asker = if by_clients { self.asker(true) } else { Asker::Node(self.node(home)) };
            self.outstanding += if by_clients { users.len() } else { 1 };
            self.sandbox.start_register(0, &users, &asker).unwrap();
            self.users.extend(users);
        }
        self.finish();
    }

    fn look_up(&mut self, count: usize) {
        for number in 0..count {
            let level = [Consistency::Quick, Consistency::Quorum, Consistency::All][number % 3];
            let user = self.users[self.sandbox.draw(self.users.len())];
            let asker = self.asker(number % 2 == 0);
            self.outstanding += usize::from(self.sandbox.users()[user].acknowledged().is_some());
            self.sandbox.start_lookup(0, user, level, &asker).unwrap();
        }
        self.finish();
    }

    fn change(&mut self, count: usize) {
        for number in 0..count {
            let user = self.users[number];
            let change = match number % 3 {
                0 => Change::Move(self.any_node()),
                1 => Change::Rotate,
                _ => Change::Close,
            };
            let asker = self.asker(number % 2 == 0);
            self.sandbox.start_change(0, user, change, &asker).unwrap();
            self.outstanding += 1;
        }
        self.finish();
    }

    fn seen(mut self) -> Seen {
        self.sandbox.check();
        let holders = self.sandbox.true_holders(&self.users.clone());
        let network = self.sandbox.network();
        for node in network.indices() {
            let figures = network.state(node).map(|state| {
                (state.phase(), state.next_wake(), state.stats(), state.table().len(), state.store().len())
            });
            self.lines.push(format!("{node:?} {:?} {figures:?}", network.condition(node)));
        }
        Seen { digest: network.digest().to_string(), counters: network.counters(), holders, lines: self.lines }
    }
}

/// Sixty nodes, some of them slow, and everything that may happen to them.
fn life_of_a_federation(seed: u64, mode: Mode, loss: f64) -> Seen {
    let mut run = Run::new(seed, mode, loss);
    run.join(60);
    run.register(10, 3, true);
    run.register(5, 40, false);
    run.look_up(60);
    run.change(12);

    // Two leave, three die, two sleep for a while, one goes slowly: and questions go on.
    for _ in 0..2 {
        let member = run.any_node();
        run.sandbox.start_leave(0, member);
        run.outstanding += 1;
        let asked = run.sandbox.running();
        assert!(asked.contains(&member));
        run.finish();
    }
    for _ in 0..3 {
        let member = run.any_node();
        run.sandbox.kill(member);
    }
    let halted = [run.any_node(), run.any_node()].map(|member| run.node(member));
    for node in halted {
        run.sandbox.network_mut().halt(node);
    }
    let member = run.any_node();
    let node = run.node(member);
    run.sandbox.network_mut().run(node, 7);
    run.look_up(30);
    run.wait(2_000);
    for node in halted {
        run.sandbox.network_mut().resume(node);
    }
    let member = run.any_node();
    run.sandbox.start_announce(0, member);
    run.outstanding += 1;
    run.wait(30_000);
    run.look_up(30);
    run.seen()
}

/// Half of it out of reach for a while, messages that arrive twice, and servers that go down and come back, some of
/// which have said so.
fn falls_apart_and_comes_back(seed: u64, mode: Mode) -> Seen {
    let mut run = Run::new(seed, mode, 0.01);
    run.sandbox.network_mut().set_duplicate(0.1);
    run.join(40);
    run.register(5, 8, false);
    run.sandbox.partition(&[0.6, 0.4], false);
    run.look_up(30);
    run.change(9);
    let running = run.sandbox.running();
    let chosen = run.sandbox.draw_some(&running, 9);
    for (number, member) in chosen.iter().enumerate() {
        if number % 2 == 0 {
            run.sandbox.start_away(0, *member, Ticks::minutes(1));
            run.outstanding += 1;
        } else {
            run.sandbox.stop(*member);
        }
    }
    run.finish();
    assert_eq!(run.sandbox.down().len(), chosen.len());
    run.look_up(20);
    run.sandbox.heal();
    for member in chosen {
        assert!(run.sandbox.start_return(0, member));
        run.outstanding += 1;
        run.wait(50);
    }
    run.finish();
    run.sandbox.partition(&[0.5, 0.5], true);
    run.look_up(20);
    run.sandbox.heal();
    run.wait(20_000);
    run.look_up(20);
    run.seen()
}

/// Nothing is left of a client that was dropped, whatever it was doing.
#[test]
fn a_dropped_client_is_gone_both_ways() {
    for mode in [Mode::Direct, Mode::Driver] {
        let delay = Delay::load(&DelaySpec::Constant { value: Ticks(5) }, Path::new(""), 1).unwrap();
        let mut network = Network::new(1, mode, delay);
        let card = Arc::new(Contact::client(&SecretKey::from_seed([1; 32])));
        let entry = Target::address("nowhere.example".parse().unwrap());
        let state = NodeState::client(card.clone(), vec![entry], Arc::default(), 1);
        let client = network.add(state, 0);
        let key = Account::new([2; 32], None, [3; 16]).guid().into();
        network.ask(client, Operation::Lookup(key, Consistency::All), 0).unwrap();
        network.tick();
        assert!(!network.is_idle(client));
        assert!(Arc::strong_count(&card) > 1);
        network.drop_client(client);
        assert_eq!(Arc::strong_count(&card), 1, "{mode:?}");
        network.tick();
    }
}

/// The seeds to try: that of the environment, or these.
fn seeds(few: &[u64]) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => few.to_vec(),
    }
}

/// The same seed gives the same run both ways.
fn assert_equal(seed: u64, scenario: impl Fn(u64, Mode) -> Seen) -> Seen {
    let (direct, driven) = (scenario(seed, Mode::Direct), scenario(seed, Mode::Driver));
    for (direct, driven) in direct.lines.iter().zip(&driven.lines) {
        assert_eq!(direct, driven, "repeat with SEED={seed}");
    }
    assert_eq!(direct.lines.len(), driven.lines.len(), "repeat with SEED={seed}");
    assert_eq!(direct.counters, driven.counters, "repeat with SEED={seed}");
    assert_eq!(direct.digest, driven.digest, "repeat with SEED={seed}");
    assert_eq!(direct.holders, driven.holders, "repeat with SEED={seed}");
    driven
}

#[test]
fn a_federation_lives_the_same_life_both_ways() {
    let mut digests = Vec::new();
    for seed in seeds(&[1, 2, 3]) {
        let seen = assert_equal(seed, |seed, mode| life_of_a_federation(seed, mode, 0.0));
        assert!(seen.holders.is_some(), "the oracle looks into driven nodes, too");
        digests.push(seen.digest);
    }
    digests.dedup();
    assert!(digests.len() == seeds(&[1, 2, 3]).len(), "another seed, another run");
}

#[test]
fn a_federation_that_loses_messages_lives_the_same_life_both_ways() {
    for seed in seeds(&[4, 5]) {
        assert_equal(seed, |seed, mode| life_of_a_federation(seed, mode, 0.05));
    }
}

#[test]
fn a_federation_that_falls_apart_lives_the_same_life_both_ways() {
    for seed in seeds(&[10, 11]) {
        assert_equal(seed, falls_apart_and_comes_back);
    }
}

#[test]
fn more_questions_at_once_than_a_turn_takes_up_are_answered_alike() {
    for seed in seeds(&[6]) {
        let seen = assert_equal(seed, |seed, mode| {
            let mut run = Run::new(seed, mode, 0.0);
            run.join(2);
            run.register(1, 50, false);
            let asker = Asker::Node(run.node(0));
            for number in 0..900 {
                let user = run.users[number % 50];
                run.sandbox.start_lookup(0, user, Consistency::All, &asker).unwrap();
                run.outstanding += 1;
            }
            run.finish();
            run.seen()
        });
        assert_eq!(seen.lines.iter().filter(|line| line.contains("correct: 1")).count(), 2 + 900);
    }
}

/// Whatever is drawn, and however it falls together: steps at random, with no wait for what is under way.
#[test]
fn a_muddle_is_the_same_muddle_both_ways() {
    for seed in seeds(&[7, 8, 9]) {
        assert_equal(seed, |seed, mode| {
            let mut run = Run::new(seed, mode, 0.02);
            run.join(20);
            run.register(4, 5, false);
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            for _ in 0..150 {
                let member = run.any_node();
                let node = run.node(member);
                let many = run.sandbox.running().len() > 12;
                let network = run.sandbox.network_mut();
                match rng.next_u64() % 10 {
                    0 if many => network.halt(node),
                    1 => network.indices().for_each(|node| network.resume(node)),
                    2 => network.run(node, rng.next_u64() % 9),
                    // What nobody waits for, and what is refused.
                    3 => assert!(network.ask(node, Operation::Announce, 0).is_some()),
                    4 => assert!(network.ask(node, Operation::Join(vec![]), 0).is_some()),
                    5 if many => {
                        run.sandbox.start_leave(0, member);
                        run.outstanding += 1;
                    }
                    6 if many => run.sandbox.kill(member),
                    _ => {
                        let user = run.users[rng.next_u64() as usize % run.users.len()];
                        let asker = run.asker(rng.next_u64().is_multiple_of(2));
                        run.outstanding += usize::from(run.sandbox.users()[user].acknowledged().is_some());
                        run.sandbox.start_lookup(0, user, Consistency::Quorum, &asker).unwrap();
                    }
                }
                run.wait(rng.next_u64() % 80);
            }
            let network = run.sandbox.network_mut();
            network.indices().for_each(|node| network.resume(node));
            run.finish();
            run.seen()
        });
    }
}
