//! Protocol detection: a verdict, once given, is not changed by the bytes that follow, and a long enough start always gets one.
//! One change is by design: a request with a method that is not in the table is known when its whole first line has come.
#![no_main]

use conduit_logic::detect::{Verdict, detect};
use conduit_logic::words::Protocol;
use libfuzzer_sys::fuzz_target;

/// More bytes than any protocol needs to be told apart.
const ENOUGH: usize = 16 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut decided = None;
    for end in 0..=bytes.len().min(256) {
        match (detect(&bytes[..end]), decided) {
            (Verdict::Is(Protocol::Http1), Some(Protocol::Opaque)) => decided = Some(Protocol::Http1),
            (Verdict::Is(now), Some(before)) => assert_eq!(now, before, "another verdict after {end} bytes"),
            (Verdict::Is(now), None) => decided = Some(now),
            (Verdict::Need, Some(before)) => panic!("{before:?} was taken back after {end} bytes"),
            (Verdict::Need, None) => {}
        }
    }
    let mut long = bytes.to_vec();
    long.resize(ENOUGH, b'a');
    assert!(matches!(detect(&long), Verdict::Is(_)), "undecided after {ENOUGH} bytes");
});
