//! The few requests of route netlink that lay out a test's network: veth pairs, addresses, routes. Depends on libc;
//! deliberately apart from the crate's own netlink code, which speaks of rules alone.
#![expect(unsafe_code, reason = "netlink sockets and interface indexes have no safe interface in std")]

use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// A pair of connected interfaces: `name` in this namespace, `peer` in that one.
pub(crate) fn add_veth(name: &str, peer: &str, namespace: BorrowedFd<'_>) {
    let namespace = namespace.as_raw_fd().cast_unsigned().to_ne_bytes();
    let there = [interface(0, 0), text(libc::IFLA_IFNAME, peer), attribute(libc::IFLA_NET_NS_FD, &namespace)]
        .concat();
    let data = attribute(libc::IFLA_INFO_DATA, &attribute(1, &there));
    let info = [text(libc::IFLA_INFO_KIND, "veth"), data].concat();
    let body =
        [interface(0, 0), text(libc::IFLA_IFNAME, name), attribute(libc::IFLA_LINKINFO, &info)].concat();
    request("add a veth pair", libc::RTM_NEWLINK, CREATE, &body);
}

/// Takes an interface of this namespace up.
pub(crate) fn set_up(name: &str) {
    let up = libc::IFF_UP.cast_unsigned();
    request("take an interface up", libc::RTM_NEWLINK, 0, &interface(index(name), up));
}

/// Gives an interface an address, usable at once.
pub(crate) fn add_address(name: &str, ip: IpAddr, prefix: u8) {
    const NO_DUPLICATE_DETECTION: u8 = 2;
    let header = [family(ip), prefix, NO_DUPLICATE_DETECTION, 0];
    let address = octets(ip);
    let attributes = [attribute(libc::IFA_LOCAL, &address), attribute(libc::IFA_ADDRESS, &address)].concat();
    let body = [header.as_slice(), &index(name).to_ne_bytes(), &attributes].concat();
    request("add an address", libc::RTM_NEWADDR, CREATE, &body);
}

/// Sends whatever has no better route to this gateway.
pub(crate) fn add_default_route(gateway: IpAddr) {
    let header = [
        family(gateway),
        0,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    ];
    let body = [header.as_slice(), &[0; 4], &attribute(libc::RTA_GATEWAY, &octets(gateway))].concat();
    request("add a route", libc::RTM_NEWROUTE, CREATE, &body);
}

fn request(what: &str, kind: u16, flags: u16, body: &[u8]) {
    let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = u32::try_from(body.len() + 16).expect("a small message");
    let header =
        [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    let message = [header.as_slice(), body].concat();
    // SAFETY: socket() takes no pointer, and the new descriptor is checked before it is owned.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
        assert!(fd >= 0, "{what}: no netlink socket: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    let mut answer = [0_u8; 4096];
    // SAFETY: the pointers and lengths are those of `message` and `answer`, both alive and not shared.
    let received = unsafe {
        let sent = libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0);
        assert!(sent >= 0, "{what}: cannot ask: {}", io::Error::last_os_error());
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    assert!(received >= 20, "{what}: no answer");
    let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    assert_eq!(errno, 0, "{what}: {}", io::Error::from_raw_os_error(-errno));
}

/// `struct ifinfomsg`.
fn interface(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("a small attribute");
    let mut bytes = [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn index(name: &str) -> u32 {
    let text = CString::new(name).expect("a name without zeros");
    // SAFETY: the pointer is to a text that ends in zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
    assert_ne!(index, 0, "there is no interface {name}");
    index
}

fn family(ip: IpAddr) -> u8 {
    u8::try_from(if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).expect("a small number")
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
