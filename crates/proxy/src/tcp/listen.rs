//! Listens on a port of the pod, for both address families, and hands out connections, never more at once than allowed: beyond
//! the limit some are handed out to be refused, and beyond those the kernel's queue is the back-pressure.

use std::future::Future;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use conduit_process::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

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
    conduit_process::listen::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
}

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are served.
    pub served_max: usize,
    /// Connections beyond these that are being refused.
    pub refused_max: usize,
}

/// Accepts until `stop` fires; each connection is a task of `tasks`: handled, or refused where as many as may be are served.
pub async fn serve<F, R>(
    name: &'static str,
    listener: TcpListener,
    limits: Limits,
    stop: CancellationToken,
    tasks: Tasks,
    mut handle: impl FnMut(TcpStream, SocketAddr) -> F,
    mut refuse: impl FnMut(TcpStream) -> R,
) where
    F: Future<Output = ()> + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let served = Arc::new(Semaphore::new(limits.served_max));
    let refused = Arc::new(Semaphore::new(limits.refused_max));
    loop {
        let (mut place, mut serve) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Ok(place) = served.clone().acquire_owned() => (place, true),
            Ok(place) = refused.clone().acquire_owned() => (place, false),
            else => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = name, %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        _ = socket.set_nodelay(true);
        // A place may have become free while there was nobody to take it.
        if !serve && let Ok(free) = served.clone().try_acquire_owned() {
            (place, serve) = (free, true);
        }
        if serve {
            tasks.spawn_holding(name, place, handle(socket, peer));
        } else {
            tasks.spawn_holding("refused connection", place, refuse(socket));
        }
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
