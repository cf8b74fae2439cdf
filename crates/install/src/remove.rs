//! What `conduit uninstall` names for deletion: the objects outside the namespace, then the namespace, with which everything in it
//! goes, also what the controller made there. The webhook comes first, so that no pod waits for one that is going.

/// The objects, in the order in which they go: version, kind, name.
const OBJECTS: [(&str, &str, &str); 5] = [
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "conduit-injector"),
    ("v1", "Namespace", "conduit"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "conduit-controller"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "conduit-controller"),
    ("scheduling.k8s.io/v1", "PriorityClass", "conduit-control-plane"),
];

/// The manifests for `kubectl delete -f -`.
#[must_use]
pub fn render() -> String {
    let object = |(version, kind, name): &(&str, &str, &str)| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n")
    };
    OBJECTS.iter().map(object).collect::<Vec<_>>().join("---\n")
}
