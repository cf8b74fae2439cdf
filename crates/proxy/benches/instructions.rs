//! The steps of a request, one at a time and as often as one likes, for counting their instructions: `cargo xtask instructions`
//! runs this under callgrind and holds the counts against those on record. It may use what the proxy makes public. Deliberately
//! absent: clocks; on a shared machine only counts are steady.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conduit_logic::tap::{Facts, Filter};
use conduit_logic::words::{Destination, Direction, Endpoint, Protocol, Workload};
use conduit_proxy::http::head::{Request, Response};
use conduit_proxy::outbound::balance::Service;
use conduit_proxy::record::{End, Recorder, Start};
use conduit_proxy::tap::Hub;
use conduit_proxy::telemetry::{EdgeKey, Outcome, Telemetry};
use tokio::sync::watch;

/// What browsers and HTTP libraries send, more or less.
const REQUEST: &[u8] = b"GET /catalog/items?page=3 HTTP/1.1\r\nHost: web.shop.svc.cluster.local:8080\r\nUser-Agent: curl/8.5.0\r\n\
Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nX-Request-Id: 3f2c9a1e-7b61-4c55-9a3e-0d7e5b1f2c3d\r\n\
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nConnection: keep-alive\r\n\r\n";
/// An answer of a usual size.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Fri, 27 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n\
Content-Length: 1024\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n";
/// The limit of a head, as configured by default.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Endpoints of the service that is balanced.
const ENDPOINTS: u16 = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` and `cargo test` call it with arguments of their own.
    let [step, times] = &arguments[..] else { return println!("usage: instructions STEP TIMES") };
    let times = times.parse().expect("TIMES is a number");
    match step.as_str() {
        "detect" => repeat(times, || conduit_logic::detect::detect(black_box(REQUEST))),
        "request_head" => repeat(times, || Request::parse(black_box(REQUEST), HEAD_BYTES_MAX)),
        "response_head" => repeat(times, || Response::parse(black_box(RESPONSE), HEAD_BYTES_MAX, "GET")),
        "pick" => pick(times),
        "record" => record(times),
        "tap_filter" => tap_filter(times),
        unknown => println!("there is no step {unknown}"),
    }
}

fn repeat<T>(times: u32, mut step: impl FnMut() -> T) {
    for _ in 0..times {
        black_box(step());
    }
}

/// An endpoint is picked, answers, and is let go.
fn pick(times: u32) {
    fastrand::seed(1);
    let endpoint = |port| {
        Arc::new(Endpoint {
            addr: SocketAddr::from(([10, 0, 0, 1], port)),
            identity: None,
            workload: workload(),
            pod: Default::default(),
            zone: String::new(),
            weight: 1,
        })
    };
    let endpoints = (1..=ENDPOINTS).map(endpoint).collect();
    let (_, watch) = watch::channel(Some(Arc::new(Destination { endpoints, ..Default::default() })));
    let service = Service::new(SocketAddr::from(([10, 96, 0, 1], 80)), watch);
    repeat(times, || {
        let picked = service.pick(&[]).expect("there are endpoints");
        picked.answered(Duration::from_micros(300));
    });
}

fn record(times: u32) {
    let telemetry = Telemetry::new();
    let hub = Hub::new(telemetry.tapped.clone());
    let edge = telemetry.edge(&EdgeKey {
        direction: Direction::Outbound,
        protocol: Protocol::Http1,
        peer_workload: workload(),
        service: None,
        tls: None,
    });
    let start = Start {
        direction: Direction::Outbound,
        protocol: Protocol::Http1,
        source: SocketAddr::from(([10, 0, 0, 2], 40_000)),
        destination: SocketAddr::from(([10, 0, 0, 1], 8080)),
        workload: None,
        pod: None,
        service: None,
        tls: None,
        method: "GET",
        scheme: "http",
        authority: "web",
        path: "/",
    };
    let end = End { outcome: Outcome::Success, sent: 0, received: 1024, grpc_status: None, failure: None };
    let began = Instant::now();
    repeat(times, || {
        let mut recorder = Recorder::start(&hub, edge.clone(), began, start);
        recorder.response(200);
        recorder.end(end);
    });
}

fn tap_filter(times: u32) {
    let workload = workload();
    let filter = Filter {
        direction: Some(Direction::Outbound),
        method: "GET".to_owned(),
        path_prefix: "/catalog".to_owned(),
        workload: workload.clone(),
        ..Default::default()
    };
    let facts = Facts {
        direction: Direction::Outbound,
        protocol: Protocol::Http1,
        source: SocketAddr::from(([10, 0, 0, 2], 40_000)),
        destination: SocketAddr::from(([10, 0, 0, 1], 8080)),
        workload: &workload,
        source_identity: None,
        destination_identity: None,
        method: "GET",
        scheme: "http",
        authority: "web.shop.svc.cluster.local:8080",
        path: "/catalog/items?page=3",
    };
    repeat(times, || black_box(&filter).matches_start(black_box(&facts)));
}

fn workload() -> Workload {
    Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "catalog".into() }
}
