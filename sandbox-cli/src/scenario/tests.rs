use super::*;
use std::path::PathBuf;

/// The example of the handbook.
const KILL_A_THIRD: &str = r#"name = "kill-a-third"
seed = 7
tick = "1ms"

[network]
delay = { kind = "uniform", min = "20ms", max = "120ms" }
loss = 0.0

[node]
neighbours_max = 256

[[step]]
do = "join"
nodes = 1000
over = "30s"

[[step]]
do = "register"
users = 10000

[[step]]
do = "kill"
share = 0.3

[[step]]
do = "lookup"
count = 10000
expect = { correct_min = 0.999, wrong_max = 0 }
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(text, "scenarios/kill-a-third.toml", Path::new("scenarios"))
}

/// The one step of a scenario made of these lines.
fn step(lines: &str) -> Result<Step, ScenarioError> {
    parse(&format!("[[step]]\n{lines}")).map(|mut scenario| scenario.steps.remove(0))
}

fn what(lines: &str) -> Do {
    step(lines).unwrap_or_else(|error| panic!("{lines}: {error}")).what
}

fn complaint(text: &str) -> String {
    parse(text).unwrap_err().to_string().replace("scenarios/", "")
}

#[test]
fn the_example_of_the_handbook_is_read_as_it_is_meant() {
    let scenario = parse(KILL_A_THIRD).unwrap();
    assert_eq!((scenario.name.as_str(), scenario.seed), ("kill-a-third", 7));
    assert_eq!(scenario.network, Network { lines: scenario.network.lines.clone(), ..Network::default() });
    assert_eq!(scenario.node, NodeConfig { neighbours_max: 256, ..NodeConfig::default() });
    let [join, register, kill, lookup] = &scenario.steps[..] else { panic!("four steps") };
    assert_eq!(join.what, Do::Join(Join { nodes: Some(1_000), every: 1, entry_points: 3, servers: None }));
    assert_eq!((join.over, join.meanwhile, join.lines.table()), (Ticks::seconds(30), false, 12));
    assert_eq!((join.lines.of("nodes"), join.lines.of("servers")), (14, 12));
    let client = Register { users: 10_000, home_servers: None, from: Origin::Client, entry_points: 3 };
    assert_eq!(register.what, Do::Register(client));
    assert_eq!(kill.what, Do::Kill(Kill::Nodes(Who::Share(0.3))));
    let expect = Expect { correct_min: Some(0.999), wrong_max: Some(0.0), ..Expect::default() };
    assert_eq!(lookup.expect, Some(expect));
}

#[test]
fn what_is_left_out_has_its_default() {
    let scenario = parse("[[step]]\ndo = \"heal\"\n").unwrap();
    assert_eq!((scenario.name.as_str(), scenario.seed), ("kill-a-third", 0));
    assert_eq!((scenario.network, scenario.node), (Network::default(), NodeConfig::default()));
    let lookup = Lookup {
        count: 5,
        of: Of::Users,
        from: Origin::Client,
        entry_points: 3,
        zipf: 0.0,
        consistency: Consistency::Quorum,
    };
    assert_eq!(what("do = \"lookup\"\ncount = 5"), Do::Lookup(lookup));
}

#[test]
fn every_kind_of_step_is_read_with_every_key() {
    let steps = [
        ("join", "nodes = 5\nevery = 10\nentry_points = 2\nservers = \"a.csv\"\nover = \"1s\""),
        ("register", "users = 5\nhome_servers = 2\nfrom = \"node\"\nentry_points = 1\nexpect = {}"),
        ("announce", "share = 0.5\nmeanwhile = true"),
        (
            "lookup",
            "count = 5\nof = \"all\"\nfrom = \"node\"\nentry_points = 4\nzipf = 0.8\nconsistency = \"confirmed\"\n\
             expect = { conflict_max = 0, unsettled_max = 0.01, regressions_max = 0, records_moved_max = 9 }",
        ),
        ("wait", "time = \"2m\"\nexpect = { records_moved_max = 0, upkeep_peak_max = 65792 }"),
        ("migrate", "users = 5\nfrom = \"node\"\nentry_points = 1"),
        ("close", "users = 5"),
        ("rotate", "users = 5"),
        ("recover", "users = 5\nthief = true"),
        ("claim", "names = 5\nrivals = 5\nfrom = \"node\"\nentry_points = 1"),
        ("leave", "nodes = 3"),
        ("away", "nodes = 3"),
        ("kill", "site = \"EU\""),
        ("halt", "share = 0.1"),
        ("run", "share = 1"),
        ("restart", "share = 1.0\ndown = \"30s\"\nproper = true"),
        ("cadence", "nodes = 3\nevery = 50"),
        ("churn", "time = \"1h\"\nsession = \"10m\"\ndown = \"1m\""),
        ("partition", "parts = [0.3, 0.3, 0.4]\none_way = true"),
        ("heal", ""),
        ("loss", "rate = 0.01\nduplicate = 0.02"),
        ("delay", "delay = { kind = \"matrix\", file = \"../m.csv\", jitter = 0.2 }"),
        ("dishonest", "nodes = 64\nbehaviour = \"mixed\"\naim = 4\nplace = \"spread\""),
    ];
    for (name, keys) in steps {
        let what = what(&format!("do = \"{name}\"\n{keys}"));
        assert_eq!(what.name(), name);
        assert!(name == "heal" || !what.to_string().is_empty());
    }
    assert_eq!(steps.map(|(name, _)| name), super::step::NAMES);
    for (word, meant) in [("hosted", Of::Hosted), ("stranded", Of::Stranded), ("aimed", Of::Aimed)] {
        let what = what(&format!("do = \"lookup\"\ncount = 5\nof = \"{word}\""));
        assert!(matches!(what, Do::Lookup(lookup) if lookup.of == meant), "{word}");
    }
    assert_eq!(what("do = \"kill\"\nsite = true"), Do::Kill(Kill::Site(None)));
    assert_eq!(what("do = \"loss\"\nrate = 0.5"), Do::Loss(Loss { rate: Some(0.5), duplicate: None }));
}

#[test]
fn a_delay_step_takes_the_delay_as_a_table_or_as_its_own_keys() {
    let constant = Do::Delay(DelaySpec::Constant { value: Ticks::millis(80) });
    assert_eq!(what("do = \"delay\"\ndelay = { kind = \"constant\", value = \"80ms\" }"), constant);
    assert_eq!(what("do = \"delay\"\nkind = \"constant\"\nvalue = \"80ms\""), constant);
}

#[test]
fn paths_are_relative_to_the_scenario_file_and_not_opened() {
    let text = "network.delay = { kind = \"matrix\", file = \"../data/m.csv\" }\n\
                [[step]]\ndo = \"join\"\nservers = \"s.csv\"";
    let scenario = parse(text).unwrap();
    let file = PathBuf::from("scenarios/../data/m.csv");
    assert_eq!(scenario.network.delay, DelaySpec::Matrix { file, jitter: 0.0 });
    let Do::Join(join) = &scenario.steps[0].what else { panic!("a join") };
    assert_eq!((join.servers.clone(), join.nodes), (Some("scenarios/s.csv".into()), None));
}

#[test]
fn an_impossible_value_is_named_with_file_line_and_key() {
    let text = KILL_A_THIRD.replace("share = 0.3", "share = 1.3");
    assert_eq!(complaint(&text), "kill-a-third.toml:23: share = 1.3: must be a number between 0 and 1");
}

#[test]
fn an_unknown_key_is_named_with_what_there_is() {
    let text = KILL_A_THIRD.replace("share = 0.3", "share = 0.3\nsites = true");
    let known = "share, nodes, site, over, meanwhile, expect";
    assert_eq!(complaint(&text), format!("kill-a-third.toml:24: sites: unknown key, a kill step takes {known}"));
    for (text, place) in [
        ("name = \"a\"\nsed = 5\n[[step]]\ndo = \"heal\"", ":2: sed: unknown"),
        ("[network]\nlos = 0.5\n[[step]]\ndo = \"heal\"", ":2: los: unknown"),
        ("[[steps]]\ndo = \"heal\"", ":1: steps: unknown"),
        ("[[step]]\ndo = \"register\"\nuser = 5", ":3: user: unknown"),
        ("[node]\nholders = 16\nneighbors_max = 5\n[[step]]\ndo = \"heal\"", ":3: neighbors_max: unknown"),
        (
            "[network.delay]\nkind = \"constant\"\nvalue = \"1s\"\nmax = \"2s\"\n[[step]]\ndo = \"heal\"",
            ":4: max: unknown key, delay takes kind, value",
        ),
        ("[[step]]\ndo = \"lookup\"\ncount = 1\n[step.expect]\ncorect_min = 1", ":5: corect_min: unknown"),
    ] {
        assert!(complaint(text).contains(place), "{}", complaint(text));
    }
}

#[test]
fn impossible_steps_are_refused_at_their_key() {
    for (lines, place) in [
        ("do = \"dance\"", ":2: do = \"dance\": must"),
        ("nodes = 5", ":1: do: missing"),
        ("do = \"join\"", ":1: nodes: missing, a join step needs it"),
        ("do = \"join\"\nnodes = 0", ":3: nodes = 0: must"),
        ("do = \"join\"\nnodes = -1", ":3: nodes = -1: must"),
        ("do = \"join\"\nnodes = 5000000000", ":3: nodes = 5000000000: must"),
        ("do = \"join\"\nnodes = 10000001", ":3: nodes = 10000001: must be a whole number from 1 to 10000000"),
        ("do = \"kill\"\nnodes = 4294967295", ":3: nodes = 4294967295: must"),
        ("do = \"register\"\nusers = 100000001", ":3: users = 100000001: must be a whole number from 1 to 100000000"),
        ("do = \"migrate\"\nusers = 4294967295", ":3: users = 4294967295: must"),
        ("do = \"recover\"\nusers = 4294967295", ":3: users = 4294967295: must"),
        ("do = \"lookup\"\ncount = 4294967295", ":3: count = 4294967295: must"),
        ("do = \"claim\"\nnames = 4294967295", ":3: names = 4294967295: must"),
        ("do = \"lookup\"\ncount = 1\nentry_points = 65", ":4: entry_points = 65: must be a whole number from 1 to 64"),
        ("do = \"join\"\nnodes = 5\nentry_points = 0", ":4: entry_points = 0: must"),
        ("do = \"lookup\"\ncount = 5\nzipf = -0.1", ":4: zipf = -0.1: must"),
        ("do = \"lookup\"\ncount = 5\nzipf = nan", ":4: zipf = nan: must"),
        ("do = \"lookup\"\ncount = 5\nzipf = inf", ":4: zipf = inf: must"),
        ("do = \"lookup\"\ncount = 5\nfrom = \"nodes\"", ":4: from = \"nodes\": must be client or node"),
        ("do = \"lookup\"\ncount = 5\nconsistency = \"most\"", ":4: consistency"),
        ("do = \"leave\"\nshare = 0.5\nnodes = 5", ":4: nodes = 5: must not stand beside share"),
        ("do = \"leave\"", ":1: share or nodes: missing, a leave step needs it"),
        ("do = \"announce\"", ":1: share or nodes: missing, an announce step needs it"),
        ("do = \"kill\"\nsite = true\nshare = 0.5", ":3: site = true: must not stand beside"),
        ("do = \"kill\"\nsite = false", ":3: site = false: must"),
        ("do = \"partition\"\nparts = [0.5, 0.4]", ":3: parts = [0.5, 0.4]: must"),
        ("do = \"partition\"\nparts = [1.0]", ":3: parts = [1.0]: must"),
        ("do = \"partition\"\nparts = [1.5, -0.5]", ":3: parts"),
        ("do = \"wait\"\ntime = \"soon\"", ":3: time = \"soon\": must be a time"),
        ("do = \"wait\"\ntime = 5", ":3: time = 5: must be a time"),
        ("do = \"wait\"\ntime = \"40000d\"", "and no more than a century"),
        ("do = \"wait\"\ntime = \"5s\"\nover = \"-1s\"", ":4: over = \"-1s\""),
        ("do = \"wait\"\ntime = \"5s\"\nmeanwhile = 1", ":4: meanwhile = 1: must be true or false"),
        (
            "do = \"wait\"\ntime = \"5s\"\nexpect = { correct_min = 1 }",
            ":4: correct_min: unknown key, expect of a wait step takes records_moved_max, upkeep_peak_max",
        ),
        (
            "do = \"lookup\"\ncount = 1\nexpect = { regressions_max = 0.5 }",
            ":4: regressions_max = 0.5: must be a whole number",
        ),
        (
            "do = \"register\"\nusers = 1\nexpect = { correct_min = 1.1 }",
            ":4: correct_min = 1.1: must be a number between 0 and 1",
        ),
        (
            "do = \"register\"\nusers = 1\nexpect = { correct_min = \"1\" }",
            ":4: correct_min = \"1\": must be a number between 0 and 1",
        ),
        (
            "do = \"lookup\"\ncount = 1\nexpect = { holders_true_share_min = 1 }",
            ":4: holders_true_share_min: unknown key, expect of a lookup step takes correct_min,",
        ),
        ("do = \"claim\"\nnames = 1\nrivals = 2", ":4: rivals = 2: must not be more than names"),
        ("do = \"loss\"", ":1: rate: missing"),
        ("do = \"delay\"", ":1: delay: missing"),
        (
            "do = \"delay\"\ndelay = { kind = \"uniform\", min = \"5ms\", max = \"4ms\" }",
            ":3: min = \"5ms\": must not be longer than max",
        ),
        ("do = \"delay\"\ndelay = { kind = \"constant\", value = \"0ms\" }", ":3: value = \"0ms\": must be at least"),
        (
            "do = \"delay\"\nkind = \"constant\"\nvalue = \"5ms\"\nmax = \"9ms\"",
            ":5: max: unknown key, a delay step takes kind, value, over",
        ),
        ("do = \"delay\"\nvalue = \"5ms\"", ":1: kind: missing, a delay step needs it"),
        (
            "do = \"delay\"\ndelay = { kind = \"constant\", value = \"5ms\" }\nvalue = \"5ms\"",
            ":4: value = \"5ms\": must not stand beside delay",
        ),
        (
            "do = \"delay\"\nkind = \"constant\"\nvalue = \"5ms\"\ndelay = { kind = \"constant\", value = \"5ms\" }",
            ":3: kind = \"constant\": must not stand beside delay",
        ),
        ("do = \"delay\"\ndelay = 5", ":3: delay = 5: must be a table"),
        ("do = \"dishonest\"\nshare = 0.5", ":1: behaviour: missing"),
        (
            "do = \"dishonest\"\nshare = 0.5\nbehaviour = \"silent\"\nplace = \"near\"",
            ":5: place = \"near\": must stand beside aim",
        ),
        ("do = \"cadence\"\nshare = 0.5\nevery = 0", ":4: every = 0: must"),
    ] {
        let sentence = step(lines).expect_err(lines).to_string();
        assert!(sentence.contains(place), "{lines}\n{sentence}");
    }
}

#[test]
fn links_that_take_for_ever_to_open_are_refused_where_they_stand() {
    let network = |value: &str| parse(&format!("[network]\nlink_round_trips = {value}\n[[step]]\ndo = \"heal\""));
    assert_eq!(network("16").unwrap().network.link_round_trips, Some(16));
    let complaint = network("4294967295").unwrap_err().to_string();
    assert!(
        complaint.ends_with(":2: link_round_trips = 4294967295: must be a whole number from 0 to 16"),
        "{complaint}"
    );
}

#[test]
fn settings_of_nodes_are_checked_where_they_stand() {
    let node = |lines: &str| complaint(&format!("[node]\n{lines}\n[[step]]\ndo = \"heal\""));
    assert_eq!(node("alpha = 3\nholders = 65"), "kill-a-third.toml:3: holders = 65: must be 1 to 64");
    assert!(node("join_retry = \"never\"").contains(":2: join_retry = \"never\": must be a time such as \""));
    assert!(node("lookup_deadline = 20").contains(":2: lookup_deadline = 20: must be a time such as \"20s\""));
    assert!(node("holders = -1").starts_with("kill-a-third.toml:2: holders = -1: must be valid"));
    let default = node("holders = 16\nanswer_timeout_min = \"3s\"");
    assert_eq!(
        default,
        "kill-a-third.toml:1: answer_timeout = 2000 (the default): must be at least answer_timeout_min"
    );
    assert!(complaint("node = 5\n[[step]]\ndo = \"heal\"").contains(":1: node = 5: must be a table"));
}

#[test]
fn a_text_that_is_no_toml_or_no_scenario_is_refused_in_one_line() {
    for (text, place) in [
        ("name = \"a\"\nseed = = 5", "kill-a-third.toml:2: "),
        ("name = \"a\"\nname = \"b\"", "kill-a-third.toml:2: "),
        ("name = \"a\"", "kill-a-third.toml:1: step: missing, a scenario needs it"),
        ("step = []", "kill-a-third.toml:1: step = []: must be one or more tables"),
        ("step = [5]", "kill-a-third.toml:1: step = 5: must be a table"),
        ("tick = \"2ms\"\n[[step]]\ndo = \"heal\"", "kill-a-third.toml:1: tick = \"2ms\": must be \"1ms\""),
        ("seed = -1\n[[step]]\ndo = \"heal\"", "kill-a-third.toml:1: seed = -1: must"),
    ] {
        let sentence = complaint(text);
        assert!(sentence.starts_with(place) && !sentence.contains('\n'), "{sentence}");
    }
    let missing = Scenario::read(Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.toml: cannot be read: No such file"), "{missing}");
    let binary = std::env::temp_dir().join(format!("scenario-{}.toml", std::process::id()));
    std::fs::write(&binary, [0xff]).unwrap();
    let error = Scenario::read(&binary).unwrap_err().to_string();
    assert!(error.ends_with(".toml: is no UTF-8 text"), "{error}");
    std::fs::remove_file(binary).unwrap();
}

#[test]
fn numbers_are_read_in_all_the_ways_that_toml_writes_them() {
    let scenario = parse("seed = 0xFF\n[[step]]\ndo = \"lookup\"\ncount = 10_000\nzipf = 1").unwrap();
    assert_eq!(scenario.seed, 255);
    assert!(matches!(&scenario.steps[0].what, Do::Lookup(lookup) if lookup.count == 10_000 && lookup.zipf == 1.0));
}

#[test]
fn the_command_line_changes_the_first_join_the_seed_the_budget_and_the_delays() {
    let mut scenario = parse(KILL_A_THIRD).unwrap();
    let options = Options {
        seed: Some(9),
        nodes: Some(50),
        neighbours_max: Some(64),
        servers: Some("s.csv".into()),
        matrix: Some("m.csv".into()),
        ..Options::default()
    };
    scenario.apply(&options).unwrap();
    assert_eq!((scenario.seed, scenario.node.neighbours_max), (9, 64));
    let join = Join { nodes: Some(50), every: 1, entry_points: 3, servers: Some("s.csv".into()) };
    assert_eq!(scenario.steps[0].what, Do::Join(join));
    assert_eq!(scenario.network.delay, DelaySpec::Matrix { file: "m.csv".into(), jitter: MATRIX_JITTER });
    // A matrix keeps the jitter that the scenario gave it, be it none.
    scenario.network.delay = DelaySpec::Matrix { file: "old.csv".into(), jitter: 0.0 };
    scenario.apply(&options).unwrap();
    assert_eq!(scenario.network.delay, DelaySpec::Matrix { file: "m.csv".into(), jitter: 0.0 });
    let error = parse("[[step]]\ndo = \"heal\"").unwrap().apply(&options).unwrap_err();
    assert!(matches!(error, ApplyError::NoJoin { option: "--nodes", .. }));
    let small = Options { neighbours_max: Some(3), ..Options::default() };
    let error = parse(KILL_A_THIRD).unwrap().apply(&small).unwrap_err().to_string();
    assert!(error.starts_with("--neighbours-max 3: neighbours_max = 3: must be at least"), "{error}");
}

#[test]
fn each_scenario_of_the_collection_is_read_and_bears_its_files_name() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 9);
    for file in files {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.name.as_str(), file.file_stem().unwrap());
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("# Question: "), "{}", file.display());
    }
}
