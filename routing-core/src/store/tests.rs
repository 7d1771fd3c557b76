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

/// What goes first, by a look at everything.
fn naive_first(store: &RecordStore) -> Key {
    let is_nobodys = |stored: &StoredRecord| stored.group == NOBODY;
    let is_ahead = |stored: &StoredRecord| is_nobodys(stored) || stored.worth.is_announced;
    let rank = |stored: &StoredRecord| (stored.worth.is_held, stored.worth.is_held && is_ahead(stored));
    let paid = |of: &StoredRecord| -> u64 {
        let same = |other: &&StoredRecord| rank(other) == rank(of) && other.group == of.group;
        store.records.values().filter(same).map(StoredRecord::bytes).sum()
    };
    let order = |(key, stored): &(&Key, &StoredRecord)| {
        let turn = match is_nobodys(stored) {
            true => (false, -i128::from(stored.since.0)),
            false => (stored.held.record().is_closed(), stored.announced.0.into()),
        };
        (rank(stored), std::cmp::Reverse(paid(stored)), stored.group, turn, **key)
    };
    *store.iter().min_by_key(order).unwrap().0
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
        prop_assert_eq!(digest(one.list(|_| true).into_iter()), digest(two.list(|_| true).into_iter()));
        prop_assert_eq!(one.list(|_| true), two.list(|_| true));
        // A listing says the same as a digest: who differs by one differs by the other.
        let fewer = stored(&copies[1..]);
        let is_same = contents(&fewer) == contents(&one);
        prop_assert_eq!(digest(fewer.list(|_| true).into_iter()) == digest(one.list(|_| true).into_iter()), is_same);
        let key = *one.iter().next().unwrap().0;
        let without = digest(one.list(|other| *other != key).into_iter());
        prop_assert_ne!(without, digest(one.list(|_| true).into_iter()));
        let mut removed = one.clone();
        prop_assert!(removed.remove(&key));
        prop_assert_eq!(digest(removed.list(|_| true).into_iter()), without);
    }

    #[test]
    fn of_the_ages_of_a_record_the_smallest_is_kept_in_any_order_of_arrival(seed in 0u64..1_000) {
        let mut copies = copies(seed);
        let one = stored(&copies);
        for (key, stored) in one.iter() {
            let record = stored.held().record();
            let with_it = copies.iter().filter(|copy| copy.record == *record || copy.rival.as_ref() == Some(record));
            prop_assert_eq!(Some(stored.copy(NOW).age), with_it.map(|copy| copy.age).min(), "{:?}", key);
        }
        let ages = |store: &RecordStore| store.iter().map(|(_, stored)| stored.copy(NOW).age).collect::<Vec<_>>();
        shuffle(&mut rng(seed + 1), &mut copies);
        prop_assert_eq!(ages(&stored(copies.iter().chain(&copies))), ages(&one));
    }

    #[test]
    fn what_goes_is_what_a_look_at_the_whole_store_finds(seed in 0u64..1_000) {
        let rng = &mut rng(seed);
        let mut store = RecordStore::new(6);
        for copy in copies(seed) {
            let keys: Vec<Key> = store.iter().map(|(key, _)| *key).collect();
            if !keys.is_empty() {
                let key = keys[below(rng, keys.len())];
                match below(rng, 4) {
                    0 => store.announce(&key, NOW + Ticks(below(rng, 50) as u64)),
                    1 => store.mark(&key, below(rng, 2) == 0),
                    2 => drop(store.remove(&key)),
                    _ => {}
                }
            }
            let mut user = account(below(rng, 150) as u8);
            let record = match below(rng, 6) {
                0 => Arc::new(user.close(0)),
                1 => Arc::new(user.claim_name(&format!("n{}", below(rng, 100)), 0).unwrap()),
                _ => place(&mut user, &format!("h{}.example", below(rng, 3))),
            };
            let copy = Copy { record, rival: None, ..copy };
            let is_new = store.get(&copy.record.key()).is_none();
            let origin = Origin { is_announced: below(rng, 2) == 0, is_foreign: below(rng, 3) == 0, is_written: false };
            let now = NOW + Ticks(below(rng, 20) as u64);
            let mut with_it = RecordStore { records_max: 100, ..store.clone() };
            with_it.put_from(&copy, now, origin);
            let expected = naive_first(&with_it);
            let is_full = store.len() == 6;
            let kept = store.put_from(&copy, now, origin);
            store.check();
            if is_new && is_full {
                if expected == copy.record.key() {
                    prop_assert_eq!(kept.verdict, StoreVerdict::Refused(Refusal::Full));
                } else {
                    prop_assert_eq!(kept.dropped, [expected]);
                }
            } else {
                prop_assert!(kept.dropped.is_empty());
            }
        }
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
    let before = (contents(&store), digest(store.list(|_| true).into_iter()));
    for copy in [
        copy(&forged, 0),
        Copy { rival: Some(forged.clone()), ..copy(&good, 0) },
        Copy { rival: Some(other), ..copy(&place(&mut ann, "c.example"), 0) },
    ] {
        let kept = store.put(&copy, NOW);
        assert_eq!((kept.verdict, kept.is_changed), (StoreVerdict::Refused(Refusal::Invalid), false));
        assert_eq!((contents(&store), digest(store.list(|_| true).into_iter())), before);
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
                store.put_from(copy, now, WRITTEN);
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
    let after = |first: &Arc<Record>, second: &Arc<Record>, age, pause, origin| {
        let mut store = RecordStore::new(10);
        store.put(&copy(first, age), NOW);
        let kept = store.put_from(&copy(second, 0), NOW + Ticks(pause), origin);
        (kept.verdict, kept.is_changed, store.get(&first.key()).unwrap().held().record().clone())
    };
    assert_eq!(after(&more, &less, 0, 60_000, WRITTEN), (StoreVerdict::Kept, true, less.clone()));
    assert_eq!(after(&more, &less, 0, 60_001, WRITTEN), (refused.clone(), false, more.clone()));
    assert_eq!(after(&less, &more, 0, 10, WRITTEN), (refused.clone(), false, less.clone()));
    // The first was passed on by somebody who has had it for longer.
    assert_eq!(after(&more, &less, 60_000, 1, WRITTEN), (refused.clone(), false, more.clone()));
    // A liar could hand a rival to half of the holders as the minute ends, and they to the others after it.
    assert_eq!(after(&more, &less, 0, 1, HEARD), (refused, false, more.clone()));
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
fn a_full_store_takes_newer_versions_of_what_it_has_and_nothing_goes_for_them() {
    let mut accounts: Vec<Account> = (0..2).map(account).collect();
    let mut store = RecordStore::new(2);
    for account in &mut accounts {
        assert!(store.put(&copy(&place(account, "a.example"), 0), NOW).is_changed);
    }
    let newer = place(&mut accounts[0], "b.example");
    let kept = store.put(&copy(&newer, 0), NOW);
    assert_eq!((kept.verdict, kept.dropped), (StoreVerdict::Kept, vec![]));
    assert_eq!((store.len(), store.get(&newer.key()).unwrap().held().record()), (2, &newer));
}

const ANNOUNCED: Origin = Origin { is_announced: true, is_foreign: false, is_written: false };
const WRITTEN: Origin = Origin { is_announced: false, is_foreign: false, is_written: true };
const HEARD: Origin = Origin { is_announced: false, is_foreign: false, is_written: false };
const FOREIGN: Origin = Origin { is_announced: false, is_foreign: true, is_written: false };

/// A full store of these, in this order, and what goes for one more that nothing is worthier than.
fn order_of_going(records: &[(&Arc<Record>, u64, Origin)]) -> Vec<Key> {
    let mut store = RecordStore::new(records.len() as u32);
    for (record, age, origin) in records {
        assert!(store.put_from(&copy(record, *age), NOW, *origin).is_changed);
    }
    let mut gone = Vec::new();
    for seed in 100..100 + records.len() as u8 {
        // One domain for each newcomer, so that none of them is of a domain with many bytes.
        let newcomer = place(&mut account(seed), &format!("n{seed}.example"));
        gone.extend(store.put_from(&copy(&newcomer, 0), NOW, ANNOUNCED).dropped);
        store.check();
        // It is no part of the question.
        store.announce(&newcomer.key(), NOW + Ticks(1_000_000));
    }
    gone
}

#[test]
fn a_full_store_drops_what_it_holds_for_nobody_then_what_no_domain_announced_then_from_the_largest_domain() {
    let record = |seed, home: &str| place(&mut account(seed), home);
    let (foreign, hearsay) = (record(1, "a.example"), record(2, "a.example"));
    let [first, second, third] = [3, 4, 5].map(|seed| record(seed, &format!("s{seed}.large.example")));
    let small = record(6, "small.example");
    let expected = [&foreign, &hearsay, &second, &third, &first].map(|record| record.key());
    let gone = order_of_going(&[
        (&small, 900, ANNOUNCED),
        (&first, 10, ANNOUNCED),
        (&second, 500, ANNOUNCED),
        (&third, 100, ANNOUNCED),
        (&hearsay, 0, HEARD),
        (&foreign, 0, FOREIGN),
    ]);
    // Of the last two the older goes first: by then both domains have one record.
    assert_eq!(gone[..4], expected[..4]);
    assert_eq!(gone[4..].iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[test]
fn a_tombstone_belongs_to_the_domain_that_it_leaves_and_goes_last_there() {
    let mut store = RecordStore::new(4);
    let mut users: Vec<Account> = (1..5).map(account).collect();
    let records: Vec<_> = users.iter_mut().map(|user| place(user, "home.example")).collect();
    for record in &records {
        store.put_from(&copy(record, 0), NOW, ANNOUNCED);
    }
    let tombstone = Arc::new(users[0].close(0));
    assert!(store.put(&copy(&tombstone, 5_000), NOW).is_changed);
    assert!(store.get(&tombstone.key()).unwrap().is_announced(), "the last word to a domain that spoke for the user");
    for seed in 10..13 {
        let newcomer = place(&mut account(seed), &format!("n{seed}.example"));
        let dropped = store.put_from(&copy(&newcomer, 0), NOW, ANNOUNCED).dropped;
        assert!(!dropped.contains(&tombstone.key()), "{seed}");
        store.check();
    }
    // Whoever floods with tombstones of nobody drops his own.
    let mut store = RecordStore::new(3);
    store.put_from(&copy(&records[1], 900), NOW, ANNOUNCED);
    for seed in 20..40 {
        store.put(&copy(&Arc::new(account(seed).close(0)), 0), NOW);
    }
    assert!(store.get(&records[1].key()).is_some());
}

/// What anybody can make as much of as he likes, and say of it how old it is.
fn junk(seed: u8) -> Copy {
    let mut account = account(seed);
    let record =
        if seed.is_multiple_of(2) { account.claim_name(&format!("junk{seed}"), 0).unwrap() } else { account.close(0) };
    copy(&Arc::new(record), if seed.is_multiple_of(3) { u64::MAX } else { 0 })
}

#[test]
fn what_nobody_announces_anew_stays_whoever_floods_the_store_with_more_of_it() {
    let name = copy(&Arc::new(account(1).claim_name("ann", 0).unwrap()), 0);
    let legacy = copy(&Arc::new(account(2).claim_legacy("bob", "b.example".parse().unwrap(), 0).unwrap()), 0);
    let tombstone = copy(&Arc::new(account(3).close(0)), 500);
    for is_restored in [false, true] {
        let mut store = RecordStore::new(10);
        for copy in [&name, &legacy, &tombstone] {
            let kept = if is_restored { store.restore(copy, NOW) } else { store.put(copy, NOW) };
            assert!(kept.is_changed);
        }
        for seed in 50..100 {
            let (is_full, now) = (store.len() == 10, NOW + Ticks::seconds(seed.into()));
            let kept = store.put(&junk(seed), now);
            let expected = if is_full { StoreVerdict::Refused(Refusal::Full) } else { StoreVerdict::Kept };
            assert_eq!((kept.verdict, kept.dropped), (expected, vec![]), "{seed}");
            store.check();
        }
        for copy in [&name, &legacy, &tombstone] {
            assert!(store.get(&copy.record.key()).is_some(), "{:?}, restored: {is_restored}", copy.record);
        }
    }
}

#[test]
fn a_tombstone_and_a_name_stay_where_a_store_is_full_of_records_that_their_domains_announce() {
    let mut user = account(1);
    let (before, tombstone) = (place(&mut user, "a.example"), Arc::new(user.close(0)));
    let name = Arc::new(account(2).claim_name("ann", 0).unwrap());
    for is_here_since_before in [false, true] {
        let mut store = RecordStore::new(10);
        if is_here_since_before {
            store.put(&copy(&before, 0), NOW);
        }
        store.restore(&copy(&tombstone, 900), NOW);
        store.restore(&copy(&name, 900), NOW);
        for seed in 50..100 {
            store.put_from(&copy(&place(&mut account(seed), "b.example"), 0), NOW, ANNOUNCED);
            store.check();
        }
        assert_eq!(store.len(), 10);
        assert!(store.get(&name.key()).is_some());
        let held = store.get(&tombstone.key()).map(|stored| stored.held().record().clone());
        assert_eq!(held, Some(tombstone.clone()), "an older copy would bring the user back");
    }
}

#[test]
fn whoever_invents_users_of_a_domain_and_closes_them_does_not_make_it_pay() {
    let mut store = RecordStore::new(20);
    let spoken_for: Vec<_> = (0..4).map(|seed| place(&mut account(seed), "a.example")).collect();
    let others: Vec<_> = (4..10).map(|seed| place(&mut account(seed), "b.example")).collect();
    for record in spoken_for.iter().chain(&others) {
        store.put_from(&copy(record, 0), NOW, ANNOUNCED);
    }
    for seed in 50..100 {
        let mut user = account(seed);
        for record in [place(&mut user, "a.example"), Arc::new(user.close(0))] {
            store.put(&copy(&record, 0), NOW + Ticks(1));
            store.check();
        }
    }
    assert!(spoken_for.iter().chain(&others).all(|record| store.get(&record.key()).is_some()));
}

#[test]
fn nobody_raises_what_a_domain_that_speaks_for_its_users_pays_by_registering_more_of_them() {
    let mut store = RecordStore::new(20);
    let spoken_for: Vec<_> = (0..8).map(|seed| place(&mut account(seed), "a.example")).collect();
    let others: Vec<_> = (8..12).map(|seed| place(&mut account(seed), "b.example")).collect();
    for record in spoken_for.iter().chain(&others) {
        store.put_from(&copy(record, 0), NOW, ANNOUNCED);
    }
    for seed in 100..150 {
        store.put(&copy(&place(&mut account(seed), "b.example"), 0), NOW);
    }
    assert!(spoken_for.iter().chain(&others).all(|record| store.get(&record.key()).is_some()));
    assert_eq!(store.len(), 20);
}

#[test]
fn what_is_less_worthy_than_all_that_is_there_is_refused_and_changes_nothing() {
    let mut store = RecordStore::new(2);
    for seed in 1..3 {
        store.put_from(&copy(&place(&mut account(seed), "a.example"), 0), NOW, ANNOUNCED);
    }
    let before = (contents(&store), store.bytes());
    for origin in [HEARD, FOREIGN] {
        let kept = store.put_from(&copy(&place(&mut account(9), "b.example"), 0), NOW, origin);
        assert_eq!((kept.verdict, kept.is_changed), (StoreVerdict::Refused(Refusal::Full), false));
        assert!(kept.dropped.is_empty());
        assert_eq!((contents(&store), store.bytes()), before);
        store.check();
    }
}

#[test]
fn a_store_is_bounded_in_bytes_and_a_record_that_grows_drives_out_others() {
    let mut ann = account(1);
    let first = place(&mut ann, "a.example");
    let others: Vec<_> = (2..20).map(|seed| place(&mut account(seed), "b.example")).collect();
    let bytes = first.encoded_len() as u64 * 19;
    let mut store = RecordStore::new(100).with_bytes_max(bytes);
    for record in others.iter().chain([&first]) {
        assert!(store.put(&copy(record, 0), NOW).dropped.is_empty());
    }
    assert!(store.is_full_for(&copy(&first, 0)));
    ann.rotate([9; 32]).unwrap();
    let longer = place(&mut ann, "a.example");
    let kept = store.put(&copy(&longer, 0), NOW);
    store.check();
    assert!(kept.is_changed && !kept.dropped.is_empty() && !kept.dropped.contains(&longer.key()));
    assert!(store.bytes() <= bytes);
    // A large one makes several go, or none if it is not worth it.
    for step in 10..20 {
        ann.rotate([step; 32]).unwrap();
    }
    let large = place(&mut ann, "a.example");
    let (before, count) = (contents(&store), store.len());
    store.remove(&large.key());
    let refused = store.put_from(&copy(&large, 0), NOW, FOREIGN);
    assert_eq!(refused.verdict, StoreVerdict::Refused(Refusal::Full));
    assert_eq!(store.len(), count - 1);
    let kept = store.put_from(&copy(&large, 0), NOW, ANNOUNCED);
    assert!(kept.is_changed && kept.dropped.len() > 1 && before.len() > store.len());
    store.check();
}

#[test]
fn the_whole_store_is_looked_at_again_and_again() {
    let mut store = RecordStore::new(10);
    let records: Vec<_> = (0..10).map(|seed| place(&mut account(seed), "a.example")).collect();
    records.iter().for_each(|record| drop(store.put_from(&copy(record, 0), NOW, ANNOUNCED)));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        seen.extend(store.look_again(3));
    }
    assert_eq!(seen.len(), 10);
    let (one, two) = (records[3].key(), records[7].key());
    store.mark(&one, false);
    let newcomer = |seed| copy(&place(&mut account(seed), "b.example"), 0);
    assert_eq!(store.put_from(&newcomer(20), NOW, ANNOUNCED).dropped, [one]);
    store.mark(&two, false);
    store.mark(&two, true);
    store.check();
    assert_ne!(store.put_from(&newcomer(21), NOW, ANNOUNCED).dropped, [two]);
}

#[test]
fn after_a_tombstone_nothing_lesser_changes_anything() {
    let mut user = account(1);
    let lesser = [place(&mut user, "a.example"), place(&mut user, "b.example")];
    let tombstone = Arc::new(user.close(0));
    let mut store = RecordStore::new(10);
    store.put(&copy(&tombstone, 100), NOW);
    let before = contents(&store);
    for record in &lesser {
        for copy in [copy(record, 0), Copy { rival: Some(lesser[0].clone()), ..copy(record, 0) }] {
            let kept = store.put_from(&copy, NOW, ANNOUNCED);
            assert!(matches!(kept.verdict, StoreVerdict::Newer(_)) && !kept.is_changed);
            assert_eq!(contents(&store), before);
            assert_eq!(store.get(&tombstone.key()).unwrap().copy(NOW).age, Ticks(100));
        }
    }
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
