//! Who has been caught: peers that said what no honest peer says, and can be proven to.
//!
//! An invalid record, an answer of another kind than was asked for: whoever sends one runs code that lies. What cannot be
//! proven, such as silence or an old record, is no offence. A peer that was caught is asked last; one that was caught
//! repeatedly is not asked at all, until it has been quiet for a while. It keeps its seat among the holders, as the silent
//! do, so that nobody's view of a set depends on whom he has caught.

use crate::id::Grid;
use crate::search::Repute;
use crate::time::{Tick, Ticks};
use std::collections::BTreeMap;

/// How many offenders are remembered.
const OFFENDERS_MAX: usize = 1_024;
/// How many offences make a peer be shunned.
const SHUNNED_AT: u8 = 3;
/// How long after its last offence a peer counts as honest again.
const FORGIVEN_AFTER: Ticks = Ticks::minutes(10);

#[derive(Clone, Debug, Default)]
pub(crate) struct Offenders {
    /// How many offences, and when the last one was.
    caught: BTreeMap<Grid, (u8, Tick)>,
}

impl Offenders {
    /// A peer was caught. Where too many have been, the one that was quiet for longest is forgotten.
    pub(crate) fn on_offence(&mut self, peer: Grid, now: Tick) {
        let before = if self.repute(&peer, now) == Repute::Clean { 0 } else { self.caught[&peer].0 };
        if self.caught.len() >= OFFENDERS_MAX && !self.caught.contains_key(&peer) {
            let quietest = self.caught.iter().min_by_key(|(_, (_, last))| *last).map(|(peer, _)| *peer);
            self.caught.remove(&quietest.unwrap_or(peer));
        }
        self.caught.insert(peer, (before.saturating_add(1), now));
    }

    pub(crate) fn repute(&self, peer: &Grid, now: Tick) -> Repute {
        match self.caught.get(peer) {
            Some((_, last)) if now.since(*last) >= FORGIVEN_AFTER => Repute::Clean,
            Some((offences, _)) if *offences >= SHUNNED_AT => Repute::Shunned,
            Some(_) => Repute::Caught,
            None => Repute::Clean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{id, rng};

    #[test]
    fn who_is_caught_is_asked_last_then_not_at_all_and_forgiven_in_time() {
        let (mut offenders, peer) = (Offenders::default(), Grid(id(&mut rng(1))));
        assert_eq!(offenders.repute(&peer, Tick(0)), Repute::Clean);
        offenders.on_offence(peer, Tick(0));
        assert_eq!(offenders.repute(&peer, Tick(0)), Repute::Caught);
        offenders.on_offence(peer, Tick(1));
        offenders.on_offence(peer, Tick(2));
        assert_eq!(offenders.repute(&peer, Tick(2)), Repute::Shunned);
        let later = Tick(2) + FORGIVEN_AFTER;
        assert_eq!(offenders.repute(&peer, later), Repute::Clean);
        offenders.on_offence(peer, later);
        assert_eq!(offenders.repute(&peer, later), Repute::Caught, "it begins anew");
    }

    #[test]
    fn no_more_offenders_are_remembered_than_there_is_room_for() {
        let (mut offenders, mut rng) = (Offenders::default(), rng(2));
        let peers: Vec<Grid> = (0..OFFENDERS_MAX + 10).map(|_| Grid(id(&mut rng))).collect();
        for (index, peer) in peers.iter().enumerate() {
            offenders.on_offence(*peer, Tick(index as u64));
        }
        let now = Tick(peers.len() as u64);
        let remembered = peers.iter().filter(|peer| offenders.repute(peer, now) == Repute::Caught).count();
        assert_eq!(remembered, OFFENDERS_MAX);
        assert_eq!(offenders.repute(&peers[0], now), Repute::Clean, "the quietest went");
    }
}
