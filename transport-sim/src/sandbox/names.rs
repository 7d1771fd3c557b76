//! Claims: names that several may want, and GUIDs that the sandbox has no key for.
//!
//! What is true of a claim is what its holders keep: the oracle looks into the stores of those that run.

use super::tasks::{Asker, Done, LookupDone, Task};
use super::{RoutingSandbox, SandboxError};
use crate::carrier::Carrier;
use crate::network::{Condition, NodeIndex};
use rand_core::Rng;
use routing_core::account::Account;
use routing_core::contact::Group;
use routing_core::domain::Domain;
use routing_core::effect::{Consistency, Operation};
use routing_core::id::{Grid, Guid, Key};
use routing_core::record::{ClaimKind, Record, claim_key};
use routing_core::state::{Answer, Registered, Verdict};
use routing_core::time::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A username that somebody claims. Its claimants are made for it: their keys are used once and dropped.
#[derive(Clone, Debug)]
pub struct Name {
    text: String,
    claimants: Vec<Guid>,
    is_acknowledged: bool,
}

impl Name {
    /// What is claimed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where claims to it are stored.
    pub fn key(&self) -> Key {
        claim_key(ClaimKind::Name, &self.text)
    }

    /// Who has claimed it, in the order of asking.
    pub fn claimants(&self) -> &[Guid] {
        &self.claimants
    }

    /// Whether some claim to it was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.is_acknowledged
    }
}

/// Where a GUID from elsewhere is claimed: its text is its 64 digits.
pub(super) fn legacy_key(guid: &Guid) -> Key {
    claim_key(ClaimKind::Legacy, &guid.to_string())
}

impl<C: Carrier> RoutingSandbox<C> {
    /// The names, in order of creation.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// A name that nobody has claimed yet, by number.
    pub fn new_name(&mut self) -> usize {
        let text = format!("name{:06}", self.names.len() + 1);
        self.names.push(Name { text, claimants: Vec::new(), is_acknowledged: false });
        self.names.len() - 1
    }

    fn new_claimant(&mut self) -> Account {
        let (signing, recovery) = (self.seed_bytes(), self.seed_bytes());
        let mut nonce = [0; 16];
        self.rng().fill_bytes(&mut nonce);
        Account::new(signing, Some(recovery), nonce)
    }

    /// Somebody new claims a name.
    pub fn start_claim(&mut self, tag: usize, name: usize, asker: &Asker) -> Result<(), SandboxError> {
        let (started, mut account) = (self.now(), self.new_claimant());
        let record = account.claim_name(&self.names[name].text, started.0).expect("a name is short");
        self.names[name].claimants.push(account.guid());
        let node = self.asking_node(asker)?;
        self.give(node, Operation::Register(vec![Arc::new(record)]), Task::Claim { tag, started, name });
        Ok(())
    }

    /// Somebody looks a name up. Only names with an acknowledged claim can be asked for: else nothing is true yet.
    pub fn start_lookup_name(
        &mut self,
        tag: usize,
        name: usize,
        consistency: Consistency,
        asker: &Asker,
    ) -> Result<(), SandboxError> {
        if !self.names[name].is_acknowledged {
            return Ok(());
        }
        let key = self.names[name].key();
        let node = self.asking_node(asker)?;
        let started = self.now();
        self.give(node, Operation::Lookup(key, consistency), Task::LookupName { tag, started, name });
        Ok(())
    }

    /// A claim to a GUID without a key, always by the same claimant.
    pub(super) fn sign_legacy(&mut self, guid: Guid, domain: Domain) -> Arc<Record> {
        if !self.legacy.contains_key(&guid) {
            let claimant = self.new_claimant();
            self.legacy.insert(guid, claimant);
        }
        let issued_ms = self.now().0;
        let claimant = self.legacy.get_mut(&guid).expect("it was put there just now");
        Arc::new(claimant.claim_legacy(&guid.to_string(), domain, issued_ms).expect("64 digits are short"))
    }

    /// Right is that a claim is kept, and that a rival is refused.
    pub(super) fn judge_claim(&mut self, tag: usize, name: usize, took: u32, registered: Option<Registered>) -> Done {
        let mut done = Done { tag, asked: 1, latency_ms: took, ..Done::default() };
        if let Some(registered) = registered {
            let is_acknowledged = registered.records.iter().all(|registration| registration.is_acknowledged);
            self.names[name].is_acknowledged |= is_acknowledged;
            let is_refused = registered.records.iter().any(|registration| registration.is_anothers());
            done.correct = u32::from(is_acknowledged || is_refused);
            done.round_trips = Some(u32::from(registered.round_trips)).filter(|depth| *depth > 0);
        }
        done.unreachable = 1 - done.correct;
        done
    }

    /// Right is the claimant that most of the running true holders keep; that the name is contested, where they are
    /// split.
    pub(super) fn judge_name(
        &mut self,
        tag: usize,
        name: usize,
        started: Tick,
        ended: Tick,
        asker: Option<Grid>,
        answer: Option<Answer>,
    ) -> Done {
        let mut done = Done::of_lookup(tag, started, ended, answer.as_ref());
        let key = self.names[name].key();
        let (kept_by_most, is_split) = self.claimants_kept(&key);
        let claimant = answer.as_ref().and_then(|answer| answer.record.as_ref()).map(|record| record.guid());
        match answer.as_ref().map_or(Verdict::Unreachable, |answer| answer.verdict) {
            Verdict::Absent => done.absent = 1,
            Verdict::Unreachable => done.unreachable = 1,
            Verdict::Contested if is_split => done.correct = 1,
            Verdict::Found | Verdict::Conflict if claimant.is_some_and(|guid| kept_by_most.contains(&guid)) => {
                done.correct = 1;
            }
            Verdict::Found | Verdict::Conflict | Verdict::Contested | Verdict::Closed => done.wrong = 1,
        }
        done.lookup = Some(Box::new(LookupDone { key, asker, started, ended, answer }));
        done
    }

    /// Whose claim most groups of the running honest true holders keep (several, if they are equally many), and whether they
    /// are split: that fewer than two thirds of those who have a claim keep the same one's.
    fn claimants_kept(&mut self, key: &Key) -> (Vec<Guid>, bool) {
        let groups = self.config.holders_of(key.kind);
        let holders = self.oracle().holders(&key.id, groups);
        let mut kept: BTreeMap<Guid, usize> = BTreeMap::new();
        let mut voters: BTreeSet<Group> = BTreeSet::new();
        let is_asked = |node: &NodeIndex| self.network.condition(*node) == Condition::Running && !self.is_liar(*node);
        for node in holders.into_iter().filter(is_asked) {
            let group = self.network.contact(node).map(|contact| contact.group());
            let claim = self.network.held(node, key).ok().flatten();
            if let (Some(group), Some(claim)) = (group, claim)
                && voters.insert(group)
            {
                *kept.entry(claim.guid()).or_default() += 1;
            }
        }
        let most = kept.values().copied().max().unwrap_or(0);
        let by_most = kept.iter().filter(|(_, votes)| **votes == most).map(|(guid, _)| *guid).collect();
        (by_most, most * 3 < voters.len() * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::id::Id;

    /// Nodes that have joined, and the first of them.
    fn federation(count: usize) -> (RoutingSandbox, Vec<Grid>) {
        let mut sandbox = RoutingSandbox::new(5);
        let first = sandbox.new_node();
        sandbox.join(first, &[]).unwrap();
        let mut grids = vec![first];
        for _ in 1..count {
            let grid = sandbox.new_node();
            sandbox.join(grid, &[first]).unwrap();
            grids.push(grid);
        }
        sandbox.tick(5_000);
        (sandbox, grids)
    }

    #[test]
    fn a_guid_from_elsewhere_is_claimed_found_and_moved() {
        let (mut sandbox, grids) = federation(12);
        let guid = Guid(Id::of(b"an older system"));
        let unknown = sandbox.route_guid(&grids[..2], guid, "n000003.example").unwrap();
        assert_eq!((unknown.answer.verdict, unknown.is_as_expected()), (Verdict::Absent, false));
        for domain in ["n000003.example", "n000007.example"] {
            let registered = sandbox.register_guid(&grids[..1], guid, domain).unwrap();
            assert!(registered.records[0].is_acknowledged);
            sandbox.tick(2_000);
            let route = sandbox.route_guid(&grids[4..6], guid, domain).unwrap();
            assert!(route.is_as_expected(), "{:?}", route.answer);
        }
    }

    #[test]
    fn of_two_rivals_one_is_right_and_both_are_told() {
        let (mut sandbox, _) = federation(12);
        let name = sandbox.new_name();
        let nodes: Vec<_> = sandbox.members().iter().map(|member| member.node).collect();
        for door in [1, 8] {
            sandbox.start_claim(0, name, &Asker::Client(vec![nodes[door]])).unwrap();
        }
        sandbox.tick(5_000);
        let done = sandbox.take_done();
        assert_eq!(done.iter().map(|done| (done.asked, done.correct)).collect::<Vec<_>>(), [(1, 1), (1, 1)]);
        assert!(sandbox.names()[name].is_acknowledged() && sandbox.names()[name].claimants().len() == 2);
        sandbox.start_lookup_name(0, name, Consistency::All, &Asker::Node(nodes[4])).unwrap();
        sandbox.tick(5_000);
        assert_eq!(sandbox.take_done()[0].correct, 1);
        let (kept, is_split) = sandbox.claimants_kept(&sandbox.names()[name].key());
        assert_eq!((kept.len(), is_split), (1, false));
    }
}
