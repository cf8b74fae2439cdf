use serde_json::json;

use super::*;

fn namespace(name: &str, inject: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name, "annotations": {"conduit.io/inject": inject}}}))
        .unwrap()
}

fn pod(namespace: &str, phase: &str, containers: Value) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": "web-1"},
        "spec": {"containers": containers}, "status": {"phase": phase},
    })
}

fn with(pods: Vec<Value>) -> Facts {
    Facts {
        server: Err(String::new()),
        controller: Ok(Some(Controller { wanted: 3, ready: 3, cni: false })),
        agents: Ok(None),
        bundles: Ok(None),
        anchors: Ok(None),
        injects: Ok(true),
        namespaces: Ok(vec![namespace("shop", "enabled"), namespace("other", "disabled")]),
        pods: Ok(pods),
    }
}

#[test]
fn only_a_running_pod_of_an_enabled_namespace_lacks_its_proxy() {
    let plain = || json!([{"name": "app"}]);
    let lacking = pods_meshed(&with(vec![pod("shop", "Running", plain())]));
    assert_eq!(lacking, Verdict::Fail("1 without\nshop/web-1".into()));
    let mut ending = pod("shop", "Running", plain());
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for well in [
        pod("other", "Running", plain()),
        pod("shop", "Succeeded", plain()),
        pod("shop", "Running", json!([{"name": "app"}, {"name": "conduit-proxy"}])),
        ending,
    ] {
        assert!(matches!(pods_meshed(&with(vec![well.clone()])), Verdict::Ok(_)), "{well}");
    }
}

#[test]
fn replicas_that_are_not_ready_are_a_warning_and_none_at_all_a_failure() {
    let verdict = |replicas: Option<(i32, i32)>| {
        let controller = replicas.map(|(wanted, ready)| Controller { wanted, ready, cni: false });
        controller_ready(&Facts { controller: Ok(controller), ..with(vec![]) })
    };
    assert_eq!(verdict(Some((3, 3))), Verdict::Ok("3 of 3 ready".into()));
    assert_eq!(verdict(Some((3, 2))), Verdict::Warn("2 of 3 ready".into()));
    assert_eq!(verdict(Some((1, 0))), Verdict::Fail("0 of 1 ready".into()));
    assert_eq!(verdict(Some((0, 0))), Verdict::Fail("0 of 0 ready".into()));
    assert_eq!(verdict(None), Verdict::Fail("it is not installed".into()));
}

#[test]
fn what_the_caller_may_not_see_is_skipped_and_what_went_wrong_is_not() {
    let unseen = |forbidden| Unseen { why: "because".into(), forbidden };
    let verdict = |forbidden| pods_meshed(&Facts { pods: Err(unseen(forbidden)), ..with(vec![]) });
    assert_eq!(verdict(true), Verdict::Skip("cannot be looked at: because".into()));
    assert_eq!(verdict(false), Verdict::Fail("cannot be looked at: because".into()));
}

#[test]
fn an_agent_is_missed_on_each_node_where_it_is_not_ready_and_not_at_all_where_none_is_installed() {
    let agent = |node: &str, ready: &str| {
        json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "conduit-cni"}}, "spec": {"nodeName": node},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let verdict = |agents, cni| {
        let controller = Ok(Some(Controller { wanted: 1, ready: 1, cni }));
        let pods = vec![agent("node1", "True"), agent("node2", "False")];
        agents_ready(&Facts { controller, agents: Ok(agents), ..with(pods) })
    };
    assert_eq!(verdict(Some((2, 2)), true), Verdict::Ok("2 of 2 nodes".into()));
    assert_eq!(verdict(Some((2, 1)), true), Verdict::Fail("1 of 2 nodes\nnode2".into()));
    assert!(matches!(verdict(Some((0, 0)), true), Verdict::Fail(_)), "no node is meant");
    assert!(matches!(verdict(None, true), Verdict::Fail(_)));
    assert!(matches!(verdict(None, false), Verdict::Skip(_)));
}
