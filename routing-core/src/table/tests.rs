mod shares;

use super::*;
use crate::contact::{Group, Standing, Versions};
use crate::key::SecretKey;
use crate::testing::{below, contact, contact_of, contacts, id, id_near, rng, shuffle};
use proptest::prelude::*;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BTreeSet};

const NEIGHBOURHOOD: u16 = 64;

fn table(own: Id, budget: u32) -> RoutingTable {
    RoutingTable::new(Grid(own), budget, NEIGHBOURHOOD)
}

fn filled(own: Id, budget: u32, contacts: &[Arc<Contact>]) -> RoutingTable {
    let mut table = table(own, budget);
    for contact in contacts {
        table.offer(contact);
        assert!(table.len() <= budget as usize);
    }
    table
}

/// All are offered once more, in another order, once it is known how many there are.
fn filled_twice(rng: &mut Xoshiro256PlusPlus, own: Id, budget: u32, contacts: &mut [Arc<Contact>]) -> RoutingTable {
    let mut table = filled(own, budget, contacts);
    shuffle(rng, contacts);
    contacts.iter().for_each(|contact| {
        table.offer(contact);
    });
    table
}

fn grids(table: &RoutingTable) -> BTreeSet<Grid> {
    table.iter().map(|entry| entry.contact().grid()).collect()
}

/// Ids as they come, and ids that crowd in a few places, some so close that their leading 64 bits are equal.
fn skewed(rng: &mut Xoshiro256PlusPlus, count: usize, crowds: usize) -> Vec<Arc<Contact>> {
    let places: Vec<Id> = (0..crowds).map(|_| id(rng)).collect();
    let mut one = |index: usize| match places.get(index % (crowds + 1)) {
        Some(place) => {
            let bits = below(rng, 90) as u32;
            id_near(rng, place, bits)
        }
        None => id(rng),
    };
    let ids: BTreeSet<Id> = (0..count).map(&mut one).collect();
    let mut contacts: Vec<_> = ids.into_iter().map(contact).collect();
    shuffle(rng, &mut contacts);
    contacts
}

fn assert_nearest_is_sorted(table: &RoutingTable, target: &Id) {
    let mut expected: Vec<Grid> = table.iter().map(|entry| entry.contact().grid()).collect();
    expected.sort_by_key(|grid| target.distance(&grid.0));
    let nearest: Vec<Grid> = table.nearest(target).map(|entry| entry.contact().grid()).collect();
    assert_eq!(nearest, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_nearest_are_those_that_brute_force_finds(
        seed: u64,
        count in 0usize..3_000,
        crowds in 0usize..4,
        budget in prop_oneof![Just(64u32), 64u32..600, Just(4_000)],
    ) {
        let rng = &mut rng(seed);
        let own = id(rng);
        let known = skewed(rng, count, crowds);
        let table = filled(own, budget, &known);
        prop_assert_eq!(table.len(), known.len().min(table.len()));
        if known.len() <= budget as usize {
            prop_assert_eq!(table.len(), known.len());
        }
        for target in [own, id(rng), known.first().map_or(own, |contact| contact.grid().0)] {
            assert_nearest_is_sorted(&table, &target);
        }
    }

    #[test]
    fn whatever_happens_the_budget_holds_and_the_counts_are_true(
        seed: u64,
        crowds in 0usize..3,
        budget in 64u32..300,
    ) {
        let rng = &mut rng(seed);
        let own = id(rng);
        let known = skewed(rng, 900, crowds);
        let mut table = table(own, budget);
        for step in 0..4_000 {
            let contact = &known[below(rng, known.len())];
            let grid = contact.grid();
            let was_known = table.entry(&grid).is_some();
            match below(rng, 12) {
                0..5 => {
                    let offered = table.offer(contact);
                    prop_assert_eq!(offered == Offered::Known, was_known);
                    prop_assert_eq!(offered != Offered::NoRoom, table.entry(&grid).is_some());
                }
                5..8 => table.on_answer(&grid, Ticks(below(rng, 70_000) as u64)),
                8 => table.on_reached(&grid, contact.address()),
                9 => prop_assert_eq!(table.remove(&grid).is_some(), was_known),
                10 => prop_assert_eq!(table.on_failure(&grid).is_some(), was_known),
                _ => table.set_linked(&grid, step % 2 == 0),
            }
            prop_assert!(table.len() <= budget as usize);
        }
        prop_assert_eq!(table.iter().count(), table.len());
        prop_assert_eq!(table.iter().filter(|entry| entry.has_answered()).count(), table.answered());
        let by_shared_bits: u32 = table.by_shared_bits.iter().sum();
        prop_assert_eq!(by_shared_bits as usize, table.len());
    }

    #[test]
    fn a_sample_is_of_the_range_of_no_more_than_asked_and_spread(
        seed: u64,
        count in 0usize..200,
        bits in prop_oneof![0u8..12, any::<u8>()],
        offset: u64,
    ) {
        let rng = &mut rng(seed);
        let own = id(rng);
        let table = filled(own, 4_000, &contacts(rng, 1_500));
        let start = id(rng);
        let is_in_range = |entry: &Entry| entry.contact().grid().0.common_bits(&start) >= u32::from(bits).min(64);
        let in_range = table.iter().filter(|entry| is_in_range(entry)).count();
        let picked = table.sample(&start, bits, count, offset, |_| true);
        prop_assert_eq!(picked.len(), count.min(in_range));
        prop_assert!(picked.iter().all(|entry| is_in_range(entry)));
        let distinct: BTreeSet<Grid> = picked.iter().map(|entry| entry.contact().grid()).collect();
        prop_assert_eq!(distinct.len(), picked.len());
        if bits == 0 && count >= 64 {
            // Spread: each eighth of the keyspace has its part, but for chance.
            for eighth in 0..8 {
                let part = picked.iter().filter(|entry| entry.prefix() >> 61 == eighth).count();
                prop_assert!(part * 8 > count / 2 && part * 8 < count * 2, "{} of {}", part, count);
            }
        }
        let nobody = table.sample(&start, bits, count, offset, |_| false);
        prop_assert!(nobody.is_empty());
    }
}

#[test]
fn an_entry_takes_24_bytes() {
    assert_eq!(size_of::<Entry>(), 24);
}

#[test]
fn the_own_slice_is_never_given_up_for_what_is_far() {
    for seed in 0..12 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let all = contacts(rng, 6_000);
        for budget in [256, 512, 2_048] {
            let table = filled(own, budget, &all);
            let depth = table.shares.depth as u32;
            let known = grids(&table);
            let slice = all.iter().filter(|contact| own.common_bits(&contact.grid().0) >= depth);
            assert!(slice.clone().count() <= budget as usize / 2, "seed {seed}, budget {budget}");
            assert!(slice.clone().all(|contact| known.contains(&contact.grid())), "seed {seed}, budget {budget}");
        }
    }
}

#[test]
fn the_nearest_four_k_groups_are_all_known() {
    for seed in 0..40 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 3_000);
        for budget in [256, 512] {
            let known = grids(&filled(own, budget, &all));
            all.sort_by_key(|contact| own.distance(&contact.grid().0));
            let missing = all[..64].iter().filter(|contact| !known.contains(&contact.grid())).count();
            assert_eq!(missing, 0, "seed {seed}, budget {budget}");
            shuffle(rng, &mut all);
        }
    }
}

#[test]
fn ids_that_share_nearly_all_bits_that_are_looked_at_are_kept_within_the_budget() {
    for seed in 0..20 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut table = table(own, 64);
        for index in 0..400 {
            let near = if index % 4 == 0 {
                id(rng)
            } else {
                {
                    let bits = 50 + below(rng, 14) as u32;
                    id_near(rng, &own, bits)
                }
            };
            table.offer(&contact(near));
            assert!(table.len() <= 64, "seed {seed}");
            assert_nearest_is_sorted(&table, &own);
        }
    }
}

#[test]
fn who_knows_few_of_those_around_it_takes_no_large_slice_for_its_own() {
    let rng = &mut rng(1);
    let own = id(rng);
    let mut table = table(own, 200);
    // It joined when there were two hundred, and has heard since of those next to it, and of how many there are.
    let all = contacts(rng, 10_000);
    all[..190].iter().for_each(|contact| {
        table.offer(contact);
    });
    table.set_told(Scale::of_nodes(10_000));
    let near = |contact: &&Arc<Contact>| own.common_bits(&contact.grid().0) >= 8;
    all.iter().filter(near).for_each(|contact| {
        table.offer(contact);
    });
    assert!(table.is_partial());
    assert_eq!(table.shares.depth, 7, "with 78 to be expected, and contacts for 122 of the 127 others");
}

#[test]
fn a_version_changes_with_whoever_comes_goes_or_stops_and_begins_to_answer() {
    let rng = &mut rng(4);
    let (own, other) = (id(rng), contact(id(rng)));
    let mut table = table(own, 256);
    let mut last = table.version();
    let mut changes = |table: &RoutingTable| table.version() != std::mem::replace(&mut last, table.version());
    table.offer(&other);
    assert!(changes(&table));
    table.on_answer(&other.grid(), Ticks(10));
    table.on_failure(&other.grid());
    assert!(!changes(&table), "it is relied upon as before");
    table.on_failure(&other.grid());
    assert!(changes(&table), "two failures in a row");
    table.on_failure(&other.grid());
    assert!(!changes(&table));
    table.on_answer(&other.grid(), Ticks(10));
    assert!(changes(&table));
    table.remove(&other.grid());
    assert!(changes(&table));
}

#[test]
fn hearsay_never_displaces_a_contact_that_has_answered() {
    for seed in 0..4 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let (mut table, all) = (table(own, 256), contacts(rng, 4_000));
        for contact in &all[..2_000] {
            table.offer(contact);
        }
        let answered: Vec<Grid> = table.iter().map(|entry| entry.contact().grid()).collect();
        answered.iter().for_each(|grid| table.on_answer(grid, Ticks(10)));
        for contact in &all[2_000..] {
            // The own slice is another matter: it is known completely, whoever is in it.
            if (own.common_bits(&contact.grid().0) as usize) < table.shares.depth {
                table.offer(contact);
            }
        }
        let kept = answered.iter().filter(|grid| table.entry(grid).is_some()).count();
        assert_eq!(kept, answered.len(), "seed {seed}");
    }
}

#[test]
fn who_does_not_answer_makes_room_for_hearsay() {
    let rng = &mut rng(1);
    let own = id(rng);
    let mut table = filled(own, 256, &contacts(rng, 2_000));
    let depth = table.shares.depth;
    let far = table.iter().map(|entry| entry.contact().grid()).find(|grid| own.common_bits(&grid.0) == 0).unwrap();
    table.on_failure(&far);
    table.on_failure(&far);
    assert!(depth > 1);
    let mate = contact(id_near(rng, &far.0, 40));
    assert_eq!(table.offer(&mate), Offered::New);
    assert!(table.entry(&far).is_none());
}

#[test]
fn a_table_knows_where_it_is_complete() {
    let rng = &mut rng(5);
    let own = id(rng);
    let all = contacts(rng, 3_000);
    let whole = filled(own, 4_000, &all);
    let mut told = filled(own, 4_000, &all);
    told.set_partial();
    let small = filled(own, 256, &all);
    for _ in 0..50 {
        assert!(whole.is_complete_at(&id(rng)));
    }
    for table in [&told, &small] {
        assert!(table.is_complete_at(&own));
        assert!(!table.is_complete_at(&own.flip(0)));
        let depth = table.shares.depth as u32;
        assert!(table.is_complete_at(&id_near(rng, &own, depth)));
        assert!(!table.is_complete_at(&id_near(rng, &own, depth - 1)));
    }
}

#[test]
fn a_part_of_the_keyspace_lacks_contacts_below_a_third_of_those_expected_there_and_a_small_one_never() {
    let mut rng = rng(1);
    let own = id(&mut rng);
    let mut table = table(own, 10_000);
    table.set_told(Scale::of_nodes(1 << 10));
    assert_eq!((table.expected_in(4), table.expected_in(5)), (32, 16));
    for _ in 0..10 {
        table.offer(&contact(id_near(&mut rng, &own, 4)));
    }
    assert!(table.lacks(4));
    table.offer(&contact(id_near(&mut rng, &own, 4)));
    assert!(!table.lacks(4));
    assert!(!table.lacks(5), "nobody is known there, as may be by chance where 16 are expected");
}

fn nodes_of(scale: Scale) -> f64 {
    (f64::from(scale.0) / 256.0).exp2()
}

#[test]
fn the_density_is_near_the_truth_once_the_table_is_complete_and_the_more_nodes_the_nearer() {
    for nodes in [100usize, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000] {
        for seed in 0..5 {
            let rng = &mut rng(seed);
            let own = id(rng);
            let table = filled(own, 32_768, &contacts(rng, nodes));
            let ratio = nodes_of(table.scale()) / nodes as f64;
            let bounds = if nodes <= 1_000 { 0.8..1.25 } else { 0.85..1.2 };
            assert!(bounds.contains(&ratio), "{nodes} nodes, seed {seed}: {ratio}");
        }
    }
}

#[test]
fn ids_ground_next_to_one_place_do_not_raise_the_density() {
    for (seed, bits) in [(1, 16), (2, 20), (3, 30)] {
        let rng = &mut rng(seed);
        let (own, place) = (id(rng), id(rng));
        let mut table = filled(own, 4_096, &contacts(rng, 2_000));
        for _ in 0..64 {
            table.offer(&contact(id_near(rng, &place, bits)));
        }
        let ratio = nodes_of(table.scale()) / 2_000.0;
        assert!((0.75..1.5).contains(&ratio), "seed {seed}: {ratio}");
    }
}

#[test]
fn ids_ground_next_to_the_own_place_do_not_raise_the_density_that_others_agree_upon() {
    let rng = &mut rng(1);
    let own = id(rng);
    for budget in [4_096, 512] {
        let mut table = filled(own, budget, &contacts(rng, 2_000));
        for index in 0..100 {
            table.offer(&contact(id_near(rng, &own, 20 + (index as u32).trailing_zeros())));
        }
        for region in 0..32u8 {
            table.on_scale(&Grid(Id([region << 3; 32])), Scale::of_nodes(2_000));
        }
        table.offer(&contact(id(rng)));
        let ratio = nodes_of(table.scale()) / 2_000.0;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
        let own_ratio = nodes_of(table.own_scale()) / 2_000.0;
        assert!(budget < 2_000 || (0.75..1.25).contains(&own_ratio), "a complete table knows better: {own_ratio}");
    }
}

#[test]
fn ids_ground_next_to_the_own_place_after_others_have_spoken_are_no_growth() {
    for (seed, budget) in [(1, 512), (2, 512), (3, 4_096)] {
        let rng = &mut rng(seed);
        let own = id(rng);
        // The table is filled to three quarters yet, so that it does not know better by itself.
        let mut table = filled(own, budget, &contacts(rng, 1_500));
        for place in 0..64 {
            table.offer(&contact(id_near(rng, &own, 5 + place % 3)));
        }
        let near = nodes_of(table.scale());
        for region in 0..32u8 {
            table.on_scale(&Grid(Id([region << 3; 32])), Scale::of_nodes(2_000));
        }
        // By and by, as those who have ground them can have them join.
        for index in 0..64u32 {
            table.offer(&contact(id_near(rng, &own, 9 + index.trailing_zeros())));
            if index % 16 == 0 {
                table.on_scale(&Grid(Id([index as u8; 32])), Scale::of_nodes(2_000));
            }
        }
        let ratio = nodes_of(table.scale()) / 2_000.0;
        assert!((0.6..2.1).contains(&ratio), "seed {seed}: {ratio}, near was {near}");
    }
}

#[test]
fn whose_neighbourhood_has_grown_fourfold_is_in_doubt_until_eight_regions_have_spoken_again() {
    for seed in 0..8 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let nodes = contacts(rng, 1_000);
        let mut table = filled(own, 4_096, &nodes[..250]);
        let speak = |table: &mut RoutingTable, regions: std::ops::Range<u8>, count| {
            regions.for_each(|region| table.on_scale(&Grid(Id([region << 3; 32])), Scale::of_nodes(count)));
        };
        speak(&mut table, 0..32, 250);
        assert!(!table.is_scale_in_doubt(), "seed {seed}");
        // It hears of all of its new neighbours, and of a few of the others.
        let mut nearest: Vec<_> = nodes[250..].iter().collect();
        nearest.sort_by_key(|node| own.distance(&node.grid().0));
        nearest[..250].iter().for_each(|node| {
            table.offer(node);
        });
        assert!(table.is_scale_in_doubt(), "seed {seed}");
        let told = nodes_of(table.own_scale()) / 1_000.0;
        assert!((0.6..1.6).contains(&told), "seed {seed}: others are told what the neighbourhood says: {told}");
        speak(&mut table, 0..7, 1_000);
        assert!(table.is_scale_in_doubt(), "seed {seed}");
        speak(&mut table, 7..8, 1_000);
        let ratio = nodes_of(table.scale()) / 1_000.0;
        assert!(!table.is_scale_in_doubt() && (0.95..1.05).contains(&ratio), "seed {seed}: {ratio}");
    }
}

#[test]
fn a_full_table_tells_the_density_of_its_neighbourhood_as_that_changes() {
    for seed in 0..20 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut table = table(own, 256);
        for nodes in [1_000, 2_000, 4_000, 8_000] {
            for contact in contacts(rng, nodes - nodes / 2) {
                table.offer(&contact);
            }
            let truth = if nodes == 1_000 { 500.0 } else { nodes as f64 - 500.0 };
            let ratio = nodes_of(table.own_scale()) / truth;
            assert!((0.5..1.7).contains(&ratio), "seed {seed}, {truth} nodes: {ratio}");
        }
    }
}

#[test]
fn a_table_too_small_for_a_whole_neighbourhood_takes_the_density_where_it_knows_everybody() {
    let mut unknown = 0;
    for seed in 0..20 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let table = filled(own, 80, &contacts(rng, 1_500));
        let ratio = nodes_of(table.own_scale()) / 1_500.0;
        // A slice with hardly anybody in it says nothing.
        let is_unknown = table.own_scale() == Scale::UNKNOWN;
        unknown += usize::from(is_unknown);
        assert!(is_unknown || (0.5..2.0).contains(&ratio), "seed {seed}: {ratio}");
    }
    assert!(unknown < 10, "{unknown} of 20 know nothing");
}

#[test]
fn a_contact_of_a_full_table_draws_once_who_takes_its_place_and_only_of_its_own_cell() {
    let rng = &mut rng(1);
    let own = id(rng);
    let small = filled(own, 64, &contacts(rng, 40));
    assert!(small.iter().all(|entry| small.who_draws(&entry.contact().grid()).is_none()), "all are known anyway");

    let mut table = filled(own, 64, &contacts(rng, 1_000));
    let depth = table.shares.depth as u32;
    let is_far = |entry: &&Entry| own.common_bits(&entry.contact().grid().0) < depth;
    let near = table.iter().find(|entry| !is_far(entry)).unwrap().contact().clone();
    assert_eq!(table.who_draws(&near.grid()), None, "of the own slice all are known");
    let far = table.iter().find(is_far).unwrap().contact().grid();
    let (peer, bits) = table.who_draws(&far).unwrap();
    assert_eq!(peer.grid(), far);
    let (place, bits, count) = (far.0.prefix(), u32::from(bits), table.len());

    assert!(!table.on_drawn(id(rng).prefix(), Some(&contact(id_near(rng, &far.0, bits)))), "no stranger gives way");
    let elsewhere = contact(id_near(rng, &far.0, bits - 1));
    let mut kept = table.clone();
    assert!(!kept.on_drawn(place, Some(&elsewhere)) && kept.entry(&far).is_some());
    assert_eq!(kept.who_draws(&far), None, "who draws nobody keeps its place");

    let other = contact(id_near(rng, &far.0, bits));
    assert!(table.on_drawn(place, Some(&other)));
    assert!(table.entry(&far).is_none() && table.entry(&other.grid()).is_some_and(|entry| !entry.has_answered()));
    assert_eq!((table.len(), table.who_draws(&other.grid())), (count, None));
}

#[test]
fn where_a_cell_has_room_for_several_three_are_drawn_next_to_one_another() {
    let rng = &mut rng(1);
    let own = id(rng);
    let mut table = filled(own, 220, &contacts(rng, 1_500));
    let (bits, room) = table.cell(0);
    assert!(room >= 6, "{room}");
    let cell = own.flip(0);
    let mates: Vec<Grid> = table.in_range(cell.prefix(), bits).map(|entry| entry.contact().grid()).collect();
    let known = table.entry(&mates[1]).unwrap().contact().clone();
    assert!(!table.clone().on_drawn(mates[0].0.prefix(), Some(&known)), "who is known has a place");
    let mut drawn = Vec::new();
    for mate in &mates[..5] {
        let (peer, bits) = table.who_draws(mate).unwrap();
        let other = contact(id_near(rng, &peer.grid().0, bits.into()));
        assert!(table.on_drawn(mate.0.prefix(), Some(&other)));
        drawn.push((peer.grid(), other.grid()));
    }
    let [first, second, third, fourth, fifth] = <[(Grid, Grid); 5]>::try_from(drawn).unwrap();
    assert_eq!([first.0, fourth.0], [mates[0], mates[3]], "the first of three is drawn anywhere in the cell");
    assert_eq!([second.0, fifth.0], [first.1, fourth.1]);
    assert!([first.1, second.1].contains(&third.0), "the third may be drawn by either of the two");
}

#[test]
fn a_newer_card_renews_an_entry_and_keeps_what_is_known_of_it() {
    let rng = &mut rng(1);
    let own = id(rng);
    let mut table = table(own, 64);
    let place = id(rng);
    let card = |group| contact_of(place, Group(group));
    assert_eq!(table.offer(&card(1)), Offered::New);
    table.on_answer(&Grid(place), Ticks(40));
    table.on_reached(&Grid(place), card(1).address());
    assert_eq!(table.offer(&card(2)), Offered::Known, "the same card");
    assert_eq!((table.len(), table.answered()), (1, 1));
    table.on_answer(&Grid(place), Ticks(u64::MAX));
    assert!(table.entry(&Grid(place)).unwrap().round_trip().unwrap() < Ticks(10_000));
    for _ in 0..300 {
        table.on_failure(&Grid(place));
    }
    assert_eq!(table.entry(&Grid(place)).unwrap().failures(), u8::MAX);
}

#[test]
fn who_answers_is_a_neighbour_once_it_was_found_where_its_newest_card_says() {
    let secret = SecretKey::from_seed([7; 32]);
    let card = |address: &str, sequence| {
        Arc::new(Contact::sign(&secret, address.parse().unwrap(), sequence, Standing::Here, Versions::CURRENT))
    };
    let (first, moved) = (card("a.example", 1), card("b.example", 2));
    let grid = first.grid();
    let mut table = table(id(&mut rng(1)), 64);
    let is_neighbour = |table: &RoutingTable| (table.entry(&grid).unwrap().has_answered(), table.answered());
    table.offer(&first);
    table.on_answer(&grid, Ticks(40));
    table.on_reached(&grid, moved.address());
    assert_eq!(is_neighbour(&table), (false, 0), "found elsewhere");
    table.on_reached(&grid, first.address());
    assert_eq!(is_neighbour(&table), (true, 1));
    table.offer(&card("a.example", 2));
    assert_eq!(is_neighbour(&table), (true, 1));
    table.offer(&card("b.example", 3));
    assert_eq!(is_neighbour(&table), (false, 0), "nobody has dialled it there");
    table.on_link(&grid);
    assert!(!table.entry(&grid).unwrap().is_reached());
    table.on_reached(&grid, moved.address());
    assert_eq!(is_neighbour(&table), (true, 1));
    assert!(table.entry(&grid).unwrap().is_reached());
}
