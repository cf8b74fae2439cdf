//! From one version to the next, and away: what an operator pipes into kubectl, under load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conduit_testbed::{spec, wait};
use serde_json::json;

use crate::ending::shop;
use crate::load::{Kind, Load, WEB};
use crate::mesh::{Otherwise, conduit, injects, meshed_alone, rolled_out, run, short_certificates, upgrade};
use crate::replicas::{get, host};
use crate::support::{SOON, Space, cluster};
use crate::workloads::proto;

/// The tag of the images of the version before.
const OLDER: &str = "older";

/// Longer than the version before lets certificates live in this test, and shorter than they live by default.
const LASTING: Duration = Duration::from_secs(3600);

/// What is called all the time.
const KINDS: [Kind; 4] = [Kind::Kept, Kind::Fresh, Kind::Tcp, Kind::Grpc];

/// Pain: an upgrade is an outage, or leaves parts of the old version about; what was uninstalled stays in webhooks, roles and CRDs, and
/// takes its pods with it. `cargo xtask test --upgrade-from REVISION` upgrades from a version that differs: with its command line, controller
/// and proxies.
#[test]
fn an_upgrade_fails_no_request_and_uninstalling_leaves_nothing_but_pods_that_serve_on() {
    let space = meshed_alone("upgrade");
    uninstall();
    let before = everything(&space);
    let _back = Otherwise;
    install_older();
    space.apply(&[&proto(), &shop(2), "---", WEB].concat());
    for deployment in ["web", "shop"] {
        space.available(deployment);
        assert_eq!(
            older(&space, deployment),
            [true, true],
            "the proxies of {deployment} are of the version before"
        );
    }
    let of_older = Load::of(&space, "older", &KINDS, &json!({}));
    // Also while replicas of both versions run, a new proxy may come to an old one of them.
    let newer =
        json!({"conduit.io/proxy-image": concat!("localhost/conduit-proxy:", env!("CARGO_PKG_VERSION"))});
    let of_newer = Load::of(&space, "newer", &KINDS, &newer);
    let anchors = ["-n", "conduit", "get", "configmap", "conduit-trust-anchors", "-o", "jsonpath={.data}"];
    let identity = cluster().kubectl(&anchors).unwrap();
    reads(&spec::executable("conduit"), &space);

    upgrade(&[], |manifests| manifests);
    reads(&older_program(), &space);
    wait::until(SOON, || certificates_last(&space));
    of_older.goes_on();
    of_newer.goes_on();
    let disruption = cluster().kubectl(&["-n", "conduit", "get", "pdb", "-o", "name"]).unwrap();
    assert_eq!(disruption, "", "what only the old one had is gone");
    assert_eq!(cluster().kubectl(&anchors).unwrap(), identity, "identities stay");

    for (done, (web, shop)) in space.pods("web").iter().zip(&space.pods("shop")).enumerate() {
        space.kubectl(&["delete", "pod", web, shop]);
        for deployment in ["web", "shop"] {
            space.available(deployment);
            let left = older(&space, deployment).into_iter().filter(|older| *older).count();
            assert_eq!(left, 1 - done, "pods of {deployment} with the proxy before");
        }
        of_older.goes_on();
        of_newer.goes_on();
    }
    of_older.end();

    uninstall();
    let left: Vec<String> = everything(&space).difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:#?}");
    of_newer.goes_on();
    of_newer.end();
}

/// Installs the version before as its operator did, but for certificates that live for seconds: its proxies come for the next ones to the new
/// controller.
fn install_older() {
    let program = older_program();
    let (manifests, _) = run(&program, &["install", "--ha", "--tag", OLDER, "--log-level", "debug"], "");
    cluster().apply(&short_certificates(manifests)).unwrap();
    rolled_out();
    wait::until(SOON, injects);
}

/// The command line of the version before, whose images every node has by their own tag: what `cargo xtask test --upgrade-from` has built and
/// imported, or this version's with another name.
fn older_program() -> PathBuf {
    if let Some(folder) = std::env::var_os("CONDUIT_UPGRADE_FROM") {
        return PathBuf::from(folder).join("conduit");
    }
    for node in cluster().nodes() {
        for image in ["conduit-controller", "conduit-proxy"] {
            let name = |tag: &str| format!("localhost/{image}:{tag}");
            let mut tag = node.command("ctr");
            tag.args([
                "-n",
                "k8s.io",
                "images",
                "tag",
                "--force",
                &name(env!("CARGO_PKG_VERSION")),
                &name(OLDER),
            ]);
            assert!(tag.output().unwrap().status.success());
        }
    }
    spec::executable("conduit")
}

/// A command line of the one version reads from a controller of the other.
#[track_caller]
fn reads(program: &Path, space: &Space) {
    let mut stat = cluster().command(program);
    stat.args(["stat", "deploy", "-n", &space.name, "--kubeconfig"]).arg(cluster().kubeconfig());
    let answer = stat.output().unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success() && said.contains("web") && said.contains("shop"), "{answer:?}");
}

/// Of each pod with this label `app` whether its proxy is of the version before.
fn older(space: &Space, app: &str) -> Vec<bool> {
    let image = "jsonpath={.spec.initContainers[*].image}";
    let images = |pod: &String| space.kubectl(&["get", "pod", pod, "-o", image]);
    space.pods(app).iter().map(|pod| images(pod).contains(&format!("conduit-proxy:{OLDER}"))).collect()
}

/// Whether every proxy has a certificate of those that live for long: from the new controller.
fn certificates_last(space: &Space) -> bool {
    let addresses = space.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]);
    let until = (SystemTime::now() + LASTING).duration_since(UNIX_EPOCH).unwrap().as_secs();
    addresses.split(' ').all(|address| {
        let (_, text) = get(&format!("http://{}:4191/metrics", host(address)));
        let ends = text.lines().find_map(|line| {
            line.strip_prefix("conduit_proxy_certificate_expiry_timestamp_seconds ")?.parse::<f64>().ok()
        });
        ends.is_some_and(|ends| ends > until as f64)
    })
}

fn uninstall() {
    let objects = conduit(&["uninstall"], "").0;
    cluster().kubectl_with_input(&["delete", "-f", "-"], &objects).unwrap();
}

/// Every object of every kind in the cluster, but events, what is in the test's own namespace, and the addresses of its services.
fn everything(space: &Space) -> BTreeSet<String> {
    let kinds = cluster().kubectl(&["api-resources", "--verbs=list", "-o", "name"]).unwrap();
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let columns = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let list = ["get", &kinds.join(","), "-A", "--no-headers", "--ignore-not-found", "-o", columns];
    let lines = cluster().kubectl(&list).unwrap();
    let own = space.kubectl(&["get", "services", "-o", "jsonpath={.items[*].spec.clusterIPs[*]}"]);
    let is_own =
        |words: &Vec<&str>| words[1] == space.name || own.split(' ').any(|address| address == words[2]);
    let words = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| !is_own(words)).map(|words| words.join(" ")).collect()
}
