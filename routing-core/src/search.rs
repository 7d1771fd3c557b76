//! The greedy search as a machine of its own: whom to ask next, on the way to the nodes nearest to a target.
//!
//! It is told of candidates and of what became of the questions; it tells whom to ask. While it *approaches*, at most α
//! questions are in flight, to the nearest candidates (in a hurry, whoever is none of the nearest any more does not
//! count). Once it has *arrived*, that is once somebody who knows everybody there has said who that is, the caller may
//! ask the whole [`Search::window`] at once. It ends when everybody in the window has answered; who is silent gives way
//! to the next nearest.
//!
//! A liar may say that it knows everybody, and name its friends. Therefore those whom the asker chose by itself and
//! asked on the way, its *guides*, are heard to the end ([`Search::hears_most_guides`]), and each one's *way* is followed
//! to its end ([`Search::has_followed_all_guides`]): the nearest that it names is asked, the nearest that this one names,
//! and so on, whatever was found on other ways, and nobody on two of them. One way of honest nodes leads past any number
//! of friends. Nor can it be crowded out by inventions, however many they are and however near: what the asker knows by
//! itself, and what is named on each way, has room of its own.
//!
//! The machine sends nothing and reads no clock. `A` is what the caller keeps of each answer.

mod room;

use crate::contact::{Contact, Group};
use crate::holders::{Admission, Place, Scale, SetName};
use crate::id::{Grid, Id};
use crate::time::Ticks;
use room::{Crowd, Reserve, Source, Worth};
use std::cmp::Ordering;
use std::sync::Arc;

/// How many candidates a search remembers, nearest first.
const CANDIDATES_MAX: usize = 384;
/// How many contacts known from one informant alone are awaited at once, unless it says that it knows everybody there: on
/// the way, an informant of many inventions must not take all the questions that may be in flight.
const AWAITED_FROM_ONE_INFORMANT_MAX: usize = 4;

/// Somebody who may be asked.
#[derive(Clone, Debug)]
pub struct Candidate<A> {
    contact: Arc<Contact>,
    distance: u64,
    /// Who named it first; `None` if the asker knows it by itself.
    informant: Option<Grid>,
    /// How many have named it, the asker's own table among them.
    named: u8,
    /// How many holders count it among the holders.
    vouched: u8,
    /// Whether it has answered the asker before this search.
    is_neighbour: bool,
    round_trip: Option<Ticks>,
    repute: Repute,
    /// Whether the asker chose it by itself, to be shown the way.
    is_guide: bool,
    /// The ways that lead to it, one bit each.
    ways: u32,
    /// Those of them at whose beginning it is: the guide itself has named it.
    told: u32,
    /// The bit of the way on which it was asked, or 0.
    asked_on: u32,
    /// Whether it has said that it knows everybody near the target.
    knows_all: bool,
    /// Whether its answer is overdue.
    is_overdue: bool,
    state: State<A>,
}

/// How far a candidate is with its question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State<A> {
    /// Not asked yet.
    Fresh,
    /// Asked, nothing heard yet.
    Asked,
    /// Answered.
    Answered(A),
    /// Asked in vain.
    Silent,
}

impl<A> State<A> {
    fn at_first(repute: Repute) -> Self {
        if repute == Repute::Shunned { State::Silent } else { State::Fresh }
    }
}

impl<A> Candidate<A> {
    /// Its card.
    pub fn contact(&self) -> &Arc<Contact> {
        &self.contact
    }

    /// How far it is.
    pub fn state(&self) -> &State<A> {
        &self.state
    }

    /// What it answered.
    pub fn answer(&self) -> Option<&A> {
        if let State::Answered(answer) = &self.state { Some(answer) } else { None }
    }

    /// The round-trip time that the asker knows of.
    pub fn round_trip(&self) -> Option<Ticks> {
        self.round_trip
    }

    /// Whether it was caught lying before.
    pub fn repute(&self) -> Repute {
        self.repute
    }

    /// A silent candidate keeps its seat among the holders if there is reason to believe that it exists (the asker has
    /// met it, or more than one other names it), so that inventions of one informant cannot outvote the holders; and if
    /// not most of the `vouchers`, the holders that said who the holders are, have given it up. Once it is late that goes
    /// for those, too, who may still answer.
    fn keeps_seat(&self, vouchers: u8, is_late: bool) -> bool {
        let is_vouched = u16::from(self.vouched) * 2 >= u16::from(vouchers);
        match self.state {
            State::Silent => self.is_credible() && is_vouched,
            State::Asked => !is_late || is_vouched,
            State::Fresh | State::Answered(_) => true,
        }
    }

    /// Whether its way, or its answer, is lost if it is dropped.
    fn is_engaged(&self) -> bool {
        let is_on_a_way = self.asked_on != 0 && matches!(self.state, State::Fresh | State::Asked);
        self.is_guide || is_on_a_way || matches!(self.state, State::Answered(_))
    }

    /// From where it is known, so far as that has room of its own.
    fn sources(&self) -> impl Iterator<Item = Source> {
        let by_itself = u128::from(self.informant.is_none());
        let mut rest = by_itself | u128::from(self.told) << 1 | u128::from(self.ways & !self.told) << (1 + u32::BITS);
        std::iter::from_fn(move || {
            let source = (rest != 0).then(|| rest.trailing_zeros() as Source)?;
            rest &= rest - 1;
            Some(source)
        })
    }

    /// Whether somebody but a single informant believes that it exists.
    pub fn is_credible(&self) -> bool {
        self.is_neighbour || self.named > 1
    }
}

/// What the asker knows of a candidate beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acquaintance {
    /// Whether it has answered before.
    pub is_neighbour: bool,
    /// Its round-trip time.
    pub round_trip: Option<Ticks>,
    /// Whether it was caught lying.
    pub repute: Repute,
}

/// What somebody's record of lies is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Repute {
    /// None that can be proven.
    #[default]
    Clean,
    /// It was caught: it is asked last.
    Caught,
    /// It was caught repeatedly: it is not asked, and counts as silent.
    Shunned,
}

/// A search for the nodes nearest to a target.
#[derive(Clone, Debug)]
pub struct Search<A> {
    target: Id,
    groups: u16,
    alpha: usize,
    /// The asker's own place, if it is a node: it may be one of the holders itself.
    own: Option<(Grid, Group)>,
    scale: Scale,
    candidates: Vec<Candidate<A>>,
    /// Of which groups the candidates are, once there are as many as may be; till then nobody asks.
    crowd: Option<Crowd>,
    /// How many holders have said who the holders are.
    vouchers: u8,
    has_arrived: bool,
    is_in_a_hurry: bool,
    /// Whether those who have not answered yet need not be waited for if most holders do not count them.
    is_late: bool,
    /// The sets that holders were told by their names.
    told: Vec<(SetName, Vec<Grid>)>,
}

/// One seat of the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seat {
    /// The asker itself.
    Own(Place, Group),
    /// The candidate with this index.
    Other(usize, Place),
}

impl<A> Search<A> {
    /// A search for the nearest `groups` groups. `own` is the asker if it is a node.
    pub fn new(target: Id, groups: u16, alpha: u16, own: Option<(Grid, Group)>, scale: Scale) -> Self {
        Self {
            target,
            groups,
            alpha: alpha.into(),
            own,
            scale,
            candidates: Vec::new(),
            crowd: None,
            vouchers: 0,
            has_arrived: false,
            is_in_a_hurry: false,
            is_late: false,
            told: Vec::new(),
        }
    }

    /// The target.
    pub fn target(&self) -> &Id {
        &self.target
    }

    /// How many groups are searched.
    pub fn groups(&self) -> u16 {
        self.groups
    }

    /// The candidates, nearest first.
    pub fn candidates(&self) -> &[Candidate<A>] {
        &self.candidates
    }

    /// The candidate with this id.
    pub fn candidate(&self, grid: &Grid) -> Option<&Candidate<A>> {
        self.position(grid).ok().map(|index| &self.candidates[index])
    }

    /// Twice as many questions as usual are in flight while it approaches.
    pub fn widen(&mut self) {
        self.alpha *= 2;
    }

    /// While it approaches, whoever was asked on the way and is none of the nearest any more does not hold up the next question,
    /// unless twice as many are in flight as usual. That takes more questions, and fewer round trips.
    pub fn hurry(&mut self) {
        self.is_in_a_hurry = true;
    }

    /// Whoever is nearest is known, as far as that can be told.
    pub fn arrive(&mut self) {
        self.has_arrived = true;
    }

    /// `informant` has said who is nearest, and that it knows everybody there.
    pub fn arrive_by(&mut self, informant: &Grid) {
        if let Ok(index) = self.position(informant) {
            self.candidates[index].knows_all = true;
        }
        self.arrive();
    }

    /// Whether the window is likely to be the right one, so that all of it may be asked at once.
    pub fn has_arrived(&self) -> bool {
        self.has_arrived
    }

    /// The density by which the window is widened.
    pub fn set_scale(&mut self, scale: Scale) {
        self.scale = scale;
    }

    fn position(&self, grid: &Grid) -> Result<usize, usize> {
        let distance = self.target.prefix() ^ grid.0.prefix();
        self.candidates.binary_search_by(|candidate| {
            candidate.distance.cmp(&distance).then_with(|| {
                let known = candidate.contact.grid();
                // Mostly it is the one that is looked for.
                if known == *grid {
                    return Ordering::Equal;
                }
                self.target.distance(&known.0).cmp(&self.target.distance(&grid.0))
            })
        })
    }

    /// Adds somebody the asker knows by itself.
    pub fn add_known(&mut self, contact: &Arc<Contact>, acquaintance: Acquaintance) {
        self.add(contact, None, acquaintance);
    }

    /// Adds somebody whom `informant` named.
    pub fn add_named(&mut self, contact: &Arc<Contact>, informant: Grid, acquaintance: Acquaintance) {
        self.add(contact, Some(informant), acquaintance);
    }

    fn add(&mut self, contact: &Arc<Contact>, informant: Option<Grid>, acquaintance: Acquaintance) {
        let grid = contact.grid();
        if self.own.is_some_and(|(own, _)| own == grid) {
            return;
        }
        let named_by = informant.and_then(|informant| self.candidate(&informant));
        let way = named_by.map_or(0, |informant| informant.asked_on);
        let told = named_by.filter(|informant| informant.is_guide).map_or(0, |guide| guide.asked_on);
        match self.position(&grid) {
            Ok(index) => {
                let known = &mut self.candidates[index];
                known.ways |= way;
                known.told |= told;
                if known.informant != informant {
                    known.named = known.named.saturating_add(1);
                }
                // Whoever is an entry point stays one, though another has named it before it was reached.
                known.informant = known.informant.filter(|_| informant.is_some());
                if contact.supersedes(&known.contact) {
                    if let Some(crowd) = &mut self.crowd {
                        crowd.remove(known.contact.group());
                        crowd.add(contact.group());
                    }
                    known.contact = contact.clone();
                }
            }
            Err(index) => {
                if self.candidates.len() == CANDIDATES_MAX {
                    let crowd = self.crowd.get_or_insert_with(|| Crowd::of(&self.candidates));
                    let has_no_source = informant.is_some() && way == 0;
                    let is_last = self.candidates[index..].iter().all(Candidate::is_engaged);
                    if has_no_source && is_last && crowd.has_no_room_at_the_end(contact.group()) {
                        return;
                    }
                    crowd.add(contact.group());
                }
                self.candidates.insert(
                    index,
                    Candidate {
                        contact: contact.clone(),
                        distance: self.target.prefix() ^ grid.0.prefix(),
                        informant,
                        named: 1,
                        vouched: 0,
                        is_neighbour: acquaintance.is_neighbour,
                        round_trip: acquaintance.round_trip,
                        repute: acquaintance.repute,
                        is_guide: false,
                        ways: way,
                        told,
                        asked_on: 0,
                        knows_all: false,
                        is_overdue: false,
                        state: State::at_first(acquaintance.repute),
                    },
                );
                if self.candidates.len() > CANDIDATES_MAX {
                    self.drop_one();
                }
            }
        }
    }

    /// Drops the farthest candidate of a group that has more than its share, else the farthest of all. Those for whom room is
    /// reserved are dropped only if there is nobody else, and last of all guides, who is awaited on a way, and who has answered.
    fn drop_one(&mut self) {
        let has_surplus = self.crowd.as_ref().is_some_and(|crowd| crowd.surplus > 0);
        let mut reserve = Reserve::new(self.guides().count(), has_surplus);
        let mut seen = Crowd::default();
        let worths = self.candidates.iter().map(|candidate| {
            let before = seen.surplus;
            if has_surplus {
                seen.add(candidate.contact.group());
            }
            // Whoever is kept anyway takes nobody's room.
            if candidate.is_engaged() {
                Worth::Engaged
            } else if reserve.has_room(candidate) {
                Worth::Reserved
            } else if seen.surplus > before {
                Worth::OneTooManyOfItsGroup
            } else {
                Worth::Usual
            }
        });
        // Of those that are worth the same the last, that is the farthest.
        let Some((index, _)) = worths.enumerate().min_by_key(|(index, worth)| (*worth, std::cmp::Reverse(*index)))
        else {
            return;
        };
        let dropped = self.candidates.remove(index);
        if let Some(crowd) = &mut self.crowd {
            crowd.remove(dropped.contact.group());
        }
    }

    /// The nearest until k groups are among them, without those who were asked in vain: whom to ask.
    pub fn window(&self) -> Vec<Seat> {
        let is_late = self.is_late();
        self.seats_of(|candidate| {
            !matches!(candidate.state, State::Silent) && candidate.keeps_seat(self.vouchers, is_late)
        })
    }

    /// The holders as far as the asker can tell: the silent keep their seats, if there is reason to believe in them.
    pub fn seats(&self) -> Vec<Seat> {
        let is_late = self.is_late();
        self.seats_of(|candidate| candidate.keeps_seat(self.vouchers, is_late))
    }

    /// Whether those are not waited for whom most holders do not count: enough have said whom they do.
    fn is_late(&self) -> bool {
        self.is_late && u16::from(self.vouchers) * 2 > self.groups
    }

    fn seats_of(&self, counts: impl Fn(&Candidate<A>) -> bool) -> Vec<Seat> {
        let mut admission = Admission::new(self.groups, self.scale);
        let mut seats = Vec::with_capacity(usize::from(self.groups) + 4);
        let mut own = self.own.map(|(grid, group)| (grid, self.target.prefix() ^ grid.0.prefix(), group));
        for (index, candidate) in self.candidates.iter().enumerate().filter(|(_, candidate)| counts(candidate)) {
            if let Some((grid, own_prefix, group)) = own
                && (own_prefix < candidate.distance
                    || own_prefix == candidate.distance
                        && self.target.distance(&grid.0) < self.target.distance(&candidate.contact.grid().0))
            {
                own = None;
                match admission.admit(own_prefix, group) {
                    Place::Outside => return seats,
                    place => seats.push(Seat::Own(place, group)),
                }
            }
            match admission.admit(candidate.distance, candidate.contact.group()) {
                Place::Outside => return seats,
                place => seats.push(Seat::Other(index, place)),
            }
        }
        if let Some((_, own_prefix, group)) = own {
            match admission.admit(own_prefix, group) {
                Place::Outside => {}
                place => seats.push(Seat::Own(place, group)),
            }
        }
        seats
    }

    /// The name of the set that the asker sees. It is told to others once the search has arrived; before, nobody's view
    /// of the target is worth comparing.
    pub fn set_name(&self) -> SetName {
        if self.has_arrived { self.name_of(&self.window()) } else { SetName::NONE }
    }

    /// The name of the set with these seats, which somebody is told now, and may answer that it sees the same.
    pub fn tell(&mut self, seats: &[Seat]) -> SetName {
        let name = self.name_of(seats);
        if self.told.iter().all(|(told, _)| *told != name) {
            let other = |seat: &Seat| match seat {
                Seat::Own(..) => None,
                Seat::Other(index, _) => Some(self.candidates[*index].contact.grid()),
            };
            self.told.push((name, seats.iter().filter_map(other).collect()));
        }
        name
    }

    /// The name of the set with these seats.
    pub fn name_of(&self, seats: &[Seat]) -> SetName {
        let own = self.own.map_or(0, |(grid, _)| grid.0.prefix());
        SetName::of(seats.iter().map(|seat| match seat {
            Seat::Own(..) => own,
            Seat::Other(index, _) => self.candidates[*index].distance ^ self.target.prefix(),
        }))
    }

    /// The next whom to ask on the way, or `None` while enough questions are in flight or nobody is left to ask.
    pub fn next(&self) -> Option<&Arc<Contact>> {
        self.next_of(&self.window())
    }

    /// The same, where the window is known already: it stays as it is while nothing but questions go out.
    pub fn next_of(&self, window: &[Seat]) -> Option<&Arc<Contact>> {
        let is_in_flight = |candidate: &&Candidate<A>| matches!(candidate.state, State::Asked) && !candidate.is_overdue;
        let in_flight = self.candidates.iter().filter(is_in_flight).count();
        // In a hurry only those of the nearest count, up to twice as many in all: whoever answers with ever nearer names must
        // not have questions sent without end.
        let is_enough = if self.is_in_a_hurry && in_flight < self.alpha * 2 {
            let nearest = window.iter().filter_map(|seat| match seat {
                Seat::Own(..) => None,
                Seat::Other(index, _) => Some(&self.candidates[*index]),
            });
            nearest.filter(is_in_flight).count() >= self.alpha
        } else {
            in_flight >= self.alpha
        };
        if !self.has_arrived && is_enough {
            return None;
        }
        // The nearest; of those who were caught, only if nobody else is left.
        let askable = window.iter().filter_map(|seat| match seat {
            Seat::Other(index, _) if self.may_ask(*index) => Some(&self.candidates[*index]),
            _ => None,
        });
        askable.min_by_key(|candidate| candidate.repute).map(|candidate| &candidate.contact)
    }

    /// The next who may be made a guide, until there are `count`: the nearest of those that the asker knows by itself and
    /// has not asked yet.
    pub fn next_guide(&self, count: usize) -> Option<&Arc<Contact>> {
        if self.guides().count() >= count {
            return None;
        }
        let is_known = |candidate: &&Candidate<A>| {
            candidate.informant.is_none()
                && matches!(candidate.state, State::Fresh)
                && candidate.repute == Repute::Clean
        };
        self.candidates.iter().find(is_known).map(|candidate| &candidate.contact)
    }

    /// `grid` is one of those who show the way: what the search finds is nothing worth before most of them were heard.
    pub fn on_guide(&mut self, grid: &Grid) {
        if let Ok(index) = self.position(grid)
            && !self.candidates[index].is_guide
        {
            let way = u32::try_from(self.guides().count()).ok().and_then(|number| 1u32.checked_shl(number));
            let candidate = &mut self.candidates[index];
            candidate.is_guide = true;
            candidate.asked_on = way.unwrap_or(0);
        }
    }

    /// The next whom to ask on some guide's way, though the window may be full of others: the nearest that was named on it,
    /// if it is nearer than all who have answered on it.
    pub fn next_on_a_way(&mut self) -> Option<Arc<Contact>> {
        let ways = self.guides().fold(0, |ways, guide| ways | guide.asked_on);
        let bits = (0..u32::BITS).map(|number| 1 << number).filter(|way| ways & way != 0);
        let (index, way) = bits.filter_map(|way| Some((self.next_on(way)?, way))).next()?;
        let candidate = &mut self.candidates[index];
        candidate.asked_on = way;
        Some(candidate.contact.clone())
    }

    /// The same on one way. It has ended where somebody on it has said that it knows everybody, or is silent: where many have
    /// died at once every way leads to them, and each would cost a time-out.
    fn next_on(&self, way: u32) -> Option<usize> {
        for (index, candidate) in self.candidates.iter().enumerate() {
            if candidate.asked_on == way {
                match candidate.state {
                    State::Asked | State::Answered(_) => return None,
                    State::Fresh | State::Silent => {}
                }
            } else if candidate.ways & way != 0
                && matches!(candidate.state, State::Fresh)
                && candidate.repute == Repute::Clean
            {
                let mut on_it = self.candidates.iter().filter(|other| other.asked_on == way);
                let is_over = |on_it: &Candidate<A>| on_it.knows_all || !matches!(on_it.state, State::Answered(_));
                return (!on_it.any(is_over)).then_some(index);
            }
        }
        None
    }

    fn guides(&self) -> impl Iterator<Item = &Candidate<A>> {
        self.candidates.iter().filter(|candidate| candidate.is_guide)
    }

    /// Whether more than half of the guides have answered, or were asked in vain.
    pub fn hears_most_guides(&self) -> bool {
        let (heard, all) = self.count_guides();
        heard * 2 > all || all == 0
    }

    /// Whether all guides, and all who were asked on their ways, have answered or were asked in vain. Asking goes before:
    /// [`Search::next_on_a_way`].
    pub fn has_followed_all_guides(&self) -> bool {
        let is_awaited = |candidate: &Candidate<A>| {
            (candidate.is_guide || candidate.asked_on != 0) && matches!(candidate.state, State::Fresh | State::Asked)
        };
        !self.candidates.iter().any(is_awaited)
    }

    fn count_guides(&self) -> (usize, usize) {
        let is_heard = |guide: &&Candidate<A>| matches!(guide.state, State::Answered(_) | State::Silent);
        (self.guides().filter(is_heard).count(), self.guides().count())
    }

    /// Whether the candidate with this index is still to be asked, and its informant not trusted too far by it.
    pub fn may_ask(&self, index: usize) -> bool {
        let candidate = &self.candidates[index];
        if !matches!(candidate.state, State::Fresh) {
            return false;
        }
        let rests_on_one = |candidate: &Candidate<A>| candidate.named == 1 && !candidate.is_neighbour;
        let Some(informant) = candidate.informant.filter(|_| rests_on_one(candidate)) else { return true };
        if self.candidate(&informant).is_some_and(|informant| informant.knows_all) {
            return true;
        }
        let awaited = self.candidates.iter().filter(|other| {
            matches!(other.state, State::Asked) && other.informant == Some(informant) && rests_on_one(other)
        });
        awaited.count() < AWAITED_FROM_ONE_INFORMANT_MAX
    }

    /// A question went out to `grid`. On the way, those whom the asker knows by itself are guides.
    pub fn on_asked(&mut self, grid: &Grid) {
        if !self.has_arrived && self.candidate(grid).is_some_and(|candidate| candidate.informant.is_none()) {
            self.on_guide(grid);
        }
        self.set_state(grid, State::Asked);
    }

    /// `grid` answered.
    pub fn on_answer(&mut self, grid: &Grid, answer: A) {
        self.set_state(grid, State::Answered(answer));
    }

    /// `grid` was asked in vain.
    pub fn on_silence(&mut self, grid: &Grid) {
        self.set_state(grid, State::Silent);
    }

    /// Those in flight wait for long: as many others may be asked meanwhile as if there were none.
    pub fn on_overdue(&mut self) {
        let asked = self.candidates.iter_mut().filter(|candidate| matches!(candidate.state, State::Asked));
        asked.for_each(|candidate| candidate.is_overdue = true);
    }

    /// Whether most of the holders that said who the holders are count the candidate with this index.
    pub fn is_vouched(&self, index: usize) -> bool {
        u16::from(self.candidates[index].vouched) * 2 >= u16::from(self.vouchers)
    }

    /// A holder says that these are the holders, beside itself and the asker.
    pub fn on_vouched(&mut self, holders: impl Iterator<Item = Grid>) {
        self.vouchers = self.vouchers.saturating_add(1);
        for grid in holders {
            if let Ok(index) = self.position(&grid) {
                self.candidates[index].vouched = self.candidates[index].vouched.saturating_add(1);
            }
        }
    }

    /// A holder sees the set that it was told by this name. Others may have come into the window since.
    pub fn on_agreed(&mut self, name: SetName) {
        let told = std::mem::take(&mut self.told);
        if let Some((_, holders)) = told.iter().find(|(told, _)| *told == name) {
            self.on_vouched(holders.iter().copied());
        }
        self.told = told;
    }

    /// It takes long: of those who have not answered yet, whom most holders do not count is not waited for.
    pub fn on_late(&mut self) {
        self.is_late = true;
    }

    fn set_state(&mut self, grid: &Grid, state: State<A>) {
        if let Ok(index) = self.position(grid) {
            self.candidates[index].state = state;
        }
    }

    /// Begins again with the same candidates: what they know may have changed since they answered.
    pub fn begin_again(&mut self) {
        self.has_arrived = false;
        for candidate in &mut self.candidates {
            candidate.state = State::at_first(candidate.repute);
            candidate.is_guide = false;
            (candidate.ways, candidate.told, candidate.asked_on) = (0, 0, 0);
            (candidate.knows_all, candidate.is_overdue) = (false, false);
        }
    }

    /// Whether everybody in the window has answered.
    pub fn is_finished(&self) -> bool {
        self.is_finished_in(&self.window())
    }

    /// The same, where the window is known already.
    pub fn is_finished_in(&self, window: &[Seat]) -> bool {
        window.iter().all(|seat| match seat {
            Seat::Own(..) => true,
            Seat::Other(index, _) => matches!(self.candidates[*index].state, State::Answered(_)),
        })
    }

    /// Whether somebody at most so far away, in leading 64 bits, has not answered yet.
    pub fn is_awaited_within(&self, distance: u64) -> bool {
        let within = self.candidates.iter().take_while(|candidate| candidate.distance <= distance);
        within.map(|candidate| &candidate.state).any(|state| matches!(state, State::Asked))
    }
}

#[cfg(test)]
mod tests;
