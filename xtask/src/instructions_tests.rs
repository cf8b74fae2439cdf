//! What callgrind says, and what is too much.

use super::{collected, is_more};

#[test]
fn the_count_is_read_from_callgrinds_last_words() {
    assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 1234567\n==1==\n"), Some(1_234_567));
    assert_eq!(collected("==1== nothing"), None);
}

#[test]
fn a_step_may_take_five_percent_more_and_no_more_than_that() {
    assert!(!is_more(105, 100));
    assert!(is_more(106, 100));
    assert!(!is_more(50, 100), "less is welcome");
}
