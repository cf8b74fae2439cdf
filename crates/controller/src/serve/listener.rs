//! Accepts connections: TLS with our own certificate, and the client's where it has one. Who it is goes with each request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::words::Identity;
use conduit_process::tasks::Tasks;
use conduit_tls::peer_identity;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::transport::server::Connected;

use crate::operator::access::User;

/// Proxies' connections at once: what a replica is planned for, three for each of 5,000 proxies.
pub const PROXY_CONNECTIONS_MAX: usize = 15_000;
/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error of accept, so that it is not retried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that has shaken hands.
pub struct Peer {
    tls: TlsStream<TcpStream>,
    read: ReadCaller,
    _permit: OwnedSemaphorePermit,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody that a certificate names.
    Nobody,
    /// A workload of the mesh.
    Workload(Identity),
    /// A user of the cluster.
    User(Arc<User>),
}

/// Reads who a verified chain names.
pub type ReadCaller = fn(&[CertificateDer<'_>]) -> Caller;

/// Who of the mesh this chain names.
#[must_use]
pub fn workload(chain: &[CertificateDer<'_>]) -> Caller {
    peer_identity(chain).map_or(Caller::Nobody, Caller::Workload)
}

impl Connected for Peer {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        self.tls.get_ref().1.peer_certificates().map_or(Caller::Nobody, self.read)
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

/// The caller's identity.
///
/// # Errors
/// UNAUTHENTICATED when none was proven.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Identity, Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Workload(identity)) => Ok(identity.clone()),
        _ => Err(Status::unauthenticated("this call needs a client certificate of the mesh")),
    }
}

/// How one port's connections are accepted.
pub struct Accepting<A> {
    /// The port.
    pub listener: TcpListener,
    /// How the next handshake is answered.
    pub acceptor: A,
    /// Who a client's certificate names.
    pub read: ReadCaller,
    /// Connections at once.
    pub connections_max: usize,
}

/// Accepts until dropped.
pub async fn accept(
    accepting: Accepting<impl Fn() -> TlsAcceptor>,
    accepted: mpsc::Sender<std::io::Result<Peer>>,
    tasks: Tasks,
) {
    let Accepting { listener, acceptor, read, connections_max } = accepting;
    let permits = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        _ = socket.set_nodelay(true);
        let (acceptor, accepted) = (acceptor(), accepted.clone());
        tasks.spawn_until_stopped("handshake", async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
                Ok(Ok(tls)) => _ = accepted.send(Ok(Peer { tls, read, _permit: permit })).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
}
