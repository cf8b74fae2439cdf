//! Waiting for a time of the wall clock, such as the one at which a certificate is due. Timers run on the monotonic clock, which stands still
//! while a laptop or a virtual machine is suspended; certificates age meanwhile. It depends on tokio's timers only.

use std::time::{Duration, SystemTime};

/// How long the wall clock is not looked at: after a suspend, or when the clock was set, what is due waits for this at the most.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Waits until the wall clock shows this time, also when the machine was suspended meanwhile or the clock set forward. A clock that is
/// set back makes no wait longer than it was in the beginning.
pub async fn until(time: SystemTime) {
    until_by(time, SystemTime::now).await;
}

/// As [`until`], by this wall clock.
async fn until_by(time: SystemTime, now: impl Fn() -> SystemTime) {
    let longest = time.duration_since(now()).unwrap_or_default();
    let mut waited = Duration::ZERO;
    while waited < longest
        && let Ok(left) = time.duration_since(now())
        && !left.is_zero()
    {
        let slice = left.min(longest - waited).min(LOOK_INTERVAL);
        tokio::time::sleep(slice).await;
        waited += slice;
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
