//! What a client beyond the limit sees, by what it speaks.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A client whose connection is being refused.
async fn refused() -> (TcpStream, Arc<Telemetry>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let telemetry = Telemetry::new();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(refuse(telemetry.clone(), socket, 7, Duration::from_millis(500)));
    (client, telemetry)
}

async fn answer_to(request: &[u8]) -> String {
    let (mut client, _) = refused().await;
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn http1_is_told_the_reason_and_that_the_connection_ends() {
    let answer = answer_to(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("conduit-proxy-error: limit\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("connections-max"), "{answer}");
    let head = answer_to(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.ends_with("\r\n\r\n"), "an answer to HEAD has no body: {head}");
}

#[tokio::test]
async fn grpc_is_told_resource_exhausted_and_other_http2_503() {
    for (content_type, status) in [("application/grpc", 200), ("text/plain", 503)] {
        let (client, telemetry) = refused().await;
        let (send, connection) = h2::client::handshake(client).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(connection);
        let request = http::Request::post("http://a/").header("content-type", content_type).body(()).unwrap();
        let (response, _body) = send.ready().await.unwrap().send_request(request, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["conduit-proxy-error"], "limit");
        assert_eq!(response.headers().get("grpc-status").is_some_and(|s| s == "8"), status == 200);
        assert!(telemetry.encode().contains("reason=\"limit\"} 1"));
    }
}

#[tokio::test]
async fn what_has_no_way_to_be_told_is_reset() {
    for first in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"", b"SSH-2.0-x\r\n"] {
        let (mut client, _) = refused().await;
        client.write_all(first).await.unwrap();
        let error = client.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "after {first:?}");
    }
}
