//! One HTTP/2 stream used as a byte stream: the two ends of an HBONE tunnel. Half-close is END_STREAM, a reset is RST_STREAM,
//! and flow-control credit is given back only as bytes are used.
//!
//! Source: RFC 9113 section 8.5 (CONNECT); HBONE is Istio's name for CONNECT over HTTP/2 over mutual TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use conduit_logic::http2::fields::Fields;
use conduit_logic::http2::wire::Code;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::trunk::Trunk;

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
}

impl Tunnel {
    /// The tunnel on a stream of `trunk`.
    pub(super) const fn new(trunk: Arc<Trunk>, stream: u32) -> Self {
        Self { trunk, stream, closed: false, ahead: Bytes::new(), taken: 0 }
    }

    /// Waits for the peer's answer, and gives its status.
    ///
    /// # Errors
    /// When there is none.
    pub async fn status(&mut self) -> io::Result<u16> {
        std::future::poll_fn(|cx| self.trunk.poll_status(self.stream, cx)).await
    }

    /// Answers whoever asked for it; with `end` there is nothing else to say.
    pub fn answer(&mut self, head: &Fields, end: bool) {
        self.closed = end;
        self.trunk.send_head(self.stream, head, end);
    }

    /// Whether what goes through it may have to wait for slow readers of others.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        self.trunk.is_clogged()
    }

    /// Takes what came, as much as any read gives; nothing means the end. [`Tunnel::release`] when it has gone on.
    ///
    /// # Errors
    /// When the tunnel was reset.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let came = ready!(self.trunk.poll_take(self.stream, cx))?;
        self.taken += came.len();
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
        if self.ahead.is_empty() {
            self.ahead = ready!(self.poll_take(cx))?.into();
            self.release();
        }
        let bytes = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.trunk.poll_write(self.stream, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.trunk.poll_flush(self.stream, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let told = std::mem::replace(&mut self.closed, true);
        self.trunk.poll_finish(self.stream, cx, told)
    }
}
