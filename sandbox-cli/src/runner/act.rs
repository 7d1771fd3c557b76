//! One action of a step: what the sandbox is told to do.

use super::Runner;
use super::plan::{self, Action, Actor, Wanted};
use crate::scenario::{Do, ENTRY_POINTS};
use transport_sim::carrier::Carrier;
use transport_sim::network::{Condition, Network};
use transport_sim::sandbox::SandboxError;
use transport_sim::sandbox::tasks::{Asker, Change};

impl<C: Carrier> Runner<'_, C> {
    /// Does one thing. Says how many operations have begun with it.
    pub(super) fn carry_out(&mut self, index: usize, ledger: usize, action: Action) -> Result<u64, SandboxError> {
        let sandbox = &mut self.sandbox;
        match action {
            Action::Join { domain, weight, region, every, entry_points } => {
                let entry_points = plan::doors(sandbox, entry_points as usize);
                let member = sandbox.add_server(domain, weight, region.as_deref());
                plan::stand_at(sandbox, member, &entry_points);
                if every > 1 {
                    let grid = sandbox.members()[member].grid;
                    sandbox.run_node(grid, every.into())?;
                }
                sandbox.start_join(ledger, member, &entry_points);
                Ok(1)
            }
            Action::Register { users, asker } => {
                let home = users.first().and_then(|user| sandbox.users()[*user].home());
                let asker = plan::asker_near(sandbox, asker, home);
                let operations = if matches!(asker, Asker::Client(_)) { users.len() as u64 } else { 1 };
                sandbox.start_register(ledger, &users, &asker)?;
                Ok(operations)
            }
            Action::Announce(member) => {
                sandbox.start_announce(ledger, member);
                Ok(1)
            }
            Action::Claim { name, claimants, asker } => {
                let askers = plan::askers_elsewhere(sandbox, asker, claimants);
                for asker in &askers {
                    sandbox.start_claim(ledger, name, asker)?;
                }
                Ok(askers.len() as u64)
            }
            Action::Lookup { what, asker } => {
                let Do::Lookup(lookup) = &self.scenario.steps[index].what else { return Ok(0) };
                let level = lookup.consistency.into();
                let asker = plan::asker(sandbox, asker);
                match what {
                    Wanted::User(user) => sandbox.start_lookup(ledger, user, level, &asker)?,
                    Wanted::Name(name) => sandbox.start_lookup_name(ledger, name, level, &asker)?,
                }
                Ok(1)
            }
            Action::Move { user, asker } => {
                let Some(home) = plan::another_home(sandbox, user) else { return Ok(0) };
                let asker = plan::asker_near(sandbox, asker.at(home), Some(home));
                sandbox.start_change(ledger, user, Change::Move(home), &asker)?;
                Ok(1)
            }
            Action::Change { user, change, asker } => {
                let home = sandbox.users()[user].home();
                let asker = plan::asker(sandbox, home.map_or(asker, |home| asker.at(home)));
                sandbox.start_change(ledger, user, change, &asker)?;
                Ok(1)
            }
            Action::Recover { user, thief } => {
                let Some(home) = plan::another_home(sandbox, user) else { return Ok(0) };
                let client = Actor::Client(ENTRY_POINTS);
                let mut begun = 1;
                if thief && let Some(elsewhere) = plan::another_home(sandbox, user) {
                    let asker = plan::asker_near(sandbox, client, Some(elsewhere));
                    sandbox.start_theft(ledger, user, elsewhere, &asker)?;
                    begun += 1;
                }
                let asker = plan::asker_near(sandbox, client, Some(home));
                sandbox.start_change(ledger, user, Change::Recover(home), &asker)?;
                Ok(begun)
            }
            Action::Away(member, span) => {
                sandbox.start_away(ledger, member, span);
                Ok(1)
            }
            Action::Stop(member) => {
                sandbox.stop(member);
                Ok(0)
            }
            Action::Return(member) => {
                // Who has not come to say farewell in all this time goes without.
                if sandbox.lives(member) {
                    sandbox.stop(member);
                }
                Ok(u64::from(sandbox.start_return(ledger, member)))
            }
            Action::Partition { parts, one_way } => {
                sandbox.partition(&parts, one_way);
                Ok(0)
            }
            Action::Heal => {
                sandbox.heal();
                Ok(0)
            }
            Action::Leave(member) => {
                sandbox.start_leave(ledger, member);
                Ok(1)
            }
            Action::Kill(member) => {
                sandbox.kill(member);
                Ok(0)
            }
            Action::Halt(member) => {
                let node = sandbox.members()[member].node;
                self.weather(|network| network.halt(node));
                Ok(0)
            }
            Action::Run(member) if sandbox.network().condition(sandbox.members()[member].node) == Condition::Down => {
                Ok(u64::from(sandbox.start_return(ledger, member)))
            }
            Action::Run(member) => {
                let node = sandbox.members()[member].node;
                self.weather(|network| network.resume(node));
                Ok(0)
            }
            Action::Cadence(member, every) => {
                let node = sandbox.members()[member].node;
                self.weather(|network| network.run(node, every.into()));
                Ok(0)
            }
            Action::Loss { rate, duplicate } => {
                self.weather(|network| {
                    if let Some(rate) = rate {
                        network.set_loss(rate);
                    }
                    if let Some(rate) = duplicate {
                        network.set_duplicate(rate);
                    }
                });
                Ok(0)
            }
            Action::Delay => {
                if let Some(delay) = self.delays.get(&index).cloned() {
                    self.weather(|network| network.set_delay(delay));
                }
                Ok(0)
            }
            Action::Corrupt { members, behaviour } => {
                sandbox.corrupt(&members, behaviour);
                Ok(0)
            }
            Action::Infiltrate(member) => {
                let entry_points = plan::doors(sandbox, ENTRY_POINTS as usize);
                plan::stand_at(sandbox, member, &entry_points);
                sandbox.start_join(ledger, member, &entry_points);
                Ok(1)
            }
        }
    }

    /// Changes the simulated network; elsewhere the scenario was refused.
    fn weather(&mut self, change: impl FnOnce(&mut Network)) {
        self.sandbox.network_mut().simulated_mut().map(change);
    }
}
