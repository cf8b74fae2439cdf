use clap::Parser;
use conduit_api::operator::v1::Golden;

use super::*;
use crate::args::{Conduit, Verb};

fn asked(line: &str) -> Result<StatRequest, Failure> {
    let Verb::Stat(stat) = Conduit::try_parse_from(line.split_whitespace()).unwrap().verb else {
        panic!("not stat")
    };
    request(&stat)
}

fn resource(namespace: &str, kind: &str, name: &str) -> Resource {
    Resource { namespace: namespace.into(), kind: kind.into(), name: name.into() }
}

fn web() -> StatRow {
    StatRow {
        resource: Some(resource("default", "Deployment", "web")),
        pods_meshed: 2,
        pods_total: 2,
        golden: Some(Golden {
            requests: 1200,
            failures: 18,
            mesh_failures: 1,
            success_rate: 0.985,
            rps: 20.0,
            p50_ms: 0.758,
            p95_ms: 12.34,
            p99_ms: 1204.0,
            connections: 4,
            bytes_sent_per_s: 2048.0,
            bytes_received_per_s: 10.0,
        }),
        secured_share: 1.0,
        protocols: vec![Protocol::Http1.into(), Protocol::Grpc.into()],
    }
}

fn ledger() -> StatRow {
    StatRow {
        resource: Some(resource("default", "StatefulSet", "ledger")),
        pods_meshed: 0,
        pods_total: 1,
        golden: Some(Golden { success_rate: 1.0, ..Golden::default() }),
        ..StatRow::default()
    }
}

#[test]
fn what_is_typed_becomes_a_request() {
    let request =
        asked("conduit stat deploy/web -n shop --window 10m --to svc/pay --from bank/front").unwrap_err();
    assert!(request.to_string().contains("`bank` is not a kind"));
    let request = asked("conduit stat deploy/web -n shop --window 10m --to svc/pay").unwrap();
    assert_eq!(
        request,
        StatRequest {
            resource: Some(resource("shop", "Deployment", "web")),
            window_s: 600,
            to: Some(resource("shop", "Service", "pay")),
            from: None,
        }
    );
    assert_eq!(asked("conduit stat").unwrap().resource, Some(Resource::default()));
}

#[test]
fn the_table_shows_what_was_measured_and_a_dash_for_the_rest() {
    let response = StatResponse { rows: vec![web(), ledger()] };
    let expected = "\
NAMESPACE   NAME         MESHED   SUCCESS    RPS     P50      P95    P99   SECURED
default     deploy/web      2/2    98.50%   20.0   758µs   12.3ms   1.2s      100%
default     sts/ledger      0/1         -      -       -        -      -         -
";
    assert_eq!(render(&response, Format::Table, Paint::NONE), expected);
}

#[test]
fn wide_adds_counts_bytes_and_protocols() {
    let response = StatResponse { rows: vec![web()] };
    let expected = "\
NAMESPACE   NAME         MESHED   SUCCESS    RPS     P50      P95    P99   SECURED   REQUESTS   FAILURES   MESH FAILURES   CONNECTIONS       SENT   RECEIVED   PROTOCOLS
default     deploy/web      2/2    98.50%   20.0   758µs   12.3ms   1.2s      100%       1200         18               1             4   2.0KiB/s      10B/s   http/1.1,grpc
";
    assert_eq!(render(&response, Format::Wide, Paint::NONE), expected);
}

#[test]
fn json_has_one_object_per_row() {
    let request = StatRequest { window_s: 60, ..StatRequest::default() };
    let document = Document::new(&request, &StatResponse { rows: vec![web()] });
    let expected = r#"{"window_s":60,"rows":[{"namespace":"default","kind":"Deployment","name":"web","pods_meshed":2,"pods_total":2,"requests":1200,"failures":18,"mesh_failures":1,"success_rate":0.985,"rps":20.0,"p50_ms":0.758,"p95_ms":12.34,"p99_ms":1204.0,"connections":4,"bytes_sent_per_s":2048.0,"bytes_received_per_s":10.0,"secured_share":1.0,"protocols":["http/1.1","grpc"]}]}
"#;
    assert_eq!(output::json_line(&document).unwrap(), expected);
}

#[test]
fn traffic_that_is_partly_in_the_clear_is_shown_in_red() {
    assert_eq!(secured(0.5, 10), Cell::new("50.00%", Tone::Bad));
    assert_eq!(secured(0.0, 0), Cell::new("-", Tone::Faint));
}
