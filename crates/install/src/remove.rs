//! What `conduit uninstall` names for deletion: the namespace, with which everything in it goes, also what the controller made
//! there, and the objects outside. The webhook comes first, so that no pod waits for one that is going.

/// What rights are made of.
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// The objects, in the order in which they go: version, kind, namespace, name.
pub const OBJECTS: [(&str, &str, &str, &str); 9] = [
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "conduit-injector"),
    ("v1", "Namespace", "", "conduit"),
    (RBAC, "RoleBinding", "kube-system", "conduit-controller-client-ca"),
    (RBAC, "ClusterRoleBinding", "", "conduit-controller"),
    (RBAC, "ClusterRole", "", "conduit-controller"),
    (RBAC, "ClusterRole", "", "conduit-view"),
    (RBAC, "ClusterRole", "", "conduit-tap"),
    (RBAC, "ClusterRole", "", "conduit-admin"),
    ("scheduling.k8s.io/v1", "PriorityClass", "", "conduit-control-plane"),
];

/// The manifests for `kubectl delete -f -`.
#[must_use]
pub fn render() -> String {
    let object = |(version, kind, namespace, name): &(&str, &str, &str, &str)| {
        let place = if namespace.is_empty() { String::new() } else { format!("  namespace: {namespace}\n") };
        format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n{place}")
    };
    OBJECTS.iter().map(object).collect::<Vec<_>>().join("---\n")
}
