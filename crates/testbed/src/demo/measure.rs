//! What the mesh says of the demo, asked of the controller's operator API like any operator would, and the document that an
//! unattended run prints. Depends on the API alone. Deliberately absent: any other way to know, except the load's own counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use conduit_api::common::v1::{Protocol, WorkloadRef};
use conduit_api::operator::v1 as operator;
use conduit_api::operator::v1::operator_client::OperatorClient;
use conduit_logic::words;
use serde::Serialize;
use tonic::transport::{Channel, Endpoint};

use super::app::Counts;

/// How long the controller may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The golden metrics of one workload, as a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct WorkloadRow {
    /// The workload.
    pub name: String,
    /// 0 to 1; 1 without any request.
    pub success_rate: f64,
    /// Requests per second; for TCP connections per second.
    pub rps: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 95 % are at most this.
    pub p95_ms: f64,
    /// 99 % are at most this.
    pub p99_ms: f64,
    /// Requests in the time measured.
    pub requests: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Share that came over mutual TLS, 0 to 1.
    pub secured_share: f64,
    /// Pods with a proxy.
    pub pods: u32,
}

/// Who speaks to whom, and how it is protected.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct EdgeRow {
    /// Source workload; empty: unmeshed.
    pub source: String,
    /// Destination workload; empty: outside of the mesh.
    pub destination: String,
    /// `http/1.1`, `grpc`, `tcp`…
    pub protocol: String,
    /// Whether mutual TLS protects it.
    pub secured: bool,
    /// `TLSv1.3`, or empty.
    pub tls_version: String,
    /// `X25519MLKEM768`, or empty.
    pub key_exchange: String,
    /// What the source proved.
    pub source_identity: String,
    /// What the destination proved.
    pub destination_identity: String,
    /// Requests in the time measured.
    pub requests: u64,
}

/// What a proxy costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct ProxyRow {
    /// The pod that it stands beside.
    pub pod: String,
    /// Resident memory.
    pub rss_bytes: u64,
    /// CPU time since its start.
    pub cpu_seconds: f64,
    /// Requests since its start.
    pub requests: u64,
}

/// All that the controller said at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Snapshot {
    /// By name.
    pub workloads: Vec<WorkloadRow>,
    /// By source and destination.
    pub edges: Vec<EdgeRow>,
    /// By pod.
    pub proxies: Vec<ProxyRow>,
    /// Failures of the mesh's own making, as the proxies count them.
    pub mesh_failures: u64,
}

/// What `conduit demo -o json` prints.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Document {
    /// By name.
    pub workloads: Vec<WorkloadRow>,
    /// By source and destination.
    pub edges: Vec<EdgeRow>,
    /// By pod.
    pub proxies: Vec<ProxyRow>,
    /// Failed requests of the mesh's own making: the greater of what the proxies count and what the load generator saw beyond
    /// the application's own failures, since both see the same ones.
    pub mesh_failures: u64,
    /// Of these, as the proxies count them.
    pub mesh_failures_by_proxies: u64,
    /// What the load generator saw, and for how long.
    pub load: Counts,
}

impl Document {
    /// Puts together what the controller and the load generator said.
    #[must_use]
    pub(super) fn new(snapshot: Snapshot, load: Counts) -> Self {
        Self {
            workloads: snapshot.workloads,
            edges: snapshot.edges,
            proxies: snapshot.proxies,
            mesh_failures: snapshot.mesh_failures.max(load.other_failures + load.skipped),
            mesh_failures_by_proxies: snapshot.mesh_failures,
            load,
        }
    }
}

/// The operator API of one controller.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    client: OperatorClient<Channel>,
}

impl Operator {
    /// Speaks to the controller behind a unix socket; connects at the first question.
    ///
    /// # Errors
    /// When the path cannot be that of a socket.
    pub(super) fn new(socket: &Path) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
        Ok(Self { client: OperatorClient::new(endpoint.timeout(ANSWER_TIMEOUT).connect_lazy()) })
    }

    /// Asks for everything in a window of 10, 60 or 600 seconds.
    ///
    /// # Errors
    /// When the controller does not answer.
    pub(super) async fn snapshot(&mut self, window_s: u32) -> anyhow::Result<Snapshot> {
        let stat = operator::StatRequest { window_s, ..operator::StatRequest::default() };
        let stat = self.client.stat(stat).await.context("the controller does not answer")?.into_inner();
        let edges = operator::EdgesRequest { window_s, ..operator::EdgesRequest::default() };
        let edges = self.client.edges(edges).await.context("the controller does not answer")?.into_inner();
        let proxies = operator::ProxiesRequest::default();
        let proxies =
            self.client.proxies(proxies).await.context("the controller does not answer")?.into_inner();
        Ok(read(stat, edges, proxies))
    }
}

fn read(
    stat: operator::StatResponse,
    edges: operator::EdgesResponse,
    proxies: operator::ProxiesResponse,
) -> Snapshot {
    let by_rows: u64 = stat.rows.iter().filter_map(|row| row.golden.as_ref()).map(|g| g.mesh_failures).sum();
    let by_edges: u64 =
        edges.edges.iter().filter_map(|edge| edge.golden.as_ref()).map(|g| g.mesh_failures).sum();
    let mut snapshot = Snapshot { mesh_failures: by_rows.max(by_edges), ..Snapshot::default() };
    snapshot.workloads = stat.rows.into_iter().map(workload).collect();
    snapshot.edges = edges.edges.into_iter().map(edge).collect();
    snapshot.proxies = proxies.proxies.into_iter().map(proxy).collect();
    snapshot.workloads.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.edges.sort_by(|a, b| (&a.source, &a.destination).cmp(&(&b.source, &b.destination)));
    snapshot.proxies.sort_by(|a, b| a.pod.cmp(&b.pod));
    snapshot
}

fn workload(row: operator::StatRow) -> WorkloadRow {
    let golden = row.golden.unwrap_or_default();
    WorkloadRow {
        name: row.resource.unwrap_or_default().name,
        success_rate: golden.success_rate,
        rps: golden.rps,
        p50_ms: golden.p50_ms,
        p95_ms: golden.p95_ms,
        p99_ms: golden.p99_ms,
        requests: golden.requests,
        failures: golden.failures,
        secured_share: row.secured_share,
        pods: row.pods_meshed,
    }
}

fn edge(edge: operator::Edge) -> EdgeRow {
    let name = |workload: Option<WorkloadRef>| workload.unwrap_or_default().name;
    EdgeRow {
        protocol: protocol(edge.protocol()).to_owned(),
        source: name(edge.source),
        destination: name(edge.destination),
        secured: edge.secured,
        tls_version: edge.tls_version,
        key_exchange: edge.key_exchange,
        source_identity: edge.source_identity,
        destination_identity: edge.destination_identity,
        requests: edge.golden.unwrap_or_default().requests,
    }
}

fn proxy(proxy: operator::Proxy) -> ProxyRow {
    ProxyRow {
        pod: proxy.pod.unwrap_or_default().name,
        rss_bytes: proxy.rss_bytes,
        cpu_seconds: proxy.cpu_seconds,
        requests: proxy.requests,
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unspecified => "",
        Protocol::Http1 => words::Protocol::Http1.as_str(),
        Protocol::Http2 => words::Protocol::Http2.as_str(),
        Protocol::Grpc => words::Protocol::Grpc.as_str(),
        Protocol::Tls => words::Protocol::Tls.as_str(),
        Protocol::Opaque => words::Protocol::Opaque.as_str(),
    }
}

/// How a workload's clients reach it, from its edges: the protocols, and the TLS that protects them.
#[must_use]
pub(super) fn protocols(edges: &[EdgeRow]) -> BTreeMap<&str, Vec<&str>> {
    let mut by_workload: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges {
        let protocols = by_workload.entry(&edge.destination).or_default();
        if !protocols.contains(&edge.protocol.as_str()) {
            protocols.push(&edge.protocol);
        }
    }
    by_workload
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
