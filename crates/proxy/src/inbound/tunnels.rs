//! HBONE: each stream of a mesh proxy's HTTP/2 connection is a CONNECT to a port of this pod, and then carries its bytes.
//! Tunnels to any other address are refused: this proxy is nobody's relay.
//!
//! Source: RFC 9113 section 8.5.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use conduit_logic::words::Protocol;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response, StatusCode};

use super::Inbound;
use super::forward::{self, Ends};
use crate::failure::Failure;
use crate::http::answer;
use crate::http::streams::{Limits, TUNNEL_FRAME_BYTES_MAX, accept_streams};
use crate::http::tunnel::Tunnel;
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::{Reason, TlsFacts};

/// A header block of a CONNECT is small.
const HEADER_BYTES_MAX: u32 = 8 * 1024;

/// Serves the tunnels of one mesh proxy.
pub async fn serve(inbound: Arc<Inbound>, client: Stream, source: SocketAddr, facts: Arc<TlsFacts>) {
    let limits = Limits {
        streams_max: inbound.config.streams_max,
        header_bytes_max: HEADER_BYTES_MAX,
        frame_bytes_max: TUNNEL_FRAME_BYTES_MAX,
    };
    let (tasks, draining) = (inbound.tasks.clone(), inbound.draining.clone());
    accept_streams(client, limits, tasks, draining, |request, respond| {
        let tunnel = serve_one(inbound.clone(), request, respond, source, facts.clone());
        inbound.tasks.spawn("inbound tunnel", tunnel);
    })
    .await;
}

async fn serve_one(
    inbound: Arc<Inbound>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    source: SocketAddr,
    facts: Arc<TlsFacts>,
) {
    let opened = match destination(&inbound, &request) {
        Ok(destination) => forward::connect(&inbound, destination).await.map(|server| (destination, server)),
        Err(failure) => Err(failure),
    };
    let (destination, server) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            inbound.telemetry.mesh_failure(failure.reason);
            tracing::debug!(%source, %failure, "tunnel refused");
            answer::http2(&mut respond, &failure, false);
            return;
        }
    };
    let mut ok = Response::new(());
    *ok.status_mut() = StatusCode::OK;
    let Ok(send) = respond.send_response(ok, false) else { return };
    let tunnel = Tunnel::new(send, request.into_body(), None);
    let client = Stream::new(Io::Tunnel(Box::new(tunnel)));
    let ends = Ends { source, destination, protocol: Protocol::Opaque, tls: Some(facts) };
    forward::between(&inbound, client, server, ends).await;
}

/// The port of this pod that a CONNECT names.
fn destination(inbound: &Inbound, request: &Request<RecvStream>) -> Result<SocketAddr, Failure> {
    let refuse = |detail: &str| Failure::unprocessed(Reason::Refused, format!("{}: {detail}", request.uri()));
    if request.method() != Method::CONNECT {
        return Err(refuse("only CONNECT is served here"));
    }
    let authority = request.uri().authority().ok_or_else(|| refuse("CONNECT without an authority"))?;
    let addr: SocketAddr =
        authority.as_str().parse().map_err(|_| refuse("the authority is not an address with a port"))?;
    if !inbound.config.pod_ips.contains(&addr.ip()) {
        return Err(refuse("the address is not this pod's"));
    }
    Ok(addr)
}
