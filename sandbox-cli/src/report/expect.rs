//! What a scenario expects of a step, compared with what was found.

use super::StepReport;
use crate::scenario::Expect;
use std::fmt;

/// An expectation that did not hold.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// The step, from 1.
    pub step: usize,
    /// The step's name.
    pub name: &'static str,
    /// What was expected of: `correct`, `round_trips p99`, …
    pub what: &'static str,
    /// What was found; none where there was nothing to measure.
    pub found: Option<f64>,
    /// Of how many operations a share is.
    pub of: Option<u64>,
    /// What had been expected.
    pub bound: Bound,
}

/// The limit of what is expected.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

impl Bound {
    fn holds(self, found: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => found >= bound,
            Bound::AtMost(bound) => found <= bound,
        }
    }

    /// A value that missed the bound with few digits, rounded away from the bound so that it never seems to be met.
    fn rounded(self, found: f64) -> f64 {
        let scaled = found * 1e6;
        (match self {
            Bound::AtLeast(_) => scaled.floor(),
            Bound::AtMost(_) => scaled.ceil(),
        }) / 1e6
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (step {}): {} ", self.name, self.step, self.what)?;
        match (self.found, self.of) {
            (Some(found), Some(of)) => write!(f, "{} of {of} asked", self.bound.rounded(found))?,
            (Some(found), None) => write!(f, "{}", self.bound.rounded(found))?,
            (None, _) => f.write_str("was not measured")?,
        }
        match self.bound {
            Bound::AtLeast(bound) => write!(f, ", expected at least {bound}"),
            Bound::AtMost(bound) => write!(f, ", expected at most {bound}"),
        }
    }
}

impl Expect {
    /// What does not hold of this in what was found for step number `step`.
    ///
    /// What was not measured fails, since it says nothing; with one exception: where all was answered from the askers'
    /// own stores, no round trips are the fewest there can be.
    pub fn failures(&self, step: usize, found: &StepReport) -> Vec<Failure> {
        let operations = found.operations.as_ref();
        let asked = operations.map(|all| all.asked).filter(|asked| *asked > 0);
        let share = |count: u64| asked.map(|asked| count as f64 / asked as f64);
        let [correct, wrong, absent, unreachable, conflict, unsettled] = match operations {
            Some(all) => [all.correct, all.wrong, all.absent, all.unreachable, all.conflict, all.unsettled].map(share),
            None => [None; 6],
        };
        let regressions = asked.and(operations).map(|all| all.regressions as f64);
        let moved = Some(found.records_moved as f64);
        let peak = found.upkeep_peak;
        let count = |bound: Option<u32>| bound.map(|bound| Bound::AtMost(bound.into()));
        let all_local = operations.is_some_and(|all| all.asked > 0 && all.local == all.asked);
        let trips = operations.and_then(|all| all.round_trips);
        let none_needed = all_local.then_some(0);
        let p50 = trips.map(|spread| spread.p50).or(none_needed).map(|trips| trips as f64);
        let p99 = trips.map(|spread| spread.p99).or(none_needed).map(|trips| trips as f64);
        let latency =
            operations.and_then(|all| all.latency_ms).map(|spread| spread.p50).or(none_needed).map(|ms| ms as f64);
        let held = found.holders.as_ref().and_then(|holders| holders.holders_true_share);
        let (least, most) = (|bound| Bound::AtLeast(bound), |bound| Bound::AtMost(bound));
        [
            ("correct", correct, asked, self.correct_min.map(least)),
            ("wrong", wrong, asked, self.wrong_max.map(most)),
            ("absent", absent, asked, self.absent_max.map(most)),
            ("unreachable", unreachable, asked, self.unreachable_max.map(most)),
            ("conflict", conflict, asked, self.conflict_max.map(most)),
            ("unsettled", unsettled, asked, self.unsettled_max.map(most)),
            ("regressions", regressions, asked, count(self.regressions_max)),
            ("round_trips p50", p50, None, self.round_trips_p50_max.map(most)),
            ("round_trips p99", p99, None, self.round_trips_p99_max.map(most)),
            ("latency_ms p50", latency, None, self.latency_ms_p50_max.map(most)),
            ("holders_true_share", held, None, self.holders_true_share_min.map(least)),
            ("records_moved", moved, None, count(self.records_moved_max)),
            ("upkeep_peak", peak, None, self.upkeep_peak_max.map(most)),
        ]
        .into_iter()
        .filter_map(|(what, value, of, bound)| {
            let bound = bound?;
            let holds = value.is_some_and(|value| bound.holds(value));
            (!holds).then_some(Failure { step, name: found.name, what, found: value, of, bound })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Holders, Operations};

    fn lookup(asked: u64, correct: u64) -> StepReport {
        let mut operations = Operations {
            asked,
            correct,
            absent: asked - correct,
            conflict: 1,
            unsettled: 2,
            regressions: 3,
            round_trips_samples: vec![1, 1, 2],
            latency_ms_samples: vec![80, 90, 300],
            ..Operations::default()
        };
        operations.summarise();
        StepReport {
            name: "lookup",
            operations: Some(operations),
            records_moved: 7,
            upkeep_peak: Some(512.5),
            ..StepReport::default()
        }
    }

    fn sentences(expect: Expect, found: &StepReport) -> Vec<String> {
        expect.failures(6, found).iter().map(Failure::to_string).collect()
    }

    #[test]
    fn a_failure_says_what_was_found_and_what_was_expected() {
        let expect = Expect { correct_min: Some(0.999), wrong_max: Some(0.0), ..Expect::default() };
        let sentence = "lookup (step 6): correct 0.9987 of 10000 asked, expected at least 0.999";
        assert_eq!(sentences(expect, &lookup(10_000, 9_987)), [sentence]);
        assert_eq!(sentences(expect, &lookup(10_000, 9_990)), [""; 0]);
    }

    #[test]
    fn a_near_miss_does_not_look_like_a_hit() {
        let expect = Expect { correct_min: Some(1.0), absent_max: Some(0.0), ..Expect::default() };
        let sentences = sentences(expect, &lookup(100_000_000, 99_999_999));
        assert!(sentences[0].contains("correct 0.999999 of"), "{sentences:?}");
        assert!(sentences[1].contains("absent 0.000001 of"), "{sentences:?}");
    }

    #[test]
    fn each_expectation_is_compared_with_its_own_figure() {
        let found = lookup(10, 10);
        let met = Expect {
            correct_min: Some(1.0),
            wrong_max: Some(0.0),
            absent_max: Some(0.0),
            unreachable_max: Some(0.0),
            conflict_max: Some(0.1),
            unsettled_max: Some(0.2),
            regressions_max: Some(3),
            round_trips_p50_max: Some(1.0),
            round_trips_p99_max: Some(2.0),
            latency_ms_p50_max: Some(90.0),
            holders_true_share_min: Some(1.0),
            records_moved_max: Some(7),
            upkeep_peak_max: Some(512.5),
        };
        let holders = Holders { records: 1, holders_mean: Some(16.0), holders_true_share: Some(1.0) };
        assert_eq!(met.failures(1, &StepReport { holders: Some(holders), ..found.clone() }), []);
        let strict = Expect {
            conflict_max: Some(0.0),
            unsettled_max: Some(0.19),
            regressions_max: Some(2),
            records_moved_max: Some(6),
            round_trips_p50_max: Some(0.0),
            round_trips_p99_max: Some(1.0),
            latency_ms_p50_max: Some(89.0),
            upkeep_peak_max: Some(512.0),
            ..Expect::default()
        };
        let sentences = sentences(strict, &found);
        assert_eq!(sentences[1], "lookup (step 6): unsettled 0.2 of 10 asked, expected at most 0.19");
        assert_eq!(sentences[2], "lookup (step 6): regressions 3 of 10 asked, expected at most 2");
        assert_eq!(sentences[4], "lookup (step 6): round_trips p99 2, expected at most 1");
        assert_eq!(sentences[6], "lookup (step 6): records_moved 7, expected at most 6");
        assert_eq!(sentences[7], "lookup (step 6): upkeep_peak 512.5, expected at most 512");
        assert_eq!(sentences.len(), 8);
    }

    #[test]
    fn what_was_not_measured_is_a_failure() {
        let expect = Expect { correct_min: Some(0.0), round_trips_p50_max: Some(1.0), ..Expect::default() };
        let nothing = StepReport { operations: Some(Operations::default()), ..StepReport::default() };
        assert_eq!(expect.failures(1, &nothing).len(), 2);
        let held = Expect { holders_true_share_min: Some(0.5), ..Expect::default() };
        let sentence = "lookup (step 6): holders_true_share was not measured, expected at least 0.5";
        assert_eq!(sentences(held, &lookup(1, 1)), [sentence]);
    }

    #[test]
    fn what_is_moved_may_be_expected_of_a_step_without_operations() {
        let waited = StepReport { name: "wait", records_moved: 1, ..StepReport::default() };
        let still = Expect { records_moved_max: Some(0), ..Expect::default() };
        assert_eq!(sentences(still, &waited), ["wait (step 6): records_moved 1, expected at most 0"]);
        assert_eq!(sentences(still, &StepReport { records_moved: 0, ..waited }), [""; 0]);
    }

    #[test]
    fn answers_from_the_askers_own_stores_took_no_round_trip() {
        let expect = Expect { round_trips_p99_max: Some(1.0), latency_ms_p50_max: Some(1.0), ..Expect::default() };
        let local = Operations { asked: 4, correct: 4, local: 4, ..Operations::default() };
        let found = StepReport { operations: Some(local), ..StepReport::default() };
        assert_eq!(expect.failures(1, &found), []);
    }
}
