//! Whether a pod gets a proxy: a function of the pod and of its namespace's annotations. It never fails: what cannot be read
//! counts as not said, and is reported.

use std::fmt;

use conduit_logic::ports;
use serde_json::Value;

use crate::settings::{Origin, Problem};
use crate::{Annotations, names, strings};

/// Namespaces of the cluster's own parts. Without them nothing starts, so nothing of ours may be between them.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Why a pod is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Nobody asked for it.
    NotAsked,
    /// The pod's annotation or label says `disabled`.
    DisabledByPod,
    /// The namespace's annotation says `disabled`.
    DisabledByNamespace,
    /// The pod uses its node's network: redirect rules would be the node's.
    HostNetwork,
    /// The namespace is the control plane's.
    ControlPlane,
    /// The namespace belongs to the cluster itself.
    SystemNamespace,
    /// The pod has a proxy.
    AlreadyInjected,
    /// The pod is for another operating system.
    NotLinux,
    /// The object has no `spec` with containers, or a part that cannot be a pod's.
    NoPod,
}

impl Skip {
    /// Whether somebody wanted a proxy for this pod and should hear why there is none.
    #[must_use]
    pub const fn is_surprising(self) -> bool {
        matches!(self, Self::HostNetwork | Self::NotLinux | Self::SystemNamespace)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAsked => "neither the pod nor its namespace has conduit.io/inject: enabled",
            Self::DisabledByPod => "the pod has conduit.io/inject: disabled",
            Self::DisabledByNamespace => "the namespace has conduit.io/inject: disabled",
            Self::HostNetwork => "the pod uses its node's network (hostNetwork)",
            Self::ControlPlane => "the control plane's own pods have no proxy",
            Self::SystemNamespace => "the cluster's own namespaces are left alone",
            Self::AlreadyInjected => "the pod has a proxy already",
            Self::NotLinux => "the pod is not for Linux",
            Self::NoPod => "it is not a pod that the API server would take",
        })
    }
}

/// Decides.
///
/// # Errors
/// The reason why the pod is left alone.
pub fn decide(
    pod: &Value,
    annotations: &Annotations,
    namespace: &str,
    namespace_annotations: &Annotations,
    problems: &mut Vec<Problem>,
) -> Result<(), Skip> {
    let spec = &pod["spec"];
    if !is_pod(pod) {
        return Err(Skip::NoPod);
    }
    if namespace == ports::CONTROLLER_NAMESPACE {
        return Err(Skip::ControlPlane);
    }
    let labels = strings(&pod["metadata"]["labels"]);
    let pod_says =
        asked(annotations, Origin::Pod, problems).or_else(|| asked(&labels, Origin::Pod, problems));
    match pod_says {
        Some(false) => return Err(Skip::DisabledByPod),
        Some(true) => {}
        None => match asked(namespace_annotations, Origin::Namespace, problems) {
            Some(false) => return Err(Skip::DisabledByNamespace),
            Some(true) => {}
            None => return Err(Skip::NotAsked),
        },
    }
    if SYSTEM_NAMESPACES.contains(&namespace) {
        return Err(Skip::SystemNamespace);
    }
    if has_proxy(spec) {
        return Err(Skip::AlreadyInjected);
    }
    if spec["hostNetwork"].as_bool() == Some(true) {
        return Err(Skip::HostNetwork);
    }
    if spec["os"]["name"].as_str().is_some_and(|name| name != "linux") {
        return Err(Skip::NotLinux);
    }
    Ok(())
}

/// Whether what injection adds to is there or can be made without taking something away.
fn is_pod(pod: &Value) -> bool {
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let maps = [metadata, &metadata["labels"], &metadata["annotations"]];
    spec["containers"].as_array().is_some_and(|containers| !containers.is_empty())
        && maps.iter().all(|map| map.is_object() || map.is_null())
        && [&spec["initContainers"], &spec["volumes"]].iter().all(|list| list.is_array() || list.is_null())
}

/// Whether a pod's spec has our containers.
#[must_use]
pub fn has_proxy(spec: &Value) -> bool {
    ["containers", "initContainers"].iter().any(|list| {
        let containers = spec[*list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str()).any(|name| {
            [names::PROXY_CONTAINER, names::INIT_CONTAINER, names::VALIDATE_CONTAINER].contains(&name)
        })
    })
}

/// What these annotations say of injection.
fn asked(annotations: &Annotations, origin: Origin, problems: &mut Vec<Problem>) -> Option<bool> {
    match annotations.get(names::INJECT)?.as_str() {
        "enabled" | "true" => Some(true),
        "disabled" | "false" => Some(false),
        other => {
            let reason = format!("`{other}` is neither enabled nor disabled");
            problems.push(Problem { setting: names::INJECT.to_owned(), origin, reason });
            None
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
