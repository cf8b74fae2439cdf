//! A tap event as one line: `req`, `rsp` and `end` for requests, `con` and `end` for connections. Pure. What came from outside
//! (path, authority, …) cannot move the terminal's cursor: control characters are escaped.

use std::collections::HashMap;
use std::net::SocketAddr;

use conduit_api::common::v1::{Direction, PodRef, Protocol, SocketAddress, WorkloadRef};
use conduit_api::tap::v1::{End, Peer, TapEvent, tap_event};
use conduit_logic::classify;

use crate::output::{Paint, Tone};
use crate::{resource, units};

/// Most proxies that get a number of their own; as many as a mesh is planned for. The rest share the last number.
const PROXIES_MAX: usize = 20_000;

/// Numbers for proxies in the order of their first event, so that an id is short and still names one request of one proxy.
#[derive(Debug, Default)]
pub(crate) struct Proxies(HashMap<String, usize>);

impl Proxies {
    /// The number of the proxy beside `pod`.
    pub(crate) fn number(&mut self, pod: Option<&PodRef>) -> usize {
        let key = pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default();
        let next = self.0.len();
        match self.0.get(&key) {
            Some(number) => *number,
            None if next >= PROXIES_MAX => PROXIES_MAX,
            None => *self.0.entry(key).or_insert(next),
        }
    }
}

/// The event as a line with its end.
pub(crate) fn render(event: &TapEvent, proxies: &mut Proxies, wide: bool, paint: Paint) -> String {
    let word = match &event.event {
        Some(tap_event::Event::RequestStart(start)) if start.method.is_empty() => "con",
        Some(tap_event::Event::RequestStart(_)) => "req",
        Some(tap_event::Event::ResponseHeaders(_)) => "rsp",
        Some(tap_event::Event::End(_)) => "end",
        Some(tap_event::Event::Dropped(_)) | None => return String::new(),
    };
    let mut line = Line { text: paint.tone(Tone::Strong, word), paint };
    line.field("id", &format!("{}:{}", proxies.number(event.pod.as_ref()), event.id), Tone::Plain);
    line.field("proxy", direction(event.direction()), Tone::Plain);
    let (source, destination) = (event.source.as_ref(), event.destination.as_ref());
    line.field("src", &address(source), Tone::Plain);
    line.field("dst", &address(destination), Tone::Plain);
    match &event.tls {
        Some(tls) if wide => line.field("tls", &format!("{}/{}", tls.version, tls.key_exchange), Tone::Good),
        Some(_) => line.field("tls", "yes", Tone::Good),
        None => line.field("tls", "no", Tone::Bad),
    }
    line.known("from", &workload(source));
    line.known("to", &workload(destination));
    match &event.event {
        Some(tap_event::Event::RequestStart(start)) if start.method.is_empty() => {
            line.field("protocol", protocol(event.protocol()), Tone::Plain);
        }
        Some(tap_event::Event::RequestStart(start)) => {
            line.field(":method", &start.method, Tone::Plain);
            if wide {
                line.known(":scheme", &start.scheme);
            }
            line.known(":authority", &start.authority);
            line.field(":path", &start.path, Tone::Plain);
        }
        Some(tap_event::Event::ResponseHeaders(response)) => {
            line.field(":status", &response.status.to_string(), status_tone(response.status));
            line.field("latency", &units::latency_us(response.since_request_us as f64), Tone::Plain);
        }
        Some(tap_event::Event::End(end)) => line.end(end, wide),
        Some(tap_event::Event::Dropped(_)) | None => {}
    }
    if wide {
        line.known("protocol", protocol(event.protocol()));
        line.known("pod", &pod(event.pod.as_ref()));
        line.known("src_pod", &pod(source.and_then(|peer| peer.pod.as_ref())));
        line.known("dst_pod", &pod(destination.and_then(|peer| peer.pod.as_ref())));
        line.known("service", &service(destination));
        line.known("src_identity", source.map_or("", |peer| &peer.identity));
        line.known("dst_identity", destination.map_or("", |peer| &peer.identity));
    }
    line.text.push('\n');
    line.text
}

/// A line that grows field by field.
struct Line {
    text: String,
    paint: Paint,
}

impl Line {
    fn field(&mut self, name: &str, value: &str, tone: Tone) {
        self.text.push(' ');
        self.text.push_str(&self.paint.tone(Tone::Faint, &format!("{name}=")));
        self.text.push_str(&self.paint.tone(tone, &clean(value)));
    }

    /// A field that is left out when it says nothing.
    fn known(&mut self, name: &str, value: &str) {
        if !value.is_empty() && !self.text.contains(&format!(" {name}=")) {
            self.field(name, value, Tone::Plain);
        }
    }

    fn end(&mut self, end: &End, wide: bool) {
        if let Some(status) = end.grpc_status {
            let name = classify::grpc_status_name(status).map_or_else(|| status.to_string(), str::to_owned);
            let tone = match status {
                0 => Tone::Good,
                status if classify::grpc_failed(status) => Tone::Bad,
                _ => Tone::Warn,
            };
            self.field("grpc-status", &name, tone);
        }
        self.field("duration", &units::latency_us(end.duration_us as f64), Tone::Plain);
        if wide || end.status == 0 {
            self.field("request-length", &units::bytes(end.request_bytes as f64), Tone::Plain);
        }
        self.field("response-length", &units::bytes(end.response_bytes as f64), Tone::Plain);
        if !end.failure.is_empty() {
            self.field("failure", &end.failure, Tone::Bad);
        }
    }
}

/// Text from outside, fit for a terminal: control characters as `\u{1b}`, text with a space in quotes.
pub(crate) fn clean(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || c == ' ' || c == '"') {
        format!("\"{}\"", text.chars().flat_map(char::escape_debug).collect::<String>())
    } else {
        text.to_owned()
    }
}

fn status_tone(status: u32) -> Tone {
    match status {
        500.. => Tone::Bad,
        400..500 => Tone::Warn,
        _ => Tone::Good,
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
        Direction::Unspecified => "-",
    }
}

/// The field's word; empty where it is not known.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    protocol.word().map_or("", conduit_logic::words::Protocol::as_str)
}

/// `10.77.0.3:8080`, or `-`.
pub(crate) fn socket(address: Option<&SocketAddress>) -> String {
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

fn address(peer: Option<&Peer>) -> String {
    socket(peer.and_then(|peer| peer.address.as_ref()))
}

fn workload(peer: Option<&Peer>) -> String {
    resource::full(
        peer.and_then(|peer| peer.workload.as_ref()).filter(|w: &&WorkloadRef| !w.name.is_empty()),
        "",
    )
}

fn pod(pod: Option<&PodRef>) -> String {
    pod.filter(|pod| !pod.name.is_empty())
        .map(|pod| format!("{}/{}", pod.namespace, pod.name))
        .unwrap_or_default()
}

fn service(peer: Option<&Peer>) -> String {
    let service = peer.and_then(|peer| peer.service.as_ref()).filter(|service| !service.name.is_empty());
    service.map(|s| format!("{}/{}:{}", s.namespace, s.name, s.port)).unwrap_or_default()
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
