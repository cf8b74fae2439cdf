//! Watches one direction of an HTTP/2 connection that passes by: which streams begin, move data and end, and what their header
//! fields say. Every byte goes on as it came, at once, but for two settings: a peer is told of no larger table, and of no more
//! streams, than are kept here. What a frame says of flow control, priority or anything unknown is for the two ends alone.
//!
//! Source: RFC 9113 sections 3.4 (preface), 4.1 (frame header), 4.3 (field blocks), 6 (frames).

use super::hpack::{Decoder, Form, TABLE_BYTES_MAX};
use super::huffman::Invalid;
use super::wire::{
    ACK, CONTINUATION, CONTINUATIONS_MAX, DATA, END_HEADERS, END_STREAM, GOAWAY, HEAD_BYTES,
    HEADER_TABLE_SIZE, HEADERS, Head, MAX_CONCURRENT_STREAMS, PREFACE, PUSH_PROMISE, RST_STREAM, SETTINGS,
    fragment,
};

/// Bytes of settings in one frame: there are some ten settings of six bytes each.
const SETTINGS_BYTES_MAX: usize = 1024;
/// Space for a frame that is kept for the next; a larger one gives its back.
const KEPT_BYTES_MAX: usize = 2048;

/// Why a connection cannot be watched, and so not passed on, any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It does not begin as HTTP/2 does, with SETTINGS behind a client's preface.
    NoPreface,
    /// A frame that is not as long as its kind must be, or not where it may be.
    Frame,
    /// A field block larger than is accepted.
    TooLarge,
    /// A field block that cannot be read.
    Fields,
}

impl From<Invalid> for Broken {
    fn from(_: Invalid) -> Self {
        Self::Fields
    }
}

/// What is told of what passes.
pub trait Watch {
    /// A header field; the block's other ones and its end follow at once.
    fn field(&mut self, name: &[u8], value: &[u8]);
    /// The end of a block of header fields (or of trailers), with its stream, and whether that ends with it.
    fn headers(&mut self, stream: u32, ends: bool);
    /// A frame of data begins: its bytes, and whether its stream ends with it.
    fn data(&mut self, stream: u32, bytes: usize, ends: bool);
    /// A stream was reset, with this error code.
    fn reset(&mut self, stream: u32, code: u32);
    /// Streams above this one were not, and will not be, looked at.
    fn go_away(&mut self, last_stream: u32);
}

/// Whether a frame is held until it is whole, since its settings may be changed.
const fn sets(frame: Head) -> bool {
    frame.kind == SETTINGS && !frame.has(ACK)
}

/// What the next byte is part of.
#[derive(Debug)]
enum At {
    /// The client's preface, of which so many bytes came.
    Preface(usize),
    /// A frame's header, of which so many bytes came.
    Header(usize),
    /// A frame, with so many bytes still to come.
    Payload(Head, usize),
}

/// One direction.
#[derive(Debug)]
pub struct Frames {
    at: At,
    header: [u8; HEAD_BYTES],
    /// What came of a frame that is read whole.
    payload: Vec<u8>,
    /// What came of a field block in frames before this one.
    block: Vec<u8>,
    /// A field block was begun by this frame and goes on in the next, after so many.
    unfinished: Option<(Head, u32)>,
    fields: Decoder,
    block_bytes_max: usize,
    /// The most streams that the other end is told it may open; none where it is not told.
    streams_max: Option<u32>,
    /// The first frame, SETTINGS, was passed on.
    begun: bool,
}

impl Frames {
    /// From the client, whose preface comes first. Field blocks may have so many bytes.
    #[must_use]
    pub fn of_client(block_bytes_max: usize) -> Self {
        Self { at: At::Preface(0), streams_max: None, ..Self::of_server(block_bytes_max, 0) }
    }

    /// From the server; the client is told that it may open so many streams at once, or fewer if the server says so.
    #[must_use]
    pub fn of_server(block_bytes_max: usize, streams_max: u32) -> Self {
        Self {
            at: At::Header(0),
            header: [0; HEAD_BYTES],
            payload: Vec::new(),
            block: Vec::new(),
            unfinished: None,
            fields: Decoder::default(),
            block_bytes_max,
            streams_max: Some(streams_max),
            begun: false,
        }
    }

    /// Whether a frame of one's own may be put here: the one before is whole, and no field block is split.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.at, At::Header(0)) && self.unfinished.is_none()
    }

    /// Whether the first frame was passed on, SETTINGS. Before it nothing was, but for a client's preface.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes what came, tells of it and appends to `out` what is to be passed on.
    ///
    /// # Errors
    /// When the connection cannot go on. What was appended until then may be passed on.
    pub fn pass(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        watch: &mut impl Watch,
    ) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.at {
                At::Preface(came) => {
                    let n = bytes.len().min(PREFACE.len() - came);
                    if bytes[..n] != PREFACE[came..came + n] {
                        return Err(Broken::NoPreface);
                    }
                    bytes = &bytes[n..];
                    self.at = At::Preface(came + n);
                    if came + n == PREFACE.len() {
                        out.extend_from_slice(PREFACE);
                        self.at = At::Header(0);
                    }
                }
                At::Header(came) => {
                    let n = bytes.len().min(HEAD_BYTES - came);
                    self.header[came..came + n].copy_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    self.at = At::Header(came + n);
                    if came + n == HEAD_BYTES {
                        let (frame, length) = self.begin(watch)?;
                        if !sets(frame) {
                            out.extend_from_slice(&self.header);
                        }
                        self.at = At::Payload(frame, length);
                        if length == 0 {
                            self.end(frame, &[], out, watch)?;
                        }
                    }
                }
                At::Payload(frame, left) => {
                    let (now, later) = bytes.split_at(bytes.len().min(left));
                    bytes = later;
                    self.at = At::Payload(frame, left - now.len());
                    self.payload(frame, now, left == now.len(), out, watch)?;
                }
            }
        }
        Ok(())
    }

    /// A frame's header is whole: may it be here, and is it as long as it must be?
    fn begin(&mut self, watch: &mut impl Watch) -> Result<(Head, usize), Broken> {
        let frame = Head::read(self.header);
        let Head { kind, length, .. } = frame;
        if !self.begun && !sets(frame) {
            return Err(Broken::NoPreface);
        }
        let continues = self.unfinished.is_some_and(|(first, _)| first.stream == frame.stream);
        if (kind == CONTINUATION) != self.unfinished.is_some() || (kind == CONTINUATION && !continues) {
            return Err(Broken::Frame);
        }
        let fits = match kind {
            HEADERS | PUSH_PROMISE | CONTINUATION if self.block.len() + length > self.block_bytes_max => {
                return Err(Broken::TooLarge);
            }
            RST_STREAM => length == 4,
            SETTINGS => length.is_multiple_of(6) && length <= SETTINGS_BYTES_MAX,
            GOAWAY => length >= 8,
            _ => true,
        };
        if !fits {
            return Err(Broken::Frame);
        }
        if kind == DATA {
            watch.data(frame.stream, length, frame.has(END_STREAM));
        }
        Ok((frame, length))
    }

    fn payload(
        &mut self,
        frame: Head,
        now: &[u8],
        last: bool,
        out: &mut Vec<u8>,
        watch: &mut impl Watch,
    ) -> Result<(), Broken> {
        if !sets(frame) {
            out.extend_from_slice(now);
        }
        let read = sets(frame)
            || matches!(frame.kind, HEADERS | PUSH_PROMISE | CONTINUATION | RST_STREAM)
            || (frame.kind == GOAWAY && self.payload.len() < 8);
        if last && self.payload.is_empty() {
            return self.end(frame, now, out, watch);
        }
        if read {
            self.payload.extend_from_slice(now);
        }
        if last {
            let whole = std::mem::take(&mut self.payload);
            self.end(frame, &whole, out, watch)?;
            if whole.capacity() <= KEPT_BYTES_MAX {
                self.payload = whole;
                self.payload.clear();
            }
        }
        Ok(())
    }

    /// A frame is whole.
    fn end(
        &mut self,
        frame: Head,
        payload: &[u8],
        out: &mut Vec<u8>,
        watch: &mut impl Watch,
    ) -> Result<(), Broken> {
        self.at = At::Header(0);
        let word =
            |at: usize| payload.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        match frame.kind {
            RST_STREAM => watch.reset(frame.stream, word(0).ok_or(Broken::Frame)?),
            GOAWAY => watch.go_away(word(0).ok_or(Broken::Frame)? & 0x7fff_ffff),
            SETTINGS if sets(frame) => self.settings(payload, out),
            HEADERS | PUSH_PROMISE => {
                return self.block(frame, fragment(frame, payload).ok_or(Broken::Frame)?, 0, watch);
            }
            CONTINUATION => {
                let Some((first, frames)) = self.unfinished.take() else { return Err(Broken::Frame) };
                let whole = Head { flags: first.flags & !END_HEADERS | frame.flags & END_HEADERS, ..first };
                return self.block(whole, payload, frames + 1, watch);
            }
            _ => {}
        }
        Ok(())
    }

    /// Passes settings on, as they may be.
    fn settings(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let mut streams_max = self.streams_max.filter(|_| !self.begun);
        let begin = out.len();
        out.extend_from_slice(&self.header);
        let mut set = |setting: u16, value: u32| {
            out.extend_from_slice(&setting.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        };
        for setting in payload.chunks_exact(6) {
            let Ok([a, b, value @ ..]) = <[u8; 6]>::try_from(setting) else { continue };
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => set(HEADER_TABLE_SIZE, value.min(TABLE_BYTES_MAX as u32)),
                MAX_CONCURRENT_STREAMS => {
                    streams_max = None;
                    set(MAX_CONCURRENT_STREAMS, value.min(self.streams_max.unwrap_or(u32::MAX)));
                }
                other => set(other, value),
            }
        }
        if let Some(streams_max) = streams_max {
            set(MAX_CONCURRENT_STREAMS, streams_max);
        }
        self.begun = true;
        let length = (out.len() - begin - HEAD_BYTES) as u32;
        out[begin..begin + 3].copy_from_slice(&length.to_be_bytes()[1..]);
    }

    /// A part of a field block came.
    fn block(&mut self, frame: Head, part: &[u8], frames: u32, watch: &mut impl Watch) -> Result<(), Broken> {
        if !frame.has(END_HEADERS) {
            self.block.extend_from_slice(part);
            self.unfinished = Some((frame, frames));
            return if frames < CONTINUATIONS_MAX { Ok(()) } else { Err(Broken::TooLarge) };
        }
        // What is promised is answered on a stream of the server's own, and none of them is counted.
        let told = frame.kind == HEADERS;
        let mut field = |name: &[u8], value: &[u8], _: Form| {
            if told {
                watch.field(name, value);
            }
        };
        let fit = if self.block.is_empty() {
            self.fields.decode(part, self.block_bytes_max, &mut field)?
        } else {
            let mut whole = std::mem::take(&mut self.block);
            whole.extend_from_slice(part);
            self.fields.decode(&whole, self.block_bytes_max, &mut field)?
        };
        if !fit {
            return Err(Broken::TooLarge);
        }
        if told {
            watch.headers(frame.stream, frame.has(END_STREAM));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
