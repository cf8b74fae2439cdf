//! How pods end: a rolling restart under load, long streams, and an application that still calls others while it ends. The servers have no
//! preStop hook: on SIGTERM they refuse new connections at once, and finish what they have begun.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use conduit_testbed::wait;
use serde_json::Value;

use crate::edges::succeeded;
use crate::load::resolve;
use crate::mesh::{WEB, meshed};
use crate::support::{DEMO_IMAGE, SOON, Space};
use crate::workloads::{generator, proto};

/// Starts a shell command in a pod's application, and goes on.
fn begin(space: &Space, pod: &str, command: &str) -> Child {
    let mut kubectl = space.cluster.kubectl_command();
    kubectl.args(["-n", &space.name, "exec", pod, "--", "sh", "-c", command]);
    kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The JSON that a load generator prints when it is interrupted.
fn interrupt(space: &Space, pod: &str, program: &str, load: Child) -> Value {
    space.exec(pod, &["killall", "-INT", program]).unwrap();
    let output = load.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{program}: {error}: {output:?}"))
}

/// A server of the demo's recommendations (HTTP/1.1, one in four is slow) and prices (gRPC) in two containers.
pub(crate) fn shop(replicas: u32) -> String {
    let container = |role: &str, port: u16| {
        format!(
            "{{name: {role}, image: '{DEMO_IMAGE}', imagePullPolicy: Never, args: [{role}],
               readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}}}"
        )
    };
    format!(
        "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: shop}}, spec: {{replicas: {replicas}, selector: {{matchLabels: {{app: shop}}}},
           template: {{metadata: {{labels: {{app: shop}}}}, spec: {{containers: [{}, {}]}}}}}}}}
---\n{{apiVersion: v1, kind: Service, metadata: {{name: shop}}, spec: {{selector: {{app: shop}},
       ports: [{{name: http, port: 8081}}, {{name: grpc, port: 9002}}]}}}}\n",
        container("recommend", 8081),
        container("prices", 9002),
    )
}

/// Two clients with 500 requests a second each. In other meshes a rolling update costs some of them: an endpoint goes away before all who
/// call it have heard of it.
#[test]
fn a_rolling_restart_under_load_fails_no_request_and_no_grpc_call() {
    let space = meshed("ending-restart");
    space.apply(&[proto(), shop(5), generator("http"), generator("grpc")].concat());
    space.available("shop");
    space.kubectl(&["wait", "--for=condition=Ready", "pod/http", "pod/grpc", "--timeout=60s"]);
    // Until the endpoints have reached the clients' proxies.
    let resolve = resolve();
    let curl = format!("fortio curl {resolve} -quiet http://shop:8081/");
    for (client, call) in [("http", &curl), ("grpc", &no_quote())] {
        wait::until(SOON, || space.exec(client, &["sh", "-c", call]).is_ok());
    }
    let load =
        format!("fortio load {resolve} -quiet -c 64 -qps 500 -t 0 -json - http://shop:8081/ 2>/dev/null");
    let http = begin(&space, "http", &load);
    let grpc = begin(
        &space,
        "grpc",
        "ghz --insecure --proto /proto/demo.proto --call conduit.demo.v1.Prices.Watch -d '{\"id\": 1, \"quotes\": 1}' \
           -r 500 -c 64 --connections=8 -z 10m --duration-stop=wait -O json shop:9002",
    );
    for client in ["http", "grpc"] {
        wait::until(SOON, || succeeded(&space, client) > 500.0);
    }
    let before = space.pods("shop");
    space.kubectl(&["rollout", "restart", "deployment/shop"]);
    space.kubectl(&["rollout", "status", "deployment/shop", "--timeout=120s"]);
    // Until the last of the old ones is gone for good.
    wait::until(SOON, || before.iter().all(|pod| space.try_kubectl(&["get", "pod", pod]).is_err()));

    let http = interrupt(&space, "http", "fortio", http);
    let codes = http["RetCodes"].as_object().unwrap();
    assert!(codes.len() == 1 && codes.contains_key("200"), "{codes:?}");
    let grpc = interrupt(&space, "grpc", "ghz", grpc);
    let codes = grpc["statusCodeDistribution"].as_object().unwrap();
    assert!(codes.len() == 1 && codes.contains_key("OK"), "{codes:?}: {}", grpc["errorDistribution"]);
    // For whoever measures: `-- --nocapture`.
    eprintln!(
        "HTTP/1.1: {:.0}/s; gRPC: {:.0}/s",
        http["ActualQPS"].as_f64().unwrap(),
        grpc["rps"].as_f64().unwrap()
    );
    for count in [&http["DurationHistogram"]["Count"], &grpc["count"]] {
        // A busy machine does not keep the pace; every pod was ended under load all the same.
        assert!(count.as_u64().unwrap() > 2000, "the load was too small to say anything: {count} requests");
    }
}

/// A call to the shop's prices by grpcurl, which reads the messages to send.
const QUOTE: &str =
    "grpcurl -plaintext -import-path /proto -proto demo.proto -d @ shop:9002 conduit.demo.v1.Prices/Quote";

/// The same without a message: it only shows that the server is reached.
fn no_quote() -> String {
    format!("{QUOTE} < /dev/null")
}

/// A stream in both directions through which the client asks for a quote every 100 ms, so often; each line that it gets is a quote's.
fn stream(space: &Space, quotes: &str) -> (Child, Receiver<Instant>) {
    // Until the endpoint has reached the client's proxy.
    wait::until(SOON, || space.exec("client", &["sh", "-c", &no_quote()]).is_ok());
    let asks = format!("for i in $(seq {quotes}); do echo '{{\"id\": 1}}' || exit; sleep 0.1; done");
    let mut child = begin(space, "client", &format!("({asks}) | {QUOTE}"));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (heard, quotes) = mpsc::channel();
    // Ends with the stream.
    std::thread::spawn(move || {
        let quotes = lines.map_while(Result::ok).filter(|line| line.contains("cents"));
        quotes.map(|_| heard.send(Instant::now())).all(|sent| sent.is_ok())
    });
    (child, quotes)
}

/// A long stream costs whoever deploys nothing: it goes on in a pod that is deleted until it ends, or until the pod's grace period does.
#[test]
fn a_grpc_stream_in_a_pod_that_is_deleted_goes_on_until_its_end_or_that_of_the_grace_period() {
    // Less than the application would take by itself.
    const GRACE: Duration = Duration::from_secs(4);
    let space = meshed("ending-stream");
    space.apply(&[proto(), shop(1), generator("client")].concat());
    space.available("shop");
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let delete = |grace: &str| {
        let pod = &space.pods("shop")[0];
        space.kubectl(&["delete", "pod", pod, "--wait=false", &format!("--grace-period={grace}")]);
        Instant::now()
    };
    let (short, quotes) = stream(&space, "20");
    quotes.recv_timeout(SOON).unwrap();
    delete("30");
    let ended = short.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(quotes.iter().count(), 19, "all quotes but the first, which came before");

    space.available("shop");
    let (endless, quotes) = stream(&space, "100000");
    quotes.recv_timeout(SOON).unwrap();
    let deleted = delete("4");
    let served = quotes.iter().last().unwrap().duration_since(deleted);
    assert!(served + Duration::from_secs(1) > GRACE, "it was cut off after {served:?}");
    assert!(served < 3 * GRACE, "it went on for {served:?}");
    let ended = endless.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("Unavailable"), "the client is told: {said}");
}

/// A proxy that ends before its application leaves it without a network for its last words. A native sidecar ends after it.
#[test]
fn an_application_that_calls_others_while_it_ends_reaches_them() {
    let space = meshed("ending-calls");
    space.apply(WEB);
    space.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {terminationGracePeriodSeconds: 20, containers: [
           {name: app, image: 'localhost/tools:1', imagePullPolicy: Never, command: [sh, -c,
             'trap \"sleep 1; curl -sSf -m 5 http://web/; exit\" TERM; echo ready; while :; do sleep 0.1; done']}]}}",
    );
    space.available("web");
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let mut logs = space.cluster.kubectl_command();
    logs.args(["-n", &space.name, "logs", "-f", "client", "-c", "app"]);
    let logs = logs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    space.kubectl(&["delete", "pod", "client"]);
    let said = logs.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "ready\nhello\n", "{said:?}");
}
