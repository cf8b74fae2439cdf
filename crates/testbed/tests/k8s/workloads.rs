//! Workloads and Services of every kind in the mesh: pods with a name of their own, headless services, every way in which a Service can
//! lead to pods, jobs on a schedule, and what an operator does with a single pod.

use std::collections::BTreeSet;
use std::process::Stdio;

use conduit_testbed::wait;

use crate::edges::{Edge, identity, inbound, outbound};
use crate::mesh::{idle, meshed};
use crate::replicas::host;
use crate::support::{DEMO_IMAGE, Running, SOON, Space, cluster};

/// The demo application's messages, as its clients read them.
pub(crate) const PROTO: &str = include_str!("../../proto/demo.proto");

/// A ConfigMap with them.
pub(crate) fn proto() -> String {
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "proto"}, "data": {"demo.proto": PROTO},
    });
    format!("---\n{text}\n")
}

/// A pod with the load generators and the demo's messages in `/proto`.
pub(crate) fn generator(name: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0,
           containers: [{{name: app, image: 'localhost/load:1', imagePullPolicy: Never, command: [sleep, '100000'],
             volumeMounts: [{{name: proto, mountPath: /proto}}]}}], volumes: [{{name: proto, configMap: {{name: proto}}}}]}}}}\n"
    )
}

/// In other meshes, what is called by a pod's own name or address has no policy, no metrics of its service, and keeps going to an address
/// that is another pod's by now. Here such calls are mutual TLS, counted for the service, and follow a pod that was made again.
#[test]
fn a_pod_of_a_stateful_set_is_called_by_its_name_in_mutual_tls_also_after_it_was_made_again() {
    let space = meshed("workloads-stateful");
    space.apply(
        "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: {serviceName: web, replicas: 2, podManagementPolicy: Parallel,
           selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1, containers: [
             {name: app, image: 'localhost/nginx:1', imagePullPolicy: Never, readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}}",
    );
    space.apply(&idle("client", "", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    space.kubectl(&["rollout", "status", "statefulset/web", "--timeout=60s"]);
    let answers = |host: &str, expected: &str| {
        let page = ["curl", "-sSf", "-m", "5", &format!("http://{host}:8080/")];
        wait::until(SOON, || space.exec("client", &page).is_ok_and(|page| page.trim() == expected));
    };
    for name in ["web-0", "web-1"] {
        answers(&format!("{name}.web"), name);
        answers(&format!("{name}.web.{}.svc.cluster.local", space.name), name);
    }
    let address = || space.kubectl(&["get", "pod", "web-0", "-o", "jsonpath={.status.podIP}"]);
    let before = address();
    space.kubectl(&["delete", "pod", "web-0"]);
    space.kubectl(&["rollout", "status", "statefulset/web", "--timeout=60s"]);
    assert_ne!(address(), before);
    answers("web-0.web", "web-0");
    let edge = Edge {
        protocol: "http/1.1".to_owned(),
        workload: "web".to_owned(),
        service: format!("{}/web:8080", space.name),
        identity: identity(&space, "default"),
    };
    assert_eq!(outbound(&space, "client"), BTreeSet::from([edge]));
}

/// A client that balances by itself over the pods of a headless service keeps doing so, and every one of its connections is secured.
#[test]
fn a_headless_grpc_service_is_balanced_by_its_client_over_every_pod_in_mutual_tls() {
    let space = meshed("workloads-headless");
    space.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: prices}}, spec: {{replicas: 3, selector: {{matchLabels: {{app: prices}}}},
           template: {{metadata: {{labels: {{app: prices}}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: app,
             image: '{DEMO_IMAGE}', imagePullPolicy: Never, args: [prices], readinessProbe: {{tcpSocket: {{port: 9002}}, periodSeconds: 1}}}}]}}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: prices}}, spec: {{clusterIP: None, selector: {{app: prices}}, ports: [{{name: grpc, port: 9002}}]}}}}"
    ));
    space.apply(&[proto(), generator("client")].concat());
    space.available("prices");
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let prices = space.pods("prices");
    let call = "ghz --insecure --proto /proto/demo.proto --call conduit.demo.v1.Prices.Watch -d '{\"id\": 1, \"quotes\": 2}'
        --lb-strategy=round_robin -n 30 -c 1 -O json dns:///prices:9002";
    let all = |pods: &[String], space: &Space| {
        let caller = identity(space, "default");
        let called = |pod: &&String| {
            inbound(space, pod).iter().any(|edge| edge.protocol == "grpc" && edge.identity == caller)
        };
        pods.iter().filter(called).count() == pods.len()
    };
    // Until DNS names all three.
    wait::until(SOON, || {
        let report: serde_json::Value =
            serde_json::from_str(&space.exec("client", &["sh", "-c", &call.replace('\n', " ")]).unwrap())
                .unwrap();
        assert_eq!(report["statusCodeDistribution"], serde_json::json!({"OK": 30}), "{report}");
        all(&prices, &space)
    });
    for pod in &prices {
        let callers = inbound(&space, pod);
        assert!(callers.iter().all(|edge| edge.identity.is_some() || edge.may_be_probes()), "{callers:?}");
    }
}

/// A pod of a web server that answers with its name, on this port, named `web`; ready when its probe, if any, says so.
fn page(name: &str, app: &str, port: u16, probe: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {app}}}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [
           {{name: app, image: 'localhost/busybox:1', imagePullPolicy: Never, ports: [{{name: web, containerPort: {port}}}]{probe},
             command: [sh, -c, 'mkdir /tmp/w; echo {name} > /tmp/w/index.html; exec httpd -f -p \"[::]:{port}\" -h /tmp/w']}}]}}}}\n"
    )
}

/// Services of every kind, called from a pod in the mesh. `manual` has no selector: its endpoints were written by hand.
const SERVICES: &str = "
{apiVersion: v1, kind: Service, metadata: {name: named}, spec: {selector: {app: page}, ports: [
  {name: http, port: 80, targetPort: web}, {name: http-second, port: 81, targetPort: web}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: declared}, spec: {selector: {app: page}, ports: [
  {name: http, port: 80, targetPort: web, appProtocol: tcp}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias}, spec: {type: ExternalName, externalName: named.workloads-services.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {name: node}, spec: {type: NodePort, selector: {app: page}, ports: [{name: http, port: 80, targetPort: web}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: manual}, spec: {ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: early}, spec: {publishNotReadyAddresses: true, selector: {app: unready}, ports: [{name: http, port: 80, targetPort: web}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: late}, spec: {selector: {app: unready}, ports: [{name: http, port: 80, targetPort: web}]}}";

#[test]
fn services_of_every_kind_lead_to_their_pods_in_mutual_tls() {
    let space = meshed("workloads-services");
    let unready = ", readinessProbe: {exec: {command: ['false']}, periodSeconds: 1}";
    let pods = [
        page("one", "page", 8080, ""),
        page("two", "page", 9090, ""),
        page("three", "unready", 8080, unready),
    ];
    space.apply(
        &[
            pods.concat(),
            "---\n".to_owned(),
            idle("client", "", ""),
            "\n---\n".to_owned(),
            SERVICES.to_owned(),
        ]
        .concat(),
    );
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "pod/one", "pod/two", "--timeout=60s"]);
    let address = space.kubectl(&["get", "pod", "one", "-o", "jsonpath={.status.podIP}"]);
    let family = space.kubectl(&["get", "service", "manual", "-o", "jsonpath={.spec.ipFamilies[0]}"]);
    space.apply(&format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: manual-1, labels: {{kubernetes.io/service-name: manual}}}},
           addressType: {family}, ports: [{{name: http, port: 8080}}], endpoints: [{{addresses: ['{address}']}}]}}"
    ));
    let get = |url: &str| space.exec("client", &["curl", "-sSf", "-m", "5", url]);
    let all = |url: &str, expected: &[&str]| {
        let mut seen = BTreeSet::new();
        wait::until(SOON, || {
            seen.extend(get(url).map(|page| page.trim().to_owned()));
            seen.len() == expected.len()
        });
        assert_eq!(seen, expected.iter().map(|name| (*name).to_owned()).collect(), "{url}");
    };
    let node_port = space.kubectl(&["get", "service", "node", "-o", "jsonpath={.spec.ports[0].nodePort}"]);
    let node = space.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"]);
    let at_node = format!("http://{}:{node_port}/", host(&node));
    // A named port that has another number in each pod.
    for url in ["http://named/", "http://named:81/", "http://declared/", "http://alias/", &at_node] {
        all(url, &["one", "two"]);
    }
    all("http://manual/", &["one"]);
    all("http://early/", &["three"]);
    let refused = space.exec("client", &["curl", "-sS", "-m", "5", "-i", "http://late/"]).unwrap();
    assert!(refused.contains("503") && refused.contains("conduit-proxy-error: no_endpoint"), "{refused}");
    // From outside of any pod, as a load balancer would come.
    let from_node = cluster().command("curl").args(["-sSf", "-m", "5", &at_node]).output().unwrap();
    assert!(["one\n", "two\n"].map(str::as_bytes).contains(&&*from_node.stdout), "{from_node:?}");

    let edges = outbound(&space, "client");
    assert!(edges.iter().all(|edge| edge.identity == identity(&space, "default")), "{edges:?}");
    let ways: BTreeSet<(String, String)> =
        edges.into_iter().map(|edge| (edge.service, edge.protocol)).collect();
    let expected = [
        ("named:80", "http/1.1"),
        ("named:81", "http/1.1"),
        ("declared:80", "tcp"),
        ("node:80", "http/1.1"),
        ("manual:80", "http/1.1"),
        ("early:80", "http/1.1"),
    ];
    let expected =
        expected.map(|(service, protocol)| (format!("{}/{service}", space.name), protocol.to_owned()));
    assert_eq!(ways, BTreeSet::from(expected));
}

/// A job on a schedule ends, though its pod has a proxy: that is a native sidecar, which Kubernetes ends after the job's own containers.
#[test]
fn a_cron_job_calls_a_meshed_service_and_completes() {
    let space = meshed("workloads-cron");
    space.apply(&[page("web", "web", 8080, ""), "---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}]}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: report}, spec: {schedule: '* * * * *', jobTemplate: {spec: {backoffLimit: 2,
  template: {metadata: {labels: {app: report}}, spec: {restartPolicy: Never, containers: [{name: app, image: 'localhost/tools:1', imagePullPolicy: Never,
    command: [curl, -sSf, --retry, '20', --retry-all-errors, --retry-delay, '1', 'http://web/']}]}}}}}}".to_owned()].concat());
    // It is made at the next full minute.
    let pod = wait::for_some(2 * SOON, || space.pods("report").into_iter().next());
    space.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        &format!("pod/{pod}"),
        "--timeout=60s",
    ]);
    assert_eq!(space.kubectl(&["logs", &pod]), "web\n");
    let proxy =
        "jsonpath={.status.initContainerStatuses[?(@.name=='conduit-proxy')].state.terminated.exitCode}";
    assert_eq!(space.kubectl(&["get", "pod", &pod, "-o", proxy]), "0", "its proxy ended in order");
    let jobs = || space.kubectl(&["get", "jobs", "-o", "jsonpath={.items[*].status.succeeded}"]);
    wait::until(SOON, || jobs().starts_with('1'));
}

/// What an operator does with one pod. The application listens on loopback alone, where no redirect rule may come between.
#[test]
fn port_forward_exec_and_logs_reach_an_application_in_the_mesh() {
    let space = meshed("workloads-operator");
    space.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app,
           image: 'localhost/busybox:1', imagePullPolicy: Never,
           command: [sh, -c, 'mkdir /tmp/w; echo forwarded > /tmp/w/index.html; echo started; exec httpd -f -p 127.0.0.1:8080 -h /tmp/w']}]}}",
    );
    space.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    assert_eq!(space.exec("web", &["hostname"]).unwrap(), "web\n");
    assert_eq!(space.kubectl(&["logs", "web"]), "started\n");
    let mut kubectl = cluster().kubectl_command();
    kubectl.args(["-n", &space.name, "port-forward", "pod/web", "18081:8080"]);
    let _forward = Running(kubectl.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait::until(SOON, || {
        let page = cluster().command("curl").args(["-sS", "-m", "5", "http://127.0.0.1:18081/"]).output();
        page.is_ok_and(|page| page.stdout == b"forwarded\n")
    });
}
