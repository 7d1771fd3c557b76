//! A federation at work for a long time, of which one server after the other restarts or is killed: nothing is lost, and a
//! server that never restarts takes no more memory and files in the end than in the beginning.
//!
//! `SOAK_SECONDS=3600 SERVERS=8 cargo test --release -p home-server --test soak -- --nocapture` for an hour of it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Lab, account, place};
use routing_core::account::Account;
use routing_core::effect::Consistency;
use routing_core::record::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many users there are: always the same, so that what grows does not grow by them.
const USERS: u64 = 200;
/// How long the one who writes and asks rests after each user.
const REST: Duration = Duration::from_millis(20);
/// How often something happens to a server.
const RESTART_EVERY: Duration = Duration::from_secs(5);
/// How often memory is looked at, of the whole time.
const SAMPLES: u32 = 12;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The users, and what was acknowledged last of each.
struct Users(Vec<(Account, Option<Arc<Record>>)>);

#[derive(Default)]
struct Done {
    is_over: AtomicBool,
    moves: AtomicU64,
    refused: AtomicU64,
    lookups: AtomicU64,
}

/// Moves one user after the other and looks another up, over one client that is kept.
async fn work(client: home_server::client::Client, mut users: Users, servers: u64, done: Arc<Done>) -> Users {
    let mut turn = 0_u64;
    while !done.is_over.load(Ordering::Relaxed) {
        let (account, last) = &mut users.0[(turn % USERS) as usize];
        let record = place(account, &format!("s{}.example", turn % servers));
        // The next is greater, whatever became of this one.
        if client.register(record.clone()).await.unwrap().is_acknowledged {
            *last = Some(record);
            done.moves.fetch_add(1, Ordering::Relaxed);
        } else {
            done.refused.fetch_add(1, Ordering::Relaxed);
        }
        check(&client, &users.0[(turn * 7 % USERS) as usize].1).await;
        done.lookups.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        tokio::time::sleep(REST).await;
    }
    users
}

async fn check(client: &home_server::client::Client, expected: &Option<Arc<Record>>) {
    let Some(expected) = expected else { return };
    let answer = client.lookup(expected.guid(), Consistency::Quorum).await.unwrap();
    let found = answer.record.as_ref();
    let is_right = found.is_some_and(|found| found == expected || found.outranks(expected));
    assert!(is_right, "of {} version {} was acknowledged: {answer:?}", expected.guid(), expected.version());
}

/// What a process takes: KiB of memory, and open files; nothing where the system does not say.
fn taken(pid: u32) -> Option<(u64, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((resident.trim().trim_end_matches("kB").trim().parse().ok()?, files))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_on_takes_no_more_in_the_end_than_in_the_beginning() {
    let (servers, seconds) = (number("SERVERS", 4), number("SOAK_SECONDS", 12));
    println!("SERVERS={servers} SOAK_SECONDS={seconds}");
    let mut lab = tokio::task::spawn_blocking(move || Lab::joined(servers as usize)).await.unwrap();
    let done = Arc::<Done>::default();
    let users = Users((0..USERS).map(|number| (account(number), None)).collect());
    let working = tokio::spawn(work(lab.client(), users, servers, done.clone()));
    let whole = Duration::from_secs(seconds);
    let (lab, samples, restarts) = tokio::task::spawn_blocking(move || {
        let (began, mut samples, mut restarts) = (Instant::now(), Vec::new(), 0_u64);
        while began.elapsed() < whole {
            std::thread::sleep(RESTART_EVERY.min(whole / 4));
            // All but the first, which goes on; half of them properly.
            let victim = 1 + (restarts % (servers - 1)) as usize;
            if restarts % 2 == 0 {
                lab.stop(victim);
            } else {
                lab.kill(victim);
            }
            lab.start(victim, &[]);
            lab.wait_until_joined(victim);
            restarts += 1;
            if began.elapsed() >= whole / SAMPLES * samples.len() as u32 {
                samples.extend(taken(lab.servers[0].pid()).map(|(memory, files)| (began.elapsed(), memory, files)));
            }
        }
        (lab, samples, restarts)
    })
    .await
    .unwrap();
    done.is_over.store(true, Ordering::Relaxed);
    let users = working.await.unwrap();
    let client = lab.client();
    for (_, last) in &users.0 {
        check(&client, last).await;
    }
    for (at, memory, files) in &samples {
        println!("{:5} s: {memory} KiB, {files} files", at.as_secs());
    }
    let [moves, refused, lookups] = [&done.moves, &done.refused, &done.lookups].map(|n| n.load(Ordering::Relaxed));
    println!("{restarts} restarts, {moves} moves acknowledged, {refused} not, {lookups} lookups, all right");
    assert!(moves > 0);
    // What is set aside at first is no growth: from a third on it is flat.
    if let (Some((_, early, few)), Some((_, late, many))) = (samples.get(samples.len() / 3), samples.last()) {
        assert!(*late <= early + early / 4 + 4_096, "{early} KiB have become {late}");
        assert!(*many <= few + 64, "{few} open files have become {many}");
    }
}
