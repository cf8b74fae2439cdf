use std::time::Duration;

use bytes::BufMut as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Two ends of a connection: a program's, and the proxy's.
async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    (program, Stream::new(Io::Tcp(socket)))
}

/// Bytes of which no two stretches are alike.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

/// Sends every piece once the one before has arrived as it was sent, and then the end.
async fn send(from: &mut (impl AsyncWrite + Unpin), to: &mut (impl AsyncRead + Unpin), pieces: &[usize]) {
    for (seed, bytes) in pieces.iter().enumerate() {
        let sent = noise(seed as u64, *bytes);
        let mut came = vec![0; *bytes];
        let (written, read) = tokio::join!(from.write_all(&sent), to.read_exact(&mut came));
        written.unwrap();
        read.unwrap();
        assert!(came == sent, "piece {seed} of {bytes} bytes came changed");
    }
    from.shutdown().await.unwrap();
    assert_eq!(to.read(&mut [0; 1]).await.unwrap(), 0);
}

const MIXED: [usize; 7] = [1, 3_000_000, 100, 70_000, 64 * 1024, 5, 1_000_000];

#[tokio::test]
async fn what_is_large_and_what_is_small_arrives_in_order_both_ways_and_each_end_is_passed_on() {
    let ((client, mut from), (server, mut to)) = (pair().await, pair().await);
    let ((mut client_read, mut client_write), (mut server_read, mut server_write)) =
        (client.into_split(), server.into_split());
    let up = send(&mut client_write, &mut server_read, &MIXED);
    let down = send(&mut server_write, &mut client_read, &MIXED[1..]);
    let ((moved, result), (), ()) = tokio::join!(relay(&mut from, &mut to), up, down);
    result.unwrap();
    let all = MIXED.iter().sum::<usize>() as u64;
    assert_eq!((moved.sent, moved.received), (all, all - 1));
}

#[tokio::test]
async fn a_lot_between_plain_connections_goes_through_a_pipe_and_what_is_small_does_not() {
    let ((mut client, mut from), (mut server, mut to)) = (pair().await, pair().await);
    let mut pump = Pump::connection();
    let pumped = std::future::poll_fn(|cx| pump.poll(cx, &mut from, &mut to.io));
    let (result, ()) = tokio::join!(pumped, send(&mut client, &mut server, &[5_000_000, 10, 10, 10]));
    result.unwrap();
    assert_eq!(pump.moved(), 5_000_030);
    assert!((1_000_000..5_000_010).contains(&pump.piped()), "{}", pump.piped());
}

#[tokio::test]
async fn a_pipe_waits_for_a_reader_that_is_slow_and_loses_nothing() {
    let ((mut client, mut from), (mut server, mut to)) = (pair().await, pair().await);
    let sent = noise(7, 20_000_000);
    let writing = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let reading = async {
        let mut came = Vec::new();
        while server.read_buf(&mut (&mut came).limit(9000)).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        // The other direction has nothing to say.
        server.shutdown().await.unwrap();
        came
    };
    let ((moved, result), (), came) = tokio::join!(relay(&mut from, &mut to), writing, reading);
    result.unwrap();
    assert!(came == sent, "what came is not what was sent");
    assert_eq!(moved.sent, 20_000_000);
}

#[tokio::test]
async fn a_server_that_breaks_while_a_lot_comes_for_it_ends_the_relay_with_an_error() {
    let ((mut client, mut from), (mut server, mut to)) = (pair().await, pair().await);
    let breaking = async {
        server.read_exact(&mut vec![0; 2_000_000]).await.unwrap();
        crate::tcp::dial::reset_on_drop(&server);
        drop(server);
    };
    let relaying = async {
        let (moved, result) = relay(&mut from, &mut to).await;
        from.abort();
        (moved, result)
    };
    let endless = noise(1, 50_000_000);
    let ((moved, result), (), written) = tokio::join!(relaying, breaking, client.write_all(&endless));
    assert!(matches!(result, Err(PumpError::Write(_) | PumpError::Read(_))), "{result:?}");
    assert!((2_000_000..50_000_000).contains(&moved.sent));
    written.unwrap_err();
}

#[tokio::test]
async fn what_a_server_said_before_it_broke_reaches_the_client_that_is_sending_still() {
    let ((mut client, mut from), (mut server, mut to)) = (pair().await, pair().await);
    server.write_all(b"too much").await.unwrap();
    crate::tcp::dial::reset_on_drop(&server);
    drop(server);
    client.write_all(b"more and more").await.unwrap();
    let (_, result) = relay(&mut from, &mut to).await;
    result.unwrap_err();
    from.abort();
    let mut said = [0; 8];
    client.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"too much");
    client.read_u8().await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_breaks_while_both_ways_are_full_ends_the_relay_though_its_client_reads_nothing() {
    let ((mut client, mut from), (mut server, mut to)) = (pair().await, pair().await);
    let breaking = async {
        for program in [&mut client, &mut server] {
            let endless = noise(2, 30_000_000);
            let full = tokio::time::timeout(Duration::from_millis(200), program.write_all(&endless));
            full.await.unwrap_err();
        }
        crate::tcp::dial::reset_on_drop(&server);
        drop(server);
    };
    let relaying = tokio::time::timeout(Duration::from_secs(20), relay(&mut from, &mut to));
    let (ended, ()) = tokio::join!(relaying, breaking);
    ended.expect("it ends").1.unwrap_err();
}
