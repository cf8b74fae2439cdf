//! What reaches the socket, and when.

use std::io::IoSlice;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{GATHERED_BYTES_MAX, Gathered};
use crate::tcp::stream::{Io, Stream};

async fn pair() -> (Gathered, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    let (near, far) = tokio::join!(TcpStream::connect(addr), listener.accept());
    let near = Stream::new(Io::Tcp(near.expect("the listener accepts")));
    (Gathered::new(near), far.expect("the client connects").0)
}

#[tokio::test]
async fn small_writes_leave_together_at_the_flush() {
    let (mut near, far) = pair().await;
    near.write_all(b"head").await.unwrap();
    let written = near.write_vectored(&[IoSlice::new(b" and "), IoSlice::new(b"payload")]).await.unwrap();
    assert_eq!(written, 12, "all of it");
    let mut seen = [0; 64];
    assert!(far.try_read(&mut seen).is_err(), "nothing is sent before the flush");
    near.flush().await.unwrap();
    far.readable().await.unwrap();
    let n = far.try_read(&mut seen).unwrap();
    assert_eq!(&seen[..n], b"head and payload");
}

#[tokio::test]
async fn what_is_larger_than_a_record_goes_out_in_order_and_whole() {
    let (mut near, mut far) = pair().await;
    let large = vec![b'l'; 3 * GATHERED_BYTES_MAX];
    let writer = async {
        near.write_all(b"first").await.unwrap();
        near.write_all(&large).await.unwrap();
        near.write_all(b"last").await.unwrap();
        near.shutdown().await.unwrap();
    };
    let mut seen = Vec::new();
    let ((), read) = tokio::join!(writer, far.read_to_end(&mut seen));
    read.unwrap();
    assert_eq!(seen, [b"first", &large[..], b"last"].concat());
}
