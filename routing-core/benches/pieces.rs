//! What the pieces of a node's work cost, beside yardsticks in the same run: `cargo bench -p routing-core`.
//!
//! | piece | yardstick |
//! | --- | --- |
//! | messages to bytes and back, and how long they will be | a copy of the same bytes |
//! | records and cards, verified | one strict verification of as many bytes by the library |
//! | the nearest of a table | a look at all contacts |
//! | one contact of a table | a lookup in an ordered map |

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::account::Account;
use routing_core::contact::{self, Contact, Versions};
use routing_core::holders::{Scale, SetName};
use routing_core::id::{Grid, Guid, Id};
use routing_core::key::SecretKey;
use routing_core::message::{Copy, Fetch, Find, Found, Message, Named, RequestId, Sampled, Standing, Want};
use routing_core::record::Record;
use routing_core::search::Search;
use routing_core::table::RoutingTable;
use routing_core::time::Ticks;
use routing_core::wire::{decode, encode};
use std::collections::BTreeMap;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// Whose tables they are.
const OWN: Grid = Grid(Id([7; 32]));

fn dice() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(1)
}

fn id(dice: &mut Xoshiro256PlusPlus) -> Id {
    let mut bytes = [0; 32];
    dice.fill_bytes(&mut bytes);
    Id(bytes)
}

fn contacts(count: usize) -> Vec<Arc<Contact>> {
    let mut dice = dice();
    let sign = |number: usize| {
        let secret = SecretKey::from_seed(id(&mut dice).0);
        let address = format!("n{number}.example").parse().unwrap();
        Arc::new(Contact::sign(&secret, address, 0, contact::Standing::Here, Versions::CURRENT))
    };
    (0..count).map(sign).collect()
}

fn record() -> Record {
    record_of(1)
}

fn record_of(user: u8) -> Record {
    Account::new([user; 32], Some([2; 32]), [3; 16]).place("a.example".parse().unwrap(), 0)
}

/// What takes a different time for each key is measured with so many in turn.
const KEYS: u8 = 64;

/// What is asked most; a list of six keys, which are 200 bytes; and what is answered most: a record and sixteen
/// contacts, 2 KB.
#[derive(Clone, Copy, Debug)]
enum Said {
    Find,
    SixKeys,
    Found,
}

const ALL_SAID: [Said; 3] = [Said::Find, Said::SixKeys, Said::Found];

fn message(said: Said) -> Message {
    let mut dice = dice();
    let target = id(&mut dice);
    match said {
        Said::Find => {
            Message::Find(Find { id: RequestId(1), target, want: Want::Record, groups: 16, set: SetName::NONE })
        }
        Said::SixKeys => {
            let keys = (0..6).map(|_| Guid(id(&mut dice)).into()).collect();
            Message::Fetch(Fetch { id: RequestId(2), keys })
        }
        Said::Found => {
            let copy = Copy { record: Arc::new(record()), rival: None, age: Ticks::hours(3) };
            let named = contacts(16).into_iter().map(|contact| Named { contact, is_hearsay: false });
            Message::Found(Found {
                id: RequestId(3),
                standing: Standing::Settled,
                is_complete: true,
                own_scale: Scale::UNKNOWN,
                scale: Scale::UNKNOWN,
                copy: Some(Arc::new(copy)),
                contacts: Some(named.collect()),
            })
        }
    }
}

#[divan::bench(args = ALL_SAID)]
fn copy_a_messages_bytes(bencher: Bencher<'_, '_>, said: Said) {
    let payload = encode(&message(said));
    bencher.counter(BytesCount::new(payload.len())).bench(|| black_box(&payload).clone());
}

#[divan::bench(args = ALL_SAID)]
fn encode_a_message(bencher: Bencher<'_, '_>, said: Said) {
    let message = message(said);
    bencher.counter(BytesCount::new(message.encoded_len())).bench(|| encode(black_box(&message)));
}

#[divan::bench(args = ALL_SAID)]
fn decode_a_message(bencher: Bencher<'_, '_>, said: Said) {
    let payload = encode(&message(said));
    bencher.counter(BytesCount::new(payload.len())).bench(|| decode(black_box(&payload)).unwrap());
}

#[divan::bench(args = ALL_SAID)]
fn tell_a_messages_length(bencher: Bencher<'_, '_>, said: Said) {
    let message = message(said);
    bencher.bench(|| black_box(&message).encoded_len());
}

/// What the library takes for as many bytes as a record's signature covers, more or less, with a key that is still
/// bytes.
#[divan::bench]
fn verify_a_bare_signature(bencher: Bencher<'_, '_>) {
    let bytes = [7; 104];
    let sign = |seed: u8| {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        (secret.verifying_key().to_bytes(), secret.sign(&bytes))
    };
    let signed: Vec<_> = (0..KEYS).map(sign).collect();
    let mut signed = signed.iter().cycle();
    bencher.with_inputs(|| signed.next().unwrap()).bench_local_values(|(key, signature)| {
        VerifyingKey::from_bytes(key).unwrap().verify_strict(black_box(&bytes), signature).unwrap();
    });
}

#[divan::bench]
fn verify_a_record(bencher: Bencher<'_, '_>) {
    let records: Vec<_> = (0..KEYS).map(|user| record_of(user).to_bytes()).collect();
    let mut records = records.iter().cycle().map(|bytes| Record::from_bytes(bytes).unwrap());
    bencher.with_inputs(|| records.next().unwrap()).bench_local_refs(|record| record.verify().unwrap());
}

/// The same once more.
#[divan::bench]
fn verify_a_record_that_was_verified(bencher: Bencher<'_, '_>) {
    let record = record();
    record.verify().unwrap();
    bencher.bench(|| black_box(&record).verify().unwrap());
}

/// Another copy of a record that was verified, as the second of many holders brings it.
#[divan::bench]
fn verify_a_record_beside_an_equal_one(bencher: Bencher<'_, '_>) {
    let known = record();
    known.verify().unwrap();
    let bytes = known.to_bytes();
    bencher
        .with_inputs(|| Record::from_bytes(&bytes).unwrap())
        .bench_refs(|record| record.verify_beside(Some(&known)).unwrap());
}

#[divan::bench]
fn verify_a_card(bencher: Bencher<'_, '_>) {
    let named = contacts(KEYS.into()).into_iter().map(|contact| Named { contact, is_hearsay: false });
    let payload = encode(&Message::Sampled(Sampled { id: RequestId(4), contacts: named.collect() }));
    let mut fresh = std::iter::repeat_with(|| decode(&payload).unwrap()).flat_map(|message| match message {
        Message::Sampled(sampled) => sampled.contacts.to_vec(),
        other => unreachable!("{other:?}"),
    });
    bencher.with_inputs(|| fresh.next().unwrap()).bench_local_refs(|named| assert!(named.contact.verify()));
}

/// The sixteen nearest by a look at all contacts: what a table saves.
#[divan::bench(args = [256, 4_096])]
fn nearest_by_a_look_at_all(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget);
    let mut dice = dice();
    bencher.with_inputs(|| id(&mut dice)).bench_local_values(|target| {
        let mut distances: Vec<_> = contacts.iter().map(|contact| target.distance(&contact.grid().0)).collect();
        distances.select_nth_unstable(16);
        distances.truncate(16);
        distances.sort_unstable();
        distances
    });
}

/// The sixteen nearest of a table of so many.
#[divan::bench(args = [256, 4_096])]
fn nearest_in_a_table(bencher: Bencher<'_, '_>, budget: usize) {
    let table = table(&contacts(budget));
    let mut dice = dice();
    bencher.with_inputs(|| id(&mut dice)).bench_local_values(|target| table.nearest(&target).take(16).count());
}

/// The same of a table of 256 that knows its own slice, one 128th of the keyspace, and as many others, for places in that slice.
#[divan::bench]
fn nearest_in_the_own_slice(bencher: Bencher<'_, '_>) {
    let all = contacts(16_384);
    let (slice, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|contact| contact.grid().0.common_bits(&OWN.0) >= 7);
    let known: Vec<_> = others.into_iter().take(256 - slice.len()).chain(slice).collect();
    let table = table(&known);
    let mut dice = dice();
    let mut place =
        || Id(std::array::from_fn(|byte| if byte == 0 { 6 | id(&mut dice).0[0] & 1 } else { id(&mut dice).0[byte] }));
    bencher.with_inputs(&mut place).bench_local_values(|target| table.nearest(&target).take(16).count());
}

/// A table that knows all of them, who have all answered; it belongs to somebody else.
fn table(contacts: &[Arc<Contact>]) -> RoutingTable {
    let mut table = RoutingTable::new(OWN, contacts.len() as u32, 64);
    for contact in contacts {
        table.offer(contact);
        table.on_answer(&contact.grid(), Ticks(40));
        table.on_reached(&contact.grid(), contact.address());
    }
    table
}

/// One of so many contacts, in an ordered map.
#[divan::bench(args = [256, 4_096])]
fn find_in_a_map(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget);
    let map: BTreeMap<Grid, Arc<Contact>> = contacts.iter().map(|contact| (contact.grid(), contact.clone())).collect();
    let mut grids = contacts.iter().map(|contact| contact.grid()).cycle();
    bencher.with_inputs(|| grids.next().unwrap()).bench_local_values(|grid| map.contains_key(&grid));
}

/// The entry of one of so many contacts.
#[divan::bench(args = [256, 4_096])]
fn find_in_a_table(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget);
    let table = table(&contacts);
    let mut grids = contacts.iter().map(|contact| contact.grid()).cycle();
    bencher.with_inputs(|| grids.next().unwrap()).bench_local_values(|grid| table.entry(&grid).is_some());
}

/// What most offers are: somebody names a contact that is known already.
#[divan::bench(args = [256, 4_096])]
fn offer_who_is_known(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget);
    let mut table = table(&contacts);
    let mut offered = contacts.iter().cycle();
    bencher.with_inputs(|| offered.next().unwrap()).bench_local_values(|contact| table.offer(contact));
}

/// A stranger is offered to a table that is full of neighbours.
#[divan::bench(args = [256, 4_096])]
fn offer_a_stranger(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget + 1_024);
    let (known, strangers) = contacts.split_at(budget);
    let mut table = table(known);
    let mut offered = strangers.iter().cycle();
    bencher.with_inputs(|| offered.next().unwrap()).bench_local_values(|contact| table.offer(contact));
}

/// A newcomer's table takes up what it is told.
#[divan::bench(args = [256, 4_096])]
fn fill_a_table(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget * 2);
    bencher.counter(ItemsCount::new(contacts.len())).bench(|| {
        let mut table = RoutingTable::new(OWN, budget as u32, 64);
        for contact in &contacts {
            table.offer(contact);
        }
        table
    });
}

/// A search from three contacts to the sixteen nearest of a thousand; whoever is asked names the sixteen nearest it
/// knows of a fifth of all. The answers lie ready: `nearest_in_a_table` is what they would cost.
#[divan::bench]
fn a_search_among_a_thousand(bencher: Bencher<'_, '_>) {
    let contacts = contacts(1_000);
    let mut dice = dice();
    let question = || {
        let target = id(&mut dice);
        let mut nearest: Vec<_> = contacts.iter().collect();
        nearest.sort_unstable_by_key(|contact| target.distance(&contact.grid().0));
        let answer = |fifth| nearest.iter().skip(fifth).step_by(5).take(16).copied().collect::<Vec<_>>();
        (target, [0, 1, 2, 3, 4].map(answer))
    };
    bencher.with_inputs(question).bench_local_refs(|(target, answers)| {
        let mut search: Search<()> = Search::new(*target, 16, 3, None, Scale::UNKNOWN);
        for contact in &contacts[..3] {
            search.add_known(contact, Default::default());
        }
        let mut asked = 0_usize;
        while let Some(peer) = search.next().map(|contact| contact.grid()) {
            search.on_asked(&peer);
            for contact in &answers[asked % answers.len()] {
                search.add_named(contact, peer, Default::default());
            }
            search.on_answer(&peer, ());
            asked += 1;
        }
        asked
    });
}
