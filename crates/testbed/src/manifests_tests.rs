//! What the files of a small world say, and that only what changed is touched.

use super::*;

fn web(ready: bool, terminating: bool) -> WorkloadView {
    WorkloadView {
        name: "web".to_owned(),
        hash: "abc".to_owned(),
        service_account: "web".to_owned(),
        meshed: true,
        ports: vec![
            Port { port: 8080, protocol: "http".to_owned() },
            Port { port: 9000, protocol: String::new() },
        ],
        cluster_ips: vec!["10.96.0.1".parse().unwrap(), "fd96::1".parse().unwrap()],
        pods: vec![PodView {
            name: "web-1".to_owned(),
            uid: "u".to_owned(),
            ips: vec!["10.77.0.3".parse().unwrap(), "fd77::3".parse().unwrap()],
            ready,
            terminating,
            reachable: vec![true, false],
        }],
    }
}

#[test]
fn a_workload_is_a_pod_a_service_and_a_slice_for_each_address_family() {
    let files = files(&[web(true, false)]);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["pod-web-1.yaml", "service-web.yaml"]);
    let service = &files["service-web.yaml"];
    for text in [
        "kind: Service",
        "kind: EndpointSlice",
        "addressType: IPv4",
        "addressType: IPv6",
        "appProtocol: http",
    ] {
        assert!(service.contains(text), "{text} is missing in:\n{service}");
    }
    assert_eq!(service.matches("ready: true").count(), 1, "only IPv4 is reachable:\n{service}");
    assert!(files["pod-web-1.yaml"].contains("name: web-abc"));
}

#[test]
fn an_endpoint_that_terminates_serves_and_is_not_ready() {
    let files = files(&[web(true, true)]);
    let service = &files["service-web.yaml"];
    assert!(!service.contains("ready: true"), "{service}");
    assert!(service.contains("serving: true") && service.contains("terminating: true"), "{service}");
}

#[test]
fn only_what_has_changed_is_written_and_what_is_gone_is_removed() {
    let dir = std::env::temp_dir().join(format!("conduit-manifests-{}", std::process::id()));
    let mut manifests = Manifests::new(dir.clone()).unwrap();
    manifests.write(files(&[web(false, false)])).unwrap();
    let pod = dir.join("pod-web-1.yaml");
    let modified = |path: &std::path::Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let before = modified(&pod);
    manifests.write(files(&[web(false, true)])).unwrap();
    assert_eq!(modified(&pod), before);
    assert!(std::fs::read_to_string(dir.join("service-web.yaml")).unwrap().contains("terminating: true"));
    manifests.write(BTreeMap::new()).unwrap();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    std::fs::remove_dir(&dir).unwrap();
}
