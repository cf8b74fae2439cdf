//! The controller's side of the proxy: one authenticated channel to it, and over that the stream of discovery. All of it runs
//! on the control thread; what it learns is published in watches that the traffic reads without waiting.

pub mod channel;
mod discovery;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod fake;

pub use discovery::{DestinationWatch, Discovery, Lookup};

use std::time::Duration;

/// The first wait before trying the controller again.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest: a controller that came back is found within this.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`], with jitter so that a thousand proxies do not come back at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked: the next wait is the shortest again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits.
    pub async fn wait(&mut self) {
        self.wait_at_most(BACKOFF_MAX).await;
    }

    /// Waits, no longer than this.
    pub async fn wait_at_most(&mut self, most: Duration) {
        let longest = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(longest.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }
}
