//! Takes an endpoint that refuses or resets connections out of the balancing, and lets single requests probe it back in with
//! a back-off that doubles. A small state machine; the clock and the jitter are arguments.

use std::time::{Duration, Instant};

/// This many transport failures in a row take an endpoint out. One could be a race with a restart; three are not.
pub const FAILURES_MAX: u32 = 3;
/// The first time out.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest time out: an endpoint that came back is found within this.
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// What may be done with an endpoint now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Use it as any other.
    Use,
    /// It is due for a probe: one request may try.
    Probe,
    /// Leave it alone.
    Avoid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Works; so many failures in a row.
    Working { failures: u32 },
    /// Taken out until then, for the so-many-th time.
    Out { until: Instant, times: u32 },
    /// A probe began then.
    Probing { since: Instant, times: u32 },
}

/// The state of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker(State);

impl Default for Breaker {
    fn default() -> Self {
        Self(State::Working { failures: 0 })
    }
}

impl Breaker {
    /// What may be done at `now`.
    #[must_use]
    pub fn permit(&self, now: Instant) -> Permit {
        match self.0 {
            State::Working { .. } => Permit::Use,
            State::Out { until, .. } if until <= now => Permit::Probe,
            // A probe whose outcome never came (its request was cancelled) must not keep the endpoint out for ever.
            State::Probing { since, .. } if now.duration_since(since) > BACKOFF_MAX => Permit::Probe,
            State::Out { .. } | State::Probing { .. } => Permit::Avoid,
        }
    }

    /// Whether the endpoint is out of the balancing (a probe included).
    #[must_use]
    pub const fn is_out(&self) -> bool {
        !matches!(self.0, State::Working { .. })
    }

    /// The caller took the probe that `permit` offered.
    pub fn probe(&mut self, now: Instant) {
        if let State::Out { times, .. } | State::Probing { times, .. } = self.0 {
            self.0 = State::Probing { since: now, times };
        }
    }

    /// The endpoint answered.
    pub const fn success(&mut self) {
        self.0 = State::Working { failures: 0 };
    }

    /// A connection was refused, timed out or was reset. `jitter` is a random number from 0 to 1.
    /// Returns true when this takes the endpoint out.
    pub fn failure(&mut self, now: Instant, jitter: f64) -> bool {
        let times = match self.0 {
            State::Working { failures } if failures + 1 < FAILURES_MAX => {
                self.0 = State::Working { failures: failures + 1 };
                return false;
            }
            State::Working { .. } => 0,
            State::Probing { times, .. } => times + 1,
            State::Out { .. } => return false,
        };
        let backoff = BACKOFF_MIN.saturating_mul(1 << times.min(10)).min(BACKOFF_MAX);
        self.0 = State::Out { until: now + backoff.mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0)), times };
        true
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
