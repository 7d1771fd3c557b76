//! Which nodes hold a key: the nearest ones until k groups are among them, widened where their ids look ground.
//!
//! One rule serves table, search and oracle: they walk their contacts in order of distance and ask [`Admission`] about
//! each. Ids can be ground: keys tried until their hash lies next to a victim. Where k groups fill less than half the
//! radius in which k nodes are to be expected, the set widens to that radius, so that honest nodes are in it again.

use crate::contact::Group;
use smallvec::SmallVec;

/// How many nodes the keyspace holds, told by its density; on the wire as 256 × log2, so that it takes two bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Scale(pub u16);

impl Scale {
    /// Nothing is known of the density: no set is widened.
    pub const UNKNOWN: Scale = Scale(0);

    /// The scale of a network of about `nodes` nodes.
    pub fn of_nodes(nodes: u64) -> Self {
        // 256 × log2 by integer steps, so that each machine gets the same: whole bits, then eight squarings.
        if nodes < 2 {
            return Scale::UNKNOWN;
        }
        let whole = nodes.ilog2();
        let mut mantissa = (u128::from(nodes) << 32) >> whole;
        let mut bits = whole;
        for _ in 0..8 {
            mantissa = (mantissa * mantissa) >> 32;
            bits = bits * 2 + u32::from(mantissa >= 2 << 32);
            if mantissa >= 2 << 32 {
                mantissa >>= 1;
            }
        }
        Scale(bits as u16)
    }

    /// Whether an honest node may say so: it needs 16 contacts to tell anything, and nobody has met 2^40.
    pub fn is_plausible(self) -> bool {
        (4 << 8..=40 << 8).contains(&self.0)
    }

    /// About how many nodes that is; 0 if nothing is known.
    pub fn nodes(self) -> u64 {
        if self == Scale::UNKNOWN {
            return 0;
        }
        ((256 + u64::from(self.0 & 0xff)) << (self.0 >> 8).min(40)) >> 8
    }

    /// The scale of so many more nodes, in 256ths of a doubling.
    pub fn denser_by(self, steps: u16) -> Self {
        if self == Scale::UNKNOWN { self } else { Scale(self.0.saturating_add(steps)) }
    }

    /// The scale of so many fewer nodes, in 256ths of a doubling.
    pub fn sparser_by(self, steps: u16) -> Self {
        Scale(self.0.saturating_sub(steps))
    }

    /// How many nodes are to be expected within a distance, given in leading 64 bits; 0 if nothing is known.
    pub fn nodes_within(self, distance: u64) -> u64 {
        ((u128::from(self.nodes()) * (u128::from(distance) + 1)) >> 64) as u64
    }

    /// The distance, in leading 64 bits, within which `count` nodes are to be expected; `None` if nothing is known or
    /// the whole keyspace holds no more than that.
    pub fn radius(self, count: u16) -> Option<u64> {
        if self == Scale::UNKNOWN {
            return None;
        }
        // count × 2^(64 - log2 nodes), the fraction of the logarithm taken linearly: at most 6 % too small. Beyond 2^80
        // nodes it is 0, whatever a liar says.
        let (whole, fraction) = (u32::from(self.0 >> 8).min(100), u128::from(self.0 & 0xff));
        let nodes_in_256ths = (256 + fraction) << whole;
        u64::try_from((u128::from(count) << 72) / nodes_in_256ths).ok()
    }
}

/// What those told say, of whom some may lie: the lower median of the plausible words, so that it takes half of them to
/// make a set seem honest that is not.
pub(crate) fn agreed(told: &[Scale]) -> Scale {
    let mut told: SmallVec<[Scale; 8]> = told.iter().copied().filter(|scale| scale.is_plausible()).collect();
    told.sort_unstable();
    told.get(told.len().saturating_sub(1) / 2).copied().unwrap_or(Scale::UNKNOWN)
}

/// As many groups as an ordinary set of holders has, and some more: sets of so many cost no allocation.
const INLINE_GROUPS: usize = 20;

/// Different groups in the order in which they were met, each with a mark.
#[derive(Clone, Debug, Default)]
struct Groups {
    met: SmallVec<[(Group, bool); INLINE_GROUPS]>,
    /// A bit for each group that was met, by its number modulo 64: most new ones are told by it without a search.
    bits: u64,
}

impl Groups {
    fn len(&self) -> usize {
        self.met.len()
    }

    fn marked(&self) -> usize {
        self.met.iter().filter(|(_, mark)| *mark).count()
    }

    /// Adds a group, or its mark if it is there. Says whether it is new.
    fn add(&mut self, group: Group, mark: bool) -> bool {
        let bit = 1 << (group.0 % 64);
        if self.bits & bit != 0
            && let Some((_, known)) = self.met.iter_mut().find(|(known, _)| *known == group)
        {
            *known |= mark;
            return false;
        }
        self.bits |= bit;
        self.met.push((group, mark));
        true
    }
}

/// Decides, for nodes told in order of distance, which of them are holders.
#[derive(Clone, Debug)]
pub struct Admission {
    groups_max: usize,
    radius: Option<u64>,
    /// The groups of the unwidened set.
    groups: Groups,
    widened: bool,
}

/// What a node is to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// One of the k nearest groups.
    Core,
    /// A holder only because the set is widened.
    Widened,
    /// No holder, and neither is anybody farther away.
    Outside,
}

impl Admission {
    /// The set of `groups_max` groups, widened by what `scale` says of the density.
    pub fn new(groups_max: u16, scale: Scale) -> Self {
        Self {
            groups_max: groups_max.into(),
            radius: scale.radius(groups_max),
            groups: Groups::default(),
            widened: false,
        }
    }

    /// Whether there are k groups already, so that nobody farther is a holder unless the set is widened.
    pub fn is_full(&self) -> bool {
        self.groups.len() == self.groups_max
    }

    /// What the next node is, `distance` (leading 64 bits) away. Nodes must be told in order of distance.
    pub fn admit(&mut self, distance: u64, group: Group) -> Place {
        if self.groups.len() < self.groups_max {
            if self.groups.add(group, false) {
                self.widened =
                    self.groups.len() == self.groups_max && self.radius.is_some_and(|radius| distance < radius / 2);
            }
            return Place::Core;
        }
        if self.widened && self.radius.is_some_and(|radius| distance <= radius) {
            return Place::Widened;
        }
        Place::Outside
    }
}

/// Counts the groups that said something, and whether they are a majority.
///
/// In a widened set a majority is one of the k nearest groups *and* one of all groups. So it meets every majority of a
/// neighbour whose estimate of the density leaves the same set unwidened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    core: Groups,
    all: Groups,
}

impl Tally {
    /// Adds a holder: its place and group, and whether it said what is counted.
    pub fn add(&mut self, place: Place, group: Group, voted: bool) {
        if place == Place::Core {
            self.core.add(group, voted);
        }
        if place != Place::Outside {
            self.all.add(group, voted);
        }
    }

    /// Whether more than half of the groups said it.
    pub fn is_majority(&self) -> bool {
        let more_than_half = |groups: &Groups| groups.marked() * 2 > groups.len();
        more_than_half(&self.core) && more_than_half(&self.all)
    }

    /// Whether some group is in the set only because it is widened.
    pub fn is_widened(&self) -> bool {
        self.all.len() > self.core.len()
    }

    /// How many groups said it.
    pub fn voted(&self) -> usize {
        self.all.marked()
    }

    /// How many groups there are in all.
    pub fn groups(&self) -> usize {
        self.all.len()
    }
}

/// A short name for a set of holders: the first four bytes of BLAKE3 over the leading eight bytes of each of their ids,
/// nearest first. Who asks tells its set's name; who sees another set answers with that. Zero means "tell me yours".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, serde::Serialize, serde::Deserialize)]
pub struct SetName(pub u32);

impl SetName {
    /// No set: the answer always names one.
    pub const NONE: SetName = SetName(0);

    /// The name of these holders: the leading 64 bits of their ids, nearest first.
    pub fn of(prefixes: impl Iterator<Item = u64>) -> Self {
        let mut bytes: SmallVec<[u8; INLINE_GROUPS * 8]> = SmallVec::new();
        prefixes.for_each(|prefix| bytes.extend_from_slice(&prefix.to_be_bytes()));
        let [a, b, c, d, ..] = *blake3::hash(&bytes).as_bytes();
        SetName(u32::from_be_bytes([a, b, c, d]).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_the_logarithm_of_the_number_of_nodes() {
        for nodes in [2u64, 3, 17, 1_000, 9_528, 1_000_000, 1 << 40] {
            let exact = (nodes as f64).log2() * 256.0;
            assert!((f64::from(Scale::of_nodes(nodes).0) - exact).abs() <= 1.0, "{nodes}");
            if let Some(radius) = Scale::of_nodes(nodes).radius(1) {
                let ratio = radius as f64 / (2f64.powi(64) / nodes as f64);
                assert!((0.93..1.07).contains(&ratio), "{nodes}: {ratio}");
            }
            let scale = Scale::of_nodes(nodes);
            assert_eq!(scale.nodes_within(u64::MAX), scale.nodes());
            if let Some(radius) = scale.radius(100) {
                assert!((99..=100).contains(&scale.nodes_within(radius)), "{nodes}");
            }
        }
        assert_eq!(Scale::of_nodes(1), Scale::UNKNOWN);
        assert_eq!(Scale::of_nodes(8).radius(16), None);
        assert_eq!(Scale(u16::MAX).radius(u16::MAX), Some(0), "whatever is told has a radius");
        assert_eq!(Scale::UNKNOWN.nodes_within(u64::MAX), 0);
    }

    #[test]
    fn holders_are_the_nearest_until_k_groups_are_among_them() {
        let mut admission = Admission::new(2, Scale::UNKNOWN);
        let places =
            [(1, 7), (2, 7), (3, 8), (4, 7), (5, 9)].map(|(distance, group)| admission.admit(distance, Group(group)));
        assert_eq!(places, [Place::Core, Place::Core, Place::Core, Place::Outside, Place::Outside]);
    }

    #[test]
    fn a_set_in_less_than_half_its_radius_is_widened_to_the_radius() {
        let scale = Scale::of_nodes(1 << 20);
        let radius = scale.radius(2).unwrap();
        let mut ground = Admission::new(2, scale);
        let places =
            [1, 2, radius / 4, radius, radius + 1].map(|distance| ground.admit(distance, Group(distance as u32)));
        assert_eq!(places, [Place::Core, Place::Core, Place::Widened, Place::Widened, Place::Outside]);
        let mut honest = Admission::new(2, scale);
        let places = [1, radius / 2, radius].map(|distance| honest.admit(distance, Group(distance as u32)));
        assert_eq!(places, [Place::Core, Place::Core, Place::Outside]);
    }

    #[test]
    fn in_a_widened_set_a_majority_is_one_of_the_nearest_and_one_of_all() {
        let tally = |core: [bool; 3], widened: [bool; 2]| {
            let mut tally = Tally::default();
            for (index, voted) in core.into_iter().enumerate() {
                tally.add(Place::Core, Group(index as u32), voted);
            }
            for (index, voted) in widened.into_iter().enumerate() {
                tally.add(Place::Widened, Group(10 + index as u32), voted);
            }
            tally
        };
        assert!(tally([true, true, false], [true, false]).is_majority());
        assert!(!tally([true, false, false], [true, true]).is_majority());
        assert!(!tally([true, true, false], [false, false]).is_majority());
    }

    #[test]
    fn one_operator_with_many_nodes_has_one_vote() {
        let mut tally = Tally::default();
        for group in [1, 1, 1, 2, 3] {
            tally.add(Place::Core, Group(group), group == 1);
        }
        assert_eq!((tally.voted(), tally.groups(), tally.is_majority()), (1, 3, false));
    }
}
