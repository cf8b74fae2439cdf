//! Load at a constant rate, without coordinated omission: request n is due at start + n / rate, and its latency counts from
//! then, also when it could only be sent later because an earlier answer was late. Deliberately absent: TLS.

mod blocking;
mod http2;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::samples::Samples;

pub(crate) use blocking::hold;

/// How long an answer may take; then the request has failed and its connection is closed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// HTTP/1.1 requests over keep-alive connections.
    Http,
    /// Requests over HTTP/2.
    Http2,
    /// gRPC unary calls over HTTP/2.
    Grpc,
    /// Messages of gRPC calls that stream both ways, each answered by one.
    Stream,
    /// Messages over TCP that come back.
    Echo,
    /// As many bytes over TCP connections as go.
    Bulk,
}

/// One run of load, as it is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to send.
    kind: Kind,
    /// Host and port of the server.
    #[arg(long)]
    to: String,
    /// Requests per second, sent at their time whatever the answers do; 0: as many as the connections take.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// How long to send, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// HTTP/2 requests and gRPC calls under way at once on each connection, at most.
    #[arg(long, default_value_t = 16)]
    calls: usize,
    /// Make a new connection for each request (http, echo).
    #[arg(long)]
    fresh: bool,
    /// Bytes of each TCP message or gRPC request.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Print what came of each of so many equal parts of the time, as a list.
    #[arg(long)]
    windows: Option<u32>,
}

/// Runs it and prints one JSON document with what came of it.
///
/// # Errors
/// As [`run`].
pub(crate) fn print(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { kind, to, rate, seconds, connections, calls, fresh, bytes, windows } = arguments;
    if fresh {
        blocking::reuse_ports();
    }
    let duration = Duration::from_secs(seconds);
    let plan = Plan { kind, to, rate, duration, connections, calls, fresh, bytes };
    let printed = match windows {
        None => serde_json::to_string_pretty(&run(&plan)?),
        Some(windows) => serde_json::to_string_pretty(&run_windows(&plan, windows)?),
    };
    println!("{}", printed?);
    Ok(())
}

/// One run of load.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What to send.
    pub(crate) kind: Kind,
    /// `host:port`.
    pub(crate) to: String,
    /// Requests per second; 0: each connection sends again as soon as it has its answer.
    pub(crate) rate: u32,
    /// How long.
    pub(crate) duration: Duration,
    /// Connections.
    pub(crate) connections: usize,
    /// HTTP/2 requests and gRPC calls that are under way at once on each connection, at most.
    pub(crate) calls: usize,
    /// A new connection for each request (HTTP/1.1 and TCP messages).
    pub(crate) fresh: bool,
    /// Bytes of a message.
    pub(crate) bytes: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Requests, or connections for bulk, that succeeded.
    pub(crate) succeeded: u64,
    /// Those that failed, or were never sent because too many were under way.
    pub(crate) failed: u64,
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
    /// Succeeded requests per second.
    pub(crate) rps: f64,
    /// Bytes per second, for bulk.
    pub(crate) bytes_per_s: f64,
    /// Latencies in µs, from the time that a request was due.
    pub(crate) mean_us: f64,
    /// Median.
    pub(crate) p50_us: f64,
    /// 90 % are at most this.
    pub(crate) p90_us: f64,
    /// 99 % are at most this.
    pub(crate) p99_us: f64,
    /// 99.9 % are at most this.
    pub(crate) p999_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
    /// Why the last one failed that did.
    pub(crate) last_failure: Option<String>,
}

/// What one connection or task has seen in each window of the time.
#[derive(Debug)]
struct Tallies(Vec<Tally>);

impl Tallies {
    fn new(schedule: Schedule) -> Self {
        Self(std::iter::repeat_with(Tally::default).take(schedule.windows as usize).collect())
    }

    /// That of the window in which a request was due.
    fn of(&mut self, schedule: Schedule, due: Instant) -> &mut Tally {
        let window = schedule.window(due).min(self.0.len() - 1);
        &mut self.0[window]
    }

    fn merge(&mut self, other: Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            own.merge(other);
        }
    }
}

/// What was seen in one window.
#[derive(Debug, Default)]
struct Tally {
    samples: Samples,
    failed: u64,
    bytes: u64,
    last_failure: Option<String>,
}

impl Tally {
    fn failed(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.last_failure = Some(format!("{error:#}"));
    }

    fn merge(&mut self, other: Self) {
        self.samples.merge(&other.samples);
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.last_failure = other.last_failure.or(self.last_failure.take());
    }

    fn outcome(mut self, took: Duration) -> Outcome {
        let [p50_us, p90_us, p99_us, p999_us, max_us] =
            self.samples.quantiles_us([0.5, 0.9, 0.99, 0.999, 1.0]);
        let (succeeded, seconds) = (self.samples.total(), took.as_secs_f64());
        Outcome {
            succeeded,
            failed: self.failed,
            seconds,
            rps: succeeded as f64 / seconds,
            bytes_per_s: self.bytes as f64 / seconds,
            mean_us: self.samples.mean_us(),
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
            last_failure: self.last_failure,
        }
    }
}

/// When each request is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: u32,
    duration: Duration,
    /// Equal parts of the duration, at least one.
    windows: u32,
}

impl Schedule {
    /// In which window this is.
    fn window(&self, due: Instant) -> usize {
        let window = self.duration / self.windows;
        let since = due.saturating_duration_since(self.start).as_nanos();
        since.checked_div(window.as_nanos()).map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// The time of request `n`; `None`: the load is over. Without a rate it is due at once.
    fn due(&self, n: u64) -> Option<Instant> {
        let due = match self.rate {
            0 => Instant::now(),
            rate => self.start + Duration::from_nanos(n.saturating_mul(1_000_000_000) / u64::from(rate)),
        };
        (due < self.start + self.duration).then_some(due)
    }
}

/// Runs the load to its end.
///
/// # Errors
/// When the first connection cannot be made; later failures are counted.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let (tallies, took) = send(plan, 1)?;
    let all = tallies.0.into_iter().reduce(|mut sum, window| {
        sum.merge(window);
        sum
    });
    Ok(all.unwrap_or_default().outcome(took))
}

/// The same, with an outcome of each of so many equal parts of the time: a request counts where it was due.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_windows(plan: &Plan, windows: u32) -> anyhow::Result<Vec<Outcome>> {
    anyhow::ensure!(windows > 0, "--windows must be at least 1");
    let (tallies, _) = send(plan, windows)?;
    Ok(tallies.0.into_iter().map(|window| window.outcome(plan.duration / windows)).collect())
}

/// Sends all of it; gives what was seen, and how long it took.
fn send(plan: &Plan, windows: u32) -> anyhow::Result<(Tallies, Duration)> {
    anyhow::ensure!(plan.connections > 0 && plan.calls > 0, "--connections and --calls must be at least 1");
    drop(blocking::connect(&plan.to).with_context(|| format!("cannot reach {}", plan.to))?);
    let start = Instant::now();
    let schedule = Schedule { start, rate: plan.rate, duration: plan.duration, windows };
    let tallies = match plan.kind {
        Kind::Http2 | Kind::Grpc | Kind::Stream => http2::run(plan, schedule)?,
        _ => blocking::run(plan, schedule)?,
    };
    Ok((tallies, start.elapsed()))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
