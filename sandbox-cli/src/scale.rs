//! What a network of so many nodes costs to simulate: the same scenario at several sizes, a row of a table for each.
//!
//! The rows are Markdown, to be read as they are and pasted where a table is kept. How many events a second there are
//! says little without the machine, so each row has beside it what [`BareWheel`] reaches there.

use crate::options;
use crate::report::{Operations, Report, rate};
use crate::scenario::{Do, Scenario, grouped};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;
use transport_sim::yardstick::BareWheel;

/// What is run at each size; users and lookups are as many as nodes.
pub const SCENARIO: &str = include_str!("../../scenarios/full/hundred-thousand.toml");

/// The table's head.
pub const HEAD: &str = "\
| nodes | right | wrong | messages a node | events | events a second | bare wheel | share | time | most memory | a node |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

/// How many events of a bare wheel are measured: a fifth of a second for a thousand nodes, about one for a hundred
/// thousand.
const WHEEL_EVENTS: u64 = 5_000_000;

/// The options of `scale`.
#[derive(Clone, PartialEq, Debug, clap::Args)]
pub struct ScaleOptions {
    /// How many nodes, once for each row; the most memory is the process's, so they are taken in ascending order
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1000,3000")]
    #[arg(value_parser = options::nodes(1), allow_negative_numbers = true)]
    pub nodes: Vec<u32>,
    /// Run on this many threads; the result is the same on any number [default: all cores]
    #[arg(long, value_name = "N", value_parser = options::threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// Draw everything random from this seed instead of the scenario's
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
}

impl ScaleOptions {
    /// The sizes in the order in which they are to be run.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes = self.nodes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

/// Makes `scenario` one of `nodes` nodes, with as many users and lookups.
pub fn resize(scenario: &mut Scenario, nodes: u32) {
    for step in &mut scenario.steps {
        match &mut step.what {
            Do::Join(join) => join.nodes = Some(nodes),
            Do::Register(register) => register.users = nodes,
            Do::Lookup(lookup) => lookup.count = nodes,
            _ => {}
        }
    }
}

/// How many events a second a bare wheel with so many nodes delivers here, on this thread.
///
/// To be asked after the run beside which it stands, whose report has its most memory already. What the wheel takes, a
/// kilobyte and a little more a node, is less than the run has given back, so the next row's most memory is its own.
pub fn bare_wheel(nodes: u32, seed: u64) -> f64 {
    let mut wheel = BareWheel::new(nodes, seed);
    wheel.deliver(6 * u64::from(nodes));
    let began = Instant::now();
    wheel.deliver(WHEEL_EVENTS);
    let rate = rate(WHEEL_EVENTS, began.elapsed().as_secs_f64());
    black_box(wheel);
    rate
}

/// The row of one run, beside a bare wheel of so many events a second.
pub fn row(report: &Report, bare_wheel: f64) -> String {
    let total = |count: fn(&Operations) -> u64| -> u64 {
        report.steps.iter().filter_map(|step| step.operations.as_ref()).map(count).sum()
    };
    let messages: u64 = report.steps.iter().map(|step| step.messages).sum();
    let (asked, correct) = (total(|operations| operations.asked), total(|operations| operations.correct));
    let (memory, of_each) = match report.peak_rss_bytes {
        Some(bytes) => (
            format!("{:.2} GB", bytes as f64 / 1e9),
            format!("{:.1} KB", bytes as f64 / 1e3 / report.nodes.max(1) as f64),
        ),
        None => ("unknown".to_owned(), "unknown".to_owned()),
    };
    format!(
        "| {} | {} of {} | {} | {} | {} | {} | {} | {:.1} % | {:.0} s | {memory} | {of_each} |\n",
        grouped(report.nodes),
        grouped(correct),
        grouped(asked),
        grouped(total(|operations| operations.wrong)),
        grouped(messages / report.nodes.max(1)),
        grouped(report.events),
        grouped(report.events_per_second as u64),
        grouped(bare_wheel as u64),
        100.0 * report.events_per_second / bare_wheel,
        report.wall_seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::progress::Progress;
    use crate::runner::execute;
    use crate::scenario::Network;
    use std::path::Path;

    #[test]
    fn a_row_tells_of_the_run_of_its_size() {
        let mut scenario = Scenario::parse(SCENARIO, "hundred-thousand.toml", Path::new("")).unwrap();
        scenario.network.delay = Network::default().delay;
        resize(&mut scenario, 12);
        let progress = Progress::new(scenario.steps.len(), true);
        let report = execute(&scenario, &Options::default(), &progress).unwrap();
        assert_eq!(report.nodes, 12);
        let row = row(&Report { events_per_second: 50_000.0, ..report }, 4_000_000.0);
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), HEAD.lines().next().unwrap().split('|').count());
        assert_eq!(cells[1..4], ["12", "36 of 36", "0"], "{row}");
        assert_eq!(cells[6..9], ["50,000", "4,000,000", "1.2 %"], "{row}");
    }

    #[test]
    fn sizes_are_run_once_each_and_the_smallest_first() {
        let options = ScaleOptions { nodes: vec![30, 10, 30], threads: None, seed: None };
        assert_eq!(options.sizes(), [10, 30]);
    }
}
