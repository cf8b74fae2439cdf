//! Load over HTTP/2 connections: requests, or, as a gRPC client does it, unary calls or messages of calls that stream. A thread of its own
//! keeps the time and hands each request over when it is due; callers take what is due, as many as may be under way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use conduit_process::tasks::Tasks;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::{ANSWER_TIMEOUT, Kind, Plan, Schedule, Tallies};
use crate::serve::{REQUEST_PATH, STREAM_PATH, message};

/// Requests that are due but not yet sent: two seconds at the highest rate that one core can send. More are counted as failed.
const DUE_MAX: usize = 65_536;

/// Runs the calls and adds up what they saw.
pub(super) fn run(plan: &Plan, schedule: Schedule) -> anyhow::Result<Tallies> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connections, mut callers) = (Tasks::new(), JoinSet::new());
        let feed = Feed::new(schedule);
        let path = match plan.kind {
            Kind::Stream => STREAM_PATH,
            Kind::Http2 => REQUEST_PATH,
            _ => "/bench.v1.Bench/Unary",
        };
        for _ in 0..plan.connections {
            let sender = connect(&plan.to, &connections).await?;
            for _ in 0..plan.calls {
                let caller = Caller {
                    sender: sender.clone(),
                    uri: format!("http://{}{path}", plan.to),
                    body: message(&vec![b'x'; plan.bytes]),
                    feed: feed.clone(),
                };
                match plan.kind {
                    Kind::Stream => callers.spawn(caller.messages()),
                    Kind::Http2 => callers.spawn(caller.requests()),
                    _ => callers.spawn(caller.calls()),
                };
            }
        }
        let mut sum = Tallies::new(schedule);
        while let Some(tally) = callers.join_next().await {
            sum.merge(tally.context("a caller panicked")?);
        }
        if let Some(last) = sum.0.last_mut() {
            last.failed += feed.not_sent.load(Ordering::Relaxed);
        }
        connections.stop();
        Ok(sum)
    })
}

async fn connect(to: &str, tasks: &Tasks) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await.context("no HTTP/2 connection")?;
    tasks.spawn_until_stopped("connection", async move {
        // The calls see why it ended.
        let _ = connection.await;
    });
    Ok(sender)
}

/// When the callers' next request is due.
#[derive(Clone)]
struct Feed {
    schedule: Schedule,
    /// Those that are due, at a fixed rate; without one each caller goes on as soon as it can.
    due: Option<Arc<Mutex<mpsc::Receiver<Instant>>>>,
    not_sent: Arc<AtomicU64>,
}

impl Feed {
    fn new(schedule: Schedule) -> Self {
        let not_sent = Arc::new(AtomicU64::new(0));
        let due = (schedule.rate > 0).then(|| {
            let (sender, due) = mpsc::channel(DUE_MAX);
            let lost = not_sent.clone();
            // It ends with the schedule.
            std::thread::spawn(move || {
                for n in 0.. {
                    let Some(due) = schedule.due(n) else { return };
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if sender.try_send(due).is_err() {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            Arc::new(Mutex::new(due))
        });
        Self { schedule, due, not_sent }
    }

    /// Waits for the next request that is due; `None`: the load is over. Those whose answer would come too late even if they
    /// were sent now have failed.
    async fn next(&self) -> Option<Instant> {
        let Some(due) = &self.due else { return self.schedule.due(0) };
        let mut due = due.lock().await;
        loop {
            let next = due.recv().await?;
            if next.elapsed() <= ANSWER_TIMEOUT {
                return Some(next);
            }
            self.not_sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes one call, or sends one message, after the other.
struct Caller {
    sender: SendRequest<Bytes>,
    uri: String,
    body: Bytes,
    feed: Feed,
}

impl Caller {
    async fn calls(self) -> Tallies {
        self.each(|| self.call()).await
    }

    async fn requests(self) -> Tallies {
        self.each(|| self.get()).await
    }

    /// Does one after the other, each when it is due.
    async fn each<F: Future<Output = anyhow::Result<()>>>(&self, one: impl Fn() -> F) -> Tallies {
        let mut tallies = Tallies::new(self.feed.schedule);
        while let Some(due) = self.feed.next().await {
            let tally = tallies.of(self.feed.schedule, due);
            match tokio::time::timeout(ANSWER_TIMEOUT, one()).await.context("no answer in time") {
                Ok(Ok(())) => tally.samples.record(due.elapsed()),
                Ok(Err(error)) | Err(error) => tally.failed(&error),
            }
        }
        tallies
    }

    fn request(&self) -> anyhow::Result<Request<()>> {
        let request = Request::post(&self.uri);
        Ok(request.header("content-type", "application/grpc").header("te", "trailers").body(())?)
    }

    async fn call(&self) -> anyhow::Result<()> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut send) = sender.send_request(self.request()?, false)?;
        send.send_data(self.body.clone(), true)?;
        let mut body = response.await?.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = body.trailers().await?.context("the answer has no trailers")?;
        ensure!(
            trailers.get("grpc-status").is_some_and(|status| status == "0"),
            "the trailers are {trailers:?}"
        );
        Ok(())
    }

    async fn get(&self) -> anyhow::Result<()> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, _) = sender.send_request(Request::get(&self.uri).body(())?, true)?;
        let response = response.await?;
        ensure!(response.status().is_success(), "the answer is {}", response.status());
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        Ok(())
    }

    async fn messages(self) -> Tallies {
        let (mut tallies, mut open) = (Tallies::new(self.feed.schedule), None);
        while let Some(due) = self.feed.next().await {
            let tally = tallies.of(self.feed.schedule, due);
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.message(&mut open));
            match answered.await.context("no answer in time") {
                Ok(Ok(())) => tally.samples.record(due.elapsed()),
                Ok(Err(error)) | Err(error) => {
                    tally.failed(&error);
                    open = None;
                }
            }
        }
        tallies
    }

    /// Sends a message on the open call, or on a new one, and reads as many bytes.
    async fn message(&self, open: &mut Option<(SendStream<Bytes>, RecvStream)>) -> anyhow::Result<()> {
        let (send, receive) = match open {
            Some(call) => call,
            None => {
                let mut sender = self.sender.clone().ready().await?;
                let (response, send) = sender.send_request(self.request()?, false)?;
                open.insert((send, response.await?.into_body()))
            }
        };
        send.send_data(self.body.clone(), false)?;
        let mut left = self.body.len();
        while left > 0 {
            let data = receive.data().await.context("the call ended before its time")??;
            receive.flow_control().release_capacity(data.len())?;
            left = left.checked_sub(data.len()).context("more came back than was sent")?;
        }
        Ok(())
    }
}
