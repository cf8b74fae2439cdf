//! The last step: to the application, on its own port, at the address that the client meant. Bytes that are not looked into go
//! both ways from here until both sides have ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use conduit_logic::words::{Direction, Protocol, Workload};

use super::Inbound;
use super::accept::Conn;
use crate::failure::Failure;
use crate::outbound::accept::server_name;
use crate::record::{Recorder, Start, of_connection};
use crate::tcp::pump::relay;
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::{EdgeKey, EdgeStats, Reason, TlsFacts};

/// Connects to the application.
///
/// # Errors
/// When it does not listen, most often; nothing was sent.
pub async fn connect(inbound: &Inbound, destination: SocketAddr) -> Result<Stream, Failure> {
    match inbound.dialer.dial(destination).await {
        Ok(socket) => Ok(Stream::new(Io::Tcp(socket))),
        Err(error) => {
            let detail = format!("the application does not accept connections on {destination}: {error}");
            Err(Failure::unprocessed(Reason::Connect, detail))
        }
    }
}

/// Serves a connection in the clear that is not HTTP.
pub async fn bytes(conn: Conn, protocol: Protocol, server: Option<Stream>) {
    let Conn { inbound, client, source, destination, tls } = conn;
    let server = match server {
        Some(server) => Ok(server),
        None => connect(&inbound, destination).await,
    };
    match server {
        Ok(server) => between(&inbound, client, server, Ends { source, destination, protocol, tls }).await,
        Err(failure) => {
            inbound.telemetry.mesh_failure(failure.reason);
            tracing::debug!(%source, %failure, "connection failed");
            client.abort();
        }
    }
}

/// The facts of a connection whose bytes are passed on.
#[derive(Debug)]
pub struct Ends {
    /// The peer's address.
    pub source: SocketAddr,
    /// The application's address.
    pub destination: SocketAddr,
    /// What is known of the bytes.
    pub protocol: Protocol,
    /// Who the peer proved to be.
    pub tls: Option<Arc<TlsFacts>>,
}

/// Moves bytes both ways until both sides have ended.
pub async fn between(inbound: &Inbound, mut client: Stream, mut server: Stream, ends: Ends) {
    let began = Instant::now();
    let edge = edge(inbound, ends.protocol, ends.tls.as_ref());
    let name = if ends.protocol == Protocol::Tls { server_name(&client.ahead) } else { String::new() };
    let start = Start { authority: &name, ..start(&ends) };
    let recorder = Recorder::start(&inbound.tap, edge, began, start);
    let (moved, result) = relay(&mut client, &mut server).await;
    recorder.end(of_connection(moved, result.is_err()));
    if let Err(error) = result {
        tracing::debug!(source = %ends.source, destination = %ends.destination, %error, "a connection broke");
        client.abort();
        server.abort();
    }
}

/// The counters of what comes in from this peer.
#[must_use]
pub fn edge(inbound: &Inbound, protocol: Protocol, tls: Option<&Arc<TlsFacts>>) -> Arc<EdgeStats> {
    inbound.telemetry.edge(&EdgeKey {
        direction: Direction::Inbound,
        protocol,
        peer_workload: Workload::default(),
        service: None,
        tls: tls.cloned(),
    })
}

/// The facts of something that comes in.
#[must_use]
pub fn start(ends: &Ends) -> Start<'_> {
    Start {
        direction: Direction::Inbound,
        protocol: ends.protocol,
        source: ends.source,
        destination: ends.destination,
        workload: None,
        pod: None,
        service: None,
        tls: ends.tls.as_ref(),
        method: "",
        scheme: "",
        authority: "",
        path: "",
    }
}
