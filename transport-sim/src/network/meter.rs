//! Who sends most in the background: what no operation waits for keeps to a budget of bytes, at each node and all the time,
//! which a mean over nodes and hours does not show.
//!
//! Each node counts what it sends within a window of ten seconds, for as long as it may save of its budget for repair; of
//! each window the most that one node has sent is kept, and of each node what it has sent in all windows.

use routing_core::time::{Tick, Ticks};

/// How long a window is.
const WINDOW: Ticks = Ticks::seconds(10);

/// The windows that have ended.
#[derive(Default, Debug)]
pub(super) struct Meter {
    /// The most that one node has sent, in bytes.
    most: Vec<u32>,
    /// What each node has sent in them, in bytes.
    totals: Vec<u64>,
}

/// Whether a window ends, and the next begins, with this tick.
pub(super) fn ends_at(now: Tick) -> bool {
    now.0.is_multiple_of(WINDOW.0)
}

impl Meter {
    /// A window has ended, in which each node spent so much; they begin anew.
    pub(super) fn turn<'a>(&mut self, spent: impl Iterator<Item = &'a mut u32>) {
        let mut most = 0;
        for (index, spent) in spent.enumerate() {
            let spent = std::mem::take(spent);
            most = most.max(spent);
            match self.totals.get_mut(index) {
                Some(total) => *total += u64::from(spent),
                None => self.totals.push(spent.into()),
            }
        }
        self.most.push(most);
    }

    /// How much each node has sent since it was added, with what it has spent in the window that has not ended.
    pub(super) fn totals(&self, spent: impl Iterator<Item = u32>) -> Vec<u64> {
        let ended = self.totals.iter().copied().chain(std::iter::repeat(0));
        spent.zip(ended).map(|(spent, ended)| ended + u64::from(spent)).collect()
    }

    /// The most in any window that ended after `since`, or has not ended at `now`, in which each node has spent so much yet;
    /// in bytes a second.
    pub(super) fn peak(&self, since: Tick, now: Tick, spent: impl Iterator<Item = u32>) -> f64 {
        let first = usize::try_from(since.0 / WINDOW.0).unwrap_or(usize::MAX);
        let ended = self.most.get(first..).unwrap_or_default().iter().copied().max();
        let begun = if since < now { spent.max() } else { None };
        f64::from(ended.max(begun).unwrap_or(0)) / WINDOW.as_seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_the_busiest_node_in_its_busiest_ten_seconds_since() {
        let mut meter = Meter::default();
        let mut spent = [100, 5_000, 0];
        meter.turn(spent.iter_mut());
        assert_eq!(spent, [0; 3], "each window begins anew");
        meter.turn([300, 200, 0].iter_mut());
        let now = Tick(25_000);
        let peak = |since| meter.peak(Tick(since), now, [10, 20].into_iter());
        assert_eq!(peak(0), 500.0);
        assert_eq!(peak(9_999), 500.0, "the window that was under way then counts");
        assert_eq!(peak(10_000), 30.0);
        assert_eq!(peak(20_000), 2.0, "so does the one that is now");
        assert_eq!(peak(25_000), 0.0);
        assert_eq!(meter.totals([10, 20, 0, 7].into_iter()), [410, 5_220, 0, 7], "and of each node all is kept");
    }
}
