//! A lookup that has ended, as the trace tells it.

use crate::scenario::Consistency;
use crate::trace::{Asker, Hop, TracedLookup};
use routing_core::message::Standing;
use routing_core::record::Body;
use routing_core::state::{self, Verdict};
use routing_core::time::Tick;
use transport_sim::sandbox::tasks::{Done, LookupDone};

/// What was asked in the step of this number, from 1, and what came of it.
pub(super) fn traced(step: usize, consistency: Consistency, done: &Done, lookup: &LookupDone) -> TracedLookup {
    let answer = lookup.answer.as_ref();
    let result = match answer.map(|answer| answer.verdict) {
        _ if done.wrong > 0 => "wrong",
        Some(Verdict::Found) => "found as expected",
        verdict => verdict.unwrap_or(Verdict::Unreachable).name(),
    };
    let unsettled = if done.unsettled > 0 { ", unsettled" } else { "" };
    let trace = answer.map(|answer| answer.trace.as_slice()).unwrap_or_default();
    TracedLookup {
        step,
        key: lookup.key.id,
        asker: lookup.asker.map_or(Asker::Client, |grid| Asker::Node(grid.0)),
        started_ms: lookup.started.0,
        ended_ms: lookup.ended.0,
        result: format!("{result}{unsettled}"),
        consistency,
        round_trips: done.round_trips.unwrap_or(0),
        hops: trace.iter().map(|hop| traced_hop(hop, lookup.ended)).collect(),
    }
}

/// One question of a lookup that ended at `ended`.
pub(crate) fn traced_hop(hop: &state::Hop, ended: Tick) -> Hop {
    let (at, said) = match &hop.said {
        None => (ended, "silent".to_owned()),
        Some((at, said)) => {
            let mut parts = Vec::new();
            if let Some(copy) = &said.copy {
                let what = match copy.record.body() {
                    Body::Placement(_) => copy.record.home().map_or("closed".to_owned(), |home| format!("at {home}")),
                    Body::Claim(_) => format!("by {}", copy.record.guid()),
                };
                parts.push(format!("record v{} {what}", copy.record.version()));
            } else {
                parts.push("no record".to_owned());
            }
            if said.standing == Standing::NotYet {
                parts.push("not yet a holder".to_owned());
            }
            parts.push(said.named.map_or("same set".to_owned(), |named| format!("{named} contacts")));
            (*at, parts.join(", "))
        }
    };
    let domain = hop.peer.address().domain().map(|domain| domain.to_string());
    Hop { at_ms: at.0, depth: hop.depth.into(), peer: hop.peer.grid().0, domain, said }
}
