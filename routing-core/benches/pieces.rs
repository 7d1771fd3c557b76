//! What the pieces of a node's work cost: `cargo bench -p routing-core`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use divan::{Bencher, black_box};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::account::Account;
use routing_core::contact::{Contact, Standing, Versions};
use routing_core::holders::{Scale, SetName};
use routing_core::id::{Grid, Guid, Id};
use routing_core::key::SecretKey;
use routing_core::message::{Fetch, Find, Message, RequestId, Want};
use routing_core::record::Record;
use routing_core::search::Search;
use routing_core::table::RoutingTable;
use routing_core::time::Ticks;
use routing_core::wire::{decode, encode};
use std::sync::Arc;

fn main() {
    divan::main();
}

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
        Arc::new(Contact::sign(&secret, address, 0, Standing::Here, Versions::CURRENT))
    };
    (0..count).map(sign).collect()
}

fn record() -> Record {
    Account::new([1; 32], Some([2; 32]), [3; 16]).place("a.example".parse().unwrap(), 0)
}

/// What is asked most, and a list of six keys, 200 bytes.
#[derive(Clone, Copy, Debug)]
enum Question {
    Find,
    SixKeys,
}

fn message(question: Question) -> Message {
    let mut dice = dice();
    let target = id(&mut dice);
    match question {
        Question::Find => {
            Message::Find(Find { id: RequestId(1), target, want: Want::Record, groups: 16, set: SetName::NONE })
        }
        Question::SixKeys => {
            let keys = (0..6).map(|_| Guid(id(&mut dice)).into()).collect();
            Message::Fetch(Fetch { id: RequestId(2), keys })
        }
    }
}

#[divan::bench(args = [Question::Find, Question::SixKeys])]
fn encode_a_message(bencher: Bencher<'_, '_>, question: Question) {
    let message = message(question);
    bencher.bench(|| encode(black_box(&message)));
}

#[divan::bench(args = [Question::Find, Question::SixKeys])]
fn decode_a_message(bencher: Bencher<'_, '_>, question: Question) {
    let payload = encode(&message(question));
    bencher.bench(|| decode(black_box(&payload)).unwrap());
}

#[divan::bench]
fn verify_a_record(bencher: Bencher<'_, '_>) {
    let bytes = record().to_bytes();
    bencher.with_inputs(|| Record::from_bytes(&bytes).unwrap()).bench_refs(|record| record.verify().unwrap());
}

/// The sixteen nearest of a table of so many.
#[divan::bench(args = [256, 4_096])]
fn nearest_in_a_table(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget);
    let mut table = RoutingTable::new(contacts[0].grid(), budget as u32, 64);
    for contact in &contacts {
        table.offer(contact);
        table.on_answer(&contact.grid(), Ticks(40));
        table.on_reached(&contact.grid(), contact.address());
    }
    let mut dice = dice();
    bencher.with_inputs(|| id(&mut dice)).bench_local_values(|target| table.nearest(&target).take(16).count());
}

/// A newcomer's table takes up what it is told.
#[divan::bench(args = [256, 4_096])]
fn fill_a_table(bencher: Bencher<'_, '_>, budget: usize) {
    let contacts = contacts(budget * 2);
    bencher.counter(divan::counter::ItemsCount::new(contacts.len())).bench(|| {
        let mut table = RoutingTable::new(Grid(Id([7; 32])), budget as u32, 64);
        for contact in &contacts {
            table.offer(contact);
        }
        table
    });
}

/// A search from three contacts to the sixteen nearest of a thousand; whoever is asked names the sixteen nearest it knows of
/// a fifth of all.
#[divan::bench]
fn a_search_among_a_thousand(bencher: Bencher<'_, '_>) {
    let contacts = contacts(1_000);
    let mut dice = dice();
    let mut target = id(&mut dice);
    bencher.bench_local(|| {
        target = Id::of(&target.0);
        let mut search: Search<()> = Search::new(target, 16, 3, None, Scale::UNKNOWN);
        for contact in &contacts[..3] {
            search.add_known(contact, Default::default());
        }
        let mut asked = 0_usize;
        while let Some(peer) = search.next().cloned() {
            search.on_asked(&peer.grid());
            let mut named: Vec<&Arc<Contact>> = contacts.iter().skip(asked % 5).step_by(5).collect();
            named.select_nth_unstable_by_key(16, |contact| target.distance(&contact.grid().0));
            for contact in &named[..16] {
                search.add_named(contact, peer.grid(), Default::default());
            }
            search.on_answer(&peer.grid(), ());
            asked += 1;
        }
        asked
    });
}
