use super::*;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn an_endpoint_is_taken_out_probed_and_taken_back() {
    let now = start();
    let mut breaker = Breaker::default();
    assert!(!breaker.failure(now, 0.5));
    assert!(!breaker.failure(now, 0.5));
    assert!(breaker.failure(now, 0.5));
    assert_eq!(breaker.permit(now), Permit::Avoid);
    let later = now + BACKOFF_MIN * 2;
    assert_eq!(breaker.permit(later), Permit::Probe);
    breaker.probe(later);
    assert_eq!(breaker.permit(later), Permit::Avoid, "one probe at a time");
    breaker.success();
    assert_eq!(breaker.permit(later), Permit::Use);
}

#[test]
fn a_success_forgets_the_failures_before_it() {
    let now = start();
    let mut breaker = Breaker::default();
    for _ in 0..10 {
        assert!(!breaker.failure(now, 0.0));
        assert!(!breaker.failure(now, 0.0));
        breaker.success();
    }
    assert!(!breaker.is_out());
}

#[test]
fn the_back_off_doubles_up_to_its_limit() {
    let mut now = start();
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_MAX {
        breaker.failure(now, 0.5);
    }
    let mut last = Duration::ZERO;
    for _ in 0..12 {
        let mut out = Duration::ZERO;
        while breaker.permit(now) != Permit::Probe {
            now += Duration::from_millis(10);
            out += Duration::from_millis(10);
        }
        assert!(out >= last && out <= BACKOFF_MAX + Duration::from_millis(10), "{out:?} after {last:?}");
        last = out;
        breaker.probe(now);
        assert!(breaker.failure(now, 0.5));
    }
    assert!(last > BACKOFF_MAX / 2);
}

#[test]
fn a_probe_that_was_never_answered_is_offered_again() {
    let now = start();
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_MAX {
        breaker.failure(now, 0.0);
    }
    breaker.probe(now + BACKOFF_MAX);
    assert_eq!(breaker.permit(now + BACKOFF_MAX * 3), Permit::Probe);
}
