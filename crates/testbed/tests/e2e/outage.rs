//! Whatever dies, what runs goes on: the controller, the network to it, endpoints.

use std::time::Duration;

use conduit_testbed::spec::{ControllerAction, Fault, Spec};
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, conduit, curl, idle, nginx};

fn ok(world: &World, url: &str) -> bool {
    curl(world, "client", &["-f", "-o", "/dev/null", url]).code == 0
}

#[test]
fn services_that_know_each_other_go_on_without_a_controller() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(2));
    world.run(idle("client"));
    assert!(ok(&world, "http://web:8080/"));
    for outage in [ControllerAction::Stop, ControllerAction::Freeze] {
        world.controller(outage);
        for _ in 0..20 {
            assert!(ok(&world, "http://web:8080/"), "during {outage:?}");
        }
        world.controller(if outage == ControllerAction::Stop {
            ControllerAction::Start
        } else {
            ControllerAction::Thaw
        });
        wait::until(SOON, || std::os::unix::net::UnixStream::connect(world.dir().operator_socket()).is_ok());
        wait::until(SOON, || world.proxies().iter().filter(|proxy| proxy.connected).count() == 3);
    }
    world.scale("web", 1);
    for _ in 0..10 {
        assert!(ok(&world, "http://web:8080/"), "what changed after the outage is learned");
    }
}

#[test]
fn an_endpoint_that_is_cut_off_is_avoided_and_comes_back() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(2));
    world.run(idle("client"));
    assert!(ok(&world, "http://web:8080/"));
    world.faults(&[Fault::Partition("web-2".to_owned())]);
    for _ in 0..10 {
        // The first requests may find the connections that the cut took by surprise, and go elsewhere when that is noticed.
        assert!(ok(&world, "http://web:8080/"), "the other endpoint serves");
    }
    world.faults(&[]);
    let reached = || curl(&world, "client", &["http://web:8080/"]).stdout == "web-2";
    wait::until(Duration::from_secs(60), reached);
}

#[test]
fn lost_packets_slow_requests_down_and_fail_none() {
    let world = World::start();
    world.run(nginx(&world, "web", "http"));
    world.run(idle("client"));
    world.faults(&[Fault::Loss { target: "web".to_owned(), percent: 5 }]);
    for _ in 0..20 {
        assert!(ok(&world, "http://web:8080/"));
    }
    world.faults(&[]);
}

#[test]
fn a_crashed_application_is_left_out_with_no_failed_request() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(3));
    world.run(idle("client"));
    assert!(ok(&world, "http://web:8080/"));
    let load = world.begin("client", &["sh", "-c",
        "f=0; for i in $(seq 200); do curl -sf -m 5 -o /dev/null http://web:8080/ || f=$((f+1)); done; echo $f"]);
    world.crash("web-2");
    assert_eq!(load.wait().text(), "0");
}

#[test]
fn a_pod_that_is_cut_off_from_the_controller_goes_on_and_catches_up() {
    let world = World::start();
    world.run(nginx(&world, "web", "http"));
    world.run(idle("client"));
    world.run(idle("other"));
    let from = |pod: &str| curl(&world, pod, &["-f", "http://web:8080/"]);
    for pod in ["client", "other"] {
        assert_eq!(from(pod).text(), "web-1");
    }
    let connected = |pod: &str| {
        let proxies = world.proxies();
        proxies.iter().any(|proxy| proxy.pod.as_ref().is_some_and(|p| p.name == pod) && proxy.connected)
    };
    wait::until(SOON, || connected("client-1") && connected("other-1"));
    world.faults(&[Fault::Between("client".to_owned(), "controller".to_owned())]);
    let load = world.begin("client", &["sh", "-c",
        "f=0; for i in $(seq 100); do curl -sf -m 5 -o /dev/null http://web:8080/ || f=$((f+1)); done; echo $f"]);
    world.scale("web", 3);
    wait::until(SOON, || from("other").text() == "web-3");
    assert_eq!(load.wait().text(), "0", "traffic to what is known goes on");
    wait::until(SOON, || !connected("client-1"));
    assert!(connected("other-1") && connected("web-1"), "the cut is between two");
    for _ in 0..20 {
        assert_eq!(from("client").text(), "web-1", "a change during the cut has not come through it");
    }
    world.faults(&[]);
    wait::until(Duration::from_secs(60), || from("client").text() == "web-3");
    world.kill("web-1");
    for _ in 0..20 {
        assert_ne!(from("client").text(), "web-1", "changes come again");
    }
}

#[test]
fn without_a_controller_new_processes_reach_what_is_known_and_the_setting_decides_about_the_rest() {
    let world = World::start();
    world.run(nginx(&world, "known", "http"));
    world.run(nginx(&world, "unknown", "http"));
    let client = |name: &str| -> Spec { idle(name).proxy_env("CONDUIT_PROXY_DISCOVERY_TIMEOUT", "500ms") };
    world.run(client("careful"));
    world.run(client("trusting").proxy_env("CONDUIT_PROXY_WHEN_UNKNOWN", "passthrough"));
    let get = |pod: &str, url: &str| {
        conduit(&world, &["local", "exec", pod, "--", "curl", "-sSf", "-m", "10", url])
    };
    for pod in ["careful", "trusting"] {
        assert_eq!(get(pod, "http://known:8080/").1, "known-1");
    }
    world.controller(ControllerAction::Stop);
    for pod in ["careful", "trusting"] {
        let (code, page, error) = get(pod, "http://known:8080/");
        assert_eq!((code, page.as_str()), (0, "known-1"), "{pod}: {error}");
    }
    let (code, _, error) = get("careful", "http://unknown:8080/");
    assert!(code == 56 || code == 52, "the default refuses with a reset, at once: {code} {error}");
    assert!(world.proxy_log("careful-1").contains("when-unknown"), "the log names the setting");
    let (code, page, error) = get("trusting", "http://unknown:8080/");
    assert_eq!((code, page.as_str()), (0, "unknown-1"), "passthrough lets it through: {error}");
    world.controller(ControllerAction::Start);
    wait::until(SOON, || get("careful", "http://unknown:8080/").1 == "unknown-1");
    let edges = wait::for_some(SOON, || {
        let edges: Vec<_> = world
            .edges()
            .into_iter()
            .filter(|edge| edge.destination.as_ref().is_some_and(|d| d.name == "unknown"))
            .collect();
        let from = |secured| edges.iter().any(|edge| edge.secured == secured);
        (from(true) && from(false)).then_some(edges)
    });
    let careful = "spiffe://cluster.local/ns/default/sa/careful";
    assert!(edges.iter().all(|edge| edge.secured == (edge.source_identity == careful)), "{edges:?}");
}
