//! Notices that the peer of a connection with bytes on their way has vanished (a node lost, a network cut) without a word. The kernel's own
//! limit (TCP_USER_TIMEOUT, RFC 5482) takes a peer that is there and does not read for one that has gone; here only one that acknowledges
//! nothing has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use conduit_redirect::Unanswered;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// It is looked so many times within the timeout: a peer is gone for at most a quarter more of it before that is known.
const LOOKS: u32 = 4;

/// Looks after one connection, while bytes are on their way.
#[derive(Debug)]
pub struct Alive {
    timeout: Duration,
    next: Option<Pin<Box<Sleep>>>,
    silence: Silence,
}

/// For how long a peer has answered nothing.
#[derive(Debug)]
struct Silence {
    looked: Instant,
    /// Since when at least.
    since: Option<Instant>,
}

impl Alive {
    /// Of a peer that has vanished when it has acknowledged nothing for so long; with zero it never has.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, next: None, silence: Silence { looked: Instant::now(), since: None } }
    }

    /// Bytes were sent.
    pub fn sent(&mut self) {
        if self.next.is_none() && !self.timeout.is_zero() {
            self.next = Some(Box::pin(tokio::time::sleep(self.timeout / LOOKS)));
            let now = Instant::now();
            self.silence = Silence { looked: now, since: Some(now) };
        }
    }

    /// Ready when the peer has vanished.
    pub fn poll(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Error> {
        while let Some(next) = &mut self.next {
            ready!(next.as_mut().poll(cx));
            let now = Instant::now();
            // A socket that has nothing to say of itself is at its end, which whoever reads it hears.
            let Ok(found) = conduit_redirect::unanswered(socket) else { return Poll::Pending };
            if self.silence.look(found, now) >= self.timeout {
                let detail = "the peer acknowledges nothing: it, or the network to it, is gone";
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, detail));
            }
            if found.queued {
                next.as_mut().reset(now + self.timeout / LOOKS);
            } else {
                self.next = None;
            }
        }
        Poll::Pending
    }
}

impl Silence {
    fn look(&mut self, found: Unanswered, now: Instant) -> Duration {
        let heard_since = found.heard < now - self.looked;
        self.looked = now;
        self.since = match self.since {
            _ if !found.asked => None,
            Some(since) if !heard_since => Some(since),
            _ => Some(now),
        };
        self.since.map_or(Duration::ZERO, |since| now - since)
    }
}

#[cfg(test)]
#[path = "alive_tests.rs"]
mod tests;
