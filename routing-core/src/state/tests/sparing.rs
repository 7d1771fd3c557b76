//! What is not said twice: questions whose answer is known, or cannot come.

use super::*;
use crate::message::{Find, Named, RequestId, Sampled, Want};

fn count(world: &World, before: usize, is_it: impl Fn(usize, &Grid, &Message) -> bool) -> usize {
    world.sent[before..].iter().filter(|(from, to, message)| is_it(*from, to, message)).count()
}

#[test]
fn a_joiner_hears_of_each_neighbour_about_once() {
    let mut world = World::of(60, 4);
    world.run(60_000);
    let before = world.sent.len();
    let joiner = world.grid(60 - 1);
    assert!(world.join_one().is_ok());
    let newcomer = world.grid(60);
    let named = |message: &Message| match message {
        Message::Found(found) => found.contacts.as_ref().map_or(0, |contacts| contacts.len()),
        Message::Sampled(Sampled { contacts, .. }) => contacts.len(),
        _ => 0,
    };
    let told = world.sent[before..].iter().filter(|(_, to, _)| *to == newcomer);
    let told: usize = told.map(|(_, _, message)| named(message)).sum();
    // Three entry points are asked for everybody near, and the far parts of the keyspace are asked for beside that.
    assert!(told <= 3 * 16 + 60, "{told} cards");
    assert!(world.node(60).table().entry(&joiner).is_some() && world.node(60).table().len() >= 55);
    let asked = count(&world, before, |from, _, message| from == 60 && matches!(message, Message::Sample(_)));
    assert!(asked >= 12, "all neighbours get to know it: {asked}");
}

#[test]
fn two_fellows_that_have_the_same_compare_once_in_a_round_and_not_twice() {
    let config = NodeConfig { holders: 4, announce_every: Ticks(0), ..NodeConfig::default() };
    let mut world = World::with(12, config);
    let records: Vec<_> = (0..40).map(|seed| place(&mut user(seed), "n1.example")).collect();
    world.register(0, &records);
    world.run(60_000);
    let before = world.sent.len();
    world.nodes[7] = None;
    world.run(120_000);
    let mut pairs: BTreeMap<(Grid, Grid), usize> = BTreeMap::new();
    for (from, to, message) in &world.sent[before..] {
        if matches!(message, Message::Compare(_)) && *to != world.grid(7) {
            let from = world.grid(*from);
            *pairs.entry((from.min(*to), from.max(*to))).or_default() += 1;
        }
    }
    let all: usize = pairs.values().sum();
    assert!(!pairs.is_empty() && all < pairs.len() * 2, "{all} comparisons of {} pairs", pairs.len());
}

/// Who sees another set mostly does so because it lacks somebody, and knows nobody else.
#[test]
fn the_more_neighbours_have_named_nobody_new_the_fewer_are_asked() {
    let mut world = World::of(40, 4);
    world.run(600_000);
    let before = world.sent.len();
    let peer = world.node(0).table().iter().next().unwrap().contact().clone();
    for _ in 0..45 {
        let (set, target) = (crate::holders::SetName::NONE, world.grid(0).0);
        let core = &mut world.nodes[0].as_mut().unwrap().core;
        let purpose = requests::Purpose::Probe(budget::Account::Near);
        let id = core.ask(&peer, false, purpose, 0, |id| {
            Message::Find(Find { id, target, want: Want::Agreement, groups: 4, set })
        });
        let found = crate::message::Found {
            id,
            standing: crate::message::Standing::NotYet,
            is_complete: true,
            own_scale: core.table.own_scale(),
            scale: core.table.scale(),
            copy: None,
            contacts: Some(std::iter::empty::<Named>().collect()),
        };
        world.hear(0, Heard::Message(peer.grid(), Message::Found(found)));
        world.now += 1;
    }
    let is_about_neighbours = |message: &Message| matches!(message, Message::Sample(sample) if sample.part.bits > 0);
    let asked = count(&world, before, |from, _, message| from == 0 && is_about_neighbours(message));
    // The first, then one after 1, 2, … 8 were passed over, and then one of nine: at 0, 2, 5, 9, 14, 20, 27, 35, 44.
    assert_eq!(asked, 9);
}

#[test]
fn a_question_is_not_sent_again_while_its_link_is_being_dialled() {
    let sent_again = |is_linked: bool| {
        let mut world = World::of(12, 4);
        world.run(60_000);
        world.nodes[5] = None;
        let (lost, before) = (world.contacts[5].clone(), world.sent.len());
        let core = &mut world.nodes[0].as_mut().unwrap().core;
        core.table.set_linked(&lost.grid(), is_linked);
        let (set, target) = (crate::holders::SetName::NONE, lost.grid().0);
        let purpose = requests::Purpose::Probe(budget::Account::Repair);
        let id = core.ask(&lost, false, purpose, 0, |id| {
            Message::Find(Find { id, target, want: Want::Contacts, groups: 0, set })
        });
        core.effects.clear();
        world.run(10_000);
        assert_eq!(world.node(0).table().entry(&lost.grid()).map(|entry| entry.failures() > 0), Some(true));
        count(&world, before, |from, _, message| from == 0 && message.id() == Some(id))
    };
    assert_eq!(sent_again(true), 1, "the link may be what failed");
    assert_eq!(sent_again(false), 0, "nobody can have heard it");
}

#[test]
fn a_peer_whose_round_trip_grows_beyond_the_patience_with_it_is_measured_anew_and_never_taken_for_silent() {
    // The first is answered when the question has just been sent again, the second after twice the patience of before.
    for slower in [290, 700] {
        let mut world = World::of(12, 4);
        world.run(60_000);
        world.slow.insert(5, slower);
        let expired = world.node(0).stats().requests_expired;
        world.run(Ticks::minutes(60).0);
        assert_eq!(world.node(0).stats().requests_expired, expired, "{slower}");
        let round_trip = world.node(0).table().entry(&world.grid(5)).and_then(|entry| entry.round_trip()).unwrap();
        assert!(round_trip.0.abs_diff(slower + 2 * DELAY) < 20, "{slower}: {round_trip:?}");
    }
}

#[test]
fn who_is_asked_only_whether_it_sees_the_same_says_nothing_of_records() {
    let mut world = World::of(12, 4);
    world.run(60_000);
    let (asker, target) = (world.grid(1), world.grid(0).0);
    let mut standing = |want| {
        let before = world.sent.len();
        let find = Find { id: RequestId(2), target, want, groups: 4, set: crate::holders::SetName::NONE };
        world.hear(0, Heard::Message(asker, Message::Find(find)));
        world.sent[before..].iter().find_map(|(_, _, message)| match message {
            Message::Found(found) => Some(found.standing),
            _ => None,
        })
    };
    assert_eq!(standing(Want::Contacts), Some(crate::message::Standing::Settled));
    assert_eq!(standing(Want::Agreement), Some(crate::message::Standing::NotYet));
}
