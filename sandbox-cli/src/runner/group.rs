//! The steps that run together, from the first of their actions to their reports.

use super::plan::Plan;
use super::traced::traced;
use super::{Position, RunError, Runner};
use crate::report::{Holders, Operations, StepReport, rate};
use crate::scenario::{Do, Lookup};
use routing_core::time::Tick;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::time::Instant;
use transport_sim::carrier::Carrier;
use transport_sim::network::{Counters, Network, Traffic};
use transport_sim::sandbox::SandboxError;
use transport_sim::sandbox::tasks::Done;

/// How many ticks pass between two looks of the progress bar.
const PROGRESS_TICKS: u64 = 64;

/// A step under way.
struct Active {
    index: usize,
    plan: Plan,
    begun: Begun,
    done: u64,
    outstanding: u64,
    operations: Operations,
    has_ended: bool,
}

/// What was so when a step began.
struct Begun {
    at: Tick,
    wall: Instant,
    counters: Counters,
    ledger: usize,
    /// What each node had sent outside operations.
    upkeep: Option<Vec<u64>>,
}

impl<C: Carrier> Runner<'_, C> {
    pub(super) fn run_group(&mut self, steps: Range<usize>) -> Result<(), RunError> {
        go_on(self.watch.on_begin(steps.clone(), &mut self.sandbox))?;
        // Two steps of a group do not write for the same user at once: neither would know of the other.
        let mut busy = BTreeSet::new();
        let mut active = Vec::new();
        for index in steps.clone() {
            let begun = Begun {
                at: self.sandbox.now(),
                wall: Instant::now(),
                counters: self.sandbox.network().counters(),
                ledger: self.sandbox.network_mut().open_ledger(),
                upkeep: self.sandbox.network().simulated().map(Network::upkeep_of_each),
            };
            let plan = self.plan(index, &mut busy)?;
            let outstanding = 0;
            active.push(Active {
                index,
                plan,
                begun,
                done: 0,
                outstanding,
                operations: Operations::default(),
                has_ended: false,
            });
        }
        let shown = active.len() - 1;
        let total = active[shown].plan.actions.len() as u64;
        let step = self.step(steps.end - 1);
        self.progress.begin(steps.end, step, step.what.has_operations().then_some(total));
        loop {
            let now = self.sandbox.now();
            for step in &mut active {
                let room = self.sandbox.network().operations_max();
                while step.outstanding < room && step.plan.actions.front().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, action)) = step.plan.actions.pop_front() {
                        let begun = self.carry_out(step.index, step.begun.ledger, action);
                        step.outstanding += begun.map_err(|error| self.refused(step.index, error))?;
                    }
                }
            }
            for done in self.sandbox.take_done() {
                let owner = active.iter_mut().find(|step| step.begun.ledger == done.tag);
                if let Some(step) = owner {
                    step.outstanding = step.outstanding.saturating_sub(1);
                    step.done += 1;
                    self.write_trace(step.index, &done)?;
                    go_on(self.watch.on_done(step.index, &done, &mut self.sandbox))?;
                    step.count(done);
                }
            }
            let mut is_over = true;
            for step in &mut active {
                let is_quiet = !self.scenario.steps[step.index].what.writes() || !self.sandbox.is_spreading();
                let is_done = step.plan.actions.is_empty() && step.outstanding == 0 && now >= step.plan.ends;
                if !step.has_ended && is_done && is_quiet {
                    step.has_ended = true;
                    let report = self.report(step);
                    step.plan.report = Some(report);
                }
                is_over &= step.has_ended;
            }
            if is_over {
                break;
            }
            if now.0.is_multiple_of(PROGRESS_TICKS) {
                self.progress.update(active[shown].done, now.since(self.start), self.sandbox.living() as u64);
            }
            self.sandbox.tick(1);
            if let Some(error) = self.sandbox.network_mut().take_failure() {
                return Err(RunError::Start(error));
            }
            go_on(self.watch.on_tick(&self.sandbox))?;
        }
        go_on(self.watch.on_end(steps, &mut self.sandbox))?;
        self.reports.extend(active.into_iter().filter_map(|step| step.plan.report));
        Ok(())
    }

    /// The sandbox refused what a step wants.
    fn refused(&self, index: usize, error: SandboxError) -> RunError {
        let step = self.step(index);
        RunError::Sandbox { place: Position::of(self.scenario, &step.lines, step.what.name()), error }
    }

    fn report(&mut self, step: &mut Active) -> StepReport {
        let what = &self.step(step.index).what;
        let (now, counters) = (self.sandbox.now(), self.sandbox.network().counters());
        let before = step.begun.counters;
        let sent = counters.sent - before.sent;
        let took = now.since(step.begun.at);
        let mut operations = std::mem::take(&mut step.operations);
        let Traffic { messages, bytes } = self.sandbox.network().ledger(step.begun.ledger);
        (operations.op_messages, operations.op_bytes) = (messages, bytes);
        operations.summarise();
        let holders = matches!(what, Do::Register(_)).then(|| {
            let found = self.sandbox.true_holders(&step.plan.users);
            let records = step.plan.users.len() as u64;
            Holders {
                records,
                holders_mean: found.map(|found| found.mean),
                holders_true_share: found.map(|found| found.share),
            }
        });
        let network = self.sandbox.network().simulated();
        let upkeep_most = network.zip(step.begun.upkeep.take()).map(|(network, before)| {
            let before = before.into_iter().chain(std::iter::repeat(0));
            let sent = network.upkeep_of_each().into_iter().zip(before).map(|(now, before)| now - before);
            rate(sent.max().unwrap_or(0), took.as_seconds())
        });
        StepReport {
            name: what.name(),
            at_seconds: step.begun.at.since(self.start).as_seconds(),
            seconds: took.as_seconds(),
            wall_seconds: step.begun.wall.elapsed().as_secs_f64(),
            nodes_alive: self.sandbox.living() as u64,
            messages: sent.messages,
            bytes: sent.bytes,
            links_opened: counters.links_opened - before.links_opened,
            records_moved: counters.records_moved - before.records_moved,
            upkeep_bytes: (counters.upkeep - before.upkeep).bytes,
            upkeep_most,
            upkeep_peak: network.map(|network| network.upkeep_peak(step.begun.at)),
            operations: what.has_operations().then_some(operations),
            holders,
        }
    }

    fn write_trace(&mut self, index: usize, done: &Done) -> Result<(), RunError> {
        let (Some(trace), Some(lookup)) = (&mut self.trace, &done.lookup) else { return Ok(()) };
        let Do::Lookup(Lookup { consistency, .. }) = &self.scenario.steps[index].what else { return Ok(()) };
        trace.write(&traced(index + 1, *consistency, done, lookup))?;
        Ok(())
    }
}

impl Active {
    fn count(&mut self, done: Done) {
        let operations = &mut self.operations;
        operations.asked += u64::from(done.asked);
        operations.correct += u64::from(done.correct);
        operations.wrong += u64::from(done.wrong);
        operations.absent += u64::from(done.absent);
        operations.unreachable += u64::from(done.unreachable);
        operations.conflict += u64::from(done.conflict);
        operations.unsettled += u64::from(done.unsettled);
        operations.local += u64::from(done.local);
        operations.regressions += u64::from(done.regressions);
        operations.round_trips_samples.extend(done.round_trips);
        // A thief's write is nobody's operation.
        if done.asked > 0 {
            operations.latency_ms_samples.push(done.latency_ms);
        }
    }
}

/// A watcher that has seen enough ends the run.
fn go_on(watched: ControlFlow<()>) -> Result<(), RunError> {
    if watched.is_break() { Err(RunError::Stopped) } else { Ok(()) }
}
