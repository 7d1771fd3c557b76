//! What all tasks of a connection share.

use crate::cards::Cards;
use crate::config::TcpConfig;
use crate::gate::Gate;
use crate::inbox::Inbox;
use crate::known::share;
use crate::ledger::Ledger;
use crate::stats::Counters;
use crate::tls;
use routing_core::contact::{Contact, Versions};
use routing_core::id::Grid;
use routing_core::key::SecretKey;
use routing_core::time::Ticks;
use routing_core::wire::{FRAME_OVERHEAD, Hello, Network};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) struct Shared {
    pub(crate) config: TcpConfig,
    pub(crate) grid: Grid,
    pub(crate) hello: Hello,
    /// The hello as it is written.
    pub(crate) hello_frame: Vec<u8>,
    pub(crate) cards: Cards,
    pub(crate) connector: TlsConnector,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) inbox: Inbox,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<Ledger>,
    /// Leave to look up names, and leave for those whom only a card names, who need both.
    pub(crate) resolves: Semaphore,
    pub(crate) resolves_of_strangers: Semaphore,
    pub(crate) counters: Counters,
    /// Bytes that have arrived and were not heard yet.
    pub(crate) inbound: AtomicUsize,
    /// Bytes that wait to leave.
    pub(crate) outbound: Arc<AtomicUsize>,
    /// What moments are counted from.
    pub(crate) start: Instant,
}

impl Shared {
    pub(crate) fn new(
        config: TcpConfig,
        network: Network,
        secret: &Arc<SecretKey>,
        contact: Arc<Contact>,
    ) -> Result<Self, rustls::Error> {
        let connector = TlsConnector::from(Arc::new(tls::client_config(secret, &network)?));
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(secret, &network)?));
        let grid = contact.grid();
        let hello = Hello { network, versions: Versions::CURRENT, contact };
        let payload = hello.encode();
        let mut hello_frame = Vec::with_capacity(FRAME_OVERHEAD + payload.len());
        hello_frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        hello_frame.extend_from_slice(&payload);
        let start = Instant::now();
        Ok(Self {
            grid,
            hello,
            hello_frame,
            cards: Cards::default(),
            connector,
            acceptor,
            inbox: Inbox::default(),
            gate: Gate::new(&config, start),
            ledger: Ledger::new(&config),
            resolves: Semaphore::new(config.resolves_max as usize),
            resolves_of_strangers: Semaphore::new(share(config.resolves_max)),
            counters: Counters::default(),
            inbound: AtomicUsize::new(0),
            outbound: Arc::default(),
            start,
            config,
        })
    }

    /// Counts what a link has taken to be written.
    pub(crate) fn count_out(&self, frames: u64, bytes: usize) {
        if frames > 0 {
            self.counters.frames_out.add(frames);
            self.counters.bytes_out.add(bytes as u64);
        }
    }
}

/// A setting's span as the runtime's timers take it.
pub(crate) fn duration(span: Ticks) -> Duration {
    Duration::from_millis(span.0)
}
