//! The local world itself, before any mesh: what is started is found, and nothing outlives it.

use std::time::Duration;

use conduit_testbed::spec::{Phase, Spec};
use conduit_testbed::wait;
use conduit_testbed::world::World;

const SOON: Duration = Duration::from_secs(10);

/// An HTTP server of the standard library, that answers with the name of its pod.
fn server(name: &str) -> Spec {
    let script = "import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ['HOSTNAME'].encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
import socket
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(('::', 8080), Handler).serve_forever()";
    Spec::new(name, ["python3", "-c", script]).port(8080, "http")
}

fn get(world: &World, from: &str, url: &str) -> String {
    world.exec(from, &["curl", "-sS", "-m", "5", url]).text().to_owned()
}

/// Processes in namespaces of the world, found by its supervisor's own process namespace.
fn processes_of(supervisor: i32) -> Vec<String> {
    let namespace = std::fs::read_link(format!("/proc/{supervisor}/ns/pid_for_children"));
    let Ok(namespace) = namespace else { return Vec::new() };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside =
        |pid: &String| std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|link| link == namespace);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(inside).collect()
}

#[test]
fn a_service_is_found_by_name_from_every_pod() {
    let world = World::start();
    world.run(server("web").unmeshed());
    world.run(server("api").unmeshed());
    for from in ["web", "api"] {
        for (name, pod) in [("web", "web-1"), ("api", "api-1")] {
            if from != name {
                assert_eq!(get(&world, from, &format!("http://{name}:8080/")), pod);
                assert_eq!(get(&world, from, &format!("http://{name}.default.svc.cluster.local:8080/")), pod);
            }
        }
    }
    let unknown = world.exec("web", &["curl", "-sS", "-m", "5", "http://unknown:8080/"]);
    assert_eq!(unknown.code, 6, "an unknown name fails at once: {unknown:?}");
}

#[test]
fn a_service_is_reached_over_ipv6_where_there_is_any() {
    let world = World::start();
    world.run(server("web").unmeshed());
    world.run(Spec::new("client", ["sleep", "1000"]).unmeshed());
    let ps = world.ps();
    if ps.ipv6 {
        let cluster_ip = ps.workload("web").unwrap().cluster_ips[1];
        assert_eq!(get(&world, "client", &format!("http://[{cluster_ip}]:8080/")), "web-1");
    }
}

#[test]
fn every_replica_gets_traffic_and_one_that_ended_gets_none() {
    let world = World::start();
    world.run(server("web").replicas(3).unmeshed());
    world.run(Spec::new("client", ["sleep", "1000"]).unmeshed());
    let mut seen = std::collections::BTreeSet::new();
    wait::until(SOON, || {
        seen.insert(get(&world, "client", "http://web:8080/"));
        seen.len() == 3
    });
    world.crash("web-2");
    wait::until(SOON, || world.pod("web-2").phase == Phase::Ended);
    assert_eq!(world.pod("web-2").exit, Some(128 + 9));
    for _ in 0..20 {
        assert_ne!(get(&world, "client", "http://web:8080/"), "web-2");
    }
    world.scale("web", 1);
    assert_eq!(get(&world, "client", "http://web:8080/"), "web-1");
    world.kill("web");
    let refused = world.exec("client", &["curl", "-sS", "-m", "5", "http://web:8080/"]);
    assert_ne!(refused.code, 0);
}

#[test]
fn a_service_without_a_ready_endpoint_refuses_at_once() {
    let world = World::start();
    world.run(server("web").unmeshed());
    world.run(Spec::new("client", ["sleep", "1000"]).unmeshed());
    world.scale("web", 0);
    wait::until(SOON, || world.exec("client", &["curl", "-sS", "-m", "5", "http://web:8080/"]).code == 7);
}

#[test]
fn an_application_ends_before_it_is_killed_when_it_obeys() {
    let world = World::start();
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    world.run(Spec::new("polite", ["sh", "-c", script]).unmeshed());
    wait::until(SOON, || world.log("polite-1").contains("up"));
    world.kill("polite");
    assert_eq!(world.log("polite-1"), "up\nbye\n");
    assert!(world.ps().workload("polite").is_none());
}

#[test]
fn what_an_application_leaves_behind_ends_with_its_pod() {
    let world = World::start();
    world.run(Spec::new("forker", ["sh", "-c", "setsid sleep 4242 & sleep 1000"]).unmeshed());
    world.run(Spec::new("client", ["sleep", "1000"]).unmeshed());
    let left =
        || world.sh("client", "grep -lsa '^sleep.4242' /proc/[0-9]*/cmdline | wc -l").text().to_owned();
    wait::until(SOON, || left() == "1");
    world.crash("forker");
    wait::until(SOON, || left() == "0");
}

#[test]
fn an_application_is_started_again_when_asked() {
    let world = World::start();
    let spec = Spec { restart: true, ..Spec::new("phoenix", ["sleep", "1000"]).unmeshed() };
    world.run(spec);
    let first = world.pod("phoenix-1").pid;
    world.crash("phoenix");
    wait::until(SOON, || {
        let pod = world.pod("phoenix-1");
        pod.restarts == 1 && pod.pid != 0 && pod.pid != first
    });
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let world = World::start();
    let spec = Spec::new("nothing", ["no-such-program"]).unmeshed();
    let error = world.client().run(spec, SOON).unwrap_err().to_string();
    assert!(error.contains("nothing-1: cannot start `no-such-program`"), "{error}");
}

#[test]
fn a_command_in_a_pod_has_the_callers_streams_and_exit_code() {
    let world = World::start();
    world.run(Spec::new("box", ["sleep", "1000"]).unmeshed());
    let output = world.sh("box", "echo out; echo err >&2; hostname; exit 7");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\nbox-1\n", "err\n"));
    let running = world.begin("box", &["sh", "-c", "echo up; sleep 1000"]);
    wait::until(SOON, || running.stdout() == "up\n");
    running.signal(15);
    assert_eq!(running.wait().code, 128 + 15);
}

#[test]
fn orphans_are_reaped() {
    let world = World::start();
    world.run(Spec::new("box", ["sleep", "1000"]).unmeshed());
    assert_eq!(world.sh("box", "(sleep 0.01 &) ; (sleep 0.02 &)").code, 0);
    let zombies = || world.sh("box", "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z 1 '").stdout;
    wait::until(SOON, || zombies() == "0\n");
}

/// Every way in which a world can lose its supervisor takes everything with it: processes, namespaces, and with these links and rules.
fn nothing_is_left_after(end: impl FnOnce(&mut World, i32)) {
    let mut world = World::start();
    world.run(server("web"));
    let inner = world.client().supervisor_pid().unwrap();
    let inside = processes_of(inner);
    assert!(inside.len() >= 4, "supervisor, controller, proxy and web are inside: {inside:?}");
    let network = |pid: &String| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let namespaces: Vec<_> = inside.iter().filter_map(network).collect();
    end(&mut world, inner);
    wait::until(SOON, || {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut in_use = entries.filter_map(|entry| std::fs::read_link(entry.path().join("ns/net")).ok());
        !in_use.any(|namespace| namespaces.contains(&namespace))
    });
    assert!(world.client().ps().is_err());
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn nothing_is_left_when_the_supervisor_is_killed() {
    nothing_is_left_after(|_, inner| kill(inner));
}

#[test]
fn nothing_is_left_when_the_process_around_the_supervisor_is_killed() {
    nothing_is_left_after(|world, _| kill(world.outer_pid()));
}

#[test]
fn nothing_is_left_when_whoever_started_it_is_gone() {
    nothing_is_left_after(|world, _| world.abandon());
}

#[test]
fn a_proxy_that_is_killed_is_started_again() {
    let world = World::start();
    world.run(server("web"));
    world.run(Spec::new("client", ["sleep", "1000"]).unmeshed());
    let first = world.pod("web-1").proxy.unwrap().pid;
    world.crash_proxy("web");
    wait::until(SOON, || {
        let pod = world.pod("web-1");
        pod.ready && pod.proxy.is_some_and(|proxy| proxy.restarts == 1 && proxy.pid != first)
    });
    wait::until(SOON, || {
        world.exec("client", &["curl", "-sf", "-m", "5", "http://web:8080/"]).stdout == "web-1"
    });
}

#[test]
fn down_ends_everything_and_says_so_when_it_is_done() {
    let world = World::start();
    world.run(server("web").replicas(2).unmeshed());
    let inner = world.client().supervisor_pid().unwrap();
    let inside = processes_of(inner);
    world.client().down().unwrap();
    let alive = inside.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(alive.count(), 0);
    assert!(!world.dir().supervisor_socket().exists() && !world.dir().operator_socket().exists());
}

#[test]
fn a_second_world_in_the_same_directory_is_refused() {
    let world = World::start();
    let options = conduit_testbed::supervisor::Options::new(world.dir().clone());
    // `ensure` finds the world that runs.
    world.client().ensure(&options).unwrap();
    world.run(Spec::new("box", ["sleep", "1000"]).unmeshed());
    assert_eq!(world.ps().workloads.len(), 1);
}

#[test]
fn a_world_without_root_is_secured_by_the_mesh() {
    let world = World::start_rootless();
    world.run(server("web"));
    world.run(Spec::new("client", ["sleep", "1000"]));
    assert_eq!(get(&world, "client", "http://web:8080/"), "web-1");
    wait::until(SOON, || {
        let mut edges = world.edges().into_iter();
        edges.any(|edge| edge.destination.is_some_and(|workload| workload.name == "web") && edge.secured)
    });
    let proxies = "for p in $(grep -lsa '^conduit-proxy.run' /proc/[0-9]*/cmdline); do grep CapEff ${p%cmdline}status; done";
    let only_network_admin = "CapEff:\t0000000000001000";
    assert_eq!(world.sh("client", proxies).text(), format!("{only_network_admin}\n{only_network_admin}"));
}

#[test]
fn a_world_without_root_works_and_its_pods_have_no_privilege() {
    let world = World::start_rootless();
    assert!(!world.ps().root);
    world.run(server("web").unmeshed());
    world.run(Spec::new("client", ["sleep", "1000"]).unmeshed());
    assert_eq!(get(&world, "client", "http://web:8080/"), "web-1");
    assert_eq!(world.sh("client", "grep CapEff /proc/self/status").text(), "CapEff:\t0000000000000000");
    let port_80 = "import socket; socket.socket().bind(('', 80))";
    assert_eq!(world.exec("client", &["python3", "-c", port_80]).code, 0, "low ports are for everybody");
}
