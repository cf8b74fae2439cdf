//! Pods, services and endpoint slices of a local world as Kubernetes manifests, in the directory that the controller watches. Depends on
//! serde_json and a YAML writer. Deliberately absent: what is ready and what not (the caller says).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use conduit_logic::ports::LABEL_MESHED;
use serde_json::{Value, json};

use crate::spec::Port;

/// The Kubernetes namespace of all that runs in a local world.
pub(crate) const NAMESPACE: &str = "default";
const NODE: &str = "local";

/// What is written about a pod.
#[derive(Debug, Clone)]
pub(crate) struct PodView {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    /// Ready for each of `ips`: an application may listen on IPv4 alone.
    pub(crate) reachable: Vec<bool>,
}

impl PodView {
    /// Its address of the same family as `ip`, and whether it is ready there.
    pub(crate) fn in_family_of(&self, ip: IpAddr) -> Option<(IpAddr, bool)> {
        let index = self.ips.iter().position(|own| own.is_ipv4() == ip.is_ipv4())?;
        Some((self.ips[index], self.reachable.get(index).copied().unwrap_or(false)))
    }
}

/// What is written about a workload.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadView {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) service_account: String,
    pub(crate) meshed: bool,
    pub(crate) ports: Vec<Port>,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) pods: Vec<PodView>,
}

/// All files of a world, by name.
pub(crate) fn files(workloads: &[WorkloadView]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for workload in workloads {
        for pod in &workload.pods {
            files.insert(format!("pod-{}.yaml", pod.name), yaml(&[pod_manifest(workload, pod)]));
        }
        if !workload.ports.is_empty() {
            let mut documents = vec![service_manifest(workload)];
            documents.extend(workload.cluster_ips.iter().map(|ip| slice(workload, *ip)));
            files.insert(format!("service-{}.yaml", workload.name), yaml(&documents));
        }
    }
    files
}

fn yaml(documents: &[Value]) -> String {
    let texts: Vec<String> =
        documents.iter().map(|document| serde_saphyr::to_string(document).unwrap_or_default()).collect();
    texts.join("---\n")
}

fn port_name(port: &Port) -> String {
    let protocol = if port.protocol.is_empty() { "port" } else { port.protocol.as_str() };
    // A port's name is a label of at most 15 characters.
    let word: String = protocol.chars().filter(char::is_ascii_alphanumeric).take(9).collect();
    format!("{word}-{}", port.port)
}

fn with_protocol(mut value: Value, port: &Port) -> Value {
    if !port.protocol.is_empty() {
        value["appProtocol"] = json!(port.protocol);
    }
    value
}

fn pod_manifest(workload: &WorkloadView, pod: &PodView) -> Value {
    let ports: Vec<Value> = workload
        .ports
        .iter()
        .map(|port| json!({"name": port_name(port), "containerPort": port.port}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": NAMESPACE,
            "uid": pod.uid,
            "labels": {
                "app": workload.name,
                "pod-template-hash": workload.hash,
                LABEL_MESHED: if workload.meshed { "true" } else { "false" },
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": format!("{}-{}", workload.name, workload.hash),
                "uid": workload.hash,
                "controller": true,
            }],
        },
        "spec": {
            "serviceAccountName": workload.service_account,
            "nodeName": NODE,
            "containers": [{"name": "app", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIP": pod.ips.first(),
            "podIPs": pod.ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
            "conditions": [{"type": "Ready", "status": if pod.ready { "True" } else { "False" }}],
        },
    })
}

fn service_manifest(workload: &WorkloadView) -> Value {
    let port = |port: &Port| {
        with_protocol(
            json!({"name": port_name(port), "port": port.port, "targetPort": port.port, "protocol": "TCP"}),
            port,
        )
    };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": workload.name, "namespace": NAMESPACE, "uid": format!("service-{}", workload.name)},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": workload.cluster_ips.first(),
            "clusterIPs": workload.cluster_ips,
            "selector": {"app": workload.name},
            "ports": workload.ports.iter().map(port).collect::<Vec<_>>(),
        },
    })
}

fn slice(workload: &WorkloadView, cluster_ip: IpAddr) -> Value {
    let (suffix, address_type) = if cluster_ip.is_ipv4() { ("ipv4", "IPv4") } else { ("ipv6", "IPv6") };
    let endpoint = |pod: &PodView| {
        let (ip, reachable) = pod.in_family_of(cluster_ip)?;
        Some(json!({
            "addresses": [ip],
            "conditions": {
                "ready": reachable && pod.ready && !pod.terminating,
                "serving": reachable && pod.ready,
                "terminating": pod.terminating,
            },
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name, "uid": pod.uid},
            "nodeName": NODE,
        }))
    };
    let port = |port: &Port| {
        with_protocol(json!({"name": port_name(port), "port": port.port, "protocol": "TCP"}), port)
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{suffix}", workload.name),
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": workload.name},
        },
        "addressType": address_type,
        "ports": workload.ports.iter().map(port).collect::<Vec<_>>(),
        "endpoints": workload.pods.iter().filter_map(endpoint).collect::<Vec<_>>(),
    })
}

/// Keeps the directory equal to what was last said, touching only what has changed.
#[derive(Debug)]
pub(crate) struct Manifests {
    dir: PathBuf,
    written: BTreeMap<String, String>,
}

impl Manifests {
    /// In a directory that is emptied first.
    pub(crate) fn new(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        for entry in std::fs::read_dir(&dir)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(Self { dir, written: BTreeMap::new() })
    }

    /// Writes what has changed, each file at once, and removes what is gone.
    pub(crate) fn write(&mut self, files: BTreeMap<String, String>) -> io::Result<()> {
        for (name, text) in &files {
            if self.written.get(name) != Some(text) {
                let fresh = self.dir.join(format!(".{name}.new"));
                std::fs::write(&fresh, text)?;
                std::fs::rename(&fresh, self.dir.join(name))?;
            }
        }
        let gone: BTreeSet<&String> = self.written.keys().filter(|name| !files.contains_key(*name)).collect();
        for name in gone {
            std::fs::remove_file(self.dir.join(name))?;
        }
        self.written = files;
        Ok(())
    }
}

#[cfg(test)]
#[path = "manifests_tests.rs"]
mod tests;
