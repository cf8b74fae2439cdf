use super::*;

#[test]
fn only_a_clear_answer_takes_the_plugin_off_a_node() {
    let gone = |answer: &str| is_gone(answer.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(gone("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"metadata\": {\"name\": \"conduit-cni\"}}"), Ok(false));
    let going = "HTTP/1.0 200 OK\r\n\r\n{\"metadata\": {\"deletionTimestamp\": \"2026-01-01T00:00:00Z\"}}";
    assert_eq!(gone(going), Ok(true));
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        assert_eq!(gone(&format!("HTTP/1.0 {status}\r\n\r\n{{}}")), Ok(true));
    }
    for unclear in
        ["", "HTTP/1.0 500 Internal Server Error\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n{", "HTTP/1.0 200 OK\r\n"]
    {
        assert!(gone(unclear).is_err(), "{unclear:?}");
    }
}
