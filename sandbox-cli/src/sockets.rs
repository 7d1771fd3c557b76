//! A federation on real sockets: each node the production driver over TCP with TLS on the loopback, all in this process.
//!
//! [`Sockets`] carries a [`RoutingSandbox`] as the simulated network does, so the same scenario with the same seed has the
//! same servers, users and askers here. What differs is time, which is real, and the order in which things happen, which
//! is the machine's: there is no digest.
//!
//! ```text
//!   RoutingSandbox ─▶ Sockets ─ ask ─▶ NodeHandle ─▶ task: RoutingNode over Counted over TcpConnection
//!        ▲               ▲                              │ after each turn: where it is in its life
//!        │ Finished      └────────── watch ─────────────┘
//!        └── a task for each operation
//! ```
//!
//! Nodes are at domains, which lead to loopback addresses here as by a hosts file, so whoever is one group in the sandbox
//! is one here. A node that stops comes back with what its memory was told to keep, at the port it had.
//!
//! It is used from outside of any async runtime: it has one of its own, and waits for it.

mod counted;
mod directory;
mod limits;
mod memory;

pub use limits::{OpenFiles, needed};

use counted::{Counted, Tally};
use directory::Directory;
use memory::Memory;
use routing_core::contact::{Contact, Standing};
use routing_core::driver::{Clock, NodeHandle, RoutingNode, SystemClock};
use routing_core::effect::{Operation, OperationId, Outcome};
use routing_core::id::{Grid, Key};
use routing_core::key::SecretKey;
use routing_core::record::Record;
use routing_core::state::{Kept, NodeState, Phase};
use routing_core::time::Tick;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use transport_sim::carrier::{Carrier, Unseen};
use transport_sim::network::{Condition, Counters, Finished, NodeIndex, Traffic};
use transport_sim::sandbox::RoutingSandbox;
use transport_tcp::{TcpConfig, TcpConnection, TcpHandle};

/// How many operations of one step are under way at once. A client opens links to all holders of what it asks for, each of
/// which is two handshakes' work for this one process: many more at once would only wait for each other.
pub const OPERATIONS_MAX: u64 = 32;
/// How often a server that comes back tries to have its port again.
const AGAIN: u32 = 50;
/// How long a tick waits.
const TICK: Duration = Duration::from_millis(1);

/// A federation on real sockets.
pub type Loopback = RoutingSandbox<Sockets>;

/// The nodes and clients of one process, and the runtime that they live in.
pub struct Sockets {
    runtime: Runtime,
    threads: usize,
    clock: SystemClock,
    config: TcpConfig,
    directory: Arc<Directory>,
    tally: Arc<Tally>,
    slots: Vec<Slot>,
    by_grid: BTreeMap<Grid, NodeIndex>,
    /// Where operations say how they have ended.
    ended: (Sender<Finished>, Receiver<Finished>),
    finished: Vec<Finished>,
    /// Links that were opened by those who are gone.
    links_past: u64,
    failure: Option<io::Error>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("nodes", &self.slots.len())
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

struct Slot {
    grid: Grid,
    secret: Arc<SecretKey>,
    /// What outlives a stop, as a disk would.
    memory: Memory,
    life: Life,
}

enum Life {
    Up(Box<Live>),
    Down(Kept),
    /// Whether it said farewell for good.
    Gone {
        has_left: bool,
    },
}

/// A node or client whose task was started; it may have departed since.
struct Live {
    contact: Arc<Contact>,
    handle: NodeHandle,
    sockets: TcpHandle,
    ledger: Arc<AtomicUsize>,
    seen: watch::Receiver<Seen>,
    stop: Arc<Notify>,
    /// Gives back what it would begin with.
    task: JoinHandle<Kept>,
}

/// What a node's task tells of it after each turn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    phase: Phase,
    standing: Standing,
    is_writing: bool,
    is_idle: bool,
}

impl Seen {
    fn of(state: &NodeState) -> Self {
        Self {
            phase: state.phase(),
            standing: state.contact().standing(),
            is_writing: state.is_writing(),
            is_idle: state.is_idle(),
        }
    }
}

impl Sockets {
    /// Nobody yet. Each node has at most `links_max` links, or as many as [`TcpConfig`] says.
    pub fn open(links_max: Option<u32>, threads: NonZeroUsize) -> io::Result<Self> {
        let config = Self::config(links_max);
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self {
            runtime: Builder::new_multi_thread().worker_threads(threads.get()).enable_all().build()?,
            threads: threads.get(),
            clock: SystemClock::new(),
            config,
            directory: Arc::default(),
            tally: Arc::default(),
            slots: Vec::new(),
            by_grid: BTreeMap::new(),
            ended: channel(),
            finished: Vec::new(),
            links_past: 0,
            failure: None,
        })
    }

    /// The settings of each node's links. Few links leave few for dials under way, lest these outnumber them.
    pub fn config(links_max: Option<u32>) -> TcpConfig {
        let lab = TcpConfig::lab();
        let Some(links_max) = links_max else { return lab };
        TcpConfig {
            links_max,
            links_inbound_max: links_max.saturating_mul(3) / 4,
            dials_max: lab.dials_max.min(links_max / 8).max(1),
            ..lab
        }
    }

    fn slot(&self, node: NodeIndex) -> &Slot {
        &self.slots[node.0 as usize]
    }

    fn live(&self, node: NodeIndex) -> Option<&Live> {
        match &self.slot(node).life {
            Life::Up(live) if live.seen.borrow().phase != Phase::Departed => Some(live),
            Life::Up(_) | Life::Down(_) | Life::Gone { .. } => None,
        }
    }

    /// Takes a node's life from it: what is left of it then is for the caller to say.
    fn take(&mut self, node: NodeIndex) -> Life {
        let life = &mut self.slots[node.0 as usize].life;
        let life = std::mem::replace(life, Life::Gone { has_left: false });
        if let Life::Up(live) = &life {
            self.links_past += live.sockets.stats().links_opened;
        }
        life
    }

    /// Starts the task of a node or client.
    fn start(&mut self, secret: &Arc<SecretKey>, state: NodeState, memory: &Memory) -> io::Result<Live> {
        let _runtime = self.runtime.enter();
        let contact = state.contact().clone();
        let listener = match contact.address().domain() {
            Some(domain) => Some(self.listen(domain.as_str())?),
            None => None,
        };
        let connection = TcpConnection::listening(
            listener.into_iter().collect(),
            secret.clone(),
            contact.clone(),
            self.config.clone(),
        )
        .map_err(io::Error::other)?
        .with_resolver(self.directory.clone());
        let (sockets, ledger) = (connection.handle(), Arc::new(AtomicUsize::new(0)));
        let (seer, seen) = watch::channel(Seen::of(&state));
        let connection = Counted::new(connection, self.tally.clone(), ledger.clone());
        let node = RoutingNode::new(state, connection).with_clock(self.clock).with_keeper(memory.clone());
        let (handle, stop) = (node.handle(), Arc::new(Notify::new()));
        let task = self.runtime.spawn(run(node, seer, stop.clone()));
        Ok(Live { contact, handle, sockets, ledger, seen, stop, task })
    }

    /// A socket for the server at `domain`: where it was before, else wherever there is room.
    fn listen(&self, domain: &str) -> io::Result<TcpListener> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let before = self.directory.get(domain).and_then(|before| {
            // Its earlier socket may still be closing; if somebody else has the port by now, it is not waited for long.
            (0..AGAIN)
                .find_map(|_| std::net::TcpListener::bind(before).inspect_err(|_| std::thread::sleep(TICK * 5)).ok())
        });
        let listener = before.map_or_else(|| std::net::TcpListener::bind(anywhere), Ok)?;
        listener.set_nonblocking(true)?;
        self.directory.set(domain, listener.local_addr()?);
        TcpListener::from_std(listener)
    }
}

/// Runs a node until it departs or is told to stop.
async fn run(mut node: RoutingNode<Counted>, seer: watch::Sender<Seen>, stop: Arc<Notify>) -> Kept {
    loop {
        // Connection and keeper are ready at once, so a step that is pending has nothing half done.
        let phase = tokio::select! {
            biased;
            () = stop.notified() => return node.state().kept(),
            phase = node.step() => phase.expect("neither sockets nor a memory fail"),
        };
        let seen = Seen::of(node.state());
        seer.send_if_modified(|before| std::mem::replace(before, seen) != seen);
        if phase == Phase::Departed {
            return node.state().kept();
        }
    }
}

impl Carrier for Sockets {
    fn now(&self) -> Tick {
        self.clock.now()
    }

    fn tick(&mut self) -> Tick {
        self.finished.extend(self.ended.1.recv_timeout(TICK));
        self.finished.extend(self.ended.1.try_iter());
        self.now()
    }

    fn add(&mut self, secret: &Arc<SecretKey>, state: NodeState, _: u32) -> NodeIndex {
        let index = NodeIndex(u32::try_from(self.slots.len()).expect("a process has fewer than 2^32 nodes"));
        let (grid, memory) = (state.grid(), Memory::default());
        let life = match self.start(secret, state, &memory) {
            Ok(live) => Life::Up(Box::new(live)),
            Err(error) => {
                self.failure.get_or_insert(error);
                Life::Gone { has_left: false }
            }
        };
        self.by_grid.insert(grid, index);
        self.slots.push(Slot { grid, secret: secret.clone(), memory, life });
        index
    }

    fn drop_client(&mut self, client: NodeIndex) -> bool {
        self.by_grid.remove(&self.grid(client));
        self.kill(client);
        // Its links may take a moment to end, and one that is dialled anew with the same key would be taken for theirs.
        false
    }

    fn ask(&mut self, node: NodeIndex, operation: Operation, ledger: usize) -> Option<OperationId> {
        let live = self.live(node)?;
        live.ledger.store(ledger, Ordering::Relaxed);
        let asked = live.handle.submit(operation).ok()?;
        let (id, mut seen) = (asked.id(), live.seen.clone());
        let (ended, clock) = (self.ended.0.clone(), self.clock);
        self.runtime.spawn(async move {
            // A node that was killed or stopped never answers.
            let Ok(outcome) = asked.await else { return };
            let at = clock.now();
            if matches!(outcome, Outcome::Departed(Ok(()))) {
                // Whoever is told that it has gone finds it gone.
                let _ = seen.wait_for(|seen| seen.phase == Phase::Departed).await;
            }
            let _ = ended.send(Finished { node, operation: id, at, outcome });
        });
        Some(id)
    }

    fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    fn operations_max(&self) -> u64 {
        OPERATIONS_MAX
    }

    fn kill(&mut self, node: NodeIndex) {
        if let Life::Up(live) = self.take(node) {
            live.task.abort();
        }
        self.slots[node.0 as usize].memory = Memory::default();
    }

    fn stop(&mut self, node: NodeIndex) {
        let life = match self.take(node) {
            Life::Up(live) => {
                live.stop.notify_one();
                self.runtime.block_on(live.task).map_or(Life::Gone { has_left: false }, Life::Down)
            }
            other => other,
        };
        self.slots[node.0 as usize].life = life;
    }

    fn revive(&mut self, node: NodeIndex, restore: impl FnOnce(Kept) -> NodeState) -> bool {
        if self.condition(node) != Condition::Down {
            return false;
        }
        // Who has said that it will be back has ended its task by itself.
        self.stop(node);
        let Life::Down(mut kept) = self.take(node) else { return false };
        let Slot { secret, memory, .. } = self.slot(node);
        let (secret, memory) = (secret.clone(), memory.clone());
        memory.limit(&mut kept);
        match self.start(&secret, restore(kept), &memory) {
            Ok(live) => self.slots[node.0 as usize].life = Life::Up(Box::new(live)),
            Err(error) => _ = self.failure.get_or_insert(error),
        }
        true
    }

    fn grid(&self, node: NodeIndex) -> Grid {
        self.slot(node).grid
    }

    fn index_of(&self, grid: &Grid) -> Option<NodeIndex> {
        self.by_grid.get(grid).copied()
    }

    fn contact(&self, node: NodeIndex) -> Option<&Arc<Contact>> {
        self.live(node).map(|live| &live.contact)
    }

    fn condition(&self, node: NodeIndex) -> Condition {
        match &self.slot(node).life {
            Life::Up(live) => {
                let seen = *live.seen.borrow();
                match (seen.phase, seen.standing) {
                    (Phase::Departed, Standing::Away { .. }) => Condition::Down,
                    (Phase::Departed, _) => Condition::Left,
                    _ => Condition::Running,
                }
            }
            Life::Down(_) => Condition::Down,
            Life::Gone { has_left: true } => Condition::Left,
            Life::Gone { has_left: false } => Condition::Killed,
        }
    }

    fn phase(&self, node: NodeIndex) -> Option<Phase> {
        self.live(node).map(|live| live.seen.borrow().phase)
    }

    fn is_writing(&self, node: NodeIndex) -> bool {
        self.live(node).is_some_and(|live| live.seen.borrow().is_writing)
    }

    fn is_idle(&self, node: NodeIndex) -> bool {
        self.live(node).is_none_or(|live| live.seen.borrow().is_idle)
    }

    fn held(&self, node: NodeIndex, key: &Key) -> Result<Option<Arc<Record>>, Unseen> {
        self.live(node).map(|_| self.slot(node).memory.get(key)).ok_or(Unseen)
    }

    fn counters(&self) -> Counters {
        let standing = self.slots.iter().filter_map(|slot| match &slot.life {
            Life::Up(live) => Some(live.sockets.stats().links_opened),
            Life::Down(_) | Life::Gone { .. } => None,
        });
        Counters { links_opened: self.links_past + standing.sum::<u64>(), ..self.tally.counters() }
    }

    fn open_ledger(&mut self) -> usize {
        self.tally.open_ledger()
    }

    fn ledger(&self, ledger: usize) -> Traffic {
        self.tally.ledger(ledger)
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

/// Nothing behind a lock here is ever left half changed, so a panic elsewhere poisons nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
