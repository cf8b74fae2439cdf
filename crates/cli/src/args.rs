//! The flags as they are typed: every verb, option and default, with the help that `--help` prints. It reads nothing else and
//! decides nothing; each verb's file takes its struct from here.

mod kubernetes;
mod local;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::connect::Target;
use crate::output::{Colour, Format};
use crate::units::parse_duration;

pub(crate) use kubernetes::{Inject, Install, Uninject, Uninstall};
pub(crate) use local::{
    Local, LocalExec, LocalKill, LocalLogs, LocalPs, LocalRun, LocalScale, LocalVerb, ReadyAfterArg,
    Supervise,
};

const AFTER: &str = "\
Which mesh:
  --kubeconfig or --context    that cluster, with the rights of its user
  --controller                 that controller
  otherwise                    the local world, where one runs (--local-dir: that one), else the kubeconfig's current cluster

Exit codes:
  0  all is well
  1  the check or the command found a problem
  2  the command line could not be understood
  3  the mesh cannot be reached

Try it:
  conduit demo                    a mesh of namespaces on this machine, with traffic to look at
  conduit stat                    success rate, requests per second and latency of every workload
  conduit edges                   who speaks to whom, and whether mutual TLS secures it
  conduit tap deploy/web          requests as they happen
  conduit check                   what is wrong, if anything";

/// Conduit, an ultralight service mesh: see and check the traffic between workloads.
#[derive(Debug, Parser)]
#[command(name = "conduit", version, after_help = AFTER, max_term_width = 120, disable_help_subcommand = true)]
pub(crate) struct Conduit {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub verb: Verb,
}

/// The heading of the options that every verb has.
const GLOBAL: &str = "Global options";

/// Where the mesh is, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// A kubeconfig file: the mesh is its cluster's [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context: the mesh is its cluster's [default: the current one, where no local world runs]
    #[arg(long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    pub context: Option<String>,
    /// The controller: unix:/path/to/operator.sock or http://host:port [default: the local world's]
    #[arg(long, global = true, env = "CONDUIT_CONTROLLER", value_name = "ADDRESS", hide_env_values = true,
        help_heading = GLOBAL)]
    pub controller: Option<Target>,
    /// The local world's directory [default: conduit-local in $XDG_RUNTIME_DIR, else /tmp/conduit-local-UID]
    #[arg(long, visible_alias = "dir", global = true, env = "CONDUIT_LOCAL_DIR", value_name = "DIR",
        hide_env_values = true, help_heading = GLOBAL)]
    pub local_dir: Option<PathBuf>,
    /// When to use colour; NO_COLOR is obeyed
    #[arg(long, alias = "colour", global = true, value_enum, default_value_t, value_name = "auto|always|never",
        hide_possible_values = true, help_heading = GLOBAL)]
    pub color: Colour,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Stat(Stat),
    Edges(Edges),
    Top(Top),
    Tap(Box<Tap>),
    Check(Check),
    Identity(Identity),
    Install(Install),
    #[command(about = kubernetes::UPGRADE, long_about = kubernetes::UPGRADE_LONG, after_help = kubernetes::UPGRADE_EXAMPLES)]
    Upgrade(Install),
    Uninstall(Uninstall),
    Inject(Inject),
    Uninject(Uninject),
    Version(Version),
    Diagnostics(Diagnostics),
    Local(Local),
    Demo(Demo),
    #[command(hide = true)]
    DemoApp(DemoApp),
    Completion(Completion),
}

/// Success rate, requests per second and latency of workloads, services or pods
///
/// Counts what arrives at each resource, as its proxies saw it. NAME can be typed back into any other command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit stat                              every workload, over the last minute
  conduit stat deploy/web                   one deployment
  conduit stat svc -n shop                  the services of namespace shop
  conduit stat po --window 10s -o wide      pods, over the last ten seconds, all columns
  conduit stat web --from deploy/front      only what front sends to web
  conduit stat --watch                      refreshed every two seconds
  conduit stat -o json | jq '.rows[] | select(.success_rate < 0.99) | .name'")]
pub(crate) struct Stat {
    /// KIND (deploy, sts, ds, job, svc, po), NAME, KIND/NAME or NAMESPACE/KIND/NAME [default: every workload]
    #[arg(value_name = "RESOURCE", num_args = 0..=3)]
    pub resource: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub window: WindowArg,
    /// Only traffic to this resource
    #[arg(long, value_name = "RESOURCE")]
    pub to: Option<String>,
    /// Only traffic from this resource
    #[arg(long, value_name = "RESOURCE")]
    pub from: Option<String>,
    /// Print again and again, every INTERVAL, until interrupted
    #[arg(long, short, value_name = "INTERVAL", num_args = 0..=1, require_equals = true,
        default_missing_value = "2s", value_parser = parse_duration)]
    pub watch: Option<Duration>,
    #[command(flatten)]
    pub output: OutputArg,
}

/// Who speaks to whom: protocol, mutual TLS, success rate and latency
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit edges                             every edge, over the last minute
  conduit edges deploy/web                  what goes into web and out of it
  conduit edges -o wide                     with TLS version, key exchange and both identities
  conduit edges -o json | jq '.edges[] | select(.secured | not)'")]
pub(crate) struct Edges {
    /// Only edges that begin or end here [default: all]
    #[arg(value_name = "RESOURCE", num_args = 0..=3)]
    pub resource: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub window: WindowArg,
    #[command(flatten)]
    pub output: OutputArg,
}

/// A live table: workloads, or with a RESOURCE its requests by path
///
/// Arrow keys choose a workload, Enter shows its requests by path, Esc goes back, q quits. Where stdout is no terminal, it prints once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit top                               every workload, live
  conduit top deploy/web                    the requests that web sends and receives, by path
  conduit top deploy/web --to svc/catalog   only those that web sends to catalog
  conduit top deploy/web --for 5s -o json   collect for five seconds, print once")]
pub(crate) struct Top {
    /// Watch the requests of this resource [default: a table of workloads]
    #[arg(value_name = "RESOURCE", num_args = 0..=3)]
    pub resource: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    /// Only requests to this resource
    #[arg(long, value_name = "RESOURCE", requires = "resource")]
    pub to: Option<String>,
    /// Only requests from this resource
    #[arg(long, value_name = "RESOURCE", requires = "resource")]
    pub from: Option<String>,
    /// Collect for this long, print once and end
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub output: OutputArg,
}

/// Requests and connections as they happen, seen by the proxies of a resource
///
/// Prints a line for each request (req), response (rsp) and end. What a filter does not name matches anything; all filters must match.
/// A proxy does no work for tap while nobody taps, and a slow reader loses events (counted on stderr), never slows a request.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit tap deploy/web                                what web sends and receives
  conduit tap deploy/web --direction inbound            only what it receives
  conduit tap svc/catalog --method POST --path /orders  by method and beginning of the path
  conduit tap web --to svc/voting --response-class failure
  conduit tap web --min-latency 100ms -o wide           slow requests, with both identities
  conduit tap ns/shop --max-rps 5 --for 30s -o json     a sample of a namespace, a JSON document per line")]
pub(crate) struct Tap {
    /// KIND/NAME, NAME (a workload), ns/NAME or NAMESPACE/KIND/NAME
    #[arg(value_name = "RESOURCE", num_args = 1..=3, required = true)]
    pub resource: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    /// At most so many requests per second from each proxy [default: the proxy's own limit]
    #[arg(long, value_name = "RPS", default_value_t = 0.0, hide_default_value = true)]
    pub max_rps: f64,
    /// Show this share of the requests, above 0 up to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub sample_rate: f64,
    /// End after this long [default: when interrupted]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub output: OutputArg,
    #[command(flatten)]
    pub filter: TapFilter,
}

/// What a request must be like to be shown.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct TapFilter {
    /// Only requests to this resource
    #[arg(long, value_name = "RESOURCE")]
    pub to: Option<String>,
    /// Only requests from this resource
    #[arg(long, value_name = "RESOURCE")]
    pub from: Option<String>,
    /// inbound (what arrives at the resource) or outbound (what it sends)
    #[arg(long, value_enum, value_name = "DIRECTION", hide_possible_values = true)]
    pub direction: Option<DirectionArg>,
    /// The destination's port
    #[arg(long, visible_alias = "to-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// http or https
    #[arg(long, value_enum, value_name = "SCHEME", hide_possible_values = true)]
    pub scheme: Option<SchemeArg>,
    /// GET, POST, …
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// The request's host, as the client wrote it
    #[arg(long, value_name = "HOST")]
    pub authority: Option<String>,
    /// The beginning of the path
    #[arg(long, value_name = "PREFIX")]
    pub path: Option<String>,
    /// The source's address, or a network: 10.77.0.0/16
    #[arg(long, value_name = "IP[/LEN]")]
    pub source: Option<String>,
    /// The destination's address, or a network
    #[arg(long, value_name = "IP[/LEN]")]
    pub destination: Option<String>,
    /// The source's identity, a SPIFFE ID
    #[arg(long, value_name = "SPIFFE-ID")]
    pub source_identity: Option<String>,
    /// The destination's identity, a SPIFFE ID
    #[arg(long, value_name = "SPIFFE-ID")]
    pub destination_identity: Option<String>,
    /// success, failure (5xx, failing gRPC status, broken off), 1xx, 2xx, 3xx, 4xx or 5xx
    #[arg(long, value_enum, value_name = "CLASS", hide_possible_values = true)]
    pub response_class: Option<ClassArg>,
    /// Only what takes at least so long: 10ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub min_latency: Option<Duration>,
    /// http1, http2, grpc, tls or tcp
    #[arg(long, value_enum, value_name = "PROTOCOL", hide_possible_values = true)]
    pub protocol: Option<ProtocolArg>,
}

/// Looks for what is wrong with the mesh, and says what to do
///
/// Exits with 0 when all is well, 1 when a check failed, 3 when the API server or the controller cannot be reached. Warnings do not
/// change the exit code. Nothing is changed: what is tried is tried without being made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit check --pre                       what a cluster lacks before Conduit is installed
  conduit check                             everything the API server and the controller know
  conduit check --proxy                     also asks each proxy itself
  conduit check -o json                     for programs")]
pub(crate) struct Check {
    /// Look at a cluster in which Conduit is yet to be installed
    #[arg(long, conflicts_with = "proxy")]
    pub pre: bool,
    /// Ask each proxy for its certificate too
    #[arg(long)]
    pub proxy: bool,
    #[command(flatten)]
    pub output: OutputArg,
}

/// Trust anchors and issuer: what is in force, and its rotation
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit identity show                     trust anchors, issuer, and how far a rotation has come
  conduit identity rotate issuer            a new issuer below the same trust anchor, at once
  conduit identity rotate anchor            a new trust anchor, with overlap; goes on by itself, see `show`
  conduit identity rotate anchor --wait     the same, and wait until the old one is gone")]
pub(crate) struct Identity {
    #[command(subcommand)]
    pub what: IdentityVerb,
}

/// What is done with the mesh's identity.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityVerb {
    /// What is in force
    Show {
        #[command(flatten)]
        output: OutputArg,
    },
    /// Begin a rotation: no request fails, and nothing needs a restart
    Rotate {
        /// What to rotate
        #[arg(value_enum)]
        what: Rotated,
        /// Wait until the rotation has ended, at most so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
            default_missing_value = "96h", value_parser = parse_duration)]
        wait: Option<Duration>,
        #[command(flatten)]
        output: OutputArg,
    },
}

/// What can be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rotated {
    /// The issuer
    Issuer,
    /// The trust anchor, and the issuer with it
    Anchor,
}

/// The versions of this command and of the controller
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Only this command's; asks nobody
    #[arg(long)]
    pub client: bool,
    #[command(flatten)]
    pub output: OutputArg,
}

/// What proxies say of themselves: metrics, endpoints, certificate, configuration
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit diagnostics proxies               every proxy: version, memory, certificate
  conduit diagnostics endpoints web-1       where web-1's proxy sends traffic, with latency estimates
  conduit diagnostics certificate web-1     its identity and validity
  conduit diagnostics metrics web-1         its metrics, as Prometheus reads them
  conduit diagnostics config web-1          its effective configuration")]
pub(crate) struct Diagnostics {
    #[command(subcommand)]
    pub what: DiagnosticsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DiagnosticsVerb {
    /// Every proxy: version, connection, memory, CPU, certificate
    Proxies {
        /// Only the proxies of this resource [default: all]
        #[arg(value_name = "RESOURCE", num_args = 0..=3)]
        resource: Vec<String>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        output: OutputArg,
    },
    /// A proxy's metrics, as OpenMetrics text
    Metrics(PodArg),
    /// Where a proxy sends traffic: every destination it knows, with its endpoints
    Endpoints(PodArg),
    /// A proxy's identity, certificate and trust anchors
    Certificate(PodArg),
    /// A proxy's effective configuration
    Config(PodArg),
}

/// One pod.
#[derive(Debug, Args)]
pub(crate) struct PodArg {
    /// The pod: web-1 or po/web-1
    #[arg(value_name = "POD")]
    pub pod: String,
    /// The pod's namespace [default: in a cluster the context's, else default]
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub output: OutputArg,
}

/// A demo application in a mesh on this machine, with traffic to look at
///
/// Starts a controller and workloads that speak HTTP/1.1, gRPC and TCP, each in a pod of its own with its proxy; prints a live
/// table. One workload fails now and then and one is slow, so that there is something to find. Everything ends with Ctrl-C. Works without root where user namespaces are allowed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit demo                              until Ctrl-C; then try `conduit stat` in a second terminal
  conduit demo --pods 50                    more pods
  conduit demo --for 30s -o json            unattended: one JSON document")]
pub(crate) struct Demo {
    /// How many pods in all [default: one for each workload]
    #[arg(long, value_name = "N")]
    pub pods: Option<u32>,
    /// End after this long [default: when interrupted]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub output: OutputArg,
}

/// One role of the demo application.
#[derive(Debug, Args)]
pub(crate) struct DemoApp {
    #[arg(value_name = "ROLE")]
    pub role: String,
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// A shell's completion script, on stdout
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(conduit completion bash)
  conduit completion zsh > \"${fpath[1]}/_conduit\"
  conduit completion fish > ~/.config/fish/completions/conduit.fish")]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Which namespace.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scope {
    /// Only this namespace [default: in a cluster the context's, else all]
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// Over how long to look back.
#[derive(Debug, Clone, Args)]
pub(crate) struct WindowArg {
    /// Look back over this long
    #[arg(long, value_enum, default_value_t = Window::Minute)]
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Window {
    #[value(name = "10s")]
    TenSeconds,
    #[value(name = "1m", alias = "60s")]
    Minute,
    #[value(name = "10m", alias = "600s")]
    TenMinutes,
}

impl Window {
    /// Its length in seconds.
    pub(crate) const fn seconds(self) -> u32 {
        match self {
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::TenMinutes => 600,
        }
    }
}

/// The shape of the output.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArg {
    /// How to print; wide has more columns
    #[arg(
        long = "output",
        short = 'o',
        value_enum,
        default_value_t,
        value_name = "table|wide|json",
        hide_possible_values = true
    )]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirectionArg {
    #[value(alias = "in")]
    Inbound,
    #[value(alias = "out")]
    Outbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemeArg {
    Http,
    Https,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClassArg {
    #[value(alias = "ok")]
    Success,
    #[value(alias = "fail")]
    Failure,
    #[value(name = "1xx")]
    Status1xx,
    #[value(name = "2xx")]
    Status2xx,
    #[value(name = "3xx")]
    Status3xx,
    #[value(name = "4xx")]
    Status4xx,
    #[value(name = "5xx")]
    Status5xx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    #[value(alias = "http/1.1")]
    Http1,
    #[value(alias = "http/2", alias = "h2c")]
    Http2,
    Grpc,
    Tls,
    #[value(alias = "opaque")]
    Tcp,
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
