//! Injection: whether a pod gets a proxy, with which settings, and what is added to it. Used by the controller's webhook and by
//! `conduit inject --manual`, so that both give the same pod. It works on JSON values, because a pod has fields that no
//! version of ours knows and all of them must survive. Deliberately absent: sockets, clocks, the Kubernetes API, YAML.

pub mod names;
pub mod decide;
pub mod settings;
pub mod quantity;
pub mod containers;
pub mod edit;
pub mod workload;

use std::collections::BTreeMap;

use conduit_logic::ports;
use serde_json::{Value, json};

use crate::containers::Added;
use crate::decide::Skip;
use crate::edit::{Editor, Operation};
use crate::settings::{Problem, Settings, Sidecar};

/// Annotations or labels of one object.
pub type Annotations = BTreeMap<String, String>;

/// What holds for the whole mesh: what a pod's settings start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// Where a pod's proxy finds the controller: host:port.
    pub controller_addr: String,
    /// The trust domain.
    pub trust_domain: String,
    /// The trust anchors, as PEM; they are no secret.
    pub trust_anchors: String,
    /// The cluster's networks, as the proxy takes them; none: the proxy's default.
    pub cluster_networks: Option<String>,
    /// Who writes a pod's redirect rules.
    pub redirection: Redirection,
    /// The settings where neither pod nor namespace has others.
    pub settings: Settings,
}

/// Who writes a pod's redirect rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirection {
    /// An init container of the pod, with NET_ADMIN and nothing else.
    Init,
    /// The CNI plugin on the node: the pod needs no right, and an init container waits until the rules are there.
    Cni,
}

/// A pod with its proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected {
    /// The pod, or the pod template.
    pub pod: Value,
    /// What was done to it, as a JSON Patch (RFC 6902).
    pub patch: Vec<Operation>,
    /// Settings that were wrong and were not used.
    pub problems: Vec<Problem>,
}

/// What became of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It has a proxy now.
    Injected(Box<Injected>),
    /// It is left alone, and why.
    Skipped(Skip, Vec<Problem>),
}

/// Decides, and adds the proxy to a pod (or pod template) of a namespace. The pod must be an object with `spec`; what is
/// unknown in it stays as it is.
#[must_use]
pub fn inject(pod: &Value, namespace: &str, namespace_annotations: &Annotations, mesh: &Mesh) -> Outcome {
    let annotations = annotations(pod);
    let mut problems = Vec::new();
    if let Err(skip) = decide::decide(pod, &annotations, namespace, namespace_annotations, &mut problems) {
        return Outcome::Skipped(skip, problems);
    }
    let settings = settings::read(&annotations, namespace_annotations, &mesh.settings, &mut problems);
    let added = containers::build(pod, &settings, mesh, &mut problems);
    let mut editor = Editor::new(pod.clone());
    // Of a classic sidecar the plugin must not know: the application's init containers, which run before the proxy, would be cut off.
    // The agent on the node writes the rules when the last init container waits for them.
    if mesh.redirection == Redirection::Cni && settings.sidecar == Sidecar::Native {
        let words = containers::redirection(&settings).join(" ");
        editor.set(&["metadata", "annotations", names::REDIRECTION], json!(words));
    }
    add(&mut editor, added, settings.sidecar);
    editor.set(&["metadata", "labels", ports::LABEL_MESHED], json!("true"));
    editor.set(&["metadata", "annotations", names::TRUST_ANCHORS], json!(mesh.trust_anchors));
    editor.set(&["metadata", "annotations", names::PROXY_VERSION], json!(env!("CARGO_PKG_VERSION")));
    if let Some(opaque) = &settings.opaque_ports {
        editor.set(&["metadata", "annotations", ports::ANNOTATION_OPAQUE_PORTS], json!(opaque));
    }
    if !problems.is_empty() {
        let text: Vec<String> = problems.iter().map(Problem::to_string).collect();
        editor.set(&["metadata", "labels", names::LABEL_INVALID], json!("true"));
        editor.set(&["metadata", "annotations", names::PROBLEMS], json!(text.join("\n")));
    }
    let (pod, patch) = editor.finish();
    Outcome::Injected(Box::new(Injected { pod, patch, problems }))
}

/// Puts containers and volume in their places. The order is what makes a native sidecar work: rules, proxy, then whatever the
/// pod had, so that its init containers already have their network. A classic sidecar starts after all init containers, so the
/// rules are written after them.
fn add(editor: &mut Editor, added: Added, sidecar: Sidecar) {
    match sidecar {
        Sidecar::Native => {
            editor.insert(&["spec", "initContainers"], 0, added.proxy);
            editor.insert(&["spec", "initContainers"], 0, added.init);
        }
        Sidecar::Classic => {
            editor.append(&["spec", "initContainers"], added.init);
            // Last: kubectl's commands mean the first container where none is named.
            editor.append(&["spec", "containers"], added.proxy);
        }
    }
    editor.append(&["spec", "volumes"], added.volume);
}

/// The annotations of an object; what is no string is left out.
#[must_use]
pub fn annotations(object: &Value) -> Annotations {
    strings(&object["metadata"]["annotations"])
}

/// The strings of an object such as `labels`.
fn strings(map: &Value) -> Annotations {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
#[path = "lib_tests.rs"]
pub(crate) mod tests;
