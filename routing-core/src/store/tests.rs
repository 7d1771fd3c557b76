use super::*;
use crate::account::Account;
use crate::record::Record;
use crate::testing::{below, rng, shuffle};
use crate::time::Ticks;
use proptest::prelude::*;

const NOW: Tick = Tick(1_000_000);

fn copy(record: &Arc<Record>, age: u64) -> Copy {
    Copy { record: record.clone(), rival: None, age: Ticks(age) }
}

fn account(seed: u8) -> Account {
    Account::new([seed; 32], Some([seed + 100; 32]), [0; 16])
}

fn place(account: &mut Account, home: &str) -> Arc<Record> {
    Arc::new(account.place(home.parse().unwrap(), 0))
}

/// Records of a few users: successive ones, forks, key changes, and copies with rivals.
fn copies(seed: u64) -> Vec<Copy> {
    let rng = &mut rng(seed);
    let mut copies = Vec::new();
    for user in 0..4 {
        let mut branches = vec![account(user)];
        let mut records: Vec<Arc<Record>> = Vec::new();
        for step in 0..8 {
            let index = below(rng, branches.len());
            match below(rng, 6) {
                0 => branches.push(branches[index].clone()),
                1 => branches[index].rotate([step + 10; 32]).unwrap(),
                2 => drop(branches[index].recover([step + 20; 32], None)),
                _ => {}
            }
            records.push(place(&mut branches[index], &format!("h{step}.example")));
        }
        for record in &records {
            let rival = records[below(rng, records.len())].clone();
            copies.push(Copy { rival: (below(rng, 3) == 0).then_some(rival), ..copy(record, below(rng, 100) as u64) });
        }
    }
    copies
}

fn stored<'a>(copies: impl IntoIterator<Item = &'a Copy>) -> RecordStore {
    let mut store = RecordStore::new(100);
    copies.into_iter().for_each(|copy| drop(store.put(copy, NOW)));
    store
}

fn contents(store: &RecordStore) -> Vec<(Key, Held)> {
    store.iter().map(|(key, stored)| (*key, stored.held().clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_order_of_arrival_gives_the_same_store_and_equal_stores_equal_digests(seed in 0u64..1_000) {
        let mut copies = copies(seed);
        let one = stored(&copies);
        shuffle(&mut rng(seed + 1), &mut copies);
        let two = stored(copies.iter().chain(&copies));
        prop_assert_eq!(contents(&one), contents(&two));
        prop_assert_eq!(one.digest(|_| true), two.digest(|_| true));
        prop_assert_eq!(one.list(|_| true), two.list(|_| true));
        let fewer = stored(&copies[1..]);
        let is_same = contents(&fewer) == contents(&one);
        prop_assert_eq!(fewer.digest(|_| true) == one.digest(|_| true), is_same);
        let key = *one.iter().next().unwrap().0;
        let without = one.digest(|other| *other != key);
        prop_assert_ne!(without, one.digest(|_| true));
        let mut removed = one.clone();
        prop_assert!(removed.remove(&key));
        prop_assert_eq!(removed.digest(|_| true), without);
    }

    #[test]
    fn what_is_said_to_have_changed_has_changed(seed in 0u64..1_000) {
        let mut store = RecordStore::new(3);
        for copy in copies(seed) {
            let before = contents(&store);
            let kept = store.put(&copy, NOW);
            prop_assert_eq!(kept.is_changed, contents(&store) != before);
            if let StoreVerdict::Refused(_) = kept.verdict {
                prop_assert!(!kept.is_changed);
            }
            prop_assert!(store.len() <= 3);
        }
    }
}

#[test]
fn an_invalid_record_or_rival_changes_nothing() {
    let (mut ann, mut bob) = (account(1), account(2));
    let (good, other) = (place(&mut ann, "a.example"), place(&mut bob, "b.example"));
    let forged = Arc::new(Record::from_parts(
        good.genesis().clone(),
        vec![],
        place(&mut ann, "evil.example").body().clone(),
        *good.signature(),
    ));
    let mut store = RecordStore::new(10);
    store.put(&copy(&good, 5), NOW);
    let before = (contents(&store), store.digest(|_| true));
    for copy in [
        copy(&forged, 0),
        Copy { rival: Some(forged.clone()), ..copy(&good, 0) },
        Copy { rival: Some(other), ..copy(&place(&mut ann, "c.example"), 0) },
    ] {
        let kept = store.put(&copy, NOW);
        assert_eq!((kept.verdict, kept.is_changed), (StoreVerdict::Refused(Refusal::Invalid), false));
        assert_eq!((contents(&store), store.digest(|_| true)), before);
    }
}

#[test]
fn a_rival_of_another_claimant_changes_nothing() {
    let (mut ann, mut bob) = (account(1), account(2));
    let mut claim = |text| Arc::new(ann.claim_name(text, 0).unwrap());
    let (first, second) = (claim("name"), claim("name"));
    let rival = Arc::new(bob.claim_name("name", 0).unwrap());
    let mut store = RecordStore::new(10);
    store.put(&copy(&first, 0), NOW);
    let before = contents(&store);
    let kept = store.put(&copy(&rival, 0), NOW + Ticks::minutes(2));
    assert_eq!((kept.verdict, kept.is_changed), (StoreVerdict::Refused(Refusal::OtherClaimant), false));
    assert_eq!(contents(&store), before);
    let kept = store.put(&Copy { rival: Some(rival), ..copy(&second, 0) }, NOW);
    assert!(matches!(kept.verdict, StoreVerdict::Refused(_)) && !kept.is_changed);
    assert_eq!(contents(&store), before, "a copy is taken whole or not at all");
}

/// Claims to one name by several claimants, some of them more than once.
fn rivals(seed: u64) -> Vec<Copy> {
    let rng = &mut rng(seed);
    let mut claimants: Vec<Account> = (0..3).map(account).collect();
    let claims = (0..6).map(|_| Arc::new(claimants[below(rng, 3)].claim_name("ann", 0).unwrap()));
    claims.map(|record| copy(&record, 0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rivals_heard_within_a_minute_in_any_order_leave_the_same_one(seed in 0u64..1_000) {
        let mut copies = rivals(seed);
        let expected = copies.iter().min_by_key(|copy| copy.record.claim_hash()).unwrap().record.guid();
        let rng = &mut rng(seed + 1);
        for _ in 0..4 {
            shuffle(rng, &mut copies);
            let mut store = RecordStore::new(10);
            let mut now = NOW;
            for copy in &copies {
                store.put(copy, now);
                now += Ticks(below(rng, 12_000) as u64);
            }
            let held = store.iter().next().unwrap().1.held();
            prop_assert_eq!(held.record().guid(), expected);
        }
    }
}

/// Two claims to one name, the one with the smaller hash first.
fn pair() -> [Arc<Record>; 2] {
    let mut claims = [1, 2].map(|seed| Arc::new(account(seed).claim_name("ann", 0).unwrap()));
    claims.sort_by_key(|record| record.claim_hash());
    claims
}

#[test]
fn whoever_is_heard_a_minute_after_the_first_is_refused() {
    let [less, more] = pair();
    let refused = StoreVerdict::Refused(Refusal::OtherClaimant);
    let after = |first: &Arc<Record>, second: &Arc<Record>, age, pause| {
        let mut store = RecordStore::new(10);
        store.put(&copy(first, age), NOW);
        let kept = store.put(&copy(second, 0), NOW + Ticks(pause));
        (kept.verdict, kept.is_changed, store.get(&first.key()).unwrap().held().record().clone())
    };
    assert_eq!(after(&more, &less, 0, 60_000), (StoreVerdict::Kept, true, less.clone()));
    assert_eq!(after(&more, &less, 0, 60_001), (refused.clone(), false, more.clone()));
    assert_eq!(after(&less, &more, 0, 10), (refused.clone(), false, less.clone()));
    // Passed on by somebody who has had it for longer.
    assert_eq!(after(&more, &less, 60_000, 1), (refused, false, more.clone()));
}

#[test]
fn only_the_claimant_changes_a_claim() {
    let (mut ann, mut bob) = (account(1), account(2));
    let mut store = RecordStore::new(10);
    let [first, second] = [0, 1].map(|_| Arc::new(ann.claim_name("name", 0).unwrap()));
    bob.claim_name("other", 0).unwrap();
    let later = Arc::new(bob.claim_name("name", 0).unwrap());
    assert!(later.version() > first.version());
    store.put(&copy(&first, 0), NOW);
    let hour = NOW + Ticks::hours(1);
    let kept = store.put(&copy(&later, 0), hour);
    assert_eq!((kept.verdict, kept.is_changed), (StoreVerdict::Refused(Refusal::OtherClaimant), false));
    assert_eq!(store.put(&copy(&second, 0), hour).verdict, StoreVerdict::Kept);
    assert_eq!(store.get(&first.key()).unwrap().held().record(), &second);
}

#[test]
fn a_full_store_takes_newer_versions_of_what_it_has_and_no_new_keys() {
    let mut accounts: Vec<Account> = (0..3).map(account).collect();
    let mut store = RecordStore::new(2);
    for account in &mut accounts[..2] {
        assert!(store.put(&copy(&place(account, "a.example"), 0), NOW).is_changed);
    }
    let kept = store.put(&copy(&place(&mut accounts[2], "a.example"), 0), NOW);
    assert_eq!(kept.verdict, StoreVerdict::Refused(Refusal::Full));
    let newer = place(&mut accounts[0], "b.example");
    assert_eq!(store.put(&copy(&newer, 0), NOW).verdict, StoreVerdict::Kept);
    assert_eq!((store.len(), store.get(&newer.key()).unwrap().held().record()), (2, &newer));
}

#[test]
fn of_two_ages_the_smaller_counts_and_only_an_announcement_renews() {
    let mut account = account(1);
    let record = place(&mut account, "a.example");
    let mut store = RecordStore::new(10);
    let age = |store: &RecordStore, now: Tick| store.get(&record.key()).unwrap().copy(now).age;
    store.put(&copy(&record, 500), NOW);
    assert_eq!(age(&store, NOW), Ticks(500));
    let later = NOW + Ticks(100);
    // A fellow holder passes on what it has: it is as old there as here.
    store.put(&copy(&record, 600), later);
    assert_eq!(age(&store, later), Ticks(600));
    store.put(&copy(&record, 9_000), later);
    assert_eq!(age(&store, later), Ticks(600));
    store.put(&copy(&record, 300), later);
    assert_eq!(age(&store, later), Ticks(300));
    let kept = store.put(&copy(&record, 0), later);
    assert_eq!((age(&store, later), kept.is_changed), (Ticks(0), false));
    let newer = place(&mut account, "b.example");
    store.put(&copy(&newer, 700), later);
    assert_eq!(age(&store, later), Ticks(700), "a newer record brings its own age");
    store.put(&copy(&record, 0), later);
    assert_eq!(age(&store, later), Ticks(700), "an old one says nothing of it");
    // Older than time itself.
    let ancient = place(&mut account, "c.example");
    store.put(&copy(&ancient, u64::MAX), later);
    assert_eq!(age(&store, later), Ticks(later.0));
}
