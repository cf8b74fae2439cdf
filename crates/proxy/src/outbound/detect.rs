//! What does the application speak? Where the service's owner has declared it, nothing is guessed. Else the first bytes
//! decide, and since in some protocols the server speaks first, the connection onward is opened at once and whichever side
//! speaks first decides: no timeout stands in the path of a client that waits for its server.

use std::time::Duration;

use conduit_logic::detect::{Verdict, detect as judge};
use conduit_logic::words::{Declared, Protocol};

use super::accept::Conn;
use super::opaque::{self, Server};
use crate::failure::Failure;
use crate::telemetry::Reason;

/// Where the last client spoke HTTP or TLS first, the connection onward is opened only after this: it will most likely not be
/// needed. A server that speaks first is then late by this much, once.
const LEARNED_HEAD_START: Duration = Duration::from_millis(100);

/// The outcome.
pub struct Detected {
    /// What the connection speaks.
    pub protocol: Protocol,
    /// The connection onward, where it was opened meanwhile and is of use.
    pub server: Option<Server>,
}

/// Finds out. The bytes read on the way are in `conn.client.ahead`.
///
/// # Errors
/// When the connection onward failed and the client has not spoken.
pub async fn detect(conn: &mut Conn) -> Result<Detected, Failure> {
    let known = |protocol| Ok(Detected { protocol, server: None });
    let detected = match conn.service.declared() {
        Declared::Http2 => known(Protocol::Http2),
        Declared::Grpc => known(Protocol::Grpc),
        Declared::Opaque => known(Protocol::Opaque),
        Declared::Tls => known(Protocol::Tls),
        Declared::Http => known(from_client(conn).await),
        Declared::Detect => race(conn).await,
    };
    if let Ok(detected) = &detected {
        conn.outbound.telemetry.detected(detected.protocol);
    }
    detected
}

/// The client speaks first, it is declared: wait for its first bytes, however late they come.
async fn from_client(conn: &mut Conn) -> Protocol {
    loop {
        match judge(&conn.client.ahead) {
            Verdict::Is(protocol) => return protocol,
            Verdict::Need => {
                // An end or an error is for the relay to meet, which passes it on.
                if !matches!(conn.client.more().await, Ok(1..)) {
                    return Protocol::Opaque;
                }
            }
        }
    }
}

async fn race(conn: &mut Conn) -> Result<Detected, Failure> {
    let (outbound, service) = (conn.outbound.clone(), conn.service.clone());
    let learned = service.learned.is_client_first();
    let onward = async {
        if learned {
            tokio::time::sleep(LEARNED_HEAD_START).await;
        }
        opaque::connect(&outbound, &service).await
    };
    let mut onward = std::pin::pin!(onward);
    let mut server: Option<Server> = None;
    let mut failed: Option<Failure> = None;
    loop {
        if let Verdict::Is(protocol) = judge(&conn.client.ahead) {
            let look_inside = !matches!(protocol, Protocol::Opaque);
            service.learned.client_first(look_inside);
            let server = if protocol.has_requests() { None } else { server };
            return Ok(Detected { protocol, server });
        }
        let opaque = |server| Ok(Detected { protocol: Protocol::Opaque, server });
        tokio::select! {
            biased;
            read = conn.client.more() => if !matches!(read, Ok(1..)) {
                return opaque(server);
            },
            connected = &mut onward, if server.is_none() && failed.is_none() => match connected {
                Ok(connected) => server = Some(connected),
                Err(failure) => failed = Some(failure),
            },
            () = speaks(&mut server), if server.is_some() => {
                service.learned.client_first(false);
                return opaque(server);
            }
            // A client that speaks HTTP deserves an answer that says what is wrong: give it a moment to speak.
            () = tokio::time::sleep(LEARNED_HEAD_START), if failed.is_some() => {
                return Err(failed.unwrap_or_else(|| Failure::unprocessed(Reason::Connect, "no connection onward")));
            }
            () = tokio::time::sleep(outbound.config.detect_timeout), if !conn.client.ahead.is_empty() => {
                return opaque(server);
            }
        }
    }
}

/// Waits until the server has spoken or closed.
async fn speaks(server: &mut Option<Server>) {
    match server {
        Some(server) => _ = server.stream.more().await,
        None => std::future::pending().await,
    }
}
