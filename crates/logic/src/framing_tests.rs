use super::*;
use proptest::prelude::*;

fn request(minor: u8, headers: &[(&str, &str)]) -> Result<Body, Refusal> {
    request_body(minor, headers.iter().map(|(n, v)| (*n, v.as_bytes())))
}

#[test]
fn smuggling_vectors_are_refused() {
    for (headers, refusal) in [
        (&[("Content-Length", "5"), ("Transfer-Encoding", "chunked")][..], Refusal::BothLengths),
        (&[("transfer-encoding", "chunked"), ("content-length", "5")], Refusal::BothLengths),
        (&[("Content-Length", "5"), ("Content-Length", "6")], Refusal::ConflictingLengths),
        (&[("Content-Length", "5, 6")], Refusal::ConflictingLengths),
        (&[("Content-Length", "+5")], Refusal::BadLength),
        (&[("Content-Length", "0x5")], Refusal::BadLength),
        (&[("Content-Length", "")], Refusal::BadLength),
        (&[("Content-Length", "9223372036854775808")], Refusal::BadLength),
        (&[("Transfer-Encoding", "xchunked")], Refusal::BadTransferEncoding),
        (&[("Transfer-Encoding", "chunked, identity")], Refusal::BadTransferEncoding),
        (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], Refusal::BadTransferEncoding),
        (&[("Transfer-Encoding", "\u{b}chunked")], Refusal::BadTransferEncoding),
    ] {
        assert_eq!(request(1, headers), Err(refusal), "{headers:?}");
    }
    assert_eq!(request(0, &[("Transfer-Encoding", "chunked")]), Err(Refusal::TransferEncodingInHttp10));
}

#[test]
fn lengths_that_are_certain_are_read() {
    assert_eq!(request(1, &[]), Ok(Body::None));
    assert_eq!(request(1, &[("Content-Length", "7")]), Ok(Body::Fixed(7)));
    assert_eq!(request(1, &[("Content-Length", "7"), ("Content-Length", "7")]), Ok(Body::Fixed(7)));
    assert_eq!(request(1, &[("Transfer-Encoding", "gzip, Chunked")]), Ok(Body::Chunked));
    let response = |method: &[u8], status, headers: &[(&str, &str)]| {
        response_body(1, method, status, headers.iter().map(|(n, v)| (*n, v.as_bytes())))
    };
    assert_eq!(response(b"GET", 200, &[]), Ok(Body::UntilClose));
    assert_eq!(response(b"HEAD", 200, &[("Content-Length", "7")]), Ok(Body::None));
    assert_eq!(response(b"GET", 304, &[("Content-Length", "7")]), Ok(Body::None));
    assert_eq!(response(b"CONNECT", 200, &[]), Ok(Body::None));
    assert_eq!(response(b"GET", 200, &[("Transfer-Encoding", "gzip")]), Ok(Body::UntilClose));
    assert_eq!(
        response(b"GET", 200, &[("Content-Length", "1"), ("Transfer-Encoding", "chunked")]),
        Err(Refusal::BothLengths)
    );
}

#[test]
fn a_chunked_body_ends_where_it_ends_and_not_before() {
    for body in [
        &b"0\r\n\r\n"[..],
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;ext=\"a b\"\r\nhello\r\n00\r\nTrailer: x\r\nOther: y\r\n\r\n",
        b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    ] {
        let both = [body, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(Progress::new(Body::Chunked).take(&both), Ok(body.len()));
        let mut bytewise = Progress::new(Body::Chunked);
        for (n, byte) in body.iter().enumerate() {
            assert!(!bytewise.is_done(), "done at {n}");
            assert_eq!(bytewise.take(&[*byte]), Ok(1));
        }
        assert!(bytewise.is_done());
    }
}

#[test]
fn broken_chunks_are_refused() {
    for body in [
        &b"\r\n"[..],
        b"g\r\n",
        b"5\nhello",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"-1\r\n",
        b" 5\r\n",
        b"0\r\n\n",
        b"0\r\nA: b\n\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"1000000000000000\r\n",
    ] {
        assert_eq!(
            Progress::new(Body::Chunked).take(body),
            Err(Refusal::BadChunk),
            "{:?}",
            String::from_utf8_lossy(body)
        );
    }
    let long = format!("5;{}", "a".repeat(300));
    assert_eq!(Progress::new(Body::Chunked).take(long.as_bytes()), Err(Refusal::TooLong));
}

#[test]
fn a_connection_that_ends_early_is_not_a_whole_body() {
    let mut fixed = Progress::new(Body::Fixed(5));
    assert_eq!(fixed.take(b"hel"), Ok(3));
    assert_eq!(fixed.end(), Err(Refusal::Truncated));
    let mut open = Progress::new(Body::UntilClose);
    assert_eq!(open.take(b"hel"), Ok(3));
    assert_eq!(open.end(), Ok(()));
}

proptest! {
    #[test]
    fn cutting_the_bytes_elsewhere_changes_nothing(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b'a'), Just(b';')], 0..60), cut in 0usize..60) {
        let whole = Progress::new(Body::Chunked).take(&bytes);
        let mut parts = Progress::new(Body::Chunked);
        let cut = cut.min(bytes.len());
        let split = parts.take(&bytes[..cut]).and_then(|n| if n < cut { Ok(n) } else { parts.take(&bytes[cut..]).map(|m| n + m) });
        prop_assert_eq!(whole, split);
    }
}
