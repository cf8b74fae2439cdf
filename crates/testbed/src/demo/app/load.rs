//! The load generator: requests at a constant rate whatever the answers do, so that a slow answer does not hide the next ones.
//! It tells failures that the application made on purpose from all others, and says both once a second on stdout, a line of
//! JSON each. Deliberately absent: latency, which the mesh measures here and the benchmark elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use conduit_process::tasks::Tasks;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::http1::{HttpClient, client};
use super::shop::PEER_TIMEOUT;
use super::{OWN_FAILURE, Settings};

/// Requests per second where none are given.
const RATE: u32 = 80;
/// The highest rate: it is a demo's load, not a benchmark's.
const RATE_MAX: u32 = 1000;
/// Requests that may be under way at once: at the demo's rate, some three seconds without any answer. More are not sent but
/// counted as skipped.
const IN_FLIGHT_MAX: usize = 256;
/// How often the counts are said.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// The paths in their shares of twenty, mixed.
const MIX: [&str; 20] = [
    "/",
    "/prices",
    "/vote",
    "/",
    "/recommend",
    "/",
    "/order",
    "/prices",
    "/",
    "/vote",
    "/",
    "/recommend",
    "/",
    "/prices",
    "/",
    "/order",
    "/vote",
    "/",
    "/recommend",
    "/prices",
];

/// What became of the requests so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Answered 2xx, body read to its end.
    pub succeeded: u64,
    /// Failed on purpose, by the application's own mark.
    pub own_failures: u64,
    /// Failed in any other way.
    pub other_failures: u64,
    /// Not sent, because too many were under way.
    pub skipped: u64,
    /// How long there has been load, in seconds.
    pub seconds: f64,
    /// Whether this is the last word: the load has ended and nothing is under way.
    pub ended: bool,
}

impl Counts {
    /// The counts of the last line of a load generator's output that holds any.
    #[must_use]
    pub fn last_of(output: &str) -> Option<Self> {
        output.lines().rev().find_map(|line| serde_json::from_str(line).ok())
    }
}

/// The counts while they grow.
pub(super) struct Running {
    begun: Instant,
    sent: AtomicU64,
    succeeded: AtomicU64,
    own_failures: AtomicU64,
    other_failures: AtomicU64,
    skipped: AtomicU64,
}

impl Running {
    fn new() -> Self {
        let zero = AtomicU64::default;
        let (sent, succeeded, own_failures, other_failures, skipped) =
            (zero(), zero(), zero(), zero(), zero());
        Self { begun: Instant::now(), sent, succeeded, own_failures, other_failures, skipped }
    }

    /// Says the counts on stdout.
    pub(super) fn say(&self, ended: bool) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = Counts {
            sent: of(&self.sent),
            succeeded: of(&self.succeeded),
            own_failures: of(&self.own_failures),
            other_failures: of(&self.other_failures),
            skipped: of(&self.skipped),
            seconds: self.begun.elapsed().as_secs_f64(),
            ended,
        };
        if let Ok(line) = serde_json::to_string(&counts) {
            println!("{line}");
        }
    }
}

/// Starts the load on `web`. The last word is the caller's: what is still under way when it is stopped counts too.
pub(super) fn start(settings: &Settings, tasks: &Tasks) -> anyhow::Result<Arc<Running>> {
    let rate = settings.rate.unwrap_or(RATE);
    anyhow::ensure!(
        (1..=RATE_MAX).contains(&rate),
        "--rate must be between 1 and {RATE_MAX} requests per second"
    );
    let base = format!("http://{}", settings.peer("web"));
    let _: http::Uri = base.parse().context("the address of web is not one")?;
    let running = Arc::new(Running::new());
    tasks.spawn("load", generate(base, rate, running.clone(), tasks.clone()));
    let said = running.clone();
    tasks.spawn_until_stopped("say", async move {
        let mut ticks = tokio::time::interval(SAY_EVERY);
        loop {
            ticks.tick().await;
            said.say(false);
        }
    });
    Ok(running)
}

async fn generate(base: String, rate: u32, running: Arc<Running>, tasks: Tasks) {
    let (client, permits) = (client(), Arc::new(Semaphore::new(IN_FLIGHT_MAX)));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0_usize.. {
        if tasks.token().run_until_cancelled(ticks.tick()).await.is_none() {
            return;
        }
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            running.skipped.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        running.sent.fetch_add(1, Ordering::Relaxed);
        let (client, running) = (client.clone(), running.clone());
        let path = MIX[n % MIX.len()];
        let url = format!("{base}{path}");
        tasks.spawn("request", async move {
            let count = match tokio::time::timeout(PEER_TIMEOUT, exchange(&client, &url, path)).await {
                Ok(Ok(Outcome::Succeeded)) => &running.succeeded,
                Ok(Ok(Outcome::Own)) => &running.own_failures,
                Ok(Err(error)) => {
                    eprintln!("load: {path}: {error:#}");
                    &running.other_failures
                }
                Err(_) => {
                    eprintln!("load: {path}: no answer in {PEER_TIMEOUT:?}");
                    &running.other_failures
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
            drop(permit);
        });
    }
}

enum Outcome {
    Succeeded,
    Own,
}

async fn exchange(client: &HttpClient, url: &str, path: &str) -> anyhow::Result<Outcome> {
    let (method, body) = match path {
        "/order" => (Method::POST, Bytes::from_static(b"three of item 7, please")),
        "/vote" => (Method::POST, Bytes::new()),
        _ => (Method::GET, Bytes::new()),
    };
    let request = Request::builder().method(method).uri(url).body(Full::new(body))?;
    let (head, body) = client.request(request).await?.into_parts();
    let body = body.collect().await.context("the answer broke off")?.to_bytes();
    if head.headers.contains_key(OWN_FAILURE) {
        return Ok(Outcome::Own);
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    anyhow::ensure!(head.status.is_success(), "{}: {}", head.status, text.trim_end());
    Ok(Outcome::Succeeded)
}
