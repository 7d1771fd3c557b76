//! The program as its callers see it: exit codes, and what goes to stdout and to stderr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn sandbox(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_sandbox-cli"))
        .args(arguments)
        .current_dir(root)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program prints UTF-8")
}

fn scratch(name: &str, content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the scratch directory is there");
    path
}

#[test]
fn bad_usage_and_bad_input_end_with_2_and_say_so_on_stderr_alone() {
    let broken = scratch("broken.toml", "[[step]]\ndo = \"kill\"\nshare = 1.3\n");
    let broken = broken.to_str().unwrap();
    let join = "[[step]]\ndo = \"join\"\nnodes = 2\n";
    let halting = scratch("halting.toml", &format!("{join}\n\n[[step]]\ndo = \"halt\"\nnodes = 1\n"));
    let weather = scratch("weather.toml", &format!("seed = 1\n[network]\nloss = 0.5\n{join}"));
    let slow = scratch("slow.toml", &format!("{join}every = 5\n"));
    let (halting, weather, slow) = (halting.to_str().unwrap(), weather.to_str().unwrap(), slow.to_str().unwrap());
    for (arguments, complaint) in [
        (&["fly"] as &[_], "unrecognized subcommand"),
        (&["run", "no/such.toml"], "no/such.toml: cannot be read"),
        (&["run", broken], "broken.toml:3: share = 1.3: must be a number between 0 and 1"),
        (&["run", halting, "--transport", "tcp"], "halting.toml:6: halt: only the simulated network can do that"),
        (&["run", weather, "--transport", "tcp"], "weather.toml:3: loss: only the simulated network can do that"),
        (&["run", slow, "--transport", "tcp"], "slow.toml:4: every: only the simulated network can do that"),
        (&["run", "scenarios/tiny-1.toml", "--matrix", "no.csv"], "error: --matrix: no.csv: No such file"),
        (
            &["run", "scenarios/tiny-1.toml", "--servers", "no.csv"],
            "error: --servers: cannot read no.csv: No such file",
        ),
        (&["run", "scenarios/tiny-1.toml", "--driver", "--nodes", "2001"], "tiny-1.toml: --driver takes at most"),
        (&["run", "scenarios/tiny-1.toml", "--transport", "tcp", "--driver"], "--driver: only for --transport sim"),
        (&["run", "scenarios/tiny-1.toml", "--transport", "tcp", "--nodes", "1000000"], "open files, of which"),
        (&["explain", "no/such.jsonl", "ab"], "no/such.jsonl: "),
        (&["explain", broken, "xyz"], "is no GUID"),
    ] {
        let output = sandbox(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).contains(complaint), "{output:?}");
    }
}

#[test]
fn a_scenario_on_real_nodes_has_the_report_of_the_sandbox() {
    let run = |transport: &str| -> serde_json::Value {
        let output = sandbox(&["run", "scenarios/tiny-2.toml", "--transport", transport, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        let is_told = told.lines().any(|line| line.starts_with("1/") && line.contains(" join "));
        assert_eq!(is_told, transport == "tcp", "steps in real time: {told}");
        serde_json::from_slice(&output.stdout).expect("the report is JSON")
    };
    let (simulated, real) = (run("sim"), run("tcp"));
    let keys = |report: &serde_json::Value| report.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&simulated), keys(&real));
    assert!(real["digest"].is_null() && real["transport"] == "tcp" && real["events"].as_u64().unwrap() > 0);
    for (simulated, real) in simulated["steps"].as_array().unwrap().iter().zip(real["steps"].as_array().unwrap()) {
        assert_eq!(keys(simulated), keys(real));
        for key in ["do", "nodes_alive", "asked", "correct", "wrong", "records", "holders_mean"] {
            assert_eq!(simulated[key], real[key], "{key} of {}", simulated["do"]);
        }
    }
}

#[test]
fn a_check_has_a_line_for_each_file_and_ends_with_the_sum() {
    let broken = scratch("broken-check.toml", "seed = 1\n");
    let broken = broken.to_str().unwrap();
    let output = sandbox(&["check", broken, broken]);
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("FAILED ") && lines[0].contains("step: missing"), "{lines:?}");
    assert_eq!(lines[2], "0 passed, 2 failed");
}

#[test]
fn what_has_become_worse_ends_a_comparison_with_1_and_another_story_with_2() {
    let report = |name: &str, step: &str, messages: u64| {
        let steps = format!(r#"[{{ "do": "{step}", "messages": {messages} }}]"#);
        scratch(name, &format!(r#"{{ "scenario": "s", "seed": 1, "transport": "sim", "nodes": 3, "steps": {steps} }}"#))
    };
    let before = report("before.json", "wait", 100);
    for (after, code) in [
        (report("equal.json", "wait", 100), 0),
        (report("dearer.json", "wait", 120), 1),
        (report("other.json", "kill", 100), 2),
    ] {
        let output = sandbox(&["compare", before.to_str().unwrap(), after.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(text(&output.stdout).contains("+20.0 %  worse"), code == 1, "{output:?}");
        assert_eq!(text(&output.stderr).contains("cannot be compared"), code == 2, "{output:?}");
    }
}

#[test]
fn a_network_of_each_size_has_a_row_that_says_what_a_bare_wheel_reaches() {
    let output = sandbox(&["scale", "--nodes", "20,10", "--threads", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows: Vec<Vec<&str>> =
        text(&output.stdout).lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let column = |name| rows[0].iter().position(|head| *head == name).expect(name);
    assert_eq!(rows[2..].iter().map(|row| row[column("nodes")]).collect::<Vec<_>>(), ["10", "20"]);
    for row in &rows[2..] {
        let number = |name| row[column(name)].trim_end_matches(" %").replace(',', "").parse::<f64>().expect(name);
        let share = 100.0 * number("events a second") / number("bare wheel");
        assert!((number("share") - share).abs() < 0.1, "{row:?}");
    }
}

#[test]
fn a_lookup_is_explained_without_colours_in_a_pipe() {
    let (key, peer) = ("ab".repeat(32), "cd".repeat(32));
    let line = format!(
        r#"{{"step":2,"key":"{key}","asker":"client","started_ms":1000,"ended_ms":1210,"result":"found as expected","consistency":"quorum","round_trips":1,"hops":[{{"at_ms":1210,"depth":1,"peer":"{peer}","domain":"x.example","said":"record v1 at y.example"}}]}}"#
    );
    let trace = scratch("trace.jsonl", &format!("{line}\n"));
    let output = sandbox(&["explain", trace.to_str().unwrap(), "abab"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stdout);
    assert!(told.contains("found as expected after 1 round trip, 210 ms"), "{told}");
    assert!(told.contains("cdcdcdcd  x.example  record v1 at y.example"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told:?}");
}

#[test]
fn a_shell_obeys_a_pipe_and_its_exit_code_says_whether_all_went_well() {
    for (lines, code) in [("new 3\nregister n2\nroute u1 expected n2\n", 0), ("new 3\nroute u1\ntime\n", 1)] {
        let mut shell = Command::new(env!("CARGO_BIN_EXE_sandbox-cli"))
            .args(["shell", "--seed", "3"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        shell.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(text(&output.stdout).starts_with("n1 ") && !text(&output.stdout).contains("> "), "{output:?}");
        assert_eq!(text(&output.stderr).starts_with("line 2: no user is called"), code == 1, "{output:?}");
    }
}
