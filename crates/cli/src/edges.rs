//! `conduit edges`: who speaks to whom, and whether mutual TLS secures it. One question to the controller; the table and the JSON
//! are pure functions of the answer.

use conduit_api::common::v1::{ServiceRef, WorkloadRef};
use conduit_api::operator::v1::{Edge, EdgesRequest, EdgesResponse, Resource};
use serde::Serialize;

use crate::args::{Connection, Edges};
use crate::connect::{self, ask};
use crate::golden::{self, GoldenJson};
use crate::output::{self, Align, Cell, Failure, Format, Paint, Table, Tone};
use crate::resource;

/// A source that has no proxy.
pub(crate) const UNMESHED: &str = "(unmeshed)";
/// A destination that the controller does not know.
pub(crate) const OUTSIDE: &str = "(outside)";

/// Runs the verb.
///
/// # Errors
/// When the controller does not answer or refuses.
pub(crate) async fn run(args: Edges, connection: &Connection) -> Result<(), Failure> {
    let wanted = resource::parse(&args.resource, args.scope.namespace.as_deref())?;
    let mesh = connection.mesh().await?;
    let wanted = mesh.place(&args.scope, wanted);
    let request = EdgesRequest { resource: Some(wanted.clone()), window_s: args.window.window.seconds() };
    let window_s = request.window_s;
    let mut controller = connect::open(&mesh).await?;
    let response = controller.edges(ask(request)).await;
    let mut response = response.map_err(|status| connect::refused("read the edges", &status))?.into_inner();
    response.edges.sort_by_cached_key(|e| {
        (resource::full(e.source.as_ref(), "~"), resource::full(e.destination.as_ref(), "~"), e.protocol)
    });
    show(&wanted, window_s, &response, args.output.format, Paint::stdout(connection.color))
}

fn show(
    wanted: &Resource,
    window_s: u32,
    response: &EdgesResponse,
    format: Format,
    paint: Paint,
) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print(&output::json(&Document::new(window_s, response))?);
    }
    if response.edges.is_empty() {
        output::remark(&format!("no traffic into or out of {} in this window", resource::describe(wanted)));
        return Ok(());
    }
    output::print(&render(response, format, paint))
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document<'a> {
    window_s: u32,
    edges: Vec<EdgeJson<'a>>,
}

#[derive(Serialize)]
struct EndJson<'a> {
    namespace: &'a str,
    kind: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    namespace: &'a str,
    name: &'a str,
    port: u32,
}

#[derive(Serialize)]
struct EdgeJson<'a> {
    source: Option<EndJson<'a>>,
    destination: Option<EndJson<'a>>,
    service: Option<ServiceJson<'a>>,
    protocol: &'static str,
    secured: bool,
    tls_version: &'a str,
    key_exchange: &'a str,
    source_identity: &'a str,
    destination_identity: &'a str,
    #[serde(flatten)]
    golden: GoldenJson,
}

impl<'a> Document<'a> {
    fn new(window_s: u32, response: &'a EdgesResponse) -> Self {
        let edge = |edge: &'a Edge| EdgeJson {
            source: end(edge.source.as_ref()),
            destination: end(edge.destination.as_ref()),
            service: named(edge.service.as_ref()).map(|s| ServiceJson {
                namespace: &s.namespace,
                name: &s.name,
                port: s.port,
            }),
            protocol: protocol(edge),
            secured: edge.secured,
            tls_version: &edge.tls_version,
            key_exchange: &edge.key_exchange,
            source_identity: &edge.source_identity,
            destination_identity: &edge.destination_identity,
            golden: (&edge.golden.unwrap_or_default()).into(),
        };
        Self { window_s, edges: response.edges.iter().map(edge).collect() }
    }
}

fn end(workload: Option<&WorkloadRef>) -> Option<EndJson<'_>> {
    let known = workload.filter(|w| !w.name.is_empty());
    known.map(|w| EndJson { namespace: &w.namespace, kind: &w.kind, name: &w.name })
}

fn named(service: Option<&ServiceRef>) -> Option<&ServiceRef> {
    service.filter(|s| !s.name.is_empty())
}

fn protocol(edge: &Edge) -> &'static str {
    edge.protocol().word().map_or("-", conduit_logic::words::Protocol::as_str)
}

fn render(response: &EdgesResponse, format: Format, paint: Paint) -> String {
    let wide = format == Format::Wide;
    let mut columns = vec![
        ("SOURCE", Align::Left),
        ("DESTINATION", Align::Left),
        ("PROTOCOL", Align::Left),
        ("SECURED", Align::Left),
    ];
    columns.extend(golden::HEADINGS);
    if wide {
        let more = ["SERVICE", "TLS", "KEY EXCHANGE", "SOURCE IDENTITY", "DESTINATION IDENTITY"];
        columns.extend(more.map(|heading| (heading, Align::Left)));
    }
    let mut table = Table::new(columns);
    for edge in &response.edges {
        let secured = if edge.secured { Cell::new("yes", Tone::Good) } else { Cell::new("no", Tone::Bad) };
        let mut cells = vec![
            resource::full(edge.source.as_ref(), UNMESHED).into(),
            resource::full(edge.destination.as_ref(), OUTSIDE).into(),
            protocol(edge).into(),
            secured,
        ];
        cells.extend(golden::cells(&edge.golden.unwrap_or_default()));
        if wide {
            let service = named(edge.service.as_ref());
            cells.push(
                service.map(|s| format!("{}/{}:{}", s.namespace, s.name, s.port)).unwrap_or_default().into(),
            );
            let facts =
                [&edge.tls_version, &edge.key_exchange, &edge.source_identity, &edge.destination_identity];
            cells.extend(facts.map(|fact| Cell::from(fact.as_str())));
        }
        table.row(cells);
    }
    table.render(paint)
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod tests;
