use clap::Parser;
use serde_json::json;

use super::*;
use crate::args::{Conduit, Verb};

fn args(anchors: &std::path::Path) -> Inject {
    let anchors = anchors.to_str().unwrap();
    let parsed = Conduit::try_parse_from(["conduit", "inject", "--manual", "--trust-anchors", anchors, "-"]);
    match parsed.unwrap().verb {
        Verb::Inject(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_containers_are_written_into_every_workload_and_what_is_none_stays() {
    let anchors = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(anchors.path(), "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n").unwrap();
    let text = "kind: Service\nmetadata: {name: web}\n---\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers: [{name: web}]\n---\nkind: List\nitems:\n- kind: Pod\n  metadata: {name: host}\n  spec: {hostNetwork: true, containers: [{name: a}]}\n";
    let outcome = inject(text, &args(anchors.path())).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&outcome.text).unwrap();
    assert_eq!(documents[0], json!({"kind": "Service", "metadata": {"name": "web"}}));
    let template = &documents[1]["spec"]["template"];
    assert_eq!(template["spec"]["initContainers"][1]["name"], "conduit-proxy");
    let written = &template["metadata"]["annotations"][names::TRUST_ANCHORS];
    assert_eq!(written, "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n");
    assert_eq!(
        outcome.remarks,
        ["deployment/web injected", "pod/host left alone: the pod uses its node's network (hostNetwork)"]
    );
}

#[test]
fn without_a_certificate_nothing_is_printed() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let failure = inject("kind: Pod\n", &args(empty.path())).unwrap_err();
    assert!(failure.what().contains("no certificate"), "{failure:?}");
}
