//! The counters as OpenMetrics text. One table names every metric; the text and docs/metrics.md are made from it.
//!
//! Source: the OpenMetrics specification; names follow Prometheus' conventions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::Ordering;

use conduit_logic::stats::bucket_range;
use conduit_logic::words::{Direction, Protocol};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::edges::{EdgeKey, Outcome, Snapshot};
use super::{Reason, Telemetry};

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Without the suffixes that the format adds.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static str,
}

const EDGE: &str = "direction, protocol, peer_namespace, peer_workload, service, tls, peer_identity";

/// Every metric of the proxy.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "conduit_proxy_requests",
        kind: "counter",
        help: "Requests that ended, by outcome: success, failure (the application's) or mesh_failure",
        labels: "direction, protocol, peer_namespace, peer_workload, service, tls, peer_identity, outcome",
    },
    Metric {
        name: "conduit_proxy_request_duration_seconds",
        kind: "histogram",
        help: "From a request's head to the end of its response",
        labels: EDGE,
    },
    Metric {
        name: "conduit_proxy_tcp_connections_opened",
        kind: "counter",
        help: "Connections that are not looked into (TCP and the application's own TLS) that began",
        labels: EDGE,
    },
    Metric {
        name: "conduit_proxy_tcp_connections_closed",
        kind: "counter",
        help: "Connections that are not looked into that ended, by outcome",
        labels: "direction, protocol, peer_namespace, peer_workload, service, tls, peer_identity, outcome",
    },
    Metric {
        name: "conduit_proxy_sent_bytes",
        kind: "counter",
        help: "Bytes of bodies and connections towards the destination",
        labels: EDGE,
    },
    Metric {
        name: "conduit_proxy_received_bytes",
        kind: "counter",
        help: "Bytes of bodies and connections towards the source",
        labels: EDGE,
    },
    Metric {
        name: "conduit_proxy_mesh_failures",
        kind: "counter",
        help: "Failures of the mesh's own making",
        labels: "reason",
    },
    Metric {
        name: "conduit_proxy_detected",
        kind: "counter",
        help: "Connections by the protocol that was detected",
        labels: "protocol",
    },
    Metric {
        name: "conduit_proxy_connections_accepted",
        kind: "counter",
        help: "Connections accepted",
        labels: "direction",
    },
    Metric {
        name: "conduit_proxy_connections_open",
        kind: "gauge",
        help: "Connections open",
        labels: "direction",
    },
    Metric {
        name: "conduit_proxy_discovery_connected",
        kind: "gauge",
        help: "1 while the stream to the controller is up",
        labels: "",
    },
    Metric {
        name: "conduit_proxy_discovery_updates",
        kind: "counter",
        help: "Answers of discovery",
        labels: "",
    },
    Metric {
        name: "conduit_proxy_discovery_rejected",
        kind: "counter",
        help: "Answers of discovery that could not be understood; the state before stays",
        labels: "",
    },
    Metric {
        name: "conduit_proxy_certificate_expiry_timestamp_seconds",
        kind: "gauge",
        help: "When the certificate ends, 0 without one",
        labels: "",
    },
    Metric {
        name: "conduit_proxy_certificate_rotations",
        kind: "counter",
        help: "Certificates installed",
        labels: "",
    },
    Metric {
        name: "conduit_proxy_tapped",
        kind: "counter",
        help: "Requests and connections that were looked at for a tap; while nobody taps, none is",
        labels: "",
    },
    Metric {
        name: "conduit_proxy_tap_events_dropped",
        kind: "counter",
        help: "Events that a tap lost because its client was slow",
        labels: "",
    },
    Metric { name: "process_resident_memory_bytes", kind: "gauge", help: "Resident memory", labels: "" },
    Metric { name: "process_cpu_seconds", kind: "counter", help: "CPU time, user and system", labels: "" },
    Metric {
        name: "conduit_proxy_uptime_seconds",
        kind: "gauge",
        help: "Seconds since the start",
        labels: "",
    },
];

/// Upper bounds of the duration histogram in µs. A latency is counted under a bound with the error of the buckets it is kept
/// in, at most 6.25 %.
const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000,
];

/// All metrics as text.
pub(super) fn encode(telemetry: &Telemetry) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page::new(telemetry)));
    let mut text = String::new();
    match text::encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing to a String does not fail; should it ever, an empty page says so.
        Err(fmt::Error) => String::new(),
    }
}

/// A metric's name, the name of its label (empty without one), and its values by label.
type Rows<T> = (&'static str, &'static str, Vec<(&'static str, T)>);

/// What a page is made from, at one moment.
#[derive(Debug)]
struct Page {
    edges: Vec<(EdgeKey, Snapshot)>,
    counters: Vec<Rows<u64>>,
    gauges: Vec<Rows<f64>>,
    cpu_seconds: f64,
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; the numbers are far below 2^52")]
impl Page {
    fn new(t: &Telemetry) -> Self {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let one = |value| vec![("", value)];
        let directions = [Direction::Inbound, Direction::Outbound];
        Self {
            edges: merged(t.edges.all()),
            counters: vec![
                (
                    "conduit_proxy_mesh_failures",
                    "reason",
                    Reason::ALL.map(|r| (r.as_str(), get(&t.mesh_failures[r as usize]))).to_vec(),
                ),
                (
                    "conduit_proxy_detected",
                    "protocol",
                    Protocol::ALL.map(|p| (p.as_str(), get(&t.detected[p as usize]))).to_vec(),
                ),
                (
                    "conduit_proxy_connections_accepted",
                    "direction",
                    directions.map(|d| (d.as_str(), get(&t.accepted[d as usize]))).to_vec(),
                ),
                ("conduit_proxy_discovery_updates", "", one(get(&t.discovery_updates))),
                ("conduit_proxy_discovery_rejected", "", one(get(&t.discovery_rejected))),
                ("conduit_proxy_certificate_rotations", "", one(get(&t.certificate_rotations))),
                ("conduit_proxy_tapped", "", one(get(&t.tapped))),
                ("conduit_proxy_tap_events_dropped", "", one(get(&t.tap_dropped))),
            ],
            gauges: vec![
                (
                    "conduit_proxy_connections_open",
                    "direction",
                    directions
                        .map(|d| (d.as_str(), t.open[d as usize].load(Ordering::Relaxed) as f64))
                        .to_vec(),
                ),
                (
                    "conduit_proxy_discovery_connected",
                    "",
                    vec![("", f64::from(u8::from(t.discovery_connected.load(Ordering::Relaxed))))],
                ),
                (
                    "conduit_proxy_certificate_expiry_timestamp_seconds",
                    "",
                    vec![("", get(&t.certificate_not_after) as f64)],
                ),
                ("process_resident_memory_bytes", "", vec![("", conduit_process::usage::rss_bytes() as f64)]),
                ("conduit_proxy_uptime_seconds", "", vec![("", t.started.elapsed().as_secs_f64())]),
            ],
            cpu_seconds: conduit_process::usage::cpu_seconds(),
        }
    }
}

/// One set of counters for each set of labels: edges differ in more than is told.
fn merged(edges: Vec<(EdgeKey, Snapshot)>) -> Vec<(EdgeKey, Snapshot)> {
    let mut places = HashMap::<_, usize>::new();
    let mut merged: Vec<(EdgeKey, Snapshot)> = Vec::new();
    for (key, counts) in edges {
        match places.entry(labels(&key)) {
            Entry::Occupied(place) => merged[*place.get()].1.add(&counts),
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push((key, counts));
            }
        }
    }
    merged
}

fn help(name: &str) -> &'static str {
    METRICS.iter().find(|metric| metric.name == name).map_or("", |metric| metric.help)
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, label, values) in &self.counters {
            let mut metric = encoder.encode_descriptor(name, help(name), None, MetricType::Counter)?;
            for (value, count) in values {
                let count = ConstCounter::new(*count);
                match *label {
                    "" => count.encode(metric.encode_family(&NO_LABELS)?)?,
                    label => count.encode(metric.encode_family(&[(label, *value)])?)?,
                }
            }
        }
        for (name, label, values) in &self.gauges {
            let mut metric = encoder.encode_descriptor(name, help(name), None, MetricType::Gauge)?;
            for (value, gauge) in values {
                let gauge = ConstGauge::new(*gauge);
                match *label {
                    "" => gauge.encode(metric.encode_family(&NO_LABELS)?)?,
                    label => gauge.encode(metric.encode_family(&[(label, *value)])?)?,
                }
            }
        }
        let name = "process_cpu_seconds";
        let mut metric = encoder.encode_descriptor(name, help(name), None, MetricType::Counter)?;
        ConstCounter::new(self.cpu_seconds).encode(metric.encode_family(&NO_LABELS)?)?;
        self.encode_edges(&mut encoder)
    }
}

/// Reads one counter.
type Column = fn(&Snapshot) -> u64;

const NO_LABELS: [(&str, &str); 0] = [];

impl Page {
    fn encode_edges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let outcomes = [
            (Outcome::Success, "success"),
            (Outcome::Failure, "failure"),
            (Outcome::MeshFailure, "mesh_failure"),
        ];
        for (name, requests) in
            [("conduit_proxy_requests", true), ("conduit_proxy_tcp_connections_closed", false)]
        {
            let mut metric = encoder.encode_descriptor(name, help(name), None, MetricType::Counter)?;
            for (key, counts) in self.edges.iter().filter(|(key, _)| key.protocol.has_requests() == requests)
            {
                for (outcome, word) in outcomes {
                    let mut labels = labels(key);
                    labels.push(("outcome", word.to_owned()));
                    ConstCounter::new(counts.outcomes[outcome as usize])
                        .encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        let columns: [(&str, Column); 3] = [
            ("conduit_proxy_tcp_connections_opened", |counts| counts.opened),
            ("conduit_proxy_sent_bytes", |counts| counts.sent),
            ("conduit_proxy_received_bytes", |counts| counts.received),
        ];
        for (name, value) in columns {
            let mut metric = encoder.encode_descriptor(name, help(name), None, MetricType::Counter)?;
            for (key, counts) in &self.edges {
                ConstCounter::new(value(counts)).encode(metric.encode_family(&labels(key))?)?;
            }
        }
        let name = "conduit_proxy_request_duration_seconds";
        let mut metric = encoder.encode_descriptor(name, help(name), None, MetricType::Histogram)?;
        for (key, counts) in self.edges.iter().filter(|(_, counts)| !counts.latency.is_empty()) {
            let (buckets, total) = buckets(&counts.latency);
            #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds in seconds")]
            let sum = counts.latency_us as f64 / 1e6;
            metric.encode_family(&labels(key))?.encode_histogram(
                sum,
                total,
                &buckets,
                None::<
                    &HashMap<usize, prometheus_client::metrics::exemplar::Exemplar<[(&str, &str); 0], f64>>,
                >,
            )?;
        }
        Ok(())
    }
}

/// Counts under each bound (not cumulative), and the total.
fn buckets(latency: &[u32]) -> (Vec<(f64, u64)>, u64) {
    let mut counts = [0u64; BOUNDS_US.len() + 1];
    for (bucket, count) in latency.iter().enumerate() {
        let (low, _) = bucket_range(bucket);
        let at = BOUNDS_US.iter().position(|bound| low < *bound).unwrap_or(BOUNDS_US.len());
        counts[at] += u64::from(*count);
    }
    #[expect(clippy::cast_precision_loss, reason = "bounds below 2^24")]
    let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
    (bounds.zip(counts).collect(), counts.iter().sum())
}

fn labels(key: &EdgeKey) -> Vec<(&'static str, String)> {
    vec![
        ("direction", key.direction.as_str().to_owned()),
        ("protocol", key.protocol.as_str().to_owned()),
        ("peer_namespace", key.peer_workload.namespace.clone()),
        ("peer_workload", key.peer_workload.name.clone()),
        ("service", key.service.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("tls", key.tls.is_some().to_string()),
        ("peer_identity", key.tls.as_ref().map(|tls| tls.peer.to_string()).unwrap_or_default()),
    ]
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
