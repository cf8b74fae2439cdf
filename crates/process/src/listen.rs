//! Binds a server's port. `[::]` means every address of both families, or of IPv4 alone where the kernel has no IPv6, so that one default
//! serves in IPv4-only, IPv6-only and dual-stack clusters. Deliberately absent: accepting, which each server does with limits of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for a server that is at its limit or busy.
const BACKLOG: i32 = 4096;

/// Binds the address, for any runtime: the listener does not block.
///
/// # Errors
/// Those of the socket: the port is taken, most often.
pub fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    bind_by(addr, open)
}

/// As [`bind`], by this way of opening sockets.
fn bind_by<T>(addr: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match open(addr) {
        // Somebody else's port is not to be shared with him, family by family.
        Err(error)
            if addr.is_ipv6() && addr.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse =>
        {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())))
        }
        opened => opened,
    }
}

fn open(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
