//! Whether an application listens, read from its network namespace's socket tables without making a connection: an application that
//! counts connections sees none of ours. Depends on /proc alone.

use std::io::Read;

/// How much of a socket table is read: listeners come first in it, and a kernel that has written a page of them stops looking.
const TABLE_BYTES_MAX: u64 = 16 * 1024;

/// For which address families every port has a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

/// Looks whether the network namespace of process `pid` has a listener, beyond loopback, on each of `ports`.
pub(crate) fn on(pid: i32, ports: &[u16]) -> Found {
    let (tcp, tcp6) = (read(pid, "tcp"), read(pid, "tcp6"));
    found(&listeners(&tcp), &listeners(&tcp6), ports)
}

fn found(tcp: &[(&str, u16)], tcp6: &[(&str, u16)], ports: &[u16]) -> Found {
    let is_loopback =
        |address: &str| address.ends_with("7F") || address == "00000000000000000000000001000000";
    let has =
        |table: &[(&str, u16)], port| table.iter().any(|(address, p)| *p == port && !is_loopback(address));
    // A listener on [::] takes IPv4 connections as well, unless it asked not to (IPV6_V6ONLY), which the table does not show.
    let any6 = |port| tcp6.iter().any(|(address, p)| *p == port && address.bytes().all(|b| b == b'0'));
    Found {
        ipv4: ports.iter().all(|port| has(tcp, *port) || any6(*port)),
        ipv6: ports.iter().all(|port| has(tcp6, *port)),
    }
}

fn read(pid: i32, table: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(format!("/proc/{pid}/net/{table}")) {
        // What was read before an error counts.
        let _ = file.take(TABLE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Address, in the kernel's hexadecimal, and port of each listening socket. See proc(5), /proc/net/tcp.
fn listeners(table: &str) -> Vec<(&str, u16)> {
    const LISTEN: &str = "0A";
    let listener = |line| -> Option<(&str, u16)> {
        let mut fields = str::split_whitespace(line).skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        (fields.nth(1)? == LISTEN).then_some((address, u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().filter_map(listener).collect()
}

#[cfg(test)]
#[path = "listening_tests.rs"]
mod tests;
