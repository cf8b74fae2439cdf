//! Which requests and connections a tap shows: a filter in which everything that is set must match. What is known only at the
//! end (the response's class, the latency) is asked for separately, so that a proxy can hold back what it is not sure of.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::words::{Direction, Identity, Protocol, Workload};

/// A range of addresses in CIDR notation; a single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an address or a range of addresses, such as 10.1.2.3, 10.0.0.0/8 or fd00::/64")]
pub struct InvalidNetwork(String);

impl std::str::FromStr for Network {
    type Err = InvalidNetwork;
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.chars().take(64).collect());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => {
                prefix.parse().map_err(|_| invalid())?
            }
            Some(_) => return Err(invalid()),
            None => bits,
        };
        if prefix > bits { Err(invalid()) } else { Ok(Self { address, prefix }) }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| {
            let shift = bits - u32::from(self.prefix);
            shift >= bits || a >> shift == b >> shift
        };
        match (self.address.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// The class of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Counts as a success of the service.
    Success,
    /// Counts as a failure.
    Failure,
    /// The hundreds of an HTTP status, 1 to 5.
    Status(u8),
}

/// What is known when a request or connection begins.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Which side of the pod.
    pub direction: Direction,
    /// What it speaks.
    pub protocol: Protocol,
    /// Who began it.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The destination's workload, where known.
    pub workload: &'a Workload,
    /// Who the source proved to be.
    pub source_identity: Option<&'a Identity>,
    /// Who the destination proved to be.
    pub destination_identity: Option<&'a Identity>,
    /// Request line; empty for TCP.
    pub method: &'a str,
    /// `http` or `https`; empty for TCP.
    pub scheme: &'a str,
    /// Host or :authority.
    pub authority: &'a str,
    /// Path with query.
    pub path: &'a str,
}

/// The filter. `None` and empty texts match anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Which side of the pod.
    pub direction: Option<Direction>,
    /// The destination's port.
    pub port: Option<u16>,
    /// What it speaks.
    pub protocol: Option<Protocol>,
    /// `http` or `https`.
    pub scheme: String,
    /// The whole method.
    pub method: String,
    /// The whole host, with or without its port.
    pub authority: String,
    /// How the path begins.
    pub path_prefix: String,
    /// The source's address.
    pub source: Option<Network>,
    /// The destination's address.
    pub destination: Option<Network>,
    /// The destination's workload; empty parts match any.
    pub workload: Workload,
    /// Who the source proved to be.
    pub source_identity: String,
    /// Who the destination proved to be.
    pub destination_identity: String,
    /// The response's class.
    pub class: Option<Class>,
    /// The least latency, in µs.
    pub latency_us_min: u64,
}

impl Filter {
    /// Whether what is known at the start matches.
    #[must_use]
    pub fn matches_start(&self, facts: &Facts<'_>) -> bool {
        let text = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let identity = |wanted: &str, is: Option<&Identity>| {
            wanted.is_empty() || is.is_some_and(|i| i.as_str() == wanted)
        };
        let host = facts.authority.rsplit_once(':').map_or(facts.authority, |(host, _)| host);
        self.direction.is_none_or(|d| d == facts.direction)
            && self.port.is_none_or(|p| p == facts.destination.port())
            && self.protocol.is_none_or(|p| p == facts.protocol)
            && text(&self.scheme, facts.scheme)
            && (self.method.is_empty() || self.method.eq_ignore_ascii_case(facts.method))
            && (self.authority.is_empty()
                || self.authority.eq_ignore_ascii_case(facts.authority)
                || self.authority.eq_ignore_ascii_case(host))
            && facts.path.starts_with(&self.path_prefix)
            && self.source.is_none_or(|n| n.contains(facts.source.ip()))
            && self.destination.is_none_or(|n| n.contains(facts.destination.ip()))
            && text(&self.workload.namespace, &facts.workload.namespace)
            && text(&self.workload.kind, &facts.workload.kind)
            && text(&self.workload.name, &facts.workload.name)
            && identity(&self.source_identity, facts.source_identity)
            && identity(&self.destination_identity, facts.destination_identity)
    }

    /// Whether the end must be known before it can be said that a request matches.
    #[must_use]
    pub const fn needs_end(&self) -> bool {
        self.class.is_some() || self.latency_us_min > 0
    }

    /// Whether what is known at the end matches. `status` is 0 for TCP.
    #[must_use]
    pub fn matches_end(&self, failed: bool, status: u16, latency_us: u64) -> bool {
        let class = match self.class {
            None => true,
            Some(Class::Success) => !failed,
            Some(Class::Failure) => failed,
            Some(Class::Status(hundreds)) => status / 100 == u16::from(hundreds),
        };
        class && latency_us >= self.latency_us_min
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
