//! A tunnel that moves a lot goes on over a TLS connection of its own, where nothing is cut into frames and no window but TCP's holds it
//! up. The server of a tunnel offers that in its answer; the client opens the connection and says which tunnel it is for. Then each way
//! goes over by itself: its end in the stream says that it goes on in the other connection, whose own end is the true one.
//!
//! Source: `docs/decisions/0019-a-tunnel-that-moves-a-lot-gets-a-connection-of-its-own.md`.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::http2::wire::Code;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use super::{Trunk, broken, wake};
use crate::tcp::stream::Io;

/// The application protocol (ALPN) of a tunnel's own connection.
pub const ALPN_BYPASS: &[u8] = b"conduit-bypass";
/// In the answer to a CONNECT: the tunnel may get a connection of its own.
pub const OFFER: (&str, &str) = ("conduit-bypass", "1");

/// What the client says first on a tunnel's own connection, when the server is [`READY`]. Nothing follows before the answer.
#[derive(Debug, PartialEq, Eq)]
struct Hello {
    /// What only the two ends of the tunnel's shared connection know (`conduit_tls::proof`).
    proof: String,
    /// The tunnel's stream in it.
    stream: u32,
}

/// Bytes of a proof.
const PROOF_BYTES: usize = 32;

impl Hello {
    /// Its length: the proof, and the stream in network order.
    const BYTES: usize = PROOF_BYTES + 4;

    fn encode(&self) -> Vec<u8> {
        [self.proof.as_bytes(), &self.stream.to_be_bytes()].concat()
    }

    fn parse(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (proof, &[a, b, c, d]) = bytes.split_at(PROOF_BYTES) else { return None };
        let proof = String::from_utf8(proof.to_vec()).ok()?;
        Some(Self { proof, stream: u32::from_be_bytes([a, b, c, d]) })
    }
}

/// The server's first byte: it has accepted the client's certificate. Before that the client risks nothing of the tunnel's.
const READY: u8 = 1;
/// The server's second byte: both ways go on here.
const GOES_ON: u8 = 2;
/// The server's second byte: there is no such tunnel, one of its ways has ended, or it has moved already.
const UNKNOWN: u8 = 0;

/// So long the client waits for the second byte. Bytes move in the stream meanwhile, and only what ends it has to wait; whoever gives up
/// too early breaks a tunnel that its server has taken over. A minute is longer than a proxy ever stands still.
const AGREE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection of its own that a tunnel goes on over.
#[derive(Debug)]
pub struct Way {
    /// The TLS connection.
    pub io: Io,
    /// A peer that acknowledges nothing for so long has vanished.
    pub unacknowledged: Duration,
    /// Lasts as long as the connection does: its place among those that there may be.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// The client's part: agrees with the tunnel's server that it goes on over `way`, on which nothing was said yet. False when the tunnel
/// does not: it stays where it is, or breaks if the server has gone over and cannot be followed. For the server to be ready it waits no
/// longer than `limit`.
pub async fn ask(trunk: &Trunk, stream: u32, mut way: Way, limit: Duration) -> bool {
    let Some(proof) = trunk.proof.clone() else { return false };
    let ready = tokio::time::timeout(limit, way.io.read_u8()).await;
    if !matches!(ready, Ok(Ok(READY))) || !trunk.begin_bypass(stream) {
        return false;
    }
    let answer = tokio::time::timeout(AGREE_TIMEOUT, async {
        way.io.write_all(&Hello { proof, stream }.encode()).await?;
        way.io.flush().await?;
        way.io.read_u8().await
    });
    let outcome = match answer.await {
        Ok(Ok(GOES_ON)) => Bypass::Here(Box::new(way)),
        Ok(Ok(UNKNOWN)) => Bypass::No,
        _ => Bypass::Doubtful,
    };
    let goes_on = matches!(outcome, Bypass::Here(_));
    trunk.settle(stream, outcome);
    goes_on
}

/// The server's part: `find` knows the shared connections by their proofs. False when no tunnel goes on over `way`.
pub async fn answer(mut way: Way, find: impl FnOnce(&str) -> Option<Arc<Trunk>>, limit: Duration) -> bool {
    let mut said = [0; Hello::BYTES];
    let asked = tokio::time::timeout(limit, async {
        way.io.write_u8(READY).await?;
        way.io.flush().await?;
        way.io.read_exact(&mut said).await
    });
    // A client that has given up meanwhile would not follow.
    if !matches!(asked.await, Ok(Ok(_))) || is_readable(&mut way.io).await {
        return false;
    }
    let found = Hello::parse(&said).and_then(|hello| Some((find(&hello.proof)?, hello.stream)));
    let found = found.filter(|(trunk, stream)| trunk.begin_bypass(*stream));
    let told = tokio::time::timeout(limit, async {
        way.io.write_u8(if found.is_some() { GOES_ON } else { UNKNOWN }).await?;
        way.io.flush().await
    });
    let told = matches!(told.await, Ok(Ok(())));
    let Some((trunk, stream)) = found else { return false };
    trunk.settle(stream, if told { Bypass::Here(Box::new(way)) } else { Bypass::Doubtful });
    told
}

/// Whether something comes already, or the end has.
async fn is_readable(io: &mut Io) -> bool {
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_read(cx, &mut buf).is_ready())).await
}

/// How far a tunnel is on its way to a connection of its own.
#[derive(Debug, Default)]
pub(super) enum Bypass {
    /// It stays in its stream.
    #[default]
    No,
    /// Both ends agree on one; neither way ends meanwhile, since what an end means is not known.
    Coming,
    /// It is there.
    Here(Box<Way>),
    /// The tunnel has it.
    Taken,
    /// It broke when the peer may have gone over: that its way has ended cannot be believed.
    Doubtful,
}

impl Trunk {
    /// Begins to move a tunnel: until [`Trunk::settle`] neither of its ways ends. False when one has ended, when there is no such tunnel,
    /// or it was moved before.
    fn begin_bypass(&self, stream: u32) -> bool {
        let mut state = self.lock();
        let Some(open) = state.tunnels.get_mut(stream) else { return false };
        if open.ended || open.finished || open.broken.is_some() || !matches!(open.bypass, Bypass::No) {
            return false;
        }
        open.bypass = Bypass::Coming;
        true
    }

    /// What became of it.
    fn settle(&self, stream: u32, bypass: Bypass) {
        if let Some(open) = self.lock().tunnels.get_mut(stream) {
            open.bypass = bypass;
            self.bypasses.fetch_add(1, Ordering::Release);
            open.wake();
        }
    }

    /// Changes when a tunnel gets one: it is worth to ask then.
    pub(in crate::http) fn bypasses(&self) -> usize {
        self.bypasses.load(Ordering::Acquire)
    }

    /// Takes the connection that is there for a tunnel, and ends our way in the stream.
    pub(in crate::http) fn take_bypass(&self, stream: u32) -> Option<Way> {
        let state = &mut *self.lock();
        let open = state.tunnels.get_mut(stream)?;
        let way = match std::mem::replace(&mut open.bypass, Bypass::Taken) {
            Bypass::Here(way) => *way,
            other => {
                open.bypass = other;
                return None;
            }
        };
        open.ended = true;
        state.http.send_data(stream, &[], true);
        wake(state.waker.as_ref());
        Some(way)
    }

    /// Ready when nothing of the tunnel waits in its stream any more.
    pub(in crate::http) fn poll_gone(&self, stream: u32, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        if !state.http.waits(stream) {
            return Poll::Ready(Ok(()));
        }
        match state.tunnels.get_mut(stream) {
            Some(open) if open.broken.is_none() => {
                open.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(Err(broken(Code::CANCEL))),
        }
    }
}

#[cfg(test)]
#[path = "bypass_tests.rs"]
mod tests;
