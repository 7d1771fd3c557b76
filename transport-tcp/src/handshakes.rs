//! Where handshakes are made: on the runtime that everything else runs on, or on a thread of their own.
//!
//! A handshake is a quarter of a millisecond of arithmetic, for which everybody waits who shares a thread with it. On a thread
//! of its own it waits for them instead, since the system prefers threads that seldom want to run. There is all that comes
//! before a link: listening, dialling, TLS, the hello. A link itself is the caller's runtime's, and its socket moves there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How nice the thread is to others. At 0 the system lets it finish what it has begun, a quarter of a millisecond.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NICE: i32 = 15;

/// Runs what comes before a link. Dropped, it ends what its own thread still does.
#[derive(Debug)]
pub(crate) enum Handshakes {
    /// On the caller's runtime.
    Here,
    /// On a thread, which goes when the sender does.
    Apart(Handle, #[expect(dead_code, reason = "its drop is what counts")] oneshot::Sender<()>),
}

impl Handshakes {
    /// Starts a thread, if there is to be one.
    pub(crate) fn new(is_apart: bool) -> io::Result<Self> {
        if !is_apart {
            return Ok(Self::Here);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        let run = move || {
            step_back();
            // That the sender is gone is what it waits for.
            runtime.block_on(async { drop(ended.await) });
        };
        thread::Builder::new().name("handshakes".to_owned()).spawn(run)?;
        Ok(Self::Apart(handle, alive))
    }

    /// The same listener, so that it is this thread that hears of who comes.
    pub(crate) fn adopt(&self, listener: TcpListener) -> io::Result<TcpListener> {
        match self {
            Self::Here => Ok(listener),
            Self::Apart(handle, _) => {
                let listener = listener.into_std()?;
                let _entered = handle.enter();
                TcpListener::from_std(listener)
            }
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match self {
            Self::Here => tokio::spawn(task),
            Self::Apart(handle, _) => handle.spawn(task),
        }
    }
}

/// Lets other threads go first. Where all of them are busy, this one still gets a thirtieth of a core: a hundred handshakes a
/// second.
fn step_back() {
    // Only here is a priority a thread's own. Where the system refuses, handshakes are in nobody's way who has another core.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "handshakes have the priority of everything else");
    }
}

/// A connection that one runtime begins with and another goes on with.
#[derive(Debug)]
pub(crate) struct Socket(Option<TcpStream>);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    /// Goes on with the runtime that this is called on. An error is the end of the connection.
    pub(crate) fn move_here(&mut self) -> io::Result<()> {
        if let Some(stream) = self.0.take() {
            self.0 = Some(TcpStream::from_std(stream.into_std()?)?);
        }
        Ok(())
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_socket_that_moves_loses_nothing_of_what_came_before_or_comes_after() {
        let apart = Handshakes::new(true).unwrap();
        let listener = apart.adopt(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, moved) = oneshot::channel();
        apart.spawn(async move {
            let mut socket = Socket::new(listener.accept().await.unwrap().0);
            let mut first = [0; 2];
            socket.read_exact(&mut first).await.unwrap();
            sender.send((socket, first, thread::current().name().map(str::to_owned))).unwrap();
        });
        let mut dialler = TcpStream::connect(address).await.unwrap();
        dialler.write_all(b"abcd").await.unwrap();
        let (mut socket, first, thread) = moved.await.unwrap();
        assert_eq!((&first, thread.as_deref()), (b"ab", Some("handshakes")));
        drop(apart);
        socket.move_here().unwrap();
        dialler.write_all(b"ef").await.unwrap();
        let mut rest = [0; 4];
        socket.read_exact(&mut rest).await.unwrap();
        socket.write_all(b"g").await.unwrap();
        assert_eq!((&rest, dialler.read_u8().await.unwrap()), (b"cdef", b'g'));
    }

    #[tokio::test]
    async fn what_is_under_way_ends_with_its_thread() {
        let apart = Handshakes::new(true).unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        apart.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(apart);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), dropped).await;
        assert!(ended.expect("it goes on without its thread's owner").is_err());
    }
}
