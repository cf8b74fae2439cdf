//! Is it a proxy of the mesh, and if not, what does the client speak? A mesh proxy shows itself in the ClientHello, by an
//! application protocol that only we use; the application's own TLS goes through untouched. In the clear, undeclared ports are
//! raced as outbound does, with a short head start, since a mesh proxy's first bytes follow its connection at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conduit_logic::detect::{Verdict, detect as judge};
use conduit_logic::hello::{self, Read};
use conduit_logic::words::{Declared, Protocol};

use super::accept::Conn;
use super::forward;
use crate::failure::Failure;
use crate::outbound::connect::{ALPN_HTTP1, ALPN_HTTP1_STREAMS, ALPN_HTTP2};
use crate::tcp::stream::Stream;

/// A client in the clear whose server speaks first waits this much longer than without a proxy, until the port is known.
const HEAD_START: Duration = Duration::from_millis(5);
/// Ports remembered: a pod has few; a scan must not fill memory.
const LEARNED_MAX: usize = 64;

/// Ports on which the server was seen to speak first.
#[derive(Debug, Default)]
pub struct Learned {
    // Guards the map for one lookup or insertion; never held while waiting.
    server_first: Mutex<HashMap<u16, bool>>,
}

impl Learned {
    fn is_server_first(&self, port: u16) -> bool {
        self.server_first.lock().unwrap_or_else(PoisonError::into_inner).get(&port).copied().unwrap_or(false)
    }

    fn set(&self, port: u16, server_first: bool) {
        let mut known = self.server_first.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < LEARNED_MAX || known.contains_key(&port) {
            known.insert(port, server_first);
        }
    }
}

/// The outcome.
pub enum Detected {
    /// A mesh proxy that brings requests; its ClientHello is in `conn.client.ahead`.
    Mesh,
    /// In the clear, with the connection to the application where it was opened meanwhile.
    Clear {
        /// What the connection speaks.
        protocol: Protocol,
        /// The application's side.
        server: Option<Stream>,
    },
}

/// Finds out. The bytes read on the way are in `conn.client.ahead`.
///
/// # Errors
/// When the application cannot be reached and the client has not spoken.
pub async fn detect(conn: &mut Conn) -> Result<Detected, Failure> {
    let port = conn.destination.port();
    let declared = conn.inbound.discovery.inbound().declared(port);
    if declared == Declared::Opaque {
        return Ok(Detected::Clear { protocol: Protocol::Opaque, server: None });
    }
    let client_first = declared != Declared::Detect;
    let head_start = if conn.inbound.learned.is_server_first(port) { Duration::ZERO } else { HEAD_START };
    let (inbound, destination) = (conn.inbound.clone(), conn.destination);
    let onward = async {
        if client_first {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(head_start).await;
        forward::connect(&inbound, destination).await
    };
    let mut onward = std::pin::pin!(onward);
    let mut server: Option<Stream> = None;
    loop {
        if let Some(detected) = from_bytes(conn, &mut server) {
            return Ok(detected);
        }
        let opaque = |server| Ok(Detected::Clear { protocol: Protocol::Opaque, server });
        tokio::select! {
            biased;
            read = conn.client.more() => if !matches!(read, Ok(1..)) {
                return opaque(server);
            },
            connected = &mut onward, if server.is_none() => server = Some(connected?),
            () = speaks(&mut server), if server.is_some() => {
                conn.inbound.learned.set(port, true);
                return opaque(server);
            }
            () = tokio::time::sleep(inbound.config.detect_timeout), if !conn.client.ahead.is_empty() && !client_first => {
                return opaque(server);
            }
        }
    }
}

/// Decides from the bytes read, if they suffice.
fn from_bytes(conn: &Conn, server: &mut Option<Stream>) -> Option<Detected> {
    let Verdict::Is(protocol) = judge(&conn.client.ahead) else { return None };
    if protocol == Protocol::Tls {
        match hello::read(&conn.client.ahead) {
            Read::Need => return None,
            Read::Hello(hello)
                if hello
                    .alpn
                    .iter()
                    .any(|p| p == ALPN_HTTP1 || p == ALPN_HTTP1_STREAMS || p == ALPN_HTTP2) =>
            {
                return Some(Detected::Mesh);
            }
            Read::Hello(_) | Read::No => {}
        }
    }
    conn.inbound.learned.set(conn.destination.port(), false);
    conn.inbound.telemetry.detected(protocol);
    let server = if protocol.has_requests() { None } else { server.take() };
    Some(Detected::Clear { protocol, server })
}

/// Waits until the application has spoken or closed.
async fn speaks(server: &mut Option<Stream>) {
    match server {
        Some(server) => _ = server.more().await,
        None => std::future::pending().await,
    }
}
