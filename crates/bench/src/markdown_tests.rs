//! The tables as they are read.

use super::*;
use crate::handshakes::Handshakes;
use crate::load::Outcome;
use crate::report::tests::{http, run};
use crate::start::Starts;

#[test]
fn the_tables_show_what_a_proxy_adds_to_direct() {
    let (fixed, most) = (http(500), http(0));
    let report = Report {
        version: "0.1.0".to_owned(),
        runs: vec![
            run(DIRECT, fixed, 100.0, 0.0),
            run(CONDUIT, fixed, 180.0, 0.1),
            run("peer", fixed, 300.0, 0.2),
            Run { outcome: Outcome { failed: 7, ..Outcome::default() }, ..run("lame", fixed, 0.0, 0.1) },
            run(DIRECT, most, 100.0, 0.0),
            run(CONDUIT, most, 180.0, 0.1),
            run("lame", most, 180.0, 0.3),
        ],
        memory: vec![Memory {
            subject: CONDUIT.to_owned(),
            idle: [5 << 20, 6 << 20],
            idle_proportional: [4 << 20, 4 << 20],
            after_load: [7 << 20, 8 << 20],
            connections: 1000,
            with_connections: [9 << 20, 10 << 20],
            busy: vec![Busy {
                connections: 100,
                rate: 2000,
                under_load: [8 << 20, 7 << 20],
                after: [6 << 20, 5 << 20],
            }],
            peak: [11 << 20, 12 << 20],
        }],
        starts: Some(Starts { ready_ms: 12.5, after_certificate_max_ms: 2.0, ..Starts::default() }),
        handshakes: Some(Handshakes { per_second: 900.0, full_us: 800.0, ..Handshakes::default() }),
        ..Report::default()
    };
    let text = report.markdown("What people say.\n");
    for line in [
        "What people say.",
        "| HTTP/1.1 500/s | 2.00 | - |",
        "| HTTP/1.1, 16 | - | 3.00 |",
        "| HTTP/1.1, 16 | - | 1.00 |",
        "| HTTP/1.1 500/s | direct | 100 | 900 | 0 | - | - | - | - | 0 |",
        "| HTTP/1.1 500/s | conduit | 180 | 900 | 0 | 80 | 0 | 0 | 20.0 | 0 |",
        "| HTTP/1.1 500/s | lame | - | - | - | - | - | - | - | all 7 |",
        "| HTTP/1.1, 16 | conduit | 500 | 100 % | 5000 | 20.0 | 0 |",
        "| conduit | 100 | 8.0 / 7.0 | 6.0 / 5.0 |",
        "| 0.0 | 0.0 (2.0) | 12.5 (0.0) |",
        "| 900 | 0 | 0 | 800 | 0 |",
        "| conduit | 5.0 / 6.0 | 4.0 / 4.0 | 7.0 / 8.0 | 9.0 / 10.0 | 11.0 / 12.0 |",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\nis not in\n{text}");
    }
    assert_eq!(report.plots().len(), 3);
}
