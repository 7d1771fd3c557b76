//! Links are asked for, used, closed and cut off in any order, at several nodes at once; in the end everybody reaches
//! everybody over one link.
//!
//! `CHURN_STEPS` is how many steps each node makes (300); `SEED` repeats the draws, though not what comes of them.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Peer, lab, patient};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::connection::Connection;
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::message::{Message, RequestId};
use routing_core::time::Ticks;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::time::timeout;
use transport_tcp::TcpConfig;

const NODES: u8 = 6;
/// What is said at the very end.
const LAST: Message = Message::Unknown(RequestId(u32::MAX));

fn config() -> TcpConfig {
    // Addresses that are gone for a moment come back at once here.
    TcpConfig {
        dial_backoff: Ticks::millis(1),
        dial_backoff_max: Ticks::millis(20),
        linger: Ticks::millis(200),
        ..lab()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happened_in_the_end_everybody_reaches_everybody_over_one_link() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (steps, seed) = (number("CHURN_STEPS").unwrap_or(300), number("SEED").unwrap_or(1));
    patient(async {
        let mut peers = Vec::new();
        for seed in 1..=NODES {
            peers.push(Peer::new(seed, config()).await);
        }
        let targets: Arc<[Target]> = peers.iter().map(Peer::target).collect();
        let barrier = Arc::new(Barrier::new(NODES.into()));
        let nodes = peers.into_iter().enumerate().map(|(index, peer)| {
            let dice = Xoshiro256PlusPlus::seed_from_u64(seed * 1_000 + index as u64);
            tokio::spawn(live(index, peer, targets.clone(), dice, steps, barrier.clone()))
        });
        for node in nodes.collect::<Vec<_>>() {
            node.await.unwrap();
        }
    })
    .await;
}

async fn live(
    index: usize,
    mut peer: Peer,
    targets: Arc<[Target]>,
    mut dice: Xoshiro256PlusPlus,
    steps: u64,
    barrier: Arc<Barrier>,
) {
    for _ in 0..steps {
        let target = &targets[dice.next_u32() as usize % targets.len()];
        let grid = target.grid.unwrap();
        match dice.next_u32() % 64 {
            0 => peer = restart(index, peer).await,
            1..8 => peer.connection.close(grid).await.unwrap(),
            8..12 => peer.request(&Target::address(target.address.clone())).await,
            _ => {
                peer.request(target).await;
                for number in 0..dice.next_u32() % 20 {
                    peer.send(grid, &Message::Unknown(RequestId(number))).await;
                }
            }
        }
        let pause = Duration::from_micros(u64::from(dice.next_u32() % 2_000));
        while let Ok(heard) = timeout(pause, peer.hear()).await {
            assert!(!matches!(heard, Heard::Message(from, _) if from == peer.grid()));
        }
    }
    barrier.wait().await;
    settle(index, &mut peer, &targets).await;
    barrier.wait().await;
}

/// The node goes down without a word and comes back where it was.
async fn restart(index: usize, peer: Peer) -> Peer {
    let (address, handle) = (peer.contact.address().to_string(), peer.handle.clone());
    drop(peer);
    handle.ended().await;
    assert_eq!(handle.stats().links_now, 0);
    let listener = loop {
        if let Ok(listener) = TcpListener::bind(&address).await {
            break listener;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    Peer::with(index as u8 + 1, listener, &address, config())
}

/// Says a last word to everybody until everybody's has been heard, and one link to each is left.
async fn settle(index: usize, peer: &mut Peer, targets: &[Target]) {
    let others: Vec<&Target> =
        targets.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, t)| t).collect();
    let mut heard_of = BTreeSet::new();
    // After the own work is done the others may still need this one to listen.
    let mut quiet = 0;
    while heard_of.len() < others.len() || peer.handle.stats().links_now != others.len() as u64 || quiet < 40 {
        for target in &others {
            peer.request(target).await;
            peer.send(target.grid.unwrap(), &LAST).await;
        }
        let mut is_quiet = true;
        while let Ok(heard) = timeout(Duration::from_millis(20), peer.hear()).await {
            match heard {
                Heard::Message(from, LAST) => {
                    heard_of.insert(from);
                    // Each says it again and again.
                    if heard_of.len() == others.len() {
                        break;
                    }
                }
                Heard::Linked(..) => {}
                _ => is_quiet = false,
            }
        }
        quiet = if is_quiet { quiet + 1 } else { 0 };
    }
}
