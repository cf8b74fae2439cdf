//! HTTPS for the API server: HTTP/1.1 over TLS 1.3, one path, bodies of a bounded size. Whoever else connects learns nothing but
//! what a pod of his would look like: the answer is a function of the question and of public facts. Nor does he keep the API server out:
//! where all places are taken, the oldest connection gives way.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conduit_process::tasks::Tasks;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::PATH;
use super::review::Reviewer;

/// Connections at once: an API server keeps a few open and opens more when hundreds of pods are made at a time.
/// Anybody in the cluster may connect, so they are no bound on whom is served: see [`serve`].
const CONNECTIONS_MAX: usize = 256;
/// The largest review, in bytes: the API server takes no request above 3 MiB, and wraps the object once.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A handshake, a head or a body that takes longer is given up; the API server itself waits 5 s.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may wait for its next review. The API server closes one that it has not used for 90 s: it has to be the one that
/// does, because a review that it sends while we close is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The first answer after this says that it is the connection's last one, so that it ends between two reviews.
const LAST_ANSWER_AGE: Duration = Duration::from_secs(600);
/// What a connection that is told so, or is idle until then, never reaches; one that does not take its answer is cut off.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(900);
/// The pause after an error of accept, so that it is not retried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a review in progress may take when the controller stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until the tasks stop.
pub(super) fn serve(listener: TcpListener, acceptor: TlsAcceptor, reviewer: Arc<Reviewer>, tasks: &Tasks) {
    let connections = tasks.clone();
    tasks.spawn_until_stopped("webhook", async move {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open: VecDeque<CancellationToken> = VecDeque::with_capacity(CONNECTIONS_MAX);
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the webhook's port; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            open.retain(|connection| !connection.is_cancelled());
            if open.len() >= CONNECTIONS_MAX
                && let Some(oldest) = open.pop_front()
            {
                oldest.cancel();
            }
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let (acceptor, reviewer) = (acceptor.clone(), reviewer.clone());
            let (stop, leave) = (connections.token().clone(), connections.token().child_token());
            open.push_back(leave.clone());
            connections.spawn("webhook connection", async move {
                let (_permit, _ended) = (permit, leave.clone().drop_guard());
                connection(stream, acceptor, reviewer, &leave, &stop).await;
            });
        }
    });
}

/// Serves one connection, until the tasks `stop` or it has to `leave`.
async fn connection<S>(
    stream: S,
    acceptor: TlsAcceptor,
    reviewer: Arc<Reviewer>,
    leave: &CancellationToken,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let handshake = timeout(READ_TIMEOUT, acceptor.accept(stream));
    let tls = match leave.run_until_cancelled(handshake).await {
        Some(Ok(Ok(tls))) => tls,
        Some(Ok(Err(error))) => {
            tracing::debug!(%error, "a handshake on the webhook's port failed");
            return;
        }
        Some(Err(_)) | None => return,
    };
    let (began, asked) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let whole = asked.clone();
    let service = service_fn(move |request| {
        let (reviewer, whole) = (reviewer.clone(), whole.clone());
        async move {
            let mut response = answer(request, &reviewer, &whole).await;
            if began.elapsed() >= LAST_ANSWER_AGE {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut serving = Box::pin(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .serve_connection(TokioIo::new(tls), service),
    );
    // An error here is the peer's: it went away, was too slow or does not speak HTTP.
    let ended = leave.run_until_cancelled(timeout(CONNECTION_AGE_MAX, serving.as_mut())).await;
    // A review that is there as a whole is answered; who has not come so far gives way at once.
    if ended.is_none() && (asked.load(Ordering::Relaxed) || stop.is_cancelled()) {
        serving.as_mut().graceful_shutdown();
        _ = timeout(FINISH_TIMEOUT, serving).await;
    }
}

/// `whole` says whether the request has been read.
async fn answer(
    request: Request<Incoming>,
    reviewer: &Reviewer,
    whole: &AtomicBool,
) -> Response<Full<Bytes>> {
    whole.store(false, Ordering::Relaxed);
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, format!("reviews are posted to {PATH}"));
    }
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted".to_owned());
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return plain(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned()),
    };
    whole.store(true, Ordering::Relaxed);
    match reviewer.review(&body).await {
        Ok(answer) => {
            let mut response = Response::new(Full::new(Bytes::from(answer)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "a review could not be answered: the pod has no proxy"
            );
            plain(StatusCode::BAD_REQUEST, format!("{error:#}"))
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text + "\n")));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
