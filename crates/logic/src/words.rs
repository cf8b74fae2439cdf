//! The field's words as types: workload, service, pod, identity, endpoint, destination.
//! Everything else in Conduit speaks in these. Nothing here knows a wire format.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Which way the bytes go, seen from the pod that the proxy stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards the application in this pod.
    Inbound,
    /// From the application in this pod.
    Outbound,
}

impl Direction {
    /// The word used in metrics, logs and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What a connection or request turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 that is not gRPC.
    Http2,
    /// gRPC: HTTP/2 with a content-type of `application/grpc…`.
    Grpc,
    /// The application's own TLS, passed through untouched.
    Tls,
    /// Any other TCP.
    Opaque,
}

impl Protocol {
    /// All protocols, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Http1, Self::Http2, Self::Grpc, Self::Tls, Self::Opaque];

    /// The word used in metrics, logs and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
            Self::Grpc => "grpc",
            Self::Tls => "tls",
            Self::Opaque => "tcp",
        }
    }

    /// Whether single requests are seen, or only whole connections.
    #[must_use]
    pub const fn has_requests(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Grpc)
    }
}

/// What the owner of a port says it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Declared {
    /// Nothing is declared: the first bytes decide.
    #[default]
    Detect,
    /// HTTP/1 or HTTP/2, told apart by the first bytes however late they come.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
    /// The application's own TLS.
    Tls,
    /// Any TCP; the bytes are not looked at.
    Opaque,
}

impl Declared {
    /// Reads a Kubernetes `appProtocol` or the protocol part of a port's name (`http-web` is `http`).
    /// A word that is not known declares nothing.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "http" | "http1" | "http/1.1" | "kubernetes.io/ws" => Self::Http,
            "http2" | "h2c" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" | "grpc-web" => Self::Grpc,
            "https" | "tls" | "kubernetes.io/wss" => Self::Tls,
            "tcp" | "opaque" | "mysql" | "redis" | "mongo" | "postgres" | "postgresql" | "amqp" | "kafka" => {
                Self::Opaque
            }
            _ => Self::Detect,
        }
    }
}

/// A Deployment, StatefulSet, DaemonSet, Job, CronJob, or a bare Pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Workload {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes kind, as the API writes it.
    pub kind: String,
    /// Name within the namespace.
    pub name: String,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One port of a Kubernetes Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Service {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
    /// The service's port, not the endpoint's.
    pub port: u16,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// A pod's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The longest SPIFFE ID accepted, in bytes (SPIFFE-ID specification, section 2.3: at least 2048 must be supported).
pub const IDENTITY_BYTES_MAX: usize = 2048;

/// A SPIFFE ID of the form `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`.
///
/// Source: SPIFFE-ID specification, sections 2.1 to 2.3 (character sets); the path is the form that Kubernetes meshes use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<str>);

/// Why a text is not a workload identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a workload identity: {reason} (expected spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>)"
)]
pub struct InvalidIdentity {
    text: String,
    reason: &'static str,
}

impl Identity {
    /// Builds an identity from its parts.
    ///
    /// # Errors
    /// When a part is empty or has a character that a SPIFFE ID must not have.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, InvalidIdentity> {
        Self::parse(&format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"))
    }

    /// Reads a SPIFFE ID.
    ///
    /// # Errors
    /// When the text is not of the form above, byte for byte: no case folding, no percent encoding, no query.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentity> {
        let fail = |reason| Err(InvalidIdentity { text: text.chars().take(256).collect(), reason });
        if text.len() > IDENTITY_BYTES_MAX {
            return fail("it is longer than 2048 bytes");
        }
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return fail("it does not begin with spiffe://");
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", service_account] = parts[..] else {
            return fail("its path is not /ns/<namespace>/sa/<service-account>");
        };
        let domain_char =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if trust_domain.is_empty() || trust_domain.len() > 255 || !trust_domain.chars().all(domain_char) {
            return fail("its trust domain is empty, too long or has a character outside a-z 0-9 . - _");
        }
        let segment_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        for segment in [namespace, service_account] {
            if segment.is_empty() || matches!(segment, "." | "..") || !segment.chars().all(segment_char) {
                return fail(
                    "its namespace or service account is empty or has a character outside a-z A-Z 0-9 . - _",
                );
            }
        }
        Ok(Self(text.into()))
    }

    /// The whole SPIFFE ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn segment(&self, n: usize) -> &str {
        self.0.split('/').nth(n).unwrap_or_default()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.segment(2)
    }

    /// The Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.segment(4)
    }

    /// The Kubernetes service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        self.segment(6)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One place where a service can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Pod address and port.
    pub addr: SocketAddr,
    /// What the endpoint's proxy must prove. `None`: unmeshed, gets plain TCP.
    pub identity: Option<Identity>,
    /// The workload the pod belongs to; empty where it is not known.
    pub workload: Workload,
    /// The pod; empty where it is not known.
    pub pod: Pod,
    /// Topology zone; empty where it is not known.
    pub zone: String,
    /// Relative weight, at least 1.
    pub weight: u32,
}

/// Where an address leads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destination {
    /// The service that was called; `None` when the address is a pod's own.
    pub service: Option<Service>,
    /// What the port is said to speak.
    pub declared: Declared,
    /// Ready endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// What a proxy knows of its own pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InboundPod {
    /// The workload the pod belongs to.
    pub workload: Workload,
    /// What the pod's ports are said to speak. A port that is not listed declares nothing.
    pub ports: Vec<(u16, Declared)>,
}

impl InboundPod {
    /// What `port` is said to speak.
    #[must_use]
    pub fn declared(&self, port: u16) -> Declared {
        self.ports.iter().find(|(p, _)| *p == port).map_or(Declared::Detect, |(_, declared)| *declared)
    }
}

/// Reads a duration as people write it: `500ms`, `30s`, `5m` or `24h`.
///
/// # Errors
/// When it is none of these.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 500ms, 30s, 5m or 24h");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
