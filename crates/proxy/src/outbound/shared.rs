//! An HTTP/2 connection to an endpoint, which streams of many connections of the application's share. One task moves its bytes; what a
//! response says goes to the connection of the application's that asked. Whoever holds this one's lock takes no other.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use conduit_logic::http2::connection::{Connection, Event, Limits};
use conduit_logic::http2::fields::{Field, Fields};
use conduit_logic::http2::streams::Streams;
use conduit_logic::http2::wire::Code;
use tokio_util::sync::CancellationToken;

use super::streams::Client;
use crate::http::head::{PROXY_ERROR, PROXY_PROOF};
use crate::http::line::{End, Ended, Line, remember, wake};
use crate::telemetry::TlsFacts;

/// So many streams are opened on one connection, or as many as its server allows: RFC 9113 section 6.5.2 advises servers to allow
/// at least 100.
const STREAMS_MAX: usize = 256;

/// Who asked on a stream.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The connection of the application's.
    pub client: Arc<Client>,
    /// Its stream.
    pub stream: u32,
}

/// The connection.
#[derive(Debug)]
pub struct Server {
    /// The endpoint's address.
    pub addr: SocketAddr,
    /// How the bytes are protected.
    pub tls: Option<Arc<TlsFacts>>,
    /// By what the peer's proxy proves that an answer is its own.
    pub proof: Option<Arc<str>>,
    /// Fires when the peer has said how many streams it allows, or the connection has ended.
    pub told: CancellationToken,
    // Guards the end of the connection, for as long as a read or a message takes; never held while waiting.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    http: Connection,
    askers: Streams<Asker>,
    waker: Option<Waker>,
    /// When the last stream was opened.
    used: Instant,
    /// The pool has let it go: it ends with its last stream.
    let_go: bool,
    ended: bool,
}

/// The pool's hold of a connection.
#[derive(Debug)]
pub struct Held(pub Arc<Server>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.let_go = true;
        state.wake();
    }
}

impl State {
    fn wake(&self) {
        wake(self.waker.as_ref());
    }
}

impl Server {
    /// A connection over which nothing was said yet.
    #[must_use]
    pub fn new(
        addr: SocketAddr,
        tls: Option<Arc<TlsFacts>>,
        proof: Option<Arc<str>>,
        limits: Limits,
    ) -> Arc<Self> {
        let http = Connection::client(limits);
        let (askers, waker, used) = (Streams::default(), None, Instant::now());
        let state = State { http, askers, waker, used, let_go: false, ended: false };
        Arc::new(Self { addr, tls, proof, told: CancellationToken::new(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no stream will be opened any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.ended || state.http.is_going_away()
    }

    /// Why the peer's proxy answered itself with these fields, if it did and proves it.
    #[must_use]
    pub fn proxy_error<'a>(&self, fields: &'a Fields) -> Option<&'a str> {
        let proves = |proof: &Arc<str>| fields.get(PROXY_PROOF.as_bytes()) == Some(proof.as_bytes());
        self.proof.as_ref().filter(|proof| proves(proof))?;
        fields.get(PROXY_ERROR.as_bytes()).map(|said| std::str::from_utf8(said).unwrap_or_default())
    }

    /// Whether nobody has used it for so long.
    #[must_use]
    pub fn is_idle(&self, age: Duration) -> bool {
        let state = self.lock();
        state.askers.is_empty() && state.used.elapsed() >= age
    }

    /// Whether there is room for one more stream; where that might wait for slow readers of others, only if `clogged` may be.
    #[must_use]
    pub fn has_room(&self, clogged: bool) -> bool {
        let state = self.lock();
        !state.ended && state.http.has_room(STREAMS_MAX) && (clogged || !state.http.is_clogged())
    }

    /// Opens a stream with a request, and with what came of its body. `None` when there is no room any more.
    pub fn ask<'a>(
        &self,
        asker: Asker,
        head: impl Iterator<Item = Field<'a>>,
        body: &[u8],
        ended: bool,
        trailers: Option<&Fields>,
    ) -> Option<(u32, usize)> {
        let mut state = self.lock();
        if state.ended || !state.http.has_room(STREAMS_MAX) {
            return None;
        }
        let ends = ended && trailers.is_none();
        let stream = state.http.open(head, ends && body.is_empty())?;
        state.askers.insert(stream, asker);
        state.used = Instant::now();
        let sent = if body.is_empty() { 0 } else { state.http.send_data(stream, body, ends).bytes };
        if let Some(trailers) = trailers {
            state.http.send_trailers(stream, trailers.clone());
        }
        state.wake();
        Some((stream, sent))
    }

    /// Sends a piece of a request's body. Returns how much of it does not wait.
    pub fn send(&self, stream: u32, bytes: &[u8], end: bool) -> usize {
        let mut state = self.lock();
        let sent = state.http.send_data(stream, bytes, end);
        state.wake();
        sent.bytes
    }

    /// Ends a request's body with trailers.
    pub fn send_trailers(&self, stream: u32, trailers: Fields) {
        let mut state = self.lock();
        state.http.send_trailers(stream, trailers);
        state.wake();
    }

    /// Bytes of a response have gone on.
    pub fn release(&self, stream: u32, flow: usize) {
        let mut state = self.lock();
        state.http.release(stream, flow);
        if !state.http.out.is_empty() {
            state.wake();
        }
    }

    /// Nobody waits for this stream's response any more.
    pub fn cancel(&self, stream: u32, code: Code) {
        let mut state = self.lock();
        state.askers.remove(stream);
        state.http.reset(stream, code);
        state.wake();
    }

    /// Moves the bytes until the connection ends.
    pub async fn run(self: Arc<Self>, mut line: Line, stopped: CancellationToken) {
        let ended = tokio::select! {
            ended = std::future::poll_fn(|cx| line.poll(cx, &*self)) => ended,
            () = stopped.cancelled() => Ended::Done,
        };
        let left = {
            let mut state = self.lock();
            state.ended = true;
            state.waker = None;
            if matches!(ended, Ended::Done) {
                state.http.end(Code::NO_ERROR);
            }
            state.askers.take()
        };
        let why = match &ended {
            Ended::Done => "the connection was closed".to_owned(),
            Ended::Peer => "the peer closed the connection".to_owned(),
            Ended::Broke(error) => error.to_string(),
            Ended::Refused(code) => format!("the peer broke the rules of HTTP/2: {code}"),
        };
        self.told.cancel();
        tracing::debug!(addr = %self.addr, %why, "an HTTP/2 connection ended");
        for (_, asker) in left {
            asker.client.lost(asker.stream, &self, &why);
        }
        if matches!(ended, Ended::Done | Ended::Refused(_)) {
            line.finish(&*self).await;
        }
    }
}

impl End for Server {
    fn output(&self, waker: &Waker, out: &mut Vec<u8>) {
        let mut events = Vec::new();
        let told = {
            let mut state = self.lock();
            remember(&mut state.waker, waker);
            state.http.pump(&mut events);
            std::mem::swap(&mut state.http.out, out);
            state.told(events)
        };
        self.tell(told, &[]);
    }

    fn backlog(&self) -> usize {
        self.lock().http.out.len()
    }

    fn forgive(&self) {
        self.lock().http.forgive();
    }

    fn is_done(&self) -> bool {
        let state = self.lock();
        (state.let_go || state.http.is_going_away()) && state.askers.is_empty() && state.http.out.is_empty()
    }

    fn input(&self, bytes: &[u8]) -> Result<(), Code> {
        let mut events = Vec::new();
        let (told, received) = {
            let mut state = self.lock();
            let received = state.http.receive(bytes, &mut events);
            if state.http.is_told() && !self.told.is_cancelled() {
                self.told.cancel();
            }
            (state.told(events), received)
        };
        self.tell(told, bytes);
        received
    }
}

impl State {
    /// Who is to be told. Whoever's response has ended does not hear of the stream again.
    fn told(&mut self, events: Vec<Event>) -> Vec<(Asker, Event)> {
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            let stream = event.stream();
            let ends = match &event {
                Event::Head { end, .. } | Event::Data { end, .. } => *end,
                Event::Sent { .. } => false,
                _ => true,
            };
            if !ends {
                told.extend(self.askers.get(stream).map(|asker| (asker.clone(), event)));
            } else if let Some(asker) = self.askers.remove(stream) {
                if self.http.is_sending(stream) {
                    // The rest of a request that is answered already is of no use.
                    self.http.reset(stream, Code::CANCEL);
                }
                told.push((asker, event));
            }
        }
        told
    }
}

impl Server {
    fn tell(&self, told: Vec<(Asker, Event)>, bytes: &[u8]) {
        for (asker, event) in told {
            asker.client.answered(asker.stream, self, event, bytes);
        }
    }
}
