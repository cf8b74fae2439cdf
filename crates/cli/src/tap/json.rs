//! A tap event as a JSON document. Its own structs, so that the names stay as scripts know them whatever the protocol's messages do.

use conduit_api::common::v1::{PodRef, ServiceRef, TlsInfo, WorkloadRef};
use conduit_api::tap::v1::{Peer, TapEvent, tap_event};
use conduit_logic::classify;
use serde::Serialize;

use super::line::{protocol, socket};

/// One line of `conduit tap -o json`.
#[derive(Serialize)]
pub(crate) struct Document {
    event: &'static str,
    id: u64,
    time_unix_us: u64,
    pod: Option<NamedJson>,
    direction: &'static str,
    protocol: &'static str,
    source: Option<PeerJson>,
    destination: Option<PeerJson>,
    tls: Option<TlsJson>,
    #[serde(flatten)]
    facts: Facts,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts {
    Start {
        method: String,
        scheme: String,
        authority: String,
        path: String,
    },
    Response {
        status: u32,
        since_request_us: u64,
    },
    End {
        duration_us: u64,
        request_bytes: u64,
        response_bytes: u64,
        status: u32,
        grpc_status: Option<u32>,
        grpc_status_name: Option<&'static str>,
        failure: String,
    },
    Nothing {},
}

#[derive(Serialize)]
struct NamedJson {
    namespace: String,
    name: String,
}

#[derive(Serialize)]
struct WorkloadJson {
    namespace: String,
    kind: String,
    name: String,
}

#[derive(Serialize)]
struct ServiceJson {
    namespace: String,
    name: String,
    port: u32,
}

#[derive(Serialize)]
struct PeerJson {
    address: String,
    identity: String,
    workload: Option<WorkloadJson>,
    pod: Option<NamedJson>,
    service: Option<ServiceJson>,
}

#[derive(Serialize)]
struct TlsJson {
    version: String,
    key_exchange: String,
}

impl From<&TapEvent> for Document {
    fn from(event: &TapEvent) -> Self {
        let (name, facts) = facts(event);
        Self {
            event: name,
            id: event.id,
            time_unix_us: event.time_unix_us,
            pod: pod(event.pod.as_ref()),
            direction: event.direction().word().map_or("", conduit_logic::words::Direction::as_str),
            protocol: protocol(event.protocol()),
            source: event.source.as_ref().map(peer),
            destination: event.destination.as_ref().map(peer),
            tls: event.tls.as_ref().map(|TlsInfo { version, key_exchange, .. }| TlsJson {
                version: version.clone(),
                key_exchange: key_exchange.clone(),
            }),
            facts,
        }
    }
}

fn facts(event: &TapEvent) -> (&'static str, Facts) {
    match &event.event {
        Some(tap_event::Event::RequestStart(start)) if start.method.is_empty() => {
            ("connection_start", Facts::Nothing {})
        }
        Some(tap_event::Event::RequestStart(start)) => (
            "request_start",
            Facts::Start {
                method: start.method.clone(),
                scheme: start.scheme.clone(),
                authority: start.authority.clone(),
                path: start.path.clone(),
            },
        ),
        Some(tap_event::Event::ResponseHeaders(response)) => (
            "response_headers",
            Facts::Response { status: response.status, since_request_us: response.since_request_us },
        ),
        Some(tap_event::Event::End(end)) => (
            "end",
            Facts::End {
                duration_us: end.duration_us,
                request_bytes: end.request_bytes,
                response_bytes: end.response_bytes,
                status: end.status,
                grpc_status: end.grpc_status,
                grpc_status_name: end.grpc_status.and_then(classify::grpc_status_name),
                failure: end.failure.clone(),
            },
        ),
        Some(tap_event::Event::Dropped(_)) | None => ("unknown", Facts::Nothing {}),
    }
}

fn peer(peer: &Peer) -> PeerJson {
    let workload = peer.workload.as_ref().filter(|workload| !workload.name.is_empty());
    let service = peer.service.as_ref().filter(|service| !service.name.is_empty());
    PeerJson {
        address: socket(peer.address.as_ref()),
        identity: peer.identity.clone(),
        workload: workload.map(|WorkloadRef { namespace, kind, name }| WorkloadJson {
            namespace: namespace.clone(),
            kind: kind.clone(),
            name: name.clone(),
        }),
        pod: pod(peer.pod.as_ref()),
        service: service.map(|ServiceRef { namespace, name, port }| ServiceJson {
            namespace: namespace.clone(),
            name: name.clone(),
            port: *port,
        }),
    }
}

fn pod(pod: Option<&PodRef>) -> Option<NamedJson> {
    let pod = pod.filter(|pod| !pod.name.is_empty());
    pod.map(|PodRef { namespace, name }| NamedJson { namespace: namespace.clone(), name: name.clone() })
}
