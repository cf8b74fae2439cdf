//! Frames of HTTP/2 that the proxy writes itself into a connection that it otherwise only passes on. Their field blocks name every
//! field in full and add nothing to a table, so that they change nothing of what the connection's two ends know.
//!
//! Source: RFC 9113 section 6, RFC 7541 section 6.2.2.

use h2::Reason as Code;

/// The highest number of a stream: GOAWAY with it refuses none.
pub const STREAM_MAX: u32 = 0x7fff_ffff;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The first frame of a server: nothing is different from what is usual.
#[must_use]
pub fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// No stream after `last` was, or will be, looked at.
#[must_use]
pub fn go_away(last: u32, code: Code) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), u32::from(code).to_be_bytes()].concat())
}

/// The end of a stream that has none.
#[must_use]
pub fn reset(stream: u32, code: Code) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &u32::from(code).to_be_bytes())
}

/// The fields of a response without a body, or trailers, which end a stream.
#[must_use]
pub fn last_fields(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed, with its name.
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// The length of a string that is not compressed (RFC 7541 sections 5.1 and 5.2).
fn length(length: usize, block: &mut Vec<u8>) {
    const MOST: usize = 0x7f;
    if length < MOST {
        return block.push(length as u8);
    }
    block.push(MOST as u8);
    let mut rest = length - MOST;
    while rest > MOST {
        block.push(0x80 | (rest & MOST) as u8);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
