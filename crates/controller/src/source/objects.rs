//! The Kubernetes objects that Conduit reads, with only the fields it uses: what is not here is dropped while it is decoded,
//! so that memory holds nothing that nobody needs. Unknown fields and unknown values of open enums are no error.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

use super::texts::Texts;

/// Kubernetes writes `null` for what is empty.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Metadata of any object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name within the namespace.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Empty means `default`.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// Tells an object from a later one of the same name.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// Labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: Texts,
    /// Annotations.
    #[serde(deserialize_with = "nullable")]
    pub annotations: Texts,
    /// What owns the object.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<Owner>,
}

/// A reference to an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Its kind.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Whether it is the one that manages the object; at most one is.
    #[serde(deserialize_with = "nullable")]
    pub controller: bool,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PortName {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// A Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: PodSpec,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: PodStatus,
}

/// A Pod's spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Service account; empty means `default`.
    #[serde(deserialize_with = "nullable")]
    pub service_account_name: String,
    /// Containers.
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<Container>,
    /// The node that it runs on; empty until it is scheduled.
    #[serde(deserialize_with = "nullable")]
    pub node_name: String,
    /// Whether its addresses are its node's, which many pods share.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ContainerPort>,
}

/// A container's port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its number.
    pub container_port: u16,
}

/// A Pod's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Running`, `Succeeded`…
    #[serde(deserialize_with = "nullable")]
    pub phase: String,
    /// The first address.
    #[serde(rename = "podIP")]
    #[serde(deserialize_with = "nullable")]
    pub pod_ip: String,
    /// All addresses.
    #[serde(rename = "podIPs")]
    #[serde(deserialize_with = "nullable")]
    pub pod_ips: Vec<PodIp>,
}

/// One address of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    #[serde(deserialize_with = "nullable")]
    pub ip: String,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// A Service's spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// The first cluster IP; `None` for a headless service.
    #[serde(rename = "clusterIP")]
    #[serde(deserialize_with = "nullable")]
    pub cluster_ip: String,
    /// All cluster IPs.
    #[serde(rename = "clusterIPs")]
    #[serde(deserialize_with = "nullable")]
    pub cluster_ips: Vec<String>,
    /// Ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
    /// `Local` where only endpoints on the caller's own node count.
    #[serde(deserialize_with = "nullable")]
    pub internal_traffic_policy: String,
    /// `Local` where a node port leads only to endpoints on that node.
    #[serde(deserialize_with = "nullable")]
    pub external_traffic_policy: String,
}

/// A Service's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Of a service of the type LoadBalancer.
    #[serde(deserialize_with = "nullable")]
    pub load_balancer: LoadBalancer,
}

/// What a load balancer has given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Where it can be reached.
    #[serde(deserialize_with = "nullable")]
    pub ingress: Vec<Ingress>,
}

/// One way in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// The address; empty where it has a host name.
    #[serde(deserialize_with = "nullable")]
    pub ip: String,
    /// `Proxy` where traffic must go through the load balancer itself.
    #[serde(deserialize_with = "nullable")]
    pub ip_mode: String,
}

/// A Service's port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Its name; empty when it is the only one.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its number.
    pub port: u16,
    /// The port on every node; 0 where it has none.
    #[serde(deserialize_with = "nullable")]
    pub node_port: u16,
    /// The pods' port, where it is another.
    pub target_port: Option<PortName>,
    /// What it speaks.
    pub app_protocol: Option<String>,
    /// `TCP` where none is written.
    pub protocol: Option<String>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Metadata.
    pub metadata: Metadata,
    /// Ports that all endpoints have.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<SlicePort>,
    /// Endpoints.
    #[serde(deserialize_with = "nullable")]
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of an EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// The service's port's name.
    pub name: Option<String>,
    /// The endpoints' port.
    pub port: Option<u16>,
    /// What it speaks.
    pub app_protocol: Option<String>,
    /// `TCP` where none is written.
    pub protocol: Option<String>,
}

/// An endpoint of an EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// Addresses; the first counts.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<String>,
    /// Its state.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Conditions,
    /// The pod behind it.
    pub target_ref: Option<TargetRef>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its node.
    pub node_name: Option<String>,
    /// From where it should be used.
    #[serde(deserialize_with = "nullable")]
    pub hints: Hints,
}

/// From where an endpoint should be used, as the endpoint slice controller says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    /// From these zones.
    #[serde(deserialize_with = "nullable")]
    pub for_zones: Vec<Named>,
    /// From these nodes.
    #[serde(deserialize_with = "nullable")]
    pub for_nodes: Vec<Named>,
}

/// A name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

/// An endpoint's state. Absent means unknown, which counts as ready (Kubernetes API, EndpointConditions).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Whether it takes new traffic.
    pub ready: Option<bool>,
    /// Whether it could serve, be it ending or not.
    pub serving: Option<bool>,
    /// Whether it is ending.
    pub terminating: Option<bool>,
}

/// What an endpoint stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Pod`, most often.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its namespace; empty means the slice's.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
}

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Metadata,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: NodeStatus,
}

/// A Node's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its addresses and names.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<NodeAddress>,
}

/// An address or a name of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// The address.
    #[serde(deserialize_with = "nullable")]
    pub address: String,
}

/// A ReplicaSet, of which only the owner counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Metadata,
}

/// A Job, of which only the owner counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Metadata.
    pub metadata: Metadata,
}

/// A kind that Conduit reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Pods.
    Pod,
    /// Services.
    Service,
    /// EndpointSlices.
    EndpointSlice,
    /// Nodes.
    Node,
    /// ReplicaSets.
    ReplicaSet,
    /// Jobs.
    Job,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pod, Self::Service, Self::EndpointSlice, Self::Node, Self::ReplicaSet, Self::Job];

    /// As the API writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ReplicaSet => "ReplicaSet",
            Self::Job => "Job",
        }
    }
}

/// An object of a kind that Conduit reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Pod.
    Pod(Box<Pod>),
    /// A Service.
    Service(Box<Service>),
    /// An EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
    /// A Node.
    Node(Box<Node>),
    /// A ReplicaSet.
    ReplicaSet(Box<ReplicaSet>),
    /// A Job.
    Job(Box<Job>),
}

/// What names an object: kind, namespace, name.
pub type Key = (Kind, String, String);

/// The longest name that Kubernetes allows (RFC 1123 subdomain).
const NAME_CHARS_MAX: usize = 253;
/// Of a text that is no name or address, so much is shown.
const SHOWN_CHARS_MAX: usize = 64;

/// Annotations of ours begin so; no others are kept.
const ANNOTATION_PREFIX: &str = "conduit.io/";
/// The label by which an EndpointSlice names its service.
pub const LABEL_SERVICE: &str = "kubernetes.io/service-name";
/// The label by which a ReplicaSet's pods name its template.
pub const LABEL_TEMPLATE: &str = "pod-template-hash";
/// The label by which a Node names its zone.
pub const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
            Self::ReplicaSet(_) => Kind::ReplicaSet,
            Self::Job(_) => Kind::Job,
        }
    }

    fn metadata(&self) -> &Metadata {
        match self {
            Self::Pod(pod) => &pod.metadata,
            Self::Service(service) => &service.metadata,
            Self::EndpointSlice(slice) => &slice.metadata,
            Self::Node(node) => &node.metadata,
            Self::ReplicaSet(set) => &set.metadata,
            Self::Job(job) => &job.metadata,
        }
    }

    fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Self::Pod(pod) => &mut pod.metadata,
            Self::Service(service) => &mut service.metadata,
            Self::EndpointSlice(slice) => &mut slice.metadata,
            Self::Node(node) => &mut node.metadata,
            Self::ReplicaSet(set) => &mut set.metadata,
            Self::Job(job) => &mut job.metadata,
        }
    }

    /// The object's name among all objects.
    #[must_use]
    pub fn key(&self) -> Key {
        let metadata = self.metadata();
        (self.kind(), namespace(metadata).to_owned(), metadata.name.clone())
    }

    /// Drops the labels and annotations that nobody reads: there are often more of them than of everything else.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        let metadata = self.metadata_mut();
        metadata.annotations.retain(|name| name.starts_with(ANNOTATION_PREFIX));
        metadata.labels.retain(|name| {
            let ours = [conduit_logic::ports::LABEL_MESHED, LABEL_SERVICE, LABEL_TEMPLATE, LABEL_ZONE];
            ours.contains(&name)
        });
        if let Self::Pod(pod) = &mut self {
            pod.spec.containers.retain(|container| !container.ports.is_empty());
        }
        self
    }

    /// What the types do not say. An object that is half understood could lead traffic to the wrong place.
    ///
    /// # Errors
    /// The field that cannot be used, and why.
    pub fn check(&self) -> Result<(), String> {
        let (kind, namespace, name) = self.key();
        for (field, text) in [("name", &name), ("namespace", &namespace)] {
            if !proper(text) {
                let kind = kind.name();
                return Err(format!(
                    "metadata.{field} `{}` of a {kind} is not a name in Kubernetes",
                    cut(text)
                ));
            }
        }
        match self {
            Self::Pod(pod) => {
                let account = pod.spec.service_account_name.as_str();
                if !account.is_empty() && !proper(account) {
                    return Err(format!(
                        "spec.serviceAccountName `{}` is not a name in Kubernetes",
                        cut(account)
                    ));
                }
                address("status.podIP", &pod.status.pod_ip)?;
                pod.status.pod_ips.iter().try_for_each(|ip| address("status.podIPs", &ip.ip))
            }
            Self::Service(service) => {
                address("spec.clusterIP", &service.spec.cluster_ip)?;
                service.spec.cluster_ips.iter().try_for_each(|ip| address("spec.clusterIPs", ip))
            }
            // Endpoint addresses of the type FQDN are names, which nobody follows; so are some of a node's.
            Self::EndpointSlice(_) | Self::Node(_) | Self::ReplicaSet(_) | Self::Job(_) => Ok(()),
        }
    }
}

fn proper(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(plain)
}

fn address(field: &str, text: &str) -> Result<(), String> {
    let known = matches!(text, "" | "None") || text.parse::<IpAddr>().is_ok();
    if known { Ok(()) } else { Err(format!("{field} `{}` is not an IP address", cut(text))) }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Whether a port is TCP; Conduit leaves all else alone.
#[must_use]
pub fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}

/// The namespace, `default` where none is written.
#[must_use]
pub fn namespace(metadata: &Metadata) -> &str {
    if metadata.namespace.is_empty() { "default" } else { &metadata.namespace }
}

impl Pod {
    /// All addresses that can be read and are its own. A pod that has ended has none: its address may be another's by now.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ended = matches!(self.status.phase.as_str(), "Succeeded" | "Failed");
        let all = self.status.pod_ips.iter().map(|ip| ip.ip.as_str());
        let one = std::iter::once(self.status.pod_ip.as_str()).filter(|_| self.status.pod_ips.is_empty());
        let own = !ended && !self.spec.host_network;
        all.chain(one).filter(move |_| own).filter_map(|ip| ip.parse().ok())
    }
}

impl Pod {
    /// Whether the pod says that it has this address, be it shared or not.
    #[must_use]
    pub fn is_at(&self, ip: IpAddr) -> bool {
        let all = self.status.pod_ips.iter().map(|ip| ip.ip.as_str());
        all.chain([self.status.pod_ip.as_str()]).any(|text| text.parse() == Ok(ip))
    }
}

impl TargetRef {
    /// Whether it names a pod.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.kind == "Pod"
    }
}

impl Service {
    /// All addresses that lead to it and can be read: cluster IPs, of which a headless service has none, and what its load
    /// balancer has given, which leads to it without a detour, as it does without a mesh. External IPs are left out: whoever may
    /// write a service could take any address with them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let all = self.spec.cluster_ips.iter().map(String::as_str);
        let one = std::iter::once(self.spec.cluster_ip.as_str()).filter(|_| self.spec.cluster_ips.is_empty());
        let balanced = self.status.load_balancer.ingress.iter().filter(|way| way.ip_mode != "Proxy");
        all.chain(one).chain(balanced.map(|way| way.ip.as_str())).filter_map(|ip| ip.parse().ok())
    }

    /// Whether it has no address of its own: its name leads to its pods.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    /// The ports that nodes forward to it; none where each node forwards to its own pods only.
    pub fn node_ports(&self) -> impl Iterator<Item = u16> + '_ {
        let anywhere = self.spec.external_traffic_policy != "Local";
        let tcp = self.spec.ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
        tcp.map(|port| port.node_port).filter(move |port| anywhere && *port != 0)
    }
}

impl Metadata {
    /// The owner that manages the object; else the first.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        let owners = &self.owner_references;
        owners.iter().find(|owner| owner.controller).or_else(|| owners.first())
    }
}
