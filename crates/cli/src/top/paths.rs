//! Counts tap events by source, destination, method and path. Pure and bounded: the clock is in the events, and what was seen longest
//! ago makes room for what is new.

use std::collections::HashMap;

use conduit_api::tap::v1::{End, Peer, RequestStart, TapEvent, tap_event};
use conduit_logic::classify;
use serde::Serialize;

use crate::edges::{OUTSIDE, UNMESHED};
use crate::golden;
use crate::output::{Align, Cell, Table};
use crate::tap::{clean, protocol, socket};
use crate::{resource, units};

/// Most rows: many screens full; a service with a path per object must not fill the memory.
const ROWS_MAX: usize = 500;
/// Most requests that are under way; beyond it a start is forgotten and its end counts nothing.
const OPEN_MAX: usize = 10_000;
/// Longest path that is kept, in characters: a row is for reading.
const PATH_CHARS_MAX: usize = 120;

/// What a row counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
struct Key {
    source: String,
    destination: String,
    method: String,
    path: String,
}

/// One row: a kind of request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    key: Key,
    count: u64,
    failures: u64,
    best_us: u64,
    worst_us: u64,
    last_us: u64,
    #[serde(skip)]
    seen: u64,
}

impl Row {
    fn success_rate(&self) -> f64 {
        1.0 - self.failures as f64 / self.count.max(1) as f64
    }

    /// The row as fields, as the table names them; `namespace` is left out of names.
    fn cells(&self, namespace: &str) -> Vec<Cell> {
        let latency = |us: u64| Cell::from(units::latency_us(us as f64));
        let name = |name: &str| Cell::from(clean(name.strip_prefix(namespace).unwrap_or(name)));
        vec![
            name(&self.key.source),
            name(&self.key.destination),
            self.count.to_string().into(),
            latency(self.best_us),
            latency(self.worst_us),
            latency(self.last_us),
            golden::success(self.success_rate(), self.count),
            clean(&self.key.method).into(),
            clean(&self.key.path).into(),
        ]
    }
}

/// The table by path. What may be long stands last, where a narrow terminal cuts it off; a namespace that all names share is left out.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut columns = vec![("SOURCE", Align::Left), ("DESTINATION", Align::Left)];
    columns.extend(["COUNT", "BEST", "WORST", "LAST", "SUCCESS"].map(|heading| (heading, Align::Right)));
    columns.extend([("METHOD", Align::Left), ("PATH", Align::Left)]);
    let mut table = Table::new(columns);
    let namespace = shared_namespace(rows);
    rows.iter().for_each(|row| table.row(row.cells(&namespace)));
    table
}

/// `shop/`, if every name that has a namespace has this one; else nothing.
fn shared_namespace(rows: &[Row]) -> String {
    let names = rows.iter().flat_map(|row| [&row.key.source, &row.key.destination]);
    let mut namespaces = names.filter_map(|name| name.split_once('/').map(|(namespace, _)| namespace));
    match namespaces.next() {
        Some(first) if namespaces.all(|namespace| namespace == first) => format!("{first}/"),
        _ => String::new(),
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
pub(crate) struct Document {
    paths: Vec<Row>,
    dropped_events: u64,
}

/// Names a request: the pod whose proxy saw it, and the proxy's own number.
type RequestId = (String, u64);

/// The counts so far.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    rows: HashMap<Key, Row>,
    open: HashMap<RequestId, Key>,
    dropped: u64,
    ended: u64,
}

impl Paths {
    /// Takes one event in.
    pub(crate) fn apply(&mut self, event: &TapEvent) {
        let pod = event.pod.as_ref().map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default();
        let id = (pod, event.id);
        match &event.event {
            Some(tap_event::Event::RequestStart(start)) if self.open.len() < OPEN_MAX => {
                self.open.insert(id, key(event, start));
            }
            Some(tap_event::Event::End(end)) => {
                if let Some(key) = self.open.remove(&id) {
                    self.end(key, end);
                }
            }
            Some(tap_event::Event::Dropped(dropped)) => {
                self.dropped += dropped.events + dropped.requests;
                if dropped.events > 0 {
                    // An end may have been among them; what is under way now would stay so for ever.
                    self.open.clear();
                }
            }
            Some(tap_event::Event::RequestStart(_) | tap_event::Event::ResponseHeaders(_)) | None => {}
        }
    }

    fn end(&mut self, key: Key, end: &End) {
        self.ended += 1;
        if !self.rows.contains_key(&key) && self.rows.len() >= ROWS_MAX {
            let oldest = self.rows.values().min_by_key(|row| row.seen).map(|row| row.key.clone());
            oldest.and_then(|oldest| self.rows.remove(&oldest));
        }
        let us = end.duration_us;
        let new = || Row {
            key: key.clone(),
            count: 0,
            failures: 0,
            best_us: us,
            worst_us: us,
            last_us: us,
            seen: 0,
        };
        let row = self.rows.entry(key.clone()).or_insert_with(new);
        row.count += 1;
        row.failures += u64::from(failed(end));
        row.best_us = row.best_us.min(us);
        row.worst_us = row.worst_us.max(us);
        row.last_us = us;
        row.seen = self.ended;
    }

    /// The rows, the most frequent first.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        rows
    }

    /// Requests that ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Events that did not arrive.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All for JSON.
    pub(crate) fn document(&self) -> Document {
        Document { paths: self.rows(), dropped_events: self.dropped }
    }
}

fn failed(end: &End) -> bool {
    let status = u16::try_from(end.status).unwrap_or_default();
    !end.failure.is_empty()
        || classify::http_failed(status)
        || end.grpc_status.is_some_and(classify::grpc_failed)
}

fn key(event: &TapEvent, start: &RequestStart) -> Key {
    let connection = start.method.is_empty();
    let path = start.path.split(['?', '#']).next().unwrap_or_default();
    Key {
        source: peer(event.source.as_ref(), UNMESHED),
        destination: peer(event.destination.as_ref(), OUTSIDE),
        method: if connection { protocol(event.protocol()).to_owned() } else { start.method.clone() },
        path: if connection { "-".to_owned() } else { path.chars().take(PATH_CHARS_MAX).collect() },
    }
}

/// The workload; where it is not known, the address without the port, which differs for every connection.
fn peer(peer: Option<&Peer>, otherwise: &str) -> String {
    let workload = resource::full(peer.and_then(|peer| peer.workload.as_ref()), "");
    if !workload.is_empty() {
        return workload;
    }
    let address = socket(peer.and_then(|peer| peer.address.as_ref()));
    address.rsplit_once(':').map_or(otherwise, |(ip, _)| ip).to_owned()
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
