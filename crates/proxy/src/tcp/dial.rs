//! Opens connections: with a deadline, without Nagle's delay, and marked where the redirect rules exempt the proxy by a mark.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

/// How this proxy opens connections.
#[derive(Debug, Clone, Copy)]
pub struct Dialer {
    /// A connection that is not there after this is given up.
    pub timeout: Duration,
    /// The mark that keeps our connections from being redirected to ourselves; `None` where our user id does.
    pub mark: Option<u32>,
}

impl Dialer {
    /// Connects.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::TimedOut`] after the deadline.
    pub async fn dial(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        match tokio::time::timeout(self.timeout, self.dial_outside(addr)).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within the connect timeout"))
            }
        }
    }

    /// Connects to a place that the mesh does not know. There is nowhere else to go, and it may be far: when to give up is left to the
    /// kernel, as without a proxy.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn dial_outside(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        if let Some(mark) = self.mark {
            conduit_redirect::set_mark(&socket, mark)?;
        }
        keep_alive(&socket);
        socket.connect(addr).await
    }
}

/// How long a connection is silent before the kernel asks whether its peer is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it asks, and how many of that in a row stay without an answer before the connection ends: one packet may get lost.
const ASKED: (Duration, u32) = (Duration::from_secs(10), 6);

/// Lets the kernel notice that a peer of a silent connection has vanished (a node lost, a network cut) without a word. Source: tcp(7).
pub fn keep_alive(socket: &impl AsFd) {
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(ASKED.0).with_retries(ASKED.1);
    // Where the kernel does not know one of these, the connection works all the same.
    _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

/// Makes the drop of this socket a reset, so that a connection that broke on one side does not look whole on the other.
pub fn reset_on_drop(socket: &TcpStream) {
    // It can fail only on a socket that is gone already, and then there is nothing to reset.
    _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
