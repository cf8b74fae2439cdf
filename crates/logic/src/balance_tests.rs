use super::*;
use proptest::prelude::*;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_peak_counts_at_once_and_fades_slowly() {
    let now = start();
    let mut load = Load::new(now);
    load.begin();
    load.observe(100 * MS, now);
    load.end();
    assert_eq!(load.estimate().as_millis(), 100);
    load.begin();
    load.observe(MS, now + 100 * MS);
    load.end();
    assert!(load.estimate() > 90 * MS, "one fast answer does not hide the slow one");
    load.begin();
    load.observe(MS, now + DECAY * 5);
    load.end();
    assert!(load.estimate() < 3 * MS);
}

#[test]
fn requests_pending_make_an_endpoint_dearer_and_weight_makes_it_cheaper() {
    let now = start();
    let mut load = Load::new(now);
    let idle = load.cost(now, 1);
    load.begin();
    assert!(load.cost(now, 1) > idle * 1.9);
    assert!(load.cost(now, 2) < load.cost(now, 1));
}

#[test]
fn a_slow_endpoint_that_is_left_alone_becomes_attractive_again() {
    let now = start();
    let mut load = Load::new(now);
    load.begin();
    load.observe(1000 * MS, now);
    load.end();
    assert!(load.cost(now + DECAY * 10, 1) < Load::new(now).cost(now, 1));
}

#[test]
fn the_faster_of_two_endpoints_gets_most_requests() {
    let mut now = start();
    let mut loads = [Load::new(now), Load::new(now), Load::new(now)];
    let latency = [MS, 10 * MS, MS];
    let mut picked = [0u32; 3];
    for n in 0..3000usize {
        let (a, b) = two_of(3, (n.wrapping_mul(7919), n.wrapping_mul(104_729))).unwrap();
        let chosen = if loads[a].cost(now, 1) <= loads[b].cost(now, 1) { a } else { b };
        picked[chosen] += 1;
        loads[chosen].begin();
        loads[chosen].observe(latency[chosen], now);
        loads[chosen].end();
        now += MS;
    }
    assert!(picked[1] < picked[0] / 4, "{picked:?}");
}

proptest! {
    #[test]
    fn two_choices_differ_and_are_in_range(n in 2usize..100, a in any::<usize>(), b in any::<usize>()) {
        let (first, second) = two_of(n, (a, b)).unwrap();
        prop_assert!(first != second && first < n && second < n);
    }
}
