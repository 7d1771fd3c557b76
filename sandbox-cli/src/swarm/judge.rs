//! Judging a run: what must hold all along, and what must hold once all faults have ended.

mod names;

use super::fair;
use crate::runner::Watch;
use crate::scenario::{Consistency, Do, Scenario, Step};
use routing_core::holders::Scale;
use routing_core::id::{self as key, Grid, Guid};
use routing_core::message::Standing;
use routing_core::record::Record;
use routing_core::state::{NodeState, Phase, Stats, Verdict};
use routing_core::table::Entry;
use routing_core::time::{Tick, Ticks};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use transport_sim::network::{Condition, NodeIndex};
use transport_sim::sandbox::tasks::{Done, LookupDone};
use transport_sim::sandbox::{Member, RoutingSandbox};

/// How many ticks pass between two looks at the counters of all nodes, and between two checks of their invariants.
const STATS_TICKS: u64 = 64;
const CHECK_TICKS: u64 = 1_024;
/// In a network of fewer nodes nobody estimates a density, so that no set is widened.
const SCALE_LEAST: usize = 16;
/// No step of a run takes longer.
const STEP_MAX: Ticks = Ticks::minutes(40);
/// How long after the last step each node has been without an operation once.
const IDLE_MAX: Ticks = Ticks::seconds(30);
/// For how long it is looked on after that.
const QUIET: Ticks = Ticks::seconds(30);

/// What kind of promise was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An assertion failed, among them the invariants of a node.
    Panic,
    /// The run could not be carried out.
    Unusable,
    /// A step does not end.
    Stuck,
    /// Honest nodes took each other for dishonest.
    Misbehaved,
    /// An answer has a record that its user did not sign.
    Forged,
    /// A settled answer has a lesser record than the one acknowledged before, or says that there is none.
    Wrong,
    /// A node was told less than before.
    Regression,
    /// An answer claims to be settled, and too few holders spoke for it.
    Unsure,
    /// In calm weather a record was taken from a true holder by a write, or by a node that left.
    Dropped,
    /// After all faults somebody is not found, or nobody is sure.
    Unfound,
    /// After all faults a write is not acknowledged.
    Unwritten,
    /// After all faults a true holder does not hold a record.
    Unheld,
    /// After all faults a node is not in, or new to its range.
    Outside,
    /// After all faults a node does not know one of its nearest, or takes one that is gone for one of them.
    Unknown,
    /// After all faults somebody still works for an operation that has ended.
    Leftover,
    /// After all faults, with everything in its place, records are handed around, or too many bytes.
    Restless,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// Of which kind.
    pub kind: Kind,
    /// In which step, from 1; 0 if in none.
    pub step: usize,
    /// At which tick.
    pub tick: u64,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in step {} at {}: {}", self.kind, self.step, Ticks(self.tick), self.what)
    }
}

/// Whether a promise was kept; if not, of which kind it was, and what was found.
type Finding = Result<(), (Kind, String)>;

/// Watches a run.
#[derive(Debug)]
pub struct Judge<'a> {
    scenario: &'a Scenario,
    /// The steps under way, and since when.
    steps: Range<usize>,
    since: Tick,
    /// Who can be reached at present.
    reach: fair::Reach,
    /// Until when answers may be lesser than what was acknowledged: it may be known only to those who cannot be reached.
    excused_until: Tick,
    /// Until when some may not have noticed yet who is there again, and count fewer holders than there are.
    unaware_until: Tick,
    /// Whether so many have died at once, or some have gone so soon after a cut, that records may be gone with them.
    may_lose: bool,
    /// Those whose holders all died at once, with what was acknowledged before: what any other node keeps by chance is no
    /// promise.
    bereft: BTreeMap<Guid, Arc<Record>>,
    /// While many die at once: who held what.
    held: Vec<(Arc<Record>, Vec<NodeIndex>)>,
    /// Whether nobody has lied yet.
    is_honest: bool,
    /// Who has which name.
    told: names::Told,
    /// Whether each true holder holds its records, and nothing in these steps changes that.
    must_keep: bool,
    /// Whether everything has come to an end, so that all must be well.
    is_over: bool,
    violation: Option<Violation>,
}

impl<'a> Judge<'a> {
    /// A judge of this run.
    pub fn new(scenario: &'a Scenario) -> Self {
        let (since, excused_until) = (Tick(0), Tick(0));
        Self {
            scenario,
            steps: 0..0,
            since,
            reach: fair::Reach::default(),
            excused_until,
            unaware_until: Tick(0),
            may_lose: false,
            bereft: BTreeMap::new(),
            held: Vec::new(),
            is_honest: true,
            told: names::Told::default(),
            must_keep: false,
            is_over: false,
            violation: None,
        }
    }

    /// The first promise that was broken.
    pub fn violation(self) -> Option<Violation> {
        self.violation
    }

    /// Where the run is, as `(step, tick)`.
    pub fn place(&self) -> (usize, u64) {
        (self.steps.end, self.since.0)
    }

    fn verdict(&mut self, now: Tick, found: Finding) -> ControlFlow<()> {
        let Err((kind, what)) = found else { return ControlFlow::Continue(()) };
        self.violation.get_or_insert(Violation { kind, step: self.steps.end, tick: now.0, what });
        ControlFlow::Break(())
    }

    fn is_last(&self, steps: &Range<usize>) -> bool {
        steps.end == self.scenario.steps.len()
    }

    /// What an answer must be like.
    fn answered(&mut self, step: usize, done: &Done, sandbox: &mut RoutingSandbox) -> Finding {
        let Some(lookup) = &done.lookup else { return Ok(()) };
        let Do::Lookup(asked) = &self.scenario.steps[step].what else { return Ok(()) };
        if lookup.key.kind == key::Kind::Claim {
            return self.answered_name(done, lookup, asked.consistency, sandbox);
        }
        let guid = Guid(lookup.key.id);
        let who = lookup.asker.map_or("a client".to_owned(), |asker| format!("node {asker}"));
        let said = |what: String| format!("{who} asked for {} ({}): {what}", guid, asked.consistency);
        if let Some(answer) = &lookup.answer {
            if let Some(record) = &answer.record
                && let Err(error) = record.verify()
            {
                return Err((Kind::Forged, said(error.to_string())));
            }
            let version =
                answer.record.as_ref().map_or("no record".to_owned(), |record| format!("v{}", record.version()));
            let version = format!("{:?}, {version}", answer.verdict);
            if fair::is_cramped(self.scenario) {
                return Ok(());
            }
            if done.regressions > 0 && !self.is_lost(guid, sandbox) {
                return Err((Kind::Regression, said(version)));
            }
            // A quick answer may be stale, and one that is unsettled says so.
            let is_sure = answer.is_settled && asked.consistency != Consistency::Quick;
            let is_denied = answer.verdict == Verdict::Absent;
            if !self.is_answerable(guid, asked.consistency, sandbox) {
                return Ok(());
            }
            if (done.wrong > 0 && is_sure || is_denied)
                && lookup.started >= self.excused_until
                && !self.is_lost(guid, sandbox)
            {
                return Err((Kind::Wrong, said(version)));
            }
        }
        self.is_spoken_for(lookup, asked.consistency, sandbox).map_err(|what| (Kind::Unsure, said(what)))?;
        let may_be_unsure = !self.is_honest || self.may_be_widened(guid, sandbox);
        let is_well = done.correct == done.asked && (done.unsettled == 0 || may_be_unsure);
        if !self.is_answerable(guid, asked.consistency, sandbox) {
            return Ok(());
        }
        if self.is_over && !is_well && !fair::is_cramped(self.scenario) && !self.is_lost(guid, sandbox) {
            let verdict = lookup.answer.as_ref().map(|answer| (answer.verdict, answer.is_settled));
            return Err((Kind::Unfound, said(format!("(answer, settled) = {verdict:?}"))));
        }
        Ok(())
    }

    /// Whether anything may be asked of an answer but that it is no forgery. Among liars who asks a majority is mostly told
    /// the truth, and who asks all is, where one honest holder has it. A write may be acknowledged by liars alone where
    /// they are most of the holders, so they must be few among those who were or will be.
    fn is_answerable(&self, guid: Guid, consistency: Consistency, sandbox: &mut RoutingSandbox) -> bool {
        let groups = self.scenario.node.holders;
        if self.is_honest {
            return true;
        }
        let near = sandbox.oracle().holders(&guid.0, groups * 2);
        let lying = near.iter().filter(|node| sandbox.network().is_dishonest(**node)).count();
        consistency == Consistency::All && lying * 2 < usize::from(groups).min(near.len())
    }

    /// A settled answer rests on the word of most holders, the asker perhaps among them.
    fn is_spoken_for(
        &self,
        lookup: &LookupDone,
        consistency: Consistency,
        sandbox: &mut RoutingSandbox,
    ) -> Result<(), String> {
        let Some(answer) = lookup.answer.as_ref().filter(|answer| answer.is_settled) else { return Ok(()) };
        // Who loses some answers takes others for silent, and for a while their places are somebody else's.
        let is_calm =
            self.is_over || self.reach.is_untroubled() && lookup.started >= self.excused_until.max(self.unaware_until);
        if consistency == Consistency::Quick || !is_calm || !self.is_honest {
            return Ok(());
        }
        let said = answer.trace.iter().filter_map(|hop| hop.said.as_ref());
        let settled = said.filter(|(_, said)| said.standing == Standing::Settled).count();
        let spoke = settled + usize::from(lookup.asker.is_some());
        let holders = usize::from(self.scenario.node.holders).min(sandbox.oracle().len());
        if spoke * 2 <= holders {
            return Err(format!("settled by {spoke} of {holders} holders"));
        }
        let is_clear = self.is_over && fair::is_roomy(self.scenario, sandbox.members().len());
        let may_be_more = !is_clear || self.may_be_widened(Guid(lookup.key.id), sandbox);
        if settled <= holders || may_be_more { Ok(()) } else { Err(format!("{settled} speak for {holders} holders")) }
    }

    /// Whether some may think that a user's holders lie too close together to be honest. In a network as small as this
    /// estimates of its density differ by half; who sees a widened set of which its members know nothing is not sure.
    fn may_be_widened(&self, guid: Guid, sandbox: &mut RoutingSandbox) -> bool {
        let groups = self.scenario.node.holders;
        let holders = sandbox.oracle().holders(&guid.0, groups);
        let Some(radius) = Scale::of_nodes(sandbox.oracle().len() as u64).radius(groups) else { return false };
        let farthest = holders.last().map(|node| sandbox.network().grid(*node).0.prefix() ^ guid.0.prefix());
        sandbox.oracle().len() >= SCALE_LEAST && farthest.is_some_and(|distance| distance < radius)
    }

    /// Whether what a user wrote cannot be asked for: all who held it are gone, since so many died at once, or since some
    /// died or left whom a cut kept from giving it to the others; or a thief has written since, and the owner's answer to
    /// that was not acknowledged.
    fn is_lost(&self, guid: Guid, sandbox: &RoutingSandbox) -> bool {
        let Some(user) = sandbox.users().iter().find(|user| user.guid() == guid) else { return false };
        let Some(least) = user.acknowledged_record() else { return false };
        if user.stolen_record().is_some_and(|stolen| stolen.outranks(least)) {
            return true;
        }
        if self.bereft.get(&guid).is_some_and(|lost| !least.outranks(lost)) {
            return true;
        }
        let has_it = |member: &Member| {
            let state = sandbox.network().state(member.node);
            let stored = state.and_then(|state| state.store().get(&guid.into()));
            stored.is_some_and(|stored| !least.outranks(stored.held().record()))
        };
        self.may_lose && !sandbox.members().iter().any(has_it)
    }

    /// What each user has written, as far as it was acknowledged, with its true holders.
    fn all_holders(&self, sandbox: &mut RoutingSandbox) -> Vec<(Arc<Record>, Vec<NodeIndex>)> {
        let records = sandbox.users().iter().filter_map(|user| user.acknowledged_record().cloned());
        let records: Vec<Arc<Record>> = records.collect();
        let groups = self.scenario.node.holders;
        let with_holders = |record: Arc<Record>| {
            let holders = sandbox.oracle().holders(&record.guid().0, groups);
            (record, holders)
        };
        records.into_iter().map(with_holders).collect()
    }

    /// What must be so once everything has come to its end.
    fn converged(&self, sandbox: &mut RoutingSandbox) -> Finding {
        let groups = self.scenario.node.holders;
        let living: Vec<usize> = (0..sandbox.members().len()).filter(|member| sandbox.lives(*member)).collect();
        let honest: Vec<usize> = living.iter().copied().filter(|member| !sandbox.is_dishonest(*member)).collect();
        for member in &honest {
            let name = sandbox.members()[*member].domain.to_string();
            let node = sandbox.members()[*member].node;
            let Some(state) = sandbox.network().state(node) else { continue };
            if state.phase() != Phase::Joined || !state.is_settled() && self.is_honest {
                let settled = if state.is_settled() { "settled" } else { "new to its range" };
                return Err((Kind::Outside, format!("{name} is {:?}, {settled}", state.phase())));
            }
            if !self.is_honest {
                continue;
            }
            let own = sandbox.members()[*member].grid;
            for other in sandbox.oracle().holders(&own.0, groups + 1) {
                let grid = sandbox.network().grid(other);
                let entry = sandbox.network().state(node).and_then(|state| state.table().entry(&grid));
                let is_known = entry.is_some_and(|entry| entry.has_answered() && entry.is_available());
                if grid != own && !is_known && fair::is_roomy(self.scenario, living.len()) {
                    let how = entry.map_or("nothing".to_owned(), |entry| format!("{} failures", entry.failures()));
                    return Err((Kind::Unknown, format!("{name} knows {how} of {grid}, one of its {groups} nearest")));
                }
            }
        }
        self.nobody_left_is_known(sandbox, &honest)?;
        // Liars may say who is near, and that they hold what others compare with them.
        if self.is_honest {
            self.nobody_gone_is_near(sandbox, &living)?;
            self.all_held(sandbox, Kind::Unheld)?;
        }
        let mut busy: BTreeSet<NodeIndex> = honest.iter().map(|member| sandbox.members()[*member].node).collect();
        let rested = sandbox.run_until(IDLE_MAX, |sandbox| {
            busy.retain(|node| sandbox.network().state(*node).is_some_and(|state| state.operations() > 0));
            busy.is_empty()
        });
        if !rested {
            let names = sandbox.members().iter().filter(|member| busy.contains(&member.node));
            let names: Vec<String> = names.map(|member| member.domain.to_string()).collect();
            return Err((Kind::Leftover, format!("never without an operation: {}", names.join(", "))));
        }
        if self.is_honest { self.is_quiet(sandbox) } else { Ok(()) }
    }

    /// Where everything is in its place nothing is handed around any more, and what is sent keeps to the budget.
    fn is_quiet(&self, sandbox: &mut RoutingSandbox) -> Finding {
        if fair::is_cramped(self.scenario) || !fair::is_roomy(self.scenario, sandbox.members().len()) {
            return Ok(());
        }
        // What was written last may have to be compared once more.
        sandbox.tick(fair::settling(&self.scenario.node, sandbox.members().len() as u32).0);
        let before = sandbox.network().counters();
        sandbox.tick(QUIET.0);
        let after = sandbox.network().counters();
        let (moved, bytes) = (after.records_moved - before.records_moved, after.sent.bytes - before.sent.bytes);
        // Holders that keep different claims to a text fetch each other's with every comparison. In larger networks some see
        // a set widened and others not, and that these come to rest does not hold yet.
        let may_differ = has_claims(&self.scenario.steps) || sandbox.members().len() >= SCALE_LEAST;
        if moved > 0 && !may_differ {
            return Err((Kind::Restless, format!("{moved} copies are handed around in {QUIET}")));
        }
        let allowed = fair::quiet_bytes_max(&self.scenario.node, sandbox.living() as u64, QUIET);
        if allowed.is_some_and(|allowed| bytes > allowed) {
            return Err((Kind::Restless, format!("{bytes} bytes are sent in {QUIET} by {} nodes", sandbox.living())));
        }
        Ok(())
    }

    /// Nobody takes one who is gone for one of its nearest.
    fn nobody_gone_is_near(&self, sandbox: &RoutingSandbox, living: &[usize]) -> Finding {
        let members = sandbox.members();
        let grids: BTreeSet<Grid> = living.iter().map(|member| members[*member].grid).collect();
        for member in living.iter().map(|member| &members[*member]) {
            let Some(state) = sandbox.network().state(member.node) else { continue };
            let is_neighbour = |entry: &&Entry| entry.is_available() && entry.has_answered();
            let nearest = state.table().nearest(&member.grid.0).filter(is_neighbour);
            let near = nearest.take(self.scenario.node.holders.into()).map(|entry| entry.contact().grid());
            if let Some(gone) = near.into_iter().find(|grid| !grids.contains(grid)) {
                let what = format!("{} takes {gone} for one of its nearest, and it is gone", member.domain);
                return Err((Kind::Unknown, what));
            }
        }
        Ok(())
    }

    /// Among honest nodes nobody finds anything invalid, or an answer that no honest node gives.
    fn all_honest(&self, sandbox: &RoutingSandbox) -> Finding {
        let network = sandbox.network();
        for node in network.indices().filter(|_| self.is_honest) {
            let Stats { contacts_invalid, records_invalid, peers_misbehaved, .. } =
                network.state(node).map(NodeState::stats).unwrap_or_default();
            if contacts_invalid + records_invalid + peers_misbehaved > 0 {
                let counts = format!(
                    "{contacts_invalid} invalid cards, {records_invalid} invalid records, {peers_misbehaved} bad answers"
                );
                return Err((Kind::Misbehaved, format!("{} counts {counts}", network.grid(node))));
            }
        }
        Ok(())
    }

    /// Nobody takes one who has left for good for somebody who may be there. Where its farewell was lost it is in some tables
    /// until it has been tried often enough.
    fn nobody_left_is_known(&self, sandbox: &RoutingSandbox, living: &[usize]) -> Finding {
        let (network, members) = (sandbox.network(), sandbox.members());
        let left = members.iter().filter(|member| network.condition(member.node) == Condition::Left);
        for (gone, member) in left.flat_map(|gone| living.iter().map(move |member| (gone, &members[*member]))) {
            if network
                .state(member.node)
                .is_some_and(|state| state.table().entry(&gone.grid).is_some_and(|entry| entry.failures() == 0))
            {
                return Err((Kind::Unknown, format!("{} knows {}, which has left", member.domain, gone.domain)));
            }
        }
        Ok(())
    }

    /// Each true holder holds what was acknowledged, or something greater.
    fn all_held(&self, sandbox: &mut RoutingSandbox, kind: Kind) -> Finding {
        if fair::is_cramped(self.scenario) {
            return Ok(());
        }
        self.all_names_held(sandbox, kind)?;
        for user in 0..sandbox.users().len() {
            let guid = sandbox.users()[user].guid();
            if self.is_lost(guid, sandbox) {
                continue;
            }
            if let Some(found) = sandbox.true_holders(&[user]).filter(|found| found.share < 1.0) {
                let what = format!("{:.0} % of the true holders of {guid} hold its record", found.share * 100.0);
                return Err((kind, what));
            }
        }
        Ok(())
    }
}

impl Watch for Judge<'_> {
    fn on_begin(&mut self, steps: Range<usize>, sandbox: &mut RoutingSandbox) -> ControlFlow<()> {
        let now = sandbox.now();
        (self.steps, self.since) = (steps.clone(), now);
        let settling = fair::settling(&self.scenario.node, sandbox.members().len() as u32);
        let mut is_divided = false;
        for step in &self.scenario.steps[steps.clone()] {
            is_divided |= self.reach.divides(self.scenario, step);
            self.is_honest &= !matches!(step.what, Do::Dishonest(_));
        }
        self.told.on_steps(has_claims(&self.scenario.steps[steps]), is_divided, now);
        if self.reach.is_stopped() {
            self.unaware_until = Tick(u64::MAX);
        } else if self.unaware_until == Tick(u64::MAX) {
            self.unaware_until = now + settling;
        }
        if is_divided {
            self.excused_until = Tick(u64::MAX);
        } else if self.excused_until == Tick(u64::MAX) {
            self.excused_until = now + settling;
        }
        self.must_keep = self.scenario.steps[self.steps.clone()].iter().all(fair::keeps_records)
            && self.reach.is_untroubled()
            && self.is_honest
            && now >= self.excused_until
            && fair::is_roomy(self.scenario, sandbox.members().len())
            && self.all_held(sandbox, Kind::Dropped).is_ok();
        let of_this = &self.scenario.steps[self.steps.clone()];
        let is_mass_death = of_this.iter().any(|step| fair::is_mass_death(self.scenario, &step.what));
        if is_mass_death {
            self.held = self.all_holders(sandbox);
        }
        let do_some_go = of_this.iter().any(|step| matches!(step.what, Do::Kill(_) | Do::Leave(_)));
        self.may_lose |= is_mass_death || do_some_go && now < self.excused_until;
        // The last thing that is changed about the weather is the cadence; then it is waited for calm.
        let after = &self.scenario.steps[self.steps.end..];
        self.is_over = after.iter().all(|step| matches!(step.what, Do::Lookup(_) | Do::Migrate(_)));
        self.is_over &= matches!(self.scenario.steps[self.steps.start].what, Do::Lookup(_) | Do::Migrate(_));
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, sandbox: &RoutingSandbox) -> ControlFlow<()> {
        let now = sandbox.now();
        if now.0.is_multiple_of(CHECK_TICKS) {
            sandbox.check();
        }
        if !now.0.is_multiple_of(STATS_TICKS) {
            return ControlFlow::Continue(());
        }
        let found = self.all_honest(sandbox).and_then(|()| {
            let took = now.since(self.since);
            if took < STEP_MAX { Ok(()) } else { Err((Kind::Stuck, format!("it has not ended in {STEP_MAX}"))) }
        });
        self.verdict(now, found)
    }

    fn on_done(&mut self, step: usize, done: &Done, sandbox: &mut RoutingSandbox) -> ControlFlow<()> {
        let found = self.answered(step, done, sandbox).and_then(|()| {
            let is_written = done.lookup.is_some() || done.correct == done.asked;
            if self.is_over && self.is_honest && !is_written && !fair::is_cramped(self.scenario) {
                return Err((Kind::Unwritten, format!("{} of {} acknowledged", done.correct, done.asked)));
            }
            Ok(())
        });
        self.verdict(sandbox.now(), found)
    }

    fn on_end(&mut self, steps: Range<usize>, sandbox: &mut RoutingSandbox) -> ControlFlow<()> {
        sandbox.check();
        for (record, holders) in std::mem::take(&mut self.held) {
            if holders.iter().all(|node| sandbox.network().state(*node).is_none()) {
                self.bereft.insert(record.guid(), record);
            }
        }
        self.told.on_steps(has_claims(&self.scenario.steps[steps.clone()]), false, sandbox.now());
        let mut found = self.all_honest(sandbox);
        if self.must_keep && found.is_ok() {
            found = self.all_held(sandbox, Kind::Dropped);
        }
        let found = if self.is_last(&steps) { found.and_then(|()| self.converged(sandbox)) } else { found };
        self.verdict(sandbox.now(), found)
    }
}

/// Whether names are claimed in these steps.
fn has_claims(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step.what, Do::Claim(_)))
}
