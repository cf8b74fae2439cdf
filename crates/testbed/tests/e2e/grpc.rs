//! gRPC through both proxies: calls of all four kinds, balanced one by one, with what belongs to them: metadata, trailers, cancellation,
//! deadlines. Servers are the demo's and one by grpcio; the clients, ghz, grpcurl and grpcio, are somebody else's.

use conduit_testbed::spec::{self, Spec};
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, grpc_call, grpc_server, idle, nginx, python};

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

/// A world with the gRPC server by grpcio.
fn bytes() -> World {
    let world = World::start();
    world.run(grpc_server("bytes"));
    world.run(idle("client"));
    world
}

#[test]
fn streams_of_the_client_and_of_both_sides_are_whole_and_nothing_waits_for_more() {
    let world = bytes();
    let collected = grpc_call(&world, "client", "bytes", "collect");
    let all: String = (0..50).map(|n| format!("{n},")).collect();
    assert_eq!((&collected["answer"], &collected["late"]["x-late"]), (&all.into(), &"50".into()));
    let chat = grpc_call(&world, "client", "bytes", "chat");
    assert_eq!(chat["answer"], serde_json::json!(["ONE", "TWO", "THREE"]));
    assert_eq!(chat["late"]["x-late"], "bye");
    let edge = wait::for_some(SOON, || world.edges().into_iter().find(|edge| edge.secured));
    assert_eq!(edge.protocol(), conduit_api::common::v1::Protocol::Grpc);
    assert_eq!(edge.destination_identity, "spiffe://cluster.local/ns/default/sa/bytes");
}

#[test]
fn metadata_and_the_servers_own_trailers_arrive_with_successes_and_with_errors() {
    let world = bytes();
    let echo = grpc_call(&world, "client", "bytes", "Echo");
    assert_eq!((&echo["code"], &echo["answer"]), (&"OK".into(), &"hello".into()), "{echo}");
    assert_eq!(echo["early"]["x-early"], "bird", "headers go there and back: {echo}");
    assert_eq!(
        echo["late"],
        serde_json::json!({"x-late": "5", "x-late-bin": "0001020304050607"}),
        "trailers, text and bytes"
    );
    let refused = grpc_call(&world, "client", "bytes", "Refuse");
    assert_eq!(refused["code"], "FAILED_PRECONDITION", "{refused}");
    assert_eq!(refused["details"], "not now: 100 % größer");
    assert_eq!(refused["late"]["x-late"], "refused");
}

#[test]
fn a_call_that_its_client_cancels_is_cancelled_at_the_server() {
    let world = bytes();
    let cancelled = grpc_call(&world, "client", "bytes", "cancel");
    assert_eq!(cancelled["heard"], serde_json::json!(["0", "1", "2"]));
    assert_eq!(cancelled["before"], "0", "it had not ended by itself");
    assert_eq!(cancelled["code"], "CANCELLED");
    assert_eq!(cancelled["seen"], true, "{cancelled}");
}

#[test]
fn a_deadline_reaches_the_server_and_ends_the_call_on_both_sides() {
    let world = bytes();
    let seen = grpc_call(&world, "client", "bytes", "deadline");
    let near = seen["near"].as_f64().unwrap();
    assert!(near > 2.0 && near <= 7.0, "of a deadline of 7 s the server saw {near} s");
    assert_eq!(seen["none"], "none", "no deadline is made up");
    assert_eq!((&seen["late"], &seen["seen"]), (&"DEADLINE_EXCEEDED".into(), &true.into()), "{seen}");
}

/// Waits until a call of the client's is under way; returns its server's pod.
fn under_way<'a>(world: &World, pods: &[&'a str]) -> &'a str {
    wait::for_some(SOON, || pods.iter().copied().find(|pod| world.log(pod).contains("began")))
}

#[test]
fn a_call_whose_server_dies_is_told_as_unavailable_by_its_proxy_and_the_next_one_is_served() {
    let world = World::start();
    world.run(grpc_server("bytes").replicas(2));
    world.run(idle("client"));
    let call = world.begin("client", &python("grpc_client.py", &["bytes:8080", "lost"]));
    world.crash(under_way(&world, &["bytes-1", "bytes-2"]));
    let lost: serde_json::Value = serde_json::from_str(call.wait().text()).unwrap();
    assert_eq!((&lost["code"], &lost["answer"]), (&"UNAVAILABLE".into(), &"again".into()), "{lost}");
    assert!(lost["details"].as_str().unwrap().contains("application"), "the server's proxy said so: {lost}");
}

#[test]
fn a_server_that_does_not_speak_http2_is_told_as_that() {
    let world = World::start();
    world.run(nginx(&world, "bytes", "grpc"));
    world.run(idle("client"));
    let call = grpc_call(&world, "client", "bytes", "Echo");
    assert_eq!(call["code"], "UNAVAILABLE", "{call}");
    assert_eq!(call["details"], "the application does not speak HTTP/2");
}

#[test]
fn a_servers_proxy_that_is_stopped_lets_the_call_under_way_come_to_its_end() {
    let world = bytes();
    let call = world.begin("client", &python("grpc_client.py", &["bytes:8080", "long"]));
    under_way(&world, &["bytes-1"]);
    world.client().signal("bytes-1", libc::SIGTERM, true).unwrap();
    let long: serde_json::Value = serde_json::from_str(call.wait().text()).unwrap();
    assert_eq!((&long["code"], &long["answer"]), (&"OK".into(), &true.into()), "{long}");
}
