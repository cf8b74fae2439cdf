use conduit_inject::settings::Settings;
use conduit_inject::{Redirection, names};

use super::*;

fn mesh() -> Mesh {
    Mesh {
        controller_addr: "conduit-controller.conduit.svc:8086".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        trust_anchors: "anchors".to_owned(),
        cluster_networks: None,
        redirection: Redirection::Init,
        settings: Settings::of_image("conduit-proxy:1"),
    }
}

fn check(pod: Value, annotations: &[(&str, &str)]) -> Value {
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u1", "namespace": "shop", "operation": "CREATE", "object": pod},
    });
    let request = read(body.to_string().as_bytes()).unwrap();
    let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let answer = respond(&request, &annotations.collect(), &mesh()).unwrap();
    assert_eq!(answer["response"]["uid"], "u1");
    assert_eq!(answer["response"]["allowed"], true, "no pod is ever refused");
    answer["response"].clone()
}

fn pod() -> Value {
    json!({"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "web"}]}})
}

#[test]
fn a_pod_of_an_enabled_namespace_gets_a_patch() {
    let response = check(pod(), &[(names::INJECT, "enabled")]);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch: ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: Value = serde_json::from_slice(&patch.0).unwrap();
    let paths: Vec<&str> =
        patch.as_array().unwrap().iter().map(|operation| operation["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/spec/initContainers/0"), "{paths:?}");
    assert_eq!(response.get("warnings"), None);
}

#[test]
fn a_pod_that_is_left_alone_is_allowed_without_a_patch() {
    assert_eq!(check(pod(), &[]), json!({"uid": "u1", "allowed": true}));
    let mut host = pod();
    host["spec"]["hostNetwork"] = json!(true);
    let response = check(host, &[(names::INJECT, "enabled")]);
    assert_eq!(response.get("patch"), None);
    assert!(response["warnings"][0].as_str().unwrap().contains("hostNetwork"), "{response}");
}

#[test]
fn a_wrong_setting_is_a_warning_of_bounded_length() {
    let long = "é".repeat(400);
    let response = check(pod(), &[(names::INJECT, "enabled"), (names::LOG_LEVEL, &long)]);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("conduit: conduit.io/proxy-log-level of the namespace"), "{warning}");
    assert!(warning.len() <= WARNING_BYTES_MAX);
    assert!(response["patch"].is_string());
}

#[test]
fn what_is_no_review_is_refused() {
    for body in
        ["", "{}", "[]", r#"{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u","object":{}}}"#]
    {
        assert!(read(body.as_bytes()).is_err(), "{body}");
    }
}
