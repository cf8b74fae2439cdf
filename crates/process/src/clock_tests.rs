//! Tests of waiting by the wall clock. No real time passes: tokio's clock is paused, and the wall clock is what each test makes of it.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::until_by;

const HOUR: Duration = Duration::from_secs(3600);
/// What nobody minds a certificate to be late by.
const SOON: Duration = Duration::from_secs(30);
/// Timers are exact to the millisecond.
const TICK: Duration = Duration::from_millis(2);

/// A wall clock that goes with tokio's, and can be set.
struct Wall {
    started: Instant,
    ahead: Cell<Duration>,
    behind: Cell<Duration>,
}

impl Wall {
    fn new() -> Self {
        Self { started: Instant::now(), ahead: Cell::default(), behind: Cell::default() }
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + 1000 * HOUR + self.started.elapsed() + self.ahead.get() - self.behind.get()
    }
}

/// How long it took to wait for `time`, when after `then` something happens to the clock.
async fn waited(wall: &Wall, time: SystemTime, then: Duration, happens: impl FnOnce()) -> Duration {
    let started = Instant::now();
    let mut waiting = std::pin::pin!(until_by(time, || wall.now()));
    if tokio::time::timeout(then, waiting.as_mut()).await.is_err() {
        happens();
        waiting.await;
    }
    started.elapsed()
}

fn about(is: Duration, expected: Duration) -> bool {
    is.abs_diff(expected) <= TICK
}

#[tokio::test(start_paused = true)]
async fn a_time_to_come_is_waited_for_exactly_and_one_that_has_passed_not_at_all() {
    let wall = Wall::new();
    let took = waited(&wall, wall.now() + HOUR, 2 * HOUR, || {}).await;
    assert!(about(took, HOUR), "{took:?}");
    let took = waited(&wall, wall.now() - HOUR, HOUR, || {}).await;
    assert!(about(took, Duration::ZERO), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_passed_while_the_machine_was_suspended_is_noticed_soon_after() {
    let wall = Wall::new();
    let took = waited(&wall, wall.now() + 12 * HOUR, HOUR, || wall.ahead.set(100 * HOUR)).await;
    assert!(took >= HOUR && took <= HOUR + SOON + TICK, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_after_a_suspend_is_waited_for() {
    let wall = Wall::new();
    let took = waited(&wall, wall.now() + 12 * HOUR, HOUR, || wall.ahead.set(5 * HOUR)).await;
    assert!(about(took, 7 * HOUR), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let wall = Wall::new();
    let took = waited(&wall, wall.now() + 12 * HOUR, HOUR, || wall.behind.set(900 * HOUR)).await;
    assert!(about(took, 12 * HOUR), "{took:?}");
}
