//! An HTTP/2 connection of which this proxy is one end: its socket, moved by one task. What was read goes to whoever holds the end,
//! what it has to say is written when the socket takes it, and nothing more is read than can be answered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use conduit_logic::http2::connection::OUT_BYTES_MAX;
use conduit_logic::http2::wire::Code;
use tokio::io::AsyncWrite as _;
use tokio::time::Sleep;

use crate::tcp::alive::Alive;
use crate::tcp::pump::LAST_WORDS_TIMEOUT;
use crate::tcp::stream::{Stream, keep_spare};

/// What the socket carries. Other tasks change it as well, and wake the one that moves it.
pub trait End {
    /// Remembers whom to wake, and appends what is to be written now.
    fn output(&self, waker: &Waker, out: &mut Vec<u8>);
    /// Bytes that came in meanwhile to be written.
    fn backlog(&self) -> usize;
    /// Some time has passed: what came in it that moves nothing is forgotten.
    fn forgive(&self);
    /// Whether nothing more will be said or heard.
    fn is_done(&self) -> bool;
    /// Takes what was read.
    ///
    /// # Errors
    /// When the connection cannot go on.
    fn input(&self, bytes: &[u8]) -> Result<(), Code>;
}

/// How it came to its end.
#[derive(Debug)]
pub enum Ended {
    /// Nothing is left to be said.
    Done,
    /// The peer ended it.
    Peer,
    /// The socket broke.
    Broke(io::Error),
    /// The peer did what it may not.
    Refused(Code),
}

/// The socket, and what of the output it has not taken yet.
#[derive(Debug)]
pub struct Line {
    /// The socket.
    pub stream: Stream,
    out: Vec<u8>,
    written: usize,
    /// What the stream took is not all on its way.
    unflushed: bool,
    /// It takes no more; what the peer said before is still read, for no longer than this.
    broken: Option<(io::Error, Pin<Box<Sleep>>)>,
    forgave: Instant,
    /// Looks after the peer, where it is on another machine.
    alive: Option<Alive>,
}

/// How often what moves nothing is forgotten: a peer that sends a thousand such frames within it does nothing else.
const FORGIVE_INTERVAL: Duration = Duration::from_secs(1);
/// So many times what is written at once may wait, since only answers to what was read get there, before no more is read. Data alone
/// must not stop the reading: two proxies that send much to each other would wait for each other.
const BACKLOG_MAX: usize = 8 * OUT_BYTES_MAX;

impl Line {
    /// Nothing was moved yet.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        let (out, written, forgave) = (Vec::new(), 0, Instant::now());
        Self { stream, out, written, unflushed: false, broken: None, forgave, alive: None }
    }

    /// The same, to a peer that has vanished when it acknowledges nothing for so long.
    #[must_use]
    pub fn watched(stream: Stream, unacknowledged: Duration) -> Self {
        Self { alive: Some(Alive::new(unacknowledged)), ..Self::new(stream) }
    }

    /// Moves what can be moved now. Ready at the end of it all.
    pub fn poll(&mut self, cx: &mut Context<'_>, end: &impl End) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_moves(cx, end) {
            return Poll::Ready(ended);
        }
        if let Some((error, until)) = &mut self.broken {
            ready!(until.as_mut().poll(cx));
            return Poll::Ready(Ended::Broke(std::mem::replace(error, io::ErrorKind::TimedOut.into())));
        }
        match (&mut self.alive, self.stream.io.socket()) {
            (Some(alive), Some(socket)) => alive.poll(cx, socket).map(Ended::Broke),
            _ => Poll::Pending,
        }
    }

    fn poll_moves(&mut self, cx: &mut Context<'_>, end: &impl End) -> Poll<Ended> {
        loop {
            let written = match self.broken {
                Some(_) => Poll::Ready(Ok(())),
                None => self.poll_write(cx, end),
            };
            match written {
                Poll::Ready(Ok(())) if end.is_done() => return Poll::Ready(Ended::Done),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.broken = Some((error, Box::pin(tokio::time::sleep(LAST_WORDS_TIMEOUT))));
                }
                // A peer that waits for us to read while we wait for it to read would wait for ever.
                Poll::Pending if end.backlog() < BACKLOG_MAX => {}
                Poll::Pending => return Poll::Pending,
            }
            let input = if self.stream.ahead.is_empty() {
                let read = |stream: &mut Stream, bytes: &[u8], _: &mut Context<'_>| {
                    stream.release();
                    (!bytes.is_empty()).then(|| end.input(bytes))
                };
                match ready!(self.stream.poll_scratch(cx, read)) {
                    Ok(Some(input)) => input,
                    Ok(None) => return Poll::Ready(Ended::Peer),
                    Err(error) => return Poll::Ready(Ended::Broke(error)),
                }
            } else {
                end.input(&self.stream.take_ahead())
            };
            if let Err(code) = input {
                return Poll::Ready(Ended::Refused(code));
            }
            if self.forgave.elapsed() >= FORGIVE_INTERVAL {
                self.forgave = Instant::now();
                end.forgive();
            }
        }
    }

    /// Writes all there is.
    fn poll_write(&mut self, cx: &mut Context<'_>, end: &impl End) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                end.output(cx.waker(), &mut self.out);
                if self.out.is_empty() {
                    break;
                }
            }
            match ready!(Pin::new(&mut self.stream.io).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
            self.unflushed = true;
            if let Some(alive) = &mut self.alive {
                alive.sent();
            }
        }
        // A connection at rest holds no buffer.
        keep_spare(std::mem::take(&mut self.out));
        if self.unflushed {
            ready!(Pin::new(&mut self.stream.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the last words, and ends it in order. A peer that does not read them is left.
    pub async fn finish(mut self, end: &impl End) {
        let said = async {
            std::future::poll_fn(|cx| self.poll_write(cx, end)).await?;
            self.stream.finish().await
        };
        _ = tokio::time::timeout(LAST_WORDS_TIMEOUT, said).await;
    }
}

/// Remembers whom to wake.
pub fn remember(known: &mut Option<Waker>, waker: &Waker) {
    if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *known = Some(waker.clone());
    }
}

/// Has the task that moves the bytes write what is to be written.
pub fn wake(known: Option<&Waker>) {
    if let Some(waker) = known {
        waker.wake_by_ref();
    }
}
