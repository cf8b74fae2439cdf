//! The operator's API.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conduit_api::operator::v1 as api;
use conduit_api::operator::v1::operator_server::Operator;
use conduit_api::tap::v1::inspect_client::InspectClient;
use conduit_api::tap::v1::{InspectRequest, InspectResponse, TapEvent};
use conduit_process::build;
use conduit_process::tasks::Tasks;
use conduit_tls::Credentials;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::access::{Access, Deed};
use super::proxies::{self, describe};
use super::{rows, tap};
use crate::identity::material::Rotation;
use crate::identity::rotation::{Keeper, What};
use crate::identity::service::unix_s;
use crate::metrics::series::Aggregate;
use crate::model::name_of;
use crate::source::Problem;
use crate::store::Store;

/// A proxy counts as connected when it was heard of within this: its reports come every second.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// Errors of the source told at the most: nobody reads more at once.
const ERRORS_MAX: usize = 200;
/// An inspection that takes longer is given up.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The service, for the callers of one socket or port.
pub struct Service {
    /// What they may.
    pub access: Access,
    /// What it answers from.
    pub parts: Arc<Parts>,
}

/// What the service answers from.
pub struct Parts {
    /// What there is.
    pub store: Arc<Store>,
    /// What was reported.
    pub aggregate: Arc<Aggregate>,
    /// Whose anchors and issuer to tell, and to rotate.
    pub keeper: Arc<Keeper>,
    /// How we prove ourselves to proxies.
    pub credentials: Credentials,
    /// Owns taps.
    pub tasks: Tasks,
    /// Discovery streams that are open.
    pub streams: Arc<AtomicUsize>,
    /// Our trust domain.
    pub trust_domain: String,
    /// Where the model comes from.
    pub source: String,
    /// When we began.
    pub started: Instant,
}

fn window(seconds: u32) -> Duration {
    Duration::from_secs(if seconds == 0 { 60 } else { u64::from(seconds.min(600)) })
}

/// The first [`ERRORS_MAX`], and how many more there are.
fn errors(problems: &[Problem]) -> Vec<String> {
    let mut errors: Vec<String> = problems.iter().take(ERRORS_MAX).map(ToString::to_string).collect();
    if problems.len() > ERRORS_MAX {
        errors.push(format!("and {} more; the log has them all", problems.len() - ERRORS_MAX));
    }
    errors
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[tonic::async_trait]
impl Operator for Service {
    async fn info(&self, request: Request<api::InfoRequest>) -> Result<Response<api::InfoResponse>, Status> {
        // Errors of the source name objects of any namespace.
        let everywhere = self.access.check_known(&request, Deed::View).await?;
        let parts = &self.parts;
        let (services, pods, endpoints) = parts.store.read(crate::model::Model::sizes);
        let problems = if everywhere { parts.store.problems() } else { Vec::new() };
        Ok(Response::new(api::InfoResponse {
            version: build::VERSION.to_owned(),
            trust_domain: parts.trust_domain.clone(),
            uptime_s: parts.started.elapsed().as_secs(),
            trust_anchors: parts.keeper.authority.anchors().iter().map(anchor).collect(),
            issuer_not_before_unix_s: unix_s(parts.keeper.authority.issuer_not_before()),
            issuer_not_after_unix_s: unix_s(parts.keeper.authority.issuer_not_after()),
            source: parts.source.clone(),
            services: count(services),
            pods: count(pods),
            endpoints: count(endpoints),
            proxies_connected: count(parts.streams.load(Ordering::Relaxed)),
            source_errors: errors(&problems),
        }))
    }

    async fn identity(
        &self,
        request: Request<api::IdentityRequest>,
    ) -> Result<Response<api::IdentityResponse>, Status> {
        self.access.check(&request, Deed::ShowIdentity, "").await?;
        Ok(Response::new(self.parts.identity()))
    }

    async fn rotate(
        &self,
        request: Request<api::RotateRequest>,
    ) -> Result<Response<api::IdentityResponse>, Status> {
        self.access.check(&request, Deed::Rotate, "").await?;
        let what = match request.into_inner().what() {
            api::rotate_request::What::Issuer => What::Issuer,
            api::rotate_request::What::TrustAnchor => What::Anchor,
            api::rotate_request::What::Unspecified => {
                return Err(Status::invalid_argument("say what to rotate: the issuer or the trust anchor"));
            }
        };
        tracing::info!(?what, "a rotation was asked for");
        let begun = Box::pin(self.parts.keeper.rotate(what)).await;
        begun.map_err(|error| Status::failed_precondition(format!("{error:#}")))?;
        Ok(Response::new(self.parts.identity()))
    }

    async fn stat(&self, request: Request<api::StatRequest>) -> Result<Response<api::StatResponse>, Status> {
        self.may(&request, Deed::View, |asked| asked.resource.as_ref()).await?;
        let (request, parts) = (request.into_inner(), &self.parts);
        let (window, now) = (window(request.window_s), Instant::now());
        let reported = parts.aggregate.over(window, now);
        let covered = parts.aggregate.covered(window, now);
        let resource = request.resource.unwrap_or_default();
        let ends = (request.to.as_ref(), request.from.as_ref());
        check_ends(&resource, ends)?;
        let rows = parts.store.read(|model| rows::stat(model, &reported, &resource, ends, covered));
        Ok(Response::new(api::StatResponse { rows }))
    }

    async fn edges(
        &self,
        request: Request<api::EdgesRequest>,
    ) -> Result<Response<api::EdgesResponse>, Status> {
        self.may(&request, Deed::View, |asked| asked.resource.as_ref()).await?;
        let (request, parts) = (request.into_inner(), &self.parts);
        let (window, now) = (window(request.window_s), Instant::now());
        let reported = parts.aggregate.over(window, now);
        let covered = parts.aggregate.covered(window, now);
        let edges = rows::edges(&reported, &request.resource.unwrap_or_default(), covered);
        Ok(Response::new(api::EdgesResponse { edges }))
    }

    async fn proxies(
        &self,
        request: Request<api::ProxiesRequest>,
    ) -> Result<Response<api::ProxiesResponse>, Status> {
        self.may(&request, Deed::View, |asked| asked.resource.as_ref()).await?;
        let resource = request.into_inner().resource.unwrap_or_default();
        let heard = self.parts.aggregate.proxies();
        let mut proxies = self.parts.store.read(|model| {
            let meant = tap::resolve(model, &resource);
            let row = |proxy: proxies::Proxy| {
                let workload = model.pod(&proxy.pod).map(|pod| model.workload_of(pod)).unwrap_or_default();
                let state = heard.get(&proxy.pod);
                let stats = state.map(|state| state.stats.clone()).unwrap_or_default();
                let ago = state.map(|state| state.heard.elapsed());
                api::Proxy {
                    pod: Some(conduit_api::common::v1::PodRef { namespace: proxy.pod.0, name: proxy.pod.1 }),
                    workload: Some((&workload).into()),
                    ip: proxy.ip.to_string(),
                    version: stats.version,
                    connected: ago.is_some_and(|ago| ago < HEARD_WITHIN),
                    rss_bytes: stats.rss_bytes,
                    cpu_seconds: stats.cpu_seconds,
                    requests: stats.requests_total,
                    open_connections: stats.open_connections,
                    certificate_not_after_unix_s: stats.certificate_not_after_unix_s,
                    last_report_ms_ago: ago
                        .map_or(u64::MAX, |ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
                    uptime_s: stats.uptime_s,
                }
            };
            meant.into_iter().map(row).collect::<Vec<_>>()
        });
        proxies.sort_by(|a, b| a.pod.as_ref().map(|p| &p.name).cmp(&b.pod.as_ref().map(|p| &p.name)));
        Ok(Response::new(api::ProxiesResponse { proxies }))
    }

    type TapStream = Pin<Box<dyn Stream<Item = Result<TapEvent, Status>> + Send>>;

    async fn tap(&self, request: Request<api::TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        self.may(&request, Deed::Tap, |asked| asked.resource.as_ref()).await?;
        let (request, parts) = (request.into_inner(), &self.parts);
        let resource = request.resource.clone().unwrap_or_default();
        let proxies = parts.store.read(|model| tap::resolve(model, &resource).len());
        if proxies == 0 {
            return Err(Status::not_found("no meshed pod matches: `conduit stat` lists what there is"));
        }
        if proxies > tap::PROXIES_MAX {
            tracing::warn!(pods = proxies, max = tap::PROXIES_MAX, "a tap asks the first pods only");
        }
        let (events, outgoing) = mpsc::channel(tap::EVENTS_MAX);
        let (store, credentials) = (parts.store.clone(), parts.credentials.clone());
        tap::Fanout { store, credentials, request, events, lost: tap::Lost::default() }.start(&parts.tasks);
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn inspect(
        &self,
        request: Request<api::PodInspectRequest>,
    ) -> Result<Response<InspectResponse>, Status> {
        let pod = request.get_ref().pod.clone().unwrap_or_default();
        let name = (if pod.namespace.is_empty() { "default".to_owned() } else { pod.namespace }, pod.name);
        self.access.check(&request, Deed::View, &name.0).await?;
        let request = request.into_inner();
        let found = self
            .parts
            .store
            .read(|model| model.pod(&name).map(|pod| (name_of(&pod.metadata), proxies::of(model, pod))));
        let proxy = match found {
            Some((_, Some(proxy))) => proxy,
            Some((name, None)) => {
                return Err(Status::not_found(format!("pod {}/{} has no proxy", name.0, name.1)));
            }
            None => return Err(Status::not_found(format!("there is no pod {}/{}", name.0, name.1))),
        };
        let call = async {
            let channel = proxies::open(&self.parts.credentials, &proxy)
                .await
                .map_err(|e| Status::unavailable(describe(&e)))?;
            InspectClient::new(channel).inspect(InspectRequest { kind: request.kind }).await
        };
        let late = |_| Status::unavailable("the proxy did not answer in time");
        tokio::time::timeout(INSPECT_TIMEOUT, call).await.map_err(late)?
    }
}

impl Service {
    /// Lets a call about a resource pass if its caller may in the resource's namespace: everywhere, where it names none.
    async fn may<T>(
        &self,
        request: &Request<T>,
        deed: Deed,
        resource: impl Fn(&T) -> Option<&api::Resource>,
    ) -> Result<(), Status> {
        let namespace = resource(request.get_ref()).map(|resource| resource.namespace.as_str());
        self.access.check(request, deed, namespace.unwrap_or_default()).await
    }
}

impl Parts {
    fn identity(&self) -> api::IdentityResponse {
        let authority = &self.keeper.authority;
        let material = authority.material();
        let rotation = material.rotation.as_ref();
        api::IdentityResponse {
            trust_domain: self.trust_domain.clone(),
            trust_anchors: authority.anchors().iter().map(anchor).collect(),
            issuer: Some(anchor(&authority.issuer())),
            certificate_lifetime_s: authority.lifetime().as_secs(),
            phase: rotation.map(Rotation::phase).unwrap_or_default().to_owned(),
            phase_since_unix_s: rotation.map(Rotation::since).unwrap_or_default(),
            phase_until_unix_s: rotation.map(Rotation::until).unwrap_or_default(),
            rotates: material.anchor_key.is_some(),
            origin: self.keeper.vault.origin(),
        }
    }
}

/// A certificate of an authority, by digest and validity.
fn anchor(der: &CertificateDer<'_>) -> api::TrustAnchor {
    let parsed = x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed.validity().clone());
    let unix = |time: i64| u64::try_from(time).unwrap_or(0);
    api::TrustAnchor {
        sha256: digest(der),
        not_before_unix_s: parsed.as_ref().map_or(0, |valid| unix(valid.not_before.timestamp())),
        not_after_unix_s: parsed.as_ref().map_or(0, |valid| unix(valid.not_after.timestamp())),
    }
}

/// What `to` and `from` can be asked of.
fn check_ends(
    resource: &api::Resource,
    (to, from): (Option<&api::Resource>, Option<&api::Resource>),
) -> Result<(), Status> {
    let why = match (resource.kind.as_str(), to, from) {
        (_, Some(_), Some(_)) => "give one of `to` and `from`: each names one end, the resource is the other",
        ("Service", Some(_), _) => "a service sends nothing: ask for `from`, or for a workload",
        ("Pod", _, Some(_)) => "what a source sends to a single pod is not known: ask for its workload",
        _ => return Ok(()),
    };
    Err(Status::invalid_argument(why))
}

/// SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let hash = provider.cipher_suites.iter().find_map(|suite| match suite {
        rustls::SupportedCipherSuite::Tls13(suite) if suite.common.hash_provider.output_len() == 32 => {
            Some(suite.common.hash_provider.hash(bytes))
        }
        _ => None,
    });
    hash.map(|hash| hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
}
