//! The home-server's command line.
//!
//! Results go to stdout, the log and complaints to stderr. The exit code is 0 if it was done as asked, 1 if not, 2 for bad
//! usage or settings, 3 if the data directory cannot be used, 4 if too few nodes answer to tell.

use clap::{Parser, Subcommand};
use home_server::client::{Client, ClientError, Found, Placed};
use home_server::config::{CommonOptions, Config, ConfigError, ServerOptions};
use home_server::keyfile::KeyFile;
use home_server::logs::{self, LogError};
use home_server::serve::{self, ServeError};
use routing_core::domain::Domain;
use routing_core::effect::Consistency;
use routing_core::id::Guid;
use routing_core::state::Verdict;
use serde::Serialize;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// Links and records are many small allocations, made on one thread and dropped on another: this allocator keeps less
/// for each than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  home-server serve --data /var/lib/home-server --domain chat.example --join one.example,two.example
  home-server config --config /etc/home-server.toml
  home-server leave --config /etc/home-server.toml      for good: its records are handed over
  home-server register --key ann.key --home chat.example --join one.example
  home-server lookup GUID --join one.example,two.example

Settings come from the file that --config names, over it from the environment (HOME_SERVER_DATA, HOME_SERVER_JOIN, …), over
that from the command line.

Exit code: 0 done, 1 not done, 2 bad usage or settings, 3 the data directory cannot be used, 4 too few nodes answer to tell.";

/// A home-server that answers, together with all others: which server hosts this user now?
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a server until SIGTERM or SIGINT
    #[command(after_help = "\
Examples:
  home-server serve --data /var/lib/home-server --domain chat.example --join one.example,two.example
  home-server serve --config /etc/home-server.toml --log json
  home-server serve --data d1 --domain a.example --listen 127.0.0.1:4001 --admin 127.0.0.1:5001 --hosts hosts --lab

The first server of a network has nobody to join. A server that comes back remembers whom it knew.

SIGTERM and SIGINT tell the others that it will be back, and end it within --stop-within; a second one ends it at once. kill -9 loses
nothing that was acknowledged. See docs/operations.md.")]
    Serve {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        common: CommonOptions,
        /// Wait for nobody: be a network of its own until others come, if all that it knew are gone for good
        #[arg(long, conflicts_with = "join")]
        alone: bool,
    },
    /// Leave the network for good: hand over the records, say goodbye
    ///
    /// Takes the same settings as `serve`. A server that runs must be stopped first; this starts its node once more.
    #[command(after_help = "\
Example:
  systemctl disable --now home-server && home-server leave --config /etc/home-server.toml")]
    Leave {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        common: CommonOptions,
    },
    /// Find out where a user lives
    #[command(after_help = "\
Examples:
  home-server lookup GUID --join one.example,two.example
  home-server lookup GUID --join one.example --consistency all --json

Exit code: 0 there is a record, 1 there is none, 4 too few nodes answer to tell.")]
    Lookup {
        /// The user's GUID, 64 hexadecimal digits
        guid: Guid,
        /// How sure the answer must be
        #[arg(long, value_enum, default_value_t = Level::Quorum)]
        consistency: Level,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonOptions,
    },
    /// Say where a user lives from now on: the first time, or after a move
    #[command(after_help = "\
Examples:
  home-server register --key ann.key --home chat.example --join one.example     makes the keys if there are none
  home-server register --key ann.key --home other.example --join one.example    she moves

The key file is the user. The record that was written last is in it, too: run a command again that was not acknowledged.

Exit code: 0 acknowledged by most of its holders, 1 a newer record is known, 4 too few nodes answer.")]
    Register {
        /// The file with the user's keys; made if it is not there
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The home-server where the user lives
        #[arg(long, value_name = "DOMAIN")]
        home: Domain,
        /// Make new keys without one for recovery: a thief of the key can never be shut out
        #[arg(long)]
        no_recovery: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonOptions,
    },
    /// Print the effective settings, as a file that would give them
    #[command(after_help = "\
Examples:
  home-server config                                    every key with its default
  home-server config --config /etc/home-server.toml --set links.links_max=1024")]
    Config {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        common: CommonOptions,
    },
}

/// How sure an answer must be: [`Consistency`] with its help, which the core cannot give.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Level {
    /// Three holders agree; may be stale
    Quick,
    /// Most holders have answered and agree
    Quorum,
    /// Every holder that can be reached has answered
    All,
    /// As quorum, and the home-server named says so itself
    Confirmed,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Self {
        match level {
            Level::Quick => Consistency::Quick,
            Level::Quorum => Consistency::Quorum,
            Level::All => Consistency::All,
            Level::Confirmed => Consistency::Confirmed,
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot print: {0}")]
    Print(io::Error),
    #[error("the system refuses: {0}")]
    System(io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Log(_) => 2,
            Failure::Serve(ServeError::Config(_) | ServeError::Hosts(_) | ServeError::Address(_)) => 2,
            Failure::Client(ClientError::NoEntryPoints | ClientError::Hosts(_)) => 2,
            Failure::Serve(ServeError::Store(error)) if !error.may_pass() => 3,
            Failure::Client(_) | Failure::Serve(_) | Failure::Print(_) | Failure::System(_) => 1,
        }
    }
}

fn main() -> ExitCode {
    match obey(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Where nobody can be told, the exit code says it.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn obey(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Serve { server, common, alone } => {
            let config = Config::read(&common, &server)?;
            logs::begin(&config, "info")?;
            run(serve::serve(config, alone))??;
            Ok(0)
        }
        Command::Leave { server, common } => {
            let config = Config::read(&common, &server)?;
            logs::begin(&config, "info")?;
            run(serve::leave(config))??;
            Ok(0)
        }
        Command::Lookup { guid, consistency, json, common } => {
            let config = client_config(&common)?;
            let answer = run(async { Client::open(&config)?.lookup(guid, consistency.into()).await })??;
            let found = Found::of(guid, &answer);
            print(&if json { to_json(&found) } else { found.render() })?;
            Ok(match found.verdict {
                Verdict::Absent => 1,
                Verdict::Unreachable => 4,
                _ => 0,
            })
        }
        Command::Register { key, home, no_recovery, json, common } => {
            let config = client_config(&common)?;
            let placed: Placed = run(async {
                let client = Client::open(&config)?;
                let (mut keys, _) = KeyFile::open_or_create(&key, !no_recovery).map_err(ClientError::from)?;
                client.place(&mut keys, &home).await
            })??;
            print(&if json { to_json(&placed) } else { placed.render() })?;
            Ok(match (placed.is_acknowledged, placed.is_outdated) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 4,
            })
        }
        Command::Config { server, common } => {
            print(&Config::read(&common, &server)?.to_toml())?;
            Ok(0)
        }
    }
}

/// The settings of a command that is no server's. It logs only what goes wrong.
fn client_config(common: &CommonOptions) -> Result<Config, Failure> {
    let config = Config::read(common, &ServerOptions::default())?;
    logs::begin(&config, "warn")?;
    Ok(config)
}

fn to_json(value: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(value).expect("texts and numbers can be written");
    json + "\n"
}

/// Runs a future to its end. What it has left behind, such as a name that is still being looked up, is not waited for.
fn run<T>(what: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = Runtime::new().map_err(Failure::System)?;
    let result = runtime.block_on(what);
    runtime.shutdown_background();
    Ok(result)
}

/// Writes to stdout. A reader that has seen enough is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
