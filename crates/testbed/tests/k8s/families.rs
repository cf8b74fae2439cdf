//! The IP families of the cluster: every port of the control plane and of a proxy is reached at each address that its pod has. The suite runs
//! on clusters of one family as well (`cargo xtask test --only k8s --families v6`).

use conduit_testbed::wait;
use serde_json::Value;

use crate::mesh::{WEB, meshed, pod};
use crate::replicas::{get, host, replicas};
use crate::support::{SOON, Space, cluster};

/// The addresses of a pod, one of each family of the cluster.
fn addresses(pod: &Value) -> Vec<String> {
    let ips = pod["status"]["podIPs"].as_array().unwrap();
    let addresses: Vec<String> = ips.iter().map(|ip| ip["ip"].as_str().unwrap().to_owned()).collect();
    assert_eq!(addresses.len(), cluster().families().node(1).len(), "{addresses:?}");
    addresses
}

/// Whether a server accepts there and speaks TLS 1.3.
fn speaks_tls(address: &str, port: u16) -> bool {
    let url = format!("https://{}:{port}/", host(address));
    let answer = cluster().command("curl").args(["-sSvk", "-m", "5", "--tlsv1.3", &url]).output().unwrap();
    String::from_utf8_lossy(&answer.stderr).contains("SSL connection using TLSv1.3")
}

/// Pain: a control plane that listens on IPv4 alone, so that an IPv6-only cluster has no mesh and a dual-stack one has half of it.
#[test]
fn every_port_of_the_controller_and_of_a_proxy_answers_at_each_address_of_its_pod() {
    let space = meshed("families");
    space.apply(WEB);
    space.available("web");
    let controller = replicas().remove(0).name;
    let controller = cluster().kubectl(&["-n", "conduit", "get", "pod", &controller, "-o", "json"]).unwrap();
    for address in addresses(&serde_json::from_str(&controller).unwrap()) {
        assert_eq!(get(&format!("http://{}:8091/ready", host(&address))).0, 200, "admin at {address}");
        for (port, whose) in [(8086, "proxies"), (8443, "the webhook")] {
            assert!(speaks_tls(&address, port), "the port of {whose} at {address}");
        }
    }
    let web = pod(&space, &space.pods("web")[0]);
    for address in addresses(&web) {
        assert_eq!(get(&format!("http://{}:4191/ready", host(&address))).0, 200, "the proxy at {address}");
        assert_eq!(
            get(&format!("http://{}:8080/", host(&address))),
            (200, "hello\n".to_owned()),
            "{address}"
        );
    }
    calls_go_through_the_mesh_in_each_family(&space, &addresses(&web));
}

/// By the pod's own addresses, one after the other: the proxies count what they carried in mutual TLS.
fn calls_go_through_the_mesh_in_each_family(space: &Space, addresses: &[String]) {
    space.start_client();
    let proxy = pod(space, "client")["status"]["podIP"].as_str().unwrap().to_owned();
    let secured = || {
        let (_, text) = get(&format!("http://{}:4191/metrics", host(&proxy)));
        let counts = text.lines().filter(|line| {
            line.starts_with("conduit_proxy_requests_total{")
                && line.contains("direction=\"outbound\"")
                && line.contains("outcome=\"success\"")
                && line.contains("tls=\"true\"")
        });
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    for address in addresses {
        let before = secured();
        wait::until(SOON, || {
            let answer = space.curl(&["-f", &format!("http://{}:8080/", host(address))]);
            answer.stdout == b"hello\n"
        });
        wait::until(SOON, || secured() > before);
    }
}
