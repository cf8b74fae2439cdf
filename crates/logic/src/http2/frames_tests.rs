//! What is told of a connection that passes by, cut into pieces anyhow; that its bytes stay as they were; and what ends it.

use super::super::wire::{PADDED, WITH_PRIORITY};
use super::*;

/// What was told, as text.
#[derive(Default)]
struct Told(Vec<String>);

impl Watch for Told {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    }
    fn headers(&mut self, stream: u32, ends: bool) {
        self.0.push(format!("headers {stream} {ends}"));
    }
    fn data(&mut self, stream: u32, bytes: usize, ends: bool) {
        self.0.push(format!("data {stream} {bytes} {ends}"));
    }
    fn reset(&mut self, stream: u32, code: u32) {
        self.0.push(format!("reset {stream} {code}"));
    }
    fn go_away(&mut self, last_stream: u32) {
        self.0.push(format!("go away {last_stream}"));
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client's bytes: two requests, one of them with padding, priority and in three pieces, data, trailers, a reset.
fn client() -> Vec<u8> {
    [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0]),
        &frame(HEADERS, END_HEADERS, 1, &[0x83, 0x86, 0x84]),
        &frame(DATA, 0, 1, b"hello"),
        &frame(0x42, 0xff, 3, b"unknown"),
        &frame(HEADERS, PADDED | WITH_PRIORITY, 3, &[2, 0, 0, 0, 0, 9, 0x82, 0, 0]),
        &frame(CONTINUATION, 0, 3, &[]),
        &frame(CONTINUATION, END_HEADERS, 3, &[0x86, 0x84]),
        &frame(DATA, END_STREAM, 1, b""),
        &frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x90]),
        &frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        &frame(GOAWAY, 0, 0, b"\x80\x00\x00\x07\x00\x00\x00\x00why"),
    ]
    .concat()
}

/// From a server that has begun.
fn server() -> Frames {
    let mut frames = Frames::of_server(1024, 50);
    frames.pass(&frame(SETTINGS, 0, 0, &[]), &mut Vec::new(), &mut Told::default()).unwrap();
    frames
}

#[test]
fn streams_are_told_of_and_bytes_stay_as_they_are_however_they_are_cut() {
    let client = client();
    for size in 1..=client.len() {
        let (mut frames, mut out, mut told) = (Frames::of_client(1024), Vec::new(), Told::default());
        for piece in client.chunks(size) {
            frames.pass(piece, &mut out, &mut told).unwrap();
        }
        assert!(out == client && frames.is_between(), "cut into pieces of {size}");
        assert_eq!(
            told.0,
            [
                ":method=POST",
                ":scheme=http",
                ":path=/",
                "headers 1 false",
                "data 1 5 false",
                ":method=GET",
                ":scheme=http",
                ":path=/",
                "headers 3 false",
                "data 1 0 true",
                "accept-encoding=gzip, deflate",
                "headers 3 true",
                "reset 3 8",
                "go away 7",
            ],
            "cut into pieces of {size}"
        );
    }
}

#[test]
fn a_frame_of_ones_own_has_no_place_inside_of_another_or_of_a_split_block() {
    let (mut frames, mut out, mut told) = (server(), Vec::new(), Told::default());
    let mut between = |bytes: &[u8]| {
        frames.pass(bytes, &mut out, &mut told).unwrap();
        frames.is_between()
    };
    assert!(!between(&[0, 0, 5, DATA]));
    assert!(!between(&[0, 0, 0, 0, 1, b'h']));
    assert!(between(b"ello"));
    assert!(!between(&frame(HEADERS, 0, 1, &[0x88])));
    assert!(between(&frame(CONTINUATION, END_HEADERS, 1, &[])));
}

#[test]
fn a_peer_is_told_of_no_larger_table_and_no_more_streams_than_are_kept() {
    let setting = |id: u8, value: u16| [&[0, id, 0, 0][..], &value.to_be_bytes()].concat();
    let settings = |list: &[Vec<u8>]| frame(SETTINGS, 0, 0, &list.concat());
    let cases = [
        (
            settings(&[setting(4, 7), setting(1, 9999), setting(1, 9)]),
            settings(&[setting(4, 7), setting(1, 4096), setting(1, 9), setting(3, 50)]),
        ),
        (settings(&[]), settings(&[setting(3, 50)])),
        (settings(&[setting(3, 100)]), settings(&[setting(3, 50)])),
        (settings(&[setting(3, 20)]), settings(&[setting(3, 20)])),
    ];
    for (theirs, ours) in cases {
        for size in 1..=theirs.len() {
            let (mut frames, mut out) = (Frames::of_server(1024, 50), Vec::new());
            for piece in theirs.chunks(size) {
                frames.pass(piece, &mut out, &mut Told::default()).unwrap();
            }
            assert_eq!(out, ours);
        }
    }
    // It is told once, and again only when the server speaks of it.
    let (mut frames, mut out) = (Frames::of_server(1024, 50), Vec::new());
    frames.pass(&settings(&[]).repeat(2), &mut out, &mut Told::default()).unwrap();
    assert_eq!(out, [settings(&[setting(3, 50)]), settings(&[])].concat());
}

#[test]
fn what_cannot_be_followed_ends_the_connection() {
    let begun = frame(HEADERS, 0, 1, &[0x82]);
    let flood = [&begun[..], &frame(CONTINUATION, 0, 1, &[]).repeat(40)].concat();
    for (bytes, broken) in [
        (frame(CONTINUATION, END_HEADERS, 1, &[0x82]), Broken::Frame),
        ([&begun[..], &frame(DATA, 0, 1, b"x")].concat(), Broken::Frame),
        ([&begun[..], &frame(CONTINUATION, 0, 3, &[0x82])].concat(), Broken::Frame),
        (frame(RST_STREAM, 0, 1, &[0; 5]), Broken::Frame),
        (frame(SETTINGS, 0, 0, &[0; 5]), Broken::Frame),
        (frame(GOAWAY, 0, 0, &[0; 7]), Broken::Frame),
        (frame(HEADERS, PADDED | END_HEADERS, 1, &[9, 0x82]), Broken::Frame),
        (frame(HEADERS, WITH_PRIORITY | END_HEADERS, 1, &[0; 4]), Broken::Frame),
        (frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 3]), Broken::Frame),
        (frame(HEADERS, END_HEADERS, 1, &[0x80]), Broken::Fields),
        (frame(HEADERS, END_HEADERS, 1, &[0; 1025]), Broken::TooLarge),
        (flood, Broken::TooLarge),
    ] {
        let told = server().pass(&bytes, &mut Vec::new(), &mut Told::default());
        assert_eq!(told, Err(broken), "{bytes:?}");
    }
    for (mut frames, bytes) in [
        (Frames::of_client(1024), &b"GET / HTTP/1.1\r\n"[..]),
        (Frames::of_client(1024), b"PRI * HTTP/1.1\r\n"),
        (Frames::of_client(1024), &[PREFACE, &frame(DATA, 0, 1, b"x")].concat()),
        (Frames::of_server(1024, 50), b"HTTP/1.1 400 Bad Request\r\n"),
    ] {
        let mut out = Vec::new();
        let passed = bytes.chunks(5).try_for_each(|piece| frames.pass(piece, &mut out, &mut Told::default()));
        assert_eq!(passed, Err(Broken::NoPreface));
        assert!(!frames.has_begun() && (out.is_empty() || out == PREFACE));
    }
}
