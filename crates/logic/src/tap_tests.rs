use super::*;

fn facts(workload: &Workload) -> Facts<'_> {
    Facts {
        direction: Direction::Outbound,
        protocol: Protocol::Http1,
        source: "10.1.0.1:4000".parse().unwrap(),
        destination: "10.1.0.2:8080".parse().unwrap(),
        workload,
        source_identity: None,
        destination_identity: None,
        method: "GET",
        scheme: "http",
        authority: "web:80",
        path: "/cart/7?x=1",
    }
}

#[test]
fn everything_that_is_set_must_match() {
    let web = Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() };
    let facts = facts(&web);
    let matching = [
        Filter::default(),
        Filter { direction: Some(Direction::Outbound), port: Some(8080), ..Filter::default() },
        Filter {
            method: "get".into(),
            path_prefix: "/cart".into(),
            authority: "web".into(),
            ..Filter::default()
        },
        Filter { destination: Some("10.1.0.0/24".parse().unwrap()), ..Filter::default() },
        Filter { workload: Workload { name: "web".into(), ..Workload::default() }, ..Filter::default() },
    ];
    for filter in matching {
        assert!(filter.matches_start(&facts), "{filter:?}");
    }
    let others = [
        Filter { direction: Some(Direction::Inbound), ..Filter::default() },
        Filter { port: Some(80), ..Filter::default() },
        Filter { protocol: Some(Protocol::Grpc), ..Filter::default() },
        Filter { path_prefix: "/car/".into(), ..Filter::default() },
        Filter { source: Some("10.1.0.2".parse().unwrap()), ..Filter::default() },
        Filter { source_identity: "spiffe://a/ns/b/sa/c".into(), ..Filter::default() },
        Filter { workload: Workload { kind: "Job".into(), ..Workload::default() }, ..Filter::default() },
    ];
    for filter in others {
        assert!(!filter.matches_start(&facts), "{filter:?}");
    }
}

#[test]
fn class_and_latency_are_judged_at_the_end() {
    let slow = Filter { latency_us_min: 1000, ..Filter::default() };
    assert!(slow.needs_end() && slow.matches_end(false, 200, 1000) && !slow.matches_end(false, 200, 999));
    let failed = Filter { class: Some(Class::Failure), ..Filter::default() };
    assert!(failed.matches_end(true, 200, 0) && !failed.matches_end(false, 200, 0));
    let client_errors = Filter { class: Some(Class::Status(4)), ..Filter::default() };
    assert!(client_errors.matches_end(false, 404, 0) && !client_errors.matches_end(true, 503, 0));
}

#[test]
fn ranges_of_addresses_are_read_and_compared() {
    let contains =
        |network: &str, ip: &str| network.parse::<Network>().unwrap().contains(ip.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("0.0.0.0/0", "1.2.3.4") && contains("::/0", "fd00::1"));
    assert!(contains("fd00::/64", "fd00::ffff") && !contains("fd00::/64", "fd00:0:0:1::1"));
    assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
    for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "a"] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
}
