//! The admin port of a process: `/live`, `/ready`, `/metrics` and `/log-level` over plain HTTP/1.1.
//! It depends on hyper's HTTP/1 server and on this crate's readiness, logs and tasks. Deliberately absent: TLS and authorisation.
//! It tells nothing secret, and the one thing that changes something (`PUT /log-level`) is answered to loopback peers only.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::logs::{FILTER_BYTES_MAX, LogLevel};
use crate::ready::Readiness;
use crate::tasks::Tasks;

/// The most connections served at a time: a few scrapers and probes. More wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 32;

/// The largest request head, in bytes: nothing here needs more than a request line and a few headers.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// How long a peer may take to send a request's head or body. Also how long an idle connection is kept.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection is kept at most, so that a peer that does not read cannot hold one of [`CONNECTIONS_MAX`] for ever.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// How long an answer that has begun may still take when its connection is told to end.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long accepting pauses after an error such as too many open files, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// Answers `/ready`.
    pub readiness: Readiness,
    /// Makes the text of `/metrics`, in the OpenMetrics format with its `# EOF`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Read and changed at `/log-level`.
    pub logs: LogLevel,
}

impl fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admin").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// Serves the admin port on `listener` as tasks of `tasks`, until these stop. Returns at once.
///
/// The listener is a standard one so that it can be bound before there is a runtime; it is served by the current runtime.
///
/// # Errors
/// When the listener cannot be handed to the runtime.
pub fn serve(listener: std::net::TcpListener, admin: Admin, tasks: &Tasks) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let connections = tasks.clone();
    tasks
        .spawn_until_stopped("admin", async move { accept(&listener, &Arc::new(admin), &connections).await });
    Ok(())
}

async fn accept(listener: &TcpListener, admin: &Arc<Admin>, tasks: &Tasks) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = permits.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (admin, token) = (admin.clone(), tasks.token().clone());
                tasks.spawn("admin connection", async move {
                    let _permit = permit;
                    connection(stream, peer, admin, &token).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin port; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, admin: Arc<Admin>, token: &CancellationToken) {
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(answer(request, peer.ip(), &admin).await) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    // An error here is the peer's: it went away, was too slow or does not speak HTTP. There is nobody to tell.
    let ended = token.run_until_cancelled(timeout(CONNECTION_AGE_MAX, serving.as_mut())).await;
    if !matches!(ended, Some(Ok(_))) {
        serving.as_mut().graceful_shutdown();
        timeout(FINISH_TIMEOUT, serving).await.ok();
    }
}

async fn answer<B>(request: Request<B>, peer: IpAddr, admin: &Admin) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/live" if reads => text(StatusCode::OK, "live\n"),
        "/ready" if reads => ready(&admin.readiness),
        "/metrics" if reads => with_type(StatusCode::OK, OPENMETRICS, (admin.metrics)()),
        "/log-level" if reads => text(StatusCode::OK, format!("{}\n", admin.logs.get())),
        "/log-level" if request.method() == Method::PUT => {
            set_level(request.into_body(), peer, &admin.logs).await
        }
        "/log-level" => not_allowed("GET, HEAD, PUT"),
        "/live" | "/ready" | "/metrics" => not_allowed("GET, HEAD"),
        _ => text(StatusCode::NOT_FOUND, "not found; there are /live, /ready, /metrics and /log-level\n"),
    }
}

fn ready(readiness: &Readiness) -> Response<Full<Bytes>> {
    match readiness.pending().as_slice() {
        [] => text(StatusCode::OK, "ready\n"),
        pending => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: waiting for {}\n", pending.join(", ")))
        }
    }
}

async fn set_level<B>(body: B, peer: IpAddr, logs: &LogLevel) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    if !peer.to_canonical().is_loopback() {
        return text(
            StatusCode::FORBIDDEN,
            "the log level is changed from the same host only: use 127.0.0.1\n",
        );
    }
    let filter = match read(body).await {
        Ok(filter) => filter,
        Err((status, problem)) => return text(status, problem),
    };
    match logs.set(filter.trim()) {
        Ok(()) => {
            tracing::info!(filter = filter.trim(), "log filter changed");
            text(StatusCode::OK, format!("{}\n", logs.get()))
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

async fn read<B>(body: B) -> Result<String, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let collected = within_read_timeout(Limited::new(body, FILTER_BYTES_MAX).collect()).await?;
    let bytes = collected
        .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the filter is longer than 1024 bytes, or was cut\n"))?
        .to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|_| (StatusCode::BAD_REQUEST, "the filter is not UTF-8\n"))
}

async fn within_read_timeout<F: Future>(future: F) -> Result<F::Output, (StatusCode, &'static str)> {
    timeout(READ_TIMEOUT, future)
        .await
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"))
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response =
        text(StatusCode::METHOD_NOT_ALLOWED, format!("method not allowed; allowed: {allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, TEXT, body)
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
