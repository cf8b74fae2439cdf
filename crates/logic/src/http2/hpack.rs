//! Reads the header blocks of one direction of an HTTP/2 connection and keeps the table that they refer to. What it keeps and what it
//! gives out is bounded, whatever the peer sends.
//!
//! Source: RFC 7541.

use std::collections::VecDeque;

use super::huffman::{self, Invalid};

/// The most that a table may hold, by the standard's measure: what every peer starts with. Peers are kept to it by their SETTINGS.
pub const TABLE_BYTES_MAX: usize = 4096;
/// What an entry counts beside its name and value (RFC 7541 section 4.1).
pub const ENTRY_BYTES: usize = 32;
/// Space for a field that is kept between blocks; larger ones give theirs back.
const KEPT_BYTES_MAX: usize = 1024;

/// The fields that need not be sent (RFC 7541 appendix A).
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// How a field was sent, which is how it is to be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Kept in the table, since it will most likely come again.
    Kept,
    /// Sent in full.
    Plain,
    /// Sent in full, and never to be kept by anybody: a secret (RFC 7541 section 7.1.3).
    Never,
}

/// A field of the table: its name and value in one piece.
#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    name: usize,
}

/// What is kept of one direction.
#[derive(Debug)]
pub struct Decoder {
    /// The newest first.
    table: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// The field that is being read.
    text: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX, text: Vec::new() }
    }
}

impl Decoder {
    /// Reads one whole block and gives each field's name and value, in order. Returns whether all of them were given: those that are
    /// larger together than `list_bytes_max`, each counted with 32 bytes more (RFC 9113 section 6.5.2), only go into the table.
    ///
    /// # Errors
    /// When it cannot be read. The connection cannot go on: the table is not known any more.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        list_bytes_max: usize,
        mut field: impl FnMut(&[u8], &[u8], Form),
    ) -> Result<bool, Invalid> {
        let (mut left, mut begun) = (Some(list_bytes_max), false);
        let mut text = std::mem::take(&mut self.text);
        while let Some(first) = block.first().copied() {
            if first & 0xe0 == 0x20 {
                // Only in front of all fields.
                let size = integer(&mut block, 5)?;
                if begun || size > TABLE_BYTES_MAX {
                    return Err(Invalid);
                }
                self.resize(size);
                continue;
            }
            begun = true;
            text.clear();
            let (prefix, form) = match first {
                0x80.. => (7, Form::Kept),
                0x40.. => (6, Form::Kept),
                0x10.. => (4, Form::Never),
                _ => (4, Form::Plain),
            };
            let index = integer(&mut block, prefix)?;
            let whole = prefix == 7;
            let name = match index {
                0 if whole => return Err(Invalid),
                0 => {
                    string(&mut block, &mut text)?;
                    text.len()
                }
                index => self.copy(index, whole, &mut text)?,
            };
            if !whole {
                string(&mut block, &mut text)?;
            }
            left = left.and_then(|left| left.checked_sub(text.len() + ENTRY_BYTES));
            if left.is_some() {
                field(&text[..name], &text[name..], form);
            }
            if prefix == 6 {
                self.insert(&text, name);
            }
        }
        if text.capacity() <= KEPT_BYTES_MAX {
            self.text = text;
        }
        Ok(left.is_some())
    }

    /// Copies a name, or a whole field, that an index stands for; returns how long the name is.
    fn copy(&self, index: usize, whole: bool, text: &mut Vec<u8>) -> Result<usize, Invalid> {
        let (name, value) = match STATIC.get(index - 1) {
            Some((name, value)) => (name.as_bytes(), value.as_bytes()),
            None => {
                let entry = self.table.get(index - 1 - STATIC.len()).ok_or(Invalid)?;
                entry.text.split_at(entry.name)
            }
        };
        text.extend_from_slice(name);
        if whole {
            text.extend_from_slice(value);
        }
        Ok(name.len())
    }

    fn insert(&mut self, text: &[u8], name: usize) {
        let bytes = text.len() + ENTRY_BYTES;
        self.shrink(self.bytes_max.saturating_sub(bytes));
        // A field larger than the table only empties it (section 4.4).
        if bytes <= self.bytes_max {
            self.table.push_front(Entry { text: text.into(), name });
            self.bytes += bytes;
        }
    }

    fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink(bytes_max);
    }

    /// Forgets the oldest fields until the rest has room in `bytes_max`.
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(oldest) = self.table.pop_back()
        {
            self.bytes -= oldest.text.len() + ENTRY_BYTES;
        }
    }
}

/// Takes an integer whose first byte has `prefix` bits of it (section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Invalid> {
    let mut take = || {
        let (byte, rest) = block.split_first().ok_or(Invalid)?;
        *block = rest;
        Ok::<usize, Invalid>(usize::from(*byte))
    };
    let most = (1 << prefix) - 1;
    let mut value = take()? & most;
    if value < most {
        return Ok(value);
    }
    // Four more bytes hold every length that is accepted.
    for shift in [0, 7, 14, 21] {
        let byte = take()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Invalid)
}

/// Takes a string (section 5.2) and appends it to `text`. It is no longer than the block, or, compressed, 8/5 of it.
fn string(block: &mut &[u8], text: &mut Vec<u8>) -> Result<(), Invalid> {
    let huffman = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = integer(block, 7)?;
    let (string, rest) = block.split_at_checked(length).ok_or(Invalid)?;
    *block = rest;
    if huffman {
        huffman::decode(string, text)
    } else {
        text.extend_from_slice(string);
        Ok(())
    }
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
