//! What others may say to hurt a node, and that it does not.

use super::*;
use crate::holders::{Scale, SetName};
use crate::id::{Guid, Kind};
use crate::key::{Hash, SecretKey};
use crate::message::{
    Brief, Compare, Compared, Difference, Fetch, Fetched, Find, Found, List, Named, Part, Range, RequestId, Sample,
    Sampled, Standing as Weight, Store, StoreResult, StoreVerdict, Stored, Want,
};
use crate::testing;

fn say(world: &mut World, from: usize, to: usize, message: Message) {
    let from = world.grid(from);
    world.hear(to, Heard::Message(from, message));
}

fn store(copies: Vec<Copy>) -> Message {
    let items = copies.into_iter().map(|copy| StoreItem { copy, set: SetName(1) });
    Message::Store(Store { id: RequestId(1), items: items.collect() })
}

fn copy(record: &Arc<Record>) -> Copy {
    Copy { record: record.clone(), rival: None, age: Ticks(0) }
}

pub(super) fn found(id: RequestId, contacts: &[Arc<Contact>]) -> Message {
    let named = contacts.iter().map(|contact| Named { contact: contact.clone(), is_hearsay: false });
    Message::Found(Found {
        id,
        standing: Weight::Settled,
        is_complete: false,
        own_scale: Scale::UNKNOWN,
        scale: Scale::UNKNOWN,
        copy: None,
        contacts: Some(named.collect()),
    })
}

#[test]
fn a_farewell_in_anothers_name_changes_nothing() {
    let mut world = World::of(4, 4);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&3u64.to_be_bytes());
    let (secret, other) = (SecretKey::from_seed(seed), SecretKey::from_seed([99; 32]));
    let card = |secret: &SecretKey| {
        Arc::new(Contact::sign(secret, "n2.example".parse().unwrap(), 9, Standing::Left, Versions::CURRENT))
    };
    assert_eq!(card(&secret).grid(), world.grid(2));
    let counted = world.node(0).stats().peers_misbehaved;
    for contact in [card(&secret), card(&other)] {
        say(&mut world, 1, 0, Message::Farewell(Farewell { contact, acquainted: List::default() }));
    }
    assert!(world.node(0).table().entry(&world.grid(1)).is_some());
    assert!(world.node(0).table().entry(&world.grid(2)).is_some());
    assert_eq!(world.node(0).stats().peers_misbehaved, counted + 2);
}

#[test]
fn who_hands_over_an_invalid_record_is_blamed_but_not_for_one_of_a_later_format() {
    let mut world = World::of(2, 4);
    let record = place(&mut user(1), "n1.example");
    let altered = |index: usize, bits: u8| {
        let mut bytes = record.to_bytes();
        let index = (index + bytes.len()) % bytes.len();
        bytes[index] ^= bits;
        Arc::new(Record::from_bytes(&bytes).unwrap())
    };
    let (later, forged) = (altered(0, 3), altered(record.to_bytes().len() - 1, 1));
    let with_rival = |rival: &Arc<Record>| Copy { rival: Some(rival.clone()), ..copy(&record) };
    let counted = world.node(0).stats();
    say(&mut world, 1, 0, store(vec![copy(&later), with_rival(&later)]));
    let of_later = world.node(0).stats();
    assert_eq!(of_later.records_invalid, counted.records_invalid + 2, "nobody keeps what cannot be verified");
    assert_eq!(of_later.peers_misbehaved, counted.peers_misbehaved);
    say(&mut world, 1, 0, store(vec![copy(&forged), with_rival(&forged)]));
    assert_eq!(world.node(0).stats().peers_misbehaved, counted.peers_misbehaved + 2);
    assert!(world.node(0).store().is_empty());
}

#[test]
fn an_answer_that_would_name_more_than_fits_a_frame_names_the_nearest_that_do() {
    let mut world = World::new(NodeConfig { neighbours_max: 8_192, ..NodeConfig::default() });
    world.join_one().unwrap();
    let domain = format!("{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60));
    let target = Id([7; 32]);
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    for seed in 0..4_000u64 {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        let address = format!("h{seed}.{domain}").parse().unwrap();
        let contact = Contact::sign(&SecretKey::from_seed(secret), address, 1, Standing::Here, Versions::CURRENT);
        table.offer(&Arc::new(contact));
    }
    let all: Vec<_> = table.nearest(&target).map(|entry| entry.contact().clone()).collect();
    for contact in &all {
        table.on_answer(&contact.grid(), Ticks(1));
        table.on_reached(&contact.grid(), contact.address());
    }
    let find = Find { id: RequestId(1), target, want: Want::Contacts, groups: 16, set: SetName::NONE };
    say(&mut world, 0, 0, Message::Find(find));
    let found = world.sent.iter().rev().find_map(|(.., message)| match message {
        Message::Found(found) => Some(found),
        _ => None,
    });
    let found = found.expect("an answer");
    let named: Vec<Grid> =
        found.contacts.iter().flat_map(|named| named.iter()).map(|named| named.contact.grid()).collect();
    assert!(named.len() > 1_000);
    assert!(named.iter().zip(&all).all(|(named, near)| *named == near.grid()));
    assert!(Message::Found(found.clone()).encoded_len() <= 1 << 20);
}

/// Who is silent and then heard is asked whether it is back. Whoever talks all the time and never answers must not make
/// its peers ask all the time.
#[test]
fn who_talks_and_never_answers_is_asked_no_more_than_upkeep_may_cost() {
    let mut world = World::of(8, 4);
    world.liars.insert(1, |_| None);
    let mute = world.grid(1);
    world.lookup(0, Key::from(Guid(mute.0)), Consistency::All);
    let before = world.sent.len();
    for id in 0..600 {
        let part = Part { start: Id([0; 32]), bits: 0, count: 1, with_hearsay: true, known: List::default() };
        let sample = Sample { id: RequestId(id * 2), part: Arc::new(part) };
        say(&mut world, 1, 0, Message::Sample(sample));
        assert!(world.node(0).core.doubted.len() < 8, "each is in doubt once");
        world.run(100);
    }
    let is_for_it = |(from, to, message): &&(usize, Grid, Message)| *from == 0 && *to == mute && message.is_request();
    let asked: usize = world.sent[before..].iter().filter(is_for_it).map(|(.., message)| message.encoded_len()).sum();
    let may_cost = 60 * world.config.upkeep_bytes_per_second as usize;
    assert!((200..may_cost).contains(&asked), "{asked} bytes of questions in a minute");
}

#[test]
fn an_answer_from_somebody_else_than_was_asked_is_ignored() {
    let mut world = World::of(8, 4);
    let record = place(&mut user(1), "n1.example");
    world.register(0, std::slice::from_ref(&record));
    world.run(1_000);
    let before = world.sent.len();
    let asker = *world.nearest(&record.key().id).last().unwrap();
    let lookup = world.ask(asker, Operation::Lookup(record.key(), Consistency::All));
    let asked: Vec<(Grid, RequestId)> =
        world.sent[before..].iter().filter_map(|(_, to, message)| Some((*to, message.id()?))).collect();
    assert!(!asked.is_empty());
    let counted = world.node(asker).stats().answers_unexpected;
    for (peer, id) in &asked {
        let other = (0..8).find(|other| world.grid(*other) != *peer && *other != asker).unwrap();
        say(&mut world, other, asker, found(*id, &[]));
    }
    assert_eq!(world.node(asker).stats().answers_unexpected, counted + asked.len() as u64);
    match world.outcome(lookup) {
        Outcome::Answered(Ok(answer)) => assert_eq!((answer.verdict, answer.confirmations), (Verdict::Found, 4)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forged_record_is_refused_and_counted() {
    let mut world = World::of(2, 4);
    let mut account = user(1);
    let (good, body) = (place(&mut account, "a.example"), place(&mut account, "b.example"));
    let (genesis, signature) = (good.genesis().clone(), *good.signature());
    let forged = Arc::new(Record::from_parts(genesis, vec![], body.body().clone(), signature));
    say(&mut world, 1, 0, store(vec![copy(&forged), copy(&good)]));
    assert_eq!(world.node(0).store().get(&good.key()).unwrap().held().record(), &good);
    let stats = world.node(0).stats();
    assert_eq!((stats.records_invalid, stats.peers_misbehaved), (1, 1));
    let verdicts = world.sent.iter().rev().find_map(|(_, _, message)| match message {
        Message::Stored(stored) => Some(stored.results.iter().map(|result| result.verdict.clone()).collect::<Vec<_>>()),
        _ => None,
    });
    let invalid = StoreVerdict::Refused(crate::message::Refusal::Invalid);
    assert_eq!(verdicts, Some(vec![invalid, StoreVerdict::Kept]));
}

#[test]
fn numbers_out_of_all_proportion_are_answered_calmly() {
    let mut world = World::of(5, 4);
    let ancient = Copy { age: Ticks(u64::MAX), ..copy(&place(&mut user(1), "n0.example")) };
    let id = RequestId(u32::MAX);
    let start = Id([0xff; 32]);
    let mut messages = vec![
        store(vec![]),
        store(vec![ancient.clone(), ancient]),
        Message::Fetch(Fetch { id, keys: List::default() }),
        Message::Fetch(Fetch { id, keys: vec![Key::from(user(1).guid()); 8_192].into_iter().collect() }),
        Message::Unknown(id),
        Message::Stored(Stored { id, results: List::default(), contacts: List::default() }),
        Message::Fetched(Fetched { id, copies: List::default() }),
        Message::Sampled(Sampled { id, contacts: List::default() }),
        Message::Compared(Compared { id, difference: Difference::Same }),
    ];
    for extreme in [0, 1, 64, 252, 253, 255] {
        let range = Arc::new(Range { start, bits: extreme, digest: Hash([0; 32]), users: None });
        messages.push(Message::Compare(Compare { id, range }));
        for count in [0, u16::MAX] {
            let part = Arc::new(Part { start, bits: extreme, count, with_hearsay: true, known: List::default() });
            messages.push(Message::Sample(Sample { id, part }));
        }
    }
    for groups in [0, 1, u16::MAX] {
        for want in [Want::Contacts, Want::Introductions, Want::Record, Want::Claim, Want::Agreement] {
            messages.push(Message::Find(Find { id, target: start, want, groups, set: SetName(u32::MAX) }));
        }
    }
    let client = world.client(&[0]);
    for message in messages {
        let is_request = message.is_request();
        for from in [1, client] {
            let before = world.sent.len();
            say(&mut world, from, 0, message.clone());
            assert_eq!(world.sent.len() - before, usize::from(is_request), "{message:?}");
        }
    }
    world.run(70_000);
}

#[test]
fn a_contact_that_is_the_node_itself_or_named_twice_is_no_other() {
    let mut world = World::of(3, 4);
    let own = world.node(0).contact().clone();
    let one = world.node(1).contact().clone();
    let before = world.node(0).table().len();
    world.hear(0, Heard::Requested(own.clone()));
    world.hear(0, Heard::Linked(Target::contact(&own), own.clone()));
    let farewell = Farewell { contact: one.clone(), acquainted: vec![own, one.clone(), one].into_iter().collect() };
    say(&mut world, 1, 0, Message::Farewell(farewell));
    assert_eq!(world.node(0).table().len(), before);
}

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
fn a_comparison_cannot_be_split_for_ever() {
    fn split(message: &Message) -> Option<Message> {
        let Message::Compare(Compare { id, .. }) = message else { return None };
        let difference = Difference::Split(Arc::new([Hash([1; 32]); 16]));
        Some(Message::Compared(Compared { id: *id, difference }))
    }
    let mut world = World::of(4, 4);
    world.liars.insert(2, split);
    let joiner = world.start();
    let entries = vec![world.target(0), world.target(1)];
    let join = world.ask(joiner, Operation::Join(entries));
    while !world.outcomes.contains_key(&join) {
        world.step();
        let compares = world.sent.iter().filter(|(_, to, _)| *to == world.grid(2)).count();
        assert!(compares < 20_000 && world.now < 100_000);
    }
    assert!(matches!(world.outcome(join), Outcome::Joined(Ok(_))));
    assert!(world.node(joiner).stats().peers_misbehaved > 0);
    world.run(10_000);
    assert!(world.node(joiner).is_settled());
}

#[test]
fn who_is_asked_for_a_record_and_gives_an_invalid_one_is_blamed() {
    fn forge(message: &Message) -> Option<Message> {
        let record = place(&mut user(1), "n1.example");
        match message {
            Message::Compare(Compare { id, .. }) => {
                let brief = Brief { key: record.key(), hash: 1 };
                let difference = Difference::Listing([brief].into_iter().collect());
                Some(Message::Compared(Compared { id: *id, difference }))
            }
            Message::Fetch(Fetch { id, .. }) => {
                let mut bytes = record.to_bytes();
                *bytes.last_mut().unwrap() ^= 1;
                let forged = copy(&Arc::new(Record::from_bytes(&bytes).unwrap()));
                Some(Message::Fetched(Fetched { id: *id, copies: [forged].into_iter().collect() }))
            }
            _ => None,
        }
    }
    let mut world = World::of(4, 4);
    world.liars.insert(2, forge);
    assert!(world.join_one().is_ok());
    world.run(10_000);
    let joiner = world.node(4);
    assert!(joiner.stats().records_invalid > 0 && joiner.stats().peers_misbehaved > 0, "{:?}", joiner.stats());
    assert!(joiner.store().is_empty());
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

#[test]
fn users_that_nobody_knows_cannot_move_in_without_bound() {
    let mut world = World::new(NodeConfig { records_max: 3, ..NodeConfig::default() });
    world.start();
    world.start();
    world.perform(0, Operation::Join(vec![]));
    let copies = (0..20).map(|seed| copy(&place(&mut user(seed), "n0.example"))).collect();
    say(&mut world, 1, 0, store(copies));
    assert_eq!((world.node(0).store().len(), world.node(0).homed().count()), (3, 3));
}

#[test]
fn whoever_only_says_that_it_is_a_server_announces_nothing_and_is_told_nothing() {
    let mut world = World::of(8, 4);
    world.run(75_000);
    let record = place(&mut user(1), "n7.example");
    world.register(7, std::slice::from_ref(&record));
    let holder = world.nearest(&record.key().id)[0];
    // Its key is another one, its card says what the server's says: whoever dials that finds the server.
    let secret = SecretKey::from_seed([99; 32]);
    let address = "n7.example".parse().unwrap();
    let liar = Arc::new(Contact::sign(&secret, address, 0, Standing::Here, Versions::CURRENT));
    let digest = Hash([0; 32]);
    let users = Some(crate::message::UsersOf { domain: "n7.example".parse().unwrap(), scale: Scale::UNKNOWN });
    let range = Arc::new(Range { start: Id([0; 32]), bits: 0, digest, users });
    world.hear(holder, Heard::Requested(liar.clone()));
    world.sent.clear();
    world.hear(holder, Heard::Message(liar.grid(), Message::Compare(Compare { id: RequestId(2), range })));
    let told = |world: &World| {
        let is_told = |(from, to, message): &&(usize, Grid, Message)| {
            *from == holder && *to == liar.grid() && matches!(message, Message::Compared(_))
        };
        world.sent.iter().filter(is_told).map(|(_, _, message)| message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), [], "it is dialled back first");
    world.hear(holder, Heard::Lost(Target::contact(&liar), LossReason::OtherNode));
    let nothing = Difference::Listing(List::default());
    assert_eq!(told(&world), [Message::Compared(Compared { id: RequestId(2), difference: nothing })]);
    assert!(!world.node(holder).table().entry(&liar.grid()).is_some_and(crate::table::Entry::has_answered));
}

/// Any client can sign a card that says so, and find one next to this node.
#[test]
fn a_stranger_that_says_goodbye_brings_nothing_about() {
    let mut world = World::of(12, 4);
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    world.run(60_000);
    let own = world.grid(0).0;
    let left = (0..=u8::MAX).map(|seed| {
        let secret = SecretKey::from_seed([seed; 32]);
        Contact::sign(&secret, "stranger.example".parse().unwrap(), 1, Standing::Left, Versions::CURRENT)
    });
    let mut left = left.filter(|card| {
        card.grid().0.common_bits(&own) >= 3 && !world.contacts.iter().any(|known| known.grid() == card.grid())
    });
    let card = Arc::new(left.next().unwrap());
    while world.node(0).upkeep.near_wake.unwrap() <= Tick(world.now + 100) {
        world.run(50);
    }
    let node = world.nodes[0].as_mut().unwrap();
    node.core.find_fellows();
    let is_as = |node: &NodeState| (node.core.fellowship.changes(), node.upkeep.near_wake, node.upkeep.refill.wake);
    let before = is_as(node);
    let farewell = Farewell { contact: card.clone(), acquainted: Default::default() };
    world.hear(0, Heard::Message(card.grid(), Message::Farewell(farewell)));
    assert_eq!(is_as(world.node(0)), before);
}

/// It lists thousands of keys, and answers each question for 64 of them, with nothing.
#[test]
fn who_lists_what_it_does_not_hand_over_is_asked_for_no_more_of_it() {
    let mut world = World::of(10, 4);
    let liar = 3;
    world.liars.insert(liar, |message| match message {
        Message::Compare(compare) => {
            let key = |number: u16| {
                let mut id = compare.range.start;
                id.0[30..].copy_from_slice(&number.to_be_bytes());
                Key { kind: Kind::User, id }
            };
            let brief = |number| Brief { key: key(number), hash: 1 };
            let listing = (0..8_000).map(brief).collect();
            Some(Message::Compared(Compared { id: compare.id, difference: Difference::Listing(listing) }))
        }
        Message::Fetch(fetch) => Some(Message::Fetched(Fetched { id: fetch.id, copies: Default::default() })),
        _ => None,
    });
    let joined = world.join_one();
    assert!(joined.is_ok());
    world.run(60_000);
    let (newcomer, grid) = (10, world.grid(liar));
    let fetches = world
        .sent
        .iter()
        .filter(|(from, to, message)| *from == newcomer && *to == grid && matches!(message, Message::Fetch(_)));
    assert_eq!(fetches.count(), 1);
    assert!(world.node(newcomer).is_settled());
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

/// Lists thousands of keys, and answers each question for 64 of them with half as many copies of one record.
fn repeat(message: &Message, key: fn(u16) -> Key) -> Option<Message> {
    match message {
        Message::Compare(compare) => {
            let brief = |number: u16| Brief { key: key(number), hash: number.into() };
            let difference = Difference::Listing((0..8_000).map(brief).collect());
            Some(Message::Compared(Compared { id: compare.id, difference }))
        }
        Message::Fetch(fetch) => {
            let copies = vec![copy(&place(&mut user(1), "n1.example")); 32];
            Some(Message::Fetched(Fetched { id: fetch.id, copies: copies.into_iter().collect() }))
        }
        _ => None,
    }
}

fn invented(number: u16) -> Key {
    let mut id = Id([0; 32]);
    id.0[..2].copy_from_slice(&number.wrapping_mul(8).to_be_bytes());
    Key { kind: Kind::User, id }
}

#[test]
fn who_lists_and_hands_over_one_record_again_and_again_is_asked_once() {
    let lies: [fn(&Message) -> Option<Message>; 2] = [
        |message| repeat(message, |_| user(1).guid().into()),
        |message| repeat(message, |number| if number == 0 { user(1).guid().into() } else { invented(number) }),
    ];
    for lie in lies {
        let mut world = World::of(3, 4);
        world.liars.insert(2, lie);
        assert!(world.join_one().is_ok());
        let (newcomer, liar) = (3, world.grid(2));
        let is_fetch = |(from, to, message): &&(usize, Grid, Message)| {
            *from == newcomer && *to == liar && matches!(message, Message::Fetch(_))
        };
        assert_eq!(world.sent.iter().filter(is_fetch).count(), 1);
        assert!(world.node(newcomer).is_settled());
    }
}

/// Goes on until `is_over`, while all that `late` hands over comes so late that it just counts, and what it lists is altered.
fn run_with_late(
    world: &mut World,
    late: usize,
    alter: fn(&[Brief]) -> Vec<Brief>,
    mut is_over: impl FnMut(&World) -> bool,
) {
    let (grid, mut looked_at) = (world.grid(late), world.sequence);
    while !is_over(world) {
        world.step();
        let posted: Vec<(u64, u64)> = world.queue.keys().filter(|(_, number)| *number > looked_at).copied().collect();
        for (tick, number) in posted {
            match &mut world.queue.get_mut(&(tick, number)).unwrap().1 {
                Heard::Message(from, Message::Fetched(_)) if *from == grid => {
                    let heard = world.queue.remove(&(tick, number)).unwrap();
                    world.queue.insert((tick + 5_200, number), heard);
                }
                Heard::Message(from, Message::Compared(Compared { difference: Difference::Listing(listing), .. }))
                    if *from == grid =>
                {
                    *listing = alter(listing).into_iter().collect();
                }
                _ => {}
            }
        }
        looked_at = world.sequence;
    }
}

/// A network of three of whom the last holds so many records that the others have not heard of.
fn with_one_that_holds(count: u64, join_deadline: Ticks) -> World {
    let mut world = World::with(3, NodeConfig { holders: 4, join_deadline, ..NodeConfig::default() });
    let records = (0..count).map(|seed| copy(&place(&mut user(seed), "n9.example")));
    say(&mut world, 0, 2, store(records.collect()));
    assert_eq!(world.node(2).store().len(), count as usize);
    world
}

#[test]
fn who_hands_over_slowly_does_not_hold_up_a_join_beyond_its_deadline_and_gets_through_all_the_same() {
    let deadline = Ticks::seconds(20);
    let mut world = with_one_that_holds(7 * 64, deadline);
    let newcomer = world.start();
    let (entries, begun) = (vec![world.target(0), world.target(1)], world.now);
    let join = world.ask(newcomer, Operation::Join(entries));
    run_with_late(&mut world, 2, <[Brief]>::to_vec, |world| world.outcomes.contains_key(&join));
    assert!(matches!(world.outcomes[&join], Outcome::Joined(Ok(_))), "{:?}", world.outcomes[&join]);
    assert!(world.now - begun <= deadline.0, "{}", world.now - begun);
    assert!(!world.node(newcomer).is_settled(), "it goes on saying that it is new");
    run_with_late(&mut world, 2, <[Brief]>::to_vec, |world| world.now >= begun + 45_000);
    assert!(world.node(newcomer).is_settled());
    assert_eq!(world.node(newcomer).store().len(), 7 * 64);
}

#[test]
fn who_hands_over_half_of_what_it_lists_as_late_as_it_can_is_given_up_after_some_minutes() {
    let mut world = with_one_that_holds(32 * 32, Ticks::minutes(30));
    let newcomer = world.start();
    let (entries, begun) = (vec![world.target(0), world.target(1)], world.now);
    let join = world.ask(newcomer, Operation::Join(entries));
    fn beside_as_many_invented(listed: &[Brief]) -> Vec<Brief> {
        let brief = |number: usize| Brief { key: invented(number as u16), hash: 1 };
        listed.iter().enumerate().flat_map(|(number, real)| [*real, brief(number)]).collect()
    }
    run_with_late(&mut world, 2, beside_as_many_invented, |world| world.outcomes.contains_key(&join));
    assert!(world.now - begun < 130_000, "{}", world.now - begun);
    assert!(world.node(newcomer).is_settled());
}
