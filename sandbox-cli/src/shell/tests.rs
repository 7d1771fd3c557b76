use super::*;

/// What a session prints, what it complains of, and how many lines failed.
fn session(shell: &mut Shell, lines: &str) -> (String, String, usize) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let failed = shell.obey(lines.as_bytes(), &mut out, &mut err).unwrap();
    let plain = |bytes: Vec<u8>| anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string();
    (plain(out), plain(err), failed)
}

fn shell(nodes: u32) -> Shell {
    Shell::open(&ShellOptions { seed: 7, nodes, ..ShellOptions::default() }).unwrap()
}

/// The text without what the seed and the protocol decide: ids, times and how many have answered when.
fn masked(text: &str) -> Vec<String> {
    let is_id = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mask = |word: &str| match word {
        id if is_id(id) => "ID".to_owned(),
        id if id.len() == 10 && id.starts_with('(') => "(ID)".to_owned(),
        word => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(mask).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_session_is_text_in_and_text_out() {
    let lines = "# five nodes and a user\nnew 5\n\nregister n3\nkill n3\nroute u1 expected n3\nquit\nnew\n";
    let (out, err, failed) = session(&mut shell(0), lines);
    assert_eq!((err.as_str(), failed), ("", 0));
    let told = masked(&out);
    for (index, line) in told[..5].iter().enumerate() {
        let expected = format!("n{0} ID at n00000{0}.example has joined and knows 4 others", index + 1);
        assert_eq!(*line, expected);
    }
    assert!(told[5].starts_with("u1 (ID) lives at n000003.example: ") && told[5].contains(" of 5 holders keep it"));
    assert_eq!(told[6..8], ["ID", "n3 (ID) is gone"]);
    assert!(told[8].starts_with("u1 (ID) lives at n000003.example: record v1, confirmed by"), "{out}");
    assert!(told[9].starts_with("found as expected after "), "{out}");
    assert!(told[11..].iter().any(|line| line.contains("record v1 at n000003.example")), "{out}");
    assert!(!out.contains("n6"), "nothing is read after quit");
}

#[test]
fn what_fails_is_said_with_its_line_and_the_session_goes_on() {
    let lines = "new 3\nroute u9\nfrobnicate\nrun n1 -1\nremove n1\nregister nowhere\nroute 12345678\ntime\n";
    let (out, err, failed) = session(&mut shell(0), lines);
    assert_eq!(failed, 5, "{err}");
    let complaints: Vec<&str> = err.lines().collect();
    assert!(complaints[0].starts_with("line 2: no user is called \"u9\": write a number such as u1"), "{err}");
    assert!(complaints[1].starts_with("line 3: there is no command \"frobnicate\""), "{err}");
    assert!(complaints[2].starts_with("line 5: n1 (") && complaints[2].ends_with("run it first, or kill it"), "{err}");
    assert!(complaints[3].starts_with("line 6: no node is called \"nowhere\""), "{err}");
    assert!(out.lines().last().unwrap().contains(" s, tick "), "{out}");
}

#[test]
fn a_user_moves_and_closes_the_account_for_good() {
    let mut shell = shell(8);
    let lines = "register n3\nmigrate u1 n5\nroute u1 expected n000005.example via n1, n2\nroute u1 expected n3\n\
                 migrate u1\nclose u1\nroute u1\nmigrate u1\nregister u1 n2\nusers\n";
    let (out, err, failed) = session(&mut shell, lines);
    assert_eq!(failed, 3, "{err}");
    assert!(err.contains("expected n000003.example") && err.contains("wrong after"), "{err}");
    assert_eq!(err.matches("has closed the account, which is for good").count(), 2, "{err}");
    assert!(out.contains("found as expected after") && out.contains("\nclosed after "), "{out}");
    let last = masked(&out).pop().unwrap();
    assert!(last.starts_with("u1 ") && last.contains("closed  v4 acknowledged"), "{last}");
}

#[test]
fn a_guid_without_a_key_is_claimed_and_found() {
    let mut shell = shell(8);
    let guid = "5a".repeat(32);
    let lines =
        format!("route {guid}\nregister {guid} n3\nrun 5s\nroute 5a5a expected n3\nholders 5a5a\nmigrate 5a5a\n");
    let (out, err, failed) = session(&mut shell, &lines);
    assert!(out.contains("nothing is found of 5a5a5a5a") && out.contains("\nabsent after "), "{out}");
    assert!(out.contains("u1 (5a5a5a5a) is claimed to live at n000003.example"), "{out}");
    assert!(out.contains("found as expected after") && out.contains("\nheld by 8 of them\n"), "{out}");
    assert!(failed == 1 && err.contains("the sandbox has no key of u1 (5a5a5a5a)"), "{err}");
}

#[test]
fn the_weather_changes_and_what_is_there_is_shown() {
    let mut shell = shell(6);
    let lines = "partition 1/2\npartition\nnodes\nheal\nloss 0.5%\nrun n2 10\nnode n2\nremove n6\nnodes\nhelp\n";
    let (out, err, failed) = session(&mut shell, lines);
    assert!(failed == 1 && err.contains("\"1/2\" must be a share such as 0.1 or 10%"), "{err}");
    assert!(out.contains("in 2 parts, of 3 | 3 nodes") && out.contains("runs, part 2"), "{out}");
    assert!(out.contains("the network is whole\n0.5 % of all messages are lost"), "{out}");
    assert!(out.contains("n2 (") && out.contains("runs at every 10th tick"), "{out}");
    assert!(out.contains("  knows 5 nodes, of which 5 have answered\n  keeps 0 records of 0 bytes"), "{out}");
    assert!(out.contains(" has left, in ") && out.contains("n000006.example  left\n"), "{out}");
    assert!(out.contains("route GUID [expected DOMAIN] [via NODE…]"), "{out}");
}

#[test]
fn what_was_done_can_be_saved_and_happens_again() {
    let mut first = shell(6);
    let lines = "register n3\ntime\nroute u1\nroute u7\nkill n2\nrun 10s\nregister u1 n4\n";
    assert_eq!(session(&mut first, lines).2, 1);
    let file = std::env::temp_dir().join(format!("shell-{}.txt", std::process::id()));
    session(&mut first, &format!("save {}\n", file.display()));
    let saved = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let (head, rest) = saved.split_once('\n').unwrap();
    assert!(head.starts_with("# sandbox-cli shell --seed 7 --nodes 6 < "), "{head}");
    assert_eq!(rest, "register n3\nroute u1\nkill n2\nrun 10s\nregister u1 n4\n");
    let mut second = shell(6);
    assert_eq!(session(&mut second, &saved).2, 0);
    assert_eq!(second.sandbox.network().digest(), first.sandbox.network().digest());
}

#[test]
fn nobody_can_be_asked_where_nobody_runs() {
    let mut shell = shell(0);
    let (_, err, failed) = session(
        &mut shell,
        "register a.example\nnew\nkill n1 1 n1\nregister a.example\nregister a.example via n1\nnew 2\n",
    );
    assert_eq!(failed, 3, "{err}");
    assert_eq!(err.matches("no node runs: new starts one").count(), 2, "{err}");
    assert!(err.contains("line 5: n1 (") && err.contains(") was killed"), "{err}");
}

#[test]
fn nodes_are_the_servers_of_a_list_as_long_as_there_are_some() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let servers = Some(root.join("data/federation.csv"));
    let mut shell = Shell::open(&ShellOptions { nodes: 3, servers, ..ShellOptions::default() }).unwrap();
    let first = shell.sandbox.members()[0].domain.clone();
    let (out, err, _) = session(&mut shell, &format!("register {first}\nroute u1 expected {first}\n"));
    assert!(out.contains(&format!("lives at {first}: record v1")), "{out}{err}");
}
