//! The kernel's side of the mesh: nftables rules that hand a pod's TCP connections to its proxy, written over
//! netlink in one atomic batch, and the socket options that go with them. Stands on `libc` and `thiserror` alone and
//! on no crate of ours; there is deliberately no nft or iptables binary, no daemon and no state kept in this process.
//!
//! ```text
//! application --connect 10.1.2.3:80--> [output]     redirect to :4140 (127.0.0.1 or ::1)  --> proxy, outbound
//! other pod   --connect pod:8080-----> [prerouting] redirect to :4143 (the pod's address) --> proxy, inbound
//! ```
//!
//! A redirected connection arrives on another address than the one it was meant for, so the proxy listens on the
//! wildcard address and asks [`original_dst`]. The proxy's own connections are exempt by uid or by mark. One caution
//! to callers: a connection that was made straight to the inbound port has that port as its original destination;
//! forwarding it there would loop.

use std::ops::RangeInclusive;

pub mod cluster_ips;
pub mod faults;
mod netlink;
mod nftables;
mod rules;
mod sockopt;

pub use netlink::Error;
pub use sockopt::{Unanswered, original_dst, set_mark, unanswered};

/// How many port ranges may be skipped in one direction. Each is a rule that the first packet of every connection
/// passes in turn, some nanoseconds each, and nobody keeps a longer list by hand.
pub const SKIP_RANGES_MAX: usize = 64;

/// Ports that are never redirected on their way in, because the proxy itself serves them: tap and control, and admin.
pub const NEVER_REDIRECTED_INBOUND: [u16; 2] = [4190, 4191];

/// Whose outgoing connections are not redirected: the proxy's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exempt {
    /// Sockets of this user, as the network namespace's user namespace numbers users.
    Uid(u32),
    /// Sockets that carry this mark ([`set_mark`]); for where there is no second user to be had.
    Mark(u32),
}

/// What to redirect in a pod's network namespace, for IPv4 and IPv6 alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The proxy's port for connections that come in.
    pub inbound_port: u16,
    /// The proxy's port for connections that the application opens.
    pub outbound_port: u16,
    /// The proxy's own connections.
    pub exempt: Exempt,
    /// Ports of the pod that are left alone; [`NEVER_REDIRECTED_INBOUND`] always are.
    pub skip_inbound: Vec<RangeInclusive<u16>>,
    /// Ports of others that are left alone.
    pub skip_outbound: Vec<RangeInclusive<u16>>,
}

/// Puts the rules into the calling thread's network namespace, in place of those that an earlier call left there. It
/// is all or nothing: no connection ever sees half of the rules. Connections that exist stay as they were.
///
/// # Errors
/// The rules are refused before anything is sent ([`Error::TooManyRanges`], [`Error::EmptyRange`]), the caller may
/// not ([`Error::NotPermitted`]), or the kernel cannot ([`Error::Unsupported`], [`Error::Refused`]).
pub fn install(rules: &Rules) -> Result<(), Error> {
    nftables::replace(&rules::redirection(rules)?)
}

/// Takes away what [`install`] put there. That nothing is there is no error. Redirected connections that exist may
/// end, because the kernel translates addresses only while some rule asks for it.
///
/// # Errors
/// As [`install`].
pub fn remove() -> Result<(), Error> {
    nftables::delete(rules::REDIRECTION)
}

/// Whether the rules of [`install`] are in the calling thread's network namespace.
///
/// # Errors
/// As [`install`].
pub fn is_installed() -> Result<bool, Error> {
    nftables::is_there(rules::REDIRECTION)
}
