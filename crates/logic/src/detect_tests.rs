use super::*;
use proptest::prelude::*;

fn is(protocol: Protocol) -> Verdict {
    Verdict::Is(protocol)
}

#[test]
fn first_bytes_of_known_protocols_are_told_apart() {
    for (bytes, verdict) in [
        (&b""[..], Verdict::Need),
        (b"G", Verdict::Need),
        (b"GET /index", Verdict::Need),
        (b"GET / HTTP/1.1\r\n", is(Protocol::Http1)),
        (b"get / HTTP/1.1\r\nHost: a\r\n", is(Protocol::Http1)),
        (b"BREW /pot HTTP/1.0\n", is(Protocol::Http1)),
        (b"PRI * HTT", Verdict::Need),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", is(Protocol::Http2)),
        (b"PRIVMSG a :b\r\n", is(Protocol::Opaque)),
        (b"\x16\x03", Verdict::Need),
        (b"\x16\x03\x01\x02\x00\x01\x00", is(Protocol::Tls)),
        (b"\x16\x03\x01\x02\x00\x02\x00", is(Protocol::Opaque)),
        (b"*1\r\n$4\r\nPING\r\n", is(Protocol::Opaque)),
        (b"GET key\r\n", is(Protocol::Opaque)),
        (b"HELO mail\r\n", is(Protocol::Opaque)),
        (b"HELO", is(Protocol::Opaque)),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", is(Protocol::Opaque)),
    ] {
        assert_eq!(detect(bytes), verdict, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_first_line_without_end_is_not_waited_for_without_end() {
    let mut line = b"GET /".to_vec();
    line.resize(FIRST_LINE_BYTES_MAX, b'a');
    assert_eq!(detect(&line), is(Protocol::Http1));
}

proptest! {
    #[test]
    fn a_verdict_never_changes_when_more_bytes_come(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0usize..64) {
        let early = detect(&bytes[..cut.min(bytes.len())]);
        if early == is(Protocol::Tls) || early == is(Protocol::Http2) {
            prop_assert_eq!(detect(&bytes), early);
        }
    }
}
