//! Accepts connections: TLS with our own certificate, and the client's where it has one. Who it is goes with each request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::words::Identity;
use conduit_process::tasks::Tasks;
use conduit_tls::peer_identity;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::transport::server::Connected;

use crate::operator::access::User;

/// Proxies' connections at once: what a replica is planned for, three for each of 5,000 proxies.
pub const PROXY_CONNECTIONS_MAX: usize = 15_000;
/// Handshakes under way at once. Each takes about a millisecond of processor time, and a client waits a few seconds for its own: if those of
/// thousands of proxies, which have lost their controller all at once, were all begun, none would be through in time.
const HANDSHAKES_MAX: usize = 64;
/// A handshake that takes longer is given up, and so is a client that says nothing for so long.
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
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    accepted: mpsc::Sender<io::Result<Peer>>,
    tasks: Tasks,
) {
    let Accepting { listener, acceptor, read, connections_max } = accepting;
    let permits = Arc::new(Semaphore::new(connections_max));
    let turns = Arc::new(Semaphore::new(HANDSHAKES_MAX));
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
        let (acceptor, accepted, turns) = (acceptor(), accepted.clone(), turns.clone());
        tasks.spawn_until_stopped("handshake", async move {
            match handshake(acceptor, socket, &turns).await {
                Ok(tls) => _ = accepted.send(Ok(Peer { tls, read, _permit: permit })).await,
                Err(error) => tracing::debug!(%peer, %error, "a handshake failed"),
            }
        });
    }
}

/// Shakes hands when the client has begun, when it is its turn, and if it still waits then.
async fn handshake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    turns: &Semaphore,
) -> io::Result<TlsStream<TcpStream>> {
    timeout(HANDSHAKE_TIMEOUT, socket.readable()).await??;
    let _turn = turns.acquire().await.map_err(io::Error::other)?;
    if socket.ready(Interest::READABLE).await?.is_read_closed() {
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has given up"));
    }
    timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await?
}
