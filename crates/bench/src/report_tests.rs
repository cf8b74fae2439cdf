//! Medians and ratios.

use super::*;

/// A load of the tests: HTTP/1.1 at a rate.
pub(crate) fn http(rate: u32) -> Case {
    Case { kind: Kind::Http, rate, connections: 16, calls: 1, fresh: false, unmeshed: false }
}

/// A run of 1,000 requests in which each proxy used `cpu` seconds.
pub(crate) fn run(subject: &str, case: Case, p50_us: f64, cpu: f64) -> Run {
    let outcome =
        Outcome { succeeded: 1000, seconds: 2.0, rps: 500.0, p50_us, p99_us: 900.0, ..Outcome::default() };
    Run { subject: subject.to_owned(), case, outcome, client_cpu_seconds: cpu, server_cpu_seconds: cpu }
}

#[test]
fn the_median_is_the_middle_or_the_mean_of_the_two_middle_ones() {
    assert_eq!([median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0]), median(vec![])], [2.0, 2.5, 0.0]);
}

#[test]
fn a_ratio_is_of_the_medians_and_there_is_none_without_a_request() {
    let mut report = Report {
        runs: vec![run(CONDUIT, http(500), 1.0, 0.1), run("peer", http(500), 1.0, 0.25)],
        ..Report::default()
    };
    assert_eq!(report.cpu_ratio("peer", http(500)), Some(2.5));
    report.runs[1].outcome.succeeded = 0;
    assert_eq!(report.cpu_ratio("peer", http(500)), None);
}

#[test]
fn loads_are_named_by_what_tells_them_apart() {
    let names = [
        http(500),
        http(0),
        Case { fresh: true, ..http(0) },
        Case { kind: Kind::Grpc, connections: 8, calls: 32, ..http(0) },
        Case { kind: Kind::Bulk, connections: 1, unmeshed: true, ..http(0) },
    ]
    .map(Case::name);
    let expected = [
        "HTTP/1.1 500/s",
        "HTTP/1.1, 16",
        "HTTP/1.1, new connections",
        "gRPC unary, 8 × 32",
        "TCP bulk to a server without a proxy, 1",
    ];
    assert_eq!(names, expected);
}
