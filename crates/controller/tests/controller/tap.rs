//! Tap and inspect, with control ports of proxies that are made here: who is asked, how they are named, and what fails loudly.

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::net::Ipv4Addr;
use std::pin::Pin;

use conduit_api::common::v1::{Direction, PodRef};
use conduit_api::operator::v1::{PodInspectRequest, Resource, TapRequest};
use conduit_api::tap::v1::inspect_server::{Inspect, InspectServer};
use conduit_api::tap::v1::tap_server::{Tap, TapServer};
use conduit_api::tap::v1::{
    InspectRequest, InspectResponse, ObserveRequest, Peer, RequestStart, TapEvent, tap_event,
};
use conduit_controller::serve::listener::{self, Caller};
use conduit_process::tasks::Tasks;
use conduit_tls::{ClientAuth, Credentials};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

use crate::world::{World, in_time, loopback, pod};

/// A proxy that shows what it is given, and says who asked for what.
#[derive(Clone)]
struct Proxy {
    shows: Vec<TapEvent>,
}

#[tonic::async_trait]
impl Tap for Proxy {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<TapEvent, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        controller(&request)?;
        let shown = tokio_stream::iter(self.shows.clone().into_iter().map(Ok)).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(shown)))
    }
}

#[tonic::async_trait]
impl Inspect for Proxy {
    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        controller(&request)?;
        Ok(Response::new(InspectResponse { text: format!("kind {}", request.get_ref().kind) }))
    }
}

fn controller<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Workload(peer)) if peer.service_account() == "conduit-controller" => Ok(()),
        other => Err(Status::permission_denied(format!("{other:?}"))),
    }
}

/// Serves a proxy's control port at `ip`.
async fn serve(ip: Ipv4Addr, credentials: &Credentials, proxy: Proxy) {
    let socket = tokio::net::TcpListener::bind((ip, 4190)).await.unwrap();
    let acceptor = TlsAcceptor::from(credentials.server_config(ClientAuth::Required, &[b"h2"]));
    let (accepted, incoming) = mpsc::channel(1);
    let accepting = listener::Accepting {
        listener: socket,
        acceptor: move || acceptor.clone(),
        read: listener::workload,
        connections_max: listener::PROXY_CONNECTIONS_MAX,
        strangers_max: None,
    };
    tokio::spawn(listener::accept(accepting, accepted, Tasks::new()));
    let server =
        Server::builder().add_service(TapServer::new(proxy.clone())).add_service(InspectServer::new(proxy));
    tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
}

fn request_to(path: &str, source: Ipv4Addr, destination: Ipv4Addr) -> TapEvent {
    let peer = |ip: Ipv4Addr, port: u16| {
        Some(Peer { address: Some(std::net::SocketAddr::from((ip, port)).into()), ..Peer::default() })
    };
    let start = RequestStart { path: path.into(), ..RequestStart::default() };
    TapEvent {
        direction: Direction::Outbound.into(),
        source: peer(source, 40_000),
        destination: peer(destination, 8080),
        event: Some(tap_event::Event::RequestStart(start)),
        ..TapEvent::default()
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource { namespace: "shop".into(), kind: "Deployment".into(), name: name.into() })
}

async fn next(events: &mut tonic::Streaming<TapEvent>) -> (String, TapEvent) {
    let event = in_time("an event", events.message()).await.unwrap().unwrap();
    match &event.event {
        Some(tap_event::Event::RequestStart(start)) => (start.path.clone(), event),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tap_merges_what_the_pods_of_a_resource_see_and_adds_names() {
    let [web, web_2, api, db] = [(); 4].map(|()| loopback());
    let manifests =
        pod("web", 1, &web.to_string()) + &pod("api", 1, &api.to_string()) + &pod("db", 1, &db.to_string());
    let world = World::start(&manifests).await;
    let credentials = world.credentials("web").await;
    serve(web, &credentials, Proxy { shows: vec![request_to("/api", web, api), request_to("/db", web, db)] })
        .await;
    serve(web_2, &credentials, Proxy { shows: vec![request_to("/late", web_2, api)] }).await;

    let all = TapRequest { resource: resource("web"), ..TapRequest::default() };
    let mut events = world.operator().await.tap(all).await.unwrap().into_inner();
    let (path, event) = next(&mut events).await;
    assert_eq!(path, "/api");
    let name = |peer: &Option<Peer>| peer.as_ref().unwrap().workload.as_ref().unwrap().name.clone();
    assert_eq!((name(&event.source), name(&event.destination)), ("web".to_owned(), "api".to_owned()));
    assert_eq!(event.destination.unwrap().pod.unwrap().name, "api-1");
    assert_eq!(next(&mut events).await.0, "/db");
    world.write("more.yaml", &pod("web", 2, &web_2.to_string()));
    assert_eq!(next(&mut events).await.0, "/late", "a pod that came later is asked too");

    let to = TapRequest { resource: resource("web"), to: resource("db"), ..TapRequest::default() };
    let mut events = world.operator().await.tap(to).await.unwrap().into_inner();
    assert_eq!(next(&mut events).await.0, "/db");
}

#[tokio::test]
async fn a_tap_that_no_proxy_answers_ends_and_says_why() {
    let ip = loopback();
    let world = World::start(&pod("web", 1, &ip.to_string())).await;
    let tap = || async {
        let request = TapRequest { resource: resource("web"), ..TapRequest::default() };
        let mut events = world.operator().await.tap(request).await.unwrap().into_inner();
        in_time("the end", events.message()).await.unwrap_err()
    };
    let status = tap().await;
    assert!(status.code() == Code::Unavailable && status.message().contains("shop/web-1"), "{status}");
    // One that proves to be another pod is not believed.
    serve(ip, &world.credentials("api").await, Proxy { shows: vec![] }).await;
    let status = tap().await;
    assert!(status.code() == Code::Unavailable && status.message().contains("sa/api"), "{status}");
}

#[tokio::test]
async fn an_inspection_is_passed_on_to_the_pods_proxy() {
    let (ip, silent) = (loopback(), loopback());
    let world = World::start(&(pod("web", 1, &ip.to_string()) + &pod("web", 2, &silent.to_string()))).await;
    serve(ip, &world.credentials("web").await, Proxy { shows: vec![] }).await;
    let ask = |name: &str| PodInspectRequest {
        pod: Some(PodRef { namespace: "shop".into(), name: name.into() }),
        kind: 3,
    };
    let mut operator = world.operator().await;
    assert_eq!(operator.inspect(ask("web-1")).await.unwrap().into_inner().text, "kind 3");
    assert_eq!(operator.inspect(ask("web-2")).await.unwrap_err().code(), Code::Unavailable);
}
