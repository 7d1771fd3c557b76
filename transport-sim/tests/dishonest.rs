//! Networks with liars in them: what they cannot do, and that a run with them can be repeated.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use routing_core::config::NodeConfig;
use routing_core::effect::Consistency;
use routing_core::time::Ticks;
use std::path::Path;
use transport_sim::delay::{Delay, DelaySpec};
use transport_sim::network::dishonest::Behaviour;
use transport_sim::network::{Mode, NodeIndex};
use transport_sim::sandbox::attack::Aim;
use transport_sim::sandbox::tasks::{Asker, Change, Done};
use transport_sim::sandbox::{RoutingSandbox, Setup};

/// A network of so many nodes and users, after some time of quiet.
fn network(seed: u64, mode: Mode, threads: usize, nodes: usize, users: usize) -> (RoutingSandbox, Vec<usize>) {
    let delay = DelaySpec::Uniform { min: Ticks(5), max: Ticks(60) };
    let delay = Delay::load(&delay, Path::new(""), seed).unwrap();
    let mut sandbox = RoutingSandbox::with(Setup { seed, config: NodeConfig::default(), delay, mode });
    sandbox.network_mut().set_threads(threads);
    let first = sandbox.new_node();
    sandbox.join(first, &[]).unwrap();
    for _ in 1..nodes {
        let node = sandbox.new_node();
        sandbox.join(node, &[first]).unwrap();
    }
    sandbox.tick(20_000);
    let homes: Vec<usize> = (0..users).map(|user| user % nodes).collect();
    let users = sandbox.new_users(&homes);
    for user in &users {
        sandbox.start_register(0, &[*user], &Asker::Client(vec![NodeIndex(0)])).unwrap();
    }
    let done = finish(&mut sandbox, users.len());
    assert_eq!(done.iter().map(|done| done.correct).sum::<u32>() as usize, users.len());
    (sandbox, users)
}

/// Runs until so many operations have ended, and until what they wrote has spread.
fn finish(sandbox: &mut RoutingSandbox, count: usize) -> Vec<Done> {
    let mut done = Vec::new();
    while done.len() < count || sandbox.is_spreading() {
        sandbox.tick(1);
        done.extend(sandbox.take_done());
    }
    done
}

/// Moves all these users to the server `home`. Says how many moves were acknowledged.
fn move_all(sandbox: &mut RoutingSandbox, users: &[usize], home: usize, doors: &[NodeIndex]) -> u32 {
    for user in users {
        sandbox.start_change(0, *user, Change::Move(home), &Asker::Client(doors.to_vec())).unwrap();
    }
    finish(sandbox, users.len()).iter().map(|done| done.correct).sum()
}

fn look_up_all(sandbox: &mut RoutingSandbox, users: &[usize], level: Consistency, asker: &Asker) -> Vec<Done> {
    for user in users {
        sandbox.start_lookup(0, *user, level, asker).unwrap();
    }
    finish(sandbox, users.len())
}

fn correct(done: &[Done]) -> u32 {
    done.iter().map(|done| done.correct).sum()
}

#[test]
fn with_a_third_of_the_nodes_lying_whoever_asks_all_holders_gets_the_truth() {
    for behaviour in [Behaviour::Silent, Behaviour::Forge, Behaviour::Stale, Behaviour::Misroute, Behaviour::Mixed] {
        let (mut sandbox, users) = network(5, Mode::Direct, 1, 60, 30);
        let liars: Vec<usize> = (40..60).collect();
        sandbox.corrupt(&liars, behaviour);
        let doors = [59, 3, 58].map(NodeIndex);
        let moved = move_all(&mut sandbox, &users[..15], 7, &doors);
        assert!(moved >= 13, "{behaviour:?}: {moved} of 15 moved");
        for asker in [Asker::Client(doors.to_vec()), Asker::Node(NodeIndex(11))] {
            let done = look_up_all(&mut sandbox, &users, Consistency::All, &asker);
            assert_eq!(correct(&done), 30, "{behaviour:?}, {asker:?}: {done:?}");
            let forged = look_up_all(&mut sandbox, &users, Consistency::Quick, &asker);
            let forged = forged.iter().filter_map(|done| done.lookup.as_ref()?.answer.as_ref()?.record.as_ref());
            assert!(forged.filter_map(|record| record.home()).all(|home| home.as_str() != "hideout.example"));
        }
    }
}

#[test]
fn a_user_next_to_whom_ids_are_ground_is_found_and_moves() {
    for (behaviour, aim) in
        [(Behaviour::Stale, Aim::Near), (Behaviour::Misroute, Aim::Near), (Behaviour::Mixed, Aim::Spread)]
    {
        let (mut sandbox, users) = network(6, Mode::Direct, 2, 80, 1);
        let liars = sandbox.add_ground_servers(users[0], 40, aim);
        assert_eq!(sandbox.aimed_at(), &users);
        sandbox.corrupt(&liars, behaviour);
        for liar in &liars {
            sandbox.start_join(0, *liar, &[NodeIndex(1), NodeIndex(2)]);
        }
        finish(&mut sandbox, liars.len());
        let doors = [1, 2, 3].map(NodeIndex);
        assert_eq!(move_all(&mut sandbox, &users, 7, &doors), 1, "{behaviour:?}");
        for level in [Consistency::Quorum, Consistency::All] {
            for asker in [Asker::Client(doors.to_vec()), Asker::Node(NodeIndex(11))] {
                let done = look_up_all(&mut sandbox, &users, level, &asker);
                assert_eq!(correct(&done), 1, "{behaviour:?}, {level:?}, {asker:?}: {done:?}");
            }
        }
    }
}

#[test]
fn a_liar_that_goes_down_and_comes_back_is_a_liar_still() {
    let (mut sandbox, users) = network(8, Mode::Direct, 1, 20, 4);
    sandbox.corrupt(&[12, 13], Behaviour::Silent);
    sandbox.stop(12);
    assert!(sandbox.is_dishonest(12), "while it is down");
    assert!(sandbox.start_return(0, 12));
    finish(&mut sandbox, 1);
    assert!(sandbox.is_dishonest(12) && sandbox.is_dishonest(13) && !sandbox.is_dishonest(11));
    let done = look_up_all(&mut sandbox, &users, Consistency::All, &Asker::Client(vec![NodeIndex(12), NodeIndex(1)]));
    assert_eq!(correct(&done), 4);
    let trace = done.iter().filter_map(|done| done.lookup.as_ref()?.answer.as_ref()).flat_map(|answer| &answer.trace);
    let back = sandbox.members()[12].grid;
    assert!(trace.filter(|hop| hop.peer.grid() == back).all(|hop| hop.said.is_none()), "it answers nothing");
}

#[test]
fn a_run_with_liars_is_the_same_on_any_number_of_threads_and_with_the_driver() {
    let digest = |mode, threads| {
        let (mut sandbox, users) = network(7, mode, threads, 30, 6);
        sandbox.corrupt(&(20..30).collect::<Vec<usize>>(), Behaviour::Mixed);
        let liars = sandbox.add_ground_servers(users[0], 5, Aim::Near);
        sandbox.corrupt(&liars, Behaviour::Mixed);
        for liar in &liars {
            sandbox.start_join(0, *liar, &[NodeIndex(0)]);
        }
        finish(&mut sandbox, liars.len());
        let doors = [0, 25].map(NodeIndex);
        move_all(&mut sandbox, &users, 3, &doors);
        look_up_all(&mut sandbox, &users, Consistency::Quorum, &Asker::Client(doors.to_vec()));
        sandbox.check();
        sandbox.network().digest()
    };
    let one = digest(Mode::Direct, 1);
    assert_eq!(digest(Mode::Direct, 3), one);
    assert_eq!(digest(Mode::Driver, 1), one);
}
