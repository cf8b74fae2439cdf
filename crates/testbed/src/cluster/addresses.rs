//! The addresses of a cluster, for each IP family that it speaks: nodes, pods, services. Pure. Deliberately absent: making links and
//! routes of them (`network`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IP families of nodes, pods and services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// IPv4 only.
    #[default]
    V4,
    /// IPv6 only.
    V6,
    /// Both; IPv4 is the first.
    Dual,
}

impl Families {
    /// The name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Dual => "dual",
        }
    }

    /// The families with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::V4, Self::V6, Self::Dual].into_iter().find(|families| families.name() == name)
    }

    fn pick<T>(self, v4: T, v6: T) -> Vec<T> {
        match self {
            Self::V4 => vec![v4],
            Self::V6 => vec![v6],
            Self::Dual => vec![v4, v6],
        }
    }

    /// The addresses of a node; node 1 has the control plane.
    pub fn node(self, number: u8) -> Vec<IpAddr> {
        let v6 = Ipv6Addr::new(0xfd89, 0, 0, 0, 0, 0, 0, number.into());
        self.pick(Ipv4Addr::new(10, 89, 0, number).into(), v6.into())
    }

    /// The length of the prefix in which all nodes are.
    pub(crate) fn node_prefix(address: IpAddr) -> u8 {
        if address.is_ipv4() { 24 } else { 64 }
    }

    /// Where pods' addresses come from, of all nodes together.
    pub(crate) fn pods(self) -> Vec<String> {
        self.pick("10.244.0.0/16".to_owned(), "fd44::/48".to_owned())
    }

    /// Where the addresses of one node's pods come from.
    pub(crate) fn pods_of(self, number: u8) -> Vec<String> {
        self.pick(format!("10.244.{number}.0/24"), format!("fd44:0:0:{number}::/64"))
    }

    /// Where services' addresses come from.
    pub(crate) fn services(self) -> Vec<String> {
        self.pick("10.96.0.0/16".to_owned(), "fd96::/112".to_owned())
    }

    /// The service `kubernetes`.
    pub(crate) fn api_service(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 96, 0, 1).into(), Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 1).into())[0]
    }

    /// The cluster's DNS.
    pub(crate) fn dns(self) -> Vec<IpAddr> {
        self.pick(Ipv4Addr::new(10, 96, 0, 10).into(), Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0xa).into())
    }

    /// What a server binds to reach every address.
    pub(crate) fn any(self) -> &'static str {
        if self == Self::V4 { "0.0.0.0" } else { "::" }
    }
}

/// Items with commas between them, as flags take them.
pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// The address as it stands in a URL.
pub(crate) fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
