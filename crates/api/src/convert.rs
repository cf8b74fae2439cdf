//! Conversions between the generated messages and the words of `conduit-logic`, in both directions. What comes from the
//! wire is checked here, once; an `Error` names the field.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use conduit_logic::words;
use thiserror::Error;

use crate::common::v1 as common;
use crate::discovery::v1 as discovery;

/// A message that does not mean anything.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("field `{field}`: {reason}")]
pub struct Error {
    field: &'static str,
    reason: String,
}

fn invalid(field: &'static str, reason: impl Into<String>) -> Error {
    Error { field, reason: reason.into() }
}

impl From<SocketAddr> for common::SocketAddress {
    fn from(addr: SocketAddr) -> Self {
        let ip = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Self { ip, port: addr.port().into() }
    }
}

impl TryFrom<&common::SocketAddress> for SocketAddr {
    type Error = Error;
    fn try_from(message: &common::SocketAddress) -> Result<Self, Error> {
        let ip: IpAddr = match message.ip.len() {
            4 => <[u8; 4]>::try_from(&message.ip[..]).map(IpAddr::from).ok(),
            16 => <[u8; 16]>::try_from(&message.ip[..]).map(IpAddr::from).ok(),
            _ => None,
        }
        .ok_or_else(|| invalid("ip", format!("has {} bytes, not 4 or 16", message.ip.len())))?;
        let port = u16::try_from(message.port)
            .map_err(|_| invalid("port", format!("{} is over 65535", message.port)))?;
        Ok(Self::new(ip, port))
    }
}

impl From<&words::Workload> for common::WorkloadRef {
    fn from(w: &words::Workload) -> Self {
        Self { namespace: w.namespace.clone(), kind: w.kind.clone(), name: w.name.clone() }
    }
}

impl From<common::WorkloadRef> for words::Workload {
    fn from(w: common::WorkloadRef) -> Self {
        Self { namespace: w.namespace, kind: w.kind, name: w.name }
    }
}

impl From<&words::Pod> for common::PodRef {
    fn from(pod: &words::Pod) -> Self {
        Self { namespace: pod.namespace.clone(), name: pod.name.clone() }
    }
}

impl From<common::PodRef> for words::Pod {
    fn from(pod: common::PodRef) -> Self {
        Self { namespace: pod.namespace, name: pod.name }
    }
}

impl From<&words::Service> for common::ServiceRef {
    fn from(s: &words::Service) -> Self {
        Self { namespace: s.namespace.clone(), name: s.name.clone(), port: s.port.into() }
    }
}

impl TryFrom<common::ServiceRef> for words::Service {
    type Error = Error;
    fn try_from(s: common::ServiceRef) -> Result<Self, Error> {
        let port = u16::try_from(s.port)
            .map_err(|_| invalid("service.port", format!("{} is over 65535", s.port)))?;
        Ok(Self { namespace: s.namespace, name: s.name, port })
    }
}

impl From<words::Direction> for common::Direction {
    fn from(direction: words::Direction) -> Self {
        match direction {
            words::Direction::Inbound => Self::Inbound,
            words::Direction::Outbound => Self::Outbound,
        }
    }
}

impl common::Direction {
    /// The word, or `None` for `DIRECTION_UNSPECIFIED`.
    #[must_use]
    pub const fn word(self) -> Option<words::Direction> {
        match self {
            Self::Unspecified => None,
            Self::Inbound => Some(words::Direction::Inbound),
            Self::Outbound => Some(words::Direction::Outbound),
        }
    }
}

impl From<words::Protocol> for common::Protocol {
    fn from(protocol: words::Protocol) -> Self {
        match protocol {
            words::Protocol::Http1 => Self::Http1,
            words::Protocol::Http2 => Self::Http2,
            words::Protocol::Grpc => Self::Grpc,
            words::Protocol::Tls => Self::Tls,
            words::Protocol::Opaque => Self::Opaque,
        }
    }
}

impl common::Protocol {
    /// The word, or `None` for `PROTOCOL_UNSPECIFIED`.
    #[must_use]
    pub const fn word(self) -> Option<words::Protocol> {
        match self {
            Self::Unspecified => None,
            Self::Http1 => Some(words::Protocol::Http1),
            Self::Http2 => Some(words::Protocol::Http2),
            Self::Grpc => Some(words::Protocol::Grpc),
            Self::Tls => Some(words::Protocol::Tls),
            Self::Opaque => Some(words::Protocol::Opaque),
        }
    }
}

impl From<words::Declared> for discovery::DeclaredProtocol {
    fn from(declared: words::Declared) -> Self {
        match declared {
            words::Declared::Detect => Self::Detect,
            words::Declared::Http => Self::DeclaredHttp,
            words::Declared::Http2 => Self::DeclaredHttp2,
            words::Declared::Grpc => Self::DeclaredGrpc,
            words::Declared::Tls => Self::DeclaredTls,
            words::Declared::Opaque => Self::DeclaredOpaque,
        }
    }
}

impl From<discovery::DeclaredProtocol> for words::Declared {
    fn from(declared: discovery::DeclaredProtocol) -> Self {
        match declared {
            discovery::DeclaredProtocol::Detect => Self::Detect,
            discovery::DeclaredProtocol::DeclaredHttp => Self::Http,
            discovery::DeclaredProtocol::DeclaredHttp2 => Self::Http2,
            discovery::DeclaredProtocol::DeclaredGrpc => Self::Grpc,
            discovery::DeclaredProtocol::DeclaredTls => Self::Tls,
            discovery::DeclaredProtocol::DeclaredOpaque => Self::Opaque,
        }
    }
}

impl From<&words::Endpoint> for discovery::Endpoint {
    fn from(e: &words::Endpoint) -> Self {
        Self {
            address: Some(e.addr.into()),
            identity: e.identity.as_ref().map(ToString::to_string).unwrap_or_default(),
            workload: Some((&e.workload).into()),
            pod: Some((&e.pod).into()),
            zone: e.zone.clone(),
            weight: e.weight,
        }
    }
}

impl TryFrom<discovery::Endpoint> for words::Endpoint {
    type Error = Error;
    fn try_from(e: discovery::Endpoint) -> Result<Self, Error> {
        let address = e.address.as_ref().ok_or_else(|| invalid("endpoint.address", "is missing"))?;
        let identity = match e.identity.as_str() {
            "" => None,
            text => Some(
                words::Identity::parse(text).map_err(|err| invalid("endpoint.identity", err.to_string()))?,
            ),
        };
        Ok(Self {
            addr: address.try_into()?,
            identity,
            workload: e.workload.map(Into::into).unwrap_or_default(),
            pod: e.pod.map(Into::into).unwrap_or_default(),
            zone: e.zone,
            weight: e.weight.max(1),
        })
    }
}

impl From<&words::Destination> for discovery::Outbound {
    fn from(d: &words::Destination) -> Self {
        Self {
            service: d.service.as_ref().map(Into::into),
            protocol: discovery::DeclaredProtocol::from(d.declared).into(),
            endpoints: d.endpoints.iter().map(|e| e.as_ref().into()).collect(),
        }
    }
}

impl TryFrom<discovery::Outbound> for words::Destination {
    type Error = Error;
    fn try_from(o: discovery::Outbound) -> Result<Self, Error> {
        Ok(Self {
            declared: o.protocol().into(),
            service: o.service.map(TryInto::try_into).transpose()?,
            endpoints: o
                .endpoints
                .into_iter()
                .map(|e| e.try_into().map(Arc::new))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&words::InboundPod> for discovery::Inbound {
    fn from(pod: &words::InboundPod) -> Self {
        let port = |(port, declared): &(u16, words::Declared)| discovery::InboundPort {
            port: (*port).into(),
            protocol: discovery::DeclaredProtocol::from(*declared).into(),
        };
        Self { workload: Some((&pod.workload).into()), ports: pod.ports.iter().map(port).collect() }
    }
}

impl TryFrom<discovery::Inbound> for words::InboundPod {
    type Error = Error;
    fn try_from(i: discovery::Inbound) -> Result<Self, Error> {
        let port = |p: discovery::InboundPort| {
            let port = u16::try_from(p.port)
                .map_err(|_| invalid("inbound.port", format!("{} is over 65535", p.port)))?;
            Ok((port, p.protocol().into()))
        };
        Ok(Self {
            workload: i.workload.map(Into::into).unwrap_or_default(),
            ports: i.ports.into_iter().map(port).collect::<Result<_, Error>>()?,
        })
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
