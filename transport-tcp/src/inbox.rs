//! What the tasks of links, dials and listeners have to say to the connection, in order.
//!
//! Its length is bounded by those who write to it: a link has one batch here at most, a dial or handshake one event, and
//! each of these is bounded in number.

use crate::control::Control;
use crate::dial::{DialError, DialId};
use crate::handshake::Greeted;
use crate::link::{Batch, EndReason, LinkId};
use crate::lock;
use crate::rate::Bucket;
use routing_core::id::Grid;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// What weighs no more than that is heard at once: some questions.
const SHORT: usize = 1 << 10;
/// Of what weighs more, so much of one peer is heard at a time, and of all peers: some milliseconds' work. Less would mean
/// that answers leave in smaller pieces, and each takes a call of the system.
const PIECE: usize = 8 << 10;
const AT_ONCE: usize = 32 << 10;
/// The same where it is limited how much is heard: a tenth of a millisecond's work, since others are not to wait longer.
const AT_ONCE_LIMITED: usize = 2 << 10;
/// What a message weighs beside its bytes: however short, it takes its time.
const MESSAGE: usize = 64;
/// So many times in a row what is short is heard before it.
const PASSED_OVER_MAX: u32 = 8;
/// Of so many links that have ended what they said last waits for its turn, at most.
const ENDED_MAX: usize = 64;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A dial has ended.
    Dialled(DialId, Result<Box<Greeted>, DialError>),
    /// Somebody who dialled has proven who it is.
    Greeted(Box<Greeted>),
    /// Messages of a link, and the link, if it waits until they are heard.
    Messages(Batch, Option<Arc<Control>>),
    /// A link has ended.
    Ended(LinkId, Grid, EndReason),
}

#[derive(Default, Debug)]
pub(crate) struct Inbox {
    events: Mutex<Events>,
}

#[derive(Default, Debug)]
struct Events {
    list: Vec<Event>,
    listener: Option<Waker>,
    /// Nobody will ask again: what happens now is dropped, with the sockets that come with it.
    is_closed: bool,
}

impl Inbox {
    pub(crate) fn push(&self, event: Event) {
        let mut events = lock(&self.events);
        if events.is_closed {
            return;
        }
        events.list.push(event);
        let listener = events.listener.take();
        drop(events);
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    /// The connection is no more.
    pub(crate) fn close(&self) {
        let mut events = lock(&self.events);
        events.is_closed = true;
        let list = std::mem::take(&mut events.list);
        // Dropping an event may end a task, which has something to say.
        drop(events);
        drop(list);
    }

    /// Exchanges what has happened for `empty`, once there is something.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, empty: &mut Vec<Event>) -> Poll<()> {
        let mut events = lock(&self.events);
        if events.list.is_empty() {
            events.listener = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut events.list, empty);
        Poll::Ready(())
    }
}

/// Long batches that wait to be heard, one of a link at most. What one link brings stays in its order, and its end comes last.
///
/// Of each peer as many bytes are heard, though a message is heard whole and may be a thousand times as long as another. So
/// whoever says much, be it in one message, keeps nobody waiting who says little. Next is the piece that would be complete
/// first if all were heard at the same time, a byte of each in turn (fair queueing: Demers, Keshav and Shenker, 1989). To deal a
/// credit to each peer in rounds would be as fair in the long run, but many with long messages would have saved up enough in
/// the same round, and whoever comes then would wait for all of them.
#[derive(Debug)]
pub(crate) struct Line {
    waiting: Vec<Waiting>,
    /// How many bytes would have been heard by now of each peer of whom something waits, if all were heard byte by byte.
    heard_of_each: u64,
    /// Where on that scale all of what a peer has said will have been heard.
    ends_at: HashMap<Grid, u64>,
    /// How much may be heard of it.
    rate: Bucket,
    /// How many ends wait.
    ends: usize,
    /// How many times in a row something else was heard instead.
    passed_over: u32,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    /// Where on the scale of [`Line::heard_of_each`] it begins.
    begins_at: u64,
    control: Option<Arc<Control>>,
    end: Option<Event>,
}

impl Line {
    /// Nobody waits, and so many bytes a second may be heard.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            waiting: Vec::new(),
            heard_of_each: 0,
            ends_at: HashMap::new(),
            rate: Bucket::new(per_second, per_second / 4, now),
            ends: 0,
            passed_over: 0,
        }
    }

    /// Gives back what is to be heard at once. The end of a link that this node has crowded out is, and so is one too many:
    /// what such a link said and still waits is heard of nobody then.
    pub(crate) fn add(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Messages(batch, control) if batch.weight() > SHORT => {
                let ends_at = self.ends_at.entry(batch.from).or_default();
                let begins_at = self.heard_of_each.max(*ends_at);
                *ends_at = begins_at + batch.weight() as u64;
                self.waiting.push(Waiting { batch, begins_at, control, end: None });
                None
            }
            Event::Ended(_, from, reason) if reason != EndReason::CrowdedOut && self.ends < ENDED_MAX => {
                let is_of_it = |waiting: &&mut Waiting| waiting.batch.from == from && waiting.end.is_none();
                let Some(last) = self.waiting.iter_mut().rev().find(is_of_it) else { return Some(event) };
                last.end = Some(event);
                self.ends += 1;
                None
            }
            event => Some(event),
        }
    }

    /// Whether something waits and has its turn: nothing else was heard, or something else was too many times in a row.
    pub(crate) fn is_due(&mut self, has_heard: bool) -> bool {
        self.passed_over = if has_heard && self.passed_over < PASSED_OVER_MAX { self.passed_over + 1 } else { 0 };
        self.passed_over == 0 && !self.waiting.is_empty()
    }

    /// How long nothing of it is to be heard.
    pub(crate) fn closed_for(&mut self, now: Instant) -> Option<Duration> {
        self.rate.wait_for(0, now)
    }

    /// Nobody hears any more: only the ends of links are left of what waits.
    pub(crate) fn take_ends(&mut self) -> Vec<Event> {
        self.ends = 0;
        self.ends_at.clear();
        self.waiting.drain(..).filter_map(|waiting| waiting.end).collect()
    }

    /// What is to be heard next of all that waits.
    pub(crate) fn take_some(&mut self, now: Instant) -> SmallVec<[Event; 4]> {
        let at_once = if self.rate.is_limited() { AT_ONCE_LIMITED } else { AT_ONCE };
        let piece = PIECE.min(at_once);
        let (mut events, mut room) = (SmallVec::new(), at_once);
        while room > 0
            && let Some(index) = self.next(piece)
        {
            let waiting = &mut self.waiting[index];
            let (count, weight) = waiting.batch.piece(piece);
            waiting.begins_at += weight as u64;
            room = room.saturating_sub(weight);
            self.rate.spend(weight as u64, now);
            if count == waiting.batch.messages.len() {
                let Waiting { batch, control, end, .. } = self.waiting.remove(index);
                events.push(Event::Messages(batch, control));
                self.ends -= usize::from(end.is_some());
                events.extend(end);
            } else {
                events.push(Event::Messages(waiting.batch.split(count), None));
            }
            self.count(weight as u64);
        }
        events
    }

    /// Whose piece comes next; of several the one that came first.
    fn next(&self, piece: usize) -> Option<usize> {
        let ends_at = |waiting: &Waiting| waiting.begins_at + waiting.batch.piece(piece).1 as u64;
        self.waiting.iter().enumerate().min_by_key(|(_, waiting)| ends_at(waiting)).map(|(index, _)| index)
    }

    /// So much was heard: it is shared by all of whom something would still be heard, were it byte by byte.
    fn count(&mut self, weight: u64) {
        if self.waiting.is_empty() {
            self.ends_at.clear();
        }
        self.heard_of_each += weight.div_ceil(self.ends_at.len().max(1) as u64);
        let heard_of_each = self.heard_of_each;
        self.ends_at.retain(|_, ends_at| *ends_at > heard_of_each);
    }
}

impl Batch {
    fn weight(&self) -> usize {
        self.bytes + self.messages.len() * MESSAGE
    }

    /// How many messages are heard at a time, if it is to be `piece` bytes and one message at least, and what they weigh.
    fn piece(&self, piece: usize) -> (usize, usize) {
        let each = self.each() + MESSAGE;
        let count = (piece / each).max(1);
        if count < self.messages.len() { (count, count * each) } else { (self.messages.len(), self.weight()) }
    }

    /// The first so many messages, which are left out of the rest.
    fn split(&mut self, count: usize) -> Self {
        let bytes = self.each() * count;
        self.bytes -= bytes;
        Self { from: self.from, messages: self.messages.drain(..count).collect(), bytes }
    }

    fn each(&self) -> usize {
        self.bytes / self.messages.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::id::Id;
    use routing_core::message::{Message, RequestId};

    fn batch(from: u8, count: u32, bytes: usize) -> Event {
        let messages = (0..count).map(|number| Message::Unknown(RequestId(number))).collect();
        Event::Messages(Batch { from: Grid(Id([from; 32])), messages, bytes }, None)
    }

    fn said(event: &Event) -> (u8, Vec<u32>, usize) {
        let Event::Messages(batch, _) = event else { panic!("{event:?}") };
        let numbers = batch.messages.iter().map(|message| match message {
            Message::Unknown(RequestId(number)) => *number,
            other => panic!("{other:?}"),
        });
        (batch.from.0.0[0], numbers.collect(), batch.bytes)
    }

    #[test]
    fn whoever_says_little_is_heard_before_all_that_another_says() {
        let mut line = Line::new(0, Instant::now());
        assert!(line.add(batch(1, 1_000, 50_000)).is_none() && line.add(batch(2, 500, 9_000)).is_none());
        let short = line.add(batch(3, 2, 20));
        assert_eq!(short.as_ref().map(said), Some((3, vec![0, 1], 20)));
        let (mut heard, mut turns) = ([Vec::new(), Vec::new()], Vec::new());
        let mut bytes = 0;
        while line.is_due(false) {
            let events = line.take_some(Instant::now());
            assert!(!events.is_empty() && events.len() <= AT_ONCE.div_ceil(PIECE) + 1);
            for (from, numbers, weight) in events.iter().map(said) {
                turns.push(from);
                heard[usize::from(from) - 1].extend(numbers);
                bytes += weight;
            }
        }
        for (numbers, count) in heard.iter().zip([1_000, 500]) {
            assert!(numbers.iter().copied().eq(0..count), "in the order in which it was said");
        }
        assert_eq!(turns[..4], [1, 2, 1, 2], "each in its turn");
        assert_eq!(bytes, 59_000, "what was counted when it came is counted off as it is heard");
    }

    #[test]
    fn what_a_peer_has_said_is_heard_before_its_end_unless_it_was_crowded_out() {
        let end = |from: u8, reason| Event::Ended(LinkId(from.into()), Grid(Id([from; 32])), reason);
        let mut line = Line::new(0, Instant::now());
        assert!(line.add(batch(1, 1_000, 50_000)).is_none());
        assert!(line.add(end(2, EndReason::Closed)).is_some(), "of which nothing waits");
        assert!(line.add(end(1, EndReason::CrowdedOut)).is_some());
        assert!(line.add(end(1, EndReason::Closed)).is_none());
        let mut heard = 0;
        while line.is_due(false) {
            for event in line.take_some(Instant::now()) {
                match event {
                    Event::Ended(LinkId(1), ..) => assert_eq!(heard, 1_000),
                    event => heard += said(&event).1.len(),
                }
            }
        }
        assert_eq!((heard, line.ends), (1_000, 0));
    }

    #[test]
    fn once_nobody_hears_any_more_the_ends_are_told_at_once() {
        let mut line = Line::new(1, Instant::now());
        for from in [1, 2] {
            assert!(line.add(batch(from, 1_000, 50_000)).is_none());
        }
        assert!(line.add(Event::Ended(LinkId(2), Grid(Id([2; 32])), EndReason::Closed)).is_none());
        assert!(matches!(line.take_ends().as_slice(), [Event::Ended(LinkId(2), ..)]));
        assert!(line.take_ends().is_empty() && !line.is_due(false));
    }

    #[test]
    fn only_so_many_of_those_who_are_gone_are_heard_to_the_end() {
        let mut line = Line::new(0, Instant::now());
        let ends = (0..=ENDED_MAX).map(|number| {
            let from = Grid(Id([number as u8; 32]));
            assert!(line.add(batch(number as u8, 100, 5_000)).is_none());
            line.add(Event::Ended(LinkId(number as u64), from, EndReason::Closed)).is_some()
        });
        assert_eq!(ends.filter(|is_at_once| *is_at_once).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_who_say_much_no_more_is_heard_than_may_be() {
        let start = Instant::now();
        let mut line = Line::new(40_000, start);
        for from in 1..=9 {
            assert!(line.add(batch(from, 500, 32_000)).is_none());
        }
        let (mut heard, mut now) = ([0; 9], start);
        while now < start + Duration::from_secs(4) && line.is_due(false) {
            if let Some(wait) = line.closed_for(now) {
                now += wait.max(Duration::from_millis(1));
                continue;
            }
            for (from, numbers, _) in line.take_some(now).iter().map(said) {
                heard[usize::from(from) - 1] += numbers.len();
            }
        }
        // A second's quarter was saved up, and each message weighs 64 bytes and itself.
        let all: usize = heard.iter().sum();
        assert!((1_300..=1_350).contains(&all), "{all}");
        assert!(heard.iter().all(|of_one| (100..=200).contains(of_one)), "{heard:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_short_messages_are_heard_in_a_moment_however_long_those_of_many_others_are() {
        let start = Instant::now();
        let mut line = Line::new(2 << 20, start);
        for from in 1..=64 {
            assert!(line.add(batch(from, 1, 500_000)).is_none());
        }
        // Somebody says little before any of those others is heard, and again and again while they are, who go on without end.
        let (mut now, mut next, mut came, mut left, mut others) = (start, start, start, 0, 0);
        while now < start + Duration::from_secs(30) {
            if left == 0 && now >= next {
                (next, came, left) = (now + Duration::from_millis(300), now, 4);
                assert!(line.add(batch(100, 4, 4_000)).is_none());
            }
            assert!(left == 0 || now < came + Duration::from_secs(1), "after {others} others");
            if let Some(wait) = line.closed_for(now) {
                now += wait.max(Duration::from_millis(1));
                continue;
            }
            for (from, numbers, _) in line.take_some(now).iter().map(said) {
                if from == 100 {
                    left -= numbers.len();
                } else {
                    others += 1;
                    assert!(line.add(batch(from, 1, 500_000)).is_none());
                }
            }
        }
        assert!(others > 100, "{others} long messages in half a minute");
    }

    #[test]
    fn whoever_says_much_is_heard_though_others_say_little_without_end() {
        let mut line = Line::new(0, Instant::now());
        assert!(!line.is_due(false), "nothing waits");
        assert!(line.add(batch(1, 1_000, 50_000)).is_none());
        let turns = (0..90).filter(|_| line.is_due(true)).count();
        assert_eq!(turns, 10);
        assert!(line.is_due(false));
    }
}
