//! A link that stands: one task, which alone reads and writes its socket.
//!
//! ```text
//!   Outbox ── all that waits, in one piece ──▶ TLS ──▶ socket
//!   Inbox ◀── one batch at a time ── frames ◀── TLS ◀── socket
//!                                                       │ not read while a batch waits to be heard,
//!                                                       ▼ while the peer is over its rate, before it is accepted
//!                                                  the peer waits
//! ```
//!
//! A link ends in good order: it writes what it has begun, says that nothing follows, and goes on to read for a moment,
//! so that what was under way in the other direction is heard, and no reset overtakes the last words.
//!
//! While it is idle it keeps no buffers.

use crate::control::{Control, Ordered};
use crate::frame::{Frame, FrameReader};
use crate::handshake::Greeted;
use crate::handshakes::Socket;
use crate::inbox::Event;
use crate::outbox::Outbox;
use crate::rate::Bucket;
use crate::shared::{Shared, duration};
use routing_core::id::Grid;
use routing_core::message::{Message, RequestId};
use routing_core::wire::WireError;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::TlsStream;

/// Names one link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct LinkId(pub(crate) u64);

/// Why a link has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndReason {
    /// The peer ended it, or it broke.
    Closed,
    /// Nothing was said on it.
    Idle,
    /// There were too many.
    CrowdedOut,
    /// The same two nodes have another one.
    Doubled,
    /// The node wanted it to.
    Asked,
    /// The node did not take it up.
    NotAccepted,
    /// Too much waited to leave.
    Overflowed,
    /// The peer takes nothing.
    Stalled,
    /// The peer sends what is no message, or never ends a frame.
    Misbehaved,
}

/// How many messages a batch has at most: each takes more memory than the least of frames, and reading them takes its time.
const BATCH_FRAMES: u64 = 128;
/// A frame that has begun with so many bytes here waits if all peers together have too much here.
const LARGE: usize = 16 << 10;
/// How long it waits then until it looks again.
const DELAY: Duration = Duration::from_millis(50);
/// How long a link that another one has replaced waits for the peer to end it.
const SURPLUS: Duration = Duration::from_secs(10);
/// Far enough not to fire while the process lives.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// Messages of one link that wait to be heard, and how many bytes their frames had.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) from: Grid,
    pub(crate) messages: Vec<Message>,
    pub(crate) bytes: usize,
}

/// The task of one link.
struct Link {
    id: LinkId,
    stream: TlsStream<Socket>,
    control: Arc<Control>,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    grid: Grid,

    reader: FrameReader,
    batch: Vec<Message>,
    batch_frames: u64,
    batch_bytes: usize,
    /// What is counted of this link in `Shared::inbound`.
    counted: usize,
    /// Memory is set aside for the whole frame that has begun.
    has_reserved: bool,
    bytes_rate: Bucket,
    messages_rate: Bucket,
    malformed: u32,

    writing: Vec<u8>,
    written: usize,
    must_flush: bool,
    /// This side has said that nothing follows, or the peer has.
    has_shut: bool,
    has_heard_all: bool,

    used: Instant,
    taken: Instant,
    /// When the frame began that has not ended, or was last waited for by this side.
    frame_since: Option<Instant>,
    write_since: Option<Instant>,
    /// The node has not heard the last batch yet.
    waits_for_node: bool,
    paused_until: Option<Instant>,
    ending: Option<(EndReason, Instant)>,
    timer: Pin<Box<Sleep>>,
}

/// Runs the link until it ends, and tells the connection.
pub(crate) async fn run(id: LinkId, greeted: Greeted, control: Arc<Control>, outbox: Arc<Outbox>, shared: Arc<Shared>) {
    let Greeted { stream, contact, slot } = greeted;
    let grid = contact.grid();
    drop(contact);
    let now = Instant::now();
    let config = &shared.config;
    let bucket = |rate: u32| Bucket::new(rate, rate.saturating_mul(4), now);
    let mut link = Link {
        id,
        stream,
        grid,
        reader: FrameReader::default(),
        batch: Vec::new(),
        batch_frames: 0,
        batch_bytes: 0,
        counted: 0,
        has_reserved: false,
        bytes_rate: bucket(config.peer_bytes_per_second),
        messages_rate: bucket(config.peer_messages_per_second),
        malformed: 0,
        writing: Vec::new(),
        written: 0,
        must_flush: false,
        has_shut: false,
        has_heard_all: false,
        used: now,
        taken: now,
        frame_since: None,
        write_since: None,
        waits_for_node: false,
        paused_until: None,
        ending: None,
        timer: Box::pin(sleep_until(now + NEVER)),
        control,
        outbox,
        shared: shared.clone(),
    };
    let reason = poll_fn(|cx| link.poll(cx)).await;
    drop(link);
    drop(slot);
    shared.inbox.push(Event::Ended(id, grid, reason));
}

impl Link {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        loop {
            let now = Instant::now();
            let ordered = self.control.ordered(cx.waker());
            if ordered.is_aborted {
                return Poll::Ready(EndReason::Overflowed);
            }
            if self.ending.is_none()
                && let Some(reason) = ordered.ending.or_else(|| self.overdue(now, &ordered))
            {
                self.ending = Some((reason, now));
            }
            if let Some((reason, since)) = self.ending {
                let is_rude = matches!(reason, EndReason::Misbehaved | EndReason::Stalled);
                if is_rude || now >= since + duration(self.shared.config.linger) {
                    return Poll::Ready(reason);
                }
            }
            let written = self.write(cx, now);
            let read = self.read(cx, now, &ordered);
            self.hand_over();
            match (written, read) {
                (Poll::Ready(Err(reason)), _) | (_, Poll::Ready(Err(reason))) => {
                    return Poll::Ready(self.ending.map_or(reason, |(reason, _)| reason));
                }
                (_, Poll::Ready(Ok(()))) => continue,
                (Poll::Pending | Poll::Ready(Ok(())), Poll::Pending) => {}
            }
            if let Some((reason, _)) = self.ending
                && self.has_shut
                && (self.has_heard_all || !ordered.is_accepted)
            {
                return Poll::Ready(reason);
            }
            if self.wait(cx, &ordered).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Why the link must end by now, if it must.
    fn overdue(&self, now: Instant, ordered: &Ordered) -> Option<EndReason> {
        let config = &self.shared.config;
        let is_over = |since: Option<Instant>, limit: Duration| since.is_some_and(|since| now >= since + limit);
        if is_over(self.write_since, duration(config.write_timeout)) {
            return Some(EndReason::Stalled);
        }
        if self.is_reading() && is_over(self.frame_since, duration(config.frame_timeout)) {
            self.shared.counters.frames_timed_out.one();
            return Some(EndReason::Misbehaved);
        }
        if is_over(ordered.surplus_since, SURPLUS) {
            return Some(EndReason::Doubled);
        }
        if !ordered.is_accepted && is_over(Some(self.taken), duration(config.accept_timeout)) {
            return Some(EndReason::NotAccepted);
        }
        is_over(Some(self.used), duration(config.link_idle)).then_some(EndReason::Idle)
    }

    /// Waits for the first of the link's limits. Ready if one has passed.
    fn wait(&mut self, cx: &mut Context<'_>, ordered: &Ordered) -> Poll<()> {
        let config = &self.shared.config;
        let mut next = self.used + NEVER;
        let mut sooner = |since: Option<Instant>, limit: Duration| {
            if let Some(since) = since {
                next = next.min(since + limit);
            }
        };
        match self.ending {
            Some((_, since)) => sooner(Some(since), duration(config.linger)),
            None => {
                sooner(Some(self.used), duration(config.link_idle));
                sooner(self.write_since, duration(config.write_timeout));
                sooner(ordered.surplus_since, SURPLUS);
                if !ordered.is_accepted {
                    sooner(Some(self.taken), duration(config.accept_timeout));
                }
                if self.is_reading() {
                    sooner(self.frame_since, duration(config.frame_timeout));
                }
            }
        }
        if !self.has_heard_all {
            sooner(self.paused_until, Duration::ZERO);
        }
        // A timer that fires too early costs one look; one that is moved with each message would cost more.
        if next < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }

    /// Writes what waits, as far as the socket takes it. An error is the end.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), EndReason>> {
        let closed = |_| EndReason::Closed;
        if self.has_shut {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.written == self.writing.len() {
                self.finish_writing();
                // Once it is about to end, only the node's own wish lets it take more.
                if self.ending.is_none_or(|(reason, _)| reason == EndReason::Asked) {
                    let (frames, count) = self.outbox.take(self.id, std::mem::take(&mut self.writing), cx.waker());
                    self.writing = frames;
                    self.shared.count_out(count, self.writing.len());
                }
                if self.writing.is_empty() {
                    break;
                }
                self.use_at(now);
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.writing[self.written..]) {
                Poll::Ready(Ok(length)) => {
                    self.written += length;
                    self.must_flush = true;
                    self.write_since = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(closed(error))),
                Poll::Pending => {
                    self.write_since.get_or_insert(now);
                    return Poll::Pending;
                }
            }
        }
        if self.must_flush {
            if Pin::new(&mut self.stream).poll_flush(cx).map_err(closed)?.is_pending() {
                self.write_since.get_or_insert(now);
                return Poll::Pending;
            }
            self.must_flush = false;
        }
        self.write_since = None;
        if self.ending.is_some() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).map_err(closed)?;
            self.has_shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// What was taken is written: gives its memory back.
    fn finish_writing(&mut self) {
        if !self.writing.is_empty() {
            self.outbox.done(self.writing.len());
            self.writing.clear();
            self.written = 0;
        }
    }

    /// Reads what has arrived, one batch at most. Ready if there may be more at once; an error is the end.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant, ordered: &Ordered) -> Poll<Result<(), EndReason>> {
        if !ordered.is_accepted || self.has_heard_all {
            return Poll::Pending;
        }
        if self.paused_until.is_some_and(|until| now < until) {
            return Poll::Pending;
        }
        let has_paused = self.paused_until.take().is_some();
        while self.control.has_room() {
            if (has_paused || self.waits_for_node) && self.frame_since.is_some() {
                // It was not the peer who let the other wait.
                self.frame_since = Some(now);
            }
            self.waits_for_node = false;
            if self.reader.held() > LARGE && !self.reserve() {
                self.shared.counters.reads_delayed.one();
                self.paused_until = Some(now + DELAY);
                return Poll::Pending;
            }
            let is_full = match Pin::new(&mut self.stream).poll_fill_buf(cx) {
                Poll::Ready(Ok([])) => return self.end_reading(now),
                Poll::Ready(Ok(bytes)) => {
                    let mut intake = Intake {
                        reader: &mut self.reader,
                        batch: &mut self.batch,
                        frames: 0,
                        bytes: 0,
                        unknown: Vec::new(),
                        malformed: 0,
                    };
                    let room = (self.shared.config.batch_bytes_max as usize).saturating_sub(self.batch_bytes);
                    let (used, taken) = intake.take(bytes, (room, BATCH_FRAMES - self.batch_frames));
                    let Intake { frames, bytes, unknown, malformed, .. } = intake;
                    Pin::new(&mut self.stream).consume(used);
                    self.batch_frames += frames;
                    self.batch_bytes += bytes;
                    self.on_taken(now, taken, &unknown, malformed)?;
                    self.batch_bytes >= self.shared.config.batch_bytes_max as usize || self.batch_frames >= BATCH_FRAMES
                }
                // As tokio-rustls says it if the peer went without a word.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.end_reading(now);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(EndReason::Closed)),
                Poll::Pending => return Poll::Pending,
            };
            self.count();
            if is_full {
                return Poll::Ready(Ok(()));
            }
        }
        self.waits_for_node = true;
        Poll::Pending
    }

    /// Whether it is for the peer to go on.
    fn is_reading(&self) -> bool {
        self.paused_until.is_none() && !self.waits_for_node
    }

    /// Nothing more comes from the peer. What this side has begun to write it still takes.
    fn end_reading(&mut self, now: Instant) -> Poll<Result<(), EndReason>> {
        self.has_heard_all = true;
        self.ending.get_or_insert((EndReason::Closed, now));
        Poll::Ready(Ok(()))
    }

    /// Takes note of some frames, and answers those of kinds that are not known.
    fn on_taken(
        &mut self,
        now: Instant,
        taken: Result<(), WireError>,
        unknown: &[Option<RequestId>],
        malformed: u32,
    ) -> Result<(), EndReason> {
        let counters = &self.shared.counters;
        self.frame_since = (self.reader.held() > 0).then(|| self.frame_since.unwrap_or(now));
        if self.batch_frames == 0 && taken.is_ok() {
            return Ok(());
        }
        counters.frames_unknown.add(unknown.len() as u64);
        for id in unknown.iter().flatten() {
            // If that is too much, the peer does without: it has asked for more than it takes.
            let _ = self.outbox.push(&Message::Unknown(*id), self.shared.config.held_bytes_max as usize);
        }
        if malformed > 0 {
            counters.frames_malformed.add(malformed.into());
            self.malformed += malformed;
        }
        if taken.is_err() {
            counters.frames_too_long.one();
        }
        if taken.is_err() || self.malformed >= self.shared.config.malformed_max {
            self.hand_over();
            return Err(EndReason::Misbehaved);
        }
        self.use_at(now);
        Ok(())
    }

    /// Whether the peer is over its rate, and is read no further for a while.
    fn throttle(&mut self, now: Instant) -> bool {
        let wait = self.bytes_rate.wait_for(0, now).max(self.messages_rate.wait_for(0, now));
        if let Some(wait) = wait {
            self.shared.counters.reads_throttled.one();
            self.paused_until = Some(now + wait);
        }
        wait.is_some()
    }

    /// Sets memory aside for all of a large frame, if there is any left. So whatever frames have got theirs can end, or
    /// run out of time, and the others get theirs then.
    fn reserve(&mut self) -> bool {
        if !self.has_reserved {
            let max = self.shared.config.inbound_bytes_max as usize;
            self.has_reserved = self.shared.inbound.load(Ordering::Relaxed) + self.reader.promised() <= max;
            self.count();
        }
        self.has_reserved
    }

    /// Counts what this link keeps in memory.
    fn count(&mut self) {
        self.has_reserved &= self.reader.held() > LARGE;
        let frame = if self.has_reserved { self.reader.promised() } else { self.reader.held() };
        let counted = frame + self.batch_bytes;
        if counted > self.counted {
            self.shared.inbound.fetch_add(counted - self.counted, Ordering::Relaxed);
        } else if counted < self.counted {
            self.shared.inbound.fetch_sub(self.counted - counted, Ordering::Relaxed);
        }
        self.counted = counted;
    }

    /// Gives the messages that were read to the connection.
    fn hand_over(&mut self) {
        let (frames, bytes) = (std::mem::take(&mut self.batch_frames), std::mem::take(&mut self.batch_bytes));
        if frames == 0 {
            return;
        }
        let now = Instant::now();
        self.bytes_rate.spend(bytes as u64, now);
        self.messages_rate.spend(frames, now);
        if self.paused_until.is_none() {
            self.throttle(now);
        }
        let counters = &self.shared.counters;
        counters.frames_in.add(frames);
        counters.bytes_in.add(bytes as u64);
        self.count();
        if self.batch.is_empty() {
            return;
        }
        // Counted until it is heard.
        self.shared.inbound.fetch_add(bytes, Ordering::Relaxed);
        self.control.on_batch();
        let batch = Batch { from: self.grid, messages: std::mem::take(&mut self.batch), bytes };
        self.shared.inbox.push(Event::Messages(batch, Some(self.control.clone())));
    }

    fn use_at(&mut self, now: Instant) {
        self.used = now;
        self.control.set_last_used(now.saturating_duration_since(self.shared.start).as_millis() as u64);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outbox.done(self.writing.len());
        self.shared.inbound.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Frames on their way into a batch.
struct Intake<'a> {
    reader: &'a mut FrameReader,
    batch: &'a mut Vec<Message>,
    /// How many frames, and how many bytes they had.
    frames: u64,
    bytes: usize,
    unknown: Vec<Option<RequestId>>,
    malformed: u32,
}

impl Intake<'_> {
    /// Reads frames from `bytes` until there is no more room for bytes or frames; says how many bytes were used. An error
    /// is a frame beyond the limit.
    fn take(&mut self, bytes: &[u8], (room, frames_room): (usize, u64)) -> (usize, Result<(), WireError>) {
        let mut used = 0;
        while used < bytes.len() && self.bytes < room && self.frames < frames_room {
            let (length, frame) = match self.reader.read(&bytes[used..]) {
                Ok(read) => read,
                Err(error) => return (bytes.len(), Err(error)),
            };
            used += length;
            let Frame::Whole(length, result) = frame else { break };
            self.frames += 1;
            self.bytes += length;
            if self.batch.capacity() == 0 {
                // As many as the rest of the chunk may hold, if they are like this one.
                self.batch.reserve((bytes.len() / length).clamp(1, BATCH_FRAMES as usize));
            }
            match result {
                Ok(message) => self.batch.push(message),
                Err(WireError::UnknownKind { id, .. }) => self.unknown.push(id),
                Err(_) => self.malformed += 1,
            }
        }
        (used, Ok(()))
    }
}
