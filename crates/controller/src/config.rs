//! The controller's configuration: the only reader of arguments and environment. docs/configuration.md is generated from it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use conduit_inject::settings::{Settings, Sidecar};
use conduit_inject::{Mesh, Redirection};
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

/// Where pods and services are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Source {
    /// A directory of manifests.
    #[default]
    Files,
    /// The API server.
    Kubernetes,
}

/// What the source `files` needs.
#[derive(Debug, Clone)]
pub struct Files {
    /// Manifests.
    pub manifests: PathBuf,
    /// Trust anchor and issuer.
    pub identity_dir: PathBuf,
    /// Keys of tokens.
    pub token_keys: PathBuf,
}

/// The whole command line, for the generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Where pods and services are read from: `files`, or the API server of a cluster, which then also reviews tokens, keeps trust
    /// anchor and issuer, and elects the replica that writes
    #[arg(long, env = "CONDUIT_CONTROLLER_SOURCE", value_enum, default_value_t)]
    pub source: Source,
    /// Directory of Kubernetes manifests in YAML, watched for changes (source `files`)
    #[arg(long, env = "CONDUIT_CONTROLLER_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// Directory of trust anchor and issuer; made there on the first start (source `files`)
    #[arg(long, env = "CONDUIT_CONTROLLER_IDENTITY_DIR")]
    pub identity_dir: Option<PathBuf>,
    /// File with the JWK set of whoever signs service account tokens; read again at each review (source `files`)
    #[arg(long, env = "CONDUIT_CONTROLLER_TOKEN_KEYS")]
    pub token_keys: Option<PathBuf>,
    /// The controller's own namespace: its Secret, its Lease, its identity
    #[arg(long, env = "CONDUIT_CONTROLLER_NAMESPACE", default_value = ports::CONTROLLER_NAMESPACE)]
    pub namespace: String,
    /// This replica's name among all replicas: its pod's (source `kubernetes`) [default: made up]
    #[arg(long, env = "CONDUIT_CONTROLLER_POD_NAME")]
    pub pod_name: Option<String>,
    /// A watch of the API server that is silent for so long is opened anew (source `kubernetes`)
    #[arg(long, env = "CONDUIT_CONTROLLER_WATCH_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub watch_timeout: Duration,
    /// A review of a token by the API server that takes longer is given up; the proxy asks again (source `kubernetes`)
    #[arg(long, env = "CONDUIT_CONTROLLER_TOKEN_REVIEW_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub token_review_timeout: Duration,
    /// Where proxies are served; `[::]` is every address of both IP families, or of IPv4 where the kernel has no IPv6
    #[arg(long, env = "CONDUIT_CONTROLLER_GRPC_ADDR", default_value_t = everywhere(ports::CONTROLLER_GRPC))]
    pub grpc_addr: SocketAddr,
    /// Where /live, /ready, /metrics and /log-level are served
    #[arg(long, env = "CONDUIT_CONTROLLER_ADMIN_ADDR", default_value_t = everywhere(ports::CONTROLLER_ADMIN))]
    pub admin_addr: SocketAddr,
    /// Unix socket of the command line's API; whoever can open it may use it
    #[arg(long, env = "CONDUIT_CONTROLLER_OPERATOR_SOCKET")]
    pub operator_socket: PathBuf,
    /// Where the command line's API is served to callers that the API server forwards (source `kubernetes`): on the loopback, for
    /// nobody else needs it. Their rights are asked of the API server [default: not served]
    #[arg(long, env = "CONDUIT_CONTROLLER_OPERATOR_ADDR")]
    pub operator_addr: Option<SocketAddr>,
    /// Trust domain of the mesh
    #[arg(long, env = "CONDUIT_CONTROLLER_TRUST_DOMAIN", default_value = ports::TRUST_DOMAIN)]
    pub trust_domain: String,
    /// Secret of the type kubernetes.io/tls with an issuer that somebody else keeps, such as cert-manager: read, and never written
    /// (source `kubernetes`) [default: the controller keeps its own, in conduit-identity]
    #[arg(long, env = "CONDUIT_CONTROLLER_ISSUER_SECRET")]
    pub issuer_secret: Option<String>,
    /// ConfigMap with the trust anchors of that issuer, all that are in force, in ca.crt or ca-bundle.crt [default: ca.crt of the Secret]
    #[arg(long, env = "CONDUIT_CONTROLLER_TRUST_BUNDLE", requires = "issuer_secret")]
    pub trust_bundle: Option<String>,
    /// Life of the certificates that proxies get
    #[arg(long, env = "CONDUIT_CONTROLLER_CERTIFICATE_LIFETIME", default_value = "24h", value_parser = duration)]
    pub certificate_lifetime: Duration,
    /// How long calls may finish after SIGTERM
    #[arg(long, env = "CONDUIT_CONTROLLER_DRAIN_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Log filter: error, warn, info, debug, trace, or by module
    #[arg(long, env = "CONDUIT_CONTROLLER_LOG", default_value = "info")]
    pub log: String,
    /// The webhook, and what the pods' proxies start from.
    #[command(flatten)]
    pub injection: InjectionArguments,
}

/// The webhook, and what the settings of pods' proxies start from.
#[derive(Debug, Clone, Args)]
pub struct InjectionArguments {
    /// Where the admission webhook listens for the API server; without it nothing is injected
    #[arg(long, env = "CONDUIT_CONTROLLER_WEBHOOK_ADDR", requires = "proxy_image")]
    pub webhook_addr: Option<SocketAddr>,
    /// Image of the proxy, for pods that name no other
    #[arg(long, env = "CONDUIT_CONTROLLER_PROXY_IMAGE", value_parser = conduit_inject::settings::image)]
    pub proxy_image: Option<String>,
    /// When the proxy's image is pulled: Always, IfNotPresent or Never
    #[arg(long, env = "CONDUIT_CONTROLLER_PROXY_IMAGE_PULL_POLICY", default_value = "IfNotPresent",
        value_parser = ["Always", "IfNotPresent", "Never"])]
    pub proxy_image_pull_policy: String,
    /// How proxies run: native (Kubernetes 1.29 and later) or classic
    #[arg(long, env = "CONDUIT_CONTROLLER_PROXY_SIDECAR", default_value = "native", value_parser = ["native", "classic"])]
    pub proxy_sidecar: String,
    /// Who writes pods' redirect rules: an init container of each pod (init), or the CNI plugin on each node (cni)
    #[arg(long, env = "CONDUIT_CONTROLLER_PROXY_REDIRECTION", default_value = "init", value_parser = ["init", "cni"])]
    pub proxy_redirection: String,
    /// Where proxies find the controller: host:port
    #[arg(
        long,
        env = "CONDUIT_CONTROLLER_PROXY_CONTROLLER_ADDR",
        default_value = "conduit-controller.conduit.svc:8086"
    )]
    pub proxy_controller_addr: String,
    /// The cluster's networks, where proxies should not assume the private ranges
    #[arg(long, env = "CONDUIT_CONTROLLER_PROXY_CLUSTER_NETWORKS")]
    pub proxy_cluster_networks: Option<String>,
}

impl InjectionArguments {
    /// What pods' settings start from; the trust anchors are to be filled in. `None` where there is no webhook.
    #[must_use]
    pub fn mesh(&self, trust_domain: &str) -> Option<Mesh> {
        let mut settings = Settings::of_image(self.proxy_image.as_deref()?);
        settings.image_pull_policy = self.proxy_image_pull_policy.clone();
        settings.sidecar = if self.proxy_sidecar == "classic" { Sidecar::Classic } else { Sidecar::Native };
        Some(Mesh {
            controller_addr: self.proxy_controller_addr.clone(),
            trust_domain: trust_domain.to_owned(),
            trust_anchors: String::new(),
            cluster_networks: self.proxy_cluster_networks.clone(),
            redirection: match &*self.proxy_redirection {
                "cni" => Redirection::Cni,
                _ => Redirection::Init,
            },
            settings,
        })
    }
}

impl RunArguments {
    /// Checks what clap cannot; gives our own identity.
    ///
    /// # Errors
    /// One error that lists everything that is wrong.
    pub fn check(&self) -> Result<Identity> {
        let mut wrong = Vec::new();
        let identity = Identity::new(&self.trust_domain, &self.namespace, ports::CONTROLLER_SERVICE_ACCOUNT);
        if let Err(error) = &identity {
            wrong.push(error.to_string());
        }
        if self.source == Source::Files {
            if let Err(error) = self.files() {
                wrong.push(error.to_string());
            }
            if let Some(manifests) = self.manifests.as_ref().filter(|path| !path.is_dir()) {
                wrong.push(format!("manifests: {} is not a directory", manifests.display()));
            }
        }
        if self.operator_addr.is_some() && self.source == Source::Files {
            wrong.push(
                "operator-addr needs the source `kubernetes`: an API server that judges callers".to_owned(),
            );
        }
        if self.issuer_secret.is_some() && self.source == Source::Files {
            wrong.push(
                "issuer-secret needs the source `kubernetes`; with files it is --identity-dir".to_owned(),
            );
        }
        if self.watch_timeout < WATCH_TIMEOUT_MIN {
            wrong.push("watch-timeout must be at least 5s: a quiet cluster is not a silent one".to_owned());
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

/// Shorter, and watches would be opened all the time.
const WATCH_TIMEOUT_MIN: Duration = Duration::from_secs(5);

impl RunArguments {
    /// What the source `files` needs.
    ///
    /// # Errors
    /// When something is missing.
    pub fn files(&self) -> Result<Files> {
        match (&self.manifests, &self.identity_dir, &self.token_keys) {
            (Some(manifests), Some(identity_dir), Some(token_keys)) => Ok(Files {
                manifests: manifests.clone(),
                identity_dir: identity_dir.clone(),
                token_keys: token_keys.clone(),
            }),
            _ => bail!("the source `files` needs --manifests, --identity-dir and --token-keys"),
        }
    }
}

/// A port of every address, in both IP families.
const fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// Reads `500ms`, `30s`, `5m` or `24h`.
///
/// # Errors
/// When it is none of these.
pub fn duration(text: &str) -> Result<Duration, String> {
    conduit_logic::words::duration(text)
}
