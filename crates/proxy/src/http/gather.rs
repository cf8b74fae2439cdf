//! Gathers what an HTTP/2 connection writes until it flushes: h2 writes a frame's head, its payload and the next frame one by
//! one, and without this each would be a TLS record and a system call of its own. Holds nothing between two flushes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tcp::stream::Stream;

/// More is not gathered but written: a full TLS record (RFC 8446 section 5.1).
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// A stream whose writes are gathered.
#[derive(Debug)]
pub struct Gathered {
    stream: Stream,
    gathered: BytesMut,
}

impl Gathered {
    /// Nothing is gathered yet.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, gathered: BytesMut::new() }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(n);
        }
        // Gives the memory back.
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.gathered.len() + bytes > GATHERED_BYTES_MAX {
            ready!(self.poll_drain(cx))?;
        }
        if bytes > GATHERED_BYTES_MAX {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        for buf in bufs {
            self.gathered.extend_from_slice(buf);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
