//! Servers as real processes, all on the loopback, at an address that no other test has and ports that the system chose.

#![allow(dead_code, reason = "each file of tests uses a part")]

use home_server::client::Client;
use home_server::config::{CommonOptions, Config, ServerOptions};
use routing_core::account::Account;
use routing_core::record::Record;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// When a test counts as stuck. No test depends on how long anything takes.
const STUCK: Duration = Duration::from_secs(120);

/// A federation of processes. Dropped, all of them are killed; if the test failed, what they logged is printed.
pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) servers: Vec<Server>,
}

pub(crate) struct Server {
    pub(crate) domain: String,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) data: PathBuf,
    child: Option<Child>,
    log: PathBuf,
}

impl Lab {
    /// So many servers, none of which runs yet.
    pub(crate) fn new(count: usize) -> Self {
        static LABS: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, high.clamp(1, 254), low, LABS.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        // All bound at once, so that no port is given twice.
        let places: Vec<TcpListener> = (0..2 * count).map(|_| TcpListener::bind((ip, 0)).unwrap()).collect();
        let at = |index: usize| places[index].local_addr().unwrap();
        let servers: Vec<Server> = (0..count)
            .map(|index| Server {
                domain: format!("s{index}.example"),
                listen: at(2 * index),
                admin: at(2 * index + 1),
                data: dir.path().join(format!("s{index}")),
                child: None,
                log: dir.path().join(format!("s{index}.log")),
            })
            .collect();
        let mut hosts = String::new();
        for server in &servers {
            writeln!(hosts, "{} {}", server.listen, server.domain).unwrap();
        }
        std::fs::write(dir.path().join("hosts"), hosts).unwrap();
        Self { dir, servers }
    }

    /// The same, running and joined: the first one alone, the others through it.
    pub(crate) fn joined(count: usize) -> Self {
        let mut lab = Self::new(count);
        lab.start(0, &[]);
        lab.wait_until_joined(0);
        for index in 1..count {
            lab.start(index, &["--join", "s0.example"]);
        }
        for index in 1..count {
            lab.wait_until_joined(index);
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn hosts(&self) -> PathBuf {
        self.path("hosts")
    }

    /// Starts a server that is not running.
    pub(crate) fn start(&mut self, index: usize, more: &[&str]) {
        let log = File::options().create(true).append(true).open(&self.servers[index].log).unwrap();
        self.start_with_log(index, more, log);
    }

    /// The same, with its log going elsewhere.
    pub(crate) fn start_with_log(&mut self, index: usize, more: &[&str], log: File) {
        let hosts = self.hosts();
        let server = &mut self.servers[index];
        assert!(server.child.is_none(), "{} runs already", server.domain);
        let mut command = home_server();
        command.arg("serve").args(server.options(&hosts)).args(more);
        server.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Waits until a server is part of the network, and what it says counts.
    pub(crate) fn wait_until_joined(&self, index: usize) {
        let server = &self.servers[index];
        until(&format!("{} has joined", server.domain), || {
            server.metrics().is_some_and(|all| all["phase"] == 2.0 && all["settled"] == 1.0)
        });
    }

    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.servers[index].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks a server to stop, as a service manager does, and waits for its end.
    pub(crate) fn stop(&mut self, index: usize) -> ExitStatus {
        self.servers[index].signal("-TERM");
        self.servers[index].wait()
    }

    /// Runs a command of a server that is not running, to its end.
    pub(crate) fn run_server(&self, command: &str, index: usize, more: &[&str]) -> Output {
        home_server().arg(command).args(self.servers[index].options(&self.hosts())).args(more).output().unwrap()
    }

    /// Runs a client's command to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        let join = self.servers.iter().map(|server| server.domain.as_str()).collect::<Vec<_>>().join(",");
        let hosts = self.hosts();
        home_server()
            .args(command)
            .args(["--lab", "--join", &join, "--hosts", hosts.to_str().unwrap()])
            .output()
            .unwrap()
    }

    /// A client in this process that begins at all servers.
    pub(crate) fn client(&self) -> Client {
        Client::open(&self.client_config()).unwrap()
    }

    pub(crate) fn client_config(&self) -> Config {
        let join = self.servers.iter().map(|server| server.domain.parse().unwrap()).collect();
        let common = CommonOptions { join, hosts: Some(self.hosts()), lab: true, ..CommonOptions::default() };
        Config::read(&common, &ServerOptions::default()).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for index in 0..self.servers.len() {
            self.kill(index);
            if std::thread::panicking() {
                let log = std::fs::read_to_string(&self.servers[index].log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("== {}", self.servers[index].domain);
                lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

impl Server {
    fn options(&self, hosts: &Path) -> Vec<String> {
        let options = [
            "--data",
            self.data.to_str().unwrap(),
            "--domain",
            &self.domain,
            "--listen",
            &self.listen.to_string(),
            "--admin",
            &self.admin.to_string(),
            "--hosts",
            hosts.to_str().unwrap(),
            "--lab",
        ];
        options.map(str::to_owned).to_vec()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// What the administrator's port answers: the status and the body; nothing while it does not run.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.domain).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// All metrics by name, without the prefix that all have.
    pub(crate) fn metrics(&self) -> Option<BTreeMap<String, f64>> {
        let (200, text) = self.get("/metrics")? else { return None };
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.split_once(' ').unwrap();
            (name.strip_prefix("home_server_").unwrap().to_owned(), value.parse().unwrap())
        });
        Some(samples.collect())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The ids under which it has started, in order.
    pub(crate) fn grids(&self) -> Vec<String> {
        let log = self.log();
        let starts = log.lines().filter(|line| line.contains("starting grid="));
        starts.map(|line| line.split("grid=").nth(1).unwrap().split(' ').next().unwrap().to_owned()).collect()
    }
}

pub(crate) fn home_server() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_home-server"));
    // What the developer has set is no business of a test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOME_SERVER_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < STUCK, "stuck: {what} does not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An account whose keys follow from a number.
pub(crate) fn account(number: u64) -> Account {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    Account::new(seed, None, [0; 16])
}

pub(crate) fn place(account: &mut Account, home: &str) -> Arc<Record> {
    Arc::new(account.place(home.parse().unwrap(), 0))
}
