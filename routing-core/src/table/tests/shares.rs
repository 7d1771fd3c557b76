//! How a budget that does not suffice for all is dealt.

use super::*;

#[test]
fn a_full_table_keeps_to_its_shares() {
    for (seed, nodes, budget) in [(1, 3_000, 256), (2, 10_000, 256), (3, 10_000, 512), (4, 20_000, 1_024)] {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, nodes);
        let table = filled_twice(rng, own, budget, &mut all);
        let shares = &table.shares;
        for (shared, quota) in shares.quota.iter().enumerate() {
            let there = table.by_shared_bits[shared];
            assert!(there.abs_diff(*quota) <= 1, "seed {seed}: {there} of {quota} at {shared} of {}", shares.depth);
        }
        // With 2·√N contacts or more each slice outside the own has as many.
        if budget as f64 >= 2.0 * f64::from(nodes as u32).sqrt() {
            let mut slices: BTreeMap<u64, usize> = (0..1 << shares.depth).map(|slice| (slice, 0)).collect();
            for entry in table.iter() {
                *slices.entry(entry.prefix() >> (64 - shares.depth)).or_default() += 1;
            }
            slices.remove(&(own.prefix() >> (64 - shares.depth)));
            let (least, most) = (slices.values().min().unwrap(), slices.values().max().unwrap());
            assert!(*least >= 1 && *most <= least * 2 + 1, "seed {seed}: {least} to {most}");
        }
    }
}

#[test]
fn where_a_full_table_has_too_few_there_is_a_gap_of_as_many_as_are_missing() {
    let rng = &mut rng(3);
    let own = id(rng);
    let mut table = filled(own, 256, &contacts(rng, 4_000));
    let place = own.flip(0);
    assert_eq!(table.gap_at(&own), None, "the own slice is another matter");
    assert_eq!(table.gap_at(&place), None);
    let (bits, room) = table.cell(0);
    let mates: Vec<Grid> = table.in_range(place.prefix(), bits).map(|entry| entry.contact.grid()).collect();
    mates.iter().for_each(|mate| assert!(table.remove(mate).is_some()));
    assert_eq!(table.gap_at(&place), Some((bits as u8, room as u16)));
    for _ in 0..room.div_ceil(2) {
        table.offer(&contact(id_near(rng, &place, bits + 1)));
    }
    assert_eq!(table.gap_at(&place), None, "half of them will do");
}

#[test]
fn a_part_without_contacts_is_a_gap_where_another_has_too_many_and_is_filled_at_its_cost() {
    let rng = &mut rng(3);
    let own = id(rng);
    let mut table = filled(own, 256, &contacts(rng, 4_000));
    let (empty, crowded) = (own.flip(0), own.flip(0).flip(1));
    let (bits, room) = table.cell(0);
    assert!(bits > 1, "these are two cells of one bucket");
    let count = |table: &RoutingTable, place: &Id| table.in_range(place.prefix(), bits).count();
    let mates: Vec<Grid> = table.in_range(empty.prefix(), bits).map(|entry| entry.contact.grid()).collect();
    for mate in &mates {
        table.remove(mate);
        assert_eq!(table.offer(&contact(id_near(rng, &crowded, bits + 1))), Offered::New, "there is room at all");
    }
    assert_eq!((table.len(), count(&table, &empty)), (256, 0));
    assert!(count(&table, &crowded) > room);
    let wanted = room.min(count(&table, &crowded) / 2);
    assert_eq!(table.gap_at(&empty), Some((bits as u8, wanted as u16)), "so many that no other cell has fewer then");
    while table.offer(&contact(id_near(rng, &empty, bits + 1))) == Offered::New {
        assert_eq!(table.len(), 256);
    }
    let known = count(&table, &empty);
    assert!(known >= wanted && known + 1 >= count(&table, &crowded), "{known}: both are even");
    assert!(count(&table, &crowded) <= room);
}

#[test]
fn a_slice_without_a_contact_is_a_gap_where_another_one_as_far_has_two() {
    let mut seen = 0;
    for seed in 0..20 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 10_000);
        let mut table = filled_twice(rng, own, 200, &mut all);
        let (bits, room) = table.cell(0);
        let alone = |table: &RoutingTable, entry: &Entry| table.in_range(entry.prefix, bits).count() == 1;
        let mates = table.in_range(own.flip(0).prefix(), 1).filter(|entry| alone(&table, entry));
        let mates: Vec<Grid> = mates.map(|entry| entry.contact.grid()).collect();
        let [first, second, ..] = mates[..] else { continue };
        if table.shares.depth as u32 != bits || room != 2 {
            continue;
        }
        // There may be two, since there are some more contacts than slices.
        table.remove(&first);
        assert_eq!(table.offer(&contact(id_near(rng, &second.0, bits))), Offered::New);
        assert_eq!(table.gap_at(&first.0), Some((bits as u8, 1)), "seed {seed}");
        assert_eq!(table.offer(&contact(id_near(rng, &first.0, bits))), Offered::New);
        assert!(table.gap_at(&first.0).is_none() && table.gap_at(&second.0).is_none() && table.len() == 200);
        seen += 1;
    }
    assert!(seen > 0, "some have more contacts than slices");
}

#[test]
fn a_full_table_whose_cells_are_even_takes_up_no_newcomer() {
    for (seed, nodes, budget) in
        [(1, 4_000, 256), (2, 10_000, 200), (3, 20_000, 256), (4, 25_000, 316), (5, 40_000, 256)]
    {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, nodes);
        let mut table = filled_twice(rng, own, budget, &mut all);
        let mut new = [0; 4];
        for round in &mut new {
            let far = contacts(rng, nodes).into_iter().filter(|contact| {
                let shared = own.common_bits(&contact.grid().0) as usize;
                shared < table.shares.depth
            });
            let far: Vec<_> = far.collect();
            *round = far.iter().filter(|contact| table.offer(contact) == Offered::New).count();
        }
        assert_eq!(new[3], 0, "seed {seed}: as many were taken up of as many newcomers, again and again: {new:?}");
    }
}

#[test]
fn the_own_slice_has_more_than_half_of_a_table_where_that_leaves_fewer_slices_without_a_contact() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 1_000);
        let table = filled_twice(rng, own, 64, &mut all);
        let depth = table.shares.depth as u32;
        let inside = |depth: u32| all.iter().filter(|contact| own.common_bits(&contact.grid().0) >= depth).count();
        let covered =
            |depth: u32| (64usize.saturating_sub(inside(depth)) as f64 / ((1u64 << depth) - 1) as f64).min(1.0);
        assert!(covered(depth) >= covered(depth + 1), "seed {seed}: {depth}");
        assert!(covered(depth) >= covered(depth - 1) || inside(depth - 1) > 64, "seed {seed}: {depth}");
        let known = grids(&table);
        let slice = all.iter().filter(|contact| own.common_bits(&contact.grid().0) >= depth);
        assert!(slice.clone().all(|contact| known.contains(&contact.grid())), "seed {seed}");
        seen.insert((depth, slice.count() > 32));
    }
    assert!(seen.contains(&(5, true)) && seen.contains(&(5, false)), "{seen:?}");
}

#[test]
fn the_own_slice_gives_up_some_of_its_farther_half_where_more_slices_have_a_contact_then() {
    let mut gave_up = 0;
    for seed in 0..40 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 10_000);
        let table = filled_twice(rng, own, 200, &mut all);
        let depth = table.shares.depth as u32;
        let known = grids(&table);
        let shared = |contact: &Contact| own.common_bits(&contact.grid().0);
        let (nearer, farther): (Vec<_>, Vec<_>) =
            all.iter().filter(|contact| shared(contact) >= depth).partition(|contact| shared(contact) > depth);
        let is_known = |contact: &&Arc<Contact>| known.contains(&contact.grid());
        assert!(nearer.iter().all(is_known), "seed {seed}: all of the nearer half are known");
        let kept = farther.iter().filter(|contact| is_known(contact)).count();
        let context = format!("seed {seed}: {} nearer, {kept} of {} farther", nearer.len(), farther.len());
        assert!(kept == farther.len() || nearer.len() >= 32, "{context}");
        // By the density as this node sees it, which errs by a quarter at most.
        assert!(kept == farther.len() || kept >= 39 / 2 * 3 / 4, "{context}");
        if kept == farther.len() {
            continue;
        }
        gave_up += 1;
        let slices: BTreeSet<u64> = table.iter().map(|entry| entry.prefix() >> (64 - depth)).collect();
        let least = (table.scale().nodes() >> (depth + 1)).div_ceil(2) as usize;
        assert!(slices.len() == 1 << depth || kept <= least, "{context}: each slice has a contact if that is enough");
        let near = table.near_scale().nodes();
        assert!(near.abs_diff(10_000) < 4_000, "{context}: the density by what is complete is {near}");
        let place = id_near(rng, &own.flip(depth), depth + 1);
        // Around any place in the farther half the nearest of those who are known are holders.
        let mut holders: Vec<Grid> = all.iter().map(|contact| contact.grid()).collect();
        holders.sort_by_key(|grid| place.distance(&grid.0));
        let mut nearest = table.nearest(&place).take(3).map(|entry| entry.contact().grid());
        assert!(nearest.all(|grid| holders[..16].contains(&grid)), "{context}: they know the others");
    }
    assert!((10..40).contains(&gave_up), "{gave_up}");
}

#[test]
fn an_own_slice_that_is_large_by_chance_gives_up_some_rather_than_half_of_it() {
    let mut large = 0;
    for seed in 0..40 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 6_250);
        // Who joins is told of those around it first.
        all.sort_by_key(|contact| own.distance(&contact.grid().0));
        let table = filled_twice(rng, own, 158, &mut all);
        // Of 64 slices each has 98 in the mean: with as many there is one contact for each of 60 others.
        let inside = all.iter().filter(|contact| own.common_bits(&contact.grid().0) >= 6).count();
        let nearer = all.iter().filter(|contact| own.common_bits(&contact.grid().0) >= 7).count();
        if nearer < 32 || inside - nearer < 40 {
            continue;
        }
        large += usize::from(inside > 104);
        assert_eq!(table.shares.depth, 6, "seed {seed}: {nearer} of {inside} are nearer");
        let slices: BTreeSet<u64> = table.iter().map(|entry| entry.prefix() >> 58).collect();
        assert_eq!(slices.len(), 64, "seed {seed}: each slice has a contact");
    }
    assert!(large > 4, "half of them would leave fewer slices without a contact, if none were given up: {large}");
}

#[test]
fn of_two_own_slices_that_leave_a_contact_to_each_other_one_that_is_taken_which_gives_up_nobody() {
    let mut seen = 0;
    for seed in 0..40 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 20_800);
        let inside = |bits: u32| all.iter().filter(|contact| own.common_bits(&contact.grid().0) >= bits).count();
        // More than half of the budget, and enough left for 127 others; half as many leave too few for 255, unless some are given up.
        if !(160..=187).contains(&inside(7)) || !(66..=78).contains(&inside(8)) || inside(9) < 32 {
            continue;
        }
        all.sort_by_key(|contact| own.distance(&contact.grid().0));
        let table = filled_twice(rng, own, 316, &mut all);
        assert_eq!(table.shares.depth, 7, "seed {seed}");
        seen += 1;
    }
    assert!(seen > 1, "{seen}");
}

#[test]
fn the_own_slice_gives_up_nobody_while_the_density_is_not_known() {
    let mut seen = 0;
    for seed in 0..20 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut all = contacts(rng, 6_250);
        all.sort_by_key(|contact| own.distance(&contact.grid().0));
        // Of four holders: the sixteen nearest are hardly ever a slice of their own, which would tell the density.
        let mut table = RoutingTable::new(Grid(own), 158, 16);
        all.iter().for_each(|contact| {
            table.offer(contact);
        });
        if table.scale() != Scale::UNKNOWN {
            continue;
        }
        let (known, depth) = (grids(&table), table.shares.depth as u32);
        let mut slice = all.iter().map(|contact| contact.grid()).filter(|grid| own.common_bits(&grid.0) >= depth);
        assert!(slice.all(|grid| known.contains(&grid)), "seed {seed}");
        seen += 1;
    }
    assert!(seen > 4, "{seen}");
}

#[test]
fn the_own_slice_gives_up_nobody_where_far_more_slices_lack_a_contact() {
    let rng = &mut rng(1);
    let own = id(rng);
    let mut all = contacts(rng, 20_000);
    let table = filled_twice(rng, own, 160, &mut all);
    let depth = table.shares.depth as u32;
    let known = grids(&table);
    let mut slice = all.iter().map(|contact| contact.grid()).filter(|grid| own.common_bits(&grid.0) >= depth);
    assert!(slice.clone().filter(|grid| own.common_bits(&grid.0) > depth).count() >= 32, "it might give up some");
    assert!(slice.all(|grid| known.contains(&grid)));
}

/// Whoever names contacts chooses where they lie, and in which order they come.
#[test]
fn a_table_keeps_to_its_budget_however_uneven_those_are_whom_it_is_told_of() {
    for seed in 0..300 {
        let rng = &mut rng(seed);
        let own = id(rng);
        let mut table = table(own, 64);
        let mut bits = 0;
        for _ in 0..200 {
            match below(rng, 20) {
                0 => bits = below(rng, 8) as u32,
                1 => table.set_told(Scale::of_nodes(16 << below(rng, 5))),
                2 => table.on_filled(),
                _ => {}
            }
            let bits = bits + below(rng, 3) as u32;
            table.offer(&contact(id_near(rng, &own, bits)));
            assert!(table.len() <= 64, "seed {seed}");
        }
    }
}

#[test]
fn a_table_that_was_full_has_room_for_all_again_once_there_are_so_few() {
    let rng = &mut rng(1);
    let own = id(rng);
    let mut table = filled(own, 64, &contacts(rng, 100));
    assert!(table.is_partial() && !table.is_complete_at(&own.flip(0)));
    let mut known: Vec<Grid> = grids(&table).into_iter().collect();
    table.set_told(Scale::of_nodes(90));
    known.drain(..20).for_each(|gone| assert!(table.remove(&gone).is_some()));
    assert!(table.is_partial(), "others are there, and left out");
    table.set_told(Scale::of_nodes(40));
    known.drain(..4).for_each(|gone| assert!(table.remove(&gone).is_some()));
    assert!(!table.is_partial() && table.is_complete_at(&own.flip(0)));
    contacts(rng, 100).iter().for_each(|contact| {
        table.offer(contact);
    });
    assert!(table.is_partial() && table.len() == 64);
}
