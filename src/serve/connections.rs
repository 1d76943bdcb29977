//! The connections of the server: only so many at once, and none that says nothing for long.
//!
//! Whoever can reach the port must not be able to take the process's file descriptors, which store and broker need too.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// What a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Connections at once; the next one waits until one has ended.
    pub(super) connections: usize,
    /// How long one may neither send nor take anything.
    pub(super) silence: Duration,
}

impl Default for Allowed {
    fn default() -> Allowed {
        // Far more than the Prometheus servers and probes of one process, and longer than the time between two scrapes.
        Allowed { connections: 256, silence: Duration::from_secs(90) }
    }
}

/// Accepts as many connections as are allowed.
pub(super) struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
    silence: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, allowed: Allowed) -> Bounded {
        Bounded { listener, free: Arc::new(Semaphore::new(allowed.connections)), silence: allowed.silence }
    }
}

impl Listener for Bounded {
    type Io = Heard;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Heard, SocketAddr) {
        // The semaphore is never closed; were it, connections would only not be counted.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        // axum's own listener passes over what fails and waits where descriptors are short.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Heard { stream, silence: self.silence, due: Box::pin(sleep(self.silence)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself when nothing is heard of it.
pub(super) struct Heard {
    stream: TcpStream,
    silence: Duration,
    due: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Heard {
    /// What the stream says; an error instead of waiting once it has been silent for too long.
    fn unless_silent<T>(&mut self, context: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match said {
            Poll::Ready(said) => {
                self.due.as_mut().reset(Instant::now() + self.silence);
                Poll::Ready(said)
            }
            Poll::Pending => match self.due.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_read(context, into);
        self.unless_silent(context, said)
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_silent(context, said)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
