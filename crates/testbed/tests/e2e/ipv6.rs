//! A service that there is over IPv6 alone: its address, its endpoints, the redirect and the way to the application.

use conduit_testbed::spec::Spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, grpc_call, grpc_server, idle};

/// An HTTP server of the standard library that listens on IPv6 and nothing else, and answers with the address that it was reached at.
fn server(name: &str) -> Spec {
    let script = "import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = self.connection.getsockname()[0].encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
Server(('::', 8080), Handler).serve_forever()";
    Spec::new(name, ["python3", "-c", script]).port(8080, "").ipv6_only()
}

#[test]
fn a_service_of_ipv6_alone_is_reached_by_name_and_by_address_and_is_secured() {
    let world = World::start();
    assert!(world.ps().ipv6, "this test needs a kernel with IPv6");
    world.run(server("web").replicas(2));
    world.run(grpc_server("bytes").ipv6_only());
    world.run(idle("client"));
    let cluster_ips = world.ps().workload("web").unwrap().cluster_ips.clone();
    assert!(cluster_ips.len() == 1 && cluster_ips[0].is_ipv6(), "{cluster_ips:?}");
    let pods = ["web-1", "web-2"].map(|pod| world.pod(pod).ips[1].to_string());
    let by_address = format!("http://[{}]:8080/", cluster_ips[0]);
    for url in ["http://web:8080/", by_address.as_str()] {
        let mut seen = std::collections::BTreeSet::new();
        wait::until(SOON, || {
            seen.insert(curl(&world, "client", &[url]).text().to_owned());
            seen.len() == 2
        });
        assert!(seen.iter().all(|address| pods.contains(address)), "{seen:?} are not all of {pods:?}");
    }
    assert_eq!(grpc_call(&world, "client", "bytes", "Echo")["answer"], "hello");
    for name in ["web", "bytes"] {
        let edge = wait::for_some(SOON, || {
            let mut edges = world.edges().into_iter();
            edges.find(|edge| edge.secured && edge.destination.as_ref().is_some_and(|d| d.name == name))
        });
        assert_eq!(edge.destination_identity, format!("spiffe://cluster.local/ns/default/sa/{name}"));
        assert_eq!(edge.source_identity, "spiffe://cluster.local/ns/default/sa/client");
    }
    assert!(world.edges().iter().all(|edge| edge.secured), "nothing crossed in the clear");
}
