//! A tunnel that moves a lot goes on over a TLS connection of its own, where nothing is cut into frames and no window but TCP's holds it
//! up. The server of a tunnel offers that in its answer; the client opens the connection and says which tunnel it is for. Then each way
//! goes over by itself: its end in the stream says that it goes on in the other connection, whose own end is the true one.
//!
//! Source: `docs/decisions/0019-a-tunnel-that-moves-a-lot-gets-a-connection-of-its-own.md`.

use std::io;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::http2::wire::Code;
use tokio::sync::OwnedSemaphorePermit;

use super::{Trunk, broken, wake};
use crate::tcp::stream::Io;

/// The application protocol (ALPN) of a tunnel's own connection.
pub const ALPN_BYPASS: &[u8] = b"conduit-bypass";
/// In the answer to a CONNECT: the tunnel may get a connection of its own.
pub const OFFER: (&str, &str) = ("conduit-bypass", "1");

/// What the client says first on a tunnel's own connection. Nothing follows before the answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    /// What only the two ends of the tunnel's shared connection know (`conduit_tls::proof`).
    pub proof: String,
    /// The tunnel's stream in it.
    pub stream: u32,
    /// The client's way has ended in the stream already, and does not go on.
    pub ended: bool,
}

/// Bytes of a proof.
const PROOF_BYTES: usize = 32;

impl Hello {
    /// Its length: the proof, the stream in network order, and whether the way has ended.
    pub const BYTES: usize = PROOF_BYTES + 5;

    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.proof.as_bytes(), &self.stream.to_be_bytes(), &[u8::from(self.ended)]].concat()
    }

    /// What came; `None` when nobody says such a thing.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (proof, rest) = bytes.split_at(PROOF_BYTES);
        let [a, b, c, d, ended @ (0 | 1)] = *rest else { return None };
        let proof = String::from_utf8(proof.to_vec()).ok()?;
        Some(Self { proof, stream: u32::from_be_bytes([a, b, c, d]), ended: ended == 1 })
    }
}

/// The server's one byte: there is no such tunnel (any more).
pub const UNKNOWN: u8 = 0;
/// The server's one byte: its way goes on here.
pub const GOES_ON: u8 = 1;
/// The server's one byte: its way has ended in the stream already.
pub const ENDED: u8 = 2;

/// A connection of its own that a tunnel goes on over.
#[derive(Debug)]
pub struct Way {
    /// The TLS connection, on which both ends have agreed.
    pub io: Io,
    /// The peer's way has ended in the stream, and does not go on.
    pub ended: bool,
    /// A peer that acknowledges nothing for so long has vanished.
    pub unacknowledged: Duration,
    /// Its place among those that there may be, if they are counted here.
    pub place: Option<OwnedSemaphorePermit>,
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

/// What those that open and accept such connections do.
impl Trunk {
    /// What proves to the peer that the client of this connection asks.
    #[must_use]
    pub fn proof(&self) -> Option<&str> {
        self.proof.as_deref()
    }

    /// Begins to move a tunnel, and says whether our way in it has ended. `None` when there is no such tunnel, it is at its end, or it has moved before.
    /// [`Trunk::bypass`] or [`Trunk::no_bypass`] must follow: no way ends before.
    #[must_use]
    pub fn begin_bypass(&self, stream: u32) -> Option<bool> {
        let mut state = self.lock();
        let open = state.tunnels.get_mut(stream)?;
        let over = open.ended && open.finished;
        if over || open.broken.is_some() || !matches!(open.bypass, Bypass::No) {
            return None;
        }
        open.bypass = Bypass::Coming;
        Some(open.ended)
    }

    /// The tunnel goes on over `way`.
    pub fn bypass(&self, stream: u32, way: Way) {
        self.settle(stream, Bypass::Here(Box::new(way)));
    }

    /// The tunnel stays where it is. `doubtful` when the peer may think otherwise.
    pub fn no_bypass(&self, stream: u32, doubtful: bool) {
        self.settle(stream, if doubtful { Bypass::Doubtful } else { Bypass::No });
    }

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

    /// Takes the connection that is there for a tunnel, and ends our way in the stream. Says whether it had ended before, and does not go on.
    pub(in crate::http) fn take_bypass(&self, stream: u32) -> Option<(Way, bool)> {
        let state = &mut *self.lock();
        let open = state.tunnels.get_mut(stream)?;
        let way = match std::mem::replace(&mut open.bypass, Bypass::Taken) {
            Bypass::Here(way) => *way,
            other => {
                open.bypass = other;
                return None;
            }
        };
        let ended = std::mem::replace(&mut open.ended, true);
        if !ended {
            state.http.send_data(stream, &[], true);
            wake(state.waker.as_ref());
        }
        Some((way, ended))
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
