//! Waiting in tests: for a condition, with a deadline, never for a time. Depends on nothing. A condition that does not come true is a panic
//! at the line of the test that waited for it.

#![expect(clippy::panic, reason = "a test fails by a panic")]

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not hold within `deadline`.
#[track_caller]
pub fn until(deadline: Duration, mut condition: impl FnMut() -> bool) {
    for_some(deadline, || condition().then_some(()));
}

/// Waits until `value` is there, and returns it.
///
/// # Panics
/// When it is not there within `deadline`.
#[track_caller]
pub fn for_some<T>(deadline: Duration, mut value: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = value() {
            return value;
        }
        if Instant::now() > end {
            panic!("what the test waits for did not come within {deadline:?}");
        }
        std::thread::sleep(INTERVAL);
    }
}
