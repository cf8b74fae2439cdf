//! The controller's configuration: the only reader of arguments and environment. docs/configuration.md is generated from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};
use conduit_logic::ports;
use conduit_logic::words::Identity;

/// The control plane of the Conduit service mesh: discovery, identity, tap and metrics.
#[derive(Debug, Parser)]
#[command(name = "conduit-controller", version = conduit_process::build::VERSION)]
pub struct Arguments {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller
    Run(RunArguments),
}

/// The whole command line, for the generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Directory of Kubernetes manifests in YAML, watched for changes
    #[arg(long, env = "CONDUIT_CONTROLLER_MANIFESTS")]
    pub manifests: PathBuf,
    /// Directory of trust anchor and issuer; made there on the first start
    #[arg(long, env = "CONDUIT_CONTROLLER_IDENTITY_DIR")]
    pub identity_dir: PathBuf,
    /// File with the JWK set of whoever signs service account tokens; read again at each review
    #[arg(long, env = "CONDUIT_CONTROLLER_TOKEN_KEYS")]
    pub token_keys: PathBuf,
    /// Where proxies are served
    #[arg(long, env = "CONDUIT_CONTROLLER_GRPC_ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], ports::CONTROLLER_GRPC)))]
    pub grpc_addr: SocketAddr,
    /// Where /live, /ready, /metrics and /log-level are served
    #[arg(long, env = "CONDUIT_CONTROLLER_ADMIN_ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], ports::CONTROLLER_ADMIN)))]
    pub admin_addr: SocketAddr,
    /// Unix socket of the command line's API; whoever can open it may use it
    #[arg(long, env = "CONDUIT_CONTROLLER_OPERATOR_SOCKET")]
    pub operator_socket: PathBuf,
    /// Trust domain of the mesh
    #[arg(long, env = "CONDUIT_CONTROLLER_TRUST_DOMAIN", default_value = ports::TRUST_DOMAIN)]
    pub trust_domain: String,
    /// Life of the certificates that proxies get
    #[arg(long, env = "CONDUIT_CONTROLLER_CERTIFICATE_LIFETIME", default_value = "24h", value_parser = duration)]
    pub certificate_lifetime: Duration,
    /// How long calls may finish after SIGTERM
    #[arg(long, env = "CONDUIT_CONTROLLER_DRAIN_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Log filter: error, warn, info, debug, trace, or by module
    #[arg(long, env = "CONDUIT_CONTROLLER_LOG", default_value = "info")]
    pub log: String,
}

impl RunArguments {
    /// Checks what clap cannot; gives our own identity.
    ///
    /// # Errors
    /// One error that lists everything that is wrong.
    pub fn check(&self) -> Result<Identity> {
        let mut wrong = Vec::new();
        let identity =
            Identity::new(&self.trust_domain, ports::CONTROLLER_NAMESPACE, ports::CONTROLLER_SERVICE_ACCOUNT);
        if let Err(error) = &identity {
            wrong.push(error.to_string());
        }
        if !self.manifests.is_dir() {
            wrong.push(format!("manifests: {} is not a directory", self.manifests.display()));
        }
        if self.certificate_lifetime < Duration::from_secs(2) {
            wrong.push(
                "certificate-lifetime must be at least 2s: certificates could not be renewed in time"
                    .to_owned(),
            );
        }
        match identity {
            Ok(identity) if wrong.is_empty() => Ok(identity),
            _ => bail!("the configuration cannot be used:\n  {}", wrong.join("\n  ")),
        }
    }
}

/// Reads `500ms`, `30s`, `5m` or `24h`.
///
/// # Errors
/// When it is none of these.
pub fn duration(text: &str) -> Result<Duration, String> {
    conduit_logic::words::duration(text)
}
