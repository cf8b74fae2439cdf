//! Tunnels that go over to connections of their own while bytes are on their way: every byte arrives in its order, each way ends once, and
//! no end is believed that may be none.

use proptest::prelude::*;
use tokio::net::TcpStream;

use super::super::tests::{LIMITS, PROOF, World, in_time, sockets, world};
use super::*;
use crate::http::tunnel::Tunnel;

/// The first tunnel's stream.
const FIRST: u32 = 1;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// No test waits for it to pass.
const LIMIT: Duration = Duration::from_secs(10);

fn way(socket: TcpStream) -> Way {
    Way { io: Io::Tcp(socket), unacknowledged: UNACKNOWLEDGED, guard: Box::new(()) }
}

/// Both proxies' parts, on a connection that the client has proven itself on already.
async fn move_it(world: &World) -> bool {
    let (near, far) = sockets().await;
    let find = |proof: &str| (proof == PROOF).then(|| world.other.clone());
    let (asked, answered) =
        tokio::join!(ask(&world.near, FIRST, way(near), LIMIT), answer(way(far), find, LIMIT));
    assert_eq!(asked, answered);
    asked
}

async fn send(tunnel: Tunnel, count: usize, expected: usize, piece: usize) -> Tunnel {
    let bytes = |count: usize| (0..count).map(|n| (n * 31 + count) as u8).collect::<Vec<_>>();
    let (mut from, mut to) = tokio::io::split(tunnel);
    let writing = async {
        for part in bytes(count).chunks(piece) {
            to.write_all(part).await.unwrap();
            to.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        to.shutdown().await.unwrap();
    };
    let reading = async {
        let mut came = Vec::new();
        from.read_to_end(&mut came).await.unwrap();
        assert!(came == bytes(expected));
    };
    tokio::join!(writing, reading);
    from.unsplit(to)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_byte_arrives_in_its_order_whenever_the_tunnel_goes_over(
        up in 0..400_000_usize,
        down in 0..400_000_usize,
        piece in 1000..100_000_usize,
        turns in 0..60_usize,
    ) {
        in_time(async {
            let mut world = world(LIMITS).await;
            let (near, far) = world.tunnel().await;
            let moving = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                move_it(&world).await
            };
            let (near, far, moved) =
                tokio::join!(send(near, up, down, piece), send(far, down, up, piece), moving);
            prop_assert_eq!(near.socket().is_some(), moved);
            prop_assert_eq!(far.socket().is_some(), moved);
            drop((near, far));
            // The shared connection is as good as before, for tunnels that stay.
            let (near, far) = world.tunnel().await;
            tokio::join!(send(near, 70_000, 0, piece), send(far, 0, 70_000, piece));
            world.tasks.stop();
            Ok(())
        })?;
    }

    #[test]
    fn what_a_client_says_first_is_read_as_it_was_meant(proof in "[0-9a-f]{32}", stream: u32) {
        let hello = Hello { proof, stream };
        let bytes: [u8; Hello::BYTES] = hello.encode().try_into().unwrap();
        prop_assert_eq!(Hello::parse(&bytes), Some(hello));
    }

    #[test]
    fn whatever_else_is_said_first_is_no_reason_to_panic(bytes: [u8; Hello::BYTES]) {
        if let Some(hello) = Hello::parse(&bytes) {
            prop_assert_eq!(hello.encode(), bytes);
        }
    }
}

#[test]
fn an_end_is_held_back_until_it_is_known_what_it_means() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        assert!(world.near.begin_bypass(FIRST));
        assert!(!world.near.begin_bypass(FIRST), "it is on its way already");
        far.shutdown().await.unwrap();
        let soon = Duration::from_millis(50);
        tokio::time::timeout(soon, near.read_u8()).await.unwrap_err();
        tokio::time::timeout(soon, near.shutdown()).await.unwrap_err();
        near.write_all(b"still").await.unwrap();
        world.near.settle(FIRST, Bypass::No);
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0, "nobody has gone over: it was the end");
        near.shutdown().await.unwrap();
        let mut said = String::new();
        far.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "still");
    });
}

#[test]
fn an_end_that_may_be_none_is_not_believed() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        far.write_all(b"said").await.unwrap();
        let (client, mut server) = sockets().await;
        let silent = async {
            server.write_u8(READY).await.unwrap();
            server.read_exact(&mut [0; Hello::BYTES]).await.unwrap();
            drop(server);
        };
        let (goes_on, ()) = tokio::join!(ask(&world.near, FIRST, way(client), LIMIT), silent);
        assert!(!goes_on, "the server may have gone over, and may not");
        far.shutdown().await.unwrap();
        near.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_tunnel_stays_as_it_was_when_its_own_connection_fails_before_it_is_asked_for() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        let (client, server) = sockets().await;
        drop(server);
        assert!(!ask(&world.near, FIRST, way(client), LIMIT).await);
        let (client, server) = sockets().await;
        let strangers = answer(way(server), |_| None, LIMIT);
        let (asked, answered) = tokio::join!(ask(&world.near, FIRST, way(client), LIMIT), strangers);
        assert!(!asked && !answered, "another proxy knows no such tunnel");
        far.shutdown().await.unwrap();
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0, "an end is an end");
        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        assert!(!move_it(&world).await, "with one way ended it is not worth it any more");
    });
}

#[test]
fn a_tunnel_that_has_gone_over_breaks_with_its_own_connection_and_not_with_the_shared_one() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        assert!(move_it(&world).await);
        for tunnel in [&mut near, &mut far] {
            tunnel.write_all(b"x").await.unwrap();
            tunnel.flush().await.unwrap();
        }
        assert_eq!((near.read_u8().await.unwrap(), far.read_u8().await.unwrap()), (b'x', b'x'));
        world.tasks.stop();
        crate::control::fake::until("the shared one has ended", || world.near.is_over()).await;
        near.write_all(b"y").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'y');
        near.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    });
}
