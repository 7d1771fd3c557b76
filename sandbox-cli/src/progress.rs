//! How far a run is, on stderr: a bar on a terminal; elsewhere a line for each step of a run that takes real time, and
//! nothing for any other.

use crate::scenario::Step;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use routing_core::time::Tick;
use std::io::IsTerminal;
use std::time::Duration;

/// One bar for the step under way. Cheap to call often: it is drawn a few times a second at most.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    steps: usize,
    /// Whether each step is told in a line, for want of a bar.
    has_lines: bool,
}

impl Progress {
    /// A bar for a run of so many steps: shown if stderr is a terminal, unless JSON goes into a pipe.
    pub fn new(steps: usize, json: bool) -> Self {
        let piped_json = json && !std::io::stdout().is_terminal();
        if piped_json || !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        Self { bar, steps, has_lines: false }
    }

    /// As [`Progress::new`] for a run that takes real time: whoever has no bar to look at is told each step as it begins.
    pub fn in_real_time(steps: usize, json: bool) -> Self {
        let progress = Self::new(steps, json);
        Self { steps, has_lines: progress.bar.is_hidden(), ..progress }
    }

    /// A bar for so many runs, whose steps nobody follows.
    pub fn of_runs(runs: u32, json: bool) -> Self {
        let progress = Self::new(0, json);
        if !progress.bar.is_hidden() {
            let template = "{spinner} [{bar:24}] {human_pos}/{human_len} runs, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            progress.bar.set_style(style.progress_chars("━╸ "));
            progress.bar.set_length(runs.into());
            progress.bar.enable_steady_tick(Duration::from_millis(250));
        }
        progress
    }

    /// One more run is done.
    pub fn count_run(&self) {
        self.bar.inc(1);
    }

    /// A bar that nobody sees.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), steps: 0, has_lines: false }
    }

    /// Step number `index` (from 1) begins, with so many operations to come; `None` for a step without operations.
    pub fn begin(&self, index: usize, step: &Step, operations: Option<u64>) {
        if self.has_lines {
            self.note(&format!("{index}/{} {}", self.steps, step.what));
        }
        if self.bar.is_hidden() {
            return;
        }
        let template = match operations {
            Some(_) => "{prefix} [{bar:24}] {human_pos}/{human_len}  {msg}",
            None => "{prefix} {spinner} {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style.progress_chars("━╸ "));
        self.bar.set_prefix(format!("{index}/{} {}", self.steps, step.what.name()));
        self.bar.set_message(step.what.to_string());
        self.bar.set_length(operations.unwrap_or_default());
        self.bar.set_position(0);
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    /// So many operations are done, at this virtual time, with so many nodes living.
    pub fn update(&self, done: u64, now: Tick, nodes_alive: u64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(done);
        self.bar.set_message(format!("t = {:.1} s, {nodes_alive} nodes", now.since(Tick(0)).as_seconds()));
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
    fn a_hidden_bar_takes_all_calls_in_silence() {
        let progress = Progress::hidden();
        progress.update(5, Tick(1_000), 10);
        progress.finish();
    }
}
