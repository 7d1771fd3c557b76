//! Which home-servers there are: a list read from CSV.

use crate::rows::{Row, rows};
use routing_core::domain::{Domain, DomainError};
use std::collections::BTreeMap;

/// One home-server of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its domain.
    pub domain: Domain,
    /// How many users it has, at least 1.
    pub users: u64,
    /// Where it is, if the list says so.
    pub region: Option<String>,
}

/// The reader of server lists.
///
/// A list is a CSV with a header. The column `domain` must be there, `users` and `region` may be; others are ignored (a
/// `country` is no region: it is no label of a matrix). Users that are empty or 0 count as 1.
#[derive(Clone, Copy, Debug)]
pub struct Servers;

impl Servers {
    /// Reads a list, in the order of the file. `file` only names it in errors.
    pub fn parse(text: &str, file: &str) -> Result<Vec<Server>, ServersError> {
        Self::read(text).map_err(|(line, fault)| ServersError { file: file.to_owned(), line, fault })
    }

    fn read(text: &str) -> Result<Vec<Server>, (u64, ServersFault)> {
        let mut rows = rows(text);
        let header = rows.next().ok_or((1, ServersFault::Empty))?;
        let columns = Columns::of(&header).map_err(|fault| (header.line, fault))?;
        let mut servers = Vec::new();
        let mut first_lines = BTreeMap::new();
        for row in rows {
            let server = columns.server(&row).map_err(|fault| (row.line, fault))?;
            if let Some(first_line) = first_lines.insert(server.domain.clone(), row.line) {
                return Err((row.line, ServersFault::DomainTwice { domain: server.domain, first_line }));
            }
            servers.push(server);
        }
        if servers.is_empty() { Err((header.line, ServersFault::Empty)) } else { Ok(servers) }
    }
}

/// Where the columns of a list are.
struct Columns {
    domain: usize,
    users: Option<usize>,
    region: Option<usize>,
}

impl Columns {
    fn of(header: &Row) -> Result<Columns, ServersFault> {
        let domain = header.column("domain").ok_or(ServersFault::NoDomainColumn)?;
        Ok(Columns { domain, users: header.column("users"), region: header.column("region") })
    }

    fn server(&self, row: &Row) -> Result<Server, ServersFault> {
        let name = row.cell(self.domain);
        let domain = name.to_ascii_lowercase().parse();
        let domain = domain.map_err(|reason| ServersFault::Domain { name: name.to_owned(), reason })?;
        let users = match self.users.map_or("", |column| row.cell(column)) {
            "" => 1,
            text => text.parse::<u64>().map_err(|_| ServersFault::Users(text.to_owned()))?.max(1),
        };
        let region = self.region.map(|column| row.cell(column)).filter(|region| !region.is_empty());
        Ok(Server { domain, users, region: region.map(str::to_owned) })
    }
}

/// A text that is no list of servers: where and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}, line {line}: {fault}")]
pub struct ServersError {
    /// The file, as the reader was told.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub fault: ServersFault,
}

/// What is wrong with a list of servers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServersFault {
    /// No servers at all.
    #[error("no servers; expected a header with a column domain, and a row for each server")]
    Empty,
    /// The header lacks the one column that must be there.
    #[error("no column domain; expected a header with domain and, if known, users and region")]
    NoDomainColumn,
    /// A domain is none.
    #[error("column domain: {name:?} is no domain: {reason}; expected ASCII (punycode) such as \"one.example\"")]
    Domain {
        /// As it stands there.
        name: String,
        /// Why it is none.
        reason: DomainError,
    },
    /// A number of users is no number.
    #[error("column users: {0:?} is no number of users; expected a whole number, or nothing if unknown")]
    Users(String),
    /// A domain that was there before, upper and lower case being the same.
    #[error("column domain: {domain:?} again, first on line {first_line}; expected each server once")]
    DomainTwice {
        /// The domain.
        domain: Domain,
        /// Where it was first.
        first_line: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (u64, ServersFault) {
        let error = Servers::parse(text, "s.csv").unwrap_err();
        assert!(error.to_string().starts_with(&format!("s.csv, line {}: ", error.line)), "{error}");
        (error.line, error.fault)
    }

    fn server(domain: &str, users: u64, region: Option<&str>) -> Server {
        Server { domain: domain.parse().unwrap(), users, region: region.map(Into::into) }
    }

    fn snapshot() -> Vec<Server> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/federation.csv");
        Servers::parse(&std::fs::read_to_string(file).unwrap(), file).unwrap()
    }

    /// The share of all users that the `first` servers have.
    fn share(servers: &[Server], first: usize) -> f64 {
        let users = |servers: &[Server]| servers.iter().map(|server| server.users).sum::<u64>() as f64;
        users(&servers[..first]) / users(servers)
    }

    #[test]
    fn columns_are_found_by_name_and_the_order_is_kept() {
        let text = "country,users,domain,region\nDE,5,B.example,eu-central-1\nUS,,a.example,\n,0,c.example,x\n";
        let found = Servers::parse(text, "s.csv").unwrap();
        let expected = [
            server("b.example", 5, Some("eu-central-1")),
            server("a.example", 1, None),
            server("c.example", 1, Some("x")),
        ];
        assert_eq!(found, expected);
        assert_eq!(Servers::parse("domain\na.example\n", "s.csv").unwrap(), [server("a.example", 1, None)]);
    }

    #[test]
    fn faults_name_file_line_and_column() {
        assert_eq!(fault(""), (1, ServersFault::Empty));
        assert_eq!(fault("domain,users\n"), (1, ServersFault::Empty));
        assert_eq!(fault("server,users\na.example,1\n"), (1, ServersFault::NoDomainColumn));
        for (text, line, name, reason) in [
            ("domain\na.example\na b\n", 3, "a b", DomainError::Character(' ')),
            ("domain\nbücher.example\n", 2, "bücher.example", DomainError::Character('ü')),
            ("domain\na.example\nb..Example\n", 3, "b..Example", DomainError::Label),
            ("users,domain\n1\n", 2, "", DomainError::Length { length: 0 }),
        ] {
            assert_eq!(fault(text), (line, ServersFault::Domain { name: name.into(), reason }), "{text}");
        }
        for users in ["-1", "1.5", "many"] {
            assert_eq!(fault(&format!("domain,users\na.example,{users}\n")), (2, ServersFault::Users(users.into())));
        }
        let twice = ServersFault::DomainTwice { domain: "a.example".parse().unwrap(), first_line: 2 };
        assert_eq!(fault("domain\na.example\nb.example\nA.example\n"), (4, twice));
    }

    #[test]
    fn the_snapshot_has_the_proportions_of_the_measured_federation() {
        let servers = snapshot();
        assert_eq!(servers.len(), 9_528);
        assert!(servers.is_sorted_by(|a, b| a.users >= b.users));
        for (first, measured) in [(1, 0.376), (10, 0.557), (100, 0.859), (1_000, 0.990)] {
            let found = share(&servers, first);
            assert!((found - measured).abs() < 0.01, "the {first} largest hold {found}, measured {measured}");
        }
    }

    #[test]
    fn each_server_of_the_snapshot_is_at_a_place_of_the_matrix() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/latency-aws-33.csv");
        let matrix = crate::delay::Matrix::parse(&std::fs::read_to_string(file).unwrap(), file).unwrap();
        for server in snapshot() {
            let region = server.region.unwrap();
            assert!(matrix.place_for(&region).is_some(), "{} is in {region}", server.domain);
        }
    }
}
