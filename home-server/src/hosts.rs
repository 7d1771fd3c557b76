//! A hosts file for labs: where names are that no DNS knows.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use transport_tcp::{Hosts, SystemResolver};

/// Why a hosts file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// The system refuses.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line that says nothing.
    #[error("{file}:{line}: {text:?} is no address; a line is an IP address, with :port if you like, and names")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands where the address should.
        text: String,
    },
}

/// Reads a hosts file. As the system's own, and an address may have a port, which then counts for its names.
pub fn read(file: &Path) -> Result<Hosts, HostsError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| HostsError::Unreadable { file: file.to_owned(), source })?;
    let mut hosts: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(first) = words.next() else { continue };
        let address = first.parse().or_else(|_| first.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)));
        let address =
            address.map_err(|_| HostsError::Line { file: file.to_owned(), line: number, text: first.to_owned() })?;
        for name in words {
            hosts.entry(name.to_ascii_lowercase()).or_default().push(address);
        }
    }
    Ok(Hosts::new(hosts, SystemResolver))
}

#[cfg(test)]
mod tests {
    use super::*;
    use transport_tcp::Resolver;

    #[tokio::test]
    async fn names_have_the_addresses_of_their_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "# a lab\n127.0.0.1:4001 a.example B.example # two\n\n::1 a.example\n";
        std::fs::write(file.path(), text).unwrap();
        let hosts = read(file.path()).unwrap();
        let found = |name: &'static str| {
            let hosts = hosts.clone();
            async move { hosts.resolve(name, 7).await.unwrap() }
        };
        assert_eq!(found("a.example").await, ["127.0.0.1:4001".parse().unwrap(), "[::1]:7".parse().unwrap()]);
        assert_eq!(found("b.example").await, ["127.0.0.1:4001".parse().unwrap()]);
        std::fs::write(file.path(), "\na.example 127.0.0.1\n").unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains(":2: \"a.example\" is no address"));
    }
}
