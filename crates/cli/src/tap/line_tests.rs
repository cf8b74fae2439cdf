use conduit_api::common::v1::{ServiceRef, TlsInfo};
use conduit_api::tap::v1::{RequestStart, ResponseHeaders};

use super::*;

fn peer(address: &str, name: &str) -> Option<Peer> {
    let address: SocketAddr = address.parse().unwrap();
    Some(Peer {
        address: Some(address.into()),
        identity: format!("spiffe://cluster.local/ns/default/sa/{name}"),
        workload: Some(WorkloadRef {
            namespace: "default".into(),
            kind: "Deployment".into(),
            name: name.into(),
        }),
        pod: Some(PodRef { namespace: "default".into(), name: format!("{name}-1") }),
        service: Some(ServiceRef { namespace: "default".into(), name: name.into(), port: 80 }),
    })
}

/// An event of web calling voting.
pub(crate) fn event(what: tap_event::Event) -> TapEvent {
    TapEvent {
        id: 458,
        pod: Some(PodRef { namespace: "default".into(), name: "web-1".into() }),
        direction: Direction::Outbound.into(),
        protocol: Protocol::Grpc.into(),
        source: peer("10.77.0.3:51234", "web"),
        destination: peer("10.77.0.5:8080", "voting"),
        tls: Some(TlsInfo {
            version: "TLSv1.3".into(),
            key_exchange: "X25519MLKEM768".into(),
            local_identity: String::new(),
            peer_identity: String::new(),
        }),
        time_unix_us: 1_700_000_000_000_000,
        event: Some(what),
    }
}

fn start(path: &str) -> tap_event::Event {
    tap_event::Event::RequestStart(RequestStart {
        method: "POST".into(),
        scheme: "http".into(),
        authority: "voting:80".into(),
        path: path.into(),
    })
}

fn line(event: &TapEvent, wide: bool) -> String {
    render(event, &mut Proxies::default(), wide, Paint::NONE)
}

const COMMON: &str = "id=0:458 proxy=out src=10.77.0.3:51234 dst=10.77.0.5:8080 tls=yes from=default/deploy/web to=default/deploy/voting";

#[test]
fn a_request_is_three_lines() {
    assert_eq!(
        line(&event(start("/vote.V1/Vote")), false),
        format!("req {COMMON} :method=POST :authority=voting:80 :path=/vote.V1/Vote\n")
    );
    let response = tap_event::Event::ResponseHeaders(ResponseHeaders { status: 200, since_request_us: 758 });
    assert_eq!(line(&event(response), false), format!("rsp {COMMON} :status=200 latency=758µs\n"));
    let end = End {
        duration_us: 9,
        request_bytes: 30,
        response_bytes: 5,
        grpc_status: Some(0),
        failure: String::new(),
        status: 200,
    };
    assert_eq!(
        line(&event(tap_event::Event::End(end)), false),
        format!("end {COMMON} grpc-status=OK duration=9µs response-length=5B\n")
    );
}

#[test]
fn wide_adds_pods_service_and_both_identities() {
    let expected = "req id=0:458 proxy=out src=10.77.0.3:51234 dst=10.77.0.5:8080 tls=TLSv1.3/X25519MLKEM768 \
        from=default/deploy/web to=default/deploy/voting :method=POST :scheme=http :authority=voting:80 :path=/v protocol=grpc \
        pod=default/web-1 src_pod=default/web-1 dst_pod=default/voting-1 service=default/voting:80 \
        src_identity=spiffe://cluster.local/ns/default/sa/web dst_identity=spiffe://cluster.local/ns/default/sa/voting\n";
    assert_eq!(line(&event(start("/v")), true), expected);
}

#[test]
fn a_connection_in_the_clear_that_broke_says_so() {
    let mut event = event(tap_event::Event::RequestStart(RequestStart::default()));
    event.protocol = Protocol::Opaque.into();
    event.direction = Direction::Inbound.into();
    event.tls = None;
    event.source = None;
    let common = "id=0:458 proxy=in src=- dst=10.77.0.5:8080 tls=no to=default/deploy/voting";
    assert_eq!(line(&event, false), format!("con {common} protocol=tcp\n"));
    event.event = Some(tap_event::Event::End(End {
        duration_us: 1_200_000,
        request_bytes: 2048,
        response_bytes: 5,
        failure: "reset by the client".into(),
        ..End::default()
    }));
    assert_eq!(
        line(&event, false),
        format!(
            "end {common} duration=1.2s request-length=2.0KiB response-length=5B failure=\"reset by the client\"\n"
        )
    );
}

#[test]
fn a_path_cannot_move_the_cursor() {
    let line = line(&event(start("/\x1b[2J\nx")), false);
    assert!(line.ends_with(":path=\"/\\u{1b}[2J\\nx\"\n"), "{line}");
}

#[test]
fn each_proxy_has_a_number_of_its_own() {
    let mut proxies = Proxies::default();
    let pod = |name: &str| PodRef { namespace: "default".into(), name: name.into() };
    assert_eq!(proxies.number(Some(&pod("a"))), 0);
    assert_eq!(proxies.number(Some(&pod("b"))), 1);
    assert_eq!(proxies.number(Some(&pod("a"))), 0);
}
