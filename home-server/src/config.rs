//! What an operator sets: a TOML file, over it the environment, over that the command line.

use clap::Args;
use clap::builder::FalseyValueParser;
use routing_core::config::NodeConfig;
use routing_core::contact::Address;
use routing_core::domain::Domain;
use routing_core::effect::Target;
use routing_core::time::Ticks;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use transport_tcp::TcpConfig;

/// The effective settings. `home-server config` prints them as the file that would give them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory of the node's database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The server's domain: what records of its users name, and where others dial it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Where it listens for other nodes.
    pub listen: Vec<SocketAddr>,
    /// The port at which others reach it, if that is not the one it listens at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// Nodes to join through, beside those remembered from last time.
    pub join: Vec<Address>,
    /// Where health and metrics are served. Anybody who reaches it may read them.
    pub admin: Admin,
    /// A hosts file of its own, for labs and private networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<PathBuf>,
    /// Whether all nodes are on one machine or in a private network: sets `lab` in `node` and `links`, too.
    pub lab: bool,
    /// How the log looks.
    pub log: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,routing_core=debug`. Unset: `info` for
    /// a server, `warn` for other commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// How long a restart is said to take: nothing is moved and nobody asks this node meanwhile. A day at most.
    pub away_for: Ticks,
    /// How long stopping may take; then the process ends, whatever is still to be said.
    pub stop_within: Ticks,
    /// The node's own settings.
    pub node: NodeConfig,
    /// The limits of its links.
    pub links: TcpConfig,
}

impl Default for Config {
    fn default() -> Self {
        let links = TcpConfig::default();
        let mut node = NodeConfig::default();
        node.fit_links(links.links_max);
        Self {
            data: None,
            domain: None,
            listen: vec![SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), links.port)],
            public_port: None,
            join: Vec::new(),
            admin: Admin(Some(SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), links.port + 1))),
            hosts: None,
            lab: false,
            log: LogFormat::Text,
            log_level: None,
            away_for: Ticks::minutes(5),
            // What links take at most to deliver the last words and to end, and some more.
            stop_within: links.farewell_timeout + links.linger + Ticks::seconds(3),
            node,
            links,
        }
    }
}

/// Where the administrator's HTTP port is, if there is one. Written as an address, or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admin(pub Option<SocketAddr>);

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Admin(None)),
            _ => text.parse().map(|address| Admin(Some(address))).map_err(|_| {
                format!("{text:?} is neither an IP address with a port, such as \"127.0.0.1:7448\", nor \"off\"")
            }),
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl Serialize for Admin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Admin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How the log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

/// What all commands take.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonOptions {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "HOME_SERVER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Nodes to begin with, as HOST or HOST:PORT, separated by commas
    #[arg(long, value_name = "ADDRESSES", env = "HOME_SERVER_JOIN", value_delimiter = ',')]
    pub join: Vec<Address>,
    /// Look names up in this hosts file first; its addresses may have ports and be private
    #[arg(long, value_name = "FILE", env = "HOME_SERVER_HOSTS")]
    pub hosts: Option<PathBuf>,
    /// All nodes are on one machine or in a private network: private addresses are dialled, nobody is limited by address
    #[arg(long, env = "HOME_SERVER_LAB", value_parser = FalseyValueParser::new())]
    pub lab: bool,
    /// How the log on stderr looks
    #[arg(long, value_name = "FORMAT", env = "HOME_SERVER_LOG")]
    pub log: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,routing_core=debug
    #[arg(long, value_name = "LEVEL", env = "HOME_SERVER_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Set any key of the file, such as --set node.neighbours_max=4096; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What only a server takes.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerOptions {
    /// Keep the node's key, its contacts and its records in this directory
    #[arg(long, value_name = "DIR", env = "HOME_SERVER_DATA")]
    pub data: Option<PathBuf>,
    /// This server's domain, at which others dial it
    #[arg(long, value_name = "DOMAIN", env = "HOME_SERVER_DOMAIN")]
    pub domain: Option<Domain>,
    /// Listen for other nodes here, separated by commas [default: port 7447 of all addresses]
    #[arg(long, value_name = "ADDRESSES", env = "HOME_SERVER_LISTEN", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,
    /// The port at which others reach this server, if it is not the first one listened at
    #[arg(long, value_name = "PORT", env = "HOME_SERVER_PUBLIC_PORT")]
    pub public_port: Option<u16>,
    /// Serve /health and /metrics here, or nowhere with "off" [default: 127.0.0.1:7448]
    #[arg(long, value_name = "ADDRESS", env = "HOME_SERVER_ADMIN")]
    pub admin: Option<Admin>,
    /// How long to tell others that a restart takes [default: 5m]
    #[arg(long, value_name = "TIME", env = "HOME_SERVER_AWAY_FOR")]
    pub away_for: Option<Ticks>,
    /// How long stopping may take at most [default: 8s]
    #[arg(long, value_name = "TIME", env = "HOME_SERVER_STOP_WITHIN")]
    pub stop_within: Option<Ticks>,
}

/// A setting that cannot be used. Nothing was begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A key of the file.
    #[error("{file}:{line}: {key}{}{problem}", if key.is_empty() { "" } else { ": " })]
    Key {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, if the line has one.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A `--set` that does not fit.
    #[error("--set {set}: {problem}")]
    Set {
        /// As given.
        set: String,
        /// What is wrong.
        problem: String,
    },
    /// A value that makes no sense, wherever it came from.
    #[error("[{table}] {problem}")]
    Value {
        /// `node` or `links`.
        table: &'static str,
        /// What is wrong.
        problem: routing_core::config::ConfigError,
    },
    /// Something that the command needs.
    #[error("{0}")]
    Missing(&'static str),
}

impl Config {
    /// The settings of the file, with those of environment and command line over them. Checked as a whole.
    pub fn read(common: &CommonOptions, server: &ServerOptions) -> Result<Self, ConfigError> {
        let mut file = (Path::new(""), String::new());
        if let Some(path) = &common.config {
            let text = std::fs::read_to_string(path);
            file = (path, text.map_err(|source| ConfigError::Unreadable { file: path.clone(), source })?);
        }
        let config = toml::from_str(&file.1).map_err(|error| at_span(file.0, &file.1, &error))?;
        let mut config = common.set.iter().try_fold(config, |config, text| set(config, text))?;
        config.apply(common, server);
        let invalid = |table, problem: routing_core::config::ConfigError| match line_of(&file.1, table, problem.field) {
            Some(line) => {
                let routing_core::config::ConfigError { field, value, must } = problem;
                let problem = format!("{value}: must be {must}");
                ConfigError::Key { file: file.0.to_owned(), line, key: field.to_owned(), problem }
            }
            None => ConfigError::Value { table, problem },
        };
        config.node.validate().map_err(|problem| invalid("node", problem))?;
        config.links.validate().map_err(|problem| invalid("links", problem))?;
        Ok(config)
    }

    fn apply(&mut self, common: &CommonOptions, server: &ServerOptions) {
        fn over<T: Clone>(setting: &mut T, given: &Option<T>) {
            if let Some(given) = given {
                setting.clone_from(given);
            }
        }
        // An empty variable of the environment is a list with an empty entry.
        let join: Vec<Address> = common.join.iter().filter(|address| !address.is_none()).cloned().collect();
        over(&mut self.join, &Some(join).filter(|join| !join.is_empty()));
        over(&mut self.listen, &Some(server.listen.clone()).filter(|listen| !listen.is_empty()));
        over(&mut self.hosts, &common.hosts.clone().map(Some));
        over(&mut self.log, &common.log);
        over(&mut self.log_level, &common.log_level.clone().map(Some));
        over(&mut self.data, &server.data.clone().map(Some));
        over(&mut self.domain, &server.domain.clone().map(Some));
        over(&mut self.public_port, &server.public_port.map(Some));
        over(&mut self.admin, &server.admin);
        over(&mut self.away_for, &server.away_for);
        over(&mut self.stop_within, &server.stop_within);
        self.lab |= common.lab;
        self.node.lab |= self.lab;
        self.links.lab |= self.lab;
        self.node.fit_links(self.links.links_max);
    }

    /// The nodes to begin with.
    pub fn entry_points(&self) -> Vec<Target> {
        self.join.iter().cloned().map(Target::address).collect()
    }

    /// The settings as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("all keys are texts, and no table comes before a value")
    }
}

/// The settings with one key changed: the text is TOML already.
fn set(config: Config, text: &str) -> Result<Config, ConfigError> {
    let failed = |problem: String| ConfigError::Set { set: text.to_owned(), problem };
    // A text need not be quoted: whoever types `--set links.network=test` means that.
    let quoted = || text.split_once('=').map(|(key, value)| format!("{key}={}", toml::Value::from(value)));
    let table = toml::from_str(text).or_else(|error| match quoted() {
        Some(quoted) => toml::from_str(&quoted),
        None => Err(error),
    });
    let table = table.map_err(|error: toml::de::Error| failed(error.message().to_owned()))?;
    let mut all = toml::Table::try_from(&config).map_err(|error| failed(error.to_string()))?;
    merge(&mut all, table);
    all.try_into().map_err(|error: toml::de::Error| failed(error.message().to_owned()))
}

fn merge(all: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (all.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(over)) => merge(inner, over),
            (_, value) => drop(all.insert(key, value)),
        }
    }
}

/// An error of the TOML reader, with the line that it points to.
fn at_span(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map_or("", |(key, _)| key.trim());
    let (key, problem) = (key.to_owned(), error.message().to_owned());
    ConfigError::Key { file: file.to_owned(), line, key, problem }
}

/// The line at which `key` of `[table]` is set, if it is.
fn line_of(text: &str, table: &str, key: &str) -> Option<usize> {
    let mut is_inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with('[') {
            is_inside = line.trim_matches(['[', ']', ' ']) == table;
        }
        let name = line.split_once('=').map(|(name, _)| name.trim());
        if is_inside && name == Some(key) || name.is_some_and(|name| name == format!("{table}.{key}")) {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, common: CommonOptions, server: ServerOptions) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let common = CommonOptions { config: Some(file.path().to_owned()), ..common };
        let name = file.path().display().to_string();
        Config::read(&common, &server).map_err(|error| error.to_string().replace(&name, "FILE"))
    }

    fn error(text: &str) -> String {
        read(text, CommonOptions::default(), ServerOptions::default()).unwrap_err()
    }

    #[test]
    fn what_is_printed_gives_the_same_settings_again() {
        let config = Config {
            domain: Some("a.example".parse().unwrap()),
            join: vec!["b.example:7".parse().unwrap()],
            admin: Admin(None),
            ..Config::default()
        };
        for config in [config, Config::default()] {
            let text = config.to_toml();
            let again = read(&text, CommonOptions::default(), ServerOptions::default());
            assert_eq!(again.as_ref(), Ok(&config), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_or_an_impossible_value_is_named_with_file_line_and_key() {
        for (text, complaint) in [
            ("lab = true\ndomian = \"a.example\"", "FILE:2: domian: unknown field `domian`"),
            ("\n[node]\nneighbours = 7", "FILE:3: neighbours: unknown field `neighbours`"),
            ("[links]\nlinks_max = \"many\"", "FILE:2: links_max: invalid type: string \"many\""),
            ("stop_within = \"soon\"", "FILE:1: stop_within: \"soon\" is no span of time"),
            ("admin = \"nowhere\"", "FILE:1: admin: \"nowhere\" is neither"),
            ("[links]\n\nlinks_max = 3", "FILE:3: links_max: 3: must be at least 16"),
            ("node.alpha = 0", "FILE:1: alpha: 0: must be 1 to 16"),
            ("domain = \"Upper.example\"", "FILE:1: domain: 'U' is not allowed"),
        ] {
            assert!(error(text).starts_with(complaint), "{}", error(text));
        }
        assert!(error("lab = ").starts_with("FILE:1: lab: "), "{}", error("lab = "));
    }

    #[test]
    fn the_help_of_a_time_names_the_default_that_holds() {
        let options = ServerOptions::augment_args(clap::Command::new("serve"));
        let Config { away_for, stop_within, .. } = Config::default();
        for (option, default) in [("away_for", away_for), ("stop_within", stop_within)] {
            let option = options.get_arguments().find(|known| known.get_id() == option).unwrap();
            let help = option.get_help().unwrap().to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "{help}");
        }
    }

    #[test]
    fn what_is_given_comes_over_what_the_file_says() {
        let common = CommonOptions {
            set: ["node.neighbours_max=100", "links.network=test"].map(str::to_owned).to_vec(),
            lab: true,
            ..CommonOptions::default()
        };
        let server = ServerOptions { domain: Some("b.example".parse().unwrap()), ..ServerOptions::default() };
        let text = "domain = \"a.example\"\njoin = [\"c.example\"]\n[node]\nneighbours_max = 200\nalpha = 4";
        let config = read(text, common, server).unwrap();
        assert_eq!(config.domain.unwrap().as_str(), "b.example");
        assert_eq!(config.join, ["c.example".parse().unwrap()]);
        assert_eq!((config.node.neighbours_max, config.node.alpha, config.links.network.as_str()), (100, 4, "test"));
        assert!(config.node.lab && config.links.lab);
        for (text, complaint) in [("node.colour=1", "unknown field `colour`"), ("nonsense", "")] {
            let common = CommonOptions { set: vec![text.to_owned()], ..CommonOptions::default() };
            let error = read("", common, ServerOptions::default()).unwrap_err();
            assert!(error.starts_with(&format!("--set {text}: {complaint}")), "{error}");
        }
    }
}
