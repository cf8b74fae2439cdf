//! TLS ClientHello: reading never fails, is settled once it is settled, and needs no more than its bound.
#![no_main]

use conduit_logic::hello::{HELLO_BYTES_MAX, Read, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    let half = read(&bytes[..bytes.len() / 2]);
    assert!(half == Read::Need || half == whole, "settled by half of the bytes, and then otherwise");
    let mut long = bytes.to_vec();
    long.resize(HELLO_BYTES_MAX * 2, 0);
    assert_ne!(read(&long), Read::Need, "waits for more than it may");
});
