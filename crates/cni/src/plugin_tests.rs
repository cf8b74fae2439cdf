use super::*;

fn call(command: &str) -> Call {
    Call { command: command.to_owned(), netns: Some("/var/run/netns/pod".into()) }
}

/// What the container runtime passes behind a plugin that made the pod's network.
fn input(annotations: Value) -> String {
    json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "conduit-cni",
        "capabilities": {CAPABILITY: true},
        "runtimeConfig": {CAPABILITY: annotations},
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.2/24", "unknown": 1}]},
    })
    .to_string()
}

fn previous() -> Value {
    json!({"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.2/24", "unknown": 1}]})
}

#[test]
fn a_pod_that_asks_gets_its_rules_and_the_result_of_the_others_is_handed_on() {
    let asked = json!({"conduit.io/redirection": "--skip-outbound-ports 3306", "other": "x"});
    let Task::Write(netns, rules, result) = decide(&call("ADD"), &input(asked)).unwrap() else {
        panic!("it writes nothing")
    };
    assert_eq!(netns, Path::new("/var/run/netns/pod"));
    assert_eq!(rules.skip_outbound, [3306..=3306]);
    assert_eq!(result, previous());
}

#[test]
fn a_pod_that_does_not_ask_is_left_alone() {
    let without =
        json!({"cniVersion": "0.4.0", "name": "pods", "type": "conduit-cni", "prevResult": previous()});
    for input in [input(json!({"other": "x"})), input(Value::Null), without.to_string()] {
        assert_eq!(decide(&call("ADD"), &input), Ok(Task::Print(Some(previous()))));
        assert_eq!(decide(&call("CHECK"), &input), Ok(Task::Print(None)));
    }
}

#[test]
fn a_check_looks_at_the_rules_of_a_pod_that_asked() {
    let asked = input(json!({"conduit.io/redirection": ""}));
    assert_eq!(decide(&call("CHECK"), &asked), Ok(Task::See("/var/run/netns/pod".into())));
}

#[test]
fn the_end_of_a_pod_never_hangs_on_us() {
    for command in ["DEL", "GC", "STATUS"] {
        let call = Call { command: command.to_owned(), netns: None };
        for input in ["", "{", "{\"cniVersion\": \"9.0.0\"}"] {
            assert_eq!(decide(&call, input), Ok(Task::Print(None)));
        }
    }
}

#[test]
fn versions_are_told_in_the_version_of_the_question() {
    let told = answer(&call("VERSION"), "{\"cniVersion\": \"0.4.0\"}").unwrap().unwrap();
    assert_eq!(told["cniVersion"], "0.4.0");
    assert_eq!(told["supportedVersions"], json!(VERSIONS));
}

#[test]
fn what_is_wrong_is_told_with_the_specifications_codes() {
    let code = |call: &Call, input: &str| decide(call, input).unwrap_err().to_json(input)["code"].clone();
    let asks = json!({"conduit.io/redirection": ""});
    assert_eq!(code(&call("ADD"), &input(asks.clone()).replace("1.0.0", "2.0.0")), 1);
    assert_eq!(code(&call("PUT"), ""), 4);
    assert_eq!(code(&Call { netns: None, ..call("ADD") }, &input(asks)), 4);
    assert_eq!(code(&call("ADD"), "{"), 6);
    assert_eq!(code(&call("ADD"), "{\"cniVersion\": \"1.0.0\"}"), 7);
    assert_eq!(code(&call("ADD"), &input(json!({"conduit.io/redirection": "--other 1"}))), 101);
    let gone = input(json!({"conduit.io/redirection": ""}));
    let failure = answer(&Call { netns: Some("/nowhere".into()), ..call("ADD") }, &gone).unwrap_err();
    let failure = failure.to_json(&gone);
    assert_eq!((&failure["code"], &failure["cniVersion"]), (&json!(100), &json!("1.0.0")));
    assert!(failure["msg"].as_str().unwrap().contains("/nowhere"), "{failure}");
}
