//! What a comparison with a fellow holder makes a node give and take.

use super::*;
use crate::holders::Scale;
use crate::message::Brief;
use crate::state::compare::Comparisons;

/// A holder of a record together with a fellow that holds it, too, and the record's key.
fn holder_and_fellow() -> (NodeState, Arc<Contact>, Key) {
    let mut world = World::of(12, 4);
    let record = place(&mut user(1), "n1.example");
    world.register(0, std::slice::from_ref(&record));
    world.run(1_000);
    let key = record.key();
    let holders = world.nearest(&key.id);
    let fellow = world.contacts[holders[1]].clone();
    let mut node = world.nodes[holders[0]].take().unwrap();
    node.core.effects.clear();
    node.core.find_fellows();
    (node, fellow, key)
}

fn comparisons(gives: bool, is_urgent: bool) -> Comparisons {
    let mut comparisons = Comparisons::default();
    (comparisons.gives, comparisons.is_urgent) = (gives, is_urgent);
    comparisons
}

/// How many copies it sends.
fn given(node: &mut NodeState) -> usize {
    let effects = std::mem::take(&mut node.core.effects);
    effects.iter().map(|effect| if let Effect::Send(_, message) = effect { message.copies() } else { 0 }).sum()
}

fn fetches(node: &mut NodeState) -> bool {
    let effects = std::mem::take(&mut node.core.effects);
    effects.iter().any(|effect| matches!(effect, Effect::Send(_, Message::Fetch(_))))
}

#[test]
fn who_has_just_joined_gives_nothing_before_its_first_round_of_comparisons_has_ended_unless_somebody_was_lost() {
    let (mut node, fellow, key) = holder_and_fellow();
    let everywhere = (node.grid().0, 0);
    for (gives, is_urgent, expected) in [(false, false, 0), (true, false, 1), (false, true, 1)] {
        let mut comparisons = comparisons(gives, is_urgent);
        node.core.on_listing(&mut comparisons, &fellow, &[], everywhere);
        assert_eq!(given(&mut node), expected, "{key:?} with gives {gives}, urgent {is_urgent}");
        assert!(!comparisons.take_were_equal(), "in any case the next round is not left out");
    }
}

#[test]
fn nobody_takes_what_others_list_where_it_knows_far_fewer_than_there_are() {
    let (mut node, fellow, _) = holder_and_fellow();
    let mut takes = |record: &Arc<Record>| {
        let mut comparisons = comparisons(true, false);
        let listed = [Brief { key: record.key(), hash: 7 }];
        node.core.on_listing(&mut comparisons, &fellow, &listed, (node.core.grid().0, 0));
        let is_clear = node.core.is_clear_holder(&record.key(), &node.grid());
        node.core.table.set_told(Scale::of_nodes(10_000));
        (is_clear, fetches(&mut node))
    };
    let records: Vec<Arc<Record>> = (2..12).map(|seed| place(&mut user(seed), "n1.example")).collect();
    let before = takes(&records[0]);
    assert!(records.iter().map(&mut takes).all(|(_, takes)| !takes), "it is told of ten thousand and knows eleven");
    assert_eq!(before, (true, true));
}

#[test]
fn what_a_full_store_has_dropped_is_forgotten_by_all_that_remembers_it() {
    let mut world = World::with(4, NodeConfig { holders: 4, records_max: 20, ..NodeConfig::default() });
    for batch in 0..25 {
        let records: Vec<_> = (batch * 20..batch * 20 + 20).map(|seed| place(&mut user(seed), "n1.example")).collect();
        world.register(2, &records);
        world.run(5_000);
        let core = &mut world.nodes[0].as_mut().unwrap().core;
        core.find_fellows();
        let held = core.store.len();
        assert!(core.fellowship.known() <= held, "{} of {held}", core.fellowship.known());
        assert!(core.strays.iter().all(|key| core.store.get(key).is_some()));
    }
}

#[test]
fn nobody_takes_what_is_listed_though_it_was_not_asked_about_or_asks_for_it_twice() {
    let (mut node, fellow, key) = holder_and_fellow();
    let mut fetched = |range| {
        let listed = [7, 8].map(|hash| Brief { key, hash });
        node.core.on_listing(&mut comparisons(true, false), &fellow, &listed, range);
        let effects = std::mem::take(&mut node.core.effects);
        let keys = effects.iter().map(|effect| match effect {
            Effect::Send(_, Message::Fetch(fetch)) => fetch.keys.len(),
            _ => 0,
        });
        keys.sum::<usize>()
    };
    assert_eq!([(key.id, 0), (key.id, 4), (key.id.flip(3), 4)].map(&mut fetched), [1, 1, 0]);
}
