//! What a run found, with exactly the keys that other programs read as JSON.
//!
//! A runner fills in [`Report`] and its steps, with the raw samples of each step; [`Operations::summarise`] makes the
//! spreads out of them, and [`Report::judge`] compares each step with what its scenario expected of it. Samples are not
//! part of the JSON: they are there for [`render`](crate::render) to draw.

mod expect;

pub use expect::{Bound, Failure};

use crate::scenario::Scenario;
use serde::Serialize;

/// All that is known about a run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What everything random was drawn from.
    pub seed: u64,
    /// What carried the messages: `sim` or `tcp`.
    pub transport: &'static str,
    /// How many nodes were started in all.
    pub nodes: u64,
    /// On how many threads it ran.
    pub threads: u64,
    /// The virtual time that passed, in ticks; on sockets the real one.
    pub ticks: u64,
    /// The virtual time that passed, in seconds.
    pub virtual_seconds: f64,
    /// The time that passed for whoever waited.
    pub wall_seconds: f64,
    /// Messages delivered to nodes plus wake-ups handled by nodes.
    pub events: u64,
    /// Events by wall time; see [`rate`].
    pub events_per_second: f64,
    /// The most memory that the process ever held; null where the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// The hash over everything that was delivered, in hexadecimal: equal for equal runs; null on sockets, where no two
    /// runs are.
    pub digest: Option<String>,
    /// One report for each step of the scenario, in its order.
    pub steps: Vec<StepReport>,
    /// The expectations that did not hold, each as a sentence; filled in by [`Report::judge`].
    pub failed: Vec<String>,
}

/// What is known about one step.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StepReport {
    /// The step's name.
    #[serde(rename = "do")]
    pub name: &'static str,
    /// The virtual time at which it began, in seconds.
    pub at_seconds: f64,
    /// The virtual time that it took.
    pub seconds: f64,
    /// The time that it took for whoever waited.
    pub wall_seconds: f64,
    /// How many nodes were living when it ended.
    pub nodes_alive: u64,
    /// How many messages were sent between its start and its end.
    pub messages: u64,
    /// Their encoded size plus framing.
    pub bytes: u64,
    /// How many links were opened between its start and its end.
    pub links_opened: u64,
    /// How many copies of records were given to nodes outside an operation.
    pub records_moved: u64,
    /// What of `bytes` no operation waited for.
    pub upkeep_bytes: u64,
    /// The most of that which one node sent, in bytes a second of the step; null where nodes cannot be watched so closely.
    pub upkeep_most: Option<f64>,
    /// The most of that which one node sent within ten seconds, in bytes a second; null where nodes cannot be watched so
    /// closely.
    pub upkeep_peak: Option<f64>,
    /// The outcomes, for a step that consists of operations.
    #[serde(flatten)]
    pub operations: Option<Operations>,
    /// Where the records ended up, for a register step.
    #[serde(flatten)]
    pub holders: Option<Holders>,
}

/// The outcomes of a step's operations. `correct`, `wrong`, `absent` and `unreachable` add up to `asked`; `conflict`,
/// `unsettled` and `local` are counted besides.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Operations {
    /// How many operations there were.
    pub asked: u64,
    /// Answered right; for all but lookups: acknowledged.
    pub correct: u64,
    /// Answered with another placement than the right one.
    pub wrong: u64,
    /// Answered that there is no record.
    pub absent: u64,
    /// Too few were reached; for all but lookups: not acknowledged.
    pub unreachable: u64,
    /// Answered with the proof of a conflict, or a contested claim.
    pub conflict: u64,
    /// Answered, but without a majority.
    pub unsettled: u64,
    /// Answered from the asker's own store; such an answer is no sample of `round_trips`.
    pub local: u64,
    /// Gave a node a lesser record than it was given before for the same user, or said that there is none.
    pub regressions: u64,
    /// How many messages the operations themselves cost, with their answers.
    pub op_messages: u64,
    /// How many bytes the operations themselves cost, with their answers.
    pub op_bytes: u64,
    /// The round trips that each operation took.
    pub round_trips: Option<Spread>,
    /// The virtual time that each operation took, in milliseconds.
    pub latency_ms: Option<Spread>,
    /// The samples behind `round_trips`, in any order.
    #[serde(skip)]
    pub round_trips_samples: Vec<u32>,
    /// The samples behind `latency_ms`, in any order.
    #[serde(skip)]
    pub latency_ms_samples: Vec<u32>,
}

impl Operations {
    /// Makes `round_trips` and `latency_ms` out of the samples, which it sorts.
    pub fn summarise(&mut self) {
        self.round_trips = Spread::of(&mut self.round_trips_samples);
        self.latency_ms = Spread::of(&mut self.latency_ms_samples);
    }
}

/// Where the records of a register step ended up.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Holders {
    /// How many records were registered.
    pub records: u64,
    /// How many nodes hold a record when the step ends, on average; null without records.
    pub holders_mean: Option<f64>,
    /// The share of the true holders that hold the record when the step ends; null without records.
    pub holders_true_share: Option<f64>,
}

/// How values spread: their mean, and percentiles by nearest rank (the least value that so many do not exceed).
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    /// The spread of `samples`, which are sorted on the way; none without samples.
    pub fn of<T: Copy + Ord + Into<u64>>(samples: &mut [T]) -> Option<Self> {
        samples.sort_unstable();
        let max = (*samples.last()?).into();
        let sum: u128 = samples.iter().map(|sample| u128::from((*sample).into())).sum();
        // Nearest rank in whole numbers: ⌈p·n / 100⌉, from 1.
        let rank = |percent: usize| samples[(samples.len() * percent).div_ceil(100) - 1].into();
        Some(Self { mean: sum as f64 / samples.len() as f64, p50: rank(50), p90: rank(90), p99: rank(99), max })
    }
}

/// `count` things in `seconds`: how many a second; 0 where no time passed.
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Report {
    /// Compares each step with what the scenario expected of it and keeps the failures as sentences in `failed`.
    /// The report's steps must be those of the scenario, in its order.
    pub fn judge(&mut self, scenario: &Scenario) -> Vec<Failure> {
        let pairs = scenario.steps.iter().zip(&self.steps).enumerate();
        let failures: Vec<_> = pairs
            .filter_map(|(index, (step, found))| step.expect.map(|expect| expect.failures(index + 1, found)))
            .flatten()
            .collect();
        self.failed = failures.iter().map(Failure::to_string).collect();
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut samples: Vec<u32> = (1..=100).rev().collect();
        let spread = Spread::of(&mut samples).unwrap();
        assert_eq!((spread.p50, spread.p90, spread.p99, spread.max), (50, 90, 99, 100));
        assert_eq!(spread.mean, 50.5);
        let spread = Spread::of(&mut [3u64, 1, 2]).unwrap();
        assert_eq!((spread.p50, spread.p90, spread.p99, spread.max), (2, 3, 3, 3));
        assert_eq!(Spread::of(&mut [7u32]).unwrap().p50, 7);
    }

    #[test]
    fn without_samples_there_is_no_spread() {
        assert_eq!(Spread::of::<u32>(&mut []), None);
        let json = serde_json::to_value(Operations::default()).unwrap();
        assert!(json["round_trips"].is_null() && json["latency_ms"].is_null());
    }

    fn keys(value: impl Serialize) -> Vec<String> {
        let json = serde_json::to_value(value).unwrap();
        json.as_object().unwrap().keys().cloned().collect()
    }

    fn sorted(text: &str) -> Vec<String> {
        let mut keys: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_keys_of_the_json_are_those_agreed_upon() {
        let always = "do at_seconds seconds wall_seconds nodes_alive messages bytes links_opened records_moved \
                      upkeep_bytes upkeep_most upkeep_peak";
        let operations = "asked correct wrong absent unreachable conflict unsettled local regressions op_messages op_bytes \
                          round_trips latency_ms";
        let step = StepReport::default();
        assert_eq!(keys(&step), sorted(always));
        let step = StepReport { operations: Some(Operations::default()), ..step };
        assert_eq!(keys(&step), sorted(&format!("{always} {operations}")));
        let step = StepReport { holders: Some(Holders::default()), ..step };
        let holders = "records holders_mean holders_true_share";
        assert_eq!(keys(&step), sorted(&format!("{always} {operations} {holders}")));
        assert_eq!(keys(Spread::of(&mut [1u32])), sorted("mean p50 p90 p99 max"));
    }

    #[test]
    fn a_report_names_what_failed_and_nothing_is_lost_in_json() {
        let report = crate::render::tests::example();
        let top = "scenario seed transport nodes threads ticks virtual_seconds wall_seconds events events_per_second \
                   peak_rss_bytes digest steps failed";
        assert_eq!(keys(&report), sorted(top));
    }

    #[test]
    fn a_rate_without_time_is_zero_not_infinite() {
        assert_eq!(rate(5, 0.0), 0.0);
        assert_eq!(rate(5, 2.0), 2.5);
    }
}
