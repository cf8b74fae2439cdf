//! HTTPS for the API server: HTTP/1.1 over TLS 1.3, one path, bodies of a bounded size. Whoever else connects learns nothing but
//! what a pod of his would look like: the answer is a function of the question and of public facts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conduit_process::tasks::Tasks;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::PATH;
use super::review::Reviewer;

/// Connections at once: an API server keeps a few open and opens more when hundreds of pods are made at a time.
const CONNECTIONS_MAX: usize = 256;
/// The largest review, in bytes: the API server takes no request above 3 MiB, and wraps the object once.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A handshake, a head or a body that takes longer is given up; the API server itself waits 5 s.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an error of accept, so that it is not retried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a review in progress may take when the controller stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until the tasks stop.
pub(super) fn serve(listener: TcpListener, acceptor: TlsAcceptor, reviewer: Arc<Reviewer>, tasks: &Tasks) {
    let connections = tasks.clone();
    tasks.spawn_until_stopped("webhook", async move {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the webhook's port; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (acceptor, reviewer, token) =
                (acceptor.clone(), reviewer.clone(), connections.token().clone());
            connections.spawn("webhook connection", async move {
                let _permit = permit;
                let serving = connection(stream, acceptor, reviewer, token.clone());
                serving.await;
            });
        }
    });
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    reviewer: Arc<Reviewer>,
    token: tokio_util::sync::CancellationToken,
) {
    let handshake = tokio::time::timeout(READ_TIMEOUT, acceptor.accept(stream));
    let tls = match token.run_until_cancelled(handshake).await {
        Some(Ok(Ok(tls))) => tls,
        Some(Ok(Err(error))) => {
            tracing::debug!(%error, "a handshake on the webhook's port failed");
            return;
        }
        Some(Err(_)) | None => return,
    };
    let service = service_fn(move |request| {
        let reviewer = reviewer.clone();
        async move { Ok::<_, Infallible>(answer(request, &reviewer).await) }
    });
    let mut serving = Box::pin(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(tls), service),
    );
    // An error here is the peer's: it went away or does not speak HTTP.
    if token.run_until_cancelled(serving.as_mut()).await.is_none() {
        serving.as_mut().graceful_shutdown();
        _ = tokio::time::timeout(FINISH_TIMEOUT, serving).await;
    }
}

async fn answer(request: Request<Incoming>, reviewer: &Reviewer) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, format!("reviews are posted to {PATH}"));
    }
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted".to_owned());
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return plain(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned()),
    };
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
