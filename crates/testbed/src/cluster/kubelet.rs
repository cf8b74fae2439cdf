//! What stands in a node's configuration files: containerd, the pods' network, the kubelet and kube-proxy. Writes files into the node's
//! folder. Deliberately absent: starting them (`mod`).

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::addresses::{Families, list};
use super::node::Node;
use super::pki::Pki;

/// How kube-proxy makes services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyMode {
    /// nftables, the default of new clusters.
    #[default]
    Nftables,
    /// iptables, which most clusters have.
    Iptables,
}

impl ProxyMode {
    /// The name in kube-proxy's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// The mode with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Nftables, Self::Iptables].into_iter().find(|mode| mode.name() == name)
    }
}

/// Version 2 of containerd's configuration. `restrict_oom_score_adj` is for machines where even root may not lower a score.
const CONTAINERD: &str = r#"version = 2
root = "@DIR@/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#;

/// Writes the node's configuration files.
pub(crate) fn configure(node: &Node, families: Families, mode: ProxyMode, pki: &Pki) -> Result<()> {
    let (dir, number) = (node.dir(), node.number());
    let write = |name: &str, text: String| {
        fs::write(dir.join(name), text).with_context(|| format!("cannot write {name} in {}", dir.display()))
    };
    write("containerd.toml", CONTAINERD.replace("@DIR@", &dir.to_string_lossy()))?;
    write("net.d/10-pods.conflist", format!("{:#}", pod_network(families, number)))?;
    // Nothing outside is to be asked.
    write("resolv.conf", String::new())?;
    write("kubelet.json", format!("{:#}", kubelet(node, families, pki)))?;
    write("kube-proxy.json", format!("{:#}", kube_proxy(number, families, mode, pki)))
}

fn pod_network(families: Families, number: u8) -> Value {
    let ranges: Vec<Value> =
        families.pods_of(number).iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    let any = |subnet: &String| if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<Value> =
        families.pods_of(number).iter().map(|subnet| json!({ "dst": any(subnet) })).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

fn kubelet(node: &Node, families: Families, pki: &Pki) -> Value {
    let name = node.name();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki.file("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": pki.file(&format!("{name}.crt")),
        "tlsPrivateKeyFile": pki.file(&format!("{name}.key")),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup()),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": families.dns(),
        "clusterDomain": "cluster.local",
        "resolvConf": node.dir().join("resolv.conf"),
        // The disk is the machine's, which fills for its own reasons.
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "registerNode": true,
        "readOnlyPort": 0,
    })
}

fn kube_proxy(number: u8, families: Families, mode: ProxyMode, pki: &Pki) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode.name(),
        "clusterCIDR": list(&families.pods()),
        "hostnameOverride": format!("node{number}"),
        "clientConnection": { "kubeconfig": pki.kubeconfig("kube-proxy") },
        // The limits of connection tracking are the machine's; a namespace may not set them.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        "nftables": { "syncPeriod": "30s", "minSyncPeriod": "100ms" },
        "iptables": { "syncPeriod": "30s", "minSyncPeriod": "100ms" },
        "metricsBindAddress": "127.0.0.1:10249",
    })
}
