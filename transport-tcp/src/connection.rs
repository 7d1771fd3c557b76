//! [`TcpConnection`]: the five verbs, over sockets.

use crate::config::TcpConfig;
use crate::handshakes::Handshakes;
use crate::inbox::{Event, Line};
use crate::listen::listen;
use crate::peers::Peers;
use crate::resolve::{Resolver, SystemResolver};
use crate::shared::{Shared, duration};
use crate::stats::TcpStats;
use async_trait::async_trait;
use routing_core::config::ConfigError;
use routing_core::connection::Connection;
use routing_core::contact::Contact;
use routing_core::effect::Target;
use routing_core::heard::Heard;
use routing_core::id::Grid;
use routing_core::key::SecretKey;
use routing_core::message::Message;
use routing_core::wire::NetworkError;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep};

/// How often a dropped connection looks whether everything was delivered.
const LOOK: Duration = Duration::from_millis(20);
/// How often a connection looks whether there is a place by now for somebody who waits for one.
const PLACE_LOOK: Duration = Duration::from_millis(2);

/// Why a connection cannot be opened. Nothing was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense: correct it.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The network has no proper name: correct it.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The card was not signed by this key: sign one with it.
    #[error("the card is not that of the key")]
    ForeignCard,
    /// The address to listen at cannot be had: another process has it, or it is not this machine's.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no thread left for handshakes, or no files: raise its limits.
    #[error("handshakes cannot have a thread of their own")]
    Thread(#[source] io::Error),
    /// TLS cannot be set up. A defect of the build.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// A node's links to its peers, over TCP with TLS 1.3.
///
/// It cannot be gone: what fails, fails for one link, and is heard as [`Heard::Lost`]. A target that is asked for again
/// while it is being dialled is heard of once. When two nodes have dialled each other at once, both hear
/// [`Heard::Linked`] and [`Heard::Requested`], and one link is left. To be made and used within a tokio
/// runtime with I/O and time enabled. When it is dropped, listening ends at once, and what was handed over is delivered
/// in the background: [`TcpHandle::ended`] waits for that.
pub struct TcpConnection {
    /// Taken when it is dropped.
    peers: Option<Peers>,
    shared: Arc<Shared>,
    listeners: Vec<AbortHandle>,
    handle: TcpHandle,
    /// Exchanged with what has happened, again and again.
    events: Vec<Event>,
    /// What is not heard all at once.
    line: Line,
    /// When something of it may be heard again.
    turn: Option<Pin<Box<Sleep>>>,
    /// When to look again for the place that somebody waits for.
    look: Option<Pin<Box<Sleep>>>,
}

/// What is to be known of a connection while a node has it, and after it is dropped. A clone is the same handle.
#[derive(Clone)]
pub struct TcpHandle {
    shared: Arc<Shared>,
    addresses: Arc<[SocketAddr]>,
    alive: watch::Receiver<()>,
}

impl TcpConnection {
    /// Listens at `addresses` for the node that `secret` belongs to. `contact` is the card that it shows to its peers.
    pub async fn bind(
        addresses: &[SocketAddr],
        secret: Arc<SecretKey>,
        contact: Arc<Contact>,
        config: TcpConfig,
    ) -> Result<Self, OpenError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|source| OpenError::Listen { address: *address, source })?);
        }
        Self::listening(listeners, secret, contact, config)
    }

    /// The same with sockets that listen already: for those who let the system choose a port, and have to know it before
    /// they sign the card.
    pub fn listening(
        listeners: Vec<TcpListener>,
        secret: Arc<SecretKey>,
        contact: Arc<Contact>,
        config: TcpConfig,
    ) -> Result<Self, OpenError> {
        config.validate()?;
        let network = config.network.parse()?;
        if contact.grid() != Grid::from(&secret.public()) || !contact.verify() {
            return Err(OpenError::ForeignCard);
        }
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let shared = Arc::new(Shared::new(config, network, &secret, contact)?);
        let handshakes = Handshakes::new(shared.config.handshake_thread).map_err(OpenError::Thread)?;
        let listeners = listeners.into_iter().map(|listener| handshakes.adopt(listener)).collect::<Result<Vec<_>, _>>();
        let spawn = |listener| handshakes.spawn(listen(shared.clone(), listener)).abort_handle();
        let listeners = listeners.map_err(OpenError::Thread)?.into_iter().map(spawn).collect();
        let (alive, is_alive) = watch::channel(());
        let line = Line::new(shared.config.long_bytes_per_second, shared.start);
        Ok(Self {
            peers: Some(Peers::new(shared.clone(), handshakes, Arc::new(SystemResolver), alive)),
            handle: TcpHandle { shared: shared.clone(), addresses, alive: is_alive },
            shared,
            listeners,
            events: Vec::new(),
            line,
            turn: None,
            look: None,
        })
    }

    /// For somebody who is no node: it listens nowhere and only dials.
    pub fn client(secret: Arc<SecretKey>, config: TcpConfig) -> Result<Self, OpenError> {
        let contact = Contact::client(&secret).into();
        Self::listening(Vec::new(), secret, contact, config)
    }

    /// The same connection, with names looked up by `resolver`.
    pub fn with_resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        if let Some(peers) = &mut self.peers {
            peers.resolver = Arc::new(resolver);
        }
        self
    }

    /// What is to be known of it. To be taken before a node takes the connection.
    pub fn handle(&self) -> TcpHandle {
        self.handle.clone()
    }

    fn peers(&mut self) -> &mut Peers {
        self.peers.as_mut().expect("only dropping takes it")
    }

    fn poll_listen(&mut self, cx: &mut Context<'_>, heard: &mut Vec<Heard>) -> Poll<()> {
        let before = heard.len();
        let Self { peers, shared, events, line, turn, look, .. } = self;
        let peers = peers.as_mut().expect("only dropping takes it");
        peers.set_now(Instant::now());
        heard.append(&mut peers.ready);
        while shared.inbox.poll_take(cx, events).is_ready() {
            for event in events.drain(..) {
                let is_end = matches!(event, Event::Ended(..));
                match line.add(event) {
                    Some(event) => peers.on_event(event, heard),
                    None if is_end => {}
                    None => shared.counters.heard_in_pieces.one(),
                }
            }
            if heard.len() > before {
                break;
            }
        }
        // Pieces of those who are not linked any more bring nothing.
        while line.is_due(heard.len() > before) {
            let now = Instant::now();
            if let Some(wait) = line.closed_for(now) {
                let next = turn.get_or_insert_with(|| Box::pin(sleep(wait)));
                if next.as_mut().poll(cx).is_pending() {
                    break;
                }
                *turn = None;
                continue;
            }
            for event in line.take_some(now) {
                peers.on_event(event, heard);
            }
        }
        // Who waits for an answer that does not come says nothing when it has waited long enough.
        while !peers.go_on(heard) && heard.len() == before {
            let next = look.get_or_insert_with(|| Box::pin(sleep(PLACE_LOOK)));
            if next.as_mut().poll(cx).is_pending() {
                break;
            }
            *look = None;
            peers.set_now(Instant::now());
        }
        if heard.len() > before { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[async_trait]
impl Connection for TcpConnection {
    type Error = Infallible;

    /// Ready at once, as all verbs that act.
    async fn request(&mut self, peer: &Target) -> Result<(), Infallible> {
        self.peers().request(peer);
        Ok(())
    }

    async fn accept(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.peers().accept(&peer);
        Ok(())
    }

    async fn send(&mut self, to: Grid, message: Message) -> Result<(), Infallible> {
        self.peers().send(to, &message);
        Ok(())
    }

    async fn close(&mut self, peer: Grid) -> Result<(), Infallible> {
        self.peers().close(&peer);
        Ok(())
    }

    /// Cancel-safe: what is heard is moved in the poll that is ready.
    async fn listen(&mut self, heard: &mut Vec<Heard>) -> Result<(), Infallible> {
        poll_fn(|cx| self.poll_listen(cx, heard)).await;
        Ok(())
    }
}

impl Drop for TcpConnection {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
        let Some(mut peers) = self.peers.take() else { return };
        // Without a runtime there is nobody left to deliver anything.
        let shared = self.shared.clone();
        let Ok(runtime) = Handle::try_current() else {
            shared.inbox.close();
            return peers.end();
        };
        let mut events = self.line.take_ends();
        runtime.spawn(async move {
            let end = Instant::now() + duration(shared.config.farewell_timeout);
            let mut heard = Vec::new();
            events.drain(..).for_each(|event| peers.on_event(event, &mut heard));
            while peers.has_work() && Instant::now() < end {
                let happens = poll_fn(|cx| shared.inbox.poll_take(cx, &mut events));
                tokio::select! {
                    () = happens => {}
                    // Links do not say when they have written.
                    () = sleep(LOOK) => {}
                }
                for event in events.drain(..) {
                    peers.on_event(event, &mut heard);
                }
                peers.set_now(Instant::now());
                peers.go_on(&mut heard);
                heard.clear();
            }
            shared.inbox.close();
            peers.end();
        });
    }
}

impl fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConnection").field("addresses", &self.handle.addresses).finish_non_exhaustive()
    }
}

impl TcpHandle {
    /// Where the node listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What happened so far.
    pub fn stats(&self) -> TcpStats {
        let Shared { counters, inbound, gate, .. } = &*self.shared;
        counters.inbound_bytes_now.set(inbound.load(Ordering::Relaxed) as u64);
        counters.handshakes_now.set(gate.pending() as u64);
        counters.snapshot()
    }

    /// Waits until the connection was dropped and all of its links have ended, which takes a few seconds at most. A
    /// process that exits before cuts off its node's last words.
    ///
    /// Cancel-safe.
    pub async fn ended(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }
}

impl fmt::Debug for TcpHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpHandle").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
