//! gRPC through both proxies: unary, server streaming and bidirectional calls, balanced one by one. The servers are the demo's;
//! the client, ghz, is somebody else's.

use conduit_testbed::spec::{self, Spec};
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, idle};

fn demo(role: &str, port: u16) -> Spec {
    let conduit = spec::executable("conduit").display().to_string();
    Spec::new(role, [&conduit, "demo-app", role]).port(port, "grpc")
}

fn calls(world: &World, method: &str, data: &str, to: &str) -> serde_json::Value {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/demo.proto");
    let command = [
        "ghz",
        "--insecure",
        "--proto",
        proto,
        "--call",
        method,
        "-n",
        "300",
        "-c",
        "4",
        "--connections",
        "1",
        "-d",
        data,
        "-O",
        "json",
        to,
    ];
    serde_json::from_str(world.exec("client", &command).text()).unwrap()
}

#[test]
fn calls_of_every_kind_succeed_and_are_balanced_over_all_endpoints() {
    let world = World::start();
    world.run(demo("prices", 9002).replicas(3));
    world.run(demo("catalog", 9001));
    world.run(idle("client"));
    let kinds = [
        ("conduit.demo.v1.Catalog/Describe", r#"{"id": 1}"#, "catalog:9001"),
        ("conduit.demo.v1.Prices/Watch", r#"{"id": 1, "quotes": 3}"#, "prices:9002"),
        ("conduit.demo.v1.Prices/Quote", r#"[{"id": 1}, {"id": 2}]"#, "prices:9002"),
    ];
    for (method, data, to) in kinds {
        let report = calls(&world, method, data, to);
        assert_eq!(report["statusCodeDistribution"]["OK"], 300, "{method}: {report}");
    }
    for pod in ["prices-1", "prices-2", "prices-3"] {
        let requests = wait::for_some(SOON, || {
            let proxies = world.proxies();
            let proxy =
                proxies.into_iter().find(|proxy| proxy.pod.as_ref().is_some_and(|p| p.name == pod))?;
            (proxy.requests > 60).then_some(proxy.requests)
        });
        assert!(requests > 60, "{pod} got {requests} of 900");
    }
}

#[test]
fn a_call_by_grpcurl_gets_the_servers_status_and_message() {
    let world = World::start();
    world.run(demo("voting", 9003));
    world.run(idle("client"));
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let vote = || {
        let command = [
            "grpcurl",
            "-plaintext",
            "-import-path",
            directory,
            "-proto",
            "demo.proto",
            "-d",
            r#"{"id": 1}"#,
            "voting:9003",
            "conduit.demo.v1.Voting/Vote",
        ];
        world.exec("client", &command)
    };
    // A share of the calls fails on purpose, with a status and a message of the server's own.
    wait::until(SOON, || vote().stdout.contains("votes"));
    let failed = wait::for_some(SOON, || Some(vote()).filter(|output| output.code != 0));
    assert!(failed.stderr.contains("Code: Unknown"), "{failed:?}");
}
