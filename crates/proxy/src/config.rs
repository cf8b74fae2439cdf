//! The proxy's configuration: the only reader of arguments and environment. It is read once, checked as a whole with all
//! errors at once, and printed by `--print-config`. docs/configuration.md is generated from it.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use conduit_logic::ports;
use conduit_logic::tap::Network;
use conduit_logic::words::{Identity, Pod, duration};
use conduit_process::logs::Format;
use rustls::pki_types::CertificateDer;
use serde::{Serialize, Serializer};

/// The proxy of the Conduit service mesh, and the init step that writes a pod's redirect rules.
#[derive(Debug, Parser)]
#[command(name = "conduit-proxy", version = conduit_process::build::VERSION)]
pub struct Arguments {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy beside the pod's application
    Run(Box<RunArguments>),
    /// Write the redirect rules of this network namespace, or remove them
    Init(InitArguments),
    /// Wait until this network namespace's redirect rules, which the CNI plugin writes, are in force
    Validate(ValidateArguments),
}

/// The whole command line, for the generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// What to do when nothing is known of an address inside the cluster's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnknown {
    /// Reset the connection: never silently in the clear.
    Refuse,
    /// Pass it through in the clear.
    Passthrough,
}

/// The log's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Arguments of `run`; serialized with the names and in the form in which they are given.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunArguments {
    /// Namespace of the pod
    #[arg(long, env = "CONDUIT_PROXY_POD_NAMESPACE")]
    pub pod_namespace: String,
    /// Name of the pod
    #[arg(long, env = "CONDUIT_PROXY_POD_NAME")]
    pub pod_name: String,
    /// Service account of the pod: with the namespace it is the identity
    #[arg(long, env = "CONDUIT_PROXY_SERVICE_ACCOUNT")]
    pub service_account: String,
    /// Addresses of the pod
    #[arg(long, env = "CONDUIT_PROXY_POD_IPS", value_delimiter = ',', required = true)]
    pub pod_ips: Vec<IpAddr>,
    /// Trust domain of the mesh
    #[arg(long, env = "CONDUIT_PROXY_TRUST_DOMAIN", default_value = ports::TRUST_DOMAIN)]
    pub trust_domain: String,
    /// PEM file with the trust anchors to begin with; later ones come from the identity service
    #[arg(long, env = "CONDUIT_PROXY_TRUST_ANCHORS")]
    pub trust_anchors: PathBuf,
    /// File with the pod's service account token; read again at each use
    #[arg(long, env = "CONDUIT_PROXY_TOKEN")]
    pub token: PathBuf,
    /// Where the controller is: host:port
    #[arg(long, env = "CONDUIT_PROXY_CONTROLLER_ADDR")]
    pub controller_addr: String,
    /// What the controller must prove; by default the service account conduit-controller in the namespace conduit
    #[arg(long, env = "CONDUIT_PROXY_CONTROLLER_IDENTITY")]
    pub controller_identity: Option<String>,
    /// Log filter: error, warn, info, debug, trace, or by module (conduit_proxy::outbound=debug)
    #[arg(long, env = "CONDUIT_PROXY_LOG", default_value = "info")]
    pub log: String,
    /// Form of the log
    #[arg(long, env = "CONDUIT_PROXY_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Mark our connections with this number, where the redirect rules exempt by mark and not by user
    #[arg(long, env = "CONDUIT_PROXY_SOCKET_MARK")]
    pub socket_mark: Option<u32>,
    /// Threads for traffic
    #[arg(long, env = "CONDUIT_PROXY_WORKERS", default_value_t = 1)]
    pub workers: usize,
    /// How long what runs may finish after SIGTERM
    #[arg(long, env = "CONDUIT_PROXY_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub drain_timeout: Duration,
    /// A TCP connection to an endpoint, or a TLS handshake with it, that takes longer is given up; outside the mesh the kernel's patience is kept
    #[arg(long, env = "CONDUIT_PROXY_CONNECT_TIMEOUT", default_value = "1s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub connect_timeout: Duration,
    /// A connection to or from another proxy, or an HTTP/2 endpoint, whose peer has acknowledged nothing of our bytes for this long is dead: what waits on it fails or goes elsewhere
    #[arg(long, env = "CONDUIT_PROXY_UNACKNOWLEDGED_TIMEOUT", default_value = "5s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub unacknowledged_timeout: Duration,
    /// A TLS handshake of a peer that takes longer is refused
    #[arg(long, env = "CONDUIT_PROXY_TLS_TIMEOUT", default_value = "5s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub tls_timeout: Duration,
    /// From the first to the last byte of a request's head; longer is answered with 408
    #[arg(long, env = "CONDUIT_PROXY_HEADER_TIMEOUT", default_value = "30s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub header_timeout: Duration,
    /// A client that began with bytes that could be HTTP or TLS and then fell silent is treated as opaque after this; no client that waits for its server ever waits for it
    #[arg(long, env = "CONDUIT_PROXY_DETECT_TIMEOUT", default_value = "5s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub detect_timeout: Duration,
    /// The wait for discovery's first answer about an address
    #[arg(long, env = "CONDUIT_PROXY_DISCOVERY_TIMEOUT", default_value = "3s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub discovery_timeout: Duration,
    /// Connections to endpoints that nobody used for this long are closed
    #[arg(long, env = "CONDUIT_PROXY_IDLE_TIMEOUT", default_value = "60s", value_parser = duration)]
    #[serde(serialize_with = "as_given")]
    pub idle_timeout: Duration,
    /// What to do when nothing is known of an address inside the cluster's networks
    #[arg(long, env = "CONDUIT_PROXY_WHEN_UNKNOWN", value_enum, default_value = "refuse")]
    pub when_unknown: WhenUnknown,
    /// The cluster's networks: an address outside them is passed through and never asked for
    #[arg(
        long,
        env = "CONDUIT_PROXY_CLUSTER_NETWORKS",
        value_delimiter = ',',
        default_value = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
    )]
    #[serde(serialize_with = "as_texts")]
    pub cluster_networks: Vec<Network>,
    /// Connections at once, each way; one more is refused: HTTP with 503, gRPC with RESOURCE_EXHAUSTED, anything else with a reset
    #[arg(long, env = "CONDUIT_PROXY_CONNECTIONS_MAX", default_value_t = 10_000)]
    pub connections_max: usize,
    /// Bytes of a request's or response's head; more is answered with 431
    #[arg(long, env = "CONDUIT_PROXY_HEADER_BYTES_MAX", default_value_t = 64 * 1024)]
    pub header_bytes_max: usize,
    /// Streams at once on one HTTP/2 connection that we serve
    #[arg(long, env = "CONDUIT_PROXY_STREAMS_MAX", default_value_t = 256)]
    pub streams_max: u32,
    /// Port of redirected connections from the application
    #[arg(long, env = "CONDUIT_PROXY_OUTBOUND_PORT", default_value_t = ports::PROXY_OUTBOUND)]
    pub outbound_port: u16,
    /// Port of redirected connections to the application
    #[arg(long, env = "CONDUIT_PROXY_INBOUND_PORT", default_value_t = ports::PROXY_INBOUND)]
    pub inbound_port: u16,
    /// Port of tap and inspection, for the controller
    #[arg(long, env = "CONDUIT_PROXY_CONTROL_PORT", default_value_t = ports::PROXY_CONTROL)]
    pub control_port: u16,
    /// Port of /live, /ready, /metrics and /log-level
    #[arg(long, env = "CONDUIT_PROXY_ADMIN_PORT", default_value_t = ports::PROXY_ADMIN)]
    pub admin_port: u16,
    /// Print the configuration in force, as JSON, and exit
    #[arg(long)]
    #[serde(skip)]
    pub print_config: bool,
}

/// Arguments of `init`.
#[derive(Debug, Clone, Args)]
pub struct InitArguments {
    /// The user the proxy runs as: its connections are not redirected
    #[arg(long, default_value_t = ports::PROXY_UID)]
    pub proxy_uid: u32,
    /// Exempt connections with this mark instead, where there is no second user
    #[arg(long, conflicts_with = "proxy_uid")]
    pub proxy_mark: Option<u32>,
    /// Ports of the application that are not redirected: 22,25-30
    #[arg(long, value_delimiter = ',', value_parser = port_range)]
    pub skip_inbound_ports: Vec<RangeInclusive<u16>>,
    /// Ports of destinations that are not redirected
    #[arg(long, value_delimiter = ',', value_parser = port_range)]
    pub skip_outbound_ports: Vec<RangeInclusive<u16>>,
    /// Remove the rules; it is no error when there are none
    #[arg(long)]
    pub remove: bool,
}

/// Arguments of `validate`. Who writes the rules for a pod that waits here reads them from this command line: see `conduit-cni`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArguments {
    /// Addresses of the pod: in each of their families connections must be redirected
    #[arg(long, env = "CONDUIT_PROXY_POD_IPS", value_delimiter = ',', required = true)]
    pub pod_ips: Vec<IpAddr>,
    /// Ports of the application that are not redirected: 22,25-30
    #[arg(long, value_delimiter = ',', value_parser = port_range)]
    pub skip_inbound_ports: Vec<RangeInclusive<u16>>,
    /// Ports of destinations that are not redirected
    #[arg(long, value_delimiter = ',', value_parser = port_range)]
    pub skip_outbound_ports: Vec<RangeInclusive<u16>>,
    /// Port of redirected connections from the application, on which nobody may listen yet
    #[arg(long, env = "CONDUIT_PROXY_OUTBOUND_PORT", default_value_t = ports::PROXY_OUTBOUND)]
    pub outbound_port: u16,
    /// How long the rules may take to come
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// `run`'s arguments after they were checked.
#[derive(Debug)]
pub struct Config {
    arguments: RunArguments,
    /// The pod.
    pub pod: Pod,
    /// What we are.
    pub identity: Identity,
    /// What the controller must prove.
    pub controller_identity: Identity,
}

impl std::ops::Deref for Config {
    type Target = RunArguments;
    fn deref(&self) -> &RunArguments {
        &self.arguments
    }
}

impl RunArguments {
    /// The log's form.
    #[must_use]
    pub const fn log_format(&self) -> Format {
        match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }

    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One error that lists everything that is wrong.
    pub fn into_config(self) -> Result<Config> {
        let mut wrong = Vec::new();
        let identity = Identity::new(&self.trust_domain, &self.pod_namespace, &self.service_account);
        let controller = match &self.controller_identity {
            Some(text) => Identity::parse(text),
            None => Identity::new(
                &self.trust_domain,
                ports::CONTROLLER_NAMESPACE,
                ports::CONTROLLER_SERVICE_ACCOUNT,
            ),
        };
        for error in [identity.as_ref().err(), controller.as_ref().err()].into_iter().flatten() {
            wrong.push(error.to_string());
        }
        if !self
            .controller_addr
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            wrong.push(format!("controller-addr `{}` is not host:port", self.controller_addr));
        }
        let at_least_one = [
            ("workers", self.workers),
            ("connections-max", self.connections_max),
            ("streams-max", self.streams_max as usize),
        ];
        wrong.extend(
            at_least_one
                .iter()
                .filter(|(_, value)| *value == 0)
                .map(|(name, _)| format!("{name} must be at least 1")),
        );
        if !(1024..=1024 * 1024).contains(&self.header_bytes_max) {
            wrong.push("header-bytes-max must be from 1024 to 1048576".to_owned());
        }
        match (identity, controller, wrong.is_empty()) {
            (Ok(identity), Ok(controller_identity), true) => {
                let pod = Pod { namespace: self.pod_namespace.clone(), name: self.pod_name.clone() };
                Ok(Config { arguments: self, pod, identity, controller_identity })
            }
            _ => bail!("the configuration cannot be used:\n  {}", wrong.join("\n  ")),
        }
    }
}

impl Config {
    /// Reads the trust anchors to begin with.
    ///
    /// # Errors
    /// When the file is not there or has no certificate.
    pub fn read_trust_anchors(&self) -> Result<Vec<CertificateDer<'static>>> {
        let path = &self.trust_anchors;
        let pem = std::fs::read(path)
            .with_context(|| format!("reading the trust anchors from {}", path.display()))?;
        conduit_tls::read_anchors(&pem)
            .with_context(|| format!("reading the trust anchors from {}", path.display()))
    }

    /// The configuration in force, as a JSON object. No setting is a secret: tokens and keys are in files.
    #[must_use]
    pub fn describe(&self) -> serde_json::Value {
        // Only a map whose keys are not strings, or a type's own refusal, could fail: there is neither.
        serde_json::to_value(&self.arguments).unwrap_or_default()
    }
}

/// A duration as it is written: `30s`, `500ms`.
fn as_given<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    match duration.subsec_nanos() {
        0 => serializer.collect_str(&format_args!("{}s", duration.as_secs())),
        _ => serializer.collect_str(&format_args!("{}ms", duration.as_millis())),
    }
}

fn as_texts<S: Serializer>(networks: &[Network], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(ToString::to_string))
}

/// Reads `22` or `25-30`.
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("`{text}` is not a port or a range of ports such as 25-30");
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let from = from.parse().map_err(|_| wrong())?;
    let to = to.parse().map_err(|_| wrong())?;
    if from > to { Err(wrong()) } else { Ok(from..=to) }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
