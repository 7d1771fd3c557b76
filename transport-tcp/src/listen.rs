//! Those who dial this node: let in, proven, and handed on.

use crate::handshake::{Greeted, HandshakeError, dialled, hear_hello, prepare};
use crate::handshakes::Socket;
use crate::inbox::Event;
use crate::shared::{Shared, duration};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

/// How long nobody is let in after the system refused to: it has no open files left, or no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// How many are let in, or refused, before others of this node have their turn: each takes tens of microseconds.
const AT_ONCE: u32 = 4;

/// Lets in who comes, for ever. Meant to be aborted.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    for number in (0..AT_ONCE).cycle() {
        if number == 0 {
            yield_now().await;
        }
        until_open(&shared).await;
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.counters.inbound_failed.one();
                warn!(%error, "a connection could not be taken; check the limit of open files");
                sleep(PAUSE).await;
                continue;
            }
        };
        shared.counters.inbound.one();
        // Another listener may have let somebody in while this one waited for a connection.
        until_open(&shared).await;
        let Some(mut slot) = shared.gate.admit(from.ip(), Instant::now(), &shared.counters) else { continue };
        let number = slot.number();
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let limit = duration(shared.config.handshake_timeout);
                let greeted = timeout(limit, greet(&shared, socket)).await.unwrap_or(Err(HandshakeError::TimedOut));
                match greeted {
                    Ok(greeted) => {
                        slot.prove();
                        let greeted = Greeted { slot: Some(slot), ..greeted };
                        shared.inbox.push(Event::Greeted(Box::new(greeted)));
                    }
                    Err(error) => error.note(&shared.counters),
                }
            }
        });
        shared.gate.attach(number, task.abort_handle());
    }
}

/// Waits until somebody may be let in.
async fn until_open(shared: &Shared) {
    while let Some(wait) = shared.gate.closed_for(Instant::now()) {
        shared.counters.inbound_held_back.one();
        sleep(wait).await;
    }
}

async fn greet(shared: &Shared, socket: TcpStream) -> Result<Greeted, HandshakeError> {
    prepare(&socket, duration(shared.config.write_timeout));
    // Whoever says nothing costs a socket and a task, and no keys.
    socket.readable().await?;
    let (mut stream, grid) = dialled(shared, Socket::new(socket)).await?;
    let contact = hear_hello(shared, &mut stream, grid).await?;
    Ok(Greeted { stream, contact, slot: None })
}
