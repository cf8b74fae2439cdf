//! Accepts the proxies' connections: TLS with our own certificate, and the client's where it has one. Its identity goes with
//! each request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::words::Identity;
use conduit_process::tasks::Tasks;
use conduit_tls::peer_identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::transport::server::Connected;

/// Connections at once: what a replica is planned for, three for each of 5,000 proxies.
const CONNECTIONS_MAX: usize = 15_000;
/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error of accept, so that it is not retried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that has shaken hands.
pub struct Peer {
    tls: TlsStream<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

/// Who is at the other end; `None` without a certificate.
#[derive(Debug, Clone)]
pub struct Caller(pub Option<Identity>);

impl Connected for Peer {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        Caller(self.tls.get_ref().1.peer_certificates().and_then(|chain| peer_identity(chain).ok()))
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
    let caller = request.extensions().get::<Caller>().and_then(|caller| caller.0.clone());
    caller.ok_or_else(|| Status::unauthenticated("this call needs a client certificate of the mesh"))
}

/// Accepts until dropped.
pub async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<std::io::Result<Peer>>,
    tasks: Tasks,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        tasks.spawn_until_stopped("handshake", async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
                Ok(Ok(tls)) => _ = accepted.send(Ok(Peer { tls, _permit: permit })).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
}
