//! HTTP/1 to the application: requests of one peer's connection, in order, on one connection to the application that is kept
//! for as long as both sides let it. What was certainly not processed is said to be so, for the peer's proxy to try elsewhere.

use std::time::Instant;

use conduit_logic::classify;
use conduit_logic::framing::Body;
use conduit_logic::words::Protocol;

use super::accept::Conn;
use super::forward::{self, Ends};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::exchange::{
    NoResponse, Outgoing, Unfinished, close, closing, next_request, refuse_request, switched,
};
use crate::http::head::{Request, Response};
use crate::record::{End, Recorder, Start, outcome};
use crate::tcp::pump::relay;
use crate::tcp::stream::Stream;
use crate::telemetry::{Outcome, Reason};

/// What becomes of the peer's connection after an exchange.
enum Next {
    Keep,
    Close,
    Abort,
}

/// Serves requests until the connection ends.
pub async fn serve(mut conn: Conn) {
    let mut app: Option<Stream> = None;
    loop {
        let limits = conn.inbound.head_limits();
        let request = next_request(&mut conn.client, limits, &conn.inbound.draining).await;
        let next = match request {
            // Boxed, so that a connection at rest does not hold the room that a request needs.
            Ok(request) => Box::pin(exchange(&mut conn, &mut app, request)).await,
            Err(none) => {
                if let Some(reason) = refuse_request(&mut conn.client, none).await {
                    conn.inbound.telemetry.mesh_failure(reason);
                }
                Next::Close
            }
        };
        match next {
            Next::Keep => {}
            Next::Close => return close(conn.client).await,
            Next::Abort => return conn.client.abort(),
        }
    }
}

const fn ended(outcome: Outcome, sent: u64, received: u64) -> End {
    End { outcome, sent, received, grpc_status: None, failure: None }
}

async fn exchange(conn: &mut Conn, app: &mut Option<Stream>, mut request: Request) -> Next {
    let recorder = record(conn, &request);
    let mut outgoing = match Outgoing::new(&mut request, &mut conn.client).await {
        Ok(outgoing) => outgoing,
        Err(_) => return Next::Abort,
    };
    match send(conn, app, &request, &mut outgoing).await {
        Ok((server, response)) => respond(conn, app, &request, outgoing, (server, response), recorder).await,
        Err(None) => {
            recorder.end(End { failure: Some("client gone"), ..ended(Outcome::Success, outgoing.sent(), 0) });
            Next::Abort
        }
        Err(Some(failure)) => refuse(conn, &request, &outgoing, &failure, recorder).await,
    }
}

/// Answers in the application's place.
async fn refuse(
    conn: &mut Conn,
    request: &Request,
    outgoing: &Outgoing,
    failure: &Failure,
    recorder: Recorder,
) -> Next {
    conn.inbound.telemetry.mesh_failure(failure.reason);
    tracing::debug!(source = %conn.source, destination = %conn.destination, %failure, "request failed");
    let close = !request.persistent || !outgoing.is_whole() || conn.inbound.draining.is_cancelled();
    let reason = failure.reason.as_str();
    let text = answer::http1(failure.status(), reason, &failure.detail, request.method == "HEAD", close);
    let mut recorder = recorder;
    recorder.response(failure.status());
    recorder.end(End { failure: Some(reason), ..ended(Outcome::MeshFailure, outgoing.sent(), 0) });
    match conn.client.send(&text).await {
        Ok(()) if close => Next::Close,
        Ok(()) => Next::Keep,
        Err(_) => Next::Abort,
    }
}

/// Sends the request to the application and waits for its answer. `Err(None)`: the peer went away.
async fn send(
    conn: &mut Conn,
    app: &mut Option<Stream>,
    request: &Request,
    outgoing: &mut Outgoing,
) -> Result<(Stream, Response), Option<Failure>> {
    let inbound = conn.inbound.clone();
    let mut kept = app.take().and_then(|mut stream| stream.is_quiet().then_some(stream));
    loop {
        let reused = kept.is_some();
        let mut server = match kept.take() {
            Some(server) => server,
            None => forward::connect(&inbound, conn.destination).await.map_err(Some)?,
        };
        match outgoing.send(&mut conn.client, &mut server, inbound.config.header_bytes_max).await {
            Ok(response) => return Ok((server, response)),
            Err(NoResponse::Client(_)) => return Err(None),
            // The application closed its idle connection just now: RFC 9112 section 9.3.1 lets us try once more.
            Err(NoResponse::Closed | NoResponse::Broken(_))
                if reused && outgoing.is_replayable() && classify::idempotent(request.method.as_bytes()) => {}
            Err(NoResponse::Closed) => {
                let detail = "the application closed the connection without a response";
                return Err(Some(Failure::new(Reason::Reset, detail)));
            }
            Err(NoResponse::Broken(error)) => {
                let detail = format!("the connection to the application broke: {error}");
                return Err(Some(Failure::new(Reason::Reset, detail)));
            }
            Err(NoResponse::Bad(error)) => {
                let detail = format!("the application's response is not accepted: {error}");
                return Err(Some(Failure::new(Reason::Protocol, detail)));
            }
        }
    }
}

fn record(conn: &Conn, request: &Request) -> Recorder {
    let edge = forward::edge(&conn.inbound, Protocol::Http1, conn.tls.as_ref());
    let ends = Ends {
        source: conn.source,
        destination: conn.destination,
        protocol: Protocol::Http1,
        tls: conn.tls.clone(),
    };
    let start = Start {
        method: &request.method,
        scheme: "http",
        authority: &request.host,
        path: &request.target,
        ..forward::start(&ends)
    };
    Recorder::start(&conn.inbound.tap, edge, Instant::now(), start)
}

/// Passes the response on, and decides what becomes of both connections.
async fn respond(
    conn: &mut Conn,
    app: &mut Option<Stream>,
    request: &Request,
    mut outgoing: Outgoing,
    (mut server, response): (Stream, Response),
    mut recorder: Recorder,
) -> Next {
    recorder.response(response.status);
    let switched = switched(request, &response);
    let keep = request.persistent
        && response.body != Body::UntilClose
        && !switched
        && !conn.inbound.draining.is_cancelled();
    let outcome = outcome(response.status, false, None, false);
    match outgoing.respond(&mut conn.client, &mut server, &response, closing(request, &response, keep)).await
    {
        Ok(finished) if switched => {
            let (moved, result) = relay(&mut conn.client, &mut server).await;
            let failure = result.err().map(|_| "reset");
            recorder.end(End {
                failure,
                ..ended(outcome, finished.sent + moved.sent, finished.received + moved.received)
            });
            Next::Close
        }
        Ok(finished) => {
            recorder.end(ended(outcome, finished.sent, finished.received));
            if response.persistent && finished.whole_request && server.ahead.is_empty() {
                *app = Some(server);
            }
            if keep && finished.whole_request { Next::Keep } else { Next::Close }
        }
        Err(Unfinished { error, client_gone, received }) => {
            tracing::debug!(source = %conn.source, %error, "a response was not completed");
            let (outcome, failure) =
                if client_gone { (outcome, "client gone") } else { (Outcome::Failure, "response broke off") };
            recorder.end(End { failure: Some(failure), ..ended(outcome, outgoing.sent(), received) });
            server.abort();
            Next::Abort
        }
    }
}
