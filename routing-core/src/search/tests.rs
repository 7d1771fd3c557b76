use super::room::CANDIDATES_OF_ONE_GROUP;
use super::*;
use crate::testing::{below, contact, contact_of, contacts, id, id_near, rng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeSet;

const K: u16 = 16;
const ALPHA: u16 = 3;

/// Nodes that each know their 64 nearest and some others, and never learn.
struct Graph {
    nodes: Vec<Arc<Contact>>,
    knows: Vec<Vec<usize>>,
    is_silent: Vec<bool>,
}

impl Graph {
    fn new(rng: &mut Xoshiro256PlusPlus, count: usize) -> Self {
        let nodes = contacts(rng, count);
        let knows = (0..count)
            .map(|own| {
                let mut others: Vec<usize> = (0..count).filter(|other| *other != own).collect();
                let place = nodes[own].grid().0;
                others.sort_by_cached_key(|other| place.distance(&nodes[*other].grid().0));
                let far: Vec<usize> = others.iter().skip(64).copied().collect();
                others.truncate(64);
                others.extend((0..60).filter(|_| !far.is_empty()).map(|_| far[below(rng, far.len())]));
                others
            })
            .collect();
        Self { nodes, knows, is_silent: vec![false; count] }
    }

    fn index(&self, grid: &Grid) -> usize {
        self.nodes.iter().position(|node| node.grid() == *grid).unwrap()
    }

    fn nearest(&self, of: impl Iterator<Item = usize>, target: &Id, count: usize) -> Vec<usize> {
        let mut of: Vec<usize> = of.collect::<BTreeSet<_>>().into_iter().collect();
        of.sort_by_key(|index| target.distance(&self.nodes[*index].grid().0));
        of.truncate(count);
        of
    }

    /// Answers one question after the other, in random order, until nothing is left to ask.
    fn run(&self, rng: &mut Xoshiro256PlusPlus, search: &mut Search<()>) -> usize {
        let (mut in_flight, mut asked) = (Vec::new(), 0);
        loop {
            while let Some(peer) = search.next().cloned() {
                search.on_asked(&peer.grid());
                in_flight.push(self.index(&peer.grid()));
                asked += 1;
            }
            assert!(search.has_arrived() || in_flight.len() <= usize::from(ALPHA));
            if in_flight.is_empty() {
                return asked;
            }
            let peer = in_flight.swap_remove(below(rng, in_flight.len()));
            let grid = self.nodes[peer].grid();
            if self.is_silent[peer] {
                search.on_silence(&grid);
                continue;
            }
            for named in self.nearest(self.knows[peer].iter().copied(), search.target(), K.into()) {
                search.add_named(&self.nodes[named], grid, Acquaintance::default());
            }
            search.on_answer(&grid, ());
        }
    }

    fn window(&self, search: &Search<()>) -> Vec<usize> {
        let others = search.window().into_iter().filter_map(|seat| match seat {
            Seat::Other(index, _) => Some(self.index(&search.candidates()[index].contact().grid())),
            Seat::Own(..) => None,
        });
        others.collect()
    }
}

fn search(target: Id) -> Search<()> {
    Search::new(target, K, ALPHA, None, Scale::UNKNOWN)
}

fn know(search: &mut Search<()>, contact: &Arc<Contact>) {
    search.add_known(contact, Acquaintance::default());
}

#[test]
fn a_search_ends_with_the_k_nearest_that_can_be_reached() {
    for seed in 0..6 {
        let rng = &mut rng(seed);
        let mut graph = Graph::new(rng, 800);
        for dead in [0, 0, 200, 400] {
            graph.is_silent.fill(false);
            (0..dead).for_each(|_| graph.is_silent[below(rng, 800)] = true);
            let target = id(rng);
            let mut search = search(target);
            let starts: Vec<usize> = (0..800).filter(|index| !graph.is_silent[*index]).take(3).collect();
            starts.iter().for_each(|start| know(&mut search, &graph.nodes[*start]));
            let asked = graph.run(rng, &mut search);
            assert!(search.is_finished());
            // With many of them dead not all that live are named any more: then the nearest of those who were.
            let is_named = |index: &usize| dead == 0 || search.candidate(&graph.nodes[*index].grid()).is_some();
            let living = (0..800).filter(|index| !graph.is_silent[*index]).filter(is_named);
            let expected = graph.nearest(living, &target, K.into());
            assert_eq!(graph.window(&search), expected, "seed {seed}, {dead} dead");
            assert!(asked < 40 + dead, "{asked}");
        }
    }
}

#[test]
fn once_arrived_the_whole_window_is_asked_at_once() {
    let rng = &mut rng(1);
    let nodes = contacts(rng, 40);
    let mut search = search(id(rng));
    nodes.iter().for_each(|node| know(&mut search, node));
    let ask_all = |search: &mut Search<()>| {
        std::iter::from_fn(|| {
            let peer = search.next().cloned()?;
            search.on_asked(&peer.grid());
            Some(peer)
        })
        .count()
    };
    assert_eq!(ask_all(&mut search), 3);
    search.arrive();
    assert_eq!(ask_all(&mut search), 13);
    // Who is silent gives way to the next nearest.
    let first = search.candidates()[0].contact().grid();
    search.on_silence(&first);
    assert_eq!(ask_all(&mut search), 1);
    let asked = search.candidates().iter().filter(|candidate| matches!(candidate.state(), State::Asked));
    assert_eq!(asked.count(), 16);
}

#[test]
fn in_a_hurry_whoever_is_none_of_the_nearest_any_more_holds_up_no_question() {
    let asked_after_an_answer = |is_in_a_hurry: bool, is_overdue: bool, farther: usize| {
        let rng = &mut rng(7);
        let target = id(rng);
        let mut search = search(target);
        if is_in_a_hurry {
            search.hurry();
        }
        let guides: Vec<_> = (0..3).map(|_| contact(id_near(rng, &target, 4))).collect();
        guides.iter().for_each(|guide| know(&mut search, guide));
        let ask_all = |search: &mut Search<()>| {
            let mut asked = 0;
            while let Some(peer) = search.next().cloned() {
                search.on_asked(&peer.grid());
                asked += 1;
            }
            asked
        };
        assert_eq!(ask_all(&mut search), 3);
        // Two others have named it, so that it is no matter of how far one informant is trusted.
        let informants = [guides[0].grid(), Grid(id(rng)), Grid(id(rng))];
        for _ in 0..16 {
            let nearer = contact(id_near(rng, &target, 20));
            informants.iter().for_each(|informant| search.add_named(&nearer, *informant, Acquaintance::default()));
        }
        search.on_answer(&guides[0].grid(), ());
        if is_overdue {
            search.on_overdue();
        }
        // So many others were asked on the way.
        for _ in 0..farther {
            let other = contact(id_near(rng, &target, 2));
            know(&mut search, &other);
            search.on_asked(&other.grid());
        }
        ask_all(&mut search)
    };
    assert_eq!(asked_after_an_answer(false, false, 0), 1, "two of three are in flight");
    assert_eq!(asked_after_an_answer(true, false, 0), 3);
    assert_eq!(asked_after_an_answer(false, true, 0), 3, "nor does who is overdue hold up any");
    assert_eq!(asked_after_an_answer(true, false, 2), 2, "twice as many as usual are in flight in all");
    assert_eq!(asked_after_an_answer(true, true, 2), 3);
}

#[test]
fn at_most_four_that_one_informant_alone_knows_are_awaited_unless_it_knows_everybody() {
    let rng = &mut rng(2);
    let (target, liar) = (id(rng), contact(id(rng)));
    let mut search = search(target);
    know(&mut search, &liar);
    search.on_asked(&liar.grid());
    search.on_answer(&liar.grid(), ());
    let inventions: Vec<_> = (0..20).map(|_| contact(id_near(rng, &target, 30))).collect();
    for invention in &inventions {
        search.add_named(invention, liar.grid(), Acquaintance::default());
    }
    search.arrive();
    let mut awaited = Vec::new();
    while let Some(peer) = search.next().cloned() {
        search.on_asked(&peer.grid());
        awaited.push(peer.grid());
    }
    assert_eq!(awaited.len(), 4);
    search.on_silence(&awaited[0]);
    let fifth = search.next().unwrap().grid();
    search.on_asked(&fifth);
    assert!(search.next().is_none());
    // Whoever says that it knows everybody there has named the window: it is asked at once.
    let mut trusting = search.clone();
    trusting.arrive_by(&liar.grid());
    while let Some(peer) = trusting.next().cloned() {
        trusting.on_asked(&peer.grid());
    }
    let asked = trusting.candidates().iter().filter(|candidate| matches!(candidate.state(), State::Asked));
    assert_eq!(asked.count(), 16);
    // Named by a second, they rest on nobody alone.
    for invention in &inventions {
        search.add_named(invention, Grid(id(&mut crate::testing::rng(3))), Acquaintance::default());
    }
    assert!(search.next().is_some());
}

#[test]
fn the_silent_keep_their_seats_if_more_than_one_believes_in_them() {
    let rng = &mut rng(4);
    let target = id(rng);
    let mut search = search(target);
    let (one, two) = (Grid(id(rng)), Grid(id(rng)));
    let acquainted = Acquaintance { is_neighbour: true, ..Acquaintance::default() };
    let [met, believed, invented, answering] = [40, 39, 38, 10].map(|bits| contact(id_near(rng, &target, bits)));
    search.add_known(&met, acquainted);
    search.add_named(&believed, one, Acquaintance::default());
    search.add_named(&believed, two, Acquaintance::default());
    search.add_named(&invented, one, Acquaintance::default());
    search.add_named(&invented, one, Acquaintance::default());
    know(&mut search, &answering);
    for grid in [met.grid(), believed.grid(), invented.grid()] {
        search.on_asked(&grid);
        search.on_silence(&grid);
    }
    let of = |seats: Vec<Seat>| {
        let grids = seats.into_iter().map(|seat| match seat {
            Seat::Other(index, _) => search.candidates()[index].contact().grid(),
            Seat::Own(..) => unreachable!(),
        });
        grids.collect::<Vec<_>>()
    };
    assert_eq!(of(search.window()), [answering.grid()]);
    assert_eq!(of(search.seats()), [met.grid(), believed.grid(), answering.grid()]);
}

#[test]
fn a_holder_vouches_for_the_set_that_it_was_told_and_for_nobody_who_came_into_it_since() {
    let rng = &mut rng(14);
    let target = id(rng);
    let mut search = search(target);
    let [holder, mate, late] = [40, 39, 41].map(|bits| contact(id_near(rng, &target, bits)));
    know(&mut search, &holder);
    know(&mut search, &mate);
    search.arrive();
    let told = search.tell(&search.window());
    let informants = [Grid(id(rng)), Grid(id(rng))];
    for informant in informants {
        search.add_named(&late, informant, Acquaintance::default());
    }
    search.on_answer(&holder.grid(), ());
    search.on_agreed(told);
    let is_vouched = |search: &Search<()>, of: &Arc<Contact>| {
        let index = search.candidates().iter().position(|candidate| candidate.contact() == of).unwrap();
        search.is_vouched(index)
    };
    assert!(is_vouched(&search, &mate) && !is_vouched(&search, &late));
    search.on_silence(&late.grid());
    assert_eq!(search.seats().len(), 2, "the silent one that no holder counts has no seat");
}

#[test]
fn once_it_is_late_nobody_waits_for_those_whom_most_holders_do_not_count() {
    let rng = &mut rng(15);
    let target = id(rng);
    let mut search = search(target);
    let holders: Vec<Arc<Contact>> = (0..usize::from(K)).map(|_| contact(id_near(rng, &target, 30))).collect();
    let dead = contact(id_near(rng, &target, 50));
    for contact in holders.iter().chain([&dead]) {
        know(&mut search, contact);
        search.on_asked(&contact.grid());
    }
    search.arrive();
    for (heard, holder) in holders.iter().enumerate() {
        let others = holders.iter().filter(|other| *other != holder).map(|other| other.grid());
        search.on_vouched(others);
        search.on_answer(&holder.grid(), ());
        assert!(!search.is_finished(), "{heard} have answered, and it may be there");
    }
    search.on_late();
    assert!(search.is_finished());
    search.on_answer(&dead.grid(), ());
    let nearest = search.window()[0];
    assert!(matches!(nearest, Seat::Other(index, _) if search.candidates()[index].contact() == &dead), "it was there");
}

#[test]
fn the_asker_has_its_own_seat_where_it_is_near_enough() {
    let rng = &mut rng(5);
    let target = id(rng);
    let nodes = contacts(rng, 100);
    for (bits, is_seated) in [(20, true), (0, false)] {
        let own = Grid(id_near(rng, &target, bits));
        let mut search: Search<()> = Search::new(target, K, ALPHA, Some((own, Group::alone(&own))), Scale::UNKNOWN);
        search.add_known(&contact(own.0), Acquaintance::default());
        assert!(search.candidates().is_empty(), "nobody asks himself");
        nodes.iter().for_each(|node| know(&mut search, node));
        let seats = search.window();
        assert_eq!(seats.len(), 16);
        assert_eq!(seats.iter().any(|seat| matches!(seat, Seat::Own(Place::Core, _))), is_seated);
    }
}

#[test]
fn a_search_among_none_one_two_or_three_ends() {
    let rng = &mut rng(6);
    for count in 0..4 {
        for (own, silent) in [(None, 0), (Some(id(rng)), 0), (Some(id(rng)), 1), (None, count)] {
            let mut graph = Graph::new(rng, count);
            graph.is_silent[..silent.min(count)].fill(true);
            let own = own.map(|own| (Grid(own), Group(0)));
            let mut search: Search<()> = Search::new(id(rng), K, ALPHA, own, Scale::UNKNOWN);
            graph.nodes.iter().for_each(|node| know(&mut search, node));
            assert_eq!(graph.run(rng, &mut search), count);
            assert!(search.is_finished());
            assert_eq!(search.window().len(), count - silent.min(count) + usize::from(own.is_some()));
        }
    }
}

#[test]
fn many_ids_of_one_operator_do_not_crowd_out_the_holders() {
    let rng = &mut rng(7);
    let target = id(rng);
    let mut search = search(target);
    let honest = contacts(rng, 100);
    for node in &honest[..50] {
        know(&mut search, node);
    }
    for _ in 0..600 {
        know(&mut search, &contact_of(id_near(rng, &target, 25), Group(7)));
    }
    for node in &honest[50..] {
        know(&mut search, node);
    }
    let groups: BTreeSet<Group> = search
        .window()
        .iter()
        .filter_map(|seat| match seat {
            Seat::Other(index, _) => Some(search.candidates()[*index].contact().group()),
            Seat::Own(..) => None,
        })
        .collect();
    assert_eq!(groups.len(), 16, "the set is of k groups, however many ids one of them has");
    assert!(search.candidates().len() <= CANDIDATES_MAX);
}

#[test]
fn candidates_are_the_nearest_and_bounded() {
    let rng = &mut rng(8);
    let target = id(rng);
    let mut nodes = contacts(rng, 1_000);
    let mut search = search(target);
    nodes.iter().for_each(|node| know(&mut search, node));
    nodes.sort_by_key(|node| target.distance(&node.grid().0));
    let kept: Vec<Grid> = search.candidates().iter().map(|candidate| candidate.contact().grid()).collect();
    let nearest: Vec<Grid> = nodes.iter().take(CANDIDATES_MAX).map(|node| node.grid()).collect();
    assert_eq!(kept, nearest);
}

/// Whom is dropped is decided with a count that is kept up to date; here it is looked up each time.
#[test]
fn who_is_dropped_is_the_farthest_of_a_group_with_more_than_its_share_else_the_farthest() {
    for seed in 0..8 {
        let rng = &mut rng(seed);
        let target = id(rng);
        let mut search = search(target);
        let mut model: Vec<(crate::id::Distance, Group, Grid)> = Vec::new();
        // Few groups at first: some have more than their share. Then more and more. Every eighth is farther than all others
        // and alone in its group.
        for number in 0..2_000_u32 {
            let contact = if number % 8 == 7 {
                contact_of(Id(target.0.map(|byte| !byte)).flip(number / 8), Group(10_000 + number))
            } else {
                contact_of(id(rng), Group(below(rng, 4 + number as usize / 32) as u32))
            };
            let (group, grid) = (contact.group(), contact.grid());
            if model.iter().any(|(_, _, known)| *known == grid) {
                continue;
            }
            know(&mut search, &contact);
            model.push((target.distance(&grid.0), group, grid));
            model.sort();
            if model.len() > CANDIDATES_MAX {
                let is_surplus = |index: &usize| {
                    let nearer = model[..*index].iter().filter(|(_, group, _)| *group == model[*index].1);
                    nearer.count() >= CANDIDATES_OF_ONE_GROUP
                };
                let dropped = (0..model.len()).rev().find(is_surplus).unwrap_or(model.len() - 1);
                model.remove(dropped);
            }
            let kept = search.candidates().iter().map(|candidate| candidate.contact().grid());
            assert!(kept.eq(model.iter().map(|(_, _, grid)| *grid)), "seed {seed}, after {number}");
        }
    }
}

#[test]
fn guides_are_heard_to_the_end_though_a_liar_has_shown_the_way() {
    let mut rng = rng(9);
    let mut search: Search<()> = Search::new(id(&mut rng), 2, 3, None, Scale::UNKNOWN);
    let known = crate::testing::contacts(&mut rng, 3);
    for contact in &known {
        search.add_known(contact, Acquaintance::default());
        search.on_guide(&contact.grid());
        search.on_asked(&contact.grid());
    }
    // The liar answers first, says that it knows everybody, and names its friends.
    let liar = known[0].grid();
    for friend in crate::testing::contacts(&mut rng, 2) {
        search.add_named(&friend, liar, Acquaintance::default());
    }
    search.arrive();
    search.on_answer(&liar, ());
    let friends: Vec<Grid> =
        search.candidates().iter().filter(|one| one.answer().is_none()).map(|one| one.contact().grid()).collect();
    let friends = friends.into_iter().filter(|grid| known.iter().all(|known| known.grid() != *grid));
    for friend in friends.collect::<Vec<_>>() {
        search.on_asked(&friend);
        search.on_answer(&friend, ());
    }
    assert!(!search.hears_most_guides());
    search.on_silence(&known[1].grid());
    assert!(search.hears_most_guides() && !search.has_followed_all_guides());
    search.on_answer(&known[2].grid(), ());
    assert!(search.has_followed_all_guides());
}

/// The friends of a liar who says that it knows everybody fill the window: an honest guide names nobody who is nearer, but
/// somebody who knows somebody who is.
#[test]
fn the_way_of_each_guide_is_followed_to_its_end_though_friends_of_a_liar_fill_the_window() {
    let rng = &mut rng(12);
    let target = id(rng);
    let [honest, liar, next, holder, friend, other_friend] =
        [1, 1, 4, 12, 8, 8].map(|bits| contact(id_near(rng, &target, bits)));
    let mut search: Search<()> = Search::new(target, 2, 3, None, Scale::UNKNOWN);
    for guide in [&honest, &liar] {
        search.add_known(guide, Acquaintance::default());
        search.on_asked(&guide.grid());
    }
    for named in [&friend, &other_friend] {
        search.add_named(named, liar.grid(), Acquaintance::default());
    }
    search.arrive_by(&liar.grid());
    search.on_answer(&liar.grid(), ());
    for _ in 0..2 {
        let asked = search.next().unwrap().grid();
        search.on_asked(&asked);
        search.on_answer(&asked, ());
    }
    assert!(search.is_finished() && !search.has_followed_all_guides());
    assert_eq!(search.next_on_a_way(), None, "the honest guide is awaited, the liar's way has ended");
    search.add_named(&next, honest.grid(), Acquaintance::default());
    search.on_answer(&honest.grid(), ());
    assert!(search.is_finished(), "its contact is farther than the friends");
    assert_eq!(search.next_on_a_way(), Some(next.clone()));
    search.on_asked(&next.grid());
    assert_eq!(search.next_on_a_way(), None, "one at a time");
    search.add_named(&holder, next.grid(), Acquaintance::default());
    search.on_answer(&next.grid(), ());
    assert!(!search.is_finished(), "the holder has a friend's seat");
    assert_eq!(search.next().map(|next| next.grid()), Some(holder.grid()));
    search.on_asked(&holder.grid());
    search.on_answer(&holder.grid(), ());
    assert_eq!(search.next_on_a_way(), None, "nobody who is nearer was named");
    assert!(search.is_finished() && search.has_followed_all_guides());
}

/// A search that has asked a liar and two honest guides, who are all far from the target, and has heard the liar: it knows
/// everybody, and these are more than a search remembers, and nearer than anybody who is there.
fn search_of_a_liar_and_two(rng: &mut Xoshiro256PlusPlus) -> (Search<()>, [Arc<Contact>; 3]) {
    let target = id(rng);
    let guides = [1, 0, 2].map(|bits| contact(id_near(rng, &target, bits)));
    let mut search: Search<()> = Search::new(target, 4, 3, None, Scale::UNKNOWN);
    for guide in &guides {
        know(&mut search, guide);
        search.on_asked(&guide.grid());
    }
    name_inventions(rng, &mut search, &guides[0], Group::alone);
    search.arrive_by(&guides[0].grid());
    search.on_answer(&guides[0].grid(), ());
    (search, guides)
}

fn name_inventions(
    rng: &mut Xoshiro256PlusPlus,
    search: &mut Search<()>,
    liar: &Arc<Contact>,
    group: fn(&Grid) -> Group,
) {
    let target = *search.target();
    for _ in 0..CANDIDATES_MAX + 16 {
        let grid = Grid(id_near(rng, &target, 30));
        search.add_named(&contact_of(grid.0, group(&grid)), liar.grid(), Acquaintance::default());
    }
    assert_eq!(search.candidates().len(), CANDIDATES_MAX);
}

#[test]
fn guides_are_waited_for_and_their_ways_followed_though_a_liar_names_more_who_are_nearer_than_a_search_remembers() {
    let rng = &mut rng(16);
    let (mut search, [_, honest, silent]) = search_of_a_liar_and_two(rng);
    assert!(!search.hears_most_guides() && !search.has_followed_all_guides());
    let [next, holder] = [6, 12].map(|bits| contact(id_near(rng, search.target(), bits)));
    search.add_named(&next, honest.grid(), Acquaintance::default());
    search.on_answer(&honest.grid(), ());
    assert_eq!(search.next_on_a_way(), Some(next.clone()));
    search.on_asked(&next.grid());
    search.on_silence(&silent.grid());
    assert!(search.hears_most_guides() && !search.has_followed_all_guides(), "the next on the way is awaited");
    search.add_named(&holder, next.grid(), Acquaintance::default());
    search.on_answer(&next.grid(), ());
    assert_eq!(search.next_on_a_way(), Some(holder.clone()));
    search.on_asked(&holder.grid());
    search.on_answer(&holder.grid(), ());
    assert!(search.has_followed_all_guides());
    // The inventions answer nothing, and so have no seats.
    while let Some(asked) = search.next().map(|next| next.grid()) {
        search.on_asked(&asked);
        search.on_silence(&asked);
    }
    assert!(search.is_finished());
    assert!(
        search
            .seats()
            .iter()
            .any(|seat| matches!(seat, Seat::Other(index, _) if search.candidates()[*index].contact() == &holder))
    );
}

/// All entry points are asked, but some links take longer.
#[test]
fn a_guide_that_is_reached_after_a_liar_has_named_many_is_one_too() {
    let rng = &mut rng(17);
    let (mut search, _) = search_of_a_liar_and_two(rng);
    let late = contact(id_near(rng, search.target(), 0));
    know(&mut search, &late);
    assert_eq!(search.next_guide(8), Some(&late));
    search.on_guide(&late.grid());
    search.on_asked(&late.grid());
    let liar = contact(id(rng));
    name_inventions(rng, &mut search, &liar, Group::alone);
    assert!(search.candidate(&late.grid()).is_some());
}

/// Ids of a liar that are there, and next to the target, are named by everybody.
#[test]
fn what_an_honest_guide_has_said_outlasts_the_inventions_of_a_friend_of_the_liar_on_its_way() {
    let rng = &mut rng(18);
    let (mut search, [_, honest, other]) = search_of_a_liar_and_two(rng);
    let [friend, other_friend] = [40, 41].map(|bits| contact(id_near(rng, search.target(), bits)));
    let holders: Vec<Arc<Contact>> = (0..16).map(|_| contact(id_near(rng, search.target(), 12))).collect();
    for guide in [&honest, &other] {
        for named in holders.iter().chain([&friend, &other_friend]) {
            search.add_named(named, guide.grid(), Acquaintance::default());
        }
        search.on_answer(&guide.grid(), ());
    }
    for _ in 0..2 {
        let asked = search.next_on_a_way().unwrap();
        assert!(asked == friend || asked == other_friend);
        search.on_asked(&asked.grid());
        name_inventions(rng, &mut search, &asked, Group::alone);
        search.on_answer(&asked.grid(), ());
    }
    assert!(holders.iter().all(|holder| search.candidate(&holder.grid()).is_some()));
}

#[test]
fn inventions_said_to_be_of_a_holders_group_do_not_take_its_room() {
    let rng = &mut rng(19);
    let (mut search, [liar, honest, _]) = search_of_a_liar_and_two(rng);
    let holder = contact_of(id_near(rng, search.target(), 12), Group(7));
    search.add_named(&holder, honest.grid(), Acquaintance::default());
    name_inventions(rng, &mut search, &liar, |_| Group(7));
    assert!(search.candidate(&holder.grid()).is_some());
}

/// Who knows everybody there asks nobody the way. But one of those holders may lie.
#[test]
fn holders_that_the_asker_knows_outlast_what_one_of_them_invents() {
    let rng = &mut rng(20);
    let target = id(rng);
    let mut search: Search<()> = Search::new(target, 16, 3, None, Scale::UNKNOWN);
    let holders: Vec<Arc<Contact>> = (0..16).map(|_| contact(id_near(rng, &target, 12))).collect();
    holders.iter().for_each(|holder| know(&mut search, holder));
    search.arrive();
    while let Some(asked) = search.next().map(|next| next.grid()) {
        search.on_asked(&asked);
    }
    name_inventions(rng, &mut search, &holders[0], Group::alone);
    for holder in &holders {
        search.on_answer(&holder.grid(), ());
    }
    let answered = search.candidates().iter().filter(|candidate| candidate.answer().is_some());
    assert_eq!(answered.count(), 16);
}

#[test]
fn who_was_caught_is_asked_last_and_who_is_shunned_not_at_all() {
    let mut rng = rng(10);
    let target = id(&mut rng);
    let mut search: Search<()> = Search::new(target, 3, 3, None, Scale::UNKNOWN);
    let mut known = crate::testing::contacts(&mut rng, 3);
    known.sort_by_key(|contact| target.distance(&contact.grid().0));
    for (contact, repute) in known.iter().zip([Repute::Shunned, Repute::Caught, Repute::Clean]) {
        search.add_known(contact, Acquaintance { is_neighbour: true, repute, ..Acquaintance::default() });
    }
    let mut asked = Vec::new();
    while let Some(next) = search.next().map(|contact| contact.grid()) {
        search.on_asked(&next);
        asked.push(next);
    }
    assert_eq!(asked, [known[2].grid(), known[1].grid()]);
    assert_eq!(search.seats().len(), 3, "the shunned keeps its seat");
    search.begin_again();
    assert_eq!(search.candidate(&known[0].grid()).unwrap().state(), &State::Silent);
}
