//! What a connection speaks, told from the first bytes its client sent. It never waits: with too few bytes it says so, and
//! the caller decides how long to go on looking. Only bytes that could still become HTTP or TLS are worth a wait.
//!
//! Sources: RFC 9112 section 3 (request line), RFC 9113 section 3.4 (connection preface), RFC 8446 section 5.1 (record).

use crate::words::Protocol;

/// A first line longer than this is not waited for: servers in the field refuse longer ones.
pub const FIRST_LINE_BYTES_MAX: usize = 16 * 1024;

/// The connection preface with which every HTTP/2 client begins.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The methods that are recognised before their line is complete (IANA HTTP Method Registry, the common part, and those
/// that caches and WebDAV use). Any other method is recognised when its whole first line has come.
const METHODS: [&str; 22] = [
    "GET ",
    "HEAD ",
    "POST ",
    "PUT ",
    "DELETE ",
    "CONNECT ",
    "OPTIONS ",
    "TRACE ",
    "PATCH ",
    "PROPFIND ",
    "PROPPATCH ",
    "MKCOL ",
    "COPY ",
    "MOVE ",
    "LOCK ",
    "UNLOCK ",
    "REPORT ",
    "SEARCH ",
    "PURGE ",
    "QUERY ",
    "BIND ",
    "ACL ",
];

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes could become HTTP or TLS, but it is too early to tell.
    Need,
    /// They are this. HTTP/2 is never told apart from gRPC here.
    Is(Protocol),
}

/// Judges the first bytes of a client. No bytes at all need more.
#[must_use]
pub fn detect(bytes: &[u8]) -> Verdict {
    if bytes.is_empty() {
        return Verdict::Need;
    }
    let preface = &HTTP2_PREFACE[..14];
    if bytes.starts_with(preface) {
        return Verdict::Is(Protocol::Http2);
    }
    if preface.starts_with(bytes) {
        return Verdict::Need;
    }
    if bytes[0] == 0x16 {
        return detect_tls(bytes);
    }
    detect_http1(bytes)
}

/// A TLS record: type handshake, version 3.x, and inside it a ClientHello.
fn detect_tls(bytes: &[u8]) -> Verdict {
    let expected = |i: usize, byte: u8| match i {
        1 => byte == 3,
        2 => byte <= 4,
        5 => byte == 1,
        _ => true,
    };
    if bytes.iter().take(6).enumerate().any(|(i, byte)| !expected(i, *byte)) {
        return Verdict::Is(Protocol::Opaque);
    }
    if bytes.len() < 6 { Verdict::Need } else { Verdict::Is(Protocol::Tls) }
}

fn detect_http1(bytes: &[u8]) -> Verdict {
    if let Some(end) = bytes.iter().take(FIRST_LINE_BYTES_MAX).position(|b| *b == b'\n') {
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        return Verdict::Is(if is_request_line(line) { Protocol::Http1 } else { Protocol::Opaque });
    }
    let could_be = METHODS.iter().any(|m| bytes.starts_with(m.as_bytes()) || m.as_bytes().starts_with(bytes));
    match could_be {
        true if bytes.len() < FIRST_LINE_BYTES_MAX => Verdict::Need,
        true => Verdict::Is(Protocol::Http1),
        false => Verdict::Is(Protocol::Opaque),
    }
}

/// `method SP target SP HTTP/1.x`, the method made of token characters.
fn is_request_line(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0")) else {
        return false;
    };
    let mut parts = line.splitn(2, |b| *b == b' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    !method.is_empty() && !target.is_empty() && method.iter().all(|b| is_token(*b))
}

/// RFC 9110 section 5.6.2: the characters of a token.
#[must_use]
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
