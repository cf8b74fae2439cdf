//! Identity: issuer and trust anchor are rotated on a live mesh under load. Certificates live for seconds here, so that the test sees
//! several generations of each.

use conduit_testbed::wait;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::load::Load;
use crate::mesh::{Otherwise, User, idle, injects, meshed_alone, pod, short_certificates};
use crate::replicas::{Replica, processes, replicas, signal};
use crate::support::{SOON, cluster};

/// Pain: trust anchors that end or are changed by hand take the mesh down, and whoever was not restarted in the right order; an issuer
/// that was renewed is not taken up. Here a command does it, all replicas and proxies follow by themselves, and a pod from before starts
/// again after it.
#[test]
fn issuer_and_trust_anchor_are_rotated_under_load_without_a_failed_request_or_a_restart() {
    let space = meshed_alone("rotation");
    let _short = Otherwise::with(&["--ha"], short_certificates);
    let load = Load::start(&space);
    space.apply(&idle("old", "", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/old", "--timeout=60s"]);
    let all = replicas();
    let start = shown(&all[0]);

    // As an operator does it: his command comes through the API server to one of the replicas, whichever leads.
    let issued = rotate("issuer");
    assert_eq!(issued["trust_anchors"], start["trust_anchors"]);
    assert_ne!(issued["issuer"]["sha256"], start["issuer"]["sha256"]);
    agree(&all, &issued);
    load.goes_on();

    let ended = rotate("anchor --wait=2m");
    assert_eq!(ended["trust_anchors"].as_array().unwrap().len(), 1);
    assert_ne!(ended["trust_anchors"], start["trust_anchors"]);
    assert_eq!(ended["rotation"], Value::Null);
    agree(&all, &ended);
    load.goes_on();

    // The webhook's certificate has been renewed as well, and the API server been told of the anchor: a new pod gets both.
    wait::until(SOON, injects);
    space.apply(&idle("new", "", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/new", "--timeout=60s"]);

    // The pod was made with an anchor that is gone, and its proxy begins anew with that.
    let restarts = || pod(&space, "old")["status"]["initContainerStatuses"][1]["restartCount"].as_u64();
    let uid = pod(&space, "old")["metadata"]["uid"].as_str().unwrap().to_owned();
    processes(&uid, "conduit-proxy").into_iter().for_each(|process| signal(process, Signal::SIGKILL));
    wait::until(SOON, || {
        restarts() == Some(1) && pod(&space, "old")["status"]["initContainerStatuses"][1]["ready"] == true
    });
    load.end();
}

/// What is in force then at the replica that was asked; the others follow.
fn rotate(what: &str) -> Value {
    let ended = User::admin().conduit(&format!("identity rotate {what} -o json"));
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.json()
}

fn shown(replica: &Replica) -> Value {
    serde_json::from_str(&replica.conduit(&["identity", "show", "-o", "json"])).unwrap()
}

/// Waits until every replica has the same in force, and what is published for others is that too.
fn agree(all: &[Replica], wanted: &Value) {
    for replica in all {
        wait::until(SOON, || shown(replica) == *wanted);
    }
    let anchors = wanted["trust_anchors"].as_array().unwrap().len();
    let map =
        ["-n", "conduit", "get", "configmap", "conduit-trust-anchors", "-o", "jsonpath={.data.ca\\.crt}"];
    wait::until(SOON, || cluster().kubectl(&map).unwrap().matches("BEGIN CERTIFICATE").count() == anchors);
}
