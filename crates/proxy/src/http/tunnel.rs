//! One HTTP/2 stream used as a byte stream: the two ends of an HBONE tunnel. Half-close is END_STREAM, a reset is RST_STREAM,
//! and flow-control credit is given back only as bytes are used.
//!
//! Source: RFC 9113 section 8.5 (CONNECT); HBONE is Istio's name for CONNECT over HTTP/2 over mutual TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of bytes inside an HTTP/2 connection.
#[derive(Debug)]
pub struct Tunnel {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Received and not yet read.
    chunk: Bytes,
    closed: bool,
    /// Counts this stream among those of its connection, for as long as it is open.
    _lease: Option<Arc<()>>,
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl Tunnel {
    /// A tunnel whose CONNECT has been answered with 200.
    #[must_use]
    pub const fn new(send: SendStream<Bytes>, recv: RecvStream, lease: Option<Arc<()>>) -> Self {
        Self { send, recv, chunk: Bytes::new(), closed: false, _lease: lease }
    }

    /// Ends both directions at once, as a TCP reset would.
    pub fn reset(&mut self) {
        self.closed = true;
        self.send.send_reset(Reason::CANCEL);
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(chunk) => self.chunk = chunk.map_err(broken)?,
            }
        }
        let n = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk.split_to(n));
        self.recv.flow_control().release_capacity(n).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(buf.len());
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Some(capacity) => _ = capacity.map_err(broken)?,
            }
        }
        let n = self.send.capacity().min(buf.len());
        self.send.send_data(Bytes::copy_from_slice(&buf[..n]), false).map_err(broken)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            self.send.reserve_capacity(0);
            self.send.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}
