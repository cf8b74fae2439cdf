//! The workloads behind the front: catalog, prices and voting over gRPC, recommend over HTTP/1.1, ledger over plain TCP.
//! Each is a few lines, made to be looked at through the mesh. Deliberately absent: state that outlives the process.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conduit_process::tasks::Tasks;
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::wire::catalog_server::{Catalog, CatalogServer};
use super::wire::prices_client::PricesClient;
use super::wire::prices_server::{Prices, PricesServer};
use super::wire::voting_server::{Voting, VotingServer};
use super::wire::{Description, Item, Quote, Tally, WatchRequest};
use super::{OWN_FAILURE, Settings, http1};

/// One vote in this many fails.
const VOTE_FAILS_EVERY: u64 = 12;
/// One recommendation in this many is slow, by `SLOW_BASE` and up to `SLOW_SPREAD_MS` more.
const SLOW_EVERY: u64 = 4;
const SLOW_BASE: Duration = Duration::from_millis(40);
const SLOW_SPREAD_MS: u64 = 50;
/// The most quotes one call may ask for.
const QUOTES_MAX: u32 = 100;
/// Pause between the quotes of a stream: it is a stream, not one message in pieces.
const QUOTE_PAUSE: Duration = Duration::from_millis(1);
/// How long a peer may take to answer.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest line that the ledger takes, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// A gRPC channel to a peer; it connects at the first call and again whenever the connection was lost.
pub(super) fn channel(settings: &Settings, peer: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", settings.peer(peer)))?;
    Ok(endpoint.timeout(PEER_TIMEOUT).connect_timeout(PEER_TIMEOUT).tcp_nodelay(true).connect_lazy())
}

macro_rules! serve_grpc {
    ($listener:expr, $tasks:expr, $service:expr) => {{
        let (incoming, token) = (TcpListenerStream::new($listener), $tasks.token().clone());
        let server = Server::builder().tcp_nodelay(true).add_service($service);
        $tasks.spawn("grpc server", async move {
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, token.cancelled_owned()).await {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
    }};
}

/// Serves the price list.
pub(super) fn prices(listener: TcpListener, tasks: &Tasks) {
    serve_grpc!(listener, tasks, PricesServer::new(PriceList));
}

/// Serves the catalog, which asks prices for each description.
pub(super) fn catalog(listener: TcpListener, settings: &Settings, tasks: &Tasks) -> anyhow::Result<()> {
    let prices = PricesClient::new(channel(settings, "prices")?);
    serve_grpc!(listener, tasks, CatalogServer::new(Shelf { prices }));
    Ok(())
}

/// Serves the voting booth, which fails one vote in twelve.
pub(super) fn voting(listener: TcpListener, tasks: &Tasks) {
    serve_grpc!(listener, tasks, VotingServer::new(Booth::default()));
}

/// Serves recommendations over HTTP/1.1; one in four is slow.
pub(super) fn recommend(listener: TcpListener, tasks: &Tasks) {
    let served = Arc::new(AtomicU64::new(0));
    let handler = move |_request| {
        let n = served.fetch_add(1, Ordering::Relaxed);
        async move {
            if n.is_multiple_of(SLOW_EVERY) {
                tokio::time::sleep(SLOW_BASE + Duration::from_millis(n * 37 % (SLOW_SPREAD_MS + 1))).await;
            }
            http1::answer(StatusCode::OK, format!("people also bought item {}\n", n % 100))
        }
    };
    tasks.spawn("recommend", http1::serve(listener, tasks.clone(), handler));
}

/// Serves the ledger: a line in, `OK` with a running number out, until the other side has said its last line.
pub(super) fn ledger(listener: TcpListener, tasks: &Tasks) {
    let entries = Arc::new(AtomicU64::new(0));
    let serve = move |stream, tasks: Tasks| {
        let (entries, token) = (entries.clone(), tasks.token().clone());
        async move {
            token.run_until_cancelled(book(stream, &entries)).await;
        }
    };
    tasks.spawn("ledger", http1::accept(listener, tasks.clone(), "ledger connection", serve));
}

/// Takes the entries of one connection. A connection that breaks ends its own entries only.
async fn book(stream: TcpStream, entries: &AtomicU64) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::with_capacity(LINE_BYTES_MAX, read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = tokio::io::AsyncReadExt::take(&mut lines, LINE_BYTES_MAX as u64);
        if !matches!(limited.read_until(b'\n', &mut line).await, Ok(1..)) || !line.ends_with(b"\n") {
            break;
        }
        let number = entries.fetch_add(1, Ordering::Relaxed) + 1;
        if write.write_all(format!("OK {number}\n").as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = write.shutdown().await;
}

fn quote(id: u32, n: u32) -> Quote {
    Quote { id, cents: 500 + id * 7 % 900 + n }
}

struct PriceList;

type Quotes = Pin<Box<dyn Stream<Item = Result<Quote, Status>> + Send>>;

#[tonic::async_trait]
impl Prices for PriceList {
    type WatchStream = Quotes;
    type QuoteStream = Quotes;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Quotes>, Status> {
        let WatchRequest { id, quotes } = request.into_inner();
        if quotes > QUOTES_MAX {
            return Err(Status::invalid_argument(format!("at most {QUOTES_MAX} quotes at once")));
        }
        let stream = futures_util::stream::iter(0..quotes).then(move |n| async move {
            tokio::time::sleep(QUOTE_PAUSE).await;
            Ok(quote(id, n))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn quote(&self, request: Request<Streaming<Item>>) -> Result<Response<Quotes>, Status> {
        let stream = request.into_inner().map(|item| item.map(|item| quote(item.id, 0)));
        Ok(Response::new(Box::pin(stream)))
    }
}

struct Shelf {
    prices: PricesClient<Channel>,
}

#[tonic::async_trait]
impl Catalog for Shelf {
    async fn describe(&self, request: Request<Item>) -> Result<Response<Description>, Status> {
        let item = request.into_inner();
        let mut quotes = self.prices.clone().quote(tokio_stream::iter([item])).await?.into_inner();
        let Some(quote) = quotes.message().await? else {
            return Err(Status::internal("prices answered without a quote"));
        };
        // To the trailers, or the call would count as cancelled.
        while quotes.message().await?.is_some() {}
        Ok(Response::new(Description { name: format!("item {}", item.id), cents: quote.cents }))
    }
}

#[derive(Default)]
struct Booth {
    votes: AtomicU64,
}

#[tonic::async_trait]
impl Voting for Booth {
    async fn vote(&self, _request: Request<Item>) -> Result<Response<Tally>, Status> {
        let votes = self.votes.fetch_add(1, Ordering::Relaxed) + 1;
        if votes.is_multiple_of(VOTE_FAILS_EVERY) {
            let mut status = Status::unknown("the ballot box is jammed");
            status.metadata_mut().insert(OWN_FAILURE, tonic::metadata::MetadataValue::from_static("voting"));
            return Err(status);
        }
        Ok(Response::new(Tally { votes }))
    }
}
