//! What makes up a message and what does not, as RFC 9113 section 8 has it.

use super::*;

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name.as_bytes(), value.as_bytes(), Form::Plain);
    }
    fields
}

const GET: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "http"), (":path", "/")];

#[test]
fn whole_requests_say_what_they_are() {
    let grpc = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.B/C"),
        (":authority", "b"),
        ("te", "trailers"),
        ("content-type", "application/grpc+proto"),
    ];
    assert_eq!(fields(&grpc).request(), Ok(Facts { grpc: true, ..Facts::default() }));
    let sized = [GET.as_slice(), &[("content-length", "17"), ("content-length", "17")]].concat();
    assert_eq!(fields(&sized).request(), Ok(Facts { length: Some(17), ..Facts::default() }));
    for whole in [
        &[(":method", "CONNECT"), (":authority", "a:1")][..],
        &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")],
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "a"),
        ],
    ] {
        assert!(fields(whole).request().is_ok(), "{whole:?}");
    }
}

#[test]
fn what_is_no_request_is_malformed() {
    let with = |more: &[(&'static str, &'static str)]| [GET.as_slice(), more].concat();
    for list in [
        vec![],
        vec![(":method", "GET"), (":scheme", "http")],
        vec![(":method", "GET"), (":path", "/")],
        vec![(":scheme", "http"), (":path", "/")],
        vec![(":method", ""), (":scheme", "http"), (":path", "/")],
        vec![(":method", "G T"), (":scheme", "http"), (":path", "/")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "*")],
        vec![(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
        vec![(":method", "CONNECT")],
        with(&[(":method", "GET")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[(":protocol", "websocket")]),
        with(&[("x", "y"), (":authority", "late")]),
        with(&[("Upper", "x")]),
        with(&[("", "x")]),
        with(&[("sp ace", "x")]),
        with(&[("co:lon", "x")]),
        with(&[("x", "line\nend")]),
        with(&[("x", "line\rend")]),
        with(&[("x", "nul\0")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "1"), ("content-length", "2")]),
        with(&[("content-length", "+1")]),
        with(&[("content-length", "")]),
        with(&[("content-length", "99999999999999999999")]),
    ] {
        assert_eq!(fields(&list).request(), Err(Malformed), "{list:?}");
    }
}

#[test]
fn responses_have_one_status_and_trailers_have_none() {
    assert_eq!(fields(&[(":status", "204")]).response(), Ok(Facts { status: 204, ..Facts::default() }));
    for list in [
        &[][..],
        &[("x", "y")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "0xx")],
        &[(":status", "101")],
        &[(":status", "200"), (":status", "200")],
        &[(":method", "GET")],
        &[(":status", "200"), ("connection", "close")],
    ] {
        assert_eq!(fields(list).response(), Err(Malformed), "{list:?}");
    }
    assert_eq!(fields(&[("grpc-status", "5"), ("grpc-message", "not found: ")]).trailers(), Ok(()));
    assert_eq!(fields(&[(":status", "200")]).trailers(), Err(Malformed));
}

#[test]
fn fields_are_found_and_stay_in_order() {
    let list = fields(&[("a", "1"), ("b", ""), ("a", "x")]);
    assert_eq!((list.get(b"a"), list.get(b"b"), list.get(b"c")), (Some(&b"1"[..]), Some(&b""[..]), None));
    assert_eq!((list.number(b"a"), list.text(b"c")), (Some(1), ""));
    let all: Vec<_> = list.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"a", b"x")]);
}
