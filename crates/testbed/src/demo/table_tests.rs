//! The table as it is read, whole.

use super::super::measure::{EdgeRow, ProxyRow};
use super::*;

#[test]
fn the_table_shows_each_workload_and_marks_what_is_worth_a_look() {
    let row = |name: &str, success_rate, requests| WorkloadRow {
        name: name.to_owned(),
        success_rate,
        rps: 12.34,
        p50_ms: 0.758,
        p95_ms: 12.3,
        p99_ms: 1200.0,
        requests,
        secured_share: 1.0,
        pods: 2,
        ..WorkloadRow::default()
    };
    let edge =
        EdgeRow { destination: "web".to_owned(), protocol: "http/1.1".to_owned(), ..EdgeRow::default() };
    let snapshot = Snapshot {
        workloads: vec![row("load", 1.0, 0), row("voting", 0.9166, 120), row("web", 0.999_99, 100)],
        edges: vec![edge],
        proxies: vec![ProxyRow { rss_bytes: 5 << 20, ..ProxyRow::default() }],
        mesh_failures: 0,
    };
    assert_eq!(
        render(&snapshot, 7, 0),
        "\
WORKLOAD    PODS  PROTOCOL   SUCCESS     RPS      P50      P95      P99  MUTUAL TLS
load           2  -                -       -        -        -        -  sends the load
web            2  http/1.1    99.99%    12.3    758µs   12.3ms     1.2s  yes
voting         2  -           91.66%    12.3    758µs   12.3ms     1.2s  yes  !

1 proxies, 5.0 MiB of memory each, 5.0 MiB at most · 7 s of load · failures of the mesh's own making: 0
"
    );
}

#[test]
fn what_is_secured_in_part_says_how_much() {
    assert_eq!(
        (secured(1.0), secured(0.0), secured(0.9999)),
        ("yes".into(), "no".into(), "99.99% of it".to_owned())
    );
}
