//! Servers that are killed without a word, again and again, while users register and move.
//!
//! `SERVERS=20 ROUNDS=200 SEED=7 cargo test --release -p home-server --test kills -- --nocapture` for more of it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Lab, account, place};
use home_server::client::Client;
use home_server::config::Config;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::account::Account;
use routing_core::effect::Consistency;
use routing_core::record::Record;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many users write at once.
const WRITERS: u64 = 4;
/// How often each of them moves.
const MOVES: u64 = 3;
/// How many of those acknowledged in earlier rounds are looked up after each; all of them at the end.
const CHECKED: usize = 50;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What users wrote and were told of.
#[derive(Default)]
struct Written {
    next: AtomicU64,
    is_over: AtomicBool,
    acknowledged: Mutex<Vec<Arc<Record>>>,
    refused: AtomicU64,
}

/// Registers one user after the other, and moves each some times. A later record is only written once the one before is
/// acknowledged, so the last one acknowledged is what must be found, or a later one.
async fn write(config: Arc<Config>, written: Arc<Written>, servers: usize) {
    while !written.is_over.load(Ordering::Relaxed) {
        // One for each user: a client leaves an address alone for a while where nobody answered.
        let client = Client::open(&config).unwrap();
        let user = written.next.fetch_add(1, Ordering::Relaxed);
        let mut account: Account = account(user);
        let mut last = None;
        for step in 0..=MOVES {
            let record = place(&mut account, &format!("s{}.example", (user + step) % servers as u64));
            let registration = client.register(record.clone()).await.unwrap();
            if !registration.is_acknowledged {
                written.refused.fetch_add(1, Ordering::Relaxed);
                break;
            }
            last = Some(record);
        }
        written.acknowledged.lock().unwrap().extend(last);
    }
}

async fn check(client: &Client, records: &[Arc<Record>], round: u64) {
    for record in records {
        let answer = client.lookup(record.guid(), Consistency::Quorum).await.unwrap();
        let found = answer.record.as_ref();
        let is_right = found.is_some_and(|found| found == record || found.outranks(record));
        assert!(
            is_right,
            "round {round}: of {} version {} was acknowledged, found {:?} {:?}",
            record.guid(),
            record.version(),
            answer.verdict,
            found.map(|record| record.version()),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kills_at_any_moment() {
    let (servers, rounds, seed) = (number("SERVERS", 5) as usize, number("ROUNDS", 6), number("SEED", 1));
    println!("SEED={seed} SERVERS={servers} ROUNDS={rounds}");
    // One for what happens, which a seed repeats, and one for what is looked at, of which there is more or less.
    let [mut draw, mut pick] = [seed, !seed].map(|seed| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        move |below: u64| rng.next_u64() % below
    });
    let mut lab = tokio::task::spawn_blocking(move || Lab::joined(servers)).await.unwrap();
    let began = Instant::now();
    let (mut kills, mut checked) = (0, 0);
    let (mut all, mut next, mut refused) = (Vec::<Arc<Record>>::new(), 0, 0);
    for round in 0..rounds {
        let config = Arc::new(lab.client_config());
        let written = Arc::new(Written { next: AtomicU64::new(next), ..Written::default() });
        let writers: Vec<_> =
            (0..WRITERS).map(|_| tokio::spawn(write(config.clone(), written.clone(), servers))).collect();
        // Mostly one, sometimes a third, sometimes all at once.
        let victims = match draw(10) {
            0 => servers,
            1 | 2 => servers.div_ceil(3),
            _ => 1,
        };
        let first = draw(servers as u64) as usize;
        let again = draw(3) == 0;
        let [wait, down, up] = [draw(300), draw(200), draw(400)].map(Duration::from_millis);
        lab = tokio::task::spawn_blocking(move || {
            sleep(wait);
            let victims = || (0..victims).map(|index| (first + index) % servers);
            victims().for_each(|victim| lab.kill(victim));
            sleep(down);
            victims().for_each(|victim| lab.start(victim, &[]));
            if again {
                // While it starts, or joins.
                sleep(up);
                lab.kill(first);
                lab.start(first, &[]);
            }
            (0..servers).for_each(|index| lab.wait_until_joined(index));
            lab
        })
        .await
        .unwrap();
        kills += victims + usize::from(again);
        written.is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        next = written.next.load(Ordering::Relaxed);
        refused += written.refused.load(Ordering::Relaxed);
        for server in &lab.servers {
            let grids = server.grids();
            assert!(grids.iter().all(|grid| *grid == grids[0]), "{} has come back as somebody else", server.domain);
        }
        let new = std::mem::take(&mut *written.acknowledged.lock().unwrap());
        let sample: Vec<_> =
            (0..CHECKED.min(all.len())).map(|_| all[pick(all.len() as u64) as usize].clone()).collect();
        let client = lab.client();
        check(&client, &new, round).await;
        check(&client, &sample, round).await;
        checked += new.len() + sample.len();
        all.extend(new);
    }
    check(&lab.client(), &all, rounds).await;
    assert!(!all.is_empty());
    println!("{kills} kills in {:.1?}; {} users acknowledged, {refused} not", began.elapsed(), all.len());
    println!("{} lookups, all right", checked + all.len());
}
