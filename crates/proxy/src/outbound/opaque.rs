//! Everything that is not HTTP: one endpoint is chosen for the whole connection, and bytes go both ways until both sides have
//! ended. To a meshed endpoint they ride in a tunnel inside mutual TLS.

use std::sync::Arc;
use std::time::Instant;

use conduit_logic::words::{Direction, Protocol};

use super::Outbound;
use super::accept::{Conn, fail, server_name};
use super::attempts::Attempts;
use super::balance::{Picked, Service};
use super::bypass;
use crate::failure::Failure;
use crate::record::{Recorder, Start, of_connection};
use crate::tcp::pump::relay;
use crate::tcp::stream::Stream;
use crate::telemetry::TlsFacts;

/// A connection to an endpoint.
pub struct Server {
    /// The bytes.
    pub stream: Stream,
    picked: Picked,
    tls: Option<Arc<TlsFacts>>,
}

/// Connects to an endpoint of the service; one that cannot be reached is followed by another.
///
/// # Errors
/// When no endpoint could be reached.
pub async fn connect(outbound: &Outbound, service: &Service) -> Result<Server, Failure> {
    let mut attempts = Attempts::default();
    while let Some(picked) = attempts.next(service) {
        let began = Instant::now();
        match picked.state.pool.bytes(outbound, &picked.state.endpoint).await {
            Ok((stream, tls)) => {
                picked.answered(began.elapsed());
                return Ok(Server { stream, picked, tls });
            }
            Err(failure) => {
                picked.failed_with(&failure);
                attempts.failed(&picked, failure);
            }
        }
    }
    Err(attempts.given_up(service))
}

/// Serves one connection until it ends.
pub async fn serve(mut conn: Conn, protocol: Protocol, server: Option<Server>) {
    let began = Instant::now();
    let server = match server {
        Some(server) => Ok(server),
        None => connect(&conn.outbound, &conn.service).await,
    };
    let mut server = match server {
        Ok(server) => server,
        Err(failure) => return fail(conn, &failure),
    };
    let name = if protocol == Protocol::Tls { server_name(&conn.client.ahead) } else { String::new() };
    let endpoint = server.picked.state.endpoint.clone();
    let (service, tls) = (server.picked.service(), server.tls.as_ref());
    let edge = server.picked.state.edge(&conn.outbound.telemetry, service, protocol, tls);
    let start = Start {
        direction: Direction::Outbound,
        protocol,
        source: conn.source,
        destination: endpoint.addr,
        workload: Some(&endpoint.workload),
        pod: Some(&endpoint.pod),
        service,
        tls,
        method: "",
        scheme: "",
        authority: &name,
        path: "",
    };
    let recorder = Recorder::start(&conn.outbound.tap, edge, began, start);
    bypass::when_much(&conn.outbound, &server.picked.state, &mut server.stream);
    let (moved, result) = relay(&mut conn.client, &mut server.stream).await;
    recorder.end(of_connection(moved, result.is_err()));
    if let Err(error) = result {
        tracing::debug!(source = %conn.source, endpoint = %endpoint.addr, %error, "a connection broke");
        conn.client.abort();
        server.stream.abort();
    }
}
