use super::*;
use crate::model::tests::objects;
use crate::source::Event;
use crate::source::objects::{Kind, Object};
use std::collections::HashSet;

/// Two nodes in two zones; web-1 on the first and web-2 on the second; a database by StatefulSet; a service of each type.
const CLUSTER: &str = r#"
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: east}}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: Hostname, address: n1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {topology.kubernetes.io/zone: west}}, status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {conduit.io/meshed: "true"}}
spec: {nodeName: n1, serviceAccountName: web, containers: [{ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.1.1.1}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {conduit.io/meshed: "true"}}
spec: {nodeName: n2, serviceAccountName: web, containers: [{ports: [{name: http, containerPort: 9090}]}]}
status: {podIP: 10.1.2.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {conduit.io/meshed: "true"}, ownerReferences: [{kind: StatefulSet, name: db, controller: true}]}
spec: {nodeName: n2, serviceAccountName: db}
status: {podIP: 10.1.2.2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, nodePort: 30080, targetPort: http}], externalIPs: [192.0.2.9]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: 192.0.2.2, ipMode: Proxy}, {hostname: lb.example.com}]}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{name: sql, port: 5432, appProtocol: postgresql}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: shop}
spec: {type: ExternalName, externalName: db.example.com}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.1.1], conditions: {ready: true, serving: true, terminating: false}, nodeName: n1, zone: east, targetRef: {kind: Pod, name: web-1}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-b, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 9090}]
endpoints:
- {addresses: [10.1.2.1], conditions: {ready: true}, nodeName: n2, targetRef: {kind: Pod, name: web-2}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-a, namespace: shop, labels: {kubernetes.io/service-name: db}}
ports: [{name: sql, port: 5432}]
endpoints:
- {addresses: [10.1.2.2], hostname: db-0, conditions: {ready: true}, nodeName: n2, targetRef: {kind: Pod, name: db-0}}
"#;

fn cluster(changes: &[(&str, &str)]) -> Model {
    let text = changes.iter().fold(CLUSTER.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let mut model = Model::new("cluster.local");
    model.apply(objects(&text).into_iter().map(Event::Apply));
    model
}

fn seen(model: &Model, addr: &str) -> Option<Outbound> {
    outbound(model, addr.parse().unwrap())
}

fn addresses(destination: &Destination) -> Vec<String> {
    destination.endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect()
}

fn from(model: &Model, addr: &str, pod: &str) -> Vec<String> {
    let vantage = Vantage::of(model, &("shop".into(), pod.into()));
    addresses(&seen(model, addr).unwrap().from(&vantage))
}

const BOTH: [&str; 2] = ["10.1.1.1:8080", "10.1.2.1:9090"];

#[test]
fn a_named_target_port_has_each_pods_own_number() {
    let model = cluster(&[]);
    assert_eq!(from(&model, "10.96.0.1:80", "web-1"), BOTH);
    let inbound = inbound(&model, &("shop".into(), "web-2".into())).unwrap();
    assert_eq!((inbound.declared(9090), inbound.declared(8080)), (Declared::Http, Declared::Detect));
}

#[test]
fn a_node_port_and_a_load_balancers_address_lead_to_the_service() {
    let model = cluster(&[]);
    for addr in ["10.0.0.1:30080", "10.0.0.2:30080", "192.0.2.1:80"] {
        let seen = seen(&model, addr).unwrap();
        assert_eq!(addresses(&seen.destination), BOTH, "{addr}");
        assert_eq!(seen.destination.service.unwrap().port, 80);
    }
    for addr in ["10.0.0.1:30081", "10.0.0.3:30080", "192.0.2.2:80", "192.0.2.9:80", "10.0.0.1:80"] {
        assert_eq!(seen(&model, addr), None, "{addr}");
    }
    let local = cluster(&[("type: LoadBalancer", "type: LoadBalancer, externalTrafficPolicy: Local")]);
    assert_eq!(seen(&local, "10.0.0.1:30080"), None, "each node forwards to its own pods only: left to it");
}

/// A second service, of web-2 alone, with the address and the node port that are given.
fn second(ingress: &str) -> String {
    format!(
        r#"
{{apiVersion: v1, kind: Service, metadata: {{name: admin, namespace: ops}}, spec: {{type: LoadBalancer, clusterIP: 10.96.0.7, ports: [{{name: http, port: 8443, nodePort: 30443}}]}}, status: {{loadBalancer: {{ingress: [{{ip: {ingress}}}]}}}}}}
---
{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: admin-a, namespace: ops, labels: {{kubernetes.io/service-name: admin}}}}, ports: [{{name: http, port: 9090}}], endpoints: [{{addresses: [10.1.2.1]}}]}}
"#
    )
}

#[test]
fn services_that_share_a_load_balancers_address_have_each_their_own_ports_of_it() {
    let mut model = cluster(&[]);
    let touched = model.apply(objects(&second("192.0.2.1")).into_iter().map(Event::Apply));
    assert!(model.concerned(&touched).contains(&"192.0.2.1".parse().unwrap()));
    let name = |addr: &str| seen(&model, addr).map(|seen| seen.destination.service.unwrap().name);
    assert_eq!(name("192.0.2.1:80").as_deref(), Some("web"));
    assert_eq!(name("192.0.2.1:8443").as_deref(), Some("admin"));
    assert_eq!(addresses(&seen(&model, "192.0.2.1:8443").unwrap().destination), BOTH[1..]);
    assert_eq!(name("192.0.2.1:81"), None);
}

#[test]
fn a_load_balancers_address_that_is_a_nodes_has_the_nodes_ports_too() {
    let mut model = cluster(&[("ingress: [{ip: 192.0.2.1}", "ingress: [{ip: 10.0.0.1}")]);
    model.apply(objects(&second("10.0.0.1")).into_iter().map(Event::Apply));
    let port = |addr: &str| seen(&model, addr).map(|seen| seen.destination.service.unwrap().port);
    for (addr, of) in [("10.0.0.1:80", 80), ("10.0.0.1:30080", 80), ("10.0.0.1:8443", 8443)] {
        assert_eq!(port(addr), Some(of), "{addr}");
    }
    assert_eq!(port("10.0.0.1:30443"), Some(8443));
    assert_eq!(port("10.0.0.1:30081"), None);
}

#[test]
fn a_change_of_a_node_port_or_a_node_concerns_who_uses_it() {
    let mut model = cluster(&[]);
    let addr: SocketAddr = "10.0.0.1:30080".parse().unwrap();
    let touched = model.apply([Event::Delete((Kind::Service, "shop".into(), "web".into()))]);
    assert!(model.concerned(&touched).contains(&addr.ip()) && outbound(&model, addr).is_none());
    let mut model = cluster(&[]);
    let touched = model.apply([Event::Delete((Kind::Node, "default".into(), "n1".into()))]);
    assert!(model.concerned(&touched).contains(&addr.ip()) && outbound(&model, addr).is_none());
    let mut model = cluster(&[]);
    let touched = model.apply([Event::Delete((Kind::EndpointSlice, "shop".into(), "web-b".into()))]);
    assert!(model.concerned(&touched).contains(&addr.ip()));
}

#[test]
fn a_pod_of_a_headless_service_is_reached_by_its_own_address_under_the_services_name() {
    let model = cluster(&[]);
    let seen = seen(&model, "10.1.2.2:5432").unwrap().destination;
    assert_eq!(seen.declared, Declared::Opaque);
    assert_eq!(
        seen.service,
        Some(words::Service { namespace: "shop".into(), name: "db".into(), port: 5432 })
    );
    let endpoint = &seen.endpoints[0];
    assert_eq!((endpoint.workload.kind.as_str(), endpoint.workload.name.as_str()), ("StatefulSet", "db"));
    assert_eq!((endpoint.pod.name.as_str(), endpoint.zone.as_str()), ("db-0", "west"));
    assert_eq!(endpoint.identity.as_ref().unwrap().as_str(), "spiffe://cluster.local/ns/shop/sa/db");
    let other = outbound(&model, "10.1.2.2:9187".parse().unwrap()).unwrap().destination;
    assert_eq!((other.service, other.endpoints.len()), (None, 1), "a port that no service has");
}

#[test]
fn an_external_name_is_no_address_of_the_mesh() {
    let model = cluster(&[]);
    assert_eq!(model.services().count(), 3);
    assert_eq!(seen(&model, "203.0.113.7:5432"), None);
}

#[test]
fn with_a_local_traffic_policy_only_the_own_nodes_endpoints_count() {
    let model = cluster(&[("clusterIP: 10.96.0.1", "clusterIP: 10.96.0.1, internalTrafficPolicy: Local")]);
    assert_eq!(from(&model, "10.96.0.1:80", "web-1"), BOTH[..1]);
    assert_eq!(from(&model, "10.96.0.1:80", "web-2"), BOTH[1..]);
    assert_eq!(from(&model, "10.96.0.1:80", "nobody"), [""; 0]);
    assert_eq!(from(&model, "10.0.0.1:30080", "web-1"), BOTH, "what a node forwards goes anywhere");
}

#[test]
fn hints_are_followed_where_every_endpoint_has_one_and_some_are_for_the_caller() {
    let hint = |first: &str, second: &str| {
        cluster(&[
            ("zone: east, targetRef", &format!("zone: east, hints: {{{first}}}, targetRef")),
            (
                "nodeName: n2, targetRef: {kind: Pod, name: web-2}",
                &format!("nodeName: n2, hints: {{{second}}}, targetRef: {{kind: Pod, name: web-2}}"),
            ),
        ])
    };
    let zones = hint("forZones: [{name: east}]", "forZones: [{name: west}]");
    assert_eq!(from(&zones, "10.96.0.1:80", "web-1"), BOTH[..1]);
    assert_eq!(from(&zones, "10.96.0.1:80", "db-0"), BOTH[1..]);
    assert_eq!(from(&zones, "10.96.0.1:80", "nobody"), BOTH, "a caller whose zone is not known");
    assert_eq!(from(&hint("forZones: [{name: east}]", ""), "10.96.0.1:80", "web-1"), BOTH, "one has no hint");
    let elsewhere = hint("forZones: [{name: north}]", "forZones: [{name: north}]");
    assert_eq!(from(&elsewhere, "10.96.0.1:80", "web-1"), BOTH, "none is for the caller");
    let nodes = hint(
        "forNodes: [{name: n2}], forZones: [{name: east}]",
        "forNodes: [{name: n1}], forZones: [{name: west}]",
    );
    assert_eq!(from(&nodes, "10.96.0.1:80", "web-1"), BOTH[1..], "nodes before zones");
}

#[test]
fn endpoints_that_end_serve_only_while_there_are_no_others() {
    let ending = "ready: false, serving: true, terminating: true";
    let one = cluster(&[("ready: true, serving: true, terminating: false", ending)]);
    assert_eq!(from(&one, "10.96.0.1:80", "web-1"), BOTH[1..]);
    let all = cluster(&[
        ("ready: true, serving: true, terminating: false", ending),
        (
            "conditions: {ready: true}, nodeName: n2, targetRef: {kind: Pod, name: web-2}",
            "conditions: {ready: false, serving: false}, targetRef: {kind: Pod, name: web-2}",
        ),
    ]);
    assert_eq!(from(&all, "10.96.0.1:80", "web-1"), BOTH[..1]);
}

#[test]
fn addresses_that_are_published_before_they_are_ready_are_used() {
    // The endpoint slice controller says that they are ready, for a service with publishNotReadyAddresses.
    let model = cluster(&[(
        "ready: true, serving: true, terminating: false",
        "ready: true, serving: false, terminating: false",
    )]);
    assert_eq!(from(&model, "10.96.0.1:80", "web-1"), BOTH);
}

const CHAIN: &str = r#"
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop, ownerReferences: [{kind: Job, name: nightly-29384756, controller: true}]}, spec: {nodeName: n1}, status: {podIP: 10.1.1.7}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: shop, ownerReferences: [{kind: ConfigMap, name: x}, {kind: ReplicaSet, name: web-5d9c7, controller: true}], labels: {pod-template-hash: 5d9c7}}, status: {podIP: 10.1.1.8}}
"#;
const OWNERS: &str = r#"
{apiVersion: batch/v1, kind: Job, metadata: {name: nightly-29384756, namespace: shop, ownerReferences: [{kind: CronJob, name: nightly, controller: true}]}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-5d9c7, namespace: shop, ownerReferences: [{kind: Rollout, name: web, controller: true}]}}
"#;

#[test]
fn a_workload_is_what_stands_at_the_top_of_the_owners() {
    let mut model = cluster(&[]);
    model.apply(objects(CHAIN).into_iter().map(Event::Apply));
    let of = |model: &Model, pod: &str| {
        let workload = model.workload_of(model.pod(&("shop".into(), pod.into())).unwrap());
        format!("{}/{}", workload.kind, workload.name)
    };
    assert_eq!((of(&model, "a"), of(&model, "b")), ("Job/nightly-29384756".into(), "Deployment/web".into()));
    let touched = model.apply(objects(OWNERS).into_iter().map(Event::Apply));
    assert_eq!((of(&model, "a"), of(&model, "b")), ("CronJob/nightly".into(), "Rollout/web".into()));
    assert!(touched.pods.contains(&("shop".to_owned(), "a".to_owned())));
    assert!(model.concerned(&touched).contains(&"10.1.1.8".parse().unwrap()));
    let again = model.apply(objects(OWNERS).into_iter().map(Event::Apply));
    assert_eq!(again, crate::model::Touched::default(), "nothing has changed");
}

#[test]
fn what_a_new_list_does_not_name_is_gone_and_what_is_the_same_touches_nothing() {
    let mut model = cluster(&[]);
    let pods =
        || objects(CLUSTER).into_iter().filter(|object| object.kind() == Kind::Pod).collect::<Vec<_>>();
    let replace = |objects: Vec<Object>, keep: HashSet<_>| Event::Replace { kind: Kind::Pod, objects, keep };
    assert_eq!(model.apply([replace(pods(), HashSet::new())]), crate::model::Touched::default());
    let broken = HashSet::from([(Kind::Pod, "shop".to_owned(), "db-0".to_owned())]);
    let touched = model.apply([replace(pods().split_off(1), broken.clone())]);
    let gone = touched.pods.iter().map(|name| name.1.as_str()).collect::<Vec<_>>();
    assert_eq!(gone, ["web-1"]);
    model.apply([replace(Vec::new(), broken)]);
    assert!(model.pod(&("shop".into(), "db-0".into())).is_some(), "it is there, but could not be understood");
    assert_eq!(model.sizes().1, 1);
    assert_eq!(model.services().count(), 3, "other kinds are not concerned");
}
