//! `conduit stat`: golden metrics of workloads, services or pods over a window. Asks the controller once, or again and again
//! with `--watch`; what is asked and what is shown are pure functions.

use std::io::{self, IsTerminal};
use std::time::Duration;

use conduit_api::common::v1::Protocol;
use conduit_api::operator::v1::{Resource, StatRequest, StatResponse, StatRow};
use serde::Serialize;

use crate::args::{Connection, Stat};
use crate::connect::{self, Controller, ask};
use crate::golden::{self, GoldenJson};
use crate::output::{self, Align, Cell, Failure, Format, Paint, Table, Tone};
use crate::{resource, units};

/// Faster would only show the same second twice.
const WATCH_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// Runs the verb.
///
/// # Errors
/// When the controller does not answer, or a resource that was named does not exist.
pub(crate) async fn run(args: Stat, connection: &Connection) -> Result<(), Failure> {
    let mut request = request(&args)?;
    let mesh = connection.mesh().await?;
    request.resource = request.resource.map(|resource| mesh.place(&args.scope, resource));
    let mut controller = connect::open(&mesh).await?;
    let paint = Paint::stdout(connection.color);
    let format = args.output.format;
    let Some(interval) = args.watch else {
        let response = fetch(&mut controller, &request).await?;
        return show(&request, &response, format, paint);
    };
    let in_place = io::stdout().is_terminal() && format != Format::Json;
    loop {
        let response = fetch(&mut controller, &request).await?;
        let text = if format == Format::Json {
            output::json_line(&Document::new(&request, &response))?
        } else if in_place {
            // Home, then clear each line's rest and all below: no flicker, unlike clearing the whole screen first.
            let table = render(&response, format, paint).replace('\n', "\x1b[K\n");
            format!("\x1b[H{table}\x1b[J")
        } else {
            render(&response, format, paint) + "\n"
        };
        output::print(&text)?;
        tokio::time::sleep(interval.max(WATCH_INTERVAL_MIN)).await;
    }
}

/// What is asked of the controller.
fn request(args: &Stat) -> Result<StatRequest, Failure> {
    let namespace = args.scope.namespace.as_deref();
    let other = |word: &Option<String>| {
        let word = word.as_deref();
        word.map(|word| resource::parse_word(word, namespace.unwrap_or_default())).transpose()
    };
    Ok(StatRequest {
        resource: Some(resource::parse(&args.resource, namespace)?),
        window_s: args.window.window.seconds(),
        to: other(&args.to)?,
        from: other(&args.from)?,
    })
}

/// Asks for the rows.
///
/// # Errors
/// When the controller does not answer or refuses.
pub(crate) async fn fetch(
    controller: &mut Controller,
    request: &StatRequest,
) -> Result<StatResponse, Failure> {
    let response = controller.stat(ask(request.clone())).await;
    let mut response =
        response.map_err(|status| connect::refused("read the statistics", &status))?.into_inner();
    let key = |row: &StatRow| row.resource.clone().map(|r: Resource| (r.namespace, r.name, r.kind));
    response.rows.sort_by_cached_key(key);
    Ok(response)
}

/// Prints the rows; none at all is a failure where a resource was named.
///
/// # Errors
/// When stdout cannot be written, or nothing is known of a resource that was named.
pub(crate) fn show(
    request: &StatRequest,
    response: &StatResponse,
    format: Format,
    paint: Paint,
) -> Result<(), Failure> {
    if format == Format::Json {
        output::print(&output::json(&Document::new(request, response))?)?;
    } else if !response.rows.is_empty() {
        output::print(&render(response, format, paint))?;
    }
    let wanted = request.resource.clone().unwrap_or_default();
    match (response.rows.is_empty(), wanted.name.is_empty()) {
        (false, _) => Ok(()),
        (true, true) => {
            output::remark(&format!("no traffic of {} is known yet", resource::describe(&wanted)));
            Ok(())
        }
        (true, false) => Err(Failure::problem(
            format!("nothing is known of {}", resource::describe(&wanted)),
            "`conduit stat` lists every workload, `conduit stat svc` every service",
        )),
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document {
    window_s: u32,
    rows: Vec<RowJson>,
}

#[derive(Serialize)]
struct RowJson {
    namespace: String,
    kind: String,
    name: String,
    pods_meshed: u32,
    pods_total: u32,
    #[serde(flatten)]
    golden: GoldenJson,
    secured_share: f64,
    protocols: Vec<&'static str>,
}

impl Document {
    fn new(request: &StatRequest, response: &StatResponse) -> Self {
        let row = |row: &StatRow| {
            let resource = row.resource.clone().unwrap_or_default();
            RowJson {
                namespace: resource.namespace,
                kind: resource.kind,
                name: resource.name,
                pods_meshed: row.pods_meshed,
                pods_total: row.pods_total,
                golden: (&row.golden.unwrap_or_default()).into(),
                secured_share: row.secured_share,
                protocols: protocols(row),
            }
        };
        Self { window_s: request.window_s, rows: response.rows.iter().map(row).collect() }
    }
}

fn protocols(row: &StatRow) -> Vec<&'static str> {
    row.protocols().filter_map(Protocol::word).map(conduit_logic::words::Protocol::as_str).collect()
}

/// The headings of [`row_cells`].
pub(crate) fn headings() -> Vec<(&'static str, Align)> {
    let mut columns = vec![("NAMESPACE", Align::Left), ("NAME", Align::Left), ("MESHED", Align::Right)];
    columns.extend(golden::HEADINGS);
    columns.push(("SECURED", Align::Right));
    columns
}

/// One row of the table.
pub(crate) fn row_cells(row: &StatRow) -> Vec<Cell> {
    let (namespace, name) = match &row.resource {
        Some(r) => (r.namespace.clone(), resource::short(&r.kind, &r.name)),
        None => Default::default(),
    };
    let meshed_tone = if row.pods_meshed < row.pods_total { Tone::Warn } else { Tone::Plain };
    let golden = row.golden.unwrap_or_default();
    let mut cells = vec![
        namespace.into(),
        name.into(),
        match row.pods_total {
            0 => Cell::new("-", Tone::Faint),
            total => Cell::new(format!("{}/{total}", row.pods_meshed), meshed_tone),
        },
    ];
    cells.extend(golden::cells(&golden));
    cells.push(secured(row.secured_share, golden.requests.max(golden.connections)));
    cells
}

fn secured(share: f64, seen: u64) -> Cell {
    let tone = if share >= 1.0 { Tone::Good } else { Tone::Bad };
    match seen {
        0 => Cell::new("-", Tone::Faint),
        _ if share >= 1.0 => Cell::new("100%", tone),
        _ => Cell::new(units::share(share), tone),
    }
}

/// The rows as a table.
fn render(response: &StatResponse, format: Format, paint: Paint) -> String {
    let wide = format == Format::Wide;
    let mut columns = headings();
    if wide {
        columns.extend(golden::WIDE_HEADINGS);
        columns.push(("PROTOCOLS", Align::Left));
    }
    let mut table = Table::new(columns);
    for row in &response.rows {
        let mut cells = row_cells(row);
        if wide {
            cells.extend(golden::wide_cells(&row.golden.unwrap_or_default()));
            cells.push(protocols(row).join(",").into());
        }
        table.row(cells);
    }
    table.render(paint)
}

#[cfg(test)]
#[path = "stat_tests.rs"]
mod tests;
