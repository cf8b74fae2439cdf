use super::*;

const LIST: &str = r#"{
  "cniVersion": "1.0.0", "name": "pods", "futureField": {"kept": [1, 2.5, 18446744073709551615, null]},
  "plugins": [
    {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.0.0.0/24"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn our_entry_is_the_last_and_everything_else_stays_and_is_given_back() {
    let with = with_entry(LIST).unwrap().expect("it was not there");
    let (before, after) = (json(LIST), json(&with));
    assert_eq!(after["futureField"], before["futureField"]);
    let plugins = after["plugins"].as_array().unwrap();
    assert_eq!(plugins[..2], before["plugins"].as_array().unwrap()[..]);
    assert_eq!(plugins[2]["type"], "conduit-cni");
    assert_eq!(plugins[2]["capabilities"], json!({"io.kubernetes.cri.pod-annotations": true}));
    assert_eq!(with_entry(&with), Ok(None), "once is enough");
    assert_eq!(json(&without_entry(&with).unwrap().unwrap()), before);
    assert_eq!(without_entry(LIST), Ok(None));
}

#[test]
fn an_entry_of_another_version_is_replaced_and_two_become_one() {
    let mut list = json(LIST);
    for _ in 0..2 {
        list["plugins"].as_array_mut().unwrap().push(json!({"type": "conduit-cni", "old": true}));
    }
    let mended = json(&with_entry(&list.to_string()).unwrap().unwrap());
    assert_eq!(mended["plugins"].as_array().unwrap().len(), 3);
    assert_eq!(mended["plugins"][2], entry());
}

#[test]
fn a_configuration_of_one_plugin_becomes_a_list_of_two() {
    let single = r#"{"cniVersion": "0.3.1", "name": "pods", "type": "bridge", "future": 1}"#;
    let list = json(&of_single(single).unwrap());
    assert_eq!((&list["cniVersion"], &list["name"]), (&json!("0.3.1"), &json!("pods")));
    assert_eq!(list["plugins"], json!([json(single), entry()]));
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    let reason = |text: &str| with_entry(text).unwrap_err().to_string();
    assert!(reason("{\"plugins\": [").contains("line 1"), "{}", reason("{\"plugins\": ["));
    assert_eq!(reason("[]"), "it has no object");
    assert_eq!(reason("{\"plugins\": [{}]}"), "it has no `cniVersion`");
    assert_eq!(reason("{\"cniVersion\": \"1.0.0\"}"), "it has no list `plugins`");
    assert_eq!(reason("{\"cniVersion\": \"1.0.0\", \"plugins\": []}"), "it has no plugin before ours");
    assert!(reason(&LIST.replace("1.0.0", "0.2.0")).contains("`0.2.0` is unknown"));
    assert_eq!(of_single("{\"cniVersion\": \"1.0.0\"}"), Err(Unusable::Lacks("`type`")));
}
