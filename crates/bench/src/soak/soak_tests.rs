//! What counts as an error, and what the page says.

use super::figures::{Proxy, Sample};
use super::*;

const METRICS: &str = "\
conduit_proxy_requests_total{direction=\"outbound\",outcome=\"success\"} 90
conduit_proxy_requests_total{direction=\"outbound\",outcome=\"mesh_failure\"} 2
conduit_proxy_requests_total_of_another_name 1000
conduit_proxy_tcp_connections_closed_total{outcome=\"success\"} 8
conduit_proxy_certificate_rotations_total 3
";

fn figures(failed: u64, metrics: &str) -> Figures {
    let window = Outcome { succeeded: 10, failed, p99_us: 200.0, ..Outcome::default() };
    let sample =
        |at_s, mebibytes: u64| Sample { at_s, rss_bytes: mebibytes << 20, ..Sample::of_metrics(metrics) };
    let load = Load { name: "HTTP/1.1".to_owned(), most: 100.0, rate: 60, windows: vec![window; 6] };
    let proxy =
        Proxy { pod: "client-1".to_owned(), samples: vec![sample(10, 5), sample(300, 8), sample(590, 6)] };
    Figures { seconds: 600, loads: vec![load], proxies: vec![proxy], ..Figures::default() }
}

#[test]
fn a_failure_counts_once_whether_the_client_or_a_proxy_saw_it() {
    let no_failure = METRICS.replace("mesh_failure", "success");
    assert_eq!(figures(0, &no_failure).errors(), 0);
    assert_eq!(figures(0, METRICS).errors(), 2);
    assert_eq!(figures(1, METRICS).errors(), 6, "one in each window");
    assert_eq!(Figures { restarts: 1, ..figures(0, &no_failure) }.errors(), 1);
}

#[test]
fn the_page_holds_the_last_part_of_the_time_against_the_first() {
    let page = figures(0, METRICS).markdown();
    for line in [
        "| client-1 | 100 | 5.00 | 6.00 | 8.00 | 0.00 | 1.20 |",
        "| HTTP/1.1 | 100 | 60 | 60 | 0 | 0, 0, 0, 0, 0, 0 | 200, 200, 200, 200, 200, 200 | 1.00 |",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line}\nis not in\n{page}");
    }
}

#[test]
fn a_duration_has_a_unit() {
    assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
    assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    assert!(duration("10").is_err() && duration("h").is_err() && duration("").is_err());
}
