use super::*;
use crate::source::files;
use crate::view;
use conduit_logic::words::Destination;
use proptest::prelude::*;
use std::path::Path;

pub(crate) fn objects(yaml: &str) -> Vec<Object> {
    let (objects, problems) = files::read(Path::new("test.yaml"), yaml);
    assert_eq!(problems, []);
    objects
}

/// Where an address leads, seen from nowhere in particular.
fn outbound(model: &Model, addr: SocketAddr) -> Option<Destination> {
    view::outbound(model, addr).map(|seen| seen.from(&view::Vantage::default()).into_owned())
}

const WORLD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {conduit.io/meshed: "true", pod-template-hash: 5d9c7}, ownerReferences: [{kind: ReplicaSet, name: web-5d9c7}]}
spec: {serviceAccountName: web}
status: {phase: Running, podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: old-1, namespace: shop}
status: {podIP: 10.1.0.3}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}, {name: db, port: 3306, appProtocol: mysql}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}, {name: db, port: 3306}]
endpoints:
- {addresses: [10.1.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: web-1}}
- {addresses: [10.1.0.3], conditions: {}, targetRef: {kind: Pod, name: old-1}}
- {addresses: [10.1.0.4], conditions: {ready: false}}
---
apiVersion: v1
kind: Pod
metadata: {name: lone-1, namespace: shop, labels: {conduit.io/meshed: "true"}}
status: {podIP: 10.1.0.7}
---
apiVersion: v1
kind: Service
metadata: {name: by-hand, namespace: shop, annotations: {conduit.io/opaque-ports: "90"}}
spec: {clusterIP: 10.96.0.2, clusterIPs: [10.96.0.2, "fd96::2"], ports: [{port: 90, protocol: TCP}, {name: u, port: 91, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-a, namespace: shop, labels: {kubernetes.io/service-name: by-hand}}
ports: [{port: 91, protocol: UDP}, {port: 9000}]
endpoints:
- {addresses: [10.1.0.7]}
- {addresses: ["fd00::7"]}
---
apiVersion: v1
kind: Pod
metadata: {name: ended-1, namespace: shop}
status: {phase: Succeeded, podIP: 10.1.0.7}
"#;

/// Documents in [`WORLD`].
const OBJECTS: usize = 8;

fn apply(model: &mut Model, objects: Vec<Object>) -> Touched {
    model.apply(objects.into_iter().map(Event::Apply))
}

fn world() -> Model {
    let mut model = Model::new("cluster.local");
    apply(&mut model, objects(WORLD));
    model
}

#[test]
fn a_cluster_ip_leads_to_the_ready_endpoints_with_identity_and_workload() {
    let seen = outbound(&world(), "10.96.0.1:80".parse().unwrap()).unwrap();
    assert_eq!(seen.declared, Declared::Http);
    let [meshed, unmeshed] = &seen.endpoints[..] else { panic!("{seen:?}") };
    assert_eq!(meshed.addr, "10.1.0.2:8080".parse().unwrap());
    assert_eq!(meshed.identity.as_ref().unwrap().as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!((meshed.workload.kind.as_str(), meshed.workload.name.as_str()), ("Deployment", "web"));
    assert_eq!(unmeshed.identity, None);
    assert_eq!(outbound(&world(), "10.96.0.1:3306".parse().unwrap()).unwrap().declared, Declared::Opaque);
    assert_eq!(outbound(&world(), "10.96.0.1:81".parse().unwrap()), None);
    assert_eq!(outbound(&world(), "10.9.9.9:80".parse().unwrap()), None);
}

#[test]
fn a_pods_own_address_leads_to_that_pod_with_what_its_service_declares() {
    let seen = outbound(&world(), "[fd00::2]:8080".parse().unwrap()).unwrap();
    assert_eq!((seen.service, seen.endpoints.len(), seen.declared), (None, 1, Declared::Http));
    let inbound = view::inbound(&world(), &("shop".into(), "web-1".into())).unwrap();
    assert_eq!(inbound.declared(8080), Declared::Http);
    assert_eq!(inbound.declared(3306), Declared::Opaque);
    assert_eq!(inbound.declared(9999), Declared::Detect);
}

#[test]
fn a_change_touches_only_whom_it_concerns() {
    let mut model = world();
    let other =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: other, namespace: shop}\nstatus: {podIP: 10.1.0.9}\n";
    let touched = apply(&mut model, objects(other));
    assert!(!model.concerned(&touched).contains(&"10.96.0.1".parse().unwrap()));
    assert!(model.concerned(&touched).contains(&"10.1.0.9".parse().unwrap()));
    let touched = model.apply([Event::Delete((Kind::Pod, "shop".into(), "web-1".into()))]);
    assert!(model.concerned(&touched).contains(&"10.96.0.1".parse().unwrap()));
}

#[test]
fn an_endpoint_whose_pod_is_not_known_gets_nothing_rather_than_plain_text() {
    let mut model = world();
    model.apply([Event::Delete((Kind::Pod, "shop".into(), "web-1".into()))]);
    let seen = outbound(&model, "10.96.0.1:80".parse().unwrap()).unwrap();
    assert_eq!(seen.endpoints.iter().map(|e| e.addr.to_string()).collect::<Vec<_>>(), ["10.1.0.3:8080"]);
    let elsewhere =
        WORLD.replace("podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}, {ip: \"fd00::2\"}]", "podIP: 10.1.0.99");
    apply(&mut model, objects(&elsewhere));
    let seen = outbound(&model, "10.96.0.1:80".parse().unwrap()).unwrap();
    assert_eq!(seen.endpoints.len(), 1, "the name is another pod's by now");
}

#[test]
fn endpoints_written_by_hand_are_the_pod_at_their_address_and_of_the_cluster_ips_family() {
    let seen = outbound(&world(), "10.96.0.2:90".parse().unwrap()).unwrap();
    assert_eq!((seen.declared, seen.endpoints.len()), (Declared::Opaque, 1));
    assert_eq!((seen.endpoints[0].pod.name.as_str(), seen.endpoints[0].addr.port()), ("lone-1", 9000));
    assert!(seen.endpoints[0].identity.is_some());
    let seen = outbound(&world(), "[fd96::2]:90".parse().unwrap()).unwrap();
    assert!(seen.endpoints.len() == 1 && seen.endpoints[0].addr.is_ipv6());
    assert_eq!(outbound(&world(), "10.96.0.2:91".parse().unwrap()), None, "UDP is not ours");
}

#[test]
fn an_address_that_passed_to_another_pod_is_that_pods() {
    let mut model = world();
    let ip = "10.1.0.3".parse().unwrap();
    let heir =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: heir, namespace: shop}\nstatus: {podIP: 10.1.0.3}\n";
    apply(&mut model, objects(heir));
    apply(&mut model, objects(WORLD));
    model.apply([Event::Delete((Kind::Pod, "shop".into(), "old-1".into()))]);
    assert_eq!(model.pod_at(ip).unwrap().metadata.name, "heir");
}

proptest! {
    // Enough for every pair of objects; each case parses the world anew.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_of_the_same_objects_gives_the_same_views(order in Just((0..OBJECTS).collect::<Vec<_>>()).prop_shuffle(), again in 0..OBJECTS) {
        let all = objects(WORLD);
        let mut model = Model::new("cluster.local");
        for at in order.iter().chain([&again]) {
            apply(&mut model, vec![all[*at].clone()]);
        }
        for addr in ["10.96.0.1:80", "10.96.0.1:3306", "10.1.0.2:8080", "10.1.0.3:1", "10.96.0.2:90", "[fd96::2]:90", "10.1.0.7:9000"] {
            let addr = addr.parse().unwrap();
            prop_assert_eq!(outbound(&model, addr), outbound(&world(), addr));
        }
        let pod = ("shop".to_owned(), "web-1".to_owned());
        prop_assert_eq!(view::inbound(&model, &pod), view::inbound(&world(), &pod));
    }

    #[test]
    fn what_was_deleted_leaves_nothing(order in Just((0..OBJECTS).collect::<Vec<_>>()).prop_shuffle()) {
        let all = objects(WORLD);
        let mut model = world();
        for at in order {
            model.apply([Event::Delete(all[at].key())]);
        }
        prop_assert_eq!(model.sizes(), (0, 0, 0));
        prop_assert_eq!(outbound(&model, "10.96.0.1:80".parse().unwrap()), None);
        prop_assert!(model.services_of.is_empty() && model.by_ip.is_empty() && model.by_cluster_ip.is_empty());
        prop_assert!(model.slices_of.is_empty() && model.slices_at.is_empty());
    }

    /// Whoever follows an address is told of every change of what it leads to.
    #[test]
    fn a_view_that_changed_was_touched(steps in prop::collection::vec((any::<bool>(), 0..OBJECTS), 1..20)) {
        let all = objects(WORLD);
        let mut model = Model::new("cluster.local");
        let addrs = ["10.96.0.1:80", "10.1.0.2:8080", "10.1.0.3:8080", "10.96.0.2:90", "[fd96::2]:90", "10.1.0.7:9000"].map(|a| a.parse().unwrap());
        let pods = ["web-1", "old-1", "lone-1"].map(|name| ("shop".to_owned(), name.to_owned()));
        for (put, at) in steps {
            let before = (addrs.map(|addr| outbound(&model, addr)), pods.clone().map(|pod| view::inbound(&model, &pod)));
            let event = if put { Event::Apply(all[at].clone()) } else { Event::Delete(all[at].key()) };
            let touched = model.apply([event]);
            for (addr, before) in addrs.iter().zip(before.0) {
                prop_assert!(outbound(&model, *addr) == before || model.concerned(&touched).contains(&addr.ip()), "{}", addr);
            }
            for (pod, before) in pods.iter().zip(before.1) {
                prop_assert!(view::inbound(&model, pod) == before || touched.pods.contains(pod), "{:?}", pod);
            }
        }
    }
}
