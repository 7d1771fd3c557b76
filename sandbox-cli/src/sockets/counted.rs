//! Counting what a node says and hears, as the simulated network does.

use super::lock;
use async_trait::async_trait;
use routing_core::connection::Connection;
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::wire::frame_len;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use transport_sim::network::{Counters, Traffic};
use transport_tcp::TcpConnection;

/// What all nodes have counted.
#[derive(Default)]
pub(super) struct Tally(Mutex<Sums>);

struct Sums {
    counters: Counters,
    ledgers: Vec<Traffic>,
}

impl Default for Sums {
    fn default() -> Self {
        Self { counters: Counters::default(), ledgers: vec![Traffic::default()] }
    }
}

impl Tally {
    /// What was counted so far. Links are counted elsewhere.
    pub(super) fn counters(&self) -> Counters {
        lock(&self.0).counters
    }

    /// Opens a ledger, and gives its number.
    pub(super) fn open_ledger(&self) -> usize {
        let mut sums = lock(&self.0);
        sums.ledgers.push(Traffic::default());
        sums.ledgers.len() - 1
    }

    /// What was counted in a ledger.
    pub(super) fn ledger(&self, ledger: usize) -> Traffic {
        lock(&self.0).ledgers[ledger]
    }
}

/// A connection whose messages are counted.
pub(super) struct Counted {
    connection: TcpConnection,
    tally: Arc<Tally>,
    /// Where the traffic of its operations is counted.
    ledger: Arc<AtomicUsize>,
}

impl Counted {
    pub(super) fn new(connection: TcpConnection, tally: Arc<Tally>, ledger: Arc<AtomicUsize>) -> Self {
        Self { connection, tally, ledger }
    }

    /// A request is counted for who sends it, an answer for who gets it.
    fn count_for_operation(&self, sums: &mut Sums, message: &Message) {
        sums.ledgers[self.ledger.load(Ordering::Relaxed)] += traffic(message);
    }
}

/// What a message is on a link. TLS adds its own, which is not counted.
fn traffic(message: &Message) -> Traffic {
    Traffic { messages: 1, bytes: frame_len(message) as u64 }
}

#[async_trait]
impl Connection for Counted {
    type Error = Infallible;

    async fn request(&mut self, peer: &Target) -> Result<(), Infallible> {
        self.connection.request(peer).await
    }

    async fn accept(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.connection.accept(peer).await
    }

    async fn send(&mut self, to: Grid, message: Message) -> Result<(), Infallible> {
        {
            let mut sums = lock(&self.tally.0);
            sums.counters.sent += traffic(&message);
            if !message.is_for_operation() {
                sums.counters.upkeep += traffic(&message);
                sums.counters.records_moved += message.copies() as u64;
            } else if message.is_request() {
                self.count_for_operation(&mut sums, &message);
            }
        }
        self.connection.send(to, message).await
    }

    async fn close(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.connection.close(peer).await
    }

    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Infallible> {
        let before = heard.len();
        self.connection.listen(heard).await?;
        let mut sums = lock(&self.tally.0);
        for heard in &heard[before..] {
            let Heard::Message(_, message) = heard else { continue };
            sums.counters.events += 1;
            if message.is_for_operation() && !message.is_request() {
                self.count_for_operation(&mut sums, message);
            }
        }
        Ok(())
    }
}
