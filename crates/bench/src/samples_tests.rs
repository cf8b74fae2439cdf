//! Quantiles are exact and merging loses nothing.

use super::*;

#[test]
fn quantiles_are_those_of_the_sorted_latencies() {
    let mut samples = Samples::default();
    for us in (1..=100).rev() {
        samples.record(Duration::from_micros(us));
    }
    assert_eq!(samples.quantiles_us([0.0, 0.5, 0.99, 1.0]), [1.0, 50.0, 99.0, 100.0]);
    assert!((samples.mean_us() - 50.5).abs() < 1e-9);
}

#[test]
fn without_any_latency_all_is_zero() {
    assert_eq!(Samples::default().quantiles_us([0.5]), [0.0]);
    assert!(Samples::default().mean_us().abs() < 1e-9);
}

#[test]
fn merging_keeps_every_latency() {
    let (mut a, mut b) = (Samples::default(), Samples::default());
    a.record(Duration::from_micros(1));
    b.record(Duration::from_micros(3));
    a.merge(&b);
    assert_eq!((a.total(), a.quantiles_us([1.0])), (2, [3.0]));
}
