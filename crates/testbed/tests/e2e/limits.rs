//! A limit that is reached is said, in the words of the protocol, and passed again as soon as there is room.

use conduit_testbed::spec::Spec;
use conduit_testbed::wait;
use conduit_testbed::world::{Background, World};

use crate::support::{SOON, curl, grpc_call, grpc_server, idle, metric, raw_server};

/// As many connections as the proxies of these tests may have, each way.
const MAX: usize = 4;
const OPEN: &str = "conduit_proxy_connections_open{direction=";
const REFUSED: &str = "conduit_proxy_mesh_failures_total{reason=\"limit\"}";

fn limited(spec: Spec) -> Spec {
    spec.proxy_env("CONDUIT_PROXY_CONNECTIONS_MAX", &MAX.to_string())
        .proxy_env("CONDUIT_PROXY_DETECT_TIMEOUT", "1s")
}

/// Takes all places of a proxy with connections to `name:8080` from pod `from`, until it is told to end.
fn fill(world: &World, from: &str, name: &str) -> Background {
    let script = format!(
        "import socket, signal
held = [socket.create_connection(('{name}', 8080)) for _ in range({MAX})]
for s in held:
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n')
    assert s.recv(4096).startswith(b'HTTP/1.1 200')
print('held', flush=True)
signal.pause()"
    );
    let holder = world.begin(from, &["python3", "-c", &script]);
    wait::until(SOON, || holder.stdout().contains("held"));
    holder
}

fn release(holder: Background) {
    holder.signal(15);
    let _ = holder.wait();
}

#[test]
fn one_connection_more_than_a_client_may_have_is_refused_with_the_reason_until_there_is_room() {
    let world = World::start();
    world.run(raw_server("raw", "http"));
    world.run(raw_server("opaque", "tcp"));
    world.run(grpc_server("bytes"));
    world.run(limited(idle("client")));
    assert_eq!(curl(&world, "client", &["-o", "/dev/null", "http://raw:8080/"]).code, 0);
    let holder = fill(&world, "client", "raw");
    assert_eq!(metric(&world, "client", &format!("{OPEN}\"outbound\"}}")), MAX as f64);
    let refused = curl(&world, "client", &["-i", "http://raw:8080/"]);
    assert!(refused.stdout.starts_with("HTTP/1.1 503 "), "{refused:?}");
    assert!(refused.stdout.contains("conduit-proxy-error: limit\r\n"), "{refused:?}");
    assert!(refused.stdout.contains("connections-max"), "it says which setting: {refused:?}");
    let call = grpc_call(&world, "client", "bytes", "Echo");
    assert_eq!(call["code"], "RESOURCE_EXHAUSTED", "{call}");
    let opaque = world.exec(
        "client",
        &[
            "python3",
            "-c",
            "import socket
s = socket.create_connection(('opaque', 8080)); s.sendall(b'SSH-2.0-x\\r\\n'); s.recv(1)",
        ],
    );
    assert!(opaque.stderr.contains("ConnectionResetError"), "{opaque:?}");
    assert!(metric(&world, "client", REFUSED) >= 3.0);
    release(holder);
    wait::until(SOON, || curl(&world, "client", &["-f", "-o", "/dev/null", "http://raw:8080/"]).code == 0);
    assert_eq!(grpc_call(&world, "client", "bytes", "Echo")["answer"], "hello");
}

#[test]
fn a_head_larger_than_allowed_is_refused_over_http2_as_well() {
    let world = World::start();
    world.run(grpc_server("bytes"));
    world.run(idle("client").proxy_env("CONDUIT_PROXY_HEADER_BYTES_MAX", "8192"));
    let header = format!("x-large: {}", "y".repeat(20_000));
    let arguments = [
        "--http2-prior-knowledge",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        &header,
        "http://bytes:8080/",
    ];
    assert_eq!(curl(&world, "client", &arguments).stdout, "431");
    let call = grpc_call(&world, "client", "bytes", "large");
    assert!(call["code"] != "OK" && call["details"].as_str().unwrap().contains("431"), "{call}");
    assert_eq!(grpc_call(&world, "client", "bytes", "Echo")["answer"], "hello");
}

#[test]
fn one_connection_more_than_a_server_may_have_is_refused_and_its_other_endpoints_serve() {
    let world = World::start();
    world.run(limited(raw_server("raw", "http")));
    world.run(idle("client"));
    world.run(idle("stranger").unmeshed());
    let holder = fill(&world, "stranger", "raw");
    let refused = curl(&world, "stranger", &["-i", "http://raw:8080/"]);
    assert!(
        refused.stdout.starts_with("HTTP/1.1 503 ")
            && refused.stdout.contains("conduit-proxy-error: limit\r\n"),
        "in the clear: {refused:?}"
    );
    let refused = curl(&world, "client", &["-i", "http://raw:8080/"]);
    assert!(
        refused.stdout.starts_with("HTTP/1.1 503 ") && refused.stdout.contains("conduit-proxy-error: "),
        "through the mesh: {refused:?}"
    );
    assert!(metric(&world, "raw", REFUSED) >= 2.0);
    world.scale("raw", 2);
    wait::until(SOON, || curl(&world, "client", &["-f", "-o", "/dev/null", "http://raw:8080/"]).code == 0);
    for _ in 0..10 {
        let served = curl(&world, "client", &["-f", "-o", "/dev/null", "http://raw:8080/"]);
        assert_eq!(served.code, 0, "the endpoint that has room serves: {served:?}");
    }
    release(holder);
    world.scale("raw", 1);
    wait::until(SOON, || curl(&world, "client", &["-f", "-o", "/dev/null", "http://raw:8080/"]).code == 0);
}
