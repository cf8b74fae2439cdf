//! A service as this proxy sees it: its endpoints with their load, their breaker and their connections, kept up to date from
//! discovery whenever someone picks. An endpoint that discovery still names keeps its state; one that it no longer names is
//! dropped, and its idle connections with it, while what runs there may finish.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use conduit_logic::balance::{Load, two_of};
use conduit_logic::breaker::{Breaker, Permit};
use conduit_logic::words::{Declared, Destination, Direction, Endpoint, Protocol, Service as ServiceName};

use super::connect::Pool;
use crate::control::DestinationWatch;
use crate::failure::Failure;
use crate::telemetry::{EdgeKey, EdgeStats, Reason, Telemetry, TlsFacts};

/// One endpoint of a service.
#[derive(Debug)]
pub struct EndpointState {
    /// What discovery says of it.
    pub endpoint: Arc<Endpoint>,
    /// Connections to it.
    pub pool: Pool,
    // Guards load and breaker for a few arithmetic operations; never held while waiting.
    load: Mutex<(Load, Breaker)>,
    edges: [OnceLock<Arc<EdgeStats>>; Protocol::ALL.len()],
}

impl EndpointState {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        let load = Mutex::new((Load::new(Instant::now()), Breaker::default()));
        Self { endpoint, pool: Pool::default(), load, edges: Default::default() }
    }

    fn lock(&self) -> MutexGuard<'_, (Load, Breaker)> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of what this proxy exchanges with the endpoint's workload in `protocol`; looked up once.
    pub fn edge(
        &self,
        telemetry: &Telemetry,
        service: Option<&ServiceName>,
        protocol: Protocol,
        tls: Option<&Arc<TlsFacts>>,
    ) -> Arc<EdgeStats> {
        let slot = &self.edges[protocol as usize];
        if let Some(edge) = slot.get() {
            return edge.clone();
        }
        let edge = telemetry.edge(&EdgeKey {
            direction: Direction::Outbound,
            protocol,
            peer_workload: self.endpoint.workload.clone(),
            service: service.cloned(),
            tls: tls.cloned(),
        });
        // A connection that is not secured to an endpoint that should be (before its first handshake) is not remembered.
        if tls.is_some() || self.endpoint.identity.is_none() {
            return slot.get_or_init(|| edge).clone();
        }
        edge
    }

    /// What `conduit diagnostics endpoints` shows.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let load = self.lock();
        Snapshot { pending: load.0.pending(), latency: load.0.estimate(), out: load.1.is_out() }
    }
}

/// The state of an endpoint at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Requests or connections that run there now.
    pub pending: u32,
    /// The moving estimate of its latency.
    pub latency: Duration,
    /// Whether the breaker has taken it out.
    pub out: bool,
}

/// A picked endpoint: counts as pending until this is dropped.
#[derive(Debug)]
pub struct Picked {
    /// The endpoint.
    pub state: Arc<EndpointState>,
    destination: Arc<Destination>,
}

impl Picked {
    fn new(state: Arc<EndpointState>, destination: Arc<Destination>) -> Self {
        state.lock().0.begin();
        Self { state, destination }
    }

    /// The service that it was picked for; `None` when the address is a pod's own.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        self.destination.service.as_ref()
    }

    /// The endpoint's application answered, after `latency`.
    pub fn answered(&self, latency: Duration) {
        let mut load = self.state.lock();
        load.1.success();
        load.0.observe(latency, Instant::now());
    }

    /// An answer came, which may be the endpoint's proxy's own, for this reason: then its application has not served.
    pub fn answered_with(&self, proxy_error: Option<&str>, latency: Duration) {
        match proxy_error {
            None => self.answered(latency),
            Some(said) if [Reason::Connect, Reason::Reset].iter().any(|reason| said == reason.as_str()) => {
                self.failed();
            }
            // Whatever else it is says nothing of how quick the application is.
            Some(_) => self.reached(),
        }
    }

    /// The endpoint did something that is no measure of it, and is well.
    pub fn reached(&self) {
        self.state.lock().1.success();
    }

    /// The attempt failed. A limit of our own says nothing of the endpoint.
    pub fn failed_with(&self, failure: &Failure) {
        if failure.reason != Reason::Limit {
            self.failed();
        }
    }

    /// The connection was refused, timed out or broke before an answer.
    pub fn failed(&self) {
        // What waits there was opened before the failure, and is as dead most likely.
        self.state.pool.idle.drop_older(Duration::ZERO);
        if self.state.lock().1.failure(Instant::now(), fastrand::f64()) {
            let (addr, pod) = (self.state.endpoint.addr, &self.state.endpoint.pod);
            tracing::warn!(%addr, %pod, "endpoint taken out of the balancing: it refuses or resets connections");
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.state.lock().0.end();
    }
}

/// The endpoints of one version of a destination.
pub type Endpoints = Arc<[Arc<EndpointState>]>;

#[derive(Debug)]
struct State {
    watch: DestinationWatch,
    /// Nothing was taken from the watch yet.
    fresh: bool,
    destination: Option<Arc<Destination>>,
    endpoints: Endpoints,
    used: Instant,
}

/// A destination address that discovery knows.
#[derive(Debug)]
pub struct Service {
    /// The address that applications connect to.
    pub addr: SocketAddr,
    // Guards the view of discovery; held for a lookup or a rebuild, never while waiting.
    state: Mutex<State>,
    /// What was detected here last, so that the next connection need not be raced.
    pub learned: Learned,
}

/// What earlier connections to an address turned out to speak.
#[derive(Debug, Default)]
pub struct Learned(std::sync::atomic::AtomicBool);

impl Learned {
    /// Remembers that a client spoke HTTP or TLS first, or that it did not.
    pub fn client_first(&self, yes: bool) {
        self.0.store(yes, std::sync::atomic::Ordering::Relaxed);
    }
    /// Whether the last client spoke first.
    #[must_use]
    pub fn is_client_first(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Service {
    /// A service that follows `watch`.
    #[must_use]
    pub fn new(addr: SocketAddr, watch: DestinationWatch) -> Self {
        let state = State {
            watch,
            fresh: true,
            destination: None,
            endpoints: Endpoints::default(),
            used: Instant::now(),
        };
        Self { addr, state: Mutex::new(state), learned: Learned::default() }
    }

    /// The current view: what discovery says, and the state of its endpoints. `None`: the address is no longer known.
    pub fn view(&self) -> Option<(Arc<Destination>, Endpoints)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used = Instant::now();
        if state.fresh || state.watch.has_changed().unwrap_or(false) {
            state.fresh = false;
            let destination = state.watch.borrow_and_update().clone();
            let mut before: HashMap<SocketAddr, Arc<EndpointState>> =
                state.endpoints.iter().map(|e| (e.endpoint.addr, e.clone())).collect();
            let keep = |endpoint: &Arc<Endpoint>| match before.remove(&endpoint.addr) {
                Some(state) if state.endpoint == *endpoint => state,
                _ => Arc::new(EndpointState::new(endpoint.clone())),
            };
            let endpoints = destination.iter().flat_map(|d| &d.endpoints).map(keep).collect();
            state.endpoints = endpoints;
            state.destination = destination;
        }
        Some((state.destination.clone()?, state.endpoints.clone()))
    }

    /// The service's name; `None` when the address is a pod's own.
    #[must_use]
    pub fn name(&self) -> Option<ServiceName> {
        self.view().and_then(|(destination, _)| destination.service.clone())
    }

    /// When it was last used.
    #[must_use]
    pub fn used(&self) -> Instant {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).used
    }

    /// What the port is said to speak.
    #[must_use]
    pub fn declared(&self) -> Declared {
        self.view().map_or(Declared::Detect, |(destination, _)| destination.declared)
    }

    /// Closes connections that have been idle for `age`.
    pub fn drop_idle(&self, age: Duration) {
        let endpoints = self.state.lock().unwrap_or_else(PoisonError::into_inner).endpoints.clone();
        for endpoint in endpoints.iter() {
            endpoint.pool.drop_idle(age);
        }
    }

    /// Picks an endpoint that is not among `tried`: of two at random the cheaper one. An endpoint that is due for a probe is
    /// picked first where it is seen; those that the breaker took out come last, since trying them beats failing for certain.
    #[must_use]
    pub fn pick(&self, tried: &[Arc<EndpointState>]) -> Option<Picked> {
        let (destination, endpoints) = self.view()?;
        let now = Instant::now();
        let sampled = if tried.is_empty() { sample(&endpoints, now) } else { None };
        let state = match sampled {
            Some(state) => state.clone(),
            None => search(&endpoints, tried, now)?,
        };
        Some(Picked::new(state, destination))
    }
}

/// The cheaper of two at random, when both may be used: the others need not be looked at, however many there are.
fn sample(endpoints: &[Arc<EndpointState>], now: Instant) -> Option<&Arc<EndpointState>> {
    let (first, second) = two_of(endpoints.len(), (fastrand::usize(..), fastrand::usize(..)))?;
    let (first, second) = (&endpoints[first], &endpoints[second]);
    let usable = |state: &EndpointState| {
        let load = state.lock();
        (load.1.permit(now) == Permit::Use).then(|| load.0.cost(now, state.endpoint.weight))
    };
    Some(if usable(first)? <= usable(second)? { first } else { second })
}

/// The best of all that were not tried.
fn search(
    endpoints: &[Arc<EndpointState>],
    tried: &[Arc<EndpointState>],
    now: Instant,
) -> Option<Arc<EndpointState>> {
    let untried = |e: &&Arc<EndpointState>| !tried.iter().any(|t| t.endpoint.addr == e.endpoint.addr);
    let mut usable: Vec<&Arc<EndpointState>> = Vec::new();
    let mut out: Vec<&Arc<EndpointState>> = Vec::new();
    for state in endpoints.iter().filter(untried) {
        let mut load = state.lock();
        match load.1.permit(now) {
            Permit::Use => usable.push(state),
            Permit::Probe => {
                load.1.probe(now);
                return Some(state.clone());
            }
            Permit::Avoid => out.push(state),
        }
    }
    let among = if usable.is_empty() { &out } else { &usable };
    let (first, second) = two_of(among.len(), (fastrand::usize(..), fastrand::usize(..)))?;
    let cost = |state: &EndpointState| state.lock().0.cost(now, state.endpoint.weight);
    let (first, second) = (among[first], among[second]);
    let chosen = if Arc::ptr_eq(first, second) || cost(first) <= cost(second) { first } else { second };
    Some(chosen.clone())
}
