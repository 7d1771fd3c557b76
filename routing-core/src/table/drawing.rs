//! Who has the far places of a table that leaves some out.
//!
//! Whom others name is known to many: who was there first is named most, and would be asked by nearly everybody. Of those
//! around itself each node knows all, so whom it draws there may be anybody: each far contact names once who takes its place.
//! Where a cell has room for several, they are drawn three by three next to one another: three holders of what lies there
//! give a quick answer. Reasons and figures: decision 0027.

use super::RoutingTable;
use super::entry::{DRAWN, Entry};
use crate::contact::Contact;
use crate::id::Grid;
use std::sync::Arc;

/// How many contacts of one cell are drawn next to one another, and how many nodes are to be expected in a part of the keyspace
/// from which they are: as many as agree upon a quick answer, and fewer than hold what lies there.
const CLUSTER: usize = 3;
const CLUSTER_NODES: u64 = 8;

impl RoutingTable {
    /// In a table that leaves some out: who is to name somebody that takes the place of `grid`, and of how many leading bits of
    /// its own id that one must be. `None` if `grid` was drawn so itself, or lies within the own slice, where all are known.
    pub fn who_draws(&self, grid: &Grid) -> Option<(Arc<Contact>, u8)> {
        let entry = self.entry(grid).filter(|entry| self.partial && !entry.is_drawn())?;
        let (bits, room) = self.cell_of(entry.prefix)?;
        let nodes = self.scale().nodes() / CLUSTER_NODES;
        let near = nodes.checked_ilog2().unwrap_or(0).max(bits);
        let has_company = |entry: &&Entry| self.in_range(entry.prefix, near).take(CLUSTER).count() == CLUSTER;
        let first = self.in_range(entry.prefix, bits).filter(|entry| room >= CLUSTER && entry.is_drawn());
        let lonely = first.filter(|entry| entry.failures == 0).find(|entry| !has_company(entry));
        Some(lonely.map_or((entry.contact.clone(), bits as u8), |first| (first.contact.clone(), near as u8)))
    }

    /// `other` was drawn to take the place of the contact whose id begins with these 64 bits; or nobody, and that one keeps it.
    /// Says whether it was given up: only for somebody of the same cell who is not known.
    pub fn on_drawn(&mut self, place: u64, other: Option<&Arc<Contact>>) -> bool {
        let Some(entry) = self.entry_at(place).filter(|entry| self.partial && !entry.is_drawn()) else { return false };
        let Some((bits, _)) = self.cell_of(place) else { return false };
        let grid = entry.contact.grid();
        let is_new = |other: &&Arc<Contact>| self.entry(&other.grid()).is_none();
        let other = other.filter(|other| other.grid().0.common_bits(&grid.0) >= bits).filter(is_new);
        if let Some(other) = other {
            self.remove(&grid);
            self.insert(Entry::new(other.clone()));
        }
        let drawn = other.map_or(grid, |other| other.grid());
        if let Some(entry) = self.entry_mut(&drawn) {
            entry.set(DRAWN, true);
        }
        other.is_some()
    }
}
