//! What time it is.

use crate::time::Tick;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Where a driver reads the time. It never goes back.
pub trait Clock: Send + Sync {
    /// The tick it is now.
    fn now(&self) -> Tick;

    /// Waits until it is `tick`; ready at once if it is that late already.
    ///
    /// Cancel-safe: it may be dropped and asked for again. Ready too early does no harm, the driver asks again.
    fn sleep_until(&self, tick: Tick) -> impl Future<Output = ()> + Send;
}

/// Milliseconds since the Unix epoch, read once at the start, and from then on the monotonic time that passed: a node
/// does not follow when somebody sets the machine's clock, and where a sleeping machine's monotonic time stands still,
/// so does the node's.
///
/// Sleeps on tokio's timer, so the node must run in a tokio runtime with time enabled.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    start_tick: Tick,
}

impl SystemClock {
    /// Reads the system's clock. One that is set before 1970 counts as 1970.
    #[allow(
        clippy::disallowed_methods,
        reason = "the edge of the pure core: this is the one place where time comes in, and each turn gets it as an argument"
    )]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_tick: Tick(since_epoch.as_millis() as u64) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Tick {
        Tick(self.start_tick.0.saturating_add(self.start.elapsed().as_millis() as u64))
    }

    async fn sleep_until(&self, tick: Tick) {
        let span = Duration::from_millis(tick.since(self.start_tick).0);
        match self.start.checked_add(span) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Ticks;

    #[tokio::test(start_paused = true)]
    async fn the_system_clock_counts_on_from_its_start() {
        let clock = SystemClock::new();
        let start = clock.now();
        assert!(start > Tick(1_600_000_000_000));
        clock.sleep_until(start + Ticks::hours(2)).await;
        assert_eq!(clock.now(), start + Ticks::hours(2));
        clock.sleep_until(start).await;
        assert_eq!(clock.now(), start + Ticks::hours(2));
        let never = tokio::time::timeout(Duration::from_secs(9), clock.sleep_until(Tick(u64::MAX)));
        assert!(never.await.is_err());
    }
}
