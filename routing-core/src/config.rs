//! What an operator may set, with the reason for each default.

use crate::id::Kind;
use crate::time::Ticks;
use serde::{Deserialize, Serialize};

/// The settings of one node. All nodes of a network should agree on `holders` and `claim_holders`; the rest is each node's own affair.
///
/// What an operator may want to set is here. Every queue, table, batch and store is bounded, by a field here or by a constant beside
/// it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// How many groups hold each record: the *k* of the protocol. 1 to 64.
    /// Kademlia takes 20, this network 16: with half of them gone at random a record survives in all but 2^-16 of cases.
    pub holders: u16,
    /// How many groups hold each claim, and vote on whose it is. 1 to 256. More than `holders`, since a user's record is
    /// protected by its signature and a claim only by the honesty of most of its holders: if a quarter of all groups
    /// lie, 16 holders have a lying majority in one case of 130, 61 in one of 77,000. Source: the binomial
    /// distribution; and 61 are still within the 4 × 16 groups that a node knows completely around itself.
    pub claim_holders: u16,
    /// How many requests a search keeps in flight while it still approaches its target: the *α* of the protocol. A quick
    /// lookup keeps up to twice as many. 1 to 16. Source: Kademlia, section 2.3.
    pub alpha: u16,
    /// How many contacts the table may hold. At least 4 × `holders`. The default is more than any federation of today
    /// has servers (about 10^4), so that a node knows everybody and a lookup takes one round trip.
    pub neighbours_max: u32,
    /// Bytes a second that upkeep may cost: probes, their answers, and links opened for them.
    pub upkeep_bytes_per_second: u32,
    /// Bytes a second that repair may cost: what is asked because something has changed, and announcements. What a join asks is
    /// bounded by its deadline.
    pub repair_bytes_per_second: u32,
    /// How long between two probes of one node of the own neighbourhood in a quiet network.
    /// A guess: a minute finds a dead neighbour well before a grace of ten minutes ends.
    pub neighbour_probe_every: Ticks,
    /// For how long a silent holder keeps its place, so that a restart moves nothing. A guess: most restarts are shorter.
    pub grace: Ticks,
    /// How long between two comparisons with one fellow holder while nothing changes. A guess: what was missed is found
    /// within the grace.
    pub compare_every: Ticks,
    /// How long between two attempts to reach somebody who was given up: that heals a partition.
    pub revive_every: Ticks,
    /// How long between two probes of one other contact, if the upkeep budget allows it.
    pub contact_probe_every: Ticks,
    /// How long a request waits for its answer while nothing is known of the peer's round-trip time.
    /// RFC 6298 starts at 1 s; a federation spans the globe and runs on small machines.
    pub answer_timeout: Ticks,
    /// The least time that a request waits for its answer, however quick the peer was before.
    pub answer_timeout_min: Ticks,
    /// How long a lookup may take before it ends with what it has.
    pub lookup_deadline: Ticks,
    /// How long a registration may take until a majority has acknowledged it; it goes on as long again to reach
    /// the other holders.
    pub register_deadline: Ticks,
    /// How long one attempt to join may take.
    pub join_deadline: Ticks,
    /// How long a leaving node may take to hand over its records and to say farewell.
    pub leave_deadline: Ticks,
    /// How long a node that no entry point answered waits before it tries again; doubled with each failure, up to
    /// `join_retry_max`.
    pub join_retry: Ticks,
    /// The longest wait between two attempts to join.
    pub join_retry_max: Ticks,
    /// How many records the store may hold. At least 1.
    pub records_max: u32,
    /// How many bytes of records the store may hold, as they are encoded; in memory a record takes about twice that. At
    /// least 1 MiB. The default has room for as many records of the usual 250 bytes as `records_max`. A federation of ten
    /// million users and ten thousand servers puts 16,000 on each.
    pub store_bytes_max: u64,
    /// How often this server announces all its users by itself, beside when it comes back after an outage. 0: never, nor
    /// then. A day: what the holders have already costs little, and a day is short against the weeks for which a record
    /// outlives its server.
    pub announce_every: Ticks,
    /// How many operations may be under way at once; more are refused with an error.
    pub operations_max: u32,
    /// To how many nodes one registration hands records at once; an announcement compares with an eighth of that. Whoever
    /// has few links sets it to an eighth of them: its own work then leaves room for lookups and for what others ask,
    /// and none of it waits for a link for long (experiment 0016). Without such a bound, a guess: some megabytes in flight.
    pub bundles_at_once_max: u32,
    /// How many bytes of records travel in one message. Below the frame limit of 1 MiB.
    pub bundle_bytes_max: u32,
    /// Whether this is a lab, where addresses may be dialled that lead nowhere from outside. The core does nothing about it, since a
    /// node at such an address is a group of its own by itself; what is dialled is for the transport's own settings to say.
    pub lab: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            holders: 16,
            claim_holders: 61,
            alpha: 3,
            neighbours_max: 16_384,
            upkeep_bytes_per_second: 256,
            repair_bytes_per_second: 65_536,
            neighbour_probe_every: Ticks::minutes(1),
            grace: Ticks::minutes(10),
            compare_every: Ticks::minutes(10),
            revive_every: Ticks::seconds(5),
            contact_probe_every: Ticks::hours(1),
            answer_timeout: Ticks::seconds(2),
            answer_timeout_min: Ticks::millis(300),
            lookup_deadline: Ticks::seconds(20),
            register_deadline: Ticks::seconds(60),
            join_deadline: Ticks::seconds(60),
            leave_deadline: Ticks::seconds(60),
            join_retry: Ticks::seconds(2),
            join_retry_max: Ticks::minutes(5),
            records_max: 4_000_000,
            store_bytes_max: 1 << 30,
            announce_every: Ticks::hours(24),
            operations_max: 4_096,
            bundles_at_once_max: 512,
            bundle_bytes_max: 262_144,
            lab: false,
        }
    }
}

/// A setting that makes no sense. Nothing was changed; correct the setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} = {value}: must be {must}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// What it was set to.
    pub value: u64,
    /// What it may be.
    pub must: &'static str,
}

impl NodeConfig {
    /// How many groups hold a key of this kind.
    pub fn holders_of(&self, kind: Kind) -> u16 {
        match kind {
            Kind::Claim => self.claim_holders,
            Kind::User | Kind::Blinded => self.holders,
        }
    }

    /// The most groups of contacts that a question may ask for.
    pub(crate) fn groups_max(&self) -> u16 {
        (self.holders * 4).max(self.claim_holders)
    }

    /// Lowers what a node does at once to what suits so many links.
    pub fn fit_links(&mut self, links_max: u32) {
        self.bundles_at_once_max = self.bundles_at_once_max.min((links_max / 8).max(1));
    }

    /// Checks each field and their relations. Called once, where a configuration enters.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check =
            |ok: bool, field, value: u64, must| if ok { Ok(()) } else { Err(ConfigError { field, value, must }) };
        let in_range =
            |field, value: u64, low: u64, high: u64, must| check((low..=high).contains(&value), field, value, must);
        in_range("holders", self.holders.into(), 1, 64, "1 to 64")?;
        in_range("claim_holders", self.claim_holders.into(), 1, 256, "1 to 256")?;
        in_range("alpha", self.alpha.into(), 1, 16, "1 to 16")?;
        let budget_least = u64::from(self.holders) * 4;
        check(
            u64::from(self.neighbours_max) >= budget_least,
            "neighbours_max",
            self.neighbours_max.into(),
            "at least 4 × holders",
        )?;
        check(
            self.upkeep_bytes_per_second >= 32,
            "upkeep_bytes_per_second",
            self.upkeep_bytes_per_second.into(),
            "at least 32",
        )?;
        let repair = self.repair_bytes_per_second;
        check(
            repair >= self.upkeep_bytes_per_second,
            "repair_bytes_per_second",
            repair.into(),
            "at least upkeep_bytes_per_second",
        )?;
        for (field, span) in [
            ("neighbour_probe_every", self.neighbour_probe_every),
            ("contact_probe_every", self.contact_probe_every),
            ("compare_every", self.compare_every),
            ("revive_every", self.revive_every),
            ("answer_timeout_min", self.answer_timeout_min),
            ("lookup_deadline", self.lookup_deadline),
            ("register_deadline", self.register_deadline),
            ("join_deadline", self.join_deadline),
            ("leave_deadline", self.leave_deadline),
            ("join_retry", self.join_retry),
        ] {
            check(span.0 >= 1, field, span.0, "at least 1ms")?;
        }
        check(
            self.answer_timeout >= self.answer_timeout_min,
            "answer_timeout",
            self.answer_timeout.0,
            "at least answer_timeout_min",
        )?;
        check(self.join_retry_max >= self.join_retry, "join_retry_max", self.join_retry_max.0, "at least join_retry")?;
        check(self.records_max >= 1, "records_max", self.records_max.into(), "at least 1")?;
        check(self.store_bytes_max >= 1 << 20, "store_bytes_max", self.store_bytes_max, "at least 1048576")?;
        check(self.operations_max >= 1, "operations_max", self.operations_max.into(), "at least 1")?;
        check(self.bundles_at_once_max >= 1, "bundles_at_once_max", self.bundles_at_once_max.into(), "at least 1")?;
        in_range("bundle_bytes_max", self.bundle_bytes_max.into(), 16_384, 786_432, "16384 to 786432")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(NodeConfig::default().validate(), Ok(()));
        let config = NodeConfig { neighbours_max: 10, ..NodeConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "neighbours_max");
    }
}
