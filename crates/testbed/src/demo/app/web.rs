//! The front: HTTP/1.1 in, and for each path one call to the workload behind it, over HTTP/1.1, gRPC or TCP. A failure that a
//! workload made on purpose is passed on with its mark; any other becomes 502 with its reason, and no mark.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use conduit_process::tasks::Tasks;
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;
use tonic::transport::Channel;

use super::http1::{self, Body, HttpClient, answer};
use super::shop::{PEER_TIMEOUT, channel};
use super::wire::catalog_client::CatalogClient;
use super::wire::prices_client::PricesClient;
use super::wire::voting_client::VotingClient;
use super::wire::{Item, WatchRequest};
use super::{OWN_FAILURE, Settings};

/// The largest body taken from a client or a peer, in bytes: orders and answers are a few lines.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Quotes that `/prices` streams.
const QUOTES: u32 = 5;

struct Web {
    catalog: CatalogClient<Channel>,
    prices: PricesClient<Channel>,
    voting: VotingClient<Channel>,
    recommend: Uri,
    client: HttpClient,
    ledger: String,
}

/// Serves the front.
pub(super) fn start(listener: TcpListener, settings: &Settings, tasks: &Tasks) -> anyhow::Result<()> {
    let web = Arc::new(Web {
        catalog: CatalogClient::new(channel(settings, "catalog")?),
        prices: PricesClient::new(channel(settings, "prices")?),
        voting: VotingClient::new(channel(settings, "voting")?),
        recommend: format!("http://{}/", settings.peer("recommend")).parse()?,
        client: http1::client(),
        ledger: settings.peer("ledger"),
    });
    let handler = move |request| {
        let web = web.clone();
        async move { web.handle(request).await.unwrap_or_else(Trouble::into_answer) }
    };
    tasks.spawn("web", http1::serve(listener, tasks.clone(), handler));
    Ok(())
}

/// Why a request failed, with whose fault it is.
enum Trouble {
    /// A workload failed on purpose and said so.
    Own(HeaderValue),
    /// Anything else.
    Other(anyhow::Error),
}

impl Trouble {
    fn into_answer(self) -> Response<Body> {
        match self {
            Self::Own(by) => {
                let mut response = answer(StatusCode::INTERNAL_SERVER_ERROR, "it failed on purpose\n");
                response.headers_mut().insert(OWN_FAILURE, by);
                response
            }
            Self::Other(error) => {
                eprintln!("web: {error:#}");
                answer(StatusCode::BAD_GATEWAY, format!("{error:#}\n"))
            }
        }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        match status.metadata().get(OWN_FAILURE).and_then(|by| HeaderValue::from_bytes(by.as_bytes()).ok()) {
            Some(by) => Self::Own(by),
            None => Self::Other(status.into()),
        }
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Web {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Trouble> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| anyhow::anyhow!("cannot read the request's body: {error}"))?.to_bytes();
        let item = Item { id: body.len() as u32 % 100 };
        match head.uri.path() {
            "/" => {
                let described = self.catalog.clone().describe(item).await?.into_inner();
                Ok(answer(StatusCode::OK, format!("{}: {} cents\n", described.name, described.cents)))
            }
            "/prices" => self.prices(item).await,
            "/vote" => {
                let tally = self.voting.clone().vote(item).await?.into_inner();
                Ok(answer(StatusCode::OK, format!("{} votes\n", tally.votes)))
            }
            "/recommend" => Ok(self.recommend().await?),
            "/order" => Ok(answer(StatusCode::OK, self.order(&body).await?)),
            _ => Ok(answer(StatusCode::NOT_FOUND, "there are /, /prices, /vote, /recommend and /order\n")),
        }
    }

    /// Passes the quotes on as they come, in chunks. A stream that breaks cuts the answer off, so the client sees it.
    async fn prices(&self, item: Item) -> Result<Response<Body>, Trouble> {
        let watch = WatchRequest { id: item.id, quotes: QUOTES };
        let quotes = self.prices.clone().watch(watch).await?.into_inner();
        let lines = quotes.map(|quote| Ok(Frame::data(Bytes::from(format!("{} cents\n", quote?.cents)))));
        Ok(Response::new(StreamBody::new(lines).boxed_unsync()))
    }

    async fn recommend(&self) -> anyhow::Result<Response<Body>> {
        let request = Request::get(self.recommend.clone()).body(Full::default())?;
        let response = tokio::time::timeout(PEER_TIMEOUT, self.client.request(request))
            .await
            .context("recommend did not answer in time")?
            .context("recommend did not answer")?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("recommend broke off: {error}"))?.to_bytes();
        Ok(answer(if status.is_success() { status } else { StatusCode::BAD_GATEWAY }, body))
    }

    /// Writes an order's three entries on a connection of its own, says that it is done, and reads the receipts.
    async fn order(&self, body: &[u8]) -> anyhow::Result<String> {
        let entries = format!("reserve {0}\ncharge {0}\nship {0}\n", body.len());
        let exchange = async {
            let mut stream = TcpStream::connect(&self.ledger).await?;
            stream.write_all(entries.as_bytes()).await?;
            stream.shutdown().await?;
            let mut receipts = String::new();
            stream.take(BODY_BYTES_MAX as u64).read_to_string(&mut receipts).await?;
            Ok::<_, std::io::Error>(receipts)
        };
        let receipts = tokio::time::timeout(PEER_TIMEOUT, exchange)
            .await
            .context("ledger did not answer in time")?
            .context("ledger did not answer")?;
        anyhow::ensure!(receipts.lines().count() == 3, "ledger gave {receipts:?} for three entries");
        Ok(receipts)
    }
}
