use std::net::{Ipv6Addr, TcpStream};

use super::*;

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

#[test]
fn what_listens_on_all_addresses_is_reached_over_both_families() {
    let listener = bind(everywhere(0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "::1"] {
        TcpStream::connect((host, port)).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
}

#[test]
fn a_kernel_without_ipv6_gets_ipv4_alone_and_only_where_all_addresses_were_meant() {
    let without = |addr: SocketAddr| match addr {
        SocketAddr::V4(_) => Ok(addr),
        SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    };
    assert_eq!(bind_by(everywhere(80), without).unwrap(), "0.0.0.0:80".parse().unwrap());
    assert!(bind_by("[::1]:80".parse().unwrap(), without).is_err());
}

#[test]
fn a_port_that_is_taken_is_an_error_and_not_taken_in_the_other_family() {
    let taken = bind(everywhere(0)).unwrap().local_addr().unwrap().port();
    let holder = bind(SocketAddr::from((Ipv6Addr::LOCALHOST, taken))).unwrap();
    let error = bind(everywhere(taken)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(holder);
}
