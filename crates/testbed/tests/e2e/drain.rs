//! A proxy that is told to stop finishes what it has begun, takes nothing new and ends.

use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, idle, nginx, raw_server, script};

#[test]
fn a_proxy_that_is_stopped_answers_the_request_under_way_and_says_that_the_connection_ends() {
    let world = World::start();
    world.run(raw_server("raw", "http"));
    world.run(idle("client"));
    assert_eq!(curl(&world, "client", &["-o", "/dev/null", "http://raw:8080/"]).code, 0);
    let script = script("raw_client.py");
    let request = r"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    let client = world.begin("client", &["python3", &script, "raw", "8080", "5.0", request, "wait:0.1"]);
    wait::until(SOON, || {
        world
            .sh("client-1", "curl -s http://127.0.0.1:4191/metrics")
            .stdout
            .contains("connections_open{direction=\"outbound\"} 1")
    });
    world.client().signal("client-1", 15, true).unwrap();
    let answer = client.wait();
    assert!(answer.text().contains("slow"), "{answer:?}");
    assert!(answer.text().contains("Connection: close") && answer.text().ends_with("<end>"), "{answer:?}");
}

#[test]
fn a_service_is_scaled_down_under_load_with_no_failed_request() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(3));
    world.run(idle("client"));
    let load = world.begin(
        "client",
        &["fortio", "load", "-quiet", "-c", "8", "-qps", "400", "-t", "8s", "-json", "-", "http://web:8080/"],
    );
    wait::until(SOON, || world.golden("web").requests > 100);
    world.scale("web", 1);
    let report: serde_json::Value = serde_json::from_str(load.wait().text()).unwrap();
    let codes = report["RetCodes"].as_object().unwrap();
    assert!(codes.len() == 1 && codes.contains_key("200"), "{codes:?}");
    assert!(report["DurationHistogram"]["Count"].as_u64().unwrap() > 1000, "{report}");
}

#[test]
fn a_call_that_outlives_its_deadline_is_ended_by_the_client_and_not_by_the_mesh() {
    let world = World::start();
    world.run(raw_server("raw", "http"));
    world.run(idle("client"));
    let late = curl(&world, "client", &["-m", "0.1", "http://raw:8080/slow"]);
    assert_eq!(late.code, 28, "the client's own limit: {late:?}");
    assert_eq!(curl(&world, "client", &["http://raw:8080/slow"]).text(), "slow");
    let failures =
        || world.stat("client", 60).and_then(|row| row.golden).map_or(0, |golden| golden.mesh_failures);
    assert_eq!(failures(), 0);
}
