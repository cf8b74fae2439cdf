//! One end of an HTTP/2 connection without its socket: what came is judged and told as events, what is to be sent is made into frames as
//! the other end's windows allow. Whatever does not fit waits in its stream; a stream's reader gives credit back when the bytes have
//! gone on, so nothing waits that nobody has promised room for.
//!
//! Source: RFC 9113 sections 3.4 (preface), 5 (streams, flow control, errors), 6 (frames).

mod sending;
mod windows;

use std::collections::VecDeque;
use std::ops::Range;

use super::encoder::Encoder;
use super::fields::{Facts, Fields};
use super::reader::{Part, Reader};
use super::streams::Streams;
use super::wire::{
    self, ACK, Code, ENABLE_CONNECT_PROTOCOL, ENABLE_PUSH, FRAME_BYTES, HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, PING, SETTINGS,
    STREAM_MAX, WINDOW_BYTES, WINDOW_BYTES_MAX,
};

/// Frames are made no longer when so many bytes wait to be written: what is behind them stays in its stream, under flow control.
pub const OUT_BYTES_MAX: usize = 64 * 1024;
/// So much of what no window bounds, heads and resets above all, waits to be written before no more streams are opened.
const HEADS_BYTES_MAX: usize = 1024 * 1024;
/// Frames in a row that move nothing, between two times that [`Connection::forgive`] is called: PING, SETTINGS, empty data. Peers
/// measure round trips by them with every piece of data, and keep connections alive (CVE-2019-9512).
const NUISANCES_MAX: u32 = 1000;
/// Streams in a row that the peer reset before they were answered (CVE-2023-44487).
const CANCELLED_MAX: u32 = 10_000;
/// Interim heads before one response. Windows do not bound them; servers send one or two.
const INTERIMS_MAX: u8 = 16;
/// So many streams that are gone are remembered, since what the peer sends on one that we reset may have been on its way: as many as
/// may be open at once, as usual.
const GONE_MAX: usize = 256;

/// What one end promises the other.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams that the peer may have open at once.
    pub streams_max: u32,
    /// Bytes of one message's fields.
    pub header_bytes_max: usize,
    /// What one stream may have on its way at first; for a reader that keeps up it grows to half of the connection's.
    pub stream_window: u32,
    /// What all streams together may have on their way.
    pub connection_window: u32,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A request, or a response (an interim one too).
    Head {
        /// Its stream.
        stream: u32,
        /// As they came.
        fields: Fields,
        /// What they say.
        facts: Facts,
        /// There is no body and there are no trailers.
        end: bool,
    },
    /// A head with more fields than are accepted. Of a response the stream was reset.
    TooLarge {
        /// Its stream.
        stream: u32,
    },
    /// A piece of a body.
    Data {
        /// Its stream.
        stream: u32,
        /// Where in what was read.
        range: Range<usize>,
        /// What it took of the windows, to be given back by [`Connection::release`].
        flow: usize,
        /// The message ends with it.
        end: bool,
    },
    /// The end of a message, with fields.
    Trailers {
        /// Its stream.
        stream: u32,
        /// As they came.
        fields: Fields,
    },
    /// The stream is gone.
    Reset {
        /// Its number.
        stream: u32,
        /// Why.
        code: Code,
        /// The peer did what it may not, and was told so.
        ours: bool,
    },
    /// The stream is gone, and the peer has not looked at it (GOAWAY).
    Unheard {
        /// Its number.
        stream: u32,
        /// Why the peer goes away.
        code: Code,
    },
    /// Bytes that had waited were made into frames.
    Sent {
        /// Their stream.
        stream: u32,
        /// How much.
        sent: Sent,
    },
}

impl Event {
    /// The stream that it is of.
    #[must_use]
    pub const fn stream(&self) -> u32 {
        match self {
            Self::Head { stream, .. }
            | Self::TooLarge { stream }
            | Self::Data { stream, .. }
            | Self::Trailers { stream, .. }
            | Self::Reset { stream, .. }
            | Self::Unheard { stream, .. }
            | Self::Sent { stream, .. } => *stream,
        }
    }
}

/// What was made into frames, and does not wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of data.
    pub bytes: usize,
    /// The message has ended.
    pub ended: bool,
}

/// How a message ends, behind what waits of it.
#[derive(Debug)]
enum Ending {
    Data,
    Trailers(Fields),
}

#[derive(Debug)]
struct Stream {
    /// What we may send.
    send_window: i64,
    waits: VecDeque<u8>,
    ending: Option<Ending>,
    /// Stands in the connection's list of those that wait.
    listed: bool,
    /// Our message has ended.
    sent: bool,
    /// What the peer may send, of so much when nothing is held.
    recv_window: i64,
    recv_window_max: u32,
    /// What came and was not released, and what was released and is not told yet.
    held: usize,
    owed: usize,
    /// Interim heads that came.
    interims: u8,
    /// The peer's head came, and all of its message.
    headed: bool,
    received: bool,
    /// What is left of the body, where its head says how long it is.
    left: Option<u64>,
    /// We asked for the head alone.
    asked_head: bool,
}

/// One end.
#[derive(Debug)]
pub struct Connection {
    server: bool,
    limits: Limits,
    reader: Reader,
    encoder: Encoder,
    /// To be written.
    pub out: Vec<u8>,
    streams: Streams<Stream>,
    /// Streams with something that waits and perhaps a window.
    waiting: VecDeque<u32>,
    send_window: i64,
    recv_window: i64,
    owed: usize,
    /// What the peer said.
    their_window: u32,
    their_streams_max: u32,
    /// It said anything at all.
    told: bool,
    /// The last that was opened, by whoever opens.
    last: u32,
    /// The peer takes no more, or we do not.
    going_away: bool,
    /// The peer has seen that we take no more.
    seen: bool,
    nuisances: u32,
    cancelled: u32,
    /// The last streams that are gone, and whether we reset them.
    gone: VecDeque<(u32, bool)>,
}

impl Connection {
    /// The end that serves.
    #[must_use]
    pub fn server(limits: Limits) -> Self {
        let mut connection = Self::new(true, limits);
        let settings = [
            (MAX_CONCURRENT_STREAMS, limits.streams_max),
            (INITIAL_WINDOW_SIZE, limits.stream_window),
            (MAX_HEADER_LIST_SIZE, u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX)),
            (ENABLE_CONNECT_PROTOCOL, 1),
        ];
        connection.begin(&settings);
        connection
    }

    /// The end that asks.
    #[must_use]
    pub fn client(limits: Limits) -> Self {
        let mut connection = Self::new(false, limits);
        connection.out.extend_from_slice(wire::PREFACE);
        let settings = [
            (ENABLE_PUSH, 0),
            (INITIAL_WINDOW_SIZE, limits.stream_window),
            (MAX_HEADER_LIST_SIZE, u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX)),
        ];
        connection.begin(&settings);
        connection
    }

    fn new(server: bool, limits: Limits) -> Self {
        Self {
            server,
            limits,
            reader: Reader::new(server, limits.header_bytes_max),
            encoder: Encoder::default(),
            out: Vec::new(),
            streams: Streams::default(),
            waiting: VecDeque::new(),
            send_window: i64::from(WINDOW_BYTES),
            recv_window: i64::from(limits.connection_window),
            owed: 0,
            their_window: WINDOW_BYTES,
            their_streams_max: u32::MAX,
            told: false,
            last: 0,
            going_away: false,
            seen: false,
            nuisances: 0,
            cancelled: 0,
            gone: VecDeque::new(),
        }
    }

    fn begin(&mut self, settings: &[(u16, u32)]) {
        wire::settings(settings, &mut self.out);
        let more = self.limits.connection_window.saturating_sub(WINDOW_BYTES);
        if more > 0 {
            wire::window_update(0, more, &mut self.out);
        }
    }

    /// Streams that are open.
    #[must_use]
    pub const fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the peer has said what it allows.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.told
    }

    /// Whether another stream can be opened now, of `max` at once; one alone before the peer has said how many it allows.
    #[must_use]
    pub fn has_room(&self, max: usize) -> bool {
        let max = if self.told { max.min(self.their_streams_max as usize) } else { 1 };
        !self.going_away
            && self.streams.len() < max
            && self.last < STREAM_MAX - 2
            && self.out.len() < HEADS_BYTES_MAX
    }

    /// Whether no stream can be opened any more.
    #[must_use]
    pub const fn is_going_away(&self) -> bool {
        self.going_away
    }

    /// Takes what was read, and tells what it says.
    ///
    /// # Errors
    /// When the connection cannot go on; the peer is told in what is to be written still.
    pub fn receive(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Code> {
        let mut at = 0;
        let received = loop {
            match self.reader.next(bytes, &mut at) {
                Ok(None) => break Ok(()),
                Ok(Some(part)) => {
                    if let Err(code) = self.part(part, events) {
                        break Err(code);
                    }
                }
                Err(code) => break Err(code),
            }
        };
        if let Err(code) = received {
            self.end(code);
        }
        received
    }

    fn part(&mut self, part: Part, events: &mut Vec<Event>) -> Result<(), Code> {
        match part {
            Part::Data { stream, range, flow, last, end } => {
                self.data(stream, range, flow, last, end, events)
            }
            Part::Fields { stream, fields, whole, end } => self.fields(stream, fields, whole, end, events),
            Part::Reset(stream, code) => self.was_reset(stream, code, events),
            Part::Settings(settings) => self.settings(&settings, events),
            Part::Ping(bytes) => {
                wire::frame(PING, ACK, 0, &bytes, &mut self.out);
                self.nuisance()
            }
            // A client that goes away says nothing that matters to a server that never pushes.
            Part::GoAway(last, code) if !self.server => {
                self.going_away = true;
                for (stream, gone) in self.streams.split_off(last) {
                    self.owe(gone.held);
                    events.push(Event::Unheard { stream, code });
                }
                Ok(())
            }
            Part::Window(stream, bytes) => self.window(stream, i64::from(bytes), events),
            Part::Pong if self.going_away => {
                self.seen = true;
                Ok(())
            }
            Part::GoAway(..) | Part::Pong | Part::Nothing => self.nuisance(),
        }
    }

    /// Forgets nuisances: some time has passed in which the peer may have had reasons for them.
    pub const fn forgive(&mut self) {
        self.nuisances = 0;
    }

    fn nuisance(&mut self) -> Result<(), Code> {
        self.nuisances += 1;
        if self.nuisances > NUISANCES_MAX { Err(Code::ENHANCE_YOUR_CALM) } else { Ok(()) }
    }

    /// Whether a stream was never opened.
    const fn is_idle(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || stream > self.last
    }

    /// A frame of data came for a stream that is not open, any more. What was on its way when the stream was reset is no nuisance
    /// (section 5.1), and bounded as all that has bytes.
    fn not_open(&mut self, stream: u32, flow: usize) -> Result<(), Code> {
        if self.is_idle(stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        if self.server && !self.was_reset_by_us(stream) {
            self.remember(stream, true);
            wire::reset(stream, Code::STREAM_CLOSED, &mut self.out);
        } else if flow > 0 {
            return Ok(());
        }
        self.nuisance()
    }

    /// A head or trailers came for a stream that is not open (section 5.1). A server may be late with them.
    fn not_open_for_fields(&mut self, stream: u32) -> Result<(), Code> {
        if self.is_idle(stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        if self.server && !self.was_reset_by_us(stream) {
            let ended = self.gone.iter().any(|(gone, _)| *gone == stream);
            return Err(if ended { Code::STREAM_CLOSED } else { Code::PROTOCOL_ERROR });
        }
        self.nuisance()
    }

    fn was_reset_by_us(&self, stream: u32) -> bool {
        self.gone.contains(&(stream, true))
    }

    fn remember(&mut self, stream: u32, reset: bool) {
        if self.gone.len() == GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back((stream, reset));
    }

    fn data(
        &mut self,
        stream: u32,
        range: Range<usize>,
        flow: usize,
        last: bool,
        end: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Code> {
        self.recv_window -= flow as i64;
        if self.recv_window < 0 {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        // When slow readers hold the rest of the window, nobody else's reading may come to say what is owed.
        self.owe(0);
        let Some(open) = self.streams.get_mut(stream).filter(|open| open.headed && !open.received) else {
            self.owe(flow);
            if self.streams.get(stream).is_some() {
                self.fault(stream, Code::STREAM_CLOSED, events);
                return Ok(());
            }
            // Of a frame in pieces the last one counts.
            return if last || self.is_idle(stream) { self.not_open(stream, flow) } else { Ok(()) };
        };
        open.recv_window -= flow as i64;
        open.held += flow;
        open.received = end;
        if open.recv_window < 0 {
            self.fault(stream, Code::FLOW_CONTROL_ERROR, events);
            return Ok(());
        }
        if let Some(left) = &mut open.left {
            let enough = left.checked_sub(range.len() as u64);
            *left = enough.unwrap_or(0);
            if enough.is_none() || (end && *left > 0) {
                self.fault(stream, Code::PROTOCOL_ERROR, events);
                return Ok(());
            }
        }
        if flow == 0 && !end {
            return self.nuisance();
        }
        self.nuisances = 0;
        if end {
            self.complete(stream);
        }
        events.push(Event::Data { stream, range, flow, end });
        Ok(())
    }

    fn fields(
        &mut self,
        stream: u32,
        fields: Fields,
        whole: bool,
        end: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Code> {
        if self.streams.get(stream).is_none() {
            if !self.server || !self.is_idle(stream) {
                return self.not_open_for_fields(stream);
            }
            if stream.is_multiple_of(2) {
                return Err(Code::PROTOCOL_ERROR);
            }
            self.last = stream;
            if self.streams.len() >= self.limits.streams_max as usize {
                self.remember(stream, true);
                wire::reset(stream, Code::REFUSED_STREAM, &mut self.out);
                return self.nuisance();
            }
            self.add(stream);
        }
        let Some(open) = self.streams.get_mut(stream) else { return Ok(()) };
        if open.received {
            self.fault(stream, Code::STREAM_CLOSED, events);
            return Ok(());
        }
        if open.headed {
            if !whole || !end || fields.trailers().is_err() || open.left.is_some_and(|left| left > 0) {
                self.fault(stream, Code::PROTOCOL_ERROR, events);
                return Ok(());
            }
            open.received = true;
            self.complete(stream);
            events.push(Event::Trailers { stream, fields });
            return Ok(());
        }
        if !whole {
            open.headed = true;
            open.received = end;
            if !self.server {
                self.give_up(stream, Code::CANCEL);
            }
            events.push(Event::TooLarge { stream });
            return Ok(());
        }
        let judged = if self.server { fields.request() } else { fields.response() };
        let interim = |facts: &Facts| !self.server && facts.status < 200;
        let lacks = |facts: &Facts| self.server && end && facts.length.is_some_and(|length| length > 0);
        let Ok(facts) = judged
            .map_err(|_| ())
            .and_then(|facts| if (interim(&facts) && end) || lacks(&facts) { Err(()) } else { Ok(facts) })
        else {
            self.fault(stream, Code::PROTOCOL_ERROR, events);
            return Ok(());
        };
        open.headed = !interim(&facts);
        open.interims += u8::from(!open.headed);
        if open.interims > INTERIMS_MAX {
            self.fault(stream, Code::ENHANCE_YOUR_CALM, events);
            return Ok(());
        }
        open.received = end;
        // A response without a body may say how long it would be.
        open.left = facts.length.filter(|_| !end && !open.asked_head && facts.status != 304);
        if !self.server {
            (self.nuisances, self.cancelled) = (0, 0);
        }
        if end {
            self.complete(stream);
        }
        events.push(Event::Head { stream, fields, facts, end });
        Ok(())
    }

    fn add(&mut self, stream: u32) {
        let new = Stream {
            send_window: i64::from(self.their_window),
            waits: VecDeque::new(),
            ending: None,
            listed: false,
            sent: false,
            recv_window: i64::from(self.limits.stream_window),
            recv_window_max: self.limits.stream_window,
            held: 0,
            owed: 0,
            interims: 0,
            headed: false,
            received: false,
            left: None,
            asked_head: false,
        };
        self.streams.insert(stream, new);
    }

    /// Forgets a stream on which both messages have ended, once what came on it has gone on.
    fn complete(&mut self, stream: u32) {
        if self.streams.get(stream).is_some_and(|open| open.sent && open.received && open.held == 0) {
            self.streams.remove(stream);
            if self.server {
                self.remember(stream, false);
            }
        }
    }

    /// A stream is gone, and what of it has not gone on.
    fn forget(&mut self, stream: u32) {
        if let Some(gone) = self.streams.remove(stream) {
            self.owe(gone.held);
        }
    }

    /// The peer did on this stream what it may not.
    fn fault(&mut self, stream: u32, code: Code, events: &mut Vec<Event>) {
        self.give_up(stream, code);
        events.push(Event::Reset { stream, code, ours: true });
    }

    fn give_up(&mut self, stream: u32, code: Code) {
        self.forget(stream);
        if self.server {
            self.remember(stream, true);
        }
        wire::reset(stream, code, &mut self.out);
    }

    fn was_reset(&mut self, stream: u32, code: Code, events: &mut Vec<Event>) -> Result<(), Code> {
        if self.is_idle(stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        if self.streams.get(stream).is_some() {
            self.forget(stream);
            events.push(Event::Reset { stream, code, ours: false });
        }
        self.cancelled += 1;
        if self.server && self.cancelled > CANCELLED_MAX { Err(Code::ENHANCE_YOUR_CALM) } else { Ok(()) }
    }

    fn settings(&mut self, settings: &[(u16, u32)], events: &mut Vec<Event>) -> Result<(), Code> {
        self.told = true;
        for (setting, value) in settings.iter().copied() {
            match setting {
                HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
                ENABLE_PUSH if value > u32::from(self.server) => return Err(Code::PROTOCOL_ERROR),
                MAX_CONCURRENT_STREAMS => self.their_streams_max = value,
                INITIAL_WINDOW_SIZE if i64::from(value) > WINDOW_BYTES_MAX => {
                    return Err(Code::FLOW_CONTROL_ERROR);
                }
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - i64::from(self.their_window);
                    self.their_window = value;
                    for (stream, open) in self.streams.iter_mut() {
                        open.send_window += change;
                        if open.send_window > WINDOW_BYTES_MAX {
                            return Err(Code::FLOW_CONTROL_ERROR);
                        }
                        if !open.listed && !open.waits.is_empty() {
                            open.listed = true;
                            self.waiting.push_back(stream);
                        }
                    }
                }
                MAX_FRAME_SIZE if !(FRAME_BYTES..1 << 24).contains(&(value as usize)) => {
                    return Err(Code::PROTOCOL_ERROR);
                }
                ENABLE_CONNECT_PROTOCOL if value > 1 => return Err(Code::PROTOCOL_ERROR),
                _ => {}
            }
        }
        wire::frame(SETTINGS, ACK, 0, &[], &mut self.out);
        self.pump(events);
        self.nuisance()
    }

    fn window(&mut self, stream: u32, bytes: i64, events: &mut Vec<Event>) -> Result<(), Code> {
        if stream == 0 {
            self.send_window += bytes;
            if bytes == 0 {
                return Err(Code::PROTOCOL_ERROR);
            }
            if self.send_window > WINDOW_BYTES_MAX {
                return Err(Code::FLOW_CONTROL_ERROR);
            }
        } else if let Some(open) = self.streams.get_mut(stream) {
            open.send_window += bytes;
            if bytes == 0 || open.send_window > WINDOW_BYTES_MAX {
                let code = if bytes == 0 { Code::PROTOCOL_ERROR } else { Code::FLOW_CONTROL_ERROR };
                self.fault(stream, code, events);
                return Ok(());
            }
            if !open.listed && !open.waits.is_empty() {
                open.listed = true;
                self.waiting.push_back(stream);
            }
        } else if self.is_idle(stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        self.pump(events);
        Ok(())
    }

    /// Ends a stream at once, in both directions.
    pub fn reset(&mut self, stream: u32, code: Code) {
        match self.streams.get(stream) {
            Some(open) if open.sent && open.received => self.forget(stream),
            Some(_) => self.give_up(stream, code),
            None => {}
        }
    }

    /// Tells the peer to open no more streams; those that are on their way are still served.
    pub fn go_away(&mut self) {
        if !self.going_away {
            self.going_away = true;
            wire::go_away(STREAM_MAX, Code::NO_ERROR, &mut self.out);
            // Its answer comes behind whatever was on its way when the peer read this (section 6.8).
            wire::frame(PING, 0, 0, &[0; 8], &mut self.out);
        }
    }

    /// Whether the peer was told to open no more streams, has seen it, and all that it opened have ended.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.seen && self.streams.is_empty()
    }

    /// Whether anything waits on this stream to be sent.
    #[must_use]
    pub fn waits(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|open| !open.waits.is_empty())
    }

    /// Whether our message on this stream has not ended yet.
    #[must_use]
    pub fn is_sending(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|open| !open.sent)
    }

    /// Says why the connection ends, and what of it was looked at.
    pub fn end(&mut self, code: Code) {
        self.going_away = true;
        let last = if self.server { self.last } else { 0 };
        wire::go_away(last, code, &mut self.out);
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
