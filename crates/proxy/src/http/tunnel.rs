//! One HTTP/2 stream used as a byte stream: the two ends of an HBONE tunnel. Half-close is END_STREAM, a reset is RST_STREAM,
//! and flow-control credit is given back only as bytes are used.
//!
//! Source: RFC 9113 section 8.5 (CONNECT); HBONE is Istio's name for CONNECT over HTTP/2 over mutual TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use conduit_logic::http2::fields::Fields;
use conduit_logic::http2::wire::Code;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::trunk::Trunk;
use super::trunk::bypass::Way;
use crate::tcp::alive::Alive;

/// A stream of bytes inside an HTTP/2 connection. Dropped before both directions have ended it is reset.
#[derive(Debug)]
pub struct Tunnel {
    trunk: Arc<Trunk>,
    stream: u32,
    closed: bool,
    /// Taken and not yet read.
    ahead: Bytes,
    /// Taken and not yet gone on.
    taken: usize,
    /// The peer offers a connection of its own.
    offered: bool,
    watch: Option<Box<Watch>>,
    own: Option<Box<Own>>,
    /// What the trunk counted when it was asked for that last.
    asked: usize,
}

/// So much within [`MUCH_TIME`] is worth a handshake, and the memory that a TLS connection takes while it moves: 32 Mbit/s.
const MUCH_BYTES: usize = 4 * 1024 * 1024;
/// See [`MUCH_BYTES`].
const MUCH_TIME: Duration = Duration::from_secs(1);

/// What is done when a tunnel moves a lot: it is given the trunk and the stream. False when it can not be done now.
pub type Much = Box<dyn Fn(Arc<Trunk>, u32) -> bool + Send + Sync>;

/// Looks how much the tunnel moves.
struct Watch {
    moved: usize,
    since: Instant,
    much: Much,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("moved", &self.moved).finish_non_exhaustive()
    }
}

/// The connection of its own that the tunnel goes on over. Writes do at once, reads when the stream has ended.
#[derive(Debug)]
struct Own {
    way: Way,
    reading: bool,
    alive: Alive,
}

impl Own {
    fn new(way: Way) -> Self {
        let alive = Alive::new(way.unacknowledged);
        Self { way, reading: false, alive }
    }

    /// An error when the peer has vanished.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(socket) = self.way.io.socket()
            && let Poll::Ready(error) = self.alive.poll(cx, socket)
        {
            return Err(error);
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.way.io).poll_read(cx, buf);
        if read.is_pending() {
            self.look(cx)?;
        }
        read
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.way.io).poll_write(cx, buf);
        self.alive.sent();
        if written.is_pending() {
            self.look(cx)?;
        }
        written
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.way.io).poll_flush(cx);
        self.look(cx)?;
        flushed
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let told = Pin::new(&mut self.way.io).poll_shutdown(cx);
        self.alive.sent();
        self.look(cx)?;
        told
    }
}

impl Tunnel {
    /// The tunnel on a stream of `trunk`.
    pub(super) const fn new(trunk: Arc<Trunk>, stream: u32) -> Self {
        Self {
            trunk,
            stream,
            closed: false,
            ahead: Bytes::new(),
            taken: 0,
            offered: false,
            watch: None,
            own: None,
            asked: 0,
        }
    }

    /// Waits for the peer's answer, and gives its status.
    ///
    /// # Errors
    /// When there is none.
    pub async fn status(&mut self) -> io::Result<u16> {
        let (status, offered) = std::future::poll_fn(|cx| self.trunk.poll_status(self.stream, cx)).await?;
        self.offered = offered;
        Ok(status)
    }

    /// Has `much` done when the tunnel moves a lot, if its peer offers it a connection of its own.
    pub fn when_much(&mut self, much: Much) {
        if self.offered {
            self.watch = Some(Box::new(Watch { moved: 0, since: Instant::now(), much }));
        }
    }

    fn moved(&mut self, bytes: usize) {
        let Some(watch) = &mut self.watch else { return };
        watch.moved += bytes;
        if watch.moved < MUCH_BYTES {
            return;
        }
        if watch.since.elapsed() <= MUCH_TIME && (watch.much)(self.trunk.clone(), self.stream) {
            self.watch = None;
        } else {
            (watch.moved, watch.since) = (0, Instant::now());
        }
    }

    /// Goes over to the connection of its own, when there is one.
    fn go_over(&mut self) {
        let bypasses = self.trunk.bypasses();
        if self.own.is_none() && self.asked != bypasses {
            self.asked = bypasses;
            self.own = self.trunk.take_bypass(self.stream).map(|way| Box::new(Own::new(way)));
        }
    }

    /// Whether what comes next comes over the connection of its own.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.reading)
    }

    /// The socket of its own connection, if it has one.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        self.own.as_ref()?.way.io.socket()
    }

    /// Answers whoever asked for it; with `end` there is nothing else to say.
    pub fn answer(&mut self, head: &Fields, end: bool) {
        self.closed = end;
        self.trunk.send_head(self.stream, head, end);
    }

    /// Whether what goes through it may have to wait for slow readers of others.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        self.own.is_none() && self.trunk.is_clogged()
    }

    /// Takes what came, as much as any read gives; nothing means the end, or if [`Tunnel::is_over`] then, that more comes where it is
    /// read. [`Tunnel::release`] when it has gone on.
    ///
    /// # Errors
    /// When the tunnel was reset.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        self.go_over();
        let came = ready!(self.trunk.poll_take(self.stream, cx))?;
        if let Some(own) = &mut self.own
            && came.is_empty()
        {
            own.reading = true;
        }
        self.taken += came.len();
        self.moved(came.len());
        Poll::Ready(Ok(came))
    }

    /// All that was taken has gone on: the peer may send as much again.
    pub fn release(&mut self) {
        if self.taken > 0 {
            self.trunk.release(self.stream, std::mem::take(&mut self.taken));
        }
    }

    /// Ends both directions at once, as a TCP reset would.
    pub fn reset(&mut self) {
        self.closed = true;
        self.trunk.close(self.stream, Code::CANCEL);
        // A connection of its own ends without close_notify, if that was not said before.
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Whoever has said all that there is to say may leave before the other side has: it needs not go on.
        let code = if self.closed { Code::NO_ERROR } else { Code::CANCEL };
        self.trunk.close(self.stream, code);
    }
}

/// For whoever reads with a buffer of his own; see [`Tunnel::poll_take`].
impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && !self.is_over() {
            self.ahead = ready!(self.poll_take(cx))?.into();
            self.release();
        }
        if let Some(own) = self.own.as_mut().filter(|own| own.reading) {
            return own.poll_read(cx, buf);
        }
        let bytes = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.go_over();
        if let Some(own) = &mut self.own {
            return own.poll_write(cx, buf);
        }
        let written = ready!(self.trunk.poll_write(self.stream, cx, buf))?;
        self.moved(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.go_over();
        if !self.is_over() {
            ready!(self.trunk.poll_flush(self.stream, cx))?;
        }
        self.own.as_mut().map_or(Poll::Ready(Ok(())), |own| own.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.go_over();
        self.closed = true;
        let this = &mut *self;
        match &mut this.own {
            None => this.trunk.poll_finish(this.stream, cx),
            Some(own) => {
                // What was sent before this connection was there is still on its way, perhaps.
                ready!(this.trunk.poll_gone(this.stream, cx))?;
                own.poll_shutdown(cx)
            }
        }
    }
}
