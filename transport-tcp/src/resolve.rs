//! From an address to sockets: domains looked up anew for each dial, and addresses that are never dialled left out.

use async_trait::async_trait;
use routing_core::contact::Address;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Finds out where a host is. Asked for each dial, so that a server that moves is found; whoever answers from a memory
/// of its own decides how old that may be.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Where `host` is, best first: a domain, in any spelling that an address may have. `port` is that of the address.
    ///
    /// Cancel-safe: may be dropped at any time.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// Whether what it says of `host` was set by this node's own operator, so that private addresses are meant.
    fn is_own(&self, host: &str) -> bool {
        let _ = host;
        false
    }
}

/// The system's own: hosts file, DNS, whatever the machine is set up for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// A hosts file: some names have addresses given here, all others are asked of another resolver.
#[derive(Clone, Debug)]
pub struct Hosts<R = SystemResolver> {
    hosts: BTreeMap<String, Vec<SocketAddr>>,
    others: R,
}

impl<R: Resolver> Hosts<R> {
    /// `hosts` by name in lower case; a port of 0 stands for that of the address dialled. For the rest, `others`.
    pub fn new(hosts: impl IntoIterator<Item = (String, Vec<SocketAddr>)>, others: R) -> Self {
        Self { hosts: hosts.into_iter().collect(), others }
    }
}

#[async_trait]
impl<R: Resolver> Resolver for Hosts<R> {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let Some(addresses) = self.hosts.get(host) else { return self.others.resolve(host, port).await };
        let with_port = |address: &SocketAddr| match address.port() {
            0 => SocketAddr::new(address.ip(), port),
            _ => *address,
        };
        Ok(addresses.iter().map(with_port).collect())
    }

    fn is_own(&self, host: &str) -> bool {
        self.hosts.contains_key(host) || self.others.is_own(host)
    }
}

#[async_trait]
impl<R: Resolver + ?Sized> Resolver for Arc<R> {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (**self).resolve(host, port).await
    }

    fn is_own(&self, host: &str) -> bool {
        (**self).is_own(host)
    }
}

/// Why there is nothing to dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unresolved {
    /// The address cannot be read, or nothing that it leads to may be dialled.
    Forbidden,
    /// The name is not known, or could not be asked for.
    Unknown,
}

/// The sockets that `address` leads to, at most `max`, IPv6 and IPv4 in turn.
pub(crate) async fn sockets(
    resolver: &dyn Resolver,
    address: &Address,
    default_port: u16,
    is_lab: bool,
    max: usize,
) -> Result<Vec<SocketAddr>, Unresolved> {
    let port = address.port().unwrap_or(default_port);
    if let Some(ip) = address.ip() {
        let socket = SocketAddr::new(ip.to_canonical(), port);
        return if may_be_dialled(&socket, is_lab) { Ok(vec![socket]) } else { Err(Unresolved::Forbidden) };
    }
    let domain = address.domain().ok_or(Unresolved::Forbidden)?;
    let found = resolver.resolve(domain.as_str(), port).await.map_err(|_| Unresolved::Unknown)?;
    if found.is_empty() {
        return Err(Unresolved::Unknown);
    }
    let is_free = is_lab || resolver.is_own(domain.as_str());
    let found = found.into_iter().map(|socket| SocketAddr::new(socket.ip().to_canonical(), socket.port()));
    let (six, four): (Vec<_>, Vec<_>) =
        found.filter(|socket| may_be_dialled(socket, is_free)).partition(SocketAddr::is_ipv6);
    let mut sockets = Vec::with_capacity(max);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    while sockets.len() < max {
        let before = sockets.len();
        sockets.extend(six.next());
        sockets.extend(four.next());
        if sockets.len() == before {
            break;
        }
    }
    sockets.truncate(max);
    if sockets.is_empty() { Err(Unresolved::Forbidden) } else { Ok(sockets) }
}

/// Whether a connection may be made to `socket`: to any unicast address if `is_free`, else on the global internet only.
fn may_be_dialled(socket: &SocketAddr, is_free: bool) -> bool {
    if socket.port() == 0 {
        return false;
    }
    match socket.ip() {
        IpAddr::V4(ip) => is_unicast_v4(ip) && (is_free || is_global_v4(ip)),
        IpAddr::V6(ip) => {
            let is_unicast = !ip.is_unspecified() && !ip.is_multicast();
            is_unicast && (is_free || is_global_v6(ip))
        }
    }
}

fn is_unicast_v4(ip: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this host" to some systems; from 224 on there is multicast, then nobody.
    (1..224).contains(&ip.octets()[0])
}

/// What the registry of special-purpose addresses (RFC 6890) leaves to everybody.
fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    is_unicast_v4(ip)
        && !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation())
        && !(is_shared || is_protocol || is_benchmark)
}

/// Global unicast is 2000::/3; what it has of tunnels and examples leads nowhere, or to IPv4 addresses in disguise.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let is_teredo_or_protocol = first == 0x2001 && second < 0x200;
    let is_example = (first, second) == (0x2001, 0xdb8) || (first == 0x3fff && second < 0x1000);
    first & 0xe000 == 0x2000 && first != 0x2002 && !is_teredo_or_protocol && !is_example
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_cannot_make_a_node_knock_at_doors_inside_its_own_network() {
        for inside in [
            "127.0.0.1:1",
            "10.1.2.3:1",
            "172.16.0.1:1",
            "192.168.1.1:1",
            "169.254.169.254:80",
            "100.64.0.1:1",
            "192.0.0.1:1",
            "198.18.0.1:1",
            "192.0.2.1:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[fc00::1]:1",
            "[2001:db8::1]:1",
            "[2002:7f00:1::]:1",
            "[64:ff9b::7f00:1]:1",
            "[2001:0:1::]:1",
        ] {
            assert!(!may_be_dialled(&socket(inside), false), "{inside}");
            assert!(may_be_dialled(&socket(inside), true), "{inside}");
        }
        for nobody in
            ["0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1", "9.9.9.9:0"]
        {
            assert!(!may_be_dialled(&socket(nobody), true), "{nobody}");
        }
        for outside in ["9.9.9.9:1", "100.128.0.1:1", "[2620:fe::fe]:1", "[2a00:1450::1]:1"] {
            assert!(may_be_dialled(&socket(outside), false), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_both_families_in_turn_and_never_inside() {
        let addresses = ["9.9.9.9:0", "9.9.9.10:0", "10.0.0.1:0", "[2620:fe::fe]:53"].map(socket).to_vec();
        #[derive(Debug)]
        struct Stranger(Vec<SocketAddr>);
        #[async_trait]
        impl Resolver for Stranger {
            async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
                Ok(self.0.clone())
            }
        }
        let stranger = Stranger(addresses.iter().map(|a| SocketAddr::new(a.ip(), 7)).collect());
        let found = |resolver: &'static dyn Resolver, address: &'static str, max| async move {
            sockets(resolver, &address.parse().unwrap(), 7, false, max).await
        };
        let hosts: &'static Hosts<Stranger> =
            Box::leak(Box::new(Hosts::new([("own.example".to_owned(), addresses)], stranger)));
        assert_eq!(
            found(hosts, "chat.example", 9).await,
            Ok(["[2620:fe::fe]:7", "9.9.9.9:7", "9.9.9.10:7"].map(socket).to_vec())
        );
        let own = ["[2620:fe::fe]:53", "9.9.9.9:8", "9.9.9.10:8", "10.0.0.1:8"].map(socket);
        assert_eq!(found(hosts, "own.example:8", 9).await, Ok(own.to_vec()));
        assert_eq!(found(hosts, "own.example:8", 2).await, Ok(own[..2].to_vec()));
        assert_eq!(found(hosts, "127.0.0.1:8", 2).await, Err(Unresolved::Forbidden));
        assert_eq!(found(hosts, "9.9.9.9", 2).await, Ok(vec![socket("9.9.9.9:7")]));
        assert_eq!(found(hosts, "", 2).await, Err(Unresolved::Forbidden));
        assert_eq!(found(hosts, "no name", 2).await, Err(Unresolved::Forbidden));
    }
}
