//! What the command line and tests ask of a supervisor: one blocking function for each request. Depends on `spec` and `wire`. Deliberately
//! absent: async (a request is one round trip) and output for people.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{getsockopt, sockopt};
use thiserror::Error;

use crate::spec::{Answer, ControllerAction, Dir, Exec, Fault, Request, Spec, World};
use crate::supervisor::{self, Options};
use crate::wire;

/// How long a supervisor may take until its socket is there. Then its controller is waited for.
const START_MAX: Duration = Duration::from_secs(15);
/// How often it is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a supervisor may take to be gone after it has said so.
const GONE_MAX: Duration = Duration::from_secs(15);

/// Why a request was not fulfilled.
#[derive(Debug, Error)]
pub enum Error {
    /// No supervisor answers in this directory.
    #[error("no local world runs in {dir}; `conduit local run NAME -- COMMAND…` starts one ({source})")]
    NotRunning {
        /// The directory.
        dir: PathBuf,
        /// Why its socket cannot be connected to.
        source: io::Error,
    },
    /// A supervisor could not be started.
    #[error("the local world cannot be started: {reason}")]
    NotStarted {
        /// What the supervisor said last.
        reason: String,
        /// What it exited with: 3 when namespaces are not to be had.
        exit_code: Option<i32>,
    },
    /// The supervisor refused, and says why.
    #[error("{0}")]
    Refused(String),
    /// The connection failed on the way.
    #[error("the local world's supervisor does not answer any more: {0}")]
    Lost(#[from] io::Error),
}

/// A client of the supervisor of one world.
#[derive(Debug, Clone)]
pub struct Client {
    dir: Dir,
}

/// What a request that may come with a warning returns: the warning, for people.
pub type Warned = Option<String>;

impl Client {
    /// A client for the world in `dir`, which need not run yet.
    #[must_use]
    pub fn new(dir: Dir) -> Self {
        Self { dir }
    }

    /// The directory of the world.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Whether a supervisor answers.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.connect().is_ok()
    }

    /// The supervisor's process, as the caller's process namespace numbers it. With it everything in the world ends.
    ///
    /// # Errors
    /// When no supervisor answers.
    pub fn supervisor_pid(&self) -> Result<i32, Error> {
        Ok(getsockopt(&self.connect()?, sockopt::PeerCredentials).map_err(io::Error::from)?.pid())
    }

    /// Starts a supervisor in the background when none runs, and waits until the world is ready for workloads.
    ///
    /// # Errors
    /// When it cannot be started; with its own reason.
    pub fn ensure(&self, options: &Options) -> Result<Warned, Error> {
        if self.is_running() {
            return self.ping();
        }
        let options = Options { detach: true, until_stdin_closes: false, ..options.clone() };
        start(&options)?;
        self.ping()
    }

    /// Waits until the world is ready for workloads.
    ///
    /// # Errors
    /// When it does not become so.
    pub fn ping(&self) -> Result<Warned, Error> {
        self.warned(&Request::Ping)
    }

    /// Starts a workload and waits, at most `wait`, until its pods are ready.
    ///
    /// # Errors
    /// When it is refused, or a pod has failed meanwhile.
    pub fn run(&self, spec: Spec, wait: Duration) -> Result<Warned, Error> {
        self.warned(&Request::Run { spec: Box::new(spec), wait_ms: millis(wait) })
    }

    /// Changes how many pods a workload has and waits, at most `wait`, until it is so.
    ///
    /// # Errors
    /// When it is refused, or a pod has failed meanwhile.
    pub fn scale(&self, name: &str, replicas: u32, wait: Duration) -> Result<Warned, Error> {
        self.warned(&Request::Scale { name: name.to_owned(), replicas, wait_ms: millis(wait) })
    }

    /// What is there.
    ///
    /// # Errors
    /// When no supervisor answers.
    pub fn ps(&self) -> Result<World, Error> {
        match self.ask(&Request::Ps)? {
            Answer::World(world) => Ok(world),
            other => Err(unexpected(other)),
        }
    }

    /// Ends a workload or a pod in good order: out of the endpoints, SIGTERM, SIGKILL after its grace. Returns when it has ended.
    ///
    /// # Errors
    /// When there is no such workload or pod.
    pub fn kill(&self, target: &str) -> Result<(), Error> {
        self.done(&Request::Kill { target: target.to_owned(), signal: None, proxy: false })
    }

    /// Just sends a signal to the applications, or to the proxies, of a workload or a pod.
    ///
    /// # Errors
    /// When there is no such workload or pod, or nothing of it runs.
    pub fn signal(&self, target: &str, signal: i32, proxy: bool) -> Result<(), Error> {
        self.done(&Request::Kill { target: target.to_owned(), signal: Some(signal), proxy })
    }

    /// Makes these the network's faults, in place of all earlier ones.
    ///
    /// # Errors
    /// When one names what is not there.
    pub fn faults(&self, faults: &[Fault]) -> Result<(), Error> {
        self.done(&Request::Faults(faults.to_vec()))
    }

    /// Does something to the controller.
    ///
    /// # Errors
    /// When it does not run.
    pub fn controller(&self, action: ControllerAction) -> Result<(), Error> {
        self.done(&Request::Controller(action))
    }

    /// Ends everything; returns when nothing is left.
    ///
    /// # Errors
    /// When no supervisor answers, or it is still there after a while.
    pub fn down(&self) -> Result<(), Error> {
        let pid = self.supervisor_pid()?;
        match self.done(&Request::Down) {
            // It may be gone before its answer is read.
            Ok(()) | Err(Error::Lost(_)) => {}
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + GONE_MAX;
        while Path::new(&format!("/proc/{pid}")).exists() {
            if Instant::now() > deadline {
                return Err(Error::Refused(format!(
                    "the supervisor (process {pid}) is still there; kill -9 {pid} ends it"
                )));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Begins a command in a pod, with these standard streams.
    ///
    /// # Errors
    /// When no supervisor answers.
    pub fn exec(&self, exec: &Exec, streams: [BorrowedFd<'_>; 3]) -> Result<Running, Error> {
        let mut stream = self.connect()?;
        let fds = streams.map(|fd| fd.as_raw_fd());
        wire::send_with(&mut stream, &wire::line(&Request::Exec(exec.clone()))?, &fds)?;
        Ok(Running { stream: Arc::new(stream) })
    }

    fn connect(&self) -> Result<UnixStream, Error> {
        let connected = UnixStream::connect(self.dir.supervisor_socket());
        connected.map_err(|source| Error::NotRunning { dir: self.dir.path().to_owned(), source })
    }

    fn ask(&self, request: &Request) -> Result<Answer, Error> {
        use std::io::Write;
        let mut stream = self.connect()?;
        stream.write_all(&wire::line(request)?)?;
        read_answer(&stream)
    }

    fn done(&self, request: &Request) -> Result<(), Error> {
        self.warned(request).map(drop)
    }

    fn warned(&self, request: &Request) -> Result<Warned, Error> {
        match self.ask(request)? {
            Answer::Done => Ok(None),
            Answer::Warning(text) => Ok(Some(text)),
            other => Err(unexpected(other)),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unexpected(answer: Answer) -> Error {
    match answer {
        Answer::Error(text) => Error::Refused(text),
        other => Error::Refused(format!("the supervisor gave an answer to another question: {other:?}")),
    }
}

fn read_answer(stream: &UnixStream) -> Result<Answer, Error> {
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line)? == 0 {
        return Err(Error::Lost(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(serde_json::from_str(&line).map_err(io::Error::from)?)
}

/// A command that runs in a pod. It is ended when the last clone of this is dropped.
#[derive(Debug, Clone)]
pub struct Running {
    stream: Arc<UnixStream>,
}

impl Running {
    /// Sends a signal to the command and what it has started.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        use std::io::Write;
        Ok((&*self.stream).write_all(&wire::line(&Request::Signal(signal))?)?)
    }

    /// Waits until it has ended: its exit code, or 128 and the number of the signal that ended it.
    ///
    /// # Errors
    /// When it could not be started, or the supervisor is gone.
    pub fn wait(&self) -> Result<i32, Error> {
        match read_answer(&self.stream)? {
            Answer::Exited(code) => Ok(code),
            other => Err(unexpected(other)),
        }
    }
}

/// Starts a supervisor in a process of its own and waits until its socket is there. Unless it is detached, the caller keeps the child and,
/// with `until_stdin_closes`, its standard input: the world goes down when the caller is gone, in whatever way.
///
/// # Errors
/// When it has ended instead; with the reason that it gave.
pub fn start(options: &Options) -> Result<Child, Error> {
    start_by(supervisor::command(options), &options.dir)
}

/// The same, by a command that was changed.
pub(crate) fn start_by(mut command: Command, dir: &Dir) -> Result<Child, Error> {
    let not_started = |reason, exit_code| Error::NotStarted { reason, exit_code };
    let (output, mut said) = scratch().map_err(|e| not_started(format!("cannot open a file: {e}"), None))?;
    command.stdout(output.try_clone()?).stderr(output);
    let program = command.get_program().to_owned();
    let spawned = command.spawn();
    let mut child =
        spawned.map_err(|e| not_started(format!("cannot run {}: {e}", program.display()), None))?;
    let client = Client::new(dir.clone());
    let deadline = Instant::now() + START_MAX;
    while !client.is_running() {
        if let Some(status) = child.try_wait()? {
            // Another caller was quicker: theirs will be there in a moment.
            if status.code() != Some(supervisor::RUNNING) {
                let mut reason = String::new();
                said.read_to_string(&mut reason)?;
                return Err(not_started(reason.trim().to_owned(), status.code()));
            }
        }
        if Instant::now() > deadline {
            let log = dir.supervisor_log();
            return Err(not_started(
                format!("it is not there after {START_MAX:?}; see {}", log.display()),
                None,
            ));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(child)
}

/// A file in memory, twice: to write and to read.
fn scratch() -> io::Result<(File, File)> {
    let written = File::from(memfd_create("scratch", MFdFlags::MFD_CLOEXEC)?);
    let read = File::open(format!("/proc/self/fd/{}", written.as_raw_fd()))?;
    Ok((written, read))
}
