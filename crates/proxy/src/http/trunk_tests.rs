//! Tunnels between two ends of real sockets: every byte arrives, also when its sender leaves at once, and each way ends on its own.

use std::pin::Pin;

use conduit_process::tasks::Tasks;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::control::fake::DEADLINE;
use crate::http::answer;
use crate::tcp::stream::{Io, Stream};

pub(super) const LIMITS: Limits =
    Limits { streams_max: 8, header_bytes_max: 8192, stream_window: 20_000, connection_window: 100_000 };

/// What the two ends know.
pub(super) const PROOF: &str = "0123456789abcdef0123456789abcdef";

/// The two ends, and the tunnels that come out at the other.
pub(super) struct World {
    pub(super) near: Arc<Trunk>,
    pub(super) other: Arc<Trunk>,
    pub(super) far: mpsc::Receiver<(Tunnel, Fields)>,
    pub(super) tasks: Tasks,
}

/// Both ends of a TCP connection.
pub(super) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

pub(super) async fn world(limits: Limits) -> World {
    let (client, server) = sockets().await;
    let (asked, far) = mpsc::channel(16);
    let accept = Box::new(move |tunnel, head| asked.try_send((tunnel, head)).unwrap());
    let (near, other, tasks) =
        (Trunk::client(limits, Some(PROOF.to_owned())), Trunk::server(limits, accept), Tasks::new());
    for (trunk, socket) in [(near.clone(), client), (other.clone(), server)] {
        let stopped = tasks.token().clone();
        let line = Line::new(Stream::new(Io::Tcp(socket)));
        tasks.spawn("trunk", trunk.run(line, stopped, CancellationToken::new()));
    }
    World { near, other, far, tasks }
}

impl World {
    /// A tunnel from end to end.
    pub(super) async fn tunnel(&mut self) -> (Tunnel, Tunnel) {
        let head = answer::fields(&[(":method", "CONNECT"), (":authority", "10.1.0.2:80")]);
        let mut near = self.near.open(&head, true).unwrap();
        let (mut far, said) = self.far.recv().await.unwrap();
        assert_eq!(said.text(b":authority"), "10.1.0.2:80");
        far.answer(&answer::fields(&[(":status", "200")]), false);
        assert_eq!(near.status().await.unwrap(), 200);
        (near, far)
    }
}

/// Sends so many bytes in such pieces, and expects as many from an end that does the same. Both read while they write: else two closed
/// windows would wait for each other.
pub(super) async fn send(tunnel: Tunnel, count: usize, expected: usize, piece: usize) -> Tunnel {
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

pub(super) fn in_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("in time") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn every_byte_arrives_though_its_sender_leaves_at_once(
        window in prop_oneof![1000..70_000_u32, Just(1 << 20)],
        up in 0..300_000_usize,
        down in 0..300_000_usize,
        piece in 100..100_000_usize,
    ) {
        in_time(async {
            let limits = Limits { stream_window: window, connection_window: window.max(65_535), ..LIMITS };
            let mut world = world(limits).await;
            let (near, far) = world.tunnel().await;
            // Whoever has said and heard all leaves while the other end is still at it.
            let send = async |tunnel, count, expected| drop(send(tunnel, count, expected, piece).await);
            tokio::join!(send(near, up, down), send(far, down, up));
            // And credit was given back for all of it: the next one is as good.
            let (near, far) = world.tunnel().await;
            tokio::join!(send(near, 70_000, 0), send(far, 0, 70_000));
            world.tasks.stop();
        });
    }
}

#[test]
fn one_way_ends_and_the_other_goes_on() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        text.clear();
        near.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    });
}

#[test]
fn a_tunnel_that_is_dropped_or_reset_is_seen_as_broken_and_the_others_go_on() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut other, mut others) = world.tunnel().await;
        let (near, mut far) = world.tunnel().await;
        drop(near);
        assert_eq!(far.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (mut near, mut far) = world.tunnel().await;
        far.reset();
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(near.write_all(&[0; 100]).await.is_err());
        other.write_all(b"x").await.unwrap();
        assert_eq!(others.read_u8().await.unwrap(), b'x');
    });
}

#[test]
fn a_reader_that_does_not_read_stops_its_writer_and_no_one_else() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, far) = world.tunnel().await;
        let (mut other, mut others) = world.tunnel().await;
        let mut written = 0;
        // The window, and what one write may have waiting; what is more is not taken.
        while let Ok(done) =
            tokio::time::timeout(Duration::from_millis(50), near.write_all(&[0; 10_000])).await
        {
            done.unwrap();
            written += 10_000;
        }
        assert!(written <= 40_000, "{written} bytes were taken");
        other.write_all(b"x").await.unwrap();
        assert_eq!(others.read_u8().await.unwrap(), b'x');
        drop(far);
    });
}

#[test]
fn a_tunnel_that_is_refused_says_so_and_a_connection_that_is_lost_breaks_all() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let head = answer::fields(&[(":method", "CONNECT"), (":authority", "10.1.0.2:80")]);
        let mut near = world.near.open(&head, true).unwrap();
        let (mut far, _) = world.far.recv().await.unwrap();
        far.answer(&answer::fields(&[(":status", "403")]), true);
        drop(far);
        assert_eq!(near.status().await.unwrap(), 403);
        let (mut near, _far) = world.tunnel().await;
        world.tasks.stop();
        assert!(near.read_u8().await.is_err());
        assert!(world.near.open(&head, true).is_none() && world.near.is_over());
    });
}

#[test]
fn a_connection_is_idle_without_tunnels_and_ends_in_order_when_it_is_let_go() {
    in_time(async {
        let mut world = world(LIMITS).await;
        assert!(world.near.is_idle(Duration::ZERO) && !world.near.is_idle(DEADLINE));
        let (mut near, mut far) = world.tunnel().await;
        assert!(!world.near.is_idle(Duration::ZERO));
        world.near.let_go();
        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        drop((near, far));
        crate::control::fake::until("it has ended", || world.near.is_over()).await;
        assert_eq!(world.tasks.wait(DEADLINE).await, 0, "and so has the other end");
    });
}

#[test]
fn whoever_waits_for_something_else_hears_that_the_other_end_has_given_up() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        near.write_all(&[1; 10_000]).await.unwrap();
        let waiting = std::future::poll_fn(|cx| match Pin::new(&mut far).poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Pending,
            ended => ended,
        });
        let reset = async {
            tokio::task::yield_now().await;
            near.reset();
        };
        let (ended, ()) = tokio::join!(waiting, reset);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(far.read_u8().await.is_err(), "what it had sent is given up as well");
    });
}

#[test]
fn what_a_server_said_before_it_gave_up_is_read() {
    in_time(async {
        let mut world = world(LIMITS).await;
        let (mut near, mut far) = world.tunnel().await;
        far.write_all(b"last words").await.unwrap();
        far.reset();
        let given_up = std::future::poll_fn(|cx| match Pin::new(&mut near).poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Pending,
            ended => ended,
        });
        given_up.await.unwrap_err();
        let mut said = [0; 10];
        near.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"last words");
        near.read_u8().await.unwrap_err();
    });
}

#[test]
fn a_tunnel_that_is_asked_for_with_nothing_to_send_is_at_its_end_at_once() {
    in_time(async {
        let World { near, mut far, tasks, .. } = world(LIMITS).await;
        let head = answer::fields(&[(":method", "CONNECT"), (":authority", "10.1.0.2:80")]);
        let stream = near.lock().http.open(head.iter(), true).unwrap();
        wake(near.lock().waker.as_ref());
        let (mut far, _) = far.recv().await.unwrap();
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
        near.close(stream, Code::CANCEL);
        tasks.stop();
    });
}
