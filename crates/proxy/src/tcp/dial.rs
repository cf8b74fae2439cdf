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
    /// A connection whose peer has not acknowledged our bytes for this long is dead.
    pub unacknowledged: Duration,
    /// The mark that keeps our connections from being redirected to ourselves; `None` where our user id does.
    pub mark: Option<u32>,
}

impl Dialer {
    /// Connects.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::TimedOut`] after the deadline.
    pub async fn dial(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        if let Some(mark) = self.mark {
            conduit_redirect::set_mark(&socket, mark)?;
        }
        notice_death(&socket, self.unacknowledged);
        match tokio::time::timeout(self.timeout, socket.connect(addr)).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within the connect timeout"))
            }
        }
    }
}

/// How long a connection is silent before the kernel asks whether its peer is still there.
const SILENCE: Duration = Duration::from_secs(30);

/// Lets the kernel notice that a peer has vanished (a node lost, a network cut) without a word: sent bytes that are not
/// acknowledged, or a silent connection that does not answer when asked. Sources: RFC 5482, tcp(7).
pub fn notice_death(socket: &impl AsFd, unacknowledged: Duration) {
    let socket = SockRef::from(socket);
    // Where the kernel does not know one of these, the connection works all the same.
    _ = socket.set_tcp_user_timeout(Some(unacknowledged));
    _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(unacknowledged));
}

/// Makes the drop of this socket a reset, so that a connection that broke on one side does not look whole on the other.
pub fn reset_on_drop(socket: &TcpStream) {
    // It can fail only on a socket that is gone already, and then there is nothing to reset.
    _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
