//! What is soaked: a client, a server whose replicas come and go, and one that stays; and what happens to them meanwhile. Proxies are
//! looked at from outside (`/proc`) for memory, and through `conduit diagnostics` for their own counts.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conduit_testbed::client::Client;
use conduit_testbed::spec::{DIR_ENV, Spec, executable};

use super::figures::{Proxy, Sample};
use crate::load::Kind;
use crate::local::{self, environment};
use crate::processes::{Usage, all_processes, conduit_proxies, pid_namespace, usage};
use crate::subject::{SERVICES, argument};

/// The client's workload.
pub(crate) const CLIENT: &str = "client";
/// The workload whose replicas come and go.
pub(crate) const SERVER: &str = "server";
/// The workload that stays as it is, for connections that last.
pub(crate) const STEADY: &str = "steady";
/// The pods that are there from start to end.
pub(crate) const LASTING: [&str; 3] = ["client-1", "server-1", "steady-1"];
/// Replicas of the server at the start.
const REPLICAS: u32 = 2;
/// Seconds for which a server goes on serving after it is told to end.
const LINGER: &str = "2";
/// How long pods may take to be ready, or to be gone.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The port of a kind of load.
pub(crate) fn port(kind: Kind) -> u16 {
    SERVICES.iter().find(|(served, ..)| *served == kind).map_or(0, |(_, port, _)| *port)
}

/// The world, running.
pub(crate) struct Mesh<'a> {
    world: &'a Client,
    /// Its process namespace.
    namespace: PathBuf,
}

impl<'a> Mesh<'a> {
    /// Starts all pods.
    pub(crate) fn start(world: &'a Client, program: &Path) -> Result<Self> {
        for (workload, replicas) in [(SERVER, REPLICAS), (STEADY, 1), (CLIENT, 1)] {
            let mut command = local::words(program, &["serve", "--linger", LINGER]);
            let mut spec = Spec::new(workload, command.clone()).replicas(replicas);
            if workload == CLIENT {
                command = local::words(program, &["serve"]);
            } else {
                for kind in [Kind::Http, Kind::Grpc, Kind::Echo] {
                    command.push(format!("{}={}", argument(kind), port(kind)));
                    let protocol = SERVICES.iter().find(|(served, ..)| *served == kind);
                    spec = spec.port(port(kind), protocol.map_or("", |(.., protocol)| protocol));
                }
            }
            spec.command = command;
            spec.env = environment(workload);
            let warning = world.run(spec, READY_TIMEOUT)?;
            ensure!(warning.is_none(), "{workload} is not as it should be: {}", warning.unwrap_or_default());
        }
        let supervisor = PathBuf::from(format!("/proc/{}", world.supervisor_pid()?));
        let namespace =
            pid_namespace(&supervisor).context("the supervisor's process namespace is not seen")?;
        Ok(Self { world, namespace })
    }

    /// Has all of the world scheduled in real time, and with its supervisor all that starts in it later.
    pub(crate) fn schedule(&self) -> Result<()> {
        let own = |process: &&PathBuf| pid_namespace(process).as_ref() == Some(&self.namespace);
        all_processes()?.iter().filter(own).try_for_each(|process| local::schedule(process, true))
    }

    /// Changes the number of replicas again and again; gives how often.
    pub(crate) fn churn(&self, until: Instant, interval: Duration, replicas: &[u32]) -> Result<u64> {
        let mut changes = 0;
        for replicas in replicas.iter().cycle() {
            if !pause(interval, until) {
                break;
            }
            self.world
                .scale(SERVER, *replicas, READY_TIMEOUT)
                .with_context(|| format!("{replicas} replicas of {SERVER}"))?;
            changes += 1;
        }
        Ok(changes)
    }

    /// Opens taps one after the other; gives how many, and how many events they showed.
    pub(crate) fn taps(&self, until: Instant, [open, closed]: [Duration; 2]) -> Result<(u64, u64)> {
        let (mut taps, mut events) = (0, 0);
        while pause(closed, until) {
            let seconds = format!("{}s", open.as_secs());
            let target = format!("deploy/{}", [SERVER, CLIENT][taps as usize % 2]);
            let mut tap = self.conduit(&["tap", &target, "-o", "json", "--for", &seconds]);
            let mut tap = tap.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            if let Some(output) = tap.stdout.take() {
                events += BufReader::new(output).lines().map_while(Result::ok).count() as u64;
            }
            let status = tap.wait()?;
            ensure!(status.success(), "`conduit tap {target}` ended with {status}");
            taps += 1;
        }
        Ok((taps, events))
    }

    /// Looks at all proxies again and again; gives what each was.
    pub(crate) fn look_until(&self, until: Instant, interval: Duration) -> Result<Vec<Proxy>> {
        let (begun, mut proxies) = (Instant::now(), Vec::<Proxy>::new());
        while pause(interval, until) {
            for found in conduit_proxies(|namespace| namespace == self.namespace)? {
                // A pod that ends meanwhile says nothing any more.
                let (Some(usage), Some(counts)) = (usage(&found.process), self.counts(&found.pod)) else {
                    continue;
                };
                let index = proxies.iter().position(|proxy| proxy.pod == found.pod).unwrap_or_else(|| {
                    proxies.push(Proxy { pod: found.pod.clone(), samples: Vec::new() });
                    proxies.len() - 1
                });
                let at_s = begun.elapsed().as_secs();
                let Usage { rss_bytes, pss_bytes, .. } = usage;
                proxies[index].samples.push(Sample { at_s, rss_bytes, pss_bytes, ..counts });
            }
            tell(&proxies);
        }
        Ok(proxies)
    }

    /// How often a proxy had to be started again.
    pub(crate) fn restarts(&self) -> Result<u64> {
        let pods = self.world.ps()?.workloads.into_iter().flat_map(|workload| workload.pods);
        Ok(pods.filter_map(|pod| pod.proxy).map(|proxy| u64::from(proxy.restarts)).sum())
    }

    /// A proxy's own counts.
    fn counts(&self, pod: &str) -> Option<Sample> {
        let output = self.conduit(&["diagnostics", "metrics", pod]).output().ok()?;
        output.status.success().then(|| Sample::of_metrics(&String::from_utf8_lossy(&output.stdout)))
    }

    fn conduit(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable("conduit"));
        command.args(arguments).env(DIR_ENV, self.world.dir().path()).stdin(Stdio::null());
        command
    }
}

/// Waits; whether there is time left then.
fn pause(time: Duration, until: Instant) -> bool {
    sleep(time.min(until.saturating_duration_since(Instant::now())));
    Instant::now() < until
}

fn tell(proxies: &[Proxy]) {
    let mut line = String::new();
    for proxy in proxies.iter().filter(|proxy| LASTING.contains(&proxy.pod.as_str())) {
        let Some(last) = proxy.samples.last() else { continue };
        line += &format!(
            "{}: {:.1} MiB, {} requests, {} failed by the mesh, {} certificates   ",
            proxy.pod,
            last.rss_bytes as f64 / f64::from(1 << 20),
            last.requests,
            last.mesh_failures,
            last.certificates
        );
    }
    eprintln!("{line}");
}
