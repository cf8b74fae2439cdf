//! What the proxy counts: traffic by edge, failures of its own making, its own state. Counting is a few relaxed atomic
//! additions on handles that were looked up before; text (OpenMetrics) and reports to the controller are made from the same
//! counters on the control thread.

mod edges;
mod encode;
pub mod report;
pub mod inspect;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use conduit_logic::words::{Direction, Protocol};

pub use edges::{EdgeKey, EdgeStats, Outcome, TlsFacts};
pub use encode::{METRICS, Metric};

/// Why a request or connection failed in the mesh and not in the application. A metric label and a header's value: closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The service has no ready endpoint.
    NoEndpoint,
    /// No connection to the endpoint or the application.
    Connect,
    /// Mutual TLS failed.
    Tls,
    /// A deadline of the proxy's passed.
    Timeout,
    /// A limit was reached.
    Limit,
    /// The connection broke before a response.
    Reset,
    /// The bytes are not what the protocol allows.
    Protocol,
    /// Nothing is known of the address.
    UnknownDestination,
    /// Not allowed here.
    Refused,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::NoEndpoint,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Limit,
        Self::Reset,
        Self::Protocol,
        Self::UnknownDestination,
        Self::Refused,
    ];

    /// The word in metrics, headers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::UnknownDestination => "unknown_destination",
            Self::Refused => "refused",
        }
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Telemetry {
    edges: edges::Edges,
    started: Instant,
    mesh_failures: [AtomicU64; Reason::ALL.len()],
    detected: [AtomicU64; Protocol::ALL.len()],
    open: [Arc<AtomicUsize>; 2],
    accepted: [AtomicU64; 2],
    /// Whether the discovery stream is up.
    pub discovery_connected: AtomicBool,
    /// Answers that discovery gave.
    pub discovery_updates: AtomicU64,
    /// Answers that could not be understood; the state before them stays.
    pub discovery_rejected: AtomicU64,
    /// Unix time at which the certificate ends; 0 without one.
    pub certificate_not_after: AtomicU64,
    /// Certificates installed.
    pub certificate_rotations: AtomicU64,
    /// Requests and connections that were looked at for a tap; the hub counts them.
    pub tapped: Arc<AtomicU64>,
    /// Events that taps lost because their client was slow.
    pub tap_dropped: AtomicU64,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Telemetry {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            edges: edges::Edges::default(),
            started: Instant::now(),
            mesh_failures: Default::default(),
            detected: Default::default(),
            open: Default::default(),
            accepted: Default::default(),
            discovery_connected: AtomicBool::default(),
            discovery_updates: AtomicU64::default(),
            discovery_rejected: AtomicU64::default(),
            certificate_not_after: AtomicU64::default(),
            certificate_rotations: AtomicU64::default(),
            tapped: Arc::default(),
            tap_dropped: AtomicU64::default(),
        })
    }

    /// The counters of an edge. Beyond the limit of edges all share one.
    #[must_use]
    pub fn edge(&self, key: &EdgeKey) -> Arc<EdgeStats> {
        self.edges.get(key)
    }

    /// Something failed in the mesh.
    pub fn mesh_failure(&self, reason: Reason) {
        self.mesh_failures[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection turned out to speak this.
    pub fn detected(&self, protocol: Protocol) {
        self.detected[protocol as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was accepted; it is open until the result is dropped.
    #[must_use]
    pub fn connection(&self, direction: Direction) -> Open {
        self.accepted[direction as usize].fetch_add(1, Ordering::Relaxed);
        let open = self.open[direction as usize].clone();
        open.fetch_add(1, Ordering::Relaxed);
        Open(open)
    }

    /// Connections that are open, both ways.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        encode::encode(self)
    }
}
