//! `conduit check` against a cluster with each fault that it names, and an installation as an operator does it: look, install, look.

use conduit_testbed::wait;
use serde_json::Value;

use crate::mesh::{Ended, User, conduit, idle, injects, installed, meshed};
use crate::support::{SOON, Space, cluster};

/// What a check found: its result and its detail.
#[track_caller]
pub(crate) fn result(ended: &Ended, id: &str) -> (String, String) {
    let document = ended.json();
    let check = document["checks"].as_array().unwrap().iter().find(|check| check["id"] == id);
    let check = check.unwrap_or_else(|| panic!("no check {id} in {document}"));
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    (text("result"), text("detail"))
}

#[track_caller]
pub(crate) fn expect(ended: &Ended, id: &str, wanted: &str, part: &str) {
    let (result, detail) = result(ended, id);
    assert!(result == wanted && detail.contains(part), "{id}: {result} {detail}");
}

fn kubectl(line: &str) {
    let arguments: Vec<&str> = line.split(' ').collect();
    cluster().kubectl(&arguments).unwrap_or_else(|error| panic!("{error:#}"));
}

/// Installs the control plane again when a test fails that took it away, for the tests after it.
struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            cluster().apply(&conduit(&["install"], "").0).ok();
            cluster()
                .kubectl(&[
                    "-n",
                    "conduit",
                    "rollout",
                    "status",
                    "deployment/conduit-controller",
                    "--timeout=60s",
                ])
                .ok();
        }
    }
}

const PRE: &str = "check --pre -o json";
pub(crate) const CHECK: &str = "check -o json";

#[test]
fn an_operator_looks_installs_and_looks_again_and_each_fault_on_the_way_is_named() {
    // Alone: nothing else may have pods with proxies while there is no control plane.
    let space = Space::alone("check-install");
    installed();
    let admin = User::admin();
    let looked = admin.conduit(PRE);
    expect(&looked, "nothing-in-the-way", "warn", "Conduit is installed already");
    let _again = Again;
    cluster()
        .kubectl_with_input(&["delete", "--ignore-not-found", "-f", "-"], &conduit(&["uninstall"], "").0)
        .unwrap();

    let looked = admin.conduit(CHECK);
    assert_eq!(looked.code, 3, "{looked:?}");
    expect(&looked, "controller-ready", "fail", "not installed");
    expect(&looked, "webhook-injects", "fail", "");
    let looked = admin.conduit(PRE);
    assert_eq!(looked.code, 0, "{looked:?}");
    for id in [
        "version-supported",
        "clock-agrees",
        "may-install",
        "webhooks-served",
        "nothing-in-the-way",
        "pods-admitted",
    ] {
        expect(&looked, id, "ok", "");
    }

    // What a cluster can lack.
    let nobody = User::new(&space, "nobody");
    let looked = nobody.conduit(PRE);
    assert_eq!(looked.code, 1, "{looked:?}");
    expect(&looked, "may-install", "fail", "clusterroles.rbac.authorization.k8s.io");
    kubectl("create clusterrole conduit-view --verb=get --resource=pods");
    expect(&admin.conduit(PRE), "nothing-in-the-way", "fail", "ClusterRole conduit-view");
    kubectl("label clusterrole conduit-view app.kubernetes.io/part-of=conduit");
    expect(&admin.conduit(PRE), "nothing-in-the-way", "warn", "left of an earlier installation");
    kubectl("delete clusterrole conduit-view");
    kubectl("label namespace default pod-security.kubernetes.io/enforce=baseline");
    expect(&admin.conduit(PRE), "pods-admitted", "warn", "NET_ADMIN");
    kubectl("label namespace default pod-security.kubernetes.io/enforce-");
    kubectl("label namespace check-install pod-security.kubernetes.io/enforce=restricted");
    kubectl("annotate namespace check-install conduit.io/inject=enabled");
    expect(&admin.conduit(PRE), "namespaces-admit", "warn", "check-install");
    kubectl("label namespace check-install pod-security.kubernetes.io/enforce-");
    kubectl("annotate namespace check-install conduit.io/inject-");
    let mut view: Value =
        serde_json::from_str(&cluster().kubectl(&["config", "view", "--raw", "-o", "json"]).unwrap())
            .unwrap();
    view["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    let looked = User::with(&view).conduit(PRE);
    assert_eq!(looked.code, 3, "{looked:?}");
    expect(&looked, "api-server-reachable", "fail", "");

    cluster().apply(&conduit(&["install"], "").0).unwrap();
    kubectl("-n conduit rollout status deployment/conduit-controller --timeout=60s");
    wait::until(SOON, injects);
    // The replica that writes is elected, and publishes the trust anchors, a moment after the first answers.
    let looked = wait::for_some(SOON, || Some(admin.conduit(CHECK)).filter(|looked| looked.code == 0));
    for id in [
        "controller-ready",
        "webhook-trusted",
        "webhook-injects",
        "pods-meshed",
        "settings-valid",
        "controller-reachable",
        "issuer-valid",
    ] {
        expect(&looked, id, "ok", "");
    }
}

#[test]
fn check_names_pods_without_a_proxy_wrong_settings_and_what_the_caller_may_not_see() {
    let space = meshed("check-pods");
    let admin = User::admin();
    space.apply(&idle("loud", ", annotations: {conduit.io/proxy-log-level: loud}", ""));
    kubectl("annotate namespace check-pods conduit.io/inject-");
    space.apply(&idle("plain", "", ""));
    let looked = admin.conduit(CHECK);
    assert!(!result(&looked, "pods-meshed").1.contains("check-pods/plain"), "{looked:?}");
    kubectl("annotate namespace check-pods conduit.io/inject=enabled");
    let looked = admin.conduit(CHECK);
    assert_eq!(looked.code, 1, "{looked:?}");
    expect(&looked, "pods-meshed", "fail", "check-pods/plain");
    expect(&looked, "settings-valid", "warn", "check-pods/loud: conduit.io/proxy-log-level");
    let shown = admin.conduit("check").stdout;
    assert!(shown.contains("× every pod that is to have a proxy has one"), "{shown}");
    assert!(shown.contains("hint: have them made again: `kubectl rollout restart"), "{shown}");

    let nobody = User::new(&space, "nobody");
    let looked = nobody.conduit(CHECK);
    assert_eq!(looked.code, 1, "{looked:?}");
    expect(&looked, "pods-meshed", "skip", "forbidden");
    expect(&looked, "controller-reachable", "fail", "conduit-operator");
}

#[test]
fn check_names_a_webhook_that_is_not_trusted_and_a_controller_that_is_away() {
    let space = Space::alone("check-away");
    installed();
    let admin = User::admin();
    // Another CA than the mesh's, as it stands in a Secret: in base64.
    let other = space.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", r"jsonpath={.data.ca\.crt}"]);
    space.kubectl(&["create", "secret", "generic", "other", &format!("--from-literal=ca={other}")]);
    let other = space.kubectl(&["get", "secret", "other", "-o", "jsonpath={.data.ca}"]);
    let spoil = || {
        let patch = serde_json::json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": other}]);
        kubectl(&format!("patch mutatingwebhookconfiguration conduit-injector --type=json -p {patch}"));
    };
    // The controller repairs it within seconds: it is spoiled until the check has seen it.
    wait::until(SOON, || {
        spoil();
        let looked = admin.conduit(CHECK);
        result(&looked, "webhook-trusted").0 == "fail" && result(&looked, "webhook-injects").0 == "fail"
    });
    wait::until(SOON, || admin.conduit(CHECK).code == 0);

    kubectl("-n conduit scale deploy/conduit-controller --replicas 0");
    kubectl("-n conduit wait --for=delete pod -l app.kubernetes.io/name=conduit-controller --timeout=60s");
    let looked = admin.conduit(CHECK);
    assert_eq!(looked.code, 3, "{looked:?}");
    expect(&looked, "controller-ready", "fail", "0 of 0 ready");
    expect(&looked, "webhook-injects", "fail", "");
    expect(&looked, "controller-reachable", "fail", "no controller runs");
    kubectl("-n conduit scale deploy/conduit-controller --replicas 1");
    kubectl("-n conduit rollout status deployment/conduit-controller --timeout=60s");
    wait::until(SOON, injects);
}
