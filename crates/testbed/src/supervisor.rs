//! The supervisor of a local world: process 1 of its own namespaces, so that nothing of the world outlives it. It sets up the node, keeps
//! the controller running and serves its socket. Depends on all modules beside it. Deliberately absent: any state that survives it.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use conduit_logic::ports::{CONTROLLER_ADMIN, CONTROLLER_GRPC, PROXY_UID, TRUST_DOMAIN};
use conduit_process::tasks::Tasks;
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error as ThisError;
use tokio::net::UnixListener;

use crate::daemon::Daemon;
use crate::manifests::Manifests;
use crate::names::Names;
use crate::namespaces::{self, Entered, Mode, PodNamespaces, RunAs, in_pod};
use crate::processes::{Process, Processes, log_to};
use crate::spec::{Dir, executable};
use crate::state::{Controller, World};
use crate::tokens::{self, Tokens};
use crate::{api, network};

/// The controller's host name and service account; no workload may be called so.
pub const CONTROLLER: &str = "conduit-controller";

/// How a world is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its files are.
    pub dir: Dir,
    /// How long proxies' certificates are good for, as the controller reads it (`24h`).
    pub certificate_lifetime: String,
    /// The log filter of the supervisor and the controller (`info`).
    pub log: String,
    /// Leave the terminal, and write the log to the directory of the world.
    pub detach: bool,
    /// Take everything down when standard input ends: when whoever started it is gone, in whatever way.
    pub until_stdin_closes: bool,
}

impl Options {
    /// The usual options for a world in `dir`.
    #[must_use]
    pub fn new(dir: Dir) -> Self {
        Self {
            dir,
            certificate_lifetime: "24h".to_owned(),
            log: "info".to_owned(),
            detach: false,
            until_stdin_closes: false,
        }
    }
}

/// Why there is no world.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The kernel or its configuration does not allow it.
    #[error(transparent)]
    Namespaces(#[from] namespaces::Error),
    /// Another supervisor has this directory.
    #[error("a local world runs in {0} already; `conduit local down` ends it")]
    Running(String),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Error {
    /// What the process should exit with: 3 when namespaces are not to be had, 4 when a world runs already, 1 otherwise.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Namespaces(_) => 3,
            Self::Running(_) => RUNNING,
            Self::Other(_) => 1,
        }
    }
}

/// The exit code of a second supervisor for the same directory.
pub(crate) const RUNNING: i32 = 4;

/// Runs a world until it is told to go down; returns what the process should exit with. The caller must not have started a thread, nor a
/// runtime. It returns in two processes, the outer and the inner; both must exit then.
///
/// # Errors
/// Namespaces are not to be had, a world runs here already, or the node could not be set up.
pub fn run(options: &Options) -> Result<i32, Error> {
    let lock = prepare(options)?;
    let inside = namespaces::enter()?;
    let mode = match inside {
        Entered::Outside(code) => return Ok(code),
        Entered::Inside(mode) => mode,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let node = set_up_node(options, mode);
    let (names, node, ipv6) = node?;
    runtime.block_on(live(options, mode, names, node, ipv6))?;
    drop(lock);
    Ok(0)
}

/// Makes the directory, locks it, and leaves the terminal.
fn prepare(options: &Options) -> Result<Flock<File>, Error> {
    let dir = options.dir.path();
    let make = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(dir)
        .and_then(|()| make(&options.dir.logs()))
        .with_context(|| format!("cannot make {}", dir.display()))?;
    // What is in it is secret, and whoever can reach the socket may do everything.
    let metadata = std::fs::metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
    if owner != nix::unistd::geteuid().as_raw() {
        return Err(anyhow::anyhow!(
            "{} belongs to another user ({owner}); give another --dir",
            dir.display()
        )
        .into());
    }
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .with_context(|| format!("cannot make {} private", dir.display()))?;
    let socket = options.dir.supervisor_socket();
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(anyhow::anyhow!(
            "{} is too long for a socket's path; give a shorter --dir",
            socket.display()
        )
        .into());
    }
    let path = dir.join("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::Running(dir.display().to_string()))?;
    if options.detach {
        // It fails only where the process leads its group already, which is as good.
        let _ = nix::unistd::setsid();
    }
    Ok(lock)
}

/// The longest path of a Unix socket: `sun_path` has 108 bytes with the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

fn set_up_node(options: &Options, mode: Mode) -> Result<(Names, Arc<OwnedFd>, bool), Error> {
    // No log writer yet: it is started inside the namespaces so that its lines say what happened there.
    conduit_process::logs::init(&options.log, conduit_process::logs::Format::Text)
        .context("cannot start the log")?;
    let ipv6 = network::has_ipv6();
    if !ipv6 {
        tracing::warn!("this kernel has no IPv6: pods have IPv4 addresses only");
    }
    if mode == Mode::Rootless {
        tracing::info!("without root: pods run as you, and proxies are told apart by a mark");
    }
    let names = Names::new(options.dir.path())?;
    network::make_node(ipv6).context("cannot set up the node's network")?;
    let node = namespaces::current_network().context("cannot open the node's network")?;
    Ok((names, Arc::new(node), ipv6))
}

async fn live(options: &Options, mode: Mode, names: Names, node: Arc<OwnedFd>, ipv6: bool) -> Result<()> {
    let dir = &options.dir;
    let tasks = Tasks::new();
    let processes = Processes::default();
    tasks.spawn_until_stopped("reaper", processes.clone().reap());
    let tokens = Tokens::new(dir, (mode == Mode::Root).then_some(PROXY_UID))?;
    let manifests = Manifests::new(dir.manifests()).context("cannot make the directory of the manifests")?;
    let controller = start_controller(options, &processes, &node, ipv6, &tasks).await?;
    let next_pod = 1;
    let world = World::new(
        dir.clone(),
        mode,
        ipv6,
        node,
        processes,
        tokens,
        controller,
        names,
        next_pod,
        tasks.clone(),
    );
    let world = Arc::new(world);
    tasks.spawn_until_stopped("publisher", world.clone().publish(manifests));
    tasks.spawn_until_stopped("token refresh", refresh_tokens(world.clone()));
    tasks.spawn_until_stopped("controller's status", follow_controller(world.clone()));
    tasks.spawn_until_stopped("log sizes", crate::logs::keep_small(dir.logs()));
    if options.detach || options.until_stdin_closes {
        log_to_file(dir).context("cannot write the supervisor's log")?;
    }
    // A socket that an earlier world left behind; this one holds the lock.
    let socket = dir.supervisor_socket();
    let _ = std::fs::remove_file(&socket);
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    tasks.spawn_until_stopped("socket", api::serve(world.clone(), listener));
    tracing::info!(dir = %dir.path().display(), "the local world is there");
    let why = tokio::select! {
        signal = conduit_process::signal::terminated() => signal,
        () = stdin_closed(), if options.until_stdin_closes => "end of standard input",
        () = tasks.token().cancelled() => "request",
    };
    tracing::info!(why, "the local world goes down");
    if !tasks.token().is_cancelled() {
        api::close(&world).await;
    }
    for path in [dir.supervisor_socket(), dir.operator_socket()] {
        // The controller may have removed its own.
        let _ = std::fs::remove_file(path);
    }
    // Answers that are on their way, above all that to the request to go down.
    tasks.wait(std::time::Duration::from_millis(500)).await;
    Ok(())
}

/// From here on the log is a file. What went wrong before was said to whoever started the supervisor.
fn log_to_file(dir: &Dir) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.supervisor_log())?;
    nix::unistd::dup2_stdout(&log)?;
    Ok(nix::unistd::dup2_stderr(&log)?)
}

/// The controller runs in a network namespace of its own, as it would in a pod, so that it can be cut off.
async fn start_controller(
    options: &Options,
    processes: &Processes,
    node: &Arc<OwnedFd>,
    ipv6: bool,
    tasks: &Tasks,
) -> Result<Controller> {
    const NUMBER: u16 = 0;
    let ips = network::pod_ips(NUMBER, ipv6);
    let namespaces = network::make_pod(CONTROLLER.to_owned(), NUMBER, ips.clone(), node.clone()).await?;
    let program = executable(CONTROLLER);
    let daemon = program.exists().then(|| {
        let (options, processes, namespaces) = (options.clone(), processes.clone(), namespaces.clone());
        let start = move || controller_process(&options, &processes, &namespaces);
        Arc::new(Daemon::new(SocketAddr::new(ips[0], CONTROLLER_ADMIN), start))
    });
    match &daemon {
        Some(daemon) => {
            let keeper = daemon.clone();
            tasks.spawn("controller", async move { keeper.keep().await });
        }
        None => tracing::warn!("there is no {}: this world has no mesh", program.display()),
    }
    Ok(Controller { ips, _namespaces: namespaces, daemon })
}

fn controller_process(
    options: &Options,
    processes: &Processes,
    namespaces: &Arc<PodNamespaces>,
) -> io::Result<Process> {
    let dir = &options.dir;
    // A socket that a killed controller left behind.
    let _ = std::fs::remove_file(dir.operator_socket());
    let mut command = Command::new(executable(CONTROLLER));
    command
        .arg("run")
        .arg("--manifests")
        .arg(dir.manifests())
        .arg("--identity-dir")
        .arg(dir.identity())
        .arg("--token-keys")
        .arg(dir.token_keys())
        .arg("--grpc-addr")
        .arg(format!("0.0.0.0:{CONTROLLER_GRPC}"))
        .arg("--admin-addr")
        .arg(format!("0.0.0.0:{CONTROLLER_ADMIN}"))
        .arg("--operator-socket")
        .arg(dir.operator_socket())
        .arg("--trust-domain")
        .arg(TRUST_DOMAIN)
        .arg("--certificate-lifetime")
        .arg(&options.certificate_lifetime)
        .arg("--log")
        .arg(&options.log);
    log_to(&mut command, &dir.controller_log())?;
    in_pod(&mut command, namespaces, Path::new("/"), RunAs::Same, Vec::new())?;
    processes.start(&mut command)
}

/// Whoever waits for the controller hears of its changes; and proxies get its trust anchor when there is one.
async fn follow_controller(world: Arc<World>) {
    let Some(daemon) = world.controller.daemon.clone() else { return };
    let mut status = daemon.watch();
    loop {
        if status.borrow_and_update().ready {
            let anchor = world.dir.identity().join(tokens::ANCHOR);
            if let Err(error) = world.tokens.copy_anchor(&anchor) {
                tracing::error!("{error:#}");
            }
        }
        world.touch();
        // The anchors may be rotated meanwhile: a pod that starts then must begin with those in force.
        if let Ok(Err(_)) = tokio::time::timeout(ANCHOR_REFRESH, status.changed()).await {
            return;
        }
    }
}

/// How often the copy of the trust anchors that new pods begin with is brought up to date. A rotation hands out both anchors for
/// longer than that before the old one goes.
const ANCHOR_REFRESH: std::time::Duration = std::time::Duration::from_secs(1);

async fn refresh_tokens(world: Arc<World>) {
    loop {
        tokio::time::sleep(tokens::REFRESH).await;
        for pod in world.meshed_pods() {
            if let Err(error) = world.tokens.write(&pod.subject()) {
                tracing::error!(pod = pod.name, "{error:#}");
            }
        }
    }
}

/// Waits for the end of standard input, on a thread: it may be a pipe, a terminal or a file.
async fn stdin_closed() {
    let (done, closed) = tokio::sync::oneshot::channel::<()>();
    let read = move || {
        // Whatever it says is ignored; an error is an end.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(done);
    };
    if std::thread::Builder::new().name("stdin".to_owned()).spawn(read).is_ok() {
        let _ = closed.await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// The command that starts a supervisor in a process of its own: the `conduit` executable beside this one.
pub(crate) fn command(options: &Options) -> Command {
    let mut command = Command::new(executable("conduit"));
    command.args(["local", "supervise", "--dir"]).arg(options.dir.path());
    command.args(["--certificate-lifetime", &options.certificate_lifetime, "--log", &options.log]);
    if options.detach {
        command.arg("--detach");
    }
    if options.until_stdin_closes {
        command.arg("--until-stdin-closes").stdin(Stdio::piped());
    } else {
        command.stdin(Stdio::null());
    }
    command
}
