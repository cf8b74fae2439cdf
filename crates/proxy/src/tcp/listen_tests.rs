//! How many connections are served, refused and left to the kernel.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn said(client: &mut TcpStream) -> String {
    let mut text = [0; 7];
    client.read_exact(&mut text).await.unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_refused_and_the_next_after_one_has_ended_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    let limits = Limits { served_max: 1, refused_max: 1 };
    let handle = |mut socket: TcpStream, _| async move {
        socket.write_all(b"served ").await.unwrap();
        // Until the client has gone.
        let _ = socket.read(&mut [0; 1]).await;
    };
    let refuse = |mut socket: TcpStream| async move { socket.write_all(b"refused").await.unwrap() };
    let (stop, owner) = (tasks.token().clone(), tasks.clone());
    tasks.spawn("listener", serve("connection", listener, limits, stop, owner, handle, refuse));
    for _ in 0..3 {
        let mut first = TcpStream::connect(addr).await.unwrap();
        assert_eq!(said(&mut first).await, "served ");
        for _ in 0..3 {
            assert_eq!(said(&mut TcpStream::connect(addr).await.unwrap()).await, "refused");
        }
        drop(first);
        // That its place is free is known when its task has ended.
        while tasks.len() > 1 {
            tokio::task::yield_now().await;
        }
    }
    tasks.stop();
}

/// The size of what an async function gives.
fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_at_rest_takes_no_more_than_two_kilobytes() {
    let (outbound, inbound) = (size(crate::outbound::accept::accept), size(crate::inbound::accept::accept));
    assert!(outbound <= 2048 && inbound <= 2048, "outbound {outbound}, inbound {inbound}");
}
