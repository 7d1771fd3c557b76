//! Making a failing run smaller: fewer steps, nodes and users, while it still fails in the same way.

use super::draw::{Cut, Drawn};
use super::fair;
use super::judge::Violation;
use crate::scenario::Scenario;
use std::collections::BTreeSet;

/// How many smaller runs are tried.
pub const ATTEMPTS: u32 = 80;

/// The smallest failing run that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// What was cut from the run as drawn.
    pub cut: Cut,
    /// How what is left fails.
    pub violation: Violation,
}

/// Looks for a smaller run that fails in the same way. `run` carries a scenario out; it is called [`ATTEMPTS`] times at
/// most.
pub fn shrink(drawn: &Drawn, found: Violation, run: impl Fn(&Scenario) -> Option<Violation>) -> Shrunk {
    let best = Shrunk { cut: Cut::default(), violation: found };
    let mut search = Search { drawn, run, best, left: ATTEMPTS };
    search.fewer_steps();
    search.fewer_nodes();
    search.fewer_users();
    search.fewer_steps();
    search.best
}

struct Search<'a, R> {
    drawn: &'a Drawn,
    run: R,
    best: Shrunk,
    left: u32,
}

impl<R: Fn(&Scenario) -> Option<Violation>> Search<'_, R> {
    /// Whether the run fails in the same way after this cut; it is the best one then.
    fn try_cut(&mut self, cut: Cut) -> bool {
        let scenario = self.drawn.cut(&cut);
        if self.left == 0 || !fair::is_fair(&scenario) {
            return false;
        }
        self.left -= 1;
        let violation = (self.run)(&scenario).filter(|violation| violation.kind == self.best.violation.kind);
        let Some(violation) = violation else { return false };
        self.best = Shrunk { cut, violation };
        true
    }

    fn kept(&self) -> Vec<usize> {
        self.best
            .cut
            .steps
            .as_ref()
            .map_or_else(|| self.drawn.body.clone().collect(), |kept| kept.iter().copied().collect())
    }

    /// Leaves out halves of the steps, then quarters, down to single ones.
    fn fewer_steps(&mut self) {
        let mut portion = self.kept().len();
        while portion > 0 {
            let mut first = 0;
            while first < self.kept().len() {
                let kept = self.kept();
                let last = (first + portion).min(kept.len());
                let rest: BTreeSet<usize> = kept[..first].iter().chain(&kept[last..]).copied().collect();
                if !self.try_cut(Cut { steps: Some(rest), ..self.best.cut.clone() }) {
                    first = last;
                }
            }
            portion /= 2;
        }
    }

    fn fewer_nodes(&mut self) {
        let drawn = self.drawn.founded().0;
        let cut = |best: &Cut, nodes| Cut { nodes: Some(nodes), ..best.clone() };
        self.fewer(drawn, cut);
    }

    fn fewer_users(&mut self) {
        let drawn = self.drawn.founded().1;
        let cut = |best: &Cut, users| Cut { users: Some(users), ..best.clone() };
        self.fewer(drawn, cut);
    }

    /// Halves a number while that still fails, then takes off quarters, then ones.
    fn fewer(&mut self, mut number: u32, cut: impl Fn(&Cut, u32) -> Cut) {
        for divisor in [2, 4, u32::MAX] {
            while number > 1 {
                let smaller = number - (number / divisor).max(1);
                if !self.try_cut(cut(&self.best.cut, smaller)) {
                    break;
                }
                number = smaller;
            }
        }
    }
}
