//! Who is linked, who is being dialled, and which of two links counts.
//!
//! ```text
//!   request ─▶ stands, and the peer was there when it was dialled? ─▶ Linked
//!      │
//!      ├─▶ waiting ─▶ dialling ─▶ link ─▶ Linked          what is to be sent waits meanwhile
//!      │                  └─▶ Lost
//!   somebody dials ─▶ link ─▶ Requested ─▶ accept
//! ```
//!
//! **Proof of an address.** Whoever dials this node proves its GRID, and not that it is where its card says. So it is
//! dialled back when the node asks for a link to it: only then is that link heard of as [`Heard::Linked`]. Meanwhile it is
//! answered over its own link, and what the node asks of it waits for the dial. Where a peer was found is remembered for as
//! long as a link to it stands, whoever opened that.
//!
//! **Too many links.** One on which nobody waits for an answer lapses for a new one, the idlest first. Where somebody waits
//! on each, dials wait to begin, and those who have dialled this node wait to be heard, until one is free.
//!
//! **One link for a pair.** When both dial at once there are two for a moment. Of the two nodes the one with the smaller
//! GRID decides: it keeps the newest link it knows of and ends the others in good order. The other one writes to the
//! newest it knows of, reads all, and follows: when a link is ended, what was not written yet goes with the one that is
//! left. So whatever order the two see the links in, they agree on one, and no message is lost. The same rule replaces a
//! link whose other end has restarted.
//!
//! All of it is one thread's: the tasks of links and dials tell what happened through the [`Inbox`](crate::inbox::Inbox).

mod places;

use crate::control::Control;
use crate::dial::{DialError, DialId, dial};
use crate::handshake::Greeted;
use crate::handshakes::Handshakes;
use crate::inbox::Event;
use crate::known::{Known, share};
use crate::link::{self, EndReason, LinkId};
use crate::outbox::{NotTaken, Outbox};
use crate::resolve::Resolver;
use crate::shared::{Shared, duration};
use places::Idlest;
use routing_core::contact::{Address, Contact};
use routing_core::effect::Target;
use routing_core::heard::{Heard, LossReason};
use routing_core::id::Grid;
use routing_core::message::Message;
use routing_core::time::Ticks;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// At how many addresses a peer is remembered to have been found: its card's, an entry point's, and those before a move.
const FOUND_AT_MAX: usize = 4;

/// How long the others who have dialled this node wait when one of them got the place of an idle link.
const TAKEOVER_PAUSE: Duration = Duration::from_millis(1);

/// All peers of a node.
pub(crate) struct Peers {
    shared: Arc<Shared>,
    handshakes: Handshakes,
    pub(crate) resolver: Arc<dyn Resolver>,
    peers: HashMap<Grid, Peer>,
    /// How many links stand, and how many of them others opened.
    standing: usize,
    standing_inbound: usize,
    /// How many links there are with those that are about to end.
    running: usize,
    dials: HashMap<DialId, Dial>,
    by_target: HashMap<Target, DialId>,
    /// Dials that wait for their turn, and such to strangers.
    waiting: VecDeque<DialId>,
    strangers: VecDeque<DialId>,
    /// How many are under way, and how many of them to strangers.
    dialling: usize,
    dialling_strangers: usize,
    known: Known,
    /// Those who have dialled this node and wait for the place of another link, and since when.
    newcomers: VecDeque<(Instant, Box<Greeted>)>,
    /// Before, none of them gets the place of an idle link.
    takes_over_at: Instant,
    /// When something happened last.
    now: Instant,
    last_id: u64,
    /// Whose place another may take: of all links, and of those that others have opened.
    idlest: [Idlest; 2],
    /// What is to be heard next.
    pub(crate) ready: Vec<Heard>,
    /// Held by whatever still runs.
    alive: watch::Sender<()>,
}

/// Somebody with a link, or who is being dialled.
struct Peer {
    /// Its newest card; none before a link has stood.
    contact: Option<Arc<Contact>>,
    /// The newest last; that is the one in use.
    links: SmallVec<[Standing; 2]>,
    /// What its links take.
    outbox: Arc<Outbox>,
    /// Where it was when this node dialled it, the latest last.
    found_at: SmallVec<[Address; 1]>,
    /// While it is being dialled: what waits for that.
    dialled: Option<Dialled>,
    /// Questions that it has not answered yet, and such that this node has not.
    asked: u32,
    owed: u32,
    /// When the last of them was asked.
    asked_at: Instant,
}

/// Dials to one peer that are under way.
struct Dialled {
    count: u32,
    outbox: Arc<Outbox>,
}

struct Standing {
    id: LinkId,
    control: Arc<Control>,
    is_inbound: bool,
    /// The node has asked for it, or taken it up.
    is_accepted: bool,
}

struct Dial {
    target: Target,
    outbox: Option<Arc<Outbox>>,
    asked: Instant,
    is_stranger: bool,
    task: Option<AbortHandle>,
    /// The node has closed the link before it stood: it only delivers what was handed over.
    is_closed: bool,
}

impl Peers {
    pub(crate) fn new(
        shared: Arc<Shared>,
        handshakes: Handshakes,
        resolver: Arc<dyn Resolver>,
        alive: watch::Sender<()>,
    ) -> Self {
        Self {
            shared,
            handshakes,
            resolver,
            peers: HashMap::new(),
            standing: 0,
            standing_inbound: 0,
            running: 0,
            dials: HashMap::new(),
            by_target: HashMap::new(),
            waiting: VecDeque::new(),
            strangers: VecDeque::new(),
            dialling: 0,
            dialling_strangers: 0,
            known: Known::default(),
            newcomers: VecDeque::new(),
            takes_over_at: Instant::now(),
            now: Instant::now(),
            last_id: 0,
            idlest: Default::default(),
            ready: Vec::new(),
            alive,
        }
    }

    pub(crate) fn request(&mut self, target: &Target) {
        if target.grid == Some(self.shared.grid) {
            return self.ready.push(Heard::Lost(target.clone(), LossReason::OtherNode));
        }
        if let Some(contact) = self.take_up_found(target) {
            return self.ready.push(Heard::Linked(target.clone(), contact));
        }
        if self.by_target.contains_key(target) {
            return;
        }
        let (is_stranger, max) = (self.known.is_stranger(target), self.shared.config.dials_waiting_max);
        let is_full = self.waiting.len() + self.strangers.len() >= max as usize;
        if is_full || (is_stranger && self.strangers.len() >= share(max)) {
            self.shared.counters.dials_refused.one();
            return self.ready.push(Heard::Lost(target.clone(), LossReason::Unreachable));
        }
        let id = DialId(self.next_id());
        let outbox = target.grid.map(|grid| {
            let peer = self.peers.entry(grid).or_insert_with(|| Peer::new(&self.shared, self.now));
            let new = || Dialled { count: 0, outbox: Outbox::new(self.shared.outbound.clone()) };
            let dialled = peer.dialled.get_or_insert_with(new);
            dialled.count += 1;
            dialled.outbox.clone()
        });
        let asked = Instant::now();
        let dial = Dial { target: target.clone(), outbox, asked, is_stranger, task: None, is_closed: false };
        self.dials.insert(id, dial);
        self.by_target.insert(target.clone(), id);
        let queue = if is_stranger { &mut self.strangers } else { &mut self.waiting };
        queue.push_back(id);
        self.start_dials();
    }

    pub(crate) fn accept(&mut self, grid: &Grid) {
        self.take_up(grid);
    }

    pub(crate) fn send(&mut self, to: Grid, message: &Message) {
        let (config, counters) = (&self.shared.config, &self.shared.counters);
        let Some(peer) = self.peers.get_mut(&to) else {
            return counters.messages_without_link.one();
        };
        if message.is_request() {
            peer.asked += 1;
            peer.asked_at = self.now;
        } else {
            peer.owed = peer.owed.saturating_sub(1);
        }
        // A question goes to whoever is found there, not to whoever says that it lives there.
        let held = peer.dialled.as_ref().filter(|_| peer.links.is_empty() || message.is_request());
        let (outbox, max) = match held {
            Some(dialled) => (&dialled.outbox, config.held_bytes_max),
            None => (&peer.outbox, config.queue_bytes_max),
        };
        match outbox.push(message, max as usize) {
            Ok(()) => {}
            Err(NotTaken::Full) if held.is_some() => counters.messages_not_held.one(),
            Err(NotTaken::Full) => self.lose(to),
            Err(NotTaken::TooLong) => tracing::error!(kind = message.kind(), "a message is longer than a frame"),
        }
        if self.shared.outbound.load(Ordering::Relaxed) > self.shared.config.outbound_bytes_max as usize {
            let fullest = self.peers.iter().max_by_key(|(_, peer)| peer.waiting()).map(|(grid, _)| *grid);
            if let Some(fullest) = fullest {
                self.lose(fullest);
            }
        }
    }

    pub(crate) fn close(&mut self, grid: &Grid) {
        let Some(peer) = self.peers.remove(grid) else { return };
        for dial in self.dials.values_mut().filter(|dial| dial.target.grid == Some(*grid)) {
            dial.is_closed = true;
            self.by_target.remove(&dial.target);
        }
        for link in &peer.links {
            self.on_down(link);
            link.control.end(EndReason::Asked);
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, heard: &mut Vec<Heard>) {
        match event {
            Event::Messages(batch, control) => {
                self.shared.inbound.fetch_sub(batch.bytes, Ordering::Relaxed);
                if let Some(control) = control {
                    control.on_heard();
                }
                if let Some(peer) = self.peers.get_mut(&batch.from) {
                    peer.on_heard(&batch.messages, self.now);
                    heard.extend(batch.messages.into_iter().map(|message| Heard::Message(batch.from, message)));
                }
            }
            Event::Greeted(greeted) => self.newcomers.push_back((self.now, greeted)),
            Event::Dialled(id, result) => self.on_dialled(id, result),
            Event::Ended(id, grid, reason) => self.on_ended(id, &grid, reason),
        }
        heard.append(&mut self.ready);
    }

    /// Something is about to happen, or time has passed.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Whoever waits for a place gets it, as far as there are any. Says whether nobody waits any more.
    pub(crate) fn go_on(&mut self, heard: &mut Vec<Heard>) -> bool {
        self.let_in();
        self.start_dials();
        heard.append(&mut self.ready);
        self.waiting.is_empty() && self.strangers.is_empty() && self.newcomers.is_empty()
    }

    /// Hears those who have dialled this node. Where all places are taken, one gets that of an idle link, and the next a
    /// moment later: links become idle by the hundred, and whoever is linked is not to wait until hundreds have changed.
    fn let_in(&mut self) {
        // Whoever is linked already gets no other place, and so waits for nobody who does: it has restarted, or dials back.
        let is_linked = |peers: &Self, newcomer: &Greeted| peers.contact_of(&newcomer.contact.grid()).is_some();
        while let Some(index) = self.newcomers.iter().position(|(_, newcomer)| is_linked(self, newcomer)) {
            let Some((_, newcomer)) = self.newcomers.remove(index) else { break };
            self.take_in(*newcomer);
        }
        while let Some((since, _)) = self.newcomers.front() {
            let is_late = self.now > *since + duration(self.shared.config.accept_timeout);
            let takes_over = !is_late && self.is_full();
            if takes_over && (self.now < self.takes_over_at || !self.has_idle(true, 1)) {
                break;
            }
            let Some((_, newcomer)) = self.newcomers.pop_front() else { break };
            if is_late {
                self.shared.counters.links_without_place.one();
                continue;
            }
            self.take_in(*newcomer);
            if takes_over {
                self.takes_over_at = self.now + TAKEOVER_PAUSE;
            }
        }
    }

    /// Hears one of them.
    fn take_in(&mut self, newcomer: Greeted) {
        self.shared.counters.links_taken.one();
        let contact = self.add(newcomer, None);
        self.ready.push(Heard::Requested(contact));
    }

    fn on_dialled(&mut self, id: DialId, result: Result<Box<Greeted>, DialError>) {
        self.dialling -= 1;
        if let Some(dial) = self.dials.remove(&id) {
            self.dialling_strangers -= usize::from(dial.is_stranger);
            if result.is_ok() {
                self.known.find(&dial.target.address);
            }
            self.end_dial(dial, result);
        }
    }

    /// Says what became of a dial.
    fn end_dial(&mut self, dial: Dial, result: Result<Box<Greeted>, DialError>) {
        if dial.is_closed {
            if let (Ok(greeted), Some(outbox)) = (result, dial.outbox) {
                let id = LinkId(self.next_id());
                let control = Arc::<Control>::default();
                control.accept();
                control.end(EndReason::Asked);
                outbox.give_to(id);
                self.spawn_link(id, *greeted, control, outbox);
            }
            return;
        }
        self.by_target.remove(&dial.target);
        match result {
            Ok(greeted) => {
                self.shared.counters.links_opened.one();
                let contact = self.add(*greeted, Some(&dial.target.address));
                self.count_down(&dial.target, true);
                self.ready.push(Heard::Linked(dial.target, contact));
            }
            Err(error) => {
                // Another dial may have found it there.
                let found = self.take_up_found(&dial.target);
                self.count_down(&dial.target, found.is_some());
                if let Some(contact) = found {
                    return self.ready.push(Heard::Linked(dial.target, contact));
                }
                let reason = match error {
                    DialError::Unreachable => LossReason::Unreachable,
                    DialError::OtherNode => LossReason::OtherNode,
                };
                if dial.target.grid.is_some_and(|grid| self.contact_of(&grid).is_some()) {
                    self.shared.counters.callers_not_found.one();
                }
                self.ready.push(Heard::Lost(dial.target, reason));
            }
        }
    }

    /// A dial to this peer has ended. If it was found, what waited for that leaves; else it is dropped with the last dial,
    /// and so is a peer without any link.
    fn count_down(&mut self, target: &Target, is_found: bool) {
        let Some(grid) = target.grid else { return };
        let Some(peer) = self.peers.get_mut(&grid) else { return };
        let Some(dialled) = &mut peer.dialled else { return };
        if is_found {
            dialled.outbox.move_to(&peer.outbox);
        }
        dialled.count -= 1;
        if dialled.count == 0 {
            peer.dialled = None;
            if peer.links.is_empty() {
                self.peers.remove(&grid);
            }
        }
    }

    /// Begins dials while there is room for more.
    fn start_dials(&mut self) {
        while self.dialling < self.shared.config.dials_max as usize {
            let Some((id, dial)) = self.next_dial() else { return };
            let is_stranger = dial.is_stranger;
            let stands = self.found(&dial.target).is_some();
            let is_late = dial.asked.elapsed() > duration(self.shared.config.dial_timeout);
            if !stands && !is_late && !self.has_room_to_dial() {
                return;
            }
            let queue = if is_stranger { &mut self.strangers } else { &mut self.waiting };
            queue.pop_front();
            if stands || is_late {
                if !stands {
                    self.shared.counters.dials_refused.one();
                }
                // What stands is found by the one who says what became of it.
                if let Some(dial) = self.dials.remove(&id) {
                    self.end_dial(dial, Err(DialError::Unreachable));
                }
                continue;
            }
            let Some(dial) = self.dials.get(&id) else { continue };
            let (shared, resolver) = (self.shared.clone(), self.resolver.clone());
            let (target, outbox) = (dial.target.clone(), dial.outbox.clone());
            // The place is made before it is taken: open files are what is scarce.
            if self.standing + self.dialling >= shared.config.links_max as usize {
                self.crowd_out(false, target.grid.as_ref());
            }
            self.dialling += 1;
            self.dialling_strangers += usize::from(is_stranger);
            let task = self.handshakes.spawn(async move {
                let result = self::dial(&shared, &*resolver, &target, is_stranger, outbox.as_ref()).await;
                drop(outbox);
                shared.inbox.push(Event::Dialled(id, result));
            });
            if let Some(dial) = self.dials.get_mut(&id) {
                dial.task = Some(task.abort_handle());
            }
        }
    }

    /// The dial that has waited longest, but none to a stranger while these have their share.
    fn next_dial(&self) -> Option<(DialId, &Dial)> {
        let have_share = self.dialling_strangers >= share(self.shared.config.dials_max);
        let strangers = self.strangers.front().filter(|_| !have_share);
        let id = self.waiting.front().into_iter().chain(strangers).min()?;
        self.dials.get(id).map(|dial| (*id, dial))
    }

    /// A link stands: it is the one to use from now on. `found_at` is where this node dialled, if it did. Returns the newest
    /// card of the link's peer.
    fn add(&mut self, greeted: Greeted, found_at: Option<&Address>) -> Arc<Contact> {
        let (grid, is_inbound) = (greeted.contact.grid(), greeted.slot.is_some());
        let id = LinkId(self.next_id());
        let control = Arc::<Control>::default();
        control.set_last_used(self.shared.start.elapsed().as_millis() as u64);
        if !is_inbound {
            control.accept();
        }
        let decides = self.shared.grid < grid;
        let peer = self.peers.entry(grid).or_insert_with(|| Peer::new(&self.shared, self.now));
        let contact = match peer.contact.take() {
            Some(known) if known.supersedes(&greeted.contact) => known,
            _ => greeted.contact.clone(),
        };
        peer.contact = Some(contact.clone());
        if let Some(address) = found_at {
            peer.on_found(address);
        }
        peer.outbox.give_to(id);
        let outbox = peer.outbox.clone();
        // Whoever does not decide keeps one older link until it hears of the decision.
        let surplus = if decides { peer.links.len() } else { peer.links.len().saturating_sub(1) };
        let ended: SmallVec<[Standing; 2]> = peer.links.drain(..surplus).collect();
        if let Some(older) = peer.links.first() {
            older.control.set_surplus(Some(Instant::now()));
        }
        peer.links.push(Standing { id, control: control.clone(), is_inbound, is_accepted: !is_inbound });
        for link in &ended {
            self.on_down(link);
            link.control.end(EndReason::Doubled);
        }
        self.standing += 1;
        self.standing_inbound += usize::from(is_inbound);
        self.shared.counters.links_now.set(self.standing as u64);
        self.spawn_link(id, greeted, control, outbox);
        self.make_room(&grid);
        contact
    }

    fn spawn_link(&mut self, id: LinkId, mut greeted: Greeted, control: Arc<Control>, outbox: Arc<Outbox>) {
        if self.shared.config.handshake_thread {
            // If its socket cannot move, the link ends as it begins.
            let _ = greeted.stream.get_mut().0.move_here();
        }
        self.running += 1;
        let (shared, alive) = (self.shared.clone(), self.alive.clone());
        tokio::spawn(async move {
            link::run(id, greeted, control, outbox, shared).await;
            drop(alive);
        });
    }

    fn on_ended(&mut self, id: LinkId, grid: &Grid, reason: EndReason) {
        self.running -= 1;
        let counters = &self.shared.counters;
        match reason {
            EndReason::Closed => counters.links_closed.one(),
            EndReason::Idle => counters.links_idle.one(),
            EndReason::CrowdedOut => counters.links_crowded_out.one(),
            EndReason::Doubled => counters.links_doubled.one(),
            EndReason::Asked => {}
            EndReason::NotAccepted => counters.links_not_accepted.one(),
            EndReason::Overflowed => counters.links_overflowed.one(),
            EndReason::Stalled => counters.links_stalled.one(),
            EndReason::Misbehaved => counters.links_misbehaved.one(),
        }
        let reason = if reason == EndReason::Idle { LossReason::Idle } else { LossReason::Closed };
        self.forget_link(id, grid, reason);
    }

    /// A link is no more. If its peer has no other, and is not being dialled, it is lost.
    fn forget_link(&mut self, id: LinkId, grid: &Grid, reason: LossReason) {
        let Some(peer) = self.peers.get_mut(grid) else { return };
        let Some(index) = peer.links.iter().position(|link| link.id == id) else { return };
        let gone = peer.links.remove(index);
        if let Some(link) = peer.links.last() {
            peer.outbox.give_to(link.id);
            link.control.set_surplus(None);
        }
        if peer.links.is_empty() {
            peer.found_at.clear();
        }
        let was_last = peer.links.is_empty() && peer.dialled.is_none();
        if was_last {
            let peer = self.peers.remove(grid);
            if let Some(contact) = peer.and_then(|peer| peer.contact).filter(|_| gone.is_accepted) {
                self.ready.push(Heard::Lost(Target::contact(&contact), reason));
            }
        }
        self.on_down(&gone);
    }

    fn on_down(&mut self, link: &Standing) {
        self.standing -= 1;
        self.standing_inbound -= usize::from(link.is_inbound);
        self.shared.counters.links_now.set(self.standing as u64);
    }

    /// Too much waits for this peer.
    fn lose(&mut self, grid: Grid) {
        let Some(peer) = self.peers.get_mut(&grid) else { return };
        let links = std::mem::take(&mut peer.links);
        let contact = peer.contact.clone();
        match &peer.dialled {
            // The dials go on; what waited so far is dropped.
            Some(dialled) => {
                drop(dialled.outbox.take_held());
                peer.outbox = Outbox::new(self.shared.outbound.clone());
                peer.found_at.clear();
            }
            None => {
                self.peers.remove(&grid);
            }
        }
        for link in &links {
            self.on_down(link);
            link.control.abort();
        }
        if let Some(contact) = contact.filter(|_| !links.is_empty()) {
            self.ready.push(Heard::Lost(Target::contact(&contact), LossReason::Closed));
        }
    }

    /// The card of a peer that a link stands to, also if the node has not taken it up yet.
    fn contact_of(&self, grid: &Grid) -> Option<&Arc<Contact>> {
        self.peers.get(grid).filter(|peer| !peer.links.is_empty())?.contact.as_ref()
    }

    /// Who was at `target` when this node dialled it, if a link to them stands.
    fn found(&self, target: &Target) -> Option<Grid> {
        let is_there = |peer: &&Peer| !peer.links.is_empty() && peer.found_at.contains(&target.address);
        match target.grid {
            Some(grid) => self.peers.get(&grid).filter(is_there).map(|_| grid),
            None => self.peers.iter().find(|(_, peer)| is_there(peer)).map(|(grid, _)| *grid),
        }
    }

    /// The card of that peer; its links are taken up.
    fn take_up_found(&mut self, target: &Target) -> Option<Arc<Contact>> {
        let grid = self.found(target)?;
        self.take_up(&grid)
    }

    /// Takes up the links that a peer has opened. Its card, if there are links at all.
    fn take_up(&mut self, grid: &Grid) -> Option<Arc<Contact>> {
        let peer = self.peers.get_mut(grid).filter(|peer| !peer.links.is_empty())?;
        for link in peer.links.iter_mut().filter(|link| !link.is_accepted) {
            link.is_accepted = true;
            link.control.accept();
        }
        peer.contact.clone()
    }

    /// Whether something that was handed over has not left yet, or may still find a link.
    pub(crate) fn has_work(&self) -> bool {
        let waits = |outbox: &Arc<Outbox>| outbox.len() > 0;
        self.peers.values().any(|peer| waits(&peer.outbox))
            || self.dials.values().any(|dial| dial.outbox.as_ref().is_some_and(waits))
    }

    /// Ends everything in good order.
    pub(crate) fn end(mut self) {
        for dial in self.dials.values().filter_map(|dial| dial.task.as_ref()) {
            dial.abort();
        }
        for peer in std::mem::take(&mut self.peers).into_values() {
            for link in &peer.links {
                link.control.end(EndReason::Asked);
                self.on_down(link);
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Peer {
    fn new(shared: &Shared, now: Instant) -> Self {
        Self {
            contact: None,
            links: SmallVec::new(),
            outbox: Outbox::new(shared.outbound.clone()),
            found_at: SmallVec::new(),
            dialled: None,
            asked: 0,
            owed: 0,
            asked_at: now,
        }
    }

    fn on_heard(&mut self, messages: &[Message], now: Instant) {
        for message in messages {
            if message.is_request() {
                self.owed += 1;
                self.asked_at = now;
            } else {
                self.asked = self.asked.saturating_sub(1);
            }
        }
    }

    /// Whether somebody waits for an answer, here or there, be it only that it leaves.
    fn is_awaited(&self, now: Instant, patience: Ticks) -> bool {
        now < self.asked_at + duration(patience) && (self.asked + self.owed > 0 || self.outbox.len() > 0)
    }

    fn on_found(&mut self, address: &Address) {
        self.found_at.retain(|known| known != address);
        if self.found_at.len() == FOUND_AT_MAX {
            self.found_at.remove(0);
        }
        self.found_at.push(address.clone());
    }

    /// How many bytes wait for it.
    fn waiting(&self) -> usize {
        self.outbox.len() + self.dialled.as_ref().map_or(0, |dialled| dialled.outbox.len())
    }
}
