//! Who is tried again, and when it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use conduit_logic::words::{Destination, Endpoint, Identity};
use tokio::sync::watch;

use super::{ATTEMPTS_MAX, Attempts};
use crate::failure::Failure;
use crate::outbound::balance::Service;
use crate::telemetry::Reason;

fn service(endpoints: u16) -> Service {
    let endpoint = |port| {
        Arc::new(Endpoint {
            addr: SocketAddr::from(([10, 0, 0, 1], port)),
            identity: None::<Identity>,
            workload: Default::default(),
            pod: Default::default(),
            zone: String::new(),
            weight: 1,
        })
    };
    let endpoints = (1..=endpoints).map(endpoint).collect();
    let (_, watch) = watch::channel(Some(Arc::new(Destination { endpoints, ..Default::default() })));
    Service::new(SocketAddr::from(([10, 96, 0, 1], 80)), watch)
}

/// The ports that are tried in turn when each fails so.
fn tries(service: &Service, failure: impl Fn(u16) -> Failure) -> (Vec<u16>, Failure) {
    let mut attempts = Attempts::default();
    let mut ports = Vec::new();
    while let Some(picked) = attempts.next(service) {
        let port = picked.state.endpoint.addr.port();
        ports.push(port);
        attempts.failed(&picked, failure(port));
    }
    (ports, attempts.given_up(service))
}

#[test]
fn an_endpoint_that_refused_is_not_asked_again() {
    let (mut ports, failure) = tries(&service(3), |_| Failure::unprocessed(Reason::Connect, "refused"));
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
    assert_eq!(failure.detail, "refused");
}

#[test]
fn an_only_endpoint_that_is_late_is_tried_until_the_attempts_are_used_up() {
    let (ports, failure) = tries(&service(1), |_| Failure::late(Reason::Connect, "late"));
    assert_eq!(ports, [1; ATTEMPTS_MAX]);
    assert_eq!(failure.detail, "late");
}

#[test]
fn others_are_tried_before_one_that_was_late_and_only_the_late_one_again() {
    let (ports, _) = tries(&service(2), |port| match port {
        1 => Failure::late(Reason::Connect, "late"),
        _ => Failure::unprocessed(Reason::Connect, "refused"),
    });
    assert_eq!(ports.iter().filter(|port| **port == 2).count(), 1);
    assert_eq!(ports.len(), ATTEMPTS_MAX);
    assert!(ports[..2].contains(&2), "{ports:?}");
}

#[test]
fn a_service_without_endpoints_is_told_as_such() {
    let (ports, failure) = tries(&service(0), |_| Failure::late(Reason::Connect, "late"));
    assert_eq!((ports.len(), failure.reason), (0, Reason::NoEndpoint));
}

#[test]
fn of_many_endpoints_those_that_refuse_are_left_alone_but_for_a_probe_each_and_others_are_used() {
    let service = service(20);
    let refuses = |port: u16| port <= 10;
    let pick = || service.pick(&[]).map(|picked| (picked.state.endpoint.addr.port(), picked)).unwrap();
    let (_, endpoints) = service.view().unwrap();
    while endpoints.iter().filter(|endpoint| endpoint.snapshot().out).count() < 10 {
        let (port, picked) = pick();
        if refuses(port) {
            picked.failed();
        }
    }
    let ports: Vec<u16> = std::iter::repeat_with(|| pick().0).take(2000).collect();
    let mut probes: Vec<u16> = ports.iter().copied().filter(|port| refuses(*port)).collect();
    let all = probes.len();
    probes.sort_unstable();
    probes.dedup();
    assert_eq!(probes.len(), all, "an endpoint had more than one probe: {ports:?}");
    // The one that seems dearest by a hair is the last to get any.
    assert!((11..=20).filter(|port| ports.contains(port)).count() > 5, "{ports:?}");
}
