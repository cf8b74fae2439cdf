use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_over_is_read_back_as_it_was(numbers in any::<[u64; 6]>(), latencies in prop::collection::vec((0_usize..400, 1..u64::MAX / 1000), 0..100)) {
        let [successes, failures, mesh_failures, sent, received, connections] = numbers;
        let mut latency = Counts::default();
        latencies.into_iter().for_each(|(bucket, count)| latency.add(bucket, count));
        let sums = Sums { successes, failures, mesh_failures, latency, sent, received, connections };
        prop_assert_eq!(Sums::from(&Past::from(&sums)), sums);
    }
}

#[test]
fn a_slot_of_a_busy_edge_takes_less_than_two_hundred_bytes() {
    let mut sums = Sums { successes: 2_000, sent: 500_000, received: 5_000_000, ..Sums::default() };
    // From half a millisecond to thirty: all buckets of six powers of two.
    (500..30_000).step_by(15).for_each(|us| sums.latency.record(us));
    let Past(bytes) = Past::from(&sums);
    assert!((100..220).contains(&bytes.len()), "{}", bytes.len());
}
