//! What one proxy sees of the model: where an address leads, and what its own pod is. Pure functions of the model; equal
//! models give equal views, whatever order their objects came in.

use std::net::SocketAddr;
use std::sync::Arc;

use conduit_logic::words::{self, Declared, Destination, Endpoint, InboundPod};

use crate::model::{Model, Name, declared, name_of, opaque_ports, pod_of, target_pod, workload_of};
use crate::source::objects::{
    EndpointSlice, Pod, PortName, Service, ServicePort, SliceEndpoint, SlicePort, is_tcp,
};

/// Where the address leads; `None` when to nothing of the mesh's.
#[must_use]
pub fn outbound(model: &Model, addr: SocketAddr) -> Option<Destination> {
    if let Some(service) = model.service_at(addr.ip()) {
        let mut tcp = service.spec.ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
        let port = tcp.find(|port| port.port == addr.port())?;
        return Some(of_service(model, service, port, addr.is_ipv4()));
    }
    let pod = model.pod_at(addr.ip())?;
    let endpoint = Endpoint {
        addr,
        identity: model.identity(pod),
        workload: workload_of(pod),
        pod: pod_of(pod),
        zone: String::new(),
        weight: 1,
    };
    Some(Destination {
        service: None,
        declared: of_pod_port(model, pod, addr.port()),
        endpoints: vec![Arc::new(endpoint)],
    })
}

fn of_service(model: &Model, service: &Service, port: &ServicePort, v4: bool) -> Destination {
    let name = name_of(&service.metadata);
    let of_slice = |slice| of_slice(model, slice, &port.name);
    // A cluster IP leads to endpoints of its own family, as it does without a mesh.
    let mut endpoints: Vec<Endpoint> =
        model.slices_of(&name).flat_map(of_slice).filter(|endpoint| endpoint.addr.is_ipv4() == v4).collect();
    endpoints.sort_by_key(|endpoint| endpoint.addr);
    endpoints.dedup_by_key(|endpoint| endpoint.addr);
    Destination {
        service: Some(words::Service { namespace: name.0, name: name.1, port: port.port }),
        declared: declared(service, port),
        endpoints: endpoints.into_iter().map(Arc::new).collect(),
    }
}

fn of_slice<'a>(
    model: &'a Model,
    slice: &'a EndpointSlice,
    port: &str,
) -> impl Iterator<Item = Endpoint> + 'a {
    let port = slice_port(slice, port);
    let ready = |endpoint: &&SliceEndpoint| endpoint.conditions.ready.unwrap_or(true);
    slice.endpoints.iter().filter(ready).filter_map(move |endpoint| {
        let addr = SocketAddr::new(endpoint.addresses.first()?.parse().ok()?, port?);
        let pod = match target_pod(slice, endpoint) {
            // A pod that is not known yet, or not at this address, may be meshed: without knowing its identity nothing is
            // sent to it, least of all in the clear.
            Some(name) => Some(model.pod(&name).filter(|pod| pod.is_at(addr.ip()))?),
            None => model.pod_at(addr.ip()),
        };
        Some(Endpoint {
            addr,
            identity: pod.and_then(|pod| model.identity(pod)),
            workload: pod.map(workload_of).unwrap_or_default(),
            pod: pod.map(pod_of).unwrap_or_default(),
            zone: endpoint.zone.clone().unwrap_or_default(),
            weight: 1,
        })
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
        let tcp = service.spec.ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
        tcp.filter_map(move |port| Some((target_port(model, service, port, pod)?, declared(service, port))))
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
        workload: workload_of(pod),
        ports: ports.filter(|(_, declared)| *declared != Declared::Detect).collect(),
    })
}
