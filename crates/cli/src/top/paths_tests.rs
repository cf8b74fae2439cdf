use conduit_api::common::v1::{PodRef, Protocol, SocketAddress, WorkloadRef};
use conduit_api::tap::v1::Dropped;

use super::*;
use crate::output::Paint;

fn event(id: u64, what: tap_event::Event) -> TapEvent {
    let workload =
        |name: &str| WorkloadRef { namespace: "d".into(), kind: "Deployment".into(), name: name.into() };
    let address = SocketAddress { ip: vec![10, 77, 0, 9], port: 40_000 + u32::try_from(id).unwrap() };
    TapEvent {
        id,
        pod: Some(PodRef { namespace: "d".into(), name: "web-1".into() }),
        protocol: Protocol::Http1.into(),
        source: Some(Peer { address: Some(address), ..Peer::default() }),
        destination: Some(Peer { workload: Some(workload("web")), ..Peer::default() }),
        event: Some(what),
        ..TapEvent::default()
    }
}

fn start(id: u64, method: &str, path: &str) -> TapEvent {
    let start = RequestStart { method: method.into(), path: path.into(), ..RequestStart::default() };
    event(id, tap_event::Event::RequestStart(start))
}

fn end(id: u64, duration_us: u64, status: u32) -> TapEvent {
    event(id, tap_event::Event::End(End { duration_us, status, ..End::default() }))
}

fn text(paths: &Paths) -> String {
    table(&paths.rows()).render(Paint::NONE)
}

#[test]
fn requests_are_counted_by_path_without_their_query() {
    let mut paths = Paths::default();
    for (id, path, us, status) in
        [(1, "/a?x=1", 900, 200), (2, "/a?x=2", 2_000, 503), (3, "/a", 1_000, 404), (4, "/b", 5, 200)]
    {
        paths.apply(&start(id, "GET", path));
        paths.apply(&end(id, us, status));
    }
    paths.apply(&start(5, "", ""));
    paths.apply(&end(5, 7, 0));
    let expected = "\
SOURCE      DESTINATION   COUNT    BEST   WORST    LAST   SUCCESS   METHOD     PATH
10.77.0.9   deploy/web        3   900µs   2.0ms   1.0ms    66.66%   GET        /a
10.77.0.9   deploy/web        1     5µs     5µs     5µs   100.00%   GET        /b
10.77.0.9   deploy/web        1     7µs     7µs     7µs   100.00%   http/1.1   -
";
    assert_eq!(text(&paths), expected);
}

#[test]
fn an_end_whose_start_was_not_seen_counts_nothing() {
    let mut paths = Paths::default();
    paths.apply(&end(1, 5, 200));
    paths.apply(&start(2, "GET", "/"));
    paths.apply(&event(0, tap_event::Event::Dropped(Dropped { events: 12, requests: 0 })));
    paths.apply(&end(2, 5, 200));
    assert_eq!((paths.ended(), paths.dropped(), paths.rows().len()), (0, 12, 0));
}

#[test]
fn the_number_of_rows_is_bounded_and_the_oldest_goes_first() {
    let mut paths = Paths::default();
    for id in 0..=u64::try_from(ROWS_MAX).unwrap() {
        paths.apply(&start(id, "GET", &format!("/{id}")));
        paths.apply(&end(id, 1, 200));
    }
    let rows = paths.rows();
    assert_eq!(rows.len(), ROWS_MAX);
    assert!(!rows.iter().any(|row| row.key.path == "/0"));
    for id in 0..=u64::try_from(OPEN_MAX).unwrap() {
        paths.apply(&start(id, "GET", "/"));
    }
    assert_eq!(paths.open.len(), OPEN_MAX);
}

#[test]
fn json_has_the_numbers_in_microseconds() {
    let mut paths = Paths::default();
    paths.apply(&start(1, "GET", "/a"));
    paths.apply(&end(1, 900, 500));
    let expected = r#"{"paths":[{"source":"10.77.0.9","destination":"d/deploy/web","method":"GET","path":"/a","count":1,"failures":1,"best_us":900,"worst_us":900,"last_us":900}],"dropped_events":0}"#;
    assert_eq!(serde_json::to_string(&paths.document()).unwrap(), expected);
}

#[test]
fn a_namespace_stays_where_names_are_of_several() {
    let mut paths = Paths::default();
    let mut other = start(1, "GET", "/a");
    let workload = WorkloadRef { namespace: "e".into(), kind: "Deployment".into(), name: "front".into() };
    other.source = Some(Peer { workload: Some(workload), ..Peer::default() });
    paths.apply(&other);
    paths.apply(&end(1, 5, 200));
    assert!(text(&paths).contains("\ne/deploy/front   d/deploy/web "), "{}", text(&paths));
}
