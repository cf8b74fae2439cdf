use serde_json::Value;

use super::*;

fn objects(options: &Options) -> Vec<Value> {
    serde_saphyr::from_multiple(&render(options).unwrap()).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn ha() -> Options {
    Options { ha: true, cni: true, cluster_networks: "10.0.0.0/8".to_owned(), ..Options::default() }
}

fn given() -> Options {
    let (issuer_secret, trust_bundle) = ("mesh-issuer".to_owned(), "mesh-bundle".to_owned());
    Options { issuer_secret, trust_bundle, ..Options::default() }
}

#[test]
fn an_issuer_that_somebody_else_keeps_is_read_by_its_name_and_no_secret_is_written() {
    let objects = objects(&given());
    let role =
        of_kind(&objects, "Role").into_iter().find(|role| role["metadata"]["name"] == "conduit-controller");
    let rules = role.unwrap()["rules"].as_array().unwrap();
    let of = |resource: &str| -> Vec<&Value> {
        let is_it = |rule: &&Value| rule["resources"].as_array().unwrap().contains(&resource.into());
        rules.iter().filter(is_it).collect()
    };
    let secrets = of("secrets");
    assert_eq!(secrets.len(), 1, "{secrets:?}");
    assert_eq!(secrets[0]["verbs"], serde_json::json!(["get"]));
    assert_eq!(secrets[0]["resourceNames"], serde_json::json!(["mesh-issuer"]));
    assert!(of("configmaps").iter().any(|rule| rule["resourceNames"] == serde_json::json!(["mesh-bundle"])));
}

#[test]
fn every_name_in_the_template_has_a_value_and_every_value_a_place() {
    for value in Options::default().values() {
        let places = [format!("${{{}}}", value.name), format!("#if {}\n", value.name)];
        assert!(places.iter().any(|place| TEMPLATE.contains(place)), "{}", value.name);
    }
    for rendered in [&Options::default(), &ha(), &given()].map(|options| render(options).unwrap()) {
        assert!(!rendered.contains("${") && !rendered.contains("#if"), "{rendered}");
    }
    let chart = chart::files().pop().unwrap().1;
    assert!(!chart.contains("${"), "a value that stands in no quotes has no translation");
}

#[test]
fn high_availability_has_three_replicas_a_budget_and_is_spread() {
    let (one, three) = (objects(&Options::default()), objects(&ha()));
    assert_eq!(of_kind(&one, "Deployment")[0]["spec"]["replicas"], 1);
    assert_eq!(of_kind(&one, "PodDisruptionBudget").len(), 0);
    let deployment = of_kind(&three, "Deployment")[0];
    assert_eq!(deployment["spec"]["replicas"], 3);
    let apart = &deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"];
    let terms = apart["preferredDuringSchedulingIgnoredDuringExecution"].as_array().unwrap();
    let keys: Vec<_> = terms.iter().map(|term| &term["podAffinityTerm"]["topologyKey"]).collect();
    assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    assert_eq!(of_kind(&three, "PodDisruptionBudget").len(), 1);
}

#[test]
fn no_rule_has_a_wildcard_and_secrets_are_read_by_name_in_the_own_namespace_only() {
    for object in [objects(&ha()), objects(&given())].concat() {
        for rule in object["rules"].as_array().into_iter().flatten() {
            let text = rule.to_string();
            assert!(!text.contains("\"*\""), "{text}");
            let verbs = rule["verbs"].as_array().unwrap();
            if text.contains("secrets") {
                assert_eq!(object["kind"], "Role");
                assert!(rule["resourceNames"].is_array() || *verbs == ["create"], "{text}");
            }
        }
    }
}

#[test]
fn without_the_plugin_nothing_of_it_is_there_and_the_namespace_takes_restricted_pods_alone() {
    let (without, with) = (objects(&Options::default()), objects(&ha()));
    assert!(!render(&Options::default()).unwrap().contains("cni"));
    let enforced = |objects: &[Value]| {
        of_kind(objects, "Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].clone()
    };
    assert_eq!((enforced(&without), enforced(&with)), ("restricted".into(), "privileged".into()));
}

#[test]
fn the_agent_runs_on_every_node_before_other_pods_with_three_rights_of_roots() {
    let objects = objects(&ha());
    let pod = &of_kind(&objects, "DaemonSet")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["tolerations"], serde_json::json!([{"operator": "Exists"}]));
    assert_eq!(pod["hostNetwork"], true, "it must start where no other pod can");
    let context = &pod["containers"][0]["securityContext"];
    let rights = serde_json::json!({"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]});
    assert_eq!(context["capabilities"], rights);
    assert_eq!(context.get("privileged"), None);
}

#[test]
fn a_webhook_that_is_down_stops_no_pod_and_never_sees_the_clusters_own() {
    let objects = objects(&Options::default());
    let configuration = of_kind(&objects, "MutatingWebhookConfiguration")[0];
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert!(webhook["timeoutSeconds"].as_u64().unwrap() <= 5);
    let left_out = &webhook["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(left_out["operator"], "NotIn");
    for namespace in
        conduit_inject::decide::SYSTEM_NAMESPACES.iter().chain([&conduit_logic::ports::CONTROLLER_NAMESPACE])
    {
        assert!(left_out["values"].as_array().unwrap().contains(&Value::from(*namespace)), "{namespace}");
    }
}

#[test]
fn every_object_outside_the_namespace_is_named_for_removal() {
    let removed: Vec<Value> = serde_saphyr::from_multiple(&remove::render()).unwrap();
    let name = |object: &Value| (object["kind"].clone(), object["metadata"]["name"].clone());
    let removed: Vec<_> = removed.iter().map(name).collect();
    let outside = |object: &&Value| object["metadata"]["namespace"] != "conduit";
    for object in objects(&ha()).iter().filter(outside) {
        assert!(removed.contains(&name(object)), "{}", name(object).1);
    }
    assert!(removed[0].0 == "MutatingWebhookConfiguration", "the webhook goes first");
}

#[test]
fn every_object_carries_the_label_that_prune_selects() {
    let (name, value) = SELECTOR.split_once('=').unwrap();
    for object in objects(&ha()) {
        assert_eq!(object["metadata"]["labels"][name], value, "{object}");
    }
}

#[test]
fn ports_are_those_of_the_table() {
    let objects = objects(&Options::default());
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let ports: Vec<u64> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["containerPort"].as_u64().unwrap())
        .collect();
    use conduit_logic::ports as table;
    assert_eq!(
        ports,
        [table::CONTROLLER_GRPC, table::CONTROLLER_ADMIN, table::CONTROLLER_WEBHOOK].map(u64::from)
    );
}
