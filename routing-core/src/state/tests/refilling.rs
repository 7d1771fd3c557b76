//! How a node hears of those who are not its neighbours.

use super::*;
use crate::holders::Scale;
use crate::message::{Mark, Named, Part, RequestId, Sample, Sampled};
use crate::state::budget::Account;
use crate::state::core::Core;
use crate::state::upkeep::{Pace, Upkeep};

/// A network of which everybody knows everybody, at rest.
fn at_rest() -> World {
    let mut world = World::of(60, 4);
    world.run(600_000);
    assert!((0..60).all(|node| world.node(node).table().len() == 59));
    world
}

/// Whom `node` was named in answers about parts of the keyspace since `before`.
fn named_to(world: &World, node: usize, before: usize) -> Vec<Grid> {
    let to = world.grid(node);
    let answers = world.sent[before..].iter().filter(|(_, receiver, _)| *receiver == to);
    let sampled = answers.filter_map(|(.., message)| match message {
        Message::Sampled(Sampled { contacts, .. }) => Some(contacts),
        _ => None,
    });
    sampled.flat_map(|contacts| contacts.iter()).map(|named| named.contact.grid()).collect()
}

#[test]
fn who_is_not_known_is_heard_of_and_nobody_else_is_named() {
    let mut world = at_rest();
    let near: Vec<usize> = world.nearest(&world.grid(0).0);
    let forgotten: Vec<Grid> = near[40..].iter().map(|index| world.grid(*index)).collect();
    for grid in &forgotten {
        world.nodes[0].as_mut().unwrap().core.table.remove(grid);
    }
    let before = world.sent.len();
    world.run(60_000);
    assert_eq!(world.node(0).table().len(), 59, "all are known again");
    let named = named_to(&world, 0, before);
    assert!(forgotten.iter().all(|grid| named.contains(grid)));
    assert!(named.len() <= forgotten.len() + 1, "and only they were named: {}", named.len());
}

#[test]
fn a_table_that_holds_less_than_a_third_is_in_a_hurry_and_else_what_upkeep_can_pay_for_will_do() {
    let mut world = World::of(2, 4);
    let core = &mut world.nodes[0].as_mut().unwrap().core;
    let own = core.grid().0;
    let mut contacts = crate::testing::contacts(&mut crate::testing::rng(1), 4_000);
    contacts.sort_unstable_by_key(|contact| contact.grid().0.prefix() ^ own.prefix());
    core.table.set_told(Scale::of_nodes(4_000));
    let (near, far) = contacts.split_at(400);
    for contact in near.iter().chain(&far[..900]) {
        core.table.offer(contact);
    }
    let mut upkeep = Upkeep::default();
    assert_eq!(upkeep.refill_account(core), Account::Repair);
    for contact in far.iter().skip(900).step_by(10) {
        core.table.offer(contact);
    }
    assert_eq!(upkeep.refill_account(core), Account::Far);
    // Who has just joined wants nearly everybody at once.
    upkeep.start(core);
    assert_eq!(upkeep.refill_account(core), Account::Repair);
    let joined = core.now;
    core.now = joined + Ticks::minutes(15);
    assert_eq!(upkeep.refill_account(core), Account::Far, "it has had its time");
    core.now = joined;
    upkeep.start(core);
    assert_eq!(upkeep.refill_account(core), Account::Repair);
    assert!((0..8).any(|_| upkeep.on_neighbour_silent(core, true)), "an outage");
    assert_eq!(upkeep.refill_account(core), Account::Far, "whom others know by hearsay may be gone");
    upkeep.start(core);
    far.iter().for_each(|contact| {
        core.table.offer(contact);
    });
    assert_eq!(upkeep.refill_account(core), Account::Far, "everybody is known");
}

#[test]
fn questions_of_a_table_that_is_in_no_hurry_are_paid_for_as_upkeep() {
    let mut world = at_rest();
    let far = world.nearest(&world.grid(0).0)[50];
    let grid = world.grid(far);
    let core = &mut world.nodes[0].as_mut().unwrap().core;
    core.table.remove(&grid);
    core.budget.spend(Account::Far, 30_000);
    let before = world.sent.len();
    world.run(60_000);
    let counts = |world: &World| -> Vec<u16> {
        let count = |(from, _, message): &(usize, Grid, Message)| match message {
            Message::Sample(sample) if *from == 0 => Some(sample.part.count),
            _ => None,
        };
        world.sent[before..].iter().filter_map(count).collect()
    };
    assert_eq!(counts(&world), []);
    world.run(240_000);
    let counts = counts(&world);
    assert!(!counts.is_empty() && counts.iter().all(|count| *count == 16), "{counts:?}");
}

#[test]
fn an_answer_that_was_worth_its_question_lets_the_next_come_soon_where_there_is_a_hurry() {
    let next = |account: Account, brought: usize| {
        let mut upkeep = Upkeep::default();
        (upkeep.refill_worth, upkeep.refill.wake) = (16, Some(Tick(30_000)));
        upkeep.on_refilled(Tick(0), account, brought);
        upkeep.refill.wake.unwrap().0
    };
    assert_eq!(next(Account::Repair, 16), 2_000);
    assert_eq!(next(Account::Repair, 15), 30_000);
    assert_eq!(next(Account::Far, 16), 30_000);
}

/// The first node of these knows 4,000 others, as far as there is room for them.
fn with_a_full_table(neighbours_max: u32) -> World {
    let mut world = World::with(2, NodeConfig { neighbours_max, ..NodeConfig::default() });
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    crate::testing::contacts(&mut crate::testing::rng(1), 4_000).iter().for_each(|contact| {
        table.offer(contact);
        table.on_answer(&contact.grid(), Ticks(20));
        table.on_reached(&contact.grid(), contact.address());
    });
    world
}

/// The first node forgets whom it knows in a quarter of the keyspace, of which this is a place.
fn with_a_gap(world: &mut World) -> Id {
    let empty = world.grid(0).0.flip(0);
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    let there: Vec<Grid> = table.nearest(&empty).map(|entry| entry.contact().grid()).collect();
    there.iter().filter(|grid| grid.0.common_bits(&empty) >= 2).for_each(|grid| {
        table.remove(grid);
    });
    empty
}

/// Whom the first node asks now, and how, if it is the turn of somebody next to the part.
fn question(world: &mut World, ask: fn(&mut Upkeep, &mut Core)) -> (Grid, Sample) {
    let node = world.nodes[0].as_mut().unwrap();
    node.core.budget.start(node.core.now, node.core.config.repair_bytes_per_second);
    (node.upkeep.refill.asked, node.upkeep.gaps.asked) = (0, 0);
    node.core.effects.clear();
    ask(&mut node.upkeep, &mut node.core);
    let asked = node.core.effects.iter().find_map(|effect| match effect {
        Effect::Send(to, Message::Sample(sample)) => Some((*to, sample.clone())),
        _ => None,
    });
    asked.expect("a question")
}

fn answer(world: &mut World, peer: Grid, id: RequestId, contacts: &[Arc<Contact>]) {
    let named = contacts.iter().map(|contact| Named { contact: contact.clone(), is_hearsay: false });
    world.hear(0, Heard::Message(peer, Message::Sampled(Sampled { id, contacts: named.collect() })));
}

#[test]
fn a_full_table_asks_again_soon_after_it_was_told_of_somebody_for_an_empty_place() {
    let next_question_after = |told_of: Option<fn(&Part, Id) -> Id>| {
        let mut world = with_a_full_table(256);
        // It has seen who its neighbours are: for one of these there is a hurry anyway.
        world.nodes[0].as_mut().unwrap().upkeep.hurry(Tick(world.now));
        world.run(100);
        let rng = &mut crate::testing::rng(2);
        let empty = with_a_gap(&mut world);
        // The quarter beside it is crowded.
        let crowded = empty.flip(1);
        let table = &mut world.nodes[0].as_mut().unwrap().core.table;
        for _ in table.len()..256 {
            table.offer(&crate::testing::contact(crate::testing::id_near(rng, &crowded, 2)));
        }
        let (peer, Sample { id, part }) = question(&mut world, Upkeep::ask_about_a_gap);
        assert!(part.start.common_bits(&empty) >= 2, "that is where too few are known");
        world.nodes[0].as_mut().unwrap().upkeep.gaps.wake = Some(Tick(world.now + 30_000));
        let near = told_of.map(|of| of(&part, world.grid(0).0));
        let newcomer = near.map(|near| crate::testing::contact(crate::testing::id_near(rng, &near, part.bits.into())));
        answer(&mut world, peer, id, newcomer.as_slice());
        let table = world.node(0).table();
        assert_eq!(table.len(), 256);
        assert!(newcomer.is_none_or(|newcomer| table.entry(&newcomer.grid()).is_some()));
        world.node(0).upkeep.gaps.wake.unwrap().0 - world.now
    };
    assert_eq!(next_question_after(Some(|part, _| part.start)), 2_000);
    assert_eq!(next_question_after(Some(|_, own| own)), 30_000, "nobody had been asked about that");
    assert_eq!(next_question_after(None), 30_000);
}

#[test]
fn where_a_table_leaves_some_out_it_asks_who_else_is_in_its_own_slice() {
    let mut world = with_a_full_table(256);
    let own = world.grid(0).0;
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    let (bits, complete_bits) = table.own_slice_bits();
    assert!(table.is_partial() && bits == complete_bits);
    let slice: Vec<Arc<Contact>> = table.nearest(&own).map(|entry| entry.contact().clone()).collect();
    let slice: Vec<_> = slice.into_iter().filter(|contact| contact.grid().0.common_bits(&own) >= bits.into()).collect();
    let (known, forgotten) = slice.split_at(slice.len() - 20);
    assert!(known.len() >= 64, "they are beyond the neighbourhood");
    forgotten.iter().for_each(|contact| assert!(table.remove(&contact.grid()).is_some()));
    let (peer, Sample { id, part }) = question(&mut world, Upkeep::ask_where_all_should_be_known);
    assert!(part.start.common_bits(&own) >= bits.into());
    assert_eq!((part.bits, part.known.len()), (bits, known.len()));
    assert!(usize::from(part.count) >= 16);
    answer(&mut world, peer, id, forgotten);
    assert!(forgotten.iter().all(|contact| world.node(0).table().entry(&contact.grid()).is_some()));
}

#[test]
fn questions_in_vain_about_the_own_slice_hold_up_none_about_a_gap_and_the_other_way_round() {
    let mut world = with_a_full_table(256);
    world.nodes[0].as_mut().unwrap().upkeep.hurry(Tick(world.now));
    world.run(100);
    with_a_gap(&mut world);
    let node = world.nodes[0].as_mut().unwrap();
    let upkeep = &mut node.upkeep;
    let now = node.core.now;
    upkeep.ask_where_all_should_be_known(&mut node.core);
    let in_ms = |pace: &Pace| pace.wake.unwrap().since(now).0;
    let asked = |upkeep: &Upkeep| (in_ms(&upkeep.refill), in_ms(&upkeep.gaps));
    let (own, gap) = asked(upkeep);
    assert!(own == 2_000 && gap <= 2_000, "{own}, {gap}");
    (0..8).for_each(|_| upkeep.ask_where_all_should_be_known(&mut node.core));
    assert_eq!(asked(upkeep), (30_000, gap));
    upkeep.hurry(now);
    (0..8).for_each(|_| upkeep.ask_about_a_gap(&mut node.core));
    assert_eq!(asked(upkeep), (2_000, 30_000));
    // Who joins once more has no time to lose with either.
    upkeep.start(&mut node.core);
    assert_eq!(asked(upkeep), (2_000, 2_000));
}

#[test]
fn a_table_that_begins_to_leave_some_out_late_asks_about_its_gaps_from_then_on() {
    let mut world = with_a_full_table(256);
    // Nothing else is due for long.
    let upkeep = &mut world.nodes[0].as_mut().unwrap().upkeep;
    (upkeep.refill.wake, upkeep.gaps.wake) = (Some(Tick(world.now + 600_000)), None);
    let empty = with_a_gap(&mut world);
    let before = world.sent.len();
    world.run(10_000);
    let is_about_it = |(from, _, message): &&(usize, Grid, Message)| match message {
        Message::Sample(sample) => *from == 0 && sample.part.bits > 2 && sample.part.start.common_bits(&empty) >= 2,
        _ => false,
    };
    let asked = world.sent[before..].iter().filter(is_about_it).count();
    assert!((1..=5).contains(&asked), "{asked} questions in ten seconds");
}

#[test]
fn for_a_gap_hearsay_will_do_in_the_first_quarter_of_an_hour_unless_there_was_an_outage() {
    let wants_hearsay = |joined_before: Ticks, is_outage: bool| {
        let mut world = with_a_full_table(256);
        with_a_gap(&mut world);
        let node = world.nodes[0].as_mut().unwrap();
        node.core.now = Tick(world.now) + joined_before;
        assert_eq!(is_outage, is_outage && (0..8).any(|_| node.upkeep.on_neighbour_silent(&mut node.core, true)));
        question(&mut world, Upkeep::ask_about_a_gap).1.part.with_hearsay
    };
    assert!(wants_hearsay(Ticks(0), false));
    assert!(wants_hearsay(Ticks::minutes(14), false));
    assert!(!wants_hearsay(Ticks::minutes(15), false));
    assert!(!wants_hearsay(Ticks(0), true), "whom others know by hearsay may be gone");
}

/// Those who were given up are named by whoever knows them, and are given up again.
#[test]
fn where_the_own_slice_has_given_up_some_few_are_to_be_named_and_elsewhere_in_it_more() {
    let mut world = with_a_full_table(110);
    let own = world.grid(0).0;
    let (bits, complete_bits) = world.node(0).table().own_slice_bits();
    assert_eq!(complete_bits, bits + 1, "its farther half has given up some");
    let node = world.nodes[0].as_mut().unwrap();
    assert!((0..32).any(|_| node.upkeep.on_neighbour_silent(&mut node.core, true)), "it is in no hurry");
    let mut counts = [0; 40].map(|_| {
        let (_, Sample { part, .. }) = question(&mut world, Upkeep::ask_where_all_should_be_known);
        assert_eq!(part.bits, complete_bits);
        (part.start.common_bits(&own) >= complete_bits.into(), part.count)
    });
    counts.sort_unstable();
    assert!(
        counts.chunk_by(|one, other| one == other).map(|alike| alike[0]).eq([(false, 2), (true, 16)]),
        "{counts:?}"
    );
}

#[test]
fn where_everybody_is_known_little_is_asked_and_nobody_is_named() {
    let mut world = at_rest();
    let before = world.sent.len();
    world.run(300_000);
    let is_question =
        |(from, _, message): &&(usize, Grid, Message)| *from == 0 && matches!(message, Message::Sample(_));
    let asked = world.sent[before..].iter().filter(is_question).count();
    assert!((9..=11).contains(&asked), "{asked} questions in five minutes");
    assert!((0..60).all(|node| named_to(&world, node, before).is_empty()));
}

/// All parts of a network of 4,000 are asked about before one is asked about again.
#[test]
fn each_part_of_the_keyspace_has_its_turn() {
    let mut world = World::of(2, 4);
    let core = &mut world.nodes[0].as_mut().unwrap().core;
    for contact in crate::testing::contacts(&mut crate::testing::rng(1), 4_000) {
        core.table.offer(&contact);
    }
    let mut upkeep = Upkeep::default();
    let mut met = std::collections::BTreeSet::new();
    let mut asked = || {
        let (wanted, _) = upkeep.next_part(core, Account::Far);
        upkeep.refill.asked += 1;
        (wanted.place.slice(wanted.bits).0, wanted.bits)
    };
    let (_, bits) = asked();
    assert_eq!(bits, 4);
    for _ in 0..1 << bits {
        met.insert(asked());
    }
    assert_eq!(met.len(), 1 << bits);
}

/// Somebody asks `node` 0 of a network at rest for contacts; whom it names.
fn named_by_first(world: &mut World, start: Id, known: &[Grid], with_hearsay: bool) -> Vec<Grid> {
    let known = known.iter().map(|grid| Mark::new(&start, grid.0.prefix())).collect();
    let part = Arc::new(Part { start, bits: 0, count: 100, with_hearsay, known });
    let (before, from) = (world.sent.len(), world.grid(1));
    world.hear(0, Heard::Message(from, Message::Sample(Sample { id: RequestId(2), part })));
    let mut named = named_to(world, 1, before);
    named.sort_unstable();
    named
}

#[test]
fn marked_contacts_are_not_named_and_all_others_are() {
    let mut world = at_rest();
    let grids: Vec<Grid> = (0..60).map(|index| world.grid(index)).collect();
    let mut expected = grids[30..].to_vec();
    expected.sort_unstable();
    assert_eq!(named_by_first(&mut world, Id::of(b"part"), &grids[2..30], false), expected);
}

/// Nobody else has noticed yet that it is gone, so it would be named.
#[test]
fn who_was_given_up_is_marked_too() {
    let mut world = at_rest();
    let far = world.nearest(&world.grid(0).0)[50];
    let (gone, contact) = (world.grid(far), world.contacts[far].clone());
    world.nodes[far] = None;
    let core = &mut world.nodes[0].as_mut().unwrap().core;
    core.table.remove(&gone);
    core.dead.add(contact);
    let before = world.sent.len();
    world.run(30_000);
    assert!(world.sent[before..].iter().any(|(from, _, message)| *from == 0 && matches!(message, Message::Sample(_))));
    assert!(!named_to(&world, 0, before).contains(&gone));
}

#[test]
fn who_knows_less_than_a_third_wants_hearsay_too() {
    let mut world = at_rest();
    world.nodes[0].as_mut().unwrap().core.table.set_told(Scale::of_nodes(200));
    let before = world.sent.len();
    world.run(60_000);
    let wants = |node: usize| -> Vec<bool> {
        let wants = |(from, _, message): &(usize, Grid, Message)| match message {
            Message::Sample(sample) if *from == node => Some(sample.part.with_hearsay),
            _ => None,
        };
        world.sent[before..].iter().filter_map(wants).collect()
    };
    let (short, others) = (wants(0), wants(1));
    assert!(!short.is_empty() && short.iter().all(|wanted| *wanted), "{short:?}");
    assert!(!others.is_empty() && others.iter().all(|wanted| !wanted), "{others:?}");
}

#[test]
fn a_neighbour_that_is_missing_is_heard_of_by_the_near_sweep_and_nobody_else_is_named() {
    let mut world = at_rest();
    let missing = world.grid(world.nearest(&world.grid(0).0)[2]);
    let upkeep = &mut world.nodes[0].as_mut().unwrap();
    upkeep.core.table.remove(&missing);
    upkeep.upkeep.refill.wake = None;
    upkeep.upkeep.far_wake = None;
    let before = world.sent.len();
    world.run(60_000);
    assert!(world.node(0).table().entry(&missing).is_some());
    let named = named_to(&world, 0, before);
    assert!(!named.is_empty() && named.iter().all(|grid| *grid == missing), "{named:?}");
    let names_somebody = |(.., message): &(usize, Grid, Message)| match message {
        Message::Found(found) => found.contacts.as_ref().is_some_and(|contacts| !contacts.is_empty()),
        _ => false,
    };
    assert!(!world.sent[before..].iter().any(names_somebody), "who sees another set says only that");
}

#[test]
fn hearsay_is_named_to_nobody_but_who_joins_or_knows_few() {
    let mut world = at_rest();
    let hearsay = crate::testing::contact(Id::of(b"hearsay"));
    world.nodes[0].as_mut().unwrap().core.table.offer(&hearsay);
    assert!(!named_by_first(&mut world, Id::of(b"part"), &[], false).contains(&hearsay.grid()));
    assert!(named_by_first(&mut world, Id::of(b"part"), &[], true).contains(&hearsay.grid()));
}
