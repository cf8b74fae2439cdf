//! HTTP/2 and gRPC that comes in the clear, from a peer without a proxy: every stream goes to one HTTP/2 connection of this
//! peer's to the application, opened with prior knowledge and opened again when the application ends it. What such a peer sends is
//! taken apart and held to our limits, since it is nobody that is known.
//!
//! Source: RFC 9113 section 3.3 (prior knowledge).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use conduit_logic::words::Protocol;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream};
use http::Request;

use super::Inbound;
use super::accept::Conn;
use super::forward::{self, Ends};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::gather::Gathered;
use crate::http::streams::{
    self, Answer, Broken, CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, Limits, Passed, RequestBody,
    SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, accept_streams, outgoing, pass,
};
use crate::record::{End, Recorder, Start, outcome};
use crate::telemetry::{Outcome, Reason};

/// What the streams of one peer's connection share.
struct Peer {
    inbound: Arc<Inbound>,
    source: SocketAddr,
    destination: SocketAddr,
    // The connection to the application; held while one is opened, so that a burst of streams opens one and not many.
    app: tokio::sync::Mutex<Option<SendRequest<Bytes>>>,
}

/// Serves the streams of one peer until the connection ends.
pub async fn serve(conn: Conn) {
    let Conn { inbound, client, source, destination, .. } = conn;
    let limits = Limits {
        streams_max: inbound.config.streams_max,
        header_bytes_max: u32::try_from(inbound.config.header_bytes_max).unwrap_or(u32::MAX),
        frame_bytes_max: FRAME_BYTES_MAX,
    };
    let (tasks, draining) = (inbound.tasks.clone(), inbound.draining.clone());
    let peer = Arc::new(Peer { inbound, source, destination, app: tokio::sync::Mutex::default() });
    accept_streams(client, limits, tasks, draining, |request, respond| {
        peer.inbound.tasks.spawn("inbound stream", stream(peer.clone(), request, respond));
    })
    .await;
}

impl Peer {
    /// The connection to the application, with room for a stream.
    async fn app(&self) -> Result<SendRequest<Bytes>, Failure> {
        let mut app = self.app.lock().await;
        if let Some(open) = app.take()
            && let Ok(ready) = open.ready().await
        {
            *app = Some(ready.clone());
            return Ok(ready);
        }
        let server = forward::connect(&self.inbound, self.destination).await?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .enable_push(false)
            .handshake(Gathered::new(server))
            .await
            .map_err(|error| {
                Failure::unprocessed(Reason::Connect, format!("HTTP/2 with the application: {error}"))
            })?;
        self.inbound.tasks.spawn("inbound http/2 connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the HTTP/2 connection to the application ended");
            }
        });
        *app = Some(send.clone());
        Ok(send)
    }

    fn record(&self, head: &Request<()>, protocol: Protocol) -> Recorder {
        let edge = forward::edge(&self.inbound, protocol, None);
        let ends = Ends { source: self.source, destination: self.destination, protocol, tls: None };
        let start = Start {
            method: head.method().as_str(),
            scheme: head.uri().scheme_str().unwrap_or("http"),
            authority: head.uri().authority().map_or("", http::uri::Authority::as_str),
            path: head.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str),
            ..forward::start(&ends)
        };
        Recorder::start(&self.inbound.tap, edge, Instant::now(), start)
    }
}

/// Why the application gave no response.
enum NoAnswer {
    Failed(Failure),
    /// The application reset the stream: its word goes back as it is.
    Reset(Code),
    ClientGone,
}

const fn ended(outcome: Outcome, sent: u64, received: u64) -> End {
    End { outcome, sent, received, grpc_status: None, failure: None }
}

async fn stream(peer: Arc<Peer>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, body) = request.into_parts();
    let grpc = answer::is_grpc(&parts.headers);
    let head = Request::from_parts(parts, ());
    let mut recorder = peer.record(&head, if grpc { Protocol::Grpc } else { Protocol::Http2 });
    let mut body = RequestBody::new(body);
    match ask(&peer, &head, &mut body, &mut respond).await {
        Ok(answer) => answer_with(answer, &mut body, respond, grpc, recorder).await,
        Err(NoAnswer::ClientGone) => {
            recorder.end(End { failure: Some("client gone"), ..ended(Outcome::Success, body.moved(), 0) });
        }
        Err(NoAnswer::Reset(code)) => {
            respond.send_reset(code);
            recorder.end(End { failure: Some("reset"), ..ended(Outcome::Failure, body.moved(), 0) });
        }
        Err(NoAnswer::Failed(failure)) => {
            peer.inbound.telemetry.mesh_failure(failure.reason);
            tracing::debug!(source = %peer.source, destination = %peer.destination, %failure, "request failed");
            recorder.response(answer::http2(&mut respond, &failure, grpc));
            let grpc_status = grpc.then(|| failure.grpc_status());
            let failure = Some(failure.reason.as_str());
            recorder.end(End { grpc_status, failure, ..ended(Outcome::MeshFailure, body.moved(), 0) });
        }
    }
}

/// Sends the request to the application; once more on a new connection if the old one was going away.
async fn ask(
    peer: &Peer,
    head: &Request<()>,
    body: &mut RequestBody,
    respond: &mut SendResponse<Bytes>,
) -> Result<Answer, NoAnswer> {
    let mut again = true;
    loop {
        let mut app = peer.app().await.map_err(NoAnswer::Failed)?;
        let empty = body.is_empty();
        let error = match app.send_request(outgoing(head), empty) {
            Err(error) => error,
            Ok((response, sending)) => match streams::ask(response, sending, empty, body, respond).await {
                Ok(answer) => return Ok(answer),
                Err(None) => return Err(NoAnswer::ClientGone),
                Err(Some(error)) => error,
            },
        };
        let unheard = error.reason() == Some(Code::REFUSED_STREAM) || error.is_go_away();
        if again && unheard && body.is_replayable() {
            again = false;
            *peer.app.lock().await = None;
            continue;
        }
        if error.is_reset() && error.is_remote() {
            return Err(NoAnswer::Reset(error.reason().unwrap_or(Code::INTERNAL_ERROR)));
        }
        return Err(NoAnswer::Failed(Failure::new(
            Reason::Reset,
            format!("HTTP/2 with the application: {error}"),
        )));
    }
}

async fn answer_with(
    mut answer: Answer,
    body: &mut RequestBody,
    respond: SendResponse<Bytes>,
    grpc: bool,
    mut recorder: Recorder,
) {
    let status = answer.0.status().as_u16();
    recorder.response(status);
    // Only proxies say that an answer is a proxy's.
    answer.0.headers_mut().remove(crate::http::head::PROXY_ERROR);
    let Passed { received, grpc_status, broken } = pass(answer, body, respond).await;
    let sent = body.moved();
    let end = match broken {
        None => End { grpc_status, ..ended(outcome(status, grpc, grpc_status, false), sent, received) },
        Some(Broken::To(_)) => {
            End { failure: Some("client gone"), ..ended(Outcome::Success, sent, received) }
        }
        Some(Broken::From(_)) => {
            End { failure: Some("response broke off"), ..ended(Outcome::Failure, sent, received) }
        }
    };
    recorder.end(end);
}
