use super::*;
use crate::source::files;
use crate::view;
use proptest::prelude::*;
use std::path::Path;

pub(crate) fn objects(yaml: &str) -> Vec<Object> {
    let (objects, problems) = files::read(Path::new("test.yaml"), yaml);
    assert_eq!(problems, []);
    objects
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
"#;

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
    let seen = view::outbound(&world(), "10.96.0.1:80".parse().unwrap()).unwrap();
    assert_eq!(seen.declared, Declared::Http);
    let [meshed, unmeshed] = &seen.endpoints[..] else { panic!("{seen:?}") };
    assert_eq!(meshed.addr, "10.1.0.2:8080".parse().unwrap());
    assert_eq!(meshed.identity.as_ref().unwrap().as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!((meshed.workload.kind.as_str(), meshed.workload.name.as_str()), ("Deployment", "web"));
    assert_eq!(unmeshed.identity, None);
    assert_eq!(view::outbound(&world(), "10.96.0.1:3306".parse().unwrap()).unwrap().declared, Declared::Opaque);
    assert_eq!(view::outbound(&world(), "10.96.0.1:81".parse().unwrap()), None);
    assert_eq!(view::outbound(&world(), "10.9.9.9:80".parse().unwrap()), None);
}

#[test]
fn a_pods_own_address_leads_to_that_pod_with_what_its_service_declares() {
    let seen = view::outbound(&world(), "[fd00::2]:8080".parse().unwrap()).unwrap();
    assert_eq!((seen.service, seen.endpoints.len(), seen.declared), (None, 1, Declared::Http));
    let inbound = view::inbound(&world(), &("shop".into(), "web-1".into())).unwrap();
    assert_eq!(inbound.declared(8080), Declared::Http);
    assert_eq!(inbound.declared(3306), Declared::Opaque);
    assert_eq!(inbound.declared(9999), Declared::Detect);
}

#[test]
fn a_change_touches_only_whom_it_concerns() {
    let mut model = world();
    let other = "apiVersion: v1\nkind: Pod\nmetadata: {name: other, namespace: shop}\nstatus: {podIP: 10.1.0.9}\n";
    let touched = apply(&mut model, objects(other));
    assert!(!model.touches(&touched, "10.96.0.1:80".parse().unwrap()));
    assert!(model.touches(&touched, "10.1.0.9:80".parse().unwrap()));
    let touched = model.apply([Event::Delete(("Pod", "shop".into(), "web-1".into()))]);
    assert!(model.touches(&touched, "10.96.0.1:80".parse().unwrap()));
}

proptest! {
    #[test]
    fn any_order_of_the_same_objects_gives_the_same_views(order in Just((0..4usize).collect::<Vec<_>>()).prop_shuffle(), again in 0..4usize) {
        let all = objects(WORLD);
        let mut model = Model::new("cluster.local");
        for at in order.iter().chain([&again]) {
            apply(&mut model, vec![all[*at].clone()]);
        }
        for addr in ["10.96.0.1:80", "10.96.0.1:3306", "10.1.0.2:8080", "10.1.0.3:1"] {
            let addr = addr.parse().unwrap();
            prop_assert_eq!(view::outbound(&model, addr), view::outbound(&world(), addr));
        }
        let pod = ("shop".to_owned(), "web-1".to_owned());
        prop_assert_eq!(view::inbound(&model, &pod), view::inbound(&world(), &pod));
    }

    #[test]
    fn what_was_deleted_leaves_nothing(order in Just((0..4usize).collect::<Vec<_>>()).prop_shuffle()) {
        let all = objects(WORLD);
        let mut model = world();
        for at in order {
            model.apply([Event::Delete(all[at].key())]);
        }
        prop_assert_eq!(model.sizes(), (0, 0, 0));
        prop_assert_eq!(view::outbound(&model, "10.96.0.1:80".parse().unwrap()), None);
        prop_assert!(model.services_of.is_empty() && model.by_ip.is_empty() && model.by_cluster_ip.is_empty());
    }
}
