//! A local world of a test: made in a directory of its own, and gone with the value. It says what a test does in few words, and fails the test
//! where something does not go as told. Depends on `client` and the operator API. Deliberately absent: what the tests are about.

#![expect(clippy::panic, reason = "a test fails by a panic at its own line")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use conduit_api::operator::v1::operator_client::OperatorClient;
use conduit_api::operator::v1::{
    Edge, EdgesRequest, Golden, ProxiesRequest, Proxy, Resource, StatRequest, StatRow,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tonic::transport::{Channel, Endpoint};

use crate::client::{self, Client, Error, Running};
use crate::manifests::NAMESPACE;
use crate::spec::{self, BIN_DIR_ENV, Dir, Exec, Fault, Spec};
use crate::supervisor::{self, Options};

/// How long a workload may take to be ready: many tests run at a time on few processors.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long the controller may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A user without privilege, for worlds without root.
const NOBODY: u32 = 65534;

/// A local world that ends with this value.
#[derive(Debug)]
pub struct World {
    client: Client,
    root: PathBuf,
    supervisor: Child,
}

/// What a command in a pod did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code, or 128 and the number of the signal that ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output without the line's end, of a command that has to succeed.
    ///
    /// # Panics
    /// When it did not succeed.
    #[track_caller]
    #[must_use]
    pub fn text(&self) -> &str {
        assert!(self.code == 0, "the command failed with {}: {}{}", self.code, self.stdout, self.stderr);
        self.stdout.trim_end()
    }
}

/// A command that runs in a pod beside the test. It ends with this value.
#[derive(Debug)]
pub struct Background {
    running: Running,
    stdout: File,
    stderr: File,
}

impl Background {
    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        contents(&self.stdout)
    }

    /// Sends a signal to it and what it has started.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        done(self.running.signal(signal));
    }

    /// Waits until it has ended.
    #[track_caller]
    #[must_use]
    pub fn wait(self) -> Output {
        let code = done(self.running.wait());
        Output { code, stdout: contents(&self.stdout), stderr: contents(&self.stderr) }
    }
}

fn contents(file: &File) -> String {
    let mut bytes = Vec::new();
    // The command and this share the file's offset, unless it is opened anew.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    if let Ok(mut again) = File::open(path) {
        let _ = again.seek(SeekFrom::Start(0)).and_then(|_| again.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A file in memory.
#[track_caller]
fn scratch() -> File {
    File::from(must::<OwnedFd, _>("make a file", memfd_create("output", MFdFlags::MFD_CLOEXEC)))
}

#[track_caller]
fn done<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn must<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("cannot {what}: {error}"),
    }
}

impl World {
    /// Starts a world as the user who runs the test.
    ///
    /// # Panics
    /// When there is no privilege for it or no executable; with what to do about it.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts a world with other options than the usual.
    ///
    /// # Panics
    /// As [`World::start`].
    #[track_caller]
    #[must_use]
    pub fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let root = new_root();
        Self::start_in(root, change, |_| {})
    }

    /// Starts a world as a user without privilege, also when the test runs as root.
    ///
    /// # Panics
    /// As [`World::start`].
    #[track_caller]
    #[must_use]
    pub fn start_rootless() -> Self {
        let root = new_root();
        if !nix::unistd::geteuid().is_root() {
            return Self::start_in(root, |_| {}, |_| {});
        }
        // The checkout may be where only root may look.
        let bin = root.join("bin");
        must("make a directory", std::fs::create_dir(&bin));
        for name in ["conduit", "conduit-proxy", supervisor::CONTROLLER] {
            let from = spec::executable(name);
            must(&format!("copy {}", from.display()), std::fs::copy(&from, bin.join(name)));
        }
        must("give a directory away", std::os::unix::fs::chown(&root, Some(NOBODY), Some(NOBODY)));
        Self::start_in(
            root,
            |_| {},
            |command| {
                command.env(BIN_DIR_ENV, &bin).uid(NOBODY).gid(NOBODY);
            },
        )
    }

    #[track_caller]
    fn start_in(
        root: PathBuf,
        change: impl FnOnce(&mut Options),
        change_command: impl FnOnce(&mut std::process::Command),
    ) -> Self {
        for name in ["conduit", "conduit-proxy", supervisor::CONTROLLER] {
            let path = spec::executable(name);
            assert!(path.exists(), "{} is not there; `cargo build` builds it", path.display());
        }
        let mut options = Options::new(Dir::new(root.join("world")));
        options.until_stdin_closes = true;
        change(&mut options);
        let mut command = supervisor::command(&options);
        command.current_dir(&root);
        change_command(&mut command);
        let supervisor = done(client::start_by(command, &options.dir));
        let world = Self { client: Client::new(options.dir), root, supervisor };
        if let Some(warning) = done(world.client.ping()) {
            panic!("{warning}");
        }
        world
    }

    /// The client of its supervisor, for what is not said shorter here.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The process around the supervisor, which made its namespaces.
    ///
    /// # Panics
    /// Never: process numbers are below 2^22.
    #[must_use]
    pub fn outer_pid(&self) -> i32 {
        must("number a process", i32::try_from(self.supervisor.id()))
    }

    /// Lets go of the supervisor's standard input, as the end of this process would.
    pub fn abandon(&mut self) {
        self.supervisor.stdin = None;
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        self.client.dir()
    }

    /// A directory for the test's own files, that applications may read.
    #[must_use]
    pub fn files(&self) -> &Path {
        &self.root
    }

    /// Starts a workload and waits until all its pods are ready.
    ///
    /// # Panics
    /// When they do not become so.
    #[track_caller]
    pub fn run(&self, spec: Spec) {
        let name = spec.name.clone();
        if let Some(warning) = done(self.client.run(spec, READY_MAX)) {
            panic!("{name}: {warning}\n{}", self.logs_of(&name));
        }
    }

    /// Changes how many pods a workload has, and waits until it is so.
    ///
    /// # Panics
    /// When it does not become so.
    #[track_caller]
    pub fn scale(&self, name: &str, replicas: u32) {
        if let Some(warning) = done(self.client.scale(name, replicas, READY_MAX)) {
            panic!("{name}: {warning}\n{}", self.logs_of(name));
        }
    }

    /// Runs a command in a pod, or in the first of a workload, until it ends.
    ///
    /// # Panics
    /// When it cannot be started. That it fails is for the test to judge.
    #[track_caller]
    #[must_use]
    pub fn exec<S: AsRef<str>>(&self, target: &str, command: &[S]) -> Output {
        self.begin(target, command).wait()
    }

    /// Runs a shell script in a pod.
    ///
    /// # Panics
    /// As [`World::exec`].
    #[track_caller]
    #[must_use]
    pub fn sh(&self, target: &str, script: &str) -> Output {
        self.exec(target, &["sh", "-c", script])
    }

    /// Begins a command in a pod.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn begin<S: AsRef<str>>(&self, target: &str, command: &[S]) -> Background {
        let spec = Spec::new("", command.iter().map(AsRef::as_ref));
        let exec = Exec {
            target: target.to_owned(),
            command: spec.command,
            env: spec.env,
            cwd: self.root.clone(),
            user: None,
        };
        let input = must("open /dev/null", File::open("/dev/null"));
        let (stdout, stderr) = (scratch(), scratch());
        let running = done(self.client.exec(&exec, [input.as_fd(), stdout.as_fd(), stderr.as_fd()]));
        Background { running, stdout, stderr }
    }

    /// What is there.
    ///
    /// # Panics
    /// When the supervisor is gone.
    #[track_caller]
    #[must_use]
    pub fn ps(&self) -> spec::World {
        done(self.client.ps())
    }

    /// A pod, as it is now.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    #[must_use]
    pub fn pod(&self, name: &str) -> spec::Pod {
        must("find the pod", self.ps().pod(name).cloned().ok_or(name))
    }

    /// Ends a workload or a pod in good order.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn kill(&self, target: &str) {
        done(self.client.kill(target));
    }

    /// Sends SIGKILL to the applications of a workload or a pod.
    ///
    /// # Panics
    /// When none runs.
    #[track_caller]
    pub fn crash(&self, target: &str) {
        done(self.client.signal(target, libc::SIGKILL, false));
    }

    /// Sends SIGKILL to the proxies of a workload or a pod; they are started again.
    ///
    /// # Panics
    /// When none runs.
    #[track_caller]
    pub fn crash_proxy(&self, target: &str) {
        done(self.client.signal(target, libc::SIGKILL, true));
    }

    /// Makes these the network's faults, in place of all earlier ones.
    ///
    /// # Panics
    /// When one names what is not there.
    #[track_caller]
    pub fn faults(&self, faults: &[Fault]) {
        done(self.client.faults(faults));
    }

    /// Does something to the controller.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn controller(&self, action: spec::ControllerAction) {
        done(self.client.controller(action));
    }

    /// What the application of a pod wrote.
    #[must_use]
    pub fn log(&self, pod: &str) -> String {
        std::fs::read_to_string(self.dir().log(pod)).unwrap_or_default()
    }

    /// What the proxy of a pod wrote.
    #[must_use]
    pub fn proxy_log(&self, pod: &str) -> String {
        std::fs::read_to_string(self.dir().proxy_log(pod)).unwrap_or_default()
    }

    fn logs_of(&self, name: &str) -> String {
        let world = self.client.ps().unwrap_or_default();
        let pods = world.workload(name).map(|workload| workload.pods.clone()).unwrap_or_default();
        let logs = |pod: &spec::Pod| format!("{}{}", self.log(&pod.name), self.proxy_log(&pod.name));
        pods.iter().map(logs).collect()
    }

    /// The golden metrics of a workload over the last 10, 60 or 600 seconds; `None`: there are none yet.
    ///
    /// # Panics
    /// When the controller does not answer.
    #[track_caller]
    #[must_use]
    pub fn stat(&self, workload: &str, window_s: u32) -> Option<StatRow> {
        let resource = Some(resource("", workload));
        let rows = self.operator(async |mut operator| {
            operator.stat(StatRequest { resource, window_s, to: None, from: None }).await
        });
        rows.rows.into_iter().next()
    }

    /// The same, without what is around them; all zero where there are none.
    ///
    /// # Panics
    /// As [`World::stat`].
    #[track_caller]
    #[must_use]
    pub fn golden(&self, workload: &str) -> Golden {
        self.stat(workload, 60).and_then(|row| row.golden).unwrap_or_default()
    }

    /// The edges of the last minute.
    ///
    /// # Panics
    /// When the controller does not answer.
    #[track_caller]
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        self.operator(async |mut operator| {
            operator.edges(EdgesRequest { resource: None, window_s: 60 }).await
        })
        .edges
    }

    /// The proxies that the controller knows.
    ///
    /// # Panics
    /// When the controller does not answer.
    #[track_caller]
    #[must_use]
    pub fn proxies(&self) -> Vec<Proxy> {
        self.operator(async |mut operator| operator.proxies(ProxiesRequest { resource: None }).await).proxies
    }

    /// Asks the controller's operator API.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn operator<T, F>(&self, ask: impl FnOnce(OperatorClient<Channel>) -> F) -> T
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let socket = self.dir().operator_socket();
        let runtime =
            must("start a runtime", tokio::runtime::Builder::new_current_thread().enable_all().build());
        let answer = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()));
            let channel = must("use the operator's socket", endpoint).timeout(ANSWER_MAX).connect_lazy();
            ask(OperatorClient::new(channel)).await
        });
        must("ask the controller", answer).into_inner()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The hard way: that nothing is left then is one of the world's promises.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        if std::thread::panicking() {
            eprintln!("the logs of this world are in {}", self.dir().logs().display());
        } else {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

fn resource(kind: &str, name: &str) -> Resource {
    Resource { namespace: NAMESPACE.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

/// A directory for a world, that all users may pass through.
#[track_caller]
fn new_root() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("conduit-world-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let root = std::env::temp_dir().join(name);
    // Left by an earlier process of this number.
    let _ = std::fs::remove_dir_all(&root);
    must("make a directory", std::fs::create_dir(&root));
    root
}
