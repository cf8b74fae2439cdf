//! HTTP/2 and gRPC from the application: every stream is a request of its own, balanced on its own. A stream that an endpoint
//! refused unprocessed (REFUSED_STREAM, GOAWAY) goes to another endpoint, with what was kept of its body; a reset on one side
//! is a reset on the other, so cancellation and deadlines reach the server.
//!
//! Source: RFC 9113 sections 5.4 (errors), 6.8 (GOAWAY), 8.7 (request reliability).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use conduit_logic::classify;
use conduit_logic::words::{Direction, Protocol};
use conduit_process::tasks::Tasks;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request};
use tokio_util::sync::CancellationToken;

use super::Outbound;
use super::accept::Conn;
use super::attempts::{ATTEMPTS_MAX, Attempts};
use super::balance::{Picked, Service};
use super::connect::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, Http2, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES,
};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::gather::Gathered;
use crate::http::head::{PROXY_ERROR, PROXY_PROOF};
use crate::http::streams::{Answer, Broken, Passed, RequestBody, ask, pass};
use crate::record::{End, Recorder, Start};
use crate::tcp::stream::Stream;
use crate::telemetry::{Outcome, Reason};

/// Limits of an HTTP/2 connection that we serve.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams open at once.
    pub streams_max: u32,
    /// Bytes of a header block.
    pub header_bytes_max: u32,
    /// Bytes of a frame.
    pub frame_bytes_max: u32,
}

/// Accepts streams of one connection until it ends; each is a task of `tasks`, at most `streams_max` at once (the protocol
/// refuses more). When `draining` fires the client is told to open no more (GOAWAY) and what runs may finish.
pub async fn accept_streams(
    client: Stream,
    limits: Limits,
    tasks: Tasks,
    draining: CancellationToken,
    mut handle: impl FnMut(Request<RecvStream>, SendResponse<Bytes>),
) {
    let mut builder = h2::server::Builder::new();
    builder
        .max_frame_size(limits.frame_bytes_max)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .enable_connect_protocol();
    let mut connection = match builder.handshake(Gathered::new(client)).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "an HTTP/2 connection did not begin"),
    };
    let mut told = false;
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = draining.cancelled(), if !told => {
                told = true;
                connection.graceful_shutdown();
                continue;
            }
            () = tasks.token().cancelled() => return,
        };
        match accepted {
            Some(Ok((request, respond))) => handle(request, respond),
            Some(Err(error)) => return tracing::debug!(%error, "an HTTP/2 connection broke"),
            None => return,
        }
    }
}

/// Serves a connection of the application's.
pub async fn serve(conn: Conn) {
    let Conn { outbound, client, source, service } = conn;
    let limits = Limits {
        streams_max: outbound.config.streams_max,
        header_bytes_max: u32::try_from(outbound.config.header_bytes_max).unwrap_or(u32::MAX),
        frame_bytes_max: FRAME_BYTES_MAX,
    };
    let (tasks, draining) = (outbound.tasks.clone(), outbound.draining.clone());
    accept_streams(client, limits, tasks, draining, |request, respond| {
        let stream = StreamOf { outbound: outbound.clone(), service: service.clone(), source };
        outbound.tasks.spawn("outbound stream", stream.serve(request, respond));
    })
    .await;
}

/// One stream of the application's.
struct StreamOf {
    outbound: Arc<Outbound>,
    service: Arc<Service>,
    source: SocketAddr,
}

/// An endpoint's answer.
struct Answered {
    answer: Answer,
    picked: Picked,
    /// Keeps the stream counted.
    connection: Http2,
}

/// Why a request to one endpoint ended without a response.
enum NoAnswer {
    /// To be told to the client, or tried elsewhere.
    Failed(Failure),
    /// The client reset its stream.
    ClientGone,
}

impl StreamOf {
    async fn serve(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let grpc = answer::is_grpc(&parts.headers);
        let head = Request::from_parts(parts, ());
        let mut body = RequestBody::new(body);
        let mut recorder = None;
        match self.attempts(&head, &mut body, &mut respond, grpc, began, &mut recorder).await {
            Ok(answered) => self.respond(answered, &mut body, respond, grpc, recorder).await,
            Err(NoAnswer::ClientGone) => {
                if let Some(recorder) = recorder {
                    let end =
                        End { failure: Some("client gone"), ..ended(Outcome::Success, body.moved(), 0) };
                    recorder.end(end);
                }
            }
            Err(NoAnswer::Failed(failure)) => {
                self.outbound.telemetry.mesh_failure(failure.reason);
                tracing::warn!(source = %self.source, destination = %self.service.addr, %failure, "request failed");
                let status = answer::http2(&mut respond, &failure, grpc);
                let mut recorder = recorder.unwrap_or_else(|| self.unserved(&head, grpc, began));
                recorder.response(status);
                let grpc_status = grpc.then(|| failure.grpc_status());
                let failure = Some(failure.reason.as_str());
                recorder.end(End { grpc_status, failure, ..ended(Outcome::MeshFailure, body.moved(), 0) });
            }
        }
    }

    async fn attempts(
        &self,
        head: &Request<()>,
        body: &mut RequestBody,
        respond: &mut SendResponse<Bytes>,
        grpc: bool,
        began: Instant,
        recorder: &mut Option<Recorder>,
    ) -> Result<Answered, NoAnswer> {
        let mut attempts = Attempts::default();
        let mut refusals = 0;
        while let Some(picked) = attempts.next(&self.service) {
            let sent_at = Instant::now();
            let mut unheard = false;
            let failure = match picked.state.pool.http2(&self.outbound, &picked.state.endpoint).await {
                Err(failure) => failure,
                Ok(mut connection) => {
                    if recorder.is_none() {
                        *recorder = Some(self.record(head, grpc, began, &picked, &connection));
                    }
                    match self.attempt(head, body, respond, &mut connection, &picked).await {
                        Ok(answer) => {
                            picked.answered(sent_at.elapsed());
                            return Ok(Answered { answer, picked, connection });
                        }
                        Err(Attempt::ClientGone) => return Err(NoAnswer::ClientGone),
                        Err(Attempt::Failed(failure)) => failure,
                        Err(Attempt::Unheard(failure)) => {
                            unheard = true;
                            failure
                        }
                    }
                }
            };
            // A connection that is going away says nothing about its endpoint: a new one may serve.
            if unheard && refusals < ATTEMPTS_MAX {
                refusals += 1;
                continue;
            }
            picked.failed();
            if !failure.unprocessed {
                return Err(NoAnswer::Failed(failure));
            }
            attempts.failed(&picked, failure);
        }
        Err(NoAnswer::Failed(attempts.given_up(&self.service)))
    }

    /// Sends the request on one connection and waits for the response's head.
    async fn attempt(
        &self,
        head: &Request<()>,
        body: &mut RequestBody,
        respond: &mut SendResponse<Bytes>,
        connection: &mut Http2,
        picked: &Picked,
    ) -> Result<Answer, Attempt> {
        let empty = body.is_empty();
        let (response, sending) = connection
            .send
            .send_request(outgoing(head), empty)
            .map_err(|error| broke(&error, true, picked))?;
        match ask(response, sending, empty, body, respond).await {
            Ok(answer) => Ok(answer),
            Err(None) => Err(Attempt::ClientGone),
            Err(Some(error)) => Err(broke(&error, body.is_replayable(), picked)),
        }
    }

    async fn respond(
        &self,
        mut answered: Answered,
        body: &mut RequestBody,
        respond: SendResponse<Bytes>,
        grpc: bool,
        recorder: Option<Recorder>,
    ) {
        let Some(mut recorder) = recorder else { return };
        let status = answered.answer.0.status().as_u16();
        let mesh = is_proxys(answered.answer.0.headers_mut(), answered.connection.proof.as_deref());
        recorder.response(status);
        let Passed { received, grpc_status, broken } = pass(answered.answer, body, respond).await;
        let sent = body.moved();
        match broken {
            None => recorder
                .end(End { grpc_status, ..ended(outcome(status, grpc, grpc_status, mesh), sent, received) }),
            Some(Broken::To(_)) => {
                recorder.end(End { failure: Some("client gone"), ..ended(Outcome::Success, sent, received) });
            }
            Some(Broken::From(error)) => {
                let addr = answered.picked.state.endpoint.addr;
                tracing::debug!(endpoint = %addr, %error, "a response was not completed");
                // A reset with a code is the application's own word; a lost connection is the mesh's loss.
                let outcome = if error.is_reset() { Outcome::Failure } else { Outcome::MeshFailure };
                recorder.end(End { failure: Some("response broke off"), ..ended(outcome, sent, received) });
            }
        }
    }

    fn start<'a>(&self, head: &'a Request<()>, grpc: bool) -> Start<'a> {
        Start {
            protocol: protocol(grpc),
            method: head.method().as_str(),
            scheme: head.uri().scheme_str().unwrap_or("http"),
            authority: head.uri().authority().map_or("", http::uri::Authority::as_str),
            path: head.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str),
            ..super::accept::start(self.source, self.service.addr, protocol(grpc), "")
        }
    }

    fn record(
        &self,
        head: &Request<()>,
        grpc: bool,
        began: Instant,
        picked: &Picked,
        connection: &Http2,
    ) -> Recorder {
        let endpoint = &picked.state.endpoint;
        let service = self.service.name();
        let tls = connection.tls.as_ref();
        let edge = picked.state.edge(&self.outbound.telemetry, service.as_ref(), protocol(grpc), tls);
        let start = Start {
            destination: endpoint.addr,
            workload: Some(&endpoint.workload),
            pod: Some(&endpoint.pod),
            service: service.as_ref(),
            tls,
            ..self.start(head, grpc)
        };
        Recorder::start(&self.outbound.tap, edge, began, start)
    }

    /// A request for which there was no endpoint at all.
    fn unserved(&self, head: &Request<()>, grpc: bool, began: Instant) -> Recorder {
        let edge = self.outbound.telemetry.edge(&crate::telemetry::EdgeKey {
            direction: Direction::Outbound,
            protocol: protocol(grpc),
            peer_workload: Default::default(),
            service: self.service.name(),
            tls: None,
        });
        Recorder::start(&self.outbound.tap, edge, began, self.start(head, grpc))
    }
}

/// Why one attempt gave no response.
enum Attempt {
    Failed(Failure),
    /// The connection was going away and certainly did not process the request.
    Unheard(Failure),
    ClientGone,
}

const fn protocol(grpc: bool) -> Protocol {
    if grpc { Protocol::Grpc } else { Protocol::Http2 }
}

const fn ended(outcome: Outcome, sent: u64, received: u64) -> End {
    End { outcome, sent, received, grpc_status: None, failure: None }
}

/// Success or failure of a response that was completed.
#[must_use]
pub fn outcome(status: u16, grpc: bool, grpc_status: Option<u32>, mesh: bool) -> Outcome {
    let failed =
        if grpc { grpc_status.is_none_or(classify::grpc_failed) } else { classify::http_failed(status) };
    match (failed, mesh) {
        (_, true) => Outcome::MeshFailure,
        (true, false) => Outcome::Failure,
        (false, false) => Outcome::Success,
    }
}

/// Whether the peer's proxy gave this answer itself, and proves it. What says so without a proof is taken out.
fn is_proxys(headers: &mut HeaderMap, proof: Option<&str>) -> bool {
    let proven = headers.remove(PROXY_PROOF).is_some_and(|given| proof.is_some_and(|proof| given == proof));
    if !proven {
        headers.remove(PROXY_ERROR);
    }
    proven && headers.contains_key(PROXY_ERROR)
}

/// The head as it is sent on: the same, but for what a proxy alone may set.
#[must_use]
pub fn outgoing(head: &Request<()>) -> Request<()> {
    let mut request = head.clone();
    request.headers_mut().remove(PROXY_ERROR);
    request
}

/// Classifies an error of a request whose response did not begin.
fn broke(error: &h2::Error, replayable: bool, picked: &Picked) -> Attempt {
    let addr = picked.state.endpoint.addr;
    let detail = format!("{addr}: {error}");
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // GOAWAY from the peer covers streams above the last one it processed: h2 reports these, and only these, so.
    let going_away = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    match (refused || going_away) && replayable {
        true if going_away => Attempt::Unheard(Failure::unprocessed(Reason::Reset, detail)),
        true => Attempt::Failed(Failure::unprocessed(Reason::Connect, detail)),
        false => Attempt::Failed(Failure::new(Reason::Reset, detail)),
    }
}
