//! Reports to the controller what was counted since the last report, so that golden metrics need no other system. A report
//! that cannot be sent is lost; the counters behind /metrics are not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conduit_api::common::v1 as common;
use conduit_api::metrics::v1::metrics_client::MetricsClient;
use conduit_api::metrics::v1::{Bucket, EdgeReport, ProxyStats, ReportRequest};
use conduit_process::tasks::Tasks;
use conduit_process::{build, usage};
use conduit_tls::Credentials;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Telemetry;
use super::edges::{EdgeKey, Outcome, Snapshot};
use crate::config::Config;
use crate::control::{Backoff, Discovery, channel};

/// How often is reported: `conduit stat` is at most this late.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Reports waiting to be sent; more means that the controller is slow, and then reports grow larger instead of more.
const REPORTS_MAX: usize = 2;

/// Starts to report, as a task of `tasks` on the current runtime.
pub fn start(
    config: &Arc<Config>,
    discovery: &Discovery,
    telemetry: &Arc<Telemetry>,
    credentials: &Credentials,
    tasks: &Tasks,
) {
    let reporter = Reporter {
        config: config.clone(),
        discovery: discovery.clone(),
        telemetry: telemetry.clone(),
        credentials: credentials.clone(),
    };
    tasks.spawn_until_stopped("report", Box::pin(reporter.run()));
}

struct Reporter {
    config: Arc<Config>,
    discovery: Discovery,
    telemetry: Arc<Telemetry>,
    credentials: Credentials,
}

impl Reporter {
    async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            tokio::time::sleep(INTERVAL).await;
            if !self.credentials.has_certificate() {
                continue;
            }
            if let Err(error) = self.stream(&mut backoff).await {
                tracing::debug!(
                    error = crate::control::stream::describe(&*error),
                    "reports do not reach the controller"
                );
            }
            backoff.wait().await;
        }
    }

    async fn stream(&self, backoff: &mut Backoff) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let channel = channel::open(&self.config, &self.credentials, false)?;
        let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
        let mut client = MetricsClient::new(channel);
        let mut call = std::pin::pin!(client.report(ReceiverStream::new(outgoing)));
        let mut last = Instant::now();
        loop {
            tokio::select! {
                ended = &mut call => return ended.map(drop).map_err(Into::into),
                () = tokio::time::sleep(INTERVAL) => {
                    // No room: what was counted stays for the next report.
                    if let Ok(room) = reports.try_reserve() {
                        let now = Instant::now();
                        room.send(self.report(now.duration_since(last)));
                        last = now;
                        backoff.reset();
                    }
                }
            }
        }
    }

    fn report(&self, interval: Duration) -> ReportRequest {
        let mut edges = Vec::new();
        self.telemetry.edges.since_last(|key, before, now| edges.push(edge(key, before, now)));
        ReportRequest {
            pod: Some((&self.config.pod).into()),
            workload: Some((&self.discovery.inbound().workload).into()),
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            edges,
            proxy: Some(self.proxy()),
        }
    }

    fn proxy(&self) -> ProxyStats {
        let not_after = self.telemetry.certificate_not_after.load(std::sync::atomic::Ordering::Relaxed);
        ProxyStats {
            rss_bytes: usage::rss_bytes(),
            cpu_seconds: usage::cpu_seconds(),
            requests_total: self.telemetry.edges.total(),
            open_connections: self.telemetry.open_connections() as u64,
            version: build::VERSION.to_owned(),
            certificate_not_after_unix_s: not_after,
            uptime_s: self.telemetry.started.elapsed().as_secs(),
        }
    }
}

/// What one edge carried between two snapshots.
fn edge(key: &EdgeKey, before: &Snapshot, now: &Snapshot) -> EdgeReport {
    let outcome = |outcome: Outcome| now.outcomes[outcome as usize] - before.outcomes[outcome as usize];
    let mesh_failures = outcome(Outcome::MeshFailure);
    let latency = now.latency.iter().enumerate().filter_map(|(bucket, count)| {
        let count = count.wrapping_sub(before.latency.get(bucket).copied().unwrap_or(0));
        let index = u32::try_from(bucket).ok()?;
        (count > 0).then_some(Bucket { index, count: count.into() })
    });
    EdgeReport {
        direction: common::Direction::from(key.direction).into(),
        peer_workload: Some((&key.peer_workload).into()),
        service: key.service.as_ref().map(Into::into),
        protocol: common::Protocol::from(key.protocol).into(),
        tls: key.tls.as_ref().map(|tls| common::TlsInfo {
            version: tls.version.to_owned(),
            key_exchange: tls.key_exchange.to_owned(),
            local_identity: tls.local.to_string(),
            peer_identity: tls.peer.to_string(),
        }),
        successes: outcome(Outcome::Success),
        failures: outcome(Outcome::Failure) + mesh_failures,
        mesh_failures,
        latency: latency.collect(),
        bytes_sent: now.sent - before.sent,
        bytes_received: now.received - before.received,
        connections_opened: now.opened - before.opened,
    }
}
