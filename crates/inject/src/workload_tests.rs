use serde_json::json;

use super::*;

#[test]
fn the_pod_is_found_in_every_kind_of_workload() {
    let template = json!({"spec": {"containers": []}});
    for kind in ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job"] {
        let mut object = json!({"kind": kind, "spec": {"template": template}});
        assert_eq!(pod_mut(&mut object), Some(&mut template.clone()), "{kind}");
    }
    let mut cron = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}});
    assert_eq!(pod_mut(&mut cron), Some(&mut template.clone()));
    let mut service = json!({"kind": "Service", "spec": {}});
    assert_eq!(pod_mut(&mut service), None);
}
