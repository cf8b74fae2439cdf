//! Turns and idle connections, with real sockets.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::{Idle, OPENING_MAX, Turn};
use crate::outbound::connect::Http1;
use crate::tcp::stream::{Io, Stream};

async fn connection() -> (Http1, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    let (client, server) = tokio::join!(TcpStream::connect(addr), listener.accept());
    let stream = Stream::new(Io::Tcp(client.expect("the listener accepts")));
    (Http1 { stream, tls: None, reused: false }, server.expect("the client connects").0)
}

/// Takes every turn there is.
async fn all_turns(idle: &Idle) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    for _ in 0..OPENING_MAX {
        turns.push(idle.turn().await);
    }
    turns
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn no_more_than_the_limit_are_opened_at_once_and_the_next_waits_for_a_turn() {
    let idle = Idle::default();
    let mut turns = all_turns(&idle).await;
    let mut next = Box::pin(idle.turn());
    assert!(poll_once(next.as_mut()).is_pending());
    turns.pop();
    assert!(matches!(poll_once(next.as_mut()), Poll::Ready(Turn::Open(_))));
}

#[tokio::test]
async fn who_waits_for_a_turn_takes_a_connection_that_comes_back() {
    let idle = Idle::default();
    let _turns = all_turns(&idle).await;
    let mut next = Box::pin(idle.turn());
    assert!(poll_once(next.as_mut()).is_pending());
    let (http1, _server) = connection().await;
    idle.give_back(http1);
    let Poll::Ready(Turn::Connection(got)) = poll_once(next.as_mut()) else {
        panic!("the waiter did not get the connection that came back");
    };
    assert!(got.reused);
}

#[tokio::test]
async fn a_connection_that_its_server_closed_is_not_handed_out() {
    let idle = Idle::default();
    let (http1, server) = connection().await;
    // The end has arrived before the connection comes back.
    drop(server);
    let Io::Tcp(socket) = &http1.stream.io else { panic!("made as plain TCP") };
    socket.readable().await.expect("the end can be read");
    idle.give_back(http1);
    assert!(matches!(idle.turn().await, Turn::Open(_)));
}

#[tokio::test]
async fn connections_that_waited_too_long_are_closed() {
    let idle = Idle::default();
    let (http1, _server) = connection().await;
    idle.give_back(http1);
    idle.drop_older(Duration::from_secs(3600));
    assert_eq!(idle.lock().len(), 1);
    idle.drop_older(Duration::ZERO);
    assert_eq!(idle.lock().len(), 0);
}
