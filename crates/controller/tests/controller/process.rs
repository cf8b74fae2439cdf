//! The process: how it starts, what it refuses to start with, and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use conduit_api::common::v1::PodRef;
use conduit_api::discovery::v1::WatchRequest;
use conduit_api::discovery::v1::discovery_client::DiscoveryClient;
use conduit_api::metrics::v1::ReportRequest;
use conduit_api::metrics::v1::metrics_client::MetricsClient;
use conduit_api::operator::v1::{InfoRequest, ProxiesRequest};
use tokio_stream::StreamExt;

use crate::world::{World, command, in_time, loopback, pod, until};

fn output(mut command: Command) -> (bool, String) {
    let ended = command.stderr(Stdio::piped()).output().unwrap();
    (ended.status.success(), String::from_utf8(ended.stderr).unwrap())
}

#[tokio::test]
async fn sigterm_ends_it_at_once_although_streams_are_open() {
    let mut world = World::start(&pod("web", 1, "10.1.0.1")).await;
    let credentials = world.credentials("web").await;
    let pod = || Some(PodRef { namespace: "shop".into(), name: "web-1".into() });
    let first = WatchRequest { pod: pod(), ..WatchRequest::default() };
    let mut client = DiscoveryClient::new(world.channel(&credentials));
    let requests = tokio_stream::once(first).chain(tokio_stream::pending());
    let mut answers = in_time("watch", client.watch(requests)).await.unwrap().into_inner();
    let mut client = MetricsClient::new(world.channel(&credentials));
    let first = ReportRequest { pod: pod(), proxy: Some(Default::default()), ..ReportRequest::default() };
    let mut reporting =
        std::pin::pin!(client.report(tokio_stream::once(first).chain(tokio_stream::pending())));
    let arrived = until("both streams", || async {
        let page = world.get("/metrics").unwrap_or_default();
        let proxies =
            world.operator().await.proxies(ProxiesRequest::default()).await.unwrap().into_inner().proxies;
        (page.contains("conduit_controller_discovery_streams 1") && proxies[0].connected).then_some(())
    });
    tokio::select! {
        () = arrived => {}
        ended = &mut reporting => panic!("{ended:?}"),
    }
    let begun = Instant::now();
    assert!(Command::new("kill").arg("-TERM").arg(world.child.id().to_string()).status().unwrap().success());
    // Both are told properly, not cut: the report is acknowledged, the watch ends.
    in_time("the report's end", reporting).await.unwrap();
    assert!(in_time("the watch's end", answers.message()).await.is_ok_and(|answer| answer.is_none()));
    let status = until("the end", || {
        let ended = world.child.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert!(status.success(), "{status}");
    assert!(begun.elapsed().as_millis() < 1900, "the drain timeout had to pass: {:?}", begun.elapsed());
    assert!(!world.path("operator.sock").exists());
}

#[tokio::test]
async fn the_operators_socket_is_its_owners_and_one_controllers() {
    let world = World::start("").await;
    let socket = std::fs::metadata(world.path("operator.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let others = std::fs::read_dir(world.dir.path()).unwrap().flatten().map(|entry| entry.file_name());
    assert!(
        others.into_iter().all(|name| !name.as_encoded_bytes().starts_with(b".")),
        "nothing is left of its making"
    );
    let (success, text) = output(command(world.dir.path(), loopback()));
    assert!(!success && text.contains("another controller answers"), "{text}");
    world.operator().await.info(InfoRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_a_killed_controller_left_is_replaced() {
    let mut world = World::start("").await;
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    assert!(world.path("operator.sock").exists());
    world.child = command(world.dir.path(), world.ip).spawn().unwrap();
    until("ready again", || async { world.get("/ready").filter(|text| text.starts_with("HTTP/1.1 200")) })
        .await;
    world.operator().await.info(InfoRequest {}).await.unwrap();
}

#[test]
fn everything_that_is_wrong_with_the_configuration_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path(), loopback());
    command.args(["--trust-domain", "Not A Domain", "--certificate-lifetime", "1s"]);
    let (success, text) = output(command);
    assert!(!success);
    for word in ["trust domain", "certificate-lifetime", "manifests"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
