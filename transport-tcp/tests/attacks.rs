//! What attacks cost others: a node as it runs outside of labs, somebody honest who asks it, and attackers by the hundred in
//! a process of their own, each with its own address on the loopback.
//!
//! Small unless told otherwise. `ATTACKERS=10000 ATTACK_SECONDS=60 cargo test --release -p transport-tcp --test attacks --
//! --nocapture --test-threads=1` prints the rows of the table in `docs/experiments/0008-links.md`. What is measured there is not
//! judged here, since no test depends on how long anything takes; that each attack is counted, and that memory is bounded, is.
//! `ATTACKERS_ON=1`, with `taskset --cpu-list 0` before the command, gives attackers processors of their own, as they have when
//! they come from elsewhere: what is left is what they cost the node, without what they take from it as one of its programs.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

#[allow(dead_code, reason = "an attacker needs a part of it")]
#[path = "../src/tls.rs"]
mod tls;

use common::{Peer, lab, node_at};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::connection::Connection;
use routing_core::contact::{Contact, Versions};
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::holders::SetName;
use routing_core::id::{Grid, Id};
use routing_core::key::SecretKey;
use routing_core::message::{Find, Message, RequestId, Want};
use routing_core::wire::{Hello, write_frame};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use transport_tcp::{TcpConfig, TcpHandle, TcpStats};

/// How long somebody waits before trying again who was thrown out.
const PAUSE: Duration = Duration::from_millis(100);
/// Of those who prove their keys first, which is as much work for them as for the node, so many: far more than it has places.
const PROVEN: usize = 1_000;
/// How much memory a node may take for strangers, all limits being what they are outside of labs. Links that stand take less
/// than 24 KiB each, and what they have said and nobody has heard yet is limited apart.
const MEMORY_MAX: usize = 128 << 20;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

fn question(number: u32) -> Message {
    let (target, set) = (Id::of(&number.to_be_bytes()), SetName::NONE);
    Message::Find(Find { id: RequestId(number), target, want: Want::Contacts, groups: 16, set })
}

/// A node with threads of its own, as it runs outside of tests, and somebody honest who asks it from elsewhere.
struct Victim {
    runtime: Option<Runtime>,
    grid: Grid,
    links: TcpHandle,
    asker: Peer,
    asked: u32,
}

impl Victim {
    async fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let node = runtime.spawn(async {
            let (node, _, links) = node_at(1, TcpConfig::default()).await;
            let (card, handle) = (node.state().contact().clone(), node.handle());
            tokio::spawn(node.run());
            handle.join(vec![]).await.unwrap();
            (card, links)
        });
        let (card, links) = node.await.unwrap();
        let mut asker = Peer::new(2, lab()).await;
        asker.request(&Target::contact(&card)).await;
        assert!(matches!(asker.hear().await, Heard::Linked(..)));
        Self { runtime: Some(runtime), grid: card.grid(), links, asker, asked: 0 }
    }

    /// How long somebody waits for an answer who asks now and then, 99 times of a hundred at most, until it is enough.
    async fn p99(&mut self, mut is_enough: impl FnMut(&TcpStats, Duration) -> bool) -> Duration {
        let (start, mut waited) = (Instant::now(), Vec::new());
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(1);
        while waited.len() % 50 != 0 || waited.len() < 100 || !is_enough(&self.links.stats(), start.elapsed()) {
            self.asked += 2;
            let asked = Instant::now();
            self.asker.connection.send(self.grid, question(self.asked)).await.unwrap();
            loop {
                let (_, message) = self.asker.message().await;
                if message.id() == Some(RequestId(self.asked)) && !message.is_request() {
                    break;
                }
            }
            waited.push(asked.elapsed());
            // At moments that have nothing to do with the milliseconds that the node's timers go by.
            std::thread::sleep(Duration::from_micros(1_000 + u64::from(dice.next_u32()) % 2_000));
        }
        waited.sort_unstable();
        waited[waited.len() * 99 / 100]
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.runtime.take().expect("only dropping takes it").shutdown_background();
    }
}

/// The attackers' process. Dropped, it is killed.
struct Attackers(Child);

impl Attackers {
    fn start(attack: &str, victim: &TcpHandle) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut command = match std::env::var("ATTACKERS_ON") {
            Ok(processors) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &processors]).arg(own);
                command
            }
            Err(_) => Command::new(own),
        };
        command.args(["--exact", "attackers", "--ignored", "--nocapture"]).stdout(Stdio::null());
        Self(command.env("ATTACK", attack).env("VICTIM", victim.addresses()[0].to_string()).spawn().unwrap())
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}

/// Attacks a node for as long as it takes to be counted, and as told; says what it cost.
async fn suffer(attack: &'static str, counter: &'static str, counts: impl Fn(&TcpStats) -> u64) {
    let test = async {
        let seconds = Duration::from_secs(number("ATTACK_SECONDS", 0) as u64);
        let mut victim = Victim::new().await;
        let undisturbed = victim.p99(|_, passed| passed >= seconds / 4).await;
        let before = resident();
        let attackers = Attackers::start(attack, &victim.links);
        let mut most = 0;
        let attacked = victim
            .p99(|stats, passed| {
                most = resident().max(most);
                passed >= seconds && counts(stats) > 0
            })
            .await;
        let stats = victim.links.stats();
        drop(attackers);
        let memory = most.saturating_sub(before);
        println!(
            "| {attack} | {undisturbed:.1?} | {attacked:.1?} | {:.1} MB | {counter} {} | inbound {}, links {} |",
            memory as f64 / 1e6,
            counts(&stats),
            stats.inbound,
            stats.links_now,
        );
        assert!(memory < MEMORY_MAX, "{memory} bytes");
        assert!(u64::from(TcpConfig::default().links_max) >= stats.links_now);
    };
    tokio::time::timeout(Duration::from_secs(600), test).await.expect("the test is stuck");
}

/// Suffers those who prove nothing, and only take places.
async fn suffer_those_who_take_places(attack: &'static str) {
    let counted = "inbound_held_back, handshakes_crowded_out, handshakes_timed_out";
    let count = |stats: &TcpStats| stats.inbound_held_back + stats.handshakes_crowded_out + stats.handshakes_timed_out;
    suffer(attack, counted, count).await;
}

#[tokio::test]
async fn connections_that_say_nothing() {
    suffer_those_who_take_places("idle").await;
}

#[tokio::test]
async fn handshakes_a_byte_a_minute() {
    suffer_those_who_take_places("slow").await;
}

#[tokio::test]
async fn garbage() {
    suffer("garbage", "handshakes_failed", |stats| stats.handshakes_failed).await;
}

#[tokio::test]
async fn another_networks_name() {
    suffer("network", "handshakes_other_network", |stats| stats.handshakes_other_network).await;
}

#[tokio::test]
async fn a_card_that_names_anothers_id() {
    suffer("card", "hellos_invalid", |stats| stats.hellos_invalid).await;
}

#[tokio::test]
async fn frames_beyond_the_limit() {
    suffer("long", "frames_too_long", |stats| stats.frames_too_long).await;
}

#[tokio::test]
async fn floods_of_valid_requests() {
    suffer("flood", "heard_in_pieces, reads_throttled", |stats| stats.heard_in_pieces + stats.reads_throttled).await;
}

#[tokio::test]
async fn answers_that_never_end() {
    suffer("endless", "heard_in_pieces, reads_throttled", |stats| stats.heard_in_pieces + stats.reads_throttled).await;
}

/// Not a test: the attackers, as a process of their own.
#[test]
#[ignore = "run by the tests of this file"]
fn attackers() {
    let Ok(attack) = std::env::var("ATTACK") else { return };
    let victim: SocketAddr = std::env::var("VICTIM").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = number("ATTACKERS", 200);
        let count = if matches!(attack.as_str(), "idle" | "slow" | "garbage") { all } else { all.min(PROVEN) };
        for index in 0..count {
            let attacker = Attacker { index: index as u32, victim };
            let attack = attack.clone();
            tokio::spawn(async move {
                loop {
                    // Whatever fails, it tries again.
                    let _ = attacker.attack(&attack).await;
                    sleep(PAUSE).await;
                }
            });
        }
        std::future::pending::<()>().await;
    });
}

#[derive(Clone, Copy)]
struct Attacker {
    index: u32,
    victim: SocketAddr,
}

impl Attacker {
    async fn attack(&self, attack: &str) -> std::io::Result<()> {
        match attack {
            "idle" => until_ended(self.tcp().await?).await,
            "slow" => {
                let (mut reading, mut writing) = self.tcp().await?.into_split();
                let dribble = async {
                    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3] {
                        writing.write_all(&[byte]).await?;
                        sleep(Duration::from_secs(60)).await;
                    }
                    Ok(())
                };
                tokio::select! {
                    () = until_ended(&mut reading) => {}
                    written = dribble => return written,
                }
            }
            "garbage" => {
                let mut stream = self.tcp().await?;
                let garbage: Vec<u8> = (0..4_000_u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 11) as u8).collect();
                stream.write_all(&garbage).await?;
                until_ended(stream).await;
            }
            "network" => until_ended(self.tls("another").await?).await,
            "card" => {
                let mut stream = self.tls("main").await?;
                stream.write_all(&hello(self.index + 1)).await?;
                until_ended(stream).await;
            }
            "long" => {
                let mut stream = self.greeted().await?;
                stream.write_all(&[0xff; 4]).await?;
                until_ended(stream).await;
            }
            "flood" => {
                let mut frames = Vec::new();
                (0..1_000).for_each(|number| write_frame(&question(number * 2), &mut frames).unwrap());
                self.send_for_ever(&frames).await?;
            }
            "endless" => {
                let mut frames = Vec::new();
                (0..1_000).for_each(|number| write_frame(&Message::Unknown(RequestId(number)), &mut frames).unwrap());
                self.send_for_ever(&frames).await?;
            }
            other => unreachable!("there is no attack {other}"),
        }
        Ok(())
    }

    /// Says the same again and again, and reads what is answered.
    async fn send_for_ever(&self, frames: &[u8]) -> std::io::Result<()> {
        let (mut reading, mut writing) = tokio::io::split(self.greeted().await?);
        tokio::select! {
            () = until_ended(&mut reading) => {}
            () = async { while writing.write_all(frames).await.is_ok() {} } => {}
        }
        Ok(())
    }

    async fn tcp(&self) -> std::io::Result<TcpStream> {
        let [_, high, middle, low] = self.index.to_be_bytes();
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 10 + high, middle, low.max(1)), 0).into())?;
        socket.connect(self.victim).await
    }

    async fn tls(&self, network: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let config = tls::client_config(&key(self.index), &network.parse().unwrap()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(tls::nobody(), self.tcp().await?).await
    }

    async fn greeted(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = self.tls("main").await?;
        stream.write_all(&hello(self.index)).await?;
        stream.flush().await?;
        Ok(stream)
    }
}

fn key(index: u32) -> Arc<SecretKey> {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&index.to_be_bytes());
    Arc::new(SecretKey::from_seed(seed))
}

/// The hello of attacker number `index`, as a frame.
fn hello(index: u32) -> Vec<u8> {
    let contact = Contact::client(&key(index)).into();
    let payload = Hello { network: "main".parse().unwrap(), versions: Versions::CURRENT, contact }.encode();
    [&(payload.len() as u32).to_be_bytes()[..], &payload].concat()
}

/// Reads until the node ends the connection.
async fn until_ended(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut buffer = vec![0; 4_096];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
