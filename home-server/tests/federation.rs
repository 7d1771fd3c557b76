//! A few servers as processes: what their operators and users do with them.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Lab, text};

#[test]
fn servers_join_and_users_register_are_found_and_move() {
    let lab = Lab::joined(3);
    let key = lab.path("ann.key");
    let register = |home: &str| {
        let placed = lab.run(&["register", "--json", "--key", key.to_str().unwrap(), "--home", home]);
        assert_eq!(placed.status.code(), Some(0), "{}{}", text(&placed.stdout), text(&placed.stderr));
        let placed: serde_json::Value = serde_json::from_slice(&placed.stdout).unwrap();
        assert_eq!((&placed["is_acknowledged"], &placed["holders"]), (&true.into(), &3.into()));
        placed["guid"].as_str().unwrap().to_owned()
    };
    let guid = register("s1.example");
    assert_eq!(register("s1.example"), guid, "again changes nothing");
    let lookup = |level: &str| {
        let found = lab.run(&["lookup", &guid, "--json", "--consistency", level]);
        assert_eq!(found.status.code(), Some(0), "{}{}", text(&found.stdout), text(&found.stderr));
        let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        found
    };
    let found = lookup("confirmed");
    assert_eq!((&found["home"], &found["version"]), (&"s1.example".into(), &1.into()));
    assert_eq!((&found["is_settled"], &found["is_confirmed"]), (&true.into(), &true.into()), "{found}");
    assert_eq!(register("s2.example"), guid);
    let found = lookup("all");
    assert_eq!((&found["home"], &found["version"]), (&"s2.example".into(), &2.into()));

    let shown = lab.run(&["lookup", &guid, "--consistency", "all"]);
    assert!(text(&shown.stdout).starts_with("s2.example\n  confirmed by 3 holders"), "{}", text(&shown.stdout));
    // On a busy machine too few may answer in time, which says nothing about the user.
    let mut nobody = None;
    common::until("enough of them answer", || {
        let found = nobody.insert(lab.run(&["lookup", &"0".repeat(64)]));
        found.status.code() != Some(4)
    });
    let nobody = nobody.unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stdout).starts_with("absent"), "{}", text(&nobody.stdout));
}

#[test]
fn a_server_that_was_killed_comes_back_as_itself_with_its_records_and_nobody_to_join_but_those_it_knew() {
    let mut lab = Lab::joined(3);
    let key = lab.path("ann.key");
    let placed = lab.run(&["register", "--json", "--key", key.to_str().unwrap(), "--home", "s0.example"]);
    let placed: serde_json::Value = serde_json::from_slice(&placed.stdout).unwrap();
    let guid = placed["guid"].as_str().unwrap();
    common::until("all hold the record", || {
        lab.servers.iter().all(|server| server.metrics().is_some_and(|all| all["records"] == 1.0))
    });
    // The first of them, too, which had nobody to join.
    common::until("all remember the others", || {
        lab.servers.iter().all(|server| server.metrics().is_some_and(|all| all["contacts_remembered"] == 2.0))
    });
    for index in 0..3 {
        lab.kill(index);
    }
    for index in 0..3 {
        lab.start(index, &[]);
    }
    for index in 0..3 {
        lab.wait_until_joined(index);
        let server = &lab.servers[index];
        assert_eq!(server.metrics().unwrap()["records"], 1.0, "{}", server.domain);
        // It may have joined through one of the others before it meets the second.
        common::until("it knows both others", || server.metrics().is_some_and(|all| all["contacts"] == 2.0));
        let grids = server.grids();
        assert_eq!((grids.len(), &grids[0]), (2, &grids[1]));
    }
    let found = lab.run(&["lookup", guid]);
    assert!(text(&found.stdout).starts_with("s0.example"), "{}{}", text(&found.stdout), text(&found.stderr));
}
