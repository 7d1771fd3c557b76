//! Small networks in virtual time, each node called by [`NodeState::turn`]: what a node does, in sentences.

mod absence;
mod announcing;
mod claims;
mod comeback;
mod comparing;
mod confirmed;
mod hostile;
mod refilling;
mod registering;
mod sparing;
mod world;

use super::*;
use crate::account::Account;
use crate::effect::{Consistency, Effect, Notice, Outcome};
use crate::error::{DepartError, JoinError, LookupError, RegisterError};
use crate::heard::LossReason;
use crate::holders::{Scale, SetName};
use crate::id::{Guid, Id, Key};
use crate::message::{Copy, Farewell, Find, Found, Message, Named, RequestId, StoreItem, Want};
use crate::table::Offered;
use crate::testing::{below, rng};
use crate::time::Ticks;
pub(crate) use world::{DELAY, DIAL, World, place, user};

#[test]
fn the_state_of_a_node_takes_at_most_1776_bytes_as_the_table_in_the_docs_says() {
    assert!(size_of::<NodeState>() <= 1_776, "{}", size_of::<NodeState>());
}

/// Many hand their records over at once, say, and each signature takes its time.
#[test]
fn who_is_handed_many_records_is_given_the_time_that_they_take() {
    let mut world = World::of(3, 4);
    let records: Vec<_> = (0..100).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.run(60_000);
    world.sent.clear();
    let id = world.ask(0, Operation::Register(records));
    // They have answered at once so far.
    let late = |((at, sequence), what)| ((at + 2_500, sequence), what);
    world.queue = std::mem::take(&mut world.queue).into_iter().map(late).collect();
    let Outcome::Registered(Ok(registered)) = world.outcome(id) else { panic!("not registered") };
    assert!(registered.records.iter().all(|record| record.is_acknowledged && record.holders.len() == 2));
    let stores = world.sent.iter().filter(|(from, _, message)| *from == 0 && matches!(message, Message::Store(_)));
    assert_eq!((stores.count(), world.node(0).stats().requests_expired), (2, 0));
}

fn sorted(mut indices: Vec<usize>) -> Vec<usize> {
    indices.sort_unstable();
    indices
}

#[test]
fn a_node_alone_answers_for_itself() {
    let mut world = World::of(1, 4);
    let record = place(&mut user(1), "n0.example");
    let absent = world.lookup(0, record.key(), Consistency::Quorum);
    assert_eq!((absent.verdict, absent.is_settled, absent.round_trips), (Verdict::Absent, true, 0));
    assert!(world.register(0, std::slice::from_ref(&record)).records[0].is_acknowledged);
    let found = world.lookup(0, record.key(), Consistency::All);
    assert_eq!((found.verdict, found.is_settled, found.confirmations), (Verdict::Found, true, 1));
}

#[test]
fn two_or_three_nodes_hold_everything_and_each_finds_it() {
    for count in [2, 3] {
        let mut world = World::of(count, 4);
        let record = place(&mut user(1), "n1.example");
        let registered = world.register(0, std::slice::from_ref(&record));
        assert!(registered.records[0].is_acknowledged && registered.records[0].holders.len() == count - 1);
        world.run(2_000);
        assert_eq!(world.holders(&record.key()).len(), count);
        for node in 0..count {
            for consistency in [Consistency::Quick, Consistency::Quorum, Consistency::All] {
                let answer = world.lookup(node, record.key(), consistency);
                assert_eq!((answer.verdict, answer.is_settled), (Verdict::Found, true), "{count} {node}");
                assert!(answer.round_trips <= 2, "{}", answer.round_trips);
            }
        }
    }
}

#[test]
fn a_lookup_at_each_level_finds_what_the_true_holders_hold() {
    let mut world = World::of(30, 4);
    let record = place(&mut user(1), "n1.example");
    assert!(world.register(3, std::slice::from_ref(&record)).records[0].is_acknowledged);
    world.run(2_000);
    assert_eq!(
        world.holders(&record.key()),
        sorted(
            world.nearest(&record.key().id)[..4]
                .iter()
                .chain(&[1])
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        )
    );
    let client = world.client(&[5, 6]);
    for asker in [0, 9, client] {
        for (consistency, confirmations) in [(Consistency::Quick, 3), (Consistency::Quorum, 3), (Consistency::All, 4)] {
            let answer = world.lookup(asker, record.key(), consistency);
            assert_eq!((answer.verdict, answer.is_settled), (Verdict::Found, true), "{asker} {consistency:?}");
            assert!(answer.confirmations >= confirmations, "{asker} {consistency:?}");
            assert_eq!(answer.record.as_ref(), Some(&record));
        }
        let absent = world.lookup(asker, user(2).guid().into(), Consistency::Quorum);
        assert_eq!((absent.verdict, absent.is_settled), (Verdict::Absent, true));
    }
}

/// The first node of these knows 64 of 4,000 others.
fn with_a_small_table() -> World {
    let mut world = World::with(2, NodeConfig { neighbours_max: 64, ..NodeConfig::default() });
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    crate::testing::contacts(&mut rng(1), 4_000).iter().for_each(|contact| {
        table.offer(contact);
        table.on_answer(&contact.grid(), Ticks(20));
        table.on_reached(&contact.grid(), contact.address());
    });
    world
}

/// Whom the first node asks at first when it looks up a key outside its own slice, of whose slice it knows somebody or does not.
fn asked_the_way(world: &mut World, consistency: Consistency, is_known: bool) -> (Key, Vec<(Grid, RequestId)>) {
    let mut keys = (0..2_000).map(|seed| Key::from(user(seed).guid()));
    let table = world.node(0).table();
    let is_it = |key: &Key| table.knows_somebody_of_slice(&key.id) == is_known && !table.is_complete_at(&key.id);
    let key = keys.find(is_it).expect("a table of 64 leaves out some of the slices");
    let before = world.sent.len();
    world.ask(0, Operation::Lookup(key, consistency));
    (key, finds_since(world, before))
}

fn finds_since(world: &World, before: usize) -> Vec<(Grid, RequestId)> {
    let find = |(_, to, message): &(usize, Grid, Message)| match message {
        Message::Find(find) => Some((*to, find.id)),
        _ => None,
    };
    world.sent[before..].iter().filter_map(find).collect()
}

#[test]
fn a_quick_lookup_asks_twice_as_many_the_way_where_nobody_of_the_slice_is_known() {
    let mut world = with_a_small_table();
    let mut asked = |consistency, is_known| asked_the_way(&mut world, consistency, is_known).1.len();
    let alpha = usize::from(NodeConfig::default().alpha);
    assert_eq!(asked(Consistency::Quick, true), alpha);
    assert_eq!(asked(Consistency::Quick, false), alpha * 2);
    assert_eq!(asked(Consistency::Quorum, false), alpha);
    // Who does not answer is nobody who could be asked.
    let (key, _) = asked_the_way(&mut world, Consistency::Quick, true);
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    let nearest: Vec<Grid> = table.nearest(&key.id).take(8).map(|entry| entry.contact().grid()).collect();
    nearest.iter().chain(&nearest).for_each(|grid| assert!(table.on_failure(grid).is_some()));
    assert!(!table.knows_somebody_of_slice(&key.id));
}

#[test]
fn a_quick_lookup_asks_those_who_are_named_though_others_whom_it_asked_on_the_way_have_not_answered() {
    let asked_next = |consistency, is_known| {
        let mut world = with_a_small_table();
        let (key, asked) = asked_the_way(&mut world, consistency, is_known);
        let rng = &mut rng(2);
        let nearest = (0..16).map(|_| crate::testing::contact(crate::testing::id_near(rng, &key.id, 20)));
        let found = Found {
            id: asked[0].1,
            standing: crate::message::Standing::NotYet,
            is_complete: false,
            own_scale: Scale::of_nodes(4_000),
            scale: Scale::of_nodes(4_000),
            copy: None,
            contacts: Some(nearest.map(|contact| Named { contact, is_hearsay: false }).collect()),
        };
        let before = world.sent.len();
        world.hear(0, Heard::Message(asked[0].0, Message::Found(found)));
        finds_since(&world, before).len()
    };
    let alpha = usize::from(NodeConfig::default().alpha);
    assert_eq!(asked_next(Consistency::Quick, true), alpha);
    assert_eq!(asked_next(Consistency::Quorum, true), 1);
    assert_eq!(asked_next(Consistency::Quick, false), 1, "where many are asked they name the nearest one by one");
}

#[test]
fn where_a_table_is_still_being_filled_those_come_later_who_may_be_no_holders_the_farther_the_later() {
    let asked_at_the_edge = |nodes: u64, hearsay: usize| {
        let mut world = World::of(2, 16);
        let table = &mut world.nodes[0].as_mut().unwrap().core.table;
        let contacts = crate::testing::contacts(&mut rng(1), 400);
        contacts.iter().for_each(|contact| assert_eq!(table.offer(contact), Offered::New));
        table.set_told(Scale::of_nodes(nodes));
        let key = Key::from(user(1).guid());
        let nearest: Vec<_> = table.nearest(&key.id).map(|entry| entry.contact().clone()).collect();
        let edge = &nearest[10..16];
        for contact in &nearest[hearsay..] {
            let round_trip = if edge.contains(contact) { Ticks(1) } else { Ticks(30) };
            table.on_answer(&contact.grid(), round_trip);
            table.on_reached(&contact.grid(), contact.address());
        }
        let before = world.sent.len();
        world.ask(0, Operation::Lookup(key, Consistency::Quick));
        let asked = world.sent[before..].iter().filter(|(.., message)| matches!(message, Message::Find(_)));
        let asked: Vec<Grid> = asked.map(|(_, to, _)| *to).collect();
        (asked.len(), edge.iter().filter(|contact| asked.contains(&contact.grid())).count())
    };
    assert_eq!(asked_at_the_edge(402, 0), (4, 4), "the quickest are asked where all have answered");
    assert_eq!(
        asked_at_the_edge(402, 3),
        (4, 4),
        "of the three farthest one is asked, who is quick and little in doubt"
    );
    assert_eq!(asked_at_the_edge(402, 5), (4, 3), "the second of five");
    assert_eq!(asked_at_the_edge(402, 6), (4, 2), "and of six, of whom the others are too much in doubt");
    assert_eq!(asked_at_the_edge(402, 14), (4, 0), "the nearest of those who may be none come first");
    assert_eq!(asked_at_the_edge(1_000, 1), (4, 0), "more than half of those around the place are not known");
}

#[test]
fn whoever_was_never_measured_is_asked_before_those_who_are_known_to_be_slow() {
    let asked_of_the_unmeasured = |others: Ticks| {
        let mut world = World::of(2, 16);
        let table = &mut world.nodes[0].as_mut().unwrap().core.table;
        crate::testing::contacts(&mut rng(1), 400)
            .iter()
            .for_each(|contact| assert_eq!(table.offer(contact), Offered::New));
        table.set_told(Scale::of_nodes(402));
        let key = Key::from(user(1).guid());
        let nearest: Vec<_> = table.nearest(&key.id).take(16).map(|entry| entry.contact().clone()).collect();
        for contact in &nearest[2..] {
            table.on_answer(&contact.grid(), others);
            table.on_reached(&contact.grid(), contact.address());
        }
        let before = world.sent.len();
        world.ask(0, Operation::Lookup(key, Consistency::Quick));
        let asked = world.sent[before..].iter().filter(|(.., message)| matches!(message, Message::Find(_)));
        asked.filter(|(_, to, _)| nearest[..2].iter().any(|contact| contact.grid() == *to)).count()
    };
    assert_eq!(asked_of_the_unmeasured(Ticks(60)), 0);
    assert_eq!(asked_of_the_unmeasured(Ticks(200)), 2);
}

#[test]
fn who_is_silent_is_not_named_among_the_holders_even_where_hearsay_is_left_out() {
    let mut world = World::of(6, 4);
    let (asker, silent) = (world.grid(5), world.grid(1));
    let stranger = crate::testing::contact(silent.0.flip(255));
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    (0..2).for_each(|_| assert!(table.on_failure(&silent).is_some()));
    let named = |world: &mut World, target: Id| {
        let find = Find { id: RequestId(1), target, want: Want::Contacts, groups: 4, set: SetName(1) };
        world.hear(0, Heard::Message(asker, Message::Find(find)));
        let found = world.sent.iter().rev().find_map(|(.., message)| match message {
            Message::Found(found) => found.contacts.clone(),
            _ => None,
        });
        found.expect("an answer that names holders").iter().map(|named| named.contact.grid()).collect::<Vec<_>>()
    };
    assert!(!named(&mut world, silent.0).contains(&silent));
    world.nodes[0].as_mut().unwrap().core.table.offer(&stranger);
    let named = named(&mut world, silent.0);
    assert!(named.len() >= 2 && !named.contains(&silent) && !named.contains(&stranger.grid()), "{named:?}");
}

#[test]
fn an_asker_that_is_a_holder_counts_itself() {
    let mut world = World::of(12, 4);
    let record = place(&mut user(1), "n1.example");
    world.register(0, std::slice::from_ref(&record));
    world.run(2_000);
    let holder = world.nearest(&record.key().id)[0];
    let answer = world.lookup(holder, record.key(), Consistency::All);
    assert_eq!((answer.confirmations, answer.trace.len()), (4, 3));
}

#[test]
fn a_joiner_receives_what_it_becomes_a_holder_of_and_says_not_yet_before() {
    let mut world = World::of(10, 4);
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    world.run(2_000);
    let before = world.sent.len();
    let joined = world.join_one();
    assert!(joined.is_ok());
    world.run(2_000);
    let newcomer = 10;
    let held = records.iter().filter(|record| world.nearest(&record.key().id)[..4].contains(&newcomer));
    let mut count = 0;
    for record in held {
        assert!(world.node(newcomer).store().get(&record.key()).is_some());
        count += 1;
    }
    assert!(count > 5, "{count}");
    assert!(world.node(newcomer).is_settled());
    assert!(world.sent[before..].iter().any(|(from, _, message)| *from != newcomer && message.copies() > 0));

    // Each record is fetched from one of the holders that list it.
    let fetched = |(_, to, message): &&(usize, Grid, Message)| {
        *to == world.grid(newcomer) && matches!(message, Message::Fetched(_)) && message.copies() > 0
    };
    let copies: usize = world.sent[before..].iter().filter(fetched).map(|(.., message)| message.copies()).sum();
    assert_eq!(copies, count);

    // A node that has not compared its range yet: what it says counts for nothing.
    let slow = world.start();
    let entry = world.target(0);
    world.ask(slow, Operation::Join(vec![entry]));
    let asker = world.contacts[0].clone();
    let find = crate::message::Find {
        id: crate::message::RequestId(2),
        target: world.grid(slow).0,
        want: crate::message::Want::Record,
        groups: 4,
        set: crate::holders::SetName::NONE,
    };
    world.hear(slow, Heard::Requested(asker.clone()));
    let before = world.sent.len();
    world.hear(slow, Heard::Message(asker.grid(), Message::Find(find)));
    let said = world.sent[before..].iter().find_map(|(_, _, message)| match message {
        Message::Found(found) => Some(found.standing),
        _ => None,
    });
    assert_eq!(said, Some(crate::message::Standing::NotYet));
}

#[test]
fn what_one_fellow_lists_and_does_not_hand_over_is_fetched_from_another() {
    let mut world = World::of(10, 4);
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    world.run(2_000);
    let newcomer = world.start();
    let entries = vec![world.target(0)];
    let id = world.ask(newcomer, Operation::Join(entries));
    // As soon as it has been asked for records, whoever was asked first answers without any.
    let of_newcomer = |world: &World| {
        world.sent.iter().find_map(|(from, to, message)| match message {
            Message::Fetch(_) if *from == newcomer => Some(*to),
            _ => None,
        })
    };
    let first = loop {
        world.step();
        if let Some(first) = of_newcomer(&world) {
            break first;
        }
    };
    let silent = world.contacts.iter().position(|contact| contact.grid() == first).unwrap();
    world.liars.insert(silent, |message| match message {
        Message::Fetch(fetch) => {
            let copies = crate::message::List::default();
            Some(Message::Fetched(crate::message::Fetched { id: fetch.id, copies }))
        }
        _ => None,
    });
    assert!(matches!(world.outcome(id), Outcome::Joined(Ok(_))));
    world.run(2_000);
    for record in records.iter().filter(|record| world.nearest(&record.key().id)[..4].contains(&newcomer)) {
        assert!(world.node(newcomer).store().get(&record.key()).is_some());
    }
    assert!(world.node(newcomer).is_settled());
}

#[test]
fn a_leavers_records_are_with_its_heirs_before_it_is_gone_and_nobody_asks_it_afterwards() {
    let mut world = World::of(12, 4);
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    world.run(2_000);
    let leaver = 7;
    let held = world.node(leaver).store().len();
    assert!(held > 5);
    assert!(matches!(world.perform(leaver, Operation::Leave), Outcome::Departed(Ok(()))));
    assert_eq!(world.node(leaver).phase(), Phase::Departed);
    for record in &records {
        for holder in &world.nearest(&record.key().id)[..4] {
            assert!(world.node(*holder).store().get(&record.key()).is_some());
        }
    }
    world.run(DELAY);
    let before = world.sent.len();
    for record in &records {
        let answer = world.lookup(2, record.key(), Consistency::All);
        assert_eq!((answer.verdict, answer.is_settled, answer.confirmations), (Verdict::Found, true, 4));
    }
    world.run(180_000);
    let gone = world.grid(leaver);
    assert!(world.sent[before..].iter().all(|(_, to, _)| *to != gone));
    assert!((0..12).all(|index| world.node(index).table().entry(&gone).is_none()));
}

/// An heir has a leaver's records before it hears that the leaver is gone, and may have compared meanwhile.
#[test]
fn who_becomes_a_holder_of_what_it_has_is_not_given_it_again_and_again() {
    let compare_every = Ticks::seconds(2);
    let mut world = World::with(12, NodeConfig { holders: 4, compare_every, ..NodeConfig::default() });
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    for leaver in 6..10 {
        world.run(compare_every.0 * 5);
        assert!(matches!(world.perform(leaver, Operation::Leave), Outcome::Departed(Ok(()))));
    }
    world.run(compare_every.0 * 10);
    let before = world.sent.len();
    world.run(compare_every.0 * 10);
    let moved: usize = world.sent[before..].iter().map(|(_, _, message)| message.copies()).sum();
    assert_eq!(moved, 0);
}

#[test]
fn a_stale_holder_is_told_the_greatest_record_by_a_lookup() {
    let mut world = World::of(12, 4);
    let mut account = user(1);
    let (old, new) = (place(&mut account, "n1.example"), place(&mut account, "n2.example"));
    world.register(0, std::slice::from_ref(&old));
    world.run(2_000);
    let holders = world.nearest(&old.key().id);
    let give = |world: &mut World, holder: usize| {
        let copy = Copy { record: new.clone(), rival: None, age: Ticks(0) };
        let items = std::iter::once(StoreItem { copy, set: crate::holders::SetName::NONE }).collect();
        let store = Message::Store(crate::message::Store { id: crate::message::RequestId(1), items });
        let giver = world.grid(holders[5]);
        world.hear(holder, Heard::Message(giver, store));
    };
    give(&mut world, holders[0]);
    let answer = world.lookup(holders[6], old.key(), Consistency::All);
    assert_eq!((answer.record.as_ref(), answer.confirmations), (Some(&new), 1));
    world.run(1_000);
    for holder in &holders[..4] {
        assert_eq!(world.node(*holder).store().get(&new.key()).unwrap().held().record(), &new);
    }
}

#[test]
fn a_conflict_surfaces_to_the_writer_even_if_one_holder_alone_knows() {
    let mut world = World::of(12, 4);
    let mut account = user(1);
    let mut thief = account.clone();
    let (ours, theirs) = (place(&mut account, "n1.example"), place(&mut thief, "n2.example"));
    let holders = world.nearest(&ours.key().id);
    let copy = Copy { record: theirs.clone(), rival: None, age: Ticks(0) };
    let items = std::iter::once(StoreItem { copy, set: crate::holders::SetName::NONE }).collect();
    let store = Message::Store(crate::message::Store { id: crate::message::RequestId(1), items });
    let giver = world.grid(holders[5]);
    world.hear(holders[0], Heard::Message(giver, store));
    let registered = world.register(holders[6], std::slice::from_ref(&ours));
    world.run(1_000);
    let registration = &registered.records[0];
    match &registration.greater {
        Some(proof) => assert!(proof.record == theirs || proof.rival.as_ref() == Some(&theirs)),
        None => panic!("acknowledged {}", registration.is_acknowledged),
    }
    let answer = world.lookup(holders[6], ours.key(), Consistency::All);
    assert_eq!(answer.verdict, Verdict::Conflict);
}

#[test]
fn absent_and_unreachable_are_told_apart_when_nodes_die() {
    let mut world = World::of(12, 4);
    let key: Key = user(1).guid().into();
    let order = world.nearest(&key.id);
    let asker = order[11];
    world.nodes[order[0]] = None;
    let answer = world.lookup(asker, key, Consistency::Quorum);
    assert_eq!((answer.verdict, answer.is_settled), (Verdict::Absent, true));
    order[1..11].iter().for_each(|index| world.nodes[*index] = None);
    let answer = world.lookup(asker, key, Consistency::Quorum);
    assert_eq!((answer.verdict, answer.is_settled), (Verdict::Unreachable, false));
}

#[test]
fn a_node_that_reaches_nobody_yet_does_not_say_that_there_is_nothing() {
    let mut world = World::of(12, 4);
    let newcomer = world.start();
    let nowhere = Target::address("nowhere.example".parse().unwrap());
    world.ask(newcomer, Operation::Join(vec![nowhere]));
    let answer = world.lookup(newcomer, user(1).guid().into(), Consistency::Quorum);
    assert_eq!((answer.verdict, answer.is_settled), (Verdict::Unreachable, false));
}

#[test]
fn what_is_written_to_a_node_that_is_not_in_yet_reaches_its_holders_once_it_is() {
    let mut world = World::of(12, 4);
    let newcomer = world.start();
    let id = world.ask(newcomer, Operation::Join(vec![Target::address("nowhere.example".parse().unwrap())]));
    let client = world.client(&[newcomer]);
    let record = (1..).map(|seed| place(&mut user(seed), "elsewhere.example"));
    let mut far = record.filter(|record| {
        world.nearest(&record.key().id)[..6].iter().all(|other| {
            record.key().id.distance(&world.grid(*other).0) < record.key().id.distance(&world.grid(newcomer).0)
        })
    });
    let record = far.next().unwrap();
    drop(far);
    world.register(client, std::slice::from_ref(&record));
    assert!(world.node(newcomer).store().get(&record.key()).is_some());
    world.ask(newcomer, Operation::Cancel(id));
    assert!(matches!(world.perform(newcomer, Operation::Join(vec![world.target(0)])), Outcome::Joined(Ok(_))));
    world.run(world.config.compare_every.0 * 3);
    let holders = world.holders(&record.key());
    assert!(world.nearest(&record.key().id)[..4].iter().all(|holder| holders.contains(holder)), "{holders:?}");
}

#[test]
fn who_leaves_tells_those_first_to_whom_a_link_stands() {
    let mut world = World::of(12, 4);
    let own = world.grid(0).0;
    let (others, core) = (world.nearest(&own), &mut world.nodes[0].as_mut().unwrap().core);
    let others: Vec<Grid> = others[1..].iter().map(|other| world.contacts[*other].grid()).collect();
    for (index, other) in others.iter().enumerate() {
        core.table.set_linked(other, index % 2 == 1);
    }
    core.effects.clear();
    core.say_farewell(Standing::Left);
    let first_dial = core.effects.iter().position(|effect| matches!(effect, Effect::Request(_))).unwrap();
    let is_farewell = |effect: &&Effect| matches!(effect, Effect::Send(_, Message::Farewell(_)));
    assert_eq!(core.effects[..first_dial].iter().filter(is_farewell).count(), others.len() / 2);
    assert_eq!(core.effects.iter().filter(is_farewell).count(), others.len());
}

#[test]
fn every_operation_ends_by_its_deadline_though_all_others_are_dead() {
    let mut world = World::of(6, 4);
    let record = place(&mut user(1), "n1.example");
    (1..6).for_each(|index| world.nodes[index] = None);
    let begun = world.now;
    let lookup = world.ask(0, Operation::Lookup(record.key(), Consistency::All));
    let register = world.ask(0, Operation::Register(vec![record]));
    assert!(matches!(world.outcome(lookup), Outcome::Answered(Ok(_))));
    assert!(matches!(world.outcome(register), Outcome::Registered(Ok(_))));
    assert!(matches!(world.perform(0, Operation::Leave), Outcome::Departed(Ok(()))));
    assert!(world.now - begun < 125_000, "{}", world.now - begun);
    world.run(1_000);
    assert!(world.node(0).is_idle() && world.node(0).next_wake().is_none());
}

#[test]
fn a_cancelled_operation_ends_at_once_and_nothing_is_left_of_it() {
    let mut world = World::of(8, 4);
    for operation in [
        Operation::Lookup(user(1).guid().into(), Consistency::All),
        Operation::Register(vec![place(&mut user(1), "nowhere.example")]),
        Operation::Leave,
    ] {
        // So that leaving has something to wait for.
        world.register(0, &[place(&mut user(5), "n0.example"), place(&mut user(6), "n0.example")]);
        world.run(1_000);
        let id = world.ask(0, operation);
        let is_done = world.outcomes.contains_key(&id);
        world.ask(0, Operation::Cancel(id));
        let outcome = world.outcomes.remove(&id).unwrap();
        let is_cancelled = matches!(
            outcome,
            Outcome::Answered(Err(LookupError::Cancelled))
                | Outcome::Registered(Err(RegisterError::Cancelled))
                | Outcome::Departed(Err(DepartError::Cancelled))
        );
        assert!(is_cancelled || is_done, "{outcome:?}");
        world.run(10_000);
        assert!(world.outcomes.is_empty());
    }
}

#[test]
fn a_departed_node_refuses_as_stopped() {
    let mut world = World::of(3, 4);
    let under_way = world.ask(1, Operation::Lookup(user(1).guid().into(), Consistency::All));
    assert!(matches!(world.perform(1, Operation::Away(Ticks::minutes(1))), Outcome::Departed(Ok(()))));
    assert!(matches!(world.outcome(under_way), Outcome::Answered(Err(LookupError::Stopped))));
    let key = user(1).guid().into();
    let refused = world.perform(1, Operation::Lookup(key, Consistency::Quorum));
    assert!(matches!(refused, Outcome::Answered(Err(LookupError::Stopped))));
    let refused = world.perform(1, Operation::Register(vec![]));
    assert!(matches!(refused, Outcome::Registered(Err(RegisterError::Stopped))));
    assert!(matches!(world.perform(1, Operation::Join(vec![])), Outcome::Joined(Err(JoinError::NotNow))));
    assert!(matches!(world.perform(1, Operation::Leave), Outcome::Departed(Err(DepartError::NotJoined))));
}

#[test]
fn a_node_that_left_may_come_back() {
    let mut world = World::of(5, 4);
    assert!(matches!(world.perform(4, Operation::Leave), Outcome::Departed(Ok(()))));
    world.run(1_000);
    let secret = {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&5u64.to_be_bytes());
        Arc::new(SecretKey::from_seed(seed))
    };
    let node = NodeState::node(secret, "n4.example".parse().unwrap(), world.config.clone(), 77);
    assert_eq!(node.grid(), world.grid(4));
    world.nodes[4] = Some(node);
    let entry = world.target(0);
    assert!(matches!(world.perform(4, Operation::Join(vec![entry])), Outcome::Joined(Ok(_))));
    world.run(10_000);
    let back = world.grid(4);
    let known = (0..4).filter(|index| world.node(*index).table().entry(&back).is_some()).count();
    assert_eq!(known, 4);
}

#[test]
fn who_gave_up_joining_may_begin_a_network_that_settles() {
    let mut world = World::new(NodeConfig { holders: 4, ..NodeConfig::default() });
    let first = world.start();
    let nowhere = Target::address("nowhere.example".parse().unwrap());
    let id = world.ask(first, Operation::Join(vec![nowhere]));
    assert!(matches!(world.outcome(id), Outcome::Joined(Err(JoinError::NoEntryPoint { .. }))));
    assert!(matches!(world.perform(first, Operation::Join(vec![])), Outcome::Joined(Ok(_))));
    assert!(world.node(first).is_settled());
    for _ in 0..3 {
        assert!(world.join_one().is_ok());
    }
    let answer = world.lookup(1, user(1).guid().into(), Consistency::All);
    assert_eq!((answer.verdict, answer.is_settled), (Verdict::Absent, true));
}

#[test]
fn a_home_that_is_also_the_entry_point_gets_its_copy() {
    let mut world = World::of(16, 2);
    let mut seeds = 0..;
    // A user who lives on a server that is no holder of the record.
    let record = seeds
        .find_map(|seed| {
            let record = place(&mut user(seed), "n3.example");
            (!world.nearest(&record.key().id)[..4].contains(&3)).then_some(record)
        })
        .unwrap();
    let client = world.client(&[3, 4]);
    assert!(world.register(client, std::slice::from_ref(&record)).records[0].is_acknowledged);
    world.run(5_000);
    assert!(world.node(3).store().get(&record.key()).is_some());
    assert_eq!(world.node(3).homed().collect::<Vec<_>>(), [&record]);
}

#[test]
fn a_client_registers_records_from_all_over_the_keyspace_at_once() {
    let mut world = World::of(30, 4);
    let records: Vec<_> = (0..20).map(|seed| place(&mut user(seed), "n1.example")).collect();
    let client = world.client(&[5, 6]);
    let registered = world.register(client, &records);
    for registration in &registered.records {
        assert!(registration.is_acknowledged && registration.holders.len() >= 4, "{registration:?}");
    }
}

/// The quickest entry point may be a liar's, and a record that its friends get instead of the holders is lost.
#[test]
fn a_client_hands_over_nothing_before_each_entry_point_was_reached_or_given_up() {
    let mut world = World::of(30, 4);
    let record = place(&mut user(1), "n1.example");
    world.nodes[6] = None;
    let client = world.client(&[5, 6]);
    let registering = world.ask(client, Operation::Register(vec![record]));
    let has_given = |world: &World| {
        world.sent.iter().any(|(from, _, message)| *from == client && matches!(message, Message::Store(_)))
    };
    let began = world.now;
    while !has_given(&world) {
        world.step();
    }
    assert!(world.now - began >= DIAL, "one of two had been heard after {}", world.now - began);
    let outcome = world.outcome(registering);
    assert!(matches!(outcome, Outcome::Registered(Ok(registered)) if registered.records[0].is_acknowledged));
}

#[test]
fn many_records_reach_exactly_their_holders_with_few_messages() {
    let mut world = World::of(100, 16);
    let records: Vec<_> = (0..500).map(|seed| place(&mut user(seed), "n0.example")).collect();
    let before = world.sent.len();
    let registered = world.register(0, &records);
    assert!(registered.records.iter().all(|registration| registration.is_acknowledged));
    let stores = |world: &World| {
        let sent = world.sent[before..].iter();
        sent.filter(|(from, _, message)| *from == 0 && matches!(message, Message::Store(_))).count()
    };
    world.run(3_000);
    assert!(stores(&world) <= 110, "{}", stores(&world));
    for record in &records {
        let expected = sorted(world.nearest(&record.key().id)[..16].to_vec());
        assert_eq!(world.holders(&record.key()), expected);
    }
    let rng = &mut rng(1);
    for _ in 0..50 {
        let (asker, record) = (below(rng, 100), &records[below(rng, 500)]);
        let answer = world.lookup(asker, record.key(), Consistency::Quorum);
        assert_eq!((answer.verdict, answer.is_settled), (Verdict::Found, true));
        assert!(answer.round_trips <= 2, "{}", answer.round_trips);
    }
}
