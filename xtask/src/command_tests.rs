//! Tests of the counts read from test binaries' output.

use super::Counts;

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
