//! What a supervisor knows: workloads, their pods, services and faults, and how a change of it reaches the controller (manifests), the
//! node (cluster IPs) and those who wait for it. Depends on the modules that write these. Deliberately absent: a pod's life (`pod`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use conduit_process::tasks::Tasks;
use conduit_redirect::cluster_ips::{self, ClusterIp};
use conduit_redirect::faults;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::daemon::Daemon;
use crate::manifests::{self, Manifests, PodView, WorkloadView};
use crate::names::Names;
use crate::namespaces::{Mode, PodNamespaces};
use crate::network;
use crate::pod::{Life, Pod, live};
use crate::processes::{Processes, usage};
use crate::spec::{self, Dir, Phase, Spec};
use crate::tokens::Tokens;

/// The most pods of a world, those that are ending included: each is a namespace, a link and a proxy of some MB.
const PODS_MAX: usize = 500;
/// The most workloads that a world remembers: each is some rows in rule sets and files.
const WORKLOADS_MAX: usize = 500;
/// How many ended pods of a workload are remembered, for `ps`.
const ENDED_MAX: usize = 20;

/// Where the controller can be reached.
pub(crate) struct Controller {
    pub(crate) ips: Vec<IpAddr>,
    /// Keeps its network there while it is stopped.
    pub(crate) _namespaces: Arc<PodNamespaces>,
    /// `None`: the executable is not there, so pods can only be unmeshed.
    pub(crate) daemon: Option<Arc<Daemon>>,
}

/// A local world, as its supervisor sees it.
pub(crate) struct World {
    pub(crate) dir: Dir,
    pub(crate) mode: Mode,
    pub(crate) ipv6: bool,
    pub(crate) node: Arc<OwnedFd>,
    pub(crate) processes: Processes,
    pub(crate) tokens: Tokens,
    pub(crate) tasks: Tasks,
    pub(crate) controller: Controller,
    /// Everything is going down: nothing new, and no waiting for news to spread.
    pub(crate) closing: CancellationToken,
    /// Counts changes of the state.
    pub(crate) changes: watch::Sender<u64>,
    // Held for the reading or change of a few fields, never while waiting.
    state: Mutex<State>,
}

pub(crate) struct State {
    workloads: BTreeMap<String, Workload>,
    services: BTreeMap<String, u16>,
    names: Names,
    next_pod: u16,
}

struct Workload {
    spec: Arc<Spec>,
    hash: String,
    replicas: u32,
    next: u32,
    /// It is forgotten when its last pod has ended.
    leaving: bool,
    pods: Vec<Arc<Pod>>,
}

impl World {
    /// An empty world. Pods get numbers from `next_pod` on.
    #[expect(clippy::too_many_arguments, reason = "called once, with what the supervisor has built")]
    pub(crate) fn new(
        dir: Dir,
        mode: Mode,
        ipv6: bool,
        node: Arc<OwnedFd>,
        processes: Processes,
        tokens: Tokens,
        controller: Controller,
        names: Names,
        next_pod: u16,
        tasks: Tasks,
    ) -> Self {
        let state = State { workloads: BTreeMap::new(), services: BTreeMap::new(), names, next_pod };
        Self {
            dir,
            mode,
            ipv6,
            node,
            processes,
            tokens,
            tasks,
            controller,
            closing: CancellationToken::new(),
            changes: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called after every change that others may want to know of.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until `condition` holds, at most `wait`. Whether it does.
    pub(crate) async fn until(&self, wait: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let deadline = Instant::now() + wait;
        loop {
            changes.mark_unchanged();
            if condition(self) {
                return true;
            }
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return condition(self);
            }
        }
    }

    /// Starts a workload.
    pub(crate) fn run(self: &Arc<Self>, spec: Spec) -> Result<()> {
        spec.check().map_err(anyhow::Error::msg)?;
        if !spec.unmeshed && self.controller.daemon.is_none() {
            bail!(
                "there is no {}, so this world has no mesh; build it (cargo build), start the world again, or use --unmeshed",
                spec::executable("conduit-controller").display()
            );
        }
        if spec.user.is_some() && self.mode == Mode::Rootless {
            bail!("--user needs a world that root started; in this one everything runs as you");
        }
        if spec.ipv6_only && !self.ipv6 {
            bail!("this kernel has no IPv6, so no service can be reached over it alone");
        }
        let (name, replicas) = (spec.name.clone(), spec.replicas);
        {
            let mut state = self.state();
            if self.closing.is_cancelled() {
                bail!("the local world is going down");
            }
            let old = state.workloads.get(&name);
            if old.is_some_and(|old| {
                old.pods.is_empty() || old.pods.iter().any(|pod| pod.life().phase != Phase::Ended)
            }) {
                bail!(
                    "there is a workload {name} already; end it first (kill {name}), or change its size (scale {name} N)"
                );
            }
            if old.is_none() && state.workloads.len() >= WORKLOADS_MAX {
                bail!("there are {WORKLOADS_MAX} workloads already, and no room for more");
            }
            let next = old.map_or(1, |old| old.next);
            if !spec.ports.is_empty() && !state.services.contains_key(&name) {
                let number = u16::try_from(state.services.len()).context("there are too many services")?;
                let ips = service_ips(number, self.ipv6, &spec);
                state.names.add_service(ips[0], &name)?;
                state.services.insert(name.clone(), number);
            }
            let hash = hash(&spec);
            let workload =
                Workload { spec: Arc::new(spec), hash, replicas, next, leaving: false, pods: Vec::new() };
            state.workloads.insert(name.clone(), workload);
        }
        self.fill(&name)
    }

    /// Changes how many pods a workload has.
    pub(crate) fn scale(self: &Arc<Self>, name: &str, replicas: u32) -> Result<()> {
        if replicas > spec::REPLICAS_MAX {
            bail!("{replicas} replicas are too many; at most {}", spec::REPLICAS_MAX);
        }
        {
            let mut state = self.state();
            let workload = state.workloads.get_mut(name).with_context(|| no_such("workload", name))?;
            workload.replicas = replicas;
            let wanted = replicas as usize;
            let alive: Vec<&Arc<Pod>> = workload.pods.iter().filter(|pod| pod.is_wanted()).collect();
            for pod in alive.iter().skip(wanted) {
                pod.stop.cancel();
            }
        }
        self.fill(name)
    }

    /// Starts the pods that a workload has too few of.
    fn fill(self: &Arc<Self>, name: &str) -> Result<()> {
        let mut fresh = Vec::new();
        {
            let mut guard = self.state();
            let state = &mut *guard;
            let total: usize = state.workloads.values().map(|workload| workload.pods.len()).sum();
            let workload = state.workloads.get_mut(name).with_context(|| no_such("workload", name))?;
            let alive = workload.pods.iter().filter(|pod| pod.is_wanted()).count();
            let missing = (workload.replicas as usize).saturating_sub(alive);
            if total + missing > PODS_MAX {
                bail!("a world has at most {PODS_MAX} pods, and these would be {}", total + missing);
            }
            for _ in 0..missing {
                let pod_name = format!("{name}-{}", workload.next);
                workload.next += 1;
                let number = state.next_pod;
                state.next_pod = (state.next_pod + 1) % network::POD_NUMBERS;
                let ips = network::pod_ips(number, self.ipv6);
                state.names.add_pod(ips[0], &pod_name)?;
                let pod = Arc::new(Pod::new(pod_name, number, ips, workload.spec.clone()));
                workload.pods.push(pod.clone());
                fresh.push(pod);
            }
        }
        for pod in fresh {
            self.tasks.spawn("pod", live(self.clone(), pod));
        }
        self.touch();
        Ok(())
    }

    /// Ends a workload (which is then forgotten) or a pod, in good order.
    pub(crate) fn end(&self, target: &str) -> Result<()> {
        let mut state = self.state();
        if let Some(workload) = state.workloads.get_mut(target) {
            workload.replicas = 0;
            workload.leaving = true;
            for pod in &workload.pods {
                pod.stop.cancel();
            }
            if workload.pods.iter().all(|pod| pod.life().phase == Phase::Ended) {
                state.workloads.remove(target);
            }
        } else {
            let owner = state
                .workloads
                .values_mut()
                .find(|workload| workload.pods.iter().any(|pod| pod.name == target));
            let owner = owner.with_context(|| no_such("workload or pod", target))?;
            let pod = owner.pods.iter().find(|pod| pod.name == target);
            if let Some(pod) = pod.filter(|pod| pod.is_wanted()) {
                owner.replicas = owner.replicas.saturating_sub(1);
                pod.stop.cancel();
            }
        }
        drop(state);
        self.touch();
        Ok(())
    }

    /// The pods that `target` means: a pod, or all of a workload that have not ended.
    pub(crate) fn pods(&self, target: &str) -> Result<Vec<Arc<Pod>>> {
        let state = self.state();
        if let Some(workload) = state.workloads.get(target) {
            return Ok(workload
                .pods
                .iter()
                .filter(|pod| pod.life().phase != Phase::Ended)
                .cloned()
                .collect());
        }
        let mut pods = state.workloads.values().flat_map(|workload| &workload.pods);
        let pod = pods
            .find(|pod| pod.name == target)
            .cloned()
            .with_context(|| no_such("workload or pod", target))?;
        Ok(vec![pod])
    }

    /// To be called when a pod has ended: it is remembered, if it ended by itself, or forgotten.
    pub(crate) fn has_ended(&self, ended: &Arc<Pod>) {
        let mut state = self.state();
        let name = &ended.spec.name;
        if let Some(workload) = state.workloads.get_mut(name) {
            if ended.stop.is_cancelled() {
                workload.pods.retain(|pod| !Arc::ptr_eq(pod, ended));
            }
            let remembered = workload.pods.iter().filter(|pod| pod.life().phase == Phase::Ended).count();
            let mut too_many = remembered.saturating_sub(ENDED_MAX);
            workload.pods.retain(|pod| {
                let forget = too_many > 0 && pod.life().phase == Phase::Ended;
                too_many -= usize::from(forget);
                !forget
            });
            if workload.leaving && workload.pods.iter().all(|pod| pod.life().phase == Phase::Ended) {
                state.workloads.remove(name);
            }
        }
        drop(state);
        self.touch();
    }

    /// Begins the end of everything.
    pub(crate) fn close(&self) {
        self.closing.cancel();
        for workload in self.state().workloads.values() {
            for pod in &workload.pods {
                pod.stop.cancel();
            }
        }
    }

    /// Whether no pod is left that has not ended.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state
            .workloads
            .values()
            .flat_map(|workload| &workload.pods)
            .all(|pod| pod.life().phase == Phase::Ended)
    }

    /// The names of all pods that have a token.
    pub(crate) fn meshed_pods(&self) -> Vec<Arc<Pod>> {
        let state = self.state();
        let pods = state.workloads.values().flat_map(|workload| &workload.pods);
        pods.filter(|pod| !pod.spec.unmeshed && pod.life().phase != Phase::Ended).cloned().collect()
    }

    /// What is there, for people.
    pub(crate) fn report(&self) -> spec::World {
        let state = self.state();
        let workload = |(name, workload): (&String, &Workload)| spec::Workload {
            name: name.clone(),
            meshed: !workload.spec.unmeshed,
            service_account: workload.spec.account().to_owned(),
            ports: workload.spec.ports.clone(),
            cluster_ips: self.cluster_ips(&state, name, workload),
            replicas: workload.replicas,
            command: workload.spec.command.clone(),
            pods: workload.pods.iter().map(|pod| pod.report()).collect(),
        };
        spec::World {
            root: self.mode == Mode::Root,
            ipv6: self.ipv6,
            controller: self.controller.daemon.as_ref().map(|daemon| daemon.report()).unwrap_or_default(),
            controller_addr: self.controller_addr().to_string(),
            supervisor_rss_bytes: usage(1).0,
            workloads: state.workloads.iter().map(workload).collect(),
        }
    }

    /// The controller's gRPC port, as pods see it.
    pub(crate) fn controller_addr(&self) -> SocketAddr {
        SocketAddr::new(self.controller.ips[0], conduit_logic::ports::CONTROLLER_GRPC)
    }

    fn cluster_ips(&self, state: &State, name: &str, workload: &Workload) -> Vec<IpAddr> {
        match state.services.get(name) {
            Some(number) if !workload.spec.ports.is_empty() => {
                service_ips(*number, self.ipv6, &workload.spec)
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn views(&self) -> Vec<WorkloadView> {
        let state = self.state();
        let view = |(name, workload): (&String, &Workload)| WorkloadView {
            name: name.clone(),
            hash: workload.hash.clone(),
            service_account: workload.spec.account().to_owned(),
            meshed: !workload.spec.unmeshed,
            ports: workload.spec.ports.clone(),
            cluster_ips: self.cluster_ips(&state, name, workload),
            pods: workload.pods.iter().filter_map(|pod| pod_view(pod)).collect(),
        };
        state.workloads.iter().map(view).collect()
    }

    /// Tells the controller and the node of every change, for as long as it runs.
    pub(crate) async fn publish(self: Arc<Self>, mut manifests: Manifests) {
        let mut changes = self.changes.subscribe();
        let mut installed = Vec::new();
        loop {
            let views = self.views();
            let rows = cluster_ip_rows(&views);
            if let Err(error) = manifests.write(manifests::files(&views)) {
                tracing::error!(%error, "manifests cannot be written: the controller does not learn of changes");
            }
            if rows != installed {
                match cluster_ips::install(&rows) {
                    Ok(()) => installed = rows,
                    Err(error) => {
                        tracing::error!(%error, "cluster IPs cannot be set up: unmeshed pods do not reach services")
                    }
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes these the network's faults.
    pub(crate) fn set_faults(&self, faults: &[spec::Fault]) -> Result<()> {
        let ips = |target: &str| -> Result<Vec<IpAddr>> {
            if target == "controller" {
                return Ok(self.controller.ips.clone());
            }
            Ok(self.pods(target)?.iter().flat_map(|pod| pod.ips.clone()).collect())
        };
        let mut all = Vec::new();
        for fault in faults {
            match fault {
                spec::Fault::Partition(target) => {
                    all.extend(ips(target)?.into_iter().map(faults::Fault::All))
                }
                spec::Fault::Loss { target, percent } => {
                    all.extend(
                        ips(target)?.into_iter().map(|ip| faults::Fault::Share { ip, percent: *percent }),
                    );
                }
                spec::Fault::Between(a, b) => {
                    let (left, right) = (ips(a)?, ips(b)?);
                    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b)));
                    let same_family = pairs.filter(|(a, b)| a.is_ipv4() == b.is_ipv4());
                    all.extend(same_family.map(|(a, b)| faults::Fault::Between(a, b)));
                }
            }
        }
        if all.is_empty() { faults::clear() } else { faults::install(&all) }
            .context("cannot set the network's faults")
    }
}

fn no_such(what: &str, name: &str) -> String {
    format!("there is no {what} {name}; `conduit local ps` lists what there is")
}

fn pod_view(pod: &Pod) -> Option<PodView> {
    let life = pod.life();
    if life.phase == Phase::Ended {
        return None;
    }
    Some(PodView {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        ips: pod.ips.clone(),
        ready: pod.is_ready(&life),
        terminating: life.phase == Phase::Terminating,
        reachable: life.reachable.clone(),
    })
}

/// The addresses of a workload's service.
fn service_ips(number: u16, ipv6: bool, spec: &Spec) -> Vec<IpAddr> {
    let mut ips = network::cluster_ips(number, ipv6);
    ips.retain(|ip| ip.is_ipv6() || !spec.ipv6_only);
    ips
}

fn cluster_ip_rows(workloads: &[WorkloadView]) -> Vec<ClusterIp> {
    let mut rows = Vec::new();
    for workload in workloads {
        for ip in &workload.cluster_ips {
            let gets_traffic = |pod: &&PodView| pod.ready && !pod.terminating;
            let pods = workload.pods.iter().filter(gets_traffic);
            let pod_ips: Vec<IpAddr> = pods
                .filter_map(|pod| pod.in_family_of(*ip))
                .filter_map(|(ip, reachable)| reachable.then_some(ip))
                .collect();
            rows.extend(workload.ports.iter().map(|port| ClusterIp {
                addr: SocketAddr::new(*ip, port.port),
                endpoints: pod_ips.iter().map(|ip| SocketAddr::new(*ip, port.port)).collect(),
            }));
        }
    }
    rows
}

/// The hash that stands for a pod template: the same for the same command.
fn hash(spec: &Spec) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (&spec.name, &spec.command).hash(&mut hasher);
    format!("{:010x}", hasher.finish() & 0xff_ffff_ffff)
}

impl Pod {
    /// Whether it gets traffic.
    pub(crate) fn is_ready(&self, life: &Life) -> bool {
        life.phase == Phase::Running
            && (self.spec.ports.is_empty() || life.reachable.contains(&true))
            && life.proxy.as_ref().map_or(self.spec.unmeshed, |proxy| proxy.status().ready)
    }
}
