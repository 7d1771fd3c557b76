//! Servers that register many users at once and do not know everybody yet.

use super::*;
use crate::message::{Find, Want};

/// A network in which node 0 does not know one in so many of those who are not around itself.
fn partly_known(one_in: usize) -> World {
    let mut world = World::of(200, 16);
    let own = world.grid(0).0;
    let strangers: Vec<Grid> = (1..200).step_by(one_in).map(|index| world.grid(index)).collect();
    let table = &mut world.nodes[0].as_mut().unwrap().core.table;
    strangers
        .iter()
        .filter(|stranger| own.common_bits(&stranger.0) < 2)
        .for_each(|stranger| _ = table.remove(stranger));
    world.sent.clear();
    world
}

fn users(count: u64) -> Vec<Arc<Record>> {
    (0..count).map(|seed| place(&mut user(seed), "n0.example")).collect()
}

impl World {
    /// Whom node 0 has handed records, once for each time.
    fn handed(&self) -> Vec<Grid> {
        let sent = self.sent.iter();
        sent.filter(|(from, _, message)| *from == 0 && matches!(message, Message::Store(_)))
            .map(|(_, to, _)| *to)
            .collect()
    }

    /// Whom node 0 has asked the way.
    fn asked(&self) -> Vec<Grid> {
        let is_question = |message: &Message| matches!(message, Message::Find(Find { want: Want::Contacts, .. }));
        let sent = self.sent.iter().filter(|(from, _, message)| *from == 0 && is_question(message));
        sent.map(|(_, to, _)| *to).collect()
    }

    /// How many times in excess of once somebody was handed something.
    fn repeated(&self) -> usize {
        let mut handed = self.handed();
        let all = handed.len();
        handed.sort_unstable();
        handed.dedup();
        all - handed.len()
    }

    /// Each of the sixteen that were nearest before some died has the record, if it lives.
    fn assert_at_holders(&self, records: &[Arc<Record>]) {
        for record in records {
            let (key, holders) = (record.key(), self.holders(&record.key()));
            let mut nearest: Vec<usize> = (0..self.nodes.len()).collect();
            nearest.sort_by_key(|index| key.id.distance(&self.grid(*index).0));
            let is_there = |index: &usize| self.nodes[*index].is_none() || holders.contains(index);
            assert!(nearest[..16].iter().all(is_there), "{nearest:?} {holders:?}");
        }
    }

    fn copies(&self) -> usize {
        let sent = self.sent.iter().filter(|(from, _, message)| *from == 0 && matches!(message, Message::Store(_)));
        sent.map(|(_, _, message)| message.copies()).sum()
    }
}

#[test]
fn who_registers_many_asks_around_who_is_there_before_it_hands_over_anything() {
    let (mut world, records) = (partly_known(2), users(500));
    let registered = world.register(0, &records);
    assert!(registered.records.iter().all(|record| record.is_acknowledged));
    assert!((4..=7).contains(&world.asked().len()), "{}", world.asked().len());
    world.run(10_000);
    let payload = 500 * 16;
    assert!(world.copies() * 10 <= payload * 11, "{} copies", world.copies());
    assert!(world.repeated() <= 2, "{}", world.repeated());
    world.assert_at_holders(&records);
}

#[test]
fn a_survey_that_nobody_answers_ends_soon_and_everybody_gets_what_it_should() {
    let (mut world, records) = (partly_known(2), users(500));
    let id = world.ask(0, Operation::Register(records.clone()));
    let asked = world.asked();
    assert!(!asked.is_empty());
    for (node, contact) in world.nodes.iter_mut().zip(&world.contacts) {
        node.take_if(|_| asked.contains(&contact.grid()));
    }
    let began = world.now;
    while world.handed().is_empty() {
        world.step();
    }
    assert!(world.now - began <= 2 * Ticks::seconds(2).0, "after {}", world.now - began);
    let Outcome::Registered(Ok(registered)) = world.outcome(id) else { panic!("not registered") };
    assert!(registered.records.iter().all(|record| record.is_acknowledged));
    world.run(60_000);
    world.assert_at_holders(&records);
}

/// Where most are known nobody is asked.
#[test]
fn holders_that_come_to_light_get_all_that_is_theirs_in_one_bundle() {
    let (mut world, records) = (partly_known(5), users(500));
    let registered = world.register(0, &records);
    assert!(registered.records.iter().all(|record| record.is_acknowledged));
    world.run(10_000);
    assert_eq!((world.asked().len(), world.repeated()), (0, 0));
    world.assert_at_holders(&records);
}

#[test]
fn holders_that_come_to_light_do_not_wait_for_somebody_silent_for_long() {
    let (mut world, records) = (partly_known(5), users(500));
    let silent = world.nearest(&records[0].key().id).into_iter().find(|index| index % 5 != 1 && *index != 0).unwrap();
    world.nodes[silent] = None;
    let known = world.node(0).core.table.clone();
    let id = world.ask(0, Operation::Register(records));
    let began = world.now;
    while world.handed().iter().all(|peer| known.entry(peer).is_some()) {
        world.step();
    }
    let waited = world.now - began;
    assert!((2_000..2_500).contains(&waited), "{waited}");
    let Outcome::Registered(Ok(registered)) = world.outcome(id) else { panic!("not registered") };
    assert!(registered.records.iter().all(|record| record.is_acknowledged));
}

#[test]
fn two_timers_of_an_operation_that_fall_on_one_tick_are_both_heeded() {
    // Whoever is asked answers, and knows nobody: the way is asked for again after a second, 1,030 ticks after the start.
    let mute = |message: &Message| match message {
        Message::Find(find) => Some(hostile::found(find.id, &[])),
        _ => None,
    };
    let mut world = World::new(NodeConfig { register_deadline: Ticks(1_020), ..NodeConfig::default() });
    let liar = world.start();
    world.liars.insert(liar, mute);
    let client = world.client(&[liar]);
    let outcome = world.perform(client, Operation::Register(vec![place(&mut user(1), "n0.example")]));
    assert!(matches!(outcome, Outcome::Registered(Ok(registered)) if !registered.records[0].is_acknowledged));
    for answer_timeout_min in 480..530 {
        let config = NodeConfig { answer_timeout_min: Ticks(answer_timeout_min), ..NodeConfig::default() };
        let mut world = World::new(config);
        let liar = world.start();
        world.liars.insert(liar, mute);
        let client = world.client(&[liar]);
        world.lookup(client, user(1).guid().into(), Consistency::All);
    }
}
