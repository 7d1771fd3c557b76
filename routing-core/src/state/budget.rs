//! How many bytes a second the background may cost: what upkeep and repair spend, and when they may go on.
//!
//! ```text
//!   upkeep ─┬─ three quarters ─▶ the near sweep ─ what it leaves ─▶ answers ─ what they leave ─┐
//!           └─ one quarter ─────────────────────────────────────────────────────────────────┴─▶ the far sweep
//!   repair ───▶ whatever is asked because something has changed
//! ```
//!
//! Whoever asks pays for the question, for the answer, and for the link if one has to be opened: so what all nodes send is
//! paid for. An exchange may overdraw its account, since nobody knows beforehand how long an answer will be; then the account
//! is closed until that is paid for.
//!
//! Some are asked more than others. What a node answers to the upkeep of others is taken from what the near sweep leaves
//! over, so that whoever is asked much asks less, and sends no more than its budget while three quarters of that pay for near
//! sweep and answers. It never costs the far sweep its own quarter: nobody can stop it by asking.

use crate::time::{Tick, Ticks};

/// What opening a link counts against a budget, in bytes.
pub(super) const LINK_BYTES: u32 = 64;
/// For how many milliseconds the sweeps may save: a probe or two.
const UPKEEP_SAVED_MS: i64 = 1_000;
/// For how many milliseconds repair may save: one question to each node of the neighbourhood, with the longest answers.
const REPAIR_SAVED_MS: i64 = 10_000;
/// For how many milliseconds the far sweep makes up for answers at most.
const ANSWERS_MS: i64 = 60_000;
/// Nobody pays back for longer than this, in milliseconds: the longest answer is a frame of a mebibyte.
const DEBT_MS: i64 = 600_000;

/// Who pays for an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Account {
    /// The sweep round the own neighbourhood, and comparisons while nothing has changed.
    Near,
    /// The sweep over the whole table.
    Far,
    /// Whatever is asked because something has changed, or may be mended.
    Repair,
}

/// The accounts of one node, in thousandths of a byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    near: i64,
    far: i64,
    repair: i64,
    /// What was answered to others and is not made up for yet.
    answers: i64,
    earned: Tick,
}

impl Budget {
    /// Everything is paid for, and repair has saved what it may.
    pub(super) fn start(&mut self, now: Tick, repair_bytes_per_second: u32) {
        let repair = i64::from(repair_bytes_per_second) * REPAIR_SAVED_MS;
        *self = Self { near: 0, far: 0, repair, answers: 0, earned: now };
    }

    /// Pays in what has been earned since the last time.
    pub(super) fn earn(&mut self, now: Tick, upkeep_bytes_per_second: u32, repair_bytes_per_second: u32) {
        let passed = now.since(self.earned).0.min(DEBT_MS as u64) as i64;
        let (upkeep, repair) = (i64::from(upkeep_bytes_per_second), i64::from(repair_bytes_per_second));
        self.earned = now;
        let (near_max, far_max) = (upkeep * UPKEEP_SAVED_MS, upkeep * UPKEEP_SAVED_MS);
        let for_near = upkeep * passed * 3 / 4;
        let left = (self.near + for_near - near_max).max(0);
        self.near += for_near - left;
        self.answers = self.answers.min(upkeep * ANSWERS_MS);
        let for_answers = self.answers.min(left);
        self.answers -= for_answers;
        self.far = (self.far + upkeep * passed - for_near + left - for_answers).min(far_max);
        self.repair = (self.repair + repair * passed).min(repair * REPAIR_SAVED_MS);
    }

    /// Somebody spends so many bytes.
    pub(super) fn spend(&mut self, account: Account, bytes: usize) {
        let balance = match account {
            Account::Near => &mut self.near,
            Account::Far => &mut self.far,
            Account::Repair => &mut self.repair,
        };
        *balance = balance.saturating_sub_unsigned(bytes as u64 * 1_000);
    }

    /// So many bytes were answered to somebody else's upkeep.
    pub(super) fn answer(&mut self, bytes: usize) {
        self.answers = self.answers.saturating_add_unsigned(bytes as u64 * 1_000);
    }

    /// For how long this account stays closed, at so many bytes a second, if nobody spends anything meanwhile; nothing if it
    /// is open.
    pub(super) fn closed_for(&self, account: Account, bytes_per_second: u32) -> Ticks {
        let rate = u64::from(bytes_per_second).max(1);
        let debt = |balance: i64| balance.min(0).unsigned_abs();
        match account {
            // Three quarters are for it.
            Account::Near => Ticks((debt(self.near) * 4).div_ceil(rate * 3)),
            Account::Repair => Ticks(debt(self.repair).div_ceil(rate)),
            Account::Far => {
                // A quarter comes in at once, and everything as soon as the near sweep has what it may save, and what was
                // answered is made up for.
                let near_lacks = (rate as i64 * UPKEEP_SAVED_MS - self.near).max(0).unsigned_abs();
                let for_others = near_lacks + self.answers.max(0).unsigned_abs();
                let quartered = for_others * 4 / (3 * rate);
                let debt = debt(self.far);
                if debt * 4 <= quartered * rate {
                    Ticks((debt * 4).div_ceil(rate))
                } else {
                    Ticks(quartered + (debt - quartered * rate / 4).div_ceil(rate))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(budget: &mut Budget, now: u64) {
        budget.earn(Tick(now), 256, 65_536);
    }

    fn is_open(budget: &Budget, account: Account) -> bool {
        budget.closed_for(account, 256) == Ticks(0)
    }

    #[test]
    fn an_account_that_is_overdrawn_is_closed_until_that_is_paid_for() {
        let mut budget = Budget::default();
        budget.start(Tick(0), 65_536);
        budget.spend(Account::Near, 192);
        assert!(!is_open(&budget, Account::Near) && is_open(&budget, Account::Far));
        after(&mut budget, 999);
        assert!(!is_open(&budget, Account::Near));
        after(&mut budget, 1_000);
        assert!(is_open(&budget, Account::Near));
    }

    #[test]
    fn an_account_opens_when_it_says_unless_something_is_spent_meanwhile() {
        for (near, far, answered) in
            [(0, 50, 0), (0, 500, 0), (900, 100, 0), (900, 5_000, 0), (0, 700, 300), (500, 4_000, 9_000)]
        {
            let mut budget = Budget::default();
            budget.start(Tick(0), 65_536);
            budget.spend(Account::Near, near);
            budget.spend(Account::Far, far);
            budget.answer(answered);
            for account in [Account::Near, Account::Far] {
                let Ticks(closed) = budget.closed_for(account, 256);
                let balance_at = |now: u64| {
                    let mut budget = budget;
                    // As nodes do, at each turn.
                    (0..=now / 10).map(|step| step * 10).chain([now]).for_each(|now| after(&mut budget, now));
                    if account == Account::Near { budget.near } else { budget.far }
                };
                // In turns of ten milliseconds a little is rounded.
                assert!(balance_at(closed + 15) >= 0, "{account:?} of {near}, {far}, {answered} after {closed}");
                assert!(
                    closed == 0 || balance_at(closed.saturating_sub(15)) < 0,
                    "{account:?} of {near}, {far}, {answered}"
                );
            }
        }
    }

    #[test]
    fn what_is_answered_to_others_is_taken_from_the_far_sweep_but_for_its_quarter() {
        let earned_far = |answered: usize| {
            let mut budget = Budget::default();
            budget.start(Tick(0), 65_536);
            let mut spent = 0;
            for second in 1..=1_000 {
                budget.answer(answered);
                after(&mut budget, second * 1_000);
                while is_open(&budget, Account::Far) {
                    budget.spend(Account::Far, 16);
                    spent += 16;
                }
            }
            spent / 1_000
        };
        assert!((250..=257).contains(&earned_far(0)));
        assert!((150..=157).contains(&earned_far(100)), "what is left of the budget");
        assert!((63..=65).contains(&earned_far(100_000)), "nobody stops it by asking");
    }

    #[test]
    fn what_was_answered_in_a_rush_is_made_up_for_within_a_minute_or_so() {
        let mut budget = Budget::default();
        budget.start(Tick(0), 65_536);
        budget.answer(10_000_000);
        for second in 1..=90 {
            after(&mut budget, second * 1_000);
        }
        // It has saved 256 and owes 200 now: a quarter of the budget would not pay for that in a second.
        budget.spend(Account::Far, 456);
        after(&mut budget, 91_000);
        assert!(is_open(&budget, Account::Far));
    }

    #[test]
    fn the_far_sweep_earns_a_quarter_however_much_the_near_one_spends_and_all_that_it_leaves() {
        let earned_far = |near_spends: usize| {
            let mut budget = Budget::default();
            budget.start(Tick(0), 65_536);
            let mut spent = 0;
            for second in 1..=1_000 {
                budget.spend(Account::Near, near_spends);
                after(&mut budget, second * 1_000);
                while is_open(&budget, Account::Far) {
                    budget.spend(Account::Far, 64);
                    spent += 64;
                }
            }
            spent / 1_000
        };
        assert_eq!(earned_far(10_000), 64);
        assert_eq!(earned_far(192), 64);
        assert!((150..=157).contains(&earned_far(100)), "{}", earned_far(100));
        assert!((250..=257).contains(&earned_far(0)), "{}", earned_far(0));
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let mut budget = Budget::default();
        after(&mut budget, 3_600_000);
        budget.spend(Account::Far, 257);
        assert!(!is_open(&budget, Account::Far));
        budget.spend(Account::Repair, 655_361);
        assert!(!is_open(&budget, Account::Repair));
    }
}
