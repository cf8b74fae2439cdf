//! Chooses between endpoints: power of two choices on a peak-sensitive moving average of latency, times the requests
//! pending. Pure: the caller brings the clock and two random numbers.
//!
//! Sources: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001); the peak-EWMA cost is
//! Finagle's: a latency above the average replaces it at once, one below moves it slowly.

use std::time::{Duration, Instant};

/// The time in which an observation loses all but 1/e of its weight.
pub const DECAY: Duration = Duration::from_secs(10);
/// What an endpoint that was never used is thought to cost: enough not to flood it, little enough to try it.
pub const INITIAL_COST: Duration = Duration::from_millis(5);

/// The load of one endpoint.
#[derive(Debug, Clone)]
pub struct Load {
    cost_ns: f64,
    updated: Instant,
    pending: u32,
}

impl Load {
    /// A fresh endpoint.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { cost_ns: nanos(INITIAL_COST), updated: now, pending: 0 }
    }

    /// A request was sent to it.
    pub const fn begin(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    /// It answered after `latency`.
    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let latency = nanos(latency);
        let weight = self.weight(now);
        self.cost_ns =
            if latency > self.cost_ns { latency } else { self.cost_ns * weight + latency * (1.0 - weight) };
        self.updated = now;
    }

    /// A request ended, whatever came of it.
    pub const fn end(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    fn weight(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.updated).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }

    /// Requests that were begun and have not ended.
    #[must_use]
    pub const fn pending(&self) -> u32 {
        self.pending
    }

    /// The estimate of its latency, without the requests pending.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        Duration::from_secs_f64(self.cost_ns / 1e9)
    }

    /// What sending one more request there would cost; less is better. An idle endpoint's old estimate fades, so that one
    /// slow answer does not keep it unused for ever.
    #[must_use]
    pub fn cost(&self, now: Instant, weight: u32) -> f64 {
        let cost = self.cost_ns * if self.pending == 0 { self.weight(now) } else { 1.0 };
        (cost + 1.0) * f64::from(self.pending + 1) / f64::from(weight.max(1))
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// Picks two different positions out of `n` from two random numbers; with one candidate both are it.
#[must_use]
pub fn two_of(n: usize, random: (usize, usize)) -> Option<(usize, usize)> {
    match n {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = random.0 % n;
            let second = (first + 1 + random.1 % (n - 1)) % n;
            Some((first, second))
        }
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
