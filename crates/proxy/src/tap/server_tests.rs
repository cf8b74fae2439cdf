use super::*;
use crate::control::channel;
use crate::control::fake::{Authority, CONTROLLER, DEADLINE, WEB, config, until};
use crate::tap::{EndFacts, StartFacts};
use api::inspect_client::InspectClient;
use api::tap_client::TapClient;
use conduit_logic::words::{Direction, Pod, Protocol};
use std::net::SocketAddr;
use std::path::Path;
use tonic::Code;
use tonic::transport::Channel;

struct World {
    authority: Authority,
    addr: SocketAddr,
    hub: Arc<Hub>,
    telemetry: Arc<Telemetry>,
    tasks: Tasks,
}

async fn world() -> World {
    let (authority, hub, telemetry, tasks) =
        (Authority::new(), Hub::new(Arc::default()), Telemetry::new(), Tasks::new());
    let credentials = authority.credentials(WEB);
    let config = config("127.0.0.1:1".parse().unwrap(), Path::new("/none"), &[]);
    let inspect = Inspect::new(&config, &credentials, &telemetry, Arc::new(|| "[]".to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    serve(listener, &config, &credentials, &hub, inspect, &tasks);
    World { authority, addr, hub, telemetry, tasks }
}

impl World {
    /// A client of the control port that proves to be `identity`.
    fn client(&self, identity: &str) -> Channel {
        let server = format!("--controller-identity={WEB}");
        let config = config(self.addr, Path::new("/none"), &[&server, "--connect-timeout=10s"]);
        channel::open(&config, &self.authority.credentials(identity), false).unwrap()
    }

    fn exchange(&self) {
        let addr: SocketAddr = "10.1.0.2:8080".parse().unwrap();
        let ticket = self.hub.start(&StartFacts {
            direction: Direction::Inbound,
            protocol: Protocol::Http1,
            source: addr,
            destination: addr,
            workload: Workload::default(),
            pod: Pod::default(),
            service: None,
            tls: None,
            method: "GET".into(),
            scheme: "http".into(),
            authority: "web".into(),
            path: "/".into(),
        });
        let end =
            EndFacts { request_bytes: 1, response_bytes: 2, grpc_status: None, status: 200, failure: None };
        ticket.unwrap().end(end);
    }
}

#[tokio::test]
async fn only_the_controller_is_served() {
    let world = world().await;
    let inspect = |identity: &str| {
        let mut client = InspectClient::new(world.client(identity));
        async move {
            let kind = api::inspect_request::Kind::Certificate.into();
            client.inspect(api::InspectRequest { kind }).await
        }
    };
    let shown = inspect(CONTROLLER).await.unwrap().into_inner().text;
    assert!(shown.contains(WEB), "{shown}");
    for stranger in [WEB, "spiffe://cluster.local/ns/shop/sa/conduit-controller"] {
        let refused = inspect(stranger).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        let refused = TapClient::new(world.client(stranger))
            .observe(api::ObserveRequest::default())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    assert!(!world.hub.active());
    world.tasks.stop();
}

#[tokio::test]
async fn strangers_cannot_crowd_the_controller_out() {
    let world = world().await;
    let mut strangers = Vec::new();
    let mut turned_away = 0;
    for _ in 0..STRANGERS_MAX + 3 {
        let mut client = InspectClient::new(world.client(WEB));
        let refused = client.inspect(api::InspectRequest::default()).await.unwrap_err();
        turned_away += usize::from(refused.code() != Code::PermissionDenied);
        strangers.push(client);
    }
    assert_eq!(turned_away, 3);
    let mut controller = InspectClient::new(world.client(CONTROLLER));
    let kind = api::inspect_request::Kind::Endpoints.into();
    assert_eq!(controller.inspect(api::InspectRequest { kind }).await.unwrap().into_inner().text, "[]");
    world.tasks.stop();
}

#[tokio::test]
async fn a_tap_gets_events_with_the_pods_name_and_is_told_what_it_missed() {
    let world = world().await;
    let mut client = TapClient::new(world.client(CONTROLLER));
    let mut events = client.observe(api::ObserveRequest::default()).await.unwrap().into_inner();
    until("tapped", || world.hub.active()).await;
    for _ in 0..1000 {
        world.exchange();
    }
    let mut seen = 0;
    let told = loop {
        let event = tokio::time::timeout(DEADLINE, events.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.pod.unwrap().name, "web-1");
        match event.event.unwrap() {
            api::tap_event::Event::Dropped(dropped) => break dropped.events,
            _ => seen += 1,
        }
    };
    assert!(told > 0 && told + seen <= 2000, "{told} lost, {seen} seen");
    assert_eq!(world.telemetry.tap_dropped.load(Ordering::Relaxed), told);
    drop((events, client));
    until("ended", || !world.hub.active()).await;
    world.tasks.stop();
}

#[test]
fn a_filter_that_cannot_be_read_is_refused() {
    assert_eq!(filter(api::Filter::default()).unwrap(), Filter::default());
    assert!(filter(api::Filter { port: 70_000, ..api::Filter::default() }).unwrap_err().contains("70000"));
    let error =
        filter(api::Filter { source_ip: "10.0.0.0/40".into(), ..api::Filter::default() }).unwrap_err();
    assert!(error.contains("10.0.0.0/40"), "{error}");
}
