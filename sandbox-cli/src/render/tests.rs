use super::*;
use crate::report::rate;
use std::path::Path;

/// A report of a join, a register, a wait and a lookup that did not go well.
pub(crate) fn example() -> Report {
    let operations = |asked, correct, absent| {
        let mut operations = Operations {
            asked,
            correct,
            absent,
            unsettled: absent,
            op_messages: 60 * asked,
            op_bytes: 9_000 * asked,
            round_trips_samples: (0..asked as u32).map(|n| 1 + n % 3 / 2).collect(),
            latency_ms_samples: (0..asked as u32).map(|n| 40 + n * n % 701).collect(),
            ..Operations::default()
        };
        operations.summarise();
        Some(operations)
    };
    let step = |name, operations| StepReport {
        name,
        seconds: 30.0,
        wall_seconds: 1.25,
        nodes_alive: 1_000,
        messages: 1_234_567,
        bytes: 98_765_432,
        links_opened: 4_321,
        operations,
        ..StepReport::default()
    };
    let holders = Holders { records: 10_000, holders_mean: Some(15.998), holders_true_share: Some(0.99999) };
    Report {
        scenario: "example".to_owned(),
        seed: 7,
        transport: "sim",
        nodes: 1_000,
        threads: 2,
        ticks: 200_000,
        virtual_seconds: 200.0,
        wall_seconds: 4.2,
        events: 5_000_000,
        events_per_second: rate(5_000_000, 4.2),
        peak_rss_bytes: Some(123_456_789),
        digest: Some("0123456789abcdef".repeat(4)),
        steps: vec![
            step("join", operations(1_000, 1_000, 0)),
            StepReport { holders: Some(holders), ..step("register", operations(10_000, 10_000, 0)) },
            step("wait", None),
            step("lookup", operations(10_000, 9_999, 1)),
        ],
        failed: Vec::new(),
    }
}

fn scenario() -> Scenario {
    let text = r#"
        name = "example"
        [[step]]
        do = "join"
        nodes = 1000
        over = "30s"
        [[step]]
        do = "register"
        users = 10000
        [[step]]
        do = "wait"
        time = "1m"
        [[step]]
        do = "lookup"
        count = 10000
        zipf = 0.8
        expect = { correct_min = 1.0 }
    "#;
    Scenario::parse(text, "example.toml", Path::new("")).unwrap()
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn no_line_is_wider_than_a_hundred_columns_and_each_step_has_its_block() {
    let (scenario, mut report) = (scenario(), example());
    report.judge(&scenario);
    let text = plain(&render(&scenario, &report));
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    for part in [
        "1,000 nodes · 3 min 20 s virtual · 4.2 s real · 1.19M events/s · 118 MiB at most",
        "seed 7 · sim · digest 0123456789abcdef",
        "  1  join  1,000 nodes through 3 entry points, over 30s",
        "  4  lookup  10,000 lookups of users, quorum, zipf 0.8, by clients through 3 entry points",
        "correct 9,999 (99.99 %)  wrong 0  absent 1 (0.01 %)  unreachable 0  unsettled 1",
        "an operation costs 60.0 messages, 8.79 KiB",
        "10,000 records · 16.00 holders each",
        "99.99 % of the true holders",
        "✗ lookup (step 4): correct 0.9999 of 10000 asked, expected at least 1",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn conflicts_and_local_answers_stand_there_only_if_there_were_some() {
    let found = Operations { asked: 4, correct: 4, local: 2, ..Operations::default() };
    assert_eq!(plain(&outcomes(&found)), "correct 4 (100 %)  local 2");
    let found = Operations { asked: 4, wrong: 4, conflict: 1, ..Operations::default() };
    assert_eq!(plain(&outcomes(&found)), "correct 0 (0 %)  wrong 4 (100 %)  absent 0  unreachable 0  conflict 1");
}

#[test]
fn bars_are_full_for_the_most_and_never_empty_for_something() {
    assert_eq!(bar(10, 10, 4), "████");
    assert_eq!(bar(5, 10, 3), "█▌");
    assert_eq!(bar(1, 1_000_000, 4), "▏");
    assert_eq!(bar(0, 10, 4), "");
}

#[test]
fn units_are_those_a_person_would_choose() {
    assert_eq!([0.0, 999.0, 1_000.0, 12_345.0, 4_560_000.0].map(short), ["0", "999", "1.00k", "12.3k", "4.56M"]);
    assert_eq!([0.0, 1_023.0, 1_536.0].map(bytes), ["0 B", "1023 B", "1.50 KiB"]);
    let spans = ["350 ms", "12.3 s", "2 min", "4 min 20 s", "1 h 5 min"];
    assert_eq!([0.35, 12.34, 120.0, 260.0, 3_900.0].map(span), spans);
}

#[test]
fn a_share_that_misses_all_does_not_look_like_all() {
    assert_eq!([1.0, 0.999999, 0.5, 0.000001, 0.0].map(floored), ["100 %", "99.99 %", "50.00 %", "<0.01 %", "0 %"]);
}

/// A third of a thousand servers dies, and lookups begin at once.
fn sad_story() -> (Scenario, Report) {
    let text = r#"
        [[step]]
        do = "join"
        nodes = 1000
        [[step]]
        do = "kill"
        share = 0.3333
        [[step]]
        do = "lookup"
        count = 10000
        meanwhile = true
        expect = { correct_min = 0.9 }
        [[step]]
        do = "wait"
        time = "2m"
        [[step]]
        do = "lookup"
        of = "stranded"
        count = 10000
    "#;
    let scenario = Scenario::parse(text, "sad.toml", Path::new("")).unwrap();
    let mut report = example();
    let [join, register, wait, lookup] = &report.steps[..] else { panic!("four steps") };
    let dead = |found: &StepReport| StepReport { nodes_alive: 667, holders: None, ..found.clone() };
    let found = StepReport { operations: register.operations.clone(), ..dead(lookup) };
    report.steps = vec![join.clone(), dead(wait), dead(lookup), dead(wait), found];
    (scenario, report)
}

#[test]
fn a_story_says_what_happened_how_it_went_and_what_to_try_next() {
    let (scenario, mut report) = sad_story();
    report.judge(&scenario);
    let text = plain(&story(&scenario, &report));
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    for part in [
        "  1  1,000 home-servers start at once.",
        "all 1,000 are in",
        "  2  333 servers die at once, without a word. 667 are left.",
        "  3  In the same tick, 10,000 lookups: on which server does this user live now?",
        "✓ 9,999 of 10,000 right (99.99 %) · absent 1",
        "1 of them not for sure",
        "  4  2 min pass.",
        "  5  10,000 lookups: where did this user live, whose server is dead?",
        "✓ all 10,000 right",
        "667 are left, and of 20,000 lookups 19,999 were right and none",
        "What to try next",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_story_that_went_wrong_praises_nothing() {
    let (mut scenario, mut report) = sad_story();
    scenario.steps[2].expect.as_mut().unwrap().correct_min = Some(1.0);
    report.judge(&scenario);
    let text = plain(&story(&scenario, &report));
    assert!(text.contains("✗ 9,999 of 10,000 right") && text.contains("expected at least 1"), "{text}");
    assert!(!text.contains("What you have seen"), "{text}");
}

#[test]
fn one_of_something_is_told_as_one() {
    let (scenario, mut report) = sad_story();
    report.steps[1..].iter_mut().for_each(|step| (step.nodes_alive, step.records_moved) = (999, 1));
    let text = plain(&story(&scenario, &report));
    for part in ["1 server dies at once, without a word. 999 are left.", "1 copy of records made"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}
