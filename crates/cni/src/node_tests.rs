use serde_json::Value;
use tempfile::TempDir;

use super::*;

const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}"#;

fn node() -> (TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node {
        conf_dir: dir.path().join("net.d"),
        bin_dir: dir.path().join("bin"),
        program: dir.path().join("program"),
        compared: Cell::default(),
    };
    fs::create_dir(&node.conf_dir).unwrap();
    fs::create_dir(&node.bin_dir).unwrap();
    fs::write(&node.program, "new program").unwrap();
    (dir, node)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn types(path: &Path) -> Vec<String> {
    let list: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    list["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn program_and_entry_come_go_and_come_back() {
    let (_dir, node) = node();
    let list = node.conf_dir.join("10-pods.conflist");
    fs::write(&list, LIST).unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(node.missing().unwrap().len(), 2);
    assert_eq!(node.install().unwrap().len(), 2);
    assert_eq!(types(&list), ["bridge", "conduit-cni"]);
    assert_eq!(fs::metadata(&list).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(node.plugin()).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(node.install().unwrap(), Vec::<String>::new(), "nothing is left to do");

    fs::write(&list, LIST).unwrap();
    fs::write(node.plugin(), "old program").unwrap();
    assert_eq!(node.install().unwrap().len(), 2);
    assert_eq!(types(&list), ["bridge", "conduit-cni"]);
    assert_eq!(fs::read_to_string(node.plugin()).unwrap(), "new program");

    node.remove().unwrap();
    assert_eq!(types(&list), ["bridge"]);
    assert_eq!((names(&node.conf_dir), names(&node.bin_dir)), (vec!["10-pods.conflist".to_owned()], vec![]));
    node.remove().unwrap();
}

#[test]
fn the_entry_is_in_the_configuration_that_the_runtime_uses_which_is_the_first() {
    let (_dir, node) = node();
    for name in ["20-other.conflist", "10-pods.conflist", "00-notes.txt", "05-old.conflist.bak"] {
        fs::write(node.conf_dir.join(name), LIST).unwrap();
    }
    node.install().unwrap();
    assert_eq!(types(&node.conf_dir.join("10-pods.conflist")), ["bridge", "conduit-cni"]);
    assert_eq!(types(&node.conf_dir.join("20-other.conflist")), ["bridge"]);
}

#[test]
fn beside_a_configuration_of_one_plugin_stands_a_list_that_comes_before_it_and_follows_it() {
    let (_dir, node) = node();
    let single = node.conf_dir.join("10-pods.conf");
    fs::write(&single, r#"{"cniVersion": "0.4.0", "name": "pods", "type": "bridge"}"#).unwrap();
    node.install().unwrap();
    let list = node.conf_dir.join("10-pods.conduit.conflist");
    assert_eq!(node.configurations().unwrap(), [list.clone(), single.clone()], "the runtime takes the first");
    assert_eq!(types(&list), ["bridge", "conduit-cni"]);
    assert_eq!(node.missing().unwrap(), Vec::<String>::new());

    fs::write(&single, r#"{"cniVersion": "0.4.0", "name": "pods", "type": "ptp"}"#).unwrap();
    node.install().unwrap();
    assert_eq!(types(&list), ["ptp", "conduit-cni"]);

    fs::rename(&single, node.conf_dir.join("10-pods.conflist.bak")).unwrap();
    node.install().unwrap();
    assert!(!list.exists(), "it would keep a network alive that was taken off the node");

    fs::rename(node.conf_dir.join("10-pods.conflist.bak"), &single).unwrap();
    node.install().unwrap();
    node.remove().unwrap();
    assert_eq!(names(&node.conf_dir), ["10-pods.conf"]);
}

#[test]
fn what_is_broken_is_left_alone_and_named_with_the_reason() {
    let (_dir, node) = node();
    let error = format!("{:#}", node.install().unwrap_err());
    assert!(error.contains("no network configuration yet"), "{error}");

    let list = node.conf_dir.join("10-pods.conflist");
    fs::write(&list, "{\"plugins\": ").unwrap();
    let error = format!("{:#}", node.install().unwrap_err());
    assert!(error.contains("10-pods.conflist is left as it is: it is no JSON: EOF"), "{error}");
    assert_eq!(fs::read_to_string(&list).unwrap(), "{\"plugins\": ");
    let error = format!("{:#}", node.remove().unwrap_err());
    assert!(error.contains("10-pods.conflist"), "{error}");
    assert!(node.plugin().exists(), "the broken file may name it");
}
