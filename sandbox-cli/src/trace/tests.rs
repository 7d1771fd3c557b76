use super::*;

fn lookup(key: Id) -> TracedLookup {
    let hop = |at_ms, depth, peer: &[u8], domain: Option<&str>, said: &str| Hop {
        at_ms,
        depth,
        peer: Id::of(peer),
        domain: domain.map(str::to_owned),
        said: said.to_owned(),
    };
    TracedLookup {
        step: 3,
        key,
        asker: Asker::Client,
        started_ms: 60_000,
        ended_ms: 60_214,
        result: "found as expected".to_owned(),
        consistency: Consistency::Quorum,
        round_trips: 2,
        hops: vec![
            hop(60_090, 1, b"a", Some("chat.example"), "16 contacts"),
            hop(60_180, 2, b"b", None, "record v3 at x.example"),
            hop(60_214, 2, b"c", Some("mail.example"), "silent"),
        ],
    }
}

/// A file of its own for each test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("trace-{}-{name}.jsonl", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn written(name: &str, lookups: &[TracedLookup]) -> Scratch {
    let scratch = Scratch::new(name);
    let mut writer = TraceWriter::create(&scratch.0).unwrap();
    lookups.iter().for_each(|lookup| writer.write(lookup).unwrap());
    writer.finish().unwrap();
    scratch
}

fn key(first: u8, last: u8) -> Id {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (first, last);
    Id(bytes)
}

fn nothing_to_note(note: &str) {
    panic!("{note}");
}

#[test]
fn what_was_written_is_found_again_by_a_unique_prefix() {
    let (a, b) = (lookup(key(0xab, 1)), lookup(key(0xcd, 1)));
    let file = written("unique", &[a.clone(), b, a.clone()]);
    assert_eq!(lookups_of(&file.0, "AB", nothing_to_note).unwrap(), [a.clone(), a.clone()]);
    assert_eq!(lookups_of(&file.0, &a.key.to_string(), nothing_to_note).unwrap().len(), 2);
}

#[test]
fn ambiguous_absent_and_impossible_guids_are_told_apart() {
    let file = written("ambiguous", &[lookup(key(0xab, 1)), lookup(key(0xab, 2))]);
    let error = |prefix| lookups_of(&file.0, prefix, nothing_to_note).unwrap_err();
    assert!(matches!(error("ab"), TraceError::Ambiguous { keys, .. } if keys.len() == 2));
    assert!(matches!(error("ff"), TraceError::Absent { lookups: 2, .. }));
    for prefix in ["", "xyz", &"a".repeat(65)] {
        assert!(matches!(error(prefix), TraceError::NoGuid(_)), "{prefix}");
    }
}

#[test]
fn a_broken_line_is_named() {
    let file = written("broken", &[lookup(key(1, 1))]);
    let mut text = std::fs::read_to_string(&file.0).unwrap();
    text.push_str("{}\n");
    std::fs::write(&file.0, text).unwrap();
    assert!(matches!(lookups_of(&file.0, "01", nothing_to_note).unwrap_err(), TraceError::Line { line: 2, .. }));
}

#[test]
fn a_last_line_that_was_cut_off_is_left_out_and_that_is_said() {
    let file = written("cut", &[lookup(key(1, 1)), lookup(key(1, 1))]);
    let whole = std::fs::read(&file.0).unwrap();
    // Without its end the second lookup is still a whole one.
    for (length, found, notes) in [(whole.len() - 1, 2, 0), (whole.len() - 2, 1, 1), (whole.len() / 2 + 1, 1, 1)] {
        std::fs::write(&file.0, &whole[..length]).unwrap();
        let noted = std::cell::RefCell::new(Vec::new());
        let lookups = lookups_of(&file.0, "01", |note| noted.borrow_mut().push(note.to_owned())).unwrap();
        assert_eq!((lookups.len(), noted.borrow().len()), (found, notes), "{noted:?}");
        assert!(noted.borrow().iter().all(|note| note.contains(":2: the last line is cut off")), "{noted:?}");
    }
}

#[test]
fn the_keys_of_a_line_are_those_agreed_upon() {
    let json = serde_json::to_value(lookup(key(1, 1))).unwrap();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort();
    let top = "asker consistency ended_ms hops key result round_trips started_ms step";
    assert_eq!(keys.join(" "), top);
    let mut keys: Vec<_> = json["hops"][0].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort();
    assert_eq!(keys.join(" "), "at_ms depth domain peer said");
    assert_eq!((&json["asker"], &json["consistency"]), (&"client".into(), &"quorum".into()));
    assert_eq!(json["key"].as_str().unwrap().len(), 64);
    assert!(json["hops"][1]["domain"].is_null());
}

#[test]
fn an_explanation_tells_each_hop_in_aligned_columns() {
    let text = anstream::adapter::strip_str(&explain(&[lookup(key(1, 1))])).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(text.contains("asked by a client · quorum"), "{text}");
    assert!(text.contains("found as expected after 2 round trips, 214 ms"), "{text}");
    let said: Vec<_> = ["16 contacts", "record v3", "silent"]
        .iter()
        .map(|said| lines.iter().find_map(|line| line.find(said)).unwrap())
        .collect();
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
}
