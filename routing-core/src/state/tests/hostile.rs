//! What others may say to hurt a node, and that it does not: here what nobody has asked them for.

mod answers;
mod comparisons;

use super::*;
use crate::holders::{Scale, SetName};
use crate::id::Guid;
use crate::key::{Hash, SecretKey};
use crate::message::{
    Compare, Compared, Difference, Fetch, Fetched, Find, Found, List, Named, Part, Range, RequestId, Sample, Sampled,
    Standing as Weight, Store, StoreVerdict, Stored, Want,
};

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
