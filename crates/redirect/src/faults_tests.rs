//! What is refused before the kernel sees it.

use super::*;

#[test]
fn a_partition_between_families_is_refused() {
    let fault = Fault::Between([10, 0, 0, 1].into(), "fd00::1".parse().expect("an address"));
    assert!(matches!(table(&[fault]), Err(Error::MixedFamilies(..))));
}

#[test]
fn more_faults_than_the_bound_are_refused() {
    let fault = Fault::All([10, 0, 0, 1].into());
    table(&[fault; FAULTS_MAX]).expect("as many as allowed");
    assert!(matches!(table(&[fault; FAULTS_MAX + 1]), Err(Error::TooMany { .. })));
}
