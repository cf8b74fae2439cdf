//! The attempts of one request or connection: which endpoints were tried, which may be tried again, and when to give up. One
//! that refused is not asked again; one that was merely late may be, when there is no other: a lost SYN is sent again by the
//! kernel only after a second (RFC 6298 section 2), which is as long as the connect timeout.

use std::sync::Arc;

use super::balance::{EndpointState, Picked, Service};
use crate::failure::Failure;
use crate::telemetry::Reason;

/// So many endpoints are tried for one request or connection: enough to get past a rolling update or a lossy network, few
/// enough to fail in time (five connect timeouts at most).
pub const ATTEMPTS_MAX: usize = 5;

/// What was tried so far.
#[derive(Debug, Default)]
pub struct Attempts {
    count: usize,
    /// Those that refused, and after them those that were late.
    tried: Vec<Arc<EndpointState>>,
    refused: usize,
    last: Option<Failure>,
}

impl Attempts {
    /// The endpoint to try next; `None` when there is none, or enough were tried.
    pub fn next(&mut self, service: &Service) -> Option<Picked> {
        if self.count == ATTEMPTS_MAX {
            return None;
        }
        if let Some(picked) = service.pick(&self.tried) {
            return Some(picked);
        }
        // All were tried: those that were late get another chance.
        self.tried.truncate(self.refused);
        service.pick(&self.tried)
    }

    /// The endpoint failed before it processed anything.
    pub fn failed(&mut self, picked: &Picked, failure: Failure) {
        tracing::debug!(endpoint = %picked.state.endpoint.addr, %failure, "trying another endpoint");
        self.count += 1;
        if failure.late {
            self.tried.push(picked.state.clone());
        } else {
            self.tried.insert(self.refused, picked.state.clone());
            self.refused += 1;
        }
        self.last = Some(failure);
    }

    /// Why nobody served: the last endpoint's failure, or that there is no endpoint at all.
    pub fn given_up(self, service: &Service) -> Failure {
        self.last.unwrap_or_else(|| {
            let detail = format!("the service at {} has no ready endpoint", service.addr);
            Failure::unprocessed(Reason::NoEndpoint, detail)
        })
    }
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
