//! What faults do to packets between pods, and to the node's own.

use std::io::ErrorKind;
use std::net::UdpSocket;

use conduit_redirect::faults::{Fault, clear, install};

use crate::world::{accept, in_a_world};

#[test]
fn a_partition_lasts_until_it_is_cleared_and_concerns_only_the_two() {
    in_a_world(|world| {
        let listener = world.b.listen(8080);
        install(&[Fault::Between(world.a.v4, world.b.v4)]).expect("the fault is fine");
        let lost = world.a.connect((world.b.v4, 8080)).expect_err("nothing passes");
        assert_eq!(lost.kind(), ErrorKind::TimedOut);
        let _v6 = world.a.connect((world.b.v6, 8080)).expect("the other family passes");
        accept(&listener);
        let node = crate::world::connect((world.b.v4, 8080).into(), None);
        let _node = node.expect("the node is no part of it");
        accept(&listener);
        clear().expect("it is there");
        clear().expect("absent is fine");
        let _v4 = world.a.connect((world.b.v4, 8080)).expect("it has ended");
        accept(&listener);
    });
}

#[test]
fn a_pod_that_is_cut_off_reaches_nobody_and_not_the_node() {
    in_a_world(|world| {
        let _listeners = (world.a.listen(8080), world.b.listen(8080));
        for (cut, ip) in [(world.b.v4, world.a.v4), (world.b.v6, world.a.v6)] {
            install(&[Fault::All(cut)]).expect("the fault is fine");
            let lost = world.b.connect((ip, 8080)).expect_err("nothing leaves it");
            assert_eq!(lost.kind(), ErrorKind::TimedOut);
            let lost = crate::world::connect((cut, 8080).into(), None).expect_err("nothing reaches it");
            assert_eq!(lost.kind(), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn a_share_of_the_packets_is_lost() {
    in_a_world(|world| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
        for (percent, expected) in [(0, 0..=0), (25, 150..=350), (100, 1000..=1000)] {
            install(&[Fault::Share { ip: world.b.v4, percent }]).expect("the fault is fine");
            // The kernel tells the sender when it drops what he sends. 250 of 1000 stray by 14 (one sigma).
            let lost =
                (0..1000).filter(|_| socket.send_to(b"x", (world.b.v4, 9)).is_err_and(is_drop)).count();
            assert!(expected.contains(&lost), "{percent} %: {lost} of 1000");
        }
    });
}

fn is_drop(error: std::io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}
