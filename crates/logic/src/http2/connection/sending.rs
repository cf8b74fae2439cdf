//! The half of a connection's end that sends: heads at once, bodies as the other end's windows allow, in frames that everybody accepts.
//!
//! Source: RFC 9113 sections 4.3 (field blocks), 5.2 (flow control), 6.1 (DATA), 6.9 (windows).

use std::collections::VecDeque;

use super::super::fields::{Field, Fields};
use super::super::wire::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES, HEAD_BYTES, HEADERS, Head,
};
use super::{Connection, Ending, Event, OUT_BYTES_MAX, Sent};

impl Connection {
    /// Makes what waits into frames, as windows allow and as there is room; each stream in its turn.
    pub fn pump(&mut self, events: &mut Vec<Event>) {
        while self.out.len() < OUT_BYTES_MAX
            && self.send_window > 0
            && let Some(stream) = self.waiting.pop_front()
        {
            let Some(open) = self.streams.get_mut(stream) else { continue };
            open.listed = false;
            let bytes = room(self.send_window, open.send_window, open.waits.len().min(FRAME_BYTES));
            if bytes == 0 {
                // Its own window is closed; it is listed again when that opens.
                continue;
            }
            let rest = open.waits.len() - bytes;
            let ended = rest == 0 && matches!(open.ending, Some(Ending::Data));
            let flags = if ended { END_STREAM } else { 0 };
            Head { length: bytes, kind: DATA, flags, stream }.write(&mut self.out);
            let (first, second) = open.waits.as_slices();
            let split = first.len().min(bytes);
            self.out.extend_from_slice(&first[..split]);
            self.out.extend_from_slice(&second[..bytes - split]);
            open.waits.drain(..bytes);
            open.send_window -= bytes as i64;
            self.send_window -= bytes as i64;
            if rest > 0 {
                open.listed = true;
                self.waiting.push_back(stream);
            } else {
                open.waits = VecDeque::new();
            }
            self.nuisances = 0;
            let mut sent = Sent { bytes, ended };
            if rest == 0
                && let Some(ending) = open.ending.take()
            {
                sent.ended = true;
                if let Ending::Trailers(fields) = ending {
                    self.block(stream, fields.iter(), true);
                }
                self.sent(stream);
            }
            events.push(Event::Sent { stream, sent });
        }
    }

    /// Our message on this stream has ended.
    fn sent(&mut self, stream: u32) {
        if self.server {
            (self.nuisances, self.cancelled) = (0, 0);
        }
        if let Some(open) = self.streams.get_mut(stream) {
            open.sent = true;
            self.complete(stream);
        }
    }

    /// Opens a stream with a request. `None` when there is no room.
    pub fn open<'a>(&mut self, fields: impl Iterator<Item = Field<'a>>, end: bool) -> Option<u32> {
        if !self.has_room(usize::MAX) {
            return None;
        }
        let stream = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = stream;
        self.add(stream);
        let mut asked_head = false;
        let fields = fields.inspect(|field| asked_head |= field.name == b":method" && field.value == b"HEAD");
        self.send_head(stream, fields, end);
        if let Some(open) = self.streams.get_mut(stream) {
            open.asked_head = asked_head;
        }
        Some(stream)
    }

    /// Sends a head. Nothing waits before one.
    pub fn send_head<'a>(&mut self, stream: u32, fields: impl Iterator<Item = Field<'a>>, end: bool) {
        if self.streams.get(stream).is_none_or(|open| open.sent) {
            return;
        }
        self.block(stream, fields, end);
        if self.server {
            // It was answered before whatever its client does next.
            self.cancelled = 0;
        }
        if end {
            self.sent(stream);
        }
    }

    /// Sends a piece of a body, and its end, or has it wait.
    pub fn send_data(&mut self, stream: u32, bytes: &[u8], end: bool) -> Sent {
        let Some(open) = self.streams.get_mut(stream).filter(|open| !open.sent && open.ending.is_none())
        else {
            return Sent::default();
        };
        let mut now = 0;
        if open.waits.is_empty() && self.out.len() < OUT_BYTES_MAX {
            now = room(self.send_window, open.send_window, bytes.len());
            open.send_window -= now as i64;
            self.send_window -= now as i64;
            self.nuisances = 0;
        }
        let (first, rest) = bytes.split_at(now);
        let ended = end && rest.is_empty() && open.waits.is_empty();
        let mut frames = first.chunks(FRAME_BYTES).peekable();
        if ended && first.is_empty() {
            Head { length: 0, kind: DATA, flags: END_STREAM, stream }.write(&mut self.out);
        }
        while let Some(frame) = frames.next() {
            let flags = if ended && frames.peek().is_none() { END_STREAM } else { 0 };
            wire::frame(DATA, flags, stream, frame, &mut self.out);
        }
        if ended {
            self.sent(stream);
            return Sent { bytes: now, ended };
        }
        open.waits.extend(rest);
        if end {
            open.ending = Some(Ending::Data);
        }
        if !open.listed && !open.waits.is_empty() {
            open.listed = true;
            self.waiting.push_back(stream);
        }
        Sent { bytes: now, ended: false }
    }

    /// Ends a message with fields, behind what waits of it.
    pub fn send_trailers(&mut self, stream: u32, fields: Fields) -> Sent {
        let Some(open) = self.streams.get_mut(stream).filter(|open| !open.sent && open.ending.is_none())
        else {
            return Sent::default();
        };
        if !open.waits.is_empty() {
            open.ending = Some(Ending::Trailers(fields));
            return Sent::default();
        }
        self.block(stream, fields.iter(), true);
        self.sent(stream);
        Sent { bytes: 0, ended: true }
    }

    /// Appends a block of fields.
    fn block<'a>(&mut self, stream: u32, fields: impl Iterator<Item = Field<'a>>, end: bool) {
        let flags = if end { END_STREAM } else { 0 };
        let begin = self.out.len();
        let mut head = Head { length: 0, kind: HEADERS, flags: flags | END_HEADERS, stream };
        head.write(&mut self.out);
        self.encoder.begin(&mut self.out);
        for Field { name, value, form } in fields {
            self.encoder.field(name, value, form, &mut self.out);
        }
        head.length = self.out.len() - begin - HEAD_BYTES;
        if head.length <= FRAME_BYTES {
            let [_, length @ ..] = (head.length as u32).to_be_bytes();
            self.out[begin..begin + 3].copy_from_slice(&length);
            return;
        }
        let block = self.out.split_off(begin + HEAD_BYTES);
        self.out.truncate(begin);
        let mut frames = block.chunks(FRAME_BYTES).enumerate().peekable();
        while let Some((count, frame)) = frames.next() {
            let last = if frames.peek().is_none() { END_HEADERS } else { 0 };
            let (kind, flags) = if count == 0 { (HEADERS, flags | last) } else { (CONTINUATION, last) };
            wire::frame(kind, flags, stream, frame, &mut self.out);
        }
    }
}

/// How much of `bytes` both windows allow.
fn room(connection: i64, stream: i64, bytes: usize) -> usize {
    usize::try_from(connection.min(stream)).unwrap_or(0).min(bytes)
}
