//! A connection from the application: where did it want to go, does the mesh know that place, and what does it speak. From
//! here it goes to one of three stages by protocol, or through untouched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use conduit_logic::hello::{self, Read};
use conduit_logic::words::{Direction, Protocol, Workload};
use tokio::net::TcpStream;

use super::balance::Service;
use super::detect::{self, Detected};
use super::discover::Target;
use super::{Outbound, exchange, opaque, streams};
use crate::failure::Failure;
use crate::record::{End, Recorder, Start, of_connection};
use crate::tcp::dial;
use crate::tcp::pump::{Moved, relay};
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::{EdgeKey, Reason};

/// A connection of the application's, with what was found out about it.
pub struct Conn {
    /// The proxy's parts.
    pub outbound: Arc<Outbound>,
    /// The application's side.
    pub client: Stream,
    /// The application's address.
    pub source: SocketAddr,
    /// The destination.
    pub service: Arc<Service>,
}

/// Serves one connection of the application's until it ends.
pub async fn accept(outbound: Arc<Outbound>, socket: TcpStream, source: SocketAddr) {
    let _open = outbound.telemetry.connection(Direction::Outbound);
    let destination = match conduit_redirect::original_dst(&socket) {
        Ok(addr) => addr,
        Err(error) => {
            tracing::warn!(%source, %error, "the original destination cannot be read: is the connection redirected?");
            return dial::reset_on_drop(&socket);
        }
    };
    if destination.port() == outbound.config.outbound_port && outbound.is_local(destination.ip()) {
        tracing::warn!(%source, "a connection straight to the outbound port is refused: it would lead to itself");
        outbound.telemetry.mesh_failure(Reason::UnknownDestination);
        return dial::reset_on_drop(&socket);
    }
    let client = Stream::new(Io::Tcp(socket));
    // Every stage but that of HTTP/1 at rest is boxed, here and below: a task is as large as the largest of what stands in it.
    match Box::pin(outbound.services.find(&outbound.config, destination)).await {
        Target::Service(service) => serve(Conn { outbound, client, source, service }).await,
        Target::Passthrough => Box::pin(passthrough(&outbound, client, source, destination)).await,
        Target::Refuse => {
            tracing::warn!(%destination, "refused: the controller has not said what is there (setting: when-unknown)");
            outbound.telemetry.mesh_failure(Reason::UnknownDestination);
            client.abort();
        }
    }
}

async fn serve(mut conn: Conn) {
    match Box::pin(detect::detect(&mut conn)).await {
        Ok(Detected { protocol: Protocol::Http1, .. }) => exchange::serve(conn).await,
        Ok(Detected { protocol: Protocol::Http2 | Protocol::Grpc, .. }) => {
            Box::pin(streams::serve(conn)).await
        }
        Ok(Detected { protocol, server }) => Box::pin(opaque::serve(conn, protocol, server)).await,
        Err(failure) => fail(conn, &failure),
    }
}

/// Ends a connection whose protocol has no way to say what went wrong.
pub fn fail(conn: Conn, failure: &Failure) {
    conn.outbound.telemetry.mesh_failure(failure.reason);
    tracing::warn!(source = %conn.source, destination = %conn.service.addr, %failure, "connection failed");
    conn.client.abort();
}

/// To a place that the mesh does not know: the bytes go there as they would without a proxy.
async fn passthrough(outbound: &Outbound, mut client: Stream, source: SocketAddr, destination: SocketAddr) {
    let began = Instant::now();
    let edge = outbound.telemetry.edge(&EdgeKey {
        direction: Direction::Outbound,
        protocol: Protocol::Opaque,
        peer_workload: Workload::default(),
        service: None,
        tls: None,
    });
    let recorder =
        Recorder::start(&outbound.tap, edge, began, start(source, destination, Protocol::Opaque, ""));
    let socket = match outbound.dialer.dial_outside(destination).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!(%destination, %error, "connecting to a destination outside the mesh failed");
            recorder.end(End { failure: Some("connect"), ..of_connection(Moved::default(), true) });
            return client.abort();
        }
    };
    let mut server = Stream::new(Io::Tcp(socket));
    let (moved, result) = relay(&mut client, &mut server).await;
    recorder.end(of_connection(moved, result.is_err()));
    if result.is_err() {
        client.abort();
        server.abort();
    }
}

/// The facts of a connection that is not looked into.
pub fn start(source: SocketAddr, destination: SocketAddr, protocol: Protocol, name: &str) -> Start<'_> {
    Start {
        direction: Direction::Outbound,
        protocol,
        source,
        destination,
        workload: None,
        pod: None,
        service: None,
        tls: None,
        method: "",
        scheme: "",
        authority: name,
        path: "",
    }
}

/// The server name that the application's own TLS asks for, where its ClientHello has come whole.
#[must_use]
pub fn server_name(bytes: &[u8]) -> String {
    match hello::read(bytes) {
        Read::Hello(hello) => hello.server_name.unwrap_or_default(),
        Read::Need | Read::No => String::new(),
    }
}
