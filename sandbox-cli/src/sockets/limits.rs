//! How many open files a run takes, and how many there may be.

use super::{OPERATIONS_MAX, Sockets};

/// What the process has open beside its links: standard streams, files, the runtime.
const PROCESS: u64 = 64;
/// What a node has open beside its links: where it listens, and a link that is just being opened.
const NODE: u64 = 2;

/// More files would have to be open at once than may be. Nothing was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{nodes} nodes on sockets need about {needed} open files, of which {limit} are allowed: lower --nodes, {}or raise the \
     limit (ulimit -n)", remedy(*.fits)
)]
pub struct OpenFiles {
    /// How many nodes there would be.
    pub nodes: u64,
    /// How many files they would open.
    pub needed: u64,
    /// How many a process may open here.
    pub limit: u64,
    /// The most links for each node that would fit, if any number does.
    pub fits: Option<u32>,
}

fn remedy(fits: Option<u32>) -> String {
    fits.map_or(String::new(), |links| format!("set links_max = {links} in [network], "))
}

/// About how many files are open at once while so many nodes with so many links each run in one process. Both ends of a
/// link are here, each of them counted at its node; clients have links to all whom they ask.
///
/// [`TcpConfig::open_files`](transport_tcp::TcpConfig::open_files) says something else: how many strangers could have one node
/// open at worst. Here are none, and so much for each would let 20,000 files do for a dozen nodes instead of a hundred.
pub fn needed(nodes: u64, links_max: Option<u32>) -> u64 {
    let links_max = u64::from(Sockets::config(links_max).links_max);
    let at_node = links_max.min(nodes.saturating_sub(1) + OPERATIONS_MAX);
    PROCESS + nodes * (NODE + at_node) + OPERATIONS_MAX * links_max.min(nodes)
}

impl OpenFiles {
    /// Raises this process's limit as far as it may be raised, and says whether the run fits.
    pub fn provide(nodes: u64, links_max: Option<u32>) -> Result<(), Self> {
        let needed = needed(nodes, links_max);
        // Where the system has no such limit, or does not tell, the sockets will.
        let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX);
        if needed <= limit { Ok(()) } else { Err(Self { nodes, needed, limit, fits: fits(nodes, limit) }) }
    }
}

/// The most links for each of so many nodes that fit into the limit.
fn fits(nodes: u64, limit: u64) -> Option<u32> {
    let least = 16;
    let most = Sockets::config(None).links_max;
    (least..=most).rev().find(|links| needed(nodes, Some(*links)) <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_nodes_with_sixteen_links_each_fit_into_twenty_thousand_files() {
        assert!(needed(1_000, Some(16)) <= 20_000);
        assert!(needed(1_000, Some(32)) > 20_000);
    }

    #[test]
    fn who_has_too_few_files_is_told_what_would_fit() {
        let fits = fits(200, 20_000).unwrap();
        assert!(needed(200, Some(fits)) <= 20_000 && needed(200, Some(fits + 1)) > 20_000);
        assert_eq!(super::fits(20_000, 20_000), None);
        let error = OpenFiles { nodes: 200, needed: 50_000, limit: 20_000, fits: Some(fits) };
        let sentence = error.to_string();
        assert!(sentence.contains("lower --nodes, set links_max = ") && sentence.contains("20000"), "{sentence}");
        let hopeless = OpenFiles { fits: None, ..error }.to_string();
        assert!(hopeless.contains("lower --nodes, or raise the limit"), "{hopeless}");
    }
}
