//! Whether what is drawn can be carried out, and what fails is found, made smaller and repeated.

use super::draw::Drawn;
use super::*;
use crate::scenario::{Consistency, Do, Lines, Of, Step};
use routing_core::time::Ticks;
use std::path::Path;

fn options(line: &str) -> SwarmOptions {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: SwarmOptions,
    }
    <Line as clap::Parser>::parse_from(["swarm"].into_iter().chain(line.split_whitespace())).options
}

#[test]
fn the_same_seed_draws_the_same_runs_and_another_one_others() {
    for run in 0..20 {
        assert_eq!(draw(7, run), draw(7, run));
        assert_ne!(draw(7, run).scenario.seed, draw(8, run).scenario.seed);
        assert_ne!(draw(7, run).scenario.seed, draw(7, run + 1).scenario.seed);
    }
}

#[test]
fn all_that_is_drawn_is_valid_and_fair_and_a_file_of_it_is_read_as_the_same() {
    let mut seen = BTreeSet::new();
    for run in 0..300 {
        let Drawn { scenario, body } = draw(1, run);
        assert_eq!(scenario.node.validate(), Ok(()));
        assert!(fair::is_fair(&scenario), "run {run}");
        assert!(body.end < scenario.steps.len());
        seen.extend(scenario.steps[body].iter().map(|step| step.what.name()));
        let text = scenario.to_toml();
        let mut read = Scenario::parse(&text, "drawn.toml", Path::new("")).unwrap_or_else(|error| panic!("{error}"));
        read.steps.iter_mut().for_each(|step| step.lines = Lines::default());
        (read.file, read.network.lines) = (String::new(), Lines::default());
        assert_eq!(read, scenario, "{text}");
    }
    assert!(seen.len() >= 20, "everything happens: {seen:?}");
}

#[test]
fn a_small_swarm_keeps_every_promise_on_any_number_of_threads() {
    let one = swarm(&options("--runs 10 --seed 0 --threads 1"), &Progress::hidden()).unwrap();
    let two = swarm(&options("--runs 10 --seed 0 --threads 2"), &Progress::hidden()).unwrap();
    assert_eq!((one.runs, &one.failures), (10, &Vec::new()), "{}", one.render());
    assert_eq!(one, two);
}

#[test]
fn a_run_with_claims_asks_for_names_and_one_with_liars_asks_all_holders() {
    let has = |drawn: &Drawn, is_it: fn(&Do) -> bool| drawn.scenario.steps.iter().any(|step| is_it(&step.what));
    let asked = |drawn: &Drawn| -> Vec<(Of, Consistency)> {
        let ending = &drawn.scenario.steps[drawn.body.end..];
        let lookups =
            ending.iter().filter_map(|step| if let Do::Lookup(lookup) = &step.what { Some(lookup) } else { None });
        lookups.map(|lookup| (lookup.of, lookup.consistency)).collect()
    };
    let drawn: Vec<Drawn> = (0..200).map(|run| draw(0, run)).collect();
    let (mut claims, mut liars) = (0, 0);
    for drawn in &drawn {
        let (claimed, lied) =
            (has(drawn, |what| matches!(what, Do::Claim(_))), has(drawn, |what| matches!(what, Do::Dishonest(_))));
        (claims, liars) = (claims + u32::from(claimed), liars + u32::from(lied));
        assert_eq!(asked(drawn).iter().any(|(of, _)| *of == Of::Names), claimed);
        assert_eq!(asked(drawn).iter().all(|(_, consistency)| *consistency == Consistency::All), lied);
    }
    assert!((30..80).contains(&claims) && (20..60).contains(&liars), "{claims} with claims, {liars} with liars");
}

#[test]
fn what_fails_is_made_as_small_as_it_still_fails() {
    let is_bad = |scenario: &Scenario| {
        let is_move = |step: &&Step| matches!(&step.what, Do::Lookup(lookup) if lookup.of == Of::Users);
        let moves = scenario.steps.iter().filter(is_move).count();
        let drawn = Drawn { scenario: scenario.clone(), body: 3..3 };
        let violation = Violation { kind: Kind::Wrong, step: 1, tick: 2, what: String::new() };
        (moves >= 5 && drawn.founded().0 >= 3).then_some(violation)
    };
    // A run with enough lookups to leave some of them out.
    let found = (0..).map(|run| draw(3, run)).find_map(|drawn| Some((is_bad(&drawn.scenario)?, drawn)));
    let (violation, drawn) = found.unwrap();
    let Shrunk { cut, .. } = shrink(&drawn, violation, is_bad);
    // Three lookups are part of the ending.
    assert_eq!(cut.steps.as_ref().unwrap().len(), 2, "{cut:?}");
    assert_eq!((cut.nodes, cut.users), (Some(3), Some(1)));
    assert!(is_bad(&drawn.cut(&cut)).is_some());
}

#[test]
fn the_one_command_says_which_part_of_which_run() {
    let steps: BTreeSet<usize> = [3, 6, 7, 8, 10].into();
    let cut = Cut { nodes: Some(6), users: None, steps: Some(steps.clone()) };
    let line = command(7, 314, &cut);
    assert_eq!(line, "sandbox-cli swarm --seed 7 --only 314 --nodes 6 --steps 4,7-9,11");
    let read = options(line.strip_prefix("sandbox-cli swarm ").unwrap());
    let read_steps: BTreeSet<usize> = read.steps.unwrap().0.iter().map(|step| step - 1).collect();
    assert_eq!((read.seed, read.only, read.nodes, read_steps), (7, Some(314), Some(6), steps));
    assert_eq!(parse_steps(&spelled(&BTreeSet::new())), Ok(Steps::default()));
    assert!(parse_steps("4,0").is_err() && parse_steps("x-3").is_err());
}

#[test]
fn what_a_run_does_not_have_cannot_be_left_of_it() {
    let Drawn { body, .. } = draw(7, 3);
    let (nodes, users) = draw(7, 3).founded();
    for (option, complaint) in [
        (format!("--nodes {}", nodes + 1), format!("run 3 begins with {nodes};")),
        (format!("--users {}", users + 1), format!("run 3 begins with {users};")),
        ("--steps 1".to_owned(), "of run 3 these steps may be kept or left out: ".to_owned()),
        (format!("--steps {}-500", body.end), format!("--steps {}-500: of run 3", body.end + 1)),
    ] {
        let error = swarm(&options(&format!("--seed 7 --only 3 {option}")), &Progress::hidden()).unwrap_err();
        assert!(error.to_string().contains(&complaint), "{option}: {error}");
    }
    assert_eq!(parse_steps("9-4").unwrap_err(), "9-4 ends before it begins: write 4-9");
}

#[test]
fn a_run_that_is_asked_for_alone_is_saved_however_it_ends() {
    let dir = std::env::temp_dir().join(format!("swarm-{}", std::process::id()));
    let line = format!("--seed 0 --only 0 --nodes 1 --users 1 --steps none --save {}", dir.display());
    let findings = swarm(&options(&line), &Progress::hidden()).unwrap();
    assert_eq!(findings.failures, []);
    let file = findings.saved.clone().unwrap();
    assert!(findings.render().contains(&file.display().to_string()));
    assert_eq!(Scenario::read(&file).unwrap().name, "swarm-0-0");
    std::fs::remove_dir_all(dir).unwrap();
}

/// A federation of so many nodes with eight holders and short times, to which these steps happen.
fn story(nodes: u32, steps: &[&str]) -> Scenario {
    let steps: String = steps.iter().map(|step| format!("[[step]]\n{}\n", step.replace("; ", "\n"))).collect();
    let text = format!(
        "[node]\nholders = 8\ngrace = '10s'\ncompare_every = '10s'\nneighbour_probe_every = '5s'\nrevive_every = '1s'\n\
         [[step]]\ndo = 'join'\nnodes = {nodes}\nover = '2s'\n[[step]]\ndo = 'wait'\ntime = '20s'\n\
         [[step]]\ndo = 'register'\nusers = 20\n{steps}"
    );
    Scenario::parse(&text, "story.toml", Path::new("")).unwrap()
}

const ALL: &str = "do = 'lookup'; count = 60; from = 'node'; consistency = 'all'; over = '60s'";
const MOVE: &str = "do = 'migrate'; users = 10";

#[test]
fn two_of_three_nodes_are_sure_of_what_they_hold_after_the_third_has_died() {
    let run = story(3, &["do = 'kill'; nodes = 1", "do = 'wait'; time = '2m'", ALL, MOVE, ALL]);
    assert_eq!(judged(&run), None);
}

#[test]
fn parts_in_which_every_node_restarts_find_each_other_when_the_network_is_whole_again() {
    let run = story(
        6,
        &[
            "do = 'partition'; parts = [0.5, 0.5]",
            "do = 'wait'; time = '1m'",
            "do = 'restart'; share = 1.0; down = '5s'; over = '20s'",
            "do = 'heal'",
            "do = 'wait'; time = '3m'",
            ALL,
            MOVE,
            ALL,
        ],
    );
    assert_eq!(judged(&run), None);
}

#[test]
fn who_was_away_together_knows_each_other_again() {
    let away = "do = 'away'; nodes = 8; over = '10s'";
    let run = story(
        30,
        &[away, "do = 'wait'; time = '20s'", "do = 'run'; share = 1.0; over = '5s'", "do = 'wait'; time = '3m'", ALL],
    );
    assert_eq!(judged(&run), None);
}

/// In a quarter of a network other nodes hold a key than in the whole, mostly none of its true holders.
#[test]
fn what_was_written_in_a_part_none_of_whose_nodes_are_holders_afterwards_is_found_in_the_whole() {
    let mut run = story(
        32,
        &[
            "do = 'partition'; parts = [0.25, 0.25, 0.25, 0.25]",
            "do = 'wait'; time = '1m'",
            "do = 'migrate'; users = 20",
            "do = 'heal'",
            "do = 'wait'; time = '3m'",
            ALL,
        ],
    );
    run.node.holders = 4;
    // Nor does a home-server say so again.
    run.node.announce_every = Ticks(0);
    assert_eq!(judged(&run), None);
}

/// Runs that a swarm found, as it saved them.
fn found(text: &str) -> Scenario {
    Scenario::parse(text, "found.toml", Path::new("")).unwrap()
}

/// Those who had just joined once more within their part had no reason to again when the cut was over.
#[test]
fn what_was_written_in_a_part_is_found_in_the_whole_though_its_nodes_had_just_joined_once_more() {
    assert_eq!(judged(&found(include_str!("found/cut_again_soon.toml"))), None);
}

#[test]
fn a_write_reaches_all_holders_though_an_entry_point_names_some_who_are_dead() {
    assert_eq!(judged(&found(include_str!("found/named_though_dead.toml"))), None);
}

/// The cut was too short for anybody to be given up, so nobody joined once more when it was over.
#[test]
fn what_was_written_in_a_part_is_found_in_the_whole_though_the_cut_was_short() {
    assert_eq!(judged(&found(include_str!("found/cut_briefly.toml"))), None);
}

#[test]
fn what_was_written_in_a_part_is_found_in_the_whole_though_all_restarted_before_the_cut_was_over() {
    assert_eq!(judged(&found(include_str!("found/restarted_within_a_cut.toml"))), None);
}

/// Both nodes of a part had a tombstone that none of its holders had, and each rested once the other had it.
#[test]
fn what_was_written_in_a_part_is_found_in_the_whole_though_its_nodes_gave_it_to_each_other() {
    assert_eq!(judged(&found(include_str!("found/given_within_a_part.toml"))), None);
}

#[test]
fn a_store_is_too_small_if_it_cannot_hold_the_claims_beside_the_records() {
    let mut scenario = story(3, &["do = 'claim'; names = 3"]);
    for (records_max, is_cramped) in [(22, true), (23, false)] {
        scenario.node.records_max = records_max;
        assert_eq!(fair::is_cramped(&scenario), is_cramped);
    }
}

#[test]
fn of_two_servers_none_leaves_for_good_while_the_other_is_down() {
    let mut scenario = draw(0, 0).scenario;
    let steps = |is_meanwhile| {
        let text = format!(
            "name = \"two\"\nseed = 1\n[[step]]\ndo = \"join\"\nnodes = 2\n[[step]]\ndo = \"restart\"\nnodes = 1\ndown = \"2s\"\nover = \"4s\"\n\
             meanwhile = {is_meanwhile}\n[[step]]\ndo = \"leave\"\nnodes = 1\n"
        );
        found(&text).steps
    };
    for is_meanwhile in [false, true] {
        scenario.steps = steps(is_meanwhile);
        assert_eq!(fair::is_fair(&scenario), !is_meanwhile);
    }
}
