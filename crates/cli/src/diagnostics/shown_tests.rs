use super::*;

fn shown(text: &str, kind: Kind) -> Option<String> {
    render(text, kind, 1000, false, Paint::NONE)
}

#[test]
fn endpoints_are_a_table_by_service() {
    let text = r#"[
        {"address": "10.96.0.4:9001", "service": "d/web:80", "protocol": "grpc", "endpoints": [
            {"address": "10.77.0.6:9001", "identity": "spiffe://x", "latency_ms": 1.5, "pending": 2, "pod": "d/web-1", "state": "in"},
            {"address": "10.77.0.7:9001", "latency_ms": null, "pod": "d/web-2", "state": "out", "new": [1]}
        ]},
        {"address": "10.96.0.3:80", "service": "d/api:80", "protocol": "http", "endpoints": []}
    ]"#;
    let expected = "\
DESTINATION      SERVICE    PROTOCOL   ENDPOINT         POD       STATE   LATENCY   PENDING   SECURED
10.96.0.3:80     d/api:80   http       (none)           -         -             -         0   no
10.96.0.4:9001   d/web:80   grpc       10.77.0.6:9001   d/web-1   in        1.5ms         2   yes
10.96.0.4:9001   d/web:80   grpc       10.77.0.7:9001   d/web-2   out           -         0   no
";
    assert_eq!(shown(text, Kind::Endpoints).unwrap(), expected);
    assert!(shown("[]", Kind::Endpoints).unwrap().starts_with("this proxy knows no destination yet"));
}

#[test]
fn a_certificate_is_a_few_lines() {
    let text = r#"{"identity": "spiffe://x", "not_before_unix_s": 990, "not_after_unix_s": 4590, "chain_der_hex": ["00", "01"], "trust_anchors_der_hex": ["02"]}"#;
    let expected = "\
identity        spiffe://x
validity        valid for another 59m50s, of 1h
chain           2 certificates
trust anchors   1
";
    assert_eq!(shown(text, Kind::Certificate).unwrap(), expected);
    let ended = text.replace("4590", "995");
    assert!(shown(&ended, Kind::Certificate).unwrap().contains("validity        ended 5s ago, of 5s\n"));
}

#[test]
fn a_shape_that_is_not_known_is_left_to_be_shown_as_it_is() {
    assert_eq!(shown("[1]", Kind::Config), None);
    assert_eq!(shown("{}", Kind::Certificate), None);
    assert_eq!(shown("{}", Kind::Endpoints), None);
}

#[test]
fn the_configuration_is_shown_as_settings_and_their_values() {
    let text =
        r#"{"workers": 1, "idle-timeout": "60s", "pod-ips": ["10.1.0.2", "fd00::2"], "socket-mark": null}"#;
    let expected = "\
SETTING        VALUE
idle-timeout   60s
pod-ips        10.1.0.2,fd00::2
socket-mark    -
workers        1
";
    assert_eq!(shown(text, Kind::Config).unwrap(), expected);
}
