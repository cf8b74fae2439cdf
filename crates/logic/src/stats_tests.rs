use super::*;
use proptest::prelude::*;

#[test]
fn buckets_follow_each_other_without_gap() {
    for index in 0..BUCKETS - 1 {
        assert_eq!(bucket_range(index).1, bucket_range(index + 1).0, "after bucket {index}");
    }
    assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
}

#[test]
fn quantiles_of_a_known_distribution_are_right_within_the_bucket_width() {
    let mut counts = Counts::default();
    for us in 1..=10_000 {
        counts.record(us);
    }
    for (q, expected) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
        let got = counts.quantile(q).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let error = (got as f64 - expected).abs() / expected;
        assert!(error < 0.0625, "p{q}: {got}");
    }
    assert_eq!(Counts::default().quantile(0.5), None);
}

proptest! {
    #[test]
    fn a_latency_lies_in_its_bucket(us in 0u64..(1 << 26)) {
        let (low, high) = bucket_range(bucket_of(us));
        prop_assert!(low <= us && us < high);
        prop_assert!(high - low <= (low / 16).max(1));
    }

    #[test]
    fn merging_is_adding(a in proptest::collection::vec(0u64..1_000_000, 0..50), b in proptest::collection::vec(0u64..1_000_000, 0..50)) {
        let count = |all: &[u64]| all.iter().fold(Counts::default(), |mut c, us| { c.record(*us); c });
        let mut merged = count(&a);
        merged.merge(&count(&b));
        prop_assert_eq!(merged, count(&[a, b].concat()));
    }
}
