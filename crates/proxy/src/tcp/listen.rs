//! Listens on a port of the pod, for both address families, and hands out connections, never more at once than allowed: at
//! the limit it stops accepting, and the kernel's queue is the back-pressure.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use conduit_process::tasks::Tasks;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections that the kernel keeps for us while we are at our limit or busy.
const BACKLOG: i32 = 4096;
/// The pause after an error of accept (out of file descriptors, most often), so that it is not retried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `port` on all addresses, IPv6 with IPv4, or IPv4 alone where the kernel has no IPv6.
///
/// # Errors
/// Those of the socket: the port is taken, most often.
pub fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::from_std(bind_std(port)?)
}

/// As [`bind`], for a listener that another runtime will take.
///
/// # Errors
/// Those of the socket: the port is taken, most often.
pub fn bind_std(port: u16) -> io::Result<std::net::TcpListener> {
    let listener = match listener(Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            listener(Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?
        }
        bound => bound?,
    };
    Ok(listener.into())
}

fn listener(domain: Domain, addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Accepts until `stop` fires; each connection is a task of `tasks`, at most `connections_max` at once.
pub async fn serve<F>(
    name: &'static str,
    listener: TcpListener,
    connections_max: usize,
    stop: CancellationToken,
    tasks: Tasks,
    mut handle: impl FnMut(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                _ = socket.set_nodelay(true);
                let connection = handle(socket, peer);
                tasks.spawn(name, async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(listener = name, %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
