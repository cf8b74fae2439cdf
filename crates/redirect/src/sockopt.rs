//! The socket options that a proxy needs and std has not: where a connection was meant to go, the mark that exempts one, and what
//! its peer has not answered. Depends on libc alone; holds no state and knows no rule.
#![expect(unsafe_code, reason = "std has none of these options")]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Where the peer of this accepted TCP connection meant to connect to, before a rule redirected it. A connection that
/// was not redirected has its local address as answer. An IPv4 peer of a dual-stack listener gives an IPv4 address.
///
/// # Errors
/// The socket is not a connected TCP socket, or is closed.
pub fn original_dst(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let socket = socket.as_fd();
    let local = local_addr(socket)?;
    let (level, option) = match local {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::SO_ORIGINAL_DST),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IP6T_SO_ORIGINAL_DST),
    };
    let found = address(|storage, length| {
        // SAFETY: `address` passes valid pointers to a sockaddr_storage and to its size, and the kernel writes no
        // more than that size.
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, storage.cast(), length) }
    });
    match found {
        Ok(address) => Ok(address),
        // ENOENT: connection tracking does not know the connection. ENOPROTOOPT: the kernel tracks no connections at
        // all. Either way nothing can have redirected it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => Ok(local),
        Err(error) => Err(error),
    }
}

/// Marks what the socket sends from now on; set it before connecting.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN (or, since Linux 5.17, CAP_NET_RAW) in the user namespace of the socket's network.
pub fn set_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&mark)).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length are those of `mark`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a TCP connection has sent, and what of it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered {
    /// Bytes were sent, or the peer was asked for room, and it has not acknowledged that yet.
    pub asked: bool,
    /// The same, or bytes wait for room at the peer.
    pub queued: bool,
    /// How long ago the peer acknowledged anything.
    pub heard: Duration,
}

/// What the peer of this connection has not answered. Source: tcp(7), TCP_INFO.
///
/// # Errors
/// The socket is no TCP socket, or is closed.
pub fn unanswered(socket: &impl AsFd) -> io::Result<Unanswered> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: the pointers are those of `info` and of its size, and the kernel writes no more than that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all bytes were zeroed, which is a valid tcp_info, and the kernel wrote over some of them.
    let info = unsafe { info.assume_init() };
    let asked = info.tcpi_unacked > 0 || info.tcpi_probes > 0;
    Ok(Unanswered {
        asked,
        queued: asked || info.tcpi_notsent_bytes > 0,
        heard: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}

/// The local address in its canonical form: `::ffff:10.0.0.1` is 10.0.0.1.
fn local_addr(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    address(|storage, length| {
        // SAFETY: as in `original_dst`.
        unsafe { libc::getsockname(socket.as_raw_fd(), storage.cast(), length) }
    })
}

/// Runs a call that fills in a socket address, and reads it.
fn address(
    call: impl FnOnce(*mut libc::sockaddr_storage, *mut libc::socklen_t) -> libc::c_int,
) -> io::Result<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).map_err(io::Error::other)?;
    if call(storage.as_mut_ptr(), &raw mut length) < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all bytes were zeroed, which is a valid sockaddr_storage, and the kernel wrote over some of them.
    let storage = unsafe { storage.assume_init() };
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is large and aligned enough for every address, and the family says which.
            let v4 = unsafe { (&raw const storage).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { (&raw const storage).cast::<libc::sockaddr_in6>().read() };
            let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Ok(match ip.to_canonical() {
                IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
            })
        }
        family => Err(io::Error::other(format!("a socket of address family {family} has no IP address"))),
    }
}
