//! h2 as the oracle: a client and servers by h2, and between them nothing but this proxy's own HTTP/2. What one of them says the other
//! one hears, whatever its windows and frames are; and what ends otherwise ends as the standard has it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conduit_logic::words::{Destination, Endpoint};
use conduit_process::ready::Readiness;
use conduit_process::tasks::Tasks;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::discover::Services;
use super::*;
use crate::control::Discovery;
use crate::control::fake::{Authority, DEADLINE, config, until};
use crate::http::head::PROXY_ERROR;
use crate::tap::Hub;
use crate::tcp::dial::Dialer;
use crate::tcp::stream::{Io, Stream};
use crate::telemetry::Telemetry;

/// How an h2 end is set up.
#[derive(Debug, Clone, Copy)]
struct Setup {
    window: u32,
    connection_window: u32,
    frame: u32,
    streams: u32,
}

const USUAL: Setup = Setup { window: 65_535, connection_window: 65_535, frame: 16_384, streams: 100 };

/// The application's connection to the proxy, and what counts its requests.
struct World {
    client: SendRequest<Bytes>,
    tasks: JoinSet<()>,
    outbound: Arc<Outbound>,
}

/// A client of `setup` in front of servers, each with what it does with a connection.
async fn world(setup: Setup, servers: Vec<SocketAddr>) -> World {
    let tasks = Tasks::new();
    let config = config(SocketAddr::from(([127, 0, 0, 1], 9)), Path::new("/none"), &[]);
    let (telemetry, readiness) = (Telemetry::new(), Readiness::new());
    let credentials = Authority::new().trust();
    let discovery = Discovery::start(&config, &credentials, &tasks, &readiness, &telemetry);
    let second = Duration::from_secs(1);
    let outbound = Arc::new(Outbound {
        dialer: Dialer { timeout: second, mark: None },
        credentials,
        services: Services::new(discovery),
        tap: Hub::new(telemetry.tapped.clone()),
        telemetry,
        tasks: tasks.clone(),
        pools: tasks.clone(),
        draining: tokio_util::sync::CancellationToken::new(),
        bypasses: Arc::new(tokio::sync::Semaphore::new(1)),
        config,
    });
    let endpoint = |addr| {
        Arc::new(Endpoint {
            addr,
            identity: None,
            workload: Default::default(),
            pod: Default::default(),
            zone: String::new(),
            weight: 1,
        })
    };
    let endpoints = servers.into_iter().map(endpoint).collect();
    let (_, watch) = watch::channel(Some(Arc::new(Destination { endpoints, ..Default::default() })));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, source) = listener.accept().await.unwrap();
    let service = Arc::new(Service::new(SocketAddr::from(([10, 96, 0, 1], 80)), watch));
    let client = Stream::new(Io::Tcp(accepted));
    let mut running = JoinSet::new();
    running.spawn(serve(Conn { outbound: outbound.clone(), client, source, service }));
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(setup.window)
        .initial_connection_window_size(setup.connection_window)
        .max_frame_size(setup.frame)
        .handshake(socket)
        .await
        .unwrap();
    running.spawn(async move { _ = connection.await });
    World { client, tasks: running, outbound }
}

/// A server that accepts connections and gives each of their streams to `handle`, with its connection's number.
async fn server<F>(
    setup: Setup,
    handle: fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> F,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    Tasks::new().spawn("server", async move {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut connection = h2::server::Builder::new()
                    .initial_window_size(setup.window)
                    .initial_connection_window_size(setup.connection_window)
                    .max_frame_size(setup.frame)
                    .max_concurrent_streams(setup.streams)
                    .handshake(socket)
                    .await
                    .unwrap();
                let mut streams = JoinSet::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    streams.spawn(handle(number, request, respond));
                }
            });
        }
    });
    addr
}

/// Answers with what it got: fields, bytes, trailers.
async fn echo(_: usize, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let mut response = Response::new(());
    *response.headers_mut() = parts.headers;
    let mut send = respond.send_response(response, false).unwrap();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        write(&mut send, data).await;
    }
    match body.trailers().await.unwrap() {
        Some(trailers) => send.send_trailers(trailers).unwrap(),
        None => send.send_data(Bytes::new(), true).unwrap(),
    }
}

async fn write(send: &mut h2::SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else { return };
        if send.send_data(data.split_to(room.min(data.len())), false).is_err() {
            return;
        }
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all)
}

fn headers(fields: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    headers
}

/// A request: fields, bytes of its body, whether it has trailers.
type Exchange = (Vec<(String, String)>, usize, bool);

async fn exchange(client: SendRequest<Bytes>, (fields, bytes, trailers): Exchange) {
    let mut request = Request::post("http://oracle/echo").body(()).unwrap();
    *request.headers_mut() = headers(&fields);
    let (response, mut send) = client.ready().await.unwrap().send_request(request, false).unwrap();
    let body: Bytes = (0..bytes).map(|n| (n * 7 + bytes) as u8).collect();
    let sent = body.clone();
    let sending = async {
        write(&mut send, sent).await;
        match trailers {
            true => send.send_trailers(headers(&fields)).unwrap(),
            false => send.send_data(Bytes::new(), true).unwrap(),
        }
    };
    let receiving = async {
        let (head, mut answer) = response.await.unwrap().into_parts();
        assert_eq!(head.headers, headers(&fields));
        assert!(read(&mut answer).await.unwrap() == body);
        assert_eq!(answer.trailers().await.unwrap(), trailers.then(|| headers(&fields)));
    };
    tokio::join!(sending, receiving);
}

fn in_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE * 3, future).await.expect("in time") })
}

fn some_setup() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![1..100_u32, Just(65_535), Just(1 << 20)],
        prop_oneof![Just(16_384_u32), Just(1 << 20)],
        // Eight connections to a server have room for all exchanges at once.
        2..20_u32,
    )
        .prop_map(|(window, frame, streams)| Setup {
            window,
            connection_window: window.max(65_535),
            frame,
            streams,
        })
}

fn some_exchange() -> impl Strategy<Value = Exchange> {
    let name = prop_oneof!["x-[a-z0-9-]{1,20}", Just("user-agent".to_owned()), Just("accept".to_owned())];
    let value = prop_oneof![
        "[!-~]{0,60}",
        Just("the same".to_owned()),
        "[!-~]{3000,4500}",
        "[!-~]{1,3}[ ]?[!-~]{1,3}"
    ];
    let fields = prop::collection::vec((name, value), 0..6);
    (fields, prop_oneof![0..20_usize, 0..3000_usize, 0..200_000_usize], any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_an_h2_client_and_h2_servers_say_to_each_other_arrives(
        client in some_setup(),
        servers in prop::collection::vec(some_setup(), 1..3),
        exchanges in prop::collection::vec(some_exchange(), 1..12),
    ) {
        in_time(async {
            // A window of a few bytes makes a body of many frames.
            let narrow = client.window.min(servers.iter().map(|server| server.window).min().unwrap_or(0)) < 1000;
            let mut addrs = Vec::new();
            for setup in servers {
                addrs.push(server(setup, echo).await);
            }
            let mut world = world(client, addrs).await;
            let mut calls = JoinSet::new();
            for (fields, bytes, trailers) in exchanges {
                let bytes = if narrow { bytes % 2000 } else { bytes };
                calls.spawn(exchange(world.client.clone(), (fields, bytes, trailers)));
            }
            while let Some(call) = calls.join_next().await {
                call.unwrap();
            }
            world.tasks.shutdown().await;
        });
    }
}

/// Sends a request with a body, and gives the response's head and body.
async fn ask(
    world: &World,
    path: &str,
    fields: &[(&'static str, &'static str)],
) -> (u16, HeaderMap, RecvStream) {
    let mut request = Request::post(format!("http://oracle{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let client = world.client.clone().ready().await.unwrap();
    let (response, mut send) = client.clone().send_request(request.body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from_static(b"body"), true).unwrap();
    let (head, body) = response.await.unwrap().into_parts();
    (head.status.as_u16(), head.headers, body)
}

const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc")];

#[test]
fn a_stream_that_an_endpoint_refuses_goes_to_another_with_its_body() {
    async fn refuse(_: usize, _: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        respond.send_reset(Reason::REFUSED_STREAM);
    }
    in_time(async {
        let world = world(USUAL, vec![server(USUAL, refuse).await, server(USUAL, echo).await]).await;
        for _ in 0..10 {
            let (status, _, mut body) = ask(&world, "/", &[]).await;
            assert_eq!((status, read(&mut body).await.unwrap().as_slice()), (200, &b"body"[..]));
        }
    });
}

#[test]
fn a_request_that_nobody_serves_is_answered_with_what_is_wrong() {
    in_time(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let world = world(USUAL, vec![closed]).await;
        let (status, fields, _) = ask(&world, "/", &[]).await;
        assert_eq!((status, fields[PROXY_ERROR].to_str().unwrap()), (503, "connect"));
        let (status, fields, _) = ask(&world, "/", &GRPC).await;
        assert_eq!((status, fields["grpc-status"].to_str().unwrap()), (200, "14"));
        assert!(fields["grpc-message"].to_str().unwrap().contains(&closed.to_string()));
    });
}

#[test]
fn a_response_that_breaks_off_is_told_as_its_server_told_it() {
    async fn reset(_: usize, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if request.uri().path() == "/before" {
            return respond.send_reset(Reason::INTERNAL_ERROR);
        }
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"half"), false).unwrap();
        // What was sent is to be heard before the reset is.
        let mut body = request.into_body();
        _ = read(&mut body).await;
        tokio::task::yield_now().await;
        send.send_reset(Reason::ENHANCE_YOUR_CALM);
    }
    in_time(async {
        let world = world(USUAL, vec![server(USUAL, reset).await]).await;
        let (status, fields, _) = ask(&world, "/before", &[]).await;
        assert_eq!((status, fields[PROXY_ERROR].to_str().unwrap()), (502, "reset"));
        let (status, _, mut body) = ask(&world, "/behind", &[]).await;
        let error = read(&mut body).await.unwrap_err();
        assert_eq!((status, error.reason()), (200, Some(Reason::ENHANCE_YOUR_CALM)));
    });
}

#[test]
fn a_connection_that_is_lost_ends_grpc_calls_as_unavailable() {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = world(USUAL, vec![listener.local_addr().unwrap()]).await;
        let heard = tokio::sync::Notify::new();
        let serving = async {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(socket).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut send = respond.send_response(response, false).unwrap();
            send.send_data(Bytes::from_static(b"half"), false).unwrap();
            // Until the client has heard of it.
            tokio::select! {
                _ = connection.accept() => {}
                _ = heard.notified() => {}
            }
        };
        let asking = async {
            let (status, _, mut body) = ask(&world, "/", &GRPC).await;
            assert_eq!(status, 200);
            assert_eq!(body.data().await.unwrap().unwrap(), "half");
            heard.notify_one();
            _ = read(&mut body).await.unwrap();
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "14");
        };
        tokio::join!(serving, asking);
    });
}

#[test]
fn a_call_that_its_client_resets_is_reset_at_its_server() {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    static CANCELLED: AtomicUsize = AtomicUsize::new(0);
    async fn wait(_: usize, _: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        STARTED.fetch_add(1, Ordering::SeqCst);
        let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
        if reason == Reason::CANCEL {
            CANCELLED.fetch_add(1, Ordering::SeqCst);
        }
    }
    in_time(async {
        let world = world(USUAL, vec![server(USUAL, wait).await]).await;
        let mut client = world.client.clone().ready().await.unwrap();
        let (response, mut send) =
            client.send_request(Request::post("http://oracle/").body(()).unwrap(), false).unwrap();
        send.send_data(Bytes::from_static(b"a"), false).unwrap();
        // It has to be there before it is reset, or nothing of it is ever sent.
        until("the server has it", || STARTED.load(Ordering::SeqCst) == 1).await;
        drop(response);
        send.send_reset(Reason::CANCEL);
        until("the server hears of it", || CANCELLED.load(Ordering::SeqCst) == 1).await;
    });
}

#[test]
fn a_server_that_answers_before_it_has_read_ends_the_request() {
    async fn early(_: usize, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        drop(request);
        respond.send_response(Response::builder().status(413).body(()).unwrap(), true).unwrap();
    }
    in_time(async {
        let world = world(USUAL, vec![server(USUAL, early).await]).await;
        for _ in 0..20 {
            let client = world.client.clone().ready().await.unwrap();
            let request = Request::post("http://oracle/").body(()).unwrap();
            let (response, mut send) = client.clone().send_request(request, false).unwrap();
            // More than any window: it is never all sent.
            let sending = async { write(&mut send, Bytes::from(vec![0; 4 << 20])).await };
            let (status, ()) = tokio::join!(async { response.await.unwrap().status() }, sending);
            assert_eq!(status, 413);
        }
        // And the connection serves on: credit for what nobody read was given back.
        let (status, ..) = ask(&world, "/", &[]).await;
        assert_eq!(status, 413);
    });
}

#[test]
fn a_server_that_speaks_something_else_is_told_as_that() {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = world(USUAL, vec![listener.local_addr().unwrap()]).await;
        let serving = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        };
        let ((), (status, fields, _)) = tokio::join!(serving, ask(&world, "/", &[]));
        assert_eq!((status, fields[PROXY_ERROR].to_str().unwrap()), (502, "reset"));
    });
}

#[test]
fn a_draining_proxy_lets_the_call_under_way_end_and_then_the_connection() {
    async fn slow(_: usize, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        // Until the client has sent all.
        let mut body = request.into_body();
        let all = read(&mut body).await.unwrap();
        send.send_data(all.into(), true).unwrap();
    }
    in_time(async {
        let mut world = world(USUAL, vec![server(USUAL, slow).await]).await;
        let mut client = world.client.clone().ready().await.unwrap();
        let (response, mut send) =
            client.send_request(Request::post("http://oracle/").body(()).unwrap(), false).unwrap();
        send.send_data(Bytes::from_static(b"one"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        world.outbound.draining.cancel();
        send.send_data(Bytes::from_static(b"two"), true).unwrap();
        assert_eq!(read(&mut body).await.unwrap(), b"onetwo");
        world.tasks.join_next().await.unwrap().unwrap();
    });
}
