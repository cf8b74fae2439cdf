//! Reads what a TLS ClientHello shows in clear: the server name and the application protocols. It only looks; the bytes go
//! on untouched, or to rustls, which parses them again by its own rules.
//!
//! Sources: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3 (server_name), RFC 7301 section 3.1 (ALPN).

/// A ClientHello longer than this is not waited for. With a post-quantum key share and a long session ticket it has about
/// 4 KiB; a record holds at most 16 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024 + 5;

/// What a ClientHello shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The server name, if the client sent one.
    pub server_name: Option<String>,
    /// The application protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
}

/// The outcome of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// More bytes are needed.
    Need,
    /// It is not a ClientHello, or a broken one.
    No,
    /// A whole ClientHello.
    Hello(Hello),
}

/// Reads the ClientHello at the start of `bytes`, across records if it was split.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if rest.len() < 5 {
            return if bytes.len() > HELLO_BYTES_MAX { Read::No } else { Read::Need };
        }
        if rest[0] != 0x16 || rest[1] != 3 {
            return Read::No;
        }
        let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        if length == 0 || length > 16 * 1024 {
            return Read::No;
        }
        let whole = rest.len() >= 5 + length;
        let end = rest.len().min(5 + length);
        message.extend_from_slice(&rest[5..end]);
        if message.first().is_some_and(|kind| *kind != 1) {
            return Read::No;
        }
        if message.len() >= 4 {
            let wanted =
                4 + (usize::from(message[1]) << 16 | usize::from(message[2]) << 8 | usize::from(message[3]));
            if wanted > HELLO_BYTES_MAX {
                return Read::No;
            }
            if message.len() >= wanted {
                return client_hello(&message[4..wanted]).map_or(Read::No, Read::Hello);
            }
        }
        if !whole {
            return Read::Need;
        }
        rest = &rest[5 + length..];
    }
}

/// Takes `n` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n)?;
    *bytes = tail;
    Some(head)
}

/// Takes a vector with a one-byte length.
fn vector8<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = usize::from(take(bytes, 1)?[0]);
    take(bytes, n)
}

/// Takes a vector with a two-byte length.
fn vector16<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = take(bytes, 2)?;
    take(bytes, usize::from(u16::from_be_bytes([n[0], n[1]])))
}

fn client_hello(mut body: &[u8]) -> Option<Hello> {
    take(&mut body, 2 + 32)?;
    vector8(&mut body)?;
    vector16(&mut body)?;
    vector8(&mut body)?;
    let mut hello = Hello::default();
    if body.is_empty() {
        return Some(hello);
    }
    let mut extensions = vector16(&mut body)?;
    while !extensions.is_empty() {
        let kind = take(&mut extensions, 2)?;
        let mut data = vector16(&mut extensions)?;
        match (kind[0], kind[1]) {
            (0, 0) => {
                let mut names = vector16(&mut data)?;
                let host = take(&mut names, 1)?[0] == 0;
                let name = vector16(&mut names)?;
                if host {
                    hello.server_name =
                        std::str::from_utf8(name).ok().filter(|n| n.is_ascii()).map(str::to_owned);
                }
            }
            (0, 16) => {
                let mut list = vector16(&mut data)?;
                while !list.is_empty() {
                    hello.alpn.push(vector8(&mut list)?.to_vec());
                }
            }
            _ => {}
        }
    }
    Some(hello)
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
