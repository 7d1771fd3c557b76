//! How far a run is, on stderr: a bar on a terminal; elsewhere a line a minute, so that nothing is said of short runs, and
//! one for each step of a run that takes real time.

use crate::scenario::Step;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use routing_core::time::Ticks;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One bar for the step under way. Cheap to call often: it is drawn a few times a second at most.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    steps: usize,
    lines: Lines,
    begun: Instant,
    /// How many minutes had passed when the last line was told.
    minutes_told: AtomicU64,
}

/// What is told in lines, for want of a bar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lines {
    None,
    EachMinute,
    EachStepAndMinute,
}

impl Progress {
    /// A bar for a run of so many steps: shown if stderr is a terminal, unless JSON goes into a pipe. Else a line a minute.
    pub fn new(steps: usize, json: bool) -> Self {
        let piped_json = json && !std::io::stdout().is_terminal();
        if piped_json || !std::io::stderr().is_terminal() {
            return Self { steps, lines: Lines::EachMinute, ..Self::hidden() };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        Self { bar, steps, ..Self::hidden() }
    }

    /// As [`Progress::new`] for a run that takes real time: whoever has no bar to look at is told each step as it begins.
    pub fn in_real_time(steps: usize, json: bool) -> Self {
        let progress = Self::new(steps, json);
        let lines = if progress.bar.is_hidden() { Lines::EachStepAndMinute } else { Lines::None };
        Self { lines, ..progress }
    }

    /// A bar for so many runs, whose steps nobody follows.
    pub fn of_runs(runs: u32, json: bool) -> Self {
        let progress = Self::new(0, json);
        progress.bar.set_length(runs.into());
        if !progress.bar.is_hidden() {
            let template = "{spinner} [{bar:24}] {human_pos}/{human_len} runs, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            progress.bar.set_style(style.progress_chars("━╸ "));
            progress.bar.enable_steady_tick(Duration::from_millis(250));
        }
        progress
    }

    /// One more run is done.
    pub fn count_run(&self) {
        self.bar.inc(1);
        if self.is_line_due() {
            self.note(&format!("{} of {} runs", self.bar.position(), self.bar.length().unwrap_or_default()));
        }
    }

    /// A bar that nobody sees, and no lines.
    pub fn hidden() -> Self {
        let (bar, lines) = (ProgressBar::hidden(), Lines::None);
        Self { bar, steps: 0, lines, begun: Instant::now(), minutes_told: AtomicU64::new(0) }
    }

    /// Whether another minute is over, and somebody wants to be told. Says so once.
    fn is_line_due(&self) -> bool {
        let minutes = self.begun.elapsed().as_secs() / 60;
        self.lines != Lines::None && self.minutes_told.fetch_max(minutes, Ordering::Relaxed) < minutes
    }

    /// Step number `index` (from 1) begins, with so many operations to come; `None` for a step without operations.
    pub fn begin(&self, index: usize, step: &Step, operations: Option<u64>) {
        if self.lines == Lines::EachStepAndMinute {
            self.note(&format!("{index}/{} {} {}", self.steps, step.what.name(), step.what));
        }
        self.bar.set_prefix(format!("{index}/{} {}", self.steps, step.what.name()));
        self.bar.set_length(operations.unwrap_or_default());
        self.bar.set_position(0);
        if self.bar.is_hidden() {
            return;
        }
        let template = match operations {
            Some(_) => "{prefix} [{bar:24}] {human_pos}/{human_len}  {msg}",
            None => "{prefix} {spinner} {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style.progress_chars("━╸ "));
        self.bar.set_message(step.what.to_string());
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    /// So many operations are done, so long after the run began, with so many nodes living.
    pub fn update(&self, done: u64, passed: Ticks, nodes_alive: u64) {
        let noun = if nodes_alive == 1 { "node" } else { "nodes" };
        let where_it_is = || format!("t = {:.1} s, {nodes_alive} {noun}", passed.as_seconds());
        if self.is_line_due() {
            let of_all = self.bar.length().filter(|all| *all > 0).map(|all| format!(", {done} of {all}"));
            let minutes = self.minutes_told.load(Ordering::Relaxed);
            let (step, of_all) = (self.bar.prefix(), of_all.unwrap_or_default());
            self.note(&format!("after {minutes} min: {step}{of_all}, {}", where_it_is()));
        }
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(done);
        self.bar.set_message(where_it_is());
    }

    /// What keeps the step from beginning.
    pub fn preparing(&self, what: String) {
        self.bar.set_message(what);
        self.bar.tick();
    }

    /// A line for the reader, above the bar; on stderr also where no bar is shown.
    pub fn note(&self, line: &str) {
        if self.bar.is_hidden() {
            anstream::eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bar_a_line_is_due_once_each_minute_and_never_where_nobody_wants_it() {
        let begun = Instant::now().checked_sub(Duration::from_secs(130)).unwrap();
        let progress = Progress { lines: Lines::EachMinute, begun, ..Progress::hidden() };
        assert!(progress.is_line_due() && !progress.is_line_due());
        let progress = Progress { begun: begun.checked_sub(Duration::from_secs(60)).unwrap(), ..progress };
        assert!(progress.is_line_due() && !progress.is_line_due());
        assert!(!Progress { begun, ..Progress::hidden() }.is_line_due());
    }

    #[test]
    fn a_hidden_bar_takes_all_calls_in_silence() {
        let progress = Progress::hidden();
        progress.update(5, Ticks(1_000), 10);
        progress.finish();
    }
}
