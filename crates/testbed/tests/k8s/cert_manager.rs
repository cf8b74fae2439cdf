//! Identity from cert-manager: its controller, built from its sources, writes the issuer, and Conduit follows what it writes. The anchors
//! stand in a ConfigMap, where two of them can overlap.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use conduit_testbed::wait;
use serde_json::{Value, json};

use crate::load::Load;
use crate::mesh::{Otherwise, User, idle, injects, meshed_alone, short_certificates};
use crate::support::{Running, SOON, Space, cluster};

/// What installs with the issuer that cert-manager keeps.
const FLAGS: [&str; 4] = ["--issuer-secret", "mesh-issuer", "--trust-bundle", "mesh-bundle"];

/// So long before it is signed a certificate begins.
const BACKDATE_S: u64 = 10;

/// cert-manager, in the cluster until this is dropped.
struct CertManager {
    crds: String,
    _controller: Running,
}

impl CertManager {
    fn start() -> Self {
        let parts = conduit_testbed::cluster::cert_manager().unwrap_or_else(|error| panic!("{error:#}"));
        let crds = parts.join("crds.yaml").to_string_lossy().into_owned();
        cluster().kubectl(&["apply", "--server-side", "-f", &crds]).unwrap();
        cluster().kubectl(&["wait", "--for=condition=Established", "-f", &crds, "--timeout=60s"]).unwrap();
        let log = std::fs::File::create(cluster().dir().join("cert-manager.log")).unwrap();
        let mut controller = cluster().command(parts.join("cert-manager"));
        controller.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { crds, _controller: Running(controller.spawn().unwrap()) }
    }
}

impl Drop for CertManager {
    fn drop(&mut self) {
        cluster().kubectl(&["delete", "-f", &self.crds, "--ignore-not-found", "--wait=false"]).ok();
        let secrets = ["mesh-issuer", "mesh-anchor-1", "mesh-anchor-2"];
        let delete = ["-n", "conduit", "delete", "--ignore-not-found", "configmap/mesh-bundle"];
        let secrets = secrets.map(|name| format!("secret/{name}"));
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        cluster().kubectl(&[&delete, &*secrets].concat()).ok();
    }
}

fn apply(object: &Value) {
    let apply = ["-n", "conduit", "apply", "-f", "-"];
    cluster().kubectl_with_input(&apply, &object.to_string()).unwrap_or_else(|error| panic!("{error:#}"));
}

/// A self-signed anchor, and the Issuer that signs below it.
fn make_anchor(name: &str) -> String {
    apply(&json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": name},
        "spec": {"secretName": name, "commonName": name, "isCA": true, "duration": "24h",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": {"kind": "Issuer", "name": "self-signed"}},
    }));
    apply(&json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": name},
        "spec": {"ca": {"secretName": name}},
    }));
    wait::until(SOON, || entry(name, "tls.crt").is_some());
    entry(name, "tls.crt").unwrap()
}

/// The issuer below an anchor, with its key in this encoding: PKCS1 means SEC 1 where the key is of ECDSA.
fn make_issuer(anchor: &str, encoding: &str) {
    apply(&json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "mesh-issuer"},
        "spec": {"secretName": "mesh-issuer", "commonName": "mesh-issuer", "isCA": true, "duration": "1h",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always", "encoding": encoding},
            "issuerRef": {"kind": "Issuer", "name": anchor}},
    }));
}

fn bundle(anchors: &[&str]) {
    apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mesh-bundle"}, "data": {"ca.crt": anchors.concat()},
    }));
}

/// An entry of a Secret, if it is there.
fn entry(secret: &str, key: &str) -> Option<String> {
    let template = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
    let text = cluster().kubectl(&["-n", "conduit", "get", "secret", secret, "-o", &template]).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

/// What is in force. Who asks proves the controller by the anchors that are published, which is a moment after they are in force.
fn shown() -> Value {
    wait::for_some(SOON, || {
        let shown = User::admin().conduit("identity show -o json");
        (shown.code == 0).then(|| shown.json())
    })
}

/// Waits until another issuer is in force than this one.
fn taken_up(before: &Value) -> Value {
    wait::for_some(SOON, || Some(shown()).filter(|now| now["issuer"]["sha256"] != before["issuer"]["sha256"]))
}

/// Pain: an issuer that was renewed and not taken up, until an expired one was served; restarts in the right order, by hand.
#[test]
fn an_issuer_that_cert_manager_renews_and_an_anchor_that_is_replaced_are_followed_under_load_without_a_failed_request()
 {
    let space = meshed_alone("cert-manager");
    let _cert_manager = CertManager::start();
    apply(&json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "self-signed"}, "spec": {"selfSigned": {}},
    }));
    let first = make_anchor("mesh-anchor-1");
    make_issuer("mesh-anchor-1", "PKCS1");
    bundle(&[&first]);
    let _given = Otherwise::with(&FLAGS, short_certificates);
    let start = shown();
    let origin = start["origin"].as_str().unwrap();
    assert!(origin.contains("conduit/mesh-issuer") && origin.contains("Certificate mesh-issuer"), "{origin}");
    assert!(entry("mesh-issuer", "tls.key").unwrap().starts_with("-----BEGIN EC PRIVATE KEY-----"));
    let load = Load::start(&space);
    let uids = || {
        let of = |namespace| {
            let uids = ["-n", namespace, "get", "pods", "-o", "jsonpath={.items[*].metadata.uid}"];
            cluster().kubectl(&uids).unwrap()
        };
        (of("conduit"), of(&*space.name))
    };
    let running = uids();

    the_command_says_whose_it_is_and_changes_nothing();
    let renewed = renewals_are_taken_up(&load);
    another_anchor_is_taken_up_with_overlap(&space, &load, &first, &renewed);

    wait::until(SOON, injects);
    assert_eq!(uids(), running, "nothing was made anew");
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(cluster().kubectl(&["-n", "conduit", "get", "pods", "-o", restarts]).unwrap(), "0");
    space.apply(&idle("new", "", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/new", "--timeout=60s"]);
    load.end();
}

fn the_command_says_whose_it_is_and_changes_nothing() {
    let before = shown();
    for (what, part) in
        [("issuer", "cmctl renew -n conduit mesh-issuer"), ("anchor", "ConfigMap conduit/mesh-bundle")]
    {
        let refused = User::admin().conduit(&format!("identity rotate {what}"));
        assert!(refused.code == 1 && refused.stderr.contains(part), "{refused:?}");
    }
    assert_eq!(shown(), before);
}

/// Renewed as `cmctl renew` does it, and because the Secret is gone.
fn renewals_are_taken_up(load: &Load<'_>) -> Value {
    let start = shown();
    let renew =
        json!({"status": {"conditions": [{"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "renewed by a test", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        .to_string();
    let patch = ["patch", "certificate", "mesh-issuer", "--subresource=status", "--type=merge", "-p", &renew];
    cluster().kubectl(&[&["-n", "conduit"], &patch[..]].concat()).unwrap();
    let renewed = taken_up(&start);
    load.goes_on();
    cluster().kubectl(&["-n", "conduit", "delete", "secret", "mesh-issuer"]).unwrap();
    let again = taken_up(&renewed);
    load.goes_on();
    assert_eq!(again["trust_anchors"], start["trust_anchors"]);
    again
}

/// Another anchor: beside the first, then with the issuer below it (and its key in the other encoding), then alone.
fn another_anchor_is_taken_up_with_overlap(space: &Space, load: &Load<'_>, first: &str, before: &Value) {
    let anchors = || shown()["trust_anchors"].as_array().map(Vec::len);
    let second = make_anchor("mesh-anchor-2");
    bundle(&[first, &second]);
    wait::until(SOON, || anchors() == Some(2));
    make_issuer("mesh-anchor-2", "PKCS8");
    taken_up(before);
    assert!(entry("mesh-issuer", "tls.key").unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    load.goes_on();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    wait::until(SOON, || begun(&space.name).iter().all(|begun| begun + BACKDATE_S > since));
    bundle(&[&second]);
    wait::until(SOON, || anchors() == Some(1));
    load.goes_on();
}

/// When the certificate of each proxy in a namespace begins, in Unix time.
fn begun(namespace: &str) -> Vec<u64> {
    let admin = User::admin();
    let proxies = admin.conduit(&format!("diagnostics proxies -n {namespace} -o json")).json();
    let proxies = proxies["proxies"].as_array().unwrap().iter();
    let begun = |proxy: &Value| {
        let pod = proxy["pod"].as_str().unwrap();
        let shown = admin.conduit(&format!("diagnostics certificate {pod} -n {namespace} -o json")).json();
        shown["not_before_unix_s"].as_u64().unwrap_or_default()
    };
    proxies.map(begun).collect()
}
