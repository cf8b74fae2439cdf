//! Installing and injecting, as an operator does it: the manifests of `conduit install`, and workloads of every kind that get their
//! proxy from the webhook.

use std::process::Stdio;

use conduit_testbed::wait;

use crate::mesh::{WEB, conduit, idle, injects, installed, meshed, meshed_alone, names, pod};
use crate::support::{SOON, Space, cluster};

#[test]
fn a_pod_of_an_enabled_namespace_has_its_proxy_ready_before_its_application_starts() {
    let space = meshed("inject-order");
    space.apply(&idle("client", "", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let pod = pod(&space, "client");
    assert_eq!(names(&pod["spec"]["initContainers"]), ["conduit-init", "conduit-proxy"]);
    assert_eq!(pod["metadata"]["labels"]["conduit.io/meshed"], "true");
    let status = &pod["status"];
    assert_eq!(status["initContainerStatuses"][1]["ready"], true);
    let proxy = status["initContainerStatuses"][1]["state"]["running"]["startedAt"].as_str().unwrap();
    let application = status["containerStatuses"][0]["state"]["running"]["startedAt"].as_str().unwrap();
    assert!(proxy <= application, "{proxy} {application}");
}

#[test]
fn the_kubelets_probes_exec_and_logs_work_in_a_meshed_pod() {
    let space = meshed("inject-probes");
    space.apply(WEB);
    space.available("web");
    assert_eq!(space.kubectl(&["exec", "deploy/web", "--", "cat", "/tmp/w/index.html"]), "hello\n");
    assert!(space.kubectl(&["logs", "deploy/web", "-c", "conduit-proxy"]).contains("gate open"));
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(space.kubectl(&["get", "pods", "-l", "app=web", "-o", restarts]), "0");
}

#[test]
fn a_job_with_a_proxy_completes_and_its_init_container_calls_a_meshed_service() {
    let space = meshed("inject-job");
    space.apply(WEB);
    space.available("web");
    space.apply(
        "{apiVersion: batch/v1, kind: Job, metadata: {name: once}, spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never,
           initContainers: [{name: first, image: 'localhost/tools:1', imagePullPolicy: Never,
             command: [curl, -sSf, --retry, '20', --retry-all-errors, --retry-delay, '1', 'http://web/']}],
           containers: [{name: app, image: 'localhost/tools:1', imagePullPolicy: Never,
             command: [curl, -sSf, 'http://web/']}]}}}}",
    );
    space.kubectl(&["wait", "--for=condition=Complete", "job/once", "--timeout=60s"]);
    assert_eq!(space.kubectl(&["logs", "job/once", "-c", "first"]), "hello\n");
    assert_eq!(space.kubectl(&["logs", "job/once", "-c", "app"]), "hello\n");
}

#[test]
fn pods_that_opted_out_or_use_their_nodes_network_are_left_alone() {
    let space = meshed("inject-out");
    space.apply(&idle("annotated", ", annotations: {conduit.io/inject: disabled}", ""));
    space.apply(&idle("labelled", ", labels: {conduit.io/inject: disabled}", ""));
    space.apply(&idle("host", "", ", hostNetwork: true"));
    for name in ["annotated", "labelled", "host"] {
        assert_eq!(names(&pod(&space, name)["spec"]["initContainers"]), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn a_wrong_setting_is_told_of_at_once_and_by_an_event_on_the_pod_that_runs_with_the_default() {
    let space = meshed("inject-wrong");
    let manifest = idle("client", ", annotations: {conduit.io/proxy-log-level: loud}", "");
    let mut kubectl = cluster().kubectl_command();
    kubectl.args(["-n", "inject-wrong", "apply", "-f", "-"]);
    let mut child =
        kubectl.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), manifest.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("conduit.io/proxy-log-level of the pod: `loud` is not a level"), "{said}");
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    wait::until(SOON, || {
        let event = [
            "get",
            "events",
            "--field-selector",
            "involvedObject.name=client,reason=InvalidSetting",
            "-o",
            "name",
        ];
        !space.kubectl(&event).is_empty()
    });
}

#[test]
fn a_workload_is_injected_through_a_pipe_and_given_back_byte_for_byte() {
    let space = Space::new("inject-pipe");
    installed();
    space.apply(WEB);
    let before = space.kubectl(&["get", "deploy", "web", "-o", "yaml"]);
    let (injected, said) = conduit(&["inject", "-"], &before);
    assert_eq!(said, "deployment/web injected\n");
    assert_eq!(conduit(&["uninject", "-"], &injected).0, before);
    space.apply(&injected);
    space.available("web");
    wait::until(SOON, || {
        let init = "jsonpath={.items[*].spec.initContainers[*].name}";
        space.kubectl(&["get", "pods", "-l", "app=web", "-o", init]) == "conduit-init conduit-proxy"
    });
}

#[test]
fn a_classic_sidecar_runs_beside_the_application() {
    let space = meshed("inject-classic");
    space.apply(&idle("client", ", annotations: {conduit.io/sidecar: classic}", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    assert_eq!(names(&pod(&space, "client")["spec"]["containers"]), ["app", "conduit-proxy"]);
}

#[test]
fn a_webhook_that_is_dead_stops_no_pod() {
    let space = meshed_alone("inject-dead");
    let scale = |replicas: &str| {
        cluster()
            .kubectl(&["-n", "conduit", "scale", "deploy/conduit-controller", "--replicas", replicas])
            .unwrap();
    };
    scale("0");
    cluster()
        .kubectl(&[
            "-n",
            "conduit",
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=conduit-controller",
            "--timeout=60s",
        ])
        .unwrap();
    space.apply(&idle("client", "", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    assert_eq!(names(&pod(&space, "client")["spec"]["initContainers"]), Vec::<&str>::new());
    scale("1");
    cluster()
        .kubectl(&["-n", "conduit", "rollout", "status", "deployment/conduit-controller", "--timeout=60s"])
        .unwrap();
    wait::until(SOON, injects);
    space.apply(&idle("second", "", ""));
    assert_eq!(names(&pod(&space, "second")["spec"]["initContainers"]), ["conduit-init", "conduit-proxy"]);
}
