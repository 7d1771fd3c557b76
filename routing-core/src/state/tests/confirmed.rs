//! The level at which the home-server has the last word.

use super::*;
use crate::holders::SetName;
use crate::message::{RequestId, Store};

fn tell(world: &mut World, node: usize, record: &Arc<Record>) {
    let copy = Copy { record: record.clone(), rival: None, age: Ticks(0) };
    let items = std::iter::once(StoreItem { copy, set: SetName::NONE }).collect();
    let from = world.grid((node + 1) % 2);
    world.hear(node, Heard::Message(from, Message::Store(Store { id: RequestId(1), items })));
}

/// A network of 20 in which a user is registered at a server that holds the record only because it is the home.
fn world() -> (World, Account, Arc<Record>, usize) {
    let mut world = World::of(20, 4);
    let mut account = user(1);
    let key = Key::from(account.guid());
    let home = *world.nearest(&key.id).last().unwrap();
    let record = place(&mut account, &format!("n{home}.example"));
    world.register(world.nearest(&key.id)[0], std::slice::from_ref(&record));
    world.run(2_000);
    (world, account, record, home)
}

#[test]
fn the_home_server_named_says_so_itself() {
    let (mut world, _, record, home) = world();
    let client = world.client(&[5, 6]);
    for asker in [world.nearest(&record.key().id)[7], client] {
        let quorum = world.lookup(asker, record.key(), Consistency::Quorum);
        assert!(!quorum.is_confirmed, "nobody asked it");
        let answer = world.lookup(asker, record.key(), Consistency::Confirmed);
        assert_eq!((answer.verdict, answer.is_settled, answer.is_confirmed), (Verdict::Found, true, true));
        assert_eq!(answer.trace.last().unwrap().peer.grid(), world.grid(home));
        assert!(answer.round_trips > quorum.round_trips);
    }
    let own = world.lookup(home, record.key(), Consistency::Confirmed);
    assert!(own.is_confirmed, "it is the home-server itself");
}

#[test]
fn a_home_server_that_does_not_answer_leaves_the_answer_unconfirmed() {
    let (mut world, _, record, home) = world();
    world.nodes[home] = None;
    let asker = world.nearest(&record.key().id)[7];
    let answer = world.lookup(asker, record.key(), Consistency::Confirmed);
    assert_eq!((answer.verdict, answer.is_settled, answer.is_confirmed), (Verdict::Found, true, false));
    assert_eq!(answer.record.as_ref(), Some(&record));
    // One that is there, and says nothing.
    let (mut world, _, record, home) = self::world();
    world.liars.insert(home, |_| None);
    let answer = world.lookup(asker, record.key(), Consistency::Confirmed);
    assert_eq!((answer.verdict, answer.is_settled, answer.is_confirmed), (Verdict::Found, true, false));
}

#[test]
fn a_home_server_that_knows_nothing_of_the_user_confirms_nothing() {
    let (mut world, mut account, record, home) = world();
    let stranger = (0..20).find(|node| *node != home && !world.holders(&record.key()).contains(node)).unwrap();
    let moved = place(&mut account, &format!("n{stranger}.example"));
    for holder in world.holders(&record.key()) {
        tell(&mut world, holder, &moved);
    }
    let answer = world.lookup(home, record.key(), Consistency::Confirmed);
    assert_eq!((answer.verdict, answer.is_confirmed), (Verdict::Found, false));
    assert_eq!(answer.record.as_ref(), Some(&moved));
}

#[test]
fn a_home_server_left_behind_brings_the_greater_record_and_the_next_one_confirms_it() {
    let (mut world, mut account, record, home) = world();
    let next = (0..20).find(|node| *node != home && !world.holders(&record.key()).contains(node)).unwrap();
    let moved = place(&mut account, &format!("n{next}.example"));
    tell(&mut world, home, &moved);
    let asker = world.nearest(&record.key().id)[7];
    let answer = world.lookup(asker, record.key(), Consistency::Confirmed);
    assert_eq!((answer.record.as_ref(), answer.is_confirmed), (Some(&moved), false), "its new home knows nothing yet");
    world.run(1_000);
    assert_eq!(
        world.lookup(asker, record.key(), Consistency::Quorum).record.as_ref(),
        Some(&moved),
        "holders are told"
    );
    tell(&mut world, next, &moved);
    let answer = world.lookup(asker, record.key(), Consistency::Confirmed);
    assert_eq!((answer.record.as_ref(), answer.is_confirmed), (Some(&moved), true));
}

#[test]
fn a_home_server_cannot_bring_a_lesser_record() {
    let (mut world, mut account, record, home) = world();
    let newer = place(&mut account, &format!("n{home}.example"));
    for holder in world.holders(&record.key()).into_iter().filter(|holder| *holder != home) {
        tell(&mut world, holder, &newer);
    }
    let asker = world.nearest(&record.key().id)[7];
    let answer = world.lookup(asker, record.key(), Consistency::Confirmed);
    assert_eq!((answer.record.as_ref(), answer.is_confirmed), (Some(&newer), false));
}

#[test]
fn entry_points_that_prove_unreachable_while_the_home_server_is_asked_change_nothing() {
    let (mut world, _, record, home) = world();
    let entries: Vec<usize> = (0..20).filter(|node| *node != home).take(4).collect();
    for dead in &entries[1..] {
        world.nodes[*dead] = None;
    }
    world.slow.insert(home, 1_500);
    let before = world.dialled.len();
    let client = world.client(&entries);
    let answer = world.lookup(client, record.key(), Consistency::Confirmed);
    assert_eq!((answer.verdict, answer.is_confirmed), (Verdict::Found, true));
    let home = world.target(home);
    assert_eq!(world.dialled[before..].iter().filter(|(from, to)| *from == client && *to == home).count(), 1);
}
