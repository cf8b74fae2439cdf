//! The streams that are open on a connection that passes by, each with what is counted of it and shown to whoever taps. Without a
//! tap no text of a request is kept. There are no more of them than the peer was told that it may open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use conduit_logic::http2::frames::Watch;
use conduit_logic::http2::wire::{self, Code, STREAM_MAX};
use conduit_logic::words::Protocol;

use super::Inbound;
use super::forward::{self, Ends};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::head::{PROXY_ERROR, PROXY_PROOF};
use crate::record::{End, Recorder, Start, outcome};
use crate::telemetry::{Outcome, Reason};

/// Streams that a peer may open before it was told how many (RFC 9113 section 6.5.2 advises to allow so many).
const STREAMS_UNTOLD: usize = 100;

/// The streams of one connection.
pub struct Calls {
    inbound: Arc<Inbound>,
    ends: Ends,
    open: HashMap<u32, Call>,
    /// The last that the peer opened.
    last: u32,
    /// The last that the application will look at.
    last_looked_at: u32,
    fields: Fields,
    overflowed: bool,
}

/// One of them.
struct Call {
    recorder: Recorder,
    grpc: bool,
    /// Of the response; 0 before it.
    status: u16,
    grpc_status: Option<u32>,
    sent: u64,
    received: u64,
}

/// What is used of the field block that is being read.
#[derive(Default)]
struct Fields {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    grpc: bool,
    status: u16,
    grpc_status: Option<u32>,
}

impl Call {
    fn end(self, outcome: Outcome, failure: Option<&'static str>) {
        let Self { recorder, grpc_status, sent, received, .. } = self;
        recorder.end(End { outcome, sent, received, grpc_status, failure });
    }

    /// The response has ended.
    fn answered(self) {
        let outcome = outcome(self.status, self.grpc, self.grpc_status, false);
        self.end(outcome, None);
    }

    /// The application ended it otherwise.
    fn broke(self) {
        let failure = if self.status == 0 { "reset" } else { "response broke off" };
        self.end(Outcome::Failure, Some(failure));
    }
}

impl Calls {
    /// None yet.
    #[must_use]
    pub fn new(inbound: Arc<Inbound>, ends: Ends) -> Self {
        Self {
            inbound,
            ends,
            open: HashMap::new(),
            last: 0,
            last_looked_at: STREAM_MAX,
            fields: Fields::default(),
            overflowed: false,
        }
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether the peer opened more than it may.
    #[must_use]
    pub const fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The last stream that the application may have looked at.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last.min(self.last_looked_at)
    }

    /// Watches what the peer sends.
    pub fn up(&mut self) -> impl Watch {
        Up(self)
    }

    /// Watches what the application sends.
    pub fn down(&mut self) -> impl Watch {
        Down(self)
    }

    fn begin(&mut self, stream: u32) {
        self.last = stream;
        if self.open.len() >= STREAMS_UNTOLD.max(self.inbound.config.streams_max as usize) {
            self.overflowed = true;
            return;
        }
        let fields = &self.fields;
        let protocol = if fields.grpc { Protocol::Grpc } else { Protocol::Http2 };
        let edge = forward::edge(&self.inbound, protocol, self.ends.tls.as_ref());
        let start = Start {
            protocol,
            method: &fields.method,
            scheme: &fields.scheme,
            authority: &fields.authority,
            path: &fields.path,
            ..forward::start(&self.ends)
        };
        let recorder = Recorder::start(&self.inbound.tap, edge, Instant::now(), start);
        let grpc = fields.grpc;
        self.open.insert(stream, Call { recorder, grpc, status: 0, grpc_status: None, sent: 0, received: 0 });
    }

    /// The peer is gone, and with it all that it left open. Returns whether that was anything.
    pub fn client_gone(&mut self) -> bool {
        let any = !self.open.is_empty();
        for (_, call) in self.open.drain() {
            call.end(Outcome::Success, Some("client gone"));
        }
        any
    }

    /// What is open cannot go on, through either side's fault.
    pub fn broke_off(&mut self) {
        self.open.drain().for_each(|(_, call)| call.broke());
    }

    /// The application is gone. Returns how the streams that it left open end: as the proxy answers everywhere, with `proof` that it is
    /// the proxy that does. To a gRPC client a lost server is UNAVAILABLE, which it may try again.
    pub fn application_gone(&mut self, why: &str, proof: Option<&str>) -> Vec<u8> {
        let mut words = Vec::new();
        let last = self.last();
        for (stream, mut call) in self.open.drain().filter(|(stream, _)| *stream <= last) {
            let failure = Failure::new(Reason::Reset, why);
            let grpc_status = failure.grpc_status().to_string();
            let grpc = [("grpc-status", grpc_status.as_str()), ("grpc-message", &failure.detail)];
            if call.status > 0 {
                if call.grpc {
                    wire::last_fields(stream, &grpc, &mut words);
                } else {
                    wire::reset(stream, Code::INTERNAL_ERROR, &mut words);
                }
                call.broke();
                continue;
            }
            let status = if call.grpc { 200 } else { failure.status() };
            let text = status.to_string();
            let mut fields = vec![(":status", text.as_str()), (PROXY_ERROR, failure.reason.as_str())];
            fields.extend(proof.map(|proof| (PROXY_PROOF, proof)));
            if call.grpc {
                fields.push(("content-type", "application/grpc"));
                fields.extend(grpc);
                call.grpc_status = Some(failure.grpc_status());
            }
            wire::last_fields(stream, &fields, &mut words);
            self.inbound.telemetry.mesh_failure(failure.reason);
            call.recorder.response(status);
            call.end(Outcome::MeshFailure, Some(failure.reason.as_str()));
        }
        words
    }
}

struct Up<'a>(&'a mut Calls);

impl Watch for Up<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let (fields, tapped) = (&mut self.0.fields, self.0.inbound.tap.active());
        let kept = match name {
            b"content-type" => return fields.grpc = answer::is_grpc_type(value),
            b":method" => &mut fields.method,
            b":scheme" => &mut fields.scheme,
            b":authority" => &mut fields.authority,
            b":path" => &mut fields.path,
            _ => return,
        };
        if tapped {
            *kept = String::from_utf8_lossy(value).into_owned();
        }
    }

    fn headers(&mut self, stream: u32, _: bool) {
        // A client's streams have odd numbers, each higher than those before; other fields are trailers.
        if stream % 2 == 1 && stream > self.0.last {
            self.0.begin(stream);
        }
        self.0.fields = Fields::default();
    }

    fn data(&mut self, stream: u32, bytes: usize, _: bool) {
        if let Some(call) = self.0.open.get_mut(&stream) {
            call.sent += bytes as u64;
        }
    }

    fn reset(&mut self, stream: u32, _: u32) {
        if let Some(call) = self.0.open.remove(&stream) {
            call.end(Outcome::Success, Some("client gone"));
        }
    }

    fn go_away(&mut self, _: u32) {}
}

struct Down<'a>(&'a mut Calls);

impl Down<'_> {
    fn ends(&mut self, stream: u32) {
        if let Some(call) = self.0.open.remove(&stream) {
            call.answered();
        }
    }
}

impl Watch for Down<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
            std::str::from_utf8(value).ok()?.parse().ok()
        }
        match name {
            b":status" => self.0.fields.status = number(value).unwrap_or(0),
            b"grpc-status" => self.0.fields.grpc_status = number(value),
            _ => {}
        }
    }

    fn headers(&mut self, stream: u32, ends: bool) {
        let fields = std::mem::take(&mut self.0.fields);
        let interim = (100..200).contains(&fields.status) && !ends;
        if let Some(call) = self.0.open.get_mut(&stream).filter(|_| !interim) {
            if call.status == 0 {
                call.status = fields.status;
                call.recorder.response(fields.status);
            }
            call.grpc_status = fields.grpc_status.or(call.grpc_status);
        }
        if ends {
            self.ends(stream);
        }
    }

    fn data(&mut self, stream: u32, bytes: usize, ends: bool) {
        if let Some(call) = self.0.open.get_mut(&stream) {
            call.received += bytes as u64;
        }
        if ends {
            self.ends(stream);
        }
    }

    fn reset(&mut self, stream: u32, _: u32) {
        if let Some(call) = self.0.open.remove(&stream) {
            call.broke();
        }
    }

    fn go_away(&mut self, last_stream: u32) {
        self.0.last_looked_at = self.0.last_looked_at.min(last_stream);
        // They were not looked at: the peer's proxy sends them elsewhere.
        for (_, call) in self.0.open.extract_if(|stream, _| *stream > last_stream) {
            call.end(Outcome::Failure, Some("refused"));
        }
    }
}
