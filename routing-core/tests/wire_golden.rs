//! Pins the bytes of messages of each kind, so that the format does not change by accident. The file beside this one
//! has a line for each, name and bytes; it also serves a second implementation as test vectors.
//!
//! When the format changes on purpose, the failure prints what the file has to be.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use routing_core::account::Account;
use routing_core::contact::{Contact, Standing as Presence, Versions};
use routing_core::holders::{Scale, SetName};
use routing_core::id::{Id, Key, Kind};
use routing_core::key::{Hash, SecretKey};
use routing_core::message::*;
use routing_core::record::Record;
use routing_core::time::Ticks;
use routing_core::wire::{Hello, decode, encode};
use std::sync::Arc;

const GOLDEN: &str = include_str!("wire_golden.txt");

#[test]
fn the_bytes_of_messages_do_not_change() {
    let mut lines = vec![format!("hello {}", hex(&hello().encode()))];
    lines.extend(messages().iter().map(|(name, message)| format!("{name} {}", hex(&encode(message)))));
    let now = lines.join("\n") + "\n";
    for (line, pinned) in now.lines().zip(GOLDEN.lines()) {
        assert_eq!(line, pinned, "the format has changed; wire_golden.txt would have to be\n\n{now}");
    }
    assert_eq!(now.lines().count(), GOLDEN.lines().count(), "wire_golden.txt would have to be\n\n{now}");
}

#[test]
fn the_pinned_bytes_are_read_and_what_is_signed_in_them_verifies() {
    let mut kinds = [false; Message::KINDS as usize];
    for line in GOLDEN.lines() {
        let (name, text) = line.split_once(' ').unwrap();
        if name == "hello" {
            assert!(Hello::decode(&unhex(text)).unwrap().contact.verify());
            continue;
        }
        let message = decode(&unhex(text)).unwrap();
        kinds[message.kind() as usize] = true;
        let (contacts, copies) = signed(&message);
        assert!(contacts.iter().all(|contact| contact.verify()), "{name}");
        assert!(copies.iter().all(|copy| copy.record.verify().is_ok()), "{name}");
        assert!(copies.iter().flat_map(|copy| &copy.rival).all(|rival| rival.verify().is_ok()), "{name}");
    }
    assert_eq!(kinds, [true; Message::KINDS as usize], "each kind is pinned");
}

/// The cards and copies in a message.
fn signed(message: &Message) -> (Vec<Arc<Contact>>, Vec<Copy>) {
    let named = |list: &[Named]| list.iter().map(|named| named.contact.clone()).collect::<Vec<_>>();
    match message {
        Message::Found(found) => (
            found.contacts.as_ref().map_or(vec![], |contacts| named(contacts)),
            found.copy.iter().map(|copy| Copy::clone(copy)).collect(),
        ),
        Message::Store(store) => (vec![], store.items.iter().map(|item| item.copy.clone()).collect()),
        Message::Stored(stored) => {
            let copy = |result: &StoreResult| match &result.verdict {
                StoreVerdict::Conflict(copy) | StoreVerdict::Newer(copy) => Some(Copy::clone(copy)),
                StoreVerdict::Kept | StoreVerdict::Refused(_) => None,
            };
            (named(&stored.contacts), stored.results.iter().filter_map(copy).collect())
        }
        Message::Fetched(fetched) => (vec![], fetched.copies.to_vec()),
        Message::Sampled(sampled) => (named(&sampled.contacts), vec![]),
        Message::Farewell(Farewell { contact, acquainted }) => {
            (acquainted.iter().chain([contact]).cloned().collect(), vec![])
        }
        _ => (vec![], vec![]),
    }
}

fn hello() -> Hello {
    let versions = Versions { least: 1, most: 2 };
    Hello { network: "golden".parse().unwrap(), versions, contact: card(1, "one.example:8448", Presence::Here) }
}

fn card(seed: u8, address: &str, standing: Presence) -> Arc<Contact> {
    let secret = SecretKey::from_seed([seed; 32]);
    Arc::new(Contact::sign(&secret, address.parse().unwrap(), 1_700_000_000, standing, Versions::CURRENT))
}

fn messages() -> Vec<(&'static str, Message)> {
    let id = RequestId(300);
    let (target, set) = (Id([0xa5; 32]), SetName(0x1234_5678));
    let find = |want, groups, set| Message::Find(Find { id, target, want, groups, set });

    let one = Named { contact: card(1, "one.example:8448", Presence::Here), is_hearsay: false };
    let two = Named { contact: card(2, "192.0.2.1:80", Presence::Away { for_ms: 60_000 }), is_hearsay: true };
    let contacts: List<Named, CONTACTS_MAX> = [one.clone(), two.clone()].into_iter().collect();

    let [first, rotated, recovered, name, legacy, closed] = records();
    let copy = |record: &Arc<Record>, rival: Option<&Arc<Record>>, age| Copy {
        record: record.clone(),
        rival: rival.cloned(),
        age: Ticks(age),
    };

    let found_nothing = Found {
        id,
        standing: Standing::Settled,
        is_complete: true,
        own_scale: Scale::UNKNOWN,
        scale: Scale::UNKNOWN,
        copy: None,
        contacts: None,
    };
    let found = Found {
        standing: Standing::NotYet,
        is_complete: false,
        own_scale: Scale::of_nodes(9_000),
        scale: Scale::of_nodes(10_000),
        copy: Some(Arc::new(copy(&recovered, Some(&rotated), 86_400_000))),
        contacts: Some(contacts.clone()),
        ..found_nothing.clone()
    };

    let item = |record, set| StoreItem { copy: copy(record, None, 0), set };
    let items = [item(&first, set), item(&name, set), item(&legacy, SetName::NONE)].into_iter().collect();
    let verdicts = [
        StoreVerdict::Kept,
        StoreVerdict::Conflict(Arc::new(copy(&rotated, Some(&first), 1))),
        StoreVerdict::Newer(Arc::new(copy(&closed, None, u64::MAX))),
        StoreVerdict::Refused(Refusal::Invalid),
        StoreVerdict::Refused(Refusal::Full),
        StoreVerdict::Refused(Refusal::OtherClaimant),
    ];
    let results = verdicts.into_iter().zip([false, true].into_iter().cycle());
    let results = results.map(|(verdict, sees_other_set)| StoreResult { verdict, sees_other_set }).collect();

    let digest = |byte| Hash([byte; 32]);
    let of_home = UsersOf { domain: "home.example".parse().unwrap(), scale: Scale::of_nodes(10_000) };
    let compare = |users| {
        let range = Range { start: target, bits: 16, digest: digest(1), users };
        Message::Compare(Compare { id, range: Arc::new(range) })
    };
    let known = contacts.iter().map(|named| Mark::new(&target, named.contact.grid().0.prefix())).collect();
    let part = Part { start: target, bits: 255, count: 1_000, with_hearsay: true, known };
    let keys = [Kind::User, Kind::Claim, Kind::Blinded].map(|kind| Key { kind, id: target });
    let brief = |hash| Brief { key: keys[0], hash };
    let compared = |difference| Message::Compared(Compared { id, difference });

    let left = Farewell { contact: card(1, "", Presence::Left), acquainted: List::default() };
    let acquainted = [one.contact.clone()].into_iter().collect();
    vec![
        ("find-contacts", find(Want::Contacts, 0, SetName::NONE)),
        ("find-introductions", find(Want::Introductions, 64, SetName::NONE)),
        ("find-record", find(Want::Record, 16, set)),
        ("find-claim", find(Want::Claim, 61, set)),
        ("find-agreement", find(Want::Agreement, 16, set)),
        ("found-nothing", Message::Found(found_nothing)),
        ("found", Message::Found(found)),
        ("store", Message::Store(Store { id, items })),
        ("stored", Message::Stored(Stored { id, results, contacts: contacts.clone() })),
        ("compare", compare(None)),
        ("compare-users", compare(Some(of_home))),
        ("compared-same", compared(Difference::Same)),
        ("compared-listing", compared(Difference::Listing([brief(1), brief(u64::MAX)].into_iter().collect()))),
        ("compared-split", compared(Difference::Split(Arc::new(std::array::from_fn(|part| digest(part as u8)))))),
        ("fetch", Message::Fetch(Fetch { id, keys: keys.into_iter().collect() })),
        ("fetched", Message::Fetched(Fetched { id, copies: [copy(&closed, None, 5)].into_iter().collect() })),
        ("sample", Message::Sample(Sample { id, part: Arc::new(part) })),
        ("sampled", Message::Sampled(Sampled { id, contacts })),
        ("farewell-left", Message::Farewell(left)),
        ("farewell-away", Message::Farewell(Farewell { contact: two.contact, acquainted })),
        ("unknown", Message::Unknown(id)),
    ]
}

/// What one account writes: a placement, one after a rotation, one after a recovery, both claims and the tombstone.
fn records() -> [Arc<Record>; 6] {
    let mut account = Account::new([1; 32], Some([2; 32]), [3; 16]);
    let first = account.place("home.example".parse().unwrap(), 1_700_000_000_000);
    account.rotate([4; 32]).unwrap();
    let rotated = account.place("thief.example".parse().unwrap(), 1_700_000_100_000);
    account.recover([5; 32], Some([6; 32])).unwrap();
    let recovered = account.place("new-home.example".parse().unwrap(), 1_700_000_200_000);
    // Without a recovery key, and with another identity.
    let mut claimant = Account::new([7; 32], None, [8; 16]);
    let name = claimant.claim_name("ann", 1).unwrap();
    let legacy = claimant.claim_legacy("@ann:old.example", "home.example".parse().unwrap(), 2).unwrap();
    let closed = claimant.close(3);
    [first, rotated, recovered, name, legacy, closed].map(Arc::new)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
