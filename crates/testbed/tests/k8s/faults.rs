//! Components that are killed and come back, as tests of Conduit's own availability will do it.

use conduit_testbed::cluster::Component;
use conduit_testbed::wait;

use crate::support::{SOON, Space, cluster};

#[test]
fn a_service_answers_while_each_component_is_away_and_pods_start_once_it_is_back() {
    let space = Space::alone("faults");
    space.apply(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {app: web}}, template: {
            metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: 'localhost/busybox:1',
              imagePullPolicy: Never, command: [sh, -c, 'mkdir /tmp/w; echo up > /tmp/w/index.html; exec httpd -f -p \"[::]:8080\" -h /tmp/w'],
              readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}",
    );
    space.available("web");
    let address = space.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let host = if address.contains(':') { format!("[{address}]") } else { address };
    let answers = || {
        let answer =
            cluster().command("curl").args(["-sS", "-m", "5", &format!("http://{host}/")]).output().unwrap();
        answer.stdout == b"up\n"
    };
    wait::until(SOON, answers);
    let components = [
        Component::Etcd,
        Component::ApiServer,
        Component::ControllerManager,
        Component::Scheduler,
        Component::Containerd(1),
        Component::Kubelet(1),
        Component::KubeProxy(1),
    ];
    for (replicas, component) in (2..).zip(components) {
        cluster().kill(component).unwrap();
        assert!(answers(), "while {component} is away");
        cluster().start(component).unwrap();
        cluster().wait_ready(component).unwrap();
        wait::until(SOON, || {
            space.try_kubectl(&["scale", "deployment/web", &format!("--replicas={replicas}")]).is_ok()
        });
        space.available("web");
        assert!(answers(), "after {component} is back");
    }
}
