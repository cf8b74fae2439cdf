//! An end of a connection that is told what it must not be told, and one that talks to the other end in the same process.

use super::super::hpack::Form;
use super::super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PREFACE, RST_STREAM, WINDOW_UPDATE,
};
use super::*;

const LIMITS: Limits =
    Limits { streams_max: 3, header_bytes_max: 1024, stream_window: 1000, connection_window: 70_000 };

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name.as_bytes(), value.as_bytes(), Form::Kept);
    }
    fields
}

fn get() -> Fields {
    fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x", "y")])
}

fn ok() -> Fields {
    fields(&[(":status", "200")])
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::frame(kind, flags, stream, payload, &mut out);
    out
}

/// Two ends that have said their settings.
fn pair(limits: Limits) -> (Connection, Connection) {
    let (mut client, mut server) = (Connection::client(limits), Connection::server(limits));
    for _ in 0..2 {
        assert_eq!(pass(&mut client, &mut server), []);
        assert_eq!(pass(&mut server, &mut client), []);
    }
    (client, server)
}

/// What is to be written at one end is read at the other.
fn pass(from: &mut Connection, to: &mut Connection) -> Vec<Event> {
    let mut events = Vec::new();
    to.receive(&std::mem::take(&mut from.out), &mut events).unwrap();
    events
}

/// What a server says about bytes behind a preface and settings: its events, its frames, and whether the connection goes on.
fn told(bytes: &[u8]) -> (Vec<Event>, Vec<u8>, Result<(), Code>) {
    let mut server = Connection::server(LIMITS);
    server.receive(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat(), &mut Vec::new()).unwrap();
    server.out.clear();
    let mut events = Vec::new();
    let received = server.receive(bytes, &mut events);
    (events, server.out, received)
}

/// GET on a stream: method, scheme and path of the static table.
fn request(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &[0x82, 0x86, 0x84])
}

#[test]
fn a_request_and_its_response_come_as_they_were_sent() {
    let (mut client, mut server) = pair(LIMITS);
    let stream = client.open(get().iter(), false).unwrap();
    assert_eq!(client.send_data(stream, b"hello", false), Sent { bytes: 5, ended: false });
    assert_eq!(client.send_trailers(stream, fields(&[("late", "1")])), Sent { bytes: 0, ended: true });
    let facts = Facts::default();
    let [head, data, trailers] = &pass(&mut client, &mut server)[..] else { panic!() };
    assert_eq!(*head, Event::Head { stream: 1, fields: get(), facts, end: false });
    assert!(matches!(data, Event::Data { stream: 1, flow: 5, end: false, .. }));
    assert_eq!(*trailers, Event::Trailers { stream: 1, fields: fields(&[("late", "1")]) });
    server.send_head(stream, fields(&[(":status", "103")]).iter(), false);
    server.send_head(stream, ok().iter(), true);
    assert_eq!((client.open_streams(), server.open_streams()), (1, 1), "five bytes have not gone on yet");
    server.release(stream, 5);
    let events = pass(&mut server, &mut client);
    let statuses: Vec<u16> = events
        .iter()
        .map(|event| if let Event::Head { facts, .. } = event { facts.status } else { 0 })
        .collect();
    assert_eq!(statuses, [103, 200]);
    assert_eq!((client.open_streams(), server.open_streams()), (0, 0));
}

#[test]
fn what_has_no_window_waits_and_goes_on_with_its_end_when_there_is_one() {
    let (mut client, mut server) = pair(LIMITS);
    let stream = client.open(get().iter(), false).unwrap();
    let body: Vec<u8> = (0..2500_u32).map(|n| n as u8).collect();
    assert_eq!(client.send_data(stream, &body, false), Sent { bytes: 1000, ended: false });
    assert_eq!(client.send_trailers(stream, fields(&[("late", "1")])), Sent::default());
    let mut came = Vec::new();
    let mut moved = 1000;
    loop {
        let bytes = std::mem::take(&mut client.out);
        let mut events = Vec::new();
        server.receive(&bytes, &mut events).unwrap();
        let mut done = false;
        for event in events {
            match event {
                Event::Data { range, flow, .. } => {
                    came.extend_from_slice(&bytes[range]);
                    server.release(stream, flow);
                }
                Event::Trailers { .. } => done = true,
                _ => {}
            }
        }
        if done {
            break;
        }
        for event in pass(&mut server, &mut client) {
            let Event::Sent { stream: 1, sent } = event else { panic!("{event:?}") };
            moved += sent.bytes;
            assert_eq!(sent.ended, moved == 2500);
        }
    }
    assert!(came == body && moved == 2500);
}

#[test]
fn streams_above_those_that_were_looked_at_are_unheard_and_no_more_are_opened() {
    let (mut client, mut server) = pair(LIMITS);
    let streams: Vec<_> = (0..3).map(|_| client.open(get().iter(), true).unwrap()).collect();
    assert!(client.open(get().iter(), true).is_none(), "the server allows three");
    let goaway = frame(wire::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    let mut events = Vec::new();
    client.receive(&goaway, &mut events).unwrap();
    let unheard = |stream| Event::Unheard { stream, code: Code::NO_ERROR };
    assert_eq!(events, [unheard(streams[1]), unheard(streams[2])]);
    assert!(!client.has_room(10) && client.is_going_away() && client.open_streams() == 1);
    pass(&mut client, &mut server);
    server.send_head(1, ok().iter(), true);
    assert_eq!(pass(&mut server, &mut client).len(), 1, "what was looked at is answered");
}

#[test]
fn an_end_that_goes_away_is_drained_when_the_peer_knows_it_and_all_is_answered() {
    let (mut client, mut server) = pair(LIMITS);
    client.open(get().iter(), true).unwrap();
    server.go_away();
    assert_eq!(pass(&mut client, &mut server).len(), 1, "what was on its way is served");
    pass(&mut server, &mut client);
    assert!(!client.has_room(10) && !server.is_drained());
    server.send_head(1, ok().iter(), true);
    assert!(!server.is_drained(), "the client has not been heard of");
    pass(&mut client, &mut server);
    assert!(server.is_drained());
}

#[test]
fn one_stream_that_breaks_the_rules_is_reset_and_the_others_go_on() {
    let data = |flags, stream, bytes: &[u8]| frame(DATA, flags, stream, bytes);
    let sized = frame(HEADERS, END_HEADERS, 1, &[0x83, 0x86, 0x84, 0x0f, 13, 1, b'3']);
    for (bytes, code, what) in [
        ([request(1, END_STREAM), data(0, 1, b"x")].concat(), Code::STREAM_CLOSED, "data behind the end"),
        ([request(1, 0), request(1, 0)].concat(), Code::PROTOCOL_ERROR, "a second head without an end"),
        ([sized.clone(), data(0, 1, b"1234")].concat(), Code::PROTOCOL_ERROR, "more than it said"),
        ([sized, data(END_STREAM, 1, b"12")].concat(), Code::PROTOCOL_ERROR, "less than it said"),
        ([request(1, 0), data(0, 1, &[0; 1001])].concat(), Code::FLOW_CONTROL_ERROR, "more than the window"),
        (frame(HEADERS, END_HEADERS, 1, &[0x82, 0x86]), Code::PROTOCOL_ERROR, "no path"),
        (
            [request(1, 0), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Code::PROTOCOL_ERROR,
            "a window opened by nothing",
        ),
        (
            [request(1, 0), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(),
            Code::FLOW_CONTROL_ERROR,
            "a window opened too far",
        ),
    ] {
        let (events, out, received) = told(&[bytes, request(3, END_STREAM)].concat());
        assert!(received.is_ok(), "{what}: {received:?}");
        assert!(events.contains(&Event::Reset { stream: 1, code, ours: true }), "{what}: {events:?}");
        assert!(matches!(events.last(), Some(Event::Head { stream: 3, .. })), "{what}: {events:?}");
        let reset = frame(RST_STREAM, 0, 1, &code.0.to_be_bytes());
        assert!(out.windows(reset.len()).any(|part| part == reset), "{what}: {out:?}");
    }
    let many = [request(1, 0), request(3, 0), request(5, 0), request(7, 0)].concat();
    let (events, out, received) = told(&many);
    assert!(received.is_ok() && events.len() == 3);
    assert_eq!(out, frame(RST_STREAM, 0, 7, &Code::REFUSED_STREAM.0.to_be_bytes()));
}

#[test]
fn a_peer_that_breaks_the_rules_of_the_connection_is_told_and_left() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    let resets: Vec<u8> = (0..=CANCELLED_MAX)
        .flat_map(|n| [request(2 * n + 1, 0), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
        .collect();
    let setting = |id: u8, value: u32| frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat());
    for (bytes, code, what) in [
        (frame(DATA, 0, 0, b"x"), Code::PROTOCOL_ERROR, "data of no stream"),
        (frame(DATA, 0, 1, b"x"), Code::PROTOCOL_ERROR, "data of a stream that is not open"),
        (frame(DATA, PADDED, 1, &[3, 0, 0]), Code::PROTOCOL_ERROR, "more padding than there is"),
        (request(2, 0), Code::PROTOCOL_ERROR, "a stream that is the server's"),
        (frame(RST_STREAM, 0, 1, &[0; 4]), Code::PROTOCOL_ERROR, "a reset of what is not open"),
        (frame(RST_STREAM, 0, 1, &[0; 3]), Code::FRAME_SIZE_ERROR, "a short reset"),
        (frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), Code::PROTOCOL_ERROR, "a window of what is not open"),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR, "a window opened by nothing"),
        (frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Code::FLOW_CONTROL_ERROR, "one too far"),
        (frame(PING, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR, "a short ping"),
        (frame(PING, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR, "a ping of a stream"),
        (frame(wire::PUSH_PROMISE, END_HEADERS, 1, &[0; 8]), Code::PROTOCOL_ERROR, "a promise"),
        (frame(CONTINUATION, END_HEADERS, 1, &[0x82]), Code::PROTOCOL_ERROR, "what continues nothing"),
        ([frame(HEADERS, 0, 1, &[0x82]), ping.clone()].concat(), Code::PROTOCOL_ERROR, "a split block"),
        (frame(HEADERS, END_HEADERS, 1, &[0x80]), Code::COMPRESSION_ERROR, "a block without sense"),
        (frame(DATA, 0, 1, &[0; FRAME_BYTES + 1]), Code::FRAME_SIZE_ERROR, "a large frame"),
        (frame(SETTINGS, ACK, 0, &[0; 6]), Code::FRAME_SIZE_ERROR, "settings in an answer"),
        (frame(SETTINGS, 0, 1, &[]), Code::PROTOCOL_ERROR, "settings of a stream"),
        (setting(2, 2), Code::PROTOCOL_ERROR, "push neither on nor off"),
        (setting(4, 1 << 31), Code::FLOW_CONTROL_ERROR, "a window without end"),
        (setting(5, 1000), Code::PROTOCOL_ERROR, "frames smaller than they may be"),
        (ping.repeat(1001), Code::ENHANCE_YOUR_CALM, "a flood of pings"),
        (setting(4, 1).repeat(1001), Code::ENHANCE_YOUR_CALM, "a flood of settings"),
        (
            [request(1, 0), frame(DATA, 0, 1, &[]).repeat(1001)].concat(),
            Code::ENHANCE_YOUR_CALM,
            "a flood of nothing",
        ),
        (resets, Code::ENHANCE_YOUR_CALM, "a flood of resets"),
        (
            [frame(HEADERS, 0, 1, &[0x82]), frame(CONTINUATION, 0, 1, &[]).repeat(40)].concat(),
            Code::ENHANCE_YOUR_CALM,
            "a block in too many pieces",
        ),
        (frame(HEADERS, 0, 1, &[0; 5000]), Code::ENHANCE_YOUR_CALM, "a block too large by far"),
    ] {
        let (_, out, received) = told(&bytes);
        assert_eq!(received, Err(code), "{what}");
        let last = &out[out.len() - 17..];
        assert_eq!((last[3], &last[13..]), (wire::GOAWAY, &code.0.to_be_bytes()[..]), "{what}");
    }
    let first = |bytes: &[u8]| Connection::server(LIMITS).receive(bytes, &mut Vec::new());
    assert_eq!(first(b"GET / HTTP/1.1\r\n\r\n"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(first(&[PREFACE, &ping].concat()), Err(Code::PROTOCOL_ERROR), "settings come first");
}

#[test]
fn a_server_that_breaks_the_rules_loses_its_stream_or_the_connection() {
    let answer = |bytes: &[u8]| {
        let (mut client, _) = pair(LIMITS);
        client.open(get().iter(), true).unwrap();
        let mut events = Vec::new();
        let received = client.receive(bytes, &mut events);
        (events, received)
    };
    let head = |flags, block: &[u8]| frame(HEADERS, flags | END_HEADERS, 1, block);
    for (bytes, code, what) in [
        (head(0, &[0x82]), Code::PROTOCOL_ERROR, "a request for an answer"),
        (
            head(END_STREAM, &[0x08, 3, b'1', b'0', b'3']),
            Code::PROTOCOL_ERROR,
            "an end behind an interim head",
        ),
        (head(0, &[0x08, 3, b'1', b'0', b'1']), Code::PROTOCOL_ERROR, "101"),
        (frame(DATA, 0, 1, b"x"), Code::STREAM_CLOSED, "data before a head"),
    ] {
        let (events, received) = answer(&bytes);
        assert_eq!(received, Ok(()), "{what}");
        assert_eq!(events, [Event::Reset { stream: 1, code, ours: true }], "{what}");
    }
    let early = head(0, &[0x08, 3, b'1', b'0', b'3']);
    assert_eq!(answer(&early.repeat(16)).0.len(), 16);
    let last = answer(&early.repeat(17)).0.pop();
    assert_eq!(last, Some(Event::Reset { stream: 1, code: Code::ENHANCE_YOUR_CALM, ours: true }));
    assert_eq!(answer(&frame(HEADERS, END_HEADERS, 3, &[0x88])).1, Err(Code::PROTOCOL_ERROR));
    assert_eq!(answer(&frame(HEADERS, END_HEADERS, 2, &[0x88])).1, Err(Code::PROTOCOL_ERROR));
    let pushes = frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]);
    assert_eq!(answer(&pushes).1, Err(Code::PROTOCOL_ERROR));
}

#[test]
fn a_head_that_is_somewhat_too_large_is_told_and_the_connection_goes_on() {
    let large = [&[0x82, 0x86, 0x84, 0, 1, b'x', 0x7f, 0xe1, 0x0a][..], &[b'y'; 1504]].concat();
    let (events, out, received) =
        told(&[frame(HEADERS, END_HEADERS, 1, &large), request(3, END_STREAM)].concat());
    assert!(received.is_ok() && out.is_empty(), "{received:?}");
    assert_eq!(events[0], Event::TooLarge { stream: 1 });
    assert!(matches!(events[1], Event::Head { stream: 3, .. }));
}

#[test]
fn a_block_larger_than_a_frame_is_split_and_comes_whole() {
    let large = Limits { header_bytes_max: 1 << 20, ..LIMITS };
    let (mut client, mut server) = pair(large);
    let long = "z".repeat(50_000);
    let mut head = get();
    head.push(b"long", long.as_bytes(), Form::Plain);
    client.open(head.iter(), true).unwrap();
    let events = pass(&mut client, &mut server);
    assert!(events == [Event::Head { stream: 1, fields: head, facts: Facts::default(), end: true }]);
}

#[test]
fn all_that_came_is_given_back_however_its_stream_ends() {
    let (mut client, mut server) = pair(LIMITS);
    for round in 0..200 {
        let stream = client.open(get().iter(), false).unwrap();
        assert_eq!(client.send_data(stream, &[0; 1000], true).bytes, 1000, "round {round}");
        pass(&mut client, &mut server);
        match round % 3 {
            0 => server.reset(stream, Code::CANCEL),
            1 => {
                server.send_head(stream, ok().iter(), true);
                server.release(stream, 1000);
            }
            _ => {
                server.send_head(stream, ok().iter(), true);
                client.reset(stream, Code::CANCEL);
                pass(&mut client, &mut server);
                server.reset(stream, Code::NO_ERROR);
            }
        }
        pass(&mut server, &mut client);
        assert_eq!((client.open_streams(), server.open_streams()), (0, 0), "round {round}");
    }
}

/// What a client may send at once on a stream after so many windows, of which the server's reader has passed on all but `kept` bytes.
fn window_after(rounds: usize, kept: usize) -> usize {
    let (mut client, mut server) = pair(LIMITS);
    let stream = client.open(get().iter(), false).unwrap();
    pass(&mut client, &mut server);
    let mut held = 0;
    for _ in 0..rounds {
        let sent = client.send_data(stream, &[0; 100], false).bytes;
        pass(&mut client, &mut server);
        held += sent;
        if held > kept {
            server.release(stream, held - kept);
            held = kept;
        }
        pass(&mut server, &mut client);
    }
    client.send_data(stream, &[0; 70_000], false).bytes
}

#[test]
fn a_reader_that_keeps_up_is_sent_more_at_once_and_one_that_does_not_holds_no_more_than_at_first() {
    assert!(window_after(10, 0) > 1000);
    assert!((20_000..=70_000 / 2).contains(&window_after(600, 0)));
    assert!(window_after(600, 100) <= 1000);
}

#[test]
fn a_connection_is_clogged_at_both_ends_while_its_readers_hold_more_than_half_of_its_window_and_not_after() {
    let limits = Limits { streams_max: 3, stream_window: 70_000, ..LIMITS };
    let (mut client, mut server) = pair(limits);
    let streams = [(); 2].map(|()| client.open(get().iter(), false).unwrap());
    pass(&mut client, &mut server);
    assert!(!client.is_clogged() && !server.is_clogged());
    for stream in streams {
        client.send_data(stream, &[0; 30_000], false);
        pass(&mut client, &mut server);
    }
    assert!(server.is_clogged() && client.is_clogged());
    for stream in streams {
        server.release(stream, 30_000);
    }
    pass(&mut server, &mut client);
    assert!(!client.is_clogged() && !server.is_clogged());
}

#[test]
fn streams_are_read_on_though_slow_readers_hold_nearly_all_that_their_connection_may() {
    let limits = Limits { streams_max: 3, stream_window: 65_000, ..LIMITS };
    let (mut client, mut server) = pair(limits);
    let [slow, read] = [(); 2].map(|()| client.open(get().iter(), false).unwrap());
    pass(&mut client, &mut server);
    assert_eq!(client.send_data(slow, &[0; 65_000], false).bytes, 65_000);
    pass(&mut client, &mut server);
    for round in 0..100 {
        assert_eq!(client.send_data(read, &[0; 1000], false).bytes, 1000, "round {round}");
        pass(&mut client, &mut server);
        server.release(read, 1000);
        pass(&mut server, &mut client);
    }
}

#[test]
fn what_was_read_before_a_slow_reader_took_the_rest_of_the_window_is_given_back() {
    let limits = Limits { streams_max: 3, stream_window: 65_000, ..LIMITS };
    let (mut client, mut server) = pair(limits);
    let [slow, read] = [(); 2].map(|()| client.open(get().iter(), false).unwrap());
    client.send_data(read, &[0; 30_000], false);
    pass(&mut client, &mut server);
    server.release(read, 30_000);
    pass(&mut server, &mut client);
    assert_eq!(client.send_data(slow, &[0; 40_000], false).bytes, 40_000);
    pass(&mut client, &mut server);
    pass(&mut server, &mut client);
    assert_eq!(client.send_data(read, &[0; 1000], false).bytes, 1000);
}

#[test]
fn a_client_that_measures_round_trips_with_every_message_it_is_sent_is_no_nuisance() {
    let (mut client, mut server) = pair(LIMITS);
    let stream = client.open(get().iter(), true).unwrap();
    pass(&mut client, &mut server);
    server.send_head(stream, ok().iter(), false);
    for _ in 0..3 * NUISANCES_MAX {
        assert_eq!(server.send_data(stream, b"tick", false).bytes, 4);
        pass(&mut server, &mut client);
        client.release(stream, 4);
        client.out.extend(frame(PING, 0, 0, &[0; 8]));
        pass(&mut client, &mut server);
    }
}

#[test]
fn one_that_keeps_an_idle_connection_alive_is_no_nuisance_when_it_is_forgiven_now_and_then() {
    let (_, mut server) = pair(LIMITS);
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(NUISANCES_MAX as usize);
    for _ in 0..3 {
        server.forgive();
        assert_eq!(server.receive(&pings, &mut Vec::new()), Ok(()));
    }
}

#[test]
fn small_messages_that_were_on_their_way_when_their_stream_was_reset_end_nothing_else() {
    for by_client in [true, false] {
        let (mut client, mut server) = pair(Limits { stream_window: 60_000, ..LIMITS });
        let stream = client.open(get().iter(), false).unwrap();
        pass(&mut client, &mut server);
        server.send_head(stream, ok().iter(), false);
        let (from, to) = if by_client { (&mut server, &mut client) } else { (&mut client, &mut server) };
        for _ in 0..2 * NUISANCES_MAX {
            assert_eq!(from.send_data(stream, &[0; 20], false).bytes, 20);
        }
        to.reset(stream, Code::CANCEL);
        to.out.clear();
        assert_eq!(pass(from, to), []);
    }
}

#[test]
fn a_head_that_was_asked_for_alone_may_say_how_long_the_body_would_be() {
    let head = fields(&[(":method", "HEAD"), (":scheme", "http"), (":path", "/")]);
    for (asked, status) in [(head, "200"), (get(), "304")] {
        let (mut client, mut server) = pair(LIMITS);
        let stream = client.open(asked.iter(), true).unwrap();
        pass(&mut client, &mut server);
        server.send_head(stream, fields(&[(":status", status), ("content-length", "10")]).iter(), false);
        server.send_data(stream, &[], true);
        let events = pass(&mut server, &mut client);
        assert!(matches!(events[..], [Event::Head { .. }, Event::Data { end: true, .. }]), "{events:?}");
    }
}
