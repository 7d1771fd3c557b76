//! What a node is asked to do: operations begin, go on when something is heard or is due, end, or are ended early.

use super::compare::Comparisons;
use super::core::{Core, Role};
use super::requests::Requests;
use super::{Joined, NodeState, Phase, announce, join, leave, lookup, register};
use crate::contact::{Contact, Standing};
use crate::effect::{Effect, Operation, OperationId, Outcome, Target};
use crate::error::{DepartError, JoinError, LookupError, RegisterError};
use crate::time::{Tick, Ticks};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The join that a node begins by itself, after it was cut off: no caller waits for it.
const AGAIN: OperationId = OperationId(u64::MAX);

/// An operation under way.
#[derive(Debug)]
pub(super) enum Running {
    Join(join::Join),
    Register(register::Register),
    Lookup(lookup::Lookup),
    Leave(leave::Leave),
    Announce(announce::Announce),
}

impl Running {
    pub(super) fn next_wake(&self) -> Tick {
        match self {
            Running::Join(join) => join.next_wake,
            Running::Register(register) => register.next_wake(),
            Running::Lookup(lookup) => lookup.next_wake(),
            Running::Leave(leave) => leave.next_wake(),
            Running::Announce(announce) => announce.next_wake(),
        }
    }
}

/// How an operation stands after a step.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Going,
    Done,
}

impl NodeState {
    pub(super) fn on_asked(&mut self, id: OperationId, operation: Operation) {
        let is_busy = self.operations.len() >= self.core.config.operations_max as usize;
        let is_stopped = self.phase == Phase::Departed;
        let entries = match &self.core.role {
            Role::Client(entries) => entries.clone(),
            Role::Node(_) => Vec::new(),
        };
        let core = &mut self.core;
        let refuse = |core: &mut Core, outcome| core.effect(Effect::Complete(id, outcome));
        let running = match operation {
            Operation::Join(entries) => return self.join(id, entries),
            Operation::Leave => return self.leave(id),
            Operation::Away(span) => return self.away(id, span),
            Operation::Cancel(target) => return self.cancel(target),
            Operation::Lookup(..) if is_stopped => return refuse(core, Outcome::Answered(Err(LookupError::Stopped))),
            Operation::Lookup(..) if is_busy => return refuse(core, Outcome::Answered(Err(LookupError::Busy))),
            Operation::Lookup(key, consistency) => {
                lookup::Lookup::start(core, id, key, consistency, &entries).map(Running::Lookup)
            }
            Operation::Register(_) | Operation::Announce if is_stopped => {
                return refuse(core, Outcome::Registered(Err(RegisterError::Stopped)));
            }
            Operation::Register(_) | Operation::Announce if is_busy => {
                return refuse(core, Outcome::Registered(Err(RegisterError::Busy)));
            }
            Operation::Register(records) => {
                let invalid =
                    records.iter().enumerate().find_map(|(index, record)| Some((index, record.verify().err()?)));
                if let Some((index, reason)) = invalid {
                    return refuse(core, Outcome::Registered(Err(RegisterError::Invalid { index, reason })));
                }
                register::Register::start(core, id, records, &entries).map(Running::Register)
            }
            Operation::Announce => announce::Announce::start(core, id).map(Running::Announce),
        };
        if let Some(running) = running {
            self.run(id, running);
        }
    }

    /// Keeps an operation under way, and its timer.
    pub(super) fn run(&mut self, id: OperationId, running: Running) {
        self.timers.insert((running.next_wake(), id));
        self.operations.insert(id, Box::new(running));
    }

    pub(super) fn join(&mut self, id: OperationId, entries: Vec<Target>) {
        // A join that has failed goes on trying, until other entry points are named.
        let failed = self.operations.iter().find(|(_, running)| match &***running {
            Running::Join(join) => join.is_reported(),
            _ => false,
        });
        if let Some((failed, _)) = failed {
            self.cancel(*failed);
        }
        if self.phase != Phase::Outside || !self.core.is_node() {
            return self.core.effect(Effect::Complete(id, Outcome::Joined(Err(JoinError::NotNow))));
        }
        if entries.is_empty() {
            // With nobody to compare with, though an earlier attempt to join may have hoped so.
            self.core.newcomer = None;
            // The first of its network: there is nobody to learn from.
            self.core.effect(Effect::Complete(id, Outcome::Joined(Ok(Joined { contacts: 0, round_trips: 0 }))));
            return self.on_joined();
        }
        self.phase = Phase::Joining;
        // Until it has compared its range with others, nothing that this node says counts.
        self.core.newcomer = Some(BTreeSet::new());
        let join = join::Join::start(&mut self.core, id, entries);
        self.run(id, Running::Join(join));
    }

    pub(super) fn on_joined(&mut self) {
        self.phase = Phase::Joined;
        self.core.table.on_filled();
        self.upkeep.start(&mut self.core);
        self.announcing.start(&mut self.core);
    }

    pub(super) fn leave(&mut self, id: OperationId) {
        if self.phase != Phase::Joined {
            return self.core.effect(Effect::Complete(id, Outcome::Departed(Err(DepartError::NotJoined))));
        }
        let leave = leave::Leave::start(&mut self.core, id);
        self.run(id, Running::Leave(leave));
        self.is_leaving = true;
    }

    /// A leaver goes once its heirs have what it held, and nobody waits for anything that was asked of it.
    pub(super) fn depart_if_ready(&mut self) {
        let now = self.core.now;
        let leaving = self.operations.iter().find_map(|(id, running)| match &**running {
            Running::Leave(leave) => Some((*id, leave.is_ready(), leave.is_due(now))),
            _ => None,
        });
        let is_waited_for = self.operations.values().any(|running| match &**running {
            Running::Lookup(_) => true,
            Running::Register(register) => !register.is_reported(),
            Running::Join(_) | Running::Leave(_) | Running::Announce(_) => false,
        });
        if let Some((id, true, is_due)) = leaving
            && (is_due || !is_waited_for)
        {
            self.with_operation(id, |running, core, _| {
                if let Running::Leave(leave) = running {
                    leave.say_goodbye(core);
                }
                Progress::Done
            });
        }
    }

    pub(super) fn away(&mut self, id: OperationId, span: Ticks) {
        if self.phase != Phase::Joined {
            return self.core.effect(Effect::Complete(id, Outcome::Departed(Err(DepartError::NotJoined))));
        }
        self.remember();
        self.core.say_farewell(Standing::Away { for_ms: Core::bounded_absence(span).0 });
        self.core.effect(Effect::Complete(id, Outcome::Departed(Ok(()))));
        self.on_departed();
    }

    /// Everything under way ends; the node does nothing any more.
    pub(super) fn on_departed(&mut self) {
        self.phase = Phase::Departed;
        self.is_leaving = false;
        self.upkeep.stop();
        self.announcing.stop();
        self.core.requests = Requests::default();
        self.core.dials.clear();
        self.timers.clear();
        for (id, running) in std::mem::take(&mut self.operations) {
            self.core.end_early(id, &running, false);
        }
    }

    pub(super) fn cancel(&mut self, id: OperationId) {
        if let Some(running) = self.operations.remove(&id) {
            self.timers.remove(&(running.next_wake(), id));
            self.core.end_early(id, &running, true);
            if matches!(*running, Running::Join(_)) {
                self.phase = Phase::Outside;
            }
        }
    }

    /// Joins once more, without a caller. Until it has compared its range with others, what this node says counts for
    /// nothing.
    pub(super) fn rejoin(&mut self, through: &Arc<Contact>) {
        if self.phase != Phase::Joined {
            return;
        }
        let is_joining = self.operations.values().any(|running| matches!(**running, Running::Join(_)));
        if is_joining || !self.upkeep.may_rejoin(self.core.now) {
            return self.upkeep.rejoin_later(self.core.now, through);
        }
        self.core.newcomer = Some(BTreeSet::new());
        self.core.dead.on_rejoin();
        let join = join::Join::start_again(&mut self.core, AGAIN, vec![Target::contact(through)]);
        self.run(AGAIN, Running::Join(join));
    }

    /// A join waits for its comparisons, too.
    pub(super) fn after_comparison(&mut self) {
        let joining =
            self.operations.iter().find(|(_, running)| matches!(***running, Running::Join(_))).map(|(id, _)| *id);
        if let Some(id) = joining {
            self.with_operation(id, |running, core, comparisons| match running {
                Running::Join(join) => join.progress(core, comparisons),
                _ => Progress::Going,
            });
        }
    }

    /// Lets an operation take a step, and ends it if that was the last.
    pub(super) fn with_operation(
        &mut self,
        id: OperationId,
        step: impl FnOnce(&mut Running, &mut Core, &mut Comparisons) -> Progress,
    ) {
        let Some(running) = self.operations.get_mut(&id) else { return };
        let timer = running.next_wake();
        let progress = step(running, &mut self.core, &mut self.comparisons);
        let next = running.next_wake();
        if progress == Progress::Going && next == timer {
            return;
        }
        self.timers.remove(&(timer, id));
        if progress == Progress::Going {
            self.timers.insert((next, id));
        } else if let Some(running) = self.operations.remove(&id) {
            self.core.dials.retain(|(_, waiting)| *waiting != id);
            match *running {
                Running::Join(_) => {
                    self.on_joined();
                    if id == AGAIN {
                        self.core.hand_over_all();
                    }
                }
                Running::Leave(_) => self.on_departed(),
                Running::Register(_) | Running::Lookup(_) | Running::Announce(_) => {}
            }
        }
    }
}

impl Core {
    /// An operation ends without having come to its end: its caller hears why.
    fn end_early(&mut self, id: OperationId, running: &Running, is_cancelled: bool) {
        self.dials.retain(|(_, waiting)| *waiting != id);
        let outcome = match running {
            Running::Join(join) if join.is_reported() => return,
            Running::Register(register) if register.is_reported() => return,
            Running::Announce(_) if id == announce::OWN => return,
            Running::Join(_) => {
                Outcome::Joined(Err(if is_cancelled { JoinError::Cancelled } else { JoinError::NotNow }))
            }
            Running::Register(_) | Running::Announce(_) => {
                Outcome::Registered(Err(if is_cancelled { RegisterError::Cancelled } else { RegisterError::Stopped }))
            }
            Running::Lookup(_) => {
                Outcome::Answered(Err(if is_cancelled { LookupError::Cancelled } else { LookupError::Stopped }))
            }
            Running::Leave(_) => Outcome::Departed(Err(DepartError::Cancelled)),
        };
        self.effect(Effect::Complete(id, outcome));
    }
}
