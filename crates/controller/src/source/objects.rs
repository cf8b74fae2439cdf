//! The Kubernetes objects that Conduit reads, with only the fields it uses: what is not here is dropped while it is decoded,
//! so that memory holds nothing that nobody needs. Unknown fields and unknown values of open enums are no error.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

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
    /// Labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
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
    /// Which pods.
    #[serde(deserialize_with = "nullable")]
    pub selector: BTreeMap<String, String>,
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
}

/// An endpoint's state. Absent means unknown, which counts as ready (Kubernetes API, EndpointConditions).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Whether it takes new traffic.
    pub ready: Option<bool>,
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

/// An object of a kind that Conduit reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Pod.
    Pod(Box<Pod>),
    /// A Service.
    Service(Box<Service>),
    /// An EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
}

/// What names an object: kind, namespace, name.
pub type Key = (&'static str, String, String);

impl Object {
    /// The object's name among all objects.
    #[must_use]
    pub fn key(&self) -> Key {
        let (kind, metadata) = match self {
            Self::Pod(pod) => ("Pod", &pod.metadata),
            Self::Service(service) => ("Service", &service.metadata),
            Self::EndpointSlice(slice) => ("EndpointSlice", &slice.metadata),
        };
        (kind, namespace(metadata).to_owned(), metadata.name.clone())
    }
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

impl Service {
    /// All cluster IPs that can be read; none for a headless service.
    pub fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let all = self.spec.cluster_ips.iter().map(String::as_str);
        let one = std::iter::once(self.spec.cluster_ip.as_str()).filter(|_| self.spec.cluster_ips.is_empty());
        all.chain(one).filter_map(|ip| ip.parse().ok())
    }
}
