//! The guard of one request or connection: it counts, and shows it to whoever taps, exactly once, however it ends. Metric
//! handles are looked up before it is made; while nobody taps it holds no more than a clock and a pointer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use conduit_logic::classify;
use conduit_logic::words::{Direction, Pod, Protocol, Service, Workload};

use crate::tap::{EndFacts, Hub, StartFacts, Ticket};
use crate::tcp::pump::Moved;
use crate::telemetry::{EdgeStats, Outcome, TlsFacts};

/// What is known when a request or connection begins.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Which side of the pod.
    pub direction: Direction,
    /// What it speaks.
    pub protocol: Protocol,
    /// Who began it.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The destination's workload and pod, where they are known.
    pub workload: Option<&'a Workload>,
    /// The destination's pod.
    pub pod: Option<&'a Pod>,
    /// The service that was called.
    pub service: Option<&'a Service>,
    /// How the bytes between the proxies are protected.
    pub tls: Option<&'a Arc<TlsFacts>>,
    /// The request line; empty for TCP.
    pub method: &'a str,
    /// `http`, or empty for TCP.
    pub scheme: &'a str,
    /// Host or :authority; the server name for the application's own TLS.
    pub authority: &'a str,
    /// Path with query.
    pub path: &'a str,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// For the success rate.
    pub outcome: Outcome,
    /// Bytes towards the destination.
    pub sent: u64,
    /// Bytes towards the source.
    pub received: u64,
    /// Of a gRPC call.
    pub grpc_status: Option<u32>,
    /// What went wrong, if something did.
    pub failure: Option<&'static str>,
}

/// The guard.
#[derive(Debug)]
pub struct Recorder {
    edge: Arc<EdgeStats>,
    began: Instant,
    ticket: Option<Ticket>,
    status: u16,
    requests: bool,
    done: bool,
}

impl Recorder {
    /// A request or connection that began at `began`.
    #[must_use]
    pub fn start(hub: &Hub, edge: Arc<EdgeStats>, began: Instant, start: Start<'_>) -> Self {
        let requests = start.protocol.has_requests();
        if !requests {
            edge.connection_opened();
        }
        let ticket = if hub.active() { hub.start(&facts(&start)) } else { None };
        Self { edge, began, ticket, status: 0, requests, done: false }
    }

    /// Another endpoint than the one it began with serves the request: that one's counts.
    pub fn moved_to(&mut self, edge: Arc<EdgeStats>) {
        self.edge = edge;
    }

    /// The response's status came.
    pub fn response(&mut self, status: u16) {
        self.status = status;
        if let Some(ticket) = &mut self.ticket {
            ticket.response(status);
        }
    }

    /// The end.
    pub fn end(mut self, end: End) {
        self.record(end);
    }

    fn record(&mut self, end: End) {
        self.done = true;
        self.edge.bytes(end.sent, end.received);
        if self.requests {
            self.edge.request(end.outcome, self.began.elapsed());
        } else {
            self.edge.connection_closed(end.outcome);
        }
        if let Some(ticket) = self.ticket.take() {
            ticket.end(EndFacts {
                request_bytes: end.sent,
                response_bytes: end.received,
                grpc_status: end.grpc_status,
                status: self.status,
                failure: end.failure,
            });
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.done {
            let failure = Some("cancelled");
            self.record(End { outcome: Outcome::Failure, sent: 0, received: 0, grpc_status: None, failure });
        }
    }
}

/// Success or failure of a response that was completed.
#[must_use]
pub fn outcome(status: u16, grpc: bool, grpc_status: Option<u32>, mesh: bool) -> Outcome {
    let failed =
        if grpc { grpc_status.is_none_or(classify::grpc_failed) } else { classify::http_failed(status) };
    match (failed, mesh) {
        (_, true) => Outcome::MeshFailure,
        (true, false) => Outcome::Failure,
        (false, false) => Outcome::Success,
    }
}

/// How a connection that was passed on counts: one that broke is a failure, one that its client left unused is not.
#[must_use]
pub fn of_connection(moved: Moved, broke: bool) -> End {
    let (outcome, failure) = match (broke, moved.unused()) {
        (false, _) => (Outcome::Success, None),
        (true, true) => (Outcome::Success, Some("unused")),
        (true, false) => (Outcome::Failure, Some("reset")),
    };
    End { outcome, sent: moved.sent, received: moved.received, grpc_status: None, failure }
}

fn facts(start: &Start<'_>) -> StartFacts {
    StartFacts {
        direction: start.direction,
        protocol: start.protocol,
        source: start.source,
        destination: start.destination,
        workload: start.workload.cloned().unwrap_or_default(),
        pod: start.pod.cloned().unwrap_or_default(),
        service: start.service.cloned(),
        tls: start.tls.cloned(),
        method: start.method.to_owned(),
        scheme: start.scheme.to_owned(),
        authority: start.authority.to_owned(),
        path: start.path.to_owned(),
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
