//! Nodes that are not there for a while: their places are kept, and nothing moves because of them.

use super::*;
use crate::message::Store;

/// How many copies were given outside of any operation since then.
fn moved(world: &World, before: usize) -> usize {
    let is_given = |message: &Message| !message.is_for_operation() && message.copies() > 0;
    world.sent[before..]
        .iter()
        .filter(|(_, _, message)| is_given(message))
        .map(|(_, _, message)| message.copies())
        .sum()
}

fn compared(world: &World, before: usize) -> usize {
    world.sent[before..].iter().filter(|(_, _, message)| matches!(message, Message::Compare(_))).count()
}

/// A network whose users live at a server that does not announce them meanwhile.
fn world_with_records(nodes: usize) -> (World, Vec<Arc<Record>>) {
    let config = NodeConfig { holders: 4, announce_every: Ticks(0), ..NodeConfig::default() };
    let mut world = World::with(nodes, config);
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    world.run(60_000);
    (world, records)
}

#[test]
fn what_was_the_same_with_all_fellows_is_compared_again_only_once_something_has_changed() {
    let (mut world, records) = world_with_records(12);
    let every = world.config.compare_every.0;
    world.run(every * 5);
    let before = world.sent.len();
    world.run(every * 3);
    assert_eq!(compared(&world, before), 0);
    let mut account = user(7);
    place(&mut account, "n1.example");
    let moved = place(&mut account, "n2.example");
    assert_eq!(moved.key(), records[7].key());
    world.register(3, std::slice::from_ref(&moved));
    world.run(every * 2);
    let has_changed = |node: &usize| {
        world.node(*node).store().get(&moved.key()).is_some_and(|stored| *stored.held().record() == moved)
    };
    let holders: Vec<usize> = world.holders(&moved.key()).into_iter().filter(has_changed).collect();
    assert!(holders.len() >= 4);
    let compared_by = |node: usize| {
        world.sent[before..].iter().any(|(from, _, message)| *from == node && matches!(message, Message::Compare(_)))
    };
    assert!(holders.iter().all(|holder| compared_by(*holder)), "those whose records changed compare");
}

#[test]
fn whoever_has_changed_has_compared_with_all_fellows_within_the_time_of_one_round_once_it_begins() {
    let (mut world, records) = world_with_records(12);
    let every = world.config.compare_every.0;
    world.run(every * 5);
    let mut account = user(7);
    place(&mut account, "n1.example");
    let moved = place(&mut account, "n2.example");
    assert_eq!(moved.key(), records[7].key());
    let holder = world.nearest(&moved.key().id)[0];
    // What the others ask is a comparison, too.
    for other in (0..12).filter(|other| *other != holder) {
        world.nodes[other].as_mut().unwrap().upkeep.compare_wake = None;
    }
    let before = world.sent.len();
    world.register(3, std::slice::from_ref(&moved));
    world.run(every * 2);
    let asked = world.sent[before..]
        .iter()
        .filter(|(from, _, message)| *from == holder && matches!(message, Message::Compare(_)));
    assert_eq!(asked.map(|(_, to, _)| *to).collect::<BTreeSet<_>>().len(), 11);
}

#[test]
fn the_neighbours_sweep_does_not_ask_whoever_is_absent() {
    let (mut world, _) = world_with_records(12);
    let gone = world.grid(5);
    world.nodes[5] = None;
    while !world.node(4).core.absent.keeps_place(&gone) {
        world.run(1_000);
    }
    world.run(30_000);
    let before = world.sent.len();
    world.run(Ticks::minutes(5).0);
    assert!(world.node(4).core.absent.keeps_place(&gone));
    let asks = |to: Grid| {
        let is_question = |message: &Message| matches!(message, Message::Find(find) if find.want == Want::Agreement);
        world.sent[before..]
            .iter()
            .filter(|(from, whom, message)| *from == 4 && *whom == to && is_question(message))
            .count()
    };
    assert_eq!(asks(gone), 0);
    assert!((0..12).any(|other| asks(world.grid(other)) > 1), "others are");
}

#[test]
fn it_is_an_outage_when_more_neighbours_than_one_for_each_eight_holders_fall_silent_within_a_minute() {
    let outages = |holders: u16, pause: Ticks| {
        let mut world = World::of(2, holders);
        let node = world.nodes[0].as_mut().unwrap();
        [(); 4].map(|()| {
            node.core.now += pause;
            node.upkeep.on_neighbour_silent(&mut node.core, true)
        })
    };
    assert_eq!(outages(16, Ticks::seconds(1)), [false, false, true, false]);
    assert_eq!(outages(16, Ticks::seconds(40)), [false, false, false, false]);
    assert_eq!(outages(4, Ticks::seconds(10)), [true; 4]);
}

/// The card of somebody who is not there.
fn invented(seed: u32, standing: Standing) -> Arc<Contact> {
    let mut secret = [9; 32];
    secret[..4].copy_from_slice(&seed.to_be_bytes());
    let address = format!("x{seed}.example").parse().unwrap();
    Arc::new(Contact::sign(&SecretKey::from_seed(secret), address, 1, standing, Versions::CURRENT))
}

#[test]
fn neighbours_that_somebody_has_invented_are_no_outage() {
    let (mut world, _) = world_with_records(12);
    let cards: Vec<_> = (0..40).map(|seed| invented(seed, Standing::Here)).collect();
    for card in &cards {
        world.nodes[4].as_mut().unwrap().meet(card);
    }
    world.run(Ticks::minutes(5).0);
    let state = world.node(4);
    let silent = cards.iter().filter(|card| state.core.absent.keeps_place(&card.grid()));
    assert!(silent.count() > 20, "they were asked");
    assert_eq!(state.upkeep.roll_called, None);
}

#[test]
fn however_many_somebody_invents_who_are_away_those_who_have_answered_keep_their_places() {
    let (mut world, _) = world_with_records(12);
    let own = world.grid(4).0;
    let nearest = world.nearest(&own)[1];
    let gone = world.grid(nearest);
    // Each is a neighbour when it is heard of, and none displaces the nearest.
    let mut cards: Vec<_> = (0..3_000).map(|seed| invented(seed, Standing::Away { for_ms: 3_600_000 })).collect();
    cards.retain(|card| own.distance(&card.grid().0) > own.distance(&gone.0));
    cards.sort_by_key(|card| std::cmp::Reverse(own.distance(&card.grid().0)));
    for card in &cards {
        world.nodes[4].as_mut().unwrap().meet(card);
    }
    assert!(world.node(4).core.absent.keeping_place().count() < cards.len() / 2, "of them not all do");
    assert!(matches!(world.perform(nearest, Operation::Away(Ticks::minutes(40))), Outcome::Departed(Ok(()))));
    world.run(1_000);
    assert!(world.node(4).core.absent.keeps_place(&gone));
}

#[test]
fn who_comes_back_hears_who_is_away_and_moves_nothing_because_of_it() {
    let (mut world, _) = world_with_records(12);
    world.run(world.config.compare_every.0 * 2);
    let before = world.sent.len();
    // When the first stops, the second is away, and not among those that the first remembers.
    let second = world.node(5).kept();
    assert!(matches!(world.perform(5, Operation::Away(Ticks::minutes(40))), Outcome::Departed(Ok(()))));
    world.nodes[5] = None;
    world.run(1_000);
    let first = world.node(4).kept();
    assert!(matches!(world.perform(4, Operation::Away(Ticks::minutes(1))), Outcome::Departed(Ok(()))));
    world.nodes[4] = None;
    world.run(1_000);
    assert!(world.rejoin(4, first).is_ok());
    let away = world.contacts[5].grid();
    assert!(world.node(4).core.absent.keeps_place(&away));
    world.run(Ticks::minutes(35).0);
    assert!(world.rejoin(5, second).is_ok());
    world.run(world.config.grace.0 + world.config.compare_every.0 * 2);
    assert!(world.node(4).table().entry(&away).is_some_and(|entry| entry.is_available()));
    assert_eq!(moved(&world, before), 0);
}

#[test]
fn who_has_missed_a_farewell_keeps_the_place_all_the_same_once_anybody_shows_the_card() {
    let (mut world, _) = world_with_records(12);
    world.run(world.config.compare_every.0 * 2);
    let before = world.sent.len();
    let deaf = world.nodes[4].take();
    assert!(matches!(world.perform(5, Operation::Away(Ticks::minutes(40))), Outcome::Departed(Ok(()))));
    let card = world.node(5).contact().clone();
    world.nodes[5] = None;
    world.nodes[4] = deaf;
    let state = world.nodes[4].as_mut().unwrap();
    assert!(card.is_away() && !state.core.absent.contains(&card.grid()));
    state.meet(&card);
    assert!(state.core.absent.keeps_place(&card.grid()));
    world.run(Ticks::minutes(35).0);
    assert_eq!(moved(&world, before), 0);
}

#[test]
fn who_was_given_up_is_taken_up_again_on_nobodys_word_but_its_own() {
    let (mut world, _) = world_with_records(12);
    let gone = world.contacts[5].clone();
    let node = world.nodes[5].take();
    world.run(world.config.grace.0 + world.config.neighbour_probe_every.0 * 4);
    assert!(world.node(4).table().entry(&gone.grid()).is_none(), "it was given up");
    let state = world.nodes[4].as_mut().unwrap();
    state.meet(&gone);
    assert!(state.table().entry(&gone.grid()).is_none(), "others may not know yet");
    world.nodes[5] = node;
    world.run(world.config.revive_every.0 * 4);
    let entry = world.node(4).table().entry(&gone.grid());
    assert!(entry.is_some_and(|entry| entry.has_answered() && entry.is_available()));
}

#[test]
fn what_was_written_while_most_holders_were_out_of_reach_is_theirs_once_they_are_back() {
    let (mut world, records) = world_with_records(12);
    let key = records[7].key();
    let by_distance = world.nearest(&key.id);
    let holders = &by_distance[..4];
    let writer = by_distance[11];
    let away: Vec<(usize, Option<NodeState>)> =
        holders[..3].iter().map(|holder| (*holder, world.nodes[*holder].take())).collect();
    // Long enough for all to notice, and shorter than the grace: nobody is given up.
    world.run(Ticks::minutes(3).0);
    let mut account = user(7);
    place(&mut account, "n1.example");
    let closed = Arc::new(account.close(0));
    assert_eq!(closed.key(), key);
    assert!(world.register(writer, std::slice::from_ref(&closed)).records[0].is_acknowledged);
    let has_it =
        |world: &World, node: usize| world.node(node).store().get(&key).is_some_and(|it| *it.held().record() == closed);
    // The one true holder that was there dies: only those who stood in have it.
    world.nodes[holders[3]] = None;
    for (holder, node) in away {
        world.nodes[holder] = node;
        assert!(!has_it(&world, holder));
    }
    world.run(world.config.compare_every.0 * 3);
    assert!(holders[..3].iter().all(|holder| has_it(&world, *holder)));
    assert!(world.nodes.iter().flatten().all(|node| node.core.strays.is_empty()), "each was handed on once");
}

#[test]
fn however_much_is_kept_in_place_of_others_it_is_handed_on_some_at_a_time() {
    let mut world = World::of(30, 4);
    world.run(60_000);
    let writer = world.grid(7);
    let records = (0..400).map(|seed| place(&mut user(seed), "nowhere.example"));
    // Node 3 is far from being a holder.
    let records: Vec<_> = records.filter(|record| !world.nearest(&record.key().id)[..8].contains(&3)).collect();
    let items = records.iter().map(|record| StoreItem {
        copy: Copy { record: record.clone(), rival: None, age: Ticks(0) },
        set: crate::holders::SetName::of([1].into_iter()),
    });
    let items: Vec<_> = items.collect();
    world.hear(
        3,
        Heard::Message(writer, Message::Store(Store { id: RequestId(1), items: items.into_iter().collect() })),
    );
    assert!(records.len() > 200 && world.node(3).core.strays.len() == records.len());
    let (mut most, mut left) = (0, 0);
    for _ in 0..world.config.compare_every.0 * 3 / 500 {
        let before = world.sent.len();
        world.run(500);
        let asks = |(from, _, message): &&(usize, Grid, Message)| {
            *from == 3 && matches!(message, Message::Compare(compare) if compare.range.bits == u8::MAX)
        };
        most = most.max(world.sent[before..].iter().filter(asks).count());
        left = world.node(3).core.strays.len();
    }
    assert_eq!(left, 0);
    assert!(most > 0 && most <= 2 * 2 * 64, "{most}, each perhaps twice");
    world.run(world.config.compare_every.0 * 3);
    for record in &records {
        let holders = world.holders(&record.key());
        assert!(world.nearest(&record.key().id)[..4].iter().all(|holder| holders.contains(holder)));
    }
}

#[test]
fn what_a_server_holds_after_a_restart_in_place_of_others_is_handed_to_them() {
    let (mut world, records) = world_with_records(12);
    let key = records[7].key();
    let by_distance = world.nearest(&key.id);
    let stranger = by_distance[11];
    let mut account = user(7);
    place(&mut account, "n1.example");
    let closed = Arc::new(account.close(0));
    let kept = {
        let mut kept = world.node(stranger).kept();
        kept.copies.push(Copy { record: closed.clone(), rival: None, age: Ticks::minutes(5) });
        kept.strays.push(key);
        kept
    };
    world.nodes[stranger] = None;
    assert!(world.rejoin(stranger, kept).is_ok());
    world.run(world.config.compare_every.0 * 3);
    let has_it = |node: &usize| world.node(*node).store().get(&key).is_some_and(|it| *it.held().record() == closed);
    assert!(by_distance[..4].iter().all(has_it));
}
