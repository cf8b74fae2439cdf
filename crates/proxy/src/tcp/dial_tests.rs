use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;

const SHORT: Duration = Duration::from_millis(100);

/// A listener that answers nobody before something is accepted, and the connections that fill it.
fn full() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let filling = std::iter::from_fn(|| TcpStream::connect_timeout(&addr, SHORT).ok()).collect();
    (listener, addr, filling)
}

#[tokio::test]
async fn who_answers_late_is_given_up_inside_the_mesh_and_waited_for_outside() {
    let (listener, addr, filling) = full();
    let dialer = Dialer { timeout: SHORT, mark: None };
    let inside = async {
        let given_up = dialer.dial(addr).await.unwrap_err();
        for _ in &filling {
            listener.accept().unwrap();
        }
        given_up
    };
    let (outside, inside) = tokio::join!(dialer.dial_outside(addr), inside);
    assert_eq!(inside.kind(), io::ErrorKind::TimedOut);
    assert_eq!(outside.unwrap().peer_addr().unwrap(), addr);
}

#[tokio::test]
async fn a_peer_that_is_there_may_leave_unread_what_it_was_sent_for_as_long_as_it_likes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = Dialer { timeout: Duration::from_secs(10), mark: None };
    let socket = dialer.dial(listener.local_addr().unwrap()).await.unwrap();
    assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), None);
    assert!(SockRef::from(&socket).keepalive().unwrap(), "one that is gone is noticed");
}
