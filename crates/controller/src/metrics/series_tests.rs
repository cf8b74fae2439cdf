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
fn a_pod_that_is_gone_is_forgotten_after_ten_minutes() {
    let start = Instant::now();
    let aggregate = Aggregate::new(start);
    aggregate.report(&pod("old"), &Workload::default(), &report(vec![edge(1, 0, 1)]), start);
    let later = start + Duration::from_secs(11 * 60 + 60);
    aggregate.report(&pod("new"), &Workload::default(), &report(vec![edge(1, 0, 1)]), later);
    assert_eq!(aggregate.sizes().0, 1);
    assert_eq!(aggregate.proxies().len(), 1);
}
