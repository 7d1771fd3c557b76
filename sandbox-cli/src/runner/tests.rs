//! What becomes of a federation to which things happen, step by step.

use super::*;

const START: &str = r#"
    seed = 3

    [[step]]
    do = "join"
    nodes = 30
    over = "5s"

    [[step]]
    do = "wait"
    time = "20s"

    [[step]]
    do = "register"
    users = 60
    expect = { correct_min = 1.0, holders_true_share_min = 1.0 }
"#;

/// Runs these steps, each a line, after thirty nodes have joined and sixty users have registered.
fn run(steps: &[&str]) -> Result<Report, RunError> {
    let steps: String = steps.iter().map(|step| format!("[[step]]\n{}\n", step.replace("; ", "\n"))).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scenario = Scenario::parse(&format!("{START}{steps}"), "test.toml", &root).unwrap();
    let mut report = execute(&scenario, &Options::default(), &Progress::hidden())?;
    report.judge(&scenario);
    assert_eq!(report.failed, Vec::<String>::new());
    Ok(report)
}

/// What was found of these steps alone.
fn found(steps: &[&str]) -> Vec<StepReport> {
    run(steps).unwrap().steps.split_off(3)
}

const ALL_RIGHT: &str = "do = 'lookup'; count = 100; expect = { correct_min = 1.0 }";

#[test]
fn who_is_away_is_down_until_run_brings_it_back_and_who_is_dead_stays_so() {
    let steps = found(&[
        "do = 'away'; nodes = 5",
        ALL_RIGHT,
        "do = 'halt'; nodes = 2",
        "do = 'kill'; nodes = 3",
        "do = 'run'; share = 1.0",
        "do = 'run'; share = 1.0",
        ALL_RIGHT,
    ]);
    let alive: Vec<u64> = steps.iter().map(|step| step.nodes_alive).collect();
    assert_eq!(alive, [25, 25, 25, 22, 27, 27, 27]);
}

#[test]
fn a_restart_ends_when_all_are_back_and_nothing_is_forgotten() {
    for proper in ["true", "false"] {
        let restart = format!("do = 'restart'; share = 1.0; down = '20s'; over = '1m'; proper = {proper}");
        let steps = found(&[&restart, ALL_RIGHT]);
        assert_eq!(steps[0].nodes_alive, 30, "{proper}");
        // The last is stopped a thirtieth of the minute before its end.
        assert!(steps[0].seconds >= 78.0 && steps[0].seconds < 90.0, "{}", steps[0].seconds);
    }
}

#[test]
fn who_asks_while_every_server_is_down_reaches_nobody() {
    let steps = found(&[
        "do = 'restart'; share = 1.0; down = '30s'; meanwhile = true",
        "do = 'lookup'; count = 10; over = '2s'; expect = { unreachable_max = 1.0 }",
        "do = 'wait'; time = '30s'",
        ALL_RIGHT,
    ]);
    let asked = steps[1].operations.as_ref().unwrap();
    assert_eq!((asked.unreachable, asked.local), (10, 0), "nobody's own store answers a client");
}

#[test]
fn churn_leaves_those_down_who_are_down_when_it_ends() {
    let steps =
        found(&["do = 'churn'; time = '2m'; session = '2m'; down = '1m'", "do = 'run'; share = 1.0", ALL_RIGHT]);
    assert!((120.0..140.0).contains(&steps[0].seconds), "{}", steps[0].seconds);
    assert!((10..30).contains(&steps[0].nodes_alive), "{}", steps[0].nodes_alive);
    assert_eq!(steps[1].nodes_alive, 30);
}

#[test]
fn a_site_fails_as_a_whole_and_one_that_nobody_is_at_is_an_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let servers = std::fs::read_to_string(root.join("data/federation.csv")).unwrap();
    let there = servers.lines().skip(1).take(20).filter(|line| line.contains(",eu-west-3,")).count() as u64;
    assert!(there > 0);
    let steps = found(&[
        "do = 'join'; nodes = 20; servers = 'data/federation.csv'",
        "do = 'kill'; site = 'eu-west-3'",
        "do = 'kill'; site = true",
    ]);
    let alive: Vec<u64> = steps.iter().map(|step| step.nodes_alive).collect();
    assert_eq!(alive[..2], [50, 50 - there]);
    // Those without a region are at no site.
    assert!((30..alive[1]).contains(&alive[2]), "{alive:?}");
    for (site, named) in [("'nowhere'", "\"nowhere\""), ("true", "any site")] {
        let error = run(&[&format!("do = 'kill'; site = {site}")]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("test.toml:19: site: no living node is at {named}")), "{error}");
    }
}

#[test]
fn what_a_later_step_names_is_looked_for_before_anything_runs() {
    for (step, complaint) in [
        ("do = 'delay'; kind = 'matrix'; file = 'no.csv'", "test.toml:23: file: "),
        ("do = 'delay'; delay = { kind = 'matrix', file = 'README.md' }", "test.toml:22: delay: "),
        ("do = 'join'; servers = 'no.csv'", "test.toml:22: servers: cannot read "),
        ("do = 'join'; servers = 'README.md'", "test.toml:22: servers: "),
        (
            "do = 'join'; servers = 'data/federation.csv'; nodes = 9529",
            "test.toml:23: nodes: 9529 nodes, but 9528 servers of ",
        ),
    ] {
        let error = run(&["do = 'wait'; time = '20000d'", step]).unwrap_err().to_string();
        assert!(error.starts_with(complaint), "{step}: {error}");
    }
}

#[test]
fn in_a_part_of_the_network_people_register_move_and_join_and_afterwards_all_are_found() {
    let steps = found(&[
        "do = 'partition'; parts = [0.5, 0.3, 0.2]",
        "do = 'join'; nodes = 4; over = '2s'; expect = { correct_min = 1.0 }",
        "do = 'wait'; time = '2m'",
        "do = 'register'; users = 10",
        "do = 'migrate'; users = 20",
        "do = 'lookup'; count = 200; from = 'node'",
        "do = 'heal'",
        "do = 'wait'; time = '1m'",
        "do = 'lookup'; count = 100; consistency = 'all'; expect = { correct_min = 1.0 }",
        "do = 'lookup'; count = 100; consistency = 'all'; from = 'node'; expect = { correct_min = 1.0 }",
    ]);
    let operations = |step: usize| steps[step].operations.as_ref().unwrap();
    assert!(operations(3).correct > 0 && operations(4).correct > 0);
    assert!(operations(5).wrong > 0, "a move in one part is not known in another");
    assert_eq!(operations(5).regressions + operations(9).regressions, 0);
}

#[test]
fn a_recovery_beats_the_thief_who_writes_at_the_same_tick() {
    let steps = found(&[
        "do = 'kill'; share = 0.2",
        "do = 'wait'; time = '1m'",
        "do = 'recover'; users = 10; expect = { correct_min = 1.0 }",
        "do = 'recover'; users = 20; thief = true; expect = { correct_min = 1.0 }",
        "do = 'lookup'; count = 200; expect = { correct_min = 1.0 }",
        "do = 'migrate'; users = 60; expect = { correct_min = 1.0 }",
        ALL_RIGHT,
    ]);
    let asked: Vec<u64> = steps[2..4].iter().map(|step| step.operations.as_ref().unwrap().asked).collect();
    assert_eq!(asked, [10, 20], "a theft is no operation of a user's");
}

#[test]
fn messages_that_arrive_twice_change_no_answer() {
    found(&[
        "do = 'loss'; duplicate = 1.0",
        "do = 'migrate'; users = 20; expect = { correct_min = 1.0 }",
        ALL_RIGHT,
        "do = 'leave'; nodes = 3",
        ALL_RIGHT,
    ]);
}

#[test]
fn lookups_of_the_hosted_and_of_the_stranded_ask_for_no_one_else() {
    const HOSTED: &str = "do = 'lookup'; count = 50; of = 'hosted'";
    const STRANDED: &str = "do = 'lookup'; count = 50; of = 'stranded'";
    let steps = found(&[
        HOSTED,
        STRANDED,
        "do = 'kill'; share = 0.5",
        "do = 'wait'; time = '1m'",
        HOSTED,
        STRANDED,
        "do = 'recover'; users = 60",
        HOSTED,
        STRANDED,
        "do = 'leave'; nodes = 14",
        HOSTED,
        STRANDED,
    ]);
    let asked = |step: usize| steps[step].operations.as_ref().map(|operations| operations.asked);
    assert_eq!([0, 1].map(asked), [Some(50), Some(0)], "everybody's server lives");
    assert_eq!([4, 5].map(asked), [Some(50), Some(50)]);
    assert_eq!([7, 8].map(asked), [Some(50), Some(0)], "all have moved to servers that live");
    assert_eq!(asked(11), Some(50), "whose server has left is stranded, too");
    for step in [4, 7, 10] {
        let operations = steps[step].operations.as_ref().unwrap();
        assert_eq!((operations.correct, operations.wrong), (operations.asked, 0), "step {step}");
    }
}
