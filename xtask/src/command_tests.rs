//! Tests of the counts read from test binaries' output.

use super::{Counts, failed_test};

#[test]
fn results_of_several_test_binaries_add_up() {
    let mut counts = Counts::default();
    counts.add_line("running 3 tests");
    counts.add_line(
        "test result: ok. 23 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s",
    );
    counts.add_line(
        "  test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.50s",
    );
    assert_eq!(counts, Counts { passed: 27, failed: 2 });
}

#[test]
fn a_test_that_failed_is_known_by_its_name() {
    assert_eq!(failed_test("test outage::a_cut ... FAILED"), Some("outage::a_cut"));
    assert_eq!(failed_test("test outage::a_cut ... ok"), None);
    assert_eq!(failed_test("test result: FAILED. 4 passed; 2 failed; 0 ignored"), None);
}
