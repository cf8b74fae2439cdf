//! Heads of HTTP/1 messages: parsed once, checked, and written again with every header as it came (name, case, value and
//! order), but for those that concern one connection only. The body's framing is decided here and nowhere else.
//!
//! Source: RFC 9112 (HTTP/1.1) sections 2 to 9, RFC 9110 section 7.6.1 (Connection).

use conduit_logic::framing::{self, Body, Refusal};
use thiserror::Error;

/// More headers than this are refused: servers in the field stop at 100 to 128.
pub const HEADERS_MAX: usize = 128;

/// The response header by which a proxy says that the answer is its own. Only proxies set it: it is removed from what
/// applications send.
pub const PROXY_ERROR: &str = "conduit-proxy-error";

/// The response header by which a proxy proves, on HTTP/2 between two of them, that the answer is its own: responses of
/// applications pass there as they are. Its value is a secret of the connection's two ends.
pub const PROXY_PROOF: &str = "conduit-proxy-proof";

/// Why a head is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadHead {
    /// It is not HTTP/1.
    #[error("malformed HTTP/1 head: {0}")]
    Malformed(httparse::Error),
    /// It has more bytes than configured, or more headers than [`HEADERS_MAX`].
    #[error("the head is larger than allowed")]
    TooLarge,
    /// Its body's end is not certain.
    #[error("{0}")]
    Framing(#[from] Refusal),
    /// HTTP/1.1 requires exactly one.
    #[error("a request of HTTP/1.1 must have exactly one Host header")]
    Host,
    /// Connection must not name these.
    #[error("the Connection header names a header that the message needs")]
    Connection,
}

impl BadHead {
    /// The status of the answer to a request with such a head.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::Malformed(httparse::Error::Version) => 505,
            Self::Framing(Refusal::BadTransferEncoding) => 501,
            _ => 400,
        }
    }
}

/// What the headers say about the connection.
#[derive(Debug, Clone, Copy, Default)]
struct Hop {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    te: bool,
}

/// A request's head.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method as it came.
    pub method: String,
    /// The request target as it came.
    pub target: String,
    /// The Host header, empty where there is none.
    pub host: String,
    /// 0 or 1, of HTTP/1.x.
    pub minor: u8,
    /// How the body is framed.
    pub body: Body,
    /// Whether the client wants to go on using the connection.
    pub persistent: bool,
    /// Whether it asks for another protocol on this connection (Upgrade, or CONNECT).
    pub upgrade: bool,
    /// Whether the client waits for a word of the server's before it sends the body (RFC 9110 section 10.1.1).
    pub expects: bool,
    /// The head to send on, with its empty line.
    pub forward: Vec<u8>,
    /// Bytes that the head had.
    pub length: usize,
}

/// A response's head.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// 0 or 1, of HTTP/1.x.
    pub minor: u8,
    /// How the body is framed.
    pub body: Body,
    /// Whether the server lets the connection be used again.
    pub persistent: bool,
    /// A proxy made this answer itself, for this reason.
    pub proxy_error: Option<String>,
    /// The head to send on, without its empty line: the caller adds what concerns the client's connection.
    pub forward: Vec<u8>,
    /// Bytes that the head had.
    pub length: usize,
}

fn hop(headers: &[httparse::Header<'_>]) -> Result<(Hop, Vec<String>), BadHead> {
    let mut hop = Hop::default();
    let mut named = Vec::new();
    for header in headers.iter().filter(|h| h.name.eq_ignore_ascii_case("connection")) {
        for token in header.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            match token.to_ascii_lowercase().as_slice() {
                b"" => {}
                b"close" => hop.close = true,
                b"keep-alive" => hop.keep_alive = true,
                b"upgrade" => hop.upgrade = true,
                b"te" => hop.te = true,
                // Whoever names these wants the next reader to see another message than we do.
                b"host" | b"content-length" | b"transfer-encoding" | b"content-type" | b"authorization"
                | b"cookie" => {
                    return Err(BadHead::Connection);
                }
                other => named.push(String::from_utf8_lossy(other).into_owned()),
            }
        }
    }
    Ok((hop, named))
}

/// Copies the headers that concern more than one connection.
fn copy_headers(out: &mut Vec<u8>, headers: &[httparse::Header<'_>], hop: Hop, named: &[String]) {
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let dropped = is("connection")
            || is("keep-alive")
            || is("proxy-connection")
            || (is("upgrade") && !hop.upgrade)
            || named.iter().any(|name| is(name))
            || is(PROXY_ERROR);
        if !dropped {
            for part in [header.name.as_bytes(), b": ", header.value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
}

fn pairs<'a>(headers: &'a [httparse::Header<'a>]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers.iter().map(|h| (h.name, h.value))
}

fn bad(error: httparse::Error) -> BadHead {
    if error == httparse::Error::TooManyHeaders { BadHead::TooLarge } else { BadHead::Malformed(error) }
}

impl Request {
    /// Reads the request's head at the start of `bytes`; `None` when it is not whole yet.
    ///
    /// # Errors
    /// See [`BadHead`]: nothing of the connection may be used after it.
    pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Option<Self>, BadHead> {
        let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut space);
        let length = match parsed.parse(bytes).map_err(bad)? {
            httparse::Status::Complete(length) if length <= bytes_max => length,
            httparse::Status::Partial if bytes.len() < bytes_max => return Ok(None),
            _ => return Err(BadHead::TooLarge),
        };
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Ok(None);
        };
        let headers = &*parsed.headers;
        let (hop, mut named) = hop(headers)?;
        let mut hosts = headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host"));
        let host = hosts.next();
        if hosts.next().is_some() || (host.is_none() && minor == 1) {
            return Err(BadHead::Host);
        }
        let connect = method == "CONNECT";
        let upgrade = connect
            || (minor == 1 && hop.upgrade && headers.iter().any(|h| h.name.eq_ignore_ascii_case("upgrade")));
        let persistent = if minor == 0 { hop.keep_alive && !hop.close } else { !hop.close };
        // An upgrade to h2c (RFC 7540 section 3.2) is the server's to accept, and needs the settings that go with it.
        let is_settings = |name: &String| name == "http2-settings";
        let settings = upgrade && !connect && named.iter().any(is_settings);
        named.retain(|name| !(settings && is_settings(name)));
        let mut forward = Vec::with_capacity(length + 48);
        for part in [method, " ", target, if minor == 0 { " HTTP/1.0\r\n" } else { " HTTP/1.1\r\n" }] {
            forward.extend_from_slice(part.as_bytes());
        }
        copy_headers(&mut forward, headers, Hop { upgrade, ..hop }, &named);
        forward.extend_from_slice(match (upgrade && !connect, hop.te, minor == 0 && persistent) {
            (true, _, _) if settings => b"Connection: Upgrade, HTTP2-Settings\r\n\r\n",
            (true, _, _) => b"Connection: Upgrade\r\n\r\n",
            (_, true, _) => b"Connection: TE\r\n\r\n",
            (_, _, true) => b"Connection: keep-alive\r\n\r\n",
            _ => b"\r\n",
        });
        Ok(Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: host.map(|h| String::from_utf8_lossy(h.value).into_owned()).unwrap_or_default(),
            minor,
            // What follows a CONNECT is not a body, whatever it states.
            body: if connect { Body::None } else { framing::request_body(minor, pairs(headers))? },
            persistent: persistent && !upgrade,
            upgrade,
            expects: headers.iter().any(|h| h.name.eq_ignore_ascii_case("expect")),
            forward,
            length,
        }))
    }
}

impl Response {
    /// Reads the head of the response to a request with `method`; `None` when it is not whole yet.
    ///
    /// # Errors
    /// See [`BadHead`]: the server is not to be trusted with another request on this connection.
    pub fn parse(bytes: &[u8], bytes_max: usize, method: &str) -> Result<Option<Self>, BadHead> {
        let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut space);
        let length = match parsed.parse(bytes).map_err(bad)? {
            httparse::Status::Complete(length) if length <= bytes_max => length,
            httparse::Status::Partial if bytes.len() < bytes_max => return Ok(None),
            _ => return Err(BadHead::TooLarge),
        };
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Ok(None) };
        let headers = &*parsed.headers;
        let (hop, named) = hop(headers)?;
        let body = framing::response_body(minor, method.as_bytes(), status, pairs(headers))?;
        let persistent = if minor == 0 { hop.keep_alive && !hop.close } else { !hop.close };
        let mut forward = Vec::with_capacity(length + 24);
        let version: &[u8] = if minor == 0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
        for part in [
            version,
            format!("{status:03}").as_bytes(),
            b" ",
            parsed.reason.unwrap_or("").as_bytes(),
            b"\r\n",
        ] {
            forward.extend_from_slice(part);
        }
        copy_headers(&mut forward, headers, Hop { upgrade: status == 101 || status == 426, ..hop }, &named);
        let proxy_error = headers.iter().find(|h| h.name.eq_ignore_ascii_case(PROXY_ERROR));
        Ok(Some(Self {
            status,
            minor,
            body,
            persistent: persistent && body != Body::UntilClose && status != 101,
            proxy_error: proxy_error.map(|h| String::from_utf8_lossy(h.value).into_owned()),
            forward,
            length,
        }))
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
