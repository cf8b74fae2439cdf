//! What one proxy sees of the model: where an address leads, and what its own pod is. Pure functions of the model; equal
//! models give equal views, whatever order their objects came in.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use conduit_logic::words::{self, Declared, Destination, Endpoint, InboundPod};

use crate::model::{Model, Name, declared, name_of, opaque_ports, pod_of, target_pod};
use crate::source::objects::{
    Conditions, EndpointSlice, Named, Pod, PortName, Service, ServicePort, SliceEndpoint, SlicePort,
    TargetRef, is_tcp,
};

/// Where an address leads, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Where it leads, seen from anywhere.
    pub destination: Destination,
    /// Whether only endpoints on the caller's own node count.
    local: bool,
    /// Where the endpoints are and for whom they are meant, in their order; empty where that makes no difference.
    places: Vec<Place>,
}

/// Where an endpoint is, and for whom it is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    node: String,
    for_zones: Vec<String>,
    for_nodes: Vec<String>,
}

/// From where somebody looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vantage {
    /// The node; empty where it is not known.
    pub node: String,
    /// Its zone; empty where it is not known.
    pub zone: String,
}

impl Vantage {
    /// Of a pod.
    #[must_use]
    pub fn of(model: &Model, pod: &Name) -> Self {
        let node = model.pod(pod).map(|pod| pod.spec.node_name.clone()).unwrap_or_default();
        Self { zone: model.zone_of(&node).to_owned(), node }
    }
}

impl Outbound {
    fn anywhere(destination: Destination) -> Self {
        Self { destination, local: false, places: Vec::new() }
    }

    /// Where it leads from here. A hint is followed where every endpoint has one and some are for the caller, as kube-proxy
    /// does it: else some endpoints would get nothing, or some callers.
    #[must_use]
    pub fn from(&self, vantage: &Vantage) -> Cow<'_, Destination> {
        let keep = |wanted: &dyn Fn(&Place) -> bool| {
            let both = self.destination.endpoints.iter().zip(&self.places);
            let endpoints =
                both.filter(|(_, place)| wanted(place)).map(|(endpoint, _)| endpoint.clone()).collect();
            Cow::Owned(Destination { endpoints, ..self.destination.clone() })
        };
        if self.local {
            return keep(&|place| !vantage.node.is_empty() && place.node == vantage.node);
        }
        type Hints = fn(&Place) -> &Vec<String>;
        let hints: [(Hints, &String); 2] =
            [(|place| &place.for_nodes, &vantage.node), (|place| &place.for_zones, &vantage.zone)];
        for (hints, here) in hints {
            let all = !self.places.is_empty() && self.places.iter().all(|place| !hints(place).is_empty());
            let meant = |place: &Place| hints(place).contains(here);
            if all && !here.is_empty() && self.places.iter().any(meant) {
                return keep(&meant);
            }
        }
        Cow::Borrowed(&self.destination)
    }
}

/// Where the address leads; `None` when to nothing of the mesh's.
#[must_use]
pub fn outbound(model: &Model, addr: SocketAddr) -> Option<Outbound> {
    // Services may share a load balancer's address, which may be a node's too: of its ports each service has its own.
    let with_port = |service| Some((service, tcp_ports(service).find(|port| port.port == addr.port())?));
    if let Some((service, port)) = model.services_at(addr.ip()).find_map(with_port) {
        return Some(of_service(model, service, port, addr.is_ipv4()));
    }
    let Some(pod) = model.pod_at(addr.ip()) else {
        let service = model.service_at_node(addr)?;
        let port = tcp_ports(service).find(|port| port.node_port == addr.port())?;
        // What a node forwards goes anywhere, whatever the policy for callers inside says.
        let seen = of_service(model, service, port, addr.is_ipv4());
        return Some(Outbound { local: false, ..seen });
    };
    let endpoint = Endpoint {
        addr,
        identity: model.identity(pod),
        workload: model.workload_of(pod),
        pod: pod_of(pod),
        zone: model.zone_of(&pod.spec.node_name).to_owned(),
        weight: 1,
    };
    Some(Outbound::anywhere(Destination {
        service: headless_service(model, pod, addr.port()),
        declared: of_pod_port(model, pod, addr.port()),
        endpoints: vec![Arc::new(endpoint)],
    }))
}

fn tcp_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.ports.iter().filter(|port| is_tcp(port.protocol.as_deref()))
}

/// The headless service by which a pod's port is reached, where there is exactly one: its name leads to the pod's own address.
fn headless_service(model: &Model, pod: &Pod, number: u16) -> Option<words::Service> {
    let name = name_of(&pod.metadata);
    let headless = model.services_of(&name).filter(|service| service.is_headless());
    let mut found = headless.flat_map(|service| {
        let ports = tcp_ports(service).filter(|port| target_port(model, service, port, pod) == Some(number));
        ports.map(|port| {
            let (namespace, name) = name_of(&service.metadata);
            words::Service { namespace, name, port: port.port }
        })
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn of_service(model: &Model, service: &Service, port: &ServicePort, v4: bool) -> Outbound {
    let name = name_of(&service.metadata);
    let all = |state: fn(&Conditions) -> bool| {
        let slices = model.slices_of(&name);
        let of_slice = slices.flat_map(move |slice| of_slice(model, slice, &port.name, state));
        // A cluster IP leads to endpoints of its own family, as it does without a mesh.
        of_slice.filter(|(endpoint, _)| endpoint.addr.is_ipv4() == v4).collect::<Vec<_>>()
    };
    let mut endpoints = all(|conditions| conditions.ready.unwrap_or(true));
    if endpoints.is_empty() {
        // While all are ending, those that still serve are better than none.
        endpoints =
            all(|conditions| conditions.terminating.unwrap_or(false) && conditions.serving.unwrap_or(false));
    }
    endpoints.sort_by_key(|(endpoint, _)| endpoint.addr);
    endpoints.dedup_by_key(|(endpoint, _)| endpoint.addr);
    let local = service.spec.internal_traffic_policy == "Local";
    let hinted = |place: &Place| !place.for_zones.is_empty() || !place.for_nodes.is_empty();
    let matters = local || endpoints.iter().any(|(_, place)| hinted(place));
    let (endpoints, mut places): (Vec<_>, Vec<_>) =
        endpoints.into_iter().map(|(endpoint, place)| (Arc::new(endpoint), place)).unzip();
    if !matters {
        places = Vec::new();
    }
    let destination = Destination {
        service: Some(words::Service { namespace: name.0, name: name.1, port: port.port }),
        declared: declared(service, port),
        endpoints,
    };
    Outbound { destination, local, places }
}

fn of_slice<'a>(
    model: &'a Model,
    slice: &'a EndpointSlice,
    port: &str,
    state: fn(&Conditions) -> bool,
) -> impl Iterator<Item = (Endpoint, Place)> + 'a {
    let port = slice_port(slice, port);
    let wanted = move |endpoint: &&SliceEndpoint| state(&endpoint.conditions);
    slice.endpoints.iter().filter(wanted).filter_map(move |endpoint| {
        let addr = SocketAddr::new(endpoint.addresses.first()?.parse().ok()?, port?);
        let pod = match target_pod(slice, endpoint) {
            // A pod that is not known yet, or not at this address, may be meshed: without knowing its identity nothing is
            // sent to it, least of all in the clear. Nor to what is only said to be a pod, in a namespace that is not the slice's.
            Some(name) => Some(model.pod(&name).filter(|pod| pod.is_at(addr.ip()))?),
            None if endpoint.target_ref.as_ref().is_some_and(TargetRef::is_pod) => {
                Some(model.pod_at(addr.ip())?)
            }
            None => model.pod_at(addr.ip()),
        };
        let of_pod = pod.map(|pod| pod.spec.node_name.as_str()).unwrap_or_default();
        let node = endpoint.node_name.as_deref().unwrap_or(of_pod);
        let names = |named: &[Named]| named.iter().map(|named| named.name.clone()).collect();
        let place = Place {
            node: node.to_owned(),
            for_zones: names(&endpoint.hints.for_zones),
            for_nodes: names(&endpoint.hints.for_nodes),
        };
        let endpoint = Endpoint {
            addr,
            identity: pod.and_then(|pod| model.identity(pod)),
            workload: pod.map(|pod| model.workload_of(pod)).unwrap_or_default(),
            pod: pod.map(pod_of).unwrap_or_default(),
            zone: endpoint.zone.clone().unwrap_or_else(|| model.zone_of(node).to_owned()),
            weight: 1,
        };
        Some((endpoint, place))
    })
}

/// The number that a service's port has in a slice.
fn slice_port(slice: &EndpointSlice, name: &str) -> Option<u16> {
    let named = |port: &&SlicePort| port.name.as_deref().unwrap_or_default() == name;
    slice.ports.iter().filter(|port| is_tcp(port.protocol.as_deref())).find(named).and_then(|port| port.port)
}

/// What a pod's own port is said to speak: its annotation, or what all services say that lead to it.
fn of_pod_port(model: &Model, pod: &Pod, port: u16) -> Declared {
    if opaque_ports(&pod.metadata.annotations).any(|range| range.contains(&port)) {
        return Declared::Opaque;
    }
    let mut said =
        service_ports(model, pod).filter(|(number, _)| *number == port).map(|(_, declared)| declared);
    match said.next() {
        Some(first) if said.all(|other| other == first) => first,
        _ => Declared::Detect,
    }
}

/// The pod's ports that services lead to, with what these say of them.
fn service_ports<'a>(model: &'a Model, pod: &'a Pod) -> impl Iterator<Item = (u16, Declared)> + 'a {
    let name: Name = name_of(&pod.metadata);
    let services: Vec<_> = model.services_of(&name).collect();
    services.into_iter().flat_map(move |service| {
        tcp_ports(service)
            .filter_map(move |port| Some((target_port(model, service, port, pod)?, declared(service, port))))
    })
}

/// The number that a service's port has in this pod.
fn target_port(model: &Model, service: &Service, port: &ServicePort, pod: &Pod) -> Option<u16> {
    // A named port may have another number in each pod: only the slices that list this one tell.
    let own = name_of(&pod.metadata);
    let lists = |slice: &&EndpointSlice| {
        slice.endpoints.iter().any(|endpoint| target_pod(slice, endpoint).as_ref() == Some(&own))
    };
    let service = name_of(&service.metadata);
    let slices = model.slices_of(&service).filter(lists);
    let in_slices = slices.filter_map(|slice| slice_port(slice, &port.name)).min();
    in_slices.or_else(|| match &port.target_port {
        None => Some(port.port),
        Some(PortName::Number(number)) => Some(*number),
        Some(PortName::Name(name)) => {
            let all = pod.spec.containers.iter().flat_map(|container| &container.ports);
            all.clone().find(|p| p.name == *name).map(|p| p.container_port)
        }
    })
}

/// What a pod's proxy knows of its own pod; `None` when there is no such pod.
#[must_use]
pub fn inbound(model: &Model, name: &Name) -> Option<InboundPod> {
    let pod = model.pod(name)?;
    let containers =
        pod.spec.containers.iter().flat_map(|container| &container.ports).map(|port| port.container_port);
    let mut numbers: Vec<u16> = service_ports(model, pod).map(|(port, _)| port).chain(containers).collect();
    numbers.extend(opaque_ports(&pod.metadata.annotations).flatten());
    numbers.sort_unstable();
    numbers.dedup();
    let ports = numbers.into_iter().map(|port| (port, of_pod_port(model, pod, port)));
    Some(InboundPod {
        workload: model.workload_of(pod),
        ports: ports.filter(|(_, declared)| *declared != Declared::Detect).collect(),
    })
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
