//! Emptying a TOML table key by key, with errors that say where.
//!
//! ```text
//!   Keys::new ─▶ only: is each key known? ─▶ required / optional, one call a key ─▶ finish: was each key read?
//! ```
//!
//! Unknown keys are looked for first: who writes `user = 5` wants to hear of `user`, not that `users` is missing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a scenario cannot be used. Correct the file and read it again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be opened or is no UTF-8 text.
    #[error("{file}: {reason}")]
    Unreadable {
        /// The file's name.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The text is no TOML.
    #[error("{file}:{line}: {message}")]
    NotToml {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the TOML parser said.
        message: String,
    },
    /// A key is unknown, missing, or has a value that it cannot have.
    #[error("{file}:{line}: {key}{problem}")]
    Key {
        /// The file's name.
        file: String,
        /// The line of the key, or of its table where the key is missing; from 1.
        line: usize,
        /// The key's name.
        key: String,
        /// What is the matter with it.
        problem: Problem,
    },
}

/// What is the matter with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Nobody reads this key here.
    Unknown {
        /// The table, as a reader would name it.
        table: String,
        /// The keys that it may have.
        known: Vec<String>,
    },
    /// The key must be there.
    Missing {
        /// The table, as a reader would name it.
        table: String,
    },
    /// The value is not one that the key can have.
    Impossible {
        /// The value as it stands in the file.
        value: String,
        /// What it must be, to follow "must".
        must: String,
    },
}

impl ScenarioError {
    /// The file could not be read.
    pub(super) fn unreadable(file: String, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::InvalidData => "is no UTF-8 text".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        ScenarioError::Unreadable { file, reason }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown { table, known } => {
                write!(f, ": unknown key, {table} takes {}", known.join(", "))
            }
            Problem::Missing { table } => write!(f, ": missing, {table} needs it"),
            Problem::Impossible { value, must } => write!(f, " = {value}: must {must}"),
        }
    }
}

/// On which lines of its file a table and its keys stand, from 1; on line 0 what is from no file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lines {
    table: usize,
    keys: BTreeMap<&'static str, usize>,
}

impl Lines {
    /// The line of the table.
    pub fn table(&self) -> usize {
        self.table
    }

    /// Whether the table has this key.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The line of a key; of the table if it does not have the key.
    pub fn of(&self, key: &str) -> usize {
        self.keys.get(key).copied().unwrap_or(self.table)
    }
}

/// The text of a scenario and what it is called, to say where something stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'i> {
    /// The whole text.
    pub(super) text: &'i str,
    /// What errors call it.
    pub(super) file: &'i str,
}

impl Source<'_> {
    /// The line of a place in the text, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    /// An error about the key whose value, or name, stands at `at`.
    pub(super) fn error(&self, at: usize, key: &str, problem: Problem) -> ScenarioError {
        ScenarioError::Key { file: self.file.to_owned(), line: self.line(at), key: key.to_owned(), problem }
    }

    /// An error about a value that stands at `span`.
    pub(super) fn impossible(&self, span: Range<usize>, key: &str, must: &str) -> ScenarioError {
        let value = self.text.get(span.clone()).unwrap_or_default();
        // Values over several lines (arrays, mostly) would tear the message apart.
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        self.error(span.start, key, Problem::Impossible { value, must: must.to_owned() })
    }
}

/// What a value must be, to follow "must"; returned by a reader of values that cannot use what it was given.
pub(super) type Must = &'static str;

/// One table that is being read.
pub(super) struct Keys<'i> {
    source: Source<'i>,
    /// The table, as a reader would name it: "a kill step".
    name: String,
    /// Where the table stands.
    at: usize,
    /// What was not read yet.
    table: DeTable<'i>,
    /// The keys that the table may have.
    known: Vec<&'static str>,
    /// Where the values stand that were read.
    places: BTreeMap<&'static str, Range<usize>>,
}

impl<'i> Keys<'i> {
    /// A table about to be read. `at` is where it stands.
    pub(super) fn new(source: Source<'i>, name: impl Into<String>, at: usize, table: DeTable<'i>) -> Self {
        Self { source, name: name.into(), at, table, known: Vec::new(), places: BTreeMap::new() }
    }

    /// A table that is the value of `key`.
    pub(super) fn within(source: Source<'i>, key: &str, value: Spanned<DeValue<'i>>) -> Result<Self, ScenarioError> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Self::new(source, key, span.start, table)),
            _ => Err(source.impossible(span, key, "be a table")),
        }
    }

    /// Calls the table something better, once that is known.
    pub(super) fn call(&mut self, name: String) {
        self.name = name;
    }

    /// On which lines the table stands, and what was read of it.
    pub(super) fn lines(&self) -> Lines {
        let keys = self.places.iter().map(|(key, place)| (*key, self.source.line(place.start)));
        Lines { table: self.source.line(self.at), keys: keys.collect() }
    }

    /// The text that the table is part of.
    pub(super) fn source(&self) -> Source<'i> {
        self.source
    }

    /// The raw value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        let value = self.table.remove(key);
        self.places.extend(value.as_ref().map(|value| (key, value.span())));
        value
    }

    /// Whether the table has a key that was not asked for yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key that may be missing.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, Must>,
    ) -> Result<Option<T>, ScenarioError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        read(value.get_ref()).map(Some).map_err(|must| self.source.impossible(value.span(), key, must))
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, Must>,
    ) -> Result<T, ScenarioError> {
        self.optional(key, read)?.ok_or_else(|| self.missing(key))
    }

    /// The error for a key that is not there.
    pub(super) fn missing(&self, key: &str) -> ScenarioError {
        self.source.error(self.at, key, Problem::Missing { table: self.name.clone() })
    }

    /// The error for a key that was read, but does not go with another one.
    pub(super) fn impossible(&self, key: &'static str, must: &str) -> ScenarioError {
        let span = self.places.get(key).cloned().unwrap_or(self.at..self.at);
        self.source.impossible(span, key, must)
    }

    /// Refuses a table that has other keys than these, naming the first in the text.
    pub(super) fn only(&mut self, known: &[&'static str]) -> Result<(), ScenarioError> {
        self.known = known.to_vec();
        self.refuse(|key| !known.contains(&key))
    }

    /// Ends the reading. A key that is left over was never read, and must not seem to have been.
    pub(super) fn finish(self) -> Result<(), ScenarioError> {
        self.refuse(|_| true)
    }

    fn refuse(&self, unknown: impl Fn(&str) -> bool) -> Result<(), ScenarioError> {
        let refused = self.table.keys().filter(|key| unknown(key.get_ref())).min_by_key(|key| key.span().start);
        let Some(key) = refused else { return Ok(()) };
        let known = self.known.iter().map(|key| (*key).to_owned()).collect();
        let problem = Problem::Unknown { table: self.name.clone(), known };
        Err(self.source.error(key.span().start, key.get_ref(), problem))
    }
}

/// Readers of single values.
pub(super) mod value {
    use super::Must;
    use crate::scenario::NODES_MAX;
    use routing_core::time::Ticks;
    use std::ops::RangeInclusive;
    use toml::de::DeValue;

    pub(in crate::scenario) fn text(value: &DeValue<'_>) -> Result<String, Must> {
        value.as_str().map(str::to_owned).ok_or("be a text in quotes")
    }

    pub(in crate::scenario) fn truth(value: &DeValue<'_>) -> Result<bool, Must> {
        value.as_bool().ok_or("be true or false")
    }

    pub(in crate::scenario) fn seed(value: &DeValue<'_>) -> Result<u64, Must> {
        const MUST: Must = "be a whole number from 0 to 18446744073709551615";
        let number = value.as_integer().ok_or(MUST)?;
        u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| MUST)
    }

    pub(in crate::scenario) fn whole(value: &DeValue<'_>) -> Result<u32, Must> {
        const MUST: Must = "be a whole number from 0 to 4294967295";
        u32::try_from(seed(value).map_err(|_| MUST)?).map_err(|_| MUST)
    }

    pub(in crate::scenario) fn count(value: &DeValue<'_>) -> Result<u32, Must> {
        within(value, 1..=u32::MAX, "be a whole number from 1 to 4294967295")
    }

    pub(in crate::scenario) fn nodes(value: &DeValue<'_>) -> Result<u32, Must> {
        within(value, 1..=NODES_MAX, "be a whole number from 1 to 10000000")
    }

    /// Users, names or lookups: each is planned before the first one begins, so there is room for all of them at once.
    pub(in crate::scenario) fn operations(value: &DeValue<'_>) -> Result<u32, Must> {
        within(value, 1..=100_000_000, "be a whole number from 1 to 100000000")
    }

    /// Nobody asks more nodes than may be holders.
    pub(in crate::scenario) fn entry_points(value: &DeValue<'_>) -> Result<u32, Must> {
        within(value, 1..=64, "be a whole number from 1 to 64")
    }

    /// A link that takes longer than this to open has no counterpart, and each round trip is drawn.
    pub(in crate::scenario) fn link_round_trips(value: &DeValue<'_>) -> Result<u32, Must> {
        within(value, 0..=16, "be a whole number from 0 to 16")
    }

    fn within(value: &DeValue<'_>, range: RangeInclusive<u32>, must: Must) -> Result<u32, Must> {
        whole(value).ok().filter(|number| range.contains(number)).ok_or(must)
    }

    fn number(value: &DeValue<'_>) -> Option<f64> {
        let number = match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()? as f64,
            DeValue::Float(number) => number.as_str().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    pub(in crate::scenario) fn not_negative(value: &DeValue<'_>) -> Result<f64, Must> {
        number(value).filter(|number| *number >= 0.0).ok_or("be a number, 0 or more")
    }

    pub(in crate::scenario) fn share(value: &DeValue<'_>) -> Result<f64, Must> {
        number(value).filter(|number| (0.0..=1.0).contains(number)).ok_or("be a number between 0 and 1")
    }

    pub(in crate::scenario) fn shares(value: &DeValue<'_>) -> Result<Vec<f64>, Must> {
        const MUST: Must = "be two or more shares, each above 0, that add up to 1";
        let values = value.as_array().ok_or(MUST)?;
        let shares: Vec<f64> =
            values.iter().map(|value| share(value.get_ref()).map_err(|_| MUST)).collect::<Result<_, _>>()?;
        // Thirds and sixths written with a few digits still count.
        let whole = (shares.iter().sum::<f64>() - 1.0).abs() < 1e-3;
        (whole && shares.len() >= 2 && shares.iter().all(|share| *share > 0.0)).then_some(shares).ok_or(MUST)
    }

    pub(in crate::scenario) fn time(value: &DeValue<'_>) -> Result<Ticks, Must> {
        const MUST: Must = "be a time: a number and ms, s, m, h or d in quotes, such as \"250ms\" or \"2m\", and no more than a \
            century";
        value.as_str().ok_or(MUST)?.parse().map_err(|_| MUST)
    }

    pub(in crate::scenario) fn some_time(value: &DeValue<'_>) -> Result<Ticks, Must> {
        time(value).and_then(|span| (span.0 > 0).then_some(span).ok_or("be at least \"1ms\""))
    }
}
