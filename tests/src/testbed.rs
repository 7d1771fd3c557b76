//! A federation to which a test does things, whatever carries it.

use routing_core::config::NodeConfig;
use routing_core::effect::Consistency;
use routing_core::id::{Grid, Guid, Key};
use routing_core::state::Answer;
use routing_core::time::Ticks;
use sandbox_cli::sockets::{Loopback, Sockets};
use std::num::NonZeroUsize;
use transport_sim::carrier::Carrier;
use transport_sim::network::NodeIndex;
use transport_sim::sandbox::RoutingSandbox;
use transport_sim::sandbox::tasks::{Asker, Change, Done};

/// How long anything may take until the test is stuck. No test depends on how long something takes.
const PATIENCE: Ticks = Ticks::minutes(3);
/// Through how many servers a newcomer joins.
const DOORS: usize = 3;

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// A server, out of its own table.
    Server(usize),
    /// Somebody who is no node, and begins at these servers.
    Client(&'a [usize]),
}

/// What became of some operations, judged by what is true. `correct`, `wrong`, `absent` and `unreachable` add up to
/// `asked`; for all but lookups, correct is acknowledged.
#[derive(Clone, Default, Debug)]
pub struct Ended {
    /// How many there were.
    pub asked: u32,
    /// Ended right.
    pub correct: u32,
    /// Answered with something else than the truth.
    pub wrong: u32,
    /// Answered that there is nothing.
    pub absent: u32,
    /// Without an answer or acknowledgement.
    pub unreachable: u32,
    /// Answered without a majority.
    pub unsettled: u32,
    /// The round trips of each, in ascending order; answers out of the asker's own store took none and are left out.
    pub round_trips: Vec<u32>,
    /// What lookups brought.
    pub answers: Vec<Answer>,
}

impl Ended {
    /// Whether something was asked, and all of it ended right and settled.
    pub fn is_all_right(&self) -> bool {
        self.asked > 0 && self.correct == self.asked && self.unsettled == 0
    }

    /// Round trips that so many of a hundred did not exceed; none without samples.
    pub fn round_trips_of(&self, percent: usize) -> Option<u32> {
        let rank = (self.round_trips.len() * percent).div_ceil(100);
        self.round_trips.get(rank.checked_sub(1)?).copied()
    }

    /// Adds others to these.
    pub fn add(&mut self, more: Ended) {
        self.asked += more.asked;
        self.correct += more.correct;
        self.wrong += more.wrong;
        self.absent += more.absent;
        self.unreachable += more.unreachable;
        self.unsettled += more.unsettled;
        self.round_trips.extend(more.round_trips);
        self.round_trips.sort_unstable();
        self.answers.extend(more.answers);
    }
}

impl From<Done> for Ended {
    fn from(done: Done) -> Self {
        Self {
            asked: done.asked,
            correct: done.correct,
            wrong: done.wrong,
            absent: done.absent,
            unreachable: done.unreachable,
            unsettled: done.unsettled,
            round_trips: done.round_trips.into_iter().collect(),
            answers: done.lookup.and_then(|lookup| lookup.answer).into_iter().collect(),
        }
    }
}

/// A federation: servers and users, each numbered from 0, and the truth about them. Each call waits until what it began
/// has ended, and panics if that takes for ever: it is for tests.
pub trait Testbed {
    /// New servers join, all at once, through servers that are in. Gives their numbers.
    fn start(&mut self, servers: usize) -> Vec<usize>;

    /// New users of one server are registered; by a server in bulk. Waits until every holder has them.
    fn register(&mut self, home: usize, users: usize, by: By<'_>) -> (Vec<usize>, Ended);

    /// A user moves.
    fn migrate(&mut self, user: usize, home: usize, by: By<'_>) -> Ended;

    /// A user closes the account.
    fn close(&mut self, user: usize, by: By<'_>) -> Ended;

    /// Somebody looks a user up. Right is the greatest write acknowledged before, or anything signed after it.
    fn look_up(&mut self, user: usize, consistency: Consistency, by: By<'_>) -> Ended;

    /// A new name is claimed by several at once, each of them somebody else. Gives the name's number.
    fn claim(&mut self, by: &[By<'_>]) -> (usize, Ended);

    /// Somebody looks a name up. Right is the claimant kept by most of its true holders.
    fn look_up_name(&mut self, name: usize, consistency: Consistency, by: By<'_>) -> Ended;

    /// A server leaves for good.
    fn leave(&mut self, server: usize) -> Ended;

    /// A server says that it will be back within `span`, and stops.
    fn away(&mut self, server: usize, span: Ticks) -> Ended;

    /// A server is gone without a word, for good.
    fn kill(&mut self, server: usize);

    /// A server is down without a word.
    fn stop(&mut self, server: usize);

    /// A server that is away or was stopped starts again with its key and what it has kept, and joins through those whom
    /// it remembers: it is told of no entry point.
    fn come_back(&mut self, server: usize) -> Ended;

    /// Lets time pass.
    fn wait(&mut self, span: Ticks);

    /// The servers that run.
    fn running(&self) -> Vec<usize>;

    /// The id of a server's node.
    fn grid(&self, server: usize) -> Grid;

    /// The id of a user.
    fn guid(&self, user: usize) -> Guid;

    /// The servers that must hold a user's record.
    fn true_holders(&mut self, user: usize) -> Vec<usize>;

    /// Whether a server holds the greatest record of a user that was acknowledged.
    fn holds(&self, server: usize, user: usize) -> bool;
}

/// An empty federation on the simulated network.
pub fn sandbox(seed: u64) -> RoutingSandbox {
    RoutingSandbox::new(seed)
}

/// An empty federation on sockets of the loopback.
pub fn loopback(seed: u64) -> Loopback {
    let sockets = Sockets::open(None, NonZeroUsize::MIN).expect("the process may have a thread and an event queue");
    Loopback::on(sockets, seed, NodeConfig::default())
}

impl<C: Carrier> Testbed for RoutingSandbox<C> {
    fn start(&mut self, servers: usize) -> Vec<usize> {
        let first = self.members().len();
        for number in first + 1..=first + servers {
            let domain = format!("n{number:06}.example").parse().expect("letters and digits make a domain");
            let in_already = Testbed::running(self);
            let doors = self.draw_some(&in_already, DOORS);
            let doors: Vec<NodeIndex> = doors.into_iter().map(|door| self.members()[door].node).collect();
            let server = self.add_server(domain, 1, None);
            self.start_join(0, server, &doors);
            // Who begins without a door begins a network of its own.
            if doors.is_empty() {
                ended(self, 1);
            }
        }
        let servers: Vec<usize> = (first..self.members().len()).collect();
        let is_in = |federation: &Self| servers.iter().all(|server| federation.members()[*server].has_joined);
        assert!(self.run_until(PATIENCE, is_in), "not all servers have joined");
        self.take_done();
        servers
    }

    fn register(&mut self, home: usize, users: usize, by: By<'_>) -> (Vec<usize>, Ended) {
        let users = self.new_users(&vec![home; users]);
        let asker = asker(self, by);
        self.start_register(0, &users, &asker).expect("there is somebody to ask");
        let operations = if matches!(asker, Asker::Client(_)) { users.len() } else { 1 };
        let ended = written(self, operations);
        (users, ended)
    }

    fn migrate(&mut self, user: usize, home: usize, by: By<'_>) -> Ended {
        change(self, user, Change::Move(home), by)
    }

    fn close(&mut self, user: usize, by: By<'_>) -> Ended {
        change(self, user, Change::Close, by)
    }

    fn look_up(&mut self, user: usize, consistency: Consistency, by: By<'_>) -> Ended {
        let asker = asker(self, by);
        self.start_lookup(0, user, consistency, &asker).expect("there is somebody to ask");
        ended(self, 1)
    }

    fn claim(&mut self, by: &[By<'_>]) -> (usize, Ended) {
        let name = self.new_name();
        for by in by {
            let asker = asker(self, *by);
            self.start_claim(0, name, &asker).expect("there is somebody to ask");
        }
        (name, written(self, by.len()))
    }

    fn look_up_name(&mut self, name: usize, consistency: Consistency, by: By<'_>) -> Ended {
        let asker = asker(self, by);
        self.start_lookup_name(0, name, consistency, &asker).expect("there is somebody to ask");
        ended(self, 1)
    }

    fn leave(&mut self, server: usize) -> Ended {
        self.start_leave(0, server);
        ended(self, 1)
    }

    fn away(&mut self, server: usize, span: Ticks) -> Ended {
        self.start_away(0, server, span);
        ended(self, 1)
    }

    fn kill(&mut self, server: usize) {
        RoutingSandbox::kill(self, server);
    }

    fn stop(&mut self, server: usize) {
        RoutingSandbox::stop(self, server);
    }

    fn come_back(&mut self, server: usize) -> Ended {
        assert!(self.start_return(0, server), "server {server} is not down");
        ended(self, 1)
    }

    fn wait(&mut self, span: Ticks) {
        self.tick(span.0);
    }

    fn running(&self) -> Vec<usize> {
        RoutingSandbox::running(self)
    }

    fn grid(&self, server: usize) -> Grid {
        self.members()[server].grid
    }

    fn guid(&self, user: usize) -> Guid {
        self.users()[user].guid()
    }

    fn true_holders(&mut self, user: usize) -> Vec<usize> {
        let (guid, groups) = (Testbed::guid(self, user), NodeConfig::default().holders);
        let nodes = self.oracle().holders(&guid.0, groups);
        let servers = 0..self.members().len();
        servers.filter(|server| nodes.contains(&self.members()[*server].node)).collect()
    }

    fn holds(&self, server: usize, user: usize) -> bool {
        let user = &self.users()[user];
        let held = self.network().held(self.members()[server].node, &Key::from(user.guid())).ok().flatten();
        user.acknowledged_record().zip(held).is_some_and(|(least, held)| !least.outranks(&held))
    }
}

fn asker<C: Carrier>(federation: &RoutingSandbox<C>, by: By<'_>) -> Asker {
    let node = |server: &usize| federation.members()[*server].node;
    match by {
        By::Server(server) => Asker::Node(node(&server)),
        By::Client(doors) => Asker::Client(doors.iter().map(node).collect()),
    }
}

fn change<C: Carrier>(federation: &mut RoutingSandbox<C>, user: usize, change: Change, by: By<'_>) -> Ended {
    let asker = asker(federation, by);
    federation.start_change(0, user, change, &asker).expect("there is somebody to ask");
    written(federation, 1)
}

/// Waits until so many operations have ended.
fn ended<C: Carrier>(federation: &mut RoutingSandbox<C>, operations: usize) -> Ended {
    let (end, mut ended, mut all) = (federation.now() + PATIENCE, 0, Ended::default());
    while ended < operations {
        assert!(federation.now() < end, "the test is stuck: {ended} of {operations} operations have ended");
        federation.tick(1);
        for done in federation.take_done() {
            ended += 1;
            all.add(done.into());
        }
    }
    all
}

/// The same for writes, and until each holder that can be reached has them.
fn written<C: Carrier>(federation: &mut RoutingSandbox<C>, operations: usize) -> Ended {
    let ended = ended(federation, operations);
    assert!(federation.run_until(PATIENCE, |federation| !federation.is_spreading()), "a write does not come to an end");
    ended
}
