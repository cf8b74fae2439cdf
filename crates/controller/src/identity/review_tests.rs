use super::*;
use serde_json::{Value, json};

fn answer() -> Value {
    json!({
        "authenticated": true, "audiences": ["conduit"],
        "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "authentication.kubernetes.io/pod-uid": ["u-1"],
            },
        },
    })
}

fn judge(answer: Value) -> Result<Proven, Refusal> {
    proven(&serde_json::from_value(answer).unwrap(), "cluster.local")
}

#[test]
fn a_token_that_is_bound_to_a_pod_proves_its_service_account() {
    let proven = judge(answer()).unwrap();
    assert_eq!(proven.identity.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(
        (proven.pod.1.as_str(), proven.uid.as_str(), proven.account.as_str()),
        ("web-1", "u-1", "web")
    );
}

#[test]
fn anything_else_proves_nothing_and_says_why() {
    let with = |pointer: &str, value: Value| {
        let mut answer = answer();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer
    };
    for (answer, word) in [
        (json!({"authenticated": false, "error": "token has expired"}), "expired"),
        (json!({}), "does not accept"),
        (with("/audiences", json!(["https://kubernetes.default.svc"])), "audience"),
        (with("/audiences", Value::Null), "audience"),
        (with("/user", Value::Null), "nobody"),
        (with("/user/username", json!("admin")), "service account"),
        (with("/user/username", json!("system:serviceaccount:shop")), "service account"),
        (with("/user/username", json!("system:serviceaccount:../x:web")), "namespace"),
        (with("/user/extra", json!({})), "bound"),
        (with("/user/extra/authentication.kubernetes.io~1pod-uid", json!(["u-1", "u-2"])), "bound"),
    ] {
        let refusal = judge(answer.clone()).unwrap_err();
        assert!(matches!(refusal, Refusal::Token(_)), "{refusal}");
        assert!(refusal.to_string().contains(word), "{answer}: {refusal}");
    }
}
