use super::*;
use crate::control::fake::{Authority, CONTROLLER, DEADLINE, WEB, config, serve, until};
use crate::control::{Discovery, Lookup};
use conduit_api::common::v1::PodRef;
use conduit_api::discovery::v1::discovery_server::{self, DiscoveryServer};
use conduit_api::discovery::v1::{Endpoint, Inbound, Outbound, Unknown};
use conduit_process::ready::Readiness;
use conduit_process::tasks::Tasks;
use conduit_tls::ClientAuth;
use std::path::Path;
use tonic::{Request, Response, Status};
use watch_response::State;

/// One discovery stream, from the controller's side.
struct Session {
    requests: Streaming<WatchRequest>,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
}

struct Fake(mpsc::Sender<Session>);

#[tonic::async_trait]
impl discovery_server::Discovery for Fake {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;
    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, outgoing) = mpsc::channel(16);
        _ = self.0.send(Session { requests: request.into_inner(), answers }).await;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl Session {
    async fn request(&mut self) -> WatchRequest {
        tokio::time::timeout(DEADLINE, self.requests.message()).await.unwrap().unwrap().unwrap()
    }

    async fn answer(&self, kind: target::Kind, state: State) {
        let target = Some(Target { kind: Some(kind) });
        self.answers.send(Ok(WatchResponse { target, state: Some(state) })).await.unwrap();
    }
}

fn own_pod() -> PodRef {
    PodRef { namespace: "shop".into(), name: "web-1".into() }
}

fn outbound(text: &str) -> target::Kind {
    target::Kind::Outbound(text.parse::<SocketAddr>().unwrap().into())
}

fn endpoint(addr: &str, identity: &str) -> State {
    let address = Some(addr.parse::<SocketAddr>().unwrap().into());
    let endpoint = Endpoint { address, identity: identity.to_owned(), ..Endpoint::default() };
    State::Outbound(Outbound { endpoints: vec![endpoint], ..Outbound::default() })
}

struct World {
    tasks: Tasks,
    sessions: mpsc::Receiver<Session>,
    discovery: Discovery,
    readiness: Readiness,
    telemetry: Arc<Telemetry>,
}

async fn world(more: &[&str]) -> World {
    let (authority, tasks, readiness, telemetry) =
        (Authority::new(), Tasks::new(), Readiness::new(), Telemetry::new());
    let (send, sessions) = mpsc::channel(4);
    let service = DiscoveryServer::new(Fake(send));
    let addr = serve(service, &authority.credentials(CONTROLLER), ClientAuth::Required, &tasks).await;
    let config = config(addr, Path::new("/none"), more);
    let discovery = Discovery::start(&config, &authority.credentials(WEB), &tasks, &readiness, &telemetry);
    World { tasks, sessions, discovery, readiness, telemetry }
}

impl World {
    async fn session(&mut self) -> Session {
        tokio::time::timeout(DEADLINE, self.sessions.recv()).await.unwrap().unwrap()
    }
}

fn first(watch: &crate::control::DestinationWatch) -> SocketAddr {
    watch.borrow().as_ref().unwrap().endpoints[0].addr
}

#[tokio::test]
async fn an_address_is_asked_for_once_and_followed_from_then_on() {
    let mut world = world(&[]).await;
    let mut session = world.session().await;
    let hello = session.request().await;
    assert_eq!(hello.pod, Some(own_pod()));
    assert_eq!(hello.subscribe, vec![Target { kind: Some(target::Kind::Inbound(own_pod())) }]);
    assert!(!world.readiness.is_ready());
    session.answer(target::Kind::Inbound(own_pod()), State::Inbound(Inbound::default())).await;
    until("ready", || world.readiness.is_ready()).await;

    let web = "10.2.0.1:80";
    let answering = async {
        let request = session.request().await;
        assert_eq!(request.subscribe, vec![Target { kind: Some(outbound(web)) }]);
        session.answer(outbound(web), endpoint("10.1.0.7:8080", "")).await;
    };
    let (lookup, ()) = tokio::join!(world.discovery.outbound(web.parse().unwrap()), answering);
    let Lookup::Known(mut watch) = lookup else { panic!("{lookup:?}") };
    assert_eq!(first(&watch), "10.1.0.7:8080".parse().unwrap());

    // Known, then unknown: the one who follows it is told.
    session.answer(outbound(web), State::Unknown(Unknown {})).await;
    tokio::time::timeout(DEADLINE, watch.wait_for(Option::is_none)).await.unwrap().unwrap();
    world.tasks.stop();
}

#[tokio::test]
async fn what_the_controller_knows_nothing_of_is_told_apart_from_silence() {
    let mut world = world(&["--discovery-timeout=200ms"]).await;
    let mut session = world.session().await;
    session.request().await;
    let (unknown, silent) = ("10.2.0.2:80", "10.2.0.3:80");
    let answering = async {
        session.request().await;
        session.answer(outbound(unknown), State::Unknown(Unknown {})).await;
    };
    let (lookup, ()) = tokio::join!(world.discovery.outbound(unknown.parse().unwrap()), answering);
    assert!(matches!(lookup, Lookup::Passthrough), "{lookup:?}");
    let lookup = world.discovery.outbound(silent.parse().unwrap()).await;
    assert!(matches!(lookup, Lookup::Unanswered), "{lookup:?}");
    world.tasks.stop();
}

#[tokio::test]
async fn what_was_known_is_served_through_an_outage_and_subscribed_again_after_it() {
    let mut world = world(&[]).await;
    let mut session = world.session().await;
    session.request().await;
    let web = "10.2.0.1:80";
    let answering = async {
        session.request().await;
        session.answer(outbound(web), endpoint("10.1.0.7:8080", "")).await;
    };
    let (lookup, ()) = tokio::join!(world.discovery.outbound(web.parse().unwrap()), answering);
    let Lookup::Known(mut watch) = lookup else { panic!("{lookup:?}") };

    drop(session);
    let mut session = world.session().await;
    let again = session.request().await;
    assert!(again.subscribe.contains(&Target { kind: Some(outbound(web)) }), "{again:?}");
    assert_eq!(first(&watch), "10.1.0.7:8080".parse().unwrap());
    let lookup = world.discovery.outbound(web.parse().unwrap()).await;
    assert!(matches!(lookup, Lookup::Known(_)), "{lookup:?}");

    // An answer without meaning changes nothing and is counted; the next good one is taken.
    watch.mark_unchanged();
    session.answer(outbound(web), endpoint("10.1.0.8:8080", "not an identity")).await;
    until("rejected", || world.telemetry.discovery_rejected.load(Ordering::Relaxed) == 1).await;
    assert_eq!(first(&watch), "10.1.0.7:8080".parse().unwrap());
    session.answer(outbound(web), endpoint("10.1.0.9:8080", "")).await;
    tokio::time::timeout(DEADLINE, watch.changed()).await.unwrap().unwrap();
    assert_eq!(first(&watch), "10.1.0.9:8080".parse().unwrap());
    world.tasks.stop();
}

#[tokio::test]
async fn an_address_that_was_forgotten_and_is_asked_for_at_once_is_subscribed_again() {
    let authority = Authority::new();
    let config = config("127.0.0.1:1".parse().unwrap(), Path::new("/none"), &["--discovery-timeout=1ms"]);
    let (tasks, readiness, telemetry) = (Tasks::new(), Readiness::new(), Telemetry::new());
    let credentials = authority.credentials(WEB);
    let discovery = Discovery::start(&config, &credentials, &tasks, &readiness, &telemetry);
    tasks.stop();
    let shared = discovery.shared().clone();
    let follow = Follow { config, credentials, shared, telemetry, gate: readiness.gate("test") };
    let addr: SocketAddr = "10.2.0.1:80".parse().unwrap();
    let wanted = vec![target(&addr)];
    let mut subscribed = HashSet::new();

    _ = discovery.outbound(addr).await;
    assert_eq!(follow.changes(&mut subscribed).subscribe, wanted);
    assert_eq!(follow.forget(&mut subscribed).unsubscribe, wanted);
    // Between forgetting and the next comparison the traffic asks again.
    _ = discovery.outbound(addr).await;
    assert_eq!(follow.changes(&mut subscribed).subscribe, wanted);
}
