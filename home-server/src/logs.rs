//! Where `tracing` goes: to stderr, for people or for programs.

use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// A level or filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log_level = {level:?}: {source}; write error, warn, info, debug or trace, or a filter such as info,routing_core=debug"
)]
pub struct LogError {
    /// As given.
    level: String,
    /// What is wrong.
    source: ParseError,
}

/// Begins to log as `config` says, with `level` if it says none. Once in a process.
pub fn begin(config: &Config, level: &str) -> Result<(), LogError> {
    let level = config.log_level.as_deref().unwrap_or(level);
    let filter = EnvFilter::builder().parse(level).map_err(|source| LogError { level: level.to_owned(), source })?;
    // A log that cannot be written is no reason to stop: the disk that it goes to may be full, or nobody reads it any more.
    let log = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_writer(std::io::stderr);
    match config.log {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
