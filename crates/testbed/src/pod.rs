//! One pod's life, in the order in which it is lived: network, redirect rules, proxy, application, readiness, and the end: endpoint first,
//! application, then proxy. Depends on `state` for the world around it. Deliberately absent: which pods there should be.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use conduit_logic::ports::{PROXY_ADMIN, PROXY_MARK, PROXY_UID, TRUST_DOMAIN};
use tokio_util::sync::CancellationToken;

use crate::daemon::Daemon;
use crate::manifests::NAMESPACE;
use crate::namespaces::{Mode, PodNamespaces, RunAs, in_pod};
use crate::processes::{Process, kill_all_in, log_to};
use crate::spec::{self, Phase, ReadyAfter, Spec, executable};
use crate::state::World;
use crate::tokens::{ANCHOR, Subject};
use crate::{listening, network};

/// How long the redirect rules may take.
const RULES_MAX: Duration = Duration::from_secs(10);
/// How long a proxy may take to be ready the first time: the controller may be starting.
const PROXY_READY_MAX: Duration = Duration::from_secs(60);
/// From taking a pod out of the endpoints until its application is told to end: the news has time to spread.
const SPREAD: Duration = Duration::from_millis(300);
/// How long an application may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// The same when the whole world goes down.
const GRACE_CLOSING: Duration = Duration::from_secs(2);
/// How long a proxy may take to drain after its application has ended.
const PROXY_GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at whether the application listens, before and after it does.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long until an application is started again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A pod.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    number: u16,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) spec: Arc<Spec>,
    /// It is to end.
    pub(crate) stop: CancellationToken,
    // Held for the reading or change of a few fields, never while waiting.
    life: Mutex<Life>,
}

/// What changes in a pod's life.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) phase: Phase,
    pub(crate) namespaces: Option<Arc<PodNamespaces>>,
    pub(crate) proxy: Option<Arc<Daemon>>,
    pub(crate) application: Option<Process>,
    /// For each of its addresses, whether the application listens there.
    pub(crate) reachable: Vec<bool>,
    exit: Option<i32>,
    restarts: u32,
    problem: String,
}

impl Pod {
    pub(crate) fn new(name: String, number: u16, ips: Vec<IpAddr>, spec: Arc<Spec>) -> Self {
        let uid = format!("{name}-{:016x}", random(number));
        Self { name, uid, number, ips, spec, stop: CancellationToken::new(), life: Mutex::default() }
    }

    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it counts as one of the replicas that are wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.stop.is_cancelled() && self.life().phase != Phase::Ended
    }

    /// Whose token its proxy has.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            pod: self.name.clone(),
            uid: self.uid.clone(),
            service_account: self.spec.account().to_owned(),
        }
    }

    /// How it does, for people.
    pub(crate) fn report(&self) -> spec::Pod {
        let life = self.life();
        let running = life.application.as_ref().filter(|process| process.exit().is_none());
        spec::Pod {
            name: self.name.clone(),
            phase: life.phase,
            ready: self.is_ready(&life),
            ips: self.ips.clone(),
            pid: running.map_or(0, |process| process.pid),
            exit: life.exit,
            restarts: life.restarts,
            problem: life.problem.clone(),
            proxy: life.proxy.as_ref().map(|proxy| proxy.report()),
        }
    }

    /// Starts a command in the pod, as the user of its application unless another is given.
    pub(crate) fn start(
        &self,
        world: &World,
        mut command: Command,
        cwd: &Path,
        user: Option<&str>,
    ) -> Result<Process> {
        let namespaces = self.life().namespaces.clone();
        let namespaces =
            namespaces.with_context(|| format!("the pod {} has no network (any more)", self.name))?;
        let run_as = run_as(world.mode, user.or(self.spec.user.as_deref()))?;
        let program = command.get_program().to_owned();
        in_pod(&mut command, &namespaces, cwd, run_as, Vec::new())
            .context("the directory has no valid name")?;
        let started = world.processes.start(&mut command);
        started.with_context(|| format!("cannot start `{}` in {}", program.display(), cwd.display()))
    }
}

/// Different for each start of a world, so that a pod of an earlier one is not taken for one of this.
fn random(number: u16) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(number)
}

fn run_as(mode: Mode, user: Option<&str>) -> Result<RunAs> {
    let Some(name) = user else { return Ok(RunAs::Same) };
    if mode == Mode::Rootless {
        bail!("--user needs a world that root started; in this one everything runs as you");
    }
    let found = match name.parse() {
        Ok(uid) => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)),
        Err(_) => nix::unistd::User::from_name(name),
    };
    let user = found.ok().flatten().with_context(|| format!("there is no user `{name}` in /etc/passwd"))?;
    let main = user.gid.as_raw();
    Ok(RunAs::User { uid: user.uid.as_raw(), gid: main, groups: groups_of(&user.name, main) })
}

/// The groups of a user, from /etc/group.
fn groups_of(user: &str, main: u32) -> Vec<u32> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let gid = fields.get(2)?.parse().ok()?;
        fields.get(3)?.split(',').any(|member| member == user).then_some(gid)
    };
    std::iter::once(main).chain(text.lines().filter_map(member)).collect()
}

/// Lives the life of `pod` from start to end.
pub(crate) async fn live(world: Arc<World>, pod: Arc<Pod>) {
    let lived = tokio::select! {
        lived = rise(&world, &pod) => lived,
        () = pod.stop.cancelled() => Ok(()),
    };
    if let Err(error) = lived {
        tracing::warn!(pod = pod.name, "{error:#}");
        pod.life().problem = format!("{error:#}");
    }
    fall(&world, &pod).await;
    world.has_ended(&pod);
}

/// From nothing until the application has ended by itself.
async fn rise(world: &Arc<World>, pod: &Arc<Pod>) -> Result<()> {
    let namespaces =
        network::make_pod(pod.name.clone(), pod.number, pod.ips.clone(), world.node.clone()).await?;
    pod.life().namespaces = Some(namespaces.clone());
    if !pod.spec.unmeshed {
        redirect(world, pod, &namespaces).await?;
        start_proxy(world, pod, &namespaces).await?;
    }
    let mut backoff = BACKOFF.0;
    loop {
        let mut command = Command::new(&pod.spec.command[0]);
        command.args(&pod.spec.command[1..]).env_clear().envs(pod.spec.env.iter().map(|(k, v)| (k, v)));
        command.env("HOSTNAME", &pod.name);
        log_to(&mut command, &world.dir.log(&pod.name)).context("cannot open the application's log")?;
        let process = pod.start(world, command, &pod.spec.cwd, None)?;
        {
            let mut life = pod.life();
            life.phase = Phase::Running;
            life.application = Some(process.clone());
        }
        world.touch();
        let exit = tokio::select! {
            exit = process.ended() => exit,
            () = watch(world, pod, process.pid) => 0,
        };
        {
            let mut life = pod.life();
            life.exit = Some(exit);
            life.reachable.clear();
        }
        world.touch();
        if !pod.spec.restart {
            return Ok(());
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
        pod.life().restarts += 1;
    }
}

async fn redirect(world: &World, pod: &Pod, namespaces: &Arc<PodNamespaces>) -> Result<()> {
    let mut command = Command::new(executable("conduit-proxy"));
    command.arg("init");
    match world.mode {
        Mode::Root => command.arg("--proxy-uid").arg(PROXY_UID.to_string()),
        Mode::Rootless => command.arg("--proxy-mark").arg(PROXY_MARK.to_string()),
    };
    for (flag, ports) in
        [("--skip-inbound-ports", &pod.spec.skip_inbound), ("--skip-outbound-ports", &pod.spec.skip_outbound)]
    {
        if !ports.is_empty() {
            command.arg(flag).arg(ports);
        }
    }
    let log = world.dir.proxy_log(&pod.name);
    log_to(&mut command, &log).context("cannot open the proxy's log")?;
    in_pod(&mut command, namespaces, Path::new("/"), RunAs::NetworkAdmin, Vec::new())?;
    let process = world.processes.start(&mut command).context("cannot start `conduit-proxy init`")?;
    match tokio::time::timeout(RULES_MAX, process.ended()).await {
        Ok(0) => Ok(()),
        Ok(_) => bail!("the redirect rules could not be written: {}", last_line(&log)),
        Err(_) => bail!("the redirect rules were not written within {RULES_MAX:?}"),
    }
}

async fn start_proxy(world: &Arc<World>, pod: &Arc<Pod>, namespaces: &Arc<PodNamespaces>) -> Result<()> {
    world.tokens.write(&pod.subject())?;
    let admin = SocketAddr::new(pod.ips[0], PROXY_ADMIN);
    let start = {
        let (world, pod, namespaces) = (Arc::downgrade(world), pod.clone(), namespaces.clone());
        move || match world.upgrade() {
            Some(world) => proxy_process(&world, &pod, &namespaces),
            None => Err(io::ErrorKind::Interrupted.into()),
        }
    };
    let daemon = Arc::new(Daemon::new(admin, start));
    pod.life().proxy = Some(daemon.clone());
    let keeper = daemon.clone();
    world.tasks.spawn("proxy", async move { keeper.keep().await });
    let mut status = daemon.watch();
    let ready = async {
        loop {
            // The sender lives in `daemon`.
            let now = status.borrow_and_update().clone();
            if now.ready {
                return;
            }
            if now.restarts > 0 {
                pod.life().problem =
                    format!("proxy: {}: {}", now.problem, last_line(&world.dir.proxy_log(&pod.name)));
                world.touch();
            }
            let _ = status.changed().await;
        }
    };
    if tokio::time::timeout(PROXY_READY_MAX, ready).await.is_err() {
        bail!(
            "the proxy was not ready within {PROXY_READY_MAX:?}: {}",
            last_line(&world.dir.proxy_log(&pod.name))
        );
    }
    pod.life().problem.clear();
    Ok(())
}

fn proxy_process(world: &World, pod: &Pod, namespaces: &Arc<PodNamespaces>) -> io::Result<Process> {
    // The proxy's user may not pass through the directories above its executable and its files (a checkout in /root, say); both are
    // therefore opened here and reached by descriptor.
    let program = executable("conduit-proxy");
    let open =
        File::open(&program).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", program.display())))?;
    let open: Arc<OwnedFd> = Arc::new(open.into());
    let files = world.tokens.open_dir();
    let in_files = |name: &str| format!("/proc/self/fd/{}/{name}", files.as_raw_fd());
    let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
    let mut command = Command::new(format!("/proc/self/fd/{}", open.as_raw_fd()));
    command
        .arg0("conduit-proxy")
        .arg("run")
        .env_clear()
        .env("CONDUIT_PROXY_POD_NAMESPACE", NAMESPACE)
        .env("CONDUIT_PROXY_POD_NAME", &pod.name)
        .env("CONDUIT_PROXY_SERVICE_ACCOUNT", pod.spec.account())
        .env("CONDUIT_PROXY_POD_IPS", ips.join(","))
        .env("CONDUIT_PROXY_TRUST_DOMAIN", TRUST_DOMAIN)
        .env("CONDUIT_PROXY_TRUST_ANCHORS", in_files(ANCHOR))
        .env("CONDUIT_PROXY_TOKEN", in_files(&pod.name))
        .env("CONDUIT_PROXY_CONTROLLER_ADDR", world.controller_addr().to_string());
    let run_as = match world.mode {
        Mode::Root => RunAs::User { uid: PROXY_UID, gid: PROXY_UID, groups: Vec::new() },
        Mode::Rootless => {
            command.env("CONDUIT_PROXY_SOCKET_MARK", PROXY_MARK.to_string());
            RunAs::NetworkAdmin
        }
    };
    // Settings of all proxies can be given to the supervisor, and of one to its workload.
    command
        .envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONDUIT_PROXY_")));
    command.envs(pod.spec.proxy_env.iter().map(|(k, v)| (k, v)));
    log_to(&mut command, &world.dir.proxy_log(&pod.name))?;
    in_pod(&mut command, namespaces, Path::new("/"), run_as, vec![open, files])?;
    world.processes.start(&mut command)
}

/// Keeps `reachable` true to what the application listens on, and the world informed of the proxy. Never ends.
async fn watch(world: &World, pod: &Pod, pid: i32) {
    let proxy = pod.life().proxy.clone();
    let mut status = proxy.as_ref().map(|proxy| proxy.watch());
    loop {
        let now = match pod.spec.ready_after {
            ReadyAfter::None => vec![true; pod.ips.len()],
            ReadyAfter::Listening => {
                let ports: Vec<u16> = pod.spec.ports.iter().map(|port| port.port).collect();
                let found = listening::on(pid, &ports);
                pod.ips.iter().map(|ip| if ip.is_ipv4() { found.ipv4 } else { found.ipv6 }).collect()
            }
        };
        let is_reachable = now.contains(&true);
        let changed = {
            let mut life = pod.life();
            let changed = life.reachable != now;
            life.reachable = now;
            changed
        };
        if changed {
            world.touch();
        }
        let pause = if is_reachable || pod.spec.ports.is_empty() { LOOK.1 } else { LOOK.0 };
        match &mut status {
            None => tokio::time::sleep(pause).await,
            Some(status) => {
                if matches!(tokio::time::timeout(pause, status.changed()).await, Ok(Ok(()))) {
                    world.touch();
                }
            }
        }
    }
}

/// From whatever was reached to nothing.
async fn fall(world: &World, pod: &Pod) {
    let (application, proxy, namespaces) = {
        let mut life = pod.life();
        life.phase = Phase::Terminating;
        (life.application.clone(), life.proxy.clone(), life.namespaces.clone())
    };
    world.touch();
    if let Some(process) = application {
        if process.exit().is_none() {
            // Ends early when everything goes down.
            let _ = tokio::time::timeout(SPREAD, world.closing.cancelled()).await;
            let own = if pod.spec.grace_ms == 0 { GRACE } else { Duration::from_millis(pod.spec.grace_ms) };
            let grace = if world.closing.is_cancelled() { own.min(GRACE_CLOSING) } else { own };
            process.end(grace).await;
        }
        pod.life().exit = process.exit();
    }
    if let Some(proxy) = proxy {
        let grace = if world.closing.is_cancelled() { GRACE_CLOSING } else { PROXY_GRACE };
        proxy.end(grace).await;
    }
    if let Some(namespaces) = namespaces {
        // What the application has left behind, and commands that were run beside it.
        kill_all_in(namespaces.inode);
    }
    world.tokens.remove(&pod.name);
    let mut life = pod.life();
    life.phase = Phase::Ended;
    life.namespaces = None;
    life.proxy = None;
}

/// The last line of a log, as the reason that a process left behind.
pub(crate) fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2048)..]).into_owned();
    let line =
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it wrote nothing to its log");
    format!("{line} ({})", log.display())
}
