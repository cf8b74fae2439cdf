//! From one version to the next, and away: what an operator pipes into kubectl, under load.

use std::collections::BTreeSet;

use conduit_testbed::wait;

use crate::load::Load;
use crate::mesh::{Otherwise, conduit, meshed_alone, upgrade};
use crate::support::{SOON, Space, cluster};

/// Pain: an upgrade is an outage, or leaves parts of the old version about; what was uninstalled stays in webhooks, roles and CRDs, and
/// takes its pods with it.
#[test]
fn an_upgrade_fails_no_request_and_uninstalling_leaves_nothing_but_pods_that_serve_on() {
    let space = meshed_alone("upgrade");
    uninstall();
    let before = everything(&space);
    let _back = Otherwise::with(&["--ha", "--tag", &older(), "--log-level", "debug"], |manifests| manifests);
    let load = Load::start(&space);
    let images = "jsonpath={.items[*].spec.initContainers[0].image}";
    let images = || space.kubectl(&["get", "pods", "-l", "app=web", "-o", images]);
    assert!(images().split(' ').all(|image| image.ends_with(":older")), "{}", images());
    let anchors = ["-n", "conduit", "get", "configmap", "conduit-trust-anchors", "-o", "jsonpath={.data}"];
    let identity = cluster().kubectl(&anchors).unwrap();

    upgrade(&[], |manifests| manifests);
    load.goes_on();
    let disruption = cluster().kubectl(&["-n", "conduit", "get", "pdb", "-o", "name"]).unwrap();
    assert_eq!(disruption, "", "what only the old one had is gone");
    assert_eq!(cluster().kubectl(&anchors).unwrap(), identity, "identities stay");
    space.kubectl(&["rollout", "restart", "deployment/web"]);
    space.available("web");
    wait::until(SOON, || !images().contains(":older"));
    load.goes_on();

    uninstall();
    let left: Vec<String> = everything(&space).difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:#?}");
    load.goes_on();
    load.end();
}

fn uninstall() {
    let objects = conduit(&["uninstall"], "").0;
    cluster().kubectl_with_input(&["delete", "-f", "-"], &objects).unwrap();
}

/// Gives this version's images another tag in every node: the version before.
fn older() -> String {
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
                &name("older"),
            ]);
            assert!(tag.output().unwrap().status.success());
        }
    }
    "older".to_owned()
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
