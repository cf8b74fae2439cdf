//! The flags of `conduit local`: its verbs, and what they read from text that is not a plain value.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use conduit_testbed::spec::Port;

use super::OutputArg;
use crate::units::parse_duration;

/// A mesh for any program on this machine, with network namespaces as pods
///
/// No cluster, no container. `run` starts the local world when none runs. Each pod has its own network and, unless unmeshed, a proxy beside it, with the
/// same redirect rules as in Kubernetes. Nothing is left after `down`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit local run hello --port 8000:http -- python3 -m http.server 8000
  conduit local run client -- sleep infinity
  conduit local exec client -- curl -s http://hello:8000/
  conduit local ps
  conduit local logs hello --follow
  conduit local scale hello 3
  conduit local kill hello-2
  conduit local down")]
pub(crate) struct Local {
    #[command(subcommand)]
    pub verb: LocalVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LocalVerb {
    Run(Box<LocalRun>),
    Exec(LocalExec),
    Ps(LocalPs),
    Logs(LocalLogs),
    Kill(LocalKill),
    Scale(LocalScale),
    Down(LocalDown),
    #[command(hide = true)]
    Supervise(Supervise),
}

/// Run a command as a workload: one pod or several
///
/// With a port it is also the service NAME, found by that name (and NAME.default.svc.cluster.local) from every other pod.
/// The command gets this shell's environment and directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit local run web --port 8080:http --replicas 2 -- ./web --listen 0.0.0.0:8080
  conduit local run db --port 3306:tcp -- mariadbd --datadir=/tmp/db
  conduit local run old --unmeshed --port 9000 -- ./old")]
pub(crate) struct LocalRun {
    /// The workload's name, a DNS label
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A port on which it listens, and what it speaks: http, http2, grpc, tls, tcp [default: the first bytes decide]
    #[arg(long = "port", short, value_name = "PORT[:PROTOCOL]")]
    pub ports: Vec<Port>,
    /// How many pods
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub replicas: u32,
    /// Without a proxy
    #[arg(long)]
    pub unmeshed: bool,
    /// An environment variable for the command
    #[arg(long = "env", short, value_name = "NAME=VALUE", value_parser = name_value)]
    pub env: Vec<(String, String)>,
    /// The directory that the command starts in [default: this one]
    #[arg(long, value_name = "DIRECTORY")]
    pub cwd: Option<PathBuf>,
    /// The user that it runs as; needs a world that root started
    #[arg(long, short, value_name = "USER")]
    pub user: Option<String>,
    /// The service account, which gives the identity [default: NAME]
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// Ports that are not redirected on their way in: 22,5000-5010
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    pub skip_inbound_ports: String,
    /// Ports that are not redirected on their way out
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    pub skip_outbound_ports: String,
    /// Start the command again when it ends
    #[arg(long)]
    pub restart: bool,
    /// When a pod gets traffic: listening (something listens on its ports) or none (at once)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub ready_after: ReadyAfterArg,
    /// How long the command may take to end after SIGTERM
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub grace: Duration,
    /// How long to wait until its pods are ready; 0s: not at all
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub wait: Duration,
    /// If the local world is started: how long certificates are good for
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub certificate_lifetime: String,
    /// If the local world is started: how much the controller logs
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// The command, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Run one more command in a pod
///
/// It has this terminal, environment and directory; its exit code becomes this command's.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit local exec web -- curl -s http://catalog:9001/
  conduit local exec web-2 -- bash")]
pub(crate) struct LocalExec {
    /// A pod, or a workload: its first pod that runs
    #[arg(value_name = "NAME")]
    pub target: String,
    /// An environment variable for the command
    #[arg(long = "env", short, value_name = "NAME=VALUE", value_parser = name_value)]
    pub env: Vec<(String, String)>,
    /// The directory that it starts in [default: this one]
    #[arg(long, value_name = "DIRECTORY")]
    pub cwd: Option<PathBuf>,
    /// The user that it runs as [default: the workload's]
    #[arg(long, short, value_name = "USER")]
    pub user: Option<String>,
    /// The command, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// List the pods of the local world
#[derive(Debug, Args)]
pub(crate) struct LocalPs {
    #[command(flatten)]
    pub output: OutputArg,
}

/// Print what pods wrote
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit local logs web                    of every pod of web
  conduit local logs web-1 --proxy -f       of the proxy beside web-1, as it comes
  conduit local logs controller             of the controller (or: supervisor)")]
pub(crate) struct LocalLogs {
    /// A workload, a pod, controller or supervisor
    #[arg(value_name = "NAME")]
    pub target: String,
    /// Go on until interrupted
    #[arg(long, short)]
    pub follow: bool,
    /// What the proxy wrote, not the application
    #[arg(long)]
    pub proxy: bool,
    /// Only so many of the last lines [default: all]
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
}

/// End a workload or a pod in good order, or send it a signal
///
/// Without --signal the pod leaves its services, then gets SIGTERM, and SIGKILL after its grace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit local kill web                    the workload with all its pods
  conduit local kill web-1 --signal KILL    the application of one pod, at once
  conduit local kill web-1 --proxy          SIGTERM to the proxy")]
pub(crate) struct LocalKill {
    /// A workload or a pod
    #[arg(value_name = "NAME")]
    pub target: String,
    /// Only send this signal: TERM, KILL, HUP, STOP, … or its number
    #[arg(long, short, value_name = "SIGNAL", value_parser = signal_number)]
    pub signal: Option<i32>,
    /// To the proxy, not the application
    #[arg(long)]
    pub proxy: bool,
}

/// Change how many pods a workload has
#[derive(Debug, Args)]
pub(crate) struct LocalScale {
    /// The workload
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How many pods
    #[arg(value_name = "N")]
    pub replicas: u32,
    /// How long to wait until it is so; 0s: not at all
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub wait: Duration,
}

/// End the local world: nothing of it is left
#[derive(Debug, Args)]
pub(crate) struct LocalDown {}

/// The supervisor of a local world, in the foreground.
#[derive(Debug, Args)]
pub(crate) struct Supervise {
    #[arg(long, default_value = "24h")]
    pub certificate_lifetime: String,
    #[arg(long, default_value = "info")]
    pub log: String,
    #[arg(long)]
    pub detach: bool,
    #[arg(long)]
    pub until_stdin_closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ReadyAfterArg {
    #[default]
    Listening,
    None,
}

fn name_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// Signals by name: the numbers are Linux's own, the same on every architecture that Conduit runs on.
const SIGNALS: [(&str, i32); 10] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
];

/// The highest number of a signal.
const SIGNAL_MAX: i32 = 64;

pub(super) fn signal_number(text: &str) -> Result<i32, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let known = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = known.or_else(|| text.parse().ok().filter(|number| (1..=SIGNAL_MAX).contains(number)));
    number.ok_or_else(|| {
        let names = SIGNALS.map(|(name, _)| name).join(", ");
        format!("`{text}` is not a signal: write {names} or a number from 1 to {SIGNAL_MAX}")
    })
}
