use super::*;
use crate::model::tests::objects;
use crate::source::Event;
use crate::view;
use conduit_logic::words::Declared;

/// Pods of a namespace whose services others write slices for.
const SHOP: &str = r#"
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop, labels: {conduit.io/meshed: "true"}}, status: {podIP: 10.1.0.2}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.1.0.2], targetRef: {kind: Pod, namespace: shop, name: web-1}}]}
---
{apiVersion: v1, kind: Service, metadata: {name: bait, namespace: other}, spec: {clusterIP: 10.96.0.2, ports: [{name: sql, port: 3306, appProtocol: mysql}, {name: more, port: 81, appProtocol: mysql}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: bait-a, namespace: other, labels: {kubernetes.io/service-name: bait}}, ports: [{name: sql, port: 8080}, {name: more, port: 9090}], endpoints: [{addresses: [10.1.0.2], targetRef: {kind: Pod, namespace: shop, name: web-1}}, {addresses: [10.1.0.9], targetRef: {kind: Pod, namespace: shop, name: gone}}]}
"#;

fn world() -> Model {
    let mut model = Model::new("cluster.local");
    model.apply(objects(SHOP).into_iter().map(Event::Apply));
    model
}

fn of_service(namespace: &str, name: &str) -> Vec<String> {
    let resource = Resource { namespace: namespace.into(), kind: "Service".into(), name: name.into() };
    resolve(&world(), &resource).into_iter().map(|proxy| proxy.pod.1).collect()
}

#[test]
fn a_services_pods_are_tapped_in_its_own_namespace_only() {
    assert_eq!(of_service("shop", "web"), ["web-1"]);
    assert_eq!(of_service("", ""), ["web-1"]);
    assert_eq!(of_service("other", "bait"), [""; 0]);
    assert_eq!(of_service("other", ""), [""; 0]);
}

#[test]
fn a_slice_of_another_namespace_has_no_say_in_what_a_pods_ports_speak() {
    let inbound = view::inbound(&world(), &("shop".into(), "web-1".into())).unwrap();
    assert_eq!((inbound.declared(8080), inbound.declared(9090)), (Declared::Http, Declared::Detect));
}

#[test]
fn an_endpoint_that_names_a_pod_of_another_namespace_is_the_pod_at_its_address_or_nothing() {
    let seen = view::outbound(&world(), "10.96.0.2:3306".parse().unwrap()).unwrap().destination;
    let [endpoint] = &seen.endpoints[..] else { panic!("{seen:?}") };
    assert_eq!(endpoint.pod.name, "web-1");
    assert!(endpoint.identity.is_some(), "it is as protected as by its own service");
}
