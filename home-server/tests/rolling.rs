//! All servers are restarted properly, one after the other, while users are looked up.
//!
//! `SERVERS=20 cargo test --release -p home-server --test rolling -- --nocapture` for more of them.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Lab, account, place, until};
use routing_core::effect::Consistency;
use routing_core::state::Verdict;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const USERS: u64 = 40;
const ASKERS: usize = 2;
/// How many hold each record at least, if there are so many.
const HOLDERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lookup_fails_and_no_record_moves_while_all_are_restarted() {
    let servers = std::env::var("SERVERS").map_or(5, |text| text.parse().unwrap());
    let mut lab = tokio::task::spawn_blocking(move || {
        let lab = Lab::joined(servers);
        // Else some records may lack a holder, who is given a copy later.
        let known = (servers - 1) as f64;
        until("all know all", || lab.servers.iter().all(|server| server.metrics().unwrap()["neighbours"] == known));
        lab
    })
    .await
    .unwrap();
    let client = lab.client();
    let mut records = Vec::new();
    for user in 0..USERS {
        let record = place(&mut account(user), &format!("s{}.example", user % servers as u64));
        assert!(client.register(record.clone()).await.unwrap().is_acknowledged);
        records.push(record);
    }
    client.spread().await;
    // On a busy machine some holder may not have answered in time, and is given its copy later.
    let copies = (USERS * servers.min(HOLDERS) as u64) as f64;
    until("all have what they hold", || {
        lab.servers.iter().map(|server| server.metrics().unwrap()["records"]).sum::<f64>() >= copies
    });

    let is_over = Arc::new(AtomicBool::new(false));
    // One for all, as a program has it that asks again and again.
    let client = Arc::new(client);
    let askers: Vec<_> = (0..ASKERS)
        .map(|asker| {
            let (client, records, is_over) = (client.clone(), records.clone(), is_over.clone());
            tokio::spawn(async move {
                let (mut asked, mut unsettled) = (0, 0);
                for record in records.iter().cycle().skip(asker * USERS as usize / ASKERS) {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = client.lookup(record.guid(), Consistency::Quorum).await.unwrap();
                    let found = (answer.verdict, answer.record.as_ref());
                    assert_eq!(found, (Verdict::Found, Some(record)), "lookup {asked} failed: {:#?}", answer.trace);
                    asked += 1;
                    unsettled += usize::from(!answer.is_settled);
                }
                (asked, unsettled)
            })
        })
        .collect();

    let (lab, moved) = tokio::task::spawn_blocking(move || {
        let moved = |lab: &Lab, index: usize| lab.servers[index].metrics().unwrap()["records_moved_total"];
        let before: f64 = (0..servers).map(|index| moved(&lab, index)).sum();
        let mut stopped = 0.0;
        for index in 0..servers {
            stopped += moved(&lab, index);
            assert_eq!(lab.stop(index).code(), Some(0));
            lab.start(index, &[]);
            lab.wait_until_joined(index);
        }
        let after: f64 = (0..servers).map(|index| moved(&lab, index)).sum();
        let moved = stopped + after - before;
        (lab, moved)
    })
    .await
    .unwrap();
    is_over.store(true, Ordering::Relaxed);
    let (mut asked, mut unsettled) = (0, 0);
    for asker in askers {
        let (of_one, of_these) = asker.await.unwrap();
        asked += of_one;
        unsettled += of_these;
    }
    println!("{} restarts, {asked} lookups, 0 failed, {unsettled} unsettled, {moved} copies moved", lab.servers.len());
    assert!(asked > 0);
    assert_eq!(moved, 0.0, "copies were moved");
}
