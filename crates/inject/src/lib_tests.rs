use proptest::prelude::*;

use super::*;
use crate::edit::tests::apply;

pub(crate) fn mesh() -> Mesh {
    Mesh {
        controller_addr: "conduit-controller.conduit.svc:8086".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        trust_anchors: "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n".to_owned(),
        cluster_networks: None,
        redirection: Redirection::Init,
        settings: Settings::of_image("conduit-proxy:1"),
    }
}

fn enabled() -> Annotations {
    Annotations::from([(names::INJECT.to_owned(), "enabled".to_owned())])
}

fn inject_into(pod: &Value, annotations: &Annotations) -> Injected {
    match inject(pod, "shop", annotations, &mesh()) {
        Outcome::Injected(injected) => *injected,
        Outcome::Skipped(skip, _) => panic!("skipped: {skip}"),
    }
}

fn names_of(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
}

fn web() -> Value {
    json!({
        "metadata": {"name": "web-1", "labels": {"app": "web"}},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "m"}],
            "containers": [{"name": "web", "image": "w", "livenessProbe": {"httpGet": {"path": "/", "port": 80}}}],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "futureField": {"kept": [1, 2, 3]},
        },
    })
}

#[test]
fn a_native_sidecar_starts_before_every_container_of_the_application() {
    let injected = inject_into(&web(), &enabled());
    let spec = &injected.pod["spec"];
    assert_eq!(names_of(&spec["initContainers"]), ["conduit-init", "conduit-proxy", "migrate"]);
    assert_eq!(names_of(&spec["containers"]), ["web"]);
    let proxy = &spec["initContainers"][1];
    assert_eq!(proxy["restartPolicy"], "Always");
    assert_eq!(proxy["startupProbe"]["httpGet"], json!({"path": "/ready", "port": 4191}));
    assert_eq!(injected.pod["metadata"]["labels"], json!({"app": "web", "conduit.io/meshed": "true"}));
    assert_eq!(injected.problems, []);
}

#[test]
fn a_classic_sidecar_comes_last_and_its_rules_after_the_init_containers() {
    let mut annotations = enabled();
    annotations.insert(names::SIDECAR.to_owned(), "classic".to_owned());
    let spec = &inject_into(&web(), &annotations).pod["spec"];
    assert_eq!(names_of(&spec["initContainers"]), ["migrate", "conduit-init"]);
    assert_eq!(names_of(&spec["containers"]), ["web", "conduit-proxy"]);
    assert_eq!(spec["containers"][1].get("restartPolicy"), None);
}

#[test]
fn what_the_pod_had_is_there_as_it_was() {
    let injected = inject_into(&web(), &enabled());
    assert_eq!(injected.pod["spec"]["futureField"], web()["spec"]["futureField"]);
    assert_eq!(injected.pod["spec"]["containers"], web()["spec"]["containers"]);
    assert_eq!(injected.pod["spec"]["volumes"][0], web()["spec"]["volumes"][0]);
}

#[test]
fn where_the_cni_plugin_writes_the_rules_the_pod_needs_no_right_and_waits_for_them() {
    let mesh = Mesh { redirection: Redirection::Cni, ..mesh() };
    let mut annotations = enabled();
    annotations.insert(names::SKIP_INBOUND.to_owned(), "22, 30-40".to_owned());
    let Outcome::Injected(native) = inject(&web(), "shop", &annotations, &mesh) else { panic!("skipped") };
    assert_eq!(
        names_of(&native.pod["spec"]["initContainers"]),
        ["conduit-validate", "conduit-proxy", "migrate"]
    );
    assert!(!native.pod.to_string().contains("NET_ADMIN"));
    let told = &native.pod["metadata"]["annotations"][names::REDIRECTION];
    assert_eq!(told, "--skip-inbound-ports 22,30-40");

    annotations.insert(names::SIDECAR.to_owned(), "classic".to_owned());
    let Outcome::Injected(classic) = inject(&web(), "shop", &annotations, &mesh) else { panic!("skipped") };
    assert_eq!(names_of(&classic.pod["spec"]["initContainers"]), ["migrate", "conduit-validate"]);
    let told = classic.pod["metadata"]["annotations"].get(names::REDIRECTION);
    assert_eq!(told, None, "rules before the proxy would cut the init containers off");
}

#[test]
fn a_pod_with_a_proxy_is_left_alone() {
    let once = inject_into(&web(), &enabled());
    let again = inject(&once.pod, "shop", &enabled(), &mesh());
    assert_eq!(again, Outcome::Skipped(Skip::AlreadyInjected, Vec::new()));
}

#[test]
fn a_wrong_setting_is_reported_on_the_pod_and_the_others_are_used() {
    let mut pod = web();
    pod["metadata"]["annotations"] = json!({names::CPU_LIMIT: "lots", names::LOG_LEVEL: "debug"});
    let injected = inject_into(&pod, &enabled());
    let metadata = &injected.pod["metadata"];
    assert_eq!(injected.problems.len(), 1);
    assert_eq!(
        metadata["annotations"][names::PROBLEMS],
        "conduit.io/proxy-cpu-limit of the pod: `lots` is not a quantity such as 10m, 0.5 or 64Mi; it is not used"
    );
    assert_eq!(metadata["labels"][names::LABEL_INVALID], "true");
    let env = injected.pod["spec"]["initContainers"][1]["env"].as_array().unwrap().clone();
    assert!(env.contains(&json!({"name": "CONDUIT_PROXY_LOG", "value": "debug"})), "{env:?}");
}

#[test]
fn opaque_ports_of_the_namespace_reach_the_pod() {
    let mut annotations = enabled();
    annotations.insert(ports::ANNOTATION_OPAQUE_PORTS.to_owned(), "3306, 6379".to_owned());
    let injected = inject_into(&web(), &annotations);
    assert_eq!(injected.pod["metadata"]["annotations"][ports::ANNOTATION_OPAQUE_PORTS], "3306,6379");
}

fn any_json(depth: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z/~]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z/~]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

proptest! {
    #[test]
    fn the_patch_applied_to_the_pod_gives_the_injected_pod(
        labels in any_json(1), annotations in any_json(1), init in any_json(2), volumes in any_json(2), other in any_json(3),
    ) {
        let pod = json!({
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {
                "containers": [{"name": "web"}], "initContainers": init, "volumes": volumes, "other": other,
            },
        });
        if let Outcome::Injected(injected) = inject(&pod, "shop", &enabled(), &mesh()) {
            let patch = serde_json::to_value(&injected.patch).unwrap();
            let mut patched = pod.clone();
            apply(&mut patched, &patch);
            prop_assert_eq!(&patched, &injected.pod);
            prop_assert_eq!(&patched["spec"]["other"], &pod["spec"]["other"]);
        }
    }

    #[test]
    fn any_json_is_decided_without_a_panic(pod in any_json(4), value in "\\PC{0,20}") {
        for setting in names::SETTINGS {
            let annotations = Annotations::from([(setting.0.to_owned(), value.clone())]);
            let _outcome = inject(&pod, "shop", &annotations, &mesh());
        }
    }
}
