use clap::Parser;
use conduit_api::common::v1::{PodRef, SocketAddress};
use conduit_api::operator::v1::Resource;
use conduit_api::tap::v1::{End, Peer, RequestStart};

use super::*;
use crate::args::{Conduit, Verb};
use crate::output::Exit;

fn asked(line: &str) -> Result<TapRequest, Failure> {
    let Verb::Tap(tap) = Conduit::try_parse_from(line.split_whitespace()).unwrap().verb else {
        panic!("not tap")
    };
    request(&tap)
}

#[test]
fn every_filter_reaches_the_request() {
    let request = asked(
        "conduit tap deploy/web -n shop --direction out --to-port 8080 --scheme http --method post --authority web:80 \
         --path /orders --source 10.77.0.0/16 --destination fd77::5 --source-identity spiffe://cluster.local/ns/shop/sa/a \
         --destination-identity spiffe://cluster.local/ns/shop/sa/b --response-class 5xx --min-latency 10ms --protocol grpc \
         --max-rps 5 --sample-rate 0.5 --to svc/pay --from front",
    )
    .unwrap();
    let resource = |kind: &str, name: &str| {
        Some(Resource { namespace: "shop".into(), kind: kind.into(), name: name.into() })
    };
    let expected = TapRequest {
        resource: resource("Deployment", "web"),
        filter: Some(Filter {
            direction: Direction::Outbound.into(),
            port: 8080,
            scheme: "http".into(),
            method: "POST".into(),
            authority: "web:80".into(),
            path_prefix: "/orders".into(),
            source_ip: "10.77.0.0/16".into(),
            destination_ip: "fd77::5".into(),
            destination_workload: None,
            source_identity: "spiffe://cluster.local/ns/shop/sa/a".into(),
            destination_identity: "spiffe://cluster.local/ns/shop/sa/b".into(),
            response_class: ResponseClass::Status5xx.into(),
            min_latency_us: 10_000,
            protocol: Protocol::Grpc.into(),
        }),
        max_rps: 5.0,
        sample_rate: 0.5,
        to: resource("Service", "pay"),
        from: resource("", "front"),
    };
    assert_eq!(request, expected);
}

#[test]
fn no_filter_matches_anything() {
    let request = asked("conduit tap web").unwrap();
    assert_eq!(request.filter, Some(Filter::default()));
    assert_eq!((request.max_rps, request.sample_rate), (0.0, 0.0));
}

#[test]
fn slips_are_told_by_the_name_of_their_flag() {
    for (line, told) in [
        ("conduit tap web --source 10.0.0.0/33", "--source `10.0.0.0/33` is neither"),
        ("conduit tap web --destination web", "--destination `web` is neither"),
        ("conduit tap web --sample-rate 0", "--sample-rate 0 is not a share"),
        ("conduit tap web --sample-rate 1.5", "--sample-rate 1.5 is not a share"),
        ("conduit tap web --max-rps=-1", "--max-rps -1 is not a rate"),
        ("conduit tap web --source-identity web", "--source-identity: `web` is not a workload identity"),
    ] {
        let failure = asked(line).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage, "{line}");
        assert!(failure.to_string().starts_with(told), "{failure}");
    }
}

fn event(what: tap_event::Event) -> TapEvent {
    let address = SocketAddress { ip: vec![10, 77, 0, 3], port: 51_234 };
    TapEvent {
        id: 7,
        pod: Some(PodRef { namespace: "default".into(), name: "web-1".into() }),
        direction: Direction::Inbound.into(),
        protocol: Protocol::Http1.into(),
        source: Some(Peer { address: Some(address), identity: "spiffe://x".into(), ..Peer::default() }),
        event: Some(what),
        ..TapEvent::default()
    }
}

#[test]
fn json_has_one_flat_document_per_event() {
    let start = RequestStart {
        method: "GET".into(),
        scheme: "http".into(),
        authority: "web".into(),
        path: "/".into(),
    };
    let text =
        output::json_line(&json::Document::from(&event(tap_event::Event::RequestStart(start)))).unwrap();
    let expected = r#"{"event":"request_start","id":7,"time_unix_us":0,"pod":{"namespace":"default","name":"web-1"},"direction":"inbound","protocol":"http/1.1","source":{"address":"10.77.0.3:51234","identity":"spiffe://x","workload":null,"pod":null,"service":null},"destination":null,"tls":null,"method":"GET","scheme":"http","authority":"web","path":"/"}
"#;
    assert_eq!(text, expected);
    let end = End { duration_us: 9, status: 200, grpc_status: Some(14), ..End::default() };
    let text = output::json_line(&json::Document::from(&event(tap_event::Event::End(end)))).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["event"], &value["grpc_status"]), (&"end".into(), &14.into()));
    assert_eq!(value["grpc_status_name"], "UNAVAILABLE");
}
