use super::*;

fn present(kind: &str, ours: bool, ending: bool) -> Present {
    Present { kind: kind.into(), name: "conduit".into(), ours, ending }
}

fn with(present: Vec<Present>) -> Facts {
    let unseen = || Unseen { why: "not asked".into(), forbidden: true };
    Facts {
        server: Err(String::new()),
        rights: Vec::new(),
        present,
        webhooks: Err(unseen()),
        trial: Err(unseen()),
        namespaces: Err(unseen()),
    }
}

#[test]
fn every_object_of_the_manifests_has_a_kind_that_the_api_server_knows_by_its_plural() {
    let kinds: Vec<String> = manifests().iter().map(|object| kind_name(&resource(object))).collect();
    for kind in [
        "namespaces",
        "priorityclasses.scheduling.k8s.io",
        "networkpolicies.networking.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "deployments.apps",
        "clusterroles.rbac.authorization.k8s.io",
    ] {
        assert!(kinds.iter().any(|each| each == kind), "{kind} in {kinds:?}");
    }
}

#[test]
fn the_pod_that_is_tried_has_the_init_container_that_policies_refuse() {
    let text = injected().to_string();
    assert!(text.contains("NET_ADMIN") && text.contains("conduit-init"), "{text}");
}

#[test]
fn what_is_there_already_is_told_apart_by_whose_it_is() {
    assert!(matches!(nothing_in_the_way(&with(vec![])), Verdict::Ok(_)));
    let installed = vec![present("Namespace", true, false), present("Deployment", true, false)];
    assert_eq!(nothing_in_the_way(&with(installed)), Verdict::Warn("Conduit is installed already".into()));
    let left = vec![present("ClusterRole", true, false)];
    assert_eq!(
        nothing_in_the_way(&with(left)),
        Verdict::Warn("left of an earlier installation\nClusterRole conduit".into())
    );
    let taken = vec![present("Namespace", false, false)];
    assert_eq!(
        nothing_in_the_way(&with(taken)),
        Verdict::Fail("not Conduit's, but of the same name\nNamespace conduit".into())
    );
    let ending = vec![present("Namespace", true, true)];
    assert_eq!(
        nothing_in_the_way(&with(ending)),
        Verdict::Fail("still being deleted\nNamespace conduit".into())
    );
}
