//! Cluster IPs for machines without Kubernetes: in the namespace that routes between pods, connections to a service's
//! address go to one of its endpoints, by chance. Depends on `rules` and `nftables`. Deliberately absent: UDP, session
//! affinity, node ports, and masquerading, so a pod does not reach itself through its own service's address.

use std::net::SocketAddr;

use crate::rules::{
    Base, Chain, Comparison, Expression, Family, Field, Hook, Kind, PRIORITY_DSTNAT, PRIORITY_FILTER,
    Register, Rule, Table, Verdict, if_tcp, if_to, octets,
};
use crate::{Error, nftables};

const TABLE: &str = "conduit-cluster-ips";

/// How many endpoints all cluster IPs together may have. There is a rule per endpoint, tried one after the other by
/// the first packet of each connection, and all of them go to the kernel in one message of about 400 bytes each; a
/// larger world wants a verdict map. Without root, `net.core.wmem_max` may end it earlier.
pub const ENDPOINTS_MAX: usize = 8192;

/// The address of a service and where its connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIp {
    /// The service's address and TCP port.
    pub addr: SocketAddr,
    /// The pods' addresses and ports, all with equal chance. None: connections are refused with a reset.
    pub endpoints: Vec<SocketAddr>,
}

/// Puts these cluster IPs in the place of all earlier ones, at once. Connections that exist keep their endpoint.
///
/// # Errors
/// As [`crate::install`], and [`Error::MixedFamilies`], [`Error::TooMany`] or [`Error::TooLarge`].
pub fn install(cluster_ips: &[ClusterIp]) -> Result<(), Error> {
    nftables::replace(&table(cluster_ips)?)
}

/// Takes all cluster IPs away. Connections through them end, because nothing translates them any more.
///
/// # Errors
/// As [`crate::install`].
pub fn remove() -> Result<(), Error> {
    nftables::delete(TABLE)
}

fn table(cluster_ips: &[ClusterIp]) -> Result<Table, Error> {
    // A cluster IP without endpoints has a rule, too.
    let count = cluster_ips.iter().map(|cluster_ip| cluster_ip.endpoints.len().max(1)).sum();
    if count > ENDPOINTS_MAX {
        return Err(Error::TooMany { of: "endpoints of cluster IPs", count, max: ENDPOINTS_MAX });
    }
    let (mut services, mut refused) = (Vec::new(), Vec::new());
    for cluster_ip in cluster_ips {
        let to = if_addressed_to(cluster_ip.addr);
        if cluster_ip.endpoints.is_empty() {
            refused.push([to.as_slice(), &[Expression::Reset]].concat());
            continue;
        }
        let mut left = cluster_ip.endpoints.len();
        for endpoint in &cluster_ip.endpoints {
            services.push([to.as_slice(), &one_in(left), &dnat_to(cluster_ip.addr, *endpoint)?].concat());
            left -= 1;
        }
    }
    // The first packet of a connection is translated where it enters: from a pod, or from this namespace itself.
    // A NAT chain cannot refuse, hence the filter chains. Only new connections are refused: one that was translated
    // while there were endpoints lives on. And to ask for it keeps connection tracking switched on, which translates
    // what was translated before, also while no service has an endpoint and no rule here needs it otherwise.
    let nat = |hook| Some(Base { kind: Kind::Nat, hook, priority: PRIORITY_DSTNAT });
    let filter = |hook| Some(Base { kind: Kind::Filter, hook, priority: PRIORITY_FILTER });
    let services_chain = vec![[if_tcp(), vec![Expression::Verdict(Verdict::Jump("services"))]].concat()];
    let refused_chain =
        vec![[if_tcp(), if_new(), vec![Expression::Verdict(Verdict::Jump("refused"))]].concat()];
    Ok(Table {
        name: TABLE,
        chains: vec![
            Chain { name: "services", base: None, rules: services },
            Chain { name: "refused", base: None, rules: refused },
            Chain { name: "prerouting", base: nat(Hook::Prerouting), rules: services_chain.clone() },
            Chain { name: "output", base: nat(Hook::Output), rules: services_chain },
            Chain { name: "refuse-prerouting", base: filter(Hook::Prerouting), rules: refused_chain.clone() },
            Chain { name: "refuse-output", base: filter(Hook::Output), rules: refused_chain },
        ],
    })
}

fn if_new() -> Rule {
    const NEW: u32 = 1 << 3;
    vec![
        Expression::Load(Field::ConnectionState),
        Expression::Compare(Comparison::Equal, NEW.to_ne_bytes().to_vec()),
    ]
}

fn if_addressed_to(addr: SocketAddr) -> Rule {
    let mut rule = if_to(addr.ip().to_canonical());
    rule.push(Expression::Load(Field::DestinationPort));
    rule.push(Expression::Compare(Comparison::Equal, addr.port().to_be_bytes().to_vec()));
    rule
}

/// With `left` endpoints still to try, this one is as likely as each of the others.
fn one_in(left: usize) -> Rule {
    match u32::try_from(left) {
        Ok(0 | 1) | Err(_) => Vec::new(),
        Ok(left) => {
            vec![
                Expression::Random(left),
                Expression::Compare(Comparison::Equal, 0_u32.to_ne_bytes().to_vec()),
            ]
        }
    }
}

fn dnat_to(addr: SocketAddr, endpoint: SocketAddr) -> Result<Rule, Error> {
    let (from, to) = (addr.ip().to_canonical(), endpoint.ip().to_canonical());
    if Family::of(from) != Family::of(to) {
        return Err(Error::MixedFamilies(from, to));
    }
    Ok(vec![
        Expression::Set(Register::First, octets(to)),
        Expression::Set(Register::Second, endpoint.port().to_be_bytes().to_vec()),
        Expression::Dnat(Family::of(to)),
    ])
}

#[cfg(test)]
#[path = "cluster_ips_tests.rs"]
mod tests;
