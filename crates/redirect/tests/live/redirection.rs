//! What the rules of a pod do to its connections, seen from the listeners on which they arrive.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use conduit_redirect::{Error, Exempt, Rules, install, is_installed, original_dst, remove};

use crate::world::{World, accept, connect, in_a_world, try_accept};

const MARK: u32 = 2102;

fn rules() -> Rules {
    Rules {
        inbound_port: 4143,
        outbound_port: 4140,
        exempt: Exempt::Mark(MARK),
        skip_inbound: vec![22..=22, 25..=30],
        skip_outbound: vec![3306..=3306, 5000..=5010],
    }
}

fn install_in_a(world: &World, rules: &Rules) {
    world.a.run(|| install(rules)).expect("the rules are fine");
}

/// Addresses that nobody has, but to which there is a route.
fn elsewhere() -> [IpAddr; 2] {
    [[10, 1, 2, 3].into(), "fd00:ffff::3".parse().expect("an address")]
}

#[test]
fn an_outgoing_connection_arrives_at_the_proxy_which_learns_where_it_was_meant_to_go() {
    in_a_world(|world| {
        install_in_a(&world, &rules());
        let proxy = world.a.listen(4140);
        for ip in elsewhere() {
            let _stream = world.a.connect((ip, 80)).expect("redirected");
            let arrived = accept(&proxy);
            assert_eq!(original_dst(&arrived).expect("a TCP connection"), SocketAddr::from((ip, 80)));
        }
    });
}

#[test]
fn an_incoming_connection_arrives_at_the_proxy_which_learns_where_it_was_meant_to_go() {
    in_a_world(|world| {
        install_in_a(&world, &rules());
        let proxy = world.a.listen(4143);
        for ip in world.a.ips() {
            let _stream = world.b.connect((ip, 8080)).expect("redirected");
            let arrived = accept(&proxy);
            assert_eq!(original_dst(&arrived).expect("a TCP connection"), SocketAddr::from((ip, 8080)));
            let peer = arrived.peer_addr().expect("connected").ip().to_canonical();
            assert!(world.b.ips().contains(&peer), "the source address is kept, not {peer}");
        }
    });
}

#[test]
fn a_marked_connection_goes_where_it_was_meant_to_go() {
    in_a_world(|world| {
        install_in_a(&world, &rules());
        let (there, proxy) = (world.b.listen(9000), world.a.listen(4140));
        for ip in world.b.ips() {
            let to = SocketAddr::from((ip, 9000));
            let _stream = world.a.run(|| connect(to, Some(MARK))).expect("direct");
            accept(&there);
            let _stream = world.a.run(|| connect(to, Some(MARK + 1))).expect("redirected");
            accept(&proxy);
        }
    });
}

#[test]
fn the_exempt_user_connects_directly_and_any_other_does_not() {
    in_a_world(|world| {
        let (there, proxy) = (world.b.listen(9000), world.a.listen(4140));
        // Root, be it of the machine or of the user namespace.
        install_in_a(&world, &Rules { exempt: Exempt::Uid(0), ..rules() });
        for ip in world.b.ips() {
            let _stream = world.a.connect((ip, 9000)).expect("direct");
            accept(&there);
        }
        install_in_a(&world, &Rules { exempt: Exempt::Uid(2102), ..rules() });
        for ip in world.b.ips() {
            let _stream = world.a.connect((ip, 9000)).expect("redirected");
            accept(&proxy);
        }
    });
}

#[test]
fn skipped_ports_are_left_alone_and_their_neighbours_are_not() {
    in_a_world(|world| {
        install_in_a(&world, &rules());
        let (inbound, outbound) = (world.a.listen(4143), world.a.listen(4140));
        for (port, skipped) in [
            (21, false),
            (22, true),
            (24, false),
            (25, true),
            (30, true),
            (31, false),
            (4190, true),
            (4191, true),
        ] {
            let app = world.a.listen(port);
            let _streams = world.a.ips().map(|ip| world.b.connect((ip, port)).expect("someone listens"));
            for _ in world.a.ips() {
                accept(if skipped { &app } else { &inbound });
            }
        }
        for (port, skipped) in
            [(3305, false), (3306, true), (4999, false), (5000, true), (5010, true), (5011, false)]
        {
            let there = world.b.listen(port);
            let _streams = world.b.ips().map(|ip| world.a.connect((ip, port)).expect("someone listens"));
            for _ in world.b.ips() {
                accept(if skipped { &there } else { &outbound });
            }
        }
    });
}

#[test]
fn what_a_pod_says_to_itself_stays_in_the_pod() {
    in_a_world(|world| {
        install_in_a(&world, &rules());
        let (_inbound, _outbound, app) = (world.a.listen(4143), world.a.listen(4140), world.a.listen(8080));
        for ip in ["127.0.0.1", "127.1.2.3", "::1"] {
            let _stream = world.a.connect((ip.parse::<IpAddr>().expect("an address"), 8080)).expect("direct");
            accept(&app);
        }
        for ip in world.a.ips() {
            let _stream = world.a.connect((ip, 8080)).expect("direct");
            let arrived = accept(&app);
            assert_eq!(original_dst(&arrived).expect("a TCP connection"), SocketAddr::from((ip, 8080)));
        }
    });
}

#[test]
fn a_connection_that_nothing_redirected_was_meant_for_its_local_address() {
    in_a_world(|world| {
        let app = world.a.listen(8080);
        for ip in world.a.ips() {
            let _stream = world.b.connect((ip, 8080)).expect("direct");
            assert_eq!(original_dst(&accept(&app)).expect("a TCP connection"), SocketAddr::from((ip, 8080)));
        }
    });
}

#[test]
fn installing_again_replaces_the_rules() {
    in_a_world(|world| {
        install_in_a(&world, &rules());
        install_in_a(&world, &Rules { outbound_port: 4999, skip_outbound: Vec::new(), ..rules() });
        let (old, new) = (world.a.listen(4140), world.a.listen(4999));
        for ip in elsewhere() {
            let _stream = world.a.connect((ip, 3306)).expect("redirected");
            accept(&new);
        }
        assert!(try_accept(&old).is_none());
    });
}

#[test]
fn whether_the_rules_are_there_is_known() {
    in_a_world(|world| {
        let there = || world.a.run(is_installed).expect("the kernel says");
        assert!(!there());
        install_in_a(&world, &rules());
        assert!(there());
        assert!(!world.b.run(is_installed).expect("the kernel says"), "of the other pod");
        world.a.run(remove).expect("it is there");
        assert!(!there());
    });
}

#[test]
fn removing_leaves_nothing_and_nothing_is_fine_to_remove() {
    in_a_world(|world| {
        world.a.run(remove).expect("absent is fine");
        install_in_a(&world, &rules());
        world.a.run(remove).expect("it is there");
        world.a.run(remove).expect("absent again");
        let (_proxy, _inbound) = (world.a.listen(4140), world.a.listen(4143));
        for ip in world.b.ips() {
            let refused = world.a.connect((ip, 80)).expect_err("nobody listens there, and nothing redirects");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        for ip in world.a.ips() {
            let refused = world.b.connect((ip, 80)).expect_err("nobody listens there, and nothing redirects");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn without_the_capability_the_error_says_which_one() {
    in_a_world(|_| {
        std::thread::scope(|scope| {
            let error = scope.spawn(|| {
                drop_capabilities();
                install(&rules()).expect_err("no capability")
            });
            let error = error.join().expect("no panic");
            assert!(matches!(error, Error::NotPermitted), "{error:?}");
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        });
    });
}

#[expect(unsafe_code, reason = "std knows no capabilities")]
fn drop_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let (header, none) = ([VERSION_3, 0], [0_u32; 6]);
    // SAFETY: the pointers are to a header and to two sets of capabilities as version 3 lays them out; the call reads
    // them, and changes this thread alone.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0, "capabilities can be dropped");
}
