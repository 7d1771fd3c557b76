//! Who calls proves its key, and not that it is where its card says: it is dialled back before it counts.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Peer, lab, node_at, patient};
use routing_core::effect::Target;
use routing_core::heard::{Heard, LossReason};
use routing_core::holders::SetName;
use routing_core::id::Id;
use routing_core::message::{Find, Message, RequestId, Want};
use std::time::Duration;
use tokio::net::TcpListener;

/// What waits for nobody's proof.
fn answer(number: u32) -> Message {
    Message::Unknown(RequestId(number))
}

fn question(number: u32, target: Id) -> Message {
    let (want, set) = (Want::Contacts, SetName::NONE);
    Message::Find(Find { id: RequestId(number), target, want, groups: 16, set })
}

/// Both listen until each has one link to the other; what they hear meanwhile.
async fn until_one_link_is_left(a: &mut Peer, b: &mut Peer, done: impl Fn(&[Heard], &[Heard]) -> bool) {
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    while a.handle.stats().links_now != 1 || b.handle.stats().links_now != 1 || !done(&at_a, &at_b) {
        tokio::select! {
            heard = a.hear() => at_a.push(heard),
            heard = b.hear() => at_b.push(heard),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    let is_lost = |heard: &Heard| matches!(heard, Heard::Lost(..));
    assert!(!at_a.iter().chain(&at_b).any(is_lost), "{at_a:?}, {at_b:?}");
}

fn is_linked(heard: &[Heard], to: &Target) -> bool {
    heard.iter().any(|heard| matches!(heard, Heard::Linked(target, _) if target == to))
}

fn has_heard(heard: &[Heard], message: &Message) -> bool {
    heard.iter().any(|heard| matches!(heard, Heard::Message(_, is) if is == message))
}

#[tokio::test]
async fn a_caller_at_anothers_address_gets_answers_and_no_questions() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut liar = Peer::with(3, elsewhere, b.contact.address().as_str(), lab());
        liar.request(&a.target()).await;
        assert!(matches!(a.hear().await, Heard::Requested(contact) if contact.grid() == liar.grid()));
        assert!(matches!(liar.hear().await, Heard::Linked(..)));
        for round in 1..=3 {
            a.request(&liar.target()).await;
            a.send(liar.grid(), &question(round, liar.grid().0)).await;
            a.send(liar.grid(), &answer(round)).await;
            let lost = tokio::select! {
                heard = a.hear() => heard,
                () = b.go_on() => unreachable!(),
            };
            assert!(
                matches!(lost, Heard::Lost(to, LossReason::OtherNode | LossReason::Unreachable) if to == liar.target())
            );
            assert_eq!(liar.message().await, (a.grid(), answer(round)), "what it is owed, and no question");
        }
        let stats = a.handle.stats();
        assert_eq!((stats.callers_not_found, stats.dials_other_node + stats.dials_held_back), (3, 3));
        assert_eq!((stats.links_now, liar.handle.stats().links_now), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_caller_is_dialled_back_once_and_one_link_is_left() {
    patient(async {
        // Whoever of the two has the smaller id decides which: both ways.
        for (caller, called) in [(1, 2), (2, 1)] {
            let (mut a, mut b) = (Peer::new(called, lab()).await, Peer::new(caller, lab()).await);
            b.request(&a.target()).await;
            assert!(matches!(a.hear().await, Heard::Requested(_)));
            a.request(&b.target()).await;
            let asked = question(1, a.grid().0);
            a.send(b.grid(), &asked).await;
            let (to_a, to_b) = (a.target(), b.target());
            until_one_link_is_left(&mut a, &mut b, |at_a, at_b| {
                is_linked(at_a, &to_b) && is_linked(at_b, &to_a) && has_heard(at_b, &asked)
            })
            .await;
            // It is known now, over whichever link.
            for _ in 0..3 {
                a.request(&b.target()).await;
                assert!(matches!(a.hear().await, Heard::Linked(to, _) if to == b.target()));
            }
            assert_eq!((a.handle.stats().dials, b.handle.stats().dials), (1, 1));
            a.send(b.grid(), &question(2, a.grid().0)).await;
            assert_eq!(b.message().await.1, question(2, a.grid().0));
        }
    })
    .await;
}

#[tokio::test]
async fn two_that_dial_each_other_back_at_once_keep_one_link() {
    patient(async {
        for round in 0..20 {
            let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
            // An entry point is called by another name than its card has, so neither is proven to the other yet.
            let port = b.handle.addresses()[0].port();
            let door = Target::address(format!("localhost:{port}").parse().unwrap());
            a.request(&door).await;
            assert!(matches!(a.hear().await, Heard::Linked(to, _) if to == door));
            assert!(matches!(b.hear().await, Heard::Requested(_)));
            let (to_a, to_b) = (a.target(), b.target());
            let (of_a, of_b) = (question(round, a.grid().0), question(round, b.grid().0));
            a.request(&to_b).await;
            b.request(&to_a).await;
            a.send(b.grid(), &of_a).await;
            b.send(a.grid(), &of_b).await;
            until_one_link_is_left(&mut a, &mut b, |at_a, at_b| {
                is_linked(at_a, &to_b) && is_linked(at_b, &to_a) && has_heard(at_a, &of_b) && has_heard(at_b, &of_a)
            })
            .await;
            assert_eq!((a.handle.stats().dials, b.handle.stats().dials), (2, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_answers_a_caller_at_anothers_address_and_never_names_it() {
    patient(async {
        let (node, _, sockets) = node_at(1, lab()).await;
        let (handle, known) = (node.handle(), node.state().contact().clone());
        let running = tokio::spawn(node.run());
        handle.join(vec![]).await.unwrap();
        let mut honest = Peer::new(2, lab()).await;
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut liar = Peer::with(3, elsewhere, honest.contact.address().as_str(), lab());
        let place = liar.grid().0;
        for peer in [&mut honest, &mut liar] {
            peer.request(&Target::contact(&known)).await;
        }
        // The node wants to ask both whether they are there.
        let mut number = 0;
        loop {
            number += 2;
            let asked = question(number, place);
            liar.send(known.grid(), &asked).await;
            loop {
                let heard = tokio::select! {
                    heard = liar.hear() => heard,
                    _ = honest.hear() => continue,
                };
                match heard {
                    Heard::Message(_, Message::Found(found)) if found.id == RequestId(number) => break,
                    Heard::Message(_, message) => assert!(!message.is_request(), "it is asked nothing: {message:?}"),
                    _ => {}
                }
            }
            if sockets.stats().callers_not_found > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        honest.send(known.grid(), &question(7, place)).await;
        let found = loop {
            tokio::select! {
                (_, message) = honest.message() => {
                    if let Message::Found(found) = message { break found; }
                }
                () = liar.go_on() => {}
            }
        };
        let named = found.contacts.iter().flat_map(|contacts| contacts.iter());
        assert!(named.into_iter().all(|named| named.contact.grid() != liar.grid()));
        running.abort();
    })
    .await;
}
