//! An operator API with given answers, on a unix socket in a directory of its own, ended when it is dropped.

use std::path::Path;
use std::pin::Pin;
use std::thread::JoinHandle;

use conduit_api::common::v1::{Direction, PodRef, Protocol, SocketAddress, WorkloadRef};
use conduit_api::operator::v1::operator_server::{Operator, OperatorServer};
use conduit_api::operator::v1::*;
use conduit_api::tap::v1::{Dropped, End, InspectResponse, Peer, RequestStart, TapEvent, tap_event};
use futures_util::{Stream, StreamExt, stream};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// What the API answers.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub version: String,
    pub source_errors: Vec<String>,
    /// The tap goes on and on instead of ending after a request.
    pub endless_tap: bool,
}

/// A running API.
pub(crate) struct Controller {
    dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    /// Serves `answers`; the socket is there when this returns.
    pub(crate) fn start(answers: Answers) -> Self {
        let dir = TempDir::new().unwrap();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(dir.path().join("operator.sock")).unwrap()
        };
        let served = Server::builder()
            .add_service(OperatorServer::new(answers))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async { drop(stopped.await) });
        let thread = std::thread::spawn(move || runtime.block_on(served).unwrap());
        Self { dir, stop: Some(stop), thread: Some(thread) }
    }

    /// The local world's directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// A controller of the same version as the command.
pub(crate) fn healthy() -> Answers {
    Answers { version: env!("CARGO_PKG_VERSION").into(), ..Answers::default() }
}

fn workload(name: &str) -> WorkloadRef {
    WorkloadRef { namespace: "default".into(), kind: "Deployment".into(), name: name.into() }
}

fn golden() -> Golden {
    Golden {
        requests: 600,
        failures: 6,
        success_rate: 0.99,
        rps: 10.0,
        p50_ms: 0.758,
        p95_ms: 2.5,
        p99_ms: 12.34,
        ..Golden::default()
    }
}

fn peer(last: u8, name: &str) -> Option<Peer> {
    let address = SocketAddress { ip: vec![10, 77, 0, last], port: 8080 };
    Some(Peer { address: Some(address), workload: Some(workload(name)), ..Peer::default() })
}

fn event(id: u64, event: tap_event::Event) -> TapEvent {
    TapEvent {
        id,
        pod: Some(PodRef { namespace: "default".into(), name: "web-1".into() }),
        direction: Direction::Inbound.into(),
        protocol: Protocol::Http1.into(),
        source: peer(3, "front"),
        destination: peer(4, "web"),
        event: Some(event),
        ..TapEvent::default()
    }
}

fn exchange(id: u64) -> [TapEvent; 2] {
    let start = RequestStart {
        method: "GET".into(),
        scheme: "http".into(),
        authority: "web:8080".into(),
        path: "/a".into(),
    };
    let end = End { duration_us: 1500, response_bytes: 5, status: 200, ..End::default() };
    [event(id, tap_event::Event::RequestStart(start)), event(id, tap_event::Event::End(end))]
}

#[tonic::async_trait]
impl Operator for Answers {
    type TapStream = Pin<Box<dyn Stream<Item = Result<TapEvent, Status>> + Send>>;

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        const YEAR_2100: u64 = 4_102_444_800;
        Ok(Response::new(InfoResponse {
            version: self.version.clone(),
            trust_anchors: vec![TrustAnchor {
                sha256: "ab".into(),
                not_after_unix_s: YEAR_2100,
                not_before_unix_s: 1,
            }],
            issuer_not_after_unix_s: YEAR_2100,
            source: "files: /manifests".into(),
            source_errors: self.source_errors.clone(),
            ..InfoResponse::default()
        }))
    }

    async fn identity(&self, _: Request<IdentityRequest>) -> Result<Response<IdentityResponse>, Status> {
        let anchor = TrustAnchor { sha256: "ab".into(), ..TrustAnchor::default() };
        Ok(Response::new(IdentityResponse {
            trust_domain: "cluster.local".into(),
            trust_anchors: vec![anchor],
            rotates: true,
            ..IdentityResponse::default()
        }))
    }

    async fn rotate(&self, _: Request<RotateRequest>) -> Result<Response<IdentityResponse>, Status> {
        Err(Status::failed_precondition("the trust anchor's key is not kept here"))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let wanted = request.into_inner().resource.unwrap_or_default();
        if !["", "web"].contains(&wanted.name.as_str()) {
            return Ok(Response::new(StatResponse::default()));
        }
        let resource =
            Resource { namespace: "default".into(), kind: "Deployment".into(), name: "web".into() };
        let row = StatRow {
            resource: Some(resource),
            pods_meshed: 1,
            pods_total: 1,
            golden: Some(golden()),
            secured_share: 1.0,
            protocols: vec![Protocol::Http1.into()],
        };
        Ok(Response::new(StatResponse { rows: vec![row] }))
    }

    async fn edges(&self, _: Request<EdgesRequest>) -> Result<Response<EdgesResponse>, Status> {
        let edge = Edge {
            source: Some(workload("front")),
            destination: Some(workload("web")),
            protocol: Protocol::Http1.into(),
            secured: true,
            golden: Some(golden()),
            ..Edge::default()
        };
        Ok(Response::new(EdgesResponse { edges: vec![edge] }))
    }

    async fn proxies(&self, _: Request<ProxiesRequest>) -> Result<Response<ProxiesResponse>, Status> {
        Ok(Response::new(ProxiesResponse::default()))
    }

    async fn tap(&self, request: Request<TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        if request.into_inner().resource.unwrap_or_default().name == "nobody" {
            return Err(Status::not_found("no meshed pod matches"));
        }
        if self.endless_tap {
            let requests = stream::iter(0..).flat_map(|id| stream::iter(exchange_ok(id)));
            return Ok(Response::new(requests.boxed()));
        }
        let dropped = event(0, tap_event::Event::Dropped(Dropped { events: 12, requests: 0 }));
        let events = exchange(1).into_iter().chain([dropped]).map(Ok).collect::<Vec<_>>();
        Ok(Response::new(stream::iter(events).boxed()))
    }

    async fn inspect(
        &self,
        request: Request<PodInspectRequest>,
    ) -> Result<Response<InspectResponse>, Status> {
        match request.into_inner().pod.unwrap_or_default().name.as_str() {
            "web-1" => Ok(Response::new(InspectResponse { text: "# EOF\n".into() })),
            "web-2" => Err(Status::unavailable("the proxy does not answer")),
            _ => Err(Status::not_found("no such pod")),
        }
    }
}

fn exchange_ok(id: u64) -> [Result<TapEvent, Status>; 2] {
    exchange(id).map(Ok)
}
