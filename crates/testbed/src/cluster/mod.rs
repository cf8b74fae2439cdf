//! A real Kubernetes cluster on this machine: etcd, API server, controller manager, scheduler, and one or two nodes with containerd, kubelet
//! and kube-proxy, all of them upstream's programs. A node is a set of namespaces under one process that takes everything with it when it
//! ends; no link leads out of the nodes. Needs root. Depends on Debian's containerd, runc and network plugins and on the programs that
//! `cargo xtask cluster build` makes. Clusters of several names (`CONDUIT_CLUSTER`) may run beside each other. Deliberately absent: more than one
//! API server or etcd.

mod addresses;
mod component;
mod control_plane;
mod kubectl;
mod kubelet;
mod machine;
mod node;
mod parts;
mod pki;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use addresses::Families;
pub use component::Component;
pub use kubelet::ProxyMode;
pub use node::Node;
pub use parts::{Parts, cert_manager};

use control_plane::Setting;
use pki::Pki;

/// The most nodes of a cluster: two show what one hides (routes, zones, remote pods); more would only take memory.
pub const NODES_MAX: u8 = 2;

/// How long the nodes may take to be ready, and the cluster's DNS.
const READY_TIME: Duration = Duration::from_secs(120);

const COREDNS: &str = include_str!("../../cluster/coredns.yaml");

/// What cluster is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes, from 1 to [`NODES_MAX`].
    pub nodes: u8,
    /// The IP families of nodes, pods and services.
    pub families: Families,
    /// How kube-proxy makes services.
    pub proxy_mode: ProxyMode,
    /// The cluster's name, of small letters, digits and hyphens; `None`: what `CONDUIT_CLUSTER` says, or `default`.
    pub name: Option<String>,
    /// Hears each step as it begins.
    pub say: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 1, families: Families::V4, proxy_mode: ProxyMode::Nftables, name: None, say: |_| {} }
    }
}

/// What is needed to find a cluster again, or to clean up after it, in `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    families: String,
    proxy_mode: String,
    parts: PathBuf,
    /// What the machine's sysctls were.
    sysctls: Vec<String>,
    nodes: Vec<Holder>,
    /// Whether everything was started.
    complete: bool,
}

/// Process 1 of a node.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    start: u64,
}

impl Holder {
    fn lives(self) -> bool {
        machine::start_of(self.pid) == Some(self.start)
    }
}

/// The cluster. When it is dropped it is taken down, unless it is to be kept.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    state: State,
    families: Families,
    parts: Parts,
    pki: Pki,
    nodes: Vec<Node>,
    kept: bool,
}

impl Cluster {
    /// Starts a cluster, and returns when its nodes and its DNS are ready. What a dead cluster left is removed first.
    ///
    /// # Errors
    /// When a cluster runs already, when this process is not privileged, when parts are missing, or when a component does not start; then
    /// with the end of its log.
    pub fn up(options: &Options) -> Result<Self> {
        ensure!(
            (1..=NODES_MAX).contains(&options.nodes),
            "a cluster has 1 to {NODES_MAX} nodes, not {}",
            options.nodes
        );
        machine::check_privileges()?;
        let parts = Parts::find()?;
        let folder = folder(options.name.as_deref())?;
        if let Some(state) = State::read(&folder)? {
            if state.nodes.iter().any(|holder| holder.lives()) {
                bail!("a cluster runs already ({}): `cargo xtask cluster down` ends it", folder.display());
            }
            (options.say)("removing what a cluster left that was not taken down");
            destroy(&folder, &state)?;
        } else if folder.exists() {
            fs::remove_dir_all(&folder).context("cannot remove the folder of a cluster that never began")?;
        }
        let started = Instant::now();
        let mut cluster = Self::create(options, parts)?;
        cluster.start_all(options.say)?;
        cluster.state.complete = true;
        cluster.save()?;
        (options.say)(&format!("ready after {:.1} s", started.elapsed().as_secs_f64()));
        Ok(cluster)
    }

    /// The cluster that runs; it is kept when this is dropped.
    ///
    /// # Errors
    /// When none runs.
    pub fn running() -> Result<Self> {
        const MEND: &str = "`cargo xtask cluster up` starts one";
        let dir = folder(None)?;
        let state = State::read(&dir)?.with_context(|| format!("no cluster runs here: {MEND}"))?;
        ensure!(
            state.complete && state.nodes.iter().all(|holder| holder.lives()),
            "the cluster in {} is broken or was killed: {MEND} after `cargo xtask cluster down`",
            dir.display()
        );
        let families = Families::from_name(&state.families).context("state.json names no IP families")?;
        let nodes = (1..)
            .zip(&state.nodes)
            .map(|(number, holder)| Node::at(number, &node_dir(&dir, number), holder.pid));
        Ok(Self {
            nodes: nodes.collect(),
            parts: Parts::at(&state.parts)?,
            pki: Pki::in_dir(&dir.join("pki")),
            families,
            state,
            dir,
            kept: true,
        })
    }

    /// Takes down whatever cluster there is, also a broken one. Returns whether there was any.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn remove() -> Result<bool> {
        let dir = folder(None)?;
        let Some(state) = State::read(&dir)? else { return Ok(false) };
        destroy(&dir, &state)?;
        Ok(true)
    }

    /// Leaves the cluster running when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Takes the cluster down: afterwards nothing of it is left but the cache of its parts.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn down(mut self) -> Result<()> {
        self.kept = true;
        destroy(&self.dir, &self.state)
    }

    /// Its nodes; the first has the control plane.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Its IP families.
    pub fn families(&self) -> Families {
        self.families
    }

    /// The folder of everything that this cluster wrote.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the API server has written down of the calls of Conduit's control plane, since the cluster began: one event of
    /// audit.k8s.io/v1 on each line.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join(control_plane::AUDIT_LOG)
    }

    /// The operator's kubeconfig (the group `system:masters`). The address in it is reached from the nodes' networks only: see
    /// [`Node::network_command`].
    pub fn kubeconfig(&self) -> PathBuf {
        self.pki.kubeconfig("admin").into()
    }

    /// One of the cluster's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.parts.program(name)
    }

    /// A command of this machine in the cluster's network, with `KUBECONFIG` set.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.nodes[0].network_command(program);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Imports an image archive into every node.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub fn import(&self, archive: &Path) -> Result<()> {
        for node in &self.nodes {
            import(node, archive)?;
        }
        Ok(())
    }

    fn create(options: &Options, parts: Parts) -> Result<Self> {
        let dir = folder(options.name.as_deref())?;
        fs::create_dir_all(dir.parent().unwrap_or(&dir))
            .context("cannot create the folder of all clusters")?;
        // Fails where another process is just starting a cluster of this name.
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let state = State {
            families: options.families.name().to_owned(),
            proxy_mode: options.proxy_mode.name().to_owned(),
            parts: parts.dir().to_owned(),
            sysctls: others(&dir)?.first().map_or_else(machine::sysctls, |other| other.sysctls.clone()),
            nodes: Vec::new(),
            complete: false,
        };
        fs::write(dir.join(control_plane::AUDIT_POLICY), control_plane::AUDITED)?;
        let pki = Pki::create(&dir.join("pki"), options.families, options.nodes)?;
        let families = options.families;
        let mut cluster = Self { dir, state, families, parts, pki, nodes: Vec::new(), kept: false };
        cluster.save()?;
        (options.say)(&format!("{} node(s), {}", options.nodes, families.name()));
        for number in 1..=options.nodes {
            let dir = node_dir(&cluster.dir, number);
            let node = Node::create(number, &dir, &cluster.parts)?;
            let start = machine::start_of(node.holder()).context("a node ended at once")?;
            cluster.state.nodes.push(Holder { pid: node.holder(), start });
            cluster.save()?;
            kubelet::configure(&node, families, options.proxy_mode, &cluster.pki)?;
            cluster.nodes.push(node);
        }
        node::connect(&cluster.nodes, families)?;
        Ok(cluster)
    }

    fn start_all(&self, say: fn(&str)) -> Result<()> {
        say("etcd and API server");
        for component in [Component::Etcd, Component::ApiServer] {
            self.start(component)?;
        }
        for node in &self.nodes {
            self.start(Component::Containerd(node.number()))?;
        }
        for node in &self.nodes {
            self.wait_ready(Component::Containerd(node.number()))?;
            for archive in self.parts.images()? {
                import(node, &archive)?;
            }
        }
        self.wait_ready(Component::ApiServer)?;
        say("controller manager, scheduler, kubelet, kube-proxy");
        self.start(Component::ControllerManager)?;
        self.start(Component::Scheduler)?;
        for node in &self.nodes {
            self.start(Component::Kubelet(node.number()))?;
            self.start(Component::KubeProxy(node.number()))?;
        }
        self.apply(&self.dns_manifests())?;
        self.wait_for_service_account()?;
        for node in &self.nodes {
            self.wait_ready(Component::Kubelet(node.number()))?;
        }
        say("DNS");
        machine::wait("DNS is ready", READY_TIME, || {
            self.kubectl(&[
                "-n",
                "kube-system",
                "wait",
                "--for=condition=Available",
                "deployment/coredns",
                "--timeout=1s",
            ])
            .map(drop)
        })
    }

    fn dns_manifests(&self) -> String {
        let quoted: Vec<String> =
            self.families.dns().iter().map(|address| format!("\"{address}\"")).collect();
        let manifests = COREDNS.replace("@DNS_ADDRESSES@", &addresses::list(&quoted));
        manifests.replace("@DNS_ADDRESS@", &quoted[0])
    }

    /// Pods of a namespace can be made once its service account is there.
    fn wait_for_service_account(&self) -> Result<()> {
        machine::wait("the namespace default has its service account", READY_TIME, || {
            self.kubectl(&["-n", "default", "get", "serviceaccount", "default"]).map(drop)
        })
    }

    fn setting(&self) -> Setting<'_> {
        Setting { parts: &self.parts, pki: &self.pki, families: self.families, dir: &self.dir }
    }

    fn save(&self) -> Result<()> {
        let path = self.dir.join("state.json");
        let new = self.dir.join("state.json.new");
        fs::write(&new, serde_json::to_vec_pretty(&self.state)?)
            .context("cannot write the cluster's state")?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = destroy(&self.dir, &self.state)
        {
            eprintln!("the cluster was not taken down wholly: {error:#}");
        }
    }
}

impl State {
    fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("state.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| {
                format!("{} is not a cluster's state; remove {}", path.display(), dir.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// Where the cluster's files are while it runs: a folder of its name.
fn folder(name: Option<&str>) -> Result<PathBuf> {
    let own = || std::env::var("CONDUIT_CLUSTER").unwrap_or_else(|_| "default".to_owned());
    let name = name.map_or_else(own, str::to_owned);
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !name.is_empty() && name.chars().all(is_plain),
        "a cluster's name (CONDUIT_CLUSTER) is of small letters, digits and hyphens, not {name:?}"
    );
    Ok(parts::cache().join("run").join(name))
}

/// The clusters beside the one in `dir` that run.
fn others(dir: &Path) -> Result<Vec<State>> {
    let mut states = Vec::new();
    for entry in dir.parent().map(fs::read_dir).transpose()?.into_iter().flatten() {
        let path = entry?.path();
        if path != dir
            && let Some(state) = State::read(&path)?
            && state.nodes.iter().any(|holder| holder.lives())
        {
            states.push(state);
        }
    }
    Ok(states)
}

fn node_dir(dir: &Path, number: u8) -> PathBuf {
    dir.join(format!("node{number}"))
}

fn import(node: &Node, archive: &Path) -> Result<()> {
    let archive = archive.canonicalize().with_context(|| format!("no image at {}", archive.display()))?;
    let mut import = node.command("ctr");
    import.args(["-n", "k8s.io", "images", "import"]).arg(&archive);
    node::run(&mut import).with_context(|| format!("cannot import {}", archive.display())).map(drop)
}

/// Ends all nodes, gives the machine its settings back and removes the cluster's folder.
fn destroy(dir: &Path, state: &State) -> Result<()> {
    for (number, holder) in (1..).zip(&state.nodes) {
        if holder.lives() {
            Node::at(number, &node_dir(dir, number), holder.pid).destroy()?;
        } else {
            machine::remove_cgroups(&machine::cgroup(dir, number))?;
        }
    }
    // The last one puts back what the first one found.
    if others(dir)?.is_empty() {
        machine::restore_sysctls(&state.sysctls)?;
    }
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}
