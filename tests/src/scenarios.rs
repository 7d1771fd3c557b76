//! What a federation must do on any network, each story told once.
//!
//! The networks here are small, and each server's table has room for all: so a lookup out of a server's own table takes one
//! round trip, on sockets as in the sandbox.

use crate::{By, Ended, Testbed};
use routing_core::effect::Consistency::{self, All, Quick, Quorum};
use routing_core::state::Verdict;
use routing_core::time::Ticks;

/// Makes a test of each scenario, on the federations that the function given opens by seed.
#[macro_export]
macro_rules! scenarios {
    ($open:path) => {
        $crate::scenarios! { $open:
            servers_find_each_others_users_at_every_level,
            a_server_registers_all_its_users_at_once,
            of_several_moves_the_newest_wins,
            a_closed_account_stays_closed,
            who_leaves_takes_nothing_along,
            a_third_is_killed_and_everybody_is_found,
            who_comes_back_is_the_same_with_what_it_kept_and_needs_no_entry_point,
            nobody_misses_who_is_away,
            of_rival_claims_one_is_kept_and_everybody_is_told_the_same,
            a_client_finds_its_way_from_any_entry_points,
        }
    };
    ($open:path: $($scenario:ident,)*) => {
        $(
            #[test]
            fn $scenario() {
                $crate::scenarios::$scenario(&mut $open(7));
            }
        )*
    };
}

/// So many servers, each with so many users of its own, registered in bulk.
fn federation(bed: &mut impl Testbed, servers: usize, users_each: usize) -> (Vec<usize>, Vec<usize>) {
    let servers = bed.start(servers);
    let mut users = Vec::new();
    for server in &servers {
        let (own, registered) = bed.register(*server, users_each, By::Server(*server));
        assert!(registered.is_all_right(), "{registered:?}");
        users.extend(own);
    }
    (servers, users)
}

/// Each user is looked up once, each time by the next one of these.
fn look_up_all(bed: &mut impl Testbed, users: &[usize], level: Consistency, askers: &[usize]) -> Ended {
    let mut all = Ended::default();
    for (user, asker) in users.iter().zip(askers.iter().cycle()) {
        all.add(bed.look_up(*user, level, By::Server(*asker)));
    }
    all
}

/// Servers join, register and look up.
pub fn servers_find_each_others_users_at_every_level(bed: &mut impl Testbed) {
    let (servers, users) = federation(bed, 5, 2);
    for level in [Quick, Quorum, All, Consistency::Confirmed] {
        let found = look_up_all(bed, &users, level, &servers[1..]);
        assert!(found.is_all_right(), "{level:?}: {found:?}");
        assert!(found.answers.iter().all(|answer| answer.verdict == Verdict::Found));
    }
}

/// One message carries many records, and each true holder has each of them.
pub fn a_server_registers_all_its_users_at_once(bed: &mut impl Testbed) {
    let servers = bed.start(8);
    let (users, registered) = bed.register(servers[3], 200, By::Server(servers[3]));
    assert_eq!((registered.asked, registered.correct), (200, 200));
    for user in &users {
        let holders = bed.true_holders(*user);
        assert_eq!(holders, servers, "eight servers are fewer than the holders of a record");
        assert!(holders.iter().all(|holder| bed.holds(*holder, *user)));
    }
}

/// A user moves again and again, by clients and servers.
pub fn of_several_moves_the_newest_wins(bed: &mut impl Testbed) {
    let servers = bed.start(5);
    let (users, _) = bed.register(servers[0], 1, By::Server(servers[0]));
    for home in [servers[1], servers[2], servers[3], servers[1]] {
        assert!(bed.migrate(users[0], home, By::Client(&servers[..2])).is_all_right());
        assert!(bed.migrate(users[0], servers[4], By::Server(servers[4])).is_all_right());
        let found = look_up_all(bed, &[users[0]; 5], Quorum, &servers);
        assert!(found.is_all_right(), "{found:?}");
    }
}

/// Nobody brings an account back.
pub fn a_closed_account_stays_closed(bed: &mut impl Testbed) {
    let (servers, users) = federation(bed, 5, 1);
    assert!(bed.close(users[2], By::Server(servers[2])).is_all_right());
    bed.stop(servers[2]);
    assert!(bed.come_back(servers[2]).is_all_right());
    let found = look_up_all(bed, &[users[2]; 5], All, &servers);
    assert!(found.is_all_right() && found.answers.iter().all(|answer| answer.verdict == Verdict::Closed), "{found:?}");
    assert!(look_up_all(bed, &users, Quorum, &servers).is_all_right());
}

/// Half of the servers leave properly, one after the other.
pub fn who_leaves_takes_nothing_along(bed: &mut impl Testbed) {
    let (servers, users) = federation(bed, 8, 3);
    for server in &servers[4..] {
        assert!(bed.leave(*server).is_all_right());
        let found = look_up_all(bed, &users, Quorum, &servers[..4]);
        assert!(found.is_all_right(), "after {server} has left: {found:?}");
    }
    assert_eq!(bed.running(), servers[..4]);
}

/// A third is gone without a word, and each user is found at once, those of the dead servers, too.
pub fn a_third_is_killed_and_everybody_is_found(bed: &mut impl Testbed) {
    let (servers, users) = federation(bed, 12, 3);
    for server in &servers[8..] {
        bed.kill(*server);
    }
    let found = look_up_all(bed, &users, Quorum, &servers[..8]);
    assert_eq!((found.correct, found.asked), (36, 36), "{found:?}");
}

/// A server stops without a word, and comes back with its key, its contacts and its records.
pub fn who_comes_back_is_the_same_with_what_it_kept_and_needs_no_entry_point(bed: &mut impl Testbed) {
    let (servers, users) = federation(bed, 6, 2);
    let before = bed.grid(servers[0]);
    // The first one began the network: it was never told of anybody.
    for server in [servers[0], servers[3]] {
        bed.stop(server);
        assert!(!bed.running().contains(&server) && !bed.holds(server, users[0]));
        assert!(bed.come_back(server).is_all_right());
        assert!(users.iter().all(|user| bed.holds(server, *user)));
        let found = look_up_all(bed, &users, Quorum, &[server]);
        assert!(found.is_all_right(), "{found:?}");
    }
    assert_eq!(bed.grid(servers[0]), before);
}

/// A server says that it is away: lookups go on without it, and it comes back.
pub fn nobody_misses_who_is_away(bed: &mut impl Testbed) {
    let (servers, users) = federation(bed, 6, 2);
    assert!(bed.away(servers[5], Ticks::minutes(5)).is_all_right());
    let found = look_up_all(bed, &users, Quorum, &servers[..5]);
    assert!(found.is_all_right() && found.round_trips_of(100) <= Some(1), "{found:?}");
    assert!(bed.come_back(servers[5]).is_all_right());
    assert!(look_up_all(bed, &users, All, &servers).is_all_right());
}

/// Two people claim one name at once.
pub fn of_rival_claims_one_is_kept_and_everybody_is_told_the_same(bed: &mut impl Testbed) {
    let servers = bed.start(6);
    let (name, claimed) = bed.claim(&[By::Client(&servers[..2]), By::Server(servers[4])]);
    assert_eq!((claimed.asked, claimed.correct), (2, 2), "a rival that is refused is told so");
    bed.wait(Ticks::seconds(1));
    let mut told = Ended::default();
    for server in &servers {
        told.add(bed.look_up_name(name, All, By::Server(*server)));
    }
    assert_eq!((told.asked, told.correct), (6, 6), "{told:?}");
    let owners: Vec<_> = told.answers.iter().filter_map(|answer| Some(answer.record.as_ref()?.guid())).collect();
    assert!(owners.len() == 6 && owners.iter().all(|owner| *owner == owners[0]));
}

/// Somebody who is no node registers, moves and asks.
pub fn a_client_finds_its_way_from_any_entry_points(bed: &mut impl Testbed) {
    let servers = bed.start(6);
    let (users, registered) = bed.register(servers[0], 3, By::Client(&servers[3..]));
    assert!(registered.is_all_right(), "{registered:?}");
    for user in users {
        assert!(bed.migrate(user, servers[1], By::Client(&servers[2..3])).is_all_right());
        for doors in [&servers[..1], &servers[4..], &servers] {
            let found = bed.look_up(user, Quorum, By::Client(doors));
            assert!(found.is_all_right(), "{found:?}");
        }
    }
}

/// What lookups of all users cost where nothing goes wrong: out of servers' own tables, and by clients.
pub fn calm_lookups(bed: &mut impl Testbed) -> [Ended; 2] {
    let (servers, users) = federation(bed, 20, 5);
    bed.wait(Ticks::seconds(2));
    let by_servers = look_up_all(bed, &users, Quorum, &servers);
    let mut by_clients = Ended::default();
    for (number, user) in users.iter().enumerate() {
        let first = number % (servers.len() - 2);
        by_clients.add(bed.look_up(*user, Quorum, By::Client(&servers[first..first + 3])));
    }
    [by_servers, by_clients]
}
