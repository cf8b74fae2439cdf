//! Tunnels that go over to connections of their own while bytes are on their way: every byte arrives in its order, each way ends once, and
//! no end is believed that may be none.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::tests::{LIMITS, PROOF, World, in_time, send, sockets, world};
use super::*;
use crate::http::answer;
use crate::tcp::stream::ReadAhead;

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

#[test]
fn large_messages_both_ways_go_over_in_their_middle() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (near, far) = world.tunnel().await;
        let moving = async {
            tokio::task::yield_now().await;
            assert!(move_it(&world).await);
        };
        let (near, far, ()) =
            tokio::join!(send(near, 600_000, 500_000, 50_000), send(far, 500_000, 600_000, 50_000), moving);
        assert!(near.socket().is_some() && far.socket().is_some());
    });
}

#[test]
fn a_server_does_not_go_over_to_a_client_that_has_given_up() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        let (mut client, server) = sockets().await;
        let hello = Hello { proof: PROOF.to_owned(), stream: FIRST };
        client.write_all(&hello.encode()).await.unwrap();
        client.shutdown().await.unwrap();
        server.readable().await.unwrap();
        assert!(!answer(way(server), |_| Some(world.other.clone()), LIMIT).await);
        near.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "an end is an end");
    });
}

/// How often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_way_that_comes_while_the_end_is_read_is_taken_at_once() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        assert!(world.near.begin_bypass(FIRST));
        far.shutdown().await.unwrap();
        tokio::time::timeout(Duration::from_millis(50), near.read_u8()).await.unwrap_err();
        let (client, mut server) = sockets().await;
        world.near.settle(FIRST, Bypass::Here(Box::new(way(client))));
        // As if the tunnel had looked for it just before it came.
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(world.near.poll_take(FIRST, &mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        server.write_all(b"x").await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'x');
    });
}

/// Both ends of TLS.
async fn tls() -> (Io, Io) {
    let key = rcgen::generate_simple_self_signed(["peer".to_owned()]).unwrap();
    let (certificate, private) = (key.cert.der().clone(), key.signing_key.serialize_der());
    let mut anchors = rustls::RootCertStore::empty();
    anchors.add(certificate.clone()).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(anchors).with_no_client_auth();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(private.into()))
        .unwrap();
    let (near, far) = sockets().await;
    let [near, far] = [near, far].map(|socket| ReadAhead::new(bytes::Bytes::new(), socket));
    let connector = TlsConnector::from(Arc::new(client));
    let (near, far) = tokio::join!(
        connector.connect(ServerName::try_from("peer").unwrap(), near),
        TlsAcceptor::from(Arc::new(server)).accept(far)
    );
    (Io::TlsClient(Box::new(near.unwrap())), Io::TlsServer(Box::new(far.unwrap())))
}

#[test]
fn over_tls_an_end_is_passed_on_and_a_break_is_no_end() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        let (client, server) = tls().await;
        let [client, server] =
            [client, server].map(|io| Way { io, unacknowledged: UNACKNOWLEDGED, guard: Box::new(()) });
        let other = world.other.clone();
        let agreed =
            tokio::join!(ask(&world.near, FIRST, client, LIMIT), answer(server, |_| Some(other), LIMIT));
        assert_eq!(agreed, (true, true));
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut said = String::new();
        far.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "question");
        far.write_all(b"half an ans").await.unwrap();
        far.flush().await.unwrap();
        near.read_exact(&mut [0; 11]).await.unwrap();
        far.reset();
        drop(far);
        assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn who_moves_a_lot_asks_until_there_is_a_place_and_then_no_more() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let head = answer::fields(&[(":method", "CONNECT"), (":authority", "10.1.0.2:80")]);
        let mut near = world.near.open(&head, true).unwrap();
        let (mut far, _) = world.far.recv().await.unwrap();
        far.answer(&answer::fields(&[(":status", "200"), OFFER]), false);
        assert_eq!(near.status().await.unwrap(), 200);
        let asked = Arc::new(AtomicUsize::new(0));
        let counts = asked.clone();
        near.when_much(Box::new(move |_, stream| {
            assert_eq!(stream, FIRST);
            counts.fetch_add(1, Ordering::Relaxed) == 1
        }));
        let mut sink = vec![0; 1 << 20];
        for _ in 0..16 {
            let written = async {
                near.write_all(&[1; 1 << 20]).await.unwrap();
            };
            let (read, ()) = tokio::join!(far.read_exact(&mut sink), written);
            read.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    });
}
