//! Virtual time: ticks of one millisecond. The core reads no clock; the tick is an argument of each turn.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// A moment, in milliseconds. In the sandbox from the start of the run, over TCP from the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Tick(pub u64);

/// A span of time, in milliseconds. Written as `250ms`, `30s`, `2m`, `10h` or `7d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub u64);

impl Tick {
    /// The time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Tick) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }
}

impl Ticks {
    /// A span of whole milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Ticks(millis)
    }

    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Ticks(seconds * 1_000)
    }

    /// A span of whole minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Ticks(minutes * 60_000)
    }

    /// A span of whole hours.
    pub const fn hours(hours: u64) -> Self {
        Ticks(hours * 3_600_000)
    }

    /// The span in seconds.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl Add<Ticks> for Tick {
    type Output = Tick;
    fn add(self, span: Ticks) -> Tick {
        Tick(self.0.saturating_add(span.0))
    }
}

impl Sub<Ticks> for Tick {
    type Output = Tick;
    fn sub(self, span: Ticks) -> Tick {
        Tick(self.0.saturating_sub(span.0))
    }
}

impl Add for Ticks {
    type Output = Ticks;
    fn add(self, other: Ticks) -> Ticks {
        Ticks(self.0.saturating_add(other.0))
    }
}

impl AddAssign<Ticks> for Tick {
    fn add_assign(&mut self, span: Ticks) {
        *self = *self + span;
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A text that is no span of time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no span of time: write a number and ms, s, m, h or d, such as \"250ms\" or \"2m\"")]
pub struct ParseTicksError(pub String);

impl FromStr for Ticks {
    type Err = ParseTicksError;

    fn from_str(text: &str) -> Result<Self, ParseTicksError> {
        let error = || ParseTicksError(text.to_owned());
        let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
        let (number, unit) = text.split_at(split);
        let number: f64 = number.trim().parse().map_err(|_| error())?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        let span = number * *millis as f64;
        // A century is more than any scenario runs; beyond it a typing error is likelier.
        if !(0.0..=3.2e12).contains(&span) {
            return Err(error());
        }
        Ok(Ticks(span.round() as u64))
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, millis) =
            UNITS.iter().rev().find(|(_, millis)| self.0.is_multiple_of(*millis) && self.0 > 0).unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", self.0 / millis)
    }
}

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Ticks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Ticks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Ticks)
        }
    }
}

/// When a node runs: at the ticks for which `(tick - phase) % every == 0`. Over TCP a cadence is a best effort.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cadence {
    /// Ticks from one turn to the next, at least 1.
    every: u64,
    /// The remainder at which the node runs, below `every`.
    phase: u64,
}

impl Cadence {
    /// A node that runs at each tick.
    pub const EACH_TICK: Cadence = Cadence { every: 1, phase: 0 };

    /// Every `every` ticks (0 counts as 1), so that `start` is one of them.
    pub fn starting(start: Tick, every: u64) -> Self {
        let every = every.max(1);
        Self { every, phase: start.0 % every }
    }

    /// The first tick of the cadence that is not before `tick`.
    pub fn at_or_after(&self, tick: Tick) -> Tick {
        let behind = (tick.0 + self.every - self.phase) % self.every;
        Tick(if behind == 0 { tick.0 } else { tick.0 + self.every - behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_in_the_largest_whole_unit() {
        for (text, millis) in
            [("250ms", 250), ("30s", 30_000), ("2m", 120_000), ("10h", 36_000_000), ("7d", 604_800_000)]
        {
            let span: Ticks = text.parse().unwrap();
            assert_eq!(span.0, millis);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("1.5s".parse(), Ok(Ticks(1_500)));
        for text in ["", "5", "-1s", "1y", "s", "9e99h", "NaNs"] {
            assert!(text.parse::<Ticks>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_cadence_runs_at_exactly_every_nth_tick() {
        for every in 1..7 {
            for start in 0..20 {
                let cadence = Cadence::starting(Tick(start), every);
                for tick in 0..50 {
                    let next = cadence.at_or_after(Tick(tick)).0;
                    assert!(next >= tick && next < tick + every);
                    assert_eq!(next % every, start % every);
                }
            }
        }
    }
}
