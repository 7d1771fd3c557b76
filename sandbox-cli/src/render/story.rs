//! The report as a story: for each step a sentence about what happened, and one about how it went.
//!
//! It is for somebody who has never seen the network. All figures are in [`render`](super::render).

use super::{BAD, BOLD, COLUMNS, DIM, GOOD, bytes, clipped, expected_otherwise, headline, percent, short, span};
use crate::report::{Holders, Operations, Report, StepReport};
use crate::scenario::{Do, Lookup, Of, Scenario, Step, counted, grouped};
use routing_core::time::Ticks;

/// What a reader may do next, and what it shows.
const NEXT: [(&str, &str); 4] = [
    ("sandbox-cli shell --nodes 20", "do such things yourself, one by one"),
    ("sandbox-cli run scenarios/partition.toml", "the network falls into parts, and heals"),
    ("sandbox-cli run scenarios/demo.toml", "this story with all its figures"),
    ("sandbox-cli demo --trace lookups.jsonl", "and then: sandbox-cli explain lookups.jsonl GUID"),
];

/// The whole story. The report's steps must be those of the scenario, in its order, and judged.
pub fn story(scenario: &Scenario, report: &Report) -> String {
    let mut text = headline(report);
    // Who lived when the steps that go on together began.
    let mut before = 0;
    for (index, (step, found)) in scenario.steps.iter().zip(&report.steps).enumerate() {
        let previous = index.checked_sub(1).map(|previous| &scenario.steps[previous]);
        if previous.is_some_and(|previous| !previous.meanwhile) {
            before = report.steps[index - 1].nodes_alive;
        }
        let happened = Happened { step, previous, found, gone: before.saturating_sub(found.nodes_alive) };
        text.push('\n');
        text += &happened.tell(index + 1);
    }
    text += &if report.failed.is_empty() { moral(scenario, report) } else { expected_otherwise(report) };
    text
}

/// One step, and what it is told with.
struct Happened<'a> {
    step: &'a Step,
    previous: Option<&'a Step>,
    found: &'a StepReport,
    /// How many nodes fewer live than before.
    gone: u64,
}

impl Happened<'_> {
    fn tell(&self, number: usize) -> String {
        let mut text = String::new();
        for (index, line) in wrapped(&self.what(), COLUMNS - 5).iter().enumerate() {
            let margin = if index == 0 { format!("{number:>3}") } else { " ".repeat(3) };
            text += &format!("{BOLD}{margin}  {line}{BOLD:#}\n");
        }
        if let Some(operations) = self.found.operations.as_ref().filter(|operations| operations.asked > 0) {
            text += &format!("     {}\n", self.outcome(operations));
            if operations.unsettled > 0 {
                let unsure = grouped(operations.unsettled);
                text += &format!("     {unsure} of them not for sure: too few who keep the record have answered\n");
            }
        }
        if let Some(kept) = self.found.holders.as_ref().and_then(kept) {
            text += &format!("     {kept}\n");
        }
        text += &format!("     {DIM}{}{DIM:#}\n", self.cost());
        text
    }

    /// What happened, in plain words.
    fn what(&self) -> String {
        let asked = grouped(self.found.operations.as_ref().map_or(0, |operations| operations.asked));
        let (gone, alive) = (counted(self.gone, "server"), grouped(self.found.nodes_alive));
        let (is_one_gone, is_one_left) = (self.gone == 1, self.found.nodes_alive == 1);
        let over = if self.step.over > Ticks(0) { format!("within {}", self.step.over) } else { "at once".to_owned() };
        match &self.step.what {
            Do::Join(join) => format!(
                "{asked} home-servers start {over}. Each knows {} others to begin with, and finds the rest.",
                join.entry_points
            ),
            Do::Register(_) => format!(
                "{asked} users register {over}: each signs a record that says on which server they live, and the servers \
                 nearest to the user's id keep it."
            ),
            Do::Lookup(lookup) => self.question(lookup, &asked),
            Do::Kill(_) => {
                let (die, are) = (if is_one_gone { "dies" } else { "die" }, if is_one_left { "is" } else { "are" });
                format!("{gone} {die} {over}, without a word. {alive} {are} left.")
            }
            Do::Wait(time) => format!(
                "{} pass. The others notice who is silent, and make new copies of the records that are short of them.",
                span(time.as_seconds())
            ),
            Do::Migrate(_) => format!(
                "{asked} users move to another server {over}, also away from dead ones: all it takes is their own \
                 signature."
            ),
            Do::Leave(_) => {
                let stay = if is_one_left { "stays" } else { "stay" };
                if is_one_gone {
                    format!("{gone} leaves for good {over}. It says so, and hands its records over; {alive} {stay}.")
                } else {
                    format!("{gone} leave for good {over}. They say so, and hand their records over; {alive} {stay}.")
                }
            }
            other => clipped(&format!("{} {other}", other.name()), COLUMNS),
        }
    }

    fn question(&self, lookup: &Lookup, asked: &str) -> String {
        let when = match self.previous {
            Some(Step { what: Do::Kill(_), .. }) => "In the same tick, ",
            Some(Step { what: Do::Lookup(_), meanwhile: true, .. }) => "And ",
            Some(Step { meanwhile: true, .. }) => "Meanwhile, ",
            Some(Step { what: Do::Lookup(_), .. }) => "Afterwards, ",
            _ => "",
        };
        let whose = match lookup.of {
            Of::Hosted => "where does this user live, whose server is alive?",
            Of::Stranded => "where did this user live, whose server is dead?",
            _ => "on which server does this user live now?",
        };
        format!("{when}{asked} lookups: {whose}")
    }

    /// How it went.
    fn outcome(&self, found: &Operations) -> String {
        let went_well = match self.step.what {
            Do::Join(_) => "are in",
            Do::Lookup(_) => "right",
            _ => "acknowledged",
        };
        let is_as_expected = self.step.expect.is_none_or(|expect| expect.failures(0, self.found).is_empty());
        let (style, mark) = if is_as_expected { (GOOD, '✓') } else { (BAD, '✗') };
        let mut parts = vec![if found.correct == found.asked {
            format!("{style}{mark} all {} {went_well}{style:#}", grouped(found.asked))
        } else {
            let share = percent(found.correct, found.asked);
            format!(
                "{style}{mark} {} of {} {went_well} ({share}){style:#}",
                grouped(found.correct),
                grouped(found.asked)
            )
        }];
        for (name, count) in [("wrong", found.wrong), ("absent", found.absent), ("unreachable", found.unreachable)] {
            if count > 0 {
                parts.push(format!("{BAD}{name} {}{BAD:#}", grouped(count)));
            }
        }
        let latency = found.latency_ms.map(|spread| format!("{} ms at the median", grouped(spread.p50)));
        let trips = found.round_trips.map(|spread| format!("{:.1} round trips", spread.mean));
        let messages = format!("{:.0} messages each", found.op_messages as f64 / found.asked as f64);
        let costs: Vec<String> = latency.into_iter().chain(trips).chain([messages]).collect();
        // Who has to say what went wrong needs the line for it.
        let gap = if found.correct == found.asked { " · " } else { "\n     " };
        parts.join(" · ") + gap + &costs.join(" · ")
    }

    fn cost(&self) -> String {
        let found = self.found;
        let mut parts = vec![format!("at {}, for {}", span(found.at_seconds), span(found.seconds))];
        if found.messages > 0 {
            parts.push(format!("{} messages, {}", short(found.messages as f64), bytes(found.bytes as f64)));
        }
        if found.records_moved > 0 {
            let copies = if found.records_moved == 1 { "copy" } else { "copies" };
            parts.push(format!("{} {copies} of records made", short(found.records_moved as f64)));
        }
        parts.push(format!("{} real", span(found.wall_seconds)));
        parts.join(" · ")
    }
}

/// How many keep each record; nothing where the nodes cannot be looked into.
fn kept(holders: &Holders) -> Option<String> {
    holders.holders_mean.map(|mean| format!("{mean:.1} servers keep each record"))
}

/// What there was to be seen, if all went as expected, and what to do next.
fn moral(scenario: &Scenario, report: &Report) -> String {
    let (mut lookups, mut right, mut wrong) = (0, 0, 0);
    let steps = scenario.steps.iter().zip(&report.steps);
    let found =
        steps.filter(|(step, _)| matches!(step.what, Do::Lookup(_))).filter_map(|(_, found)| found.operations.as_ref());
    for operations in found {
        lookups += operations.asked;
        right += operations.correct;
        wrong += operations.wrong;
    }
    let left = report.steps.last().map_or(0, |last| last.nodes_alive);
    let seen = format!(
        "{} servers answered for each other, with no directory to ask and nobody who has to be trusted: each record is \
         signed by its user. {} are left, and of {} lookups {} were right and {} wrong. The same seed tells the same \
         story, to the digest above.",
        grouped(report.nodes),
        grouped(left),
        grouped(lookups),
        if right == lookups { "all".to_owned() } else { grouped(right) },
        if wrong == 0 { "none".to_owned() } else { grouped(wrong) },
    );
    let mut text = format!("\n{BOLD}What you have seen{BOLD:#}\n");
    wrapped(&seen, COLUMNS - 2).iter().for_each(|line| text += &format!("  {line}\n"));
    text += &format!("\n{BOLD}What to try next{BOLD:#}\n");
    let width = NEXT.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    NEXT.iter().for_each(|(command, why)| text += &format!("  {command:<width$}  {DIM}{why}{DIM:#}\n"));
    // Who was just told to type it may have no such program where the shell looks for one.
    text += &format!("  {DIM}where sandbox-cli is: cargo run --release -p sandbox-cli --{DIM:#}\n");
    text
}

/// The text in lines of at most so many columns, broken between words.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            *line = word.to_owned();
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
