//! Golden metrics as table cells and as JSON: stat, edges and top all show them the same way. Numbers that were not measured are
//! shown as `-`. Depends on the API's messages and the units only.

use conduit_api::operator::v1::Golden;
use serde::Serialize;

use crate::output::{Align, Cell, Tone};
use crate::units;

/// Below this share a success rate is worth a look.
const SUCCESS_GOOD: f64 = 0.99;
/// Below this share it is wrong.
const SUCCESS_WARN: f64 = 0.95;

/// Golden metrics, named as in `conduit demo -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct GoldenJson {
    requests: u64,
    failures: u64,
    mesh_failures: u64,
    success_rate: f64,
    rps: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    connections: u64,
    bytes_sent_per_s: f64,
    bytes_received_per_s: f64,
}

impl From<&Golden> for GoldenJson {
    fn from(golden: &Golden) -> Self {
        Self {
            requests: golden.requests,
            failures: golden.failures,
            mesh_failures: golden.mesh_failures,
            success_rate: golden.success_rate,
            rps: golden.rps,
            p50_ms: golden.p50_ms,
            p95_ms: golden.p95_ms,
            p99_ms: golden.p99_ms,
            connections: golden.connections,
            bytes_sent_per_s: golden.bytes_sent_per_s,
            bytes_received_per_s: golden.bytes_received_per_s,
        }
    }
}

/// The colour of a success rate.
pub(crate) fn success_tone(success_rate: f64) -> Tone {
    match success_rate {
        rate if rate >= SUCCESS_GOOD => Tone::Good,
        rate if rate >= SUCCESS_WARN => Tone::Warn,
        _ => Tone::Bad,
    }
}

fn nothing() -> Cell {
    Cell::new("-", Tone::Faint)
}

/// A success rate; `-` where there was no request.
pub(crate) fn success(success_rate: f64, requests: u64) -> Cell {
    if requests == 0 { nothing() } else { Cell::new(units::share(success_rate), success_tone(success_rate)) }
}

/// The headings that go with [`cells`].
pub(crate) const HEADINGS: [(&str, Align); 5] = [
    ("SUCCESS", Align::Right),
    ("RPS", Align::Right),
    ("P50", Align::Right),
    ("P95", Align::Right),
    ("P99", Align::Right),
];

/// Success rate, requests per second and three quantiles. Connections have no latency, and a resource without traffic has nothing.
pub(crate) fn cells(golden: &Golden) -> [Cell; 5] {
    let timed = golden.p99_ms > 0.0;
    let latency = |ms: f64| if timed { Cell::from(units::latency_ms(ms)) } else { nothing() };
    let rps = if golden.requests == 0 { nothing() } else { units::rate(golden.rps).into() };
    [
        success(golden.success_rate, golden.requests),
        rps,
        latency(golden.p50_ms),
        latency(golden.p95_ms),
        latency(golden.p99_ms),
    ]
}

/// The headings that go with [`wide_cells`].
pub(crate) const WIDE_HEADINGS: [(&str, Align); 6] = [
    ("REQUESTS", Align::Right),
    ("FAILURES", Align::Right),
    ("MESH FAILURES", Align::Right),
    ("CONNECTIONS", Align::Right),
    ("SENT", Align::Right),
    ("RECEIVED", Align::Right),
];

/// Counts and bytes.
pub(crate) fn wide_cells(golden: &Golden) -> [Cell; 6] {
    let mesh_tone = if golden.mesh_failures > 0 { Tone::Bad } else { Tone::Plain };
    [
        golden.requests.to_string().into(),
        golden.failures.to_string().into(),
        Cell::new(golden.mesh_failures.to_string(), mesh_tone),
        golden.connections.to_string().into(),
        units::bytes_rate(golden.bytes_sent_per_s).into(),
        units::bytes_rate(golden.bytes_received_per_s).into(),
    ]
}
