//! `conduit diagnostics`: what the controller knows of each proxy, and what one proxy says of itself. Texts that a proxy writes
//! (metrics, JSON) are passed on as they are with `-o json`, so that no version of this command hides what a newer proxy tells.

mod shown;

use std::time::{SystemTime, UNIX_EPOCH};

use conduit_api::common::v1::PodRef;
use conduit_api::operator::v1::{PodInspectRequest, ProxiesRequest, ProxiesResponse, Proxy, Resource};
use conduit_api::tap::v1::inspect_request::Kind;
use serde::Serialize;
use tonic::Code;

use crate::args::{Connection, Diagnostics, DiagnosticsVerb, PodArg};
use crate::connect::{self, Controller, Mesh, ask};
use crate::output::{self, Align, Cell, Failure, Format, Paint, Table, Tone};
use crate::{resource, units};

/// A proxy that has not reported for so long is worth a look: reports come every second or so.
const SILENT_MS: u64 = 10_000;

/// Runs the verb.
///
/// # Errors
/// When the controller or the proxy does not answer, or the pod does not exist.
pub(crate) async fn run(args: Diagnostics, connection: &Connection) -> Result<(), Failure> {
    let (pod, kind) = match args.what {
        DiagnosticsVerb::Proxies { resource, scope, output } => {
            let wanted = resource::parse(&resource, scope.namespace.as_deref())?;
            let mesh = connection.mesh().await?;
            return list(&mesh, mesh.place(&scope, wanted), output.format, connection).await;
        }
        DiagnosticsVerb::Metrics(pod) => (pod, Kind::Metrics),
        DiagnosticsVerb::Endpoints(pod) => (pod, Kind::Endpoints),
        DiagnosticsVerb::Certificate(pod) => (pod, Kind::Certificate),
        DiagnosticsVerb::Config(pod) => (pod, Kind::Config),
    };
    let mesh = connection.mesh().await?;
    let reference = pod_ref(&pod, mesh.namespace())?;
    let mut controller = connect::open(&mesh).await?;
    let text = inspect(&mut controller, reference, kind).await?;
    output::print(&document(&text, kind, pod.output.format, Paint::stdout(connection.color))?)
}

/// The pod that was typed: `web-1`, `po/web-1` or `shop/po/web-1`; in `elsewhere` or the namespace default where none was.
fn pod_ref(pod: &PodArg, elsewhere: Option<&str>) -> Result<PodRef, Failure> {
    let namespace = pod.namespace.as_deref().or(elsewhere).unwrap_or("default");
    let expected = "write a pod's name: web-1, or po/web-1; `conduit diagnostics proxies` lists them";
    if !pod.pod.contains('/') {
        return Ok(PodRef { namespace: namespace.to_owned(), name: pod.pod.clone() });
    }
    let namespace = if pod.pod.split('/').count() == 3 { "" } else { namespace };
    let parsed = resource::parse_word(&pod.pod, namespace)?;
    if parsed.kind == "Pod" {
        Ok(PodRef { namespace: parsed.namespace, name: parsed.name })
    } else {
        Err(Failure::usage(format!("`{}` is not a pod", pod.pod), expected))
    }
}

/// Asks one proxy, through the controller.
///
/// # Errors
/// When there is no such pod, it has no proxy, or the proxy does not answer.
pub(crate) async fn inspect(controller: &mut Controller, pod: PodRef, kind: Kind) -> Result<String, Failure> {
    let name = format!("{}/{}", pod.namespace, pod.name);
    let request = PodInspectRequest { pod: Some(pod), kind: kind.into() };
    match controller.inspect(ask(request)).await {
        Ok(response) => Ok(response.into_inner().text),
        Err(status) if status.code() == Code::NotFound => Err(Failure::problem(
            format!("pod {name} does not exist or has no proxy"),
            "`conduit diagnostics proxies` lists the pods that have one (another namespace: -n)",
        )),
        Err(status) => Err(connect::refused(&format!("ask the proxy of {name}"), &status)),
    }
}

/// What a proxy wrote, in the format that was asked for.
fn document(text: &str, kind: Kind, format: Format, paint: Paint) -> Result<String, Failure> {
    if kind == Kind::Metrics {
        return match format {
            Format::Json => output::json(&serde_json::json!({ "metrics": text })),
            Format::Table | Format::Wide => Ok(ended(text)),
        };
    }
    let people =
        (format != Format::Json).then(|| shown::render(text, kind, now_s(), format == Format::Wide, paint));
    match (people.flatten(), serde_json::from_str::<serde_json::Value>(text)) {
        (Some(shown), _) => Ok(shown),
        (None, Ok(value)) => output::json(&value),
        (None, Err(_)) => Ok(ended(text)),
    }
}

/// Unix time in seconds.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn ended(text: &str) -> String {
    format!("{}\n", text.trim_end_matches('\n'))
}

/// Asks for all proxies of a resource.
///
/// # Errors
/// When the controller does not answer.
pub(crate) async fn proxies(
    controller: &mut Controller,
    wanted: Resource,
) -> Result<ProxiesResponse, Failure> {
    let response = controller.proxies(ask(ProxiesRequest { resource: Some(wanted) })).await;
    let mut response = response.map_err(|status| connect::refused("list the proxies", &status))?.into_inner();
    response.proxies.sort_by_cached_key(|proxy| proxy.pod.clone().map(|pod| (pod.namespace, pod.name)));
    Ok(response)
}

async fn list(mesh: &Mesh, wanted: Resource, format: Format, connection: &Connection) -> Result<(), Failure> {
    let mut controller = connect::open(mesh).await?;
    let response = proxies(&mut controller, wanted.clone()).await?;
    if format == Format::Json {
        let proxies: Vec<ProxyJson<'_>> = response.proxies.iter().map(ProxyJson::from).collect();
        return output::print(&output::json(&serde_json::json!({ "proxies": proxies }))?);
    }
    if response.proxies.is_empty() {
        output::remark(&format!("no proxy of {} is known", resource::describe(&wanted)));
        return Ok(());
    }
    output::print(&render(&response, now_s(), format, Paint::stdout(connection.color)))
}

#[derive(Serialize)]
struct ProxyJson<'a> {
    namespace: &'a str,
    pod: &'a str,
    workload: Option<String>,
    ip: &'a str,
    version: &'a str,
    connected: bool,
    rss_bytes: u64,
    cpu_seconds: f64,
    requests: u64,
    open_connections: u64,
    certificate_not_after_unix_s: u64,
    last_report_ms_ago: u64,
    uptime_s: u64,
}

impl<'a> From<&'a Proxy> for ProxyJson<'a> {
    fn from(proxy: &'a Proxy) -> Self {
        let pod = proxy.pod.as_ref();
        Self {
            namespace: pod.map_or("", |pod| &pod.namespace),
            pod: pod.map_or("", |pod| &pod.name),
            workload: proxy.workload.as_ref().map(|workload| resource::full(Some(workload), "")),
            ip: &proxy.ip,
            version: &proxy.version,
            connected: proxy.connected,
            rss_bytes: proxy.rss_bytes,
            cpu_seconds: proxy.cpu_seconds,
            requests: proxy.requests,
            open_connections: proxy.open_connections,
            certificate_not_after_unix_s: proxy.certificate_not_after_unix_s,
            last_report_ms_ago: proxy.last_report_ms_ago,
            uptime_s: proxy.uptime_s,
        }
    }
}

fn render(response: &ProxiesResponse, now_s: u64, format: Format, paint: Paint) -> String {
    let wide = format == Format::Wide;
    let (left, right) = (Align::Left, Align::Right);
    let mut columns = vec![("NAMESPACE", left), ("POD", left), ("VERSION", left), ("CONNECTED", left)];
    columns.extend(
        ["MEMORY", "CPU", "REQUESTS", "OPEN", "CERTIFICATE", "UPTIME"].map(|heading| (heading, right)),
    );
    if wide {
        columns.extend([("REPORTED", right), ("IP", left), ("WORKLOAD", left)]);
    }
    let mut table = Table::new(columns);
    for proxy in &response.proxies {
        let (namespace, name) = proxy.pod.clone().map(|pod| (pod.namespace, pod.name)).unwrap_or_default();
        let connected =
            if proxy.connected { Cell::new("yes", Tone::Good) } else { Cell::new("no", Tone::Bad) };
        let mut cells = vec![
            namespace.into(),
            name.into(),
            proxy.version.as_str().into(),
            connected,
            units::bytes(proxy.rss_bytes as f64).into(),
            format!("{:.1}s", proxy.cpu_seconds).into(),
            proxy.requests.to_string().into(),
            proxy.open_connections.to_string().into(),
            certificate(proxy.certificate_not_after_unix_s, now_s),
            units::age(proxy.uptime_s).into(),
        ];
        if wide {
            let silent = if proxy.last_report_ms_ago > SILENT_MS { Tone::Warn } else { Tone::Plain };
            cells.push(Cell::new(format!("{:.1}s ago", proxy.last_report_ms_ago as f64 / 1e3), silent));
            cells.push(proxy.ip.as_str().into());
            cells.push(resource::full(proxy.workload.as_ref(), "-").into());
        }
        table.row(cells);
    }
    table.render(paint)
}

/// How long the certificate is still valid.
fn certificate(not_after_s: u64, now_s: u64) -> Cell {
    match not_after_s {
        0 => Cell::new("none", Tone::Bad),
        end if end <= now_s => Cell::new("expired", Tone::Bad),
        end => units::age(end - now_s).into(),
    }
}

#[cfg(test)]
#[path = "diagnostics_tests.rs"]
mod tests;
