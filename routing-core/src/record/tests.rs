use super::*;
use crate::account::Account;
use crate::canonical::{from_bytes, to_bytes};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::sync::Arc;

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn account() -> Account {
    Account::new([1; 32], Some([2; 32]), [3; 16])
}

/// A record with a recovery, a rotation and a placement.
fn rich() -> Record {
    let mut account = account();
    account.recover([4; 32], Some([5; 32])).unwrap();
    account.rotate([6; 32]).unwrap();
    account.place(domain("home.example"), 1_700_000_000_000)
}

#[test]
fn a_record_beside_a_valid_one_is_valid_if_it_is_the_same_and_only_then() {
    let known = rich();
    let again = from_bytes::<Record>(&to_bytes(&known)).unwrap();
    assert_eq!(again.verify_beside(Some(&known)), Ok(()));
    let mut data = Record::clone(&known).data;
    data.signature = Signature::from_bytes([7; 64]);
    let forged = Record::from(data);
    assert_eq!(forged.verify_beside(Some(&known)), Err(RecordError::BadSignature));
    let same = from_bytes::<Record>(&to_bytes(&forged)).unwrap();
    assert_eq!(same.verify_beside(Some(&forged)), Err(RecordError::BadSignature));
}

/// What somebody who holds a copy of an account may do with it. Copies that both write are forks.
#[derive(Clone, Copy, Debug)]
enum Step {
    Copy,
    Place(u8),
    Close,
    Rotate(u8),
    Recover(u8, bool),
    /// A copy of the latest record with another signature. It is not valid, but has its place in the order.
    Resign(u8),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    // Few seeds and domains, so that two branches sometimes do the same.
    let step = prop_oneof![
        3 => Just(Step::Copy),
        4 => (0u8..3).prop_map(Step::Place),
        1 => Just(Step::Close),
        3 => (0u8..3).prop_map(Step::Rotate),
        2 => (0u8..3, any::<bool>()).prop_map(|(seed, new)| Step::Recover(seed, new)),
        1 => any::<u8>().prop_map(Step::Resign),
    ];
    (any::<usize>(), step)
}

/// All records of one identity that came of a history of copies, each written on in its own way.
fn history() -> impl Strategy<Value = Vec<Arc<Record>>> {
    prop::collection::vec(step(), 1..24).prop_map(|steps| {
        let mut accounts = vec![account()];
        let mut records = vec![Arc::new(accounts[0].clone().place(domain("first.example"), 0))];
        for (who, step) in steps {
            let who = who % accounts.len();
            let account = &mut accounts[who];
            let record = match step {
                Step::Copy => {
                    let copy = account.clone();
                    accounts.push(copy);
                    continue;
                }
                Step::Place(home) => account.place(domain(&format!("home{home}.example")), 0),
                Step::Close => account.close(0),
                Step::Rotate(seed) => {
                    let _ = account.rotate([10 + seed; 32]);
                    account.place(domain("rotated.example"), 0)
                }
                Step::Recover(seed, new) => {
                    let _ = account.recover([20 + seed; 32], new.then_some([30 + seed; 32]));
                    account.place(domain("recovered.example"), 0)
                }
                Step::Resign(byte) => {
                    let last = records.last().unwrap();
                    let signature = Signature::from_bytes([byte; 64]);
                    Record::from_parts(last.genesis().clone(), last.changes().to_vec(), last.body().clone(), signature)
                }
            };
            records.push(Arc::new(record));
        }
        records
    })
}

fn held(records: &[Arc<Record>]) -> Held {
    let mut records = records.iter().cloned();
    let mut held = Held::new(records.next().unwrap());
    records.for_each(|record| {
        held.merge(record);
    });
    held
}

fn merged(one: &Held, two: &Held) -> Held {
    let mut one = one.clone();
    one.merge_held(two);
    one
}

/// What should be held of a set of records, by looking at all of them at once.
fn reference(records: &[Arc<Record>]) -> (Arc<Record>, Option<Arc<Record>>) {
    let winner = records.iter().max_by(|a, b| a.cmp_rank(b)).unwrap();
    let rival = records
        .iter()
        .filter_map(|record| Some((conflict(winner, record)?, record)))
        .max_by(|(a_kind, a), (b_kind, b)| a_kind.cmp(b_kind).then_with(|| a.cmp_rank(b)));
    (winner.clone(), rival.map(|(_, rival)| rival.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_order_is_total(mut records in history()) {
        records.sort_by(|a, b| a.cmp_rank(b));
        // Every pair agrees with its places in one line: with antisymmetry that is transitivity for all triples.
        for (i, a) in records.iter().enumerate() {
            for (j, b) in records.iter().enumerate() {
                let expected = if a.to_bytes() == b.to_bytes() { Ordering::Equal } else { i.cmp(&j) };
                prop_assert_eq!(a.cmp_rank(b), expected);
                prop_assert_eq!(a.cmp(b), expected);
            }
        }
    }

    #[test]
    fn a_conflict_is_mutual_and_never_with_what_continues_a_record(records in history()) {
        for a in &records {
            prop_assert_eq!(conflict(a, a), None);
            for b in &records {
                prop_assert_eq!(conflict(a, b), conflict(b, a));
            }
        }
        let mut owner = account();
        let mut before: Vec<Record> = Vec::new();
        for record in &records {
            match record.home().map(Domain::as_str) {
                Some("rotated.example") => { let _ = owner.rotate([40; 32]); }
                Some("recovered.example") => { let _ = owner.recover([41; 32], None); }
                _ => {}
            }
            let next = owner.place(domain("a.example"), 0);
            for earlier in &before {
                prop_assert!(next.outranks(earlier));
                prop_assert_eq!(conflict(&next, earlier), None);
            }
            before.push(next);
        }
    }

    #[test]
    fn any_order_of_arrival_by_ones_and_by_twos_gives_the_same(
        records in history(),
        arrivals in prop::collection::vec((any::<usize>(), 0usize..5), 0..40),
        exchanges in prop::collection::vec((0usize..5, 0usize..5), 0..20),
    ) {
        // Five nodes hear records in any order, some of them twice, and exchange what they hold in between.
        let mut nodes: Vec<Option<Held>> = vec![None; 5];
        let hear = |nodes: &mut Vec<Option<Held>>, node: usize, record: &Arc<Record>| match &mut nodes[node] {
            Some(held) => { held.merge(record.clone()); }
            None => nodes[node] = Some(Held::new(record.clone())),
        };
        let mut exchanges = exchanges.into_iter();
        for (which, node) in arrivals {
            hear(&mut nodes, node, &records[which % records.len()]);
            if let Some((from, to)) = exchanges.next()
                && let Some(given) = nodes[from].clone()
            {
                match &mut nodes[to] {
                    Some(held) => { held.merge_held(&given); }
                    None => nodes[to] = Some(given),
                }
            }
        }
        for (index, record) in records.iter().enumerate() {
            hear(&mut nodes, index % 5, record);
        }
        let all = nodes.into_iter().flatten().reduce(|one, two| merged(&two, &one)).unwrap();
        let (winner, rival) = reference(&records);
        prop_assert_eq!(all.record(), &winner);
        prop_assert_eq!(all.rival(), rival.as_ref());
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        records in history(),
        parts in (any::<u64>(), any::<u64>(), any::<u64>()),
    ) {
        let part = |mask: u64| {
            let chosen = |(index, record): (usize, &Arc<Record>)| (mask >> index & 1 == 1).then(|| record.clone());
            let mut chosen: Vec<_> = records.iter().enumerate().filter_map(chosen).collect();
            chosen.push(records[mask as usize % records.len()].clone());
            held(&chosen)
        };
        let (a, b, c) = (part(parts.0), part(parts.1), part(parts.2));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&merged(&a, &b), &b), merged(&a, &b));
    }

    #[test]
    fn a_merge_tells_what_it_did(records in history()) {
        let mut held = Held::new(records[0].clone());
        for record in &records {
            let before = held.clone();
            let known = before.records().any(|known| known == record);
            match held.merge(record.clone()) {
                Merged::Newer => prop_assert!(held.record() == record && record.outranks(before.record())),
                Merged::RivalNoted => prop_assert!(held.record() == before.record() && held.rival() == Some(record)),
                Merged::Same => prop_assert!(known && held == before),
                Merged::Older => prop_assert!(!known && held == before),
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert_eq!(held.rival().is_some(), held.conflict().is_some());
        }
    }

    #[test]
    fn a_record_survives_the_wire(records in history()) {
        for record in records {
            let bytes = record.to_bytes();
            let read = Record::from_bytes(&bytes).unwrap();
            prop_assert_eq!((read.encoded_len(), read.hash()), (bytes.len(), Hash::of(&bytes)));
            prop_assert_eq!((read.guid(), read.key(), read.version()), (record.guid(), record.key(), record.version()));
            prop_assert_eq!(&read, &*record);
        }
    }

    #[test]
    fn a_rotated_out_key_never_beats_a_recovery(
        before in prop::collection::vec(0u8..3, 0..4),
        after in prop::collection::vec(0u8..3, 0..12),
    ) {
        let mut owner = account();
        for seed in before {
            owner.rotate([10 + seed; 32]).unwrap();
        }
        let mut thief = owner.clone();
        owner.recover([20; 32], Some([21; 32])).unwrap();
        let recovered = owner.place(domain("owner.example"), 0);
        for seed in after {
            thief.rotate([40 + seed; 32]).unwrap();
            let stolen = thief.place(domain("thief.example"), u64::MAX);
            prop_assert_eq!(stolen.verify(), Ok(()));
            prop_assert!(recovered.outranks(&stolen));
        }
    }
}

#[test]
fn a_recovery_may_follow_any_state_since_the_one_before_and_cuts_off_what_came_after() {
    let mut owner = account();
    for seed in [10, 11, 12] {
        owner.rotate([seed; 32]).unwrap();
    }
    let rotated = owner.place(domain("a.example"), 0);
    let (recovery, new) = (SecretKey::from_seed([2; 32]), SecretKey::from_seed([13; 32]));
    let guid = owner.guid();
    let recovered: Vec<Record> = (0..=3)
        .map(|kept| {
            let mut changes = rotated.changes()[..kept].to_vec();
            let (by, follows) = (Signer::Recovery, newest(&guid, &changes));
            changes.push(KeyChange::signed(&guid, follows, by, &recovery, new.public(), Some(recovery.public())));
            Record::signed(rotated.genesis().clone(), changes, rotated.body().clone(), &new)
        })
        .collect();
    for record in &recovered {
        assert_eq!(record.verify(), Ok(()));
        assert!(record.outranks(&rotated));
        assert_eq!(conflict(record, &rotated), None);
    }
    assert_eq!(conflict(&recovered[0], &recovered[3]), Some(Conflict::Chain));
}

#[test]
fn a_stolen_recovery_key_cannot_be_outrun_even_after_it_was_replaced() {
    for recoveries in 1..CHANGES_MAX as u8 {
        let mut owner = account();
        let mut thief = owner.clone();
        for seed in 0..recoveries {
            owner.recover([50 + seed; 32], Some([80 + seed; 32])).unwrap();
            thief.recover([110 + seed; 32], Some([140 + seed; 32])).unwrap();
        }
        thief.recover([200; 32], None).unwrap();
        let (ours, stolen) = (owner.place(domain("owner.example"), 0), thief.place(domain("thief.example"), 0));
        assert_eq!((ours.verify(), stolen.verify()), (Ok(()), Ok(())));
        assert!(stolen.outranks(&ours));
    }
}

#[test]
fn a_chain_rival_is_not_displaced_by_a_rival_placement_and_outlives_the_next_version() {
    let mut owner = account();
    let mut thief = owner.clone();
    owner.rotate([10; 32]).unwrap();
    thief.rotate([11; 32]).unwrap();
    let (one, two) = (owner.place(domain("a.example"), 0), thief.place(domain("b.example"), 0));
    let (winner, loser, mut writer) = if one.outranks(&two) { (one, two, owner) } else { (two, one, thief) };
    let loser = Arc::new(loser);
    let mut copy = writer.clone();
    let (c, d) = (writer.place(domain("c.example"), 0), copy.place(domain("d.example"), 0));

    let mut held = Held::new(Arc::new(winner));
    assert_eq!(held.merge(loser.clone()), Merged::RivalNoted);
    assert_eq!(held.conflict(), Some(Conflict::Chain));
    let (greater, lesser) = if c.outranks(&d) { (c, d) } else { (d, c) };
    assert_eq!(held.merge(Arc::new(greater)), Merged::Newer);
    assert_eq!(held.merge(Arc::new(lesser)), Merged::Older);
    assert_eq!(held.merge(Arc::new(writer.place(domain("e.example"), 0))), Merged::Newer);
    assert_eq!(held.rival(), Some(&loser));

    writer.recover([12; 32], None).unwrap();
    assert_eq!(held.merge(Arc::new(writer.place(domain("f.example"), 0))), Merged::Newer);
    assert_eq!(held.rival(), None, "a recovery ends the conflict");
}

#[test]
fn equal_versions_with_different_domains_are_kept_as_proof_until_the_next_version() {
    let mut owner = account();
    let mut copy = owner.clone();
    let (one, two) = (owner.place(domain("a.example"), 0), copy.place(domain("b.example"), 0));
    let mut held = Held::new(Arc::new(one));
    held.merge(Arc::new(two));
    assert_eq!(held.conflict(), Some(Conflict::Placement));
    assert_eq!(held.merge(Arc::new(owner.place(domain("c.example"), 0))), Merged::Newer);
    assert_eq!(held.conflict(), None);
}

#[test]
fn claims_of_another_claimant_and_records_of_another_key_are_not_merged() {
    let mut ann = account();
    let mut bob = Account::new([8; 32], None, [0; 16]);
    let mut held = Held::new(Arc::new(ann.claim_name("ann", 0).unwrap()));
    let before = held.clone();
    assert_eq!(held.merge(Arc::new(bob.claim_name("ann", 0).unwrap())), Merged::OtherClaimant);
    assert_eq!(held.merge(Arc::new(ann.claim_name("anne", 0).unwrap())), Merged::OtherKey);
    assert_eq!(held.merge(Arc::new(ann.place(domain("a.example"), 0))), Merged::OtherKey);
    assert_eq!(held, before);
    assert_eq!(held.merge(Arc::new(ann.claim_name("ann", 0).unwrap())), Merged::Newer);
}

#[test]
fn claim_keys_differ_by_kind_and_text_and_are_no_guids() {
    let mut ann = account();
    let record = ann.claim_name("ann", 0).unwrap();
    assert_eq!(record.key(), claim_key(ClaimKind::Name, "ann"));
    assert_ne!(record.key(), claim_key(ClaimKind::Legacy, "ann"));
    assert_eq!((record.key().kind, record.home()), (Kind::Claim, None));
    let legacy = ann.claim_legacy("ann", domain("a.example"), 0).unwrap();
    assert_eq!((legacy.key(), legacy.home()), (claim_key(ClaimKind::Legacy, "ann"), Some(&domain("a.example"))));
    assert_eq!(ann.place(domain("a.example"), 0).key(), Key::from(ann.guid()));
}

/// `record` with `change` made to its data, unsigned.
fn altered(record: &Record, change: impl FnOnce(&mut Data)) -> Record {
    let mut data = record.data.clone();
    change(&mut data);
    data.into()
}

#[test]
fn each_way_of_being_invalid_has_its_name() {
    let record = rich();
    let check = |change: &dyn Fn(&mut Data)| altered(&record, change).verify().unwrap_err();
    assert_eq!(check(&|data| data.format = 2), RecordError::UnknownFormat { format: 2 });
    assert_eq!(check(&|data| data.changes = vec![data.changes[0].clone(); 17]), RecordError::TooManyChanges);
    assert_eq!(check(&|data| data.changes.swap(0, 1)), RecordError::BrokenChain { index: 0 });
    assert_eq!(check(&|data| data.genesis.nonce[0] ^= 1), RecordError::BrokenChain { index: 0 });
    assert_eq!(check(&|data| data.changes[0].recovery = None), RecordError::BadChangeSignature { index: 0 });
    assert_eq!(check(&|data| data.changes[1].recovery = None), RecordError::RecoveryKeyChanged { index: 1 });
    assert_eq!(check(&|data| data.changes[1].signing.bytes[0] ^= 1), RecordError::BadChangeSignature { index: 1 });
    assert_eq!(check(&|data| data.changes.truncate(1)), RecordError::BadSignature);
    assert_eq!(check(&|data| data.signature = Signature::from_bytes([0; 64])), RecordError::BadSignature);
    let body = |version| Body::Placement(Placement { version, at: Residence::Closed, issued_ms: 0 });
    assert_eq!(check(&|data| data.body = body(9)), RecordError::BadSignature);

    let bare = SecretKey::from_seed([9; 32]);
    let genesis = Genesis { signing: bare.public(), recovery: None, nonce: [0; 16] };
    let guid = genesis.guid();
    let change = KeyChange::signed(&guid, newest(&guid, &[]), Signer::Recovery, &bare, bare.public(), None);
    let record = Record::signed(genesis.clone(), vec![change], body(1), &bare);
    assert_eq!(record.verify(), Err(RecordError::NoRecoveryKey { index: 0 }));

    let claim = |kind, text: &str, value| {
        let claim = Claim { kind, text: text.into(), version: 1, value, issued_ms: 0 };
        Record::signed(genesis.clone(), Vec::new(), Body::Claim(claim), &bare).verify()
    };
    let home = || ClaimValue::Home(domain("a.example"));
    assert_eq!(claim(ClaimKind::Legacy, "x", home()), Ok(()));
    assert_eq!(claim(ClaimKind::Name, "x", home()), Err(RecordError::ValueDoesNotFit));
    assert_eq!(claim(ClaimKind::Legacy, "x", ClaimValue::User(guid)), Err(RecordError::ValueDoesNotFit));
    assert_eq!(claim(ClaimKind::Legacy, &"x".repeat(256), home()), Err(RecordError::TextTooLong));
}

#[test]
fn a_signature_does_not_serve_another_purpose_or_another_identity() {
    // The same keys begin two identities: what one says is not said for the other.
    let mut one = Account::new([1; 32], Some([2; 32]), [0; 16]);
    let two = Account::new([1; 32], Some([2; 32]), [1; 16]).place(domain("a.example"), 0);
    let record = one.place(domain("a.example"), 0);
    assert_eq!(altered(&record, |data| data.genesis = two.genesis().clone()).verify(), Err(RecordError::BadSignature));
    // A change signed by the signing key does not pass for a recovery, even where both keys are one.
    let mut same = Account::new([1; 32], Some([1; 32]), [0; 16]);
    same.rotate([2; 32]).unwrap();
    let record = same.place(domain("a.example"), 0);
    assert_eq!(record.verify(), Ok(()));
    let forged = altered(&record, |data| data.changes[0].by = Signer::Recovery);
    assert_eq!(forged.verify(), Err(RecordError::BadChangeSignature { index: 0 }));
}

#[test]
fn a_record_with_any_bit_turned_over_is_refused_or_not_valid() {
    let bytes = rich().to_bytes();
    for index in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[index / 8] ^= 1 << (index % 8);
        assert!(!Record::from_bytes(&bytes).is_ok_and(|record| record.verify().is_ok()), "bit {index}");
    }
}

#[test]
fn no_other_bytes_are_read_as_the_same_record() {
    let record = rich();
    let bytes = record.to_bytes();
    for index in 0..bytes.len() {
        // Where an integer ends here, this is its overlong form; elsewhere it shifts what follows.
        let mut overlong = bytes.clone();
        overlong[index] |= 0x80;
        overlong.insert(index + 1, bytes[index] >> 7);
        assert_ne!(Record::from_bytes(&overlong).as_ref(), Ok(&record), "byte {index}");
        assert!(Record::from_bytes(&bytes[..index]).is_err());
    }
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert_eq!(Record::from_bytes(&trailing), Err(CanonicalError::NotCanonical));
    let mut format = bytes;
    format[0] = 2;
    assert_eq!(Record::from_bytes(&format).unwrap().verify(), Err(RecordError::UnknownFormat { format: 2 }));
}

#[test]
fn overlong_forms_of_each_integer_in_a_record_are_refused() {
    // Lengths and variants of a small record, found by their place: format byte, then genesis of 33 + 34 + 16 bytes.
    let record = account().place(domain("a.example"), 0);
    let bytes = record.to_bytes();
    let changes = 1 + 33 + 34 + 16;
    for (place, byte) in [(changes, 0), (changes + 1, 0), (changes + 2, 1), (changes + 3, 0), (changes + 4, 9)] {
        assert_eq!(bytes[place], byte);
        let mut overlong = bytes.clone();
        overlong[place] |= 0x80;
        overlong.insert(place + 1, 0);
        assert_eq!(Record::from_bytes(&overlong), Err(CanonicalError::NotCanonical), "byte {place}");
    }
}

#[test]
fn seventeen_changes_are_not_even_read() {
    let record = rich();
    let many = altered(&record, |data| data.changes = vec![data.changes[0].clone(); 17]);
    assert_eq!(Record::from_bytes(&many.to_bytes()), Err(CanonicalError::Malformed));
}

#[test]
fn records_are_small_and_shared_in_lists() {
    let record = Arc::new(account().place(domain("matrix.example.com"), 1_700_000_000_000));
    assert!(record.encoded_len() < 200, "{}", record.encoded_len());
    assert!(size_of::<Record>() <= 400, "{}", size_of::<Record>());
    let list = vec![record.clone(), Arc::new(rich())];
    assert_eq!(from_bytes::<Vec<Arc<Record>>>(&to_bytes(&list)), Ok(list));
}
