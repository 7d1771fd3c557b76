//! Judging answers about claims: everybody is told the same claimant, and none without a cause another one later.

use super::{Finding, Judge, Kind};
use crate::scenario::Consistency;
use crate::swarm::fair;
use routing_core::id::{Guid, Key};
use routing_core::state::Verdict;
use routing_core::time::Tick;
use std::collections::BTreeMap;
use transport_sim::sandbox::RoutingSandbox;
use transport_sim::sandbox::tasks::{Done, LookupDone};

/// What was told of names.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Until when it is open who has a name.
    open_until: Tick,
    /// Who has each, as far as somebody was told for sure.
    claimants: BTreeMap<Key, Guid>,
}

impl Told {
    /// These steps begin, or have ended.
    pub(super) fn on_steps(&mut self, has_claims: bool, is_divided: bool, now: Tick) {
        if has_claims {
            self.open_until = now + fair::CLAIMS_SETTLE;
        }
        // Each part may have claimants of its own.
        if is_divided {
            self.claimants.clear();
        }
    }
}

impl Judge<'_> {
    /// What an answer about a name must be like.
    pub(super) fn answered_name(
        &mut self,
        done: &Done,
        lookup: &LookupDone,
        consistency: Consistency,
        sandbox: &mut RoutingSandbox,
    ) -> Finding {
        let Some(name) = sandbox.names().iter().find(|name| name.key() == lookup.key) else { return Ok(()) };
        let (text, claimants) = (name.text().to_owned(), name.claimants().to_vec());
        let said = |what: String| {
            let who = lookup.asker.map_or("a client".to_owned(), |asker| format!("node {asker}"));
            format!("{who} asked for {text} ({consistency}): {what}")
        };
        let Some(answer) = &lookup.answer else { return self.found_name(done, lookup, said, sandbox) };
        for record in answer.record.iter().chain(&answer.rival) {
            if let Err(error) = record.verify() {
                return Err((Kind::Forged, said(error.to_string())));
            }
            let is_claimed = claimants.contains(&record.guid()) && record.key() == lookup.key;
            if !is_claimed && self.is_honest {
                return Err((Kind::Forged, said(format!("{} has not claimed it", record.guid()))));
            }
        }
        if fair::is_cramped(self.scenario) || !self.is_honest {
            return Ok(());
        }
        let is_decided = lookup.started >= self.excused_until && lookup.started >= self.told.open_until;
        let is_sure = answer.is_settled && consistency != Consistency::Quick;
        let claimant = answer.record.as_ref().map(|record| record.guid());
        let what = format!("{:?}, {claimant:?}", answer.verdict);
        let is_wrong = done.wrong > 0 && is_sure || answer.verdict == Verdict::Absent;
        if is_decided && is_wrong && !is_lost(&lookup.key, sandbox) {
            return Err((Kind::Wrong, said(what)));
        }
        let is_found = matches!(answer.verdict, Verdict::Found | Verdict::Conflict);
        // Where answers get lost or people die those who ask may hear other voters.
        if is_decided && is_sure && is_found && (self.is_over || self.reach.is_untroubled()) {
            let told = claimant.map(|claimant| *self.told.claimants.entry(lookup.key).or_insert(claimant));
            if let Some(told) = told.filter(|told| Some(*told) != claimant) {
                return Err((Kind::Wrong, said(format!("{what}, and before it was {told}"))));
            }
        }
        self.found_name(done, lookup, said, sandbox)
    }

    /// In the end it is known who has a name.
    fn found_name(
        &self,
        done: &Done,
        lookup: &LookupDone,
        said: impl Fn(String) -> String,
        sandbox: &RoutingSandbox,
    ) -> Finding {
        if !self.is_over || !self.is_honest || done.correct == done.asked || fair::is_cramped(self.scenario) {
            return Ok(());
        }
        if is_lost(&lookup.key, sandbox) {
            return Ok(());
        }
        let verdict = lookup.answer.as_ref().map(|answer| (answer.verdict, answer.is_settled));
        Err((Kind::Unfound, said(format!("(answer, settled) = {verdict:?}"))))
    }

    /// Each true holder holds somebody's claim to each name.
    pub(super) fn all_names_held(&self, sandbox: &mut RoutingSandbox, kind: Kind) -> Finding {
        let acknowledged: Vec<(String, Key)> = sandbox
            .names()
            .iter()
            .filter(|name| name.is_acknowledged())
            .map(|name| (name.text().to_owned(), name.key()))
            .collect();
        for (text, key) in acknowledged {
            if is_lost(&key, sandbox) {
                continue;
            }
            let holders = sandbox.oracle().holders(&key.id, self.scenario.node.claim_holders);
            let holds = |node| sandbox.network().state(node).is_some_and(|state| state.store().get(&key).is_some());
            let holding = holders.iter().filter(|node| holds(**node)).count();
            if holding < holders.len() {
                return Err((
                    kind,
                    format!("{holding} of {} true holders of {text} hold a claim to it", holders.len()),
                ));
            }
        }
        Ok(())
    }
}

/// Whether all who held a claim to it are gone.
fn is_lost(key: &Key, sandbox: &RoutingSandbox) -> bool {
    let mut members = sandbox.members().iter();
    !members.any(|member| {
        let state = sandbox.network().state(member.node);
        state.is_some_and(|state| state.store().get(key).is_some())
    })
}
