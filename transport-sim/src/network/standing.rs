//! Links that cost what they cost on TCP, for scenarios that ask for it: round trips until one stands, and room for so
//! many at a node.
//!
//! A link is one for both of its ends, and stands until another one needs its place. One on which nobody waits for an
//! answer lapses at once, the one used least lately first; where somebody waits on each of them, the new one waits for the
//! first that will be free:
//!
//! ```text
//!   asked for ── waits for a place ── round_trips ── stands ── in use ── idle ── lapses
//!                └─ what is said meanwhile waits, too ┘                          both ends hear of it
//! ```
//!
//! Who is killed says nothing, and its links are found to be gone by what is not answered; who is back has none, and
//! whoever writes to it over an old one hears so after a round trip, as TCP's reset has it.

use super::NodeIndex;
use routing_core::time::{Tick, Ticks};
use rustc_hash::FxHashMap;

/// What a link costs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkCost {
    /// How many round trips pass until a link stands: two for TCP with TLS 1.3. Messages wait for it.
    pub round_trips: u32,
    /// How many links a node has at most, at least 1; `None`: any number.
    pub links_max: Option<u32>,
}

/// All links of a network whose links cost something.
#[derive(Debug)]
pub(super) struct Links {
    cost: LinkCost,
    /// Of each node with links, its ends of them, by peer. Both ends of a link say the same.
    ends: FxHashMap<NodeIndex, FxHashMap<NodeIndex, End>>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    stands_at: Tick,
    /// Until when somebody probably waits for an answer on it.
    busy_until: Tick,
    /// Its place is taken from then on.
    lapses_at: Option<Tick>,
}

/// How a link that is asked for comes to be.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Opening {
    /// When there is a place for it at both ends.
    pub(super) begins_at: Tick,
    /// The links whose places it takes, and when.
    pub(super) lapsing: Vec<(NodeIndex, NodeIndex, Tick)>,
}

impl Links {
    pub(super) fn new(cost: LinkCost) -> Self {
        Self { cost, ends: FxHashMap::default() }
    }

    pub(super) fn round_trips(&self) -> u32 {
        self.cost.round_trips
    }

    fn end(&self, node: NodeIndex, peer: NodeIndex) -> Option<&End> {
        self.ends.get(&node)?.get(&peer)
    }

    fn for_both(&mut self, node: NodeIndex, peer: NodeIndex, change: impl Fn(&mut End)) {
        for (node, peer) in [(node, peer), (peer, node)] {
            if let Some(end) = self.ends.get_mut(&node).and_then(|ends| ends.get_mut(&peer)) {
                change(end);
            }
        }
    }

    /// When the link between the two stands or stood, if it is there to be used.
    pub(super) fn stands_at(&self, node: NodeIndex, peer: NodeIndex) -> Option<Tick> {
        self.end(node, peer).map(|end| end.stands_at)
    }

    /// The same, unless its place is given away already.
    pub(super) fn lasting(&self, node: NodeIndex, peer: NodeIndex) -> Option<Tick> {
        self.end(node, peer).filter(|end| end.lapses_at.is_none()).map(|end| end.stands_at)
    }

    /// Something is said on the link, and until `busy_until` somebody may wait for the answer.
    pub(super) fn on_used(&mut self, node: NodeIndex, peer: NodeIndex, busy_until: Tick) {
        self.for_both(node, peer, |end| end.busy_until = end.busy_until.max(busy_until));
    }

    /// A link is asked for: finds places for it, and says when there are.
    pub(super) fn make_room(&mut self, now: Tick, node: NodeIndex, peer: NodeIndex) -> Opening {
        let max = self.cost.links_max.map_or(usize::MAX, |max| max.max(1) as usize);
        let mut opening = Opening { begins_at: now, lapsing: Vec::new() };
        for one in [node, peer] {
            let Some(ends) = self.ends.get(&one) else { continue };
            let lasting = || ends.iter().filter(|(_, end)| end.lapses_at.is_none());
            if lasting().count() < max {
                continue;
            }
            // The least of all, whatever the order.
            let freest = lasting().map(|(other, end)| (end.busy_until, *other)).min();
            if let Some((busy_until, other)) = freest {
                let lapses_at = busy_until.max(Tick(now.0 + 1));
                self.for_both(one, other, |end| end.lapses_at = Some(lapses_at));
                opening.begins_at = opening.begins_at.max(lapses_at);
                opening.lapsing.push((one, other, lapses_at));
            }
        }
        opening
    }

    /// A link stands from `stands_at` on.
    pub(super) fn open(&mut self, node: NodeIndex, peer: NodeIndex, stands_at: Tick) {
        let end = End { stands_at, busy_until: stands_at + Ticks(1), lapses_at: None };
        self.ends.entry(node).or_default().insert(peer, end);
        self.ends.entry(peer).or_default().insert(node, end);
    }

    /// Its time has come: says whether the link between the two has lapsed, and was not opened again meanwhile.
    pub(super) fn lapse(&mut self, now: Tick, node: NodeIndex, peer: NodeIndex) -> bool {
        let is_over = self.end(node, peer).and_then(|end| end.lapses_at).is_some_and(|at| at <= now);
        is_over && self.close(node, peer)
    }

    /// The link between the two is no more. Says whether there was one.
    pub(super) fn close(&mut self, node: NodeIndex, peer: NodeIndex) -> bool {
        let was_there = self.end(node, peer).is_some();
        for (node, peer) in [(node, peer), (peer, node)] {
            self.forget(node, peer);
        }
        was_there
    }

    /// A node is gone, and its links with it.
    pub(super) fn remove(&mut self, node: NodeIndex) {
        for peer in self.ends.remove(&node).unwrap_or_default().into_keys() {
            self.forget(peer, node);
        }
    }

    fn forget(&mut self, node: NodeIndex, peer: NodeIndex) {
        if let Some(ends) = self.ends.get_mut(&node) {
            ends.remove(&peer);
            if ends.is_empty() {
                self.ends.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::{Delay, DelaySpec};
    use crate::network::{DIAL_TIMEOUT, Mode, Network};
    use routing_core::connection::Connection;
    use routing_core::contact::{Contact, Standing, Versions};
    use routing_core::driver::Clock;
    use routing_core::effect::{Effect, Effects, Target};
    use routing_core::heard::{Heard, LossReason};
    use routing_core::key::SecretKey;
    use routing_core::message::{Message, RequestId};
    use routing_core::time::Ticks;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    fn node(index: u32) -> NodeIndex {
        NodeIndex(index)
    }

    /// What each node has heard: when, and in a word, from whom.
    type Log = Arc<Mutex<Vec<(u64, u32, String)>>>;

    fn card(number: u32) -> Arc<Contact> {
        let secret = SecretKey::from_seed([number as u8 + 1; 32]);
        let address = format!("n{number}.example").parse().unwrap();
        Arc::new(Contact::sign(&secret, address, 0, Standing::Here, Versions::CURRENT))
    }

    /// A network with 5 ms between nodes that write down what they hear. Node 0 says something at each of `says` to the
    /// node given there, whose link it asks for first if told so. And how many links were opened.
    fn told(cost: LinkCost, nodes: u32, ticks: u64, says: &[(u64, u32, bool)]) -> (Vec<(u64, u32, String)>, u64) {
        let delay = Delay::load(&DelaySpec::Constant { value: Ticks(5) }, Path::new(""), 1).unwrap();
        let mut network = Network::new(1, Mode::Direct, delay);
        network.set_link_cost(cost);
        let log = Log::default();
        for number in 0..nodes {
            let log = log.clone();
            network.spawn(card(number), 0, move |mut connection, clock| async move {
                let mut heard = Vec::new();
                while connection.listen(&mut heard).await.is_ok() {
                    let words = heard.drain(..).map(|heard| match heard {
                        Heard::Requested(_) => "requested",
                        Heard::Linked(..) => "linked",
                        Heard::Message(..) => "message",
                        Heard::Lost(_, LossReason::Closed) => "closed",
                        Heard::Lost(..) => "lost",
                    });
                    let now = clock.now().0;
                    log.lock().unwrap().extend(words.map(|word| (now, number, word.to_owned())));
                }
            });
        }
        for _ in 0..ticks {
            let now = network.now();
            for (_, to, asks) in says.iter().filter(|(at, ..)| *at == now.0) {
                let to = card(*to);
                let mut effects = Effects::new();
                effects.extend(asks.then(|| Effect::Request(Target::contact(&to))));
                effects.push(Effect::Send(to.grid(), Message::Unknown(RequestId(1))));
                network.carry_out(now, node(0), &mut effects, &[]);
            }
            network.tick();
        }
        let log = log.lock().unwrap().clone();
        (log, network.counters().links_opened)
    }

    fn heard(list: &[(u64, u32, &str)]) -> Vec<(u64, u32, String)> {
        list.iter().map(|(at, node, word)| (*at, *node, (*word).to_owned())).collect()
    }

    #[test]
    fn what_is_said_waits_for_the_link_and_the_next_word_finds_it_standing() {
        let cost = LinkCost { round_trips: 2, links_max: None };
        let (log, opened) = told(cost, 2, 100, &[(10, 1, true), (15, 1, true), (60, 1, true)]);
        let expected = [
            (30, 0, "linked"),
            (30, 0, "linked"),
            (30, 1, "requested"),
            (35, 1, "message"),
            (35, 1, "message"),
            (61, 0, "linked"),
            (65, 1, "message"),
        ];
        assert_eq!((log, opened), (heard(&expected), 1));
    }

    #[test]
    fn the_idlest_link_lapses_for_a_new_one_and_both_ends_hear_of_it() {
        let cost = LinkCost { round_trips: 0, links_max: Some(2) };
        let (log, opened) =
            told(cost, 4, 100, &[(10, 1, true), (20, 2, true), (30, 1, false), (40, 3, true), (60, 2, false)]);
        let closed: Vec<_> = log.iter().filter(|(.., word)| word == "closed").cloned().collect();
        // A word to somebody whose link has lapsed is answered by that, a round trip later.
        assert_eq!(closed, heard(&[(42, 0, "closed"), (42, 2, "closed"), (70, 0, "closed")]));
        assert_eq!(opened, 3);
        assert_eq!(log.iter().filter(|(.., word)| word == "message").count(), 4);
    }

    #[test]
    fn nobody_waits_for_a_link_to_nobody_longer_than_a_dial_takes() {
        let cost = LinkCost { round_trips: 2, links_max: None };
        let (log, _) = told(cost, 1, 10 + DIAL_TIMEOUT.0, &[(10, 1, true)]);
        assert_eq!(log, heard(&[(10 + DIAL_TIMEOUT.0, 0, "lost")]));
    }

    #[test]
    fn who_is_gone_has_no_links_and_leaves_none_behind() {
        let mut links = Links::new(LinkCost { round_trips: 0, links_max: Some(3) });
        for peer in 1..4 {
            let opening = links.make_room(Tick(0), node(0), node(peer));
            assert_eq!(opening, Opening { begins_at: Tick(0), lapsing: Vec::new() });
            links.open(node(0), node(peer), Tick(u64::from(peer)));
        }
        links.on_used(node(1), node(0), Tick(9));
        let lapsing = vec![(node(0), node(2), Tick(11))];
        assert_eq!(links.make_room(Tick(10), node(4), node(0)), Opening { begins_at: Tick(11), lapsing });
        links.open(node(0), node(4), Tick(12));
        // That place is given away: the next one takes another's.
        let lapsing = vec![(node(0), node(3), Tick(11))];
        assert_eq!(links.make_room(Tick(10), node(0), node(5)), Opening { begins_at: Tick(11), lapsing });
        assert!(!links.lapse(Tick(10), node(0), node(2)) && links.lapse(Tick(11), node(0), node(2)));
        links.remove(node(0));
        assert!(links.ends.is_empty());
        assert!(!links.close(node(0), node(1)));
    }
}
