//! Claims, liars, and stories: sequences of steps that find what single ones, drawn one by one, seldom come together to
//! find. They are drawn from a generator of their own and put between the steps of a run that was drawn before: a run
//! without them is what it was when there were none.

use super::{Drawn, Draws, FINDING_STEPS, step};
use crate::scenario::{
    Behaviour, Change, Claim, Consistency, Dishonest, Do, Join, Lookup, Loss, Of, Origin, Place, Restart, Step, Who,
};
use crate::swarm::fair;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::time::Ticks;
use std::collections::BTreeSet;

/// The chances in a hundred that a run has claims, liars, and a story.
const CLAIMS: u64 = 25;
const LIARS: u64 = 20;
const STORY: u64 = 30;

/// Puts into a run what it has of these.
pub(super) fn add(drawn: &mut Drawn, run_seed: u64) {
    let mut draws = Draws { rng: Xoshiro256PlusPlus::seed_from_u64(!run_seed), features: BTreeSet::new() };
    let (has_claims, has_liars, has_story) = (draws.chance(CLAIMS), draws.chance(LIARS), draws.chance(STORY));
    if has_story {
        draws.story(drawn);
    }
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

    /// Things happen one after the other.
    fn story(&mut self, drawn: &mut Drawn) {
        let few = drawn.founded().0.div_ceil(5);
        let (down, some) = (self.seconds(2, 6), self.some(few));
        let slow = |times| Ticks(down.0 * times);
        let restart = |who, proper| Restart { who, down, proper };
        let all_restart = |proper| Step { over: slow(5), ..step(Do::Restart(restart(Who::Share(1.0), proper))) };
        let users = Change { users: self.between(3, 12) as u32, ..self.change() };
        let join = Join { nodes: Some(self.between(1, few.into()) as u32), every: 1, entry_points: 2, servers: None };
        let loss = |rate| step(Do::Loss(Loss { rate: Some(rate), duplicate: None }));
        let wait = step(Do::Wait(self.seconds(10, 60)));
        let migrate = step(Do::Migrate(users.clone()));
        let close = step(Do::Close(users));
        let steps = match self.between(1, 8) {
            // Of the other parts nobody knows any more but by what was written down.
            1 => vec![step(Do::Partition(self.partition())), wait, all_restart(false), step(Do::Heal)],
            // What was written in one part meets what was written in another one before.
            2 => vec![migrate.clone(), step(Do::Partition(self.partition())), migrate, close, wait, step(Do::Heal)],
            // Who is just back, or was away when it was said that somebody leaves.
            3 => vec![step(Do::Restart(restart(some, true))), step(Do::Leave(self.some(few)))],
            4 => vec![
                Step { meanwhile: true, over: slow(2), ..step(Do::Restart(restart(some, true))) },
                Step { over: slow(2), ..step(Do::Leave(self.some(few))) },
            ],
            // Who hears nothing of what is written.
            5 => vec![step(Do::Halt(some)), migrate, close, step(Do::Run(Who::Share(1.0)))],
            // One after the other is replaced.
            6 => vec![
                Step { meanwhile: true, over: slow(5), ..step(Do::Join(join)) },
                Step { over: slow(5), ..step(Do::Leave(some)) },
                migrate,
            ],
            // What hardly arrived is all that is left.
            7 => vec![loss(0.15), migrate, close, loss(0.0), all_restart(true)],
            // Nothing comes back that was there before.
            _ => vec![close, all_restart(false), step(Do::Announce(Who::Share(1.0)))],
        };
        let before = drawn.clone();
        let at = self.between(drawn.body.start as u64, drawn.body.end as u64) as usize;
        drawn.body.end += steps.len();
        drawn.scenario.steps.splice(at..at, steps);
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
