use super::*;

fn pod(problems: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some("web-1".to_owned()),
        namespace: Some("shop".to_owned()),
        uid: Some("1234".to_owned()),
        annotations: problems.map(|text| [(names::PROBLEMS.to_owned(), text.to_owned())].into()),
        ..ObjectMeta::default()
    }
}

#[test]
fn the_event_is_about_the_pod_and_its_name_follows_from_it() {
    let told = event(&pod(Some("wrong")), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(told.metadata.name.as_deref(), Some("conduit-settings-1234"));
    assert_eq!(told.involved_object.uid.as_deref(), Some("1234"));
    assert_eq!(told.message.as_deref(), Some("wrong"));
    assert_eq!(event(&pod(None), Timestamp::UNIX_EPOCH), None);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let told = event(&pod(Some(&"é".repeat(900))), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(told.message.unwrap().len(), MESSAGE_BYTES_MAX);
}
