//! Whatever dies, what runs goes on: the controller, the network to it, endpoints.

use std::time::Duration;

use conduit_testbed::spec::{ControllerAction, Fault};
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, idle, nginx};

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
