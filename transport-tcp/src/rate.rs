//! A budget that fills up with time, as a bucket does from a tap.

use std::time::Duration;
use tokio::time::Instant;

/// How much may be taken: so much a second, and what was saved up meanwhile. It may be overdrawn once, and then nothing
/// more is to be taken until the debt is paid; so a thing larger than the bucket can pass, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    capacity: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket. `per_second` of 0 means that there is no limit.
    pub(crate) fn new(per_second: u32, capacity: u32, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self { per_second, capacity, level: capacity, filled: now }
    }

    /// Takes what was used, whether it was there or not.
    pub(crate) fn spend(&mut self, amount: u64, now: Instant) {
        if self.per_second > 0 {
            self.fill(now);
            self.level -= amount as f64;
        }
    }

    /// Takes `amount` if it is there.
    pub(crate) fn take(&mut self, amount: u32, now: Instant) -> bool {
        self.fill(now);
        let is_there = self.per_second == 0 || self.level >= f64::from(amount);
        if is_there && self.per_second > 0 {
            self.level -= f64::from(amount);
        }
        is_there
    }

    /// How long until `amount` is there, or for 0 until the debt is paid; nothing if it is.
    pub(crate) fn wait_for(&mut self, amount: u32, now: Instant) -> Option<Duration> {
        self.fill(now);
        let lacking = f64::from(amount) - self.level;
        (self.per_second > 0 && lacking > 0.0).then(|| Duration::from_secs_f64(lacking / f64::from(self.per_second)))
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.per_second > 0
    }

    /// Whether nothing was used lately.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.capacity
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = now;
        self.level = (self.level + passed.as_secs_f64() * f64::from(self.per_second)).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_overdrawn_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 40, start);
        bucket.spend(40, start);
        assert_eq!(bucket.wait_for(0, start), None);
        assert_eq!(bucket.wait_for(2, start), Some(Duration::from_millis(200)));
        bucket.spend(5, start);
        assert_eq!(bucket.wait_for(0, start), Some(Duration::from_millis(500)));
        assert!(!bucket.take(1, start + Duration::from_millis(500)));
        assert!(bucket.take(1, start + Duration::from_millis(600)));
        assert!(bucket.is_full(start + Duration::from_secs(9)));
        let mut boundless = Bucket::new(0, 0, start);
        boundless.spend(u64::MAX, start);
        assert_eq!((boundless.wait_for(9, start), boundless.take(9, start)), (None, true));
    }
}
