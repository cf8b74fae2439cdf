use super::*;
use conduit_logic::words::Workload;
use std::time::Duration;

#[test]
fn every_metric_of_the_table_is_in_the_text_and_no_other() {
    let telemetry = Telemetry::new();
    for protocol in [Protocol::Http1, Protocol::Opaque] {
        let key = EdgeKey {
            direction: Direction::Outbound,
            protocol,
            peer_workload: Default::default(),
            service: None,
            tls: None,
        };
        telemetry.edge(&key).request(Outcome::Success, Duration::from_millis(3));
    }
    let text = telemetry.encode();
    let mut named: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut table: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    named.sort_unstable();
    table.sort_unstable();
    assert_eq!(named, table);
    assert!(text.contains("conduit_proxy_request_duration_seconds_bucket{le=\"0.005\""), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn edges_that_differ_in_nothing_that_is_told_are_one_series() {
    let telemetry = Telemetry::new();
    for kind in ["Deployment", "StatefulSet"] {
        let peer_workload =
            Workload { namespace: "shop".to_owned(), kind: kind.to_owned(), name: "web".to_owned() };
        let (direction, protocol) = (Direction::Outbound, Protocol::Http1);
        let key = EdgeKey { direction, protocol, peer_workload, service: None, tls: None };
        telemetry.edge(&key).request(Outcome::Success, Duration::from_millis(3));
    }
    let text = telemetry.encode();
    let series: Vec<&str> =
        text.lines().filter(|line| line.starts_with("conduit_proxy_requests_total")).collect();
    let success: Vec<&&str> = series.iter().filter(|line| line.contains("\"success\"")).collect();
    assert!(matches!(success[..], [line] if line.ends_with(" 2")), "{series:?}");
}
