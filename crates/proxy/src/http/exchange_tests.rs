//! One exchange between two ends of real sockets, and what breaks it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tcp::stream::Io;

/// Longer than any head here.
const HEAD_BYTES_MAX: usize = 4096;
const DEADLINE: Duration = Duration::from_secs(10);

/// Two ends of a connection: a program's, and the proxy's.
async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    (program, Stream::new(Io::Tcp(socket)))
}

async fn outgoing(program: &mut TcpStream, client: &mut Stream, head: &str) -> (Request, Outgoing) {
    program.write_all(head.as_bytes()).await.unwrap();
    let limits = HeadLimits { bytes_max: HEAD_BYTES_MAX, timeout: DEADLINE };
    let mut request = read_request(client, limits).await.unwrap();
    let outgoing = Outgoing::new(&mut request, client).await.unwrap();
    (request, outgoing)
}

#[tokio::test]
async fn a_client_that_gives_up_while_it_waits_ends_the_exchange() {
    let ((mut program, mut client), (_server_program, mut server)) = tokio::join!(pair(), pair());
    let (_, mut outgoing) = outgoing(&mut program, &mut client, "GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
    drop(program);
    let sent = tokio::time::timeout(DEADLINE, outgoing.send(&mut client, &mut server, HEAD_BYTES_MAX)).await;
    assert!(matches!(sent, Ok(Err(NoResponse::Client(PumpError::Read(_))))), "{sent:?}");
}

#[tokio::test]
async fn a_client_that_gives_up_inside_a_response_ends_the_exchange_and_what_it_got_is_known() {
    let ((mut program, mut client), (mut server_program, mut server)) = tokio::join!(pair(), pair());
    let (request, mut outgoing) =
        outgoing(&mut program, &mut client, "GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
    server_program.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst").await.unwrap();
    let response = outgoing.send(&mut client, &mut server, HEAD_BYTES_MAX).await.unwrap();
    let closing = closing(&request, &response, true);
    let gone = async {
        let mut answer = vec![0; response.length + 5];
        program.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"first"));
        drop(program);
    };
    let responded = async {
        let responded = outgoing.respond(&mut client, &mut server, &response, closing);
        tokio::time::timeout(DEADLINE, responded).await.unwrap().unwrap_err()
    };
    let (unfinished, ()) = tokio::join!(responded, gone);
    assert!(unfinished.client_gone && unfinished.received == 5, "{unfinished:?}");
}

#[tokio::test]
async fn a_client_that_breaks_its_upload_is_not_taken_for_the_servers_failure() {
    let ((mut program, mut client), (mut server_program, mut server)) = tokio::join!(pair(), pair());
    let head = "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (request, mut outgoing) = outgoing(&mut program, &mut client, head).await;
    server_program.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await.unwrap();
    let response = outgoing.send(&mut client, &mut server, HEAD_BYTES_MAX).await.unwrap();
    program.write_all(b"no chunk\r\n").await.unwrap();
    let closing = closing(&request, &response, true);
    let responded = outgoing.respond(&mut client, &mut server, &response, closing);
    let unfinished = tokio::time::timeout(DEADLINE, responded).await.unwrap().unwrap_err();
    assert!(unfinished.client_gone, "{unfinished:?}");
}

#[tokio::test]
async fn a_small_body_in_a_packet_of_its_own_is_at_hand_for_another_server() {
    let ((mut program, mut client), (server_program, mut server)) = tokio::join!(pair(), pair());
    program.set_nodelay(true).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\n";
    program.write_all(head.as_bytes()).await.unwrap();
    let limits = HeadLimits { bytes_max: HEAD_BYTES_MAX, timeout: DEADLINE };
    let mut request = read_request(&mut client, limits).await.unwrap();
    program.write_all(b"body").await.unwrap();
    let mut outgoing = Outgoing::new(&mut request, &mut client).await.unwrap();
    drop(server_program);
    let refused = outgoing.send(&mut client, &mut server, HEAD_BYTES_MAX).await;
    assert!(matches!(refused, Err(NoResponse::Closed | NoResponse::Broken(_))), "{refused:?}");
    assert!(outgoing.is_replayable());
    let (mut other_program, mut other) = pair().await;
    let answer = async {
        let mut request = vec![0; head.len() + 4];
        other_program.read_exact(&mut request).await.unwrap();
        assert!(request.ends_with(b"\r\n\r\nbody"));
        other_program.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let (response, ()) = tokio::join!(outgoing.send(&mut client, &mut other, HEAD_BYTES_MAX), answer);
    assert_eq!(response.unwrap().status, 204);
}
