//! What is added to a pod: the proxy's container, the init step that writes the redirect rules, and the volume with token and
//! trust anchors. Everything that the proxy must know is in `conduit-proxy run --help`; a test compares the two lists.

use conduit_logic::ports;
use serde_json::{Value, json};

use crate::settings::{Amount, Origin, Problem, Settings, Sidecar};
use crate::{Mesh, Redirection, names};

/// How long a pod may wait for its proxy to be ready before the proxy is started anew, in probes of one second.
const STARTUP_PROBES_MAX: u32 = 120;
/// Life of the token that proves to the identity service what the pod is. The kubelet renews it.
const TOKEN_SECONDS: u32 = 3600;

/// What is added.
pub(crate) struct Added {
    pub(crate) proxy: Value,
    pub(crate) init: Option<Value>,
    pub(crate) volume: Value,
}

/// Builds it for this pod.
pub(crate) fn build(pod: &Value, settings: &Settings, mesh: &Mesh, problems: &mut Vec<Problem>) -> Added {
    warn_of_shared_user(pod, problems);
    let init = matches!(mesh.redirection, Redirection::Init).then(|| init(settings));
    Added { proxy: proxy(settings, mesh), init, volume: volume() }
}

fn proxy(settings: &Settings, mesh: &Mesh) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": ports::PROXY_ADMIN}});
    let mut container = json!({
        "name": names::PROXY_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["run"],
        "env": environment(settings, mesh),
        "ports": [{"name": "conduit-admin", "containerPort": ports::PROXY_ADMIN, "protocol": "TCP"}],
        "livenessProbe": probe("/live"),
        "readinessProbe": probe("/ready"),
        "resources": resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsGroup": ports::PROXY_UID,
            "runAsNonRoot": true,
            "runAsUser": ports::PROXY_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": names::VOLUME, "mountPath": names::VOLUME_PATH, "readOnly": true}],
    });
    container["livenessProbe"]["periodSeconds"] = json!(10);
    container["readinessProbe"]["periodSeconds"] = json!(5);
    if settings.sidecar == Sidecar::Native {
        container["restartPolicy"] = json!("Always");
        container["startupProbe"] = probe("/ready");
        container["startupProbe"]["periodSeconds"] = json!(1);
        container["startupProbe"]["failureThreshold"] = json!(STARTUP_PROBES_MAX);
    }
    container
}

fn environment(settings: &Settings, mesh: &Mesh) -> Value {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let mut list = vec![
        field("CONDUIT_PROXY_POD_NAMESPACE", "metadata.namespace"),
        field("CONDUIT_PROXY_POD_NAME", "metadata.name"),
        field("CONDUIT_PROXY_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("CONDUIT_PROXY_POD_IPS", "status.podIPs"),
        value("CONDUIT_PROXY_TRUST_DOMAIN", &mesh.trust_domain),
        value("CONDUIT_PROXY_TRUST_ANCHORS", &format!("{}/trust-anchors.crt", names::VOLUME_PATH)),
        value("CONDUIT_PROXY_TOKEN", &format!("{}/token", names::VOLUME_PATH)),
        value("CONDUIT_PROXY_CONTROLLER_ADDR", &mesh.controller_addr),
        value("CONDUIT_PROXY_LOG", &settings.log),
    ];
    if let Some(networks) = &mesh.cluster_networks {
        list.push(value("CONDUIT_PROXY_CLUSTER_NETWORKS", networks));
    }
    Value::Array(list)
}

/// The init step. Its user is root, because a right that a container is given works for no other user; of root's rights it has one.
fn init(settings: &Settings) -> Value {
    let mut args = vec![json!("init"), json!("--proxy-uid"), json!(ports::PROXY_UID.to_string())];
    for (flag, ranges) in
        [("--skip-inbound-ports", &settings.skip_inbound), ("--skip-outbound-ports", &settings.skip_outbound)]
    {
        if let Some(ranges) = ranges.as_deref().filter(|ranges| !ranges.is_empty()) {
            args.extend([json!(flag), json!(ranges)]);
        }
    }
    json!({
        "name": names::INIT_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": args,
        "resources": resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

fn resources(settings: &Settings) -> Value {
    let mut resources = json!({"requests": {}});
    for (name, Amount { request, limit }) in [("cpu", &settings.cpu), ("memory", &settings.memory)] {
        resources["requests"][name] = json!(request);
        if let Some(limit) = limit {
            resources["limits"][name] = json!(limit);
        }
    }
    resources
}

/// Token and trust anchors. The anchors come from an annotation of the pod itself: a ConfigMap would have to be in every namespace.
fn volume() -> Value {
    let anchors = format!("metadata.annotations['{}']", names::TRUST_ANCHORS);
    json!({
        "name": names::VOLUME,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {
                    "audience": ports::TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token",
                }},
                {"downwardAPI": {
                    "items": [{"path": "trust-anchors.crt", "fieldRef": {"fieldPath": anchors}}],
                }},
            ],
        },
    })
}

/// The redirect rules know the proxy by its user: an application with the same user would go around it.
fn warn_of_shared_user(pod: &Value, problems: &mut Vec<Problem>) {
    let spec = &pod["spec"];
    let user = |context: &Value| context["securityContext"]["runAsUser"].as_u64();
    let containers = spec["containers"].as_array().into_iter().flatten();
    let shared = containers.map(|container| user(container).or_else(|| user(spec)));
    if shared.flatten().any(|user| user == u64::from(ports::PROXY_UID)) {
        problems.push(Problem {
            setting: "securityContext.runAsUser".to_owned(),
            origin: Origin::Pod,
            reason: format!(
                "{} is the proxy's user, whose connections are not redirected: choose another",
                ports::PROXY_UID
            ),
        });
    }
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;
