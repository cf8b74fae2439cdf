//! What a proxy hears of the addresses that it follows, and what it may follow.

use conduit_api::common::v1::PodRef;
use conduit_api::discovery::v1::discovery_client::DiscoveryClient;
use conduit_api::discovery::v1::watch_response::State;
use conduit_api::discovery::v1::{Target, WatchRequest, WatchResponse, target};
use conduit_logic::words::{Declared, Destination, InboundPod};
use conduit_tls::Credentials;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::world::{World, in_time, pod, service, slice};

const WEB: &str = "10.96.0.1:80";
const API: &str = "10.1.0.3:8080";

fn manifests() -> String {
    pod("web", 1, "10.1.0.1")
        + &pod("web", 2, "10.1.0.2")
        + &pod("api", 1, "10.1.0.3")
        + &service("web", "10.96.0.1", 80, "http")
}

fn outbound(addr: &str) -> Target {
    let addr: std::net::SocketAddr = addr.parse().unwrap();
    Target { kind: Some(target::Kind::Outbound(addr.into())) }
}

fn pod_ref(name: &str) -> PodRef {
    PodRef { namespace: "shop".into(), name: name.into() }
}

fn inbound(name: &str) -> Target {
    Target { kind: Some(target::Kind::Inbound(pod_ref(name))) }
}

fn first(pod: &str, subscribe: Vec<Target>) -> WatchRequest {
    WatchRequest { pod: Some(pod_ref(pod)), subscribe, ..WatchRequest::default() }
}

/// One proxy's stream.
struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

async fn watch(world: &World, credentials: &Credentials, first: WatchRequest) -> Result<Stream, Status> {
    let (requests, outgoing) = mpsc::channel(4);
    requests.send(first).await.unwrap();
    let mut client = DiscoveryClient::new(world.channel(credentials));
    let call = client.watch(ReceiverStream::new(outgoing));
    Ok(Stream { requests, answers: in_time("watch", call).await?.into_inner() })
}

impl Stream {
    async fn next(&mut self) -> Result<WatchResponse, Status> {
        in_time("an answer", self.answers.message()).await.map(|answer| answer.expect("the stream goes on"))
    }

    async fn destination(&mut self) -> Destination {
        match self.next().await.unwrap().state.unwrap() {
            State::Outbound(outbound) => outbound.try_into().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn addrs(destination: &Destination) -> Vec<String> {
    destination.endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect()
}

#[tokio::test]
async fn a_changed_endpoint_slice_reaches_a_subscriber() {
    let world = World::start(&manifests()).await;
    world.write("slice.yaml", &slice("web", 8080, &[("10.1.0.1", "web-1")]));
    let credentials = world.credentials("api").await;
    let mut stream = watch(&world, &credentials, first("api-1", vec![outbound(WEB)])).await.unwrap();
    let mut seen = stream.destination().await;
    while seen.endpoints.is_empty() {
        seen = stream.destination().await;
    }
    assert_eq!(seen.declared, Declared::Http);
    assert_eq!(seen.service.as_ref().unwrap().to_string(), "shop/web:80");
    let endpoint = &seen.endpoints[0];
    assert_eq!(endpoint.identity.as_ref().unwrap().as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!((endpoint.workload.kind.as_str(), endpoint.workload.name.as_str()), ("Deployment", "web"));
    assert_eq!(endpoint.pod.to_string(), "shop/web-1");

    let written = std::time::Instant::now();
    world.write("slice.yaml", &slice("web", 8080, &[("10.1.0.1", "web-1"), ("10.1.0.2", "web-2")]));
    assert_eq!(addrs(&stream.destination().await), ["10.1.0.1:8080", "10.1.0.2:8080"]);
    let took = written.elapsed();
    // A rescan finds a change within five seconds; the watch must have been what found this one.
    assert!(took.as_secs() < 4, "{took:?}");
    world.write("slice.yaml", &slice("web", 8080, &[]));
    assert_eq!(addrs(&stream.destination().await), [""; 0], "a service without endpoints is still known");
}

#[tokio::test]
async fn own_pod_other_pods_and_unknown_addresses_are_answered_at_once() {
    let world = World::start(&(manifests() + &slice("web", 8080, &[("10.1.0.1", "web-1")]))).await;
    let credentials = world.credentials("web").await;
    let targets =
        vec![inbound("web-1"), outbound("10.1.0.3:9"), outbound("10.9.9.9:80"), outbound("10.96.0.1:81")];
    let mut stream = watch(&world, &credentials, first("web-1", targets.clone())).await.unwrap();
    for _ in &targets {
        let answer = stream.next().await.unwrap();
        let of = targets.iter().position(|target| Some(target) == answer.target.as_ref());
        match (of, answer.state.unwrap()) {
            (Some(0), State::Inbound(pod)) => {
                let pod: InboundPod = pod.try_into().unwrap();
                assert_eq!((pod.workload.name.as_str(), pod.declared(8080)), ("web", Declared::Http));
            }
            (Some(1), State::Outbound(destination)) => {
                let destination: Destination = destination.try_into().unwrap();
                assert_eq!(
                    (destination.service.is_none(), addrs(&destination)),
                    (true, vec!["10.1.0.3:9".to_owned()])
                );
            }
            (Some(2 | 3), State::Unknown(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_is_the_pod_that_its_certificate_proves() {
    let world = World::start(&manifests()).await;
    let (web, nobody) = (world.credentials("web").await, Credentials::new(world.anchors()).unwrap());
    for (credentials, request, code, word) in [
        (&nobody, first("web-1", vec![]), Code::Unauthenticated, "certificate"),
        (&web, first("api-1", vec![]), Code::PermissionDenied, "sa/web is not the identity"),
        (&web, first("web-9", vec![]), Code::FailedPrecondition, "shop/web-9"),
        (&web, WatchRequest::default(), Code::InvalidArgument, "pod"),
        (&web, first("web-1", vec![inbound("api-1")]), Code::PermissionDenied, "own pod"),
        (&web, first("web-1", vec![Target { kind: None }]), Code::InvalidArgument, "target"),
    ] {
        let asked = format!("{request:?}");
        let status =
            watch(&world, credentials, request).await.err().unwrap_or_else(|| panic!("{asked} is answered"));
        assert_eq!(status.code(), code, "{asked}: {status}");
        assert!(status.message().contains(word), "{asked}: {status}");
    }
}

#[tokio::test]
async fn what_is_unsubscribed_is_heard_of_no_more() {
    let world = World::start(&manifests()).await;
    let credentials = world.credentials("web").await;
    let mut stream = watch(&world, &credentials, first("web-1", vec![outbound(WEB)])).await.unwrap();
    stream.destination().await;
    let change = WatchRequest {
        unsubscribe: vec![outbound(WEB)],
        subscribe: vec![outbound(API)],
        ..WatchRequest::default()
    };
    stream.requests.send(change).await.unwrap();
    assert_eq!(stream.destination().await.declared, Declared::Detect);
    // Both change; only the second is heard of.
    world.write("slice.yaml", &slice("web", 8080, &[("10.1.0.1", "web-1"), ("10.1.0.3", "api-1")]));
    assert_eq!(stream.next().await.unwrap().target, Some(outbound(API)));
}

#[tokio::test]
async fn a_proxy_that_does_not_read_misses_states_in_between_and_never_the_latest() {
    const STATES: u16 = 60;
    // So many endpoints that the states together exceed what connections and queues hold.
    let pods: Vec<(String, String)> = (0..200).map(|n| (format!("10.2.0.{n}"), format!("web-{n}"))).collect();
    let all = pods.iter().map(|(ip, _)| pod("web", ip.rsplit('.').next().unwrap().parse().unwrap(), ip));
    let endpoints: Vec<(&str, &str)> = pods.iter().map(|(ip, pod)| (ip.as_str(), pod.as_str())).collect();
    let world = World::start(&all.chain([service("web", "10.96.0.1", 80, "http")]).collect::<String>()).await;
    let credentials = world.credentials("web").await;
    let mut slow = watch(&world, &credentials, first("web-1", vec![outbound(WEB)])).await.unwrap();
    let mut quick = watch(&world, &credentials, first("web-2", vec![outbound(WEB)])).await.unwrap();
    let port =
        |destination: &Destination| destination.endpoints.first().map_or(0, |endpoint| endpoint.addr.port());
    for state in 1..=STATES {
        world.write("slice.yaml", &slice("web", state, &endpoints));
        while port(&quick.destination().await) != state {}
    }
    let (mut states, mut last) = (0, 0);
    while last != STATES {
        last = port(&slow.destination().await);
        states += 1;
    }
    assert!(states < STATES, "{states} states were queued");
}

#[tokio::test]
async fn what_one_proxy_may_follow_is_bounded() {
    let world = World::start(&manifests()).await;
    let credentials = world.credentials("web").await;
    let many = (0..10_050u32).map(|n| outbound(&format!("10.{}.{}.1:80", 100 + n / 250, n % 250)));
    let status = watch(&world, &credentials, first("web-1", many.collect())).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    watch(&world, &credentials, first("web-1", vec![outbound(WEB)])).await.unwrap().destination().await;
}
