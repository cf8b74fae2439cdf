//! What can go wrong between accepting a request and answering it, as one type: the reason is a closed enum that is a metric
//! label and the value of the `conduit-proxy-error` header, the detail is for whoever reads it. It knows whose fault it is
//! and whether another endpoint may be tried.

use std::fmt;

use crate::telemetry::Reason;

/// A failure that the proxy answers or ends a connection with.
#[derive(Debug)]
pub struct Failure {
    /// The class, for metrics and other proxies.
    pub reason: Reason,
    /// What happened, where, and what to do; for people.
    pub detail: String,
    /// Nothing of the request was processed anywhere: it may be sent to another endpoint.
    pub unprocessed: bool,
    /// The endpoint gave no sign within the connect timeout: it, or the network, may do so the next time.
    pub late: bool,
}

impl Failure {
    /// A failure after which the request may or may not have been processed.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), unprocessed: false, late: false }
    }

    /// A failure before the request reached the application.
    pub fn unprocessed(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), unprocessed: true, late: false }
    }

    /// A connect timeout that passed before the request reached the application.
    pub fn late(reason: Reason, detail: impl Into<String>) -> Self {
        Self { late: true, ..Self::unprocessed(reason, detail) }
    }

    /// The status of an HTTP answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.reason {
            Reason::Timeout => 504,
            Reason::Reset | Reason::Protocol => 502,
            Reason::Refused => 403,
            _ => 503,
        }
    }

    /// The gRPC status code of an answer to a gRPC call.
    #[must_use]
    pub const fn grpc_status(&self) -> u32 {
        match self.reason {
            Reason::Timeout => 4,
            Reason::Refused => 7,
            Reason::Limit => 8,
            _ => 14,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

impl std::error::Error for Failure {}
