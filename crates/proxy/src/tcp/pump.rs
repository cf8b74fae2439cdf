//! Moves bytes from one stream to another until the body, or the connection, ends. A pump reads only when the bytes before
//! have been written, so back-pressure reaches the sender and at most one scratch buffer is held; it flushes when there is
//! nothing more to read at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use conduit_logic::framing::{Body, Progress, Refusal};
use thiserror::Error;
use tokio::io::AsyncWrite;

use super::splice::Pipe;
use super::stream::{Io, SCRATCH_BYTES, Stream};

/// Why moving bytes stopped before the end, and on whose side.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The stream that bytes are read from broke.
    #[error("reading failed: {0}")]
    Read(#[source] io::Error),
    /// The stream that bytes are written to broke.
    #[error("writing failed: {0}")]
    Write(#[source] io::Error),
    /// The body's framing is broken or it ended early.
    #[error("{0}")]
    Framing(#[from] Refusal),
}

/// One direction.
#[derive(Debug)]
pub struct Pump {
    progress: Progress,
    pending: Bytes,
    moved: u64,
    /// Whether the reader's end is passed on as a half-close. An HTTP message's end is not the connection's.
    close: bool,
    /// The way through the kernel, while a lot moves from one plain connection to another, and what went it.
    pipe: Option<Pipe>,
    piped: u64,
    finished: bool,
}

impl Pump {
    /// Moves one HTTP/1 body as it is framed.
    #[must_use]
    pub const fn body(body: Body) -> Self {
        Self::new(body, false)
    }

    /// Moves everything up to the end of the connection, and passes the end on.
    #[must_use]
    pub const fn connection() -> Self {
        Self::new(Body::UntilClose, true)
    }

    const fn new(body: Body, close: bool) -> Self {
        Self {
            progress: Progress::new(body),
            pending: Bytes::new(),
            moved: 0,
            close,
            pipe: None,
            piped: 0,
            finished: false,
        }
    }

    /// Bytes moved so far.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        self.moved
    }

    /// Those of them that stayed inside the kernel.
    #[must_use]
    pub const fn piped(&self) -> u64 {
        self.piped
    }

    /// Whether everything was read, and perhaps not passed on yet.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.progress.is_done()
    }

    /// Whether the end was reached and passed on.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Moves what can be moved now. Ready when the end has been passed on.
    ///
    /// # Errors
    /// See [`PumpError`]; nothing may be moved after one.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Io,
    ) -> Poll<Result<(), PumpError>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.pending.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending)).map_err(PumpError::Write)?;
                self.pending.advance(n);
            }
            from.release();
            if let (Some(pipe), Io::Tcp(to)) = (&mut self.pipe, &*to) {
                ready!(pipe.poll_drain(cx, to)).map_err(PumpError::Write)?;
                if (pipe.is_wasted() || self.progress.is_done())
                    && let Some(pipe) = self.pipe.take()
                {
                    pipe.keep();
                }
            }
            if self.progress.is_done() {
                let end = if self.close {
                    Pin::new(&mut *to).poll_shutdown(cx)
                } else {
                    Pin::new(&mut *to).poll_flush(cx)
                };
                // A peer that is gone already needs no half-close.
                if let (Err(error), false) = (ready!(end), self.close) {
                    return Poll::Ready(Err(PumpError::Write(error)));
                }
                self.finished = true;
                return Poll::Ready(Ok(()));
            }
            if let (Some(pipe), Io::Tcp(from)) = (&mut self.pipe, &from.io) {
                let bytes = ready!(pipe.poll_fill(cx, from)).map_err(PumpError::Read)?;
                self.spliced(bytes)?;
            } else if from.ahead.is_empty() {
                match from.poll_scratch(cx, |from, bytes, cx| self.pass(cx, from, bytes, to)) {
                    Poll::Ready(done) => done.map_err(PumpError::Read)??,
                    Poll::Pending => {
                        // Nothing more at once: let go what was written so far.
                        if let Poll::Ready(Err(error)) = Pin::new(&mut *to).poll_flush(cx) {
                            return Poll::Ready(Err(PumpError::Write(error)));
                        }
                        return Poll::Pending;
                    }
                }
            } else {
                let n = self.progress.take(&from.ahead)?;
                self.moved += n as u64;
                self.pending = from.ahead.split_to(n).freeze();
                if from.ahead.is_empty() {
                    from.ahead = bytes::BytesMut::new();
                }
            }
        }
    }

    /// So much is in the pipe now; nothing is the end.
    fn spliced(&mut self, bytes: usize) -> Result<(), PumpError> {
        self.moved += bytes as u64;
        self.piped += bytes as u64;
        if bytes == 0 { Ok(self.progress.end()?) } else { Ok(()) }
    }

    /// Passes freshly read bytes straight on; keeps a copy only of what the writer did not take.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        bytes: &[u8],
        to: &mut Io,
    ) -> Result<(), PumpError> {
        if bytes.is_empty() {
            return Ok(self.progress.end()?);
        }
        let n = self.progress.take(bytes)?;
        self.moved += n as u64;
        from.ahead.extend_from_slice(&bytes[n..]);
        if self.close && n == SCRATCH_BYTES && matches!((&from.io, &*to), (Io::Tcp(_), Io::Tcp(_))) {
            // Where no pipe is to be had, a copy does as well.
            self.pipe = Pipe::take().ok();
        }
        let mut rest = &bytes[..n];
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(PumpError::Write(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => rest = &rest[n..],
                Poll::Ready(Err(error)) => return Err(PumpError::Write(error)),
                Poll::Pending => {
                    self.pending = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What a relay moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// From the client to the server.
    pub sent: u64,
    /// From the server to the client.
    pub received: u64,
    /// It was the client's side that broke, if one did.
    pub client_broke: bool,
}

impl Moved {
    /// Whether the client opened the connection and left it unused: a probe, or a proxy that found out meanwhile that it needs another.
    #[must_use]
    pub const fn unused(&self) -> bool {
        self.client_broke && self.sent == 0 && self.received == 0
    }
}

/// What is given to the last words on a connection, our own or those that are passed on, and to their being read: a peer that is there
/// reads at once.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Moves bytes both ways until both directions have ended, each half-closed on its own.
///
/// # Errors
/// The first error of either direction, with what was moved until then; the caller drops both streams, which resets them. Of a server
/// that takes no more, what it had said before is passed on first: its reason, often enough.
pub async fn relay(client: &mut Stream, server: &mut Stream) -> (Moved, Result<(), PumpError>) {
    let (mut up, mut down) = (Pump::connection(), Pump::connection());
    let (mut not_up, mut not_down) = (None, None);
    let mut until = None;
    std::future::poll_fn(|cx| {
        let up = step(&mut not_up, || up.poll(cx, client, &mut server.io));
        if matches!(not_up, Some(PumpError::Write(_))) {
            // The error may have been told to whoever wrote, and whoever reads is told of an end that was none.
            down.close = false;
        }
        let down = step(&mut not_down, || down.poll(cx, server, &mut client.io));
        if matches!(not_up, Some(PumpError::Read(_) | PumpError::Framing(_))) || not_down.is_some() {
            return Poll::Ready(());
        }
        if not_up.is_some() && down.is_pending() {
            return until
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_WORDS_TIMEOUT)))
                .as_mut()
                .poll(cx);
        }
        if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let client_broke =
        matches!(not_up, Some(PumpError::Read(_))) || matches!(not_down, Some(PumpError::Write(_)));
    let result = not_up.or(not_down).map_or(Ok(()), Err);
    (Moved { sent: up.moved(), received: down.moved(), client_broke }, result)
}

/// Moves on in one direction, and remembers what broke it.
fn step(broke: &mut Option<PumpError>, poll: impl FnOnce() -> Poll<Result<(), PumpError>>) -> Poll<()> {
    if broke.is_some() {
        return Poll::Ready(());
    }
    poll().map(|moved| *broke = moved.err())
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
