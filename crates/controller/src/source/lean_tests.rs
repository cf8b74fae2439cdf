use super::*;
use kube::core::WatchEvent;
use serde_json::json;

fn pod(json: Value) -> Lean<Pod> {
    serde_json::from_value(json).unwrap()
}

#[test]
fn of_a_pod_only_what_is_used_is_kept() {
    let pod = pod(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
            "labels": {"app": "web", "conduit.io/meshed": "true", "pod-template-hash": "5d9c7"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "…", "conduit.io/opaque-ports": "25"},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {"nodeName": "n1", "serviceAccountName": "web", "containers": [
            {"name": "app", "image": "x", "env": [{"name": "A", "value": "b"}], "ports": [{"containerPort": 80}]},
            {"name": "side"},
        ]},
        "status": {"phase": "Running", "podIP": "10.1.0.2"},
    }));
    assert_eq!(pod.key(), (Kind::Pod, "shop".into(), "web-1".into()));
    assert_eq!(pod.meta().resource_version.as_deref(), Some("7"));
    let Ok(Object::Pod(pod)) = pod.object else { panic!("{pod:?}") };
    assert_eq!((pod.metadata.uid.as_str(), pod.spec.node_name.as_str()), ("u1", "n1"));
    assert_eq!(pod.metadata.labels.names().collect::<Vec<_>>(), ["conduit.io/meshed", "pod-template-hash"]);
    assert_eq!(pod.metadata.annotations.names().collect::<Vec<_>>(), ["conduit.io/opaque-ports"]);
    assert_eq!(pod.spec.containers.len(), 1, "a container without ports says nothing");
}

#[test]
fn an_object_that_cannot_be_understood_keeps_its_name_and_says_why() {
    for (broken, word) in [
        (
            json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"containers": 7}}),
            "invalid type",
        ),
        (
            json!({"metadata": {"name": "a", "resourceVersion": "1"}, "status": {"podIP": "10.1.0"}}),
            "status.podIP",
        ),
        (json!({"metadata": {"name": "a", "resourceVersion": "1", "labels": [1]}}), "invalid type"),
    ] {
        let pod = pod(broken);
        assert_eq!(pod.key(), (Kind::Pod, "default".into(), "a".into()));
        assert_eq!(pod.meta().resource_version.as_deref(), Some("1"), "the watch goes on from here");
        let reason = pod.object.unwrap_err();
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn one_broken_object_spoils_neither_its_list_nor_its_watch() {
    let list = json!({
        "kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"},
        "items": [
            {"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"clusterIP": "10.96.0.1"}},
            {"metadata": {"name": "b", "resourceVersion": "2"}, "spec": {"ports": [{"port": "eighty"}]}},
            {"metadata": {"name": "c", "resourceVersion": "3"}},
        ],
    });
    let list: kube::core::ObjectList<Lean<Service>> = serde_json::from_value(list).unwrap();
    let understood: Vec<bool> = list.items.iter().map(|item| item.object.is_ok()).collect();
    assert_eq!(understood, [true, false, true]);
    let line =
        r#"{"type":"MODIFIED","object":{"metadata":{"name":"b","resourceVersion":"4"},"spec":{"ports":7}}}"#;
    let event: WatchEvent<Lean<Service>> = serde_json::from_str(line).unwrap();
    assert!(matches!(event, WatchEvent::Modified(object) if object.object.is_err()));
}

#[test]
fn enums_and_fields_of_later_versions_are_no_error() {
    let slice = json!({
        "metadata": {"name": "web-a", "resourceVersion": "1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "New", "ports": null,
        "endpoints": [{"addresses": ["10.1.0.2"], "conditions": {"ready": true, "fresh": true}, "hints": {"forMoons": []}}],
    });
    let slice: Lean<EndpointSlice> = serde_json::from_value(slice).unwrap();
    assert!(slice.object.is_ok(), "{slice:?}");
}

#[test]
fn owners_need_metadata_alone() {
    assert!(
        Lean::<ReplicaSet>::metadata_api() && Lean::<Job>::metadata_api() && !Lean::<Pod>::metadata_api()
    );
    assert_eq!(Lean::<EndpointSlice>::url_path(&(), None), "/apis/discovery.k8s.io/v1/endpointslices");
    assert_eq!(Lean::<Pod>::url_path(&(), Some("a")), "/api/v1/namespaces/a/pods");
}
