//! HTTP/1.1 for the demo's roles: a server loop with a bound and a drain, and a keep-alive client. Stands on hyper alone.
//! Deliberately absent: routing, TLS, HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conduit_process::tasks::Tasks;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections a role serves at once: far above what the demo's own load opens, far below a pod's memory.
const CONNECTIONS_MAX: usize = 1024;
/// How long to wait after an accept that failed (no file descriptor free) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Idle keep-alive connections that a client holds to one peer.
const IDLE_MAX: usize = 16;

/// A body made here: all of it at once, or as it comes. An error cuts the connection off.
pub(super) type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// A whole body with its status.
pub(super) fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Accepts connections until the tasks stop, then lets each finish its request.
pub(super) async fn serve<F, R>(listener: TcpListener, tasks: Tasks, handler: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    accept(listener, tasks, "http connection", move |stream, tasks| {
        connection(stream, tasks, handler.clone())
    })
    .await;
}

/// The accept loop: at most [`CONNECTIONS_MAX`] at once, until the tasks stop.
pub(super) async fn accept<F, R>(listener: TcpListener, tasks: Tasks, name: &'static str, serve: F)
where
    F: Fn(TcpStream, Tasks) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopped = tasks.token().clone().cancelled_owned();
    tokio::pin!(stopped);
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let served = serve(stream, tasks.clone());
        tasks.spawn(name, async move {
            served.await;
            drop(permit);
        });
    }
}

async fn connection<F, R>(stream: TcpStream, tasks: Tasks, handler: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let response = handler(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A peer that resets its connection is its own business.
        _ = &mut connection => return,
        () = tasks.token().cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A client that keeps connections alive between requests.
pub(super) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// A keep-alive client.
pub(super) fn client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE_MAX)
        .pool_timer(TokioTimer::new())
        .build(connector)
}
