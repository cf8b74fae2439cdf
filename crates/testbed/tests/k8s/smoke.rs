//! What the cluster itself must do before anything of Conduit's is tried on it.

use std::process::Stdio;

use conduit_testbed::wait;

use crate::support::{Running, SOON, Space, cluster, demo};

#[test]
fn every_node_is_ready_and_dns_finds_the_api_server() {
    let space = Space::new("smoke-nodes");
    let ready = space.kubectl(&[
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}",
    ]);
    assert_eq!(ready.split(' ').count(), cluster().nodes().len());
    assert!(ready.split(' ').all(|status| status == "True"), "{ready}");
    space.start_client();
    let answer = space.curl(&["-k", "https://kubernetes.default.svc.cluster.local/version"]);
    assert!(String::from_utf8_lossy(&answer.stdout).contains("gitVersion"), "{answer:?}");
}

#[test]
fn the_demo_application_answers_over_its_services_in_each_ip_family() {
    let space = Space::new("smoke-demo");
    space.apply(&demo(2));
    space.start_client();
    for name in ["ledger", "prices", "voting", "recommend", "catalog", "web", "load"] {
        space.available(name);
    }
    let families = space.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.ipFamilies[*]}"]);
    for family in families.split(' ') {
        let flag = if family == "IPv6" { "-6" } else { "-4" };
        wait::until(SOON, || space.curl(&[flag, "-f", "http://web:8080/"]).status.success());
    }
}

#[test]
fn a_service_reaches_pods_on_every_node() {
    let space = Space::new("smoke-spread");
    space.apply(
        "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: echo}, spec: {selector: {matchLabels: {app: echo}}, template: {
            metadata: {labels: {app: echo}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: echo,
              image: 'localhost/busybox:1', imagePullPolicy: Never, env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}],
              command: [sh, -c, 'mkdir /tmp/w; echo $NODE > /tmp/w/index.html; exec httpd -f -p \"[::]:8080\" -h /tmp/w'],
              readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: echo}, spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}}",
    );
    space.start_client();
    space.kubectl(&["rollout", "status", "daemonset/echo", "--timeout=60s"]);
    for node in cluster().nodes() {
        wait::until(SOON, || {
            String::from_utf8_lossy(&space.curl(&["http://echo/"]).stdout).trim() == node.name()
        });
    }
}

#[test]
fn exec_logs_and_port_forward_reach_a_pod() {
    let space = Space::new("smoke-operator");
    space.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: web,
            image: 'localhost/busybox:1', imagePullPolicy: Never,
            command: [sh, -c, 'mkdir /tmp/w; echo forwarded > /tmp/w/index.html; echo started; exec httpd -f -p 8080 -h /tmp/w']}]}}",
    );
    space.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    assert_eq!(space.kubectl(&["exec", "web", "--", "hostname"]).trim(), "web");
    assert_eq!(space.kubectl(&["logs", "web"]).trim(), "started");

    let mut kubectl = cluster().kubectl_command();
    kubectl.args(["-n", &space.name, "port-forward", "pod/web", "18080:8080"]);
    let _forward = Running(kubectl.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait::until(SOON, || {
        let answer = cluster().command("curl").args(["-sS", "-m", "5", "http://127.0.0.1:18080/"]).output();
        answer.is_ok_and(|answer| answer.stdout == b"forwarded\n")
    });
}

#[test]
fn a_projected_token_with_its_own_audience_is_reviewed() {
    let space = Space::new("smoke-token");
    let token = space.kubectl(&["create", "token", "default", "--audience=test.example"]);
    let review = format!(
        "{{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {{token: '{}', audiences: [test.example]}}}}",
        token.trim()
    );
    let answer = cluster().kubectl_with_input(&["create", "-o", "json", "-f", "-"], &review).unwrap();
    assert!(answer.contains("\"authenticated\": true"), "{answer}");
    assert!(answer.contains("system:serviceaccount:smoke-token:default"), "{answer}");
    let other = review.replace("[test.example]", "[other.example]");
    let answer = cluster().kubectl_with_input(&["create", "-o", "json", "-f", "-"], &other).unwrap();
    assert!(!answer.contains("\"authenticated\": true"), "{answer}");
}

#[test]
fn rights_are_those_of_rbac_and_a_node_may_not_write_to_another() {
    let space = Space::new("smoke-rights");
    let can = |arguments: &[&str]| {
        let arguments = [&["auth", "can-i"], arguments].concat();
        // It fails when the answer is no.
        cluster().kubectl_command().args(arguments).output().unwrap().stdout == b"yes\n"
    };
    let account = format!("--as=system:serviceaccount:{}:default", space.name);
    assert!(!can(&["list", "secrets", "-A", &account]));
    assert!(can(&["create", "selfsubjectaccessreviews", &account]));
    let node = ["--as=system:node:node1", "--as-group=system:nodes"];
    let label = |target: &str| {
        let arguments = ["label", "node", target, "smoke=yes", "--overwrite"];
        cluster().kubectl_command().args(arguments).args(node).output().unwrap().status.success()
    };
    assert!(label("node1"));
    assert!(!label("node2"));
}
