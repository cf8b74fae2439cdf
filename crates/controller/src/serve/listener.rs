//! Accepts connections: TLS with our own certificate, and the client's where it has one. Who it is goes with each request. Until a client
//! has said who it is and what it wants, it gets little of what others wait for: a short turn, a few seconds, a share of the places.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conduit_logic::words::Identity;
use conduit_process::tasks::Tasks;
use conduit_tls::peer_identity;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::transport::server::Connected;

use crate::operator::access::User;

/// Proxies' connections at once: what a replica is planned for, three for each of 5,000 proxies.
pub const PROXY_CONNECTIONS_MAX: usize = 15_000;
/// Those of them that have shown no certificate: proxies that ask for their first one, or the next, which takes moments. Whoever has no
/// certificate cannot take the places of those who have.
pub const PROXY_STRANGERS_MAX: usize = PROXY_CONNECTIONS_MAX / 4;
/// How long a stranger may stay, where there is a share for them: a proxy waits 5 s for its certificate and then goes.
const STRANGER_AGE_MAX: Duration = Duration::from_secs(30);
/// Handshakes under way at once. Each takes about a millisecond of processor time, and a client waits a few seconds for its own: if those of
/// thousands of proxies, which have lost their controller all at once, were all begun, none would be through in time.
const HANDSHAKES_MAX: usize = 64;
/// How long a handshake has its turn: many times what one takes, and no longer, because it may be the client that we wait for. One that
/// takes longer goes on without; 256 a second are then begun where no client answers, for which there is processor time.
const TURN_MAX: Duration = Duration::from_millis(250);
/// A handshake that takes longer is given up, and so is a client that says nothing for so long, before it or after, or that waits so
/// long for its turn: it has given up itself.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a client begins with (RFC 9113, section 3.4). Only then is it pinged, and held to answer.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The pause after an error of accept, so that it is not retried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that has shaken hands and begun to speak HTTP/2.
pub struct Peer {
    tls: TlsStream<TcpStream>,
    caller: Caller,
    /// What of the preface the server has not read yet; we have.
    preface: &'static [u8],
    /// When it has to go.
    end: Option<Pin<Box<Sleep>>>,
    _places: Places,
}

/// One of all places, and a stranger's share.
type Places = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

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
        self.caller.clone()
    }
}

impl Peer {
    /// Fails once its time is over; until then the task is woken when it is.
    fn may_stay(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let over = self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready());
        if over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_stay(cx)?;
        if !self.preface.is_empty() {
            let (now, later) = self.preface.split_at(self.preface.len().min(buf.remaining()));
            buf.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.may_stay(cx)?;
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.may_stay(cx)?;
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
    /// Of them those of clients that no certificate names, which may not stay; `None` where they are like all others.
    pub strangers_max: Option<usize>,
}

/// What one port's connections share.
struct Port {
    read: ReadCaller,
    turns: Semaphore,
    strangers: Option<Arc<Semaphore>>,
}

/// Accepts until dropped.
pub async fn accept(
    accepting: Accepting<impl Fn() -> TlsAcceptor>,
    accepted: mpsc::Sender<io::Result<Peer>>,
    tasks: Tasks,
) {
    let Accepting { listener, acceptor, read, connections_max, strangers_max } = accepting;
    let permits = Arc::new(Semaphore::new(connections_max));
    let strangers = strangers_max.map(|most| Arc::new(Semaphore::new(most)));
    let port = Arc::new(Port { read, turns: Semaphore::new(HANDSHAKES_MAX), strangers });
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        _ = socket.set_nodelay(true);
        let (acceptor, accepted, port) = (acceptor(), accepted.clone(), port.clone());
        tasks.spawn_until_stopped("handshake", async move {
            let admitted = async {
                let tls = Box::pin(handshake(acceptor, socket, &port.turns)).await?;
                Box::pin(port.admit(tls, permit)).await
            };
            match admitted.await {
                Ok(peer) => _ = accepted.send(Ok(peer)).await,
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
    let turn = timeout(HANDSHAKE_TIMEOUT, turns.acquire()).await?.map_err(io::Error::other)?;
    if socket.ready(Interest::READABLE).await?.is_read_closed() {
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has given up"));
    }
    let mut shaking = pin!(timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)));
    if let Ok(done) = timeout(TURN_MAX, shaking.as_mut()).await {
        return done?;
    }
    drop(turn);
    shaking.await?
}

impl Port {
    /// Lets in who has shaken hands: if there is a place for such as him, and once he begins to speak.
    async fn admit(&self, mut tls: TlsStream<TcpStream>, place: OwnedSemaphorePermit) -> io::Result<Peer> {
        let caller = tls.get_ref().1.peer_certificates().map_or(Caller::Nobody, self.read);
        let (share, end) = match &self.strangers {
            Some(strangers) if matches!(caller, Caller::Nobody) => {
                let full = |_| io::Error::other("too many clients without a certificate");
                let share = strangers.clone().try_acquire_owned().map_err(full)?;
                (Some(share), Some(Box::pin(sleep(STRANGER_AGE_MAX))))
            }
            _ => (None, None),
        };
        let mut begun = [0; PREFACE.len()];
        timeout(HANDSHAKE_TIMEOUT, tls.read_exact(&mut begun)).await??;
        if begun != PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak HTTP/2"));
        }
        Ok(Peer { tls, caller, preface: PREFACE, end, _places: (place, share) })
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
