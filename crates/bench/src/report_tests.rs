//! Medians, differences and the tables as they are read.

use super::*;

fn run(subject: &str, rate: u32, p50_us: f64, cpu: f64) -> Run {
    let outcome =
        Outcome { succeeded: 1000, seconds: 2.0, rps: 500.0, p50_us, p99_us: 900.0, ..Outcome::default() };
    let case = Case { kind: Kind::Http, rate };
    Run { subject: subject.to_owned(), case, outcome, client_cpu_seconds: cpu, server_cpu_seconds: cpu }
}

#[test]
fn the_median_is_the_middle_or_the_mean_of_the_two_middle_ones() {
    assert_eq!([median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0]), median(vec![])], [2.0, 2.5, 0.0]);
}

#[test]
fn the_tables_show_what_a_proxy_adds_to_direct() {
    let report = Report {
        version: "0.1.0".to_owned(),
        runs: vec![
            run(DIRECT, 500, 100.0, 0.0),
            run("conduit", 500, 180.0, 0.1),
            run(DIRECT, 0, 100.0, 0.0),
            run("conduit", 0, 180.0, 0.1),
        ],
        memory: vec![Memory {
            subject: "conduit".to_owned(),
            idle: [5 << 20, 6 << 20],
            after_load: [7 << 20, 8 << 20],
            connections: 1000,
            with_connections: [9 << 20, 10 << 20],
        }],
        ..Report::default()
    };
    let text = report.markdown();
    for line in [
        "| HTTP/1.1 500/s | direct | 100 | 900 | 0 | - | - | - | 0 |",
        "| HTTP/1.1 500/s | conduit | 180 | 900 | 0 | 80 | 0 | 20.0 | 0 |",
        "| HTTP/1.1 | conduit | 500 | 100 % | 5000 | 20.0 | 0 |",
        "| conduit | 5.0 / 6.0 | 7.0 / 8.0 | 9.0 / 10.0 |",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\nis not in\n{text}");
    }
}
