//! Attacks: nodes that turn dishonest, and dishonest nodes that come with ids ground next to their victims.

use super::{Member, RoutingSandbox};
use crate::carrier::Carrier;
use crate::network::NodeIndex;
use crate::network::dishonest::{Behaviour, Friends};
use rand_core::Rng;
use routing_core::holders::Scale;
use routing_core::id::{Grid, Id};
use routing_core::key::SecretKey;
use std::sync::Arc;

/// How many keys are tried before those that fit are counted.
const TRIES: u64 = 4_096;

/// Where ids that are ground lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// Nearer to the victim than the nearest honest node.
    Near,
    /// Within half the radius in which k nodes are to be expected.
    Spread,
}

impl<C: Carrier> RoutingSandbox<C> {
    /// These servers lie from now on, and are friends of all who lie already. On a network that is not simulated all are
    /// honest.
    pub fn corrupt(&mut self, members: &[usize], behaviour: Behaviour) {
        let liars = self.members.iter().enumerate();
        let liars = liars.filter(|(index, member)| members.contains(index) || self.is_liar(member.node));
        let liars: Vec<&Member> = liars.map(|(_, member)| member).collect();
        let contacts = liars.iter().filter_map(|liar| self.network.contact(liar.node).cloned());
        let friends = Arc::new(Friends::new(contacts.collect()));
        let Some(network) = self.network.simulated_mut() else { return };
        for liar in liars {
            network.befriend(liar.node, friends.clone());
        }
        for member in members {
            network.corrupt(self.members[*member].node, behaviour, friends.clone());
        }
    }

    /// Whether this server lies.
    pub fn is_dishonest(&self, member: usize) -> bool {
        self.is_liar(self.members[member].node)
    }

    /// Whether this node lies.
    pub fn is_liar(&self, node: NodeIndex) -> bool {
        self.network.simulated().is_some_and(|network| network.is_dishonest(node))
    }

    /// Adds `count` servers with ids ground next to a user's GUID, each at a domain of its own, and says which. They are
    /// honest still, and part of no network. Keys are tried on all threads, in an order that the seed gives.
    pub fn add_ground_servers(&mut self, user: usize, count: usize, aim: Aim) -> Vec<usize> {
        let target = self.users[user].guid().0;
        let reach = self.reach(&target, aim);
        let seed = self.rng.next_u64();
        let keys = grind(seed, count, self.network.threads(), |grid| target.prefix() ^ grid.0.prefix() < reach);
        self.aimed_at.push(user);
        let first = self.members.len();
        for secret in keys {
            let domain = super::node_name(self.members.len() + 1);
            self.add_server_with(Arc::new(secret), domain, 1, None);
        }
        (first..self.members.len()).collect()
    }

    /// The users that ids were ground next to.
    pub fn aimed_at(&self) -> &[usize] {
        &self.aimed_at
    }

    /// Within which distance, in leading 64 bits, ids that are ground must lie.
    fn reach(&self, target: &Id, aim: Aim) -> u64 {
        let honest = self.running().into_iter().filter(|member| !self.is_dishonest(*member));
        match aim {
            Aim::Near => {
                let distances = honest.map(|member| target.prefix() ^ self.members[member].grid.0.prefix());
                distances.min().unwrap_or(u64::MAX)
            }
            Aim::Spread => Scale::of_nodes(honest.count() as u64).radius(self.config.holders).unwrap_or(u64::MAX) / 2,
        }
    }
}

/// The first `count` keys, counted from the seed, whose ids fit. The same on any number of threads.
fn grind(seed: u64, count: usize, threads: usize, fits: impl Fn(&Grid) -> bool + Sync) -> Vec<SecretKey> {
    let key = |number: u64| {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        secret[8..16].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_seed(secret)
    };
    let try_some = |first: u64, end: u64| -> Vec<SecretKey> {
        let keys = (first..end).map(key);
        keys.filter(|key| fits(&Grid::from(&key.public()))).collect()
    };
    let (mut found, mut next) = (Vec::new(), 0);
    while found.len() < count {
        let portion = TRIES.div_ceil(threads as u64);
        let starts = (0..threads as u64).map(|thread| next + thread * portion);
        found.extend(std::thread::scope(|scope| {
            let portions: Vec<_> = starts.map(|first| scope.spawn(move || try_some(first, first + portion))).collect();
            let found = portions.into_iter().map(|tried| tried.join().expect("trying keys does not fail"));
            found.flatten().collect::<Vec<_>>()
        }));
        next += portion * threads as u64;
    }
    found.truncate(count);
    found
}
