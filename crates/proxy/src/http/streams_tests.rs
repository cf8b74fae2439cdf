//! A response on its way from one HTTP/2 connection to another, both in memory.

use super::*;
use http::Request;
use tokio::io::duplex;

/// What the server does after the first bytes of its response.
#[derive(Clone, Copy)]
enum Then {
    /// Its connection is lost.
    Vanish,
    /// It resets the stream.
    Reset,
}

const PIPE_BYTES: usize = 64 * 1024;
const FLUSH: std::time::Duration = std::time::Duration::from_secs(1);

/// Serves one request with the head of a response of this type and a few bytes.
async fn serve(io: tokio::io::DuplexStream, content_type: &'static str, then: Then) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let (_, mut respond) = connection.accept().await.unwrap().unwrap();
    let response = Response::builder().header("content-type", content_type).body(()).unwrap();
    let mut sending = respond.send_response(response, false).unwrap();
    sending.send_data(Bytes::from_static(b"begun"), false).unwrap();
    // Time for what was sent to leave; the connection falls with this future.
    _ = tokio::time::timeout(FLUSH, connection.accept()).await;
    if matches!(then, Then::Reset) {
        sending.send_reset(Reason::ENHANCE_YOUR_CALM);
        _ = tokio::time::timeout(FLUSH, connection.accept()).await;
    }
}

/// Sends one request on a new connection.
async fn request(io: tokio::io::DuplexStream) -> ResponseFuture {
    let (mut send, connection) = h2::client::handshake(io).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("connection", async move { _ = connection.await });
    send.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap().0
}

/// What the client gets of a response that was begun: its bytes, and its trailers or the error that ended it.
async fn passed(content_type: &'static str, then: Then) -> (Bytes, Result<Option<HeaderMap>, h2::Error>) {
    let ((to_server, server), (client, from_client)) = (duplex(PIPE_BYTES), duplex(PIPE_BYTES));
    let tasks = Tasks::new();
    tasks.spawn("server", serve(server, content_type, then));
    tasks.spawn("proxy", async move {
        let mut connection = h2::server::handshake(from_client).await.unwrap();
        let (asked, respond) = connection.accept().await.unwrap().unwrap();
        let response = request(to_server).await.await.unwrap();
        let mut body = RequestBody::new(asked.into_body());
        let pass = pass((response, None), &mut body, respond);
        tokio::join!(pass, connection.accept());
    });
    let mut body = request(client).await.await.unwrap().into_body();
    let begun = body.data().await.unwrap().unwrap();
    match body.data().await {
        Some(Err(error)) => (begun, Err(error)),
        _ => (begun, body.trailers().await),
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_response_whose_server_is_lost_ends_as_unavailable() {
    let (begun, end) = passed("application/grpc", Then::Vanish).await;
    assert_eq!(begun, "begun");
    assert_eq!(end.unwrap().unwrap()["grpc-status"], "14");
}

#[tokio::test(start_paused = true)]
async fn any_other_response_whose_server_is_lost_is_cut_off() {
    let (_, end) = passed("text/plain", Then::Vanish).await;
    assert_eq!(end.unwrap_err().reason(), Some(Reason::CANCEL));
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_the_servers_own_goes_on_as_it_is() {
    let (_, end) = passed("application/grpc", Then::Reset).await;
    assert_eq!(end.unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
}
