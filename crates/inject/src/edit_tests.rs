use super::*;

/// Applies a JSON Patch of `add` operations, written from RFC 6902 and not from the editor.
pub(crate) fn apply(document: &mut Value, patch: &Value) {
    for operation in patch.as_array().unwrap() {
        assert_eq!(operation["op"], "add");
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        match document.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} does not exist")) {
            Value::Object(map) => _ = map.insert(name, operation["value"].clone()),
            Value::Array(list) => list.insert(name.parse().unwrap(), operation["value"].clone()),
            other => panic!("{other} has no members"),
        }
    }
}

#[test]
fn what_is_on_the_way_is_made_and_names_are_escaped() {
    let mut editor = Editor::new(json!({"metadata": null}));
    editor.set(&["metadata", "labels", "a/b~c"], json!("x"));
    editor.append(&["spec", "volumes"], json!(1));
    editor.insert(&["spec", "volumes"], 0, json!(0));
    let (value, operations) = editor.finish();
    assert_eq!(value, json!({"metadata": {"labels": {"a/b~c": "x"}}, "spec": {"volumes": [0, 1]}}));
    let paths: Vec<&str> = operations.iter().map(|operation| operation.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/metadata",
            "/metadata/labels",
            "/metadata/labels/a~1b~0c",
            "/spec",
            "/spec/volumes",
            "/spec/volumes/0",
            "/spec/volumes/0",
        ]
    );
}

#[test]
fn what_is_so_already_is_not_written_again() {
    let mut editor = Editor::new(json!({"a": {"b": "c"}}));
    editor.set(&["a", "b"], json!("c"));
    assert_eq!(editor.finish().1, []);
}
