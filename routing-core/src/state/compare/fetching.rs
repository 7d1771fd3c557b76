//! What several fellows list is fetched from one of them; from the others, if that one does not hand it over.

use super::Comparisons;
use crate::contact::Contact;
use crate::id::{Grid, Key};
use crate::message::{Brief, Fetch, Message};
use crate::state::core::Core;
use crate::state::requests::{Pending, Purpose};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many keys one fetch asks for: as many as fit one bundle even if each record is as large as records get.
const FETCH_KEYS: usize = 64;

/// The records that fellows list and this node does not have, or not so.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    /// Whom each of them is asked for.
    asked: BTreeMap<Key, Grid>,
    /// What fellows list that somebody else is asked for already.
    deferred: Vec<(Arc<Contact>, Vec<Brief>)>,
}

impl Fetching {
    /// Nothing is awaited from `fellow` any more.
    pub(super) fn give_up(&mut self, fellow: &Grid) {
        self.asked.retain(|_, asked| asked != fellow);
        self.deferred.retain(|(listing, _)| listing.grid() != *fellow);
    }

    /// `fellow` is not asked for this any more.
    fn end(&mut self, key: &Key, fellow: &Grid) {
        if self.asked.get(key) == Some(fellow) {
            self.asked.remove(key);
        }
    }
}

impl Core {
    /// Fetches what `fellow` lists and this node lacks, or will do so once it is clear that somebody else does not hand it
    /// over.
    pub(super) fn want(&mut self, comparisons: &mut Comparisons, fellow: &Arc<Contact>, listed: Vec<Brief>) {
        let asked = &mut comparisons.fetching.asked;
        let (others, own): (Vec<Brief>, Vec<Brief>) =
            listed.into_iter().partition(|brief| asked.contains_key(&brief.key));
        asked.extend(own.iter().map(|brief| (brief.key, fellow.grid())));
        if !others.is_empty() {
            comparisons.awaited.entry(fellow.grid()).or_default().answers += 1;
            comparisons.fetching.deferred.push((fellow.clone(), others));
        }
        self.fetch(comparisons, fellow, own);
    }

    pub(super) fn fetch(&mut self, comparisons: &mut Comparisons, fellow: &Arc<Contact>, mut listed: Vec<Brief>) {
        if listed.is_empty() {
            return;
        }
        let rest = listed.split_off(listed.len().min(FETCH_KEYS));
        comparisons.awaited.entry(fellow.grid()).or_default().answers += 1;
        self.ask(fellow, false, Purpose::Fetch(rest), 0, |id| {
            Message::Fetch(Fetch { id, keys: listed.into_iter().map(|brief| brief.key).collect() })
        });
    }

    /// The answer to a fetch is here: what else was listed is asked for, but for what somebody else has brought meanwhile.
    /// After the last of it what was put off for its sake is fetched, if still lacking.
    pub(super) fn on_handed_over(&mut self, comparisons: &mut Comparisons, pending: Pending) {
        let (Message::Fetch(fetch), Purpose::Fetch(rest)) = (&pending.request, pending.purpose) else { return };
        let grid = pending.peer.grid();
        let is_lacking = |brief: &Brief| {
            self.is_voted_on(&mut comparisons.claims, &brief.key)
                || self.store.brief(&brief.key).as_ref() != Some(brief)
        };
        let (lacking, brought): (Vec<Brief>, Vec<Brief>) = rest.into_iter().partition(is_lacking);
        for key in fetch.keys.iter().chain(brought.iter().map(|brief| &brief.key)) {
            comparisons.fetching.end(key, &grid);
        }
        if lacking.is_empty() {
            self.resume(comparisons);
        }
        self.fetch(comparisons, &pending.peer, lacking);
    }

    /// Goes through what was put off: what is still asked for elsewhere stays so.
    pub(super) fn resume(&mut self, comparisons: &mut Comparisons) {
        for (fellow, listed) in std::mem::take(&mut comparisons.fetching.deferred) {
            let lacking: Vec<Brief> =
                listed.into_iter().filter(|brief| self.store.brief(&brief.key).as_ref() != Some(brief)).collect();
            self.want(comparisons, &fellow, lacking);
            // The new requests, if there were any, are awaited by themselves.
            self.end_one(comparisons, fellow.grid(), true);
        }
    }
}
