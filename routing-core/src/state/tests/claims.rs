//! Claims: who has a text, when several want it.

use super::*;
use crate::holders::SetName;
use crate::message::{Refusal, RequestId, Store};

/// A claim to the name "ann", by a claimant of its own for each seed.
fn claim(seed: u64) -> Arc<Record> {
    Arc::new(user(seed).claim_name("ann", 0).unwrap())
}

/// Two such claims, the one with the smaller hash first.
fn pair() -> [Arc<Record>; 2] {
    let mut claims = [claim(1), claim(2)];
    claims.sort_by_key(|record| record.claim_hash());
    claims
}

/// These nodes hear of a claim, and nobody else.
fn tell(world: &mut World, nodes: impl IntoIterator<Item = usize>, record: &Arc<Record>) {
    tell_again(world, nodes, record, Ticks(0));
}

/// The same of one that was announced a while ago.
fn tell_again(world: &mut World, nodes: impl IntoIterator<Item = usize>, record: &Arc<Record>, age: Ticks) {
    for node in nodes {
        let copy = Copy { record: record.clone(), rival: None, age };
        let items = std::iter::once(StoreItem { copy, set: SetName::NONE }).collect();
        let from = world.grid((node + 1) % 2);
        world.hear(node, Heard::Message(from, Message::Store(Store { id: RequestId(1), items })));
    }
}

fn keeping(world: &World, record: &Arc<Record>) -> Vec<usize> {
    let keeps =
        |node: &NodeState| node.store().get(&record.key()).is_some_and(|stored| stored.held().record() == record);
    (0..world.nodes.len()).filter(|index| world.nodes[*index].as_ref().is_some_and(keeps)).collect()
}

fn groups(answer: &Answer) -> Vec<usize> {
    answer.votes.iter().map(|vote| vote.groups).collect()
}

fn said(registration: &Registration, said: HolderSaid) -> usize {
    registration.holders.iter().filter(|(_, other)| *other == said).count()
}

const OTHER_CLAIMANT: HolderSaid = HolderSaid::Refused(Refusal::OtherClaimant);

#[test]
fn a_claim_is_kept_by_more_groups_than_a_record_and_found_by_everybody() {
    let mut world = World::new(NodeConfig { holders: 4, claim_holders: 9, ..NodeConfig::default() });
    for _ in 0..30 {
        world.join_one().unwrap();
    }
    world.run(5_000);
    let claim = claim(1);
    let client = world.client(&[5, 6]);
    assert!(world.register(client, std::slice::from_ref(&claim)).records[0].is_acknowledged);
    world.run(2_000);
    assert_eq!(world.holders(&claim.key()), sorted(world.nearest(&claim.key().id)[..9].to_vec()));
    for asker in [0, 9, client] {
        for consistency in [Consistency::Quick, Consistency::Quorum, Consistency::All] {
            let answer = world.lookup(asker, claim.key(), consistency);
            assert_eq!((answer.verdict, answer.is_settled), (Verdict::Found, true), "{asker} {consistency:?}");
            assert_eq!((answer.record.as_ref(), answer.votes.len()), (Some(&claim), 1));
        }
        let other = crate::record::claim_key(crate::record::ClaimKind::Name, "bob");
        let absent = world.lookup(asker, other, Consistency::Quorum);
        assert_eq!((absent.verdict, absent.is_settled, absent.votes.len()), (Verdict::Absent, true, 0));
    }
}

#[test]
fn records_and_claims_of_one_registration_reach_their_own_holders() {
    let mut world = World::new(NodeConfig { holders: 4, claim_holders: 9, ..NodeConfig::default() });
    for _ in 0..30 {
        world.join_one().unwrap();
    }
    world.run(5_000);
    let mut records: Vec<_> = (0..20).map(|seed| place(&mut user(seed), "n1.example")).collect();
    records.extend((0..20).map(|seed| Arc::new(user(seed).claim_name(&format!("user{seed}"), 0).unwrap())));
    let client = world.client(&[5, 6]);
    for writer in [0, client] {
        let registered = world.register(writer, &records);
        for registration in &registered.records {
            assert!(registration.is_acknowledged, "{writer}: {registration:?}");
        }
        world.run(2_000);
        for record in &records {
            let key = record.key();
            let count = if key.kind == crate::id::Kind::Claim { 9 } else { 4 };
            let holders = world.holders(&key);
            assert!(world.nearest(&key.id)[..count].iter().all(|node| holders.contains(node)));
        }
    }
}

#[test]
fn rivals_of_one_moment_are_decided_alike_by_all_holders() {
    let mut world = World::of(12, 4);
    let [winner, loser] = pair();
    let operations =
        [(3, &winner), (8, &loser)].map(|(node, record)| world.ask(node, Operation::Register(vec![record.clone()])));
    let registered = operations.map(|id| match world.outcome(id) {
        Outcome::Registered(Ok(registered)) => registered.records[0].clone(),
        other => panic!("{other:?}"),
    });
    world.run(5_000);
    assert!(registered[0].is_acknowledged);
    assert!(said(&registered[1], OTHER_CLAIMANT) > 0 || registered[1].is_acknowledged);
    assert_eq!(keeping(&world, &winner).len(), 12);
    let answer = world.lookup(8, winner.key(), Consistency::All);
    assert_eq!((answer.verdict, answer.record.as_ref(), groups(&answer)), (Verdict::Found, Some(&winner), vec![12]));
}

#[test]
fn a_rival_that_comes_later_is_refused_by_each_holder() {
    let mut world = World::of(12, 4);
    let [less, more] = pair();
    assert!(world.register(3, std::slice::from_ref(&more)).records[0].is_acknowledged);
    world.run(61_000);
    let registered = world.register(8, std::slice::from_ref(&less));
    let registration = &registered.records[0];
    assert!(!registration.is_acknowledged && registration.is_anothers() && registration.greater.is_none());
    assert_eq!(said(registration, OTHER_CLAIMANT), 11);
    assert_eq!(keeping(&world, &more).len(), 12);
}

#[test]
fn under_two_thirds_the_answer_is_contested_with_both_and_the_count() {
    let mut world = World::of(12, 4);
    let [ann, bob] = pair();
    tell(&mut world, 0..7, &ann);
    tell(&mut world, 7..12, &bob);
    for consistency in [Consistency::Quorum, Consistency::All] {
        let answer = world.lookup(0, ann.key(), consistency);
        assert_eq!((answer.verdict, answer.is_settled, groups(&answer)), (Verdict::Contested, true, vec![7, 5]));
        assert_eq!((answer.record.as_ref(), answer.rival.as_ref()), (Some(&ann), Some(&bob)));
    }
}

#[test]
fn two_thirds_decide_and_read_repair_leaves_the_others_alone() {
    let mut world = World::of(12, 4);
    let [ann, bob] = pair();
    tell(&mut world, 0..6, &bob);
    tell(&mut world, 6..9, &ann);
    let answer = world.lookup(11, ann.key(), Consistency::All);
    assert_eq!((answer.verdict, answer.is_settled, groups(&answer)), (Verdict::Found, true, vec![6, 3]));
    assert_eq!(answer.record.as_ref(), Some(&bob));
    world.run(1_000);
    assert_eq!(keeping(&world, &ann), [6, 7, 8]);
    assert_eq!(keeping(&world, &bob), [0, 1, 2, 3, 4, 5, 9, 10, 11], "who had none is told");
}

#[test]
fn an_operator_with_most_of_the_nodes_has_one_vote() {
    let mut world = World::of(6, 4);
    for number in 0..7 {
        world.join_at(&format!("n{number}.many.example")).unwrap();
    }
    world.run(5_000);
    let [ann, bob] = pair();
    tell(&mut world, 0..6, &ann);
    tell(&mut world, 6..13, &bob);
    let answer = world.lookup(9, ann.key(), Consistency::Quorum);
    assert_eq!((answer.verdict, answer.record.as_ref(), groups(&answer)), (Verdict::Found, Some(&ann), vec![6, 1]));
}

#[test]
fn a_newcomer_takes_what_most_of_its_fellow_holders_keep() {
    let mut world = World::of(12, 4);
    let [ann, bob] = pair();
    // The one with the smaller hash has the minority: it is the votes that decide.
    tell(&mut world, 0..4, &ann);
    tell(&mut world, 4..11, &bob);
    assert_eq!(world.lookup(11, ann.key(), Consistency::Quorum).verdict, Verdict::Contested);
    world.join_one().unwrap();
    world.run(2_000);
    assert_eq!(keeping(&world, &bob), [4, 5, 6, 7, 8, 9, 10, 12]);
    let answer = world.lookup(12, ann.key(), Consistency::Quorum);
    assert_eq!((answer.verdict, groups(&answer)), (Verdict::Found, vec![8, 4]), "two thirds now");
}

#[test]
fn what_a_newcomer_heard_first_gives_way_to_the_votes() {
    let mut world = World::of(9, 4);
    let [ann, bob] = pair();
    tell(&mut world, 0..9, &bob);
    let entries = vec![world.target(0)];
    let newcomer = world.start();
    let join = world.ask(newcomer, Operation::Join(entries));
    while world.node(newcomer).table().len() < 5 {
        world.step();
    }
    tell(&mut world, [newcomer], &ann);
    assert_eq!(keeping(&world, &ann), [newcomer]);
    assert!(matches!(world.outcome(join), Outcome::Joined(Ok(_))));
    world.run(1_000);
    assert_eq!(keeping(&world, &bob).len(), 10);
}

#[test]
fn a_newcomer_far_from_the_text_still_hears_enough_votes() {
    let mut world = World::new(NodeConfig { holders: 2, claim_holders: 9, ..NodeConfig::default() });
    for _ in 0..40 {
        world.join_one().unwrap();
    }
    world.run(5_000);
    let claims: Vec<_> = (0..30).map(|seed| Arc::new(user(seed).claim_name(&format!("u{seed}"), 0).unwrap())).collect();
    world.register(0, &claims);
    world.run(2_000);
    for _ in 0..5 {
        world.join_one().unwrap();
        world.run(2_000);
    }
    for claim in &claims {
        let newest = world.nearest(&claim.key().id).into_iter().take(9).filter(|node| *node >= 40);
        let holders = world.holders(&claim.key());
        assert!(newest.clone().all(|node| holders.contains(&node)), "{holders:?}");
    }
}

#[test]
fn who_takes_the_place_of_the_dead_takes_what_most_of_its_fellows_keep() {
    let config = NodeConfig { holders: 4, claim_holders: 9, ..NodeConfig::default() };
    let mut world = World::new(config);
    for _ in 0..30 {
        world.join_one().unwrap();
    }
    world.run(61_000);
    let [ann, bob] = pair();
    let nearest = world.nearest(&ann.key().id);
    let hour = Ticks::hours(1);
    tell_again(&mut world, nearest[..8].iter().copied(), &bob, hour);
    tell_again(&mut world, [nearest[8]], &ann, hour);
    world.nodes[nearest[2]] = None;
    world.run(1_000);
    // Who keeps the other one hands it to the next in line before anybody else does.
    tell_again(&mut world, [nearest[9]], &ann, hour);
    world.run(15 * 60_000);
    assert_eq!(keeping(&world, &ann), [nearest[8]]);
    assert!(keeping(&world, &bob).contains(&nearest[9]));
}
