//! Somebody who is no node: looks users up and registers them through nodes, and is in nobody's table.

use crate::config::Config;
use crate::hosts::{self, HostsError};
use crate::keyfile::{KeyFile, KeyFileError};
use crate::store::unix_ms;
use routing_core::contact::Contact;
use routing_core::domain::Domain;
use routing_core::driver::{NodeHandle, Observer, RoutingNode, SubmitError};
use routing_core::effect::{Consistency, Notice, Operation, OperationId, Outcome};
use routing_core::error::{LookupError, RegisterError};
use routing_core::id::{Guid, Key};
use routing_core::key::SecretKey;
use routing_core::record::Record;
use routing_core::state::{Answer, HolderSaid, NodeState, Registration, Verdict};
use serde::{Serialize, Serializer};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use transport_tcp::{OpenError, TcpConnection};

/// How long a client waits after a registration was acknowledged until the other holders have the record, too.
const SPREAD_MAX: Duration = Duration::from_secs(5);

/// Why a client could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody was named to begin with.
    #[error("name some nodes to begin with: --join one.example,two.example")]
    NoEntryPoints,
    /// The hosts file cannot be used.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// The links cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The lookup was not made.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The registration was not made.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// A client that is connected to nobody yet: it dials when it is asked something, and keeps the links for the next time.
/// Dropped, it is gone.
#[derive(Debug)]
pub struct Client {
    handle: NodeHandle,
    /// The last registration that was begun.
    last: AtomicU64,
    spread: watch::Receiver<OperationId>,
    running: JoinHandle<()>,
}

/// Tells the last registration that has reached all holders.
struct Spread(watch::Sender<OperationId>);

impl Observer for Spread {
    fn on_notice(&mut self, notice: &Notice) {
        if let Notice::Spread(id) = notice {
            self.0.send_if_modified(|last| {
                let is_later = *id > *last;
                *last = (*last).max(*id);
                is_later
            });
        }
    }
}

impl Client {
    /// A client that begins at `config`'s entry points. Within a tokio runtime.
    pub fn open(config: &Config) -> Result<Self, ClientError> {
        if config.join.is_empty() {
            return Err(ClientError::NoEntryPoints);
        }
        let mut seed = [0; 40];
        getrandom::fill(&mut seed)?;
        let (key, draws) = seed.split_at(32);
        let secret = Arc::new(SecretKey::from_seed(key.try_into().expect("split at 32 bytes")));
        let draws = u64::from_be_bytes(draws.try_into().expect("eight bytes are left"));
        let mut connection = TcpConnection::client(secret.clone(), config.links.clone())?;
        if let Some(hosts) = &config.hosts {
            connection = connection.with_resolver(hosts::read(hosts)?);
        }
        let card = Arc::new(Contact::client(&secret));
        let state = NodeState::client(card, config.entry_points(), Arc::new(config.node.clone()), draws);
        let (told, spread) = watch::channel(OperationId(0));
        let node = RoutingNode::new(state, connection).with_observer(Spread(told));
        let handle = node.handle();
        // Links cannot be gone as a whole, and a client keeps nothing: it runs until it is dropped.
        let running = tokio::spawn(async move { drop(node.run().await) });
        Ok(Self { handle, last: AtomicU64::new(0), spread, running })
    }

    /// Where does this user live?
    pub async fn lookup(&self, guid: Guid, consistency: Consistency) -> Result<Answer, ClientError> {
        Ok(self.handle.lookup(Key::from(guid), consistency).await?)
    }

    /// Hands a record to its holders. Returns once it is decided; others that lack it are given it for some seconds more
    /// by [`Client::spread`].
    pub async fn register(&self, record: Arc<Record>) -> Result<Registration, ClientError> {
        let asked = self.handle.submit(Operation::Register(vec![record])).map_err(|error| match error {
            SubmitError::Full => RegisterError::Busy,
            _ => RegisterError::Stopped,
        })?;
        self.last.fetch_max(asked.id().0, Ordering::Relaxed);
        let Ok(Outcome::Registered(registered)) = asked.await else { return Err(RegisterError::Stopped.into()) };
        Ok(registered?.records.pop().expect("one entry for each record"))
    }

    /// Waits until the last registration has reached every holder that can be reached, for some seconds at most.
    pub async fn spread(&self) {
        let last = OperationId(self.last.load(Ordering::Relaxed));
        let mut spread = self.spread.clone();
        // Who does not answer within that time is left to the others' upkeep.
        let _ = tokio::time::timeout(SPREAD_MAX, spread.wait_for(|spread| *spread >= last)).await;
    }

    /// Has the account of `keys` live at `home`: continues from the newest record found, and writes the next one into
    /// the key file before anybody is told of it. What names `home` already is registered again as it is.
    pub async fn place(&self, keys: &mut KeyFile, home: &Domain) -> Result<Placed, ClientError> {
        // A new account cannot have been written before.
        if keys.newest().is_some() {
            let answer = self.lookup(keys.guid(), Consistency::All).await?;
            if let Some(record) = answer.record {
                keys.adopt(&record)?;
            }
        }
        let record = keys.place(home, unix_ms())?;
        let registration = self.register(record).await?;
        if registration.is_acknowledged {
            self.spread().await;
        }
        Ok(Placed::of(&registration))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The answer to a lookup, for a terminal or a program.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Who was asked for.
    pub guid: String,
    /// Written by its [name](Verdict::name).
    #[serde(serialize_with = "name")]
    pub verdict: Verdict,
    /// The home-server.
    pub home: Option<String>,
    /// With `conflict`: the home-server that the other record names.
    pub rival_home: Option<String>,
    /// How many records the user has written under these keys.
    pub version: Option<u64>,
    /// When the user wrote it, in milliseconds since 1970, by the user's own clock.
    pub issued_ms: Option<u64>,
    /// Whether enough holders agreed.
    pub is_settled: bool,
    /// Whether the home-server itself said so.
    pub is_confirmed: bool,
    /// How many groups of holders have exactly this record.
    pub confirmations: usize,
    /// How long ago it was announced.
    pub age_ms: u64,
    /// How many round trips it took.
    pub round_trips: u8,
}

impl Found {
    /// What `answer` says of `guid`.
    pub fn of(guid: Guid, answer: &Answer) -> Self {
        let home = |record: &Arc<Record>| record.home().map(Domain::to_string);
        let record = answer.record.as_ref();
        Self {
            guid: guid.to_string(),
            verdict: answer.verdict,
            home: record.and_then(home),
            rival_home: answer.rival.as_ref().and_then(home),
            version: record.map(|record| record.version()),
            issued_ms: record.map(|record| record.issued_ms()),
            is_settled: answer.is_settled,
            is_confirmed: answer.is_confirmed,
            confirmations: answer.confirmations,
            age_ms: answer.age.0,
            round_trips: answer.round_trips,
        }
    }

    /// The same for people.
    pub fn render(&self) -> String {
        let mut text = match (self.verdict, &self.home, &self.rival_home) {
            (Verdict::Conflict, Some(home), Some(rival)) => format!(
                "{home}\n  Beware: another record, signed with the same key, says {rival}. Somebody else has the key;\n  \
                 the user should recover the account.\n"
            ),
            (_, Some(home), _) => format!("{home}\n"),
            (Verdict::Closed, ..) => "closed: the user has given the account up\n".to_owned(),
            (Verdict::Absent, ..) => "absent: nobody has a record of this user\n".to_owned(),
            _ => {
                "unreachable: too few nodes answer to say anything; try again, or name others with --join\n".to_owned()
            }
        };
        if self.version.is_some() {
            let sure =
                if self.is_settled { "" } else { " - not for sure: too few of those who should know have answered" };
            let age = Duration::from_millis(self.age_ms).as_secs();
            // Writing into a text does not fail.
            let _ = writeln!(
                text,
                "  confirmed by {} holders, announced {age} s ago, round trips: {}{sure}",
                self.confirmations, self.round_trips
            );
            if self.is_confirmed {
                text.push_str("  The home-server itself says so.\n");
            }
        }
        text
    }
}

fn name<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.name())
}

/// What became of a registration, for a terminal or a program.
#[derive(Clone, Debug, Serialize)]
pub struct Placed {
    /// The user.
    pub guid: String,
    /// Where the user lives from now on, if it was acknowledged.
    pub home: Option<String>,
    /// How many records the user has written under these keys.
    pub version: u64,
    /// Whether a majority of the holders keep it, and nobody knows a greater record.
    pub is_acknowledged: bool,
    /// Whether a holder knows a greater record of this user.
    pub is_outdated: bool,
    /// How many holders keep it, when it was decided.
    pub holders_kept: usize,
    /// How many holders there are.
    pub holders: usize,
}

impl Placed {
    fn of(registration: &Registration) -> Self {
        let record = &registration.record;
        let kept = registration.holders.iter().filter(|(_, said)| *said == HolderSaid::Kept).count();
        Self {
            guid: record.guid().to_string(),
            home: record.home().map(Domain::to_string),
            version: record.version(),
            is_acknowledged: registration.is_acknowledged,
            is_outdated: registration.greater.as_ref().is_some_and(|copy| copy.record.outranks(record)),
            holders_kept: kept,
            holders: registration.holders.len(),
        }
    }

    /// The same for people.
    pub fn render(&self) -> String {
        let Self { guid, holders_kept, holders, .. } = self;
        let home = self.home.as_deref().unwrap_or_default();
        if self.is_acknowledged {
            format!("{guid}\n  lives at {home} from now on: {holders_kept} of {holders} holders keep it\n")
        } else if self.is_outdated {
            format!("{guid}\n  not registered: the network knows a newer record, written elsewhere. Run it again.\n")
        } else {
            format!(
                "{guid}\n  not acknowledged: {holders_kept} of {holders} holders keep it. Some may have it now; run it \
                 again, or name others with --join\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_registration_has_reached_says_nothing_of_the_last() {
        let (told, heard) = watch::channel(OperationId(0));
        let mut spread = Spread(told);
        spread.on_notice(&Notice::Spread(OperationId(1)));
        assert!(*heard.borrow() < OperationId(2));
        spread.on_notice(&Notice::Spread(OperationId(2)));
        spread.on_notice(&Notice::Spread(OperationId(1)));
        assert_eq!(*heard.borrow(), OperationId(2));
    }
}
