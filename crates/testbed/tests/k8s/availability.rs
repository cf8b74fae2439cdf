//! High availability: what `--ha` installs, and that no request between services fails, whatever dies of the control plane, Conduit's and
//! the cluster's own. One test, for one load runs through all of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use conduit_testbed::cluster::Component;
use conduit_testbed::wait;
use serde_json::{Value, json};

use crate::load::Load;
use crate::mesh::{Otherwise, conduit, idle, injects, meshed_alone, names, pod, rolled_out};
use crate::replicas::{Replica, anchors_file, holder, host, replicas};
use crate::support::{SOON, Space, cluster};

/// Pain: the data plane dies with the control plane, because proxies forget after seconds what they were told, or refuse to start. Also:
/// endpoints stay stale after a watch broke off, until somebody restarts something; and pods are left without a proxy, in silence, while
/// the control plane is being upgraded.
#[test]
fn no_request_fails_and_new_pods_start_whatever_dies_of_the_control_plane() {
    let space = meshed_alone("ha");
    let _ha = Otherwise::with(&["--ha"], |manifests| manifests);
    let load = Load::start(&space);
    three_replicas_are_spread_and_protected();
    each_replica_serves_everything(&space);
    a_rolling_restart_leaves_no_pod_without_a_proxy();
    load.goes_on();
    a_replica_and_the_leases_holder_are_killed(&load);
    the_clusters_store_is_killed(&load);
    watches_go_on_after_a_compaction(&space, &load);
    a_replica_without_an_api_server_is_alive_and_not_ready(&load);
    a_new_pod_waits_while_no_replica_is_there_and_starts_with_the_first(&space, &load);
    load.end();
}

fn three_replicas_are_spread_and_protected() {
    wait::until(SOON, || replicas().len() == 3);
    let all = replicas();
    let nodes: BTreeSet<&str> = all.iter().map(|replica| &*replica.node).collect();
    assert_eq!(nodes.len(), cluster().nodes().len(), "{all:?}");
    let classes = ["-n", "conduit", "get", "pods", "-o", "jsonpath={.items[*].spec.priorityClassName}"];
    let classes = cluster().kubectl(&classes).unwrap();
    assert!(classes.split(' ').all(|class| class == "conduit-control-plane"), "{classes}");
    // The one who leads is the Lease's holder, and nobody else thinks so.
    wait::until(SOON, || {
        let leads = |replica: &Replica| replica.metric("conduit_controller_leader") == 1;
        let leaders: Vec<String> = replicas().into_iter().filter(leads).map(|replica| replica.name).collect();
        leaders == [holder()]
    });
    // Of three, one may be evicted, and no second before it has a successor.
    let evict = |replica: &Replica| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": replica.name, "namespace": "conduit"}});
        let path = format!("/api/v1/namespaces/conduit/pods/{}/eviction", replica.name);
        cluster().kubectl_with_input(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
    };
    wait::until(SOON, || evict(&all[0]).is_ok());
    let refused = evict(&all[1]).unwrap_err().to_string();
    assert!(refused.contains("disruption budget"), "{refused}");
    wait::until(SOON, || replicas().len() == 3);
}

/// Each replica alone: pods that are told of no other one start, and its webhook answers.
fn each_replica_serves_everything(space: &Space) {
    let all = replicas();
    for replica in &all {
        let controller = format!("{}:8086", host(&replica.address));
        space.apply(&injected(&format!("of-{}", replica.name), &["--controller-addr", &controller]));
        let answer = replica.review(&space.name);
        assert!(answer.contains("JSONPatch"), "{answer}");
    }
    for replica in &all {
        let name = format!("pod/of-{}", replica.name);
        space.kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=60s"]);
        space.kubectl(&["delete", &name, "--wait=false"]);
    }
}

/// A pod with its proxy written into its manifest, so that no webhook is needed.
fn injected(name: &str, flags: &[&str]) -> String {
    let by_hand = ["inject", "--manual", "--trust-anchors", &anchors_file()];
    conduit(&[&by_hand, flags, &["-"]].concat(), &idle(name, "", "")).0
}

fn a_rolling_restart_leaves_no_pod_without_a_proxy() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                assert!(injects(), "after {asked} pods with a proxy came one without");
                asked += 1;
            }
            asked
        });
        cluster().kubectl(&["-n", "conduit", "rollout", "restart", "deployment/conduit-controller"]).unwrap();
        rolled_out();
        done.store(true, Ordering::Relaxed);
        assert!(asking.join().unwrap() > 0);
    });
    let nodes: BTreeSet<String> = replicas().into_iter().map(|replica| replica.node).collect();
    assert_eq!(nodes.len(), cluster().nodes().len(), "the new ones are spread as well");
}

fn a_replica_and_the_leases_holder_are_killed(load: &Load<'_>) {
    wait::until(SOON, || replicas().iter().any(|replica| replica.name == holder()));
    let (leaders, others): (Vec<Replica>, Vec<Replica>) =
        replicas().into_iter().partition(|replica| replica.name == holder());
    others[0].kill();
    load.goes_on();
    let lease =
        ["-n", "conduit", "get", "lease", "conduit-controller", "-o", "jsonpath={.spec.holderIdentity}"];
    let before = cluster().kubectl(&lease).unwrap();
    leaders[0].kill();
    load.goes_on();
    // The killed one's part in the election is over, even where its pod goes on with another process.
    wait::until(SOON, || cluster().kubectl(&lease).is_ok_and(|holder| holder != before));
    wait::until(SOON, || replicas().len() == 3);
}

fn the_clusters_store_is_killed(load: &Load<'_>) {
    cluster().kill(Component::Etcd).unwrap();
    load.goes_on();
    cluster().start(Component::Etcd).unwrap();
    cluster().wait_ready(Component::Etcd).unwrap();
    load.goes_on();
}

/// What the watches had read is gone when they come back: they are answered 410, and list anew.
fn watches_go_on_after_a_compaction(space: &Space, load: &Load<'_>) {
    const LISTS: &str = "conduit_controller_watch_lists{kind=\"EndpointSlice\"}";
    let all = replicas();
    let before: Vec<u64> = all.iter().map(|replica| replica.metric(LISTS)).collect();
    // Something else is written, so that the watches of endpoints are behind.
    space.kubectl(&["create", "configmap", "written"]);
    cluster().kill(Component::ApiServer).unwrap();
    compact();
    load.goes_on();
    cluster().start(Component::ApiServer).unwrap();
    cluster().wait_ready(Component::ApiServer).unwrap();
    wait::until(SOON, || all.iter().zip(&before).all(|(replica, before)| replica.metric(LISTS) > *before));
    space.kubectl(&["scale", "deployment/web", "--replicas=3"]);
    space.available("web");
    let addresses =
        space.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"]);
    for replica in &all {
        wait::until(SOON, || {
            let known = replica.conduit(&["diagnostics", "endpoints", "load-kept", "-n", &space.name]);
            addresses.split(' ').all(|address| known.contains(address))
        });
    }
    load.goes_on();
}

/// Tells etcd to forget everything but what is now.
fn compact() {
    let etcdctl = |arguments: &[&str]| {
        let answer = cluster().command(cluster().program("etcdctl")).args(arguments).output().unwrap();
        assert!(answer.status.success(), "{answer:?}");
        answer.stdout
    };
    let status: Value = serde_json::from_slice(&etcdctl(&["endpoint", "status", "-w", "json"])).unwrap();
    etcdctl(&["compact", &status[0]["Status"]["header"]["revision"].to_string(), "--physical"]);
}

/// All of them are killed while the API server is away: they come back alive, so that the kubelet leaves them alone, and say that they are
/// not ready, until the API server answers again.
fn a_replica_without_an_api_server_is_alive_and_not_ready(load: &Load<'_>) {
    cluster().kubectl(&["-n", "conduit", "rollout", "restart", "deployment/conduit-controller"]).unwrap();
    rolled_out();
    let all = replicas();
    cluster().kill(Component::ApiServer).unwrap();
    all.iter().for_each(Replica::kill);
    for replica in &all {
        wait::until(SOON, || replica.admin("/live").0 == 200);
        let (status, says) = replica.admin("/ready");
        assert_eq!((status, says.contains("model")), (503, true), "{says}");
    }
    load.goes_on();
    cluster().start(Component::ApiServer).unwrap();
    cluster().wait_ready(Component::ApiServer).unwrap();
    for replica in &all {
        wait::until(SOON, || replica.admin("/ready").0 == 200);
    }
    wait::until(SOON, injects);
}

fn a_new_pod_waits_while_no_replica_is_there_and_starts_with_the_first(space: &Space, load: &Load<'_>) {
    let scale = |replicas: &str| {
        cluster()
            .kubectl(&["-n", "conduit", "scale", "deployment/conduit-controller", "--replicas", replicas])
            .unwrap();
    };
    let newcomer = injected("newcomer", &[]);
    let before = replicas();
    scale("0");
    wait::until(SOON, || before.iter().all(|replica| replica.process().is_none()));
    space.apply(&newcomer);
    load.goes_on();
    wait::until(SOON, || {
        !pod(space, "newcomer")["status"]["initContainerStatuses"][1]["state"]["running"].is_null()
    });
    let waiting = pod(space, "newcomer");
    assert_eq!(names(&waiting["spec"]["initContainers"]), ["conduit-init", "conduit-proxy"]);
    assert_eq!(waiting["status"]["initContainerStatuses"][1]["started"], false, "{}", waiting["status"]);
    scale("1");
    if let Err(error) = space.try_kubectl(&["wait", "--for=condition=Ready", "pod/newcomer", "--timeout=60s"])
    {
        let log = space.kubectl(&["logs", "newcomer", "-c", "conduit-proxy"]);
        let controller = cluster().kubectl(&["-n", "conduit", "get", "pods", "-o", "wide"]);
        panic!("{error:#}\n{log}\n{controller:?}");
    }
}
