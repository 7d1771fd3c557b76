//! Who is let in: connections are counted before anything is read from them.
//!
//! ```text
//!   a connection arrives ─▶ admit ─ rate, number from its address ─▶ refused
//!                             │ Slot: pending          (too many pending: the oldest is dropped)
//!                             ▼
//!                           prove ─▶ Slot: proven      (its number is bounded where links are)
//!                             ▼
//!                           dropped: given back
//! ```
//!
//! An address is what one stranger can have: a whole IPv4 address, or the /64 that an IPv6 network hands out.

use crate::config::TcpConfig;
use crate::lock;
use crate::rate::Bucket;
use crate::stats::Counters;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How many addresses are remembered that have nothing open; their rates begin anew afterwards.
const QUIET_MAX: usize = 16_384;
/// How many connections from everywhere are let in at once: a quarter of a millisecond's work, for which everybody else waits.
/// Timers go by milliseconds, so a fifth less than `handshakes_per_second` are let in by the default.
const AT_ONCE: u32 = 1;
/// How long until a full node looks again whether there is a place.
const FULL_PAUSE: Duration = Duration::from_millis(10);
/// How many seconds' worth of connections one address may open at once.
const BURST: u32 = 10;

/// Counts the connections that others open.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    all_max: usize,
    pending_max: usize,
    pending_per_address_max: u32,
    per_address_max: u32,
    per_address_per_second: u32,
    is_lab: bool,
}

#[derive(Debug)]
struct State {
    all: Bucket,
    addresses: HashMap<IpAddr, Address>,
    /// With how many addresses they are looked through for those that may be forgotten: so rarely that each newcomer pays
    /// for a few.
    forgets_at: usize,
    /// In order of arrival, with what ends them.
    pending: BTreeMap<u64, Option<AbortHandle>>,
    proven: usize,
    arrived: u64,
}

#[derive(Debug)]
struct Address {
    rate: Bucket,
    pending: u32,
    proven: u32,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    gate: Arc<Gate>,
    address: IpAddr,
    number: u64,
    is_proven: bool,
}

impl Gate {
    pub(crate) fn new(config: &TcpConfig, now: Instant) -> Arc<Self> {
        let rate = config.handshakes_per_second;
        Arc::new(Self {
            state: Mutex::new(State {
                all: Bucket::new(rate, AT_ONCE, now),
                addresses: HashMap::new(),
                forgets_at: QUIET_MAX,
                pending: BTreeMap::new(),
                proven: 0,
                arrived: 0,
            }),
            // Links on their way out, and those that a busy node has not heard of yet, take places, too.
            all_max: (config.links_inbound_max + config.handshakes_max) as usize,
            pending_max: config.handshakes_max as usize,
            pending_per_address_max: config.handshakes_per_address_max,
            per_address_max: config.inbound_per_address_max,
            per_address_per_second: config.handshakes_per_address_per_second,
            is_lab: config.lab,
        })
    }

    /// Lets a connection from `ip` in, or not; counts why not.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, now: Instant, counters: &Counters) -> Option<Slot> {
        let address = prefix(ip);
        let mut state = lock(&self.state);
        state.forget_quiet(now);
        let State { all, addresses, pending, proven, arrived, .. } = &mut *state;
        if *proven >= self.all_max {
            counters.inbound_refused_full.one();
            return None;
        }
        let rate = self.per_address_per_second;
        let entry = addresses.entry(address).or_insert_with(|| Address {
            rate: Bucket::new(rate, rate.saturating_mul(BURST), now),
            pending: 0,
            proven: 0,
        });
        if !self.is_lab {
            let is_full =
                entry.pending >= self.pending_per_address_max || entry.pending + entry.proven >= self.per_address_max;
            if is_full {
                counters.inbound_refused_address.one();
                return None;
            }
            if !entry.rate.take(1, now) {
                counters.inbound_refused_rate.one();
                return None;
            }
        }
        if !all.take(1, now) && !self.is_lab {
            counters.inbound_refused_rate.one();
            return None;
        }
        entry.pending += 1;
        let number = *arrived;
        *arrived += 1;
        let oldest = if pending.len() >= self.pending_max { pending.pop_first() } else { None };
        pending.insert(number, None);
        drop(state);
        if let Some((_, Some(task))) = oldest {
            counters.handshakes_crowded_out.one();
            task.abort();
        }
        Some(Slot { gate: self.clone(), address, number, is_proven: false })
    }

    /// How many have not proven themselves yet.
    pub(crate) fn pending(&self) -> usize {
        lock(&self.state).pending.len()
    }

    /// For how long nobody is let in, because there are no places, or as many came lately as may come from all addresses:
    /// whoever waits outside meanwhile costs nothing.
    pub(crate) fn closed_for(&self, now: Instant) -> Option<Duration> {
        let mut state = lock(&self.state);
        if state.proven >= self.all_max {
            return Some(FULL_PAUSE);
        }
        if self.is_lab { None } else { state.all.wait_for(1, now) }
    }

    /// `task` is what to end if the place of connection `number` is needed.
    pub(crate) fn attach(&self, number: u64, task: AbortHandle) {
        // Not there any more: it has ended or has proven itself, or its place was needed before it had begun. The last is
        // rare, and then its own limit of time ends it.
        if let Some(place) = lock(&self.state).pending.get_mut(&number) {
            *place = Some(task);
        }
    }
}

impl State {
    fn forget_quiet(&mut self, now: Instant) {
        if self.addresses.len() < self.forgets_at {
            return;
        }
        self.addresses.retain(|_, address| address.pending + address.proven > 0 || !address.rate.is_full(now));
        // So many at once are more than a table; those that are quiet go, whatever they had used up.
        if self.addresses.len() >= QUIET_MAX {
            self.addresses.retain(|_, address| address.pending + address.proven > 0);
        }
        self.forgets_at = QUIET_MAX.max(self.addresses.len() * 2);
    }
}

impl Slot {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whoever is there has proven it.
    pub(crate) fn prove(&mut self) {
        let mut state = lock(&self.gate.state);
        self.is_proven = true;
        state.pending.remove(&self.number);
        state.proven += 1;
        if let Some(address) = state.addresses.get_mut(&self.address) {
            address.pending -= 1;
            address.proven += 1;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.pending.remove(&self.number);
        state.proven -= usize::from(self.is_proven);
        if let Some(address) = state.addresses.get_mut(&self.address) {
            let count = if self.is_proven { &mut address.proven } else { &mut address.pending };
            *count = count.saturating_sub(1);
        }
    }
}

fn prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(config: TcpConfig) -> (Arc<Gate>, Counters, Instant) {
        let now = Instant::now();
        (Gate::new(&config, now), Counters::default(), now)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn one_address_gets_its_share_and_no_more() {
        let config = TcpConfig { handshakes_per_second: 0, handshakes_per_address_max: 2, ..TcpConfig::default() };
        let (gate, counters, now) = gate(config);
        let admit = |from| gate.admit(ip(from), now, &counters);
        let (mut first, _second) = (admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_none(), "a /64 is one address");
        assert!(admit("2001:db8:0:1::3").is_some());
        first.prove();
        assert!(admit("2001:db8::3").is_some(), "who has proven itself does not count as pending");
        assert_eq!(counters.inbound_refused_address.get(), 1);
    }

    #[tokio::test]
    async fn a_node_that_does_not_listen_takes_so_many_and_no_more() {
        let (gate, counters, now) = gate(TcpConfig { links_inbound_max: 3, handshakes_max: 2, ..TcpConfig::lab() });
        let mut slots = Vec::new();
        for _ in 0..9 {
            if let Some(mut slot) = gate.admit(ip("127.0.0.1"), now, &counters) {
                slot.prove();
                slots.push(slot);
            }
        }
        assert_eq!((slots.len(), counters.inbound_refused_full.get()), (5, 4));
        assert!(gate.closed_for(now).is_some());
        slots.pop();
        assert_eq!(gate.closed_for(now), None);
        assert!(gate.admit(ip("127.0.0.1"), now, &counters).is_some());
    }

    #[tokio::test]
    async fn an_address_that_comes_too_often_is_refused_for_a_while() {
        let (gate, counters, start) = gate(TcpConfig { handshakes_per_address_per_second: 1, ..TcpConfig::default() });
        let mut now = start;
        let taken = (0..20).filter(|_| {
            now += Duration::from_millis(4);
            gate.admit(ip("9.9.9.9"), now, &counters).is_some()
        });
        assert_eq!((taken.count(), counters.inbound_refused_rate.get()), (10, 10));
        assert!(gate.admit(ip("9.9.9.10"), now, &counters).is_some());
        assert!(gate.admit(ip("9.9.9.9"), now + Duration::from_secs(1), &counters).is_some());
    }

    #[tokio::test]
    async fn once_too_many_came_from_everywhere_nobody_is_let_in_for_a_moment() {
        let (gate, counters, now) = gate(TcpConfig { handshakes_per_second: 100, ..TcpConfig::default() });
        let from = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        for number in 0..AT_ONCE {
            assert_eq!(gate.closed_for(now), None);
            assert!(gate.admit(from(number), now, &counters).is_some());
        }
        assert_eq!(gate.closed_for(now), Some(Duration::from_millis(10)));
        assert!(gate.admit(from(200), now, &counters).is_none());
        assert!(gate.admit(from(201), now + Duration::from_millis(11), &counters).is_some());
    }

    #[tokio::test]
    async fn of_addresses_that_came_and_went_so_many_are_remembered() {
        let (gate, counters, now) = gate(TcpConfig { handshakes_per_second: 1_000_000, ..TcpConfig::default() });
        let _stays = gate.admit(ip("9.9.9.9"), now, &counters);
        for number in 0..QUIET_MAX as u32 * 3 {
            drop(gate.admit(IpAddr::from(number.to_be_bytes()), now, &counters));
            assert!(lock(&gate.state).addresses.len() <= QUIET_MAX);
        }
        assert!(lock(&gate.state).addresses.contains_key(&ip("9.9.9.9")));
    }

    #[tokio::test]
    async fn whoever_says_nothing_keeps_nobody_out() {
        let (gate, counters, now) =
            gate(TcpConfig { handshakes_per_second: 0, handshakes_max: 2, ..TcpConfig::default() });
        let mut tasks = Vec::new();
        for last in 1..=4 {
            let slot = gate.admit(ip(&format!("9.9.9.{last}")), now, &counters).unwrap();
            let number = slot.number();
            let task = tokio::spawn(async move {
                let _slot = slot;
                std::future::pending::<()>().await;
            });
            gate.attach(number, task.abort_handle());
            tasks.push(task);
        }
        for task in tasks.drain(..2) {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert_eq!((counters.handshakes_crowded_out.get(), gate.pending()), (2, 2));
        assert!(tasks.iter().all(|task| !task.is_finished()));
    }
}
