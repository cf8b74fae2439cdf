//! HTTP/2 and gRPC of a mesh proxy to the application: the peer's connection goes on as one of the application's own, frame by frame
//! as it came, and is watched on the way for what is counted and tapped. Nothing is taken apart and put together again. The
//! proxy speaks itself only when one of both ends cannot: GOAWAY, and an end for what the application has left open.
//!
//! Source: RFC 9113 sections 6.8 (GOAWAY), 8.1 (message framing).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use conduit_logic::http2::frames::{Broken, Frames, Watch};
use conduit_logic::http2::wire::{self, Code, STREAM_MAX};
use conduit_logic::words::Protocol;
use tokio::io::AsyncWrite as _;

use super::accept::Conn;
use super::calls::Calls;
use super::forward::{self, Ends};
use crate::tcp::alive::Alive;
use crate::tcp::pump::LAST_WORDS_TIMEOUT;
use crate::tcp::stream::{Io, Stream};

/// One direction: watched, and what of it is not passed on yet.
struct Way {
    frames: Frames,
    out: Vec<u8>,
    written: usize,
    /// Something was written since this was looked at.
    wrote: bool,
    /// Nothing more is read.
    ended: bool,
}

/// Why a direction cannot go on.
enum Stop {
    /// The side that is read from broke.
    From,
    /// The side that is written to broke.
    To,
    /// What came is no HTTP/2 that can be followed.
    Broken(Broken),
}

impl Way {
    const fn new(frames: Frames) -> Self {
        Self { frames, out: Vec::new(), written: 0, wrote: false, ended: false }
    }

    /// Whether a frame of the proxy's own may follow what is passed on.
    const fn may_add(&self) -> bool {
        self.frames.is_between() && self.frames.has_begun()
    }

    /// Moves what can be moved now. Ready when all was passed on that came before the end.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Io,
        watch: &mut impl Watch,
    ) -> Poll<Result<(), Stop>> {
        loop {
            ready!(self.poll_write(cx, to)).map_err(|_| Stop::To)?;
            from.release();
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let passed = if from.ahead.is_empty() {
                match from.poll_scratch(cx, |_, bytes, _| self.take(bytes, watch)) {
                    Poll::Ready(read) => read.map_err(|_| Stop::From)?,
                    Poll::Pending => {
                        return match Pin::new(&mut *to).poll_flush(cx) {
                            Poll::Ready(Err(_)) => Poll::Ready(Err(Stop::To)),
                            _ => Poll::Pending,
                        };
                    }
                }
            } else {
                self.take(&from.take_ahead(), watch)
            };
            passed.map_err(Stop::Broken)?;
        }
    }

    /// Takes what was read; nothing means the end.
    fn take(&mut self, bytes: &[u8], watch: &mut impl Watch) -> Result<(), Broken> {
        self.ended = bytes.is_empty();
        self.out.reserve(bytes.len());
        self.frames.pass(bytes, &mut self.out, watch)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut *to).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
            self.wrote = true;
        }
        // A connection at rest holds no buffer.
        self.out = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

/// A connection on its way.
struct Passing {
    client: Stream,
    server: Stream,
    up: Way,
    down: Way,
    calls: Calls,
    /// Looks after the client.
    alive: Alive,
    /// The application takes no more: nothing is read from the client.
    up_closed: bool,
    /// The proxy drains.
    draining: bool,
    /// And the peer was told to open no more streams.
    told: bool,
}

/// How it came to its end.
enum End {
    /// The peer went away; in order, if it left nothing open.
    Client,
    /// The proxy drains, and nothing is open any more.
    Drained,
    /// The application ended the connection, or broke: what is said of it.
    Application(&'static str),
    /// The peer sent what cannot be followed.
    Broken(Broken),
}

/// Serves one connection of a mesh proxy until it ends. `proof` goes with the proxy's own answers.
pub async fn serve(conn: Conn, proof: Option<String>) {
    let Conn { inbound, mut client, source, destination, tls } = conn;
    let server = match forward::connect(&inbound, destination).await {
        Ok(server) => server,
        Err(failure) => {
            inbound.telemetry.mesh_failure(failure.reason);
            tracing::debug!(%source, %destination, %failure, "connection refused");
            // Nothing of what the peer has sent was looked at: its proxy tries another endpoint.
            let mut refusal = Vec::new();
            wire::settings(&[], &mut refusal);
            wire::go_away(0, Code::REFUSED_STREAM, &mut refusal);
            return last_words(&mut client, &refusal).await;
        }
    };
    let (stopped, draining) = (inbound.tasks.token().clone(), inbound.draining.clone());
    let (head_bytes_max, streams_max) = (inbound.config.header_bytes_max, inbound.config.streams_max);
    let mut passing = Passing {
        client,
        server,
        alive: Alive::new(inbound.config.unacknowledged_timeout),
        up: Way::new(Frames::of_client(head_bytes_max)),
        down: Way::new(Frames::of_server(head_bytes_max, streams_max)),
        calls: Calls::new(inbound, Ends { source, destination, protocol: Protocol::Http2, tls }),
        up_closed: false,
        draining: false,
        told: false,
    };
    let end = loop {
        let is_draining = passing.draining;
        tokio::select! {
            end = std::future::poll_fn(|cx| passing.poll(cx)) => break end,
            () = draining.cancelled(), if !is_draining => passing.draining = true,
            () = stopped.cancelled() => return,
        }
    };
    passing.end(end, proof.as_deref()).await;
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.draining && !self.told && self.down.may_add() {
            self.told = true;
            wire::go_away(STREAM_MAX, Code::NO_ERROR, &mut self.down.out);
        }
        if !self.up_closed {
            match self.up.poll(cx, &mut self.client, &mut self.server.io, &mut self.calls.up()) {
                // HTTP/2 has no half-close: a client that ends its connection waits for nothing more.
                Poll::Ready(Ok(()) | Err(Stop::From)) => return Poll::Ready(End::Client),
                // What the application said before it ended comes first.
                Poll::Ready(Err(Stop::To)) => self.up_closed = true,
                Poll::Ready(Err(Stop::Broken(broken))) => return Poll::Ready(End::Broken(broken)),
                Poll::Pending => {}
            }
        }
        match self.down.poll(cx, &mut self.server, &mut self.client.io, &mut self.calls.down()) {
            Poll::Ready(Ok(()) | Err(Stop::From)) => {
                return Poll::Ready(End::Application("the application ended the connection"));
            }
            Poll::Ready(Err(Stop::To)) => return Poll::Ready(End::Client),
            Poll::Ready(Err(Stop::Broken(broken))) => {
                tracing::debug!(?broken, "what the application sends is no HTTP/2 that can be followed");
                return Poll::Ready(End::Application("the application does not speak HTTP/2"));
            }
            Poll::Pending => {}
        }
        if self.calls.overflowed() {
            return Poll::Ready(End::Broken(Broken::TooLarge));
        }
        if std::mem::take(&mut self.down.wrote) {
            self.alive.sent();
        }
        if let Some(socket) = self.client.io.socket()
            && let Poll::Ready(error) = self.alive.poll(cx, socket)
        {
            tracing::debug!(%error, "a mesh proxy is gone");
            return Poll::Ready(End::Client);
        }
        let at_rest = self.calls.is_empty() && self.down.out.is_empty();
        if at_rest && self.told { Poll::Ready(End::Drained) } else { Poll::Pending }
    }

    /// Tells both ends what is to be told, and whoever counts.
    async fn end(self, end: End, proof: Option<&str>) {
        let Self { mut client, server, down, mut calls, .. } = self;
        let (words, code) = match end {
            End::Client => {
                // Open calls are cancelled: the application has to see a break.
                return if calls.client_gone() { server.abort() } else { _ = client.finish().await };
            }
            End::Drained => (Vec::new(), Code::NO_ERROR),
            End::Application(why) => (calls.application_gone(why, proof), Code::NO_ERROR),
            End::Broken(broken) => {
                tracing::debug!(?broken, "what a peer sends is no HTTP/2 that can be followed");
                calls.broke_off();
                server.abort();
                (Vec::new(), code(broken))
            }
        };
        // What comes first from a server is SETTINGS, and an application may have said nothing.
        let mut last = Vec::new();
        if !down.frames.has_begun() {
            wire::settings(&[], &mut last);
        }
        last.extend(words);
        wire::go_away(calls.last(), code, &mut last);
        if down.out.is_empty() && (down.may_add() || !down.frames.has_begun()) {
            last_words(&mut client, &last).await;
        } else {
            client.abort();
        }
    }
}

/// Says the last words to a peer. They arrive only if the peer has nothing on its way when the connection is closed, so what it
/// still sends is read.
async fn last_words(client: &mut Stream, words: &[u8]) {
    let said = async {
        client.send(words).await?;
        client.finish().await?;
        loop {
            client.ahead.clear();
            if client.more().await? == 0 {
                return io::Result::Ok(());
            }
        }
    };
    // A peer that does not listen is left.
    _ = tokio::time::timeout(LAST_WORDS_TIMEOUT, said).await;
}

const fn code(broken: Broken) -> Code {
    match broken {
        Broken::NoPreface | Broken::Frame => Code::PROTOCOL_ERROR,
        Broken::Fields => Code::COMPRESSION_ERROR,
        Broken::TooLarge => Code::ENHANCE_YOUR_CALM,
    }
}

#[cfg(test)]
#[path = "watched_tests.rs"]
mod tests;
