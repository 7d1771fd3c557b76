//! Counters of everything that is refused, ended or lost: what an operator sees of those who misbehave.

use std::sync::atomic::{AtomicU64, Ordering};

/// Defines the counters, and their snapshot, from one list.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters as the tasks of all links share them.
        #[derive(Default, Debug)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Count,)*
        }

        /// What happened to the links of one node since it began; the last three say how it is now.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        #[non_exhaustive]
        pub struct TcpStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> TcpStats {
                TcpStats { $($name: self.$name.get(),)* }
            }
        }

        impl TcpStats {
            /// Each counter with its name, in the order in which they are declared: for whoever publishes them.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Links that this node opened.
    links_opened,
    /// Links that others opened.
    links_taken,
    /// Links that lapsed because nothing was said on them.
    links_idle,
    /// Links that lapsed because there were too many.
    links_crowded_out,
    /// Links that the peer ended, or that broke.
    links_closed,
    /// Links that were ended because the same two nodes had another one.
    links_doubled,
    /// Links that others opened and this node did not take up.
    links_not_accepted,
    /// Links lost because too much waited to leave.
    links_overflowed,
    /// Links lost because the peer took nothing of what waited to leave.
    links_stalled,
    /// Links ended because the peer sent too many frames that are no messages, or one beyond the limit.
    links_misbehaved,
    /// Dials begun.
    dials,
    /// Dials to somebody who did not answer in time, or not at all.
    dials_unanswered,
    /// Dials that found somebody else than the target said.
    dials_other_node,
    /// Links that others opened and for which no place became free in time.
    links_without_place,
    /// Dials back that did not find a peer where its card says: its own link stands, and it counts for nothing.
    callers_not_found,
    /// Dials not made, since nobody had answered there a moment ago, or too many were under way there.
    dials_held_back,
    /// Dials not made, since too many were waiting, or had to wait for too long.
    dials_refused,
    /// Dials not made to addresses that are not on the global internet, or none at all.
    dials_forbidden,
    /// Names that did not resolve.
    names_unresolved,
    /// Connections that arrived.
    inbound,
    /// Connections refused because of their number from all addresses.
    inbound_refused_full,
    /// Connections refused because of their number from one address.
    inbound_refused_address,
    /// Connections refused because of their rate, from one address or from all.
    inbound_refused_rate,
    /// Times that whoever arrived was left to wait outside for a moment, because of their number or rate from all addresses.
    inbound_held_back,
    /// Connections that could not be taken, since the system refused: open files, memory.
    inbound_failed,
    /// Connections dropped for newer ones before they had proven who is there.
    handshakes_crowded_out,
    /// Connections that did not prove in time who is there.
    handshakes_timed_out,
    /// Connections that broke off, or spoke no TLS as it is spoken here.
    handshakes_failed,
    /// Handshakes with nodes of another network.
    handshakes_other_network,
    /// Handshakes with nodes that share no version with this one.
    handshakes_no_version,
    /// Handshakes whose hello could not be read, or whose card was not signed by the link's key.
    hellos_invalid,
    /// Frames heard.
    frames_in,
    /// Frames that links have taken to be written.
    frames_out,
    /// Bytes of frames heard.
    bytes_in,
    /// Bytes of these frames.
    bytes_out,
    /// Frames said to be longer than the limit.
    frames_too_long,
    /// Frames that were no messages.
    frames_malformed,
    /// Frames of kinds that this release does not know.
    frames_unknown,
    /// Frames that began and were not there in full in time.
    frames_timed_out,
    /// Times that a peer was read no further for a while because of its rate.
    reads_throttled,
    /// Times that a peer was read no further for a while because too much had arrived for the node.
    reads_delayed,
    /// Batches of messages that were too long to be heard at once, and were heard a piece at a time between those of others.
    heard_in_pieces,
    /// Messages dropped because nothing was known of a link to their receiver.
    messages_without_link,
    /// Messages dropped because too many waited for a link.
    messages_not_held,
    /// Links that stand now.
    links_now,
    /// Connections from others that have not proven themselves yet, now.
    handshakes_now,
    /// Bytes that have arrived and were not heard yet, now, as far as they are kept here.
    inbound_bytes_now,
}

/// One counter. All that it orders is itself.
#[derive(Default, Debug)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
