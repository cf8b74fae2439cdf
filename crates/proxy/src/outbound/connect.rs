//! Connections to one endpoint: HTTP/1 connections that wait for their next request, HTTP/2 connections that are shared, and
//! tunnels (HBONE) for everything else. A meshed endpoint is always spoken to in mutual TLS, with the identity that discovery
//! named for it; an unmeshed one in plain TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use conduit_logic::ports;
use conduit_logic::words::Endpoint;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, Version};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::Outbound;
use super::idle::{Idle, OPENING_MAX, Turn};
use super::shared::{Held, Server};
use super::streams;
use crate::failure::Failure;
use crate::http::gather::Gathered;
use crate::http::streams::{
    CONNECTION_WINDOW_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, TUNNEL_FRAME_BYTES_MAX,
};
use crate::http::tunnel::Tunnel;
use crate::tcp::stream::{Io, ReadAhead, Stream};
use crate::telemetry::{Reason, TlsFacts};

/// The application protocol (ALPN) of HTTP/1 between two proxies.
pub const ALPN_HTTP1: &[u8] = b"conduit-http/1.1";
/// The application protocol of HTTP/2 between two proxies.
pub const ALPN_HTTP2: &[u8] = b"conduit-h2";
/// The application protocol of HBONE: any peer's HTTP/2.
pub const ALPN_HBONE: &[u8] = b"h2";

/// So many shared HTTP/2 connections are opened to an endpoint before requests wait for a free stream.
const SHARED_MAX: usize = 8;
/// So many tunnels are opened on one HTTP/2 connection, or as many as its server allows: RFC 9113 section 6.5.2 advises servers to
/// allow at least 100.
const TUNNELS_MAX: usize = 256;

/// An HTTP/1 connection to an endpoint.
#[derive(Debug)]
pub struct Http1 {
    /// The bytes.
    pub stream: Stream,
    /// How they are protected.
    pub tls: Option<Arc<TlsFacts>>,
    /// Whether it has carried a request before: the endpoint may have closed it meanwhile.
    pub reused: bool,
}

/// A shared HTTP/2 connection for tunnels.
#[derive(Debug, Clone)]
struct Tunnels {
    send: SendRequest<Bytes>,
    tls: Option<Arc<TlsFacts>>,
    /// Held by the pool and by every open tunnel: counting the holders counts the tunnels.
    lease: Arc<()>,
}

/// The shared HTTP/2 connections to one address.
#[derive(Debug)]
struct Shared<T> {
    // Guards the list, for a push, a removal or a scan; never held while waiting.
    connections: Mutex<Vec<T>>,
    // Held while one connection is opened, so that a burst of first requests opens one and not many.
    opening: tokio::sync::Mutex<()>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { connections: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    /// HTTP/1 connections that wait for their next request.
    pub idle: Idle,
    http2: Shared<Held>,
    tunnels: Shared<Tunnels>,
    configs: [OnceLock<Arc<ClientConfig>>; 3],
}

/// What a new connection will carry.
#[derive(Debug, Clone, Copy)]
enum Carry {
    Http1,
    Http2,
    Hbone,
}

impl Carry {
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => ALPN_HTTP1,
            Self::Http2 => ALPN_HTTP2,
            Self::Hbone => ALPN_HBONE,
        }
    }
}

impl Pool {
    /// An HTTP/1 connection, one that waited or a new one.
    ///
    /// # Errors
    /// When none can be opened, or so many are being opened that there was no turn within the connect timeout: nothing was sent.
    pub async fn http1(&self, outbound: &Outbound, endpoint: &Endpoint) -> Result<Http1, Failure> {
        let turn = tokio::time::timeout(outbound.dialer.timeout, self.idle.turn()).await;
        let _turn = match turn {
            Ok(Turn::Connection(connection)) => return Ok(connection),
            Ok(Turn::Open(turn)) => turn,
            Err(_) => {
                let detail = format!(
                    "{OPENING_MAX} connections to {} are being opened, and none was ready within the connect timeout",
                    endpoint.addr
                );
                return Err(Failure::late(Reason::Connect, detail));
            }
        };
        let (io, tls) = self.open(outbound, endpoint, Carry::Http1).await?;
        Ok(Http1 { stream: Stream::new(io), tls, reused: false })
    }

    /// A shared HTTP/2 connection that is open, with room for one more stream.
    #[must_use]
    pub fn http2_open(&self) -> Option<Arc<Server>> {
        let mut connections = self.http2.lock();
        connections.retain(|held| !held.0.is_over());
        connections.iter().find(|held| held.0.has_room()).map(|held| held.0.clone())
    }

    /// The same, or a new one.
    ///
    /// # Errors
    /// When none can be opened: nothing was sent.
    pub async fn http2(&self, outbound: &Outbound, endpoint: &Endpoint) -> Result<Arc<Server>, Failure> {
        let _opening = self.http2.opening.lock().await;
        loop {
            if let Some(open) = self.http2_open() {
                return Ok(open);
            }
            // One that was opened just now has room as soon as its server says so.
            let young = self.http2.lock().last().map(|held| held.0.told.clone());
            let Some(told) = young.filter(|told| !told.is_cancelled()) else { break };
            if tokio::time::timeout(outbound.dialer.timeout, told.cancelled()).await.is_err() {
                break;
            }
        }
        self.http2.has_place(endpoint)?;
        let (io, tls) = self.open(outbound, endpoint, Carry::Http2).await?;
        let proof = match &io {
            Io::TlsClient(tls) => conduit_tls::proof(tls.get_ref().1).map(Arc::from),
            _ => None,
        };
        let server = Server::new(endpoint.addr, tls, proof, streams::limits(&outbound.config));
        let stopped = outbound.pools.token().clone();
        outbound.pools.spawn("outbound http/2 connection", server.clone().run(Stream::new(io), stopped));
        self.http2.lock().push(Held(server.clone()));
        Ok(server)
    }

    /// A stream of bytes to the endpoint: a tunnel through its proxy, or plain TCP where it has none.
    ///
    /// # Errors
    /// When there is no connection to the application: nothing was sent.
    pub async fn bytes(
        &self,
        outbound: &Outbound,
        endpoint: &Endpoint,
    ) -> Result<(Stream, Option<Arc<TlsFacts>>), Failure> {
        if endpoint.identity.is_none() || outbound.is_own(endpoint.addr.ip()) {
            let socket = dial(outbound, endpoint.addr).await?;
            return Ok((Stream::new(Io::Tcp(socket)), None));
        }
        let mut shared = self.tunnels(outbound, endpoint).await?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() =
            endpoint.addr.to_string().parse().map_err(|error| {
                Failure::unprocessed(Reason::Protocol, format!("{}: {error}", endpoint.addr))
            })?;
        let refused = |error: h2::Error| {
            Failure::unprocessed(
                Reason::Connect,
                format!("the proxy of {} refused a tunnel: {error}", endpoint.addr),
            )
        };
        let (response, send) = shared.send.send_request(request, false).map_err(refused)?;
        let response = response.await.map_err(refused)?;
        if response.status() != StatusCode::OK {
            let detail =
                format!("the proxy of {} answered a tunnel with {}", endpoint.addr, response.status());
            return Err(Failure::unprocessed(Reason::Connect, detail));
        }
        let tunnel = Tunnel::new(send, response.into_body(), Some(shared.lease));
        Ok((Stream::new(Io::Tunnel(Box::new(tunnel))), shared.tls))
    }

    /// A connection with room for one more tunnel.
    async fn tunnels(&self, outbound: &Outbound, endpoint: &Endpoint) -> Result<Tunnels, Failure> {
        if let Some(ready) = self.tunnels.free() {
            return Ok(ready);
        }
        let _opening = self.tunnels.opening.lock().await;
        if let Some(ready) = self.tunnels.free() {
            return Ok(ready);
        }
        self.tunnels.has_place(endpoint)?;
        let (io, tls) = self.open(outbound, endpoint, Carry::Hbone).await?;
        let (send, connection) = h2::client::Builder::new()
            .max_frame_size(TUNNEL_FRAME_BYTES_MAX)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .enable_push(false)
            .handshake(Gathered::new(Stream::new(io)))
            .await
            .map_err(|error| {
                Failure::unprocessed(Reason::Connect, format!("HTTP/2 with {}: {error}", endpoint.addr))
            })?;
        let addr = endpoint.addr;
        // The connection ends by itself when the pool and the last tunnel let go of it.
        outbound.pools.spawn("outbound tunnels", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%addr, %error, "a connection for tunnels ended");
            }
        });
        let opened = Tunnels { send, tls, lease: Arc::new(()) };
        self.tunnels.lock().push(opened.clone());
        Ok(opened)
    }

    async fn open(
        &self,
        outbound: &Outbound,
        endpoint: &Endpoint,
        carry: Carry,
    ) -> Result<(Io, Option<Arc<TlsFacts>>), Failure> {
        let addr = endpoint.addr;
        let Some(identity) = endpoint.identity.as_ref().filter(|_| !outbound.is_own(addr.ip())) else {
            return Ok((Io::Tcp(dial(outbound, addr).await?), None));
        };
        let Some(own) = outbound.credentials.identity() else {
            return Err(Failure::unprocessed(Reason::Tls, "this proxy has no certificate yet"));
        };
        let port = if matches!(carry, Carry::Hbone) { ports::HBONE } else { addr.port() };
        let socket = dial(outbound, SocketAddr::new(addr.ip(), port)).await?;
        let config = self.configs[carry as usize]
            .get_or_init(|| outbound.credentials.client_config(identity, &[carry.alpn()]))
            .clone();
        let tls_failure = |detail: &str| {
            let detail = format!("mutual TLS with {addr} (expected {identity}): {detail}");
            Failure::unprocessed(Reason::Tls, detail)
        };
        let name = ServerName::try_from(conduit_tls::SERVER_NAME)
            .map_err(|error| tls_failure(&error.to_string()))?;
        let socket = ReadAhead::new(Bytes::new(), socket);
        let handshake = tokio_rustls::TlsConnector::from(config).connect(name, socket);
        let tls = match tokio::time::timeout(outbound.dialer.timeout, handshake).await {
            Ok(tls) => tls.map_err(|error| tls_failure(&error.to_string()))?,
            Err(_) => {
                let failure = tls_failure("no handshake within the connect timeout");
                return Err(Failure { late: true, ..failure });
            }
        };
        if tls.get_ref().1.alpn_protocol() != Some(carry.alpn()) {
            return Err(tls_failure("the peer is not a mesh proxy that speaks our protocols"));
        }
        let facts = conduit_tls::facts(tls.get_ref().1);
        let facts = TlsFacts {
            version: facts.version,
            key_exchange: facts.key_exchange,
            local: own,
            peer: identity.clone(),
        };
        Ok((Io::TlsClient(Box::new(tls)), Some(Arc::new(facts))))
    }
}

async fn dial(outbound: &Outbound, addr: SocketAddr) -> Result<TcpStream, Failure> {
    outbound.dialer.dial(addr).await.map_err(|error| Failure {
        late: error.kind() == std::io::ErrorKind::TimedOut,
        ..Failure::unprocessed(Reason::Connect, format!("connecting to {addr} failed: {error}"))
    })
}

impl<T> Shared<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more connection may be opened.
    fn has_place(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        if self.lock().len() < SHARED_MAX {
            return Ok(());
        }
        let detail = format!("{SHARED_MAX} HTTP/2 connections to {} have no free stream", endpoint.addr);
        Err(Failure::unprocessed(Reason::Limit, detail))
    }
}

impl Shared<Tunnels> {
    /// A connection that can open a tunnel now; forgets those that ended.
    fn free(&self) -> Option<Tunnels> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut connections = self.lock();
        connections
            .retain_mut(|connection| !matches!(connection.send.poll_ready(&mut cx), Poll::Ready(Err(_))));
        connections
            .iter()
            .find(|c| Arc::strong_count(&c.lease) <= c.send.current_max_send_streams().min(TUNNELS_MAX))
            .cloned()
    }
}
