//! Memory of proxies in real pods: on the cluster that runs, with Conduit installed in it, a client and a server as any user would have
//! them; at rest, under load, and after it. Nodes of such a cluster are namespaces of this machine, so that `/proc` shows their proxies.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use conduit_testbed::cluster::Cluster;
use serde::{Deserialize, Serialize};

use crate::processes::{ConduitProxy, Machine, conduit_proxies, usage};

/// The file with the result, beside the benchmark's.
pub(crate) const RESULT: &str = "pods.json";
/// The namespace of the two pods.
const NAMESPACE: &str = "conduit-bench-pods";
/// The pods: how the names of theirs begin, and what they are for people.
const PODS: [&str; 2] = ["client", "server"];
/// Requests per second, and over how many connections one after the other.
const LOAD: (&str, [usize; 2]) = ("2000", [100, 1000]);
/// How long the load is sent, as fortio takes it.
const LOAD_TIME: &str = "10s";
/// How often memory is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long proxies have before each look at rest: Conduit's give memory back every ten seconds.
const REST_TIME: Duration = Duration::from_secs(15);

const MANIFESTS: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: server}, spec: {selector: {matchLabels: {app: server}}, template: {
  metadata: {labels: {app: server}}, spec: {containers: [{name: app, image: 'localhost/nginx:1', imagePullPolicy: Never,
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: server}, spec: {selector: {app: server}, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: client}, spec: {selector: {matchLabels: {app: client}}, template: {
  metadata: {labels: {app: client}}, spec: {containers: [{name: app, image: 'localhost/load:1', imagePullPolicy: Never,
    command: [fortio, server]}]}}}}";

/// Where to put what is found.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Folder to write pods.json to, such as docs/benchmarks; and onto the page there
    #[arg(long)]
    write: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pods {
    /// Where.
    machine: Machine,
    /// Conduit's version.
    version: String,
    /// One after the other.
    states: Vec<State>,
}

/// Memory of the client's and the server's proxy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// What went on.
    name: String,
    memory: [Memory; 2],
}

/// In bytes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Memory {
    rss: u64,
    /// Each page divided by the number of processes that share it.
    pss: u64,
    /// What the container is charged for, with the kernel's memory and file pages; 0 where its cgroup is not seen.
    container: u64,
}

/// Measures and prints, and writes where that is asked for.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let cluster = Cluster::running()?;
    let measured = measure(&cluster);
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false"])?;
    let pods = measured?;
    println!("{}", pods.markdown());
    if let Some(folder) = &plan.write {
        let file = folder.join(RESULT);
        fs::write(&file, serde_json::to_string_pretty(&pods)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        crate::run::render(folder)?;
    }
    Ok(())
}

fn measure(cluster: &Cluster) -> Result<Pods> {
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    cluster.kubectl(&["annotate", "namespace", NAMESPACE, "conduit.io/inject=enabled"])?;
    cluster.kubectl_with_input(&["-n", NAMESPACE, "apply", "-f", "-"], MANIFESTS)?;
    for pod in PODS {
        let deployment = format!("deployment/{pod}");
        cluster.kubectl(&["-n", NAMESPACE, "rollout", "status", &deployment, "--timeout=60s"])?;
    }
    let proxies = proxies()?;
    std::thread::sleep(REST_TIME);
    let mut states = vec![State { name: "at rest".to_owned(), memory: memory(&proxies)? }];
    for connections in LOAD.1 {
        states.push(under_load(cluster, &proxies, connections)?);
        std::thread::sleep(REST_TIME);
        states.push(State { name: "after that".to_owned(), memory: memory(&proxies)? });
    }
    Ok(Pods { machine: Machine::this(), version: env!("CARGO_PKG_VERSION").to_owned(), states })
}

/// The proxies of the two pods, in their order.
fn proxies() -> Result<[ConduitProxy; 2]> {
    let all = conduit_proxies(|_| true)?;
    let of = |pod: &str| {
        let found = all.iter().find(|proxy| proxy.namespace == NAMESPACE && proxy.pod.starts_with(pod));
        found.cloned().with_context(|| format!("{pod} has no proxy; is Conduit installed in this cluster?"))
    };
    Ok([of(PODS[0])?, of(PODS[1])?])
}

/// The most memory while requests are sent.
fn under_load(cluster: &Cluster, proxies: &[ConduitProxy; 2], connections: usize) -> Result<State> {
    let number = connections.to_string();
    let load = ["-n", NAMESPACE, "exec", "deployment/client", "-c", "app", "--", "fortio", "load", "-quiet"];
    let load = [&load[..], &["-c", &number, "-qps", LOAD.0, "-t", LOAD_TIME, "-json", "-", "http://server/"]]
        .concat();
    let mut most = [Memory::default(); 2];
    let said = std::thread::scope(|scope| {
        let load = scope.spawn(|| cluster.kubectl(&load));
        while !load.is_finished() {
            std::thread::sleep(LOOK_INTERVAL);
            for (most, now) in most.iter_mut().zip(memory(proxies)?) {
                *most = most.or_more(now);
            }
        }
        load.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    })?;
    let report: serde_json::Value =
        serde_json::from_str(&said).with_context(|| format!("fortio said {said:?}"))?;
    let codes = &report["RetCodes"];
    let all_answered =
        codes.as_object().is_some_and(|codes| codes.keys().all(|code| code == "200") && !codes.is_empty());
    ensure!(all_answered, "answers by status: {codes}");
    let name = format!("{} requests per second over {connections} connections", LOAD.0);
    Ok(State { name, memory: most })
}

fn memory(proxies: &[ConduitProxy; 2]) -> Result<[Memory; 2]> {
    let of = |proxy: &ConduitProxy| {
        let usage = usage(&proxy.process).with_context(|| format!("the proxy of {} has ended", proxy.pod))?;
        let container = charged(&proxy.process).unwrap_or(0);
        Ok::<_, anyhow::Error>(Memory { rss: usage.rss_bytes, pss: usage.pss_bytes, container })
    };
    Ok([of(&proxies[0])?, of(&proxies[1])?])
}

/// What the cgroup of a process is charged for, of version 2 or 1.
fn charged(process: &Path) -> Option<u64> {
    let own = fs::read_to_string(process.join("cgroup")).ok()?;
    let of = |mark: &str| own.lines().find_map(|line| line.split_once(mark)).map(|(_, path)| path);
    let file = match (of(":memory:/"), of("0::/")) {
        (Some(path), _) => format!("/sys/fs/cgroup/memory/{path}/memory.usage_in_bytes"),
        (None, path) => format!("/sys/fs/cgroup/{}/memory.current", path?),
    };
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

impl Memory {
    fn or_more(self, other: Self) -> Self {
        Self {
            rss: self.rss.max(other.rss),
            pss: self.pss.max(other.pss),
            container: self.container.max(other.container),
        }
    }
}

impl Pods {
    /// As a part of the benchmark's page.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "\n## Memory in real pods\n\nOf the proxies of a client's and a server's pod, in MiB, with Conduit {} on Kubernetes on {} \
             (`cargo xtask pods`). Container: what its cgroup is charged for, with file pages and the kernel's own.\n\n\
             | state | resident | proportional | container |\n| --- | ---: | ---: | ---: |\n",
            self.version, self.machine.cpu
        );
        for State { name, memory } in &self.states {
            let show = |of: fn(&Memory) -> u64| {
                let [client, server] = [0, 1].map(|pod| of(&memory[pod]) as f64 / f64::from(1 << 20));
                format!("{client:.1} / {server:.1}")
            };
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} |",
                show(|memory| memory.rss),
                show(|memory| memory.pss),
                show(|memory| memory.container)
            );
        }
        text
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
