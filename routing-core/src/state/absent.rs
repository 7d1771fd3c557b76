//! Holders next to this node that do not answer, and how long they keep their places.
//!
//! ```text
//!   says "away"      -> Away, until the time it said and a grace
//!   stays silent     -> Silent, for a grace              both keep their places: nothing moves
//!   grace is over    -> Lost: others take its place, and compare until they have what it held
//!   answers again    -> forgotten here
//! ```
//!
//! Where no majority of a key's holders is left, those that do not answer lose their places at once: then it matters
//! more that there are holders than that nothing moves. A node that takes a place so says *not yet* about those keys
//! until it has compared them with its fellows: for that, the lost count as holders until then.

use super::core::Core;
use crate::contact::{Contact, Standing};
use crate::id::{Grid, Id};
use crate::table::Entry;
use crate::time::{Tick, Ticks};
use std::collections::BTreeMap;

/// How many are kept in mind. Who would be one more loses its place at once.
const ABSENT_MAX: usize = 1_024;
/// How many of them there may be when somebody is added that has never answered: anybody can invent those, and leave no room.
const ABSENT_UNHEARD_MAX: usize = ABSENT_MAX / 2;

/// Who does not answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Absent {
    absent: BTreeMap<Grid, Absence>,
}

#[derive(Clone, Copy, Debug)]
struct Absence {
    /// Until when it keeps its place; `None` once it is lost.
    until: Option<Tick>,
    /// Whether what it holds has been compared with the fellows since it fell silent.
    is_compared: bool,
}

impl Absent {
    pub(crate) fn is_empty(&self) -> bool {
        self.absent.is_empty()
    }

    /// Somebody stays silent, or has said that it is away, and keeps its place for now. Who was lost stays lost.
    pub(crate) fn add(&mut self, grid: Grid, until: Tick, has_answered: bool) {
        if self.absent.len() < if has_answered { ABSENT_MAX } else { ABSENT_UNHEARD_MAX } {
            self.absent.entry(grid).or_insert(Absence { until: Some(until), is_compared: false });
        }
    }

    /// It answers again, or has left. Says whether it was absent.
    pub(crate) fn remove(&mut self, grid: &Grid) -> bool {
        self.absent.remove(grid).is_some()
    }

    /// Whether it is absent.
    pub(crate) fn contains(&self, grid: &Grid) -> bool {
        self.absent.contains_key(grid)
    }

    /// Whether somebody is absent whose id begins with these 64 bits.
    pub(crate) fn contains_at(&self, prefix: u64) -> bool {
        let mut first = [0; 32];
        first[..8].copy_from_slice(&prefix.to_be_bytes());
        self.absent.range(Grid(Id(first))..).next().is_some_and(|(grid, _)| grid.0.prefix() == prefix)
    }

    /// Whether it keeps its place.
    pub(crate) fn keeps_place(&self, grid: &Grid) -> bool {
        self.absent.get(grid).is_some_and(|absence| absence.until.is_some())
    }

    /// Those who keep their places.
    pub(crate) fn keeping_place(&self) -> impl Iterator<Item = &Grid> {
        self.absent.iter().filter(|(_, absence)| absence.until.is_some()).map(|(grid, _)| grid)
    }

    /// Whether a place taken from it is still new to whoever took it.
    pub(crate) fn is_to_be_compared(&self, grid: &Grid) -> bool {
        self.absent.get(grid).is_some_and(|absence| !absence.is_compared)
    }

    /// When the next of them loses its place.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        self.absent.values().filter_map(|absence| absence.until).min()
    }

    /// Those whose time is over lose their places. Says whether there were any.
    pub(crate) fn expire(&mut self, now: Tick) -> bool {
        let mut is_any = false;
        for absence in self.absent.values_mut().filter(|absence| absence.until.is_some_and(|until| until <= now)) {
            *absence = Absence { until: None, is_compared: false };
            is_any = true;
        }
        is_any
    }

    /// What all of them held has been compared, as far as others took their places: the lost are forgotten and returned.
    pub(crate) fn on_compared(&mut self) -> Vec<Grid> {
        let lost = self.absent.iter().filter(|(_, absence)| absence.until.is_none()).map(|(grid, _)| *grid).collect();
        self.absent.retain(|_, absence| absence.until.is_some());
        self.absent.values_mut().for_each(|absence| absence.is_compared = true);
        lost
    }
}

impl Core {
    /// A neighbour does not answer, or has said so before: it keeps its place until then.
    pub(super) fn on_absent(&mut self, grid: Grid, until: Tick) {
        let has_answered = self.table.entry(&grid).is_some_and(Entry::has_answered);
        self.absent.add(grid, until, has_answered);
        self.fellowship.on_change(&self.contact.grid(), &grid);
    }

    /// Somebody's card that is new here says that it is away. A neighbour keeps its place for as long as it has said, but not
    /// without end, whoever showed the card: others have heard its farewell, and nothing moves at theirs.
    pub(super) fn note_away(&mut self, contact: &Contact) {
        let Standing::Away { for_ms } = contact.standing() else { return };
        let neighbourhood = usize::from(self.config.holders) * 4;
        let mut neighbours = self.table.nearest(&self.contact.grid().0).take(neighbourhood);
        let is_neighbour = neighbours.any(|entry| entry.contact().grid() == contact.grid());
        drop(neighbours);
        if is_neighbour {
            let span = Core::bounded_absence(Ticks(for_ms)).max(self.config.grace);
            self.on_absent(contact.grid(), self.now + span);
        }
    }

    /// Somebody answers.
    pub(super) fn on_back(&mut self, grid: &Grid) {
        if !self.absent.is_empty() && self.absent.remove(grid) {
            self.fellowship.on_change(&self.contact.grid(), grid);
        }
    }

    /// Somebody has proven itself or signed a newer card: unless it leaves requests unanswered, it is there.
    pub(super) fn on_back_if_available(&mut self, grid: &Grid) {
        if !self.absent.is_empty() && self.table.entry(grid).is_some_and(Entry::is_available) {
            self.on_back(grid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    fn grid(number: u8) -> Grid {
        Grid(Id([number; 32]))
    }

    #[test]
    fn the_silent_keep_their_places_for_a_grace_and_count_until_what_they_held_is_compared() {
        let mut absent = Absent::default();
        absent.add(grid(1), Tick(100), true);
        absent.add(grid(2), Tick(200), true);
        assert!(!absent.expire(Tick(99)) && absent.keeps_place(&grid(1)));
        assert_eq!(absent.next_due(), Some(Tick(100)));
        assert!(absent.expire(Tick(100)));
        assert!(absent.contains(&grid(1)) && !absent.keeps_place(&grid(1)) && absent.keeps_place(&grid(2)));
        absent.add(grid(1), Tick(900), true);
        assert!(!absent.keeps_place(&grid(1)), "who was lost stays lost until it answers");
        assert_eq!(absent.on_compared(), [grid(1)]);
        assert!(absent.keeps_place(&grid(2)) && !absent.is_to_be_compared(&grid(2)));
        assert!(absent.remove(&grid(2)) && absent.is_empty());
    }

    #[test]
    fn a_flood_of_the_silent_takes_no_more_than_its_bound_and_of_those_who_never_answered_half_of_it() {
        let mut absent = Absent::default();
        for (has_answered, bound) in [(false, ABSENT_UNHEARD_MAX), (true, ABSENT_MAX)] {
            for number in 0..ABSENT_MAX as u32 * 2 {
                absent.add(Grid(Id::of(&number.to_be_bytes())), Tick(1), has_answered);
            }
            assert_eq!(absent.absent.len(), bound);
        }
    }
}
