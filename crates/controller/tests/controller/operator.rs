//! What the command line is told: the controller's account of itself, and golden metrics from reports with known figures.

use conduit_api::common::v1::{Direction, PodRef, Protocol, ServiceRef, TlsInfo, WorkloadRef};
use conduit_api::metrics::v1::metrics_client::MetricsClient;
use conduit_api::metrics::v1::{Bucket, EdgeReport, ProxyStats, ReportRequest};
use conduit_api::operator::v1::{
    EdgesRequest, Golden, InfoRequest, PodInspectRequest, ProxiesRequest, Resource, StatRequest, StatRow,
    TapRequest,
};
use conduit_logic::stats::bucket_of;
use conduit_tls::Credentials;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::world::{World, id, in_time, pod, service, slice, until};

/// How many requests took how many microseconds: half of 1 ms, then a tail.
const LATENCIES: [(u64, u64); 3] = [(940, 1_000), (45, 20_000), (15, 200_000)];

fn manifests() -> String {
    pod("web", 1, "10.1.0.1")
        + &pod("web", 2, "10.1.0.2")
        + &pod("api", 1, "10.1.0.3")
        + &pod("db", 1, "10.1.0.4").replace("\"true\"", "\"false\"")
        + &service("api", "10.96.0.1", 80, "http")
        + &slice("api", 8080, &[("10.1.0.3", "api-1")])
}

fn edge(direction: Direction) -> EdgeReport {
    let bucket = |(count, us): (u64, u64)| Bucket { index: u32::try_from(bucket_of(us)).unwrap(), count };
    EdgeReport {
        direction: direction.into(),
        protocol: Protocol::Http1.into(),
        successes: 990,
        failures: 10,
        latency: LATENCIES.map(bucket).to_vec(),
        bytes_sent: 1000,
        ..EdgeReport::default()
    }
}

fn tls(local: &str, peer: &str) -> Option<TlsInfo> {
    Some(TlsInfo {
        version: "TLSv1.3".into(),
        key_exchange: "X25519MLKEM768".into(),
        local_identity: id(local).to_string(),
        peer_identity: id(peer).to_string(),
    })
}

fn to_api(edge: EdgeReport) -> EdgeReport {
    let workload = WorkloadRef { namespace: "shop".into(), kind: "Deployment".into(), name: "api".into() };
    let service = ServiceRef { namespace: "shop".into(), name: "api".into(), port: 80 };
    EdgeReport { peer_workload: Some(workload), service: Some(service), ..edge }
}

/// Sends one report; the stream stays open while the sender lives. What the call ends with comes when it ends.
async fn report(
    world: &World,
    credentials: &Credentials,
    pod: &str,
    edges: Vec<EdgeReport>,
) -> Result<(), Status> {
    let (reports, outgoing) = mpsc::channel(1);
    let pod = Some(PodRef { namespace: "shop".into(), name: pod.into() });
    let proxy = Some(ProxyStats { version: "1.2.3".into(), rss_bytes: 7 << 20, ..ProxyStats::default() });
    reports
        .send(ReportRequest { pod, interval_ms: 1000, edges, proxy, ..ReportRequest::default() })
        .await
        .unwrap();
    drop(reports);
    let mut client = MetricsClient::new(world.channel(credentials));
    in_time("a report", client.report(ReceiverStream::new(outgoing))).await.map(drop)
}

fn resource(kind: &str, name: &str) -> Option<Resource> {
    Some(Resource { namespace: "shop".into(), kind: kind.into(), name: name.into() })
}

async fn stat(world: &World, request: StatRequest) -> Vec<StatRow> {
    let request = StatRequest { window_s: 60, ..request };
    in_time("stat", world.operator().await.stat(request)).await.unwrap().into_inner().rows
}

fn close(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= expected / 16.0
}

fn assert_golden(golden: Golden, requests: u64) {
    assert_eq!((golden.requests, golden.failures), (requests, requests / 100), "{golden:?}");
    assert!(close(golden.success_rate, 0.99) && golden.rps > 0.0, "{golden:?}");
    assert!(
        close(golden.p50_ms, 1.0) && close(golden.p95_ms, 20.0) && close(golden.p99_ms, 200.0),
        "{golden:?}"
    );
}

#[tokio::test]
async fn golden_metrics_of_workloads_services_pods_and_edges_are_what_proxies_reported() {
    let world = World::start(&manifests()).await;
    let (web, api) = (world.credentials("web").await, world.credentials("api").await);
    for pod in ["web-1", "web-2"] {
        let outbound = EdgeReport { tls: tls("web", "api"), ..edge(Direction::Outbound) };
        report(&world, &web, pod, vec![to_api(outbound)]).await.unwrap();
    }
    let secured = EdgeReport { tls: tls("api", "web"), ..edge(Direction::Inbound) };
    let refused = EdgeReport {
        successes: 0,
        failures: 10,
        mesh_failures: 10,
        latency: vec![],
        ..edge(Direction::Outbound)
    };
    report(&world, &api, "api-1", vec![secured, edge(Direction::Inbound)]).await.unwrap();
    report(&world, &web, "web-1", vec![to_api(refused)]).await.unwrap();

    let rows = stat(&world, StatRequest { resource: resource("", ""), ..StatRequest::default() }).await;
    let names: Vec<_> = rows.iter().map(|row| row.resource.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["api", "db", "web"]);
    assert_eq!((rows[2].pods_meshed, rows[2].pods_total), (2, 2));
    assert_eq!((rows[1].pods_meshed, rows[1].pods_total), (0, 1));
    assert_golden(rows[0].golden.unwrap(), 2000);
    assert!((rows[0].secured_share - 0.5).abs() < 0.001, "half came in the clear: {rows:?}");
    assert_eq!(rows[2].golden.unwrap().requests, 0, "nobody calls web");

    let of_service =
        stat(&world, StatRequest { resource: resource("Service", "api"), ..StatRequest::default() }).await;
    let golden = of_service[0].golden.unwrap();
    assert_eq!((golden.requests, golden.mesh_failures), (2010, 10), "as the callers saw it");
    assert!((of_service[0].secured_share - 1.0).abs() < 1e-9, "what was not carried was not in the clear");
    assert_eq!((of_service[0].pods_meshed, of_service[0].pods_total), (1, 1));

    let of_pod =
        stat(&world, StatRequest { resource: resource("Pod", "api-1"), ..StatRequest::default() }).await;
    assert_golden(of_pod[0].golden.unwrap(), 2000);
    let to = StatRequest {
        resource: resource("Deployment", "web"),
        to: resource("", "api"),
        ..StatRequest::default()
    };
    assert_eq!(stat(&world, to).await[0].golden.unwrap().requests, 2010);
    let from =
        StatRequest { resource: resource("", "api"), from: resource("", "db"), ..StatRequest::default() };
    assert_eq!(stat(&world, from).await, []);
}

#[tokio::test]
async fn edges_tell_who_speaks_to_whom_and_whether_it_is_secured() {
    let world = World::start(&manifests()).await;
    let (web, api) = (world.credentials("web").await, world.credentials("api").await);
    let outbound = EdgeReport { tls: tls("web", "api"), ..edge(Direction::Outbound) };
    let refused = EdgeReport {
        successes: 0,
        failures: 10,
        mesh_failures: 10,
        latency: vec![],
        ..edge(Direction::Outbound)
    };
    let nowhere = EdgeReport { peer_workload: None, ..to_api(refused.clone()) };
    report(&world, &web, "web-1", vec![to_api(outbound), to_api(refused), nowhere]).await.unwrap();
    let secured = EdgeReport { tls: tls("api", "web"), ..edge(Direction::Inbound) };
    report(&world, &api, "api-1", vec![secured, edge(Direction::Inbound)]).await.unwrap();
    let request = EdgesRequest { resource: resource("", ""), window_s: 10 };
    let mut edges = in_time("edges", world.operator().await.edges(request)).await.unwrap().into_inner().edges;
    edges.sort_by_key(|edge| edge.secured);
    let [plain, secured] = &edges[..] else { panic!("{edges:#?}") };
    assert_eq!(plain.source.as_ref().unwrap().name, "", "somebody without a proxy");
    assert_eq!(plain.destination.as_ref().unwrap().name, "api");
    assert_golden(plain.golden.unwrap(), 1000);
    assert_eq!(secured.source.as_ref().unwrap().name, "web");
    assert_eq!(secured.destination.as_ref().unwrap().name, "api");
    assert_eq!((secured.tls_version.as_str(), secured.key_exchange.as_str()), ("TLSv1.3", "X25519MLKEM768"));
    assert_eq!(
        (&secured.source_identity, &secured.destination_identity),
        (&id("web").to_string(), &id("api").to_string())
    );
    assert_eq!(secured.golden.unwrap().mesh_failures, 20, "what was refused is the same edge's");
}

#[tokio::test]
async fn a_report_is_about_the_pod_that_the_certificate_proves() {
    let world = World::start(&manifests()).await;
    let (web, nobody) = (world.credentials("web").await, Credentials::new(world.anchors()).unwrap());
    let edges = vec![edge(Direction::Inbound)];
    let other = report(&world, &web, "api-1", edges.clone()).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "{other}");
    let anonymous = report(&world, &nobody, "web-1", edges).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated, "{anonymous}");
    let rows = stat(&world, StatRequest { resource: resource("", ""), ..StatRequest::default() }).await;
    assert!(rows.iter().all(|row| row.golden.unwrap().requests == 0), "{rows:?}");
}

#[tokio::test]
async fn a_broken_manifest_is_named_with_its_line_and_disturbs_nothing() {
    let world = World::start(&manifests()).await;
    let info = || async { world.operator().await.info(InfoRequest {}).await.unwrap().into_inner() };
    let before = info().await;
    assert_eq!((before.services, before.pods, before.endpoints), (1, 4, 1));
    assert_eq!(before.source_errors, [""; 0]);
    assert!(before.source.starts_with("files: ") && before.trust_anchors.len() == 1);
    world.write(
        "world.yaml",
        &(manifests()
            + "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: x\nspec:\n  ports: [{port: eighty}]\n"),
    );
    let line = manifests().lines().count() + 7;
    let after =
        until("the error", || async { Some(info().await).filter(|info| !info.source_errors.is_empty()) })
            .await;
    let error = &after.source_errors[0];
    assert!(error.contains(&format!("world.yaml:{line}: ")), "expected line {line}: {error}");
    assert_eq!((after.services, after.pods, after.endpoints), (1, 4, 1));
    let page = world.get("/metrics").unwrap();
    assert!(page.contains("conduit_controller_source_errors 1"), "{page}");
    world.write("world.yaml", &manifests());
    until("no error", || async { info().await.source_errors.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_a_reason() {
    let world = World::start(&manifests()).await;
    let mut operator = world.operator().await;
    let both = StatRequest {
        resource: resource("", "web"),
        to: resource("", "api"),
        from: resource("", "db"),
        window_s: 10,
    };
    assert_eq!(operator.stat(both).await.unwrap_err().code(), Code::InvalidArgument);
    let nobody = TapRequest { resource: resource("Deployment", "nobody"), ..TapRequest::default() };
    assert_eq!(operator.tap(nobody).await.unwrap_err().code(), Code::NotFound);
    for (name, word) in [("db-1", "no proxy"), ("web-9", "no pod")] {
        let pod = Some(PodRef { namespace: "shop".into(), name: name.into() });
        let status = operator.inspect(PodInspectRequest { pod, kind: 1 }).await.unwrap_err();
        assert!(status.code() == Code::NotFound && status.message().contains(word), "{status}");
    }
}

#[tokio::test]
async fn every_meshed_pod_is_listed_with_what_its_proxy_said_last() {
    let world = World::start(&manifests()).await;
    report(&world, &world.credentials("web").await, "web-1", vec![]).await.unwrap();
    let request = ProxiesRequest { resource: resource("", "") };
    let proxies = world.operator().await.proxies(request).await.unwrap().into_inner().proxies;
    let names: Vec<_> = proxies.iter().map(|proxy| proxy.pod.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["api-1", "web-1", "web-2"]);
    let web = &proxies[1];
    assert!(
        web.connected && web.version == "1.2.3" && web.rss_bytes == 7 << 20 && web.ip == "10.1.0.1",
        "{web:?}"
    );
    assert!(!proxies[0].connected && proxies[0].workload.as_ref().unwrap().name == "api", "{:?}", proxies[0]);
}
