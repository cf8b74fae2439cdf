//! Rows of `stat` and `edges` from what was reported. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conduit_api::common::v1 as common;
use conduit_api::operator::v1::{Edge, Golden, Resource, StatRow};
use conduit_logic::words::{Direction, Protocol, Service, Workload};

use crate::metrics::series::{Key, Sums, Tls};
use crate::model::{Model, is_meshed, name_of};

/// Whether a workload, or a pod of it, is meant.
#[must_use]
pub fn matches(resource: &Resource, workload: &Workload, pod: &str, service: Option<&Service>) -> bool {
    let any = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    match resource.kind.as_str() {
        "Pod" => any(&resource.namespace, &workload.namespace) && any(&resource.name, pod),
        "Service" => match service {
            Some(service) => {
                any(&resource.namespace, &service.namespace) && any(&resource.name, &service.name)
            }
            None => false,
        },
        kind => {
            any(&resource.namespace, &workload.namespace)
                && any(kind, &workload.kind)
                && any(&resource.name, &workload.name)
        }
    }
}

/// The golden metrics of some counts over some time.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "rates and shares are estimates")]
pub fn golden(sums: &Sums, covered: Duration) -> Golden {
    let ms = |q| sums.latency.quantile(q).unwrap_or(0) as f64 / 1000.0;
    let per_s = |count: u64| count as f64 / covered.as_secs_f64();
    let total = sums.total();
    Golden {
        requests: total,
        failures: sums.failures,
        mesh_failures: sums.mesh_failures,
        success_rate: if total == 0 { 1.0 } else { sums.successes as f64 / total as f64 },
        rps: per_s(total),
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
        connections: sums.connections,
        bytes_sent_per_s: per_s(sums.sent),
        bytes_received_per_s: per_s(sums.received),
    }
}

/// One row on its way.
#[derive(Debug, Default)]
struct Row {
    sums: Sums,
    carried: u64,
    secured: u64,
    protocols: BTreeSet<Protocol>,
    pods: BTreeMap<String, bool>,
}

impl Row {
    fn add(&mut self, key: &Key, sums: &Sums) {
        self.sums.add(sums);
        self.protocols.insert(key.protocol);
        let carried = carried(key, sums);
        self.carried = self.carried.saturating_add(carried);
        if key.tls.is_some() {
            self.secured = self.secured.saturating_add(carried);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share is an estimate")]
    fn finish(self, resource: Resource, covered: Duration) -> StatRow {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        StatRow {
            resource: Some(resource),
            pods_meshed: count(self.pods.values().filter(|meshed| **meshed).count()),
            pods_total: count(self.pods.len()),
            golden: Some(golden(&self.sums, covered)),
            secured_share: if self.carried == 0 { 0.0 } else { self.secured as f64 / self.carried as f64 },
            protocols: self.protocols.into_iter().map(|p| common::Protocol::from(p).into()).collect(),
        }
    }
}

/// What was carried between two pods, in the clear or not: requests, or connections be they still open. What the mesh failed before it
/// had a connection was not carried, and so is not in the clear either.
fn carried(key: &Key, sums: &Sums) -> u64 {
    let ended = match key.tls {
        Some(_) => sums.total(),
        None => sums.total().saturating_sub(sums.mesh_failures),
    };
    if key.protocol.has_requests() { ended } else { ended.max(sums.connections) }
}

/// Namespace, kind, name.
type RowName = (String, String, String);

fn of_workload(workload: &Workload) -> RowName {
    (workload.namespace.clone(), workload.kind.clone(), workload.name.clone())
}

/// The rows of `stat`. Without `to` and `from`: what came in to the resource, as its own proxies saw it. With one of them:
/// what went between the two, as the source's proxies saw it.
#[must_use]
pub fn stat(
    model: &Model,
    reported: &[(Key, Sums)],
    resource: &Resource,
    (to, from): (Option<&Resource>, Option<&Resource>),
    covered: Duration,
) -> Vec<StatRow> {
    let mut rows: BTreeMap<RowName, Row> = BTreeMap::new();
    let between = to.is_some() || from.is_some();
    for (key, sums) in reported {
        let (subject, other) = match (between, from) {
            (true, Some(_)) => (&key.peer, Some((&key.workload, key.pod.1.as_str()))),
            (true, None) => (&key.workload, None),
            (false, _) => (&key.workload, None),
        };
        let service = key.service.as_ref();
        let outbound = key.direction == Direction::Outbound;
        let wanted_side = if between || resource.kind == "Service" { outbound } else { !outbound };
        let pod = if subject == &key.workload { key.pod.1.as_str() } else { "" };
        let to_matches = to.is_none_or(|to| matches(to, &key.peer, "", service));
        let from_matches = from.is_none_or(|from| other.is_some_and(|(w, pod)| matches(from, w, pod, None)));
        if !wanted_side || !matches(resource, subject, pod, service) || !to_matches || !from_matches {
            continue;
        }
        let name = match resource.kind.as_str() {
            "Pod" => (key.pod.0.clone(), "Pod".to_owned(), key.pod.1.clone()),
            "Service" => match service {
                Some(service) => (service.namespace.clone(), "Service".to_owned(), service.name.clone()),
                None => continue,
            },
            _ => of_workload(subject),
        };
        rows.entry(name).or_default().add(key, sums);
    }
    match resource.kind.as_str() {
        "Service" => add_services(model, resource, between, &mut rows),
        _ => add_pods(model, resource, between, &mut rows),
    }
    rows.into_iter()
        .map(|((namespace, kind, name), row)| row.finish(Resource { namespace, kind, name }, covered))
        .collect()
}

/// Counts pods; those without traffic get a row too, unless only traffic between two was asked for.
fn add_pods(model: &Model, resource: &Resource, between: bool, rows: &mut BTreeMap<RowName, Row>) {
    for pod in model.pods() {
        let workload = model.workload_of(pod);
        if !matches(resource, &workload, &pod.metadata.name, None) {
            continue;
        }
        let name = match resource.kind.as_str() {
            "Pod" => (workload.namespace.clone(), "Pod".to_owned(), pod.metadata.name.clone()),
            _ => of_workload(&workload),
        };
        if !between || rows.contains_key(&name) {
            rows.entry(name).or_default().pods.insert(pod.metadata.name.clone(), is_meshed(pod));
        }
    }
}

/// The same for services: the pods that are their endpoints.
fn add_services(model: &Model, resource: &Resource, between: bool, rows: &mut BTreeMap<RowName, Row>) {
    for (namespace, name) in model.services().map(|service| name_of(&service.metadata)) {
        let service = Service { namespace: namespace.clone(), name: name.clone(), port: 0 };
        let row = (namespace.clone(), "Service".to_owned(), name.clone());
        if !matches(resource, &Workload::default(), "", Some(&service))
            || (between && !rows.contains_key(&row))
        {
            continue;
        }
        let row = rows.entry(row).or_default();
        for pod in model.pods_of(&(namespace, name)) {
            row.pods.insert(pod.metadata.name.clone(), is_meshed(pod));
        }
    }
}

/// What tells one edge from another.
type EdgeName = (Workload, Workload, Option<Service>, Protocol, Option<Tls>);

/// Requests that the mesh failed before it had a connection are reported without protection, and without a destination where no
/// endpoint was picked. They belong to the edge that they would have taken, if it is known.
fn fold_failed(edges: &mut BTreeMap<EdgeName, Sums>) {
    let never_carried = |(.., tls): &EdgeName, sums: &Sums| {
        tls.is_none() && sums.mesh_failures > 0 && sums.mesh_failures == sums.total() && sums.connections == 0
    };
    let failed: Vec<EdgeName> =
        edges.iter().filter(|(name, sums)| never_carried(name, sums)).map(|(name, _)| name.clone()).collect();
    for name in failed {
        let (source, destination, service, protocol, _) = &name;
        let same = |other: &EdgeName| {
            let there = *destination == Workload::default() || *destination == other.1;
            other.4.is_some() && other.0 == *source && there && other.2 == *service && other.3 == *protocol
        };
        let Some(taken) = edges.keys().find(|other| same(other)).cloned() else { continue };
        if let Some(sums) = edges.remove(&name)
            && let Some(edge) = edges.get_mut(&taken)
        {
            edge.add(&sums);
        }
    }
}

/// The edges: from the sources' proxies; from the destinations' where the source has none.
#[must_use]
pub fn edges(reported: &[(Key, Sums)], resource: &Resource, covered: Duration) -> Vec<Edge> {
    let mut edges: BTreeMap<EdgeName, Sums> = BTreeMap::new();
    for (key, sums) in reported {
        let (source, destination) = match (key.direction, &key.tls) {
            (Direction::Outbound, _) => (key.workload.clone(), key.peer.clone()),
            (Direction::Inbound, None) => (Workload::default(), key.workload.clone()),
            (Direction::Inbound, Some(_)) => continue,
        };
        let service = key.service.as_ref();
        if matches(resource, &source, &key.pod.1, None) || matches(resource, &destination, "", service) {
            edges
                .entry((source, destination, key.service.clone(), key.protocol, key.tls.clone()))
                .or_default()
                .add(sums);
        }
    }
    fold_failed(&mut edges);
    let edge = |((source, destination, service, protocol, tls), sums): (EdgeName, Sums)| Edge {
        source: Some((&source).into()),
        destination: Some((&destination).into()),
        service: service.as_ref().map(Into::into),
        protocol: common::Protocol::from(protocol).into(),
        secured: tls.is_some(),
        tls_version: tls.as_ref().map(|tls| tls.version.clone()).unwrap_or_default(),
        key_exchange: tls.as_ref().map(|tls| tls.key_exchange.clone()).unwrap_or_default(),
        source_identity: tls.as_ref().map(|tls| tls.local.clone()).unwrap_or_default(),
        destination_identity: tls.as_ref().map(|tls| tls.peer.clone()).unwrap_or_default(),
        golden: Some(golden(&sums, covered)),
    };
    edges.into_iter().map(edge).collect()
}
