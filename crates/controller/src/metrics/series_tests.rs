use super::*;
use conduit_api::metrics::v1::Bucket;
use conduit_logic::stats::bucket_of;

fn edge(successes: u64, failures: u64, us: u64) -> EdgeReport {
    EdgeReport {
        direction: common::Direction::Inbound.into(),
        protocol: common::Protocol::Http1.into(),
        successes,
        failures,
        latency: vec![Bucket { index: u32::try_from(bucket_of(us)).unwrap(), count: successes + failures }],
        ..EdgeReport::default()
    }
}

fn report(edges: Vec<EdgeReport>) -> ReportRequest {
    ReportRequest { edges, proxy: Some(ProxyStats::default()), ..ReportRequest::default() }
}

fn pod(name: &str) -> Name {
    ("shop".into(), name.into())
}

#[test]
fn a_window_has_what_was_reported_in_it_and_no_more() {
    let start = Instant::now();
    let aggregate = Aggregate::new(start);
    let web = Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() };
    for second in 0..120 {
        let at = start + Duration::from_secs(second);
        aggregate.report(&pod("web-1"), &web, &report(vec![edge(9, 1, 1000)]), at);
    }
    let now = start + Duration::from_secs(119);
    let sums = |window| aggregate.over(Duration::from_secs(window), now).pop().unwrap().1;
    assert!((80..=120).contains(&sums(10).total()), "{}", sums(10).total());
    assert!((580..=620).contains(&sums(60).total()), "{}", sums(60).total());
    assert_eq!(sums(600).total(), 1200);
    assert_eq!(sums(600).failures, 120);
    let p50 = sums(60).latency.quantile(0.5).unwrap();
    assert!((940..=1060).contains(&p50), "{p50}");
}

#[test]
fn rates_are_over_the_time_that_a_window_really_covers() {
    let start = Instant::now();
    let aggregate = Aggregate::new(start);
    for second in 0..700 {
        let at = start + Duration::from_secs(second);
        aggregate.report(&pod("web-1"), &Workload::default(), &report(vec![edge(100, 0, 1)]), at);
        for window in [10, 60, 600].map(Duration::from_secs) {
            let sums = aggregate.over(window, at).pop().unwrap().1;
            let rps = sums.total() as f64
                / aggregate.covered(window, at + Duration::from_millis(999)).as_secs_f64();
            assert!((90.0..=115.0).contains(&rps) || second < 10, "{rps} at {second} s over {window:?}");
        }
    }
}

#[test]
fn one_pod_cannot_take_the_series_of_all() {
    let aggregate = Aggregate::new(Instant::now());
    let service = |name: String| conduit_api::common::v1::ServiceRef { namespace: "a".into(), name, port: 1 };
    for second in 0..5 {
        let edges = (0..EDGES_MAX)
            .map(|n| EdgeReport { service: Some(service(format!("{second}-{n}"))), ..edge(1, 0, 1) });
        aggregate.report(&pod("loud"), &Workload::default(), &report(edges.collect()), Instant::now());
    }
    let long = EdgeReport { service: Some(service("x".repeat(4096))), ..edge(1, 0, 1) };
    aggregate.report(&pod("long"), &Workload::default(), &report(vec![long, edge(1, 0, 1)]), Instant::now());
    assert_eq!(aggregate.sizes(), (POD_SERIES_MAX + 1, 5 * EDGES_MAX as u64 - POD_SERIES_MAX as u64));
}

#[test]
fn absurd_figures_do_no_harm() {
    let aggregate = Aggregate::new(Instant::now());
    for _ in 0..3 {
        let edges = vec![edge(u64::MAX / 2, u64::MAX / 2, u64::MAX)];
        aggregate.report(&pod("liar"), &Workload::default(), &report(edges), Instant::now());
    }
    assert_eq!(aggregate.over(Duration::from_secs(10), Instant::now())[0].1.total(), u64::MAX);
}

#[test]
fn a_pod_that_is_gone_is_forgotten_after_ten_minutes() {
    let start = Instant::now();
    let aggregate = Aggregate::new(start);
    aggregate.report(&pod("old"), &Workload::default(), &report(vec![edge(1, 0, 1)]), start);
    let later = start + Duration::from_secs(11 * 60 + 60);
    aggregate.report(&pod("new"), &Workload::default(), &report(vec![edge(1, 0, 1)]), later);
    assert_eq!(aggregate.sizes().0, 1);
    assert_eq!(aggregate.proxies().len(), 1);
}
