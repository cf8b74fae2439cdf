//! `conduit top`: a live table of workloads, or of one resource's requests by path. Where nobody can press a key it collects for a
//! while and prints once. The numbers (`paths`) and the screen (`screen`) are pure; `live` joins them to keys and the controller.

mod live;
mod paths;
mod screen;

use std::io::{self, IsTerminal};
use std::time::Duration;

use conduit_api::operator::v1::{Resource, StatRequest, TapRequest};

use crate::args::{Connection, Top};
use crate::connect::{self, Controller};
use crate::output::{self, Failure, Format, Paint};
use crate::{resource, stat, tap};
use paths::Paths;

/// How long to collect where nothing was said and nobody watches.
const COLLECT: Duration = Duration::from_secs(5);
/// A live table shows what happens now.
const WINDOW_S: u32 = 10;

/// Runs the verb.
///
/// # Errors
/// When the controller cannot be reached, refuses or goes away, or the terminal cannot be used.
pub(crate) async fn run(args: Top, connection: &Connection) -> Result<(), Failure> {
    let namespace = args.scope.namespace.as_deref();
    let other = |word: &Option<String>| {
        let word = word.as_deref();
        word.map(|word| resource::parse_word(word, namespace.unwrap_or_default())).transpose()
    };
    let wanted = resource::parse(&args.resource, namespace)?;
    let mesh = connection.mesh().await?;
    let wanted = mesh.place(&args.scope, wanted);
    let tapped = TapRequest {
        resource: Some(wanted.clone()),
        to: other(&args.to)?,
        from: other(&args.from)?,
        ..TapRequest::default()
    };
    let mut controller = connect::open(&mesh).await?;
    let by_path = !args.resource.is_empty();
    let terminal = io::stdout().is_terminal();
    if terminal && args.duration.is_none() && args.output.format != Format::Json {
        let start =
            if by_path { live::Start::Paths(Box::new(tapped)) } else { live::Start::Workloads(wanted) };
        return Box::pin(live::run(controller, start, Paint::stdout(connection.color))).await;
    }
    let duration = args.duration.unwrap_or(COLLECT);
    if by_path {
        if !terminal && args.duration.is_none() {
            output::remark(&format!(
                "stdout is not a terminal: collecting for {}s, then printing once",
                COLLECT.as_secs()
            ));
        }
        let paths = Box::pin(collect(&mut controller, tapped, duration)).await?;
        return print_paths(&paths, args.output.format, Paint::stdout(connection.color));
    }
    if !terminal {
        output::remark("stdout is not a terminal: printing once");
    }
    print_workloads(&mut controller, wanted, args.output.format, Paint::stdout(connection.color)).await
}

/// What the workloads view asks.
fn workloads(wanted: Resource) -> StatRequest {
    StatRequest { resource: Some(wanted), window_s: WINDOW_S, to: None, from: None }
}

async fn print_workloads(
    controller: &mut Controller,
    wanted: Resource,
    format: Format,
    paint: Paint,
) -> Result<(), Failure> {
    let request = workloads(wanted);
    let response = stat::fetch(controller, &request).await?;
    stat::show(&request, &response, format, paint)
}

async fn collect(
    controller: &mut Controller,
    request: TapRequest,
    duration: Duration,
) -> Result<Paths, Failure> {
    let mut events = tap::open(controller, request).await?;
    let mut paths = Paths::default();
    let finished = tap::until_done(Some(duration));
    tokio::pin!(finished);
    loop {
        let event = tokio::select! {
            biased;
            () = &mut finished => return Ok(paths),
            event = events.message() => event,
        };
        match event.map_err(|status| connect::refused("go on with the tap", &status))? {
            Some(event) => paths.apply(&event),
            None => return Ok(paths),
        }
    }
}

fn print_paths(paths: &Paths, format: Format, paint: Paint) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print(&output::json(&paths.document())?);
    }
    let rows = paths.rows();
    if rows.is_empty() {
        output::remark("no request was seen");
        return Ok(());
    }
    output::print(&paths::table(&rows).render(paint))?;
    if paths.dropped() > 0 {
        output::remark(&format!("{} events were not seen: the numbers are of a sample", paths.dropped()));
    }
    Ok(())
}
