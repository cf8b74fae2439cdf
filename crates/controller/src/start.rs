//! Builds every part of the controller and owns every task: a reader's map.
//!
//! Order of the end: readiness is withdrawn, no new connections, calls may finish until the drain timeout, then streams end.

use std::fs::{DirBuilder, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use conduit_api::identity::v1::identity_server::IdentityServer;
use conduit_api::metrics::v1::metrics_server::MetricsServer;
use conduit_api::operator::v1::operator_server::OperatorServer;
use conduit_logic::words::Identity;
use conduit_process::admin::{self, Admin};
use conduit_process::clock;
use conduit_process::limits;
use conduit_process::listen;
use conduit_process::logs::LogLevel;
use conduit_process::ready::{Gate, Readiness};
use conduit_process::signal;
use conduit_process::tasks::Tasks;
use conduit_tls::{Certificate, ClientAuth, Credentials};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;

use crate::config::{RunArguments, Source};
use crate::identity::authority::Authority;
use crate::identity::rotation::Keeper;
use crate::identity::service::Reviewer;
use crate::kubernetes::client;
use crate::metrics::series::Aggregate;
use crate::operator::access::{Access, Reviews};
use crate::serve::encoded::DiscoveryServer;
use crate::serve::{discovery, listener};
use crate::source::kubernetes::Watches;
use crate::store::Store;
use crate::surroundings::Surroundings;
use crate::webhook::Webhook;
use crate::{identity, metrics, operator, page};

/// Connections that have shaken hands and are not yet served.
const ACCEPTED_MAX: usize = 64;
/// Calls at once on one proxy's connection.
const STREAMS_MAX: u32 = 64;
/// A peer that does not answer a ping within this is taken for gone.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent peer is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long a replica of several serves on after it was told to stop: API server and nodes hear only then that it goes, and a pod
/// whose review is refused meanwhile would have no proxy.
const FAREWELL: Duration = Duration::from_secs(3);
/// Our own certificate is renewed when this share of its life has passed.
const RENEW_SHARE: f64 = 0.66;
/// The pause after an attempt that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the controller until it is told to stop.
///
/// # Errors
/// When it cannot start: a port is taken, a file cannot be read, the configuration makes no sense.
pub async fn run(config: RunArguments, logs: LogLevel) -> Result<()> {
    let own = config.check()?;
    limits::raise_open_files();
    let tasks = Tasks::new();
    let readiness = Readiness::new();
    let store = Store::new(&config.trust_domain);
    let aggregate = Arc::new(Aggregate::new(Instant::now()));
    let (identity, model) = (readiness.gate("identity"), readiness.gate("model"));
    let listening = readiness.gate("listening");
    let page = Arc::new(OnceLock::new());
    serve_admin(config.admin_addr, readiness.clone(), page.clone(), logs, &tasks)?;
    let mut stopped = Box::pin(signal::terminated());
    let surroundings = tokio::select! {
        found = Box::pin(Surroundings::find(&config, &store, model, &tasks)) => found?,
        signal = &mut stopped => {
            tracing::info!(signal, "stopped before trust anchor and issuer were there");
            tasks.stop();
            return Ok(());
        }
    };
    let authority = Arc::new(Authority::new(&surroundings.material, config.certificate_lifetime)?);
    let credentials = Credentials::new(authority.anchors().to_vec())?;
    let keeper = Arc::new(Keeper {
        vault: surroundings.vault,
        authority: authority.clone(),
        store: store.clone(),
        credentials: credentials.clone(),
        trust_domain: config.trust_domain.clone(),
        leads: surroundings.leads,
        changed: Notify::new(),
        installed: watch::channel(0).0,
    });
    keep_certificate(&keeper, own, identity, &tasks);
    tasks.spawn_until_stopped("rotation", Box::pin(keeper.clone().run()));
    let parts = Parts {
        config: &config,
        store,
        aggregate,
        keeper,
        watches: surroundings.watches,
        source: surroundings.source,
        streams: Arc::new(AtomicUsize::new(0)),
        tasks: &tasks,
    };
    _ = page.set(parts.page());
    let operator = parts.operator();
    parts.serve_operator_socket(operator.clone())?;
    parts.serve_operator_port(operator).await?;
    parts.serve_webhook(&readiness).await?;
    // Nobody is told of half a model, and proxies that come back by the thousand are not sent away to come again.
    let early = tokio::select! {
        _ = surroundings.complete => None,
        signal = &mut stopped => Some(signal),
    };
    let signal = match early {
        Some(signal) => signal,
        None => {
            parts.serve_proxies(surroundings.reviewer)?;
            listening.open();
            stopped.await
        }
    };
    tracing::info!(signal, "stopping");
    end(&config, &readiness, &tasks).await;
    Ok(())
}

/// In the order of the end.
async fn end(config: &RunArguments, readiness: &Readiness, tasks: &Tasks) {
    let _stopping = readiness.gate("stopping");
    if config.source == Source::Kubernetes {
        tokio::time::sleep(FAREWELL).await;
    }
    tasks.stop();
    let left = tasks.wait(config.drain_timeout).await;
    if left > 0 {
        tracing::warn!(left, "the drain timeout has passed: what still runs is cut off");
    }
    _ = std::fs::remove_file(&config.operator_socket);
}

struct Parts<'a> {
    config: &'a RunArguments,
    store: Arc<Store>,
    aggregate: Arc<Aggregate>,
    keeper: Arc<Keeper>,
    watches: Arc<Watches>,
    source: String,
    streams: Arc<AtomicUsize>,
    tasks: &'a Tasks,
}

impl Parts<'_> {
    fn page(&self) -> page::Page {
        page::Page {
            store: self.store.clone(),
            aggregate: self.aggregate.clone(),
            streams: self.streams.clone(),
            watches: self.watches.clone(),
            authority: self.keeper.authority.clone(),
            leads: self.keeper.leads.clone(),
        }
    }

    /// What the operator's API answers from.
    fn operator(&self) -> Arc<operator::service::Parts> {
        Arc::new(operator::service::Parts {
            store: self.store.clone(),
            aggregate: self.aggregate.clone(),
            keeper: self.keeper.clone(),
            credentials: self.keeper.credentials.clone(),
            tasks: self.tasks.clone(),
            streams: self.streams.clone(),
            trust_domain: self.config.trust_domain.clone(),
            source: self.source.clone(),
            started: Instant::now(),
        })
    }

    fn serve_operator_socket(&self, parts: Arc<operator::service::Parts>) -> Result<()> {
        let listener = bind_socket(&self.config.operator_socket)?;
        let service = operator::service::Service { access: Access::Owner, parts };
        let token = self.tasks.token().clone();
        let server = Server::builder().add_service(OperatorServer::new(service));
        self.tasks.spawn("operator api", async move {
            let serving = server
                .serve_with_incoming_shutdown(UnixListenerStream::new(listener), token.cancelled_owned());
            if let Err(error) = Box::pin(serving).await {
                tracing::error!(%error, "the operator API is no longer served");
            }
        });
        Ok(())
    }

    /// Serves the operator's API to callers that the API server forwards, where that is configured.
    async fn serve_operator_port(&self, parts: Arc<operator::service::Parts>) -> Result<()> {
        let Some(addr) = self.config.operator_addr else { return Ok(()) };
        let client = client::connect(self.config.watch_timeout).await?;
        let listener = listen(addr, "operators")?;
        let (accepted, incoming) = mpsc::channel(ACCEPTED_MAX);
        let access = Access::Cluster(Box::new(Reviews::new(&client)));
        let accepting = listener::Accepting {
            listener,
            acceptor: operator::port::acceptor(client, &self.keeper.credentials, self.tasks),
            read: operator::port::caller,
            connections_max: operator::port::CONNECTIONS_MAX,
            // A token proves who asks just as well, and a tap stays for as long as somebody looks.
            strangers_max: None,
        };
        let accept = listener::accept(accepting, accepted, self.tasks.clone());
        self.tasks.spawn_until_stopped("operators", accept);
        let service = operator::service::Service { access, parts };
        let server = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .add_service(OperatorServer::new(service));
        let token = self.tasks.token().clone();
        self.tasks.spawn("operator port", async move {
            let serving =
                server.serve_with_incoming_shutdown(ReceiverStream::new(incoming), token.cancelled_owned());
            if let Err(error) = Box::pin(serving).await {
                tracing::error!(%error, "operators are no longer served");
            }
        });
        Ok(())
    }

    /// Serves the admission webhook where one is configured.
    async fn serve_webhook(&self, readiness: &Readiness) -> Result<()> {
        let injection = &self.config.injection;
        let (Some(addr), Some(mesh)) = (injection.webhook_addr, injection.mesh(&self.config.trust_domain))
        else {
            return Ok(());
        };
        let silence = self.config.watch_timeout;
        let client = client::connect(silence).await?;
        let (authority, installed) = (self.keeper.authority.clone(), self.keeper.installed.subscribe());
        let webhook = Webhook { addr, client, silence, authority, installed, mesh };
        webhook.start(readiness, self.tasks)
    }

    fn serve_proxies(&self, reviewer: Reviewer) -> Result<()> {
        let addr = self.config.grpc_addr;
        let listener = listen(addr, "proxies")?;
        let acceptor =
            TlsAcceptor::from(self.keeper.credentials.server_config(ClientAuth::Optional, &[b"h2"]));
        let (accepted, incoming) = mpsc::channel(ACCEPTED_MAX);
        let accepting = listener::Accepting {
            listener,
            acceptor: move || acceptor.clone(),
            read: listener::workload,
            connections_max: listener::PROXY_CONNECTIONS_MAX,
            strangers_max: Some(listener::PROXY_STRANGERS_MAX),
        };
        let accept = listener::accept(accepting, accepted, self.tasks.clone());
        self.tasks.spawn_until_stopped("proxies", accept);
        let (store, tasks, open) = (self.store.clone(), self.tasks.clone(), self.streams.clone());
        let server = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .add_service(IdentityServer::new(identity::service::Service {
                authority: self.keeper.authority.clone(),
                reviewer,
                tasks: self.tasks.clone(),
            }))
            .add_service(DiscoveryServer::new(discovery::Service { store: store.clone(), tasks, open }))
            .add_service(MetricsServer::new(metrics::service::Service {
                store,
                aggregate: self.aggregate.clone(),
                tasks: self.tasks.clone(),
            }));
        let token = self.tasks.token().clone();
        self.tasks.spawn("grpc", async move {
            let serving =
                server.serve_with_incoming_shutdown(ReceiverStream::new(incoming), token.cancelled_owned());
            if let Err(error) = Box::pin(serving).await {
                tracing::error!(%error, "proxies are no longer served");
            }
        });
        Ok(())
    }
}

/// Listens for these callers.
fn listen(addr: SocketAddr, callers: &str) -> Result<TcpListener> {
    let listener = listen::bind(addr).and_then(TcpListener::from_std);
    listener.with_context(|| format!("listening on {addr} for {callers}"))
}

/// Serves the admin port from the first moment on: while the API server is away we wait for it, alive and not ready. Metrics come
/// when there is something to measure.
fn serve_admin(
    addr: SocketAddr,
    readiness: Readiness,
    page: Arc<OnceLock<page::Page>>,
    logs: LogLevel,
    tasks: &Tasks,
) -> Result<()> {
    let metrics = Arc::new(move || page.get().map_or_else(|| "# EOF\n".to_owned(), page::Page::encode));
    let listener = listen::bind(addr).with_context(|| format!("listening on {addr} (admin)"))?;
    admin::serve(listener, Admin { readiness, metrics, logs }, tasks).context("serving the admin port")
}

/// A socket that only our user can open; one that an earlier run left behind is replaced.
///
/// It is bound in a directory that is closed to others and then moved, so that there is no moment at which they could open it.
fn bind_socket(path: &Path) -> Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another controller answers at {}: stop it, or choose another socket", path.display());
    }
    let context = || format!("listening on {}", path.display());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = |directory: &Path| DirBuilder::new().mode(0o700).create(directory);
    if !parent.exists() {
        private(parent).with_context(context)?;
    }
    // Short: a socket's path has 107 bytes at the most.
    let closed = parent.join(format!(".{:x}", std::process::id()));
    _ = std::fs::remove_dir_all(&closed);
    private(&closed).with_context(context)?;
    let fresh = closed.join("s");
    let bound = UnixListener::bind(&fresh).and_then(|listener| {
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        Ok(listener)
    });
    _ = std::fs::remove_dir_all(&closed);
    bound.with_context(context)
}

/// Signs our own certificate, and again in time, and whenever another issuer or other anchors were put in force.
fn keep_certificate(keeper: &Arc<Keeper>, own: Identity, gate: Gate, tasks: &Tasks) {
    let (authority, credentials) = (keeper.authority.clone(), keeper.credentials.clone());
    let mut installed = keeper.installed.subscribe();
    let install = move || -> Result<SystemTime> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let now = SystemTime::now();
        let signed = authority.certify(&key, &own, now)?;
        credentials.install(Certificate {
            chain: signed.chain.into_iter().chain(authority.former()).collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            anchors: authority.anchors().to_vec(),
            not_before: signed.not_before,
            not_after: signed.not_after,
        })?;
        Ok(now + signed.not_after.duration_since(now).unwrap_or_default().mul_f64(RENEW_SHARE))
    };
    tasks.spawn_until_stopped("own certificate", async move {
        loop {
            let next = match install() {
                Ok(next) => {
                    gate.open();
                    next
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "no certificate for the controller itself");
                    SystemTime::now() + RETRY
                }
            };
            tokio::select! {
                () = clock::until(next) => {}
                // Where nobody installs anything any more, the controller stops.
                changed = installed.changed() => if changed.is_err() { return },
            }
        }
    });
}
