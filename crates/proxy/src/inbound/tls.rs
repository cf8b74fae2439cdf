//! Ends the mutual TLS of a mesh proxy: it proves an identity, or nothing of it is served. What it brings, requests in HTTP/1
//! or HTTP/2 or tunnels, is agreed in the handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use conduit_tls::{ANSWERS, TUNNELS, peer_identity, proof};
use tokio::net::TcpStream;

use super::accept::Conn;
use super::{Inbound, bypass, exchange, tunnels as hbone, watched};
use crate::http::trunk::bypass::ALPN_BYPASS;
use crate::outbound::connect::{ALPN_HBONE, ALPN_HTTP1, ALPN_HTTP1_STREAMS, ALPN_HTTP2};
use crate::tcp::stream::{Io, ReadAhead, Stream};
use crate::telemetry::{Reason, TlsFacts};

type TlsStream = tokio_rustls::server::TlsStream<ReadAhead>;

/// Serves a mesh proxy that brings requests; its ClientHello has been read already.
pub async fn requests(conn: Conn) {
    let Conn { inbound, mut client, source, destination, .. } = conn;
    let first = client.take_ahead();
    let Io::Tcp(socket) = client.io else { return };
    let shaken = Box::pin(handshake(&inbound, ReadAhead::new(first, socket), source)).await;
    let Some((tls, facts)) = shaken else { return };
    let session = tls.get_ref().1;
    let (agreed, secret) = (session.alpn_protocol().map(<[u8]>::to_vec), proof(session, ANSWERS));
    let client = Stream::new(Io::TlsServer(Box::new(tls)));
    let conn = Conn { inbound, client, source, destination, tls: Some(facts) };
    match agreed.as_deref() {
        Some(ALPN_HTTP1) => exchange::serve(conn).await,
        Some(ALPN_HTTP1_STREAMS) => Box::pin(hbone::serve_http1(conn)).await,
        Some(ALPN_HTTP2) => Box::pin(watched::serve(conn, secret)).await,
        _ => {}
    }
}

/// Serves a mesh proxy, ours or another mesh's, that brings tunnels.
pub async fn tunnels(inbound: Arc<Inbound>, socket: TcpStream, source: SocketAddr) {
    let Some((tls, facts)) = handshake(&inbound, ReadAhead::new(bytes::Bytes::new(), socket), source).await
    else {
        return;
    };
    let session = tls.get_ref().1;
    let (agreed, secret) = (session.alpn_protocol().map(<[u8]>::to_vec), proof(session, TUNNELS));
    let io = Io::TlsServer(Box::new(tls));
    match agreed.as_deref() {
        Some(ALPN_HBONE) => hbone::serve(inbound, Stream::new(io), source, facts, secret).await,
        Some(ALPN_BYPASS) => Box::pin(bypass::accept(&inbound, io, source, &facts.peer)).await,
        _ => {}
    }
}

async fn handshake(
    inbound: &Inbound,
    socket: ReadAhead,
    source: SocketAddr,
) -> Option<(TlsStream, Arc<TlsFacts>)> {
    let refuse = |detail: String| {
        tracing::warn!(%source, %detail, "mutual TLS refused");
        inbound.telemetry.mesh_failure(Reason::Tls);
        None
    };
    let accept = tokio_rustls::TlsAcceptor::from(inbound.tls.clone()).accept(socket);
    let tls = match tokio::time::timeout(inbound.config.tls_timeout, accept).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return refuse(error.to_string()),
        Err(_) => return refuse("no handshake within the TLS timeout".to_owned()),
    };
    let session = tls.get_ref().1;
    let peer = match peer_identity(session.peer_certificates().unwrap_or_default()) {
        Ok(peer) => peer,
        Err(error) => return refuse(error.to_string()),
    };
    let local = inbound.credentials.identity()?;
    let facts = conduit_tls::facts(session);
    let facts = TlsFacts { version: facts.version, key_exchange: facts.key_exchange, local, peer };
    Some((tls, Arc::new(facts)))
}
