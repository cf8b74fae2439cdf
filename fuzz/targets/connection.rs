//! One end of an HTTP/2 connection that is told anything: how the bytes are cut into reads changes neither what is told nor what is
//! answered, no more streams are open than are allowed, and what is answered is HTTP/2.
#![no_main]

use std::collections::BTreeMap;

use conduit_logic::http2::connection::{Connection, Event, Limits};
use conduit_logic::http2::fields::Fields;
use conduit_logic::http2::hpack::Form;
use conduit_logic::http2::reader::Reader;
use conduit_logic::http2::wire::{Code, PREFACE};
use libfuzzer_sys::fuzz_target;

/// Small, so that they are often met; but for the connection's window, since what is owed of it depends on the cuts.
const LIMITS: Limits =
    Limits { streams_max: 5, header_bytes_max: 512, stream_window: 1000, connection_window: 1 << 30 };

#[derive(Debug, Default, PartialEq)]
struct Told {
    events: Vec<Event>,
    /// Bytes, flow and ends of data, by stream; of a stream that was at fault it depends on the cuts what came before.
    data: BTreeMap<u32, (usize, usize, bool)>,
}

fuzz_target!(|input: &[u8]| {
    let [server, cut, bytes @ ..] = input else { return };
    let whole = receive(server % 2 == 1, bytes, bytes.len());
    assert_eq!(whole, receive(server % 2 == 1, bytes, 1), "byte by byte");
    assert_eq!(whole, receive(server % 2 == 1, bytes, usize::from(*cut)), "in pieces of {cut}");
    let (mut reader, mut at) = (Reader::new(server.is_multiple_of(2), 1 << 20), 0);
    while reader.next(&whole.1, &mut at).expect("what is answered can be read").is_some() {}
});

fn receive(server: bool, bytes: &[u8], size: usize) -> (Told, Vec<u8>, Result<(), Code>) {
    let mut end = if server { Connection::server(LIMITS) } else { Connection::client(LIMITS) };
    let mut events = Vec::new();
    // Most inputs would not get so far by themselves.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let begin = if server { [PREFACE, &settings].concat() } else { settings.to_vec() };
    end.receive(&begin, &mut events).expect("a connection begins like this");
    if !server {
        let mut head = Fields::default();
        for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", "/")] {
            head.push(name.as_bytes(), value.as_bytes(), Form::Kept);
        }
        for _ in 0..3 {
            let stream = end.open(head.iter(), false).expect("there is room");
            end.send_data(stream, &[0; 40_000], true);
        }
    }
    let mut told = Told::default();
    let mut received = Ok(());
    for piece in bytes.chunks(size.max(1)) {
        received = end.receive(piece, &mut events);
        assert!(end.open_streams() <= LIMITS.streams_max as usize);
        for event in events.drain(..) {
            match event {
                Event::Data { stream, range, flow, end } => {
                    let data = told.data.entry(stream).or_default();
                    *data = (data.0 + range.len(), data.1 + flow, end);
                }
                Event::Reset { stream, ours: true, .. } => {
                    told.data.remove(&stream);
                    told.events.push(event);
                }
                event => told.events.push(event),
            }
        }
        if received.is_err() {
            break;
        }
    }
    (told, end.out, received)
}
