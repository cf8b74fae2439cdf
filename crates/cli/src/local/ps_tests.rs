use conduit_testbed::spec::{Daemon, Port};

use super::*;

fn pod(name: &str, last: u8) -> Pod {
    Pod {
        name: name.into(),
        phase: Phase::Running,
        ready: true,
        ips: vec![IpAddr::from([10, 77, 0, last]), "fd77::2".parse().unwrap()],
        pid: 40,
        proxy: Some(Daemon { pid: 41, ready: true, rss_bytes: 9 << 20, ..Daemon::default() }),
        ..Pod::default()
    }
}

fn world() -> World {
    let web = Workload {
        name: "web".into(),
        meshed: true,
        service_account: "web".into(),
        ports: vec![
            Port { port: 8080, protocol: "http".into() },
            Port { port: 9000, protocol: String::new() },
        ],
        cluster_ips: vec![IpAddr::from([10, 96, 0, 3])],
        replicas: 2,
        command: vec!["./web".into(), "-v".into()],
        pods: vec![
            pod("web-1", 2),
            Pod { phase: Phase::Ended, ready: false, exit: Some(137), proxy: None, ..pod("web-2", 3) },
        ],
    };
    let client = Workload {
        name: "client".into(),
        pods: vec![Pod { ready: false, phase: Phase::Starting, proxy: None, ..pod("client-1", 4) }],
        ..Workload::default()
    };
    let none = Workload { name: "none".into(), meshed: true, ..Workload::default() };
    World { workloads: vec![web, client, none], ..World::default() }
}

#[test]
fn every_pod_has_a_line_and_a_workload_without_pods_too() {
    let expected = "\
WORKLOAD   POD        STATE      READY   ADDRESS     PORTS               PROXY   RESTARTS   NOTE
web        web-1      running    yes     10.77.0.2   8080:http,9000     9.0MiB          0
web        web-2      ended      -       10.77.0.3   8080:http,9000          -          0   exit 137
client     client-1   starting   no      10.77.0.4   -                unmeshed          0
none       -          -          -       -           -                       -          0
";
    assert_eq!(render(&world(), Format::Table, Paint::NONE), expected);
}

#[test]
fn wide_adds_all_addresses_the_account_and_the_command() {
    let wide = render(&world(), Format::Wide, Paint::NONE);
    let row = wide.lines().nth(1).unwrap();
    assert!(row.contains("10.77.0.2,fd77::2"), "{row}");
    assert!(row.ends_with("10.96.0.3   web       ./web -v"), "{row}");
}
