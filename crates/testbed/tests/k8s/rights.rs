//! Least privilege: what the controller may do, held against what it does, as the API server wrote it down since the cluster began.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use conduit_testbed::wait;
use serde_json::Value;

use crate::mesh::{User, idle, meshed};
use crate::replicas::replicas;
use crate::support::{SOON, cluster};

const ACCOUNT: &str = "--as=system:serviceaccount:conduit:conduit-controller";

/// Pain: a control plane with more rights than it needs is the shortest way to the whole cluster, and a right that is missing shows months
/// later.
#[test]
fn every_right_of_the_controller_is_used_none_was_missing_and_no_foreign_secret_is_within_reach() {
    let space = meshed("rights");
    // What does not happen all the time: a wrong setting, a namespace that the watch has not seen, a new issuer, anchors that were changed.
    space.apply(&idle("wrong", ", annotations: {conduit.io/proxy-log-level: loud}", ""));
    let replica = replicas().remove(0);
    replica.review("not-there");
    replica.conduit(&["identity", "rotate", "issuer"]);
    // An operator asks, so that the API server is asked about him.
    let looked = User::admin().conduit("stat deploy -A");
    assert_eq!(looked.code, 0, "{looked:?}");
    let stale = [
        "-n",
        "conduit",
        "patch",
        "configmap",
        "conduit-trust-anchors",
        "-p",
        r#"{"data": {"ca.crt": "stale"}}"#,
    ];
    cluster().kubectl(&stale).unwrap();

    let granted = granted();
    assert!(granted.iter().all(|right| !right.contains('*')), "{granted:#?}");
    let foreign =
        granted.iter().filter(|right| right.contains("secrets") && !right.starts_with("in conduit: "));
    assert_eq!(foreign.count(), 0, "{granted:#?}");
    let unused = || {
        let used: BTreeSet<String> = tried().into_iter().flatten().collect();
        granted.difference(&used).cloned().collect::<Vec<_>>()
    };
    let begun = Instant::now();
    let unused = wait::for_some(SOON * 2, || {
        let unused = unused();
        (unused.is_empty() || begun.elapsed() > SOON).then_some(unused)
    });
    assert!(unused.is_empty(), "the controller has rights that it does not use: {unused:#?}");
    // What Kubernetes' own role gives, to which the controller is bound: who signs the client certificates of operators.
    let of_the_clusters_role =
        right("kube-system", "get", "configmaps", "", "extension-apiserver-authentication");
    // What the other installation of the test with cert-manager grants.
    let elsewhere = [("secrets", "mesh-issuer"), ("configmaps", "mesh-bundle")]
        .map(|(resource, name)| right("conduit", "get", resource, "", name));
    let is_granted = |right: &String| {
        granted.contains(right) || *right == of_the_clusters_role || elsewhere.contains(right)
    };
    let missing: BTreeSet<_> = tried().into_iter().filter(|words| !words.iter().any(is_granted)).collect();
    assert!(missing.is_empty(), "the controller tries what its roles do not grant: {missing:#?}");
    for question in [
        ["get", "secrets", "--all-namespaces"],
        ["get", "secrets/other", "--namespace=conduit"],
        ["list", "secrets", "--namespace=conduit"],
        ["create", "pods", "--all-namespaces"],
        ["patch", "pods", "--all-namespaces"],
    ] {
        let asked =
            cluster().kubectl_command().args(["auth", "can-i", ACCOUNT]).args(question).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&asked.stdout), "no\n", "{question:?}");
    }
}

/// A right in words, for comparison.
fn right(namespace: &str, verb: &str, resource: &str, group: &str, name: &str) -> String {
    let place = if namespace.is_empty() { String::new() } else { format!("in {namespace}: ") };
    format!("{place}{verb} {resource}.{group} {name}").trim_end().to_owned()
}

/// What the roles grant.
fn granted() -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for (namespace, kind) in [("", "clusterrole"), ("conduit", "role")] {
        let role =
            cluster().kubectl(&["-n", "conduit", "get", kind, "conduit-controller", "-o", "json"]).unwrap();
        let role: Value = serde_json::from_str(&role).unwrap();
        for rule in role["rules"].as_array().unwrap() {
            let texts = |key: &str| {
                let texts = rule[key].as_array().into_iter().flatten();
                texts.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let names = Some(texts("resourceNames")).filter(|names| !names.is_empty());
            for (group, name) in texts("apiGroups").iter().flat_map(|group| {
                let names = names.clone().unwrap_or_else(|| vec![String::new()]);
                names.into_iter().map(move |name| (group.clone(), name))
            }) {
                for (resource, verb) in texts("resources")
                    .iter()
                    .flat_map(|resource| texts("verbs").into_iter().map(move |verb| (resource.clone(), verb)))
                {
                    rights.insert(right(namespace, &verb, &resource, &group, &name));
                }
            }
        }
    }
    rights
}

/// What the controller did or tried, each in words with and without the name of what it did it to.
fn tried() -> Vec<[String; 2]> {
    let log = fs::read_to_string(cluster().audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let objects = events.map(|event| {
        let object = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (verb, resource, group) =
            (text(&event["verb"]), text(&object["resource"]), text(&object["apiGroup"]));
        let of_role = ["secrets", "configmaps", "leases"].contains(&&*resource);
        let namespace = if of_role { text(&object["namespace"]) } else { String::new() };
        [String::new(), text(&object["name"])].map(|name| right(&namespace, &verb, &resource, &group, &name))
    });
    objects.collect()
}
