//! Latency histograms with buckets of equal relative width, so that quantiles of any latency have the same small error, and
//! histograms of many proxies can be added. Microseconds; no clock.
//!
//! Source: the log-linear layout of HdrHistogram (G. Tene), with 16 steps in each power of two.

/// Steps in each power of two: a bucket is at most 1/16 (6.25 %) wide.
const STEPS: u64 = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Latencies of 2^26 µs (67 s) and more share the last bucket.
const POWER_MAX: u32 = 26;

/// Number of buckets.
pub const BUCKETS: usize = ((POWER_MAX - STEP_BITS + 1) as usize) * STEPS as usize;

/// The bucket of a latency.
#[must_use]
pub const fn bucket_of(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let power = us.ilog2();
    if power >= POWER_MAX {
        return BUCKETS - 1;
    }
    let step = (us >> (power - STEP_BITS)) & (STEPS - 1);
    (power - STEP_BITS + 1) as usize * STEPS as usize + step as usize
}

/// The latencies of a bucket: from the first, up to but without the second.
#[must_use]
pub const fn bucket_range(index: usize) -> (u64, u64) {
    let index = if index >= BUCKETS { BUCKETS as u64 - 1 } else { index as u64 };
    if index < STEPS {
        return (index, index + 1);
    }
    let shift = index / STEPS - 1;
    let low = (STEPS + index % STEPS) << shift;
    (low, low + (1 << shift))
}

/// How many latencies fell into which bucket; only buckets that are used take memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sorted by bucket.
    buckets: Vec<(u16, u64)>,
}

impl Counts {
    /// Adds `count` latencies to a bucket. A bucket that does not exist counts as the last.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = u16::try_from(bucket.min(BUCKETS - 1)).unwrap_or(u16::MAX);
        match self.buckets.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Adds one latency.
    pub fn record(&mut self, us: u64) {
        self.add(bucket_of(us), 1);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add(usize::from(*bucket), *count);
        }
    }

    /// How many latencies there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Buckets that are used, with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.buckets.iter().map(|(bucket, count)| (usize::from(*bucket), *count))
    }

    /// The latency in µs below which the share `q` (0 to 1) of all lies, interpolated inside its bucket. `None` without any.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let wanted = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (bucket, count) in self.iter() {
            let count = count as f64;
            if below + count >= wanted {
                let (low, high) = bucket_range(bucket);
                let share = ((wanted - below) / count).clamp(0.0, 1.0);
                return Some(low + ((high - low) as f64 * share) as u64);
            }
            below += count;
        }
        self.iter().last().map(|(bucket, _)| bucket_range(bucket).1)
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
