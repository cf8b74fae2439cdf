//! Channels to the proxies' control ports: mutual TLS, each proxy must prove its pod's identity. Opened for one call and
//! dropped after it: taps and inspections are rare.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::ports;
use conduit_logic::words::Identity;
use conduit_tls::{Credentials, SERVER_NAME};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::model::{Model, Name, is_meshed, name_of};

/// A proxy that does not answer within this is taken for gone.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A pod's proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The pod.
    pub pod: Name,
    /// Its address.
    pub ip: IpAddr,
    /// What its proxy must prove.
    pub identity: Identity,
}

/// The proxy of a pod; `None` when it has none or no address.
#[must_use]
pub fn of(model: &Model, pod: &crate::source::objects::Pod) -> Option<Proxy> {
    if !is_meshed(pod) {
        return None;
    }
    Some(Proxy { pod: name_of(&pod.metadata), ip: pod.addresses().next()?, identity: model.identity(pod)? })
}

/// Opens a channel.
///
/// # Errors
/// When the proxy cannot be reached or proves something else.
pub async fn open(credentials: &Credentials, proxy: &Proxy) -> Result<Channel, tonic::transport::Error> {
    let addr = SocketAddr::new(proxy.ip, ports::PROXY_CONTROL);
    let connector = Connector { addr, tls: credentials.client_config(&proxy.identity, &[b"h2"]) };
    Endpoint::from_shared(format!("http://{addr}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .connect_with_connector(connector)
        .await
}

#[derive(Clone)]
struct Connector {
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Connector {
    async fn connect(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let socket = TcpStream::connect(self.addr).await?;
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        Ok(TokioIo::new(tokio_rustls::TlsConnector::from(self.tls).connect(name, socket).await?))
    }
}

impl Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// An error with its causes.
#[must_use]
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
