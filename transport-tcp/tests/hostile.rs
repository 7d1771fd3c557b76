//! Strangers and peers that misbehave: they are counted, they cost themselves, and the node goes on answering others.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

#[allow(dead_code, reason = "an attacker needs a part of it")]
#[path = "../src/tls.rs"]
mod tls;

use common::{Peer, lab, patient, secret};
use routing_core::connection::Connection;
use routing_core::contact::{Contact, Versions};
use routing_core::heard::{Heard, LossReason};
use routing_core::message::{Message, RequestId};
use routing_core::time::Ticks;
use routing_core::wire::{Hello, write_frame};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};
use tokio_rustls::{TlsConnector, client::TlsStream};
use transport_tcp::{TcpConfig, TcpHandle, TcpStats};

fn message(number: u32) -> Message {
    Message::Unknown(RequestId(number))
}

/// A node that gives back what it hears, and somebody honest who asks it.
struct Victim {
    handle: TcpHandle,
    address: String,
    contact: Arc<Contact>,
    asker: Peer,
    asked: u32,
    /// How long answers took.
    waited: Vec<Duration>,
}

impl Victim {
    async fn new(config: TcpConfig) -> Self {
        let mut node = Peer::new(1, config).await;
        // It reads as fast as it is answered.
        let mut asker =
            Peer::new(2, TcpConfig { peer_messages_per_second: 0, peer_bytes_per_second: 0, ..lab() }).await;
        let (handle, contact) = (node.handle.clone(), node.contact.clone());
        let address = handle.addresses()[0].to_string();
        tokio::spawn(async move {
            loop {
                let (from, message) = node.message().await;
                node.send(from, &message).await;
            }
        });
        asker.request(&routing_core::effect::Target::contact(&contact)).await;
        assert!(matches!(asker.hear().await, Heard::Linked(..)));
        Self { handle, address, contact, asker, asked: 0, waited: Vec::new() }
    }

    /// Somebody else is answered.
    async fn answers(&mut self) {
        self.asked += 1;
        let start = Instant::now();
        self.asker.send(self.contact.grid(), &message(self.asked)).await;
        assert_eq!(self.asker.message().await, (self.contact.grid(), message(self.asked)));
        self.waited.push(start.elapsed());
    }

    /// How long 99 of 100 answers took since the last time that this was asked.
    fn p99(&mut self) -> Duration {
        self.waited.sort_unstable();
        let p99 = self.waited[self.waited.len() * 99 / 100];
        self.waited.clear();
        p99
    }

    /// Asks on until the node has counted what it should.
    async fn counts(&mut self, what: &str, count: impl Fn(&TcpStats) -> bool) {
        while !count(&self.handle.stats()) {
            self.answers().await;
            sleep(Duration::from_millis(5)).await;
        }
        println!("{what}: counted");
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// A stranger who has proven its key.
    async fn tls(&self, seed: u8, network: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let config = tls::client_config(&secret(seed), &network.parse().unwrap()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(tls::nobody(), self.tcp().await).await
    }

    /// A peer that has said hello.
    async fn greeted(&self, seed: u8) -> TlsStream<TcpStream> {
        let mut stream = self.tls(seed, "main").await.unwrap();
        stream.write_all(&hello(seed, "main")).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }
}

/// A hello as a frame.
fn hello(seed: u8, network: &str) -> Vec<u8> {
    let contact = Contact::client(&secret(seed)).into();
    let hello = Hello { network: network.parse().unwrap(), versions: Versions::CURRENT, contact };
    framed(&hello.encode())
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

/// Reads until the node ends the connection.
async fn until_ended(mut stream: impl tokio::io::AsyncRead + Unpin) -> usize {
    let (mut buffer, mut all) = (vec![0; 4_096], 0);
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        all += length;
    }
    all
}

#[tokio::test]
async fn strangers_who_prove_nothing_are_dropped_and_counted() {
    patient(async {
        let mut victim = Victim::new(TcpConfig { handshake_timeout: Ticks::millis(300), ..lab() }).await;

        let mut garbage = victim.tcp().await;
        garbage.write_all(b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n").await.unwrap();
        until_ended(garbage).await;
        victim.counts("garbage", |stats| stats.handshakes_failed == 1).await;

        let silent = victim.tcp().await;
        until_ended(silent).await;
        victim.counts("silence", |stats| stats.handshakes_timed_out == 1).await;

        let mut slow = victim.tcp().await;
        for byte in [0x16, 3, 1] {
            // It may be gone already.
            let _ = slow.write_all(&[byte]).await;
            sleep(Duration::from_millis(50)).await;
        }
        until_ended(slow).await;
        victim.counts("a handshake a byte a time", |stats| stats.handshakes_timed_out == 2).await;

        assert!(victim.tls(3, "another").await.is_err());
        victim.counts("another network", |stats| stats.handshakes_other_network == 1).await;

        let mute = victim.tls(3, "main").await.unwrap();
        until_ended(mute).await;
        victim.counts("no hello", |stats| stats.handshakes_timed_out == 3).await;
        assert_eq!(victim.handle.stats().links_now, 1);
    })
    .await;
}

#[tokio::test]
async fn a_hello_that_lies_ends_the_connection() {
    patient(async {
        let mut victim = Victim::new(lab()).await;
        let own = hello(3, "main");
        let mut forged = own.clone();
        *forged.last_mut().unwrap() ^= 1;
        let long = [&1_000_u32.to_be_bytes()[..], &[0; 1_000]].concat();
        // Another's card; one that nobody signed; one that is too long; none.
        for (count, bad) in [hello(4, "main"), forged, long, framed(b"HELO")].into_iter().enumerate() {
            let mut stream = victim.tls(3, "main").await.unwrap();
            stream.write_all(&bad).await.unwrap();
            until_ended(stream).await;
            victim.counts("a bad hello", |stats| stats.hellos_invalid == count as u64 + 1).await;
        }
        // The protocol says one network, the hello another.
        let mut stream = victim.tls(3, "main").await.unwrap();
        stream.write_all(&hello(3, "other")).await.unwrap();
        until_ended(stream).await;
        victim.counts("another network", |stats| stats.handshakes_other_network == 1).await;
        assert_eq!(victim.handle.stats().links_taken, 1);
    })
    .await;
}

#[tokio::test]
async fn frames_that_are_no_messages_are_counted_and_end_the_link() {
    patient(async {
        let config = TcpConfig { frame_timeout: Ticks::millis(200), ..lab() };
        let mut victim = Victim::new(config).await;

        let mut endless = victim.greeted(3).await;
        endless.write_all(&[0xff; 4]).await.unwrap();
        until_ended(endless).await;
        victim
            .counts("a frame beyond the limit", |stats| stats.frames_too_long == 1 && stats.links_misbehaved == 1)
            .await;

        let mut noisy = victim.greeted(4).await;
        for _ in 0..16 {
            noisy.write_all(&framed(&[11, 0x85, 0])).await.unwrap();
        }
        until_ended(noisy).await;
        victim.counts("no messages", |stats| stats.frames_malformed == 16 && stats.links_misbehaved == 2).await;

        let mut slow = victim.greeted(5).await;
        slow.write_all(&[0, 0, 1, 0, 11]).await.unwrap();
        until_ended(slow).await;
        victim.counts("half a frame", |stats| stats.frames_timed_out == 1 && stats.links_misbehaved == 3).await;

        // A kind of a later release is answered, and nobody is punished.
        let mut later = victim.greeted(6).await;
        for _ in 0..100 {
            later.write_all(&framed(&[99, 5])).await.unwrap();
        }
        let mut header = [0; 4];
        later.read_exact(&mut header).await.unwrap();
        let mut hello = vec![0; u32::from_be_bytes(header) as usize];
        later.read_exact(&mut hello).await.unwrap();
        let mut answer = Vec::new();
        write_frame(&message(5), &mut answer).unwrap();
        let mut answers = vec![0; answer.len() * 100];
        later.read_exact(&mut answers).await.unwrap();
        assert!(answers.chunks(answer.len()).all(|each| each == answer));
        assert_eq!(victim.handle.stats().frames_unknown, 100);
        victim.answers().await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_valid_requests_is_slowed_down_and_others_are_answered() {
    patient(async {
        let mut victim = Victim::new(TcpConfig { peer_messages_per_second: 1_000, ..lab() }).await;
        let mut flood = victim.greeted(3).await;
        let mut frames = Vec::new();
        for number in 0..100_000 {
            write_frame(&message(number), &mut frames).unwrap();
        }
        let attack = tokio::spawn(async move {
            let (mut reading, mut writing) = tokio::io::split(&mut flood);
            let (_, written) = tokio::join!(until_ended(&mut reading), writing.write_all(&frames));
            written
        });
        victim.counts("throttled", |stats| stats.reads_throttled >= 2).await;
        for _ in 0..100 {
            victim.answers().await;
        }
        let stats = victim.handle.stats();
        assert!(stats.frames_in < 100_000, "{}", stats.frames_in);
        attack.abort();
    })
    .await;
}

#[tokio::test]
async fn who_says_little_is_heard_before_all_that_another_says() {
    patient(async {
        let mut node = Peer::new(1, lab()).await;
        let (mut loud, mut quiet) = (Peer::new(2, lab()).await, Peer::new(3, lab()).await);
        for peer in [&mut loud, &mut quiet] {
            peer.request(&node.target()).await;
            assert!(matches!(node.hear().await, Heard::Requested(_)));
            assert!(matches!(peer.hear().await, Heard::Linked(..)));
        }
        let arrived = async |node: &Peer, count| {
            while node.handle.stats().frames_in < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // A link hands over 128 messages at most, and the rest when these were heard.
        let key = routing_core::id::Guid(routing_core::id::Id([7; 32])).into();
        for number in 0..120 {
            let keys = std::iter::repeat_n(key, 3).collect();
            let long = Message::Fetch(routing_core::message::Fetch { id: RequestId(number), keys });
            loud.send(node.grid(), &long).await;
        }
        arrived(&node, 120).await;
        quiet.send(node.grid(), &message(1_000)).await;
        arrived(&node, 121).await;

        let mut heard = Vec::new();
        node.connection.listen(&mut heard).await.unwrap();
        let is_quiet = |heard: &Heard| matches!(heard, Heard::Message(from, _) if *from == quiet.grid());
        assert!(heard.iter().any(is_quiet), "it waits for nobody");
        assert!(heard.len() < 120, "{} at once", heard.len());
        // The other one is heard, too, in order and to the end, also if that has come meanwhile.
        drop(loud);
        while !matches!(heard.last(), Some(Heard::Lost(..))) {
            node.connection.listen(&mut heard).await.unwrap();
        }
        let numbers = heard.iter().filter(|heard| !is_quiet(heard)).filter_map(|heard| match heard {
            Heard::Message(_, message) => message.id().map(|id| id.0),
            _ => None,
        });
        assert!(numbers.eq(0..120));
        assert_eq!(node.handle.stats().heard_in_pieces, 1);
    })
    .await;
}

#[tokio::test]
async fn idle_connections_without_end_keep_nobody_out() {
    patient(async {
        let count: usize = std::env::var("IDLE_CONNECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
        // What is measured is not how a peer is slowed down that asks all the time.
        let config = TcpConfig { handshakes_max: 32, peer_messages_per_second: 0, peer_bytes_per_second: 0, ..lab() };
        let mut victim = Victim::new(config).await;
        for _ in 0..count {
            victim.answers().await;
        }
        let undisturbed = victim.p99();
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(victim.tcp().await);
            victim.answers().await;
        }
        let while_coming = victim.p99();
        for _ in 0..count {
            victim.answers().await;
        }
        let there = victim.p99();
        println!("p99 of answers: {undisturbed:?}; {while_coming:?} while {count} strangers came; {there:?} then");
        let expected = count as u64 - 32;
        victim.counts("crowded out", |stats| stats.handshakes_crowded_out >= expected).await;
        assert!(victim.handle.stats().handshakes_now <= 32);
        // A newcomer gets in between them.
        let mut newcomer = Peer::new(9, lab()).await;
        newcomer.request(&routing_core::effect::Target::contact(&victim.contact)).await;
        assert!(matches!(newcomer.hear().await, Heard::Linked(..)));
    })
    .await;
}

#[tokio::test]
async fn outside_a_lab_one_address_gets_few_connections() {
    patient(async {
        // It listens here, so it may be dialled; but all who dial it share one address.
        let config = TcpConfig { handshakes_per_address_max: 4, ..TcpConfig::default() };
        let mut victim = Victim::new(config).await;
        let mut idle = Vec::new();
        for _ in 0..10 {
            idle.push(victim.tcp().await);
        }
        victim.counts("refused", |stats| stats.inbound_refused_address >= 6).await;
        assert!(victim.handle.stats().handshakes_now <= 4);
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_and_never_reads_loses_its_link() {
    patient(async {
        let config = TcpConfig { queue_bytes_max: 2 << 20, ..lab() };
        let mut victim = Victim::new(config).await;
        let mut greedy = victim.greeted(3).await;
        let key = routing_core::id::Guid(routing_core::id::Id([7; 32])).into();
        let keys = std::iter::repeat_n(key, 1_000).collect();
        let large = Message::Fetch(routing_core::message::Fetch { id: RequestId(1), keys });
        let mut frame = Vec::new();
        write_frame(&large, &mut frame).unwrap();
        let attack = tokio::spawn(async move { while greedy.write_all(&frame).await.is_ok() {} });
        victim.counts("a full queue", |stats| stats.links_overflowed + stats.links_stalled == 1).await;
        attack.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn half_frames_of_many_peers_take_bounded_memory_and_keep_a_large_message_out_for_a_while_only() {
    patient(async {
        let config = TcpConfig { inbound_bytes_max: 16 << 20, frame_timeout: Ticks::seconds(1), ..lab() };
        let mut victim = Victim::new(config).await;
        let mut half = vec![0; 600_000];
        half[..4].copy_from_slice(&1_000_000_u32.to_be_bytes());
        let half: Arc<[u8]> = half.into();
        let mut attackers = Vec::new();
        for seed in 10..50 {
            let (mut stream, half) = (victim.greeted(seed).await, half.clone());
            attackers.push(tokio::spawn(async move {
                // It may be ended before it has said so much.
                let _ = stream.write_all(&half).await;
                until_ended(stream).await;
            }));
        }
        victim.counts("too much at once", |stats| stats.reads_delayed > 0).await;
        // Each has a chunk beside what is set aside.
        assert!(victim.handle.stats().inbound_bytes_now <= (16 << 20) + 40 * (64 << 10));
        let key = routing_core::id::Guid(routing_core::id::Id([7; 32])).into();
        let keys = std::iter::repeat_n(key, 8_000).collect();
        let large = Message::Fetch(routing_core::message::Fetch { id: RequestId(1), keys });
        victim.asker.send(victim.contact.grid(), &large).await;
        assert_eq!(victim.asker.message().await.1, large);
        for attacker in attackers {
            attacker.await.unwrap();
        }
        victim.counts("half frames", |stats| stats.frames_timed_out > 0 && stats.inbound_bytes_now == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_goes_without_a_word_is_lost() {
    patient(async {
        let mut a = Peer::new(1, lab()).await;
        let b = Peer::new(2, lab()).await;
        a.request(&b.target()).await;
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        let target = b.target();
        // As when its process is killed: nothing is said, the sockets are closed.
        a.connection.close(b.grid()).await.unwrap();
        a.request(&target).await;
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        drop(b);
        assert!(matches!(a.hear().await, Heard::Lost(to, LossReason::Closed) if to == target));
    })
    .await;
}
