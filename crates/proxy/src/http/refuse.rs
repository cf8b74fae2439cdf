//! A connection beyond the limit: it is told so in its own protocol and ended, so that a client sees a reason and not a silence.
//! Deliberately absent: which connections are refused (`tcp::listen`), and a TLS handshake, which would cost what is short.

use std::sync::Arc;
use std::time::Duration;

use conduit_logic::detect::{Verdict, detect};
use conduit_logic::words::Protocol;
use tokio::net::TcpStream;

use super::answer;
use super::exchange::close;
use crate::failure::Failure;
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::{Reason, Telemetry};

/// Connections that are being refused at once, each way: enough that a burst hears its reason, few enough that a flood of them
/// costs next to nothing. Beyond it the kernel's queue is the back-pressure.
pub const REFUSALS_MAX: usize = 64;

/// Refuses one connection: HTTP/1 with 503, HTTP/2 with 503 or RESOURCE_EXHAUSTED, anything else with a reset. A client that does
/// not say within `patience` what it speaks, or does not read its answer, is reset as well.
pub async fn refuse(
    telemetry: Arc<Telemetry>,
    socket: TcpStream,
    connections_max: usize,
    patience: Duration,
) {
    telemetry.mesh_failure(Reason::Limit);
    let detail = format!(
        "this proxy has as many connections as it may ({connections_max}, connections-max); try again later"
    );
    let failure = Failure::unprocessed(Reason::Limit, detail);
    tracing::debug!(%failure, "a connection is refused");
    let mut client = Stream::new(Io::Tcp(socket));
    match tokio::time::timeout(patience, spoken(&mut client)).await {
        Ok(Protocol::Http1) => _ = tokio::time::timeout(patience, http1(client, &failure)).await,
        Ok(Protocol::Http2 | Protocol::Grpc) => {
            _ = tokio::time::timeout(patience, http2(client, &failure)).await;
        }
        Ok(Protocol::Tls | Protocol::Opaque) | Err(_) => client.abort(),
    }
}

/// What the client's first bytes say.
async fn spoken(client: &mut Stream) -> Protocol {
    loop {
        match detect(&client.ahead) {
            Verdict::Is(protocol) => return protocol,
            Verdict::Need if matches!(client.more().await, Ok(1..)) => {}
            Verdict::Need => return Protocol::Opaque,
        }
    }
}

async fn http1(mut client: Stream, failure: &Failure) {
    let head_only = client.ahead.starts_with(b"HEAD ");
    let text = answer::http1(failure.status(), failure.reason.as_str(), &failure.detail, head_only, true);
    // A client that is gone needs no answer.
    if client.send(&text).await.is_ok() {
        close(client).await;
    }
}

async fn http2(client: Stream, failure: &Failure) {
    let Ok(mut connection) = h2::server::handshake(client).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        answer::http2(&mut respond, failure, answer::is_grpc(request.headers()));
        // GOAWAY: the next request belongs on another connection.
        connection.graceful_shutdown();
    }
}

#[cfg(test)]
#[path = "refuse_tests.rs"]
mod tests;
