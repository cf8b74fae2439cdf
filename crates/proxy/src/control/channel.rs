//! The channel to the controller: HTTP/2 over mutual TLS, or over TLS without a certificate of ours for the very first one.
//! The controller must prove its identity either way.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_tls::{Credentials, SERVER_NAME};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::config::Config;
use crate::tcp::dial::Dialer;

/// A controller that does not answer a ping within this is taken for gone.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent controller is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Opens a channel; the connection is made with the first call, and again when it was lost.
///
/// # Errors
/// When the controller's address cannot be used.
pub fn open(
    config: &Config,
    credentials: &Credentials,
    anonymous: bool,
) -> Result<Channel, tonic::transport::Error> {
    let alpn: &[&[u8]] = &[b"h2"];
    let tls = if anonymous {
        credentials.anonymous_client_config(&config.controller_identity, alpn)
    } else {
        credentials.client_config(&config.controller_identity, alpn)
    };
    let dialer = Dialer { timeout: config.connect_timeout, mark: config.socket_mark };
    let connector = Connector { addr: config.controller_addr.clone(), dialer, tls };
    Ok(Endpoint::from_shared(format!("http://{}", config.controller_addr))?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

/// Connects and shakes hands.
#[derive(Clone)]
struct Connector {
    addr: String,
    dialer: Dialer,
    tls: Arc<ClientConfig>,
}

impl Connector {
    async fn connect(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the controller's name has no address");
        for addr in tokio::net::lookup_host(&self.addr).await? {
            match self.dialer.dial(addr).await {
                Ok(socket) => return self.handshake(socket).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn handshake(&self, socket: TcpStream) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let handshake = tokio_rustls::TlsConnector::from(self.tls.clone()).connect(name, socket);
        let slow =
            |_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake with the controller in time");
        let tls = tokio::time::timeout(self.dialer.timeout, handshake).await.map_err(slow)??;
        Ok(TokioIo::new(tls))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}
