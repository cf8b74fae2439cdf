//! Where an HTTP/1 message's body ends, and what must not be forwarded because two readers could disagree about it. The
//! bytes themselves are never changed: the proxy moves a body as it came, and this says how far it goes.
//!
//! Source: RFC 9112 sections 6 (message body length) and 7.1 (chunked), and its section 11.2 on request smuggling. Where the
//! RFC lets a recipient repair a message, this refuses it.

use thiserror::Error;

/// A chunk-size line (size and extensions) longer than this is refused; real ones have a few bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// A trailer section longer than this is refused: the same limit as for a head.
pub const TRAILER_BYTES_MAX: usize = 64 * 1024;

/// How a message's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Fixed(u64),
    /// Chunked transfer coding, trailers included.
    Chunked,
    /// Until the connection is closed (responses only).
    UntilClose,
}

/// Why a message is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Two lengths: the classic smuggling vector.
    #[error("the message has both Content-Length and Transfer-Encoding")]
    BothLengths,
    /// Several different Content-Length values.
    #[error("the message has conflicting Content-Length values")]
    ConflictingLengths,
    /// Not digits only, or too large.
    #[error("Content-Length is not a decimal number below 2^63")]
    BadLength,
    /// Anything but exactly `chunked` as the last coding.
    #[error("Transfer-Encoding of a request must end with `chunked`, once")]
    BadTransferEncoding,
    /// HTTP/1.0 does not know transfer codings.
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    TransferEncodingInHttp10,
    /// The chunked framing is broken.
    #[error("the chunked body is malformed")]
    BadChunk,
    /// A line or the trailers are too long.
    #[error("a chunk-size line or the trailer section is too long")]
    TooLong,
    /// The connection ended inside the body.
    #[error("the connection ended before the body did")]
    Truncated,
}

/// The lengths that the headers of one message state.
#[derive(Default)]
struct Lengths {
    content_length: Option<u64>,
    transfer_encoding: bool,
    chunked_last: bool,
}

fn lengths<'a>(minor: u8, headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Lengths, Refusal> {
    let mut found = Lengths::default();
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("content-length") {
            for part in value.split(|b| *b == b',') {
                let length = decimal(part.trim_ascii()).ok_or(Refusal::BadLength)?;
                if found.content_length.is_some_and(|other| other != length) {
                    return Err(Refusal::ConflictingLengths);
                }
                found.content_length = Some(length);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            found.transfer_encoding = true;
            for coding in value.split(|b| *b == b',') {
                // A coding after chunked, or chunked twice, hides bytes from one of two readers.
                if found.chunked_last {
                    return Err(Refusal::BadTransferEncoding);
                }
                let coding = coding.trim_ascii();
                if coding.is_empty() || !coding.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
                    return Err(Refusal::BadTransferEncoding);
                }
                found.chunked_last = coding.eq_ignore_ascii_case(b"chunked");
            }
        }
    }
    if found.transfer_encoding && minor == 0 {
        return Err(Refusal::TransferEncodingInHttp10);
    }
    if found.transfer_encoding && found.content_length.is_some() {
        return Err(Refusal::BothLengths);
    }
    Ok(found)
}

/// Digits only (no sign, no white space), below 2^63.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))?;
    (value <= i64::MAX as u64).then_some(value)
}

/// The body of a request of HTTP/1.`minor`.
///
/// # Errors
/// When the length cannot be told for certain.
pub fn request_body<'a>(
    minor: u8,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<Body, Refusal> {
    let found = lengths(minor, headers)?;
    match (found.transfer_encoding, found.content_length) {
        (true, _) if !found.chunked_last => Err(Refusal::BadTransferEncoding),
        (true, _) => Ok(Body::Chunked),
        (false, Some(0) | None) => Ok(Body::None),
        (false, Some(length)) => Ok(Body::Fixed(length)),
    }
}

/// The body of the response with `status` to a request with `method`. A 2xx answer to CONNECT and 101 have none: what
/// follows them is no longer HTTP.
///
/// # Errors
/// When the length cannot be told for certain.
pub fn response_body<'a>(
    minor: u8,
    method: &[u8],
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<Body, Refusal> {
    let bodiless = method == b"HEAD"
        || matches!(status, 100..=199 | 204 | 304)
        || (method == b"CONNECT" && matches!(status, 200..=299));
    let found = match lengths(minor, headers) {
        // What is not there cannot be misread: a 204 or an answer to HEAD may state any length.
        Err(_) if bodiless => return Ok(Body::None),
        found => found?,
    };
    if bodiless {
        return Ok(Body::None);
    }
    match (found.transfer_encoding, found.content_length) {
        (true, _) if found.chunked_last => Ok(Body::Chunked),
        (false, Some(0)) => Ok(Body::None),
        (false, Some(length)) => Ok(Body::Fixed(length)),
        (true, _) | (false, None) => Ok(Body::UntilClose),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Fixed(u64),
    /// In a chunk-size line, before any digit, after some digits, in an extension, or after its CR.
    Size {
        value: u64,
        digits: u8,
        line: u16,
        part: SizePart,
    },
    /// So many bytes of the chunk's data are left.
    Data(u64),
    /// After the data: CR, then LF.
    DataCr,
    DataLf,
    /// In the trailer section; `line` is the length of the current line, `cr` whether its CR has come.
    Trailer {
        total: u32,
        line: u32,
        cr: bool,
    },
    UntilClose,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizePart {
    Digits,
    Extension,
    Cr,
}

/// How far a body has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress(State);

impl Progress {
    /// At the first byte of a body.
    #[must_use]
    pub const fn new(body: Body) -> Self {
        Self(match body {
            Body::None | Body::Fixed(0) => State::Done,
            Body::Fixed(length) => State::Fixed(length),
            Body::Chunked => State::SIZE,
            Body::UntilClose => State::UntilClose,
        })
    }

    /// Whether the body has ended.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Says how many of `bytes`, from the first, belong to the body. Fewer than all means that it ended there.
    ///
    /// # Errors
    /// When the chunked framing is broken: nothing from there on may be forwarded.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            let rest = &bytes[at..];
            at += match self.0 {
                State::UntilClose => rest.len(),
                State::Fixed(left) => self.run(left, rest.len(), State::Fixed, State::Done),
                State::Data(left) => self.run(left, rest.len(), State::Data, State::DataCr),
                _ => {
                    self.0 = self.0.step(rest[0])?;
                    1
                }
            };
        }
        Ok(at)
    }

    /// Skips up to `left` bytes at once.
    fn run(&mut self, left: u64, available: usize, more: fn(u64) -> State, end: State) -> usize {
        let n = left.min(available as u64);
        self.0 = if n == left { end } else { more(left - n) };
        usize::try_from(n).unwrap_or(available)
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`Refusal::Truncated`] when the body had not.
    pub const fn end(&mut self) -> Result<(), Refusal> {
        match self.0 {
            State::UntilClose | State::Done => {
                self.0 = State::Done;
                Ok(())
            }
            _ => Err(Refusal::Truncated),
        }
    }
}

impl State {
    const SIZE: Self = Self::Size { value: 0, digits: 0, line: 0, part: SizePart::Digits };

    fn step(self, byte: u8) -> Result<Self, Refusal> {
        match self {
            Self::Size { value, digits, line, part } => Self::size(value, digits, line, part, byte),
            Self::DataCr if byte == b'\r' => Ok(Self::DataLf),
            Self::DataLf if byte == b'\n' => Ok(Self::SIZE),
            Self::Trailer { total, line, cr } => Self::trailer(total, line, cr, byte),
            _ => Err(Refusal::BadChunk),
        }
    }

    fn size(value: u64, digits: u8, line: u16, part: SizePart, byte: u8) -> Result<Self, Refusal> {
        let line = line + 1;
        if usize::from(line) > CHUNK_LINE_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let next = |value, digits, part| Ok(Self::Size { value, digits, line, part });
        match (part, byte) {
            (SizePart::Cr, b'\n') if value == 0 => Ok(Self::Trailer { total: 0, line: 0, cr: false }),
            (SizePart::Cr, b'\n') => Ok(Self::Data(value)),
            (SizePart::Digits | SizePart::Extension, b'\r') if digits > 0 => {
                next(value, digits, SizePart::Cr)
            }
            (SizePart::Digits, b';' | b' ' | b'\t') if digits > 0 => next(value, digits, SizePart::Extension),
            (SizePart::Digits, _) => match (byte as char).to_digit(16) {
                // 15 digits: below 2^60, so that no reader's integer overflows.
                Some(digit) if digits < 15 => next(value << 4 | u64::from(digit), digits + 1, part),
                _ => Err(Refusal::BadChunk),
            },
            (SizePart::Extension, b'\n' | 0) => Err(Refusal::BadChunk),
            (SizePart::Extension, _) => next(value, digits, part),
            (SizePart::Cr, _) => Err(Refusal::BadChunk),
        }
    }

    /// Lines up to an empty one; every line ends in CR LF, so that no reader sees another end than we do.
    fn trailer(total: u32, line: u32, cr: bool, byte: u8) -> Result<Self, Refusal> {
        let total = total + 1;
        if total as usize > TRAILER_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        match (cr, byte) {
            (true, b'\n') if line == 0 => Ok(Self::Done),
            (true, b'\n') => Ok(Self::Trailer { total, line: 0, cr: false }),
            (true, _) | (false, b'\n' | 0) => Err(Refusal::BadChunk),
            (false, b'\r') => Ok(Self::Trailer { total, line, cr: true }),
            (false, _) => Ok(Self::Trailer { total, line: line + 1, cr: false }),
        }
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
