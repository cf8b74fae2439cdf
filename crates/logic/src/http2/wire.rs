//! The numbers of HTTP/2, a frame's head, and the frames that a proxy writes by itself. It depends on nothing.
//!
//! Source: RFC 9113 sections 3.4 (preface), 4.1 (frame format), 6 (frames), 7 (error codes).

use std::fmt;

/// What a client sends before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 9;
/// The highest number of a stream: GOAWAY with it refuses none.
pub const STREAM_MAX: u32 = 0x7fff_ffff;
/// The largest window (section 6.9.1).
pub const WINDOW_BYTES_MAX: i64 = 0x7fff_ffff;
/// The window that everything begins with (section 6.9.2).
pub const WINDOW_BYTES: u32 = 65_535;
/// The largest frame that everybody accepts (section 4.2).
pub const FRAME_BYTES: usize = 16 * 1024;
/// Frames that one field block may be split into. Peers split only what is larger than a frame; more is an attack (CVE-2024-27316).
pub const CONTINUATIONS_MAX: u32 = 32;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
/// Flag of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
/// Flag of HEADERS: five bytes of priority come first.
pub(super) const WITH_PRIORITY: u8 = 0x20;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
/// RFC 8441 section 3.
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// Why a stream or a connection ends (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0);
    /// What the protocol does not allow.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Something is wrong with whoever says so.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More bytes than there is a window for.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame that is not as long as it must be.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing of the stream was looked at.
    pub const REFUSED_STREAM: Self = Self(7);
    /// Nobody is interested any longer.
    pub const CANCEL: Self = Self(8);
    /// A field block that cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// More than anybody needs.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes that follow.
    pub length: usize,
    /// DATA, HEADERS and so on.
    pub kind: u8,
    /// What each means depends on the kind.
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
}

impl Head {
    /// Reads one.
    #[must_use]
    pub const fn read(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, s, t, u, v] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]) & STREAM_MAX,
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Writes it.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [s, t, u, v] = self.stream.to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.kind, self.flags, s, t, u, v]);
    }
}

/// Appends a frame with its payload.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    Head { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// Appends the settings of one end.
pub fn settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    Head { length: settings.len() * 6, kind: SETTINGS, flags: 0, stream: 0 }.write(out);
    for (setting, value) in settings {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends that no stream after `last` was, or will be, looked at.
pub fn go_away(last: u32, code: Code, out: &mut Vec<u8>) {
    Head { length: 8, kind: GOAWAY, flags: 0, stream: 0 }.write(out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends the end of a stream that has none.
pub fn reset(stream: u32, code: Code, out: &mut Vec<u8>) {
    frame(RST_STREAM, 0, stream, &code.0.to_be_bytes(), out);
}

/// Appends that so many bytes more may be sent, on a stream or (0) on the connection.
pub fn window_update(stream: u32, bytes: u32, out: &mut Vec<u8>) {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes(), out);
}

/// Appends the fields of a response without a body, or trailers, which end a stream. They are named in full and add nothing to a
/// table (RFC 7541 section 6.2.2), so that they change nothing of what a connection's two ends know of each other.
pub fn last_fields(stream: u32, fields: &[(&str, &str)], out: &mut Vec<u8>) {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            super::encoder::string(text.as_bytes(), &mut block);
        }
    }
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block, out);
}

/// The part of a field block in a HEADERS or PUSH_PROMISE frame: what is left without padding, priority and the promised stream.
/// `None` when the frame is too short for what it says to hold.
pub(super) fn fragment(frame: Head, mut payload: &[u8]) -> Option<&[u8]> {
    if frame.has(PADDED) {
        let (padding, rest) = payload.split_first()?;
        payload = &rest[..rest.len().checked_sub(usize::from(*padding))?];
    }
    let before = match frame.kind {
        PUSH_PROMISE => 4,
        _ if frame.has(WITH_PRIORITY) => 5,
        _ => 0,
    };
    payload.get(before..)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
