use super::*;
use conduit_logic::tap::Class;

fn facts(path: &str) -> StartFacts {
    StartFacts {
        direction: Direction::Inbound,
        protocol: Protocol::Http1,
        source: "10.1.0.1:4000".parse().unwrap(),
        destination: "10.1.0.2:8080".parse().unwrap(),
        workload: Workload::default(),
        pod: Pod::default(),
        service: None,
        tls: None,
        method: "GET".into(),
        scheme: "http".into(),
        authority: "web".into(),
        path: path.into(),
    }
}

const END: EndFacts =
    EndFacts { request_bytes: 0, response_bytes: 2, grpc_status: None, status: 200, failure: None };

fn exchange(hub: &Hub, path: &str, status: u16) {
    if let Some(mut ticket) = hub.start(&facts(path)) {
        ticket.response(status);
        ticket.end(EndFacts { status, ..END });
    }
}

fn count(subscription: &mut Subscription) -> usize {
    std::iter::from_fn(|| subscription.events.try_recv().ok()).count()
}

#[test]
fn a_tap_sees_start_response_and_end_of_what_matches() {
    let hub = Hub::new(Arc::default());
    assert!(!hub.active());
    let mut tap = hub.subscribe(Filter { path_prefix: "/a".into(), ..Filter::default() }, 0.0, 0.0).unwrap();
    exchange(&hub, "/a", 200);
    exchange(&hub, "/b", 200);
    assert_eq!(count(&mut tap), 3);
    drop(tap);
    assert!(!hub.active());
}

#[test]
fn a_tap_for_failures_sees_whole_requests_and_only_those_that_failed() {
    let hub = Hub::new(Arc::default());
    let mut tap =
        hub.subscribe(Filter { class: Some(Class::Failure), ..Filter::default() }, 0.0, 0.0).unwrap();
    exchange(&hub, "/a", 200);
    assert_eq!(count(&mut tap), 0);
    exchange(&hub, "/a", 503);
    assert_eq!(count(&mut tap), 3);
}

#[test]
fn a_slow_tap_loses_events_and_they_are_counted() {
    let hub = Hub::new(Arc::default());
    let mut tap = hub.subscribe(Filter::default(), 0.0, 0.0).unwrap();
    for _ in 0..EVENTS_MAX {
        exchange(&hub, "/a", 200);
    }
    assert_eq!(count(&mut tap), EVENTS_MAX);
    assert_eq!(tap.lost.events.load(Ordering::Relaxed), 2 * EVENTS_MAX as u64);
}

#[test]
fn a_tap_sees_no_more_requests_a_second_than_it_asked_for() {
    let hub = Hub::new(Arc::default());
    let mut tap = hub.subscribe(Filter::default(), 2.0, 0.0).unwrap();
    for _ in 0..100 {
        exchange(&hub, "/a", 200);
    }
    assert_eq!(count(&mut tap), 2 * 3);
    assert_eq!(tap.lost.requests.load(Ordering::Relaxed), 98);
    assert_eq!(tap.lost.events.load(Ordering::Relaxed), 0);
}

#[test]
fn a_request_that_is_cut_off_ends_all_the_same() {
    let hub = Hub::new(Arc::default());
    let mut tap = hub.subscribe(Filter::default(), 0.0, 0.0).unwrap();
    drop(hub.start(&facts("/a")));
    assert_eq!(count(&mut tap), 2);
}
