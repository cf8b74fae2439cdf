//! Simulated proxies: the real proxy's own control side (identity, discovery with its cache, reports), thousands of them in one process, each with
//! a pod, a token, a certificate and connections of its own. Deliberately absent: their data plane; traffic is only counted.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Parser as _;
use conduit_logic::words::{Direction, Identity, Protocol, Service, Workload};
use conduit_process::ready::Readiness;
use conduit_process::tasks::Tasks;
use conduit_proxy::config::{Arguments, Command, Config};
use conduit_proxy::control::{DestinationWatch, Discovery, Lookup};
use conduit_proxy::identity;
use conduit_proxy::telemetry::{EdgeKey, EdgeStats, Outcome, Telemetry, TlsFacts, report};
use conduit_tls::Credentials;
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;

use super::control_plane::GRPC;
use super::world::{ACCOUNT, OWN_NAMESPACE, PORT, World, service_name};

/// How long anything may take that all proxies wait for.
pub(crate) const ALL_TIME: Duration = Duration::from_secs(300);
/// How often it is looked whether a proxy is served.
const POLL: Duration = Duration::from_millis(10);
/// How often traffic is counted.
const TRAFFIC_INTERVAL: Duration = Duration::from_millis(500);

/// How many requests then.
const TRAFFIC_REQUESTS: usize = 10;

/// One proxy.
pub(crate) struct Proxy {
    /// The services that it follows, each with what it was told.
    pub(crate) followed: Vec<(usize, DestinationWatch)>,
    telemetry: Arc<Telemetry>,
    /// Answers that it had when it was looked at last.
    seen: AtomicU64,
}

/// What all proxies have in common.
pub(crate) struct Mesh<'a> {
    pub(crate) world: &'a World,
    /// The cluster IPs of the services.
    pub(crate) ips: &'a [IpAddr],
    /// Where files for them are put.
    pub(crate) dir: &'a Path,
    /// Owns them.
    pub(crate) tasks: &'a Tasks,
}

impl Mesh<'_> {
    /// Writes what proxies read from files.
    pub(crate) fn write_files(&self, anchors: &str, tokens: &[String]) -> Result<()> {
        fs::write(self.anchors(), anchors)?;
        for (number, token) in tokens.iter().enumerate() {
            fs::write(self.token(number), token)?;
        }
        Ok(())
    }

    fn anchors(&self) -> PathBuf {
        self.dir.join("anchors.pem")
    }

    fn token(&self, number: usize) -> PathBuf {
        self.dir.join(format!("token-{number}"))
    }

    /// Starts them all at once; returns when each was told of everything that it follows.
    pub(crate) async fn start(&self) -> Result<Vec<Proxy>> {
        let started =
            (0..self.world.proxies()).map(|number| self.start_one(number)).collect::<Result<Vec<_>>>()?;
        try_join_all(started.into_iter().map(|(discovery, telemetry, followed)| async move {
            let watches = followed.iter().map(|service| self.ask(&discovery, *service));
            let watches = try_join_all(watches).await?;
            let followed = followed.iter().copied().zip(watches).collect();
            Ok(Proxy { followed, telemetry, seen: AtomicU64::new(0) })
        }))
        .await
    }

    fn config(&self, number: usize) -> Result<Config> {
        let pod = self.world.pod_of(number);
        let arguments = [
            "conduit-proxy".to_owned(),
            "run".to_owned(),
            format!("--pod-namespace={}", pod.namespace()),
            format!("--pod-name={}", pod.name()),
            format!("--service-account={ACCOUNT}"),
            format!("--pod-ips={}", pod.address()),
            format!("--trust-anchors={}", self.anchors().display()),
            format!("--token={}", self.token(number).display()),
            format!("--controller-addr={GRPC}"),
            format!("--controller-identity=spiffe://cluster.local/ns/{OWN_NAMESPACE}/sa/conduit-controller"),
        ];
        match Arguments::try_parse_from(arguments)?.command {
            Command::Run(run) => run.into_config(),
            _ => bail!("these are no arguments of `run`"),
        }
    }

    fn start_one(&self, number: usize) -> Result<(Discovery, Arc<Telemetry>, Vec<usize>)> {
        let config = Arc::new(self.config(number)?);
        let (readiness, telemetry) = (Readiness::new(), Telemetry::new());
        let credentials = Credentials::new(config.read_trust_anchors()?)?;
        identity::start(&config, &credentials, self.tasks, &readiness, &telemetry);
        let discovery = Discovery::start(&config, &credentials, self.tasks, &readiness, &telemetry);
        report::start(&config, &discovery, &telemetry, &credentials, self.tasks);
        Ok((discovery, telemetry, self.world.followed(number)))
    }

    async fn ask(&self, discovery: &Discovery, service: usize) -> Result<DestinationWatch> {
        let (addr, deadline) = (SocketAddr::new(self.ips[service], PORT), Instant::now() + ALL_TIME);
        loop {
            match discovery.outbound(addr).await {
                Lookup::Known(watch) => return Ok(watch),
                Lookup::Passthrough => bail!("the controller knows nothing of {}", service_name(service)),
                Lookup::Unanswered => ensure!(Instant::now() < deadline, "no answer within {ALL_TIME:?}"),
            }
        }
    }

    /// Counts traffic on this many edges of each proxy, until dropped.
    pub(crate) async fn traffic(&self, proxies: &[Proxy], edges: usize) {
        let edges: Vec<Arc<EdgeStats>> =
            proxies.iter().enumerate().flat_map(|(number, proxy)| self.edges(number, proxy, edges)).collect();
        let mut tick = tokio::time::interval(TRAFFIC_INTERVAL);
        let mut random = fastrand::Rng::with_seed(0);
        loop {
            tick.tick().await;
            for edge in &edges {
                for _ in 0..TRAFFIC_REQUESTS {
                    edge.request(Outcome::Success, Duration::from_micros(random.u64(500..5_000)));
                }
                edge.bytes(3_000, 20_000);
            }
        }
    }

    fn edges(&self, number: usize, proxy: &Proxy, count: usize) -> Vec<Arc<EdgeStats>> {
        let identity = |namespace: &str| Identity::new("cluster.local", namespace, ACCOUNT).ok();
        let Some(local) = identity(&self.world.pod_of(number).namespace()) else { return Vec::new() };
        let keys = proxy.followed.iter().rev().take(count).filter_map(|(service, _)| {
            let (namespace, name) = (self.world.namespace(*service), service_name(*service));
            let tls = TlsFacts {
                version: "TLSv1.3",
                key_exchange: "X25519MLKEM768",
                local: local.clone(),
                peer: identity(&namespace)?,
            };
            Some(EdgeKey {
                direction: Direction::Outbound,
                protocol: Protocol::Http1,
                peer_workload: Workload {
                    namespace: namespace.clone(),
                    kind: "ReplicaSet".to_owned(),
                    name: name.clone(),
                },
                service: Some(Service { namespace, name, port: PORT }),
                tls: Some(Arc::new(tls)),
            })
        });
        keys.map(|key| proxy.telemetry.edge(&key)).collect()
    }
}

impl Proxy {
    /// From now on only answers count that come after this.
    fn forget_answers(&self) {
        self.seen.store(self.telemetry.discovery_updates.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether it is connected and was told of everything that it follows, and of its own pod, since [`Proxy::forget_answers`].
    fn is_served(&self) -> bool {
        let more =
            self.telemetry.discovery_updates.load(Ordering::Relaxed) - self.seen.load(Ordering::Relaxed);
        self.telemetry.discovery_connected.load(Ordering::Relaxed) && more > self.followed.len() as u64
    }

    /// Returns when it was told that a service has this many endpoints.
    async fn has_heard(&self, service: usize, endpoints: usize) -> Option<Instant> {
        let (_, watch) = self.followed.iter().find(|(followed, _)| *followed == service)?;
        let says = |count: &Option<_>| {
            count.as_ref().is_some_and(|known: &Arc<conduit_logic::words::Destination>| {
                known.endpoints.len() == endpoints
            })
        };
        watch.clone().wait_for(says).await.ok()?;
        Some(Instant::now())
    }
}

/// From now on only answers count that come after this: for [`served_again`].
pub(crate) fn forget_answers(proxies: &[Proxy]) {
    proxies.iter().for_each(Proxy::forget_answers);
}

/// When each proxy was served again.
pub(crate) async fn served_again(proxies: &[Proxy]) -> Result<Vec<Instant>> {
    let (mut when, mut waiting) = (Vec::new(), proxies.iter().collect::<Vec<_>>());
    let deadline = Instant::now() + ALL_TIME;
    while !waiting.is_empty() {
        ensure!(
            Instant::now() < deadline,
            "{} proxies are not served again within {ALL_TIME:?}",
            waiting.len()
        );
        tokio::time::sleep(POLL).await;
        let now = Instant::now();
        waiting.retain(|proxy| !proxy.is_served());
        when.resize(proxies.len() - waiting.len(), now);
    }
    Ok(when)
}

/// When each of these was told that a service has this many endpoints.
pub(crate) async fn all_heard(
    followers: &[&Proxy],
    service: usize,
    endpoints: usize,
) -> Result<Vec<Instant>> {
    let heard = join_all(followers.iter().map(|proxy| proxy.has_heard(service, endpoints)));
    let heard: Option<Vec<Instant>> = tokio::time::timeout(ALL_TIME, heard).await?.into_iter().collect();
    heard.ok_or_else(|| anyhow::anyhow!("a proxy has ended"))
}
