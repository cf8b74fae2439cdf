//! The cluster's components, each of which can be killed and started again while the rest runs, as faults do it. Depends on `node` and
//! `control_plane`. Deliberately absent: restarting by itself; a test decides how long a component is away.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::machine;
use super::{Cluster, Node};

/// How long a component may take to be ready.
const READY_TIME: Duration = Duration::from_secs(120);
/// How many of a log's last bytes an error shows.
const LOG_TAIL_BYTES: usize = 2000;

/// One of the cluster's programs; those of a node with the node's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of Deployments, EndpointSlices and so on.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// A node's container runtime. Its containers go on without it.
    Containerd(u8),
    /// A node's kubelet. Its containers go on without it.
    Kubelet(u8),
    /// A node's kube-proxy. Its rules stay without it.
    KubeProxy(u8),
}

impl Component {
    /// The component of this name: a program's, with `:N` for that of node N (1 when it is left out).
    pub fn from_name(name: &str) -> Option<Self> {
        let (program, node) = name.split_once(':').unwrap_or((name, "1"));
        let node = node.parse().ok()?;
        let all = [
            Self::Etcd,
            Self::ApiServer,
            Self::ControllerManager,
            Self::Scheduler,
            Self::Containerd(node),
            Self::Kubelet(node),
            Self::KubeProxy(node),
        ];
        all.into_iter().find(|component| component.program() == program)
    }

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd(_) => "containerd",
            Self::Kubelet(_) => "kubelet",
            Self::KubeProxy(_) => "kube-proxy",
        }
    }

    /// The number of the node in which it runs.
    pub fn node(self) -> u8 {
        match self {
            Self::Containerd(node) | Self::Kubelet(node) | Self::KubeProxy(node) => node,
            _ => 1,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.program(), self.node())
    }
}

impl Cluster {
    /// Kills a component as a crash does, and returns when it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, component: Component) -> Result<()> {
        self.node(component.node())?.stop(component.program(), Signal::SIGKILL)
    }

    /// Asks a component to end, and returns when it has.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn stop(&self, component: Component) -> Result<()> {
        self.node(component.node())?.stop(component.program(), Signal::SIGTERM)
    }

    /// Starts a component that does not run; see [`Cluster::wait_ready`].
    ///
    /// # Errors
    /// When it runs already or there is no such node.
    pub fn start(&self, component: Component) -> Result<()> {
        let node = self.node(component.node())?;
        ensure!(node.processes(component.program()).is_empty(), "{component} runs already");
        let (setting, dir) = (self.setting(), node.dir());
        let command = match component {
            Component::Etcd => setting.etcd(),
            Component::ApiServer => setting.api_server(),
            Component::ControllerManager => setting.controller_manager(),
            Component::Scheduler => setting.scheduler(),
            Component::Containerd(_) => {
                vec!["containerd".to_owned(), format!("--config={}", dir.join("containerd.toml").display())]
            }
            Component::Kubelet(number) => setting.kubelet(number, dir),
            Component::KubeProxy(_) => setting.kube_proxy(dir),
        };
        node.start(component.program(), &command)
    }

    /// Kills a component, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When it did not run, or does not become ready.
    pub fn restart(&self, component: Component) -> Result<()> {
        self.kill(component)?;
        self.start(component)?;
        self.wait_ready(component)
    }

    /// Waits until a component does its work: the API server answers that it is ready, a kubelet's node is Ready, containerd answers; the
    /// others are only seen to run.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub fn wait_ready(&self, component: Component) -> Result<()> {
        let node = self.node(component.node())?;
        let ready = || match component {
            Component::Etcd | Component::ApiServer => self.kubectl(&["get", "--raw", "/readyz"]).map(drop),
            Component::Containerd(_) => super::node::run(node.command("ctr").arg("version")).map(drop),
            Component::Kubelet(_) => self
                .kubectl(&["wait", "--for=condition=Ready", &format!("node/{}", node.name()), "--timeout=1s"])
                .map(drop),
            _ => Ok(()),
        };
        let end_of_log = || {
            let log = fs::read(node.log(component.program())).unwrap_or_default();
            let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
            format!("{component} is not ready; its log ends with:\n{}", String::from_utf8_lossy(tail))
        };
        let (mut seen, mut ended) = (false, false);
        machine::wait(&format!("{component} is ready"), READY_TIME, || {
            let runs = !node.processes(component.program()).is_empty();
            ended = seen && !runs;
            seen |= runs;
            if ended {
                return Ok(());
            }
            ensure!(runs, "it does not run");
            ready()
        })
        .with_context(end_of_log)?;
        ensure!(!ended, "{component} has ended again; {}", end_of_log());
        Ok(())
    }

    /// The node with this number.
    ///
    /// # Errors
    /// When the cluster has no such node.
    pub fn node(&self, number: u8) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.number() == number);
        found.with_context(|| format!("there is no node {number}; the cluster has {}", self.nodes.len()))
    }
}
