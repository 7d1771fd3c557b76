//! What is known of addresses that were dialled: whom to leave alone for a while, and how many dials are under way there.
//!
//! It is the socket that counts, not who is said to be there: somebody who names a thousand nodes at one address makes
//! it ring no more often than somebody who names one. Who has proven to be there, when another was wanted, is dialled all the
//! same: else strangers could keep a node from any other by saying that nodes of their invention live at its address.

use crate::config::TcpConfig;
use crate::lock;
use routing_core::id::Grid;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How many addresses are remembered. Those with the shortest wait are forgotten first.
const ENTRIES_MAX: usize = 8_192;

#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Mutex<HashMap<SocketAddr, Entry>>,
    active_max: u32,
    backoff: Duration,
    backoff_max: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    active: u32,
    failures: u32,
    /// Not to be dialled before.
    until: Instant,
    /// Who was there in the place of another, if that was why the last dial failed.
    found: Option<Grid>,
}

/// Leave to dial some addresses, one after the other. When it is dropped, those that were tried without success are left
/// alone for a while.
#[derive(Debug)]
pub(crate) struct Leave {
    ledger: Arc<Ledger>,
    sockets: Vec<SocketAddr>,
    tried: usize,
    reached: Option<usize>,
    found: Option<(usize, Grid)>,
}

impl Ledger {
    pub(crate) fn new(config: &TcpConfig) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::new(HashMap::new()),
            active_max: config.dials_per_address_max,
            backoff: Duration::from_millis(config.dial_backoff.0),
            backoff_max: Duration::from_millis(config.dial_backoff_max.0),
        })
    }

    /// Leave to dial those of `sockets` that may be dialled now for `wanted`, or whoever is there. If there are none, when the
    /// first of them may be, as far as that is a matter of time alone.
    pub(crate) fn ask(
        self: &Arc<Self>,
        sockets: &[SocketAddr],
        wanted: Option<Grid>,
        now: Instant,
    ) -> Result<Leave, Option<Instant>> {
        let mut entries = lock(&self.entries);
        // From when on a socket may be dialled; nothing where as many dials as may be are under way.
        let opens = |socket: &SocketAddr| {
            let Some(entry) = entries.get(socket) else { return Some(now) };
            let is_there = entry.found.is_some_and(|found| wanted.is_none_or(|wanted| wanted == found));
            // Nor do those who are not there take all places of who is.
            let is_free = entry.active < self.active_max + u32::from(is_there);
            is_free.then_some(if is_there { now } else { entry.until })
        };
        let is_open = |socket: &&SocketAddr| opens(socket).is_some_and(|at| at <= now);
        let open: Vec<SocketAddr> = sockets.iter().filter(is_open).copied().collect();
        if open.is_empty() {
            return Err(sockets.iter().filter_map(opens).min());
        }
        for socket in &open {
            let entry = entries.entry(*socket).or_insert(Entry { active: 0, failures: 0, until: now, found: None });
            entry.active += 1;
        }
        drop(entries);
        Ok(Leave { ledger: self.clone(), sockets: open, tried: 0, reached: None, found: None })
    }

    fn forget_some(&self, entries: &mut HashMap<SocketAddr, Entry>, now: Instant) {
        if entries.len() <= ENTRIES_MAX {
            return;
        }
        entries.retain(|_, entry| entry.active > 0 || entry.until > now);
        let mut waits: Vec<Instant> = entries.values().filter(|e| e.active == 0).map(|e| e.until).collect();
        if entries.len() > ENTRIES_MAX && !waits.is_empty() {
            let middle = waits.len() / 2;
            let median = *waits.select_nth_unstable(middle).1;
            entries.retain(|_, entry| entry.active > 0 || entry.until > median);
        }
    }
}

impl Leave {
    /// The next address to try.
    pub(crate) fn next(&mut self) -> Option<(usize, SocketAddr)> {
        let index = self.tried;
        let socket = *self.sockets.get(index)?;
        self.tried += 1;
        Some((index, socket))
    }

    pub(crate) fn has_more(&self) -> bool {
        self.tried < self.sockets.len()
    }

    /// Who was wanted is at address number `index`.
    pub(crate) fn reached(mut self, index: usize) {
        self.reached = Some(index);
    }

    /// Somebody else is there.
    pub(crate) fn found(mut self, index: usize, grid: Grid) {
        self.found = Some((index, grid));
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut entries = lock(&self.ledger.entries);
        for (index, socket) in self.sockets.iter().enumerate() {
            let Some(entry) = entries.get_mut(socket) else { continue };
            entry.active = entry.active.saturating_sub(1);
            match self.reached {
                Some(reached) if reached == index => entry.failures = 0,
                // Slower than the one that was reached, or not tried at all.
                Some(_) => {}
                None if index < self.tried => {
                    let wait = self.ledger.backoff.saturating_mul(1 << entry.failures.min(16));
                    entry.until = now + wait.min(self.ledger.backoff_max);
                    entry.failures += 1;
                    entry.found = self.found.filter(|(at, _)| *at == index).map(|(_, grid)| grid);
                }
                None => {}
            }
            if entry.active == 0 && entry.failures == 0 {
                entries.remove(socket);
            }
        }
        self.ledger.forget_some(&mut entries, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::id::Id;

    fn socket(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_where_nobody_answers_rings_ever_more_rarely() {
        let ledger = Ledger::new(&TcpConfig::default());
        for wait in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000] {
            ledger.ask(&[socket(1)], None, Instant::now()).unwrap().next().unwrap();
            tokio::time::advance(Duration::from_millis(wait - 1)).await;
            let opens = Instant::now() + Duration::from_millis(1);
            assert_eq!(ledger.ask(&[socket(1)], None, Instant::now()).unwrap_err(), Some(opens));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let mut leave = ledger.ask(&[socket(1)], None, Instant::now()).unwrap();
        let (index, _) = leave.next().unwrap();
        leave.reached(index);
        assert!(ledger.ask(&[socket(1)], None, Instant::now()).is_ok());
        assert!(lock(&ledger.entries).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_addresses_that_were_tried_are_to_blame() {
        let ledger = Ledger::new(&TcpConfig { dials_per_address_max: 1, ..TcpConfig::default() });
        let mut leave = ledger.ask(&[socket(1), socket(2)], None, Instant::now()).unwrap();
        assert_eq!(ledger.ask(&[socket(2)], None, Instant::now()).unwrap_err(), None, "one dial at a time");
        leave.next().unwrap();
        drop(leave);
        assert!(ledger.ask(&[socket(1)], None, Instant::now()).is_err());
        assert!(ledger.ask(&[socket(2)], None, Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_found_in_anothers_place_is_dialled_though_others_are_not() {
        let ledger = Ledger::new(&TcpConfig::default());
        let [there, other] = [1, 2].map(|number| Some(Grid(Id([number; 32]))));
        let ask = |wanted| ledger.ask(&[socket(1)], wanted, Instant::now());
        let fail = || {
            let mut leave = ask(other).unwrap();
            let (index, _) = leave.next().unwrap();
            leave.found(index, there.unwrap());
        };
        fail();
        assert!(ask(other).is_err() && ask(there).is_ok() && ask(None).is_ok());
        tokio::time::advance(Duration::from_millis(100)).await;
        let all = [ask(other).unwrap(), ask(other).unwrap()];
        assert!(ask(other).is_err() && ask(there).is_ok(), "it has a place that others do not take");
        for mut leave in all {
            leave.next().unwrap();
        }
        assert!(ask(there).is_err() && ask(None).is_err(), "nobody answered when it was dialled last");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let ledger = Ledger::new(&TcpConfig::default());
        for port in 0..u16::MAX {
            if let Ok(mut leave) = ledger.ask(&[socket(port)], None, Instant::now()) {
                leave.next().unwrap();
            }
        }
        assert!(lock(&ledger.entries).len() <= ENTRIES_MAX + 1);
    }
}
