//! Finding what is registered under a key: which answers are enough, and what they mean.
//!
//! The holders are asked all at once as far as the level of consistency needs them, the soonest first; a hedge asks the
//! others when an answer is late. Who sees another set of holders says so, and the set grows. The greatest valid record
//! wins, whoever holds it; holders that turned out stale are told it. Of a claim the one that most holders keep wins, by
//! [`Ballot`]. At the level `Confirmed` the home-server that the answer names has the last word: see [`confirm`].

mod confirm;

use super::core::Core;
use super::operations::Progress;
use super::requests::{Pending, Purpose};
use crate::ballot::{Ballot, Vote};
use crate::contact::{Contact, Group};
use crate::effect::{Consistency, Effect, OperationId, Outcome, Target};
use crate::holders::{Place, Scale, SetName, Tally, agreed};
use crate::id::{Grid, Key, Kind};
use crate::message::{Copy, Find, Found, Message, RequestId, Standing, Store, StoreItem, Want};
use crate::record::{Held, Record};
use crate::search::{Candidate, Repute, Search, Seat, State};
use crate::time::{Tick, Ticks};
use confirm::Confirming;
use std::sync::Arc;

/// How many holders must agree for a quick answer.
const QUICK_HOLDERS: usize = 3;
/// How long a search that found nobody who knows everybody near its target waits before it begins again, and how often.
pub(super) const SEARCH_PAUSE: Ticks = Ticks::seconds(1);
pub(super) const SEARCH_TRIES_MAX: u8 = 5;
/// How many more than needed are asked, so that one slow or new holder does not cost a round trip.
const SPARE_HOLDERS: usize = 2;
/// What a round trip is reckoned to take that nobody has measured: somewhat more than one between two servers of a federation
/// takes in the mean (experiment 0018), since a link may have to be opened.
const UNMEASURED: Ticks = Ticks(120);
/// What is added for each place by which a contact is farther away than those who are holders for sure: whoever asks one that is
/// none waits for another round trip, and of eight the farthest is reckoned to cost about that. Measured: experiment 0018.
const DOUBT: Ticks = Ticks(12);

/// How many are asked the way by whoever has to be sure, beside a client's entry points.
pub(super) const GUIDES: usize = 8;

/// What a lookup found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A placement: the record names the home-server.
    Found,
    /// A placement, and proof that somebody else signs with the same key.
    Conflict,
    /// Several claim the text, and fewer than two thirds of the holders that have a claim keep the same one's.
    Contested,
    /// The user has closed the account.
    Closed,
    /// A majority of the holders answered, and nobody has a record.
    Absent,
    /// Nobody had a record, but too few holders answered: says nothing about the record.
    Unreachable,
}

impl Verdict {
    /// It in a word, for people and for programs: `found`, `conflict`, `contested`, `closed`, `absent` or `unreachable`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Found => "found",
            Verdict::Conflict => "conflict",
            Verdict::Contested => "contested",
            Verdict::Closed => "closed",
            Verdict::Absent => "absent",
            Verdict::Unreachable => "unreachable",
        }
    }
}

/// The answer to a lookup, with all that explains it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The key that was asked for.
    pub key: Key,
    /// What was found.
    pub verdict: Verdict,
    /// The greatest record seen; of claims, that of the claimant with the most votes.
    pub record: Option<Arc<Record>>,
    /// With [`Verdict::Conflict`]: the greatest record that contradicts it. With [`Verdict::Contested`]: the claim with
    /// the second most votes.
    pub rival: Option<Arc<Record>>,
    /// Of a claim: each claimant heard of with the groups of holders that keep it, most votes first.
    pub votes: Vec<Vote>,
    /// Whether as many holders agreed as the level asks for; else the answer is *unsettled*.
    pub is_settled: bool,
    /// Whether the home-server that the record names has said so itself, over a link that proves its domain. Asked for
    /// at [`Consistency::Confirmed`] only.
    pub is_confirmed: bool,
    /// How many groups of holders have exactly this record.
    pub confirmations: usize,
    /// How long ago the record was announced, as far as the holders know.
    pub age: Ticks,
    /// Depth of the last answer that was waited for; 0 if the own store was enough.
    pub round_trips: u8,
    /// Who was asked when, and what they said.
    pub trace: Vec<Hop>,
}

/// One question of a lookup.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Who was asked.
    pub peer: Arc<Contact>,
    /// When.
    pub asked: Tick,
    /// How deep: 1 + the depth of what led to it.
    pub depth: u8,
    /// What was said, and when; `None` if nothing was, or not in time.
    pub said: Option<(Tick, Said)>,
}

/// What a peer said of a key.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it counts.
    pub standing: Standing,
    /// The record it has.
    pub copy: Option<Arc<Copy>>,
    /// How many contacts it named; `None` if it sees the same set.
    pub named: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Lookup {
    id: OperationId,
    key: Key,
    consistency: Consistency,
    search: Search<Said>,
    /// Whether the own table has everybody near the key.
    knows_holders: bool,
    /// What this node itself says, if it is a holder.
    own: Option<Said>,
    best: Option<Held>,
    scales: Vec<Scale>,
    /// Entry points dialled and not heard of yet.
    dialled: usize,
    /// Whom a dial has reached: a link stands that the table does not know of.
    linked: Vec<Grid>,
    hedge: Option<Tick>,
    is_hedged: bool,
    /// When to begin again, and how often that was done, where nobody who knows everybody was found.
    retry: Option<Tick>,
    tries: u8,
    deadline: Tick,
    /// The home-server that is being asked, once the holders have answered, and how many were.
    confirming: Option<Confirming>,
    homes_asked: u8,
    is_confirmed: bool,
    trace: Vec<Hop>,
}

impl Lookup {
    pub(super) fn start(
        core: &mut Core,
        id: OperationId,
        key: Key,
        consistency: Consistency,
        entries: &[Target],
    ) -> Option<Self> {
        let groups = core.config.holders_of(key.kind);
        let mut search = core.search(key.id, groups);
        if core.knows_all_at(&key.id) {
            search.arrive();
        } else if consistency == Consistency::Quick && core.is_node() {
            if core.table.knows_somebody_of_slice(&key.id) {
                // Its answer names the holders, and the others', who may be quicker, only those who name them.
                search.hurry();
            } else {
                // Each who is asked may know another one of that slice: three of them who hold the key save a round trip.
                search.widen();
            }
        }
        let own = core.is_node().then(|| {
            let view = core.view(&key.id, groups);
            let (_, is_settled) = core.standing_for(&key, &view);
            let standing = if is_settled { Standing::Settled } else { Standing::NotYet };
            let copy = core.store.get(&key).map(|stored| Arc::new(stored.copy(core.now)));
            Said { standing, copy, named: None }
        });
        let mut best = own.as_ref().and_then(|own| own.copy.as_ref()).map(|copy| held(copy));
        // No asker is told a lesser record than it saw before, whatever became of the holders since. Of claims, which
        // `seen` does not have, the votes decide.
        if let Some(seen) = core.seen.get(&key) {
            match &mut best {
                Some(best) => {
                    best.merge(seen.clone());
                }
                None => best = Some(Held::new(seen.clone())),
            }
        }
        let mut lookup = Self {
            id,
            key,
            consistency,
            knows_holders: search.has_arrived(),
            search,
            own,
            best,
            scales: Vec::new(),
            dialled: entries.len(),
            linked: Vec::new(),
            hedge: None,
            is_hedged: false,
            retry: None,
            tries: 0,
            deadline: core.now + core.config.lookup_deadline,
            confirming: None,
            homes_asked: 0,
            is_confirmed: false,
            trace: Vec::new(),
        };
        for target in entries {
            core.dials.push((target.clone(), id));
            core.effect(Effect::Request(target.clone()));
        }
        match lookup.advance(core, 0) {
            Progress::Going => Some(lookup),
            Progress::Done => None,
        }
    }

    /// When this lookup wants to be woken.
    pub(super) fn next_wake(&self) -> Tick {
        self.hedge.into_iter().chain(self.retry).fold(self.deadline, Tick::min)
    }

    pub(super) fn on_linked(&mut self, core: &mut Core, target: &Target, contact: &Arc<Contact>) -> Progress {
        if self.is_home(target) {
            return self.on_home_linked(core, contact);
        }
        // Entry points that were still being dialled have nothing to say any more.
        if self.confirming.is_some() {
            return Progress::Going;
        }
        self.dialled = self.dialled.saturating_sub(1);
        if core.is_worth_knowing(contact) {
            // Dialled at another address than its card names, it is dialled there before it counts.
            if target.address == *contact.address() {
                self.linked.push(contact.grid());
            }
            self.search.add_known(contact, core.acquaintance(&contact.grid()));
            // All entry points are asked, also if one of them has shown the way already.
            self.search.on_guide(&contact.grid());
            let is_fresh = |entry: &Candidate<Said>| matches!(entry.state(), State::Fresh);
            if self.search.candidate(&contact.grid()).is_some_and(is_fresh) {
                let set =
                    if self.search.has_arrived() { self.search.tell(&self.search.window()) } else { SetName::NONE };
                self.ask(core, contact, set, 1);
            }
        }
        self.advance(core, 0)
    }

    pub(super) fn on_unreachable(&mut self, core: &mut Core, target: &Target) -> Progress {
        if self.is_home(target) {
            return self.end_unconfirmed(core, None);
        }
        if self.confirming.is_some() {
            return Progress::Going;
        }
        self.dialled = self.dialled.saturating_sub(1);
        self.advance(core, 0)
    }

    /// An answer came.
    pub(super) fn on_found(&mut self, core: &mut Core, pending: &Pending, found: &Found) -> Progress {
        let informant = pending.peer.grid();
        if let Some(copy) = &found.copy {
            let known = self.best.as_ref().map(|best| &**best.record());
            if copy.record.key() != self.key || !copy.is_valid_beside(known) {
                if !copy.is_of_later_format() {
                    core.blame(informant);
                }
                return self.on_silence(core, pending);
            }
        }
        if self.confirming.is_some() {
            return self.on_home_answered(core, pending, found);
        }
        if let Some(copy) = &found.copy {
            match &mut self.best {
                Some(best) => {
                    best.merge_held(&held(copy));
                }
                None => self.best = Some(held(copy)),
            }
        }
        if let Some(contacts) = &found.contacts {
            for contact in core.meet_all(contacts) {
                self.search.add_named(&contact, informant, core.acquaintance(&contact.grid()));
            }
        }
        // Its entry points were chosen by the asker; those next to the key may be many ids of one liar.
        if self.linked.contains(&informant) {
            self.scales.push(found.scale);
            self.search.set_scale(agreed(&self.scales));
        }
        if found.is_complete {
            self.search.arrive_by(&informant);
        }
        if found.standing == Standing::Settled {
            match &found.contacts {
                Some(contacts) => self.search.on_vouched(contacts.iter().map(|named| named.contact.grid())),
                None => {
                    if let Message::Find(find) = &pending.request {
                        self.search.on_agreed(find.set);
                    }
                }
            }
        }
        let named = found.contacts.as_ref().map(|contacts| contacts.len());
        let said = Said { standing: found.standing, copy: found.copy.clone(), named };
        if let Some(hop) = self.trace.iter_mut().rev().find(|hop| hop.peer.grid() == informant) {
            hop.said = Some((core.now, said.clone()));
        }
        self.search.on_answer(&informant, said);
        if self.key.kind == Kind::Claim {
            self.best = self.ballot().winner().cloned();
        }
        self.advance(core, pending.depth)
    }

    pub(super) fn on_silence(&mut self, core: &mut Core, pending: &Pending) -> Progress {
        if self.confirming.is_some() {
            return self.on_home_silent(core, pending);
        }
        self.search.on_silence(&pending.peer.grid());
        self.advance(core, pending.depth)
    }

    pub(super) fn on_wake(&mut self, core: &mut Core) -> Progress {
        let depth = self.trace.iter().map(|hop| hop.depth).max().unwrap_or(0);
        if core.now >= self.deadline {
            let is_settled = self.confirming.take().is_some_and(|confirming| confirming.is_settled);
            self.finish(core, depth, is_settled);
            return Progress::Done;
        }
        let is_retried = self.retry.take_if(|retry| core.now >= *retry).is_some();
        let is_late = self.hedge.take_if(|hedge| core.now >= *hedge).is_some();
        if is_retried {
            self.search.begin_again();
        }
        if is_late && self.search.has_arrived() {
            self.is_hedged = true;
            if self.consistency != Consistency::All {
                self.search.on_late();
            }
        } else if is_late {
            self.search.on_overdue();
        }
        if is_retried || is_late {
            return self.advance(core, depth);
        }
        Progress::Going
    }

    /// Ends the lookup if enough has been heard, else asks whom it takes. `led_by` is the depth of what was heard.
    fn advance(&mut self, core: &mut Core, led_by: u8) -> Progress {
        if !self.search.has_arrived() && self.dialled == 0 && !self.is_anybody_asked() && self.search.next().is_none() {
            // Nobody who knows everybody here was found; everybody who could be asked has answered. In a network that has
            // just formed they meet whom they were asked about, and know more in a moment.
            if self.retry.is_some() {
                return Progress::Going;
            }
            let has_heard = self.search.candidates().iter().any(|candidate| candidate.answer().is_some());
            if has_heard && self.best.is_none() && self.tries < SEARCH_TRIES_MAX {
                self.tries += 1;
                self.retry = Some(core.now + SEARCH_PAUSE);
                return Progress::Going;
            }
            self.search.arrive();
        }
        if self.search.has_arrived() {
            let tally = self.tally();
            // Most groups may be one liar's friends, so those who may know the way otherwise are heard first.
            if tally.is_enough(self.consistency)
                && (self.consistency == Consistency::Quick || self.search.hears_most_guides())
            {
                return self.conclude(core, led_by, true);
            }
            if self.dialled == 0 && self.search.is_finished() && !self.follow_guides(core, led_by) {
                // Before anybody says that there is nothing, more are asked whether they see the same holders.
                if self.best.is_none() && self.ask_guides(core, led_by) {
                    return Progress::Going;
                }
                return self.conclude(core, led_by, tally.settled.is_majority());
            }
            self.ask_holders(core, led_by, &tally);
        } else {
            if self.consistency == Consistency::All {
                self.ask_guides(core, led_by);
            }
            while let Some(peer) = self.search.next().cloned() {
                // Before it has arrived nobody's view of the target is worth comparing.
                self.ask(core, &peer, SetName::NONE, led_by.saturating_add(1));
                self.hedge = Some(core.now + Ticks(core.config.answer_timeout_min.0 * 2));
            }
        }
        Progress::Going
    }

    /// Asks some more of those whom this node knows by itself the way. Says whether there were any. Where its own table
    /// told it who the holders are, there is nobody to be led astray by.
    fn ask_guides(&mut self, core: &mut Core, led_by: u8) -> bool {
        if self.knows_holders {
            return false;
        }
        let mut has_asked = false;
        while let Some(peer) = self.search.next_guide(GUIDES).cloned() {
            self.search.on_guide(&peer.grid());
            self.ask(core, &peer, SetName::NONE, led_by.saturating_add(1));
            has_asked = true;
        }
        has_asked
    }

    /// Goes on along the ways of all guides. Says whether somebody on them is still awaited.
    fn follow_guides(&mut self, core: &mut Core, led_by: u8) -> bool {
        while let Some(peer) = self.search.next_on_a_way() {
            self.ask(core, &peer, SetName::NONE, led_by.saturating_add(1));
        }
        !self.search.has_followed_all_guides()
    }

    fn is_anybody_asked(&self) -> bool {
        self.search.candidates().iter().any(|candidate| matches!(candidate.state(), State::Asked))
    }

    fn ask_holders(&mut self, core: &mut Core, led_by: u8, tally: &Heard) {
        let window = self.search.window();
        let majority = tally.settled.groups() / 2 + 1;
        let wanted = match self.consistency {
            // In a widened set two majorities are needed, and not everybody sees it widened: all are asked.
            _ if self.is_hedged || tally.differ || tally.is_somebody_without || tally.settled.is_widened() => {
                usize::MAX
            }
            Consistency::Quick => QUICK_HOLDERS + 1,
            Consistency::Quorum | Consistency::Confirmed => majority + SPARE_HOLDERS,
            _ => usize::MAX,
        };
        // Those whose word counts or may come to count: answered and settled, or asked.
        let engaged = window.iter().filter(|seat| match seat {
            Seat::Own(..) => self.own.as_ref().is_some_and(|own| own.standing == Standing::Settled),
            Seat::Other(index, _) => match self.search.candidates()[*index].state() {
                State::Asked => true,
                State::Answered(said) => said.standing == Standing::Settled,
                State::Fresh | State::Silent => false,
            },
        });
        let missing = wanted.saturating_sub(engaged.count());
        let sure = window.len() - if self.knows_holders { self.doubtful_among(core, &window) } else { 0 };
        // Whoever is likely to bring the answer soonest comes first, then whom the holders have given up, last who was caught lying.
        let mut fresh: Vec<(Repute, bool, Ticks, usize)> = window
            .iter()
            .enumerate()
            .filter_map(|(number, seat)| match seat {
                Seat::Other(index, _) if matches!(self.search.candidates()[*index].state(), State::Fresh) => {
                    let candidate = &self.search.candidates()[*index];
                    let round_trip = candidate.round_trip().unwrap_or(UNMEASURED);
                    let doubt = Ticks(DOUBT.0 * (number + 1).saturating_sub(sure) as u64);
                    let is_given_up = !self.search.is_vouched(*index);
                    Some((candidate.repute(), is_given_up, round_trip + doubt, *index))
                }
                _ => None,
            })
            .collect();
        fresh.sort_unstable();
        let set = if missing > 0 && !fresh.is_empty() { self.search.tell(&window) } else { SetName::NONE };
        let mut asked = 0;
        let mut slowest = Ticks(0);
        for (.., index) in &fresh {
            if asked == missing {
                break;
            }
            // Asking changes no candidate's place.
            if !self.search.may_ask(*index) {
                continue;
            }
            let candidate = &self.search.candidates()[*index];
            slowest = slowest.max(candidate.round_trip().unwrap_or(core.config.answer_timeout_min));
            let peer = candidate.contact().clone();
            self.ask(core, &peer, set, led_by.saturating_add(1));
            asked += 1;
        }
        if asked > 0 && fresh.len() > asked && !self.is_hedged {
            self.hedge = Some(core.now + Ticks(slowest.0 * 3 / 2 + 50));
        }
    }

    /// How many of the farthest in the `window` may be no holders, by the own table. Where some have never answered, it is still
    /// being filled: then others may be there, as many as the density tells, or as have never answered.
    fn doubtful_among(&self, core: &Core, window: &[Seat]) -> usize {
        let mut others = window.iter().filter_map(|seat| match seat {
            Seat::Own(..) => None,
            Seat::Other(index, _) => Some(&self.search.candidates()[*index]),
        });
        let hearsay = others.clone().filter(|candidate| candidate.round_trip().is_none()).count();
        let Some(farthest) = others.next_back().filter(|_| hearsay > 0) else { return 0 };
        let distance = self.key.id.prefix() ^ farthest.contact().grid().0.prefix();
        let expected = core.scale().nodes_within(distance) as usize;
        expected.saturating_sub(window.len()).clamp(hearsay, window.len())
    }

    fn ask(&mut self, core: &mut Core, peer: &Arc<Contact>, set: SetName, depth: u8) {
        self.search.on_asked(&peer.grid());
        let find = Find { id: RequestId(0), target: self.key.id, want: self.want(), groups: self.search.groups(), set };
        let is_linked = self.linked.contains(&peer.grid());
        core.ask(peer, is_linked, Purpose::Operation(self.id), depth, |id| Message::Find(Find { id, ..find }));
        self.trace.push(Hop { peer: peer.clone(), asked: core.now, depth, said: None });
    }

    fn want(&self) -> Want {
        if self.key.kind == Kind::Claim { Want::Claim } else { Want::Record }
    }

    /// What has been heard so far from those who hold the key.
    fn tally(&self) -> Heard {
        let mut heard = Heard::default();
        let best = self.best.as_ref().map(Held::record);
        for (place, group, said) in self.words() {
            let settled = said.filter(|said| said.standing == Standing::Settled);
            let record = said.and_then(|said| said.copy.as_ref()).map(|copy| &copy.record);
            // A claim counts for nothing where its holder does not: it does not prove that it came first.
            let counts = self.key.kind != Kind::Claim || settled.is_some();
            let agrees = counts && record.is_some() && record == best;
            heard.settled.add(place, group, settled.is_some());
            heard.agreeing.add(place, group, agrees);
            heard.differ |= record.is_some() && !agrees || settled.is_some() && best.is_some() && record.is_none();
            heard.is_somebody_without |= settled.is_some() && record.is_none();
        }
        heard.is_contested = self.key.kind == Kind::Claim && self.ballot().is_contested();
        // A greater record may have come from somebody without a seat.
        heard.has_record = best.is_some();
        heard
    }

    /// What the holders vote for; whom the search heard besides has no vote.
    fn ballot(&self) -> Ballot {
        let mut ballot = Ballot::default();
        for (_, group, said) in self.words() {
            let settled = said.filter(|said| said.standing == Standing::Settled);
            if let Some(copy) = settled.and_then(|said| said.copy.as_ref()) {
                ballot.cast(group, copy);
            }
        }
        self.copies().for_each(|copy| ballot.hear(copy));
        ballot
    }

    /// What has been said on each seat.
    fn words(&self) -> impl Iterator<Item = (Place, Group, Option<&Said>)> {
        self.search.seats().into_iter().map(|seat| match seat {
            Seat::Own(place, group) => (place, group, self.own.as_ref()),
            Seat::Other(index, place) => {
                let candidate = &self.search.candidates()[index];
                (place, candidate.contact().group(), candidate.answer())
            }
        })
    }

    /// Whatever anybody has, on a seat or not.
    fn copies(&self) -> impl Iterator<Item = &Arc<Copy>> {
        let said = self.search.candidates().iter().filter_map(|candidate| candidate.answer()).chain(&self.own);
        said.filter_map(|said| said.copy.as_ref())
    }

    /// How long ago this was announced, by whoever has it.
    fn age_of(&self, record: &Record) -> Ticks {
        let ages = self.copies().filter(|copy| *copy.record == *record).map(|copy| copy.age);
        ages.min().unwrap_or_default()
    }

    fn finish(&mut self, core: &mut Core, round_trips: u8, is_settled: bool) {
        let tally = self.tally();
        // A guide may have been the last that was waited for, but not the deepest.
        let heard = self.trace.iter().filter(|hop| hop.said.is_some()).map(|hop| hop.depth);
        let round_trips = heard.fold(round_trips, u8::max);
        if !tally.is_contested {
            self.repair(core);
        }
        let votes = if self.key.kind == Kind::Claim { self.ballot().votes() } else { Vec::new() };
        let verdict = match &self.best {
            Some(_) if tally.is_contested => Verdict::Contested,
            Some(best) if best.record().is_closed() => Verdict::Closed,
            Some(best) if best.rival().is_some() => Verdict::Conflict,
            Some(_) => Verdict::Found,
            None if tally.settled.is_majority() => Verdict::Absent,
            None => Verdict::Unreachable,
        };
        let best = self.best.take();
        let age = best.as_ref().map(|best| self.age_of(best.record()));
        if let Some(best) = best.as_ref().filter(|_| core.is_node() && self.key.kind != Kind::Claim) {
            core.seen.add(best.record());
        }
        let (record, mut rival) =
            best.map_or((None, None), |best| (Some(best.record().clone()), best.rival().cloned()));
        if verdict == Verdict::Contested {
            rival = votes.get(1).map(|vote| vote.record.clone());
        }
        let answer = Answer {
            key: self.key,
            verdict,
            record,
            rival,
            votes,
            is_settled,
            is_confirmed: self.is_confirmed,
            confirmations: tally.agreeing.voted(),
            age: age.unwrap_or_default(),
            round_trips: if self.trace.is_empty() { 0 } else { round_trips },
            trace: std::mem::take(&mut self.trace),
        };
        core.effect(Effect::Complete(self.id, Outcome::Answered(Ok(Box::new(answer)))));
    }

    /// Read repair: tells the greatest record to the holders that answered with less, this node among them. Who keeps
    /// another's claim is left alone: it has its own reason, having heard that one first.
    fn repair(&mut self, core: &mut Core) {
        let Some(best) = &self.best else { return };
        let age = self.age_of(best.record());
        let copy = Copy { record: best.record().clone(), rival: best.rival().cloned(), age };
        let is_anothers = |said: &Said| said.copy.as_ref().is_some_and(|said| said.record.guid() != copy.record.guid());
        for seat in self.search.window() {
            match seat {
                Seat::Own(..) => {
                    if self.own.as_ref().is_some_and(is_anothers) {
                        continue;
                    }
                    if self.own.as_ref().and_then(|own| own.copy.as_ref()).is_none_or(|own| own.record != copy.record) {
                        core.keep(&copy);
                    }
                }
                Seat::Other(index, _) => {
                    let candidate = &self.search.candidates()[index];
                    let Some(said) = candidate.answer().filter(|said| !is_anothers(said)) else { continue };
                    if said.copy.as_ref().is_some_and(|said| said.record == copy.record && said.rival == copy.rival) {
                        continue;
                    }
                    let items = std::iter::once(StoreItem { copy: copy.clone(), set: SetName::NONE }).collect();
                    let peer = candidate.contact().clone();
                    core.ask(&peer, true, Purpose::Operation(self.id), 0, |id| Message::Store(Store { id, items }));
                }
            }
        }
    }
}

fn held(copy: &Copy) -> Held {
    Held::of(copy.record.clone(), copy.rival.clone())
}

/// A count of what holders said.
#[derive(Default)]
struct Heard {
    settled: Tally,
    agreeing: Tally,
    /// Some holder has another record than the greatest, or none.
    differ: bool,
    /// Some settled holder has none: perhaps nobody has.
    is_somebody_without: bool,
    /// Under two thirds of those who have a claim have the same claimant's.
    is_contested: bool,
    has_record: bool,
}

impl Heard {
    /// Whether the answer is as sure as the caller asked for, before everybody has answered.
    fn is_enough(&self, consistency: Consistency) -> bool {
        match consistency {
            Consistency::Quick => {
                self.has_record
                    && !self.is_contested
                    && self.agreeing.voted() >= QUICK_HOLDERS.min(self.agreeing.groups())
                    && self.agreeing.voted() > 0
            }
            // Where ids may have been ground, most of the groups may be one liar's: everybody is waited for.
            Consistency::Quorum | Consistency::Confirmed => {
                self.has_record && !self.differ && self.settled.is_majority() && !self.settled.is_widened()
            }
            Consistency::All => false,
        }
    }
}
