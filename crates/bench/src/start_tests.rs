//! What is made of the times.

use super::*;

#[test]
fn medians_and_the_longest_are_of_each_start_by_itself() {
    let ms = Duration::from_millis;
    let starts = Starts::of(&[(ms(10), ms(12)), (ms(20), ms(21)), (ms(30), ms(36))]);
    let expected = Starts {
        times: 3,
        certificate_ms: 20.0,
        after_certificate_ms: 2.0,
        after_certificate_max_ms: 6.0,
        ready_ms: 21.0,
        ready_max_ms: 36.0,
    };
    assert_eq!(starts, expected);
}
