//! One direction of an HTTP/2 connection that is taken apart: bytes as they come in, cut anywhere, become what they say. A frame of
//! data is given out piece by piece and never held; any other frame is held until it is whole, and none is larger than everybody's.
//!
//! Source: RFC 9113 sections 3.4 (preface), 4 (frames), 6 (frame definitions).

use std::ops::Range;

use super::fields::Fields;
use super::hpack::Decoder;
use super::wire::{
    ACK, CONTINUATION, CONTINUATIONS_MAX, Code, DATA, END_HEADERS, END_STREAM, FRAME_BYTES, GOAWAY,
    HEAD_BYTES, HEADERS, Head, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    STREAM_MAX, WINDOW_UPDATE, fragment,
};

/// A field block may have so many times the bytes of the fields that are accepted before the connection ends: a block that is only
/// somewhat too large is read, so that its sender can be told.
const BLOCK_PER_LIST: usize = 4;
/// Settings in one frame: there are some ten.
const SETTINGS_MAX: usize = 64;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A piece of data, where it stands in what was read.
    Data {
        /// Its stream.
        stream: u32,
        /// The bytes.
        range: Range<usize>,
        /// What it takes of the windows: the bytes, and padding.
        flow: usize,
        /// Whether the frame ends with it.
        last: bool,
        /// Whether the stream ends with it.
        end: bool,
    },
    /// A whole block of fields.
    Fields {
        /// Its stream.
        stream: u32,
        /// The fields, those that are accepted.
        fields: Fields,
        /// Whether these are all.
        whole: bool,
        /// Whether the stream ends with it.
        end: bool,
    },
    /// RST_STREAM.
    Reset(u32, Code),
    /// SETTINGS.
    Settings(Vec<(u16, u32)>),
    /// PING.
    Ping([u8; 8]),
    /// The answer to a PING.
    Pong,
    /// GOAWAY with the last stream.
    GoAway(u32, Code),
    /// WINDOW_UPDATE.
    Window(u32, u32),
    /// What needs nothing to be done, and more of it than usual is a nuisance.
    Nothing,
}

#[derive(Debug)]
enum At {
    /// The client's preface, of which so many bytes came.
    Preface(usize),
    /// A frame's head, of which so many bytes came.
    Head(usize),
    /// The length of the padding of a frame of data.
    PadLength(Head),
    /// Data, with so many bytes of it and of padding to come.
    Data(Head, usize, usize),
    /// Another frame, with so many bytes to come.
    Payload(Head, usize),
}

/// One direction.
#[derive(Debug)]
pub struct Reader {
    at: At,
    head: [u8; HEAD_BYTES],
    /// What came of a frame that is not whole.
    held: Vec<u8>,
    /// What came of a field block in frames before this one.
    block: Vec<u8>,
    /// A field block was begun by this frame and goes on in the next, after so many.
    unfinished: Option<(Head, u32)>,
    decoder: Decoder,
    list_bytes_max: usize,
    begun: bool,
}

impl Reader {
    /// Of what a client sends (its preface comes first), or a server. A message's fields may have so many bytes.
    #[must_use]
    pub fn new(of_client: bool, list_bytes_max: usize) -> Self {
        Self {
            at: if of_client { At::Preface(0) } else { At::Head(0) },
            head: [0; HEAD_BYTES],
            held: Vec::new(),
            block: Vec::new(),
            unfinished: None,
            decoder: Decoder::default(),
            list_bytes_max,
            begun: false,
        }
    }

    /// The next part of `bytes`, from `at` on, which moves behind it; none when more has to be read.
    ///
    /// # Errors
    /// When the connection cannot go on.
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Part>, Code> {
        loop {
            let rest = &bytes[*at..];
            if let At::Data(head, data, padding) = self.at {
                return Ok(self.piece(head, (data, padding), rest.len(), at));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let part = match self.at {
                At::Preface(came) => {
                    let n = rest.len().min(PREFACE.len() - came);
                    if rest[..n] != PREFACE[came..came + n] {
                        return Err(Code::PROTOCOL_ERROR);
                    }
                    *at += n;
                    self.at = if came + n == PREFACE.len() { At::Head(0) } else { At::Preface(came + n) };
                    None
                }
                At::Head(came) => {
                    let n = rest.len().min(HEAD_BYTES - came);
                    self.head[came..came + n].copy_from_slice(&rest[..n]);
                    *at += n;
                    self.at = At::Head(came + n);
                    if came + n < HEAD_BYTES { None } else { self.headed()? }
                }
                At::PadLength(head) => {
                    *at += 1;
                    let padding = usize::from(rest[0]);
                    let data = (head.length - 1).checked_sub(padding).ok_or(Code::PROTOCOL_ERROR)?;
                    let last = data + padding == 0;
                    self.at = if last { At::Head(0) } else { At::Data(head, data, padding) };
                    // The length itself counts as padding, as flow control sees it.
                    Some(data_part(head, *at..*at, 1, last))
                }
                At::Payload(head, left) => {
                    let n = rest.len().min(left);
                    *at += n;
                    self.payload(head, &rest[..n], left)?
                }
                At::Data(..) => None,
            };
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    /// What there is of a frame of data. An empty one is there at once.
    fn piece(&mut self, head: Head, left: (usize, usize), there: usize, at: &mut usize) -> Option<Part> {
        let (data, padding) = left;
        let piece = there.min(data);
        let padded = (there - piece).min(padding);
        if piece + padded == 0 && data + padding > 0 {
            return None;
        }
        let last = piece == data && padded == padding;
        let range = *at..*at + piece;
        *at += piece + padded;
        self.at = if last { At::Head(0) } else { At::Data(head, data - piece, padding - padded) };
        Some(data_part(head, range, padded, last))
    }

    /// A frame's head is whole.
    fn headed(&mut self) -> Result<Option<Part>, Code> {
        let head = self.begin()?;
        self.at = match head.kind {
            DATA if head.has(PADDED) => At::PadLength(head),
            DATA => At::Data(head, head.length, 0),
            _ if head.length == 0 => At::Head(0),
            _ => At::Payload(head, head.length),
        };
        if matches!(self.at, At::Head(_)) { self.end(head, &[]) } else { Ok(None) }
    }

    /// A piece of a frame that is held until it is whole.
    fn payload(&mut self, head: Head, piece: &[u8], left: usize) -> Result<Option<Part>, Code> {
        if piece.len() < left {
            self.held.extend_from_slice(piece);
            self.at = At::Payload(head, left - piece.len());
            return Ok(None);
        }
        self.at = At::Head(0);
        if self.held.is_empty() {
            return self.end(head, piece);
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(piece);
        self.end(head, &whole)
    }

    /// A frame's head is whole: may it be here, and is it as long as it must be?
    fn begin(&mut self) -> Result<Head, Code> {
        let head = Head::read(self.head);
        let Head { length, kind, stream, .. } = head;
        if !self.begun && (kind != SETTINGS || head.has(ACK)) {
            return Err(Code::PROTOCOL_ERROR);
        }
        self.begun = true;
        let goes_on =
            self.unfinished.is_some_and(|(first, _)| kind == CONTINUATION && first.stream == stream);
        if goes_on != self.unfinished.is_some() || (kind == CONTINUATION && !goes_on) {
            return Err(Code::PROTOCOL_ERROR);
        }
        if length > FRAME_BYTES {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        let of_stream = match kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION => stream != 0,
            SETTINGS | PING | GOAWAY => stream == 0,
            // Nobody is told that he may push.
            PUSH_PROMISE => false,
            _ => true,
        };
        if !of_stream {
            return Err(Code::PROTOCOL_ERROR);
        }
        let fits = match kind {
            DATA => length > 0 || !head.has(PADDED),
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS if head.has(ACK) => length == 0,
            SETTINGS => length.is_multiple_of(6) && length <= 6 * SETTINGS_MAX,
            PING => length == 8,
            GOAWAY => length >= 8,
            _ => true,
        };
        if !fits {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        let is_block = matches!(kind, HEADERS | CONTINUATION);
        if is_block && self.block.len() + length > BLOCK_PER_LIST * self.list_bytes_max {
            return Err(Code::ENHANCE_YOUR_CALM);
        }
        Ok(head)
    }

    /// A frame is whole.
    fn end(&mut self, head: Head, payload: &[u8]) -> Result<Option<Part>, Code> {
        let word = |at: usize| {
            let word = payload.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map(u32::from_be_bytes).ok_or(Code::FRAME_SIZE_ERROR)
        };
        let part = match head.kind {
            HEADERS => return self.block(head, fragment(head, payload).ok_or(Code::PROTOCOL_ERROR)?, 0),
            CONTINUATION => {
                let Some((first, frames)) = self.unfinished.take() else { return Err(Code::PROTOCOL_ERROR) };
                let whole = Head { flags: first.flags & !END_HEADERS | head.flags & END_HEADERS, ..first };
                return self.block(whole, payload, frames + 1);
            }
            RST_STREAM => Part::Reset(head.stream, Code(word(0)?)),
            SETTINGS if !head.has(ACK) => {
                let settings = payload.chunks_exact(6).filter_map(|s| <[u8; 6]>::try_from(s).ok());
                let setting = |[a, b, c, d, e, f]: [u8; 6]| {
                    (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
                };
                Part::Settings(settings.map(setting).collect())
            }
            PING if !head.has(ACK) => Part::Ping(payload.try_into().map_err(|_| Code::FRAME_SIZE_ERROR)?),
            PING => Part::Pong,
            GOAWAY => Part::GoAway(word(0)? & STREAM_MAX, Code(word(4)?)),
            WINDOW_UPDATE => Part::Window(head.stream, word(0)? & STREAM_MAX),
            _ => Part::Nothing,
        };
        Ok(Some(part))
    }

    /// A part of a field block came.
    fn block(&mut self, head: Head, part: &[u8], frames: u32) -> Result<Option<Part>, Code> {
        if !head.has(END_HEADERS) {
            self.block.extend_from_slice(part);
            self.unfinished = Some((head, frames));
            return if frames < CONTINUATIONS_MAX { Ok(None) } else { Err(Code::ENHANCE_YOUR_CALM) };
        }
        let mut fields = Fields::default();
        let mut field = |name: &[u8], value: &[u8], form| fields.push(name, value, form);
        let whole = if self.block.is_empty() {
            self.decoder.decode(part, self.list_bytes_max, &mut field)
        } else {
            let mut whole = std::mem::take(&mut self.block);
            whole.extend_from_slice(part);
            self.decoder.decode(&whole, self.list_bytes_max, &mut field)
        };
        let whole = whole.map_err(|_| Code::COMPRESSION_ERROR)?;
        Ok(Some(Part::Fields { stream: head.stream, fields, whole, end: head.has(END_STREAM) }))
    }
}

fn data_part(head: Head, range: Range<usize>, padding: usize, last: bool) -> Part {
    let end = last && head.has(END_STREAM);
    Part::Data { stream: head.stream, flow: range.len() + padding, range, last, end }
}
