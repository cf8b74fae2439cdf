//! The other end of the load: fixed answers over HTTP/1.1, HTTP/2 and gRPC, a TCP echo and a TCP sink. One thread, and as little work
//! as each protocol allows, so that the proxy is what is measured.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use conduit_process::tasks::Tasks;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::load::Kind;

/// The path of the gRPC call that streams back what it is sent.
pub(crate) const STREAM_PATH: &str = "/bench.v1.Bench/Stream";

/// The path of an answer over HTTP/2 that is no gRPC's.
pub(crate) const REQUEST_PATH: &str = "/";

/// What to serve, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to serve and on which port of every address, as in http=8080; without any it only waits.
    services: Vec<Service>,
    /// Bytes of each answer (HTTP and gRPC).
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Seconds in which it goes on serving when it is told to end, as an application in production should.
    #[arg(long, default_value_t = 0)]
    linger: u64,
}

/// What is served on which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    /// What.
    pub(crate) kind: Kind,
    /// Where, on all addresses.
    pub(crate) port: u16,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, port) = text.split_once('=').ok_or("write KIND=PORT, as in http=8080")?;
        let port = port.parse().map_err(|_| format!("{port} is not a port"))?;
        Ok(Self { kind: <Kind as clap::ValueEnum>::from_str(kind, false)?, port })
    }
}

/// Serves until the process is told to end, and as much longer as it lingers.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { services, bytes, linger } = arguments;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (tasks, answer) = (Tasks::new(), Bytes::from(vec![b'x'; *bytes]));
        for Service { kind, port } in services.iter().copied() {
            let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let listener =
                TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))?;
            let (answer, group) = (answer.clone(), tasks.clone());
            tasks.spawn("accept", async move {
                if let Err(error) = accept(kind, listener, answer, &group).await {
                    eprintln!("conduit-bench: {error:#}");
                }
            });
        }
        conduit_process::signal::terminated().await;
        tokio::time::sleep(Duration::from_secs(*linger)).await;
        Ok(())
    })
}

/// Accepts for ever; a connection that breaks ends alone.
pub(crate) async fn accept(
    kind: Kind,
    listener: TcpListener,
    answer: Bytes,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    loop {
        let (stream, _) =
            listener.accept().await.context("cannot accept; is the limit of open files reached?")?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        match kind {
            Kind::Http => tasks.spawn("http", http(stream, answer)),
            Kind::Http2 | Kind::Grpc | Kind::Stream => {
                tasks.spawn("http2", http2(stream, answer, tasks.clone()))
            }
            Kind::Echo => tasks.spawn("echo", echo(stream)),
            Kind::Bulk => tasks.spawn("sink", sink(stream)),
        }
    }
}

async fn http(stream: TcpStream, answer: Bytes) {
    let service = hyper::service::service_fn(move |_| {
        let answer = Response::new(Full::new(answer.clone()));
        async move { Ok::<_, Infallible>(answer) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A gRPC message with its five bytes in front: not compressed, and its length.
pub(crate) fn message(content: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(content.len() + 5);
    message.put_u8(0);
    message.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
    message.put_slice(content);
    message.freeze()
}

async fn http2(stream: TcpStream, answer: Bytes, tasks: Tasks) {
    let message = message(&answer);
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        match request.uri().path() {
            STREAM_PATH => tasks.spawn("stream", stream_back(request.into_body(), respond)),
            REQUEST_PATH => {
                // A request that breaks is the client's to count.
                if let Ok(mut send) = respond.send_response(Response::new(()), false) {
                    let _ = send.send_data(answer.clone(), true);
                }
            }
            _ => tasks.spawn("call", call(request.into_body(), respond, message.clone())),
        }
    }
}

/// Sends each piece back as it comes.
async fn stream_back(mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
    let Ok(mut send) = respond.send_response(head(), false) else { return };
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        if send.send_data(data, false).is_err() {
            return;
        }
    }
    let _ = send.send_trailers(trailers());
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

/// Reads the request to its end and answers with one message. A call that breaks is the client's to count.
async fn call(mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>, message: Bytes) {
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
    }
    if let Ok(mut send) = respond.send_response(head(), false)
        && send.send_data(message, false).is_ok()
    {
        let _ = send.send_trailers(trailers());
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Reads to the end, then says how many bytes came.
async fn sink(mut stream: TcpStream) {
    let (mut buffer, mut total) = (vec![0; 256 * 1024], 0_u64);
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        total += n as u64;
    }
    let _ = stream.write_all(&total.to_be_bytes()).await;
}
