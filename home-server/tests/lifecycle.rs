//! How servers stop, leave, and refuse to start.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Lab, home_server, text, until};
use std::fs::File;
use std::process::{Command, Stdio};

#[test]
fn a_server_that_is_stopped_says_that_it_will_be_back() {
    let mut lab = Lab::joined(3);
    until("they know each other", || lab.servers.iter().all(|server| server.metrics().unwrap()["neighbours"] == 2.0));
    // What is so now has the name under which it is documented, without the counters' ending.
    let metrics = lab.servers[0].metrics().unwrap();
    for gauge in ["tcp_links", "tcp_handshakes", "tcp_inbound_bytes"] {
        assert!(metrics.contains_key(gauge), "{gauge} in {:?}", metrics.keys());
    }
    assert!(!metrics.keys().any(|name| name.ends_with("_now")), "{:?}", metrics.keys());
    assert_eq!(lab.stop(1).code(), Some(0));
    // Its place is kept: the others neither forget it nor take it for dead.
    for index in [0, 2] {
        assert_eq!(lab.servers[index].metrics().unwrap()["contacts"], 2.0);
        assert!(!lab.servers[index].log().contains("NeighbourLost"));
    }
    lab.start(1, &[]);
    lab.wait_until_joined(1);
}

#[test]
fn a_server_leaves_for_good_with_its_records_in_other_hands_and_does_not_come_back() {
    let mut lab = Lab::joined(3);
    let key = lab.path("ann.key");
    let registered = lab.run(&["register", "--key", key.to_str().unwrap(), "--home", "s2.example"]);
    assert_eq!(registered.status.code(), Some(0), "{}", text(&registered.stderr));

    let running = lab.run_server("leave", 2, &[]);
    assert_eq!(running.status.code(), Some(3), "{}", text(&running.stderr));
    assert!(text(&running.stderr).contains("is in use by another home-server: stop that one first"));

    assert_eq!(lab.stop(2).code(), Some(0));
    let left = lab.run_server("leave", 2, &[]);
    assert_eq!(left.status.code(), Some(0), "{}", text(&left.stderr));
    for index in [0, 1] {
        until("the others forget it", || lab.servers[index].metrics().unwrap()["contacts"] == 1.0);
        assert_eq!(lab.servers[index].metrics().unwrap()["records"], 1.0);
    }
    for command in ["serve", "leave"] {
        let again = lab.run_server(command, 2, &[]);
        assert_eq!(again.status.code(), Some(3));
        assert!(text(&again.stderr).contains("has left the network for good"), "{}", text(&again.stderr));
    }
}

#[test]
fn a_server_that_reaches_nobody_does_not_leave() {
    let mut lab = Lab::joined(2);
    until("it remembers the other", || lab.servers[1].metrics().unwrap()["neighbours"] == 1.0);
    assert_eq!(lab.stop(1).code(), Some(0));
    lab.kill(0);
    let left = lab.run_server("leave", 1, &["--set", "node.join_deadline=1s"]);
    assert_eq!(left.status.code(), Some(1));
    assert!(text(&left.stderr).contains("not left, since the network was not reached"), "{}", text(&left.stderr));
    lab.start(0, &[]);
    lab.start(1, &[]);
    lab.wait_until_joined(0);
    lab.wait_until_joined(1);
}

#[test]
fn a_server_whose_others_are_gone_goes_on_alone_if_told_so_and_is_found_by_who_comes_back() {
    let mut lab = Lab::joined(2);
    let key = lab.path("ann.key");
    let registered = lab.run(&["register", "--key", key.to_str().unwrap(), "--home", "s1.example"]);
    assert_eq!(registered.status.code(), Some(0), "{}", text(&registered.stderr));
    until("both hold it", || lab.servers.iter().all(|server| server.metrics().unwrap()["records"] == 1.0));
    lab.kill(0);
    lab.kill(1);
    lab.start(1, &["--alone"]);
    lab.wait_until_joined(1);
    let metrics = lab.servers[1].metrics().unwrap();
    assert_eq!((metrics["records"], metrics["users"]), (1.0, 1.0));
    lab.start(0, &[]);
    lab.wait_until_joined(0);
    until("they know each other", || lab.servers.iter().all(|server| server.metrics().unwrap()["neighbours"] == 1.0));
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let mut lab = Lab::new(2);
    lab.start(0, &["--stop-within", "1h", "--set", "links.linger=1h", "--set", "links.farewell_timeout=1h"]);
    lab.wait_until_joined(0);
    lab.start(1, &["--join", "s0.example"]);
    lab.wait_until_joined(1);
    until("they know each other", || lab.servers[0].metrics().unwrap()["neighbours"] == 1.0);
    // The other one is halted by the system, so it never takes the farewell.
    lab.servers[1].signal("-STOP");
    lab.servers[0].signal("-INT");
    until("it is stopping", || lab.servers[0].log().contains("stopping"));
    lab.servers[0].signal("-TERM");
    let ended = lab.servers[0].wait();
    lab.servers[1].signal("-CONT");
    assert_eq!(ended.code(), Some(1));
    assert!(lab.servers[0].log().contains("cut short"), "{}", lab.servers[0].log());
}

#[test]
fn a_signal_ends_a_server_that_is_still_starting() {
    let dir = tempfile::tempdir().unwrap();
    let (hosts, data) = (dir.path().join("hosts"), dir.path().join("data"));
    // Reading it waits for somebody who writes.
    assert!(Command::new("mkfifo").arg(&hosts).status().unwrap().success());
    let (hosts, data) = (hosts.to_str().unwrap(), data.to_str().unwrap());
    let options = ["serve", "--domain", "a.example", "--lab", "--data", data, "--hosts", hosts, "--admin", "off"];
    let mut server = home_server().args(options).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", server.id());
    until("it heeds SIGTERM", || {
        let status = std::fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() >> (15 - 1) & 1 == 1
    });
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_whose_log_cannot_be_written_serves_and_stops_in_good_order() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut lab = Lab::new(1);
    lab.start_with_log(0, &[], full());
    lab.wait_until_joined(0);
    assert_eq!(lab.stop(0).code(), Some(0));
    let refused = home_server().args(["config", "--set", "links.links_max=3"]).stderr(full()).status().unwrap();
    assert_eq!(refused.code(), Some(2));
}

#[test]
fn nobody_leaves_for_a_directory_without_a_node() {
    let mut lab = Lab::joined(1);
    let nowhere = lab.path("nowhere");
    let left = lab.run(&["leave", "--domain", "s0.example", "--data", nowhere.to_str().unwrap()]);
    assert_eq!(left.status.code(), Some(3), "{}", text(&left.stderr));
    assert!(text(&left.stderr).contains("there is no node in"), "{}", text(&left.stderr));
    assert!(!nowhere.exists());
    assert!(lab.servers[0].is_running());
}

#[test]
fn health_is_told_with_a_reason() {
    let mut lab = Lab::new(2);
    // Nobody is there to join through.
    lab.start(0, &["--join", "s1.example"]);
    until("it answers", || lab.servers[0].get("/health").is_some());
    let (status, body) = lab.servers[0].get("/health").unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("\"status\":\"failing\"") && body.contains("not part of the network yet"), "{body}");
    lab.start(1, &[]);
    lab.wait_until_joined(0);
    until("it is healthy", || lab.servers[0].get("/health").unwrap().0 == 200);
    let (_, body) = lab.servers[0].get("/health").unwrap();
    assert!(body.contains("\"status\":\"ok\"") && body.contains("\"phase\":\"joined\""), "{body}");
    assert_eq!(lab.servers[0].get("/elsewhere").unwrap().0, 404);
}

#[test]
fn settings_come_from_file_environment_and_flags_in_this_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("home-server.toml");
    std::fs::write(&file, "domain = \"file.example\"\naway_for = \"1m\"\njoin = [\"file.example\"]\n").unwrap();
    let shown = home_server()
        .args(["config", "--config", file.to_str().unwrap(), "--domain", "flag.example"])
        .env("HOME_SERVER_DOMAIN", "environment.example")
        .env("HOME_SERVER_JOIN", "one.example,two.example:7")
        .env("HOME_SERVER_LAB", "1")
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let shown: toml::Table = text(&shown.stdout).parse().unwrap();
    assert_eq!(shown["domain"].as_str(), Some("flag.example"));
    assert_eq!(shown["away_for"].as_str(), Some("1m"));
    assert_eq!(shown["join"].as_array().unwrap().len(), 2);
    assert_eq!((shown["links"]["lab"].as_bool(), shown["node"]["lab"].as_bool()), (Some(true), Some(true)));
}

#[test]
fn what_cannot_be_used_is_said_with_its_place_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("home-server.toml");
    let run = |arguments: &[&str]| {
        let output = home_server().args(arguments).output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };
    let path = file.to_str().unwrap();
    std::fs::write(&file, "lab = true\n\n[links]\nlinks = 5\n").unwrap();
    let (code, error) = run(&["serve", "--config", path]);
    assert!(code == 2 && error.contains(&format!("{path}:4: links: unknown field `links`")), "{error}");
    std::fs::write(&file, "lab = true\n").unwrap();
    for (arguments, code, complaint) in [
        (vec!["serve", "--config", path], 2, "name the data directory with --data"),
        (vec!["serve", "--config", "/nowhere.toml"], 2, "/nowhere.toml cannot be read"),
        (vec!["serve", "--domain", "No.example"], 2, "lower-case letters"),
        (vec!["serve", "--data", path, "--domain", "a.example"], 3, "cannot be used"),
        (vec!["serve", "--log-level", "a=b=c"], 2, "log_level"),
        (vec!["lookup", &"0".repeat(64)], 2, "--join"),
        (vec!["lookup", "ann"], 2, "64 hexadecimal digits"),
        (vec!["lookup", &"0".repeat(64), "--lab", "--join", "127.0.0.1:1"], 4, ""),
    ] {
        let (found, error) = run(&arguments);
        assert!(found == code && error.contains(complaint), "{arguments:?}: {found} {error}");
    }
}
