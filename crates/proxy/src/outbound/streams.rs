//! HTTP/2 and gRPC from the application: one connection of its own, taken apart into streams, each of which is a request that goes its
//! own way (`call`). One task moves the connection's bytes; responses come from the tasks of connections to endpoints. Whoever holds
//! this connection's lock may take that of one to an endpoint, never the other way round.
//!
//! Source: RFC 9113 sections 5 (streams), 6.8 (GOAWAY).

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use conduit_logic::http2::connection::{Connection, Event, Limits};
use conduit_logic::http2::streams::Streams;
use conduit_logic::http2::wire::Code;

use super::Outbound;
use super::accept::Conn;
use super::balance::Service;
use super::call::Call;
use super::shared::Server;
use crate::config::Config;
use crate::http::line::{End, Ended, Line, remember, wake};
use crate::http::streams::{CONNECTION_WINDOW_BYTES, FIRST_WINDOW_BYTES};

/// A connection of the application's.
pub struct Client {
    /// The proxy's parts.
    pub outbound: Arc<Outbound>,
    /// The destination.
    pub service: Arc<Service>,
    /// The application's address.
    pub source: SocketAddr,
    // Guards the end of the connection and its calls, for as long as a read or a message takes; never held while waiting.
    state: Mutex<State>,
}

/// What is under way on it.
pub struct State {
    /// Our end.
    pub http: Connection,
    /// The requests, by stream.
    pub calls: Streams<Box<Call>>,
    waker: Option<Waker>,
    draining: bool,
}

impl State {
    /// Has the task that moves the bytes write what is to be written.
    pub fn wake(&self) {
        wake(self.waker.as_ref());
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("source", &self.source).finish_non_exhaustive()
    }
}

/// What we promise whoever speaks HTTP/2 with us.
#[must_use]
pub fn limits(config: &Config) -> Limits {
    Limits {
        streams_max: config.streams_max,
        header_bytes_max: config.header_bytes_max,
        stream_window: FIRST_WINDOW_BYTES,
        connection_window: CONNECTION_WINDOW_BYTES,
    }
}

/// Serves a connection of the application's.
pub async fn serve(conn: Conn) {
    let Conn { outbound, client, source, service } = conn;
    let (stopped, draining) = (outbound.tasks.token().clone(), outbound.draining.clone());
    let http = Connection::server(limits(&outbound.config));
    let state = State { http, calls: Streams::default(), waker: None, draining: false };
    let served = Arc::new(Client { outbound, service, source, state: Mutex::new(state) });
    let mut line = Line::new(client);
    let mut told = false;
    let ended = loop {
        tokio::select! {
            ended = std::future::poll_fn(|cx| line.poll(cx, &served)) => break ended,
            () = draining.cancelled(), if !told => {
                told = true;
                let mut state = served.lock();
                state.draining = true;
                state.http.go_away();
            }
            () = stopped.cancelled() => break Ended::Done,
        }
    };
    tracing::debug!(%source, ?ended, "an HTTP/2 connection ended");
    served.client_gone();
    match ended {
        Ended::Done | Ended::Refused(_) => {
            if matches!(ended, Ended::Done) {
                served.lock().http.end(Code::NO_ERROR);
            }
            line.finish(&served).await;
        }
        Ended::Peer | Ended::Broke(_) => {}
    }
}

impl Client {
    /// Locks what is under way.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The application is gone, and with it all that it left open.
    fn client_gone(&self) {
        let calls = self.lock().calls.take();
        for (_, call) in calls {
            call.client_gone(Code::CANCEL);
        }
    }
}

impl End for Arc<Client> {
    fn output(&self, waker: &Waker, out: &mut Vec<u8>) {
        let state = &mut *self.lock();
        remember(&mut state.waker, waker);
        let mut events = Vec::new();
        state.http.pump(&mut events);
        for event in events {
            self.asked(state, event, &[]);
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
        state.draining && state.http.is_drained() && state.http.out.is_empty()
    }

    fn input(&self, bytes: &[u8]) -> Result<(), Code> {
        let state = &mut *self.lock();
        let mut events = Vec::new();
        let received = state.http.receive(bytes, &mut events);
        for event in events {
            self.asked(state, event, bytes);
        }
        received
    }
}

impl Client {
    /// A response goes on, or comes to another end.
    pub fn answered(self: &Arc<Self>, stream: u32, server: &Server, event: Event, bytes: &[u8]) {
        let state = &mut *self.lock();
        self.response(state, stream, server, event, bytes);
        state.wake();
    }

    /// The connection to the endpoint ended before the response did.
    pub fn lost(self: &Arc<Self>, stream: u32, server: &Server, why: &str) {
        let state = &mut *self.lock();
        self.response_lost(state, stream, server, why);
        state.wake();
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
