//! Pods without any right, whose redirect rules the CNI plugin writes, on nodes of a real cluster: with its agent and without it, when
//! others write to the node's network configuration, when a node starts again, and when Conduit goes. One test, since all of it takes a
//! control plane that injects in this way, and the cluster for itself.

use std::fs;
use std::path::PathBuf;

use conduit_testbed::cluster::Component;
use conduit_testbed::wait;
use serde_json::Value;

use crate::check::{CHECK, expect, result};
use crate::mesh::{self, User, conduit, injects, installed, names, pod};
use crate::support::{SOON, Space, cluster};

/// What the pod security profile `restricted` asks for, of the application too.
const RESTRICTED: &str =
    "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, runAsNonRoot: true,
  runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}";

/// The control plane with the plugin; at its end the one that the other tests share is there again.
struct WithPlugin;

impl WithPlugin {
    fn install() -> Self {
        let guard = Self;
        cluster().apply(&conduit(&["install", "--cni"], "").0).unwrap();
        rolled_out("daemonset/conduit-cni");
        // Also until the replica before has ended: it injects as it was told.
        mesh::rolled_out();
        wait::until(SOON, injects);
        guard
    }

    fn uninstall() -> anyhow::Result<()> {
        let objects = conduit(&["uninstall"], "").0;
        let delete = ["delete", "--ignore-not-found", "--timeout=90s", "-f", "-"];
        cluster().kubectl_with_input(&delete, &objects).map(drop)
    }

    fn back() -> anyhow::Result<()> {
        Self::uninstall()?;
        cluster().apply(&conduit(&["install"], "").0)?;
        let status = ["-n", "conduit", "rollout", "status", "deployment/conduit-controller", "--timeout=60s"];
        cluster().kubectl(&status).map(drop)
    }
}

impl Drop for WithPlugin {
    fn drop(&mut self) {
        // The test that failed is the one to be shown.
        match Self::back() {
            Ok(()) => wait::until(SOON, injects),
            Err(error) => eprintln!("the control plane of the other tests is not back: {error:#}"),
        }
    }
}

fn rolled_out(object: &str) {
    let status = ["-n", "conduit", "rollout", "status", object, "--timeout=60s"];
    if let Err(error) = cluster().kubectl(&status) {
        let pods = cluster().kubectl(&["-n", "conduit", "describe", "pods"]).unwrap();
        let logs = cluster().kubectl(&["-n", "conduit", "logs", object]);
        panic!("{error:#}\n{pods}\n{logs:?}");
    }
}

/// The network configuration of a node, as the node's container runtime reads it.
fn configuration(node: u8) -> PathBuf {
    cluster().node(node).unwrap().dir().join("net.d/10-pods.conflist")
}

fn program(node: u8) -> PathBuf {
    cluster().node(node).unwrap().dir().join("bin/conduit-cni")
}

fn has_entry(node: u8) -> bool {
    fs::read_to_string(configuration(node)).unwrap().contains("conduit-cni")
}

/// Lets agents run on every node, or on none.
fn agents(run: bool) {
    let place = if run { "null" } else { "\"yes\"" };
    let patch = format!(
        "{{\"spec\": {{\"template\": {{\"spec\": {{\"nodeSelector\": {{\"nowhere\": {place}}}}}}}}}}}"
    );
    cluster().kubectl(&["-n", "conduit", "patch", "daemonset", "conduit-cni", "-p", &patch]).unwrap();
    match run {
        true => rolled_out("daemonset/conduit-cni"),
        false => {
            let selector = ["-l", "app.kubernetes.io/name=conduit-cni", "--timeout=60s"];
            let wait = ["-n", "conduit", "wait", "--for=delete", "pod"];
            cluster().kubectl(&[&wait[..], &selector[..]].concat()).unwrap();
        }
    }
}

/// A pod from which others are called.
fn client(name: &str, node: u8, metadata: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}{metadata}}}, spec: {{terminationGracePeriodSeconds: 0,
           nodeSelector: {{kubernetes.io/hostname: node{node}}}, containers: [{{name: app, image: 'localhost/tools:1',
             imagePullPolicy: Never, command: [sleep, '100000'], {RESTRICTED}}}]}}}}"
    )
}

fn web(node: u8) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{selector: {{matchLabels: {{app: web}}}}, template: {{
           metadata: {{labels: {{app: web}}}}, spec: {{terminationGracePeriodSeconds: 1, nodeSelector: {{kubernetes.io/hostname: node{node}}},
             containers: [{{name: app, image: 'localhost/busybox:1', imagePullPolicy: Never, {RESTRICTED},
               command: [sh, -c, 'mkdir /tmp/w; echo hello > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w'],
               readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}}}]}}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}"
    )
}

fn starts(space: &Space, name: &str) {
    if let Err(error) = space.try_kubectl(&["wait", "--for=condition=Ready", "pod", name, "--timeout=60s"]) {
        panic!("{error:#}\n{}", space.kubectl(&["describe", "pod", name]));
    }
}

/// Calls the web server from this pod, whose own proxy counts it as in mutual TLS with the server's identity.
fn speaks_in_mutual_tls(space: &Space, name: &str) {
    let call = ["exec", name, "-c", "app", "--", "/usr/bin/curl", "-sSf", "-m", "5", "http://web/"];
    wait::until(SOON, || space.try_kubectl(&call).is_ok_and(|answer| answer == "hello\n"));
    let metrics = format!("/api/v1/namespaces/{}/pods/{name}:4191/proxy/metrics", space.name);
    let identity = format!("peer_identity=\"spiffe://cluster.local/ns/{}/sa/default\"", space.name);
    let wanted = ["conduit_proxy_requests_total", "direction=\"outbound\"", "tls=\"true\"", &identity];
    let metrics = space.kubectl(&["get", "--raw", &metrics]);
    assert!(metrics.lines().any(|line| wanted.iter().all(|part| line.contains(part))), "{metrics}");
}

#[test]
fn restricted_pods_are_meshed_whatever_happens_to_agents_configurations_and_nodes_and_nothing_is_left_on_a_node()
 {
    let space = Space::alone("cni");
    installed();
    let plugin = WithPlugin::install();
    cluster()
        .kubectl(&["label", "namespace", "cni", "pod-security.kubernetes.io/enforce=restricted"])
        .unwrap();
    cluster().kubectl(&["annotate", "namespace", "cni", "conduit.io/inject=enabled"]).unwrap();

    space.apply(&format!("{}\n---\n{}", web(2), client("client", 1, "")));
    space.available("web");
    starts(&space, "client");
    let client = pod(&space, "client");
    assert_eq!(names(&client["spec"]["initContainers"]), ["conduit-validate", "conduit-proxy"]);
    assert!(!space.kubectl(&["get", "pods", "-o", "json"]).contains("\"add\""), "a right was given");
    speaks_in_mutual_tls(&space, "client");

    a_classic_sidecar_cuts_no_init_container_off(&space);
    check_names_a_node_whose_agent_is_not_ready();
    without_agents_the_plugin_works_and_pods_that_it_misses_wait(&space);
    what_others_write_over_comes_back();
    a_node_that_starts_again_has_its_pods_meshed(&space);

    WithPlugin::uninstall().unwrap();
    for node in [1, 2] {
        assert!(!has_entry(node) && !program(node).exists(), "the plugin is left on node {node}");
    }
    drop(plugin);
}

/// Rules before the proxy would make this init container fail; those that the agent writes come after it.
fn a_classic_sidecar_cuts_no_init_container_off(space: &Space) {
    let calls = format!(
        "initContainers: [{{name: first, image: 'localhost/tools:1', imagePullPolicy: Never, {RESTRICTED},
           command: [/usr/bin/curl, -sSf, -m, '5', 'http://web/']}}], containers: ["
    );
    let pod = client("classic", 1, ", annotations: {conduit.io/sidecar: classic}");
    space.apply(&pod.replace("containers: [", &calls));
    starts(space, "classic");
    assert_eq!(space.kubectl(&["logs", "classic", "-c", "first"]), "hello\n");
    speaks_in_mutual_tls(space, "classic");
}

/// A configuration that is none is left as it is, and the agent of that node is not ready.
fn check_names_a_node_whose_agent_is_not_ready() {
    let admin = User::admin();
    let looked = admin.conduit(CHECK);
    expect(&looked, "cni-ready", "ok", "2 of 2 nodes");
    expect(&looked, "namespaces-admit", "ok", "the CNI plugin");
    let before = fs::read(configuration(2)).unwrap();
    fs::write(configuration(2), "{").unwrap();
    wait::until(SOON, || {
        let (word, detail) = result(&admin.conduit(CHECK), "cni-ready");
        word == "fail" && detail == "1 of 2 nodes\nnode2"
    });
    fs::write(configuration(2), before).unwrap();
    wait::until(SOON, || result(&admin.conduit(CHECK), "cni-ready").0 == "ok");
}

fn without_agents_the_plugin_works_and_pods_that_it_misses_wait(space: &Space) {
    agents(false);
    expect(&User::admin().conduit(CHECK), "cni-ready", "fail", "0 of 0 nodes");
    assert!(has_entry(1) && has_entry(2), "an agent that is not there now must not take the plugin with it");
    space.apply(&client("alone", 1, ""));
    starts(space, "alone");
    assert!(!said_by_the_step(space, "alone").contains("waiting"), "the plugin had written its rules before");
    speaks_in_mutual_tls(space, "alone");

    // As another network plugin does that writes its configuration anew.
    let mut list: Value = serde_json::from_str(&fs::read_to_string(configuration(1)).unwrap()).unwrap();
    list["plugins"].as_array_mut().unwrap().retain(|plugin| plugin["type"] != "conduit-cni");
    fs::write(configuration(1), list.to_string()).unwrap();
    space.apply(&client("unmeshed", 1, ", annotations: {conduit.io/inject: disabled}"));
    starts(space, "unmeshed");
    space.apply(&client("missed", 1, ""));
    wait::until(SOON, || said_by_the_step(space, "missed").contains("waiting for this pod's redirect rules"));
    let status = pod(space, "missed")["status"].clone();
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing", "{status}");

    agents(true);
    starts(space, "missed");
    assert!(has_entry(1));
    speaks_in_mutual_tls(space, "missed");
    let uid = pod(space, "missed")["metadata"]["uid"].as_str().unwrap().to_owned();
    let selector = ["-l", "app.kubernetes.io/name=conduit-cni", "--tail=-1"];
    let said = cluster().kubectl(&[&["-n", "conduit", "logs"][..], &selector[..]].concat()).unwrap();
    assert!(said.contains(&format!("wrote the redirect rules of the pod with the UID {uid}")), "{said}");
}

fn said_by_the_step(space: &Space, name: &str) -> String {
    space.try_kubectl(&["logs", name, "-c", "conduit-validate"]).unwrap_or_default()
}

fn what_others_write_over_comes_back() {
    let before: Value = serde_json::from_str(&fs::read_to_string(configuration(1)).unwrap()).unwrap();
    let mut list = before.clone();
    list["plugins"].as_array_mut().unwrap().pop();
    fs::write(configuration(1), list.to_string()).unwrap();
    fs::remove_file(program(2)).unwrap();
    wait::until(SOON, || has_entry(1) && program(2).exists());
    let after: Value = serde_json::from_str(&fs::read_to_string(configuration(1)).unwrap()).unwrap();
    assert_eq!(after, before);
}

/// Everything on the node is killed at once, and started again.
fn a_node_that_starts_again_has_its_pods_meshed(space: &Space) {
    let restarts = || {
        let count = "jsonpath={.items[0].status.containerStatuses[0].restartCount}";
        space.kubectl(&["get", "pods", "-l", "app=web", "-o", count]).parse::<u32>().unwrap_or_default()
    };
    let before = restarts();
    let node = cluster().node(2).unwrap();
    // The shell, as the process that kills, stays.
    assert!(node.command("sh").args(["-c", "kill -9 -1"]).status().unwrap().success());
    for component in [Component::Containerd(2), Component::KubeProxy(2), Component::Kubelet(2)] {
        wait::until(SOON, || node.processes(component.program()).is_empty());
        cluster().start(component).unwrap();
        cluster().wait_ready(component).unwrap();
    }
    wait::until(SOON, || restarts() > before);
    space.available("web");
    speaks_in_mutual_tls(space, "client");
    rolled_out("daemonset/conduit-cni");
}
