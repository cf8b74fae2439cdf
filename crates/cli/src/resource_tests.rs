use super::*;
use crate::output::Exit;

fn resource(namespace: &str, kind: &str, name: &str) -> Resource {
    Resource { namespace: namespace.into(), kind: kind.into(), name: name.into() }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn resources_are_read_as_kubectl_reads_them() {
    for (typed, namespace, expected) in [
        ("", None, resource("", "", "")),
        ("", Some("shop"), resource("shop", "", "")),
        ("web", None, resource("", "", "web")),
        ("deploy/web", Some("shop"), resource("shop", "Deployment", "web")),
        ("deployment web", None, resource("", "Deployment", "web")),
        ("svc/web", None, resource("", "Service", "web")),
        ("Service web", None, resource("", "Service", "web")),
        ("po/web-1", None, resource("", "Pod", "web-1")),
        ("pods", None, resource("", "Pod", "")),
        ("svc", Some("shop"), resource("shop", "Service", "")),
        ("workload/web", None, resource("", "", "web")),
        ("ns/shop", None, resource("shop", "", "")),
        ("shop/deploy/web", None, resource("shop", "Deployment", "web")),
    ] {
        assert_eq!(parse(&words(typed), namespace).unwrap(), expected, "{typed}");
    }
}

#[test]
fn what_is_no_resource_is_a_usage_error_that_says_what_to_write() {
    for typed in ["thing/web", "thing web", "deploy/", "a/b/c/d", "deploy web extra", "shop/thing/web"] {
        let failure = parse(&words(typed), None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage, "{typed}");
        assert!(failure.to_string().contains("write deploy/web"), "{typed}: {failure}");
    }
    let twice = parse(&words("shop/deploy/web"), Some("bank")).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "`shop/deploy/web` names the namespace shop, and --namespace names bank (leave one of the two out)"
    );
}

#[test]
fn what_is_shown_can_be_typed_back() {
    let web = WorkloadRef { namespace: "shop".into(), kind: "StatefulSet".into(), name: "web".into() };
    assert_eq!(full(Some(&web), "(unmeshed)"), "shop/sts/web");
    assert_eq!(parse(&words("shop/sts/web"), None).unwrap(), resource("shop", "StatefulSet", "web"));
    assert_eq!(full(None, "(unmeshed)"), "(unmeshed)");
    assert_eq!(short("Rollout", "web"), "rollout/web");
    assert_eq!(describe(&resource("shop", "Deployment", "web")), "deploy/web in namespace shop");
    assert_eq!(describe(&resource("", "", "")), "any workload");
    assert_eq!(describe(&resource("", "Service", "")), "any svc");
}
