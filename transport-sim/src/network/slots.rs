//! Where nodes are kept: of each what events look at in two lines of the cache, and behind it what only a turn needs.
//!
//! Of most events the receiver has not been looked at for many ticks, so it is memory that costs, not work. The first
//! line is what others see of a node, the second what becomes of it from tick to tick.

use super::dishonest::Liar;
use super::turns::Inbox;
use super::{Condition, Mode, NodeIndex};
use crate::connection::Time;
use crate::driven::{Driven, Hosted};
use routing_core::contact::Contact;
use routing_core::effect::{Operation, OperationId};
use routing_core::id::Grid;
use routing_core::state::NodeState;
use routing_core::time::{Cadence, Tick};
use std::hash::Hasher;
use std::hint::black_box;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// No tick.
pub(super) const NEVER: Tick = Tick(u64::MAX);

/// A node or client that is or was there.
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) grid: Grid,
    /// Its card as it was when it was added, as long as it lives.
    pub(super) contact: Option<Arc<Contact>>,
    pub(super) place: u32,
    /// How often it has come back.
    pub(super) life: u32,
    /// Where it is while the network is cut.
    pub(super) part: u16,
    pub(super) condition: Condition,
    /// Whether it is run directly, at each tick: what else may be said of it lies in [`Live`].
    pub(super) is_plain: bool,
    /// What it has sent outside operations in this window of the [`Meter`](super::meter::Meter), in bytes.
    pub(super) spent: u32,
    /// Which ledger the traffic of its operations is counted in.
    pub(super) ledger: u32,
    pub(super) messages_waiting: u32,
    /// The chained hash of all that was delivered.
    pub(super) chain: u64,
    pub(super) sequence: u64,
    /// The next tick at which the node wants to run by itself, and the earliest for which a wake-up is queued.
    pub(super) wake: Tick,
    pub(super) queued: Tick,
    pub(super) inbox: Inbox,
    /// Out of its place while the node takes a turn.
    pub(super) live: Option<Box<Live>>,
}

const _: () = assert!(size_of::<Slot>() == 128, "two lines of the cache");

/// What a node has while it lives.
pub(super) struct Live {
    pub(super) runner: Runner,
    /// What makes it dishonest.
    pub(super) liar: Option<Box<Liar>>,
    pub(super) cadence: Cadence,
    pub(super) asked: Vec<(OperationId, Operation)>,
    pub(super) last_operation: u64,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are run directly, and lie behind a pointer already")]
pub(super) enum Runner {
    Direct(NodeState),
    Driven(Box<Driven>),
    Hosted(Box<Hosted>),
}

impl Runner {
    pub(super) fn new(mode: Mode, state: NodeState, time: &Time) -> Self {
        match mode {
            Mode::Direct => Runner::Direct(state),
            Mode::Driver => Runner::Driven(Box::new(Driven::new(state, time))),
        }
    }

    /// The node's state machine; the code of somebody's own keeps its state to itself.
    pub(super) fn state(&self) -> Option<&NodeState> {
        match self {
            Runner::Direct(state) => Some(state),
            Runner::Driven(driven) => Some(driven.state()),
            Runner::Hosted(_) => None,
        }
    }
}

impl Slot {
    pub(super) fn new(contact: Arc<Contact>, place: u32, runner: Runner) -> Self {
        let mut slot = Self {
            grid: contact.grid(),
            contact: None,
            place,
            life: 0,
            part: 0,
            condition: Condition::Running,
            is_plain: false,
            spent: 0,
            ledger: 0,
            messages_waiting: 0,
            chain: 0,
            sequence: 0,
            wake: NEVER,
            queued: NEVER,
            inbox: Inbox::new(),
            live: None,
        };
        slot.begin(contact, Cadence::EACH_TICK, None, runner);
        slot
    }

    /// A life begins.
    pub(super) fn begin(&mut self, contact: Arc<Contact>, cadence: Cadence, liar: Option<Box<Liar>>, runner: Runner) {
        self.contact = Some(contact);
        self.condition = Condition::Running;
        self.ledger = 0;
        self.live = Some(Box::new(Live { runner, liar, cadence, asked: Vec::new(), last_operation: 0 }));
        self.set_cadence(cadence);
    }

    /// A life ends, and what was waiting for it is lost.
    pub(super) fn end(&mut self, condition: Condition) -> Option<Box<Live>> {
        self.condition = condition;
        self.contact = None;
        self.messages_waiting = 0;
        (self.wake, self.queued) = (NEVER, NEVER);
        self.inbox = Inbox::new();
        self.live.take()
    }

    /// Fetches both lines. Looked at one after the other, many slots come from the memory at once.
    pub(super) fn look_at(&self) {
        black_box((self.messages_waiting, self.queued));
    }

    /// Whether somebody is there, halted or not.
    pub(super) fn is_alive(&self) -> bool {
        self.contact.is_some()
    }

    pub(super) fn set_cadence(&mut self, cadence: Cadence) {
        if let Some(live) = &mut self.live {
            live.cadence = cadence;
            self.is_plain = cadence == Cadence::EACH_TICK && matches!(live.runner, Runner::Direct(_));
        }
    }

    /// The first tick at which it may run that is not before `at`.
    pub(super) fn runs_at(&self, at: Tick) -> Tick {
        match &self.live {
            Some(live) if !self.is_plain => live.cadence.at_or_after(at),
            _ => at,
        }
    }

    /// Whether it runs whenever something is there for it.
    pub(super) fn is_prompt(&self) -> bool {
        let each_tick = || self.live.as_ref().is_some_and(|live| live.cadence == Cadence::EACH_TICK);
        self.condition == Condition::Running && (self.is_plain || each_tick())
    }
}

/// All that ever were there, by their numbers.
#[derive(Default)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.0.push(slot);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.0.iter_mut()
    }
}

impl Index<NodeIndex> for Slots {
    type Output = Slot;
    fn index(&self, node: NodeIndex) -> &Slot {
        &self.0[node.0 as usize]
    }
}

impl IndexMut<NodeIndex> for Slots {
    fn index_mut(&mut self, node: NodeIndex) -> &mut Slot {
        &mut self.0[node.0 as usize]
    }
}

/// Hashes ids: their last bytes are as good as any hash, since an id is one. (The first ones may have been ground.)
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    /// The length of an id says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::contact::Address;
    use routing_core::id::Id;
    use routing_core::key::SecretKey;
    use std::hash::{BuildHasher, BuildHasherDefault};

    fn slot() -> Slot {
        let state = NodeState::node(Arc::new(SecretKey::from_seed([1; 32])), Address::none(), Arc::default(), 1);
        Slot::new(state.contact().clone(), 0, Runner::Direct(state))
    }

    #[test]
    fn a_life_that_ends_leaves_nothing_but_what_the_next_one_goes_on_from() {
        let mut slot = slot();
        (slot.sequence, slot.chain, slot.wake, slot.queued, slot.messages_waiting) = (7, 8, Tick(9), Tick(9), 1);
        let live = slot.end(Condition::Down).unwrap();
        assert!(!slot.is_alive() && slot.condition == Condition::Down && !slot.is_prompt());
        assert_eq!((slot.wake, slot.queued, slot.messages_waiting), (NEVER, NEVER, 0));
        let contact = live.runner.state().unwrap().contact().clone();
        slot.begin(contact, live.cadence, live.liar, live.runner);
        assert!(slot.is_alive() && slot.is_prompt());
        assert_eq!((slot.sequence, slot.chain), (7, 8));
    }

    #[test]
    fn who_runs_at_every_third_tick_is_neither_plain_nor_prompt() {
        let mut slot = slot();
        assert_eq!((slot.is_plain, slot.is_prompt(), slot.runs_at(Tick(4))), (true, true, Tick(4)));
        slot.set_cadence(Cadence::starting(Tick(3), 3));
        assert_eq!((slot.is_plain, slot.is_prompt(), slot.runs_at(Tick(4))), (false, false, Tick(6)));
        slot.set_cadence(Cadence::EACH_TICK);
        assert_eq!((slot.is_plain, slot.is_prompt()), (true, true));
        slot.condition = Condition::Halted;
        assert!(!slot.is_prompt());
    }

    #[test]
    fn ids_that_share_their_first_bytes_do_not_share_their_hash() {
        let hash = |last: u8| {
            let mut id = [7; 32];
            id[31] = last;
            BuildHasherDefault::<IdHasher>::default().hash_one(Grid(Id(id)))
        };
        assert_ne!(hash(1), hash(2));
        assert_eq!(hash(1), hash(1));
    }
}
