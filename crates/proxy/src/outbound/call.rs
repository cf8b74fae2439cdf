//! One request of an HTTP/2 connection of the application's: an endpoint is picked for it, its body and its response move frame by
//! frame, and it is counted once. A stream that an endpoint refused unprocessed (REFUSED_STREAM, GOAWAY) goes to another endpoint,
//! with what was kept of its body; a reset on one side is a reset on the other, so cancellation and deadlines reach the server.
//!
//! Source: RFC 9113 sections 5.4 (errors), 6.8 (GOAWAY), 8.1 (message framing), 8.7 (request reliability).

use std::sync::Arc;
use std::time::Instant;

use conduit_logic::http2::connection::Event;
use conduit_logic::http2::fields::{Facts, Field, Fields};
use conduit_logic::http2::wire::Code;
use conduit_logic::words::{Direction, Protocol};

use super::attempts::{ATTEMPTS_MAX, Attempts};
use super::balance::Picked;
use super::shared::{Asker, Server};
use super::streams::{Client, State};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::head::{PROXY_ERROR, PROXY_PROOF};
use crate::http::streams::REPLAY_BYTES_MAX;
use crate::record::{End, Recorder, Start, outcome};
use crate::telemetry::{EdgeKey, EdgeStats, Outcome, Reason};

/// The request.
pub struct Call {
    began: Instant,
    grpc: bool,
    fields: Fields,
    /// What of the body is not sent yet, or may have to be sent again.
    kept: Vec<u8>,
    trailers: Option<Fields>,
    /// All of the request came.
    ended: bool,
    /// All that was sent of the body is kept.
    replayable: bool,
    attempts: Attempts,
    /// Connections that were going away.
    refusals: usize,
    /// Where it runs; nowhere while a connection is opened for it.
    at: Option<At>,
    recorder: Option<Recorder>,
    /// The response's; 0 before it.
    status: u16,
    grpc_status: Option<u32>,
    /// The peer's proxy gave the answer.
    mesh: bool,
    /// Bytes of the request's body that came, and that the client was given credit for.
    sent: u64,
    credited: u64,
    /// Bytes of the response's body that went on.
    received: u64,
}

/// Where a request runs.
struct At {
    server: Arc<Server>,
    stream: u32,
    picked: Picked,
    sent_at: Instant,
    /// Bytes of the body that went on there.
    sent: u64,
}

impl Call {
    fn end(mut self: Box<Self>, outcome: Outcome, failure: Option<&'static str>) {
        let Some(recorder) = self.recorder.take() else { return };
        let Self { grpc_status, sent, received, .. } = *self;
        recorder.end(End { outcome, sent, received, grpc_status, failure });
    }

    /// The client reset its stream, or is gone as a whole.
    pub fn client_gone(self: Box<Self>, code: Code) {
        if let Some(at) = &self.at {
            at.server.cancel(at.stream, code);
        }
        self.end(Outcome::Success, Some("client gone"));
    }

    /// Nothing needs to be kept any more.
    fn forget(&mut self) {
        self.replayable = false;
        self.kept = Vec::new();
    }

    /// Bytes of the body have gone on: gives what the client is to get credit for.
    fn went_on(&mut self, bytes: usize) -> usize {
        let Some(at) = &mut self.at else { return 0 };
        at.sent += bytes as u64;
        let credit = at.sent.saturating_sub(self.credited);
        self.credited += credit;
        credit as usize
    }

    const fn protocol(&self) -> Protocol {
        if self.grpc { Protocol::Grpc } else { Protocol::Http2 }
    }
}

/// The fields as they are sent on: the same, but for what a proxy alone may set.
fn outgoing(fields: &Fields, proxys: bool) -> impl Iterator<Item = Field<'_>> {
    fields.iter().filter(move |field| {
        field.name != PROXY_PROOF.as_bytes() && (proxys || field.name != PROXY_ERROR.as_bytes())
    })
}

impl Client {
    /// Something came from the application.
    pub fn asked(self: &Arc<Self>, state: &mut State, event: Event, bytes: &[u8]) {
        match event {
            Event::Head { stream, fields, facts, end } => self.begin(state, stream, fields, facts, end),
            Event::TooLarge { stream } => {
                let failure = Failure::new(
                    Reason::Protocol,
                    "the request's header fields are larger than this proxy accepts",
                );
                self.answer(state, stream, 431, &failure, false);
            }
            Event::Data { stream, range, flow, end } => {
                // Padding goes nowhere.
                state.http.release(stream, flow - range.len());
                self.body(state, stream, &bytes[range], end);
            }
            Event::Trailers { stream, fields } => {
                if let Some(call) = state.calls.get_mut(stream) {
                    call.ended = true;
                    match &call.at {
                        Some(at) if !call.replayable => at.server.send_trailers(at.stream, fields),
                        at => {
                            if let Some(at) = at {
                                at.server.send_trailers(at.stream, fields.clone());
                            }
                            call.trailers = Some(fields);
                        }
                    }
                }
            }
            Event::Reset { stream, code, ours } => {
                if let Some(call) = state.calls.remove(stream) {
                    // What the client did wrong is not the server's business.
                    call.client_gone(if ours { Code::CANCEL } else { code });
                }
            }
            Event::Sent { stream, sent } => {
                if let Some(at) = state.calls.get(stream).and_then(|call| call.at.as_ref()) {
                    at.server.release(at.stream, sent.bytes);
                }
                if sent.ended {
                    self.ended(state, stream);
                }
            }
            // No stream is ours to open, so none of them goes unheard.
            Event::Unheard { .. } => {}
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, stream: u32, fields: Fields, facts: Facts, end: bool) {
        let call = Call {
            began: Instant::now(),
            grpc: facts.grpc,
            fields,
            kept: Vec::new(),
            trailers: None,
            ended: end,
            replayable: true,
            attempts: Attempts::default(),
            refusals: 0,
            at: None,
            recorder: None,
            status: 0,
            grpc_status: None,
            mesh: false,
            sent: 0,
            credited: 0,
            received: 0,
        };
        state.calls.insert(stream, Box::new(call));
        self.place(state, stream);
    }

    /// A piece of the request's body.
    fn body(&self, state: &mut State, stream: u32, bytes: &[u8], end: bool) {
        let Some(call) = state.calls.get_mut(stream) else {
            // Answered already.
            return state.http.release(stream, bytes.len());
        };
        call.ended = end;
        call.sent += bytes.len() as u64;
        if call.replayable {
            call.kept.extend_from_slice(bytes);
        }
        let Some(at) = &call.at else { return };
        let sent = at.server.send(at.stream, bytes, end);
        if call.kept.len() > REPLAY_BYTES_MAX {
            call.forget();
        }
        let credit = call.went_on(sent);
        state.http.release(stream, credit);
    }

    /// Finds an endpoint for a request, at once where a connection is open.
    fn place(self: &Arc<Self>, state: &mut State, stream: u32) {
        let Some(call) = state.calls.get_mut(stream) else { return };
        let Some(picked) = call.attempts.next(&self.service) else {
            let failure = std::mem::take(&mut call.attempts).given_up(&self.service);
            return self.fail(state, stream, &failure);
        };
        let picked = match picked.state.pool.http2_open() {
            Some(server) => match self.put(state, stream, server, picked) {
                Ok(()) => return,
                Err(picked) => picked,
            },
            None => picked,
        };
        let waits = Box::pin(self.clone().connect(stream, picked));
        self.outbound.tasks.spawn("outbound stream", waits);
    }

    /// Opens a connection for a request that waits for one.
    async fn connect(self: Arc<Self>, stream: u32, picked: Picked) {
        let opened = picked.state.pool.http2(&self.outbound, &picked.state.endpoint).await;
        let state = &mut *self.lock();
        // The client may have gone meanwhile.
        let Some(call) = state.calls.get_mut(stream).filter(|call| call.at.is_none()) else { return };
        match opened {
            Ok(server) => {
                if self.put(state, stream, server, picked).is_err() {
                    // Others were quicker, or it ended at once.
                    self.again(state, stream, None);
                }
            }
            Err(failure) => {
                picked.failed_with(&failure);
                if failure.unprocessed {
                    call.attempts.failed(&picked, failure);
                    self.place(state, stream);
                } else {
                    self.fail(state, stream, &failure);
                }
            }
        }
        state.wake();
    }

    /// Sends a request on a connection; gives the pick back when that has no room any more.
    fn put(
        self: &Arc<Self>,
        state: &mut State,
        stream: u32,
        server: Arc<Server>,
        picked: Picked,
    ) -> Result<(), Picked> {
        let Some(call) = state.calls.get_mut(stream) else { return Ok(()) };
        let asker = Asker { client: self.clone(), stream };
        let head = outgoing(&call.fields, false);
        let Some((there, sent)) = server.ask(asker, head, &call.kept, call.ended, call.trailers.as_ref())
        else {
            return Err(picked);
        };
        let edge = self.edge(call, &picked, &server);
        match &mut call.recorder {
            Some(recorder) => recorder.moved_to(edge),
            None => call.recorder = Some(self.record(call, edge, &picked, &server)),
        }
        call.at = Some(At { server, stream: there, picked, sent_at: Instant::now(), sent: 0 });
        if call.kept.len() > REPLAY_BYTES_MAX {
            call.forget();
        }
        let credit = call.went_on(sent);
        state.http.release(stream, credit);
        Ok(())
    }

    /// The endpoint did not look at the request: it is sent once more. Without a failure it is the connection that was going away,
    /// which says nothing about the endpoint: a new one may serve.
    fn again(self: &Arc<Self>, state: &mut State, stream: u32, refused: Option<Failure>) {
        let Some(call) = state.calls.get_mut(stream) else { return };
        let at = call.at.take();
        match (refused, at) {
            (None, at) if call.refusals >= ATTEMPTS_MAX => {
                drop(at);
                let detail = "every connection to the endpoints was going away";
                return self.fail(state, stream, &Failure::unprocessed(Reason::Reset, detail));
            }
            (None, _) => call.refusals += 1,
            (Some(failure), Some(at)) => call.attempts.failed(&at.picked, failure),
            (Some(_), None) => {}
        }
        self.place(state, stream);
    }

    /// Something came from the endpoint.
    pub fn response(
        self: &Arc<Self>,
        state: &mut State,
        stream: u32,
        server: &Server,
        event: Event,
        bytes: &[u8],
    ) {
        let there = event.stream();
        let here = |at: &At| std::ptr::eq(&*at.server, server) && at.stream == there;
        // What comes for an attempt that was given up is of no use.
        let Some(call) = state.calls.get_mut(stream).filter(|call| call.at.as_ref().is_some_and(here)) else {
            return;
        };
        match event {
            Event::Head { fields, facts, end, .. } => {
                let proxy_error = server.proxy_error(&fields);
                if facts.status >= 200 {
                    if let Some(at) = &call.at {
                        at.picked.answered_with(proxy_error, at.sent_at.elapsed());
                    }
                    call.answered(facts.status, proxy_error.is_some(), &fields);
                }
                state.http.send_head(stream, outgoing(&fields, proxy_error.is_some()), end);
                if end {
                    self.ended(state, stream);
                }
            }
            Event::Data { range, flow, end, .. } => {
                call.received += range.len() as u64;
                let padding = flow - range.len();
                let sent = state.http.send_data(stream, &bytes[range], end);
                server.release(there, padding + sent.bytes);
                if sent.ended {
                    self.ended(state, stream);
                }
            }
            Event::Trailers { fields, .. } => {
                call.grpc_status = grpc_status(&fields).or(call.grpc_status);
                if state.http.send_trailers(stream, fields).ended {
                    self.ended(state, stream);
                }
            }
            Event::Sent { sent, .. } => {
                let credit = call.went_on(sent.bytes);
                state.http.release(stream, credit);
            }
            Event::Unheard { code: Code::NO_ERROR, .. } if call.replayable => self.again(state, stream, None),
            Event::Unheard { code, .. } if call.replayable => {
                if let Some(at) = &call.at {
                    at.picked.failed();
                }
                let detail = format!("{}: the connection was ended: {code}", server.addr);
                self.again(state, stream, Some(Failure::unprocessed(Reason::Connect, detail)));
            }
            // It may have had too many streams just then, and may have room for one later.
            Event::Reset { code: Code::REFUSED_STREAM, ours: false, .. } if call.replayable => {
                let detail = format!("{}: the stream was refused", server.addr);
                self.again(state, stream, Some(Failure::late(Reason::Connect, detail)));
            }
            Event::Unheard { code, .. } => {
                self.broke(state, stream, code, "the connection was ended", code != Code::NO_ERROR);
            }
            Event::Reset { code, ours: true, .. } => {
                self.broke(state, stream, code, "the response breaks the rules of HTTP/2", true);
            }
            Event::Reset { code, .. } => self.broke(state, stream, code, "the stream was reset", false),
            Event::TooLarge { .. } => {
                let detail = format!("{}: its header fields are larger than this proxy accepts", server.addr);
                self.fail(state, stream, &Failure::new(Reason::Protocol, detail));
            }
        }
    }

    /// The response has ended, and all of it has gone on.
    fn ended(&self, state: &mut State, stream: u32) {
        let Some(call) = state.calls.remove(stream) else { return };
        // What is left of a request that is answered already is of no use.
        state.http.reset(stream, Code::NO_ERROR);
        let outcome = outcome(call.status, call.grpc, call.grpc_status, call.mesh);
        call.end(outcome, None);
    }

    /// The endpoint ended the stream otherwise, which may say that it is not well. Before a response its client gets an answer; behind
    /// one it is the application's own word.
    fn broke(&self, state: &mut State, stream: u32, code: Code, what: &str, unwell: bool) {
        let Some(call) = state.calls.get(stream) else { return };
        if call.status == 0 {
            let addr = call.at.as_ref().map(|at| at.server.addr.to_string()).unwrap_or_default();
            let detail = format!("{addr}: {what}: {code}");
            match &call.at {
                Some(at) if unwell => at.picked.failed(),
                Some(at) => at.picked.reached(),
                None => {}
            }
            return self.fail(state, stream, &Failure::new(Reason::Reset, detail));
        }
        state.http.reset(stream, code);
        if let Some(call) = state.calls.remove(stream) {
            call.end(Outcome::Failure, Some("response broke off"));
        }
    }

    /// The connection to the endpoint was lost.
    pub fn response_lost(self: &Arc<Self>, state: &mut State, stream: u32, server: &Server, why: &str) {
        let here =
            |call: &&mut Box<Call>| call.at.as_ref().is_some_and(|at| std::ptr::eq(&*at.server, server));
        let Some(call) = state.calls.get_mut(stream).filter(here) else { return };
        if call.status == 0 {
            if let Some(at) = &call.at {
                at.picked.failed();
            }
            let detail = format!("{}: {why}", server.addr);
            return self.fail(state, stream, &Failure::new(Reason::Reset, detail));
        }
        if call.grpc {
            // To its client a lost connection is UNAVAILABLE, which it may try again, while a reset stream would be told as if somebody
            // had cancelled the call.
            let lost = Failure::new(
                Reason::Reset,
                "the connection to the server was lost before the end of its response",
            );
            state.http.send_trailers(stream, answer::grpc_failed(&lost));
        } else {
            // Some clients take CANCEL for the end of a response that does not say how long it is.
            state.http.reset(stream, Code::INTERNAL_ERROR);
        }
        if let Some(call) = state.calls.remove(stream) {
            call.end(Outcome::MeshFailure, Some("response broke off"));
        }
    }

    /// Answers a request that nobody serves.
    fn fail(&self, state: &mut State, stream: u32, failure: &Failure) {
        let Some(mut call) = state.calls.remove(stream) else { return };
        let status = if call.grpc { 200 } else { failure.status() };
        self.answer(state, stream, status, failure, call.grpc);
        let mut recorder = call.recorder.take().unwrap_or_else(|| self.unserved(&call));
        recorder.response(status);
        call.recorder = Some(recorder);
        call.grpc_status = call.grpc.then(|| failure.grpc_status());
        call.end(Outcome::MeshFailure, Some(failure.reason.as_str()));
    }

    /// Gives an answer of the proxy's own.
    fn answer(&self, state: &mut State, stream: u32, status: u16, failure: &Failure, grpc: bool) {
        self.outbound.telemetry.mesh_failure(failure.reason);
        tracing::warn!(source = %self.source, destination = %self.service.addr, %failure, "request failed");
        state.http.send_head(stream, answer::failed(failure, status, grpc).iter(), true);
        state.http.reset(stream, Code::NO_ERROR);
    }

    fn start<'a>(&self, call: &'a Call) -> Start<'a> {
        let (protocol, fields) = (call.protocol(), &call.fields);
        if !self.outbound.tap.active() {
            return super::accept::start(self.source, self.service.addr, protocol, "");
        }
        Start {
            method: fields.text(b":method"),
            scheme: fields.text(b":scheme"),
            path: fields.text(b":path"),
            ..super::accept::start(self.source, self.service.addr, protocol, fields.text(b":authority"))
        }
    }

    fn edge(&self, call: &Call, picked: &Picked, server: &Server) -> Arc<EdgeStats> {
        picked.state.edge(&self.outbound.telemetry, picked.service(), call.protocol(), server.tls.as_ref())
    }

    fn record(&self, call: &Call, edge: Arc<EdgeStats>, picked: &Picked, server: &Server) -> Recorder {
        let endpoint = &picked.state.endpoint;
        let (service, tls) = (picked.service(), server.tls.as_ref());
        let start = Start {
            destination: endpoint.addr,
            workload: Some(&endpoint.workload),
            pod: Some(&endpoint.pod),
            service,
            tls,
            ..self.start(call)
        };
        Recorder::start(&self.outbound.tap, edge, call.began, start)
    }

    /// A request for which there was no endpoint at all.
    fn unserved(&self, call: &Call) -> Recorder {
        let edge = self.outbound.telemetry.edge(&EdgeKey {
            direction: Direction::Outbound,
            protocol: call.protocol(),
            peer_workload: Default::default(),
            service: self.service.name(),
            tls: None,
        });
        Recorder::start(&self.outbound.tap, edge, call.began, self.start(call))
    }
}

impl Call {
    /// The response's head came.
    fn answered(&mut self, status: u16, mesh: bool, fields: &Fields) {
        self.status = status;
        self.mesh = mesh;
        self.grpc_status = grpc_status(fields);
        self.forget();
        if let Some(recorder) = &mut self.recorder {
            recorder.response(status);
        }
    }
}

/// The gRPC status, in trailers or in the head of a response without a body.
fn grpc_status(fields: &Fields) -> Option<u32> {
    fields.number(b"grpc-status").and_then(|status| u32::try_from(status).ok())
}
