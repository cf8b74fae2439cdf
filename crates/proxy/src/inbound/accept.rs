//! A connection to the pod: which of the application's ports was meant, does it come from a proxy of the mesh or in the clear,
//! and what does it speak. Traffic in the clear is served (an unmeshed client, a probe) and counted as such.

use std::net::SocketAddr;
use std::sync::Arc;

use conduit_logic::ports;
use conduit_logic::words::{Direction, Protocol};
use tokio::net::TcpStream;

use super::detect::{self, Detected};
use super::{Inbound, exchange, forward, streams, tls};
use crate::tcp::dial;
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::{Reason, TlsFacts};

/// A connection to the application, with what was found out about it.
pub struct Conn {
    /// The proxy's parts.
    pub inbound: Arc<Inbound>,
    /// The peer's side.
    pub client: Stream,
    /// The peer's address.
    pub source: SocketAddr,
    /// The application's address and port.
    pub destination: SocketAddr,
    /// Who the peer proved to be and how; `None` in the clear.
    pub tls: Option<Arc<TlsFacts>>,
}

/// Serves one connection to the pod until it ends.
pub async fn accept(inbound: Arc<Inbound>, socket: TcpStream, source: SocketAddr) {
    let _open = inbound.telemetry.connection(Direction::Inbound);
    dial::keep_alive(&socket);
    let destination = match conduit_redirect::original_dst(&socket) {
        Ok(addr) => addr,
        Err(error) => {
            tracing::warn!(%source, %error, "the original destination cannot be read: is the connection redirected?");
            return dial::reset_on_drop(&socket);
        }
    };
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    // Without a certificate nobody can prove anything to anybody: the mesh's traffic is not accepted.
    let meshed = inbound.credentials.has_certificate();
    let to_tunnels =
        matches!(destination.port(), ports::HBONE) || destination.port() == inbound.config.inbound_port;
    if to_tunnels && meshed {
        return Box::pin(tls::tunnels(inbound, socket, source)).await;
    }
    if to_tunnels {
        inbound.telemetry.mesh_failure(Reason::Tls);
        return dial::reset_on_drop(&socket);
    }
    let client = Stream::new(Io::Tcp(socket));
    serve(Conn { inbound, client, source, destination, tls: None }).await;
}

async fn serve(mut conn: Conn) {
    // Every stage but that of HTTP/1 at rest is boxed: a task is as large as the largest of what stands in it.
    match Box::pin(detect::detect(&mut conn)).await {
        Ok(Detected::Mesh) => Box::pin(tls::requests(conn)).await,
        Ok(Detected::Clear { protocol: Protocol::Http1, .. }) => exchange::serve(conn).await,
        Ok(Detected::Clear { protocol: Protocol::Http2 | Protocol::Grpc, .. }) => {
            Box::pin(streams::serve(conn)).await
        }
        Ok(Detected::Clear { protocol, server }) => Box::pin(forward::bytes(conn, protocol, server)).await,
        Err(failure) => {
            conn.inbound.telemetry.mesh_failure(failure.reason);
            tracing::debug!(source = %conn.source, destination = %conn.destination, %failure, "connection failed");
            conn.client.abort();
        }
    }
}
