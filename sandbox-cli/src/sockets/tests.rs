//! Nodes on sockets as the sandbox sees them.

use super::*;
use routing_core::config::NodeConfig;
use routing_core::time::Ticks;

fn federation(servers: usize) -> (Loopback, Vec<Grid>) {
    let mut federation = Loopback::on(Sockets::open(None, NonZeroUsize::MIN).unwrap(), 1, NodeConfig::default());
    let mut grids = Vec::new();
    for _ in 0..servers {
        let grid = federation.new_node();
        federation.join(grid, &grids[..grids.len().min(3)]).unwrap();
        grids.push(grid);
    }
    (federation, grids)
}

#[test]
fn a_server_that_leaves_has_left_and_one_that_is_killed_is_gone_and_neither_comes_back() {
    let (mut federation, grids) = federation(4);
    federation.remove_node(grids[1]).unwrap();
    federation.kill_node(grids[2]).unwrap();
    let conditions: Vec<Condition> =
        federation.members().iter().map(|member| federation.network().condition(member.node)).collect();
    assert_eq!(conditions, [Condition::Running, Condition::Left, Condition::Killed, Condition::Running]);
    assert!(!federation.start_return(0, 1) && !federation.start_return(0, 2));
}

#[test]
fn a_server_comes_back_where_it_was_with_what_it_kept() {
    let (mut federation, grids) = federation(3);
    let alice = federation.new_user();
    assert!(federation.register_guid(&grids, alice, "n000002.example").unwrap().records[0].is_acknowledged);
    let key = Key::from(alice);
    let (node, before) = (federation.members()[1].node, federation.network().directory.get("n000002.example"));
    assert!(
        federation.run_until(Ticks::minutes(1), |federation| {
            matches!(federation.network().held(node, &key), Ok(Some(_)))
        })
    );
    federation.stop(1);
    assert_eq!(federation.network().held(node, &key), Err(Unseen));
    assert!(federation.start_return(0, 1));
    assert!(federation.run_until(Ticks::minutes(1), |federation| federation.members()[1].has_joined));
    assert!(federation.network().held(node, &key).unwrap().is_some());
    assert_eq!(federation.network().directory.get("n000002.example"), before);
    assert_eq!(federation.network().grid(node), grids[1]);
}

#[test]
fn what_is_said_and_heard_is_counted() {
    let (federation, _) = federation(3);
    let counters = federation.network().counters();
    assert!(counters.sent.messages > 0 && counters.events > 0 && counters.links_opened >= 2, "{counters:?}");
    assert!(counters.sent.bytes > counters.sent.messages);
}
