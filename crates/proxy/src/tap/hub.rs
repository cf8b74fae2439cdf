//! Matches requests against the taps and hands events over. Runs on the traffic's thread, so it never waits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use conduit_api::common::v1 as common;
use conduit_api::tap::v1::{End, Peer, RequestStart, ResponseHeaders, TapEvent, tap_event};
use conduit_logic::classify;
use conduit_logic::tap::{Facts, Filter};
use conduit_logic::words::{Direction, Pod, Protocol, Service, Workload};
use tokio::sync::mpsc;

use crate::telemetry::TlsFacts;

/// Taps at once: people and dashboards, not systems.
pub(super) const TAPS_MAX: usize = 16;
/// Events on their way to one tap: what a terminal shows in a second or two; a slower client loses some.
pub(super) const EVENTS_MAX: usize = 512;
/// Requests a second that one tap sees at the most, whatever it asks for.
pub(super) const RPS_MAX: f64 = 1000.0;

/// What is known when a request or connection begins.
#[derive(Debug, Clone)]
pub struct StartFacts {
    /// Which side of the pod.
    pub direction: Direction,
    /// What it speaks.
    pub protocol: Protocol,
    /// Who began it.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The destination's workload, where known.
    pub workload: Workload,
    /// The destination's pod, where known.
    pub pod: Pod,
    /// The service that was called.
    pub service: Option<Service>,
    /// How the bytes are protected.
    pub tls: Option<Arc<TlsFacts>>,
    /// Request line; empty for TCP.
    pub method: String,
    /// `http`; empty for TCP.
    pub scheme: String,
    /// Host or :authority.
    pub authority: String,
    /// Path with query.
    pub path: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub struct EndFacts {
    /// Bytes towards the destination.
    pub request_bytes: u64,
    /// Bytes towards the source.
    pub response_bytes: u64,
    /// Of a gRPC call.
    pub grpc_status: Option<u32>,
    /// The response's status, 0 without one.
    pub status: u16,
    /// What went wrong, if something did.
    pub failure: Option<&'static str>,
}

#[derive(Debug)]
struct Tap {
    id: u64,
    filter: Filter,
    sample_rate: f64,
    rps: f64,
    // A token bucket, guarded for one subtraction; never held while waiting.
    tokens: Mutex<(f64, Instant)>,
    events: mpsc::Sender<TapEvent>,
    lost: Arc<Lost>,
}

/// What a tap was not shown since it was last told.
#[derive(Debug, Default)]
pub struct Lost {
    /// Events, because the client was slow.
    pub events: AtomicU64,
    /// Requests that matched, because they were over the tap's rate.
    pub requests: AtomicU64,
}

impl Tap {
    /// Whether one more request may be shown now.
    fn admits(&self) -> bool {
        if fastrand::f64() >= self.sample_rate {
            return false;
        }
        let mut bucket = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refill = now.duration_since(bucket.1).as_secs_f64() * self.rps;
        *bucket = ((bucket.0 + refill).min(self.rps.max(1.0)), now);
        if bucket.0 < 1.0 {
            self.lost.requests.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        bucket.0 -= 1.0;
        true
    }

    fn send(&self, event: TapEvent) {
        if self.events.try_send(event).is_err() {
            self.lost.events.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The taps of this proxy.
#[derive(Debug, Default)]
pub struct Hub {
    active: AtomicUsize,
    tapped: Arc<AtomicU64>,
    next: AtomicU64,
    // Guards the list for a copy of its pointers or a change; never held while waiting.
    taps: Mutex<Vec<Arc<Tap>>>,
}

/// One tap's end: dropping it ends the tap.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    /// Events as they come.
    pub events: mpsc::Receiver<TapEvent>,
    /// What it was not shown.
    pub lost: Arc<Lost>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut taps = self.hub.lock();
        taps.retain(|tap| tap.id != self.id);
        self.hub.active.store(taps.len(), Ordering::Relaxed);
    }
}

impl Hub {
    /// Without taps. Requests that are looked at are counted in `tapped`.
    #[must_use]
    pub fn new(tapped: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { tapped, ..Self::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Tap>>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody taps.
    #[must_use]
    pub fn active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Begins a tap; `None` when there are too many.
    #[must_use]
    pub fn subscribe(
        self: &Arc<Self>,
        filter: Filter,
        max_rps: f64,
        sample_rate: f64,
    ) -> Option<Subscription> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let lost = Arc::new(Lost::default());
        let rps = if max_rps > 0.0 { max_rps.min(RPS_MAX) } else { RPS_MAX };
        let sample_rate = if sample_rate > 0.0 { sample_rate } else { 1.0 };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let tokens = Mutex::new((rps.max(1.0), Instant::now()));
        let tap = Tap { id, filter, sample_rate, rps, tokens, events, lost: lost.clone() };
        let mut taps = self.lock();
        if taps.len() >= TAPS_MAX {
            return None;
        }
        taps.push(Arc::new(tap));
        self.active.store(taps.len(), Ordering::Relaxed);
        drop(taps);
        Some(Subscription { hub: self.clone(), id, events: receiver, lost })
    }

    /// A request or connection begins: gives a ticket if a tap wants to see it.
    #[must_use]
    pub fn start(&self, start: &StartFacts) -> Option<Ticket> {
        self.tapped.fetch_add(1, Ordering::Relaxed);
        let taps = self.lock().clone();
        let (source, destination) = identities(start);
        let facts = Facts {
            direction: start.direction,
            protocol: start.protocol,
            source: start.source,
            destination: start.destination,
            workload: &start.workload,
            source_identity: source,
            destination_identity: destination,
            method: &start.method,
            scheme: &start.scheme,
            authority: &start.authority,
            path: &start.path,
        };
        let wants =
            |tap: &Arc<Tap>| tap.filter.matches_start(&facts) && (tap.filter.needs_end() || tap.admits());
        let taps: Vec<Arc<Tap>> = taps.into_iter().filter(wants).collect();
        if taps.is_empty() {
            return None;
        }
        let template = template(self.next.fetch_add(1, Ordering::Relaxed), start);
        let mut ticket = Ticket { taps, template, began: Instant::now(), held: Vec::new(), ended: false };
        ticket.event(tap_event::Event::RequestStart(RequestStart {
            method: start.method.clone(),
            scheme: start.scheme.clone(),
            authority: start.authority.clone(),
            path: start.path.clone(),
        }));
        Some(ticket)
    }
}

/// A request or connection that is being shown.
#[derive(Debug)]
pub struct Ticket {
    taps: Vec<Arc<Tap>>,
    template: TapEvent,
    began: Instant,
    /// The start and the response, for taps that can judge only at the end: two events at the most.
    held: Vec<TapEvent>,
    ended: bool,
}

impl Ticket {
    fn event(&mut self, event: tap_event::Event) {
        let event = TapEvent { event: Some(event), time_unix_us: unix_us(), ..self.template.clone() };
        for tap in self.taps.iter().filter(|tap| !tap.filter.needs_end()) {
            tap.send(event.clone());
        }
        if self.taps.iter().any(|tap| tap.filter.needs_end()) {
            self.held.push(event);
        }
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The response's status came.
    pub fn response(&mut self, status: u16) {
        let since_request_us = self.elapsed_us();
        self.event(tap_event::Event::ResponseHeaders(ResponseHeaders {
            status: status.into(),
            since_request_us,
        }));
    }

    /// The end.
    pub fn end(mut self, facts: EndFacts) {
        self.finish(facts);
    }

    fn finish(&mut self, facts: EndFacts) {
        self.ended = true;
        let duration_us = self.elapsed_us();
        let failed = facts.failure.is_some()
            || facts.grpc_status.is_some_and(classify::grpc_failed)
            || classify::http_failed(facts.status);
        let end = tap_event::Event::End(End {
            duration_us,
            request_bytes: facts.request_bytes,
            response_bytes: facts.response_bytes,
            grpc_status: facts.grpc_status,
            failure: facts.failure.unwrap_or_default().to_owned(),
            status: facts.status.into(),
        });
        let end = TapEvent { event: Some(end), time_unix_us: unix_us(), ..self.template.clone() };
        for tap in &self.taps {
            if !tap.filter.needs_end() {
                tap.send(end.clone());
            } else if tap.filter.matches_end(failed, facts.status, duration_us) && tap.admits() {
                self.held.iter().for_each(|event| tap.send(event.clone()));
                tap.send(end.clone());
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(EndFacts {
                request_bytes: 0,
                response_bytes: 0,
                grpc_status: None,
                status: 0,
                failure: Some("dropped"),
            });
        }
    }
}

fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

type Names<'a> = (Option<&'a conduit_logic::words::Identity>, Option<&'a conduit_logic::words::Identity>);

/// Who source and destination proved to be.
fn identities(start: &StartFacts) -> Names<'_> {
    match (&start.tls, start.direction) {
        (None, _) => (None, None),
        (Some(tls), Direction::Outbound) => (Some(&tls.local), Some(&tls.peer)),
        (Some(tls), Direction::Inbound) => (Some(&tls.peer), Some(&tls.local)),
    }
}

/// What all events of a request share.
fn template(id: u64, start: &StartFacts) -> TapEvent {
    let (source, destination) = identities(start);
    let name = |identity: Option<&conduit_logic::words::Identity>| {
        identity.map(ToString::to_string).unwrap_or_default()
    };
    let tls = start.tls.as_ref().map(|tls| common::TlsInfo {
        version: tls.version.to_owned(),
        key_exchange: tls.key_exchange.to_owned(),
        local_identity: tls.local.to_string(),
        peer_identity: tls.peer.to_string(),
    });
    TapEvent {
        id,
        pod: None,
        direction: common::Direction::from(start.direction).into(),
        protocol: common::Protocol::from(start.protocol).into(),
        source: Some(Peer { address: Some(start.source.into()), identity: name(source), ..Peer::default() }),
        destination: Some(Peer {
            address: Some(start.destination.into()),
            identity: name(destination),
            workload: (start.workload != Workload::default()).then(|| (&start.workload).into()),
            pod: (start.pod != Pod::default()).then(|| (&start.pod).into()),
            service: start.service.as_ref().map(Into::into),
        }),
        tls,
        event: None,
        time_unix_us: 0,
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
