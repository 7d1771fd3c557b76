//! Fellow holders that lie when ranges are compared, or do not hand over what they list.

use super::*;
use crate::id::Kind;
use crate::message::Brief;

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
