//! How pods are spread, what runs in them, and what is suggested next.

use super::*;

#[test]
fn pods_are_spread_evenly_and_the_load_has_one() {
    let counts = |pods| spread(pods).into_iter().map(|(role, n)| (role.name, n)).collect::<Vec<_>>();
    let even = [
        ("ledger", 1),
        ("prices", 1),
        ("voting", 1),
        ("recommend", 1),
        ("catalog", 1),
        ("web", 1),
        ("load", 1),
    ];
    assert_eq!(counts(7), even);
    assert_eq!(counts(0), even);
    for pods in 7..=PODS_MAX {
        assert_eq!(spread(pods).iter().map(|(_, n)| n).sum::<u32>(), pods);
    }
    assert_eq!(counts(9)[3..6], [("recommend", 1), ("catalog", 2), ("web", 2)]);
}

#[test]
fn a_workload_is_this_executable_with_its_port_and_little_environment() {
    let spec = spec(&ROLES[5], 3, Path::new("/bin/conduit"));
    assert_eq!(spec.command, ["/bin/conduit", "demo-app", "web"]);
    assert_eq!((spec.replicas, spec.ports[0].port, spec.ports[0].protocol.as_str()), (3, 8080, "http"));
    assert!(spec.env.iter().all(|(name, _)| name == "PATH"));
    assert_eq!(spec.check(), Ok(()));
}

#[test]
fn the_window_is_the_shortest_that_covers_the_run() {
    assert_eq!([9, 10, 11, 60, 61, 601].map(|s| window(Duration::from_secs(s))), [10, 10, 60, 60, 600, 600]);
}

#[test]
fn what_to_try_next_names_the_executable_and_the_world() {
    let text = next_commands(Path::new("/tmp/x/conduit"), None, Some(Path::new("/tmp/w")));
    assert!(text.starts_with("  /tmp/x/conduit --local-dir /tmp/w stat\n"), "{text}");
}
