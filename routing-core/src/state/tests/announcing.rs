//! Servers that announce their users, holders that have no room, and users who are gone for good.

use super::*;
use crate::key::Hash;
use crate::message::{Compare, Compared, Difference, Range, RequestId, Store, StoreVerdict};

fn users(count: u64, home: &str) -> Vec<Arc<Record>> {
    (0..count).map(|seed| place(&mut user(seed), home)).collect()
}

fn stores(sent: &[(usize, Grid, Message)]) -> usize {
    sent.iter().map(|(_, _, message)| message.copies()).sum()
}

fn compares(sent: &[(usize, Grid, Message)], from: usize) -> usize {
    let of_domain = |message: &Message| matches!(message, Message::Compare(compare) if compare.range.users.is_some());
    sent.iter().filter(|(sender, _, message)| *sender == from && of_domain(message)).count()
}

/// A bare copy for a node's storage, from nobody in particular.
fn give(world: &mut World, from: usize, to: usize, record: &Arc<Record>, age: u64) {
    let copy = Copy { record: record.clone(), rival: None, age: Ticks(age) };
    let items = std::iter::once(StoreItem { copy, set: crate::holders::SetName::NONE }).collect();
    let from = world.grid(from);
    world.hear(to, Heard::Message(from, Message::Store(Store { id: RequestId(2), items })));
}

impl World {
    fn announce(&mut self, node: usize) -> Registered {
        match self.perform(node, Operation::Announce) {
            Outcome::Registered(Ok(registered)) => *registered,
            other => panic!("{other:?}"),
        }
    }

    fn age(&self, node: usize, key: &Key) -> Option<Ticks> {
        self.node(node).store().get(key).map(|stored| stored.copy(Tick(self.now)).age)
    }

    fn oldest(&self, records: &[Arc<Record>]) -> Ticks {
        let holders =
            |record: &Arc<Record>| (0..self.nodes.len()).filter_map(|node| self.age(node, &record.key())).max();
        records.iter().filter_map(holders).max().unwrap()
    }
}

#[test]
fn an_announcement_of_what_the_holders_have_moves_nothing_and_renews_its_age() {
    let mut world = World::of(12, 4);
    let records = users(200, "n5.example");
    world.register(5, &records);
    world.run(75_000);
    assert!(world.oldest(&records) >= Ticks(59_000));
    let before = world.sent.len();
    let registered = world.announce(5);
    assert_eq!(registered.records.len(), 200);
    let has_all = |record: &Registration| {
        record.is_acknowledged && record.holders.iter().all(|(_, said)| *said == HolderSaid::Kept)
    };
    assert!(registered.records.iter().all(has_all));
    let sent = &world.sent[before..];
    assert_eq!(stores(sent), 0);
    assert!((1..12).contains(&compares(sent, 5)), "one for each holder");
    world.run(1_000);
    assert!(world.oldest(&records) < Ticks(10_000));
    let is_spoken_for = |node: usize| world.node(node).store().iter().all(|(_, stored)| stored.is_announced());
    assert!((0..12).all(is_spoken_for));
}

#[test]
fn who_lacks_something_gets_that_and_the_ages_of_the_rest_are_renewed() {
    let mut world = World::of(12, 4);
    let mut records = users(200, "n5.example");
    world.register(5, &records);
    // Later a user changes something, and one holder does not hear of it.
    let mut account = user(7);
    place(&mut account, "n5.example");
    let newer = place(&mut account, "n5.example");
    let deaf = *world.nearest(&newer.key().id).iter().find(|node| **node != 5).unwrap();
    world.liars.insert(deaf, |_| None);
    world.register(5, std::slice::from_ref(&newer));
    // Until the writer has given up.
    world.run(150_000);
    world.liars.clear();
    records.retain(|record| record.key() != newer.key());
    records.push(newer.clone());
    world.run(75_000);
    let before = world.sent.len();
    assert!(world.announce(5).records.iter().all(|record| record.is_acknowledged));
    world.run(1_000);
    assert_eq!(stores(&world.sent[before..]), 1);
    assert_eq!(world.node(deaf).store().get(&newer.key()).unwrap().held().record(), &newer);
    assert!(world.oldest(&records) < Ticks(15_000), "{:?}", world.oldest(&records));
}

#[test]
fn what_most_holders_have_the_announcement_leaves_to_them_and_what_most_lack_it_gives() {
    for deaf_count in [1, 3] {
        let mut world = World::of(12, 4);
        let record = place(&mut user(7), "n5.example");
        let holders: Vec<usize> = world.nearest(&record.key().id).into_iter().filter(|node| *node != 5).collect();
        let deaf = &holders[..deaf_count];
        for node in deaf {
            world.liars.insert(*node, |_| None);
        }
        world.register(5, std::slice::from_ref(&record));
        // Until the writer has given up.
        world.run(150_000);
        world.liars.clear();
        world.run(75_000);
        let before = world.sent.len();
        assert!(world.announce(5).records.iter().all(|record| record.is_acknowledged));
        world.run(1_000);
        let told = |world: &World| deaf.iter().filter(|node| world.holders(&record.key()).contains(node)).count();
        assert_eq!(told(&world), if deaf_count == 1 { 0 } else { 3 }, "{}", stores(&world.sent[before..]));
        world.run(world.config.compare_every.0 * 2);
        assert_eq!(told(&world), deaf_count);
    }
}

/// One of two users is unknown to most, so that the server asks the way to the holders of both.
#[test]
fn nobody_stands_in_for_a_holder_that_is_away_while_most_have_what_is_announced() {
    let mut world = World::of(24, 4);
    let nearest = |world: &World, record: &Arc<Record>| {
        let nodes = world.nearest(&record.key().id);
        nodes.into_iter().filter(|node| *node != 5).take(5).collect::<Vec<usize>>()
    };
    let records: Vec<_> = (0..100).map(|seed| place(&mut user(seed), "n5.example")).collect();
    let lost = nearest(&world, &records[0]);
    let held = records.iter().find(|record| nearest(&world, record).iter().all(|node| !lost.contains(node))).unwrap();
    let places = nearest(&world, held);
    world.register(5, &[records[0].clone(), held.clone()]);
    world.run(60_000);
    for node in &lost {
        world.nodes[*node].as_mut().unwrap().core.store.remove(&records[0].key());
    }
    world.nodes[places[0]] = None;
    let before = world.sent.len();
    world.announce(5);
    let stands_in = world.grid(places[4]);
    assert!(world.sent[before..].iter().any(|(_, to, _)| *to == world.grid(places[3])));
    assert!(!world.sent[before..].iter().any(|(_, to, message)| {
        *to == stands_in && matches!(message, Message::Compare(compare) if compare.range.users.is_some())
    }));
}

#[test]
fn a_server_hears_from_holders_of_users_that_it_has_missed() {
    let mut world = World::of(6, 8);
    world.register(2, &users(5, "n2.example"));
    let missed = place(&mut user(9), "n2.example");
    for holder in [0, 1, 3, 4, 5] {
        give(&mut world, 1, holder, &missed, 5);
    }
    world.announce(2);
    world.run(5_000);
    assert_eq!(world.node(2).homed().count(), 6);
    let before = world.sent.len();
    world.announce(2);
    assert_eq!(stores(&world.sent[before..]), 0, "now they agree");
}

#[test]
fn nobody_but_the_server_itself_is_told_who_lives_there_or_renews_an_age() {
    let mut world = World::of(4, 4);
    let records = users(10, "n1.example");
    world.register(1, &records);
    world.run(20_000);
    let mut keys: Vec<_> = records.iter().map(|record| crate::message::Brief::of(record.key(), record, None)).collect();
    keys.sort_by_key(|brief| brief.key);
    let right = crate::store::digest(keys.into_iter());
    let of = crate::message::UsersOf { domain: "n1.example".parse().unwrap(), scale: Default::default() };
    for (from, digest) in [(2, right), (2, Hash([0; 32])), (1, Hash([0; 32]))] {
        let range = Range { start: Id([0; 32]), bits: 0, digest, users: Some(of.clone()) };
        let compare = Message::Compare(Compare { id: RequestId(8), range: Arc::new(range) });
        let (before, sender) = (world.sent.len(), world.grid(from));
        world.hear(0, Heard::Message(sender, compare));
        let listed = world.sent[before..].iter().find_map(|(_, _, message)| match message {
            Message::Compared(Compared { difference: Difference::Listing(listing), .. }) => Some(listing.len()),
            _ => None,
        });
        assert_eq!(listed, Some(if from == 1 { 10 } else { 0 }));
    }
    assert!(records.iter().all(|record| world.age(0, &record.key()) >= Some(Ticks(15_000))));
}

#[test]
fn a_server_announces_by_itself_in_every_period_and_tells_nobody_but_its_observer() {
    let every = Ticks::minutes(30);
    let config = NodeConfig { holders: 4, announce_every: every, ..NodeConfig::default() };
    let mut world = World::with(8, config);
    let records = users(50, "n3.example");
    world.register(3, &records);
    world.notices.clear();
    for _ in 0..4 {
        world.run(every.0);
        assert!(world.oldest(&records) <= every + Ticks(10_000));
    }
    let announced = world.notices.iter().filter(|(node, notice)| {
        assert!(*node == 3 || !matches!(notice, Notice::Announced { .. }), "the others have nobody to announce");
        matches!(notice, Notice::Announced { users: 50, acknowledged: 50 })
    });
    assert!((3..=4).contains(&announced.count()));
    assert!(world.outcomes.is_empty());
}

#[test]
fn a_server_that_is_told_so_never_announces_by_itself() {
    let config = NodeConfig { holders: 4, announce_every: Ticks(0), ..NodeConfig::default() };
    let mut world = World::with(4, config);
    world.register(1, &users(5, "n1.example"));
    world.run(Ticks::hours(49).0);
    assert!(!world.notices.iter().any(|(_, notice)| matches!(notice, Notice::Announced { .. })));
}

#[test]
fn a_server_that_comes_back_with_users_announces_them_within_a_minute() {
    let mut world = World::of(8, 4);
    let late = world.start();
    let records = users(20, "n8.example");
    // What it knows already when it joins.
    world.register(late, &records);
    let entries = vec![world.target(0)];
    assert!(matches!(world.perform(late, Operation::Join(entries)), Outcome::Joined(Ok(_))));
    world.run(70_000);
    let is_told = |notice: &(usize, Notice)| matches!(notice, (8, Notice::Announced { users: 20, acknowledged: 20 }));
    assert!(world.notices.iter().any(is_told));
    for record in &records {
        assert!(world.nearest(&record.key().id)[..4].iter().all(|holder| world.age(*holder, &record.key()).is_some()));
    }
}

#[test]
fn a_caller_without_a_place_in_the_table_speaks_for_its_domain_all_the_same() {
    let config = NodeConfig { holders: 1, neighbours_max: 4, ..NodeConfig::default() };
    let mut world = World::with(40, config);
    let records = users(60, "n7.example");
    world.register(7, &records);
    world.run(3_000);
    world.announce(7);
    world.run(3_000);
    let held: Vec<bool> = (0..40)
        .flat_map(|node| world.node(node).store().iter().map(|(_, stored)| stored.is_announced()).collect::<Vec<_>>())
        .collect();
    assert!(held.len() >= 60 && held.iter().all(|is_announced| *is_announced), "{held:?}");
}

#[test]
fn an_announcement_ends_though_holders_are_silent() {
    let mut world = World::of(12, 4);
    let records = users(100, "n5.example");
    world.register(5, &records);
    world.run(1_000);
    for dead in [1, 2, 3] {
        world.nodes[dead] = None;
    }
    let registered = world.announce(5);
    assert_eq!(registered.records.len(), 100);
    let silent = registered.records.iter().flat_map(|record| &record.holders);
    assert!(silent.filter(|(_, said)| *said == HolderSaid::Silent).count() > 0);
    let acknowledged = registered.records.iter().filter(|record| record.is_acknowledged).count();
    assert!(acknowledged > 60, "{acknowledged}");
}

#[test]
fn a_full_node_keeps_what_it_holds_and_drops_the_rest_first() {
    let config = NodeConfig { holders: 2, records_max: 30, ..NodeConfig::default() };
    let mut world = World::with(8, config);
    let node = 3;
    let records = users(200, "n1.example");
    let holds = |world: &World, record: &Arc<Record>| world.nearest(&record.key().id)[..2].contains(&node);
    let (mine, others): (Vec<_>, Vec<_>) = records.iter().partition(|record| holds(&world, record));
    for record in others.iter().take(30) {
        give(&mut world, 1, node, record, 0);
    }
    assert_eq!(world.node(node).store().len(), 30);
    world.forgotten.clear();
    for record in mine.iter().take(25) {
        give(&mut world, 1, node, record, 0);
    }
    assert!(mine.iter().take(25).all(|record| world.age(node, &record.key()).is_some()));
    assert_eq!((world.node(node).store().len(), world.forgotten.len()), (30, 25));
    for (of, key) in &world.forgotten {
        assert!(*of == node && world.age(node, key).is_none());
    }
    // And what comes for nobody is refused once there is nothing lesser.
    for record in mine.iter().skip(25).take(5) {
        give(&mut world, 1, node, record, 0);
    }
    let before = world.sent.len();
    give(&mut world, 1, node, others[40], 0);
    let refused = |message: &Message| match message {
        Message::Stored(stored) => stored.results[0].verdict == StoreVerdict::Refused(crate::message::Refusal::Full),
        _ => false,
    };
    assert!(world.sent[before..].iter().any(|(_, _, message)| refused(message)));
}

#[test]
fn a_server_whose_store_is_full_of_others_still_announces_all_its_users() {
    let config = NodeConfig { holders: 2, records_max: 20, ..NodeConfig::default() };
    let mut world = World::with(12, config);
    world.register(4, &users(20, "n4.example"));
    for seed in 100..200 {
        give(&mut world, 1, 4, &place(&mut user(seed), "n1.example"), 0);
    }
    assert_eq!((world.node(4).homed().count(), world.node(4).store().len()), (20, 20));
    assert_eq!(world.announce(4).records.len(), 20);
}

#[test]
fn read_repair_passes_on_the_age_that_it_has() {
    let mut world = World::of(8, 4);
    world.run(75_000);
    let mut account = user(1);
    let (old, new) = (place(&mut account, "n1.example"), place(&mut account, "n2.example"));
    let holders = world.nearest(&old.key().id);
    for holder in &holders[..4] {
        give(&mut world, holders[5], *holder, &old, 10);
    }
    // The asker alone has the newer one, since long.
    give(&mut world, holders[5], holders[0], &new, 50_000);
    world.lookup(holders[0], new.key(), Consistency::All);
    world.run(1_000);
    for holder in &holders[..4] {
        assert_eq!(world.node(*holder).store().get(&new.key()).unwrap().held().record(), &new);
        assert!(world.age(*holder, &new.key()) >= Some(Ticks(50_000)), "{:?}", world.age(*holder, &new.key()));
    }
}

#[test]
fn a_closed_account_stays_closed_whatever_comes_by_whatever_way() {
    let mut world = World::of(10, 4);
    let mut account = user(1);
    let lesser = place(&mut account, "n2.example");
    world.register(2, std::slice::from_ref(&lesser));
    let tombstone = Arc::new(account.close(0));
    world.register(0, std::slice::from_ref(&tombstone));
    world.run(2_000);
    let key = lesser.key();
    let holders = world.nearest(&key.id)[..4].to_vec();
    let is_closed = |world: &World, node: usize| {
        world.node(node).store().get(&key).is_some_and(|stored| *stored.held().record() == tombstone)
    };
    // By a store, from anybody.
    for holder in &holders {
        give(&mut world, 7, *holder, &lesser, 0);
        assert!(is_closed(&world, *holder));
    }
    // By an announcement of the server that has not heard of it.
    world.announce(2);
    world.run(2_000);
    assert_eq!(world.node(2).homed().count(), 0, "now it has");
    give(&mut world, 7, 2, &lesser, 0);
    assert_eq!(world.node(2).homed().count(), 0, "and is not told otherwise");
    // By a comparison with somebody who has the lesser one, and by what a leaver hands over.
    let joiner = world.start();
    world.register(joiner, std::slice::from_ref(&lesser));
    let entries = vec![world.target(0)];
    assert!(matches!(world.perform(joiner, Operation::Join(entries)), Outcome::Joined(Ok(_))));
    world.run(5_000);
    assert!(matches!(world.perform(joiner, Operation::Leave), Outcome::Departed(Ok(()))));
    world.run(5_000);
    // By read repair of one who has the lesser one.
    world.lookup(holders[1], key, Consistency::All);
    world.run(2_000);
    assert!(holders.iter().all(|holder| is_closed(&world, *holder)));
    assert_eq!(world.lookup(9, key, Consistency::All).verdict, Verdict::Closed);
}
