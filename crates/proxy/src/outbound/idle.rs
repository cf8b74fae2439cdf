//! The HTTP/1 connections to one endpoint that wait for their next request, and the turns of those who want to open one more.
//! A burst of requests must not become a storm of handshakes: each costs far more CPU than a request, and a storm makes all of
//! them late. Who waits for a turn takes a connection that comes back meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::connect::Http1;

/// So many idle connections are kept for an endpoint: what a burst opened, but not what a flood did.
const IDLE_MAX: usize = 128;
/// So many connections to one endpoint are opened at once: handshakes are bound by CPU, so more of them at once only makes each
/// slower, while fewer would wait for the network's round trips.
pub const OPENING_MAX: usize = 16;

/// The idle connections to one endpoint.
#[derive(Debug)]
pub struct Idle {
    // Guards the list, for a push or a pop; never held while waiting.
    connections: Mutex<Vec<(Http1, Instant)>>,
    turns: Semaphore,
    came_back: Notify,
}

impl Default for Idle {
    fn default() -> Self {
        Self { connections: Mutex::default(), turns: Semaphore::new(OPENING_MAX), came_back: Notify::new() }
    }
}

/// What a request gets.
#[derive(Debug)]
pub enum Turn<'a> {
    /// A connection that waited.
    Connection(Http1),
    /// The right to open one, for as long as the permit is held.
    Open(SemaphorePermit<'a>),
}

impl Idle {
    /// A connection that is still usable, or the turn to open one. Waits while [`OPENING_MAX`] are being opened; the caller
    /// bounds the wait.
    pub async fn turn(&self) -> Turn<'_> {
        loop {
            // Made before the look, so that what comes back between the look and the wait is not missed.
            let came_back = self.came_back.notified();
            if let Some(connection) = self.pop() {
                return Turn::Connection(connection);
            }
            tokio::select! {
                biased;
                // The semaphore is never closed.
                Ok(permit) = self.turns.acquire() => return Turn::Open(permit),
                () = came_back => {}
            }
        }
    }

    fn pop(&self) -> Option<Http1> {
        loop {
            // Its own statement: the lock is not held while the connection is looked at.
            let popped = self.lock().pop();
            let (mut connection, _) = popped?;
            if connection.stream.is_quiet() && !connection.stream.is_clogged() {
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    /// Takes back a connection whose exchange ended well.
    pub fn give_back(&self, connection: Http1) {
        let mut connections = self.lock();
        if connections.len() < IDLE_MAX {
            connections.push((connection, Instant::now()));
            drop(connections);
            self.came_back.notify_one();
        }
    }

    /// Closes connections that have waited longer than `age`.
    pub fn drop_older(&self, age: Duration) {
        let expired: Vec<_> = {
            let mut connections = self.lock();
            let fresh =
                connections.iter().position(|(_, since)| since.elapsed() < age).unwrap_or(connections.len());
            let expired = connections.drain(..fresh).collect();
            if connections.is_empty() {
                connections.shrink_to_fit();
            }
            expired
        };
        drop(expired);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Http1, Instant)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;
