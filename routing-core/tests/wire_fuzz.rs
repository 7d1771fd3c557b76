//! Feeds `wire::decode` with messages, damaged messages and noise, without end if wanted.
//!
//! `WIRE_CASES` is how many cases each test tries (100,000). A failure prints what repeats it: `SEED` and `WIRE_CASE`,
//! with which only that case is tried.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use allocation_counter::measure;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use routing_core::account::Account;
use routing_core::contact::{Address, Contact, Standing as Presence, Versions};
use routing_core::holders::{Scale, SetName};
use routing_core::id::{Guid, Id, Key, Kind};
use routing_core::key::{Hash, SecretKey, Signature};
use routing_core::message::*;
use routing_core::record::{Body, Claim, ClaimKind, ClaimValue, Genesis, Placement, Record, Residence};
use routing_core::time::Ticks;
use routing_core::wire::{FRAME_MAX, FRAME_OVERHEAD, WireError, decode, encode, frame_len, write_frame};
use std::sync::{Arc, LazyLock};

#[test]
fn what_is_written_is_read_back_and_its_length_is_known_beforehand() {
    each_case("what_is_written_is_read_back", |dice| {
        let message = dice.message();
        let payload = encode(&message);
        assert_eq!(message.encoded_len(), payload.len(), "kind {}", message.kind());
        assert_eq!(payload[0], message.kind() as u8);
        assert_eq!(check(&payload), Ok(message));
    });
}

#[test]
fn damaged_messages_are_refused_or_are_what_their_bytes_say() {
    let mut accepted = 0;
    let cases = each_case("damaged_messages", |dice| accepted += u64::from(check(&dice.damaged()).is_ok()));
    println!("{accepted} of {cases} damaged messages were messages");
    // Damage within a key or a signature is for those to find who verify it; the rest must be found here.
    assert!(cases < 1_000 || (cases / 20..cases / 2).contains(&accepted), "the damage is of the wrong kind");
}

#[test]
fn noise_is_refused_or_is_what_its_bytes_say() {
    let mut accepted = 0;
    let cases = each_case("noise", |dice| accepted += u64::from(check(&dice.noise()).is_ok()));
    println!("{accepted} of {cases} noises were messages");
}

#[test]
fn a_message_that_ends_early_or_late_is_refused() {
    for message in one_of_each_kind() {
        let payload = encode(&message);
        for length in 0..payload.len() {
            assert_eq!(check(&payload[..length]), Err(WireError::Malformed), "kind {} cut", message.kind());
        }
        for byte in 0..=255 {
            let longer = [&payload[..], &[byte]].concat();
            assert_eq!(check(&longer), Err(WireError::NotCanonical), "kind {} extended", message.kind());
        }
    }
}

#[test]
fn each_bit_of_each_kind_may_be_turned_over_and_each_byte_be_written_as_a_long_number() {
    for payload in one_of_each_kind().map(|message| encode(&message)) {
        for index in 0..payload.len() {
            for bit in 0..8 {
                let mut flipped = payload.clone();
                flipped[index] ^= 1 << bit;
                let _ = check(&flipped);
            }
            let mut overlong = payload.clone();
            overlong.splice(index..=index, [payload[index] | 0x80, 0]);
            let _ = check(&overlong);
        }
    }
}

#[test]
fn a_length_that_the_frame_does_not_hold_costs_no_memory() {
    // What comes before each list, and the list's limit.
    let farewell = Farewell { contact: CARDS[0].clone(), acquainted: List::default() };
    let farewell = encode(&Message::Farewell(farewell));
    let heads: [(Vec<u8>, usize); 8] = [
        (vec![1, 5, 0, 0, 0, 0, 0, 1], CONTACTS_MAX),
        (vec![2, 5], COPIES_MAX),
        (vec![3, 5], COPIES_MAX),
        (vec![3, 5, 0], CONTACTS_MAX),
        (vec![5, 5, 1], KEYS_MAX),
        (vec![6, 5], KEYS_MAX),
        (vec![7, 5], COPIES_MAX),
        (farewell[..farewell.len() - 1].to_vec(), CONTACTS_MAX),
    ];
    for (head, limit) in heads {
        let mut empty = head.clone();
        empty.push(0);
        if head != [3, 5] {
            assert!(check(&empty).is_ok(), "the head of kind {} is wrong", head[0]);
        }
        for length in [1, limit as u64, limit as u64 + 1, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let payload = [&head[..], &varint(length)].concat();
            let memory = measure(|| assert_eq!(decode(&payload), Err(WireError::Malformed))).bytes_max;
            assert!(memory <= 4_096, "kind {}, promised {length}: {memory} bytes", head[0]);
        }
        // Zeros pass for most elements. The list ends at its limit, not where the frame does.
        let mut full = [&head[..], &varint(u64::MAX)].concat();
        full.resize(FRAME_MAX, 0);
        assert_eq!(check(&full), Err(WireError::Malformed));
    }
}

#[test]
fn a_list_beyond_its_limit_is_refused() {
    let keys = |count: usize| [vec![6, 5], varint(count as u64), vec![0; 33 * count]].concat();
    assert!(check(&keys(KEYS_MAX)).is_ok());
    assert_eq!(check(&keys(KEYS_MAX + 1)), Err(WireError::Malformed));
}

#[test]
fn the_fullest_frames_cost_a_few_times_their_length() {
    let id = RequestId(5);
    let contact = Arc::new(card(1, "", 0, Presence::Here));
    let named = Named { contact: contact.clone(), is_hearsay: false };
    // The smallest record that there can be: what costs most memory for its bytes.
    let least = Arc::new(unsigned(Body::Placement(Placement { version: 0, at: Residence::Closed, issued_ms: 0 })));
    let (least_len, contact_len) = (least.encoded_len(), contact.encoded_len());
    let copy = Copy { record: least.clone(), rival: Some(least), age: Ticks(0) };
    let kept = StoreResult { verdict: StoreVerdict::Kept, sees_other_set: false };
    let newer = StoreResult { verdict: StoreVerdict::Newer(Arc::new(copy.clone())), sees_other_set: false };
    let brief = Brief { key: Key { kind: Kind::User, id: Id([0; 32]) }, hash: 0 };
    let item = StoreItem { copy: copy.clone(), set: SetName::NONE };
    let fullest = [
        Message::Stored(Stored { id, results: many(kept.clone(), 2), contacts: many(named.clone(), contact_len + 3) }),
        Message::Stored(Stored { id, results: many(kept, 2), contacts: List::default() }),
        Message::Stored(Stored { id, results: many(newer, 2 * least_len + 4), contacts: List::default() }),
        Message::Store(Store { id, items: many(item, 2 * least_len + 3) }),
        Message::Fetched(Fetched { id, copies: many(copy, 2 * least_len + 2) }),
        Message::Fetch(Fetch { id, keys: many(brief.key, 33) }),
        Message::Compared(Compared { id, difference: Difference::Listing(many(brief, 34)) }),
        Message::Sampled(Sampled { id, contacts: many(named, contact_len + 1) }),
        Message::Farewell(Farewell { contact: contact.clone(), acquainted: many(contact, contact_len) }),
    ];
    for message in fullest {
        let payload = encode(&message);
        assert!(payload.len() <= FRAME_MAX);
        assert_eq!(check(&payload).as_ref(), Ok(&message));
        let memory = measure(|| drop(decode(&payload))).bytes_max;
        println!("kind {:2}: {:7} bytes, {memory:7} of memory to read them", message.kind(), payload.len());
    }
}

/// As many of one element as a list may hold and a frame has room for, `length` bytes for each.
fn many<T: Clone, const MAX: usize>(element: T, length: usize) -> List<T, MAX> {
    std::iter::repeat_n(element, (FRAME_MAX - 512) / length).collect()
}

/// The most memory that reading a payload may take at once. A list of small elements takes several times its bytes (up
/// to 24 for one of two, as it grows and is moved), but no list has room for many; for all else it is about three times.
fn memory_max(length: usize) -> u64 {
    (4_096 + 48 * length).min(FRAME_MAX / 2 + 4 * length) as u64
}

/// Reads a payload and checks what must hold whatever it is: bounded memory, one encoding, its length known.
fn check(payload: &[u8]) -> Result<Message, WireError> {
    let mut read = Err(WireError::Malformed);
    let memory = measure(|| read = decode(payload)).bytes_max;
    assert!(memory <= memory_max(payload.len()), "{memory} bytes of memory for {} bytes", payload.len());
    match &read {
        Ok(message) => {
            assert!(encode(message) == payload, "it is not what it encodes to");
            assert_eq!(message.encoded_len(), payload.len());
            let mut frame = Vec::new();
            write_frame(message, &mut frame).unwrap();
            assert_eq!((frame.len(), &frame[FRAME_OVERHEAD..]), (frame_len(message), payload));
        }
        Err(WireError::UnknownKind { kind, .. }) => assert!(*kind >= Message::KINDS),
        Err(WireError::TooLong { length }) => assert!(*length > FRAME_MAX),
        Err(WireError::Malformed | WireError::NotCanonical) => {}
    }
    read
}

/// Tries as many cases as wanted, each with its own dice, and says how many.
#[allow(clippy::disallowed_methods, reason = "the core reads no environment, its tests may")]
fn each_case(test: &str, mut case: impl FnMut(&mut Dice)) -> u64 {
    let setting = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = setting("SEED").unwrap_or(1);
    let cases = match setting("WIRE_CASE") {
        Some(only) => only..only + 1,
        None => 0..setting("WIRE_CASES").unwrap_or(100_000),
    };
    let tried = cases.end - cases.start;
    for number in cases {
        let _repeat = Repeat { test, seed, case: number };
        case(&mut Dice::of(seed, number));
    }
    tried
}

/// Says on a failure how to repeat it.
struct Repeat<'a> {
    test: &'a str,
    seed: u64,
    case: u64,
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Repeat { test, seed, case } = self;
            eprintln!("to repeat it: SEED={seed} WIRE_CASE={case} cargo test -p routing-core --test wire_fuzz {test}");
        }
    }
}

// What takes signatures is made once.
static CARDS: LazyLock<Vec<Arc<Contact>>> = LazyLock::new(cards);
static RECORDS: LazyLock<Vec<Arc<Record>>> = LazyLock::new(records);
/// What is damaged.
static PAYLOADS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..600).map(|number| encode(&Dice::of(0, number).message())).collect());

fn card(seed: u8, address: &str, sequence: u64, standing: Presence) -> Contact {
    Contact::sign(&SecretKey::from_seed([seed; 32]), address.parse().unwrap(), sequence, standing, Versions::CURRENT)
}

fn cards() -> Vec<Arc<Contact>> {
    let long = "a".repeat(Address::MAX);
    let addresses = ["", "chat.example", "chat.example:8448", "192.0.2.1:1", "[2001:db8::1]:65535", "bücher", &long];
    let standings = [Presence::Here, Presence::Away { for_ms: 60_000 }, Presence::Away { for_ms: 0 }, Presence::Left];
    let sequences = [0, 127, 128, 1_700_000_000, u64::MAX];
    let shape = |n: usize| card(n as u8, addresses[n % 7], sequences[n % 5], standings[n % 4]);
    (0..40).map(|n| Arc::new(shape(n))).collect()
}

/// Valid records with 0 to 16 key changes, and some with numbers that no account reaches.
fn records() -> Vec<Arc<Record>> {
    let mut records = Vec::new();
    for seed in 0..6u8 {
        let recovery = (seed % 3 > 0).then_some([100 + seed; 32]);
        let mut account = Account::new([seed; 32], recovery, [seed; 16]);
        for step in 0..=16u8 {
            let home = ["a.example", "x", "a-rather-long-name.of-a-server.example.org"][usize::from(step) % 3].parse();
            records.push(match step % 4 {
                0 => account.place(home.unwrap(), 1_700_000_000_000),
                1 => account.claim_name(["ann", "", "бабушка"][usize::from(seed) % 3], 0).unwrap(),
                2 => account.claim_legacy(&"x".repeat(255), home.unwrap(), u64::MAX).unwrap(),
                _ => account.close(127),
            });
            // A recovery may cut the chain short, and the seventeenth change has no room.
            let _ = match recovery {
                Some(_) if step % 5 == 4 => account.recover([step; 32], Some([step + 1; 32])),
                _ => account.rotate([step; 32]),
            };
        }
    }
    assert!(records.iter().all(|record| record.verify().is_ok()));
    assert!(records.iter().any(|record| record.changes().len() == 16));
    for version in [0, 128, u64::MAX] {
        let (kind, text, value) = (ClaimKind::Legacy, "".into(), ClaimValue::User(Guid(Id([7; 32]))));
        records.push(unsigned(Body::Placement(Placement { version, at: Residence::Closed, issued_ms: version })));
        records.push(unsigned(Body::Claim(Claim { kind, text, version, value, issued_ms: version })));
    }
    records.into_iter().map(Arc::new).collect()
}

/// A record whose signature does not count.
fn unsigned(body: Body) -> Record {
    let genesis = Genesis { signing: SecretKey::from_seed([1; 32]).public(), recovery: None, nonce: [0; 16] };
    Record::from_parts(genesis, Vec::new(), body, Signature::from_bytes([0; 64]))
}

/// One message of each kind, none of them long, with request id 5.
fn one_of_each_kind() -> [Message; 12] {
    std::array::from_fn(|kind| {
        let mut shapes = (0..).map(|number| Dice::of(2, number).message_of(kind, RequestId(5)));
        shapes.find(|message| (100..1_000).contains(&message.encoded_len()) || [0, 4, 8, 11].contains(&kind)).unwrap()
    })
}

/// Draws messages and mishaps. The same seed and number draw the same.
struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn of(seed: u64, number: u64) -> Self {
        Dice(Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number))
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.0.next_u64() % limit as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A number of any length, small ones as often as large ones.
    fn number(&mut self) -> u64 {
        self.0.next_u64() >> self.below(64)
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    fn any<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn list<T, const MAX: usize>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> List<T, MAX> {
        // Some lists are longer than 127, so that their length takes two bytes.
        let count = if self.below(100) == 0 { 130 } else { self.below(5) };
        (0..count).map(|_| element(self)).collect()
    }

    fn message(&mut self) -> Message {
        let (kind, id) = (self.below(Message::KINDS as usize), RequestId(self.number() as u32));
        self.message_of(kind, id)
    }

    fn message_of(&mut self, kind: usize, id: RequestId) -> Message {
        match kind {
            0 => {
                let (target, want) = (Id(self.bytes()), self.want());
                Message::Find(Find { id, target, want, groups: self.number() as u16, set: self.set() })
            }
            1 => {
                let standing = if self.coin() { Standing::Settled } else { Standing::NotYet };
                let (is_complete, own_scale, scale) =
                    (self.coin(), Scale(self.number() as u16), Scale(self.number() as u16));
                let copy = self.coin().then(|| Arc::new(self.copy()));
                let contacts = self.coin().then(|| self.list(Self::named));
                Message::Found(Found { id, standing, is_complete, own_scale, scale, copy, contacts })
            }
            2 => {
                Message::Store(Store { id, items: self.list(|dice| StoreItem { copy: dice.copy(), set: dice.set() }) })
            }
            3 => Message::Stored(Stored { id, results: self.list(Self::result), contacts: self.list(Self::named) }),
            4 => {
                let (start, bits, digest) = (Id(self.bytes()), self.number() as u8, Hash(self.bytes()));
                let users = self.coin().then(|| {
                    let domain = self.any(&["a.example", "x", "chat.example.org"]).parse().unwrap();
                    UsersOf { domain, scale: Scale(self.number() as u16) }
                });
                Message::Compare(Compare { id, range: Arc::new(Range { start, bits, digest, users }) })
            }
            5 => Message::Compared(Compared { id, difference: self.difference() }),
            6 => Message::Fetch(Fetch { id, keys: self.list(Self::key) }),
            7 => Message::Fetched(Fetched { id, copies: self.list(Self::copy) }),
            8 => {
                let (start, bits, count) = (Id(self.bytes()), self.number() as u8, self.number() as u16);
                let known = self.list(|dice| Mark::new(&Id([7; 32]), Id(dice.bytes()).prefix()));
                Message::Sample(Sample {
                    id,
                    part: Arc::new(Part { start, bits, count, with_hearsay: self.coin(), known }),
                })
            }
            9 => Message::Sampled(Sampled { id, contacts: self.list(Self::named) }),
            10 => {
                let contact = self.any(&CARDS).clone();
                Message::Farewell(Farewell { contact, acquainted: self.list(|dice| dice.any(&CARDS).clone()) })
            }
            _ => Message::Unknown(id),
        }
    }

    fn want(&mut self) -> Want {
        *self.any(&[Want::Contacts, Want::Introductions, Want::Record, Want::Claim, Want::Agreement])
    }

    fn set(&mut self) -> SetName {
        SetName(self.number() as u32)
    }

    fn key(&mut self) -> Key {
        Key { kind: *self.any(&[Kind::User, Kind::Claim, Kind::Blinded]), id: Id(self.bytes()) }
    }

    fn named(&mut self) -> Named {
        Named { contact: self.any(&CARDS).clone(), is_hearsay: self.coin() }
    }

    fn copy(&mut self) -> Copy {
        let record = self.any(&RECORDS).clone();
        let rival = self.coin().then(|| self.any(&RECORDS).clone());
        Copy { record, rival, age: Ticks(self.number()) }
    }

    fn result(&mut self) -> StoreResult {
        let refusal = *self.any(&[Refusal::Invalid, Refusal::Full, Refusal::OtherClaimant]);
        let verdict = match self.below(6) {
            0 => StoreVerdict::Conflict(Arc::new(self.copy())),
            1 => StoreVerdict::Newer(Arc::new(self.copy())),
            2 => StoreVerdict::Refused(refusal),
            _ => StoreVerdict::Kept,
        };
        StoreResult { verdict, sees_other_set: self.coin() }
    }

    fn difference(&mut self) -> Difference {
        match self.below(3) {
            0 => Difference::Same,
            1 => Difference::Listing(self.list(|dice| Brief { key: dice.key(), hash: dice.number() })),
            _ => Difference::Split(Arc::new(std::array::from_fn(|_| Hash(self.bytes())))),
        }
    }

    /// The bytes of a message after one to four mishaps, often one.
    fn damaged(&mut self) -> Vec<u8> {
        let mut payload = self.any(&PAYLOADS).clone();
        let mishaps = if self.coin() { 1 } else { 2 + self.below(3) };
        for _ in 0..mishaps {
            self.damage(&mut payload);
        }
        payload
    }

    fn damage(&mut self, payload: &mut Vec<u8>) {
        // Kind, id and most lengths are at the beginning; what is far behind is mostly keys and signatures.
        let reach = if self.coin() { payload.len().min(12) } else { payload.len() };
        let at = self.below(reach + 1);
        match self.below(11) {
            0 if at < payload.len() => payload[at] ^= 1 << self.below(8),
            1 if at < payload.len() => payload[at] = *self.any(&[0, 1, 2, 3, 5, 0x7f, 0x80, 0xff]),
            2 => payload.truncate(at),
            3 => {
                let tail = self.bytes();
                payload.extend(&tail[..1 + at % 32]);
            }
            4 => {
                let other = self.any(&PAYLOADS);
                let from = self.below(other.len() + 1);
                payload.truncate(at);
                payload.extend(&other[from..]);
            }
            // A number that is longer than it need be.
            5 if at < payload.len() => {
                let byte = payload[at];
                payload.splice(at..=at, [byte | 0x80, 0]);
            }
            // Another length, or a huge one.
            6 if at < payload.len() => {
                let length = if self.coin() { self.number() } else { u64::from(payload[at]) + 1 };
                payload.splice(at..=at, varint(length));
            }
            7 => {
                let end = (at + 1 + self.below(40)).min(payload.len());
                payload.drain(at..end);
            }
            8 => {
                let end = (at + 1 + self.below(40)).min(payload.len());
                let again = payload[at..end].to_vec();
                payload.splice(at..at, again);
            }
            9 if !payload.is_empty() => payload[0] = self.below(14) as u8,
            _ => {
                let other = self.any(&PAYLOADS);
                let from = self.below(other.len() + 1);
                let end = (from + 1 + self.below(200)).min(other.len());
                payload.splice(at..at, other[from..end].iter().copied());
            }
        }
    }

    /// Bytes that were never a message, but begin as one. Small ones are frequent: they pass for lengths and variants.
    fn noise(&mut self) -> Vec<u8> {
        let length = self.number() as usize % 400;
        let smallness = self.below(4);
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| if self.below(4) < smallness { self.below(4) as u8 } else { self.0.next_u64() as u8 })
            .collect();
        if let Some(first) = bytes.first_mut() {
            *first %= 16;
        }
        bytes
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
