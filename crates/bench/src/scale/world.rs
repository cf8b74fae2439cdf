//! The cluster that the control plane is measured against: how many of what there is, who follows what, and the objects that
//! say so. Pure, and the same every time. Deliberately absent: sending the objects (`fill`).
//!
//! Services are of three sizes: of a hundred one is large (a fifth of all endpoints are large services'), nine are medium (a third
//! of the endpoints), ninety are small. Every proxy follows the first large ones, and of each size some of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use serde_json::{Value, json};

/// Pods on a node: a little fewer than a kubelet takes by default (110).
const PODS_OF_NODE: usize = 100;
/// Services in a namespace.
const SERVICES_OF_NAMESPACE: usize = 100;
/// Endpoints of one EndpointSlice: what Kubernetes' own controller puts into one by default.
const SLICE_ENDPOINTS_MAX: usize = 100;
/// The namespace of the controller itself.
pub(crate) const OWN_NAMESPACE: &str = "scale";
/// Every pod's service account, one in each namespace.
pub(crate) const ACCOUNT: &str = "app";
/// The port of every service.
pub(crate) const PORT: u16 = 80;

/// Which services a change is made to, by how many proxies follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Followed by every proxy.
    Shared,
    /// Large, followed by some.
    Large,
    /// Medium.
    Medium,
    /// Small, followed by a handful.
    Small,
}

impl Group {
    /// How many services of this group a proxy follows.
    const fn followed(self) -> usize {
        match self {
            Self::Shared => 3,
            Self::Large => 2,
            Self::Medium => 10,
            Self::Small => 15,
        }
    }
}

/// The sizes, and where each service's endpoints begin.
#[derive(Debug)]
pub(crate) struct World {
    proxies: usize,
    /// The number of the first endpoint of each service, and behind the last service that of all endpoints.
    first: Vec<usize>,
}

impl World {
    /// So many services with so many endpoints, of which so many have a proxy that is connected.
    pub(crate) fn new(services: usize, endpoints: usize, proxies: usize) -> Self {
        let (large, medium) = sizes(services);
        let each = |share: f64, of: usize| ((endpoints as f64 * share / of.max(1) as f64) as usize).max(1);
        let (of_large, of_medium) = (each(0.2, large), each(0.36, medium));
        let left = endpoints.saturating_sub(of_large * large + of_medium * medium);
        let small = services - large - medium;
        let mut first = vec![0];
        for service in 0..services {
            let count = match service {
                _ if service < large => of_large,
                _ if service < large + medium => of_medium,
                // Shares of what is left that differ by one at the most.
                _ => {
                    let at = service - large - medium;
                    left * (at + 1) / small - left * at / small
                }
            };
            first.push(first[service] + count);
        }
        Self { proxies, first }
    }

    /// How many services there are.
    pub(crate) fn services(&self) -> usize {
        self.first.len() - 1
    }

    /// How many endpoints there are, each a pod.
    pub(crate) fn endpoints(&self) -> usize {
        self.first[self.services()]
    }

    /// How many pods have a proxy that is connected.
    pub(crate) fn proxies(&self) -> usize {
        self.proxies.min(self.endpoints())
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.endpoints().div_ceil(PODS_OF_NODE)
    }

    /// The namespaces of the services.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        (0..self.services().div_ceil(SERVICES_OF_NAMESPACE)).map(|number| format!("scale-{number}")).collect()
    }

    /// The services of a group.
    pub(crate) fn group(&self, group: Group) -> Range<usize> {
        let (large, medium) = sizes(self.services());
        let shared = Group::Shared.followed().min(large);
        match group {
            Group::Shared => 0..shared,
            Group::Large => shared..large,
            Group::Medium => large..large + medium,
            Group::Small => large + medium..self.services(),
        }
    }

    /// The services that a proxy follows.
    pub(crate) fn followed(&self, proxy: usize) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(proxy as u64);
        let groups = [Group::Shared, Group::Large, Group::Medium, Group::Small];
        groups
            .into_iter()
            .flat_map(|group| random.choose_multiple(self.group(group), group.followed()))
            .collect()
    }

    /// The pod of a proxy.
    pub(crate) fn pod_of(&self, proxy: usize) -> Pod<'_> {
        self.pod(proxy * self.endpoints() / self.proxies().max(1))
    }

    /// The pod with this number.
    pub(crate) fn pod(&self, number: usize) -> Pod<'_> {
        let service = self.first.partition_point(|first| *first <= number) - 1;
        Pod { world: self, number, service }
    }

    /// The pods of a service.
    pub(crate) fn pods_of(&self, service: usize) -> impl Iterator<Item = Pod<'_>> {
        (self.first[service]..self.first[service + 1]).map(move |number| Pod { world: self, number, service })
    }

    /// The namespace of a service, and of its pods.
    pub(crate) fn namespace(&self, service: usize) -> String {
        format!("scale-{}", service / SERVICES_OF_NAMESPACE)
    }

    /// A node's object, and its status.
    pub(crate) fn node(&self, number: usize) -> (Value, Value) {
        let labels = json!({"topology.kubernetes.io/zone": zone_of(number), "kubernetes.io/os": "linux"});
        let addresses = json!([{"type": "InternalIP", "address": address(172, number)}]);
        (
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node_name(number), "labels": labels}}),
            json!({"status": {"addresses": addresses}}),
        )
    }

    /// A service's object.
    pub(crate) fn service(&self, number: usize) -> Value {
        // Without a selector: the slices are ours to write.
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": service_name(number), "namespace": self.namespace(number), "labels": labels(number)},
            "spec": {"ports": [{"name": "http", "port": PORT, "targetPort": 8080, "appProtocol": "http"}]},
        })
    }

    /// The ReplicaSet that owns a service's pods. It asks for none and selects none, so that the ReplicaSets' controller, where it runs, makes
    /// and removes nothing.
    pub(crate) fn replica_set(&self, number: usize) -> Value {
        let name = service_name(number);
        let containers = json!([{"name": "app", "image": "registry.example/app:1"}]);
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": self.namespace(number), "labels": labels(number)},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": {"set": name}},
                "template": {"metadata": {"labels": {"set": name}}, "spec": {"containers": containers}},
            },
        })
    }

    /// The slices of a service, by name.
    pub(crate) fn slices(&self, number: usize) -> Vec<Value> {
        let endpoints: Vec<Value> = self.pods_of(number).map(|pod| pod.endpoint()).collect();
        let service = service_name(number);
        let slice = |(at, endpoints): (usize, &[Value])| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "name": format!("{service}-{at}"), "namespace": self.namespace(number),
                    "labels": {"kubernetes.io/service-name": service, "app": service},
                },
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
                "endpoints": endpoints,
            })
        };
        endpoints.chunks(SLICE_ENDPOINTS_MAX).enumerate().map(slice).collect()
    }
}

/// How many services are large, and how many medium.
fn sizes(services: usize) -> (usize, usize) {
    ((services / 100).max(1), (services * 9 / 100).max(1))
}

/// A service's name.
pub(crate) fn service_name(number: usize) -> String {
    format!("svc-{number}")
}

fn node_name(number: usize) -> String {
    format!("fake-{number}")
}

fn zone_of(node: usize) -> &'static str {
    ["a", "b", "c"][node % 3]
}

/// The address with this number, behind a first byte; pods are in 10.128.0.0/10, where no cluster of ours has anything.
fn address(first: u8, number: usize) -> IpAddr {
    let base = if first == 10 { Ipv4Addr::new(10, 128, 0, 1) } else { Ipv4Addr::new(first, 16, 0, 1) };
    IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() + u32::try_from(number).unwrap_or(0)))
}

fn labels(service: usize) -> Value {
    let name = service_name(service);
    json!({
        "app": name, "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": format!("{name}-1.2.3"), "team": "checkout",
    })
}

/// A pod that is an object only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pod<'a> {
    world: &'a World,
    number: usize,
    service: usize,
}

impl Pod<'_> {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", service_name(self.service), self.number - self.world.first[self.service])
    }

    pub(crate) fn namespace(&self) -> String {
        self.world.namespace(self.service)
    }

    pub(crate) fn address(&self) -> IpAddr {
        address(10, self.number)
    }

    fn node(&self) -> String {
        node_name(self.number / PODS_OF_NODE)
    }

    fn endpoint(&self) -> Value {
        json!({
            "addresses": [self.address()], "nodeName": self.node(), "zone": zone_of(self.number / PODS_OF_NODE),
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": self.namespace(), "name": self.name()},
        })
    }

    /// The pod as it is made, about as large as one of production with its proxy. `owner`: the uid of its ReplicaSet.
    pub(crate) fn object(&self, owner: &str) -> Value {
        let mut labels = labels(self.service);
        labels["conduit.io/meshed"] = json!("true");
        labels["pod-template-hash"] = json!("7d9c5b8f6d");
        let variable = |name: usize| json!({"name": format!("APP_SETTING_{name}"), "value": format!("value-{name}.example")});
        let container = |name: &str, variables: usize| {
            json!({
                "name": name, "image": format!("registry.example/{name}:1.2.3"),
                "env": (0..variables).map(variable).collect::<Vec<_>>(),
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            })
        };
        let mut proxy = container("conduit-proxy", 12);
        proxy["restartPolicy"] = json!("Always");
        proxy["ports"] = json!([{"name": "conduit-admin", "containerPort": 4191}]);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name(), "namespace": self.namespace(), "labels": labels,
                "annotations": {"prometheus.io/scrape": "true", "checksum/config": "0123456789abcdef0123456789abcdef"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": service_name(self.service), "uid": owner,
                    "controller": false,
                }],
            },
            "spec": {
                "nodeName": self.node(), "serviceAccountName": ACCOUNT, "tolerations": [{"operator": "Exists"}],
                "initContainers": [proxy], "containers": [container("app", 12)],
            },
        })
    }

    /// What a kubelet would say of it.
    pub(crate) fn status(&self) -> Value {
        let now = "2026-01-01T00:00:00Z";
        let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": now});
        let container = |name: &str| {
            json!({
                "name": name, "ready": true, "started": true, "restartCount": 0,
                "image": format!("registry.example/{name}:1.2.3"),
                "imageID": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "state": {"running": {"startedAt": now}},
            })
        };
        let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
        json!({"status": {
            "phase": "Running", "podIP": self.address(), "podIPs": [{"ip": self.address()}], "startTime": now,
            "conditions": conditions,
            "initContainerStatuses": [container("conduit-proxy")], "containerStatuses": [container("app")],
        }})
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
