//! Everything the controller knows of pods, services and endpoints, indexed. One task owns it and applies batches of events;
//! `apply` is pure and says what was touched, so that only the proxies concerned hear of a change.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use conduit_logic::ports;
use conduit_logic::words::{self, Declared, Identity, Workload};

use crate::source::Event;
use crate::source::objects::{
    EndpointSlice, Key, Kind, LABEL_SERVICE, Metadata, Object, Pod, Service, ServicePort, SliceEndpoint,
    namespace,
};
use crate::source::texts::Texts;

mod names;
mod nodes;
mod owners;

use names::Names;
use nodes::Nodes;
use owners::Owners;

/// Namespace and name.
pub type Name = (String, String);

/// What a batch of events concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services whose endpoints or ports may have changed.
    pub services: HashSet<Name>,
    /// Addresses of pods and services that may lead elsewhere now.
    pub addresses: HashSet<IpAddr>,
    /// Pods that may have changed.
    pub pods: HashSet<Name>,
    /// Node ports that may lead elsewhere now.
    pub node_ports: HashSet<u16>,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    trust_domain: String,
    pods: HashMap<Name, Pod>,
    services: HashMap<Name, Service>,
    slices: HashMap<Name, EndpointSlice>,
    // An address passes from one object to the next: for a moment two may have it, whichever came first.
    by_ip: HashMap<IpAddr, Names>,
    by_cluster_ip: HashMap<IpAddr, Names>,
    /// Slices with an endpoint at an address.
    slices_at: HashMap<IpAddr, Names>,
    slices_of: HashMap<Name, Names>,
    services_of: HashMap<Name, Names>,
    by_node_port: HashMap<u16, Names>,
    nodes: Nodes,
    owners: Owners,
}

impl Model {
    /// An empty model of this trust domain.
    #[must_use]
    pub fn new(trust_domain: &str) -> Self {
        Self {
            trust_domain: trust_domain.to_owned(),
            pods: HashMap::new(),
            services: HashMap::new(),
            slices: HashMap::new(),
            by_ip: HashMap::new(),
            by_cluster_ip: HashMap::new(),
            slices_at: HashMap::new(),
            slices_of: HashMap::new(),
            services_of: HashMap::new(),
            by_node_port: HashMap::new(),
            nodes: Nodes::default(),
            owners: Owners::default(),
        }
    }

    /// Takes a batch of events in and says what it touched.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Touched {
        let mut touched = Touched::default();
        for event in events {
            match event {
                Event::Apply(object) => self.insert(object, &mut touched),
                Event::Delete(key) => self.delete(key, &mut touched),
                Event::Replace { kind, objects, keep } => {
                    let there: HashSet<Key> = objects.iter().map(Object::key).chain(keep).collect();
                    let gone: Vec<Key> = self.keys(kind).filter(|key| !there.contains(key)).collect();
                    gone.into_iter().for_each(|key| self.delete(key, &mut touched));
                    objects.into_iter().for_each(|object| self.insert(object, &mut touched));
                }
            }
        }
        touched
    }

    /// What there is of a kind.
    fn keys(&self, kind: Kind) -> Box<dyn Iterator<Item = Key> + '_> {
        let named = move |name: &Name| (kind, name.0.clone(), name.1.clone());
        match kind {
            Kind::Pod => Box::new(self.pods.keys().map(named)),
            Kind::Service => Box::new(self.services.keys().map(named)),
            Kind::EndpointSlice => Box::new(self.slices.keys().map(named)),
            Kind::Node => Box::new(self.nodes.names().map(named)),
            Kind::ReplicaSet | Kind::Job => Box::new(self.owners.names(kind).map(named)),
        }
    }

    /// An object that is as it was touches nothing: most changes are of fields that Conduit does not read.
    fn insert(&mut self, object: Object, touched: &mut Touched) {
        match object {
            Object::Pod(pod) => {
                let name = name_of(&pod.metadata);
                if self.pods.get(&name) != Some(&*pod) {
                    self.insert_pod(name, *pod, touched);
                }
            }
            Object::Service(service) => {
                let name = name_of(&service.metadata);
                if self.services.get(&name) != Some(&*service) {
                    self.insert_service(name, *service, touched);
                }
            }
            Object::EndpointSlice(slice) => {
                let name = name_of(&slice.metadata);
                if self.slices.get(&name) != Some(&*slice) {
                    self.remove_slice(&name, touched);
                    self.insert_slice(name, *slice, touched);
                }
            }
            Object::Node(node) => {
                let name = name_of(&node.metadata);
                if self.nodes.insert(name.clone(), &node) {
                    self.touch_node(&name, touched);
                }
            }
            Object::ReplicaSet(set) => self.insert_owner(Kind::ReplicaSet, &set.metadata, touched),
            Object::Job(job) => self.insert_owner(Kind::Job, &job.metadata, touched),
        }
    }

    fn insert_pod(&mut self, name: Name, pod: Pod, touched: &mut Touched) {
        self.remove_pod(&name, touched);
        for ip in pod.addresses() {
            self.by_ip.entry(ip).or_default().insert(&name);
            self.touch_endpoints_at(ip, touched);
            touched.addresses.insert(ip);
        }
        self.pods.insert(name, pod);
    }

    fn insert_service(&mut self, name: Name, service: Service, touched: &mut Touched) {
        self.remove_service(&name, touched);
        for ip in service.addresses() {
            self.by_cluster_ip.entry(ip).or_default().insert(&name);
            touched.addresses.insert(ip);
        }
        for port in service.node_ports() {
            self.by_node_port.entry(port).or_default().insert(&name);
            touched.node_ports.insert(port);
        }
        self.touch_pods_of(&name, touched);
        self.services.insert(name, service);
    }

    fn insert_owner(&mut self, kind: Kind, metadata: &Metadata, touched: &mut Touched) {
        let name = name_of(metadata);
        if self.owners.insert(kind, name.clone(), metadata.controller().cloned()) {
            self.touch_owned(kind, &name, touched);
        }
    }

    fn delete(&mut self, (kind, namespace, name): Key, touched: &mut Touched) {
        let name = (namespace, name);
        match kind {
            Kind::Pod => self.remove_pod(&name, touched),
            Kind::Service => self.remove_service(&name, touched),
            Kind::EndpointSlice => self.remove_slice(&name, touched),
            Kind::Node => {
                self.touch_node(&name, touched);
                self.nodes.remove(&name);
            }
            Kind::ReplicaSet | Kind::Job => {
                if self.owners.remove(kind, &name) {
                    self.touch_owned(kind, &name, touched);
                }
            }
        }
    }

    /// A node's zone is its pods' zone, and its addresses have the node ports. Nodes change seldom: all pods are looked through.
    fn touch_node(&self, node: &Name, touched: &mut Touched) {
        let pods = self.pods.iter().filter(|(_, pod)| pod.spec.node_name == node.1);
        let names: Vec<Name> = pods.map(|(name, _)| name.clone()).collect();
        touched.addresses.extend(self.nodes.addresses());
        names.into_iter().for_each(|name| self.touch_pod_and_services(name, touched));
    }

    /// The pods' workload is named by what owns their owner. It comes before them, as a rule: all pods are looked through.
    fn touch_owned(&self, kind: Kind, owner: &Name, touched: &mut Touched) {
        let owned = |(name, pod): (&Name, &Pod)| {
            let by = pod.metadata.controller()?;
            (name.0 == owner.0 && by.name == owner.1 && by.kind == kind.name()).then(|| name.clone())
        };
        let names: Vec<Name> = self.pods.iter().filter_map(owned).collect();
        names.into_iter().for_each(|name| self.touch_pod_and_services(name, touched));
    }

    fn touch_pod_and_services(&self, pod: Name, touched: &mut Touched) {
        touched.services.extend(self.services_of.get(&pod).into_iter().flat_map(Names::iter).cloned());
        for ip in self.pods.get(&pod).into_iter().flat_map(Pod::addresses) {
            self.touch_endpoints_at(ip, touched);
        }
        self.touch_pod(pod, touched);
    }

    fn remove_pod(&mut self, name: &Name, touched: &mut Touched) {
        touched.pods.insert(name.clone());
        touched.services.extend(self.services_of.get(name).into_iter().flat_map(Names::iter).cloned());
        if let Some(pod) = self.pods.remove(name) {
            for ip in pod.addresses() {
                remove(&mut self.by_ip, &ip, name);
                self.touch_endpoints_at(ip, touched);
                touched.addresses.insert(ip);
            }
        }
    }

    fn remove_service(&mut self, name: &Name, touched: &mut Touched) {
        touched.services.insert(name.clone());
        self.touch_pods_of(name, touched);
        if let Some(service) = self.services.remove(name) {
            for ip in service.addresses() {
                remove(&mut self.by_cluster_ip, &ip, name);
                touched.addresses.insert(ip);
            }
            for port in service.node_ports() {
                remove(&mut self.by_node_port, &port, name);
                touched.node_ports.insert(port);
            }
        }
    }

    /// A service's declarations are its pods' too.
    fn touch_pods_of(&self, service: &Name, touched: &mut Touched) {
        for slice in self.slices_of(service) {
            for pod in pods_of(slice) {
                touched.addresses.extend(self.pods.get(&pod).into_iter().flat_map(Pod::addresses));
                touched.pods.insert(pod);
            }
        }
    }

    /// Endpoints that name no pod are the pod at their address.
    fn touch_endpoints_at(&self, ip: IpAddr, touched: &mut Touched) {
        let slices = self
            .slices_at
            .get(&ip)
            .into_iter()
            .flat_map(Names::iter)
            .filter_map(|name| self.slices.get(name));
        touched.services.extend(slices.filter_map(service_of));
    }

    fn touch_pod(&self, pod: Name, touched: &mut Touched) {
        touched.addresses.extend(self.pods.get(&pod).into_iter().flat_map(Pod::addresses));
        touched.pods.insert(pod);
    }

    fn remove_slice(&mut self, name: &Name, touched: &mut Touched) {
        let Some(slice) = self.slices.remove(name) else { return };
        let Some(service) = service_of(&slice) else { return };
        remove(&mut self.slices_of, &service, name);
        addresses_of(&slice).for_each(|ip| remove(&mut self.slices_at, &ip, name));
        for pod in pods_of(&slice) {
            if let Some(services) = self.services_of.get_mut(&pod) {
                services.remove_once(&service);
                if services.is_empty() {
                    self.services_of.remove(&pod);
                }
            }
            self.touch_pod(pod, touched);
        }
        touched.services.insert(service);
    }

    fn insert_slice(&mut self, name: Name, slice: EndpointSlice, touched: &mut Touched) {
        if let Some(service) = service_of(&slice) {
            self.slices_of.entry(service.clone()).or_default().insert(&name);
            for ip in addresses_of(&slice) {
                self.slices_at.entry(ip).or_default().insert(&name);
            }
            for pod in pods_of(&slice) {
                self.services_of.entry(pod.clone()).or_default().insert(&service);
                self.touch_pod(pod, touched);
            }
            touched.services.insert(service);
        }
        self.slices.insert(name, slice);
    }

    /// The addresses of which some port may lead elsewhere now.
    #[must_use]
    pub fn concerned(&self, touched: &Touched) -> HashSet<IpAddr> {
        let mut addresses = touched.addresses.clone();
        let mut at_nodes = !touched.node_ports.is_empty();
        for service in touched.services.iter().filter_map(|name| self.services.get(name)) {
            addresses.extend(service.addresses());
            at_nodes |= service.node_ports().next().is_some();
        }
        if at_nodes {
            addresses.extend(self.nodes.addresses());
        }
        addresses
    }

    /// The service that a node's port leads to, where the address is one.
    #[must_use]
    pub fn service_at_node(&self, addr: SocketAddr) -> Option<&Service> {
        let names = self.by_node_port.get(&addr.port()).filter(|_| self.nodes.has(addr.ip()))?;
        self.services.get(names.first()?)
    }

    /// The zone of a node; empty where it is not known.
    #[must_use]
    pub fn zone_of(&self, node: &str) -> &str {
        self.nodes.zone(node)
    }

    /// The workload that a pod belongs to: its owner, and what owns that.
    #[must_use]
    pub fn workload_of(&self, pod: &Pod) -> Workload {
        self.owners.workload_of(pod)
    }

    /// The pod with this name.
    #[must_use]
    pub fn pod(&self, name: &Name) -> Option<&Pod> {
        self.pods.get(name)
    }

    /// The pod at this address.
    #[must_use]
    pub fn pod_at(&self, ip: IpAddr) -> Option<&Pod> {
        self.by_ip.get(&ip).and_then(Names::first).and_then(|name| self.pods.get(name))
    }

    /// The services at this address: one at a cluster IP; those that share a load balancer's address may be many.
    pub fn services_at(&self, ip: IpAddr) -> impl Iterator<Item = &Service> {
        self.by_cluster_ip
            .get(&ip)
            .into_iter()
            .flat_map(Names::iter)
            .filter_map(|name| self.services.get(name))
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The pods that are endpoints of a service.
    pub fn pods_of(&self, service: &Name) -> impl Iterator<Item = &Pod> {
        self.slices_of(service).flat_map(pods_of).filter_map(|name| self.pods.get(&name))
    }

    /// Services, pods, endpoints.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        let endpoints = self.slices.values().map(|slice| slice.endpoints.len()).sum();
        (self.services.len(), self.pods.len(), endpoints)
    }

    /// The slices of a service.
    pub fn slices_of(&self, service: &Name) -> impl Iterator<Item = &EndpointSlice> {
        self.slices_of.get(service).into_iter().flat_map(Names::iter).filter_map(|name| self.slices.get(name))
    }

    /// The services that have the pod as an endpoint.
    pub fn services_of(&self, pod: &Name) -> impl Iterator<Item = &Service> {
        self.services_of.get(pod).into_iter().flat_map(Names::iter).filter_map(|name| self.services.get(name))
    }

    /// What the pod's proxy must prove; `None` when it has none.
    #[must_use]
    pub fn identity(&self, pod: &Pod) -> Option<Identity> {
        if !is_meshed(pod) {
            return None;
        }
        let account = pod.spec.service_account_name.as_str();
        let account = if account.is_empty() { "default" } else { account };
        Identity::new(&self.trust_domain, namespace(&pod.metadata), account).ok()
    }
}

/// Takes a name out of an index, and the entry with the last of its names.
fn remove<K: Eq + std::hash::Hash>(index: &mut HashMap<K, Names>, key: &K, name: &Name) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

/// Whether the pod has a proxy.
#[must_use]
pub fn is_meshed(pod: &Pod) -> bool {
    pod.metadata.labels.get(ports::LABEL_MESHED).is_some_and(|value| value == "true")
}

/// Namespace and name of an object.
#[must_use]
pub fn name_of(metadata: &Metadata) -> Name {
    (namespace(metadata).to_owned(), metadata.name.clone())
}

fn service_of(slice: &EndpointSlice) -> Option<Name> {
    let service = slice.metadata.labels.get(LABEL_SERVICE)?;
    Some((namespace(&slice.metadata).to_owned(), service.to_owned()))
}

/// The pods behind a slice's endpoints.
fn pods_of(slice: &EndpointSlice) -> HashSet<Name> {
    slice.endpoints.iter().filter_map(|endpoint| target_pod(slice, endpoint)).collect()
}

/// The pod that an endpoint names. One of another namespace is not believed: whoever may write slices in one namespace has no say in
/// what is known of another's pods.
#[must_use]
pub fn target_pod(slice: &EndpointSlice, endpoint: &SliceEndpoint) -> Option<Name> {
    let own = namespace(&slice.metadata);
    let here = |text: &str| text.is_empty() || text == own;
    let target = endpoint.target_ref.as_ref().filter(|target| target.is_pod() && here(&target.namespace))?;
    Some((own.to_owned(), target.name.clone()))
}

fn addresses_of(slice: &EndpointSlice) -> impl Iterator<Item = IpAddr> + '_ {
    slice.endpoints.iter().filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
}

/// The pod's name in Conduit's words.
#[must_use]
pub fn pod_of(pod: &Pod) -> words::Pod {
    words::Pod { namespace: namespace(&pod.metadata).to_owned(), name: pod.metadata.name.clone() }
}

/// What a service's port is said to speak: its annotation, its appProtocol, or its name, in this order.
#[must_use]
pub fn declared(service: &Service, port: &ServicePort) -> Declared {
    if opaque_ports(&service.metadata.annotations).any(|range| range.contains(&port.port)) {
        return Declared::Opaque;
    }
    let by_name = || Declared::parse(port.name.split('-').next().unwrap_or_default());
    match port.app_protocol.as_deref().map(Declared::parse) {
        Some(declared) if declared != Declared::Detect => declared,
        _ => by_name(),
    }
}

/// The ranges of the opaque-ports annotation; what cannot be read is left out.
pub fn opaque_ports(annotations: &Texts) -> impl Iterator<Item = std::ops::RangeInclusive<u16>> + '_ {
    let text = annotations.get(ports::ANNOTATION_OPAQUE_PORTS).unwrap_or_default();
    text.split(',').filter_map(|part| {
        let (from, to) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(from.parse().ok()?..=to.parse().ok()?)
    })
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(crate) mod tests;
