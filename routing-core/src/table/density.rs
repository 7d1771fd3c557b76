//! How many nodes the keyspace seems to hold, by which sets of holders are widened: from three sources.
//!
//! - *The table itself*, once everybody is in it: exact, but for ids ground into a few places.
//! - *The own neighbourhood*, which is complete from the beginning: few nodes are in it, so it errs by an eighth.
//! - *What others say of theirs*: the median of 32 regions hardly errs, and ids ground in one place move one of them.
//!
//! While a node joins, its table says nothing, and it goes by what it is told; and until it has heard from enough regions
//! by how much that differed from its own neighbourhood. Reasons: decision 0007.

use crate::holders::Scale;
use crate::id::Grid;
use smallvec::SmallVec;

/// The density is estimated anew over the whole table once its size has changed by such a part: each contact of a
/// growing table is looked at that many times in all.
const WHOLE_AGAIN: usize = 128;
/// In how many regions the keyspace is divided to hear how dense it is, and from how many it must be heard.
pub(crate) const REGIONS: usize = 1 << REGION_BITS;
pub(crate) const REGION_BITS: u32 = 5;
const REGIONS_LEAST: usize = 8;
/// Fewer contacts say nothing about a density.
const NEAR_LEAST: usize = 16;
/// By how much two nodes' estimates of the density may differ, in 256ths of a doubling: by a half.
const DOUBT: u16 = 150;
/// By how much what the own neighbourhood says may change, in 256ths of a doubling, before what others said is compared no
/// longer with what it says now: as much as an honest network grows before most of them have spoken again.
const GROWTH: u16 = 256;

/// What a node knows of the density.
#[derive(Clone, Debug)]
pub(super) struct Density {
    /// The size of the table when its density was estimated last over all of it, and that estimate.
    whole_count: usize,
    whole: Scale,
    /// Whether everybody is in the table, as far as can be told from the density around the own place.
    is_whole: bool,
    /// What the own neighbourhood says.
    near: Scale,
    /// The last word from each region of the keyspace.
    heard: [Word; REGIONS],
    agreed: Option<Word>,
    /// What a node that is not in yet was told.
    told: Option<Scale>,
}

/// By how much more others said than the own neighbourhood did then, in 256ths of a doubling. Both grow with the network, so
/// their difference holds longer than what was said, until the own neighbourhood has changed by so much that it may have
/// grown alone: then what was said holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Word {
    /// What the own neighbourhood said; unknown where nobody has spoken.
    near: Scale,
    offset: i16,
}

impl Word {
    fn new(said: Scale, near: Scale) -> Self {
        Self { near, offset: (i32::from(said.0) - i32::from(near.0)) as i16 }
    }

    fn is_heard(self) -> bool {
        self.near != Scale::UNKNOWN
    }

    fn holds_beside(self, near: Scale) -> bool {
        self.is_heard() && self.near.0.abs_diff(near.0) < GROWTH
    }

    /// What that says now.
    fn said(self, near: Scale) -> Scale {
        let base = if self.holds_beside(near) { near } else { self.near };
        Scale(base.0.saturating_add_signed(self.offset).max(1))
    }
}

impl Default for Density {
    fn default() -> Self {
        Self {
            whole_count: 0,
            whole: Scale::UNKNOWN,
            is_whole: false,
            near: Scale::UNKNOWN,
            heard: [Word::default(); REGIONS],
            agreed: None,
            told: None,
        }
    }
}

impl Density {
    pub(super) fn set_told(&mut self, told: Scale) {
        self.told = Some(told).filter(|told| told.is_plausible());
    }

    /// The table is filled: what was told is the first that is agreed upon, and what is heard from now on counts.
    pub(super) fn on_filled(&mut self) {
        let told = self.told.take().filter(|_| self.near != Scale::UNKNOWN);
        if let Some(told) = told {
            self.agreed.get_or_insert(Word::new(told, self.near));
        }
    }

    /// The best there is to say: what was told while that counts, the whole table, what others agree upon, the own
    /// neighbourhood.
    pub(super) fn scale(&self) -> Scale {
        let heard = || if self.is_whole { None } else { self.agreed() };
        self.told.or_else(heard).unwrap_or(self.own())
    }

    /// The scale that nobody's estimate exceeds but by chance. Those who have agreed mostly differ by less than an eighth,
    /// but a node that has just come back errs by more.
    pub(super) fn bound(&self) -> Scale {
        self.scale().denser_by(DOUBT)
    }

    /// The scale that nobody's estimate falls below but by chance.
    pub(super) fn floor(&self) -> Scale {
        self.scale().sparser_by(DOUBT)
    }

    /// What the own neighbourhood says.
    pub(super) fn near(&self) -> Scale {
        self.near
    }

    /// What the table alone says.
    pub(super) fn own(&self) -> Scale {
        if self.is_whole { self.whole } else { self.near }
    }

    /// Whether the own neighbourhood has changed by so much since others have spoken that nobody can tell from here whether
    /// the network has: they have to be asked again.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.near != Scale::UNKNOWN && self.agreed.is_some_and(|agreed| !agreed.holds_beside(self.near))
    }

    fn agreed(&self) -> Option<Scale> {
        let agreed = self.agreed.filter(|_| self.near != Scale::UNKNOWN)?;
        Some(agreed.said(self.near))
    }

    /// A node from elsewhere says what its table alone says. The latest word of each of 32 regions counts, unless it is
    /// too old to be compared.
    pub(super) fn on_word(&mut self, from: &Grid, scale: Scale) {
        if !scale.is_plausible() || self.near == Scale::UNKNOWN {
            return;
        }
        let (region, word) = ((from.0.prefix() >> (64 - REGION_BITS)) as usize, Word::new(scale, self.near));
        if std::mem::replace(&mut self.heard[region], word) == word {
            return;
        }
        let mut heard: SmallVec<[i16; REGIONS]> =
            self.heard.iter().filter(|word| word.holds_beside(self.near)).map(|word| word.offset).collect();
        if heard.len() >= REGIONS_LEAST {
            let middle = heard.len() / 2;
            let offset = *heard.select_nth_unstable(middle).1;
            self.agreed = Some(Word { near: self.near, offset });
        }
    }

    /// The table has changed: it has `count` contacts now, with these `prefixes`. It is believed to be whole unless it
    /// `is_partial` or is less dense than its surroundings.
    pub(super) fn estimate(
        &mut self,
        near: Scale,
        count: usize,
        prefixes: impl Iterator<Item = u64>,
        is_partial: bool,
    ) {
        // A table that leaves some out says nothing about all.
        if !is_partial && count.abs_diff(self.whole_count) > self.whole_count / WHOLE_AGAIN {
            (self.whole_count, self.whole) = (count, of_all(count, prefixes));
        }
        self.near = near;
        // In doubt others are told of the neighbourhood: if the network has grown, that is right, and what was agreed upon
        // would take a part of the table for all of it.
        let there = self.agreed().filter(|_| !self.is_in_doubt()).unwrap_or(near).nodes();
        self.is_whole = !is_partial && self.whole.nodes() >= there - there / 16;
    }
}

/// How many nodes there are if the keyspace is everywhere as dense as the own neighbourhood: as the largest slice of at
/// most `neighbourhood` contacts, who are sure to be everybody there. It is one of those that share `least` or more
/// leading bits with the own id. `by_shared_bits` are counts of the contacts that share exactly so many.
pub(super) fn of_neighbourhood(by_shared_bits: &[u32], least: usize, neighbourhood: usize) -> Scale {
    let (mut depth, mut near) = (by_shared_bits.len(), 0);
    while depth > least && near + by_shared_bits[depth - 1] as usize <= neighbourhood {
        depth -= 1;
        near += by_shared_bits[depth] as usize;
    }
    if near < NEAR_LEAST || depth > 40 { Scale::UNKNOWN } else { Scale::of_nodes(((near as u64) << depth) + 1) }
}

/// How many nodes there are by the middle half of equal parts of the keyspace, ordered by how many are known in each: ids
/// ground into a few places are in the parts that are left out.
fn of_all(count: usize, prefixes: impl Iterator<Item = u64>) -> Scale {
    // Parts of eight nodes on average: enough of them to leave out half, enough in each to count.
    let part_bits = (count / 8).max(1).ilog2().min(8);
    if count < NEAR_LEAST {
        return Scale::UNKNOWN;
    }
    let mut counts = vec![0u64; 1 << part_bits];
    for prefix in prefixes {
        counts[prefix.checked_shr(64 - part_bits).unwrap_or(0) as usize] += 1;
    }
    counts.sort_unstable();
    let middle = &counts[counts.len() / 4..counts.len() - counts.len() / 4];
    Scale::of_nodes((middle.iter().sum::<u64>() << part_bits) / middle.len() as u64)
}
