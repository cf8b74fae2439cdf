//! Tests of readiness and its gates.

use super::Readiness;

#[test]
fn it_is_ready_only_while_every_gate_is_open() {
    let readiness = Readiness::new();
    let (identity, discovery) = (readiness.gate("identity"), readiness.gate("discovery"));
    assert_eq!(readiness.pending(), ["identity", "discovery"]);
    discovery.open();
    assert_eq!(readiness.pending(), ["identity"]);
    identity.open();
    assert!(readiness.is_ready());
    discovery.close();
    assert_eq!(readiness.pending(), ["discovery"]);
}

#[test]
fn a_gate_dropped_before_it_opened_keeps_the_process_unready() {
    let readiness = Readiness::new();
    drop(readiness.gate("identity"));
    assert!(!readiness.is_ready());
}
