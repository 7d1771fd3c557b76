//! The administrator's port: `/health` and `/metrics`, over plain HTTP. Nothing can be changed through it.

use crate::status::{Snapshot, Status};
use crate::store::Store;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use routing_core::driver::NodeHandle;
use routing_core::effect::Consistency;
use routing_core::id::{Guid, Id, Key};
use routing_core::state::{Phase, Verdict};
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tracing::{debug, warn};
use transport_tcp::TcpHandle;

/// How many connections may be open at once; more wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to send a request, and to send the next one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a report is told again, so that polling often costs nothing.
const HEALTH_AGE_MAX: Duration = Duration::from_secs(5);
/// How long a lookup may take whose answer counts as healthy. Half of what callers usually wait for.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// What the port tells of.
#[derive(Debug)]
pub struct Admin {
    /// How the node answers.
    pub health: Health,
    /// How it is.
    pub status: Status,
    /// Its links.
    pub links: TcpHandle,
    /// Its store.
    pub store: Arc<Store>,
}

/// Serves until the listener fails, which it does not by itself.
pub async fn serve(listener: TcpListener, admin: Admin) {
    let routes =
        Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(Arc::new(admin));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "no connection can be taken at the administrator's port");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // Beyond the slowest answer: a client that takes none must not keep its place.
            if let Ok(Err(error)) = tokio::time::timeout(REQUEST_TIMEOUT * 6, served).await {
                debug!(%error, "administrator's port");
            }
            drop(place);
        });
    }
}

async fn health(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let report = admin.health.report().await;
    let status = if report.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let json = serde_json::to_string(&report).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], json + "\n")
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition(&admin))
}

/// Whether a random user far away can be looked up: what a server is here for.
#[derive(Debug)]
pub struct Health {
    handle: NodeHandle,
    status: Status,
    /// The last report and when it was made. Held while a new one is made, so that there is one lookup at a time.
    last: Mutex<Option<(Instant, Report)>>,
}

/// Whether the node can do what it is here for, and if not, why.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `ok` or `failing`.
    pub status: &'static str,
    /// What is wrong and what to do, if something is.
    pub why: Option<&'static str>,
    /// Where the node is in its life.
    pub phase: &'static str,
    /// How many contacts it knows.
    pub contacts: usize,
    /// How many round trips the lookup took.
    pub round_trips: Option<u8>,
    /// How long it took, in milliseconds.
    pub lookup_ms: u64,
    /// How old this report is, in milliseconds.
    pub age_ms: u64,
}

impl Report {
    fn is_healthy(&self) -> bool {
        self.why.is_none()
    }
}

impl Health {
    /// The health of the node behind `handle`.
    pub fn new(handle: NodeHandle, status: Status) -> Self {
        Self { handle, status, last: Mutex::new(None) }
    }

    /// A report, at most some seconds old.
    pub async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        match &*last {
            Some((made, report)) if made.elapsed() < HEALTH_AGE_MAX => {
                Report { age_ms: made.elapsed().as_millis() as u64, ..report.clone() }
            }
            _ => {
                let report = self.look().await;
                last.insert((Instant::now(), report)).1.clone()
            }
        }
    }

    async fn look(&self) -> Report {
        let Snapshot { phase, contacts, .. } = self.status.snapshot();
        let began = Instant::now();
        let (why, round_trips) = match phase {
            Phase::Joined => self.look_up_somebody().await,
            Phase::Departed => (Some("the node has stopped"), None),
            Phase::Outside | Phase::Joining => {
                (Some("not part of the network yet: see the log for who was asked, and name others with --join"), None)
            }
        };
        Report {
            status: if why.is_none() { "ok" } else { "failing" },
            why,
            phase: name(phase),
            contacts,
            round_trips,
            lookup_ms: began.elapsed().as_millis() as u64,
            age_ms: 0,
        }
    }

    async fn look_up_somebody(&self) -> (Option<&'static str>, Option<u8>) {
        let mut id = [0; 32];
        if getrandom::fill(&mut id).is_err() {
            return (Some("the system gives no random bytes"), None);
        }
        let lookup = self.handle.lookup(Key::from(Guid(Id(id))), Consistency::Quorum);
        match tokio::time::timeout(LOOKUP_MAX, lookup).await {
            Ok(Ok(answer)) if answer.is_settled && answer.verdict != Verdict::Unreachable => {
                (None, Some(answer.round_trips))
            }
            Ok(Ok(answer)) => {
                (Some("too few holders answer: many nodes are down, or this one is cut off"), Some(answer.round_trips))
            }
            Ok(Err(_)) => (Some("the node takes no lookups: it is stopping, or has too many under way"), None),
            Err(_) => (Some("a lookup takes longer than 5s: the machine or its network is overloaded"), None),
        }
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Outside => "outside",
        Phase::Joining => "joining",
        Phase::Joined => "joined",
        Phase::Departed => "departed",
    }
}

/// Everything that is counted, as Prometheus reads it. All of it is numbers under fixed names: there is nothing to escape
/// that a library would help with.
fn exposition(admin: &Admin) -> String {
    let mut text = String::with_capacity(8 << 10);
    let mut metric = |kind: &str, name: &str, help: &str, value: f64| {
        let kept = if help.is_empty() { Ok(()) } else { writeln!(text, "# HELP home_server_{name} {help}.") };
        // Writing into a text does not fail.
        let _ = kept.and_then(|()| writeln!(text, "# TYPE home_server_{name} {kind}\nhome_server_{name} {value}"));
    };
    let node = admin.status.snapshot();
    let stage = [Phase::Outside, Phase::Joining, Phase::Joined, Phase::Departed].iter().position(|p| *p == node.phase);
    let stage = stage.unwrap_or_default() as f64;
    metric("gauge", "phase", "0 outside, 1 joining, 2 joined, 3 departed", stage);
    metric("gauge", "settled", "1 if what this node says of its records counts", f64::from(u8::from(node.is_settled)));
    metric("gauge", "contacts", "Nodes known", node.contacts as f64);
    metric("gauge", "neighbours", "Nodes known that have answered", node.neighbours as f64);
    let remembered = admin.store.remembered() as f64;
    metric("gauge", "contacts_remembered", "Nodes to begin with after a restart, on disk", remembered);
    metric("gauge", "records", "Records held", node.records as f64);
    metric("gauge", "record_bytes", "Bytes of these, encoded", node.record_bytes as f64);
    metric("gauge", "users", "Users who live here", node.users as f64);
    metric("gauge", "operations", "Operations under way", node.operations as f64);
    let moved = admin.status.records_moved() as f64;
    metric("counter", "records_moved_total", "Copies given to others outside of operations", moved);
    let (commits, micros, last_ms) = admin.store.commits();
    metric("counter", "commits_total", "Durable transactions", commits as f64);
    metric("counter", "commit_seconds_total", "Time spent on these", micros as f64 / 1e6);
    metric("gauge", "last_commit_timestamp_seconds", "When the last one ended", last_ms as f64 / 1e3);
    let stats = node.stats;
    for (name, help, value) in [
        ("contacts_invalid_total", "Cards whose signature did not hold", stats.contacts_invalid),
        ("records_invalid_total", "Records that were not valid", stats.records_invalid),
        ("peers_misbehaved_total", "Answers that no honest peer gives", stats.peers_misbehaved),
        ("answers_unexpected_total", "Answers to nothing asked, or too late", stats.answers_unexpected),
        ("requests_expired_total", "Requests left unanswered", stats.requests_expired),
    ] {
        metric("counter", name, help, value as f64);
    }
    for (name, value) in admin.links.stats().iter() {
        match name.strip_suffix("_now") {
            Some(name) => metric("gauge", &format!("tcp_{name}"), "", value as f64),
            None => metric("counter", &format!("tcp_{name}_total"), "", value as f64),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use routing_core::connection::Connection;
    use routing_core::driver::RoutingNode;
    use routing_core::effect::Target;
    use routing_core::heard::Heard;
    use routing_core::id::Grid;
    use routing_core::key::SecretKey;
    use routing_core::message::Message;
    use routing_core::state::NodeState;
    use std::convert::Infallible;

    /// A network in which nobody is.
    struct Nobody;

    #[async_trait]
    impl Connection for Nobody {
        type Error = Infallible;

        async fn request(&mut self, _: &Target) -> Result<(), Infallible> {
            Ok(())
        }

        async fn accept(&mut self, _: Grid) -> Result<(), Infallible> {
            Ok(())
        }

        async fn send(&mut self, _: Grid, _: Message) -> Result<(), Infallible> {
            Ok(())
        }

        async fn close(&mut self, _: Grid) -> Result<(), Infallible> {
            Ok(())
        }

        async fn listen(&mut self, _: &mut Vec<Heard>) -> Result<(), Infallible> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_that_took_long_is_told_again_as_long_as_any_other() {
        let secret = Arc::new(SecretKey::from_seed([1; 32]));
        let state = NodeState::node(secret, "a.example".parse().unwrap(), Arc::default(), 1);
        let mut node = RoutingNode::new(state, Nobody);
        let (handle, status) = (node.handle(), Status::new(node.state()));
        let joins = async {
            while status.snapshot().phase != Phase::Joined {
                node.step().await.unwrap();
                status.note(node.state());
            }
        };
        let (joined, ()) = tokio::join!(handle.join(Vec::new()), joins);
        joined.unwrap();

        // From here on it does nothing, as on a machine that is overloaded.
        let health = Health::new(handle, status);
        let began = Instant::now();
        assert!(health.report().await.why.unwrap().contains("longer than 5s"));
        assert_eq!(began.elapsed(), LOOKUP_MAX);
        tokio::time::advance(HEALTH_AGE_MAX - Duration::from_secs(1)).await;
        assert_eq!(health.report().await.age_ms, 4_000);
        assert_eq!(began.elapsed(), LOOKUP_MAX + HEALTH_AGE_MAX - Duration::from_secs(1), "nobody was looked up again");
    }
}
