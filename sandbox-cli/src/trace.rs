//! The trace file: one JSON object a line for each lookup, and its explanation hop by hop.

use crate::scenario::Consistency;
use anstyle::{AnsiColor, Style};
use routing_core::id::{Guid, Id};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// One lookup, as the trace file keeps it. Times are virtual, in milliseconds from the start of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TracedLookup {
    /// The step that it was part of, from 1.
    pub step: usize,
    /// What was looked up.
    #[serde(with = "hex")]
    pub key: Id,
    /// Who asked.
    pub asker: Asker,
    /// When it was asked.
    pub started_ms: u64,
    /// When the answer was there.
    pub ended_ms: u64,
    /// How it ended: `found as expected`, `wrong`, `closed`, `absent`, `unreachable`, `conflict`, …
    pub result: String,
    /// How sure the answer had to be.
    pub consistency: Consistency,
    /// How many round trips it took.
    pub round_trips: u32,
    /// Who was asked what, in the order of asking.
    pub hops: Vec<Hop>,
}

/// One request of a lookup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hop {
    /// When the answer came, or when it was given up.
    pub at_ms: u64,
    /// The round trip that it belongs to: one more than that of the answer that led to it, the first ones have 1.
    pub depth: u32,
    /// Who was asked.
    #[serde(with = "hex")]
    pub peer: Id,
    /// The peer's domain, if it has one.
    pub domain: Option<String>,
    /// What it said: `record v3 at x.example`, `same set`, `16 contacts`, `nothing yet`, `silent`, …
    pub said: String,
}

/// Who asked: somebody who is no node, or a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// Somebody who is no node; written `client`.
    Client,
    /// A node; written as its GRID.
    Node(Id),
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asker::Client => f.write_str("client"),
            Asker::Node(id) => id.fmt(f),
        }
    }
}

impl Serialize for Asker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Asker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "client" { Ok(Asker::Client) } else { text.parse().map(Asker::Node).map_err(de::Error::custom) }
    }
}

mod hex {
    use super::*;

    pub(super) fn serialize<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a trace could not be written, read or searched.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be created, written or read.
    #[error("{}: {error}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line is no traced lookup.
    #[error("{}:{line}: not a line of a trace: {error}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        error: serde_json::Error,
    },
    /// The text cannot be the beginning of a GUID.
    #[error("{0:?} is no GUID: write 1 to 64 hexadecimal digits, as many as are needed to tell it from the others")]
    NoGuid(String),
    /// No lookup of such a GUID is in the trace.
    #[error("{}: no lookup of {prefix}… ({lookups} lookups of other keys)", file.display())]
    Absent {
        /// The file.
        file: PathBuf,
        /// What was searched.
        prefix: String,
        /// How many lookups the file has.
        lookups: usize,
    },
    /// Several GUIDs begin like that. Write more digits.
    #[error("{}: {prefix}… is ambiguous: {}", file.display(), list(keys))]
    Ambiguous {
        /// The file.
        file: PathBuf,
        /// What was searched.
        prefix: String,
        /// The keys that begin like that, in order.
        keys: Vec<Guid>,
    },
}

/// The first few of some keys, long enough to tell them apart in most traces.
fn list(keys: &[Guid]) -> String {
    const SHOWN: usize = 4;
    let mut list: Vec<_> = keys.iter().take(SHOWN).map(|key| format!("{:.16}…", key.to_string())).collect();
    if keys.len() > SHOWN {
        list.push(format!("and {} more", keys.len() - SHOWN));
    }
    list.join(", ")
}

/// A trace file being written. Call [`finish`](Self::finish) at the end: what is buffered when it is dropped may be lost
/// without a word.
#[derive(Debug)]
pub struct TraceWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TraceWriter {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, TraceError> {
        let file = File::create(path).map_err(|error| TraceError::Io { file: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Adds a lookup.
    pub fn write(&mut self, lookup: &TracedLookup) -> Result<(), TraceError> {
        let written = serde_json::to_writer(&mut self.file, lookup).map_err(io::Error::from);
        written.and_then(|()| self.file.write_all(b"\n")).map_err(|error| self.error(error))
    }

    /// Writes what is still buffered.
    pub fn finish(mut self) -> Result<(), TraceError> {
        self.file.flush().map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> TraceError {
        TraceError::Io { file: self.path.clone(), error }
    }
}

/// All lookups of the one key in the trace that begins with `prefix`, in the order of the file.
///
/// A run that was ended from outside leaves a last line that is cut off, without its end. It is left out, and `note` is
/// told so.
pub fn lookups_of(path: &Path, prefix: &str, note: impl Fn(&str)) -> Result<Vec<TracedLookup>, TraceError> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(TraceError::NoGuid(prefix));
    }
    let io = |error| TraceError::Io { file: path.to_owned(), error };
    let (mut found, mut lookups, mut number) = (Vec::new(), 0, 0);
    let (mut trace, mut line) = (BufReader::new(File::open(path).map_err(io)?), Vec::new());
    while trace.read_until(b'\n', &mut line).map_err(io)? > 0 {
        number += 1;
        let (read, is_whole) = (serde_json::from_slice::<TracedLookup>(&line), line.ends_with(b"\n"));
        let is_blank = line.trim_ascii().is_empty();
        line.clear();
        let lookup = match read {
            Ok(lookup) => lookup,
            Err(_) if is_blank => continue,
            Err(_) if !is_whole => {
                let file = path.display();
                note(&format!("{file}:{number}: the last line is cut off, as the run was, and is left out"));
                break;
            }
            Err(error) => return Err(TraceError::Line { file: path.to_owned(), line: number, error }),
        };
        lookups += 1;
        if lookup.key.to_string().starts_with(&prefix) {
            found.push(lookup);
        }
    }
    let keys: BTreeSet<_> = found.iter().map(|lookup| lookup.key).collect();
    match keys.len() {
        0 => Err(TraceError::Absent { file: path.to_owned(), prefix, lookups }),
        1 => Ok(found),
        _ => Err(TraceError::Ambiguous { file: path.to_owned(), prefix, keys: keys.into_iter().map(Guid).collect() }),
    }
}

/// Tells the lookups of one key hop by hop, for a person to read.
pub fn explain(lookups: &[TracedLookup]) -> String {
    let bold = Style::new().bold();
    let mut text = String::new();
    if let Some(first) = lookups.first() {
        let times = if lookups.len() == 1 { "once".to_owned() } else { format!("{} times", lookups.len()) };
        text += &format!("{bold}{}{bold:#}\nlooked up {times}\n", first.key);
    }
    for lookup in lookups {
        let asker = match lookup.asker {
            Asker::Client => "a client".to_owned(),
            Asker::Node(id) => format!("node {id:?}"),
        };
        text += &format!(
            "\nstep {} · at {:.3} s · asked by {asker} · {}\n{}",
            lookup.step,
            lookup.started_ms as f64 / 1e3,
            lookup.consistency,
            tell(lookup),
        );
    }
    text
}

/// How one lookup ended, and its hops.
pub(crate) fn tell(lookup: &TracedLookup) -> String {
    let colour = match lookup.result.as_str() {
        "found as expected" | "closed" => AnsiColor::Green,
        "wrong" => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    let result = Style::new().fg_color(Some(colour.into())).bold();
    let trips = if lookup.round_trips == 1 { "round trip" } else { "round trips" };
    format!(
        "{result}{}{result:#} after {} {trips}, {} ms\n{}",
        lookup.result,
        lookup.round_trips,
        lookup.ended_ms.saturating_sub(lookup.started_ms),
        hops(lookup, Style::new().dimmed()),
    )
}

/// The table of a lookup's hops: columns as wide as they must be.
fn hops(lookup: &TracedLookup, dim: Style) -> String {
    if lookup.hops.is_empty() {
        return format!("  {dim}nobody was asked: the asker knew{dim:#}\n");
    }
    let peer = |hop: &Hop| match &hop.domain {
        Some(domain) => format!("{:?}  {domain}", hop.peer),
        None => format!("{:?}", hop.peer),
    };
    let width = lookup.hops.iter().map(|hop| peer(hop).chars().count()).chain([5]).max().unwrap_or_default().min(52);
    let mut text = format!("  {dim}{:>5}  {:>9}  {:<width$}  said{dim:#}\n", "trip", "after", "asked");
    let mut depth = 0;
    for hop in &lookup.hops {
        // The number stands only where a new round trip begins.
        let trip = if hop.depth == depth { String::new() } else { hop.depth.to_string() };
        depth = hop.depth;
        let after = format!("{} ms", hop.at_ms.saturating_sub(lookup.started_ms));
        let said = if hop.said == "silent" { format!("{dim}silent{dim:#}") } else { hop.said.clone() };
        text += &format!("  {trip:>5}  {after:>9}  {:<width$}  {said}\n", peer(hop));
    }
    text
}

#[cfg(test)]
mod tests;
