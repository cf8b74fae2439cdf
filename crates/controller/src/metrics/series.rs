//! What proxies reported, by what it is about, in slots of time: short ones for the last minute, long ones for the last ten.
//! Pure but for its lock; the clock is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conduit_api::common::v1 as common;
use conduit_api::metrics::v1::{EdgeReport, ProxyStats, ReportRequest};
use conduit_logic::stats::Counts;
use conduit_logic::words::{Direction, Protocol, Service, Workload};

use super::past::Past;
use crate::model::Name;

/// Series at the most: 5,000 proxies with ten edges each. What comes beyond is dropped and counted.
pub const SERIES_MAX: usize = 50_000;
/// Edges taken from one report: what a proxy's own limit is.
pub const EDGES_MAX: usize = 600;
/// Series of one pod, so that one that reports ever other names cannot take those of all.
pub const POD_SERIES_MAX: usize = 2 * EDGES_MAX;
/// The longest name or identity taken from a report, in bytes: what a SPIFFE ID may have.
const NAME_BYTES_MAX: usize = 2048;

const FINE: Slots = Slots { width: Duration::from_secs(2), count: 31 };
const COARSE: Slots = Slots { width: Duration::from_secs(30), count: 21 };

#[derive(Debug, Clone, Copy)]
struct Slots {
    width: Duration,
    count: u64,
}

/// How the bytes of an edge are protected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tls {
    /// `TLSv1.3`.
    pub version: String,
    /// The key exchange group.
    pub key_exchange: String,
    /// The reporter's identity.
    pub local: String,
    /// The peer's.
    pub peer: String,
}

/// What a series is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The reporting pod.
    pub pod: Name,
    /// Its workload.
    pub workload: Workload,
    /// Which side of the pod.
    pub direction: Direction,
    /// What was spoken.
    pub protocol: Protocol,
    /// Outbound: the destination's workload.
    pub peer: Workload,
    /// Outbound: the service that was called.
    pub service: Option<Service>,
    /// `None` in the clear.
    pub tls: Option<Tls>,
}

/// Counts over some time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Requests, or connections that ended, that went well.
    pub successes: u64,
    /// That did not.
    pub failures: u64,
    /// Of the failures, the mesh's own.
    pub mesh_failures: u64,
    /// Latencies.
    pub latency: Counts,
    /// Bytes towards the destination.
    pub sent: u64,
    /// Bytes towards the source.
    pub received: u64,
    /// Connections that began.
    pub connections: u64,
}

impl Sums {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        // Saturating: a proxy can report any number.
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.successes, other.successes);
        add(&mut self.failures, other.failures);
        add(&mut self.mesh_failures, other.mesh_failures);
        self.latency.merge(&other.latency);
        add(&mut self.sent, other.sent);
        add(&mut self.received, other.received);
        add(&mut self.connections, other.connections);
    }

    /// Requests or connections.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.successes.saturating_add(self.failures)
    }
}

impl From<&EdgeReport> for Sums {
    fn from(edge: &EdgeReport) -> Self {
        let mut latency = Counts::default();
        for bucket in &edge.latency {
            latency.add(bucket.index as usize, bucket.count);
        }
        Self {
            successes: edge.successes,
            failures: edge.failures,
            mesh_failures: edge.mesh_failures.min(edge.failures),
            latency,
            sent: edge.bytes_sent,
            received: edge.bytes_received,
            connections: edge.connections_opened,
        }
    }
}

#[derive(Debug, Default)]
struct Series {
    fine: Ring,
    coarse: Ring,
}

/// The sums of the last slots, by number. Only the last still changes.
#[derive(Debug, Default)]
struct Ring {
    past: VecDeque<(u64, Past)>,
    last: Option<(u64, Sums)>,
}

impl Ring {
    fn add(&mut self, slot: u64, sums: &Sums) {
        match &mut self.last {
            Some((last, sum)) if *last == slot => sum.add(sums),
            last => {
                let over = last.replace((slot, sums.clone()));
                self.past.extend(over.map(|(slot, sums)| (slot, Past::from(&sums))));
            }
        }
    }

    fn forget(&mut self, oldest: u64) {
        while self.past.front().is_some_and(|(slot, _)| *slot < oldest) {
            self.past.pop_front();
        }
        self.last.take_if(|(slot, _)| *slot < oldest);
    }

    fn over(&self, wanted: impl Fn(u64) -> bool) -> Sums {
        let mut sums = Sums::default();
        for (_, past) in self.past.iter().filter(|(slot, _)| wanted(*slot)) {
            sums.add(&past.into());
        }
        if let Some((_, last)) = self.last.as_ref().filter(|(slot, _)| wanted(*slot)) {
            sums.add(last);
        }
        sums
    }
}

impl Series {
    fn add(&mut self, since_start: Duration, sums: &Sums) {
        for (slots, ring) in [(FINE, &mut self.fine), (COARSE, &mut self.coarse)] {
            ring.add(slots.at(since_start), sums);
        }
        self.forget(since_start);
    }

    fn forget(&mut self, since_start: Duration) {
        for (slots, ring) in [(FINE, &mut self.fine), (COARSE, &mut self.coarse)] {
            ring.forget(slots.at(since_start).saturating_sub(slots.count));
        }
    }

    fn over(&self, since_start: Duration, window: Duration) -> Sums {
        let slots = slots_for(window);
        let ring = if slots.width == FINE.width { &self.fine } else { &self.coarse };
        let first = slots.at(since_start.saturating_sub(window));
        ring.over(|slot| slot > first || since_start < window)
    }
}

const fn slots_for(window: Duration) -> Slots {
    if window.as_secs() <= 60 { FINE } else { COARSE }
}

impl Slots {
    fn begin(self, slot: u64) -> Duration {
        Duration::from_secs(slot * self.width.as_secs())
    }

    fn at(self, since_start: Duration) -> u64 {
        since_start.as_secs() / self.width.as_secs()
    }
}

/// What a proxy last said of itself.
#[derive(Debug, Clone)]
pub struct ProxyState {
    /// Its workload.
    pub workload: Workload,
    /// Its own figures.
    pub stats: ProxyStats,
    /// When it said so.
    pub heard: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    series: HashMap<Key, Series>,
    series_of: HashMap<Name, usize>,
    proxies: HashMap<Name, ProxyState>,
    refused: u64,
    swept: u64,
}

impl Inner {
    fn add(&mut self, key: Key, since_start: Duration, sums: &Sums) {
        if let Some(series) = self.series.get_mut(&key) {
            series.add(since_start, sums);
            return;
        }
        let of_pod = self.series_of.entry(key.pod.clone()).or_default();
        if *of_pod >= POD_SERIES_MAX || self.series.len() >= SERIES_MAX {
            self.refused += 1;
            return;
        }
        *of_pod += 1;
        self.series.entry(key).or_default().add(since_start, sums);
    }

    fn sweep(&mut self, since_start: Duration) {
        self.series.retain(|_, series| {
            series.forget(since_start);
            series.coarse.last.is_some()
        });
        self.series_of.clear();
        for key in self.series.keys() {
            *self.series_of.entry(key.pod.clone()).or_default() += 1;
        }
    }
}

/// All that was reported.
#[derive(Debug)]
pub struct Aggregate {
    start: Instant,
    // Guards everything for one report or one question; never held while waiting.
    inner: Mutex<Inner>,
}

impl Aggregate {
    /// Nothing yet.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self { start, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report in. Pod and workload are what the model says of the caller, not what the report says.
    pub fn report(&self, pod: &Name, workload: &Workload, report: &ReportRequest, now: Instant) {
        let since_start = now.saturating_duration_since(self.start);
        let mut inner = self.lock();
        for edge in report.edges.iter().take(EDGES_MAX) {
            let Some(key) = key(pod, workload, edge) else { continue };
            inner.add(key, since_start, &edge.into());
        }
        if let Some(stats) = report.proxy.clone() {
            inner.proxies.insert(pod.clone(), ProxyState { workload: workload.clone(), stats, heard: now });
        }
        let slot = COARSE.at(since_start);
        if inner.swept != slot {
            inner.swept = slot;
            inner.sweep(since_start);
            let age = COARSE.width.saturating_mul(u32::try_from(COARSE.count).unwrap_or(u32::MAX));
            inner.proxies.retain(|_, proxy| now.saturating_duration_since(proxy.heard) < age);
        }
    }

    /// The counts of each series over the last `window`.
    #[must_use]
    pub fn over(&self, window: Duration, now: Instant) -> Vec<(Key, Sums)> {
        let since_start = now.saturating_duration_since(self.start);
        let inner = self.lock();
        let sums = inner.series.iter().map(|(key, series)| (key.clone(), series.over(since_start, window)));
        sums.filter(|(_, sums)| *sums != Sums::default()).collect()
    }

    /// The time that a window really covers: whole slots, and no more than since we began.
    #[must_use]
    pub fn covered(&self, window: Duration, now: Instant) -> Duration {
        let since_start = now.saturating_duration_since(self.start);
        let slots = slots_for(window);
        let before = match since_start < window {
            true => Duration::ZERO,
            false => slots.begin(slots.at(since_start.saturating_sub(window)) + 1),
        };
        since_start.saturating_sub(before).max(Duration::from_secs(1))
    }

    /// What each proxy last said of itself.
    #[must_use]
    pub fn proxies(&self) -> HashMap<Name, ProxyState> {
        self.lock().proxies.clone()
    }

    /// How many series there are, and how many were refused.
    #[must_use]
    pub fn sizes(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.series.len(), inner.refused)
    }
}

/// Whether every name in a report is short enough to be kept.
fn is_short(edge: &EdgeReport) -> bool {
    let peer = edge.peer_workload.iter().flat_map(|w| [&w.namespace, &w.kind, &w.name]);
    let service = edge.service.iter().flat_map(|s| [&s.namespace, &s.name]);
    let tls = edge
        .tls
        .iter()
        .flat_map(|tls| [&tls.version, &tls.key_exchange, &tls.local_identity, &tls.peer_identity]);
    peer.chain(service).chain(tls).all(|name| name.len() <= NAME_BYTES_MAX)
}

fn key(pod: &Name, workload: &Workload, edge: &EdgeReport) -> Option<Key> {
    if !is_short(edge) {
        return None;
    }
    Some(Key {
        pod: pod.clone(),
        workload: workload.clone(),
        direction: edge.direction().word()?,
        protocol: edge.protocol().word()?,
        peer: edge.peer_workload.clone().map(Workload::from).unwrap_or_default(),
        service: edge.service.clone().and_then(|service| Service::try_from(service).ok()),
        tls: edge.tls.clone().map(|tls: common::TlsInfo| Tls {
            version: tls.version,
            key_exchange: tls.key_exchange,
            local: tls.local_identity,
            peer: tls.peer_identity,
        }),
    })
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
