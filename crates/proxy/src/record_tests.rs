//! How connections that broke count.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tcp::dial::reset_on_drop;
use crate::tcp::pump::relay;
use crate::tcp::stream::{Io, Stream};

/// Two ends of a connection: a program's, and the proxy's.
async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    (program, Stream::new(Io::Tcp(socket)))
}

/// What a connection counts as, of which the client sends these bytes and then one side resets it.
async fn ended(bytes: &[u8], by_client: bool) -> (Outcome, Option<&'static str>) {
    let ((mut client, mut from), (mut server, mut to)) = (pair().await, pair().await);
    let programs = async {
        client.write_all(bytes).await.unwrap();
        server.read_exact(&mut vec![0; bytes.len()]).await.unwrap();
        let (broken, kept) = if by_client { (client, server) } else { (server, client) };
        reset_on_drop(&broken);
        drop(broken);
        kept
    };
    let ((moved, result), _kept) = tokio::join!(relay(&mut from, &mut to), programs);
    let end = of_connection(moved, result.is_err());
    assert_eq!(end.sent, bytes.len() as u64);
    (end.outcome, end.failure)
}

#[tokio::test]
async fn a_connection_that_its_client_left_unused_is_no_failure_and_any_other_that_broke_is() {
    assert_eq!(ended(b"", true).await, (Outcome::Success, Some("unused")));
    assert_eq!(ended(b"something", true).await, (Outcome::Failure, Some("reset")));
    assert_eq!(ended(b"", false).await, (Outcome::Failure, Some("reset")));
}
