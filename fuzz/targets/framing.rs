//! HTTP/1 body framing: how the bytes are cut into reads never changes where a body ends or whether it is refused.
#![no_main]

use conduit_logic::framing::{Body, Progress};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [kind, length, cut, bytes @ ..] = input else { return };
    let body = match kind % 4 {
        0 => Body::None,
        1 => Body::Fixed(u64::from(*length)),
        2 => Body::UntilClose,
        _ => Body::Chunked,
    };
    let whole = ends_at(body, bytes, bytes.len());
    assert_eq!(whole, ends_at(body, bytes, 1), "byte by byte");
    assert_eq!(whole, ends_at(body, bytes, usize::from(*cut)), "in pieces of {cut}");
});

/// The bytes that belong to the body and whether it ended, or `None` when it is refused; read in pieces of `size`.
fn ends_at(body: Body, bytes: &[u8], size: usize) -> Option<(usize, bool)> {
    let mut progress = Progress::new(body);
    let mut taken = 0;
    for piece in bytes.chunks(size.max(1)) {
        let count = progress.take(piece).ok()?;
        assert!(count <= piece.len());
        assert!(count == piece.len() || progress.is_done(), "bytes are left but the body has not ended");
        taken += count;
        if progress.is_done() {
            break;
        }
    }
    Some((taken, progress.is_done()))
}
