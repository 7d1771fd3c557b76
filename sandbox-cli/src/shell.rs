//! The seed API, interactively: a federation in a box, and a prompt to do things to it.
//!
//! ```text
//!   line ─ command ─▶ Command ─ names ─▶ act ─▶ RoutingSandbox
//!                        │                └─▶ show ─▶ text
//!                        └─▶ CommandError
//! ```
//!
//! Each line is carried out to its end, in virtual time, before the next one is read. A shell does not end because
//! something failed; only [`Command::Quit`](command::Command::Quit) or the end of what is typed ends it. The same lines
//! with the same options give the same session.

mod act;
pub mod command;
mod names;
mod show;

use crate::options::{self, Options};
use crate::scenario::{DelaySpec, MATRIX_JITTER};
use command::{CommandError, parse};
use names::{Known, NameError};
use routing_core::config::NodeConfig;
use routing_core::time::Tick;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use transport_sim::delay::{Delay, DelayError};
use transport_sim::network::Mode;
use transport_sim::sandbox::{RoutingSandbox, SandboxError, Setup};
use transport_sim::servers::{Server, Servers, ServersError};

/// The options of `shell`.
#[derive(Clone, PartialEq, Debug, Default, clap::Args)]
pub struct ShellOptions {
    /// Draw everything random from this seed
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Begin with a network of so many nodes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = options::nodes(0), allow_negative_numbers = true)]
    pub nodes: u32,
    /// Take the servers from this file (columns: domain, users, region), in its order
    #[arg(long, value_name = "CSV")]
    pub servers: Option<PathBuf>,
    /// Take delays from this file of round-trip times in ms, with a jitter of 0.1 [default: 20 to 120 ms one way]
    #[arg(long, value_name = "CSV")]
    pub matrix: Option<PathBuf>,
}

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The delays cannot be used.
    #[error(transparent)]
    Delay(#[from] DelayError),
    /// The list of servers cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The list of servers cannot be used.
    #[error(transparent)]
    Servers(#[from] ServersError),
    /// The first nodes did not join.
    #[error(transparent)]
    Begin(#[from] Complaint),
    /// The terminal, or what is typed or printed, cannot be read or written.
    #[error("cannot go on: {0}")]
    Io(#[from] io::Error),
    /// The terminal cannot be used.
    #[error("cannot use the terminal: {0}")]
    Terminal(#[from] ReadlineError),
}

/// Why a line did not do what it should have done. The shell goes on.
#[derive(Debug, thiserror::Error)]
pub enum Complaint {
    /// It was not understood. Nothing was done.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It names nobody, or several. Nothing was done.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is nobody to ask. Nothing was done.
    #[error("no node runs: new starts one")]
    Nobody,
    /// The domain is none. Nothing was done.
    #[error("{0:?} is no domain: write a name such as n000003.example, or a node")]
    Domain(String),
    /// Only servers of the sandbox have users who move there. Nothing was done.
    #[error("no server is called {0}: users move to one of the nodes here; register tells of a home elsewhere")]
    NoServer(String),
    /// Who is halted does not say farewell. Nothing was done.
    #[error("{0} is halted: run it first, or kill it")]
    Halted(String),
    /// The account is closed. Nothing was done.
    #[error("{0} has closed the account, which is for good")]
    Closed(String),
    /// The sandbox has no key of this user. Nothing was done.
    #[error("the sandbox has no key of {0}: only register and route are possible")]
    NoKey(String),
    /// The file cannot be written.
    #[error("cannot write {}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It was tried, and ended with this.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Some newcomers are not in. They go on trying.
    #[error("{missing} of {asked} are not in yet; they go on trying: let time pass with run 1m, and look at nodes")]
    NotIn {
        /// How many.
        missing: usize,
        /// Of how many.
        asked: usize,
    },
    /// The write was not acknowledged: too few holders keep it. It may be tried again.
    #[error("not acknowledged: {0}")]
    NotAcknowledged(String),
    /// The answer is not the one that was expected. It was given all the same.
    #[error("{answer}\nexpected {expected}")]
    NotAsExpected {
        /// The whole answer.
        answer: String,
        /// What had been expected.
        expected: String,
    },
}

impl Complaint {
    /// Whether something was tried, so that the network is no longer what it was.
    fn was_tried(&self) -> bool {
        match self {
            Complaint::Sandbox(_)
            | Complaint::NotIn { .. }
            | Complaint::NotAcknowledged(_)
            | Complaint::NotAsExpected { .. } => true,
            Complaint::Command(_)
            | Complaint::Name(_)
            | Complaint::Nobody
            | Complaint::Domain(_)
            | Complaint::NoServer(_)
            | Complaint::Halted(_)
            | Complaint::Closed(_)
            | Complaint::NoKey(_)
            | Complaint::File { .. } => false,
        }
    }
}

/// What a line came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// This is to be shown. It carries colours as escape codes, as reports do.
    Text(String),
    /// The shell ends.
    Farewell,
}

/// A sandbox, and what has been typed about it.
#[derive(Debug)]
pub struct Shell {
    sandbox: RoutingSandbox,
    /// Servers of the list that have not been started yet.
    servers: VecDeque<Server>,
    users: Vec<Known>,
    /// The options, as they would be typed.
    options: String,
    /// What changed something, or may have.
    typed: Vec<String>,
}

impl Shell {
    /// A sandbox as the options want it. Its nodes have joined, and heard of each other.
    pub fn open(options: &ShellOptions) -> Result<Self, ShellError> {
        let spec = match &options.matrix {
            Some(file) => DelaySpec::Matrix { file: file.clone(), jitter: MATRIX_JITTER },
            None => DelaySpec::default(),
        };
        let delay = Delay::load(&spec, Path::new(""), options.seed)?;
        let setup = Setup { seed: options.seed, config: NodeConfig::default(), delay, mode: Mode::Direct };
        let mut sandbox = RoutingSandbox::with(setup);
        sandbox.network_mut().set_threads(Options::default().threads().get());
        let mut typed = format!("--seed {}", options.seed);
        if options.nodes > 0 {
            typed += &format!(" --nodes {}", options.nodes);
        }
        let mut servers = VecDeque::new();
        if let Some(file) = &options.servers {
            let text =
                std::fs::read_to_string(file).map_err(|error| ShellError::Unreadable { file: file.clone(), error })?;
            servers.extend(Servers::parse(&text, &file.display().to_string())?);
            typed += &format!(" --servers {}", file.display());
        }
        if let Some(file) = &options.matrix {
            typed += &format!(" --matrix {}", file.display());
        }
        let mut shell = Self { sandbox, servers, users: Vec::new(), options: typed, typed: Vec::new() };
        if options.nodes > 0 {
            shell.begin(options.nodes)?;
        }
        Ok(shell)
    }

    /// Carries out a line, to its end.
    pub fn carry_out(&mut self, line: &str) -> Result<Reply, Complaint> {
        let Some(command) = parse(line)? else { return Ok(Reply::Text(String::new())) };
        let changes = command.changes();
        let reply = self.act(command);
        if changes && reply.as_ref().map_or_else(Complaint::was_tried, |_| true) {
            self.typed.push(line.trim().to_owned());
        }
        reply
    }

    /// Carries out line after line, as they come from a pipe. Says how many failed.
    pub fn obey(&mut self, input: impl BufRead, out: &mut impl Write, err: &mut impl Write) -> io::Result<usize> {
        let mut failed = 0;
        for (index, line) in input.lines().enumerate() {
            match self.carry_out(&line?) {
                Ok(Reply::Text(text)) => out.write_all(text.as_bytes())?,
                Ok(Reply::Farewell) => break,
                Err(complaint) => {
                    failed += 1;
                    writeln!(err, "line {}: {complaint}", index + 1)?;
                }
            }
        }
        out.flush()?;
        Ok(failed)
    }

    /// Asks somebody at a terminal for line after line.
    pub fn converse(&mut self) -> Result<(), ShellError> {
        let mut editor = DefaultEditor::new()?;
        let mut out = anstream::stdout();
        writeln!(out, "{}", self.greeting())?;
        loop {
            let line = match editor.readline(&format!("{:.3} s> ", self.seconds())) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    writeln!(out, "quit or Ctrl-D ends")?;
                    continue;
                }
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if !line.trim().is_empty() {
                editor.add_history_entry(line.as_str())?;
            }
            match self.carry_out(&line) {
                Ok(Reply::Text(text)) => out.write_all(text.as_bytes())?,
                Ok(Reply::Farewell) => return Ok(()),
                Err(complaint) => anstream::eprintln!("{complaint}"),
            }
        }
    }

    fn greeting(&self) -> String {
        let nodes = match self.sandbox.living() {
            0 => "nobody is there yet: new starts a node".to_owned(),
            1 => "one node runs".to_owned(),
            nodes => format!("{nodes} nodes run"),
        };
        format!("a simulated federation; {nodes}; help lists what can be done")
    }

    fn seconds(&self) -> f64 {
        self.sandbox.now().since(Tick(0)).as_seconds()
    }
}

#[cfg(test)]
mod tests;
