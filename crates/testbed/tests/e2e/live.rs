//! What an operator sees: taps, golden metrics, diagnostics, the admin port.

use std::process::Command;

use conduit_testbed::spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, conduit, curl, idle, lines, raw_server};

#[test]
fn stat_edges_check_and_diagnostics_show_what_happened() {
    let world = World::start();
    world.run(raw_server("web", "http"));
    world.run(idle("client"));
    for path in ["/", "/", "/", "/fail"] {
        let _ = curl(&world, "client", &[&format!("http://web:8080{path}")]);
    }
    wait::until(SOON, || world.golden("web").requests == 4);
    let golden = world.golden("web");
    assert_eq!((golden.failures, golden.mesh_failures), (1, 0));
    wait::until(SOON, || world.edges().iter().any(|edge| edge.secured));
    let (code, table, _) = conduit(&world, &["stat"]);
    assert!(code == 0 && table.contains("web") && table.contains("75.00%"), "{table}");
    let (code, edges, _) = conduit(&world, &["edges", "-o", "json"]);
    assert!(code == 0 && edges.contains("X25519MLKEM768"), "{edges}");
    let (code, check, error) = conduit(&world, &["check"]);
    assert_eq!(code, 0, "{check}{error}");
    let (code, endpoints, error) = conduit(&world, &["diagnostics", "endpoints", "client-1"]);
    assert!(code == 0 && endpoints.contains("web-1"), "{endpoints}{error}");
    let (code, metrics, _) = conduit(&world, &["diagnostics", "metrics", "web-1"]);
    assert!(code == 0 && metrics.contains("conduit_proxy_requests_total"), "{metrics}");
    let (code, _, hint) = conduit(&world, &["tap", "deploy/nothing"]);
    assert!(code != 0 && hint.contains("conduit stat"), "{hint}");
}

#[test]
fn a_tap_shows_the_requests_that_match_and_no_others() {
    let world = World::start();
    world.run(raw_server("web", "http"));
    world.run(idle("client"));
    let mut tap = Command::new(spec::executable("conduit"))
        .env("CONDUIT_LOCAL_DIR", world.dir().path())
        .args(["tap", "deploy/web", "--path", "/shown", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let seen = lines(tap.stdout.take().unwrap());
    wait::until(SOON, || {
        let _ = curl(&world, "client", &["http://web:8080/hidden"]);
        let _ = curl(&world, "client", &["http://web:8080/shown?a=1"]);
        seen.lock().unwrap().iter().any(|line| line.contains("200"))
    });
    let seen = seen.lock().unwrap().join("\n");
    assert!(seen.contains("/shown?a=1") && !seen.contains("/hidden"), "{seen}");
    assert!(
        seen.contains("spiffe://cluster.local/ns/default/sa/client"),
        "both identities are shown: {seen}"
    );
    tap.kill().unwrap();
    let _ = tap.wait();
}

#[test]
fn the_admin_port_tells_state_and_takes_a_log_level() {
    let world = World::start();
    world.run(idle("client"));
    let get =
        |path: &str| world.exec("client", &["curl", "-s", &format!("http://127.0.0.1:4191{path}")]).stdout;
    let code = |path: &str| {
        world
            .exec(
                "client",
                &[
                    "curl",
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    &format!("http://127.0.0.1:4191{path}"),
                ],
            )
            .stdout
    };
    assert_eq!((code("/live"), code("/ready"), code("/none")), ("200".into(), "200".into(), "404".into()));
    assert!(get("/metrics").ends_with("# EOF\n"));
    let _ =
        world.exec("client", &["curl", "-s", "-X", "PUT", "-d", "debug", "http://127.0.0.1:4191/log-level"]);
    assert!(get("/log-level").contains("debug"));
}
