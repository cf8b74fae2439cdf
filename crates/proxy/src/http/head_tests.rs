use super::*;

const MAX: usize = 64 * 1024;

fn request(text: &str) -> Result<Request, BadHead> {
    Request::parse(text.as_bytes(), MAX).map(|r| r.expect("a whole head"))
}

fn forwarded(text: &str) -> String {
    String::from_utf8(request(text).unwrap().forward).unwrap()
}

#[test]
fn headers_keep_their_case_and_order() {
    let text = "GET /a?b=c HTTP/1.1\r\nhOsT: web\r\nX-B: 1\r\nx-a: 2\r\nX-B:  3 \r\n\r\n";
    assert_eq!(forwarded(text), "GET /a?b=c HTTP/1.1\r\nhOsT: web\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\n\r\n");
}

#[test]
fn headers_of_one_connection_are_not_sent_on() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n";
    assert_eq!(forwarded(text), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!request(text).unwrap().persistent);
}

#[test]
fn an_upgrade_is_asked_for_and_sent_on() {
    let text = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let head = request(text).unwrap();
    assert!(head.upgrade && !head.persistent);
    assert_eq!(
        forwarded(text),
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    );
}

#[test]
fn what_an_upgrade_to_h2c_needs_goes_with_it() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, X-Hop\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Hop: 1\r\n\r\n";
    assert_eq!(
        forwarded(text),
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n"
    );
    let without =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    assert_eq!(
        forwarded(without),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "without an upgrade it is for us alone"
    );
}

#[test]
fn a_client_of_http_1_0_keeps_its_version_and_its_wish_to_keep_the_connection() {
    let head = request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
    assert!(head.persistent);
    assert_eq!(String::from_utf8(head.forward).unwrap(), "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(!request("GET / HTTP/1.0\r\n\r\n").unwrap().persistent);
}

#[test]
fn heads_that_two_readers_could_read_differently_are_refused() {
    for (text, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ] {
        assert_eq!(request(text).map_err(BadHead::status).map(|r| r.method), Err(status), "{text}");
    }
}

#[test]
fn a_head_over_the_limit_is_refused_with_431() {
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX));
    assert_eq!(request(&many).unwrap_err().status(), 431);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(MAX));
    assert_eq!(Request::parse(long.as_bytes(), MAX).unwrap_err().status(), 431);
    assert!(Request::parse(&long.as_bytes()[..1000], MAX).unwrap().is_none());
}

#[test]
fn a_response_says_whether_its_connection_can_be_used_again() {
    let parse = |text: &str| Response::parse(text.as_bytes(), MAX, "GET").unwrap().unwrap();
    assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n").persistent);
    assert!(!parse("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n").persistent);
    assert!(!parse("HTTP/1.1 200 OK\r\n\r\n").persistent);
    assert!(!parse("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").persistent);
}

#[test]
fn an_application_cannot_pretend_that_a_proxy_answered() {
    let head = Response::parse(
        b"HTTP/1.1 503 No\r\nConduit-Proxy-Error: connect\r\nContent-Length: 0\r\n\r\n",
        MAX,
        "GET",
    );
    let head = head.unwrap().unwrap();
    assert_eq!(head.proxy_error.as_deref(), Some("connect"));
    assert_eq!(String::from_utf8(head.forward).unwrap(), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n");
}

#[test]
fn a_status_keeps_its_three_digits() {
    let head =
        Response::parse(b"HTTP/1.1 020 Odd\r\nContent-Length: 0\r\n\r\n", MAX, "GET").unwrap().unwrap();
    assert!(head.forward.starts_with(b"HTTP/1.1 020 Odd\r\n"));
}
