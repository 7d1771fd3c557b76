//! Links as a node sees them: asked for, taken up, exchanged, lapsed, lost.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Peer, lab, patient, secret};
use routing_core::connection::Connection;
use routing_core::contact::Address;
use routing_core::effect::Target;
use routing_core::heard::{Heard, LossReason};
use routing_core::message::{Message, RequestId};
use routing_core::time::Ticks;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use transport_tcp::{Resolver, TcpConfig, TcpConnection};

fn message(number: u32) -> Message {
    Message::Unknown(RequestId(number))
}

#[tokio::test]
async fn an_entry_point_is_only_an_address_and_the_link_tells_who_is_there() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        let door = Target::address(b.contact.address().clone());
        a.request(&door).await;
        let Heard::Requested(caller) = b.hear().await else { panic!("nobody asked for a link") };
        assert_eq!(caller.hash(), a.contact.hash());
        let Heard::Linked(target, found) = a.hear().await else { panic!("no link") };
        assert_eq!((target, found.hash()), (door.clone(), b.contact.hash()));
        a.send(b.grid(), &message(1)).await;
        assert_eq!(b.message().await, (a.grid(), message(1)));
        b.send(a.grid(), &message(2)).await;
        assert_eq!(a.message().await, (b.grid(), message(2)));
        // A link that stands is heard of at once.
        a.request(&b.target()).await;
        assert!(matches!(a.hear().await, Heard::Linked(target, _) if target == b.target()));
        assert_eq!((a.handle.stats().links_now, a.handle.stats().dials), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_address_that_was_dialled_is_not_dialled_again_while_that_link_stands() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        let door = Target::address(b.contact.address().clone());
        for _ in 0..3 {
            a.request(&door).await;
            tokio::select! {
                heard = a.hear() => assert!(matches!(heard, Heard::Linked(target, _) if target == door)),
                () = b.go_on() => {}
            }
        }
        assert_eq!(a.handle.stats().dials, 1);
        b.connection.close(a.grid()).await.unwrap();
        tokio::select! {
            heard = a.hear() => assert!(matches!(heard, Heard::Lost(..)), "{heard:?}"),
            () = b.go_on() => {}
        }
        // Whoever is there now has to prove it.
        a.request(&door).await;
        tokio::select! {
            heard = a.hear() => assert!(matches!(heard, Heard::Linked(target, _) if target == door)),
            () = b.go_on() => {}
        }
        assert_eq!(a.handle.stats().dials, 2);
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_right_after_a_request_waits_for_the_link() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        a.request(&b.target()).await;
        for number in 0..500 {
            a.send(b.grid(), &message(number)).await;
        }
        for number in 0..500 {
            assert_eq!(b.message().await, (a.grid(), message(number)));
        }
        assert!(matches!(a.hear().await, Heard::Linked(..)));
    })
    .await;
}

#[tokio::test]
async fn two_that_dial_each_other_at_once_keep_one_link_and_lose_no_message() {
    patient(async {
        for round in 0..30_u32 {
            let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
            let (to_a, to_b) = (a.target(), b.target());
            a.request(&to_b).await;
            b.request(&to_a).await;
            let (mut heard_a, mut heard_b) = (Vec::new(), Vec::new());
            for number in 0..50 {
                a.send(b.grid(), &message(number)).await;
                b.send(a.grid(), &message(number)).await;
                if number % 5 == round % 5 {
                    // Neither waits for the other: whatever comes first is heard first.
                    tokio::select! {
                        heard = a.hear() => heard_a.push(heard),
                        heard = b.hear() => heard_b.push(heard),
                    }
                }
            }
            let messages = |heard: &[Heard]| heard.iter().filter(|heard| matches!(heard, Heard::Message(..))).count();
            let linked = |heard: &[Heard]| heard.iter().any(|heard| matches!(heard, Heard::Linked(..)));
            let is_done = |heard: &[Heard]| messages(heard) >= 50 && linked(heard);
            while !is_done(&heard_a) || !is_done(&heard_b) {
                tokio::select! {
                    heard = a.hear() => heard_a.push(heard),
                    heard = b.hear() => heard_b.push(heard),
                }
            }
            while a.handle.stats().links_now != 1 || b.handle.stats().links_now != 1 {
                tokio::select! {
                    heard = a.hear() => heard_a.push(heard),
                    heard = b.hear() => heard_b.push(heard),
                    () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
                }
            }
            for (heard, from) in [(&heard_a, b.grid()), (&heard_b, a.grid())] {
                let mut numbers: Vec<u32> = Vec::new();
                for heard in heard.iter() {
                    match heard {
                        Heard::Message(by, Message::Unknown(RequestId(number))) if *by == from => numbers.push(*number),
                        Heard::Linked(..) | Heard::Requested(_) => {}
                        other => panic!("round {round}: {other:?}"),
                    }
                }
                numbers.sort_unstable();
                assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "round {round}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_contact_that_turns_out_to_be_somebody_else_is_lost_and_hears_nothing() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        let nobody = Peer::new(3, lab()).await;
        let target = Target { grid: Some(nobody.grid()), address: b.contact.address().clone() };
        a.request(&target).await;
        a.send(nobody.grid(), &message(1)).await;
        tokio::select! {
            heard = a.hear() => assert!(matches!(heard, Heard::Lost(to, LossReason::OtherNode) if to == target)),
            (_, message) = b.message() => panic!("{message:?} went to somebody else"),
        }
        let own = a.target();
        a.request(&own).await;
        assert!(matches!(a.hear().await, Heard::Lost(_, LossReason::OtherNode)));
        assert_eq!(a.handle.stats().dials_other_node, 1);
    })
    .await;
}

#[tokio::test]
async fn where_nobody_answers_is_not_dialled_again_at_once() {
    patient(async {
        let mut a = Peer::new(1, TcpConfig { dial_backoff: Ticks::minutes(1), ..lab() }).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = closed.local_addr().unwrap().to_string().parse().unwrap();
        drop(closed);
        let target = Target::address(address);
        for _ in 0..2 {
            a.request(&target).await;
            assert!(matches!(a.hear().await, Heard::Lost(to, LossReason::Unreachable) if to == target));
        }
        let stats = a.handle.stats();
        assert_eq!((stats.dials_unanswered, stats.dials_held_back), (1, 1));
        a.request(&Target::address("127.0.0.1:notaport".parse().unwrap())).await;
        assert!(matches!(a.hear().await, Heard::Lost(_, LossReason::Unreachable)));
        assert_eq!(a.handle.stats().dials_forbidden, 1);
    })
    .await;
}

#[tokio::test]
async fn who_is_back_is_found_by_whoever_has_just_not_found_it() {
    patient(async {
        let mut a = Peer::new(1, lab()).await;
        // An address of its own, so that no other test gets the port while it is closed.
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let place = closed.local_addr().unwrap();
        drop(closed);
        let target = Target::address(place.to_string().parse().unwrap());
        a.request(&target).await;
        assert!(matches!(a.hear().await, Heard::Lost(to, LossReason::Unreachable) if to == target));
        let listener = TcpListener::bind(place).await.unwrap();
        let _back = Peer::with(2, listener, &place.to_string(), lab());
        a.request(&target).await;
        let heard = a.hear().await;
        assert!(matches!(&heard, Heard::Linked(to, _) if *to == target), "{heard:?}");
        assert_eq!(a.handle.stats().dials_held_back, 0);
    })
    .await;
}

#[tokio::test]
async fn whoever_was_found_in_anothers_place_is_dialled_at_once_when_it_is_wanted_itself() {
    patient(async {
        let mut a = Peer::new(1, TcpConfig { dial_backoff: Ticks::minutes(1), ..lab() }).await;
        let b = Peer::new(2, lab()).await;
        for (invented, reason) in [(3, LossReason::OtherNode), (4, LossReason::Unreachable)] {
            let grid = Some(Peer::new(invented, lab()).await.grid());
            let target = Target { grid, address: b.contact.address().clone() };
            a.request(&target).await;
            let heard = a.hear().await;
            assert!(matches!(&heard, Heard::Lost(to, why) if *to == target && *why == reason), "{heard:?}");
        }
        assert_eq!(a.handle.stats().dials_held_back, 1, "for those who are not there the address is left alone");
        a.request(&b.target()).await;
        let heard = a.hear().await;
        assert!(matches!(&heard, Heard::Linked(to, _) if *to == b.target()), "{heard:?}");
    })
    .await;
}

#[tokio::test]
async fn outside_a_lab_nobody_is_dialled_who_is_not_on_the_internet() {
    patient(async {
        let mut a = Peer::new(1, TcpConfig::default()).await;
        let b = Peer::new(2, lab()).await;
        a.request(&b.target()).await;
        assert!(matches!(a.hear().await, Heard::Lost(_, LossReason::Unreachable)));
        assert_eq!((a.handle.stats().dials_forbidden, b.handle.stats().inbound), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_link_on_which_nothing_is_said_lapses_at_both_ends() {
    patient(async {
        let idle = TcpConfig { link_idle: Ticks::millis(50), ..lab() };
        let (mut a, mut b) = (Peer::new(1, idle).await, Peer::new(2, lab()).await);
        a.request(&b.target()).await;
        assert!(matches!(b.hear().await, Heard::Requested(_)));
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        let (ended, noticed) = tokio::join!(a.hear(), b.hear());
        assert!(matches!(ended, Heard::Lost(to, LossReason::Idle) if to == b.target()));
        assert!(matches!(noticed, Heard::Lost(to, LossReason::Closed) if to == a.target()));
        assert_eq!((a.handle.stats().links_idle, b.handle.stats().links_closed), (1, 1));
        // It is opened again when it is needed.
        a.request(&b.target()).await;
        a.send(b.grid(), &message(7)).await;
        tokio::select! {
            (_, heard) = b.message() => assert_eq!(heard, message(7)),
            () = a.go_on() => {}
        }
    })
    .await;
}

#[tokio::test]
async fn the_idlest_link_makes_room_for_a_new_one() {
    patient(async {
        let mut a = Peer::new(1, TcpConfig { links_max: 16, links_inbound_max: 8, ..lab() }).await;
        let mut others = Vec::new();
        for seed in 2..22 {
            others.push(Peer::new(seed, lab()).await);
        }
        let mut lapsed = Vec::new();
        for b in &mut others {
            a.request(&b.target()).await;
            a.send(b.grid(), &message(1)).await;
            b.message().await;
            loop {
                match a.hear().await {
                    Heard::Linked(..) => break,
                    Heard::Lost(target, LossReason::Idle) => lapsed.push(target),
                    other => panic!("{other:?}"),
                }
            }
            // The moments of use are milliseconds apart.
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        while lapsed.len() < 4 {
            let Heard::Lost(target, LossReason::Idle) = a.hear().await else { continue };
            lapsed.push(target);
        }
        let oldest: Vec<Target> = others[..4].iter().map(Peer::target).collect();
        assert_eq!((lapsed, a.handle.stats().links_now), (oldest, 16));
        a.send(others[4].grid(), &message(2)).await;
        others[4].message().await;
        let late = Peer::new(22, lab()).await;
        a.request(&late.target()).await;
        let heard = [a.hear().await, a.hear().await];
        let lapses = |heard: &Heard| matches!(heard, Heard::Lost(who, LossReason::Idle) if *who == others[5].target());
        assert!(heard.iter().any(lapses), "the fifth was used since the idlest were looked for: {heard:?}");
    })
    .await;
}

/// Few links, and nobody gives up an answer.
fn few_links() -> TcpConfig {
    TcpConfig { links_max: 16, links_inbound_max: 8, answer_expected: Ticks::hours(1), ..lab() }
}

fn question(number: u32) -> Message {
    Message::Fetch(routing_core::message::Fetch { id: RequestId(number), keys: std::iter::empty().collect() })
}

#[tokio::test]
async fn who_is_to_be_dialled_waits_until_an_answer_has_come_on_another_link() {
    patient(async {
        let mut a = Peer::new(1, few_links()).await;
        let mut others = Vec::new();
        for seed in 2..18 {
            let mut b = Peer::new(seed, lab()).await;
            a.request(&b.target()).await;
            a.send(b.grid(), &question(seed.into())).await;
            b.message().await;
            assert!(matches!(a.hear().await, Heard::Linked(..)));
            others.push(b);
        }
        let late = Peer::new(18, lab()).await;
        a.request(&late.target()).await;
        let answering = &mut others[5];
        answering.send(a.grid(), &message(7)).await;
        let heard = [a.hear().await, a.hear().await, a.hear().await];
        let [Heard::Message(from, _), then @ ..] = &heard else { panic!("{heard:?}") };
        assert_eq!(*from, answering.grid());
        let is_linked = |heard: &Heard| matches!(heard, Heard::Linked(to, _) if *to == late.target());
        let has_lapsed =
            |heard: &Heard| matches!(heard, Heard::Lost(to, LossReason::Idle) if *to == answering.target());
        assert!(then.iter().any(is_linked) && then.iter().any(has_lapsed), "{then:?}");
        assert_eq!(a.handle.stats().links_now, 16);
    })
    .await;
}

/// Nine who have called `a` and asked it something, seeds 2 to 10: as many as there are places for are heard, the ninth waits.
async fn callers_of(a: &mut Peer) -> Vec<Peer> {
    let mut callers = Vec::new();
    for seed in 2..11 {
        let mut b = Peer::new(seed, lab()).await;
        b.request(&a.target()).await;
        b.send(a.grid(), &question(seed.into())).await;
        assert!(matches!(b.hear().await, Heard::Linked(..)), "its side of the link stands");
        if seed < 10 {
            assert!(matches!(a.hear().await, Heard::Requested(_)));
            assert_eq!(a.message().await, (b.grid(), question(seed.into())));
        }
        callers.push(b);
    }
    callers
}

#[tokio::test]
async fn who_calls_waits_until_a_question_on_another_link_was_answered() {
    patient(async {
        let mut a = Peer::new(1, few_links()).await;
        let mut callers = callers_of(&mut a).await;
        a.send(callers[5].grid(), &message(7)).await;
        let (heard, answer) = tokio::join!(async { [a.hear().await, a.hear().await] }, callers[5].message());
        assert_eq!(answer, (a.contact.grid(), message(7)));
        let is_new = |heard: &Heard| matches!(heard, Heard::Requested(by) if by.grid() == callers[8].grid());
        assert!(heard.iter().any(is_new), "{heard:?}");
        assert_eq!(a.message().await, (callers[8].grid(), question(10)));
    })
    .await;
}

#[tokio::test]
async fn who_is_linked_and_calls_again_waits_for_nobodys_place() {
    patient(async {
        let mut a = Peer::new(1, few_links()).await;
        let _callers = callers_of(&mut a).await;
        // The ninth waits for a place, and one of the eight has restarted.
        let mut again = Peer::new(5, lab()).await;
        again.request(&a.target()).await;
        again.send(a.grid(), &question(100)).await;
        assert_eq!(a.message().await, (again.grid(), question(100)));
    })
    .await;
}

#[tokio::test]
async fn who_never_answers_keeps_nobody_out() {
    patient(async {
        let hurried = TcpConfig { answer_expected: Ticks::millis(50), ..few_links() };
        let mut a = Peer::new(1, hurried).await;
        let mut others = Vec::new();
        for seed in 2..20 {
            let b = Peer::new(seed, lab()).await;
            a.request(&b.target()).await;
            a.send(b.grid(), &question(seed.into())).await;
            while !matches!(a.hear().await, Heard::Linked(to, _) if to == b.target()) {}
            others.push(b);
        }
        assert_eq!(a.handle.stats().links_now, 16);
    })
    .await;
}

#[tokio::test]
async fn who_reads_nothing_loses_its_link_and_the_node_goes_on() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        a.request(&b.target()).await;
        assert!(matches!(b.hear().await, Heard::Requested(_)));
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        // From here on nobody listens at b: it takes one batch, and reads no further.
        let key = routing_core::id::Guid(routing_core::id::Id([7; 32])).into();
        let keys = std::iter::repeat_n(key, routing_core::message::KEYS_MAX).collect();
        let large = Message::Fetch(routing_core::message::Fetch { id: RequestId(1), keys });
        let lost = loop {
            a.send(b.grid(), &large).await;
            let heard = tokio::select! {
                heard = a.hear() => Some(heard),
                () = tokio::task::yield_now() => None,
            };
            if let Some(heard) = heard {
                break heard;
            }
        };
        assert!(matches!(lost, Heard::Lost(to, LossReason::Closed) if to == b.target()));
        let mut c = Peer::new(3, lab()).await;
        a.request(&c.target()).await;
        a.send(c.grid(), &message(3)).await;
        assert_eq!(c.message().await, (a.grid(), message(3)));
        while a.handle.stats().links_overflowed == 0 {
            tokio::select! {
                _ = a.hear() => {}
                () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_not_taken_up_lapses() {
    patient(async {
        let hurried = TcpConfig { accept_timeout: Ticks::millis(50), ..lab() };
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, hurried).await);
        a.request(&b.target()).await;
        a.send(b.grid(), &message(1)).await;
        let mut heard = Vec::new();
        b.connection.listen(&mut heard).await.unwrap();
        assert!(matches!(heard[..], [Heard::Requested(_)]));
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        let nothing = async {
            loop {
                let mut heard = Vec::new();
                b.connection.listen(&mut heard).await.unwrap();
                assert!(heard.is_empty(), "{heard:?}");
            }
        };
        tokio::select! {
            lost = a.hear() => assert!(matches!(lost, Heard::Lost(_, LossReason::Closed))),
            () = nothing => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_closed_delivers_what_was_handed_over_before() {
    patient(async {
        let (mut a, mut b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        a.request(&b.target()).await;
        assert!(matches!(b.hear().await, Heard::Requested(_)));
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        for number in 0..100 {
            a.send(b.grid(), &message(number)).await;
        }
        a.connection.close(b.grid()).await.unwrap();
        a.send(b.grid(), &message(999)).await;
        for number in 0..100 {
            assert_eq!(b.message().await, (a.grid(), message(number)));
        }
        assert!(matches!(b.hear().await, Heard::Lost(_, LossReason::Closed)));
        assert_eq!(a.handle.stats().messages_without_link, 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_dropped_delivers_its_last_words_also_to_those_without_a_link() {
    patient(async {
        let (mut a, mut b, mut c) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await, Peer::new(3, lab()).await);
        a.request(&b.target()).await;
        assert!(matches!(b.hear().await, Heard::Requested(_)));
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        a.request(&c.target()).await;
        for number in 0..100 {
            a.send(b.grid(), &message(number)).await;
            a.send(c.grid(), &message(number)).await;
        }
        let (grid, handle) = (a.grid(), a.handle.clone());
        drop(a);
        for number in 0..100 {
            assert_eq!(b.message().await, (grid, message(number)));
            assert_eq!(c.message().await, (grid, message(number)));
        }
        handle.ended().await;
        assert_eq!(handle.stats().links_now, 0);
    })
    .await;
}

/// Names that a test can move.
#[derive(Clone, Default, Debug)]
struct Names(Arc<Mutex<Option<SocketAddr>>>);

#[async_trait::async_trait]
impl Resolver for Names {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let address = *self.0.lock().unwrap();
        address.map(|address| vec![address]).ok_or(io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn a_server_that_moves_is_found_again_also_after_its_name_was_gone() {
    patient(async {
        let names = Names::default();
        let mut a = Peer::new(1, lab()).await;
        a.connection = a.connection.with_resolver(names.clone());
        let place = |listener: &TcpListener| Some(listener.local_addr().unwrap());

        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *names.0.lock().unwrap() = place(&first);
        let mut b = Peer::with(2, first, "moves.example", lab());
        a.request(&b.target()).await;
        a.send(b.grid(), &message(1)).await;
        assert_eq!(b.message().await.1, message(1));
        assert!(matches!(a.hear().await, Heard::Linked(..)));

        *names.0.lock().unwrap() = None;
        drop(b);
        assert!(matches!(a.hear().await, Heard::Lost(_, LossReason::Closed)));
        let target = Target { address: "moves.example".parse().unwrap(), grid: None };
        a.request(&target).await;
        assert!(matches!(a.hear().await, Heard::Lost(_, LossReason::Unreachable)));
        assert_eq!(a.handle.stats().names_unresolved, 1);

        let second = TcpListener::bind("[::1]:0").await.unwrap();
        *names.0.lock().unwrap() = place(&second);
        let mut b = Peer::with(2, second, "moves.example", lab());
        a.request(&b.target()).await;
        a.send(b.grid(), &message(2)).await;
        assert_eq!(b.message().await.1, message(2));
    })
    .await;
}

/// Who is asked for names below slow.example never answers.
#[derive(Debug)]
struct Slow;

#[async_trait::async_trait]
impl Resolver for Slow {
    async fn resolve(&self, name: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        if name.ends_with(".slow.example") {
            std::future::pending::<()>().await;
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn who_was_found_before_is_found_while_strangers_are_dialled_in_vain() {
    patient(async {
        let (mut a, b) = (Peer::new(1, lab()).await, Peer::new(2, lab()).await);
        a.connection = a.connection.with_resolver(Slow);
        a.request(&b.target()).await;
        assert!(matches!(a.hear().await, Heard::Linked(..)));
        a.connection.close(b.grid()).await.unwrap();
        let nobody = Peer::new(3, lab()).await.grid();
        for number in 0..lab().dials_max {
            let address = format!("{number}.slow.example").parse().unwrap();
            a.request(&Target { grid: Some(nobody), address }).await;
        }
        a.request(&b.target()).await;
        let heard = a.hear().await;
        assert!(matches!(&heard, Heard::Linked(to, _) if *to == b.target()), "{heard:?}");
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_restarts_replaces_its_link() {
    patient(async {
        // Whoever of the two has the smaller id decides: both ways.
        for (here, there) in [(1, 2), (2, 1)] {
            let mut a = Peer::new(here, lab()).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let mut old = Peer::with(there, listener, &address, lab());
            old.request(&a.target()).await;
            old.send(a.grid(), &message(1)).await;
            assert_eq!(a.message().await.1, message(1));

            // The old one is not there any more, and a does not know: its socket stays open for now.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut new = Peer::with(there, listener, &address, lab());
            new.request(&a.target()).await;
            new.send(a.grid(), &message(2)).await;
            assert_eq!(a.message().await.1, message(2));
            a.send(new.grid(), &message(3)).await;
            assert_eq!(new.message().await.1, message(3));
        }
    })
    .await;
}

#[tokio::test]
async fn who_arrives_at_one_of_two_listeners_is_not_refused_for_who_has_come_to_the_other() {
    patient(async {
        let (one, two) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("[::1]:0").await.unwrap());
        let doors = [&one, &two].map(|listener| listener.local_addr().unwrap().to_string().parse().unwrap());
        let doors = doors.map(Target::address);
        let contact = Peer::new(1, lab()).await.contact;
        let config = TcpConfig { handshakes_per_second: 5, ..TcpConfig::default() };
        let a = TcpConnection::listening(vec![one, two], secret(1), contact, config).unwrap();
        let (mut b, mut c, mut d) = (Peer::new(2, lab()).await, Peer::new(3, lab()).await, Peer::new(4, lab()).await);
        b.request(&doors[0]).await;
        assert!(matches!(b.hear().await, Heard::Linked(..)));
        // By then both wait for a connection, and one may be let in.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        c.request(&doors[0]).await;
        d.request(&doors[1]).await;
        let (at_c, at_d) = tokio::join!(c.hear(), d.hear());
        assert!(matches!(&at_c, Heard::Linked(..)), "{at_c:?}");
        assert!(matches!(&at_d, Heard::Linked(..)), "{at_d:?}");
        assert_eq!(a.handle().stats().inbound_refused_rate, 0);
    })
    .await;
}

#[tokio::test]
async fn however_many_call_at_once_and_again_each_finds_a_link() {
    patient(async {
        let mut a = Peer::new(100, lab()).await;
        let target = a.target();
        let callers = async {
            for _ in 0..20 {
                let mut callers = tokio::task::JoinSet::new();
                for seed in 0..64 {
                    let target = target.clone();
                    callers.spawn(async move {
                        let mut caller = Peer::new(seed, lab()).await;
                        caller.request(&target).await;
                        let heard = caller.hear().await;
                        assert!(matches!(heard, Heard::Linked(..)), "{heard:?}");
                    });
                }
                assert_eq!(callers.join_all().await.len(), 64);
            }
        };
        tokio::select! {
            () = a.go_on() => {}
            () = callers => {}
        }
    })
    .await;
}
