//! One dial: from a target to a link that has proven who is there, or to the reason why there is none.

use crate::handshake::{Greeted, HandshakeError, dialling, hear_hello, prepare};
use crate::handshakes::Socket;
use crate::ledger::Leave;
use crate::outbox::Outbox;
use crate::resolve::{Resolver, Unresolved, sockets};
use crate::shared::{Shared, duration};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use routing_core::effect::Target;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// For so long a dial waits until its address may be dialled again, instead of failing at once. Whoever asks again right after a
/// failure wants to know whether the peer is there by now; to be told the first failure once more would count it twice.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names one dial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct DialId(pub(crate) u64);

/// Why a dial brought no link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DialError {
    /// Nobody answered there in time, or nobody who speaks as we do; or it must not be tried.
    Unreachable,
    /// Somebody else is there.
    OtherNode,
}

/// Dials `target`; what waits in `outbox` leaves as soon as it is proven to be there. Whether it is a stranger, [`Known`] says.
///
/// [`Known`]: crate::known::Known
pub(crate) async fn dial(
    shared: &Shared,
    resolver: &dyn Resolver,
    target: &Target,
    is_stranger: bool,
    outbox: Option<&Arc<Outbox>>,
) -> Result<Box<Greeted>, DialError> {
    let counters = &shared.counters;
    counters.dials.one();
    let attempt = attempt(shared, resolver, target, is_stranger, outbox);
    match timeout(duration(shared.config.dial_timeout), attempt).await {
        Ok(result) => result,
        Err(_) => {
            counters.dials_unanswered.one();
            Err(DialError::Unreachable)
        }
    }
}

async fn attempt(
    shared: &Shared,
    resolver: &dyn Resolver,
    target: &Target,
    is_stranger: bool,
    outbox: Option<&Arc<Outbox>>,
) -> Result<Box<Greeted>, DialError> {
    let (config, counters) = (&shared.config, &shared.counters);
    let found = {
        let _share = match is_stranger {
            true => Some(shared.resolves_of_strangers.acquire().await.map_err(|_| DialError::Unreachable)?),
            false => None,
        };
        let _leave = shared.resolves.acquire().await.map_err(|_| DialError::Unreachable)?;
        sockets(resolver, &target.address, config.port, config.lab, config.dial_addresses_max as usize).await
    };
    let found = found.map_err(|unresolved| {
        match unresolved {
            Unresolved::Forbidden => counters.dials_forbidden.one(),
            Unresolved::Unknown => counters.names_unresolved.one(),
        }
        DialError::Unreachable
    })?;
    let ask = || shared.ledger.ask(&found, target.grid, Instant::now());
    let leave = match ask() {
        Err(Some(opens)) if opens < Instant::now() + PATIENCE => {
            sleep_until(opens).await;
            ask()
        }
        asked => asked,
    };
    let mut leave = leave.map_err(|_| {
        counters.dials_held_back.one();
        DialError::Unreachable
    })?;
    let (index, socket) = connect(shared, &mut leave).await.ok_or_else(|| {
        counters.dials_unanswered.one();
        DialError::Unreachable
    })?;
    prepare(&socket, duration(config.write_timeout));
    match greet(shared, socket, target, outbox).await {
        Ok(greeted) => {
            leave.reached(index);
            Ok(Box::new(greeted))
        }
        Err(HandshakeError::OtherNode(grid)) => {
            counters.dials_other_node.one();
            // Nobody wants a node from itself.
            if grid != shared.grid {
                leave.found(index, grid);
            }
            Err(DialError::OtherNode)
        }
        Err(error) => {
            error.note(counters);
            Err(DialError::Unreachable)
        }
    }
}

/// Connects to the addresses one after the other, a little apart, until one takes the connection.
async fn connect(shared: &Shared, leave: &mut Leave) -> Option<(usize, TcpStream)> {
    let stagger = duration(shared.config.dial_stagger);
    let mut attempts = FuturesUnordered::new();
    loop {
        if let Some((index, socket)) = leave.next() {
            attempts.push(async move { (index, TcpStream::connect(socket).await) });
        }
        tokio::select! {
            ended = attempts.next() => match ended {
                Some((index, Ok(stream))) => return Some((index, stream)),
                Some((_, Err(_))) if leave.has_more() || !attempts.is_empty() => {}
                _ => return None,
            },
            () = sleep(stagger), if leave.has_more() => {}
        }
    }
}

async fn greet(
    shared: &Shared,
    socket: TcpStream,
    target: &Target,
    outbox: Option<&Arc<Outbox>>,
) -> Result<Greeted, HandshakeError> {
    let (mut stream, grid) = dialling(shared, Socket::new(socket), target.grid).await?;
    if let Some(outbox) = outbox {
        let held = outbox.take_held();
        shared.count_out(held.count, held.frames.len());
        stream.write_all(&held.frames).await?;
        stream.flush().await?;
    }
    let contact = hear_hello(shared, &mut stream, grid).await?;
    Ok(Greeted { stream, contact, slot: None })
}
