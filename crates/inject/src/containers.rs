//! What is added to a pod: the proxy's container, the init step that writes the redirect rules or waits for them, and the volume with
//! token and trust anchors. Everything that the proxy must know is in `conduit-proxy run --help`; a test compares the two lists.

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
    pub(crate) init: Value,
    pub(crate) volume: Value,
}

/// Builds it for this pod.
pub(crate) fn build(pod: &Value, settings: &Settings, mesh: &Mesh, problems: &mut Vec<Problem>) -> Added {
    warn_of_shared_user(pod, problems);
    let init = match mesh.redirection {
        Redirection::Init => init(settings),
        Redirection::Cni => validate(settings),
    };
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
        "securityContext": restricted(ports::PROXY_UID),
        "volumeMounts": [{"name": names::VOLUME, "mountPath": names::VOLUME_PATH, "readOnly": true}],
    });
    container["livenessProbe"]["periodSeconds"] = json!(10);
    // On a node without CPU to spare a proxy that works may need more than the default second to say so.
    container["livenessProbe"]["timeoutSeconds"] = json!(5);
    container["readinessProbe"]["periodSeconds"] = json!(5);
    if settings.sidecar == Sidecar::Native {
        container["restartPolicy"] = json!("Always");
        container["startupProbe"] = probe("/ready");
        container["startupProbe"]["periodSeconds"] = json!(1);
        container["startupProbe"]["failureThreshold"] = json!(STARTUP_PROBES_MAX);
    }
    container
}

/// What the pod security profile `restricted` asks for.
fn restricted(user: u32) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsGroup": user,
        "runAsNonRoot": true,
        "runAsUser": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

fn environment(settings: &Settings, mesh: &Mesh) -> Value {
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

/// The settings of the redirect rules, in the words of the command line.
pub(crate) fn redirection(settings: &Settings) -> Vec<&str> {
    let mut words = Vec::new();
    for (flag, ranges) in
        [("--skip-inbound-ports", &settings.skip_inbound), ("--skip-outbound-ports", &settings.skip_outbound)]
    {
        if let Some(ranges) = ranges.as_deref().filter(|ranges| !ranges.is_empty()) {
            words.extend([flag, ranges]);
        }
    }
    words
}

/// The step that waits until the rules are there that the CNI plugin writes. Its arguments are also for the agent on the node, which
/// finds the waiting process and writes them where the plugin has not.
fn validate(settings: &Settings) -> Value {
    let args: Vec<&str> = std::iter::once("validate").chain(redirection(settings)).collect();
    json!({
        "name": names::VALIDATE_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": args,
        "env": [field("CONDUIT_PROXY_POD_IPS", "status.podIPs")],
        "resources": resources(settings),
        "securityContext": restricted(names::VALIDATE_UID),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// The init step. Its user is root, because a right that a container is given works for no other user; of root's rights it has one.
fn init(settings: &Settings) -> Value {
    let uid = ports::PROXY_UID.to_string();
    let args: Vec<&str> = ["init", "--proxy-uid", &uid].into_iter().chain(redirection(settings)).collect();
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
