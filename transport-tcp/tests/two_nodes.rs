//! Nodes and clients on real sockets: they find each other, and a record is found again.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{lab, node_at, patient};
use routing_core::account::Account;
use routing_core::contact::Contact;
use routing_core::driver::RoutingNode;
use routing_core::effect::{Consistency, Target};
use routing_core::key::SecretKey;
use routing_core::state::NodeState;
use std::sync::Arc;
use transport_tcp::TcpConnection;

#[tokio::test]
async fn nodes_join_register_look_up_and_leave_and_a_client_asks_them() {
    patient(async {
        let mut nodes = Vec::new();
        let mut doors = Vec::new();
        for seed in 1..=5 {
            let (node, address, sockets) = node_at(seed, lab()).await;
            let handle = node.handle();
            let running = tokio::spawn(node.run());
            handle.join(doors.clone()).await.unwrap();
            doors.push(Target::address(address));
            nodes.push((handle, running, sockets));
        }
        let record = Arc::new(Account::new([2; 32], None, [3; 16]).place("chat.example".parse().unwrap(), 0));
        let registered = nodes[1].0.register(vec![record.clone()]).await.unwrap();
        assert!(registered.records[0].is_acknowledged);
        for (handle, ..) in &nodes {
            let answer = handle.lookup(record.key(), Consistency::All).await.unwrap();
            assert_eq!(answer.record.as_ref(), Some(&record));
        }

        let secret = Arc::new(SecretKey::from_seed([99; 32]));
        let connection = TcpConnection::client(secret.clone(), lab()).unwrap();
        let sockets = connection.handle();
        let state = NodeState::client(Contact::client(&secret).into(), doors.clone(), Arc::default(), 9);
        let client = RoutingNode::new(state, connection);
        let asks = client.handle();
        let running = tokio::spawn(client.run());
        let answer = asks.lookup(record.key(), Consistency::Quorum).await.unwrap();
        assert_eq!(answer.record, Some(record));
        running.abort();
        let _ = running.await;
        sockets.ended().await;

        for (handle, running, sockets) in nodes {
            handle.leave().await.unwrap();
            running.await.unwrap().unwrap();
            sockets.ended().await;
        }
    })
    .await;
}
