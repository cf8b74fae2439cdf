//! What a proxy says of itself, for people: endpoints as a table, the certificate as a few lines, the configuration as it is. Lenient: a
//! text in a shape that is not known here, because the proxy is newer, is shown as the JSON it is.

use std::collections::BTreeMap;

use conduit_api::tap::v1::inspect_request::Kind;
use serde::Deserialize;
use serde_json::Value;

use crate::output::{Align, Cell, Paint, Table, Tone};
use crate::units;

/// The text for people; `None` where its shape is not known.
pub(super) fn render(text: &str, kind: Kind, now_s: u64, wide: bool, paint: Paint) -> Option<String> {
    match kind {
        Kind::Endpoints => endpoints(text, wide, paint),
        Kind::Certificate => certificate(text, now_s, paint),
        Kind::Config => config(text, paint),
        Kind::Metrics | Kind::Unspecified => None,
    }
}

#[derive(Deserialize)]
struct Destination {
    address: String,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    protocol: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    address: String,
    pod: String,
    identity: Option<String>,
    state: String,
    latency_ms: Option<f64>,
    pending: u64,
    weight: u32,
    zone: String,
}

/// One setting a line, in the order of the names.
fn config(text: &str, paint: Paint) -> Option<String> {
    let settings: BTreeMap<String, Value> = serde_json::from_str(text).ok()?;
    let mut table = Table::new(vec![("SETTING", Align::Left), ("VALUE", Align::Left)]);
    for (name, value) in settings {
        let value = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text,
            Value::Array(values) => {
                let texts = values
                    .iter()
                    .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                texts.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        table.row(vec![name.into(), value.into()]);
    }
    Some(table.render(paint))
}

/// How the proxy calls an endpoint that gets traffic.
const STATE_IN: &str = "in";

fn endpoints(text: &str, wide: bool, paint: Paint) -> Option<String> {
    let mut destinations: Vec<Destination> = serde_json::from_str(text).ok()?;
    if destinations.is_empty() {
        return Some("this proxy knows no destination yet: its application has called none\n".to_owned());
    }
    destinations.sort_by(|a, b| (&a.service, &a.address).cmp(&(&b.service, &b.address)));
    let (left, right) = (Align::Left, Align::Right);
    let mut columns = vec![("DESTINATION", left), ("SERVICE", left), ("PROTOCOL", left), ("ENDPOINT", left)];
    columns.extend([
        ("POD", left),
        ("STATE", left),
        ("LATENCY", right),
        ("PENDING", right),
        ("SECURED", left),
    ]);
    if wide {
        columns.extend([("WEIGHT", right), ("ZONE", left), ("IDENTITY", left)]);
    }
    let mut table = Table::new(columns);
    for destination in &destinations {
        if destination.endpoints.is_empty() {
            let none = Endpoint { address: "(none)".to_owned(), ..Endpoint::default() };
            table.row(row(destination, &none, wide));
        }
        destination.endpoints.iter().for_each(|endpoint| table.row(row(destination, endpoint, wide)));
    }
    Some(table.render(paint))
}

fn row(destination: &Destination, endpoint: &Endpoint, wide: bool) -> Vec<Cell> {
    // A pod that is not known is written as "/", an empty namespace and name.
    let word = |text: &str| Cell::from(if matches!(text, "" | "/") { "-" } else { text });
    let identity = endpoint.identity.as_deref().unwrap_or_default();
    let state = if endpoint.state == STATE_IN { Tone::Good } else { Tone::Warn };
    let secured = if identity.is_empty() { Cell::new("no", Tone::Bad) } else { Cell::new("yes", Tone::Good) };
    let mut cells = vec![
        destination.address.as_str().into(),
        word(destination.service.as_deref().unwrap_or_default()),
        word(&destination.protocol),
        endpoint.address.as_str().into(),
        word(&endpoint.pod),
        Cell::new(word(&endpoint.state).text, state),
        endpoint.latency_ms.map_or_else(|| "-".to_owned(), units::latency_ms).into(),
        endpoint.pending.to_string().into(),
        secured,
    ];
    if wide {
        cells.extend([endpoint.weight.to_string().into(), word(&endpoint.zone), word(identity)]);
    }
    cells
}

#[derive(Deserialize)]
struct Certificate {
    identity: String,
    not_before_unix_s: u64,
    not_after_unix_s: u64,
    #[serde(default)]
    chain_der_hex: Vec<String>,
    #[serde(default)]
    trust_anchors_der_hex: Vec<String>,
}

fn certificate(text: &str, now_s: u64, paint: Paint) -> Option<String> {
    let certificate: Certificate = serde_json::from_str(text).ok()?;
    let left = certificate.not_after_unix_s.checked_sub(now_s).filter(|left| *left > 0);
    let state = match left {
        Some(left) => paint.tone(Tone::Good, &format!("valid for another {}", units::age(left))),
        None => {
            let since = units::age(now_s.saturating_sub(certificate.not_after_unix_s));
            paint.tone(Tone::Bad, &format!("ended {since} ago"))
        }
    };
    let lifetime = certificate.not_after_unix_s.saturating_sub(certificate.not_before_unix_s);
    Some(format!(
        "identity        {}\nvalidity        {state}, of {}\nchain           {} certificates\ntrust anchors   {}\n",
        certificate.identity,
        units::age(lifetime),
        certificate.chain_der_hex.len(),
        certificate.trust_anchors_der_hex.len(),
    ))
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
