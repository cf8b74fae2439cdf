//! Which rules, as plain data: tables, chains, rules, expressions, and the table that redirects a pod. Knows nothing
//! of netlink or of how the kernel wants these written. Only the expressions that some table here needs exist.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::{Error, Exempt, NEVER_REDIRECTED_INBOUND, Rules, SKIP_RANGES_MAX};

/// The table of [`redirection`].
pub(crate) const REDIRECTION: &str = "conduit";

/// Where destination NAT belongs among the hooks' priorities: after connection tracking, before filters.
pub(crate) const PRIORITY_DSTNAT: i32 = -100;
/// Where filters belong.
pub(crate) const PRIORITY_FILTER: i32 = 0;

/// A table of family inet: its rules see IPv4 and IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) chains: Vec<Chain>,
}

/// A chain; without a base it is reached by a jump alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// Where packets enter a chain. The policy is always accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: Kind,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nat,
    Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
}

/// Expressions, evaluated in order; the first comparison that fails ends the rule.
pub(crate) type Rule = Vec<Expression>;

/// One step of a rule. Values pass from step to step in registers; `Load`, `Random` and `Compare` use the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    Load(Field),
    /// A fresh random number below this, in host byte order.
    Random(u32),
    /// The number in the first register to network byte order, so that it can be compared for less.
    NumberToNetwork,
    /// Bytewise, so only numbers in network byte order have a less and a more.
    Compare(Comparison, Vec<u8>),
    Set(Register, Vec<u8>),
    Verdict(Verdict),
    /// Hand the connection to this machine, on the port in the first register.
    Redirect,
    /// Hand the connection to the address in the first register, on the port in the second.
    Dnat(Family),
    /// Drop, and answer with a TCP reset.
    Reset,
}

/// What can be looked at in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    SocketUid,
    Mark,
    /// Where the connection stands, one bit per state. Looking at it switches connection tracking on.
    ConnectionState,
    InputName,
    OutputName,
    Family,
    Protocol,
    Source(Family),
    Destination(Family),
    DestinationPort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    First,
    Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Return,
    Jump(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The table that redirects a pod's connections to its proxy.
pub(crate) fn redirection(rules: &Rules) -> Result<Table, Error> {
    let mut prerouting = vec![unless_tcp_return(), on_loopback_return(Field::InputName)];
    for port in NEVER_REDIRECTED_INBOUND {
        prerouting.push(port_in(&(port..=port), Verdict::Return));
    }
    prerouting.extend(skipped("inbound", &rules.skip_inbound)?);
    prerouting.push(redirect_to(rules.inbound_port));

    // Whatever leaves through lo stays in the pod: 127.0.0.0/8 and ::1, but also the pod's own addresses, which the
    // kernel routes through lo. So this one test says what `fib daddr type local` would, and needs no fib module.
    let mut output =
        vec![unless_tcp_return(), exempt_return(rules.exempt), on_loopback_return(Field::OutputName)];
    output.extend(skipped("outbound", &rules.skip_outbound)?);
    output.push(redirect_to(rules.outbound_port));

    let nat = |hook| Some(Base { kind: Kind::Nat, hook, priority: PRIORITY_DSTNAT });
    Ok(Table {
        name: REDIRECTION,
        chains: vec![
            Chain { name: "prerouting", base: nat(Hook::Prerouting), rules: prerouting },
            Chain { name: "output", base: nat(Hook::Output), rules: output },
        ],
    })
}

fn unless_tcp_return() -> Rule {
    vec![
        Expression::Load(Field::Protocol),
        Expression::Compare(Comparison::NotEqual, vec![TCP]),
        Expression::Verdict(Verdict::Return),
    ]
}

fn exempt_return(exempt: Exempt) -> Rule {
    let (field, value) = match exempt {
        Exempt::Uid(uid) => (Field::SocketUid, uid),
        Exempt::Mark(mark) => (Field::Mark, mark),
    };
    vec![
        Expression::Load(field),
        Expression::Compare(Comparison::Equal, value.to_ne_bytes().to_vec()),
        Expression::Verdict(Verdict::Return),
    ]
}

fn on_loopback_return(field: Field) -> Rule {
    // The kernel fills the register with the whole name, padded with zeros; a shorter comparison would be a prefix.
    let mut name = b"lo".to_vec();
    name.resize(libc::IFNAMSIZ, 0);
    vec![
        Expression::Load(field),
        Expression::Compare(Comparison::Equal, name),
        Expression::Verdict(Verdict::Return),
    ]
}

fn skipped(direction: &'static str, ranges: &[RangeInclusive<u16>]) -> Result<Vec<Rule>, Error> {
    if ranges.len() > SKIP_RANGES_MAX {
        return Err(Error::TooManyRanges { direction, count: ranges.len() });
    }
    if let Some(empty) = ranges.iter().find(|range| range.is_empty()) {
        return Err(Error::EmptyRange { direction, start: *empty.start(), end: *empty.end() });
    }
    Ok(ranges.iter().map(|range| port_in(range, Verdict::Return)).collect())
}

fn port_in(range: &RangeInclusive<u16>, verdict: Verdict) -> Rule {
    let (start, end) = (range.start().to_be_bytes().to_vec(), range.end().to_be_bytes().to_vec());
    let mut rule = vec![Expression::Load(Field::DestinationPort)];
    if start == end {
        rule.push(Expression::Compare(Comparison::Equal, start));
    } else {
        rule.push(Expression::Compare(Comparison::AtLeast, start));
        rule.push(Expression::Compare(Comparison::AtMost, end));
    }
    rule.push(Expression::Verdict(verdict));
    rule
}

fn redirect_to(port: u16) -> Rule {
    vec![Expression::Set(Register::First, port.to_be_bytes().to_vec()), Expression::Redirect]
}

/// The number of TCP, as the IP header has it.
const TCP: u8 = 6;

/// The start of a rule that looks at TCP alone.
pub(crate) fn if_tcp() -> Rule {
    vec![Expression::Load(Field::Protocol), Expression::Compare(Comparison::Equal, vec![TCP])]
}

/// The start of a rule that looks at packets to this address alone.
pub(crate) fn if_to(ip: IpAddr) -> Rule {
    if_address(ip, Field::Destination)
}

/// The start of a rule that looks at packets from this address alone.
pub(crate) fn if_from(ip: IpAddr) -> Rule {
    if_address(ip, Field::Source)
}

fn if_address(ip: IpAddr, field: fn(Family) -> Field) -> Rule {
    let family = Family::of(ip);
    vec![
        Expression::Load(Field::Family),
        Expression::Compare(Comparison::Equal, vec![family.number()]),
        Expression::Load(field(family)),
        Expression::Compare(Comparison::Equal, octets(ip)),
    ]
}

/// The address as it stands in the IP header.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

impl Family {
    /// The family of an address that is in its canonical form.
    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The number that netfilter has for it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
