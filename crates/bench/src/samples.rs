//! Latencies kept one by one, so that quantiles are exact: the differences that the benchmark looks for are smaller than a
//! histogram's bucket. Deliberately absent: any estimate.

use std::time::Duration;

/// The most latencies kept, 4 bytes each: over half an hour at 2,000 per second. What comes after is counted, not kept.
const KEPT_MAX: usize = 4_000_000;

/// Latencies, in units of 100 ns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    kept: Vec<u32>,
    dropped: u64,
}

impl Samples {
    /// Adds one. Longer than seven minutes counts as seven minutes.
    pub(crate) fn record(&mut self, latency: Duration) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(u32::try_from(latency.as_nanos() / 100).unwrap_or(u32::MAX));
        } else {
            self.dropped += 1;
        }
    }

    /// Adds all of another's.
    pub(crate) fn merge(&mut self, other: &Self) {
        let room = KEPT_MAX - self.kept.len();
        let taken = room.min(other.kept.len());
        self.kept.extend_from_slice(&other.kept[..taken]);
        self.dropped += other.dropped + (other.kept.len() - taken) as u64;
    }

    /// How many there were.
    pub(crate) fn total(&self) -> u64 {
        self.kept.len() as u64 + self.dropped
    }

    /// The latency in µs that the share `q` of all does not exceed, for each of `shares`; 0 without any.
    pub(crate) fn quantiles_us<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        self.kept.sort_unstable();
        shares.map(|q| {
            let rank = (q * self.kept.len() as f64).ceil() as usize;
            let at = rank.saturating_sub(1).min(self.kept.len().saturating_sub(1));
            self.kept.get(at).map_or(0.0, |latency| f64::from(*latency) / 10.0)
        })
    }

    /// The mean in µs; 0 without any.
    pub(crate) fn mean_us(&self) -> f64 {
        let sum: f64 = self.kept.iter().map(|latency| f64::from(*latency)).sum();
        if self.kept.is_empty() { 0.0 } else { sum / self.kept.len() as f64 / 10.0 }
    }
}

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
