//! Claims and liars. They are drawn from a generator of their own and put between the steps of a run that was drawn
//! before: a run without them is what it was when there were none.

use super::{Drawn, Draws, FINDING_STEPS, step};
use crate::scenario::{Behaviour, Claim, Consistency, Dishonest, Do, Lookup, Of, Origin, Place, Step, Who};
use crate::swarm::fair;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::time::Ticks;
use std::collections::BTreeSet;

/// The chances in a hundred that a run has claims, and liars.
const CLAIMS: u64 = 25;
const LIARS: u64 = 20;

/// Puts into a run what it has of these.
pub(super) fn add(drawn: &mut Drawn, run_seed: u64) {
    let mut draws = Draws { rng: Xoshiro256PlusPlus::seed_from_u64(!run_seed), features: BTreeSet::new() };
    let (has_claims, has_liars) = (draws.chance(CLAIMS), draws.chance(LIARS));
    if has_claims {
        draws.claims(drawn);
    }
    if has_liars {
        draws.liars(drawn);
    }
}

impl Draws {
    /// Names are claimed, and asked for ever after.
    fn claims(&mut self, drawn: &mut Drawn) {
        // Who holds all is as usual in a network as small as this as who does not.
        let few = drawn.scenario.node.holders * 2;
        drawn.scenario.node.claim_holders = self.one_of(&[few, 61]);
        for _ in 0..self.between(1, 3) {
            let names = self.between(1, 6) as u32;
            let rivals = self.between(0, names.into()) as u32;
            let claim = Claim { names, rivals, from: self.origin(), entry_points: self.between(1, 3) as u32 };
            let claim = Step { over: self.over(), ..step(Do::Claim(claim)) };
            let claimed = self.put(drawn, drawn.body.start, claim);
            for _ in 0..self.between(0, 2) {
                let consistency = self.one_of(&[Consistency::Quick, Consistency::Quorum, Consistency::All]);
                let lookup = names_lookup(self.between(5, 20) as u32, self.origin(), consistency);
                let lookup = Step { over: self.over(), ..step(lookup) };
                self.put(drawn, claimed + 1, lookup);
            }
        }
        let ending = drawn.body.end;
        let steps = &mut drawn.scenario.steps;
        let wait = steps[ending..].iter_mut().find_map(|step| match &mut step.what {
            Do::Wait(time) => Some(time),
            _ => None,
        });
        if let Some(time) = wait {
            *time = *time + fair::CLAIMS_SETTLE;
        }
        let asked =
            [names_lookup(20, Origin::Client, Consistency::Quorum), names_lookup(20, Origin::Node, Consistency::All)];
        let end = steps.len() - FINDING_STEPS;
        steps.splice(end..end, asked.map(|what| Step { over: Ticks::seconds(2), ..step(what) }));
    }

    /// Some servers lie from some time on. What is asked for in the end is asked of all holders.
    fn liars(&mut self, drawn: &mut Drawn) {
        let behaviour = self.one_of(&[
            Behaviour::Silent,
            Behaviour::Forge,
            Behaviour::Stale,
            Behaviour::Misroute,
            Behaviour::Mixed,
        ]);
        let who = Who::Share(0.05 * self.between(1, 4) as f64);
        let lie = step(Do::Dishonest(Dishonest { who, behaviour, aim: None, place: Place::Near }));
        let before = drawn.clone();
        self.put(drawn, drawn.body.start, lie);
        for step in &mut drawn.scenario.steps[drawn.body.end..] {
            if let Do::Lookup(lookup) = &mut step.what {
                (lookup.consistency, lookup.entry_points) = (Consistency::All, 8);
            }
        }
        if !fair::is_fair(&drawn.scenario) {
            *drawn = before;
        }
    }

    /// Puts a step somewhere into the body, not before `first`. Says where.
    fn put(&mut self, drawn: &mut Drawn, first: usize, step: Step) -> usize {
        let at = self.between(first as u64, drawn.body.end as u64) as usize;
        drawn.scenario.steps.insert(at, step);
        drawn.body.end += 1;
        at
    }

    fn over(&mut self) -> Ticks {
        if self.chance(50) { self.seconds(1, 15) } else { Ticks(0) }
    }
}

fn names_lookup(count: u32, from: Origin, consistency: Consistency) -> Do {
    Do::Lookup(Lookup { count, of: Of::Names, from, entry_points: 3, zipf: 0.0, consistency })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_run_without_claims_and_liars_is_drawn_as_before_there_were_any() {
        let is_extra = |scenario: &Scenario| {
            scenario.steps.iter().any(|step| matches!(step.what, Do::Claim(_) | Do::Dishonest(_)))
        };
        let drawn: Vec<Drawn> = (0..200).map(|run| super::super::draw(0, run)).collect();
        let extra = drawn.iter().filter(|drawn| is_extra(&drawn.scenario)).count();
        assert!((50..110).contains(&extra), "{extra} of 200");
    }
}
