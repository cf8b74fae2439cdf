//! HBONE: each stream of a mesh proxy's HTTP/2 connection is a CONNECT to a port of this pod, and then carries its bytes.
//! Tunnels to any other address are refused: this proxy is nobody's relay. HTTP/1 comes in such streams too, to its own port.
//!
//! Source: RFC 9113 section 8.5.

use std::net::SocketAddr;
use std::sync::Arc;

use conduit_logic::http2::connection::Limits;
use conduit_logic::http2::fields::Fields;
use conduit_logic::words::Protocol;

use super::accept::Conn;
use super::forward::{self, Ends};
use super::{Inbound, exchange};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::line::Line;
use crate::http::streams::{CONNECTION_WINDOW_BYTES, FIRST_WINDOW_BYTES};
use crate::http::trunk::Trunk;
use crate::http::trunk::bypass::OFFER;
use crate::http::tunnel::Tunnel;
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::{Reason, TlsFacts};

/// A header block of a CONNECT is small.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Serves the tunnels of one mesh proxy; `proof` is what only it and we know.
pub async fn serve(
    inbound: Arc<Inbound>,
    client: Stream,
    source: SocketAddr,
    facts: Arc<TlsFacts>,
    proof: Option<String>,
) {
    let (stopped, draining) = (inbound.tasks.token().clone(), inbound.draining.clone());
    let line = Line::watched(client, inbound.config.unacknowledged_timeout);
    let (limits, bypasses, peer) = (limits(&inbound), inbound.bypasses.clone(), facts.peer.clone());
    let accept = move |tunnel, head| {
        let tunnel = serve_one(inbound.clone(), tunnel, head, source, facts.clone());
        inbound.tasks.spawn("inbound tunnel", tunnel);
    };
    let trunk = Trunk::server(limits, Box::new(accept));
    let _entered = proof.map(|proof| bypasses.enter(proof, &trunk, &peer));
    trunk.run(line, stopped, draining).await;
}

/// Serves HTTP/1 in the streams of a mesh proxy's connection to a port of the application's: each is as a connection to that port, and to
/// no other, whatever it says.
pub async fn serve_http1(conn: Conn) {
    let Conn { inbound, client, source, destination, tls } = conn;
    let (stopped, draining) = (inbound.tasks.token().clone(), inbound.draining.clone());
    let line = Line::watched(client, inbound.config.unacknowledged_timeout);
    let limits = limits(&inbound);
    let accept = move |mut tunnel: Tunnel, _| {
        tunnel.answer(&answer::fields(&[(":status", "200")]), false);
        let client = Stream::new(Io::Tunnel(Box::new(tunnel)));
        let conn = Conn { inbound: inbound.clone(), client, source, destination, tls: tls.clone() };
        inbound.tasks.spawn("inbound stream", exchange::serve(conn));
    };
    Trunk::server(limits, Box::new(accept)).run(line, stopped, draining).await;
}

fn limits(inbound: &Inbound) -> Limits {
    Limits {
        streams_max: inbound.config.streams_max,
        header_bytes_max: HEADER_BYTES_MAX,
        stream_window: FIRST_WINDOW_BYTES,
        connection_window: CONNECTION_WINDOW_BYTES,
    }
}

async fn serve_one(
    inbound: Arc<Inbound>,
    mut tunnel: Tunnel,
    head: Fields,
    source: SocketAddr,
    facts: Arc<TlsFacts>,
) {
    let destination = match destination(&inbound, &head) {
        Ok(destination) => destination,
        Err(failure) => return refuse(&inbound, tunnel, source, &failure),
    };
    let server = match Box::pin(forward::connect(&inbound, destination)).await {
        Ok(server) => server,
        Err(failure) => return refuse(&inbound, tunnel, source, &failure),
    };
    tunnel.answer(&answer::fields(&[(":status", "200"), OFFER]), false);
    let client = Stream::new(Io::Tunnel(Box::new(tunnel)));
    let ends = Ends { source, destination, protocol: Protocol::Opaque, tls: Some(facts) };
    Box::pin(forward::between(&inbound, client, server, ends)).await;
}

fn refuse(inbound: &Inbound, mut tunnel: Tunnel, source: SocketAddr, failure: &Failure) {
    inbound.telemetry.mesh_failure(failure.reason);
    tracing::debug!(%source, %failure, "tunnel refused");
    tunnel.answer(&answer::failed(failure, failure.status(), false), true);
}

/// The port of this pod that a CONNECT names.
fn destination(inbound: &Inbound, head: &Fields) -> Result<SocketAddr, Failure> {
    let authority = head.text(b":authority");
    let refuse = |detail: &str| Failure::unprocessed(Reason::Refused, format!("{authority}: {detail}"));
    if head.text(b":method") != "CONNECT" {
        return Err(refuse("only CONNECT is served here"));
    }
    let addr: SocketAddr =
        authority.parse().map_err(|_| refuse("the authority is not an address with a port"))?;
    if !inbound.config.pod_ips.contains(&addr.ip()) {
        return Err(refuse("the address is not this pod's"));
    }
    Ok(addr)
}
