//! HTTP/2 that passes by: how the bytes are cut into reads changes neither what is told, nor what is passed on, nor what is refused;
//! and what is passed on is what came, but for settings.
#![no_main]

use conduit_logic::http2::frames::{Broken, Frames, Watch};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Default, PartialEq)]
struct Told {
    events: Vec<(u8, u32, usize)>,
    fields: Vec<u8>,
}

impl Watch for Told {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(value);
    }
    fn headers(&mut self, stream: u32, ends: bool) {
        self.events.push((1, stream, usize::from(ends)));
    }
    fn data(&mut self, stream: u32, bytes: usize, ends: bool) {
        self.events.push((u8::from(ends) << 1, stream, bytes));
    }
    fn reset(&mut self, stream: u32, code: u32) {
        self.events.push((3, stream, code as usize));
    }
    fn go_away(&mut self, last: u32) {
        self.events.push((7, last, 0));
    }
}

fuzz_target!(|input: &[u8]| {
    let [client, cut, bytes @ ..] = input else { return };
    let whole = pass(client % 2 == 1, bytes, bytes.len());
    assert_eq!(whole, pass(client % 2 == 1, bytes, 1), "byte by byte");
    assert_eq!(whole, pass(client % 2 == 1, bytes, usize::from(*cut)), "in pieces of {cut}");
});

/// Small, so that it is often met.
const BLOCK_BYTES_MAX: usize = 512;

fn pass(client: bool, bytes: &[u8], size: usize) -> (Told, Vec<u8>, Result<(), Broken>) {
    let mut frames =
        if client { Frames::of_client(BLOCK_BYTES_MAX) } else { Frames::of_server(BLOCK_BYTES_MAX, 100) };
    let (mut told, mut out) = (Told::default(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        if let Err(broken) = frames.pass(piece, &mut out, &mut told) {
            return (told, out, Err(broken));
        }
    }
    (told, out, Ok(()))
}
