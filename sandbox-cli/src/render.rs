//! The report as a person likes to read it: a headline, then a block for each step.
//!
//! The text carries colours as escape codes; print it through `anstream`, which drops them where nobody sees them.

mod histogram;
mod story;

pub use histogram::{Histogram, Row};
pub use story::story;

use crate::report::{Holders, Operations, Report, StepReport};
use crate::scenario::{Scenario, Step, counted, grouped};
use anstyle::{AnsiColor, Style};
use routing_core::time::Ticks;

/// The text never gets wider than this many columns.
pub const COLUMNS: usize = 100;

/// The rows of a histogram, at most.
const ROWS: usize = 8;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BAR: Style = AnsiColor::Cyan.on_default();

/// The whole report as text. Its steps must be those of the scenario, in its order.
pub fn render(scenario: &Scenario, report: &Report) -> String {
    let mut text = headline(report);
    for (index, (step, found)) in scenario.steps.iter().zip(&report.steps).enumerate() {
        text.push('\n');
        text += &block(index + 1, step, found);
    }
    if !report.failed.is_empty() {
        text += &expected_otherwise(report);
    }
    text
}

/// The expectations that did not hold.
fn expected_otherwise(report: &Report) -> String {
    let mut text = format!("\n{BAD}expected otherwise{BAD:#}\n");
    for sentence in &report.failed {
        text += &format!("  {BAD}✗{BAD:#} {sentence}\n");
    }
    text
}

fn headline(report: &Report) -> String {
    let mut facts = vec![
        counted(report.nodes, "node"),
        format!("{} virtual", span(report.virtual_seconds)),
        format!("{} real", span(report.wall_seconds)),
        format!("{} events/s", short(report.events_per_second)),
    ];
    facts.extend(report.peak_rss_bytes.map(|bytes| format!("{} at most", self::bytes(bytes as f64))));
    // The digest's beginning suffices to compare two runs by eye; JSON has all of it.
    let digest = report.digest.as_ref().map(|digest| digest.chars().take(16).collect::<String>());
    let digest = digest.map_or(String::new(), |digest| format!(" · digest {digest}"));
    let run = format!("seed {} · {}{digest}", report.seed, report.transport);
    format!("{BOLD}{}{BOLD:#}  {DIM}{run}{DIM:#}\n{}\n", clipped(&report.scenario, 40), facts.join(" · "))
}

fn block(index: usize, step: &Step, found: &StepReport) -> String {
    let name = step.what.name();
    let mut told = step.what.to_string();
    if step.over > Ticks::default() {
        told += &format!(", over {}", step.over);
    }
    if step.meanwhile {
        told += ", meanwhile:";
    }
    let told = clipped(&told, COLUMNS - 8 - name.len());
    let mut text = format!("{BOLD}{index:>3}  {name}{BOLD:#}  {told}\n");
    let mut line = |content: String| text += &format!("     {content}\n");
    if let Some(operations) = &found.operations {
        line(outcomes(operations));
        if let Some(spreads) = spreads(operations) {
            line(spreads);
        }
        histograms(operations).into_iter().for_each(&mut line);
        if operations.asked > 0 {
            line(costs(operations));
        }
    }
    if let Some(holders) = &found.holders {
        line(records(holders));
    }
    line(format!("{DIM}{}{DIM:#}", traffic(found)));
    text
}

/// Correct, wrong, absent and unreachable with their shares; the rest only where it happened.
fn outcomes(found: &Operations) -> String {
    if found.asked == 0 {
        return format!("{DIM}nothing was asked{DIM:#}");
    }
    let share = |count: u64| format!("{} ({})", grouped(count), percent(count, found.asked));
    let all = found.correct == found.asked;
    let style = if all { GOOD } else { Style::new() };
    let mut parts = vec![format!("{style}correct {}{style:#}", share(found.correct))];
    for (name, count, style) in
        [("wrong", found.wrong, BAD), ("absent", found.absent, BAD), ("unreachable", found.unreachable, BAD)]
    {
        // A zero is news only where not all is well.
        if count > 0 {
            parts.push(format!("{style}{name} {}{style:#}", share(count)));
        } else if !all {
            parts.push(format!("{name} 0"));
        }
    }
    for (name, count) in [("conflict", found.conflict), ("unsettled", found.unsettled), ("local", found.local)] {
        if count > 0 {
            parts.push(format!("{name} {}", grouped(count)));
        }
    }
    parts.join("  ")
}

fn spreads(found: &Operations) -> Option<String> {
    let trips = found
        .round_trips
        .map(|spread| format!("round trips {:.2} on average, p50 {}, p99 {}", spread.mean, spread.p50, spread.p99));
    let latency = found
        .latency_ms
        .map(|spread| format!("latency p50 {} ms, p99 {} ms", grouped(spread.p50), grouped(spread.p99)));
    let parts: Vec<_> = trips.into_iter().chain(latency).collect();
    (!parts.is_empty()).then(|| parts.join("  ·  "))
}

/// Round trips and latency side by side.
fn histograms(found: &Operations) -> Vec<String> {
    const GAP: usize = 3;
    const WIDTH: usize = (COLUMNS - 5 - GAP) / 2;
    let trips = columns("round trips", &Histogram::whole(&found.round_trips_samples, ROWS), WIDTH);
    let latency = columns("ms", &Histogram::logarithmic(&found.latency_ms_samples, ROWS), WIDTH);
    let empty = " ".repeat(WIDTH);
    (0..trips.len().max(latency.len()))
        .map(|row| {
            let cell = |lines: &[String]| lines.get(row).unwrap_or(&empty).clone();
            match (trips.is_empty(), latency.is_empty()) {
                (true, _) => cell(&latency),
                (_, true) => cell(&trips),
                _ => format!("{}{}{}", cell(&trips), " ".repeat(GAP), cell(&latency)),
            }
        })
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A histogram as lines of exactly `width` columns (escape codes aside): label, bar, share. None without samples.
fn columns(unit: &str, histogram: &Histogram, width: usize) -> Vec<String> {
    const SHARE: usize = 8;
    if histogram.total == 0 {
        return Vec::new();
    }
    let rows: Vec<_> = histogram.rows.iter().map(|row| (row.label(), row.count)).collect();
    let label = rows.iter().map(|(label, _)| label.chars().count()).chain([unit.len()]).max().unwrap_or_default();
    let room = width.saturating_sub(label + SHARE + 2);
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let mut lines = vec![format!("{DIM}{unit:>label$}{DIM:#}{}", " ".repeat(width - label))];
    lines.extend(rows.iter().map(|(text, count)| {
        let bar = bar(*count, most, room);
        let share = percent(*count, histogram.total);
        format!("{text:>label$} {BAR}{bar:<room$}{BAR:#} {share:>SHARE$}")
    }));
    lines
}

/// A bar in eighths of a column; something that happened always shows.
fn bar(count: u64, most: u64, room: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (count as f64 / most.max(1) as f64 * (room * 8) as f64).round() as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn costs(found: &Operations) -> String {
    let each = |sum: u64| sum as f64 / found.asked as f64;
    format!("an operation costs {:.1} messages, {}", each(found.op_messages), bytes(each(found.op_bytes)))
}

fn records(found: &Holders) -> String {
    let mut parts = vec![counted(found.records, "record")];
    parts.extend(found.holders_mean.map(|mean| format!("{mean:.2} holders each")));
    parts.extend(found.holders_true_share.map(|share| {
        let style = if share >= 1.0 { GOOD } else { BAD };
        format!("{style}{} of the true holders hold theirs{style:#}", floored(share))
    }));
    parts.join(" · ")
}

/// What went over the network, and how long the step took.
fn traffic(found: &StepReport) -> String {
    let mut parts = vec![
        span(found.seconds),
        counted(found.nodes_alive, "node"),
        format!("{} messages", short(found.messages as f64)),
        bytes(found.bytes as f64),
    ];
    for (count, noun, what) in [(found.links_opened, "link", "opened"), (found.records_moved, "record", "moved")] {
        if count > 0 {
            parts.push(format!("{} {noun}{} {what}", short(count as f64), if count == 1 { "" } else { "s" }));
        }
    }
    parts.push(format!("{} real", span(found.wall_seconds)));
    parts.join(" · ")
}

/// `part` of `whole` in per cent, never rounded to a full 100 % or a plain 0 %.
fn percent(part: u64, whole: u64) -> String {
    floored(part as f64 / whole.max(1) as f64)
}

/// A share in per cent; what misses 1 does not look like 1, and what exceeds 0 not like 0.
fn floored(share: f64) -> String {
    match share * 100.0 {
        all if all >= 100.0 => "100 %".to_owned(),
        none if none <= 0.0 => "0 %".to_owned(),
        little if little < 0.01 => "<0.01 %".to_owned(),
        some => format!("{:.2} %", (some * 100.0).floor() / 100.0),
    }
}

/// A number in three digits or so: `950`, `12.3k`, `4.56M`.
fn short(number: f64) -> String {
    scaled(number, 1_000.0, &["", "k", "M", "G", "T"], "")
}

/// A size in human units: `950 B`, `12.3 KiB`.
fn bytes(number: f64) -> String {
    scaled(number, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB"], " ")
}

fn scaled(mut number: f64, step: f64, units: &[&str], gap: &str) -> String {
    let mut unit = 0;
    while number >= step && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = match number {
        _ if unit == 0 => 0,
        large if large >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.digits$}{gap}{}", units[unit])
}

/// A span of seconds as a person says it: `350 ms`, `12.3 s`, `2 min`, `4 min 20 s`, `1 h 5 min`.
fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        ms if ms < 0.9995 => format!("{:.0} ms", ms * 1e3),
        s if s < 59.95 => format!("{s:.1} s"),
        _ if whole < 3_600 && whole.is_multiple_of(60) => format!("{} min", whole / 60),
        _ if whole < 3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// The text, or as much of it as fits, with an ellipsis.
fn clipped(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
pub(crate) mod tests;
