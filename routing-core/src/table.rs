//! The routing table: who is known, and who is kept when the budget is full.
//!
//! Contacts lie in bins by the leading bits of their id, each bin in order of the ids. All contacts in bin `target ^ j` are
//! nearer to the target than those in bin `target ^ (j + 1)`, so the nearest are found by walking bins, whatever the size of
//! table or network; and who shares some leading bits with a place lies side by side.
//!
//! There is one knob, the budget. Up to it everything is kept, and the table knows the whole network. Beyond it the own
//! *slice* of the keyspace stays complete (as many leading bits as leave at most half the budget inside, or more where that
//! leaves fewer slices outside without a contact), and what is left of the budget is dealt to the slices outside in equal
//! shares; where there are more slices than contacts to deal, the nearer ones get theirs and the farther ones become sparser.
//! Where just a few are missing for one contact in each slice, the own slice gives up some of its farther half.
//!
//! What a node was told about is *hearsay* until it answered us itself, and was dialled at the address on its card: until
//! then anybody may have written that address. Outside the own slice hearsay takes the place only of contacts that have
//! failed us, have drawn it, or lie where more are known than where it lies; inside it everybody is kept, and room is made among
//! the farther ones.

mod density;
mod drawing;
mod entry;
mod nearest;
mod shares;

use crate::contact::{Address, Contact};
use crate::holders::Scale;
use crate::id::{Grid, Id};
use crate::time::Ticks;
use density::Density;
pub(crate) use density::{REGION_BITS, REGIONS};
pub use entry::Entry;
use entry::{ANSWERED, AWAY, DOUBTED, LINKED, PROBED, PROVEN, RECENT, UNMEASURED};
pub use nearest::Nearest;
use shares::Shares;
use std::sync::Arc;

/// How many contacts a bin holds on average before the number of bins doubles.
const BIN_LOAD: usize = 24;
/// By how many entries a full bin grows: growth by doubling would waste a quarter of a million nodes' memory.
const BIN_GROWTH: usize = 4;
/// A part of the keyspace in which fewer nodes are to be expected is too small for a shortage to mean anything, and how
/// great a shortage must be. Of 32 expected by chance less than a third is there in one part of 170,000, of 16 in one of
/// 700: then everybody next to an empty place would take itself for ignorant, for ever, and nobody would hold what is there.
/// Nor does a lesser part need to be judged: with 16 holders it lies within the own neighbourhood, which is known completely.
const EXPECTED_LEAST: u64 = 32;
const SHORTAGE: u64 = 3;

/// What became of an offered contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It is in the table now.
    New,
    /// It was known by an older card.
    Renewed,
    /// It was known by this card or a newer one.
    Known,
    /// There is no room for it where it belongs.
    NoRoom,
}

/// The contacts of one node.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    own: Id,
    budget: usize,
    /// How many contacts around the own place are sure to be known all: 4 k.
    neighbourhood: usize,
    /// By the leading bits of the ids; in each, the entries are in order of their prefixes.
    bins: Vec<Vec<Entry>>,
    count: usize,
    answered: usize,
    /// How many contacts share exactly so many leading bits with the own id (64 and more count as 63).
    by_shared_bits: Vec<u32>,
    /// Whether some contact was left out for want of room, so that only the own slice is known completely.
    partial: bool,
    /// One more than the most shared bits of whoever was left out of a full table: the own slice begins there at the earliest.
    given_up: u8,
    /// The same for whoever had to leave the own slice: it is complete from there.
    left: u8,
    /// How the budget is dealt; worked out while `partial`.
    shares: Shares,
    density: Density,
    /// How often somebody has come or gone, or begun or ceased to be available.
    version: u64,
}

impl RoutingTable {
    /// The empty table of the node `own`, for at most `budget` contacts, of which the nearest `neighbourhood` are sure to
    /// be known completely.
    pub fn new(own: Grid, budget: u32, neighbourhood: u16) -> Self {
        Self {
            own: own.0,
            budget: budget as usize,
            neighbourhood: neighbourhood.into(),
            bins: vec![Vec::new()],
            count: 0,
            answered: 0,
            by_shared_bits: Vec::new(),
            partial: false,
            given_up: 0,
            left: 0,
            shares: Shares::default(),
            density: Density::default(),
            version: 0,
        }
    }

    /// As long as this stays the same, so does who is available anywhere.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many contacts are known.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many of them have answered us.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// All contacts, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.bins.iter().flatten()
    }

    fn bin_of(&self, prefix: u64) -> usize {
        let bits = self.bins.len().ilog2();
        prefix.checked_shr(64 - bits).unwrap_or(0) as usize
    }

    fn position(&self, grid: &Grid) -> Option<(usize, usize)> {
        let (bin, first) = self.first_at(grid.0.prefix());
        let mut alike = self.bins[bin].iter().skip(first).take_while(|entry| entry.prefix == grid.0.prefix());
        let after = alike.position(|entry| entry.contact.grid() == *grid)?;
        Some((bin, first + after))
    }

    /// The bin of `prefix`, and where in it those begin whose id begins with these bits, or would.
    fn first_at(&self, prefix: u64) -> (usize, usize) {
        let bin = self.bin_of(prefix);
        (bin, self.bins[bin].partition_point(|entry| entry.prefix < prefix))
    }

    /// What is known of `grid`.
    pub fn entry(&self, grid: &Grid) -> Option<&Entry> {
        self.position(grid).map(|(bin, index)| &self.bins[bin][index])
    }

    /// The contact whose id begins with these 64 bits; of several, which nobody can grind, any.
    pub fn entry_at(&self, prefix: u64) -> Option<&Entry> {
        let (bin, first) = self.first_at(prefix);
        self.bins[bin].get(first).filter(|entry| entry.prefix == prefix)
    }

    fn entry_mut(&mut self, grid: &Grid) -> Option<&mut Entry> {
        self.position(grid).map(|(bin, index)| &mut self.bins[bin][index])
    }

    /// Takes note of a contact that somebody named, or that called. It must be verified, here or away, and not the own.
    pub fn offer(&mut self, contact: &Arc<Contact>) -> Offered {
        let grid = contact.grid();
        debug_assert_ne!(grid.0, self.own, "a node is no contact of its own");
        if let Some(entry) = self.entry_mut(&grid) {
            if Arc::ptr_eq(&entry.contact, contact) || !contact.supersedes(&entry.contact) {
                return Offered::Known;
            }
            let (had_answered, was) = (entry.has_answered(), (entry.is_available(), entry.group));
            if entry.contact.address() != contact.address() {
                entry.set(PROVEN, false);
            }
            entry.contact = contact.clone();
            entry.group = contact.group();
            entry.set(AWAY, contact.is_away());
            let is_hearsay_again = had_answered && !entry.has_answered();
            self.version += u64::from((entry.is_available(), entry.group) != was);
            self.answered -= usize::from(is_hearsay_again);
            return Offered::Renewed;
        }
        let entry = Entry::new(contact.clone());
        if self.count >= self.budget {
            self.set_partial();
            let shared = self.shared_bits(entry.prefix);
            if shared >= self.shares.depth {
                if self.is_beyond_own_slice(shared, entry.prefix) {
                    return Offered::NoRoom;
                }
            } else if !self.make_room_in_cell(shared, &entry) {
                self.give_up(shared);
                return Offered::NoRoom;
            }
        }
        self.insert(entry);
        if self.count > self.budget {
            self.evict();
        }
        if self.entry(&grid).is_some() { Offered::New } else { Offered::NoRoom }
    }

    /// Forgets a contact.
    pub fn remove(&mut self, grid: &Grid) -> Option<Arc<Contact>> {
        let (bin, index) = self.position(grid)?;
        Some(self.take(bin, index).contact)
    }

    /// An answer came from `grid`: proven to be where it says, it is a neighbour now. `round_trip` is how long it took.
    pub fn on_answer(&mut self, grid: &Grid, round_trip: Ticks) {
        let sample = round_trip.0.min(u64::from(UNMEASURED - 1)) as u16;
        let Some(entry) = self.entry_mut(grid) else { return };
        let was_available = entry.is_available();
        entry.round_trip_ms = match entry.round_trip_ms {
            UNMEASURED => sample,
            // RFC 6298: seven eighths of what was known, one eighth of what was seen.
            smoothed => ((u32::from(smoothed) * 7 + u32::from(sample) + 4) / 8) as u16,
        };
        entry.failures = 0;
        entry.set(AWAY, false);
        entry.set(PROBED, false);
        entry.set(DOUBTED, false);
        entry.set(RECENT, true);
        self.version += u64::from(!was_available);
        self.note(grid, ANSWERED);
    }

    /// `grid` was dialled at `address` and was there. Of a card that names another address this says nothing.
    pub fn on_reached(&mut self, grid: &Grid, address: &Address) {
        if self.entry(grid).is_some_and(|entry| entry.contact.address() == address) {
            self.note(grid, PROVEN);
        }
    }

    /// Notes one of the two things that make a neighbour.
    fn note(&mut self, grid: &Grid, flag: u8) {
        let Some(entry) = self.entry_mut(grid) else { return };
        let had_answered = entry.has_answered();
        entry.set(flag, true);
        let is_neighbour_now = !had_answered && entry.has_answered();
        self.answered += usize::from(is_neighbour_now);
    }

    /// Something else was heard from `grid`, so it is alive. Gives back its entry if it left our last request unanswered: it
    /// reaches us, and whether we reach it is another question.
    pub fn on_heard(&mut self, grid: &Grid) -> Option<&Entry> {
        let entry = self.entry_mut(grid)?;
        entry.set(RECENT, true);
        (entry.failures > 0).then_some(entry)
    }

    /// A request to `grid` was left unanswered. Says how many were in a row, if it is known at all.
    pub fn on_failure(&mut self, grid: &Grid) -> Option<u8> {
        let entry = self.entry_mut(grid)?;
        let was_available = entry.is_available();
        entry.failures = entry.failures.saturating_add(1);
        entry.set(PROBED, false);
        entry.set(RECENT, false);
        let (failures, is_lost) = (entry.failures, was_available && !entry.is_available());
        self.version += u64::from(is_lost);
        Some(failures)
    }

    /// Upkeep is about to ask `grid`, which is in doubt, and waits for what comes of it. Says whether it may: if it has
    /// asked already, that is noted, since what is under way may have been sent before there was reason to ask again.
    pub fn begin_probe(&mut self, grid: &Grid) -> bool {
        let Some(entry) = self.entry_mut(grid) else { return false };
        let was_probed = entry.flags & PROBED != 0;
        entry.set(PROBED, true);
        entry.set(DOUBTED, was_probed);
        !was_probed
    }

    /// What upkeep asked `grid` came to nothing: whether there was reason to ask again meanwhile.
    pub fn take_doubt(&mut self, grid: &Grid) -> bool {
        let Some(entry) = self.entry_mut(grid) else { return false };
        let was_doubted = entry.flags & DOUBTED != 0;
        entry.set(DOUBTED, false);
        was_doubted
    }

    /// `grid` has proven a link, so it is not away, whatever its card says.
    pub fn on_link(&mut self, grid: &Grid) {
        if let Some(entry) = self.entry_mut(grid) {
            entry.set(LINKED, true);
            let was_away = entry.is_away();
            entry.set(AWAY, false);
            self.version += u64::from(was_away);
        }
    }

    /// Whether a link to `grid` stands. Unknown contacts have none.
    pub fn set_linked(&mut self, grid: &Grid, linked: bool) {
        if let Some(entry) = self.entry_mut(grid) {
            entry.set(LINKED, linked);
        }
    }

    /// Whether `grid` was heard from since this was asked last; forgets that it was.
    pub fn take_recent(&mut self, grid: &Grid) -> bool {
        self.entry_mut(grid).is_some_and(Entry::take_recent)
    }

    /// The same for the contact whose id begins with these 64 bits.
    pub fn take_recent_at(&mut self, prefix: u64) -> bool {
        let (bin, first) = self.first_at(prefix);
        self.bins[bin].get_mut(first).filter(|entry| entry.prefix == prefix).is_some_and(Entry::take_recent)
    }

    /// From now on nobody counts as heard from who is not heard from again.
    pub fn forget_recent(&mut self) {
        self.bins.iter_mut().flatten().for_each(|entry| entry.set(RECENT, false));
    }

    /// Others know more contacts than could be kept or were told: only the own slice is complete from now on.
    pub fn set_partial(&mut self) {
        if !self.partial {
            self.partial = true;
            self.on_changed();
        }
    }

    /// Whether everybody near `target` is likely to be known. A hint that saves round trips; nothing rests on it.
    pub fn is_complete_at(&self, target: &Id) -> bool {
        let shared = self.own.common_bits(target);
        (!self.partial || shared as usize >= self.shares.depth) && self.is_filled_at(target)
    }

    /// Whether somebody who can be asked is known of the slice in which `target` lies: who is in it knows all the others.
    pub fn knows_somebody_of_slice(&self, target: &Id) -> bool {
        !self.partial || self.in_range(target.prefix(), self.shares.depth as u32).any(Entry::is_available)
    }

    /// Whether about as many are known near `target` as there should be, by the density and by the budget.
    pub fn is_filled_at(&self, target: &Id) -> bool {
        !self.lacks(self.own.common_bits(target))
    }

    /// Whether far fewer contacts are known than there should be in the part of the keyspace that shares exactly `shared`
    /// leading bits with the own id, by what is heard of the density and by the budget.
    pub fn lacks(&self, shared: u32) -> bool {
        let expected = self.expected_in(shared);
        let known = self.by_shared_bits.get(shared as usize).copied().unwrap_or(0);
        expected >= EXPECTED_LEAST && u64::from(known) * SHORTAGE < expected
    }

    /// Whether less than a third is known of what the density tells: of the own slice, where some are left out elsewhere.
    pub fn is_short(&self) -> bool {
        let (known, expected) = self.of_own_slice();
        known * SHORTAGE < expected
    }

    /// Whether one in sixteen is not known of what the density tells: it errs by about as much.
    pub fn is_full(&self) -> bool {
        let (known, expected) = self.of_own_slice();
        known * 16 >= expected * 15
    }

    /// How many are known, and are to be expected, where all should be.
    fn of_own_slice(&self) -> (u64, u64) {
        let known = self.by_shared_bits.iter().skip(self.shares.depth).sum::<u32>();
        (known.into(), self.scale().nodes().checked_shr(self.shares.depth as u32).unwrap_or(0))
    }

    /// How many leading bits the own slice has, in which all should be known: none, where there is room for all; and how many of
    /// the own id's those share of whom it has given up nobody.
    pub fn own_slice_bits(&self) -> (u8, u8) {
        let depth = self.shares.depth as u8;
        (depth, depth.max(self.left))
    }

    /// Whether some contact was left out for want of room.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The contacts that share the leading `bits` of `start`, by the leading 64 bits of their ids.
    pub fn known_in(&self, start: &Id, bits: u8) -> impl Iterator<Item = u64> {
        self.in_range(start.prefix(), bits.into()).map(Entry::prefix)
    }

    /// How many contacts there should be in the part of the keyspace that shares exactly `shared` leading bits with the own
    /// id.
    pub fn expected_in(&self, shared: u32) -> u64 {
        let nodes = self.scale().nodes().checked_shr(shared + 1).unwrap_or(0);
        if !self.partial {
            return nodes;
        }
        nodes.min(self.shares.quota.get(shared as usize).map_or(u64::MAX, |quota| (*quota).into()))
    }

    /// All contacts in order of their distance to `target`.
    pub fn nearest(&self, target: &Id) -> Nearest<'_> {
        Nearest::new(&self.bins, self.bin_of(target.prefix()), target)
    }

    /// At most `count` contacts that share the leading `bits` of `start`, spread evenly over what is known there. `offset`
    /// shifts the choice, so that not everybody is told the same ones.
    pub fn sample(
        &self,
        start: &Id,
        bits: u8,
        count: usize,
        offset: u64,
        mut admit: impl FnMut(&Entry) -> bool,
    ) -> Vec<&Entry> {
        let range: Vec<&Entry> = self.in_range(start.prefix(), bits.into()).filter(|entry| admit(entry)).collect();
        if range.len() <= count {
            return range;
        }
        let shift = offset as usize % range.len();
        let spread = (0..count).map(|index| range[(index * range.len() / count + shift) % range.len()]);
        spread.collect()
    }

    /// The contacts that share the leading `bits` (at most 64 count) of `prefix`.
    fn in_range(&self, prefix: u64, bits: u32) -> impl Iterator<Item = &Entry> {
        let bits = bits.min(64);
        let low = if bits == 0 { 0 } else { prefix & (u64::MAX << (64 - bits)) };
        let high = low | u64::MAX.checked_shr(bits).unwrap_or(0);
        self.bins[self.bin_of(low)..=self.bin_of(high)].iter().flat_map(move |bin| {
            let first = bin.partition_point(|entry| entry.prefix < low);
            let after = bin.partition_point(|entry| entry.prefix <= high);
            &bin[first..after]
        })
    }

    /// The number of bins; upkeep walks them by number.
    pub fn bins(&self) -> usize {
        self.bins.len()
    }

    /// The contacts of one bin.
    pub fn bin(&self, index: usize) -> &[Entry] {
        &self.bins[index]
    }

    /// While the table is being filled, the density is what others say.
    pub fn set_told(&mut self, told: Scale) {
        self.density.set_told(told);
    }

    /// The table is filled, as far as others could do that. How the density that was told compares with the own
    /// neighbourhood counts until enough words are heard from elsewhere.
    pub fn on_filled(&mut self) {
        self.density.on_filled();
        self.on_changed();
    }

    /// How many nodes the keyspace seems to hold, by which sets of holders are widened.
    pub fn scale(&self) -> Scale {
        self.density.scale()
    }

    /// The scale that nobody's estimate exceeds but by chance: by which it is beyond doubt who holds what.
    pub fn scale_bound(&self) -> Scale {
        self.density.bound()
    }

    /// The scale that nobody's estimate falls below but by chance: by which it is beyond doubt who does not hold what.
    pub fn scale_floor(&self) -> Scale {
        self.density.floor()
    }

    /// Whether others have to be asked again how dense the keyspace is.
    pub fn is_scale_in_doubt(&self) -> bool {
        self.density.is_in_doubt()
    }

    /// What the own neighbourhood says of the density: the first to see a network grow.
    pub(crate) fn near_scale(&self) -> Scale {
        self.density.near()
    }

    /// What this table alone says of the density. It is what other nodes are told.
    pub fn own_scale(&self) -> Scale {
        self.density.own()
    }

    /// A node from elsewhere says how many nodes the keyspace seems to hold.
    pub fn on_scale(&mut self, from: &Grid, scale: Scale) {
        self.density.on_word(from, scale);
    }

    fn estimate_density(&mut self) {
        // Where the budget leaves some out, the neighbourhood is what is complete of the own slice.
        let least = if self.partial { self.shares.depth.max(self.left.into()) } else { 0 };
        let near = density::of_neighbourhood(&self.by_shared_bits, least, self.neighbourhood);
        let prefixes = self.bins.iter().flatten().map(Entry::prefix);
        self.density.estimate(near, self.count, prefixes, self.partial);
    }

    fn shared_bits(&self, prefix: u64) -> usize {
        ((prefix ^ self.own.prefix()).leading_zeros() as usize).min(63)
    }

    fn insert(&mut self, entry: Entry) {
        let shared = self.shared_bits(entry.prefix);
        if self.by_shared_bits.len() <= shared {
            self.by_shared_bits.resize(shared + 1, 0);
        }
        self.by_shared_bits[shared] += 1;
        self.count += 1;
        self.answered += usize::from(entry.has_answered());
        let (bin, first) = self.first_at(entry.prefix);
        let bin = &mut self.bins[bin];
        if bin.len() == bin.capacity() {
            bin.reserve_exact(BIN_GROWTH);
        }
        bin.insert(first, entry);
        if self.count > self.bins.len() * BIN_LOAD {
            self.double_bins();
        }
        self.on_changed();
    }

    fn take(&mut self, bin: usize, index: usize) -> Entry {
        let entry = self.bins[bin].remove(index);
        let shared = self.shared_bits(entry.prefix);
        self.by_shared_bits[shared] -= 1;
        self.count -= 1;
        self.answered -= usize::from(entry.has_answered());
        if self.count < self.budget / 4 * 3 {
            // The network has shrunk, or what filled the table was not there: whoever was left out may come again, and where there
            // are so few by the density, too, all of them may.
            (self.given_up, self.left) = (0, 0);
            if (1..self.budget as u64 / 4 * 3).contains(&self.scale().nodes()) {
                (self.partial, self.shares) = (false, Shares::default());
            }
        }
        self.on_changed();
        entry
    }

    /// Contacts have come or gone: what follows from their number is worked out anew.
    fn on_changed(&mut self) {
        self.version += 1;
        self.estimate_density();
        self.deal();
    }

    fn double_bins(&mut self) {
        let bits = self.bins.len().ilog2() + 1;
        let mut bins = Vec::with_capacity(self.bins.len() * 2);
        for mut lower in std::mem::take(&mut self.bins) {
            let upper = lower.split_off(lower.partition_point(|entry| entry.prefix >> (64 - bits) & 1 == 0));
            lower.shrink_to_fit();
            bins.extend([lower, upper]);
        }
        self.bins = bins;
    }
}

#[cfg(test)]
mod tests;
