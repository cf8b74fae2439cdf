//! gRPC unary load over one HTTP/2 connection, as a gRPC client does. A thread of its own keeps the time and hands each request
//! over when it is due; the calls themselves are tasks of one runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use conduit_process::tasks::Tasks;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{ANSWER_TIMEOUT, Plan, Schedule, Tally};
use crate::serve::message;

/// Requests that are due but not yet sent: two seconds at the highest rate that one core can send. More are counted as failed.
const DUE_MAX: usize = 65_536;
/// Results that wait to be counted.
const RESULTS_MAX: usize = 4_096;

type Answered = anyhow::Result<std::time::Duration>;

/// Runs the calls and adds up what they saw.
pub(super) fn run(plan: &Plan, schedule: Schedule) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = TcpStream::connect(&plan.to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await.context("no HTTP/2 connection")?;
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("connection", async move {
            // The calls see why it ended.
            let _ = connection.await;
        });
        let call = Call {
            sender,
            uri: format!("http://{}/bench.v1.Bench/Unary", plan.to),
            body: message(&vec![b'x'; plan.bytes]),
        };
        let tally = if plan.rate == 0 {
            closed(plan, schedule, &call, &tasks).await
        } else {
            open(schedule, &call, &tasks).await
        };
        tasks.stop();
        Ok(tally)
    })
}

/// As many calls under way as the plan says, each followed by the next.
async fn closed(plan: &Plan, schedule: Schedule, call: &Call, tasks: &Tasks) -> Tally {
    let (results, counted) = mpsc::channel(RESULTS_MAX);
    for _ in 0..plan.connections {
        let (call, results) = (call.clone(), results.clone());
        tasks.spawn("caller", async move {
            while let Some(due) = schedule.due(0) {
                if results.send(call.make(due).await).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(results);
    count(counted).await
}

/// A call whenever one is due.
async fn open(schedule: Schedule, call: &Call, tasks: &Tasks) -> Tally {
    let (due_now, mut due) = mpsc::channel(DUE_MAX);
    let late = Arc::new(AtomicU64::new(0));
    let not_sent = late.clone();
    let clock = std::thread::spawn(move || {
        for n in 0.. {
            let Some(due) = schedule.due(n) else { return };
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if due_now.try_send(due).is_err() {
                not_sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (results, counted) = mpsc::channel(RESULTS_MAX);
    let (call, spawner) = (call.clone(), tasks.clone());
    tasks.spawn("calls", async move {
        while let Some(due) = due.recv().await {
            let (call, results) = (call.clone(), results.clone());
            spawner.spawn("call", async move {
                let _ = results.send(call.make(due).await).await;
            });
        }
    });
    let mut tally = count(counted).await;
    let _ = clock.join();
    tally.failed += late.load(Ordering::Relaxed);
    tally
}

async fn count(mut results: mpsc::Receiver<Answered>) -> Tally {
    let mut tally = Tally::default();
    while let Some(result) = results.recv().await {
        match result {
            Ok(latency) => tally.samples.record(latency),
            Err(error) => tally.failed(&error),
        }
    }
    tally
}

#[derive(Clone)]
struct Call {
    sender: SendRequest<Bytes>,
    uri: String,
    body: Bytes,
}

impl Call {
    /// Makes one call; the latency counts from `due`.
    async fn make(&self, due: Instant) -> Answered {
        tokio::time::timeout(ANSWER_TIMEOUT, self.exchange()).await.context("no answer in time")??;
        Ok(due.elapsed())
    }

    async fn exchange(&self) -> anyhow::Result<()> {
        let request = Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut send) = sender.send_request(request, false)?;
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
}
