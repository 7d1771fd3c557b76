//! The last word at the level `Confirmed`: the home-server that the answer names.
//!
//! When the holders have answered, the domain is dialled and whoever is there asked what it has under the key. If that
//! is the same record, the answer is confirmed. If it is a greater one, that is the answer, and the server *it* names is
//! asked in turn. Anything else, silence included, leaves the answer as the holders gave it, and unconfirmed.

use super::{Hop, Lookup, Said, held};
use crate::contact::{Address, Contact};
use crate::domain::Domain;
use crate::effect::{Consistency, Effect, Target};
use crate::holders::SetName;
use crate::message::{Find, Found, Message, RequestId};
use crate::record::Held;
use crate::state::core::Core;
use crate::state::operations::Progress;
use crate::state::requests::{Pending, Purpose};
use std::sync::Arc;

/// How many home-servers are asked: the one named, and two more if the user has moved on.
const HOMES_MAX: u8 = 3;

/// A home-server that is dialled or asked.
#[derive(Debug)]
pub(super) struct Confirming {
    home: Domain,
    target: Target,
    /// Whether the link stands and the question is out.
    is_asked: bool,
    /// Whether the holders' answer was settled.
    pub(super) is_settled: bool,
    /// How deep it was.
    led_by: u8,
}

impl Lookup {
    /// The holders have answered. The lookup goes on if the home-server is to be heard.
    pub(super) fn conclude(&mut self, core: &mut Core, led_by: u8, is_settled: bool) -> Progress {
        if self.consistency == Consistency::Confirmed && self.dial_home(core, led_by, is_settled) {
            return Progress::Going;
        }
        self.finish(core, led_by, is_settled);
        Progress::Done
    }

    fn dial_home(&mut self, core: &mut Core, led_by: u8, is_settled: bool) -> bool {
        let is_contested = self.tally().is_contested;
        let Some(record) = self.best.as_ref().map(Held::record).filter(|_| !is_contested) else { return false };
        let Some(home) = record.home().cloned() else { return false };
        if core.is_node() && core.contact.is_at(&home) {
            self.is_confirmed = core.homed.get(&record.guid()) == Some(record);
            return false;
        }
        if self.homes_asked == HOMES_MAX {
            return false;
        }
        self.homes_asked += 1;
        (self.hedge, self.retry) = (None, None);
        let target = Target::address(Address::from(&home));
        core.dials.push((target.clone(), self.id));
        core.effect(Effect::Request(target.clone()));
        self.confirming = Some(Confirming { home, target, is_asked: false, is_settled, led_by });
        true
    }

    /// Whether this is the dial of the home-server, and not that of an entry point.
    pub(super) fn is_home(&self, target: &Target) -> bool {
        self.confirming.as_ref().is_some_and(|confirming| !confirming.is_asked && confirming.target == *target)
    }

    /// Somebody is there: the one whose card says so, or nobody.
    pub(super) fn on_home_linked(&mut self, core: &mut Core, contact: &Arc<Contact>) -> Progress {
        let Some(confirming) = &mut self.confirming else { return Progress::Going };
        if !contact.is_at(&confirming.home) || !core.is_worth_knowing(contact) {
            return self.end_unconfirmed(core, None);
        }
        confirming.is_asked = true;
        let depth = confirming.led_by.saturating_add(1);
        // No groups: only what is held there is wanted.
        let find = Find { id: RequestId(0), target: self.key.id, want: self.want(), groups: 0, set: SetName::NONE };
        core.ask(contact, true, Purpose::Operation(self.id), depth, |id| Message::Find(Find { id, ..find }));
        self.trace.push(Hop { peer: contact.clone(), asked: core.now, depth, said: None });
        Progress::Going
    }

    /// An answer while the home-server is awaited; its record, if there is one, is valid.
    pub(super) fn on_home_answered(&mut self, core: &mut Core, pending: &Pending, found: &Found) -> Progress {
        // A holder that was not waited for.
        if !is_to_home(pending) {
            return Progress::Going;
        }
        if let Some(hop) = self.trace.iter_mut().rev().find(|hop| hop.peer.grid() == pending.peer.grid()) {
            let said = Said { standing: found.standing, copy: found.copy.clone(), named: None };
            hop.said = Some((core.now, said));
        }
        let (Some(copy), Some(best)) = (&found.copy, &mut self.best) else {
            return self.end_unconfirmed(core, Some(pending.depth));
        };
        best.merge_held(&held(copy));
        let (home, says_so) = (best.record().home().cloned(), *best.record() == copy.record);
        let Some(confirming) = self.confirming.take_if(|_| says_so) else {
            return self.end_unconfirmed(core, Some(pending.depth));
        };
        if home.is_some_and(|home| home != confirming.home) {
            // The user has moved on, and the server left behind knows it.
            return self.conclude(core, pending.depth, confirming.is_settled);
        }
        self.is_confirmed = true;
        self.finish(core, pending.depth, confirming.is_settled);
        Progress::Done
    }

    pub(super) fn on_home_silent(&mut self, core: &mut Core, pending: &Pending) -> Progress {
        if is_to_home(pending) {
            return self.end_unconfirmed(core, Some(pending.depth));
        }
        self.search.on_silence(&pending.peer.grid());
        Progress::Going
    }

    /// The answer stays as the holders gave it. `depth` is that of the home-server's word, if it was waited for.
    pub(super) fn end_unconfirmed(&mut self, core: &mut Core, depth: Option<u8>) -> Progress {
        let Some(confirming) = self.confirming.take() else { return Progress::Going };
        self.finish(core, depth.unwrap_or(confirming.led_by), confirming.is_settled);
        Progress::Done
    }
}

/// Whether this was the question to the home-server: those to holders ask for contacts, too.
fn is_to_home(pending: &Pending) -> bool {
    matches!(&pending.request, Message::Find(find) if find.groups == 0)
}
