//! What is said about a local world: where its files are, what a workload is to be, and the requests and answers on the
//! supervisor's socket. Depends on serde only. Deliberately absent: how any of it is done (see `supervisor`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most replicas that one workload may have: a workbench on one machine; 200 proxies take some 2 GB.
pub const REPLICAS_MAX: u32 = 200;
/// The most ports that one workload may have: each is a row in several rule sets.
pub const PORTS_MAX: usize = 32;
/// The longest workload name: it is a DNS label, of 63 at most, and the pod's number is added to it.
pub const NAME_BYTES_MAX: usize = 52;

/// The environment variable that names the directory of the world.
pub const DIR_ENV: &str = "CONDUIT_LOCAL_DIR";
/// The environment variable that names the directory of Conduit's executables.
pub const BIN_DIR_ENV: &str = "CONDUIT_BIN_DIR";

/// The directory of a local world, and what lies where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir(PathBuf);

impl Dir {
    /// A world in `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The world in `given`, or else where `CONDUIT_LOCAL_DIR` says, or else in the user's runtime directory, or else
    /// in `/tmp/conduit-local-<uid>`.
    #[must_use]
    pub fn or_default(given: Option<&Path>) -> Self {
        if let Some(path) = given {
            return Self::new(path);
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set(DIR_ENV) {
            return Self(path);
        }
        if let Some(path) = set("XDG_RUNTIME_DIR").filter(|path| path.is_dir()) {
            return Self(path.join("conduit-local"));
        }
        Self(PathBuf::from(format!("/tmp/conduit-local-{}", nix::unistd::geteuid())))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the supervisor listens.
    #[must_use]
    pub fn supervisor_socket(&self) -> PathBuf {
        self.0.join("supervisor.sock")
    }

    /// Where the controller serves its operator API.
    #[must_use]
    pub fn operator_socket(&self) -> PathBuf {
        self.0.join("operator.sock")
    }

    /// The manifests that the controller reads.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.0.join("manifests")
    }

    /// The controller's trust anchor and issuer.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// What proxies read: a token for each, and the trust anchor.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.0.join("tokens")
    }

    /// The public keys (a JWKS) against which tokens are verified.
    #[must_use]
    pub fn token_keys(&self) -> PathBuf {
        self.0.join("token-keys.json")
    }

    /// All logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// What the application of `pod` wrote to its standard output and error.
    #[must_use]
    pub fn log(&self, pod: &str) -> PathBuf {
        self.logs().join(format!("{pod}.log"))
    }

    /// What the proxy of `pod` wrote.
    #[must_use]
    pub fn proxy_log(&self, pod: &str) -> PathBuf {
        self.logs().join(format!("{pod}.proxy.log"))
    }

    /// What the controller wrote.
    #[must_use]
    pub fn controller_log(&self) -> PathBuf {
        self.logs().join("controller.log")
    }

    /// What the supervisor wrote, when it runs in the background.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.logs().join("supervisor.log")
    }
}

/// Where Conduit's executable `name` is: in `CONDUIT_BIN_DIR`, or else beside the running executable (or, for a test
/// program, which Cargo puts into `deps`, one directory further up).
#[must_use]
pub fn executable(name: &str) -> PathBuf {
    if let Some(dir) = std::env::var_os(BIN_DIR_ENV) {
        return PathBuf::from(dir).join(name);
    }
    let exe = std::env::current_exe().unwrap_or_default();
    let beside = exe.parent().unwrap_or(Path::new("."));
    if beside.ends_with("deps") || beside.ends_with("examples") {
        return beside.parent().unwrap_or(beside).join(name);
    }
    beside.join(name)
}

/// A port on which a workload listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The same for the service and for the application.
    pub port: u16,
    /// What it is said to speak, as in `appProtocol`; empty: nothing is declared.
    #[serde(default)]
    pub protocol: String,
}

impl std::str::FromStr for Port {
    type Err = String;

    /// Reads `8080` or `8080:http`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (port, protocol) = text.split_once(':').unwrap_or((text, ""));
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-/.".contains(c);
        match port.parse() {
            Ok(port) if port > 0 && protocol.chars().all(word) => {
                Ok(Self { port, protocol: protocol.to_owned() })
            }
            _ => Err(format!("`{text}` is not a port; write 8080 or 8080:http (or grpc, http2, tls, tcp)")),
        }
    }
}

/// When a pod gets traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadyAfter {
    /// When something listens on each of its ports.
    #[default]
    Listening,
    /// As soon as its application runs.
    None,
}

/// What a workload is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Name of the workload and, where it has ports, of its service: a DNS label.
    pub name: String,
    /// Where it listens.
    pub ports: Vec<Port>,
    /// How many pods.
    pub replicas: u32,
    /// Without a proxy and without rules.
    pub unmeshed: bool,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The whole environment of the program.
    pub env: Vec<(String, String)>,
    /// The directory that the program starts in.
    pub cwd: PathBuf,
    /// The user that it runs as, by name or number; needs a world that root started.
    pub user: Option<String>,
    /// The service account; the workload's name where it is not given.
    pub service_account: Option<String>,
    /// Ports that are not redirected on their way in: `22,5000-5010`.
    pub skip_inbound: String,
    /// Ports that are not redirected on their way out.
    pub skip_outbound: String,
    /// Start the program again when it ends.
    pub restart: bool,
    /// When a pod gets traffic.
    pub ready_after: ReadyAfter,
    /// How long the program may take to end after SIGTERM before it is killed, in milliseconds; 0: the usual 10 s.
    pub grace_ms: u64,
    /// More environment for the proxy, for tests of its settings.
    pub proxy_env: Vec<(String, String)>,
    /// Its service has an IPv6 address alone, and its name leads there.
    pub ipv6_only: bool,
}

impl Spec {
    /// One pod that runs `command` here and with this environment, without a port.
    pub fn new<S: Into<String>>(name: &str, command: impl IntoIterator<Item = S>) -> Self {
        Self {
            name: name.to_owned(),
            replicas: 1,
            command: command.into_iter().map(Into::into).collect(),
            env: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            ..Self::default()
        }
    }

    /// Adds a port that is said to speak `protocol` (empty: nothing is declared).
    #[must_use]
    pub fn port(mut self, port: u16, protocol: &str) -> Self {
        self.ports.push(Port { port, protocol: protocol.to_owned() });
        self
    }

    /// Sets how many pods.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Without a proxy and without rules.
    #[must_use]
    pub fn unmeshed(mut self) -> Self {
        self.unmeshed = true;
        self
    }

    /// Sets an environment variable of the program.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets an environment variable of the proxy.
    #[must_use]
    pub fn proxy_env(mut self, name: &str, value: &str) -> Self {
        self.proxy_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A service that is reached over IPv6 alone.
    #[must_use]
    pub fn ipv6_only(mut self) -> Self {
        self.ipv6_only = true;
        self
    }

    /// The service account.
    #[must_use]
    pub fn account(&self) -> &str {
        self.service_account.as_deref().unwrap_or(&self.name)
    }

    /// Says what is wrong with it, if anything is.
    ///
    /// # Errors
    /// A name that is no DNS label, no command, or more replicas or ports than a local world has room for.
    pub fn check(&self) -> Result<(), String> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_label = |s: &str, max| {
            !s.is_empty()
                && s.len() <= max
                && s.chars().all(label)
                && !s.starts_with('-')
                && !s.ends_with('-')
        };
        if !is_label(&self.name, NAME_BYTES_MAX) || self.name == crate::supervisor::CONTROLLER {
            return Err(format!(
                "`{}` cannot be a workload's name: use at most {NAME_BYTES_MAX} of a-z 0-9 - (and not `{}`)",
                self.name,
                crate::supervisor::CONTROLLER
            ));
        }
        if !is_label(self.account(), 63) {
            return Err(format!(
                "`{}` cannot be a service account's name: use at most 63 of a-z 0-9 -",
                self.account()
            ));
        }
        if self.command.first().is_none_or(String::is_empty) {
            return Err("there is no command; write it after `--`".to_owned());
        }
        if self.replicas > REPLICAS_MAX {
            return Err(format!("{} replicas are too many; at most {REPLICAS_MAX}", self.replicas));
        }
        if self.ports.len() > PORTS_MAX {
            return Err(format!("{} ports are too many; at most {PORTS_MAX}", self.ports.len()));
        }
        if (1..self.ports.len()).any(|i| self.ports[..i].iter().any(|p| p.port == self.ports[i].port)) {
            return Err("a port is given twice".to_owned());
        }
        Ok(())
    }
}

/// A fault of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// A pod, all pods of a workload, or `controller`, cut off from everybody.
    Partition(String),
    /// Two of these, cut off from each other.
    Between(String, String),
    /// A share of the packets to and from it is lost.
    Loss {
        /// A pod, all pods of a workload, or `controller`.
        target: String,
        /// How many in a hundred.
        percent: u8,
    },
}

/// What to do with the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControllerAction {
    /// End it and leave it ended.
    Stop,
    /// Start it again after `Stop`.
    Start,
    /// SIGKILL; it is started again.
    Kill,
    /// SIGSTOP: it is there and does not answer.
    Freeze,
    /// SIGCONT after `Freeze`.
    Thaw,
}

/// One more command in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exec {
    /// A pod, or a workload (its first pod that runs).
    pub target: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The whole environment of the program.
    pub env: Vec<(String, String)>,
    /// The directory that the program starts in.
    pub cwd: PathBuf,
    /// The user that it runs as; the application's where it is not given.
    pub user: Option<String>,
}

/// What is asked of a supervisor: one line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Are you there? Answered when the world is ready for workloads.
    Ping,
    /// Start a workload.
    Run {
        /// What it is to be.
        spec: Box<Spec>,
        /// How long to wait until its pods are ready, in milliseconds.
        wait_ms: u64,
    },
    /// Run a command in a pod. Standard input, output and error come with the request as file descriptors.
    Exec(Exec),
    /// Send a signal to the command of this connection's `Exec`.
    Signal(i32),
    /// What is there?
    Ps,
    /// End a workload or a pod in good order; or, with a signal, just send that.
    Kill {
        /// A workload or a pod.
        target: String,
        /// A signal's number.
        signal: Option<i32>,
        /// To the proxy instead of the application.
        proxy: bool,
    },
    /// Change the number of pods.
    Scale {
        /// A workload.
        name: String,
        /// How many pods.
        replicas: u32,
        /// How long to wait until it is so, in milliseconds.
        wait_ms: u64,
    },
    /// These are the network's faults from now on, and no others.
    Faults(Vec<Fault>),
    /// Do something to the controller.
    Controller(ControllerAction),
    /// End everything.
    Down,
}

/// What a supervisor answers: one line of JSON each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is done, but for this.
    Warning(String),
    /// What is there.
    World(World),
    /// The command of an `Exec` has ended: its exit code, or 128 and the signal's number.
    Exited(i32),
    /// It could not be done: what, why, and what to do about it.
    Error(String),
}

/// What is there in a local world.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct World {
    /// Whether it was started by root, so that pods may run as several users.
    pub root: bool,
    /// Whether pods have IPv6 addresses.
    pub ipv6: bool,
    /// The controller.
    pub controller: Daemon,
    /// The address of the controller's gRPC port, as pods see it.
    pub controller_addr: String,
    /// Resident memory of the supervisor, in bytes.
    pub supervisor_rss_bytes: u64,
    /// All workloads, by name.
    pub workloads: Vec<Workload>,
}

impl World {
    /// The workload of this name.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.name == name)
    }

    /// The pod of this name.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.workloads.iter().flat_map(|workload| &workload.pods).find(|pod| pod.name == name)
    }
}

/// A process that the supervisor keeps running: the controller, or a proxy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Daemon {
    /// Its process, as the supervisor's process namespace numbers it; 0: it does not run.
    pub pid: i32,
    /// Whether its /ready has said so.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// CPU time used since its start, in seconds.
    pub cpu_seconds: f64,
}

/// A workload of a local world.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Workload {
    /// Its name, and its service's.
    pub name: String,
    /// Whether its pods have proxies.
    pub meshed: bool,
    /// Its service account.
    pub service_account: String,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Its service's addresses; none without ports.
    pub cluster_ips: Vec<IpAddr>,
    /// How many pods it is to have.
    pub replicas: u32,
    /// The command.
    pub command: Vec<String>,
    /// Its pods, the last ended ones included.
    pub pods: Vec<Pod>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its network, proxy or application is being started.
    #[default]
    Starting,
    /// Its application runs.
    Running,
    /// It gets no more connections, and is being ended.
    Terminating,
    /// Its application has ended.
    Ended,
}

impl Phase {
    /// The word that is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Terminating => "terminating",
            Self::Ended => "ended",
        }
    }
}

/// A pod of a local world.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it gets traffic.
    pub ready: bool,
    /// Its addresses: IPv4, and IPv6 where there is any.
    pub ips: Vec<IpAddr>,
    /// The application's process, as the supervisor's process namespace numbers it; 0: it does not run.
    pub pid: i32,
    /// The application's last exit code, or 128 and the number of the signal that ended it.
    pub exit: Option<i32>,
    /// How often the application was started again.
    pub restarts: u32,
    /// What went wrong with it; empty: nothing did.
    pub problem: String,
    /// Its proxy; `None`: it is unmeshed, or has ended.
    pub proxy: Option<Daemon>,
}
