//! The control plane at its size: the real controller against a real API server full of objects, with thousands of proxies connected. It measures
//! what the controller takes at rest and under traffic, how long a change takes to every proxy concerned, and what happens when it is
//! killed with all of them connected. Run by `cargo xtask scale`, which starts the cluster.

mod control_plane;
mod figures;
mod fill;
mod proxies;
mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use conduit_api::discovery::v1::{Outbound, WatchResponse, watch_response};
use conduit_process::limits;
use conduit_process::tasks::Tasks;
use conduit_process::usage::cpu_seconds;
use prost::Message as _;
use tokio::time::Instant;

use control_plane::ControlPlane;
use figures::{Change, Connected, Figures, Running, Start, Storm};
use fill::Api;
use proxies::{Mesh, Proxy};
use world::{Group, World};

use crate::processes::Machine;
use crate::samples::Samples;

/// The groups of services that changes are made to.
const GROUPS: [(Group, &str); 4] = [
    (Group::Small, "small"),
    (Group::Medium, "medium"),
    (Group::Large, "large"),
    (Group::Shared, "followed by all"),
];
/// How long the controller is left alone before its memory is read.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Services
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Endpoints of all services together, each a pod of its own
    #[arg(long, default_value_t = 50_000)]
    endpoints: usize,
    /// Pods whose proxy is connected
    #[arg(long, default_value_t = 5_000)]
    proxies: usize,
    /// Services that a proxy reports traffic to
    #[arg(long, default_value_t = 10)]
    edges: usize,
    /// Changes of each kind of service; of those that all follow a fifth
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Seconds at rest
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds under traffic: the controller remembers eleven minutes of it
    #[arg(long, default_value_t = 120)]
    traffic_seconds: u64,
    /// Folder in which scale.json is written and the table in scale.md replaced
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Measures all of it; progress goes to standard error, the table to standard output.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    ensure!(
        plan.services >= 10 && plan.endpoints >= 4 * plan.services,
        "at least 10 services, with 4 endpoints each"
    );
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = tempfile::Builder::new().prefix("conduit-scale-").tempdir()?;
    let tasks = Tasks::new();
    let measurement = Measurement { plan, dir: dir.path().to_owned(), tasks: tasks.clone() };
    let measured = runtime.block_on(Box::pin(measurement.run()));
    tasks.stop();
    runtime.shutdown_background();
    let figures = match measured {
        Ok(figures) => figures,
        Err(error) => {
            // The controller's last words say more than we do.
            let log = fs::read_to_string(dir.path().join("controller.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            return Err(error.context(format!("the controller's log, last line first:\n{}", last.join("\n"))));
        }
    };
    println!("{}", figures.markdown());
    match &plan.write {
        Some(folder) => figures.write(folder),
        None => Ok(()),
    }
}

struct Measurement<'a> {
    plan: &'a Plan,
    dir: PathBuf,
    tasks: Tasks,
}

impl Measurement<'_> {
    async fn run(&self) -> Result<Figures> {
        let plan = self.plan;
        let world = World::new(plan.services, plan.endpoints, plan.proxies);
        let api = Api::connect().await?;
        api.fill(&world).await?;
        let ips = api.cluster_ips(&world).await?;
        let mut figures = Figures {
            taken_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            machine: Machine::this(),
            load_average: load_average(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes: api.version().await?,
            services: world.services(),
            endpoints: world.endpoints(),
            proxies: world.proxies(),
            ..Figures::default()
        };
        let mut controller = ControlPlane::start(&self.dir)?;
        figures.start = self.starts(&mut controller).await?;
        eprintln!("cold start: {:?}", figures.start);

        let mesh = Mesh { world: &world, ips: &ips, dir: &self.dir, tasks: &self.tasks };
        let begun = Instant::now();
        mesh.write_files(&api.trust_anchors().await?, &api.tokens(&world).await?)?;
        eprintln!("{} tokens: {:.0} s", world.proxies(), begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let before = controller.usage()?.cpu_seconds;
        let proxies = mesh.start().await?;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu_seconds = controller.usage()?.cpu_seconds - before;
        tokio::time::sleep(SETTLE_TIME).await;
        let rss_bytes = controller.usage()?.rss_bytes;
        figures.connected = Connected {
            followed: proxies.first().map_or(0, |proxy| proxy.followed.len()),
            seconds,
            cpu_seconds,
            rss_bytes,
            peak_bytes: controller.peak_bytes()?,
            proxy_bytes: rss_bytes.saturating_sub(figures.start.rss_bytes) / world.proxies().max(1) as u64,
        };
        eprintln!("all connected: {:?}", figures.connected);

        figures.rest = self.runs(&controller, plan.seconds, std::future::pending()).await?;
        eprintln!("at rest: {:?}", figures.rest);
        for (group, name) in GROUPS.into_iter().filter(|(group, _)| !world.group(*group).is_empty()) {
            let change =
                self.changes(&api, &world, &controller, &proxies, (group, name), &figures.rest).await?;
            eprintln!("{change:?}");
            figures.changes.push(change);
        }
        figures.edges = plan.edges;
        figures.traffic =
            self.runs(&controller, plan.traffic_seconds, mesh.traffic(&proxies, plan.edges)).await?;
        eprintln!("under traffic: {:?}", figures.traffic);

        figures.storm = self.storm(&mut controller, &proxies).await?;
        eprintln!("storm: {:?}", figures.storm);
        // Whoever says that all are served again proves it: each hears of a change.
        self.changes(&api, &world, &controller, &proxies, (Group::Shared, "after the storm"), &figures.rest)
            .await?;
        Ok(figures)
    }

    /// Waits until the controller is ready, and looks at it then.
    async fn starts(&self, controller: &mut ControlPlane) -> Result<Start> {
        let ready = controller.ready().await?;
        let cpu_seconds = controller.usage()?.cpu_seconds;
        tokio::time::sleep(SETTLE_TIME).await;
        Ok(Start {
            ready_seconds: ready.as_secs_f64(),
            cpu_seconds,
            rss_bytes: controller.usage()?.rss_bytes,
            peak_bytes: controller.peak_bytes()?,
        })
    }

    /// What the controller uses over some time, while something else goes on.
    async fn runs(
        &self,
        controller: &ControlPlane,
        seconds: u64,
        beside: impl Future<Output = ()>,
    ) -> Result<Running> {
        let (begun, before, own) = (Instant::now(), controller.usage()?, cpu_seconds());
        _ = tokio::time::timeout(Duration::from_secs(seconds), beside).await;
        let (elapsed, after) = (begun.elapsed().as_secs_f64(), controller.usage()?);
        Ok(Running {
            seconds: elapsed,
            cpu: (after.cpu_seconds - before.cpu_seconds) / elapsed,
            rss_bytes: after.rss_bytes,
            generator_cpu: (cpu_seconds() - own) / elapsed,
        })
    }

    /// Takes an endpoint out of services and puts it back, one change after another, each followed to every proxy concerned.
    async fn changes(
        &self,
        api: &Api,
        world: &World,
        controller: &ControlPlane,
        proxies: &[Proxy],
        (group, name): (Group, &str),
        rest: &Running,
    ) -> Result<Change> {
        let count = if group == Group::Shared { self.plan.changes.div_ceil(5) } else { self.plan.changes };
        let services: Vec<usize> = world.group(group).collect();
        let mut random = fastrand::Rng::with_seed(count as u64);
        let mut change = Change { services: name.to_owned(), ..Change::default() };
        let (mut latencies, mut answers) = (Samples::default(), Samples::default());
        let (begun, before, own) = (Instant::now(), controller.usage()?.cpu_seconds, cpu_seconds());
        let mut service = 0;
        for number in 0..2 * count.div_ceil(2) {
            let ready = number % 2 == 1;
            if !ready {
                service = *random.choice(&services).context("there is no such service")?;
            }
            let endpoints = world.pods_of(service).count() - usize::from(!ready);
            let follows = |proxy: &&Proxy| proxy.followed.iter().any(|(followed, _)| *followed == service);
            let followers: Vec<&Proxy> = proxies.iter().filter(follows).collect();
            let sent = Instant::now();
            let patch = async {
                api.set_ready(world, service, ready).await?;
                Ok::<Duration, anyhow::Error>(sent.elapsed())
            };
            let (answered, heard) =
                tokio::try_join!(patch, proxies::all_heard(&followers, service, endpoints))?;
            answers.record(answered);
            heard.iter().for_each(|when| latencies.record(*when - sent));
            change.followers += followers.len() as f64;
            change.endpoints += endpoints as f64;
            change.bytes += (followers.len() * answer_bytes(followers.first(), service)) as f64;
            change.changes += 1;
        }
        let elapsed = begun.elapsed().as_secs_f64();
        let made = f64::from(change.changes);
        [&mut change.followers, &mut change.endpoints, &mut change.bytes]
            .into_iter()
            .for_each(|sum| *sum /= made);
        [change.p50_ms, change.p99_ms, change.max_ms] =
            latencies.quantiles_us([0.5, 0.99, 1.0]).map(|us| us / 1e3);
        change.api_p50_ms = answers.quantiles_us([0.5])[0] / 1e3;
        change.cpu_ms = 1e3 * (controller.usage()?.cpu_seconds - before - rest.cpu * elapsed).max(0.0) / made;
        change.generator_cpu_ms = 1e3 * (cpu_seconds() - own - rest.generator_cpu * elapsed).max(0.0) / made;
        Ok(change)
    }

    /// Kills the controller with all proxies connected, starts it again at once, and waits until all are served again.
    async fn storm(&self, controller: &mut ControlPlane, proxies: &[Proxy]) -> Result<Storm> {
        controller.kill()?;
        let killed = Instant::now();
        proxies::forget_answers(proxies);
        *controller = ControlPlane::start(&self.dir)?;
        let (ready, served) = tokio::try_join!(controller.ready(), proxies::served_again(proxies))?;
        let cpu_seconds = controller.usage()?.cpu_seconds;
        let mut away = Samples::default();
        served.iter().for_each(|when| away.record(*when - killed));
        let [p50, p99, max] = away.quantiles_us([0.5, 0.99, 1.0]).map(|us| us / 1e6);
        let peak_bytes = controller.peak_bytes()?;
        tokio::time::sleep(SETTLE_TIME).await;
        Ok(Storm {
            ready_seconds: ready.as_secs_f64(),
            served_p50_seconds: p50,
            served_p99_seconds: p99,
            served_max_seconds: max,
            cpu_seconds,
            peak_bytes,
            rss_bytes: controller.usage()?.rss_bytes,
        })
    }
}

/// The bytes of the message that told a proxy of a service, before TLS and HTTP/2 add theirs.
fn answer_bytes(proxy: Option<&&Proxy>, service: usize) -> usize {
    let watch = proxy.and_then(|proxy| proxy.followed.iter().find(|(followed, _)| *followed == service));
    let known = watch.and_then(|(_, watch)| watch.borrow().clone());
    let outbound = known.map(|known: Arc<_>| watch_response::State::Outbound(Outbound::from(&*known)));
    WatchResponse { target: None, state: outbound }.encoded_len()
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
