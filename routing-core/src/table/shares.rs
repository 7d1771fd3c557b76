//! How the budget of a table that leaves some out is dealt, and who goes where there is no room. Reasons: decision 0004.

use super::RoutingTable;
use super::entry::Entry;
use crate::id::{Grid, Id};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Of the farther half of the own slice at least one in so many of those who are to be expected there is kept: then the few
/// nearest whom a node knows around a place there hold it, and know all the others.
const FARTHER_SHARE: u64 = 2;

/// The shares of a full table: the own slice's depth, and for each number of shared bits below it how many contacts; and for
/// that number, too, where the own slice has to give some up.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    pub(super) depth: usize,
    pub(super) quota: Vec<u32>,
}

impl RoutingTable {
    /// How many leading bits the own slice has: as many as leave at most half of the budget inside, or fewer where a larger share of
    /// the slices outside has a contact so, or the same and fewer are given up for it. Where a quarter of those who are to be expected
    /// is not known, all of them count: else who joined while the network was small would take a large slice for its own, and for
    /// complete.
    fn own_depth(&self) -> usize {
        let (nodes, budget) = (self.scale().nodes(), self.budget as u64);
        let mut depth = self.by_shared_bits.len();
        // Of the slice that is as deep as `depth`, and of its nearer half.
        let (mut known, mut inside, mut nearer) = (0, 0, 0);
        while depth > self.given_up.into() {
            known += u64::from(self.by_shared_bits[depth - 1]);
            let expected = nodes >> (depth - 1);
            let more = if known * 4 < expected * 3 { expected } else { known };
            let is_better = || {
                let surplus = self.surplus(depth, nearer, inside - nearer);
                let surplus_then = self.surplus(depth - 1, inside, more - inside);
                let (slices, slices_then) = (slices_outside(depth), slices_outside(depth - 1));
                let covered = (budget + surplus).saturating_sub(inside).min(slices);
                let covered_then = (budget + surplus_then).saturating_sub(more).min(slices_then);
                // Cross-multiplied: which share of the slices.
                let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
                (product(covered_then, slices), surplus) > (product(covered, slices_then), surplus_then)
            };
            if more > budget / 2 && !is_better() {
                break;
            }
            (depth, inside, nearer) = (depth - 1, more, inside);
        }
        depth
    }

    /// Deals the budget, once it binds.
    pub(super) fn deal(&mut self) {
        if !self.partial {
            return;
        }
        let depth = self.own_depth();
        let nearer = self.by_shared_bits.iter().skip(depth + 1).sum::<u32>();
        let farther = self.by_shared_bits.get(depth).copied().unwrap_or(0);
        let surplus = self.surplus(depth, nearer.into(), farther.into()) as u32;
        let mut left = self.budget.saturating_sub((nearer + farther - surplus) as usize);
        let (left_in_all, slices_outside) = (left as u64, slices_outside(depth));
        let quota = &mut self.shares.quota;
        quota.clear();
        quota.resize(depth, 0);
        // From the nearest bucket outwards: each may have one contact (or the equal share) for each of its slices, as
        // long as that leaves the farther ones at least as much.
        for shared in (0..depth).rev() {
            let slices = 1u64 << (depth - 1 - shared).min(62);
            let equal_share = (slices.saturating_mul(left_in_all) / slices_outside.max(1)).max(slices);
            let share = (left / (shared + 1)).min(usize::try_from(equal_share).unwrap_or(usize::MAX)).max(1);
            quota[shared] = share as u32;
            left = left.saturating_sub(share);
        }
        if surplus > 0 {
            quota.push(farther - surplus);
        }
        self.shares.depth = depth;
    }

    /// How many of the `farther` half of its own slice a table gives up, beside so many in the `nearer` one, so that more of the
    /// slices outside have a contact: where that leaves few slices without one, and if so many are nearer that they hold all that
    /// this node holds; nobody where the density is not known.
    fn surplus(&self, depth: usize, nearer: u64, farther: u64) -> u64 {
        let lacking = (slices_outside(depth) + nearer + farther).saturating_sub(self.budget as u64);
        let expected = self.scale().nodes().checked_shr(depth as u32 + 1).unwrap_or(0);
        if lacking > farther || nearer < self.neighbourhood as u64 / 2 || expected == 0 {
            return 0;
        }
        lacking.min(farther.saturating_sub(expected.div_ceil(FARTHER_SHARE)))
    }

    /// How many contacts a newcomer with this table should ask for in the part of the keyspace that shares exactly
    /// `shared_bits` with its own id.
    pub fn share_of(&self, shared_bits: u32) -> usize {
        if !self.partial && self.count < self.budget {
            return self.budget - self.count;
        }
        self.shares.quota.get(shared_bits as usize).map_or(self.budget / 2, |quota| *quota as usize)
    }

    /// The cell that a place outside the own slice belongs to: so many leading bits, and how many contacts it may hold. It is
    /// a slice, or several where there are more slices than contacts.
    pub(super) fn cell(&self, shared: usize) -> (u32, usize) {
        let quota = self.shares.quota[shared];
        if shared >= self.shares.depth {
            return (shared as u32 + 1, quota as usize);
        }
        // With contacts for three cells in four most have one, and with half as many cells some would have two and as many none.
        let bits = (quota + quota / 3).ilog2().min((self.shares.depth - 1 - shared) as u32);
        (shared as u32 + 1 + bits, quota.div_ceil(1 << bits) as usize)
    }

    /// The same for a place, unless it lies within the own slice.
    pub(super) fn cell_of(&self, prefix: u64) -> Option<(u32, usize)> {
        let shared = self.shared_bits(prefix);
        (shared < self.shares.depth).then(|| self.cell(shared))
    }

    /// In a table that leaves some out: the part of the keyspace around `place` that should have contacts, and how many more
    /// than it has, if that is more than half of them.
    pub fn gap_at(&self, place: &Id) -> Option<(u8, u16)> {
        let shared = self.shared_bits(place.prefix());
        self.shares.quota.get(shared)?;
        let (bits, room) = self.cell(shared);
        let count = self.in_range(place.prefix(), bits).count();
        if count * 2 >= room {
            return None;
        }
        let wanted = if self.count >= self.budget && self.has_its_share(shared) {
            // All have been dealt: half of what the fullest cell has more makes both even.
            (room - count).min(self.count_in_fullest(shared).saturating_sub(count) / 2)
        } else {
            room - count
        };
        (wanted > 0).then_some((bits as u8, wanted as u16))
    }

    /// Whether as many share exactly so many leading bits with the own id as are dealt to those.
    fn has_its_share(&self, shared: usize) -> bool {
        self.by_shared_bits.get(shared).is_some_and(|known| *known >= self.shares.quota[shared])
    }

    fn count_in_fullest(&self, shared: usize) -> usize {
        self.count_cells(shared).into_iter().max().unwrap_or(0) as usize
    }

    /// How many contacts each cell of the bucket has that shares exactly so many leading bits with the own id, in order.
    fn count_cells(&self, shared: usize) -> SmallVec<[u32; 64]> {
        let (bits, _) = self.cell(shared);
        let mut counts = SmallVec::from_elem(0, 1 << (bits as usize - shared - 1));
        let bucket = self.own.flip(shared as u32).prefix();
        for entry in self.in_range(bucket, shared as u32 + 1) {
            let cell = (entry.prefix >> (64 - bits)) as usize % counts.len();
            counts[cell] += 1;
        }
        counts
    }

    /// In a full table: whether there is room for `entry` outside the own slice, made by dropping somebody worse if need be. Where
    /// all that the bucket may have are there, somebody of a fuller cell leaves for it, or nobody: else each newcomer to a cell
    /// without a contact would take the place of one in another cell.
    pub(super) fn make_room_in_cell(&mut self, shared: usize, entry: &Entry) -> bool {
        let (bits, room) = self.cell(shared);
        let mates = self.in_range(entry.prefix, bits);
        let (mut count, mut worst) = (0, None::<&Entry>);
        for mate in mates {
            count += 1;
            // Two of one group in a cell say the same twice: the second gives way first.
            let rank = |mate: &Entry| (mate.group == entry.group, mate.dispensability());
            if worst.is_none_or(|worst| rank(mate) > rank(worst)) {
                worst = Some(mate);
            }
        }
        if count < room && (!self.has_its_share(shared) || self.count_in_fullest(shared) > count + 1) {
            return true;
        }
        // A newcomer is hearsay, so it may only take the place of hearsay that has failed us, or of the unreliable.
        let Some(grid) = worst.filter(|worst| worst.failures > 1).map(|worst| worst.contact.grid()) else {
            return false;
        };
        self.remove(&grid);
        true
    }

    /// Drops one contact: from the part of the keyspace that is farthest over its share, the worst of its fullest cell.
    pub(super) fn evict(&mut self) {
        let excess = |shared: &usize| i64::from(self.by_shared_bits[*shared]) - i64::from(self.shares.quota[*shared]);
        let Some(shared) = (0..self.shares.quota.len()).max_by_key(|shared| (excess(shared), Reverse(*shared))) else {
            return;
        };
        if shared == self.shares.depth {
            return self.thin_out_farther(shared);
        }
        let counts = self.count_cells(shared);
        let Some((fullest, _)) = counts.iter().enumerate().max_by_key(|(_, count)| **count) else { return };
        let (bits, _) = self.cell(shared);
        let bucket = self.own.flip(shared as u32).prefix() & u64::MAX << (63 - shared);
        let cell = bucket | (fullest as u64) << (64 - bits);
        let worst = self.worst_of_cell(cell, bits);
        if let Some(grid) = worst {
            self.remove(&grid);
            self.give_up(shared);
        }
    }

    /// Who goes first of a cell: one of the group that has most in it.
    fn worst_of_cell(&self, cell: u64, bits: u32) -> Option<Grid> {
        let mut mates: SmallVec<[&Entry; 16]> = self.in_range(cell, bits).collect();
        mates.sort_unstable_by_key(|mate| mate.group);
        let of_groups = mates.chunk_by(|one, other| one.group == other.group);
        let ranked = of_groups.flat_map(|of_group| of_group.iter().map(|mate| (of_group.len(), mate)));
        let worst = ranked.max_by_key(|(doubled, mate)| (*doubled, mate.dispensability()));
        worst.map(|(_, mate)| mate.contact.grid())
    }

    /// Whether the own slice has to give up somebody of its farther half, and none sooner than `prefix`, who lies there.
    pub(super) fn is_beyond_own_slice(&self, shared: usize, prefix: u64) -> bool {
        let wants_more = |quota: &u32| self.by_shared_bits.get(shared).is_none_or(|known| known < quota);
        if shared != self.shares.depth || self.shares.quota.get(shared).is_none_or(wants_more) {
            return false;
        }
        let mut farther = self.in_range(prefix, shared as u32 + 1);
        !farther.any(|entry| self.thinning(entry.failures, entry.prefix) > self.thinning(0, prefix))
    }

    /// Drops somebody of the farther half of the own slice.
    fn thin_out_farther(&mut self, shared: usize) {
        let farther = self.in_range(self.own.flip(shared as u32).prefix(), shared as u32 + 1);
        let first = farther.max_by_key(|entry| self.thinning(entry.failures, entry.prefix));
        if let Some(grid) = first.map(|entry| entry.contact.grid()) {
            self.left = self.left.max(shared as u8 + 1);
            self.remove(&grid);
        }
    }

    /// The greater, the sooner it leaves the farther half of the own slice: who is not relied upon, then in an order by which
    /// those who are left are spread evenly, and which differs from node to node, so that nobody leaves everywhere.
    fn thinning(&self, failures: u8, prefix: u64) -> (bool, u64) {
        (failures > 1, (prefix ^ self.own.prefix()).reverse_bits())
    }

    /// Somebody outside the own slice who shares so many leading bits with the own id was left out.
    pub(super) fn give_up(&mut self, shared: usize) {
        if usize::from(self.given_up) <= shared {
            self.given_up = shared as u8 + 1;
            self.deal();
        }
    }
}

/// How many slices as deep as the own one there are beside it.
fn slices_outside(depth: usize) -> u64 {
    (1 << depth.min(62)) - 1
}
