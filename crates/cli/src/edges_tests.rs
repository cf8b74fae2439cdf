use conduit_api::common::v1::Protocol;
use conduit_api::operator::v1::Golden;

use super::*;

fn workload(name: &str) -> Option<WorkloadRef> {
    Some(WorkloadRef { namespace: "default".into(), kind: "Deployment".into(), name: name.into() })
}

fn response() -> EdgesResponse {
    let golden = Golden {
        requests: 10,
        success_rate: 0.9,
        failures: 1,
        rps: 0.16,
        p50_ms: 1.0,
        p95_ms: 2.0,
        p99_ms: 3.0,
        ..Golden::default()
    };
    let secured = Edge {
        source: workload("web"),
        destination: workload("voting"),
        service: Some(ServiceRef { namespace: "default".into(), name: "voting".into(), port: 8080 }),
        protocol: Protocol::Grpc.into(),
        secured: true,
        tls_version: "TLSv1.3".into(),
        key_exchange: "X25519MLKEM768".into(),
        source_identity: "spiffe://cluster.local/ns/default/sa/web".into(),
        destination_identity: "spiffe://cluster.local/ns/default/sa/voting".into(),
        golden: Some(golden),
    };
    let plain = Edge { destination: workload("web"), protocol: Protocol::Opaque.into(), ..Edge::default() };
    EdgesResponse { edges: vec![secured, plain] }
}

#[test]
fn an_edge_names_both_ends_and_says_whether_it_is_secured() {
    let expected = "\
SOURCE               DESTINATION             PROTOCOL   SECURED   SUCCESS   RPS     P50     P95     P99
default/deploy/web   default/deploy/voting   grpc       yes        90.00%   0.2   1.0ms   2.0ms   3.0ms
(unmeshed)           default/deploy/web      tcp        no              -     -       -       -       -
";
    assert_eq!(render(&response(), Format::Table, Paint::NONE), expected);
}

#[test]
fn wide_adds_the_tls_facts_and_both_identities() {
    let wide = render(&response(), Format::Wide, Paint::NONE);
    let row = wide.lines().nth(1).unwrap();
    assert!(
        row.ends_with(
            "   default/voting:8080   TLSv1.3   X25519MLKEM768   spiffe://cluster.local/ns/default/sa/web   spiffe://cluster.local/ns/default/sa/voting"
        ),
        "{row}"
    );
}

#[test]
fn json_says_null_for_an_end_that_is_not_known() {
    let response = response();
    let text = output::json_line(&Document::new(10, &response)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["window_s"], 10);
    assert_eq!(value["edges"][0]["source"]["name"], "web");
    assert_eq!(value["edges"][0]["service"]["port"], 8080);
    assert_eq!(value["edges"][0]["key_exchange"], "X25519MLKEM768");
    assert_eq!(value["edges"][1]["source"], serde_json::Value::Null);
    assert_eq!(value["edges"][1]["secured"], false);
}
