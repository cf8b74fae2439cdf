//! Traffic by edge: one set of counters for each peer workload, service, protocol and protection. Labels are names that
//! discovery or a certificate gave, never something a client can make up, and their number is bounded all the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use conduit_logic::stats::{BUCKETS, bucket_of};
use conduit_logic::words::{Direction, Identity, Protocol, Service, Workload};

/// Edges with counters of their own: a pod that talks to more workloads than this is rare, and each costs up to 4 KiB. What
/// comes beyond them is counted together.
pub(super) const EDGES_MAX: usize = 500;
/// An edge that carried nothing for this long is forgotten.
const UNUSED_AGE: Duration = Duration::from_secs(600);

/// How the bytes between two proxies are protected, and who they proved to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The key exchange group.
    pub key_exchange: &'static str,
    /// Our identity.
    pub local: Identity,
    /// The peer's.
    pub peer: Identity,
}

/// What tells one edge from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    /// Which side of the pod.
    pub direction: Direction,
    /// What it speaks.
    pub protocol: Protocol,
    /// Outbound: the destination's workload. Inbound: empty, the certificate tells who it is.
    pub peer_workload: Workload,
    /// Outbound: the service that was called.
    pub service: Option<Service>,
    /// `None` in the clear.
    pub tls: Option<Arc<TlsFacts>>,
}

/// How a request or connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// The application failed.
    Failure,
    /// The mesh failed.
    MeshFailure,
}

/// The counters of one edge.
#[derive(Debug, Default)]
pub struct EdgeStats {
    outcomes: [AtomicU64; 3],
    opened: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    latency_us: AtomicU64,
    // Made when the first request ends: edges of TCP need none.
    latency: OnceLock<Box<[AtomicU32; BUCKETS]>>,
}

impl EdgeStats {
    fn outcome(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended.
    pub fn request(&self, outcome: Outcome, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.outcome(outcome);
        self.latency_us.fetch_add(us, Ordering::Relaxed);
        let latency = self.latency.get_or_init(|| Box::new([const { AtomicU32::new(0) }; BUCKETS]));
        latency[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that is not looked into began.
    pub fn connection_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// It ended.
    pub fn connection_closed(&self, outcome: Outcome) {
        self.outcome(outcome);
    }

    /// Bytes were moved.
    pub fn bytes(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }

    /// All counters at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let latency = self.latency.get();
        Snapshot {
            outcomes: [0, 1, 2].map(|outcome| get(&self.outcomes[outcome])),
            opened: get(&self.opened),
            sent: get(&self.sent),
            received: get(&self.received),
            latency_us: get(&self.latency_us),
            latency: latency
                .map(|all| all.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect())
                .unwrap_or_default(),
        }
    }
}

/// The counters of an edge at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By [`Outcome`].
    pub outcomes: [u64; 3],
    /// Connections opened.
    pub opened: u64,
    /// Bytes towards the destination.
    pub sent: u64,
    /// Bytes towards the source.
    pub received: u64,
    /// Sum of latencies.
    pub latency_us: u64,
    /// By bucket of `conduit_logic::stats`; wraps around. Empty without any.
    pub latency: Vec<u32>,
}

impl Snapshot {
    /// Counts what another edge counted as well.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.outcomes.iter_mut().zip(other.outcomes) {
            *own += other;
        }
        self.opened += other.opened;
        self.sent += other.sent;
        self.received += other.received;
        self.latency_us += other.latency_us;
        self.latency.resize(self.latency.len().max(other.latency.len()), 0);
        for (own, other) in self.latency.iter_mut().zip(&other.latency) {
            *own = own.wrapping_add(*other);
        }
    }
}

#[derive(Debug)]
struct Entry {
    stats: Arc<EdgeStats>,
    used: Instant,
    seen: Snapshot,
}

/// All edges.
#[derive(Debug, Default)]
pub(super) struct Edges {
    // Guards the map for a lookup per connection and for scrapes; never held while waiting. Requests use handles.
    known: Mutex<HashMap<EdgeKey, Entry>>,
    /// What forgotten edges carried, so that the total never falls.
    forgotten: AtomicU64,
}

/// Requests; connections where there are no requests to see.
fn carried(key: &EdgeKey, counts: &Snapshot) -> u64 {
    if key.protocol.has_requests() { counts.outcomes.iter().sum() } else { counts.opened }
}

impl Edges {
    /// The counters of this edge, or those that all edges beyond the limit share.
    pub(super) fn get(&self, key: &EdgeKey) -> Arc<EdgeStats> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let full = known.len() >= EDGES_MAX;
        let key = if full && !known.contains_key(key) { overflow(key) } else { key.clone() };
        let fresh = || Entry { stats: Arc::default(), used: Instant::now(), seen: Snapshot::default() };
        known.entry(key).or_insert_with(fresh).stats.clone()
    }

    /// Visits all edges with what was counted since the last visit and now; forgets those that nobody uses.
    pub(super) fn since_last(&self, mut visit: impl FnMut(&EdgeKey, &Snapshot, &Snapshot)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|key, entry| {
            let now = entry.stats.snapshot();
            if now != entry.seen {
                visit(key, &entry.seen, &now);
                entry.seen = now;
                entry.used = Instant::now();
            }
            let used = Arc::strong_count(&entry.stats) > 1 || entry.used.elapsed() < UNUSED_AGE;
            if !used {
                self.forgotten.fetch_add(carried(key, &entry.seen), Ordering::Relaxed);
            }
            used
        });
    }

    /// Requests, and connections that are not looked into, since the start.
    pub(super) fn total(&self) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_known: u64 = known.iter().map(|(key, entry)| carried(key, &entry.stats.snapshot())).sum();
        of_known + self.forgotten.load(Ordering::Relaxed)
    }

    /// All edges as they are now.
    pub(super) fn all(&self) -> Vec<(EdgeKey, Snapshot)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(key, entry)| (key.clone(), entry.stats.snapshot())).collect()
    }
}

/// Where an edge beyond the limit is counted.
fn overflow(key: &EdgeKey) -> EdgeKey {
    let peer_workload =
        Workload { namespace: String::new(), kind: String::new(), name: "(others)".to_owned() };
    EdgeKey { direction: key.direction, protocol: key.protocol, peer_workload, service: None, tls: None }
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod tests;
