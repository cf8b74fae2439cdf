//! Where the pod is in a workload: the path from an object to its pod template. What is no workload has none.

use serde_json::Value;

/// The kinds that hold a pod, and the way to it.
const KINDS: [(&str, &[&str]); 8] = [
    ("Pod", &[]),
    ("Deployment", &["spec", "template"]),
    ("ReplicaSet", &["spec", "template"]),
    ("StatefulSet", &["spec", "template"]),
    ("DaemonSet", &["spec", "template"]),
    ("ReplicationController", &["spec", "template"]),
    ("Job", &["spec", "template"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// The way from an object of this kind to its pod.
#[must_use]
pub fn path(kind: &str) -> Option<&'static [&'static str]> {
    KINDS.iter().find(|(known, _)| *known == kind).map(|(_, path)| *path)
}

/// The pod in an object.
#[must_use]
pub fn pod_mut(object: &mut Value) -> Option<&mut Value> {
    let path = path(object["kind"].as_str()?)?;
    path.iter().try_fold(object, |value, name| value.get_mut(*name)).filter(|pod| pod["spec"].is_object())
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
