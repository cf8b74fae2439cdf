//! Writes the header blocks of one direction of an HTTP/2 connection. What is kept in the table is what whoever sent a field to us
//! kept: it knows best what comes again. Strings are not compressed, which costs a few bytes and saves both ends the work.
//!
//! Source: RFC 7541 sections 2.3 (tables), 4 (their size), 6 (representations).

use std::collections::VecDeque;

use super::hpack::{ENTRY_BYTES, Form, STATIC, TABLE_BYTES_MAX};

/// A field of the table.
#[derive(Debug)]
struct Entry {
    hash: u64,
    text: Box<[u8]>,
    name: usize,
}

/// What the other end is known to keep.
#[derive(Debug)]
pub struct Encoder {
    /// The newest first.
    table: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// The smallest size since the last block, which the next one has to say.
    shrunk: Option<usize>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX, shrunk: None }
    }
}

impl Encoder {
    /// The other end keeps so many bytes at most (SETTINGS_HEADER_TABLE_SIZE); no more than usual are used.
    pub fn resize(&mut self, bytes_max: usize) {
        let bytes_max = bytes_max.min(TABLE_BYTES_MAX);
        if bytes_max != self.bytes_max {
            self.shrunk = Some(self.shrunk.unwrap_or(TABLE_BYTES_MAX).min(bytes_max));
            self.bytes_max = bytes_max;
            self.shrink(bytes_max);
        }
    }

    /// Begins a block: what changed of the table's size comes first (section 4.2).
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.shrunk.take() {
            integer(0x20, 5, smallest, out);
            if smallest != self.bytes_max {
                integer(0x20, 5, self.bytes_max, out);
            }
        }
    }

    /// Appends a field.
    pub fn field(&mut self, name: &[u8], value: &[u8], form: Form, out: &mut Vec<u8>) {
        let kept = form == Form::Kept && name.len() + value.len() + ENTRY_BYTES <= self.bytes_max;
        let hash = if kept { hash(name, value) } else { 0 };
        if kept {
            let is = |entry: &Entry| {
                entry.hash == hash && entry.text[..entry.name] == *name && entry.text[entry.name..] == *value
            };
            if let Some(at) = self.table.iter().position(is) {
                return integer(0x80, 7, STATIC.len() + 1 + at, out);
            }
        }
        let index = match in_static(name, value) {
            Some((index, true)) if form != Form::Never => return integer(0x80, 7, index, out),
            found => found.map_or(0, |(index, _)| index),
        };
        let (first, prefix) = match form {
            Form::Kept if kept => (0x40, 6),
            Form::Never => (0x10, 4),
            _ => (0, 4),
        };
        integer(first, prefix, index, out);
        if index == 0 {
            string(name, out);
        }
        string(value, out);
        if kept {
            self.insert(hash, name, value);
        }
    }

    fn insert(&mut self, hash: u64, name: &[u8], value: &[u8]) {
        let bytes = name.len() + value.len() + ENTRY_BYTES;
        self.shrink(self.bytes_max - bytes);
        self.table.push_front(Entry { hash, text: [name, value].concat().into(), name: name.len() });
        self.bytes += bytes;
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

/// The index of a field that need not be sent, or of one that has its name at least.
fn in_static(name: &[u8], value: &[u8]) -> Option<(usize, bool)> {
    let of_name = |(known, _): &(&str, &str)| known.len() == name.len() && known.as_bytes() == name;
    let first = STATIC.iter().position(of_name)?;
    let same = STATIC[first..].iter().take_while(|field| of_name(field));
    let whole = same.clone().position(|(_, known)| known.as_bytes() == value && !value.is_empty());
    Some(whole.map_or((first + 1, false), |at| (first + at + 1, true)))
}

/// Tells fields apart quickly; those that it does not are compared.
fn hash(name: &[u8], value: &[u8]) -> u64 {
    let mut hash = name.len() as u64;
    for text in [name, value] {
        for piece in text.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    hash
}

/// Appends a number behind the bits of `first`, with `prefix` bits of it in the same byte (section 5.1).
fn integer(first: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        return out.push(first | value as u8);
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest > 0x7f {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string that is not compressed (section 5.2).
pub(super) fn string(text: &[u8], out: &mut Vec<u8>) {
    integer(0, 7, text.len(), out);
    out.extend_from_slice(text);
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
