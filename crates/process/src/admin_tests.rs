//! Tests of the admin port over real sockets on loopback, and of its answers to peers elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Admin, CONNECTIONS_MAX, answer, serve};
use crate::logs::{Format, subscriber};
use crate::ready::Readiness;
use crate::tasks::Tasks;

const DEADLINE: Duration = Duration::from_secs(10);

/// An admin port that is served, and what it shows.
struct Served {
    admin: Admin,
    addr: SocketAddr,
    tasks: Tasks,
    _keep: Box<dyn Send>,
}

fn served() -> Served {
    let (keep, logs) = subscriber("info", Format::Text, false, std::io::sink).expect("a filter");
    let admin = Admin { readiness: Readiness::new(), metrics: Arc::new(|| "up 1\n# EOF\n".to_owned()), logs };
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let (addr, tasks) = (listener.local_addr().expect("bound"), Tasks::new());
    serve(listener, admin.clone(), &tasks).expect("served");
    Served { admin, addr, tasks, _keep: Box::new(keep) }
}

/// Sends one request on its own connection and returns the whole answer, head included.
async fn ask(addr: SocketAddr, request_line: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let request = format!(
        "{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut text))
        .await
        .expect("in time")
        .expect("an answer");
    text
}

#[tokio::test]
async fn ready_is_refused_with_the_names_of_the_closed_gates() {
    let served = served();
    let (identity, discovery) =
        (served.admin.readiness.gate("identity"), served.admin.readiness.gate("discovery"));
    let refused = ask(served.addr, "GET /ready", "").await;
    assert!(
        refused.starts_with("HTTP/1.1 503 ")
            && refused.ends_with("not ready: waiting for identity, discovery\n"),
        "{refused}"
    );
    assert!(ask(served.addr, "GET /live", "").await.starts_with("HTTP/1.1 200 "));
    identity.open();
    discovery.open();
    assert!(ask(served.addr, "GET /ready", "").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn metrics_carry_the_type_of_openmetrics() {
    let answer = ask(served().addr, "GET /metrics", "").await;
    assert!(
        answer.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nup 1\n# EOF\n"), "{answer}");
}

#[tokio::test]
async fn the_log_level_is_read_and_changed() {
    let served = served();
    assert!(ask(served.addr, "GET /log-level", "").await.ends_with("\r\n\r\ninfo\n"));
    assert!(ask(served.addr, "PUT /log-level", "warn\n").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(served.admin.logs.get(), "warn");
    let refused = ask(served.addr, "PUT /log-level", "conduit=loud").await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("not a log filter"), "{refused}");
    assert!(ask(served.addr, "PUT /log-level", &"x".repeat(2000)).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(served.admin.logs.get(), "warn");
}

#[tokio::test]
async fn the_log_level_is_not_changed_from_another_host() {
    let served = served();
    let put = || Request::put("/log-level").body(Full::new(Bytes::from_static(b"debug"))).expect("a request");
    let elsewhere = answer(put(), IpAddr::from([10, 1, 0, 2]), &served.admin).await;
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    assert_eq!(served.admin.logs.get(), "info");
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    for here in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), mapped] {
        assert_eq!(answer(put(), here, &served.admin).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let served = served();
    assert!(ask(served.addr, "GET /secrets", "").await.starts_with("HTTP/1.1 404 "));
    let refused = ask(served.addr, "POST /ready", "").await;
    assert!(
        refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nallow: GET, HEAD\r\n"),
        "{refused}"
    );
    assert!(ask(served.addr, "DELETE /log-level", "").await.contains("\r\nallow: GET, HEAD, PUT\r\n"));
}

#[tokio::test]
async fn a_connection_beyond_the_bound_is_served_when_one_ends() {
    let served = served();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        held.push(TcpStream::connect(served.addr).await.expect("connects"));
    }
    // Answers that come prove that each of these is accepted and holds one of the places.
    for stream in &mut held {
        stream.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(stream.read(&mut [0; 512]).await.expect("answered") > 0);
    }
    assert_eq!(served.tasks.len(), CONNECTIONS_MAX + 1);
    let waiting = ask(served.addr, "GET /live", "");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    held.pop();
    assert!(waiting.await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn stopping_ends_idle_connections() {
    let served = served();
    let mut idle = TcpStream::connect(served.addr).await.expect("connects");
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    assert!(idle.read(&mut [0; 512]).await.expect("answered") > 0);
    served.tasks.stop();
    assert_eq!(served.tasks.wait(DEADLINE).await, 0);
    assert_eq!(idle.read(&mut [0; 512]).await.expect("closed in order"), 0);
}
