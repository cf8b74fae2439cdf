use serde_json::json;

use super::*;

fn check(pod: Value, namespace: &str, annotation: Option<&str>) -> (Result<(), Skip>, usize) {
    let of_namespace: Annotations =
        annotation.map(|value| (names::INJECT.to_owned(), value.to_owned())).into_iter().collect();
    let mut problems = Vec::new();
    let decided = decide(&pod, &crate::annotations(&pod), namespace, &of_namespace, &mut problems);
    (decided, problems.len())
}

fn pod(metadata: Value, spec: Value) -> Value {
    let mut pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "a"}]}});
    for (name, value) in spec.as_object().unwrap() {
        pod["spec"][name] = value.clone();
    }
    pod
}

#[test]
fn the_pod_decides_before_its_namespace() {
    let plain = || pod(json!({}), json!({}));
    let says = |value: &str| pod(json!({"annotations": {names::INJECT: value}}), json!({}));
    assert_eq!(check(plain(), "shop", None), (Err(Skip::NotAsked), 0));
    assert_eq!(check(plain(), "shop", Some("enabled")), (Ok(()), 0));
    assert_eq!(check(plain(), "shop", Some("disabled")), (Err(Skip::DisabledByNamespace), 0));
    assert_eq!(check(says("disabled"), "shop", Some("enabled")), (Err(Skip::DisabledByPod), 0));
    assert_eq!(check(says("enabled"), "shop", Some("disabled")), (Ok(()), 0));
    let label = pod(json!({"labels": {names::INJECT: "disabled"}}), json!({}));
    assert_eq!(check(label, "shop", Some("enabled")), (Err(Skip::DisabledByPod), 0));
}

#[test]
fn a_word_that_is_not_understood_counts_as_not_said_and_is_reported() {
    let odd = pod(json!({"annotations": {names::INJECT: "maybe"}}), json!({}));
    assert_eq!(check(odd.clone(), "shop", Some("enabled")), (Ok(()), 1));
    assert_eq!(check(odd, "shop", Some("yes!")), (Err(Skip::NotAsked), 2));
}

#[test]
fn pods_that_must_not_have_a_proxy_are_left_alone() {
    let asks = json!({"annotations": {names::INJECT: "enabled"}});
    let with = |spec: Value| check(pod(asks.clone(), spec), "shop", None).0;
    assert_eq!(with(json!({"hostNetwork": true})), Err(Skip::HostNetwork));
    assert_eq!(with(json!({"os": {"name": "windows"}})), Err(Skip::NotLinux));
    assert_eq!(with(json!({"os": {"name": "linux"}})), Ok(()));
    assert_eq!(with(json!({"containers": [{"name": "conduit-proxy"}]})), Err(Skip::AlreadyInjected));
    assert_eq!(with(json!({"initContainers": [{"name": "conduit-init"}]})), Err(Skip::AlreadyInjected));
    assert_eq!(with(json!({"containers": []})), Err(Skip::NoPod));
    assert_eq!(with(json!({"volumes": "none"})), Err(Skip::NoPod));
    assert_eq!(check(pod(asks.clone(), json!({})), "conduit", None).0, Err(Skip::ControlPlane));
    for namespace in SYSTEM_NAMESPACES {
        assert_eq!(check(pod(asks.clone(), json!({})), namespace, None).0, Err(Skip::SystemNamespace));
    }
}
