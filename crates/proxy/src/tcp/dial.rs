//! Opens connections: with a deadline, without Nagle's delay, and marked where the redirect rules exempt the proxy by a mark.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
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
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        if let Some(mark) = self.mark {
            conduit_redirect::set_mark(&socket, mark)?;
        }
        match tokio::time::timeout(self.timeout, socket.connect(addr)).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within the connect timeout"))
            }
        }
    }
}

/// Makes the drop of this socket a reset, so that a connection that broke on one side does not look whole on the other.
pub fn reset_on_drop(socket: &TcpStream) {
    // It can fail only on a socket that is gone already, and then there is nothing to reset.
    _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
