//! The contacts of a table in order of their distance to a place: bin by bin, each put in order when its turn comes.

use super::Entry;
use crate::id::Id;
use smallvec::SmallVec;

/// Contacts in order of their distance to a target. See [`RoutingTable::nearest`](super::RoutingTable::nearest).
pub struct Nearest<'a> {
    bins: &'a [Vec<Entry>],
    target: Id,
    home: usize,
    next_bin: usize,
    bin: &'a [Entry],
    /// The numbers of those of the bin who are still to come, the nearest last.
    order: SmallVec<[u32; FEW]>,
}

/// So many are put in order by counting for each how many are farther. That takes no branches, and a third of the time
/// that sorting takes.
const FEW: usize = 32;

impl<'a> Nearest<'a> {
    /// All contacts of `bins`, those in the bin numbered `home` first: `target` lies there.
    pub(super) fn new(bins: &'a [Vec<Entry>], home: usize, target: &Id) -> Self {
        Self { bins, target: *target, home, next_bin: 0, bin: &[], order: SmallVec::new() }
    }

    fn sort_next_bin(&mut self) {
        self.bin = &self.bins[self.home ^ self.next_bin];
        self.next_bin += 1;
        if self.bin.len() > FEW || !self.count_farther() {
            let (bin, target) = (self.bin, self.target);
            let distance = |number: &u32| bin[*number as usize].prefix ^ target.prefix();
            let whole = |number: &u32| target.distance(&bin[*number as usize].contact.grid().0);
            self.order.clear();
            self.order.extend(0..bin.len() as u32);
            // Whole ids are looked at where the first bits do not tell, which hardly ever happens.
            self.order.sort_unstable_by(|a, b| distance(b).cmp(&distance(a)).then_with(|| whole(b).cmp(&whole(a))));
        }
    }

    /// Says whether that gave an order: not if two are equally far in the 27 bits that are looked at.
    fn count_farther(&mut self) -> bool {
        let (place, shared_bits) = (self.target.prefix(), self.bins.len().ilog2());
        // Below the distance each one's number, so that no two are equal.
        let mut words = [0; FEW];
        for ((word, entry), number) in words.iter_mut().zip(self.bin).zip(0..) {
            *word = ((entry.prefix ^ place) << shared_bits >> 32) as u32 & !(FEW as u32 - 1) | number;
        }
        let in_use = &words[..self.bin.len().next_multiple_of(8)];
        self.order.resize(self.bin.len(), 0);
        for word in &words[..self.bin.len()] {
            let farther: u32 = in_use.iter().map(|other| u32::from(other > word)).sum();
            self.order[farther as usize] = word % FEW as u32;
        }
        let bits = |number: &u32| words[*number as usize] / FEW as u32;
        self.order.windows(2).all(|pair| bits(&pair[0]) != bits(&pair[1]))
    }
}

impl<'a> Iterator for Nearest<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        while self.order.is_empty() {
            if self.next_bin == self.bins.len() {
                return None;
            }
            self.sort_next_bin();
        }
        self.order.pop().map(|number| &self.bin[number as usize])
    }
}
