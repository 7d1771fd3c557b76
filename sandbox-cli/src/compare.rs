//! Two reports of one scenario, before a change and after it: what differs, and what has become worse.
//!
//! The sandbox does the same whenever it is asked the same, so a difference is the change's doing. Messages and bytes that
//! grow by more than a tolerance are *worse*, and so are answers that are no longer right. What depends on the machine, time
//! and memory, is told and never judged.
//!
//! Reports are read as JSON rather than as [`Report`](crate::report::Report), so that one of an older release, which has
//! fewer keys, can be compared, too.

use crate::scenario::grouped;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// By how much costs may grow before that is worse: a tenth.
pub const TOLERANCE: f64 = 0.1;
/// Reads by which share costs may grow.
pub fn parse_tolerance(text: &str) -> Result<f64, String> {
    let tolerance = text.parse().ok().filter(|tolerance: &f64| tolerance.is_finite() && *tolerance >= 0.0);
    tolerance.ok_or_else(|| "must be a number, 0 or more, such as 0.1".to_owned())
}

/// What a step costs. More is worse.
const COSTS: [&str; 4] = ["messages", "bytes", "op_messages", "op_bytes"];
/// How operations fail. Any one more is worse.
const FAILURES: [&str; 3] = ["wrong", "absent", "unreachable"];
/// What depends on the machine.
const MACHINES: [&str; 4] = ["wall_seconds", "events_per_second", "peak_rss_bytes", "threads"];
/// What names a run, or is told in another way.
const NAMES: [&str; 6] = ["scenario", "transport", "digest", "steps", "failed", "seed"];

/// Why two reports cannot be compared. Nothing was printed.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is no report.
    #[error("{}: no report, which is what `run --json` prints: {what}", file.display())]
    NoReport {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The two tell different stories.
    #[error(
        "these reports cannot be compared: {what} was {before}, and is {after}; run the same scenario at the same size"
    )]
    Different {
        /// Which of the things that have to be equal.
        what: String,
        /// In the first report.
        before: String,
        /// In the second.
        after: String,
    },
}

/// What differs between two reports.
#[derive(PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// Whether the very same messages were delivered; null on sockets, where that is not known.
    pub is_same_run: Option<bool>,
    /// The figures that differ.
    pub differences: Vec<Difference>,
    /// How many of them have become worse.
    pub worse: usize,
}

/// A figure that differs.
#[derive(PartialEq, Debug, Serialize)]
pub struct Difference {
    /// The step, from 1; null for the whole run.
    pub step: Option<usize>,
    /// The step's name.
    #[serde(rename = "do")]
    pub name: Option<String>,
    /// Which figure: a key of the report, with a dot before that of a spread.
    pub key: String,
    /// In the first report; null if it has none.
    pub before: Option<f64>,
    /// In the second.
    pub after: Option<f64>,
    /// Whether it has become worse.
    pub is_worse: bool,
}

/// Reads two reports and compares them. Costs may grow by `tolerance`, a share, before that is worse.
pub fn compare_files(before: &Path, after: &Path, tolerance: f64) -> Result<Comparison, CompareError> {
    compare(&read(before)?, &read(after)?, tolerance)
}

type Report = Map<String, Value>;

fn read(file: &Path) -> Result<Report, CompareError> {
    let text =
        std::fs::read_to_string(file).map_err(|error| CompareError::Unreadable { file: file.to_owned(), error })?;
    let no_report = |what: String| CompareError::NoReport { file: file.to_owned(), what };
    let Value::Object(report) = serde_json::from_str(&text).map_err(|error| no_report(error.to_string()))? else {
        return Err(no_report("it is no object".to_owned()));
    };
    match lacking(&report) {
        Some(what) => Err(no_report(what)),
        None => Ok(report),
    }
}

/// What a report must have, and this one has not: without it any two would be taken for reports of one story.
fn lacking(report: &Report) -> Option<String> {
    for (key, is_there) in [
        ("scenario", report.get("scenario").is_some_and(Value::is_string)),
        ("seed", report.get("seed").is_some_and(Value::is_u64)),
        ("nodes", report.get("nodes").is_some_and(Value::is_u64)),
        ("steps", report.get("steps").is_some_and(Value::is_array)),
    ] {
        if !is_there {
            return Some(format!("it does not say {key}"));
        }
    }
    let steps = report.get("steps").and_then(Value::as_array).into_iter().flatten();
    let is_step = |step: &Value| step.get("do").is_some_and(Value::is_string);
    let strange = steps.zip(1..).find(|(step, _)| !is_step(step));
    strange.map(|(_, number)| format!("step {number} does not say what it does"))
}

fn compare(before: &Report, after: &Report, tolerance: f64) -> Result<Comparison, CompareError> {
    for what in ["scenario", "transport", "seed", "nodes"] {
        must_agree(what.to_owned(), before.get(what), after.get(what))?;
    }
    let (steps, new_steps) = (steps(before), steps(after));
    must_agree("the number of steps".to_owned(), Some(&steps.len().into()), Some(&new_steps.len().into()))?;
    let mut differences = Vec::new();
    tell(&mut differences, (None, None), before, after, tolerance);
    for (index, (step, new_step)) in steps.iter().zip(&new_steps).enumerate() {
        let (name, new_name) = (step.get("do"), new_step.get("do"));
        must_agree(format!("step {}", index + 1), name, new_name)?;
        let name = name.and_then(Value::as_str).map(str::to_owned);
        tell(&mut differences, (Some(index + 1), name), step, new_step, tolerance);
    }
    let digests = before.get("digest").zip(after.get("digest")).filter(|(digest, _)| digest.is_string());
    let worse = differences.iter().filter(|difference| difference.is_worse).count();
    Ok(Comparison { is_same_run: digests.map(|(digest, new_digest)| digest == new_digest), differences, worse })
}

fn steps(report: &Report) -> Vec<Report> {
    let steps = report.get("steps").and_then(Value::as_array).into_iter().flatten();
    steps.filter_map(Value::as_object).cloned().collect()
}

fn must_agree(what: String, before: Option<&Value>, after: Option<&Value>) -> Result<(), CompareError> {
    if before == after {
        return Ok(());
    }
    let told = |value: Option<&Value>| value.map_or("not said".to_owned(), Value::to_string);
    Err(CompareError::Different { what, before: told(before), after: told(after) })
}

/// The figures of a step, or of the whole run, that differ.
fn tell(
    differences: &mut Vec<Difference>,
    (step, name): (Option<usize>, Option<String>),
    before: &Report,
    after: &Report,
    tolerance: f64,
) {
    let (before, after) = (figures(before), figures(after));
    let keys = before.iter().chain(after.iter().filter(|(key, _)| figure(&before, key).is_none())).map(|(key, _)| key);
    for key in keys {
        let (old, new) = (figure(&before, key), figure(&after, key));
        if old == new {
            continue;
        }
        let is_worse = old.zip(new).is_some_and(|(old, new)| match key.as_str() {
            key if COSTS.contains(&key) => new > old * (1.0 + tolerance),
            key if FAILURES.contains(&key) => new > old,
            "correct" => new < old,
            _ => false,
        });
        differences.push(Difference { step, name: name.clone(), key: key.clone(), before: old, after: new, is_worse });
    }
}

fn figure(figures: &[(String, f64)], key: &str) -> Option<f64> {
    figures.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
}

/// All that is a number.
fn figures(report: &Report) -> Vec<(String, f64)> {
    let mut figures = Vec::new();
    for (key, value) in report.iter().filter(|(key, _)| !NAMES.contains(&key.as_str())) {
        match value {
            Value::Number(number) => figures.extend(number.as_f64().map(|number| (key.clone(), number))),
            Value::Object(spread) => figures
                .extend(spread.iter().filter_map(|(part, value)| Some((format!("{key}.{part}"), value.as_f64()?)))),
            _ => {}
        }
    }
    figures
}

impl Comparison {
    /// The comparison as text. What depends on the machine is told last, and only of the whole run.
    pub fn render(&self) -> String {
        let is_of_machine = |difference: &&Difference| MACHINES.contains(&difference.key.as_str());
        let mut text = match self.is_same_run {
            Some(true) => "the same run: every message is the same\n".to_owned(),
            Some(false) => "another run: messages differ\n".to_owned(),
            None => String::new(),
        };
        let mut told = None;
        for difference in self.differences.iter().filter(|difference| !is_of_machine(difference)) {
            if told != Some(difference.step) {
                told = Some(difference.step);
                text += &match (difference.step, &difference.name) {
                    (Some(step), Some(name)) => format!("\n{step:>3}  {name}\n"),
                    (Some(step), None) => format!("\n{step:>3}\n"),
                    (None, _) => "\nall together\n".to_owned(),
                };
            }
            text += &difference.line();
        }
        let machine = |difference: &&Difference| difference.step.is_none() && is_of_machine(difference);
        if self.differences.iter().any(|difference| machine(&difference)) {
            text += "\nthis machine\n";
            self.differences.iter().filter(machine).for_each(|difference| text += &difference.line());
        }
        text += &match self.worse {
            0 => "\nnothing is worse\n".to_owned(),
            count => format!("\n{count} are worse\n"),
        };
        text
    }
}

impl Difference {
    fn line(&self) -> String {
        let number = |value: Option<f64>| match value {
            None => "–".to_owned(),
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => grouped(whole as u64),
            Some(number) => format!("{number:.3}"),
        };
        let change = self.before.zip(self.after).filter(|(before, _)| *before != 0.0);
        let change =
            change.map_or(String::new(), |(before, after)| format!("{:+.1} %", (after / before - 1.0) * 100.0));
        let worse = if self.is_worse { "  worse" } else { "" };
        let (before, after) = (number(self.before), number(self.after));
        format!("     {:<20} {before:>16} {after:>16}  {change:>10}{worse}\n", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(steps: Value) -> Report {
        let report = json!({
            "scenario": "quiet", "seed": 7, "transport": "sim", "nodes": 20, "threads": 2, "events": 900,
            "wall_seconds": 1.5, "digest": "ab", "steps": steps, "failed": []
        });
        report.as_object().unwrap().clone()
    }

    fn lookup(messages: u64, correct: u64) -> Value {
        json!({ "do": "lookup", "messages": messages, "asked": 10, "correct": correct, "absent": 10 - correct,
                "round_trips": { "mean": 1.5, "p50": 1 }, "wall_seconds": 0.5 })
    }

    fn compared(before: Value, after: Value) -> Comparison {
        compare(&report(before), &report(after), TOLERANCE).unwrap()
    }

    #[test]
    fn a_report_differs_from_itself_in_nothing() {
        let comparison = compared(json!([lookup(100, 10)]), json!([lookup(100, 10)]));
        assert_eq!(comparison, Comparison { is_same_run: Some(true), differences: vec![], worse: 0 });
        assert!(comparison.render().ends_with("nothing is worse\n"));
    }

    #[test]
    fn a_cost_is_worse_when_it_grows_by_more_than_a_tenth() {
        for (messages, worse) in [(110, 0), (111, 1), (50, 0)] {
            let comparison = compared(json!([lookup(100, 10)]), json!([lookup(messages, 10)]));
            assert_eq!((comparison.differences.len(), comparison.worse), (1, worse), "{messages}");
        }
        let text = compared(json!([lookup(1_000, 10)]), json!([lookup(1_250, 10)])).render();
        assert!(text.contains("  1  lookup\n") && text.contains("+25.0 %  worse"), "{text}");
    }

    #[test]
    fn one_answer_less_is_worse() {
        let comparison = compared(json!([lookup(100, 10)]), json!([lookup(100, 9)]));
        let worse: Vec<_> =
            comparison.differences.iter().filter(|found| found.is_worse).map(|found| &found.key).collect();
        assert_eq!(worse, ["absent", "correct"]);
        assert_eq!(compared(json!([lookup(100, 9)]), json!([lookup(100, 10)])).worse, 0);
    }

    #[test]
    fn time_and_memory_are_told_and_not_judged() {
        let mut slow = report(json!([lookup(100, 10)]));
        slow.insert("wall_seconds".to_owned(), json!(90.0));
        let comparison = compare(&report(json!([lookup(100, 10)])), &slow, TOLERANCE).unwrap();
        assert_eq!((comparison.differences.len(), comparison.worse), (1, 0));
        assert!(comparison.render().contains("this machine"));
    }

    #[test]
    fn what_only_one_of_them_says_is_told() {
        let mut newer = lookup(100, 10);
        newer.as_object_mut().unwrap().insert("upkeep_bytes".to_owned(), json!(12));
        let comparison = compared(json!([lookup(100, 10)]), json!([newer]));
        assert_eq!((comparison.differences[0].before, comparison.differences[0].after), (None, Some(12.0)));
        assert_eq!(comparison.worse, 0);
    }

    #[test]
    fn what_does_not_say_which_story_it_tells_is_no_report() {
        let mut report = report(json!([lookup(1, 1)]));
        assert_eq!(lacking(&report), None);
        report.insert("steps".to_owned(), json!([lookup(1, 1), 5]));
        assert_eq!(lacking(&report).unwrap(), "step 2 does not say what it does");
        for key in ["steps", "nodes", "seed", "scenario"] {
            report.remove(key);
            assert_eq!(lacking(&report).unwrap(), format!("it does not say {key}"));
        }
    }

    #[test]
    fn a_tolerance_is_a_number_from_0() {
        assert_eq!((parse_tolerance("0"), parse_tolerance("0.25")), (Ok(0.0), Ok(0.25)));
        for text in ["nan", "-0.1", "inf", "a tenth"] {
            assert!(parse_tolerance(text).is_err(), "{text}");
        }
    }

    #[test]
    fn different_stories_are_not_compared() {
        let fewer = compare(&report(json!([lookup(1, 1)])), &report(json!([])), TOLERANCE);
        assert!(fewer.unwrap_err().to_string().contains("the number of steps was 1, and is 0"));
        let other = compare(&report(json!([lookup(1, 1)])), &report(json!([{ "do": "wait" }])), TOLERANCE);
        assert!(other.unwrap_err().to_string().contains("step 1 was \"lookup\", and is \"wait\""));
    }
}
