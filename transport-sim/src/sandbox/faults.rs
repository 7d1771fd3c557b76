//! Servers that stop and come back, and a federation in parts.

use super::RoutingSandbox;
use super::tasks::{Done, Task};
use crate::carrier::Carrier;
use crate::network::{Condition, NodeIndex};
use rand_core::Rng;
use routing_core::contact::Address;
use routing_core::effect::Operation;
use routing_core::error::JoinError;
use routing_core::state::{Answer, Joined, NodeState, Phase, Verdict};
use routing_core::time::{Tick, Ticks};

/// How long a server that comes back is waited for.
const RETURN_PATIENCE: Ticks = Ticks::minutes(10);

/// A server whose join was reported as failed, and goes on.
pub(super) struct Late {
    member: usize,
    /// Who waits for it, and until when.
    awaited: Option<(usize, Tick)>,
}

impl Late {
    /// One that nobody waits for.
    pub(super) fn unawaited(member: usize) -> Self {
        Self { member, awaited: None }
    }
}

impl<C: Carrier> RoutingSandbox<C> {
    /// A server says that it will be back within `span`, and stops. [`RoutingSandbox::start_return`] brings it back.
    pub fn start_away(&mut self, tag: usize, member: usize, span: Ticks) {
        let started = self.now();
        self.give(self.members[member].node, Operation::Away(span), Task::Depart { tag, started });
    }

    /// A server is down without a word, and may come back. Operations that it had under way never end: they count as
    /// unreachable.
    pub fn stop(&mut self, member: usize) {
        let node = self.members[member].node;
        self.network.stop(node);
        self.members[member].has_joined = false;
        self.oracle = None;
        self.abandon(node);
    }

    /// A server that is down starts again, with its key and all that it has kept, and joins through those it remembers.
    /// Ends when it is in again, or after ten minutes; it goes on trying then. Says whether the server was down.
    pub fn start_return(&mut self, tag: usize, member: usize) -> bool {
        let (now, seed) = (self.now(), self.rng.next_u64());
        let server = &self.members[member];
        let (node, secret, address) = (server.node, server.secret.clone(), Address::from(&server.domain));
        let config = self.config.clone();
        let mut entry_points = Vec::new();
        let was_down = self.network.revive(node, |kept| {
            entry_points = kept.entry_points();
            NodeState::restore(secret, address, config, seed, kept, now)
        });
        if was_down {
            self.members[member].has_joined = false;
            self.oracle = None;
            // What its lookups have brought does not outlive a stop.
            self.seen.retain(|(asker, _), _| *asker != node);
            let task = Task::Return { tag, member, deadline: now + RETURN_PATIENCE };
            self.give(node, Operation::Join(entry_points), task);
        }
        was_down
    }

    /// The first attempt of a server to come back has ended; `None` if it goes on.
    pub(super) fn on_returned(
        &mut self,
        tag: usize,
        member: usize,
        deadline: Tick,
        result: Result<Joined, JoinError>,
    ) -> Option<Done> {
        match result {
            Ok(_) => {
                self.members[member].has_joined = true;
                self.oracle = None;
                Some(Done { tag, asked: 1, correct: 1, ..Done::default() })
            }
            Err(JoinError::NoEntryPoint { .. }) => {
                self.late.push(Late { member, awaited: Some((tag, deadline)) });
                None
            }
            Err(_) => Some(Done { tag, asked: 1, unreachable: 1, ..Done::default() }),
        }
    }

    /// Looks which late servers are in by now.
    pub(super) fn settle_late(&mut self) {
        let now = self.now();
        let late = std::mem::take(&mut self.late);
        for mut one in late {
            let phase = self.network.phase(self.members[one.member].node);
            let is_in = phase == Some(Phase::Joined);
            if is_in {
                self.members[one.member].has_joined = true;
                self.oracle = None;
            }
            let goes_on = phase == Some(Phase::Joining);
            if let Some((tag, deadline)) = one.awaited
                && (!goes_on || now >= deadline)
            {
                let (correct, unreachable) = (u32::from(is_in), u32::from(!is_in));
                self.done.push(Done { tag, asked: 1, correct, unreachable, ..Done::default() });
                one.awaited = None;
            }
            if goes_on {
                self.late.push(one);
            }
        }
    }

    /// The servers that are down and may come back, by number.
    pub fn down(&self) -> Vec<usize> {
        self.in_condition(Condition::Down)
    }

    /// The servers that are halted, by number.
    pub fn halted(&self) -> Vec<usize> {
        self.in_condition(Condition::Halted)
    }

    fn in_condition(&self, condition: Condition) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        members.filter(|(_, member)| self.network.condition(member.node) == condition).map(|(index, _)| index).collect()
    }

    /// Cuts the federation into parts with these shares of it; the servers are drawn. Servers that are down are drawn,
    /// too, and whoever else is there stands in a part drawn by size. `one_way`: only messages from a later part to an
    /// earlier one are stopped. A network that is not simulated stays whole.
    pub fn partition(&mut self, shares: &[f64], one_way: bool) {
        let mut ends = Vec::with_capacity(shares.len());
        let mut sum = 0.0;
        for share in shares {
            sum += share;
            ends.push(sum);
        }
        let part_at =
            |point: f64| ends.iter().take(ends.len().saturating_sub(1)).filter(|end| point >= **end).count() as u16;
        let is_gone = |member: &usize| {
            matches!(self.network.condition(self.members[*member].node), Condition::Left | Condition::Killed)
        };
        let members: Vec<usize> = (0..self.members.len()).filter(|member| !is_gone(member)).collect();
        let count = members.len();
        let drawn = self.draw_some(&members, count);
        let Some(network) = self.network.simulated_mut() else { return };
        for (index, member) in drawn.into_iter().enumerate() {
            // The middle of its place in the row, so that shares round to nearest.
            let point = (index as f64 + 0.5) / count as f64;
            network.set_part(self.members[member].node, part_at(point));
        }
        let is_other = |node: &NodeIndex| network.contact(*node).is_some_and(|contact| contact.is_client());
        let clients: Vec<NodeIndex> = network.indices().filter(is_other).collect();
        for client in clients {
            let point = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            network.set_part(client, part_at(point));
        }
        network.cut(one_way);
    }

    /// The federation is whole again.
    pub fn heal(&mut self) {
        if let Some(network) = self.network.simulated_mut() {
            network.heal();
        }
    }

    /// Whether an answer gives a node less than it was given before.
    pub(super) fn has_regressed(&mut self, asker: NodeIndex, user: usize, answer: &Answer) -> bool {
        let seen = self.seen.get(&(asker, user));
        match &answer.record {
            Some(record) if seen.is_some_and(|seen| seen.outranks(record)) => true,
            Some(record) => {
                self.seen.insert((asker, user), record.clone());
                false
            }
            // That too few could be asked says nothing about the record.
            None => seen.is_some() && answer.verdict == Verdict::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::account::Account;
    use routing_core::record::Record;
    use std::sync::Arc;

    /// A federation of so many servers, all of them in.
    fn sandbox(servers: usize) -> RoutingSandbox {
        let mut sandbox = RoutingSandbox::new(1);
        let first = sandbox.new_node();
        sandbox.join(first, &[]).unwrap();
        for _ in 1..servers {
            let node = sandbox.new_node();
            sandbox.join(node, &[first]).unwrap();
        }
        sandbox
    }

    fn finish(sandbox: &mut RoutingSandbox, count: usize) -> Vec<Done> {
        let mut done = Vec::new();
        assert!(sandbox.run_until(Ticks::minutes(5), |sandbox| sandbox.done.len() >= count));
        done.extend(sandbox.take_done());
        done
    }

    #[test]
    fn a_server_that_may_not_leave_because_it_is_just_coming_back_counts_once_it_is_in() {
        let mut sandbox = sandbox(4);
        sandbox.stop(2);
        assert!(sandbox.start_return(0, 2));
        sandbox.tick(5);
        sandbox.start_leave(0, 2);
        let done = finish(&mut sandbox, 2);
        assert_eq!(done.iter().map(|done| done.correct).collect::<Vec<_>>(), [0, 1], "it is in, and has not left");
        assert_eq!(sandbox.oracle().len(), 4);
    }

    #[test]
    fn a_server_that_is_told_to_come_back_and_was_not_down_stays_in() {
        let mut sandbox = sandbox(3);
        assert!(!sandbox.start_return(0, 1));
        assert_eq!(sandbox.oracle().len(), 3);
    }

    #[test]
    fn what_a_server_was_told_before_it_stopped_is_no_measure_for_what_it_is_told_afterwards() {
        let mut sandbox = sandbox(2);
        let mut account = Account::new([1; 32], None, [0; 16]);
        let mut place = |home: &str| Arc::new(account.place(home.parse().unwrap(), 0));
        let (old, new) = (place("old.example"), place("new.example"));
        let answer = |record: &Arc<Record>| Answer {
            key: record.key(),
            verdict: Verdict::Found,
            record: Some(record.clone()),
            rival: None,
            votes: Vec::new(),
            is_settled: true,
            is_confirmed: false,
            confirmations: 1,
            age: Ticks(0),
            round_trips: 1,
            trace: Vec::new(),
        };
        let asker = sandbox.members()[1].node;
        assert!(!sandbox.has_regressed(asker, 0, &answer(&new)));
        assert!(sandbox.has_regressed(asker, 0, &answer(&old)));
        sandbox.stop(1);
        assert!(sandbox.start_return(0, 1));
        assert!(!sandbox.has_regressed(asker, 0, &answer(&old)));
    }
}
