//! What cluster IPs do to connections that come from pods and from the node itself.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use conduit_redirect::cluster_ips::{ClusterIp, install, remove};

use crate::world::{World, accept, connect, in_a_world, try_accept};

/// The service's addresses, and the endpoints' in pod B.
fn services(world: &World) -> [(SocketAddr, IpAddr); 2] {
    let v6: IpAddr = "fd00:96::10".parse().expect("an address");
    [(([10, 96, 0, 10], 80).into(), world.b.v4), ((v6, 80).into(), world.b.v6)]
}

fn install_with(world: &World, ports: &[u16]) {
    let with = services(world).map(|(addr, ip)| ClusterIp {
        addr,
        endpoints: ports.iter().map(|port| SocketAddr::new(ip, *port)).collect(),
    });
    install(&with).expect("the cluster IPs are fine");
}

#[test]
fn a_pods_connections_to_a_cluster_ip_reach_every_endpoint() {
    in_a_world(|world| {
        install_with(&world, &[8081, 8082, 8083]);
        let listeners = [8081, 8082, 8083].map(|port| world.b.listen(port));
        for (addr, _) in services(&world) {
            let mut streams = Vec::new();
            // That one of three gets none of 100 has a chance of 1 in 10^17.
            for _ in 0..100 {
                streams.push(world.a.connect(addr).expect("an endpoint listens"));
            }
            for listener in &listeners {
                accept(listener);
                while try_accept(listener).is_some() {}
            }
        }
    });
}

#[test]
fn a_cluster_ip_without_endpoints_refuses_at_once() {
    in_a_world(|world| {
        install_with(&world, &[]);
        // The node has no route of its own to a service; pods have one through the node.
        for (addr, _) in services(&world) {
            let refused = world.a.connect(addr).expect_err("nobody is there");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{addr}: {refused}");
        }
    });
}

#[test]
fn the_nodes_own_connections_are_translated_too() {
    in_a_world(|world| {
        // A route is looked up before the translation; any will do.
        crate::netlink::add_default_route(world.a.v4);
        crate::netlink::add_default_route(world.a.v6);
        install_with(&world, &[8081]);
        let listener = world.b.listen(8081);
        for (addr, _) in services(&world) {
            let _stream = connect(addr, None).expect("an endpoint listens");
            accept(&listener);
        }
        install_with(&world, &[]);
        for (addr, _) in services(&world) {
            let refused = connect(addr, None).expect_err("nobody is there");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{addr}: {refused}");
        }
    });
}

#[test]
fn endpoints_can_change_while_connections_live() {
    in_a_world(|world| {
        use std::io::{Read, Write};
        install_with(&world, &[8081]);
        let (before, after) = (world.b.listen(8081), world.b.listen(8082));
        for (addr, _) in services(&world) {
            install_with(&world, &[8081]);
            let mut old = world.a.connect(addr).expect("an endpoint listens");
            let mut arrived = accept(&before);
            install_with(&world, &[8082]);
            let _new = world.a.connect(addr).expect("the other endpoint listens");
            accept(&after);
            install_with(&world, &[]);
            old.write_all(b"still").expect("the connection lives");
            arrived.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("a deadline can be set");
            let mut still = [0; 5];
            arrived.set_nonblocking(false).expect("a socket can be made blocking");
            arrived.read_exact(&mut still).expect("the connection lives");
            assert_eq!(&still, b"still");
        }
    });
}

#[test]
fn removing_cluster_ips_ends_them() {
    in_a_world(|world| {
        let _listener = world.b.listen(8081);
        install_with(&world, &[8081]);
        remove().expect("they are there");
        remove().expect("absent is fine");
        for (addr, _) in services(&world) {
            world.a.connect(addr).expect_err("there is no such address");
        }
    });
}

#[test]
fn a_thousand_endpoints_are_installed_at_once() {
    in_a_world(|world| {
        let endpoints = vec![SocketAddr::new(world.b.v4, 8081), SocketAddr::new(world.b.v4, 8082)];
        let many: Vec<_> = (0..500_u16)
            .map(|n| {
                let [high, low] = n.to_be_bytes();
                ClusterIp { addr: ([10, 96, high, low], 80).into(), endpoints: endpoints.clone() }
            })
            .collect();
        let listeners = [world.b.listen(8081), world.b.listen(8082)];
        install(&many).expect("they fit into a message");
        let last = many.last().expect("there are many").addr;
        let _stream = world.a.connect(last).expect("an endpoint listens");
        assert!(listeners.iter().any(|listener| try_accept(listener).is_some()));
    });
}
