//! A routing node as a daemon: from the data directory into the network, and out of it again.
//!
//! ```text
//!   Store::open ─▶ NodeState::restore ─▶ RoutingNode over TcpConnection ─▶ join what is remembered, and --join
//!       ▲                                    │ each turn: Keeper commits, then messages leave
//!       └── remembered contacts ─────────────┤ Status: what health and metrics show
//!                                            ▼
//!   SIGTERM, SIGINT ─▶ away ─▶ last words delivered ─▶ exit       `leave` ─▶ join ─▶ leave for good ─▶ exit
//! ```

use crate::admin;
use crate::config::{Config, ConfigError};
use crate::hosts::{self, HostsError};
use crate::status::{Counted, Status};
use crate::store::{Opened, Store, StoreError, StoreKeeper};
use routing_core::connection::Connection;
use routing_core::contact::{Address, AddressError};
use routing_core::domain::Domain;
use routing_core::driver::{Clock, DriverError, NodeHandle, RoutingNode, SystemClock};
use routing_core::effect::Target;
use routing_core::error::{DepartError, JoinError};
use routing_core::state::{NodeState, Phase};
use routing_core::time::Ticks;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use transport_tcp::{OpenError, TcpConnection, TcpHandle};

/// Why a server did not start, or stopped before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The hosts file cannot be used.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The domain is too long for an address with a port.
    #[error("the domain is too long: {0}")]
    Address(#[from] AddressError),
    /// The links cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}; check that it is this machine's and that no other process has it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The disk does not take what must be kept.
    #[error("the disk refuses what must be kept: {0}; check the free space and the disk, then start again")]
    Keep(#[from] redb::Error),
    /// The node has stopped by itself.
    #[error("the node has stopped: {0}; check the disk, then start again")]
    Stopped(#[from] DriverError<Infallible>),
    /// A defect: please report it.
    #[error("a task has failed, which is a defect: {0}")]
    Defect(#[from] tokio::task::JoinError),
    /// The system gives no signals, random bytes or threads.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
    /// It could not join, so it could not leave.
    #[error("not left, since the network was not reached: {0}")]
    NotJoined(JoinError),
    /// It did not leave.
    #[error("not left: {0}; run it again")]
    NotLeft(DepartError),
    /// It was stopped before it had left.
    #[error("not left: stopped before everything was handed over; run it again")]
    Interrupted,
    /// Stopping took too long.
    #[error("stopping took longer than {0}: others may take this node for killed until it is back")]
    Slow(Ticks),
    /// It was told twice to stop.
    #[error("stopping was cut short by {0}: others may take this node for killed until it is back")]
    CutShort(&'static str),
}

/// Runs a server until SIGTERM or SIGINT, then says *away* and stops. One `is_alone` joins nobody, and is part of a network
/// at once: its own, which whoever it remembers finds when it comes back after all.
pub async fn serve(config: Config, is_alone: bool) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(&config, Store::open) => server?,
        signal = signals.next() => {
            info!(signal, "stopped while starting: nobody has heard of this node yet");
            return Ok(());
        }
    };
    let Server { handle, links, status, store, running, mut entry_points } = server;
    let mut running = running;
    if is_alone && !entry_points.is_empty() {
        warn!(known = entry_points.len(), "alone, as told: whoever is remembered or named is not waited for");
        entry_points.clear();
    }
    let health = admin::Health::new(handle.clone(), status.clone());
    if let Some(address) = config.admin.0 {
        let listener = bind(address).await?;
        info!(address = %listener.local_addr()?, "health and metrics");
        tokio::spawn(admin::serve(listener, admin::Admin { health, status, links: links.clone(), store }));
    }
    let joining = tokio::spawn(join(handle.clone(), entry_points));
    let stopped = tokio::select! {
        ended = &mut running => return ended?,
        signal = signals.next() => signal,
    };
    info!(signal = stopped, away_for = %config.away_for, "stopping: others are told that this node will be back");
    notify(sd_notify::NotifyState::Stopping);
    joining.abort();
    let stop = async {
        match handle.away(config.away_for).await {
            Ok(()) => (&mut running).await??,
            // Nobody expects it to be here: there is nobody to tell.
            Err(DepartError::NotJoined) => running.abort(),
            Err(error) => warn!(%error, "could not say that this node will be back"),
        }
        links.ended().await;
        Ok(())
    };
    tokio::select! {
        stopped = tokio::time::timeout(duration(config.stop_within), stop) => match stopped {
            Ok(result) => result,
            Err(_) => Err(ServeError::Slow(config.stop_within)),
        },
        signal = signals.next() => Err(ServeError::CutShort(signal)),
    }
}

/// Starts the node of a directory that no server runs on, and has it leave the network for good.
pub async fn leave(config: Config) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(&config, Store::open_existing) => server?,
        _ = signals.next() => return Err(ServeError::Interrupted),
    };
    let goes = async {
        server.handle.join(server.entry_points.clone()).await.map_err(ServeError::NotJoined)?;
        info!("handing over what this node holds");
        server.handle.leave().await.map_err(ServeError::NotLeft)?;
        server.running.await??;
        let store = server.store.clone();
        tokio::task::spawn_blocking(move || store.leave()).await??;
        server.links.ended().await;
        info!("left for good");
        Ok(())
    };
    tokio::select! {
        left = goes => left,
        _ = signals.next() => Err(ServeError::Interrupted),
    }
}

/// A node that runs, and is on its way to nowhere yet.
struct Server {
    handle: NodeHandle,
    links: TcpHandle,
    status: Status,
    store: Arc<Store>,
    running: JoinHandle<Result<(), ServeError>>,
    /// Whom to join through: those remembered, and those that were named.
    entry_points: Vec<Target>,
}

impl Server {
    /// Everything up to the node's loop. What takes long, or waits for a disk, is done on threads that may wait.
    async fn start(config: &Config, open: fn(&Path) -> Result<Opened, StoreError>) -> Result<Self, ServeError> {
        let data = config.data.clone();
        let data = data.ok_or(ConfigError::Missing("name the data directory with --data, or data in the file"))?;
        let domain = config.domain.as_ref();
        let domain =
            domain.ok_or(ConfigError::Missing("name this server's domain with --domain, or domain in the file"))?;
        let hosts = config.hosts.clone();
        let read = move || hosts.as_deref().map(hosts::read).transpose();
        let resolver = tokio::task::spawn_blocking(read).await??;
        let dir = data.clone();
        let opened = tokio::task::spawn_blocking(move || open(&dir)).await??;
        let Opened { store, secret, kept, unreadable } = opened;
        if unreadable > 0 {
            warn!(
                unreadable,
                "entries of the database cannot be read and are left out; the network still has the records"
            );
        }
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push(bind(*address).await?);
        }
        let address = address(config, domain, listeners.first())?;
        let mut entry_points = kept.entry_points();
        entry_points.extend(config.entry_points());
        if entry_points.is_empty() {
            warn!("nobody is remembered and --join names nobody: this node begins a network of its own");
        }
        let (contacts, records) = (kept.contacts.len(), kept.copies.len());
        let clock = SystemClock::new();
        let node = Arc::new(config.node.clone());
        let (own, seed, now) = (secret.clone(), random_seed()?, clock.now());
        let restore = move || NodeState::restore(own, address, node, seed, kept, now);
        let state = tokio::task::spawn_blocking(restore).await?;
        info!(
            grid = %state.grid(), address = %state.contact().address(), contacts, records,
            directory = %data.display(), "starting"
        );
        let (begins, sequence) = (store.clone(), state.contact().sequence());
        tokio::task::spawn_blocking(move || begins.begin(sequence)).await??;
        let card = state.contact().clone();
        let mut connection = TcpConnection::listening(listeners, secret, card, config.links.clone())?;
        if let Some(hosts) = resolver {
            connection = connection.with_resolver(hosts);
        }
        let (links, status) = (connection.handle(), Status::new(&state));
        info!(addresses = ?links.addresses(), "listening for other nodes");
        let keeper = StoreKeeper(store.clone());
        let node =
            RoutingNode::new(state, Counted::new(connection, status.clone())).with_clock(clock).with_keeper(keeper);
        let handle = node.handle();
        let running = tokio::spawn(run(node, status.clone()));
        Ok(Self { handle, links, status, store, running, entry_points })
    }
}

/// Where others dial this server: its domain, and the port if that is not the usual one.
fn address(config: &Config, domain: &Domain, listener: Option<&TcpListener>) -> Result<Address, ServeError> {
    let port = match (config.public_port, listener) {
        (Some(port), _) => port,
        (None, Some(listener)) => listener.local_addr()?.port(),
        (None, None) => config.links.port,
    };
    Ok(if port == config.links.port { domain.into() } else { format!("{domain}:{port}").parse()? })
}

/// The node's loop: one turn after the other, each of which is looked at.
async fn run<C: Connection<Error = Infallible>, K: Clock>(
    mut node: RoutingNode<C, K>,
    status: Status,
) -> Result<(), ServeError> {
    loop {
        let phase = node.step().await?;
        status.note(node.state());
        if phase == Phase::Departed {
            return Ok(());
        }
        // A step takes all that is ready, so a busy node is never out of work by itself.
        tokio::task::yield_now().await;
    }
}

async fn join(handle: NodeHandle, entry_points: Vec<Target>) {
    match handle.join(entry_points).await {
        Ok(joined) => info!(contacts = joined.contacts, "this node is part of the network"),
        Err(JoinError::NoEntryPoint { tried }) => {
            warn!(
                tried,
                "nobody answers yet; going on trying. Check that one of them runs, or name others with --join"
            );
        }
        Err(error) => warn!(%error, "not joined"),
    }
    // Also if nobody has answered: what waits for this server may start, and it goes on trying.
    notify(sd_notify::NotifyState::Ready);
}

/// Tells systemd, if it started this process and waits for it.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "systemd could not be told");
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

fn random_seed() -> Result<u64, io::Error> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)?;
    Ok(u64::from_be_bytes(seed))
}

fn duration(span: Ticks) -> Duration {
    Duration::from_millis(span.0)
}

/// What ends a server in good order. From the first moment on, so that none is missed while it starts.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
