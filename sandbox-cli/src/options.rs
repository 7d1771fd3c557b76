//! What the command line changes about a run.

use crate::scenario::NODES_MAX;
use clap::builder::RangedI64ValueParser;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The most threads that may be asked for: more than any machine here has cores, and fewer than a system refuses to start.
const THREADS_MAX: usize = 1_024;

/// Reads how many threads are asked for.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= THREADS_MAX);
    threads.ok_or_else(|| format!("must be 1 to {THREADS_MAX}"))
}

/// Reads how many nodes are asked for, at least `least`.
pub fn nodes(least: u32) -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(i64::from(least)..=i64::from(NODES_MAX))
}

/// The options of `run` and `demo`. Paths given here are relative to the current directory.
#[derive(Clone, PartialEq, Debug, Default, clap::Args)]
pub struct Options {
    /// Draw everything random from this seed instead of the scenario's
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Let the first join have this many nodes
    #[arg(long, value_name = "N", value_parser = nodes(1), allow_negative_numbers = true)]
    pub nodes: Option<u32>,
    /// Let each node know so many others at most: 64 or more, or 4 times the scenario's `holders`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub neighbours_max: Option<u32>,
    /// Take the first join's servers from this file (columns: domain, users, region)
    #[arg(long, value_name = "CSV")]
    pub servers: Option<PathBuf>,
    /// Take delays from this file of round-trip times in ms; a scenario without a matrix gets a jitter of 0.1
    #[arg(long, value_name = "CSV")]
    pub matrix: Option<PathBuf>,
    /// Run on this many threads; the result is the same on any number [default: all cores]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// Run the async driver over simulated connections instead of the bare state machines (up to 2,000 nodes)
    #[arg(long)]
    pub driver: bool,
    /// What carries the messages: with `tcp`, what only a simulated network can do is refused
    #[arg(long, value_enum, default_value_t = Transport::Sim)]
    pub transport: Transport,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write each lookup, hop by hop, to this file, for `explain`
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// What carries the messages between nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Transport {
    /// The simulated network, in virtual time
    #[default]
    Sim,
    /// Real nodes in this process, over TCP with TLS on the loopback, in real time
    Tcp,
}

impl Transport {
    /// The name, as reports spell it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Sim => "sim",
            Transport::Tcp => "tcp",
        }
    }
}

impl Options {
    /// On how many threads to run: as many as asked for, else one a core.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }
}
