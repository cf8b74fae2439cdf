//! HTTP/1 from the application: one request after another, each sent to an endpoint of its own. What an endpoint certainly did
//! not process goes to another one; what it may have processed is sent again only where the method says that this is harmless.

use std::sync::Arc;
use std::time::Instant;

use conduit_logic::classify;
use conduit_logic::framing::Body;
use conduit_logic::words::{Direction, Protocol};

use super::accept::Conn;
use super::attempts::{ATTEMPTS_MAX, Attempts};
use super::balance::Picked;
use super::connect::Http1;
use crate::failure::Failure;
use crate::http::answer;
use crate::http::exchange::{
    NoResponse, Outgoing, Unfinished, close, closing, next_request, refuse_request, switched,
};
use crate::http::head::{PROXY_ERROR, Request, Response};
use crate::record::{End, Recorder, Start, outcome};
use crate::tcp::pump::relay;
use crate::telemetry::{EdgeStats, Outcome, Reason};

/// What becomes of the application's connection after an exchange.
enum Next {
    /// The next request may come.
    Keep,
    /// It ends in order.
    Close,
    /// It ends so that the application sees that something is missing.
    Abort,
}

/// Serves requests until the connection ends.
pub async fn serve(mut conn: Conn) {
    loop {
        let limits = conn.outbound.head_limits();
        let request = next_request(&mut conn.client, limits, &conn.outbound.draining).await;
        let next = match request {
            // Boxed, so that a connection at rest does not hold the room that a request needs.
            Ok(request) => Box::pin(exchange(&mut conn, request)).await,
            Err(none) => {
                if let Some(reason) = refuse_request(&mut conn.client, none).await {
                    conn.outbound.telemetry.mesh_failure(reason);
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

/// An endpoint's answer.
struct Answered {
    picked: Picked,
    server: Http1,
    response: Response,
}

async fn exchange(conn: &mut Conn, mut request: Request) -> Next {
    let began = Instant::now();
    let mut outgoing = match Outgoing::new(&mut request, &mut conn.client).await {
        Ok(outgoing) => outgoing,
        Err(_) => return Next::Abort,
    };
    let mut recorder = None;
    match attempts(conn, &request, &mut outgoing, began, &mut recorder).await {
        Ok(answered) => respond(conn, &request, outgoing, answered, recorder).await,
        Err(Ended::ClientGone) => {
            if let Some(recorder) = recorder {
                recorder
                    .end(End { failure: Some("client gone"), ..ended(Outcome::Success, outgoing.sent(), 0) });
            }
            Next::Abort
        }
        Err(Ended::Failed(failure)) => {
            conn.outbound.telemetry.mesh_failure(failure.reason);
            tracing::warn!(source = %conn.source, destination = %conn.service.addr, method = request.method, %failure, "request failed");
            // A body that is still on its way could be taken for the next request.
            let close = !request.persistent || !outgoing.is_whole() || conn.outbound.draining.is_cancelled();
            let reason = failure.reason.as_str();
            let text =
                answer::http1(failure.status(), reason, &failure.detail, request.method == "HEAD", close);
            if let Some(mut recorder) = recorder {
                recorder.response(failure.status());
                recorder
                    .end(End { failure: Some(reason), ..ended(Outcome::MeshFailure, outgoing.sent(), 0) });
            } else {
                unserved(conn, began, &request, &failure);
            }
            match conn.client.send(&text).await {
                Ok(()) if close => Next::Close,
                Ok(()) => Next::Keep,
                Err(_) => Next::Abort,
            }
        }
    }
}

const fn ended(outcome: Outcome, sent: u64, received: u64) -> End {
    End { outcome, sent, received, grpc_status: None, failure: None }
}

/// Counts a request for which there was no endpoint at all.
fn unserved(conn: &Conn, began: Instant, request: &Request, failure: &Failure) {
    let edge = conn.outbound.telemetry.edge(&crate::telemetry::EdgeKey {
        direction: Direction::Outbound,
        protocol: Protocol::Http1,
        peer_workload: Default::default(),
        service: conn.service.name(),
        tls: None,
    });
    let start = Start {
        method: &request.method,
        scheme: "http",
        path: &request.target,
        ..super::accept::start(conn.source, conn.service.addr, Protocol::Http1, &request.host)
    };
    let mut recorder = Recorder::start(&conn.outbound.tap, edge, began, start);
    recorder.response(failure.status());
    recorder.end(End { failure: Some(failure.reason.as_str()), ..ended(Outcome::MeshFailure, 0, 0) });
}

/// Why no endpoint answered.
enum Ended {
    Failed(Failure),
    ClientGone,
}

/// Sends the request to one endpoint after another until one answers.
async fn attempts(
    conn: &mut Conn,
    request: &Request,
    outgoing: &mut Outgoing,
    began: Instant,
    recorder: &mut Option<Recorder>,
) -> Result<Answered, Ended> {
    let (outbound, service) = (conn.outbound.clone(), conn.service.clone());
    let mut attempts = Attempts::default();
    let mut stale = 0;
    while let Some(picked) = attempts.next(&service) {
        let sent_at = Instant::now();
        let failure = match picked.state.pool.http1(&outbound, &picked.state.endpoint).await {
            Err(failure) => failure,
            Ok(mut server) => {
                match recorder {
                    Some(recorder) => recorder.moved_to(edge(conn, &picked, &server)),
                    None => *recorder = Some(record(conn, request, began, &picked, &server)),
                }
                match outgoing
                    .send(&mut conn.client, &mut server.stream, outbound.config.header_bytes_max)
                    .await
                {
                    Ok(response) => match refused(&response, &server, request, outgoing) {
                        None => {
                            picked.answered_with(proxy_error(&response, &server), sent_at.elapsed());
                            return Ok(Answered { picked, server, response });
                        }
                        Some(failure) => failure,
                    },
                    Err(NoResponse::Client(_)) => return Err(Ended::ClientGone),
                    Err(error) => {
                        let reused = server.reused;
                        let failure = lost(&error, &server, request, outgoing, &picked);
                        // An idle connection that the endpoint had closed says nothing about the endpoint: try it again.
                        if reused && failure.unprocessed && stale < ATTEMPTS_MAX {
                            stale += 1;
                            continue;
                        }
                        failure
                    }
                }
            }
        };
        picked.failed_with(&failure);
        if !failure.unprocessed {
            return Err(Ended::Failed(failure));
        }
        attempts.failed(&picked, failure);
    }
    Err(Ended::Failed(attempts.given_up(&service)))
}

/// Why the endpoint's proxy answered itself, if it did: only a proxy of the mesh can say that.
fn proxy_error<'a>(response: &'a Response, server: &Http1) -> Option<&'a str> {
    response.proxy_error.as_deref().filter(|_| server.tls.is_some())
}

/// The endpoint's proxy says that the application did not get the request, or was lost with it: another endpoint may have it.
fn refused(response: &Response, server: &Http1, request: &Request, outgoing: &Outgoing) -> Option<Failure> {
    let said = proxy_error(response, server).filter(|_| outgoing.is_replayable())?;
    let reason = again(said, request.method.as_bytes())?;
    Some(Failure::unprocessed(
        reason,
        "the endpoint's application cannot be reached by its proxy, or was lost",
    ))
}

/// Which of the reasons that an endpoint's proxy may say lets this method be tried again elsewhere: an application that ends resets
/// what it had not accepted yet, and no proxy can tell that from what it had begun.
fn again(said: &str, method: &[u8]) -> Option<Reason> {
    let harmless = classify::idempotent(method);
    let reasons = [(Reason::Connect, true), (Reason::Reset, harmless)];
    reasons.into_iter().find(|(reason, may)| *may && said == reason.as_str()).map(|(reason, _)| reason)
}

/// Classifies a connection that was lost before a response: may the request be sent again?
fn lost(
    error: &NoResponse,
    server: &Http1,
    request: &Request,
    outgoing: &Outgoing,
    picked: &Picked,
) -> Failure {
    let addr = picked.state.endpoint.addr;
    let (reason, detail) = match error {
        NoResponse::Closed => (Reason::Reset, format!("{addr} closed the connection without a response")),
        NoResponse::Broken(error) => (Reason::Reset, format!("the connection to {addr} broke: {error}")),
        NoResponse::Bad(error) => {
            (Reason::Protocol, format!("{addr} answered with what is not accepted: {error}"))
        }
        NoResponse::Client(error) => (Reason::Reset, format!("the client went away: {error}")),
    };
    // A mesh proxy closes in order (close_notify) only between requests: what it closed on was not processed.
    let orderly = matches!(error, NoResponse::Closed) && server.tls.is_some();
    let harmless = classify::idempotent(request.method.as_bytes());
    let again = outgoing.is_replayable() && reason == Reason::Reset && (orderly || harmless);
    Failure { unprocessed: again, ..Failure::new(reason, detail) }
}

fn edge(conn: &Conn, picked: &Picked, server: &Http1) -> Arc<EdgeStats> {
    picked.state.edge(&conn.outbound.telemetry, picked.service(), Protocol::Http1, server.tls.as_ref())
}

fn record(conn: &Conn, request: &Request, began: Instant, picked: &Picked, server: &Http1) -> Recorder {
    let endpoint = &picked.state.endpoint;
    let (service, tls) = (picked.service(), server.tls.as_ref());
    Recorder::start(
        &conn.outbound.tap,
        edge(conn, picked, server),
        began,
        Start {
            direction: Direction::Outbound,
            protocol: Protocol::Http1,
            source: conn.source,
            destination: endpoint.addr,
            workload: Some(&endpoint.workload),
            pod: Some(&endpoint.pod),
            service,
            tls,
            method: &request.method,
            scheme: "http",
            authority: &request.host,
            path: &request.target,
        },
    )
}

/// Passes the response on, and decides what becomes of both connections.
async fn respond(
    conn: &mut Conn,
    request: &Request,
    mut outgoing: Outgoing,
    answered: Answered,
    recorder: Option<Recorder>,
) -> Next {
    let Answered { picked, mut server, response } = answered;
    let Some(mut recorder) = recorder else { return Next::Abort };
    recorder.response(response.status);
    let switched = switched(request, &response);
    let until_close = response.body == Body::UntilClose;
    let keep = request.persistent && !until_close && !switched && !conn.outbound.draining.is_cancelled();
    let mut closing = closing(request, &response, keep).to_vec();
    // The client shall see whose answer it is.
    let proxy_error = proxy_error(&response, &server);
    if let Some(reason) = proxy_error {
        closing.extend_from_slice(format!("{PROXY_ERROR}: {reason}\r\n").as_bytes());
    }
    let outcome = outcome(response.status, false, None, proxy_error.is_some());
    match outgoing.respond(&mut conn.client, &mut server.stream, &response, &closing).await {
        Ok(finished) if switched => {
            let (moved, result) = relay(&mut conn.client, &mut server.stream).await;
            let failure = result.err().map(|_| "reset");
            recorder.end(End {
                failure,
                ..ended(outcome, finished.sent + moved.sent, finished.received + moved.received)
            });
            Next::Close
        }
        Ok(finished) => {
            recorder.end(ended(outcome, finished.sent, finished.received));
            if response.persistent && finished.whole_request && server.stream.ahead.is_empty() {
                picked.state.pool.idle.give_back(server);
            }
            if keep && finished.whole_request { Next::Keep } else { Next::Close }
        }
        Err(Unfinished { error, client_gone, received }) => {
            tracing::debug!(source = %conn.source, endpoint = %picked.state.endpoint.addr, %error, "a response was not completed");
            let (outcome, failure) = if client_gone {
                (outcome, "client gone")
            } else {
                (Outcome::MeshFailure, "response broke off")
            };
            if !client_gone {
                picked.failed();
            }
            recorder.end(End { failure: Some(failure), ..ended(outcome, outgoing.sent(), received) });
            server.stream.abort();
            Next::Abort
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
