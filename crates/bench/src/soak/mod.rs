//! An hour of what a mesh lives through: HTTP/1.1, gRPC and TCP together at a share of what the machine carries, while replicas come and
//! go, certificates are renewed and taps are opened and closed. It looks for what only time shows: memory that grows, latency that
//! creeps, and errors that are rare. Run by `cargo xtask soak`.

mod figures;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use conduit_testbed::client::Client;

use crate::load::{Kind, Outcome};
use crate::local::{self, words};
use crate::processes::{Machine, MachineTime};
use crate::subject::argument;

use figures::{Figures, Load};
use world::{CLIENT, LASTING, Mesh, SERVER, STEADY};

/// Parts of the time that are held against each other: of an hour ten minutes each.
pub(crate) const WINDOWS: u32 = 6;
/// How long it is measured what the machine carries.
const MOST_SECONDS: u64 = 10;
/// How long the load is sent before, so that connections are open and caches filled.
const WARM_UP_SECONDS: u64 = 3;
/// How often, and for how many seconds, it is tried how much CPU time the load takes. At a fixed rate a request takes up to four times
/// that of one at most throughput, so that a share of that alone would not be a share of what the machine carries.
const TRIALS: (usize, u64) = (3, 5);
/// How often the proxies are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often the number of replicas changes: a pod's start and its end fit in between.
const CHURN_INTERVAL: Duration = Duration::from_secs(15);
/// The numbers of replicas, one after the other.
const REPLICAS: [u32; 6] = [3, 2, 4, 1, 3, 2];
/// How long each tap looks, and how long nobody does then.
const TAP_TIMES: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(10)];

/// How to soak.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// For how long, as in 90s, 10m or 1h
    #[arg(long = "for", default_value = "1h", value_parser = duration)]
    time: Duration,
    /// Load as a share of the most throughput, or less, so that it takes no larger share of the machine's CPU time
    #[arg(long, default_value_t = 0.6)]
    share: f64,
    /// How long a proxy's certificate is good for; it is renewed after two thirds of that
    #[arg(long, default_value = "5m")]
    certificate_lifetime: String,
    /// Schedule the whole world in real time, as root: what else the machine does is kept out
    #[arg(long)]
    realtime: bool,
    /// Folder to write soak.json and soak.md to
    #[arg(long)]
    write: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write 90s, 10m or 1h");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number * seconds))
}

/// The loads that run together.
struct Stream {
    /// What it is, for people.
    name: &'static str,
    kind: Kind,
    server: &'static str,
    connections: usize,
    calls: usize,
    fresh: bool,
}

const STREAMS: [Stream; 4] = [
    Stream { name: "HTTP/1.1", kind: Kind::Http, server: SERVER, connections: 16, calls: 1, fresh: false },
    Stream { name: "gRPC unary", kind: Kind::Grpc, server: SERVER, connections: 2, calls: 16, fresh: false },
    Stream {
        name: "TCP, new connections",
        kind: Kind::Echo,
        server: SERVER,
        connections: 4,
        calls: 1,
        fresh: true,
    },
    Stream { name: "TCP, lasting", kind: Kind::Echo, server: STEADY, connections: 8, calls: 1, fresh: false },
];

/// Soaks, prints the verdict, and fails when the mesh has made an error.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.time >= Duration::from_secs(120), "--for must be at least two minutes");
    ensure!(plan.share > 0.0 && plan.share < 1.0, "--share must be between 0 and 1");
    let figures = local::in_world(
        |options| options.certificate_lifetime.clone_from(&plan.certificate_lifetime),
        |world, _| soak(plan, world),
    )?;
    let page = figures.markdown();
    println!("{page}");
    if let Some(folder) = &plan.write {
        fs::write(folder.join("soak.json"), serde_json::to_string(&figures)? + "\n")
            .and_then(|()| fs::write(folder.join("soak.md"), page))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
    }
    let errors = figures.errors();
    ensure!(errors == 0, "{errors} errors of the mesh's making{}", figures.why());
    Ok(())
}

fn soak(plan: &Plan, world: &Client) -> Result<Figures> {
    let executable = std::env::current_exe()?;
    let mesh = Mesh::start(world, &executable)?;
    if plan.realtime {
        mesh.schedule()?;
    }
    let (most, rates) = rates(plan, world, &executable)?;
    let mut figures = Figures {
        taken_unix_s: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        machine: Machine::this(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seconds: plan.time.as_secs(),
        share: plan.share,
        certificate_lifetime: plan.certificate_lifetime.clone(),
        real_time: plan.realtime,
        ..Figures::default()
    };
    let (until, before) = (Instant::now() + plan.time, MachineTime::now());
    let outcomes = std::thread::scope(|scope| {
        let load = scope.spawn(|| send_all(world, &executable, rates, plan.time.as_secs(), WINDOWS));
        let churn = scope.spawn(|| mesh.churn(until, CHURN_INTERVAL, &REPLICAS));
        let taps = scope.spawn(|| mesh.taps(until, TAP_TIMES));
        let looked = mesh.look_until(until, LOOK_INTERVAL);
        let joined = |what| move |_| anyhow::anyhow!("{what} panicked");
        let outcomes = load.join().map_err(joined("the load"))??;
        figures.scalings = churn.join().map_err(joined("the churn"))??;
        (figures.taps, figures.tap_events) = taps.join().map_err(joined("the taps"))??;
        figures.proxies = looked?;
        Ok::<_, anyhow::Error>(outcomes)
    })?;
    figures.busy = MachineTime::now().busy_since(before);
    figures.restarts = mesh.restarts()?;
    for ((stream, most), (rate, windows)) in STREAMS.iter().zip(most).zip(rates.into_iter().zip(outcomes)) {
        figures.loads.push(Load { name: stream.name.to_owned(), most, rate, windows });
    }
    figures.proxies.retain(|proxy| LASTING.contains(&proxy.pod.as_str()) || proxy.mesh_failures() > 0);
    Ok(figures)
}

/// The most of each stream when all send as much as goes, and the rates of the load.
fn rates(plan: &Plan, world: &Client, executable: &Path) -> Result<(Vec<f64>, [u32; STREAMS.len()])> {
    send_all(world, executable, [0; STREAMS.len()], WARM_UP_SECONDS, 1)?;
    let most = send_all(world, executable, [0; STREAMS.len()], MOST_SECONDS, 1)?;
    let most: Vec<f64> = most.iter().map(|outcomes| outcomes[0].rps).collect();
    let mut rates = [0; STREAMS.len()];
    for (rate, most) in rates.iter_mut().zip(&most) {
        *rate = ((most * plan.share) as u32).max(1);
    }
    for _ in 0..TRIALS.0 {
        let before = MachineTime::now();
        send_all(world, executable, rates, TRIALS.1, 1)?;
        let busy = MachineTime::now().busy_since(before);
        eprintln!("{rates:?} per second take {:.0} % of the machine's CPU time", 100.0 * busy);
        if busy > plan.share {
            rates = rates.map(|rate| ((f64::from(rate) * plan.share / busy) as u32).max(1));
        }
    }
    for (stream, (most, rate)) in STREAMS.iter().zip(most.iter().zip(rates)) {
        eprintln!("{}: {most:.0}/s at most, {rate}/s from now on", stream.name);
    }
    Ok((most, rates))
}

/// Sends all streams together, at these rates, 0 being as much as goes; gives what came of each, by windows.
fn send_all(
    world: &Client,
    executable: &Path,
    rates: [u32; STREAMS.len()],
    seconds: u64,
    windows: u32,
) -> Result<Vec<Vec<Outcome>>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = STREAMS
            .iter()
            .zip(rates)
            .map(|(stream, rate)| {
                let command = stream.command(executable, rate, seconds, windows);
                scope.spawn(move || -> Result<Vec<Outcome>> {
                    let printed = local::measure(world, CLIENT, command).context(stream.name)?;
                    serde_json::from_str(&printed).with_context(|| format!("the load printed {printed:?}"))
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<Outcome>>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a load's thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

impl Stream {
    fn command(&self, executable: &Path, rate: u32, seconds: u64, windows: u32) -> Vec<String> {
        let port = world::port(self.kind);
        // Late requests are sent by other calls meanwhile.
        let calls = if self.kind == Kind::Grpc && rate > 0 { 4 * self.calls } else { self.calls };
        let mut command = words(executable, &["load", argument(self.kind)]);
        for (flag, value) in [
            ("--to", format!("{}:{port}", self.server)),
            ("--rate", rate.to_string()),
            ("--seconds", seconds.to_string()),
            ("--connections", self.connections.to_string()),
            ("--calls", calls.to_string()),
            ("--windows", windows.to_string()),
        ] {
            command.extend([flag.to_owned(), value]);
        }
        if self.fresh {
            command.push("--fresh".to_owned());
        }
        command
    }
}

#[cfg(test)]
#[path = "soak_tests.rs"]
mod tests;
