//! An HTTP/2 connection whose streams are tunnels: byte streams that many connections share one connection of mutual TLS by. One task
//! moves its bytes; each tunnel reads what came for it and writes what its window allows, and nothing is held beyond both windows.
//!
//! Source: RFC 9113 sections 5.2 (flow control), 8.5 (CONNECT).

pub mod bypass;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use conduit_logic::http2::connection::{Connection, Event, Limits};
use conduit_logic::http2::fields::Fields;
use conduit_logic::http2::streams::Streams;
use conduit_logic::http2::wire::Code;
use tokio_util::sync::CancellationToken;

use self::bypass::{Bypass, OFFER};
use super::line::{End, Ended, Line, remember, wake};
use super::tunnel::Tunnel;
use crate::tcp::stream::{SCRATCH_BYTES, spare};

/// So many tunnels are opened on one connection, or as many as its server allows: RFC 9113 section 6.5.2 advises servers to allow at
/// least 100.
const TUNNELS_MAX: usize = 256;

/// Takes a tunnel that the peer asks for, with what it says of it.
pub type Accept = Box<dyn Fn(Tunnel, Fields) + Send + Sync>;

/// The connection.
pub struct Trunk {
    /// Fires when the peer has said how many tunnels it allows, or the connection has ended.
    pub told: CancellationToken,
    accept: Option<Accept>,
    /// What only its two ends know.
    proof: Option<String>,
    /// Counts what became of connections of tunnels' own.
    bypasses: AtomicUsize,
    // Guards the end of the connection, for as long as a read or a write takes; never held while waiting.
    state: Mutex<State>,
}

struct State {
    http: Connection,
    tunnels: Streams<Open>,
    waker: Option<Waker>,
    /// When the last tunnel was opened.
    used: Instant,
    /// Nobody will open tunnels any more: it ends with its last one.
    let_go: bool,
    draining: bool,
    ended: bool,
    /// The peer opens the tunnels, and might open and reset as many as it likes.
    server: bool,
}

/// A tunnel that is open.
#[derive(Default)]
struct Open {
    /// What came last, no more than a read takes; `before` it came what is more.
    arrived: Vec<u8>,
    before: VecDeque<Vec<u8>>,
    /// The status of the peer's answer; 0 before it.
    status: u16,
    /// The peer sends no more.
    finished: bool,
    /// We send no more.
    ended: bool,
    /// The peer offers a connection of its own, and what became of that.
    offered: bool,
    bypass: Bypass,
    /// Nothing goes either way any more.
    broken: Option<Code>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Who is to hear when it breaks, while he waits for something else.
    flushed: Option<Waker>,
}

impl Open {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take(), self.flushed.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunk").finish_non_exhaustive()
    }
}

impl Trunk {
    /// The end that opens tunnels, of a connection of which only the two ends know `proof`.
    #[must_use]
    pub fn client(limits: Limits, proof: Option<String>) -> Arc<Self> {
        Self::new(Connection::client(limits), None, proof)
    }

    /// The end that gives each tunnel to `accept`.
    #[must_use]
    pub fn server(limits: Limits, accept: Accept) -> Arc<Self> {
        Self::new(Connection::server(limits), Some(accept), None)
    }

    fn new(http: Connection, accept: Option<Accept>, proof: Option<String>) -> Arc<Self> {
        let (waker, tunnels, used, server) = (None, Streams::default(), Instant::now(), accept.is_some());
        let state =
            State { http, tunnels, waker, used, let_go: false, draining: false, ended: false, server };
        let (told, bypasses) = (CancellationToken::new(), AtomicUsize::new(0));
        Arc::new(Self { told, accept, proof, bypasses, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no tunnel will be opened any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.ended || state.http.is_going_away()
    }

    /// Whether nobody has used it for so long.
    #[must_use]
    pub fn is_idle(&self, age: Duration) -> bool {
        let state = self.lock();
        state.tunnels.is_empty() && state.used.elapsed() >= age
    }

    /// Whether a tunnel might wait for slow readers of others.
    pub(super) fn is_clogged(&self) -> bool {
        self.lock().http.is_clogged()
    }

    /// Asks for a tunnel. `None` when there is no room any more; where it might wait for slow readers of others, only if `clogged` may be.
    pub fn open(self: &Arc<Self>, head: &Fields, clogged: bool) -> Option<Tunnel> {
        let mut state = self.lock();
        if state.ended || !state.http.has_room(TUNNELS_MAX) || (state.http.is_clogged() && !clogged) {
            return None;
        }
        let stream = state.http.open(head.iter(), false)?;
        state.tunnels.insert(stream, Open::default());
        state.used = Instant::now();
        wake(state.waker.as_ref());
        Some(Tunnel::new(self.clone(), stream))
    }

    /// Nobody will open tunnels any more.
    pub fn let_go(&self) {
        let mut state = self.lock();
        state.let_go = true;
        wake(state.waker.as_ref());
    }

    /// Moves the bytes until the connection ends. When `draining` fires the peer is told to open no more tunnels.
    pub async fn run(
        self: Arc<Self>,
        mut line: Line,
        stopped: CancellationToken,
        draining: CancellationToken,
    ) {
        let mut told = false;
        let ended = loop {
            tokio::select! {
                ended = std::future::poll_fn(|cx| line.poll(cx, &self)) => break ended,
                () = draining.cancelled(), if !told => {
                    told = true;
                    let mut state = self.lock();
                    state.draining = true;
                    state.http.go_away();
                }
                () = stopped.cancelled() => break Ended::Done,
            }
        };
        tracing::debug!(?ended, "a connection of tunnels ended");
        {
            let mut state = self.lock();
            state.ended = true;
            state.waker = None;
            if matches!(ended, Ended::Done) {
                state.http.end(Code::NO_ERROR);
            }
            for (_, open) in state.tunnels.iter_mut() {
                open.broken.get_or_insert(Code::CANCEL);
                open.wake();
            }
        }
        self.told.cancel();
        if matches!(ended, Ended::Done | Ended::Refused(_)) {
            line.finish(&self).await;
        }
    }
}

impl End for Arc<Trunk> {
    fn output(&self, waker: &Waker, out: &mut Vec<u8>) {
        let state = &mut *self.lock();
        remember(&mut state.waker, waker);
        let mut events = Vec::new();
        state.http.pump(&mut events);
        for event in events {
            state.came(event, &[]);
        }
        std::mem::swap(&mut state.http.out, out);
    }

    fn backlog(&self) -> usize {
        self.lock().http.out.len()
    }

    fn forgive(&self) {
        self.lock().http.forgive();
    }

    fn is_done(&self) -> bool {
        let state = self.lock();
        let left = (state.let_go || state.http.is_going_away()) && state.tunnels.is_empty();
        let done = if self.accept.is_some() { state.draining && state.http.is_drained() } else { left };
        done && state.http.out.is_empty()
    }

    fn input(&self, bytes: &[u8]) -> Result<(), Code> {
        let mut asked = Vec::new();
        let received = {
            let state = &mut *self.lock();
            let mut events = Vec::new();
            let received = state.http.receive(bytes, &mut events);
            for event in events {
                match event {
                    Event::Head { stream, fields, end, .. } if self.accept.is_some() => {
                        state.tunnels.insert(stream, Open { finished: end, ..Open::default() });
                        asked.push((stream, fields));
                    }
                    // What asks for a tunnel is short.
                    Event::TooLarge { stream } if self.accept.is_some() => {
                        state.http.reset(stream, Code::PROTOCOL_ERROR);
                    }
                    event => state.came(event, bytes),
                }
            }
            if state.http.is_told() && !self.told.is_cancelled() {
                self.told.cancel();
            }
            received
        };
        for (stream, fields) in asked {
            if let Some(accept) = &self.accept {
                accept(Tunnel::new(self.clone(), stream), fields);
            }
        }
        received
    }
}

impl State {
    fn came(&mut self, event: Event, bytes: &[u8]) {
        let stream = event.stream();
        let Some(open) = self.tunnels.get_mut(stream) else {
            if let Event::Data { flow, .. } = event {
                self.http.release(stream, flow);
            }
            return;
        };
        match event {
            Event::Head { facts, fields, end, .. } => {
                open.offered = fields.text(OFFER.0.as_bytes()) == OFFER.1;
                // What is interim says nothing yet.
                open.status = if facts.status < 200 { open.status } else { facts.status };
                open.finished = end;
            }
            Event::Data { range, flow, end, .. } => {
                self.http.release(stream, flow - range.len());
                if open.arrived.capacity() == 0 {
                    open.arrived = spare();
                } else if open.arrived.len() + range.len() > SCRATCH_BYTES {
                    // Only a reader that kept up gets so far, and will go on most likely.
                    open.before.push_back(std::mem::replace(&mut open.arrived, spare()));
                    open.arrived.reserve_exact(SCRATCH_BYTES);
                }
                // Of a reader that is slow no more is held than what came.
                open.arrived.reserve_exact(range.len());
                open.arrived.extend_from_slice(&bytes[range]);
                open.finished = end;
            }
            Event::Trailers { .. } => open.finished = true,
            Event::TooLarge { .. } => open.broken = Some(Code::PROTOCOL_ERROR),
            Event::Reset { code, .. } | Event::Unheard { code, .. } => open.broken = Some(code),
            Event::Sent { .. } => {
                if !self.http.waits(stream)
                    && let Some(writer) = open.writer.take()
                {
                    writer.wake();
                }
                return;
            }
        }
        if open.broken.is_some() {
            if !open.finished && self.server {
                // A client has given up what is on its way, and got the credit for it back. A server's last words are read.
                (open.arrived, open.before) = Default::default();
            }
            open.wake();
        } else if let Some(reader) = open.reader.take() {
            reader.wake();
        }
    }
}

/// What tunnels do.
impl Trunk {
    /// Waits for the peer's answer to a tunnel: its status, and whether a connection of its own is offered.
    pub(super) fn poll_status(&self, stream: u32, cx: &mut Context<'_>) -> Poll<io::Result<(u16, bool)>> {
        let mut state = self.lock();
        let Some(open) = state.tunnels.get_mut(stream) else { return Poll::Ready(Err(broken(Code::CANCEL))) };
        match open.broken {
            _ if open.status > 0 => Poll::Ready(Ok((open.status, open.offered))),
            Some(code) => Poll::Ready(Err(broken(code))),
            None => {
                open.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sends a head; with `end` nothing follows.
    pub(super) fn send_head(&self, stream: u32, head: &Fields, end: bool) {
        let mut state = self.lock();
        if let Some(open) = state.tunnels.get_mut(stream) {
            open.ended |= end;
        }
        state.http.send_head(stream, head.iter(), end);
        wake(state.waker.as_ref());
    }

    /// Takes what came, as much as any read gives; nothing means the end. The peer may not send more for it before it has gone on.
    pub(super) fn poll_take(&self, stream: u32, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let state = &mut *self.lock();
        let Some(open) = state.tunnels.get_mut(stream) else { return Poll::Ready(Err(broken(Code::CANCEL))) };
        if open.arrived.is_empty() {
            return match (&open.bypass, open.broken) {
                (Bypass::Doubtful, _) if open.finished => Poll::Ready(Err(broken(Code::CANCEL))),
                (Bypass::Here(_), _) if open.finished => {
                    // It came just now; whoever asks again takes it.
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                (Bypass::No | Bypass::Taken, _) if open.finished => Poll::Ready(Ok(Vec::new())),
                (_, Some(code)) if !open.finished => Poll::Ready(Err(broken(code))),
                _ => {
                    open.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        Poll::Ready(Ok(open.before.pop_front().unwrap_or_else(|| std::mem::take(&mut open.arrived))))
    }

    /// So much of what was taken has gone on.
    pub(super) fn release(&self, stream: u32, bytes: usize) {
        let state = &mut *self.lock();
        state.http.release(stream, bytes);
        if !state.http.out.is_empty() {
            wake(state.waker.as_ref());
        }
    }

    /// Takes all of `bytes`, unless what was taken before waits for the peer still.
    pub(super) fn poll_write(
        &self,
        stream: u32,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.lock();
        let Some(open) = state.tunnels.get_mut(stream) else { return Poll::Ready(Err(broken(Code::CANCEL))) };
        if let Some(code) = open.broken {
            return Poll::Ready(Err(broken(code)));
        }
        if state.http.waits(stream) {
            open.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if state.http.out.capacity() == 0 {
            state.http.out = spare();
        }
        state.http.send_data(stream, bytes, false);
        wake(state.waker.as_ref());
        Poll::Ready(Ok(bytes.len()))
    }

    /// Everything is on its way at once; whoever waits for something else hears when the tunnel breaks.
    pub(super) fn poll_flush(&self, stream: u32, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        match state.tunnels.get_mut(stream) {
            None => Poll::Ready(Err(broken(Code::CANCEL))),
            // A peer that has said all may leave, and what it said is still read.
            Some(Open { broken: Some(code), finished: false, .. }) => Poll::Ready(Err(broken(*code))),
            Some(open) => {
                remember(&mut open.flushed, cx.waker());
                Poll::Ready(Ok(()))
            }
        }
    }

    /// No more is sent. Ready when nothing waits for the peer any more: what waits would be lost with the tunnel.
    pub(super) fn poll_finish(&self, stream: u32, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        let Some(open) = state.tunnels.get_mut(stream) else { return Poll::Ready(Err(broken(Code::CANCEL))) };
        if let Some(code) = open.broken {
            return Poll::Ready(Err(broken(code)));
        }
        let moving = matches!(open.bypass, Bypass::Coming | Bypass::Here(_));
        if matches!(open.bypass, Bypass::Here(_)) {
            cx.waker().wake_by_ref();
        }
        if !open.ended && !moving {
            open.ended = true;
            state.http.send_data(stream, &[], true);
            wake(state.waker.as_ref());
        }
        if moving || state.http.waits(stream) {
            open.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends both directions at once, where they have not ended.
    pub(super) fn close(&self, stream: u32, code: Code) {
        let mut state = self.lock();
        if state.tunnels.remove(stream).is_some() {
            state.http.reset(stream, code);
            wake(state.waker.as_ref());
        }
    }
}

fn broken(code: Code) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, format!("the tunnel was reset: {code}"))
}

#[cfg(test)]
#[path = "trunk_tests.rs"]
mod tests;
