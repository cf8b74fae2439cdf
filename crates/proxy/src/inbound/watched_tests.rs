//! h2 as the oracle: what is told of a connection of an h2 client and an h2 server is what both saw, and both get every byte.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinSet;

use super::*;

type Fields = Vec<(String, String)>;

/// What was told of one direction: blocks of fields and bytes of data, by stream.
#[derive(Default, Debug)]
struct Told {
    fields: Fields,
    blocks: HashMap<u32, Vec<Fields>>,
    data: HashMap<u32, usize>,
    ended: Vec<u32>,
}

impl Watch for Told {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.fields.push((text(name), text(value)));
    }
    fn headers(&mut self, stream: u32, ends: bool) {
        self.blocks.entry(stream).or_default().push(std::mem::take(&mut self.fields));
        self.ended.extend(ends.then_some(stream));
    }
    fn data(&mut self, stream: u32, bytes: usize, ends: bool) {
        *self.data.entry(stream).or_default() += bytes;
        self.ended.extend(ends.then_some(stream));
    }
    fn reset(&mut self, stream: u32, code: u32) {
        panic!("stream {stream} was reset with {code}");
    }
    fn go_away(&mut self, _: u32) {}
}

/// Passes one direction on in pieces of `size`.
async fn passes(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    mut frames: Frames,
    // Held for one piece, and at the end.
    told: Arc<Mutex<Told>>,
    size: usize,
) {
    let mut piece = vec![0; size];
    while let Ok(n @ 1..) = from.read(&mut piece).await {
        let mut out = Vec::new();
        frames.pass(&piece[..n], &mut out, &mut *told.lock().unwrap()).unwrap();
        if to.write_all(&out).await.is_err() {
            break;
        }
    }
    assert!(frames.is_between());
    _ = to.shutdown().await;
}

/// A request: fields and bytes. Its answer has the same ones, and as trailers too.
type Exchange = (Vec<(String, String)>, usize);

fn headers(fields: &[(String, String)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).fold(
        HeaderMap::new(),
        |mut headers, (name, value): (http::HeaderName, http::HeaderValue)| {
            headers.append(name, value);
            headers
        },
    )
}

async fn serve(stream: DuplexStream) {
    let mut connection =
        h2::server::Builder::new().max_concurrent_streams(7).handshake(stream).await.unwrap();
    let mut calls = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        calls.spawn(async move {
            let fields = request.headers().clone();
            let mut body = request.into_body();
            let mut answer = Response::new(());
            *answer.headers_mut() = fields.clone();
            let mut send = respond.send_response(answer, false).unwrap();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                send.send_data(data, false).unwrap();
            }
            send.send_trailers(fields).unwrap();
        });
    }
    calls.join_all().await;
}

async fn ask(client: h2::client::SendRequest<Bytes>, (fields, bytes): Exchange) -> usize {
    let mut request = Request::post("http://oracle/a/path?b=c").body(()).unwrap();
    *request.headers_mut() = headers(&fields);
    let (answer, mut send) = client.ready().await.unwrap().send_request(request, false).unwrap();
    send.send_data(Bytes::from(vec![b'x'; bytes]), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(*answer.headers(), headers(&fields));
    let (mut body, mut received) = (answer.into_body(), 0);
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        received += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(body.trailers().await.unwrap().unwrap(), headers(&fields));
    received
}

async fn exchange(exchanges: Vec<Exchange>, size: usize) -> (Told, Told) {
    let ((client, peer), (application, server)) = (duplex(64 * 1024), duplex(64 * 1024));
    let (up, down) = (Arc::new(Mutex::new(Told::default())), Arc::new(Mutex::new(Told::default())));
    let mut tasks = JoinSet::new();
    let ((from_peer, to_peer), (from_application, to_application)) = (split(peer), split(application));
    tasks.spawn(passes(from_peer, to_application, Frames::of_client(64 * 1024), up.clone(), size));
    tasks.spawn(passes(from_application, to_peer, Frames::of_server(64 * 1024, 5), down.clone(), size));
    tasks.spawn(serve(server));
    let (client, connection) = h2::client::handshake(client).await.unwrap();
    tasks.spawn(async move { connection.await.unwrap() });
    let mut calls = JoinSet::new();
    for exchange in exchanges {
        let bytes = exchange.1;
        let client = client.clone();
        calls.spawn(async move { assert_eq!(ask(client, exchange).await, bytes) });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert!(client.current_max_send_streams() == 5, "the client was told of our limit, the lower one");
    drop(client);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let told = |told: Arc<Mutex<Told>>| Arc::into_inner(told).unwrap().into_inner().unwrap();
    (told(up), told(down))
}

fn some_fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof!["x-[a-z0-9-]{1,20}", Just("user-agent".to_owned()), Just("accept".to_owned())];
    let value = prop_oneof!["[!-~]{0,60}", Just("the same".to_owned()), "[!-~]{3000,4500}"];
    prop::collection::vec((name, value), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_told_is_what_h2_saw(
        exchanges in prop::collection::vec((some_fields(), 0..40_000_usize), 1..12),
        size in prop_oneof![1..40_usize, Just(9), Just(16 * 1024)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let timeout = Duration::from_secs(60);
        let (up, down) =
            runtime.block_on(async { tokio::time::timeout(timeout, exchange(exchanges.clone(), size)).await }).unwrap();
        let pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "oracle"), (":path", "/a/path?b=c")];
        let mut sent: Vec<Fields> = Vec::new();
        for (fields, _) in &exchanges {
            let pseudo = pseudo.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            sent.push(pseudo.chain(fields.clone()).collect());
        }
        let sorted = |mut blocks: Vec<Fields>| {
            blocks.iter_mut().for_each(|fields| fields.sort());
            blocks.sort();
            blocks
        };
        prop_assert_eq!(sorted(up.blocks.values().flatten().cloned().collect()), sorted(sent));
        let mut answered: Vec<Fields> = Vec::new();
        for (fields, _) in &exchanges {
            answered.push([(":status".to_owned(), "200".to_owned())].into_iter().chain(fields.clone()).collect());
            answered.push(fields.clone());
        }
        prop_assert_eq!(sorted(down.blocks.values().flatten().cloned().collect()), sorted(answered));
        let moved: usize = exchanges.iter().map(|(_, bytes)| bytes).sum();
        prop_assert_eq!(up.data.values().sum::<usize>(), moved);
        prop_assert_eq!(down.data.values().sum::<usize>(), moved);
        let streams: Vec<u32> = (0..exchanges.len() as u32).map(|n| 2 * n + 1).collect();
        for told in [up, down] {
            let mut ended = told.ended;
            ended.sort_unstable();
            prop_assert_eq!(&ended, &streams);
        }
    }
}
