//! Who speaks to whom and how it is protected, as a pod's own proxy counted it: read from its metrics, through the API server.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::Space;

/// The port of the proxy's metrics.
const ADMIN: u16 = conduit_logic::ports::PROXY_ADMIN;

/// One way that requests or bytes took.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// `http/1.1`, `grpc`, `tcp`…
    pub(crate) protocol: String,
    /// The workload at the other end; empty for what comes in, or where it is no pod.
    pub(crate) workload: String,
    /// The service that was called, as `namespace/name:port`; empty for what comes in, or where a pod's address was called.
    pub(crate) service: String,
    /// What the other end proved in mutual TLS; `None` in the clear.
    pub(crate) identity: Option<String>,
}

impl Edge {
    /// Whether it may be the kubelet's probes, which come in the clear: a server that speaks first greets them.
    pub(crate) fn may_be_probes(&self) -> bool {
        self.protocol == "tcp" && self.identity.is_none()
    }
}

/// The ways on which this pod's requests or bytes went out.
pub(crate) fn outbound(space: &Space, pod: &str) -> BTreeSet<Edge> {
    edges(&samples(space, pod), "outbound")
}

/// The ways on which requests or bytes came in.
pub(crate) fn inbound(space: &Space, pod: &str) -> BTreeSet<Edge> {
    edges(&samples(space, pod), "inbound")
}

/// How many requests went out so far, and ended well.
pub(crate) fn succeeded(space: &Space, pod: &str) -> f64 {
    let labels = [("direction", "outbound"), ("outcome", "success")];
    let samples = samples(space, pod);
    let requests = samples.iter().filter(|sample| sample.name == "conduit_proxy_requests_total");
    requests.filter(|sample| labels.iter().all(|(name, is)| sample.label(name) == *is)).map(|s| s.value).sum()
}

/// The identity of a service account in this namespace.
pub(crate) fn identity(space: &Space, account: &str) -> Option<String> {
    Some(format!("spiffe://cluster.local/ns/{}/sa/{account}", space.name))
}

/// One line of the metrics.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// `name{label="value",…} number`
    fn parse(line: &str) -> Option<Self> {
        let (name, value) = line.rsplit_once(' ')?;
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let pairs = labels.trim_end_matches('}').split_terminator("\",");
        let pair = |text: &str| {
            text.split_once("=\"").map(|(name, value)| (name.to_owned(), value.replace('"', "")))
        };
        Some(Self {
            name: name.to_owned(),
            labels: pairs.filter_map(pair).collect(),
            value: value.parse().ok()?,
        })
    }
}

fn samples(space: &Space, pod: &str) -> Vec<Sample> {
    let path = format!("/api/v1/namespaces/{}/pods/{pod}:{ADMIN}/proxy/metrics", space.name);
    let text = space.kubectl(&["get", "--raw", &path]);
    text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect()
}

/// What carried something: a request that was answered, or bytes. A probe that only connects does not count.
fn edges(samples: &[Sample], direction: &str) -> BTreeSet<Edge> {
    let carried = |sample: &&Sample| {
        let counts = match sample.name.as_str() {
            "conduit_proxy_requests_total" => sample.label("outcome") != "mesh_failure",
            "conduit_proxy_sent_bytes_total" | "conduit_proxy_received_bytes_total" => true,
            _ => false,
        };
        counts && sample.value > 0.0 && sample.label("direction") == direction
    };
    let edge = |sample: &Sample| Edge {
        protocol: sample.label("protocol").to_owned(),
        workload: sample.label("peer_workload").to_owned(),
        service: sample.label("service").to_owned(),
        identity: (sample.label("tls") == "true").then(|| sample.label("peer_identity").to_owned()),
    };
    samples.iter().filter(carried).map(edge).collect()
}
