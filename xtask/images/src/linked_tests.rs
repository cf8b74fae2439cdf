use super::*;

const LOCK: &str = r#"
version = 4

[[package]]
name = "a"
version = "1.0.0"
source = "registry+x"
checksum = "abc"
dependencies = [
 "b",
]

[[package]]
name = "own"
version = "0.1.0"
"#;

#[test]
fn checksums_are_those_of_the_registry_and_the_repositorys_crates_have_none() {
    assert_eq!(checksums(LOCK), BTreeMap::from([("a 1.0.0".to_owned(), "abc".to_owned())]));
}

#[test]
fn a_component_needs_only_what_is_linked() {
    let package = |id: &str, name: &str| {
        serde_json::json!({ "id": id, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "authors": ["x"],
            "manifest_path": format!("/src/{name}/Cargo.toml") })
    };
    let metadata = serde_json::json!({
        "packages": [package("1", "a"), package("2", "b"), package("3", "build-only")],
        "resolve": { "nodes": [{ "id": "1", "dependencies": ["2", "3"] }, { "id": "2", "dependencies": [] }] },
    });
    let wanted = BTreeSet::from(["a 1.0.0".to_owned(), "b 1.0.0".to_owned()]);
    let found = read(&metadata, &wanted, &BTreeMap::new());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].needs, BTreeSet::from(["b 1.0.0".to_owned()]));
    assert_eq!(found[0].licence, "MIT OR Apache-2.0");
    assert_eq!(found[0].folder, Path::new("/src/a"));
}

#[test]
fn the_proxy_links_rustls_and_none_of_what_only_builds_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let components = components(&root, "conduit-proxy", "x86_64-unknown-linux-gnu").unwrap();
    let has = |name: &str| components.iter().any(|component| component.name == name);
    assert!(has("rustls") && has("conduit-proxy") && has("aws-lc-sys"));
    assert!(!has("cc") && !has("syn") && !has("tonic-prost-build"));
}
