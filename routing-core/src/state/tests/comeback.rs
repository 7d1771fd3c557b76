//! Nodes that stop and come back.

use super::*;
use crate::contact::Standing;

impl World {
    /// A node is gone without a word. What it kept is left.
    fn crash(&mut self, index: usize) -> Kept {
        self.nodes[index].take().unwrap().kept()
    }

    /// It comes back, and is outside.
    fn come_back(&mut self, index: usize, kept: Kept) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let secret = Arc::new(SecretKey::from_seed(seed));
        let address = self.contacts[index].address().clone();
        let node = NodeState::restore(secret, address, self.config.clone(), 1_000, kept, Tick(self.now));
        self.contacts[index] = node.contact().clone();
        self.nodes[index] = Some(node);
    }

    pub(super) fn rejoin(&mut self, index: usize, kept: Kept) -> Result<Joined, JoinError> {
        let entry_points = kept.entry_points();
        self.come_back(index, kept);
        match self.perform(index, Operation::Join(entry_points)) {
            Outcome::Joined(joined) => joined,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_node_that_comes_back_holds_what_it_held_with_its_age_and_is_the_newer_self() {
    let mut world = World::of(8, 4);
    let records: Vec<_> = (0..20).map(|seed| place(&mut user(seed), "n5.example")).collect();
    world.register(0, &records);
    world.run(60_000);
    let before = world.node(5).contact().clone();
    let kept = world.crash(5);
    assert!(!kept.copies.is_empty() && kept.homed.len() == 20 && kept.contacts.len() == 7);
    assert!(kept.copies.iter().all(|copy| copy.age >= Ticks(50_000)));
    world.run(100_000);
    world.come_back(5, kept.clone());
    let node = world.node(5);
    assert!(node.contact().supersedes(&before) && node.grid() == before.grid());
    assert_eq!((node.phase(), node.is_settled()), (Phase::Outside, false));
    assert_eq!(Kept { sequence: kept.sequence, ..node.kept() }, kept, "an age is running time");
    assert!(node.table().iter().all(|entry| !entry.has_answered() && !entry.is_linked()));
}

/// Most of them are held by others alone, so that no copy of its own says who lives here.
#[test]
fn who_lives_on_a_server_is_made_durable_apart_from_what_it_holds() {
    let mut world = World::of(12, 3);
    let mut users: Vec<_> = (0..20).map(user).collect();
    let records: Vec<_> = users.iter_mut().map(|user| place(user, "n5.example")).collect();
    world.register(5, &records);
    world.run(2_000);
    let durable = |world: &World| -> Vec<Arc<Record>> {
        world.homes.iter().filter(|((node, _), _)| *node == 5).map(|(_, record)| record.clone()).collect()
    };
    let kept = world.node(5).kept();
    assert!(kept.copies.len() < 20, "it is no holder of all of them");
    assert_eq!((durable(&world).len(), durable(&world)), (20, kept.homed));

    let moved = place(&mut users[0], "n7.example");
    let renewed = place(&mut users[1], "n5.example");
    world.register(5, &[moved.clone(), renewed.clone()]);
    world.run(2_000);
    let homed = durable(&world);
    assert_eq!((homed.len(), &homed), (19, &world.node(5).kept().homed));
    assert!(homed.contains(&renewed) && !homed.iter().any(|record| record.guid() == moved.guid()));

    let kept = world.crash(5);
    world.rejoin(5, Kept { copies: Vec::new(), homed: homed.clone(), ..kept }).unwrap();
    assert_eq!(world.node(5).kept().homed, homed);
    assert_eq!(durable(&world), homed, "what is known to be durable is not told again");
}

#[test]
fn a_node_comes_back_through_those_that_it_remembers_even_if_most_of_them_are_gone() {
    let mut world = World::of(12, 4);
    let records: Vec<_> = (0..30).map(|seed| place(&mut user(seed), "n3.example")).collect();
    world.register(0, &records);
    world.run(2_000);
    let kept = world.crash(3);
    for gone in 4..11 {
        world.crash(gone);
    }
    let missed = place(&mut user(99), "n1.example");
    world.register(0, std::slice::from_ref(&missed));
    assert!(world.rejoin(3, kept).is_ok());
    assert!(world.node(3).is_settled());
    for record in records.iter().chain([&missed]) {
        let answer = world.lookup(3, record.key(), Consistency::All);
        assert_eq!(answer.record.as_ref(), Some(record));
    }
}

/// They keep their places for a grace, and may be on the other side of a cut.
#[test]
fn those_who_are_silent_but_not_given_up_are_remembered() {
    let mut world = World::of(8, 6);
    for silent in [5, 6] {
        world.crash(silent);
    }
    world.run(240_000);
    let silent = [5, 6].map(|index| world.grid(index));
    let is_silent = |grid: &Grid| world.node(3).table().entry(grid).is_some_and(|entry| !entry.is_available());
    assert!(silent.iter().all(is_silent), "the grace is not over");
    let kept = world.crash(3);
    assert!(silent.iter().all(|grid| kept.contacts.iter().any(|contact| contact.grid() == *grid)));
}

#[test]
fn what_a_node_says_after_coming_back_does_not_count_before_it_has_compared() {
    let mut world = World::of(6, 8);
    let mut account = user(1);
    let first = place(&mut account, "n1.example");
    world.register(0, std::slice::from_ref(&first));
    world.run(2_000);
    let kept = world.crash(2);
    let second = place(&mut account, "n4.example");
    world.register(0, std::slice::from_ref(&second));
    world.run(2_000);
    world.come_back(2, kept.clone());
    // It runs, and is asked before it is in again: only its stale copy is there, and marked.
    let answer = world.lookup(0, first.key(), Consistency::All);
    assert_eq!(answer.record.as_ref(), Some(&second));
    let own = world.grid(2);
    let hop = answer.trace.iter().find(|hop| hop.peer.grid() == own);
    let said = hop.and_then(|hop| hop.said.as_ref()).map(|(_, said)| said.standing);
    assert!(matches!(said, None | Some(crate::message::Standing::NotYet)), "{said:?}");
    let joined = world.perform(2, Operation::Join(kept.entry_points()));
    assert!(matches!(joined, Outcome::Joined(Ok(_))), "{joined:?}");
    let held = world.node(2).store().get(&second.key()).map(|stored| stored.held().record().clone());
    assert_eq!(held, Some(second));
}

#[test]
fn a_card_after_a_restart_beats_the_farewell_before_it_even_if_only_the_start_was_written_down() {
    let mut world = World::of(5, 4);
    let at_the_start = world.node(1).contact().sequence();
    let mut kept = world.node(1).kept();
    assert!(matches!(world.perform(1, Operation::Away(Ticks::hours(1))), Outcome::Departed(Ok(()))));
    let farewell = world.node(1).contact().clone();
    assert!(matches!(farewell.standing(), Standing::Away { .. }));
    kept.sequence = at_the_start;
    world.nodes[1] = None;
    world.run(5_000);
    assert!(world.rejoin(1, kept).is_ok());
    let card = world.node(1).contact().clone();
    assert!(card.supersedes(&farewell) && card.standing() == Standing::Here);
    world.run(5_000);
    for other in [0, 2, 3, 4] {
        let known = world.node(other).table().entry(&card.grid()).map(|entry| entry.contact().clone());
        assert_eq!(known, Some(card.clone()), "{other}");
    }
}

#[test]
fn after_a_blackout_those_who_come_back_together_find_each_other() {
    let mut world = World::of(9, 4);
    let records: Vec<_> = (0..20).map(|seed| place(&mut user(seed), "n3.example")).collect();
    world.register(0, &records);
    world.run(2_000);
    let kept: Vec<Kept> = (0..9).map(|index| world.crash(index)).collect();
    world.run(10_000);
    for (index, kept) in kept.iter().enumerate() {
        world.come_back(index, kept.clone());
    }
    let joins: Vec<OperationId> =
        kept.iter().enumerate().map(|(index, kept)| world.ask(index, Operation::Join(kept.entry_points()))).collect();
    for id in joins {
        let outcome = world.outcome(id);
        assert!(matches!(outcome, Outcome::Joined(Ok(_))), "{outcome:?}");
    }
    for record in &records {
        let answer = world.lookup(8, record.key(), Consistency::Quorum);
        assert_eq!((answer.record.as_ref(), answer.is_settled), (Some(record), true));
    }
}

#[test]
fn a_claim_is_not_to_be_had_again_because_its_holder_comes_back() {
    let mut world = World::of(1, 4);
    let mut claims = [1, 2].map(|seed| Arc::new(user(seed).claim_name("ann", 0).unwrap()));
    claims.sort_by_key(|claim| claim.claim_hash());
    let [less, first] = claims;
    world.register(0, std::slice::from_ref(&first));
    world.run(600_000);
    // Said again: its age begins anew, and since when the text is taken does not change.
    world.register(0, std::slice::from_ref(&first));
    let kept = world.crash(0);
    world.come_back(0, kept);
    assert!(matches!(world.perform(0, Operation::Join(Vec::new())), Outcome::Joined(Ok(_))));
    let refused = world.register(0, std::slice::from_ref(&less));
    assert!(!refused.records[0].is_acknowledged);
    let answer = world.lookup(0, first.key(), Consistency::Quorum);
    assert_eq!(answer.record.as_ref(), Some(&first));
}

#[test]
fn who_knows_few_tells_at_once_whom_to_remember_the_first_of_a_network_too() {
    let mut world = World::new(NodeConfig::default());
    for count in 0..4 {
        assert!(world.join_one().is_ok());
        for node in 0..count {
            let told = world.remembered.get(&node).map_or(0, |(contacts, _)| contacts.len());
            assert_eq!(told, count, "node {node} of {}", count + 1);
        }
    }
    world.run(60_000);
    let told = |world: &World, node: usize| world.remembered[&node].clone();
    assert!(matches!(world.perform(3, Operation::Leave), Outcome::Departed(Ok(()))));
    world.run(100);
    assert_eq!(told(&world, 0).0.len(), 2, "who has left is no entry point");
    world.crash(2);
    world.run(1_800_000);
    let (contacts, times) = told(&world, 0);
    assert_eq!(contacts.len(), 2, "who was given up is one, behind the others");
    assert_eq!(contacts[1].grid(), world.grid(2));
    world.run(1_800_000);
    assert_eq!(told(&world, 0).1, times, "nothing has changed");
}

#[test]
fn who_knows_many_tells_of_changes_at_most_once_a_minute_and_before_it_stops() {
    let mut world = World::of(24, 5);
    world.run(120_000);
    let times = |world: &World| world.remembered[&0].1;
    let before = times(&world);
    for _ in 0..6 {
        assert!(world.join_one().is_ok());
        world.run(5_000);
    }
    assert!((before..=before + 1).contains(&times(&world)), "{} and {before}", times(&world));
    world.run(180_000);
    let grids = |contacts: &[Arc<Contact>]| contacts.iter().map(|contact| contact.grid()).collect::<BTreeSet<_>>();
    let kept = world.node(0).kept();
    assert_eq!(grids(&world.remembered[&0].0), grids(&kept.contacts));
    assert!(world.join_one().is_ok());
    let kept = world.node(0).kept();
    assert!(matches!(world.perform(0, Operation::Away(Ticks::minutes(1))), Outcome::Departed(Ok(()))));
    assert_eq!(grids(&world.remembered[&0].0), grids(&kept.contacts));
}
