//! Those who are asked the way, or to keep a record, and answer something else than what is so, or are gone.

use super::*;
use crate::message::StoreResult;
use crate::testing;

#[test]
fn an_old_record_said_to_be_greater_does_not_spoil_a_registration() {
    let mut world = World::of(8, 4);
    let mut account = user(1);
    let (old, new) = (place(&mut account, "n1.example"), place(&mut account, "n2.example"));
    world.register(0, std::slice::from_ref(&old));
    world.run(1_000);
    let holders = world.nearest(&old.key().id);
    // The nearest holder answers each write with what it had before.
    fn stale(message: &Message) -> Option<Message> {
        let Message::Store(store) = message else { return None };
        let old = place(&mut user(1), "n1.example");
        let results = store.items.iter().map(|_| StoreResult {
            verdict: StoreVerdict::Newer(Arc::new(Copy { record: old.clone(), rival: None, age: Ticks(0) })),
            sees_other_set: false,
        });
        Some(Message::Stored(Stored { id: store.id, results: results.collect(), contacts: List::default() }))
    }
    world.liars.insert(holders[0], stale);
    let asker = holders[6];
    let counted = world.node(asker).stats().peers_misbehaved;
    // So slow are the others that the lie is heard first.
    let write = world.ask(asker, Operation::Register(vec![new.clone()]));
    let id = world
        .sent
        .iter()
        .rev()
        .find_map(|(from, to, message)| (*from == asker && *to == world.grid(holders[0])).then(|| message.clone()));
    let lie = stale(&id.unwrap()).unwrap();
    say(&mut world, holders[0], asker, lie);
    match world.outcome(write) {
        Outcome::Registered(Ok(registered)) => {
            assert!(registered.records[0].is_acknowledged);
            assert_eq!(registered.records[0].greater, None);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.node(asker).stats().peers_misbehaved, counted + 1);
}

#[test]
fn a_holder_that_has_a_record_of_a_later_format_is_not_to_blame_for_saying_so() {
    fn later(message: &Message) -> Option<Message> {
        let Message::Store(store) = message else { return None };
        let mut bytes = place(&mut user(1), "n1.example").to_bytes();
        bytes[0] ^= 3;
        let record = Arc::new(Record::from_bytes(&bytes).unwrap());
        let results = store
            .items
            .iter()
            .map(|_| StoreResult { verdict: StoreVerdict::Newer(Arc::new(copy(&record))), sees_other_set: false });
        Some(Message::Stored(Stored { id: store.id, results: results.collect(), contacts: List::default() }))
    }
    let mut world = World::of(8, 4);
    let record = place(&mut user(1), "n1.example");
    let holders = world.nearest(&record.key().id);
    world.liars.insert(holders[0], later);
    let counted = world.node(holders[6]).stats().peers_misbehaved;
    assert!(world.register(holders[6], &[record]).records[0].is_acknowledged, "by the other three");
    world.run(5_000);
    assert!(world.sent.iter().any(|(from, to, message)| {
        *from == holders[6] && *to == world.grid(holders[0]) && matches!(message, Message::Store(_))
    }));
    assert_eq!(world.node(holders[6]).stats().peers_misbehaved, counted);
}

/// Answers everything with something that was not asked for.
fn cross(message: &Message) -> Option<Message> {
    Some(match message {
        Message::Find(find) => Message::Sampled(Sampled { id: find.id, contacts: List::default() }),
        Message::Store(store) => found(store.id, &[]),
        Message::Sample(sample) => found(sample.id, &[]),
        Message::Compare(compare) => {
            Message::Stored(Stored { id: compare.id, results: List::default(), contacts: List::default() })
        }
        Message::Fetch(fetch) => Message::Compared(Compared { id: fetch.id, difference: Difference::Same }),
        _ => return None,
    })
}

/// The same in another way.
fn cross_again(message: &Message) -> Option<Message> {
    Some(match message {
        Message::Find(Find { id, .. }) | Message::Sample(Sample { id, .. }) => {
            Message::Stored(Stored { id: *id, results: List::default(), contacts: List::default() })
        }
        Message::Store(Store { id, .. }) => Message::Sampled(Sampled { id: *id, contacts: List::default() }),
        _ => return None,
    })
}

#[test]
fn an_answer_of_another_kind_than_was_asked_for_holds_up_nobody() {
    for lie in [cross, cross_again] {
        let mut world = World::of(20, 2);
        for liar in [3, 8, 13] {
            world.liars.insert(liar, lie);
        }
        let begun = world.now;
        let joined = world.join_one();
        assert!(joined.is_ok(), "{joined:?}");
        assert!(world.now - begun < 20_000, "joined after {}", world.now - begun);
        let client = world.client(&[0, 1]);
        let records: Vec<_> = (0..30).map(|seed| place(&mut user(seed), "n0.example")).collect();
        for asker in [20, client] {
            let begun = world.now;
            world.register(asker, &records);
            assert!(world.now - begun < 20_000, "registered after {}", world.now - begun);
        }
    }
}

#[test]
fn a_link_lost_while_the_table_fills_does_not_hold_up_a_join() {
    let mut world = World::of(30, 2);
    let joiner = world.start();
    let entries = vec![world.target(0)];
    let join = world.ask(joiner, Operation::Join(entries));
    let asked = loop {
        let asked =
            world.sent.iter().find(|(from, _, message)| *from == joiner && matches!(message, Message::Sample(_)));
        if let Some((_, to, _)) = asked {
            break *to;
        }
        world.step();
    };
    let peer = (0..30).find(|index| world.grid(*index) == asked).unwrap();
    world.nodes[peer] = None;
    let lost = Target::contact(&world.contacts[peer]);
    world.hear(joiner, Heard::Lost(lost, LossReason::Closed));
    let begun = world.now;
    assert!(matches!(world.outcome(join), Outcome::Joined(Ok(_))));
    assert!(world.now - begun < 20_000, "joined after {}", world.now - begun);
}

#[test]
fn a_chain_of_ever_nearer_contacts_does_not_overflow_the_depth() {
    let mut world = World::new(NodeConfig { answer_timeout: Ticks::seconds(20), ..NodeConfig::default() });
    let rng = &mut testing::rng(1);
    let key: Key = user(1).guid().into();
    let mut chain: Vec<Arc<Contact>> = testing::contacts(rng, 300);
    chain.sort_by_key(|contact| std::cmp::Reverse(key.id.distance(&contact.grid().0)));
    let entry = Target::contact(&chain[0]);
    let card = Contact::client(&SecretKey::from_seed([200; 32]));
    let client = world.add(NodeState::client(Arc::new(card), vec![entry.clone()], world.config.clone(), 1));
    let lookup = world.ask(client, Operation::Lookup(key, Consistency::All));
    world.hear(client, Heard::Linked(entry, chain[0].clone()));
    for index in 0..chain.len() {
        let id = world.sent.iter().rev().find(|(_, to, _)| *to == chain[index].grid()).and_then(|sent| sent.2.id());
        let named = chain.get(index + 1).cloned().into_iter().collect::<Vec<_>>();
        world.now += 10;
        world.hear(client, Heard::Message(chain[index].grid(), found(id.unwrap(), &named)));
    }
    match world.outcome(lookup) {
        Outcome::Answered(Ok(answer)) => {
            assert_eq!(answer.round_trips, u8::MAX);
            assert!(answer.trace.len() >= 300);
        }
        other => panic!("{other:?}"),
    }
}

/// Knows everybody near any place: more than a search remembers, of as many domains, and all nearer than the honest. Has
/// no record, keeps each that it is given, and sees the set that the writer sees.
fn crowd(message: &Message) -> Option<Message> {
    match message {
        Message::Find(find) => {
            let rng = &mut testing::rng(1);
            let inventions: Vec<_> =
                (0..400).map(|_| testing::contact(testing::id_near(rng, &find.target, GROUND_BITS))).collect();
            let Message::Found(found) = found(find.id, &inventions) else { return None };
            Some(Message::Found(Found { is_complete: true, ..found }))
        }
        Message::Store(store) => {
            let kept = store.items.iter().map(|_| StoreResult { verdict: StoreVerdict::Kept, sees_other_set: false });
            Some(Message::Stored(Stored { id: store.id, results: kept.collect(), contacts: List::default() }))
        }
        _ => None,
    }
}

/// How many leading bits the inventions of [`crowd`] share with the place that was asked for.
const GROUND_BITS: u32 = 10;

/// A network of 40, one of whom has an id next to the first of two records, and a client with that one and two honest nodes as its
/// entry points.
fn world_with_a_liar_next_to_a_record() -> (World, usize, [Arc<Record>; 2], usize) {
    let mut world = World::of(40, 4);
    let shared = |world: &World, key: &Key, rank: usize| {
        let nearest = world.nearest(&key.id);
        (nearest[rank], key.id.common_bits(&world.grid(nearest[rank]).0))
    };
    let is_fitting = |account: &Account| {
        let key = Key::from(account.guid());
        shared(&world, &key, 0).1 > GROUND_BITS && shared(&world, &key, 1).1 < GROUND_BITS
    };
    let mut account = (0..).map(user).find(is_fitting).unwrap();
    let [old, new] = ["n1.example", "n2.example"].map(|home| place(&mut account, home));
    world.register(0, std::slice::from_ref(&old));
    world.run(1_000);
    let nearest = world.nearest(&old.key().id);
    let liar = nearest[0];
    world.liars.insert(liar, crowd);
    let client = world.client(&[liar, nearest[39], nearest[38]]);
    (world, client, [old, new], liar)
}

#[test]
fn a_lookup_finds_what_is_there_though_one_entry_point_invents_more_holders_than_a_search_remembers() {
    let (mut world, client, [record, _], _) = world_with_a_liar_next_to_a_record();
    for consistency in [Consistency::All, Consistency::Quorum] {
        let answer = world.lookup(client, record.key(), consistency);
        assert_eq!((answer.verdict, answer.is_settled), (Verdict::Found, true), "{consistency:?}");
        assert_eq!(answer.record.as_ref(), Some(&record));
    }
}

#[test]
fn a_write_is_acknowledged_by_honest_holders_though_one_entry_point_invents_more_than_a_search_remembers() {
    let (mut world, client, [_, record], liar) = world_with_a_liar_next_to_a_record();
    let registered = world.register(client, std::slice::from_ref(&record));
    let registration = &registered.records[0];
    let keepers = registration.holders.iter().filter(|(_, said)| *said == HolderSaid::Kept);
    let honest = keepers.filter(|(contact, _)| contact.grid() != world.grid(liar)).count();
    assert!(registration.is_acknowledged);
    assert!(honest >= 3, "{honest} honest holders keep it");
    let has_it = |holder: &usize| {
        world.node(*holder).store().get(&record.key()).is_some_and(|kept| kept.held().record() == &record)
    };
    let holders = world.nearest(&record.key().id);
    assert!(holders[1..4].iter().all(has_it));
}

/// The liar answers before the links to the others stand, names a few holders that are not there, and the other entry points.
#[test]
fn a_write_asks_entry_points_the_way_though_another_has_named_them_before_they_were_reached() {
    fn keep(message: &Message) -> Option<Message> {
        if matches!(message, Message::Store(_)) { crowd(message) } else { None }
    }
    let (mut world, client, [_, record], liar) = world_with_a_liar_next_to_a_record();
    world.liars.insert(liar, keep);
    let key = record.key();
    let others = world.nearest(&key.id)[38..].to_vec();
    let began = world.now;
    let write = world.ask(client, Operation::Register(vec![record]));
    let is_late = |heard: &Heard| matches!(heard, Heard::Linked(_, contact) if contact.grid() != world.grid(liar));
    let late: Vec<_> = world.queue.iter().filter(|(_, (to, heard))| *to == client && is_late(heard)).collect();
    let late: Vec<(u64, u64)> = late.into_iter().map(|(when, _)| *when).collect();
    assert_eq!(late.len(), 2);
    for when in late {
        let heard = world.queue.remove(&when).unwrap();
        world.queue.insert((began + 200, when.1), heard);
    }
    let asked = |world: &World, peer: usize| {
        let grid = world.grid(peer);
        let is_asked = |(from, to, message): &&(usize, Grid, Message)| {
            *from == client && *to == grid && matches!(message, Message::Find(_))
        };
        world.sent.iter().find(is_asked).and_then(|(.., message)| message.id())
    };
    world.run(100);
    let rng = &mut testing::rng(2);
    let inventions = (0..20).map(|_| testing::contact(testing::id_near(rng, &key.id, GROUND_BITS)));
    let named: Vec<_> = inventions.chain(others.iter().map(|other| world.contacts[*other].clone())).collect();
    let Message::Found(answer) = found(asked(&world, liar).unwrap(), &named) else { unreachable!() };
    say(&mut world, liar, client, Message::Found(Found { is_complete: true, ..answer }));
    let Outcome::Registered(Ok(registered)) = world.outcome(write) else { panic!("it fails") };
    assert!(others.iter().all(|other| asked(&world, *other).is_some()), "each entry point is asked");
    let registration = &registered.records[0];
    let keepers = registration.holders.iter().filter(|(_, said)| *said == HolderSaid::Kept);
    let honest = keepers.filter(|(contact, _)| contact.grid() != world.grid(liar)).count();
    assert!(registration.is_acknowledged && honest >= 3, "{honest} honest holders keep it");
}
