//! Partitions and packet loss for tests: in the namespace that routes between pods, packets between addresses are
//! dropped. Depends on `rules` and `nftables`. Deliberately absent: delay and reordering, which are not a firewall's.

use std::net::IpAddr;

use crate::rules::{
    Base, Chain, Comparison, Expression, Family, Hook, Kind, PRIORITY_FILTER, Rule, Table, Verdict, if_from,
    if_to,
};
use crate::{Error, nftables};

const TABLE: &str = "conduit-faults";

/// How many faults may be in force. Every packet passes a few rules per fault; a test that needs more than these
/// should stop the network instead.
pub const FAULTS_MAX: usize = 256;

/// A fault of the network, for all protocols and for both directions, and for connections that exist, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between these two addresses.
    Between(IpAddr, IpAddr),
    /// Nothing passes to or from this address.
    All(IpAddr),
    /// Of the packets to or from this address, this share is lost, by chance.
    Share {
        /// The address.
        ip: IpAddr,
        /// How many in a hundred; 100 and more is all.
        percent: u8,
    },
}

/// Puts these faults in the place of all earlier ones, at once.
///
/// # Errors
/// As [`crate::install`], and [`Error::MixedFamilies`] or [`Error::TooMany`].
pub fn install(faults: &[Fault]) -> Result<(), Error> {
    nftables::replace(&table(faults)?)
}

/// Ends all faults.
///
/// # Errors
/// As [`crate::install`].
pub fn clear() -> Result<(), Error> {
    nftables::delete(TABLE)
}

fn table(faults: &[Fault]) -> Result<Table, Error> {
    if faults.len() > FAULTS_MAX {
        return Err(Error::TooMany { of: "faults", count: faults.len(), max: FAULTS_MAX });
    }
    let mut rules = Vec::new();
    for fault in faults {
        rules.extend(drops(*fault)?);
    }
    // Forwarded packets are those between pods; the other two hooks are for what this namespace itself takes part in.
    let hooked = |name, hook| Chain {
        name,
        base: Some(Base { kind: Kind::Filter, hook, priority: PRIORITY_FILTER }),
        rules: vec![vec![Expression::Verdict(Verdict::Jump("faults"))]],
    };
    Ok(Table {
        name: TABLE,
        chains: vec![
            Chain { name: "faults", base: None, rules },
            hooked("forward", Hook::Forward),
            hooked("input", Hook::Input),
            hooked("output", Hook::Output),
        ],
    })
}

fn drops(fault: Fault) -> Result<[Rule; 2], Error> {
    let drop = Rule::from([Expression::Verdict(Verdict::Drop)]);
    Ok(match fault {
        Fault::Between(a, b) => {
            let (a, b) = (a.to_canonical(), b.to_canonical());
            if Family::of(a) != Family::of(b) {
                return Err(Error::MixedFamilies(a, b));
            }
            [[if_from(a), if_to(b), drop.clone()].concat(), [if_from(b), if_to(a), drop].concat()]
        }
        Fault::All(ip) => either_way(ip.to_canonical(), &drop),
        Fault::Share { ip, percent } => {
            let lost = [
                Expression::Random(100),
                Expression::NumberToNetwork,
                Expression::Compare(Comparison::Less, u32::from(percent).to_be_bytes().to_vec()),
                Expression::Verdict(Verdict::Drop),
            ];
            either_way(ip.to_canonical(), &lost)
        }
    })
}

fn either_way(ip: IpAddr, then: &[Expression]) -> [Rule; 2] {
    [[if_from(ip).as_slice(), then].concat(), [if_to(ip).as_slice(), then].concat()]
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
