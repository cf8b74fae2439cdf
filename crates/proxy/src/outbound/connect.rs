//! Connections to one endpoint: HTTP/1 connections that wait for their next request, HTTP/2 connections that are shared, and
//! tunnels (HBONE) for everything else. A meshed endpoint is always spoken to in mutual TLS, with the identity that discovery
//! named for it; an unmeshed one in plain TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use conduit_logic::http2::fields::Fields;
use conduit_logic::http2::hpack::Form;
use conduit_logic::ports;
use conduit_logic::words::Endpoint;
use conduit_tls::{ANSWERS, TUNNELS};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Outbound;
use super::idle::{Idle, OPENING_MAX, Turn};
use super::shared::{Held, Server};
use super::streams;
use crate::failure::Failure;
use crate::http::line::Line;
use crate::http::trunk::Trunk;
use crate::http::trunk::bypass::ALPN_BYPASS;
use crate::tcp::stream::{Io, ReadAhead, Stream};
use crate::telemetry::{Reason, TlsFacts};

/// The application protocol (ALPN) of HTTP/1 between two proxies.
pub const ALPN_HTTP1: &[u8] = b"conduit-http/1.1";
/// The application protocol of HTTP/1 in the streams of one shared connection, each of which is as a connection of its own.
pub const ALPN_HTTP1_STREAMS: &[u8] = b"conduit-http/1.1-streams";
/// The application protocol of HTTP/2 between two proxies.
pub const ALPN_HTTP2: &[u8] = b"conduit-h2";
/// The application protocol of HBONE: any peer's HTTP/2.
pub const ALPN_HBONE: &[u8] = b"h2";

/// So many shared HTTP/2 connections are opened to an endpoint before requests wait for a free stream.
const SHARED_MAX: usize = 8;
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

/// A shared connection for tunnels.
#[derive(Debug)]
struct Tunnels {
    trunk: Arc<Trunk>,
    tls: Option<Arc<TlsFacts>>,
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.trunk.let_go();
    }
}

/// The shared HTTP/2 connections to one address.
#[derive(Debug)]
struct Shared<T> {
    // Guards the list, for a push, a removal or a scan; never held while waiting.
    connections: Mutex<Vec<T>>,
    // Held while one connection is opened, so that a burst of first requests opens one and not many. In it: when that failed last.
    opening: tokio::sync::Mutex<Option<Instant>>,
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
    http1: Shared<Tunnels>,
    http2: Shared<Held>,
    tunnels: Shared<Tunnels>,
    configs: [OnceLock<Arc<ClientConfig>>; Carry::ALL],
}

/// What a new connection will carry.
#[derive(Debug, Clone, Copy)]
enum Carry {
    /// HTTP/1 in streams; alone, if the peer's proxy is of a version that knows no streams.
    Http1,
    Http1Alone,
    Http2,
    Hbone,
    /// One tunnel that moves a lot.
    Bypass,
}

impl Carry {
    const ALL: usize = 5;

    const fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[ALPN_HTTP1_STREAMS, ALPN_HTTP1],
            Self::Http1Alone => &[ALPN_HTTP1],
            Self::Http2 => &[ALPN_HTTP2],
            Self::Hbone => &[ALPN_HBONE],
            Self::Bypass => &[ALPN_BYPASS],
        }
    }
}

impl Pool {
    /// Closes connections that nobody has used for `age`.
    pub fn drop_idle(&self, age: Duration) {
        self.idle.drop_older(age);
        for shared in [&self.http1, &self.tunnels] {
            shared.lock().retain(|connection| !connection.trunk.is_idle(age));
        }
        self.http2.lock().retain(|held| !held.0.is_idle(age));
    }

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
        if !is_meshed(outbound, endpoint) {
            let socket = dial(outbound, endpoint.addr).await?;
            return Ok(Http1 { stream: Stream::new(Io::Tcp(socket)), tls: None, reused: false });
        }
        let (stream, tls) = match self.tunnel(outbound, endpoint, &self.http1, Carry::Http1).await {
            // More than the shared ones have room for get a connection of their own.
            Err(failure) if failure.reason == Reason::Limit => {
                let (io, tls) = self.open(outbound, endpoint, Carry::Http1Alone).await?;
                (Stream::new(io), tls)
            }
            opened => opened?,
        };
        Ok(Http1 { stream, tls, reused: false })
    }

    /// A shared HTTP/2 connection that is open, with room for one more stream.
    #[must_use]
    pub fn http2_open(&self) -> Option<Arc<Server>> {
        let mut connections = self.http2.lock();
        connections.retain(|held| !held.0.is_over());
        // When there may be no more connections, a stream that may have to wait is better than none.
        let clogged = connections.len() >= SHARED_MAX;
        connections.iter().find(|held| held.0.has_room(clogged)).map(|held| held.0.clone())
    }

    /// The same, or a new one.
    ///
    /// # Errors
    /// When none can be opened: nothing was sent.
    pub async fn http2(&self, outbound: &Outbound, endpoint: &Endpoint) -> Result<Arc<Server>, Failure> {
        let mut opening = self.http2.turn(endpoint).await?;
        loop {
            if let Some(open) = self.http2_open() {
                return Ok(open);
            }
            let young = self.http2.lock().last().map(|held| held.0.told.clone());
            if !has_told(outbound, endpoint, young, &mut opening).await? {
                break;
            }
        }
        self.http2.has_place(endpoint)?;
        let opened = self.open(outbound, endpoint, Carry::Http2).await;
        let (io, tls) = opened.inspect_err(|_| *opening = Some(Instant::now()))?;
        let proof = proof(&io, ANSWERS).map(Arc::from);
        let server = Server::new(endpoint.addr, tls, proof, streams::limits(&outbound.config));
        let stopped = outbound.pools.token().clone();
        let line = Line::watched(Stream::new(io), outbound.config.unacknowledged_timeout);
        outbound.pools.spawn("outbound http/2 connection", server.clone().run(line, stopped));
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
        if !is_meshed(outbound, endpoint) {
            let socket = dial(outbound, endpoint.addr).await?;
            return Ok((Stream::new(Io::Tcp(socket)), None));
        }
        let (mut stream, tls) = self.tunnel(outbound, endpoint, &self.tunnels, Carry::Hbone).await?;
        let status = match &mut stream.io {
            Io::Tunnel(tunnel) => {
                // The peer's proxy connects to its application meanwhile.
                let answered = tokio::time::timeout(2 * outbound.dialer.timeout, tunnel.status());
                let Ok(status) = answered.await else {
                    let detail = format!("the proxy of {} gives no answer to a tunnel", endpoint.addr);
                    return Err(Failure::late(Reason::Connect, detail));
                };
                status
            }
            _ => Ok(200),
        };
        let refused = match status {
            Ok(200) => return Ok((stream, tls)),
            Ok(status) => format!("status {status}"),
            Err(error) => error.to_string(),
        };
        let detail = format!("the proxy of {} refused a tunnel: {refused}", endpoint.addr);
        Err(Failure::unprocessed(Reason::Connect, detail))
    }

    /// A connection for one tunnel that moves a lot, to the endpoint's proxy.
    ///
    /// # Errors
    /// When none can be opened.
    pub async fn bypass(&self, outbound: &Outbound, endpoint: &Endpoint) -> Result<Io, Failure> {
        match self.open(outbound, endpoint, Carry::Bypass).await? {
            (io @ Io::TlsClient(_), _) => Ok(io),
            _ => Err(Failure::unprocessed(Reason::Tls, "tunnels go on in mutual TLS, or where they are")),
        }
    }

    /// Asks for a tunnel to the endpoint's port, on a connection that has room for one more or on a new one.
    async fn tunnel(
        &self,
        outbound: &Outbound,
        endpoint: &Endpoint,
        shared: &Shared<Tunnels>,
        carry: Carry,
    ) -> Result<(Stream, Option<Arc<TlsFacts>>), Failure> {
        let mut head = Fields::default();
        head.push(b":method", b"CONNECT", Form::Kept);
        head.push(b":authority", endpoint.addr.to_string().as_bytes(), Form::Kept);
        if let Some(open) = shared.open(&head, carry) {
            return Ok(open);
        }
        let mut opening = shared.turn(endpoint).await?;
        loop {
            if let Some(open) = shared.open(&head, carry) {
                return Ok(open);
            }
            let young = shared.lock().last().map(|young| young.trunk.told.clone());
            if !has_told(outbound, endpoint, young, &mut opening).await? {
                break;
            }
        }
        shared.has_place(endpoint)?;
        let opened = self.open(outbound, endpoint, carry).await;
        let (io, tls) = opened.inspect_err(|_| *opening = Some(Instant::now()))?;
        if alpn(&io) == Some(ALPN_HTTP1) {
            return Ok((Stream::new(io), tls));
        }
        let proof = if matches!(carry, Carry::Hbone) { proof(&io, TUNNELS) } else { None };
        let trunk = Trunk::client(streams::limits(&outbound.config), proof);
        let (stopped, never) = (outbound.pools.token().clone(), CancellationToken::new());
        let line = Line::watched(Stream::new(io), outbound.config.unacknowledged_timeout);
        outbound.pools.spawn("outbound tunnels", trunk.clone().run(line, stopped, never));
        let tunnel = trunk.open(&head, true);
        shared.lock().push(Tunnels { trunk, tls: tls.clone() });
        let tunnel = tunnel.ok_or_else(|| {
            Failure::unprocessed(Reason::Connect, format!("{} ended a connection at once", endpoint.addr))
        })?;
        Ok((Stream::new(Io::Tunnel(Box::new(tunnel))), tls))
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
        let port = if matches!(carry, Carry::Hbone | Carry::Bypass) { ports::HBONE } else { addr.port() };
        let socket = dial(outbound, SocketAddr::new(addr.ip(), port)).await?;
        let config = self.configs[carry as usize]
            .get_or_init(|| outbound.credentials.client_config(identity, carry.alpn()))
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
        if !tls.get_ref().1.alpn_protocol().is_some_and(|agreed| carry.alpn().contains(&agreed)) {
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

    /// The turn to open a connection. Whoever waited for it while opening one failed has failed with it: one after the other they would
    /// wait for the connect timeout each.
    async fn turn(
        &self,
        endpoint: &Endpoint,
    ) -> Result<tokio::sync::MutexGuard<'_, Option<Instant>>, Failure> {
        let since = Instant::now();
        let opening = self.opening.lock().await;
        if opening.is_some_and(|failed| failed >= since) {
            let detail = format!("connecting to {} failed for a request before this one", endpoint.addr);
            return Err(Failure::late(Reason::Connect, detail));
        }
        Ok(opening)
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
    /// Asks for a tunnel on a connection that has room; forgets those that ended.
    fn open(&self, head: &Fields, carry: Carry) -> Option<(Stream, Option<Arc<TlsFacts>>)> {
        let mut connections = self.lock();
        connections.retain(|connection| !connection.trunk.is_over());
        // When there may be no more shared ones, HTTP/1 gets one of its own.
        let clogged = connections.len() >= SHARED_MAX && matches!(carry, Carry::Hbone);
        let open = |shared: &Tunnels| {
            let tunnel = shared.trunk.open(head, clogged)?;
            Some((Stream::new(Io::Tunnel(Box::new(tunnel))), shared.tls.clone()))
        };
        connections.iter().find_map(open)
    }
}

/// What only the two ends of mutual TLS know.
fn proof(io: &Io, purpose: &[u8]) -> Option<String> {
    match io {
        Io::TlsClient(tls) => conduit_tls::proof(tls.get_ref().1, purpose),
        _ => None,
    }
}

/// What both ends agreed to speak.
fn alpn(io: &Io) -> Option<&[u8]> {
    match io {
        Io::TlsClient(tls) => tls.get_ref().1.alpn_protocol(),
        _ => None,
    }
}

/// Whether a connection that was opened just now has said meanwhile how many streams it has room for.
///
/// # Errors
/// When it says nothing: its peer is not well.
async fn has_told(
    outbound: &Outbound,
    endpoint: &Endpoint,
    young: Option<CancellationToken>,
    opening: &mut Option<Instant>,
) -> Result<bool, Failure> {
    let Some(told) = young.filter(|told| !told.is_cancelled()) else { return Ok(false) };
    if tokio::time::timeout(outbound.dialer.timeout, told.cancelled()).await.is_ok() {
        return Ok(true);
    }
    *opening = Some(Instant::now());
    let detail =
        format!("{} has not said within the connect timeout how many streams it takes", endpoint.addr);
    Err(Failure::late(Reason::Connect, detail))
}

/// Whether the endpoint has a proxy that is spoken to in mutual TLS.
fn is_meshed(outbound: &Outbound, endpoint: &Endpoint) -> bool {
    endpoint.identity.is_some() && !outbound.is_own(endpoint.addr.ip())
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
