//! `conduit tap`: requests as they happen. What is typed becomes one request to the controller (pure); the events that come back
//! are printed one by one as lines or JSON. Deliberately absent: any buffer; a slow reader makes the proxies drop, and that is counted.

mod json;
mod line;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use conduit_api::common::v1::{Direction, Protocol};
use conduit_api::operator::v1::TapRequest;
use conduit_api::tap::v1::{Dropped, Filter, ResponseClass, TapEvent, tap_event};
use tonic::Streaming;

use crate::args::{ClassArg, Connection, DirectionArg, ProtocolArg, SchemeArg, Tap, TapFilter};
use crate::connect::{self, Controller};
use crate::output::{self, Failure, Format, Paint};
use crate::resource;

pub(crate) use line::{clean, protocol, socket};

use line::Proxies;

/// Between two remarks about events that were dropped.
const DROPPED_REMARK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the verb until the duration has passed, the stream ends, or Ctrl-C.
///
/// # Errors
/// When what is typed means nothing, or the controller cannot be reached, refuses or goes away.
pub(crate) async fn run(args: Tap, connection: &Connection) -> Result<(), Failure> {
    let mut request = request(&args)?;
    let mesh = connection.mesh().await?;
    request.resource = request.resource.map(|resource| mesh.place(&args.scope, resource));
    let mut controller = connect::open(&mesh).await?;
    let mut events = open(&mut controller, request).await?;
    let mut printer = Printer::new(args.output.format, Paint::stdout(connection.color));
    let finished = until_done(args.duration);
    tokio::pin!(finished);
    loop {
        let event = tokio::select! {
            biased;
            () = &mut finished => break,
            event = events.message() => event,
        };
        match event.map_err(|status| connect::refused("go on with the tap", &status))? {
            Some(event) => printer.print(&event)?,
            None => break,
        }
    }
    printer.summary();
    Ok(())
}

/// Starts a tap. No deadline: it lasts until it is dropped.
///
/// # Errors
/// When the controller refuses.
pub(crate) async fn open(
    controller: &mut Controller,
    request: TapRequest,
) -> Result<Streaming<TapEvent>, Failure> {
    let response = controller.tap(request).await;
    Ok(response.map_err(|status| connect::refused("tap", &status))?.into_inner())
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM, or for `duration` where one is given.
pub(crate) async fn until_done(duration: Option<Duration>) {
    let interrupted = conduit_process::signal::terminated();
    match duration {
        Some(duration) => {
            tokio::select! {
                _ = interrupted => {}
                () = tokio::time::sleep(duration) => {}
            }
        }
        None => {
            interrupted.await;
        }
    }
}

/// What is asked of the controller.
fn request(args: &Tap) -> Result<TapRequest, Failure> {
    let namespace = args.scope.namespace.as_deref();
    let other = |word: &Option<String>| {
        let word = word.as_deref();
        word.map(|word| resource::parse_word(word, namespace.unwrap_or_default())).transpose()
    };
    if !(args.sample_rate > 0.0 && args.sample_rate <= 1.0) {
        return Err(Failure::usage(
            format!("--sample-rate {} is not a share", args.sample_rate),
            "write a number above 0 and up to 1: 0.1 shows every tenth request",
        ));
    }
    if !(args.max_rps >= 0.0 && args.max_rps.is_finite()) {
        return Err(Failure::usage(
            format!("--max-rps {} is not a rate", args.max_rps),
            "write for example 10",
        ));
    }
    Ok(TapRequest {
        resource: Some(resource::parse(&args.resource, namespace)?),
        filter: Some(filter(&args.filter)?),
        max_rps: args.max_rps,
        sample_rate: if args.sample_rate < 1.0 { args.sample_rate } else { 0.0 },
        to: other(&args.filter.to)?,
        from: other(&args.filter.from)?,
    })
}

fn filter(args: &TapFilter) -> Result<Filter, Failure> {
    let direction = args.direction.map(|direction| match direction {
        DirectionArg::Inbound => Direction::Inbound,
        DirectionArg::Outbound => Direction::Outbound,
    });
    let protocol = args.protocol.map(|protocol| match protocol {
        ProtocolArg::Http1 => Protocol::Http1,
        ProtocolArg::Http2 => Protocol::Http2,
        ProtocolArg::Grpc => Protocol::Grpc,
        ProtocolArg::Tls => Protocol::Tls,
        ProtocolArg::Tcp => Protocol::Opaque,
    });
    let class = args.response_class.map(|class| match class {
        ClassArg::Success => ResponseClass::Success,
        ClassArg::Failure => ResponseClass::Failure,
        ClassArg::Status1xx => ResponseClass::Status1xx,
        ClassArg::Status2xx => ResponseClass::Status2xx,
        ClassArg::Status3xx => ResponseClass::Status3xx,
        ClassArg::Status4xx => ResponseClass::Status4xx,
        ClassArg::Status5xx => ResponseClass::Status5xx,
    });
    let scheme = args.scheme.map(|scheme| match scheme {
        SchemeArg::Http => "http",
        SchemeArg::Https => "https",
    });
    Ok(Filter {
        direction: direction.unwrap_or_default().into(),
        port: args.port.unwrap_or_default().into(),
        scheme: scheme.unwrap_or_default().to_owned(),
        method: args.method.as_deref().unwrap_or_default().to_ascii_uppercase(),
        authority: args.authority.clone().unwrap_or_default(),
        path_prefix: args.path.clone().unwrap_or_default(),
        source_ip: network("--source", args.source.as_deref())?,
        destination_ip: network("--destination", args.destination.as_deref())?,
        destination_workload: None,
        source_identity: identity("--source-identity", args.source_identity.as_deref())?,
        destination_identity: identity("--destination-identity", args.destination_identity.as_deref())?,
        response_class: class.unwrap_or_default().into(),
        min_latency_us: args
            .min_latency
            .map_or(0, |latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        protocol: protocol.unwrap_or_default().into(),
    })
}

/// Checks an address or network here, so that a slip is told at once and by the name of its flag.
fn network(flag: &str, text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else { return Ok(String::new()) };
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address = address.parse::<IpAddr>().ok();
    let fits = |address: IpAddr| {
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= most))
    };
    if address.is_some_and(fits) {
        return Ok(text.to_owned());
    }
    Err(Failure::usage(
        format!("{flag} `{text}` is neither an address nor a network"),
        "write for example 10.77.0.5, 10.77.0.0/16 or fd77::/64; for a name use --to or --from",
    ))
}

fn identity(flag: &str, text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else { return Ok(String::new()) };
    match conduit_logic::words::Identity::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            Err(Failure::usage(format!("{flag}: {error}"), "`conduit edges -o wide` shows identities"))
        }
    }
}

/// Prints events and counts those that were dropped on the way.
struct Printer {
    format: Format,
    paint: Paint,
    proxies: Proxies,
    /// What was not shown, in all.
    lost: Dropped,
    /// When it was last told what was not shown, and what it was then.
    remarked: Option<(Instant, Dropped)>,
}

impl Printer {
    fn new(format: Format, paint: Paint) -> Self {
        Self { format, paint, proxies: Proxies::default(), lost: Dropped::default(), remarked: None }
    }

    fn print(&mut self, event: &TapEvent) -> Result<(), Failure> {
        if let Some(tap_event::Event::Dropped(dropped)) = &event.event {
            self.lost.events += dropped.events;
            self.lost.requests += dropped.requests;
            let now = Instant::now();
            if self.remarked.is_none_or(|(then, _)| now.duration_since(then) >= DROPPED_REMARK_INTERVAL) {
                self.summary();
                self.remarked = Some((now, self.lost));
            }
            return Ok(());
        }
        match self.format {
            Format::Json => output::print(&output::json_line(&json::Document::from(event))?),
            Format::Table => output::print(&line::render(event, &mut self.proxies, false, self.paint)),
            Format::Wide => output::print(&line::render(event, &mut self.proxies, true, self.paint)),
        }
    }

    fn summary(&self) {
        let told = self.remarked.map(|(_, told)| told).unwrap_or_default();
        if self.lost.events > told.events {
            output::remark(&format!(
                "{} events were not shown, because this reader was slow: narrow the filter or lower --max-rps",
                self.lost.events
            ));
        }
        if self.lost.requests > told.requests {
            output::remark(&format!(
                "{} requests that match were not shown, because they were over the rate: narrow the filter or raise --max-rps",
                self.lost.requests
            ));
        }
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
