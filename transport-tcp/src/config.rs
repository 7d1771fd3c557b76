//! What an operator may set about links, with the reason for each default.

use routing_core::config::ConfigError;
use routing_core::time::Ticks;
use serde::{Deserialize, Serialize};

/// The port of an address that names none, unless [`TcpConfig::port`] says otherwise. Not registered with anybody.
pub const PORT: u16 = 7447;

/// The limits of one node's links. Whatever grows with what strangers or peers do is bounded by a field here.
///
/// With the defaults, links take at most about 300 MB: 512 × 24 KiB while they are idle, `inbound_bytes_max` for
/// what has arrived and was not heard yet, `outbound_bytes_max` for what waits to leave, and what the system keeps for
/// its sockets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpConfig {
    /// The name of the network, 1 to 64 bytes. Nodes of another one are neither dialled nor heard.
    pub network: String,
    /// The port of an address that names none.
    pub port: u16,
    /// Whether this is a lab: any unicast address is dialled, also loopback and private ones, and the limits for each
    /// address do not apply, since in a lab all nodes share one. Else only addresses of the global internet are dialled,
    /// lest strangers use a node to knock at doors inside its own network; what a hosts file says is exempt.
    pub lab: bool,

    /// How many links may stand at once. Beyond that the idlest lapses, or, if somebody waits for an answer on each, the new
    /// one waits. 16 or more. How many files a process has to be allowed for them, [`TcpConfig::open_files`] says.
    pub links_max: u32,
    /// How many of them others may have opened. Beyond that the idlest of these lapses, so that strangers cannot crowd
    /// out the links that this node opened itself. Less than `links_max`.
    pub links_inbound_max: u32,
    /// For how long after a question somebody is thought to wait for its answer, so that its link does not lapse for
    /// another one: as long as a node waits for somebody it does not know.
    pub answer_expected: Ticks,
    /// How long a link without a message in either direction stays. Longer than the ten minutes between two comparisons
    /// of fellow holders, as opening a link anew costs as many bytes as a hundred small messages.
    pub link_idle: Ticks,
    /// How long a link that somebody opened waits for a place, and then for this node to take it up.
    pub accept_timeout: Ticks,
    /// How long a link that is being ended may go on to send what was handed over, and to hear what was under way.
    pub linger: Ticks,
    /// How long a connection that is dropped goes on to deliver what was handed over. A node's farewell opens links for
    /// those that it had none to: three round trips around the globe.
    pub farewell_timeout: Ticks,

    /// How many dials may be under way at once. A guess: a newcomer fills its table with about as many requests. Half of them at
    /// most, as of all places for dials, to addresses that nothing but a card names and where nobody was found yet: strangers
    /// can sign any number of cards with addresses that never answer.
    pub dials_max: u32,
    /// How many more may wait for their turn; others fail at once.
    pub dials_waiting_max: u32,
    /// How many dials may be under way to one address and port, whatever ids are said to live there; one more to the id that was
    /// found there instead of another.
    pub dials_per_address_max: u32,
    /// How long a dial may take, from finding the address to the peer's hello, and how long it may wait for its turn.
    pub dial_timeout: Ticks,
    /// How long one address of several may take to connect before the next is tried, too. RFC 8305 says 250 ms.
    pub dial_stagger: Ticks,
    /// How many addresses of one name are tried.
    pub dial_addresses_max: u32,
    /// How long an address where nobody answered, or somebody else, is not dialled again; doubled with each failure, up
    /// to `dial_backoff_max`. Short at first: whoever restarts is back in a moment. With less than a second to go, a dial waits.
    /// Who was found there instead of another is dialled at once.
    pub dial_backoff: Ticks,
    /// The longest such wait. A minute: what is said to be at an address costs its owner one connection a minute.
    pub dial_backoff_max: Ticks,
    /// How many names may be looked up at once; others wait. Each takes a thread of the runtime's blocking pool.
    pub resolves_max: u32,

    /// How many connections that have not proven themselves yet may be open at once. Beyond that the oldest is dropped,
    /// so that somebody who connects and says nothing keeps nobody out.
    pub handshakes_max: u32,
    /// How many of them from one address (IPv4) or one /64 (IPv6).
    pub handshakes_per_address_max: u32,
    /// How many connections of all kinds from one address or /64. A guess: several servers behind one address.
    pub inbound_per_address_max: u32,
    /// How many connections a second are let in at all; others wait outside. Each costs about 200 µs of CPU, so this is a
    /// twentieth of one core; timers go by milliseconds, which makes it a fifth fewer. Much more would crowd out honest
    /// handshakes before they can end: with `handshakes_max` of 256, each has a second.
    pub handshakes_per_second: u32,
    /// How many connections a second are let in from one address or /64; ten times as many at once.
    pub handshakes_per_address_per_second: u32,
    /// Whether listening, dialling and handshakes have a thread of their own, so that who is linked does not wait for them,
    /// though there be but one core. Not in a lab, where a thousand nodes may share a process.
    pub handshake_thread: bool,
    /// How long a connection may take to prove who is there and to say hello.
    pub handshake_timeout: Ticks,

    /// How long the rest of a frame may take once it has begun. 1 MiB in that time is 35 KB/s.
    pub frame_timeout: Ticks,
    /// How long the peer may take nothing of what waits to leave, or acknowledge nothing of what left.
    pub write_timeout: Ticks,
    /// How many bytes may wait for one peer; a link with more is lost. At least two frames, 2 MiB.
    pub queue_bytes_max: u32,
    /// How many bytes may wait for a peer while its link is being opened; what is more is dropped.
    pub held_bytes_max: u32,
    /// How many bytes may wait for all peers together; beyond that the peer with most loses its link.
    pub outbound_bytes_max: u32,
    /// How many bytes of frames that have not been heard yet, or not arrived in full, are kept in memory for all peers
    /// together. Beyond that peers wait. At least 16 MiB.
    pub inbound_bytes_max: u32,
    /// How many bytes of messages one peer may have waiting to be heard. It is read no further until those are heard, so
    /// each peer gets its share of a busy node, and nobody waits for long while another is read. At least 1 KiB; one
    /// message may be longer.
    pub batch_bytes_max: u32,

    /// How many bytes a second are read from one peer; four times as many at once. 0: no limit. The default is what a
    /// server that registers a million users sends one holder, in a few seconds.
    pub peer_bytes_per_second: u32,
    /// How many messages a second are read from one peer; four times as many at once. 0: no limit. A guess: far more than
    /// a busy home-server asks of one other, far less than a core can answer.
    pub peer_messages_per_second: u32,
    /// How many bytes a second are heard of all peers together that say much at a time, which is more than a few questions;
    /// each message counts 64 bytes more. 0: no limit, as in a lab. The default is a tenth of a core for questions, so
    /// that whoever says little has its answer in a moment, however many others ask as fast as they can; or the records of
    /// five thousand users a second, whose signatures take a quarter of one.
    pub long_bytes_per_second: u32,
    /// How many frames that are no messages one peer may send before its link is ended.
    pub malformed_max: u32,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            network: "main".to_owned(),
            port: PORT,
            lab: false,
            links_max: 512,
            links_inbound_max: 384,
            answer_expected: Ticks::seconds(2),
            link_idle: Ticks::minutes(15),
            accept_timeout: Ticks::seconds(10),
            linger: Ticks::seconds(2),
            farewell_timeout: Ticks::seconds(3),
            dials_max: 64,
            dials_waiting_max: 4_096,
            dials_per_address_max: 2,
            dial_timeout: Ticks::seconds(10),
            dial_stagger: Ticks::millis(250),
            dial_addresses_max: 4,
            dial_backoff: Ticks::millis(100),
            dial_backoff_max: Ticks::minutes(1),
            resolves_max: 16,
            handshakes_max: 256,
            handshakes_per_address_max: 16,
            inbound_per_address_max: 64,
            handshakes_per_second: 256,
            handshakes_per_address_per_second: 8,
            handshake_thread: true,
            handshake_timeout: Ticks::seconds(10),
            frame_timeout: Ticks::seconds(30),
            write_timeout: Ticks::seconds(10),
            queue_bytes_max: 4 << 20,
            held_bytes_max: 1 << 20,
            outbound_bytes_max: 128 << 20,
            inbound_bytes_max: 128 << 20,
            batch_bytes_max: 16 << 10,
            peer_bytes_per_second: 4 << 20,
            peer_messages_per_second: 4_096,
            long_bytes_per_second: 2 << 20,
            malformed_max: 16,
        }
    }
}

impl TcpConfig {
    /// The defaults for nodes that all live on one machine, and have it to themselves.
    pub fn lab() -> Self {
        Self { lab: true, handshake_thread: false, long_bytes_per_second: 0, ..Self::default() }
    }

    /// How many files links have open at once at worst. A process needs some more: for where it listens, for names that are
    /// looked up, for what it writes.
    ///
    /// Those that stand and, an eighth as many, those that end for others; what the gate lets in beside them, which may all wait
    /// for places, and as many again who prove themselves; each address that a dial tries.
    pub fn open_files(&self) -> u64 {
        let [links, inbound, handshakes] = [self.links_max, self.links_inbound_max, self.handshakes_max].map(u64::from);
        let dials = u64::from(self.dials_max) * u64::from(self.dial_addresses_max);
        links + links / 8 + inbound + 2 * handshakes + dials
    }

    /// Checks each field and their relations. Called once, where a configuration enters.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least = |field, value: u64, least: u64, must| {
            if value >= least { Ok(()) } else { Err(ConfigError { field, value, must }) }
        };
        at_least("network", self.network.len() as u64, 1, "1 to 64 bytes")?;
        if self.network.len() > routing_core::wire::Network::MAX {
            return Err(ConfigError { field: "network", value: self.network.len() as u64, must: "1 to 64 bytes" });
        }
        at_least("links_max", self.links_max.into(), 16, "at least 16")?;
        for (field, value) in [
            ("links_inbound_max", self.links_inbound_max),
            ("dials_max", self.dials_max),
            ("dials_per_address_max", self.dials_per_address_max),
            ("dial_addresses_max", self.dial_addresses_max),
            ("resolves_max", self.resolves_max),
            ("handshakes_max", self.handshakes_max),
            ("handshakes_per_address_max", self.handshakes_per_address_max),
            ("inbound_per_address_max", self.inbound_per_address_max),
            ("handshakes_per_second", self.handshakes_per_second),
            ("handshakes_per_address_per_second", self.handshakes_per_address_per_second),
            ("malformed_max", self.malformed_max),
        ] {
            at_least(field, value.into(), 1, "at least 1")?;
        }
        if self.links_inbound_max >= self.links_max {
            let value = self.links_inbound_max.into();
            return Err(ConfigError { field: "links_inbound_max", value, must: "less than links_max" });
        }
        for (field, span) in [
            ("link_idle", self.link_idle),
            ("accept_timeout", self.accept_timeout),
            ("dial_timeout", self.dial_timeout),
            ("dial_stagger", self.dial_stagger),
            ("dial_backoff", self.dial_backoff),
            ("handshake_timeout", self.handshake_timeout),
            ("frame_timeout", self.frame_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            at_least(field, span.0, 1, "at least 1ms")?;
        }
        at_least("dial_backoff_max", self.dial_backoff_max.0, self.dial_backoff.0, "at least dial_backoff")?;
        at_least("queue_bytes_max", self.queue_bytes_max.into(), 2 << 20, "at least 2 MiB")?;
        at_least("outbound_bytes_max", self.outbound_bytes_max.into(), 16 << 20, "at least 16 MiB")?;
        at_least("inbound_bytes_max", self.inbound_bytes_max.into(), 16 << 20, "at least 16 MiB")?;
        at_least("batch_bytes_max", self.batch_bytes_max.into(), 1 << 10, "at least 1 KiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_are_told_allows_as_many_open_files_as_the_defaults_may_take() {
        let needed = TcpConfig::default().open_files() + 128;
        let guide = include_str!("../../docs/operations.md");
        assert!(guide.contains(&format!("The defaults need {},{:03}", needed / 1_000, needed % 1_000)), "{needed}");
        let unit = include_str!("../../home-server/examples/home-server.service");
        let allowed = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE="));
        assert!(allowed.is_some_and(|allowed| allowed.parse::<u64>().unwrap() >= needed), "{allowed:?}");
    }

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(TcpConfig::default().validate(), Ok(()));
        assert_eq!(TcpConfig::lab().validate(), Ok(()));
        let config = TcpConfig { links_inbound_max: 512, ..TcpConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "links_inbound_max");
        let config = TcpConfig { network: String::new(), ..TcpConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "network");
    }
}
