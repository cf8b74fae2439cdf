//! Tests of the rules between crates, on small made-up workspaces.

use serde_json::{Value, json};

use super::{Crates, check_direction};

/// A workspace of `(name, kind of its target, what it needs)`; a name without a kind is a package from elsewhere.
fn rules(packages: &[(&str, Option<&str>, &[&str])]) -> Vec<&'static str> {
    let describe = |(name, kind, _): &(&str, Option<&str>, &[&str])| {
        json!({"id": name, "name": name, "manifest_path": format!("crates/{name}/Cargo.toml"),
               "targets": [{"kind": [kind.unwrap_or("lib")]}], "features": {}})
    };
    let need = |(name, _, needs): &(&str, Option<&str>, &[&str])| {
        let needs: Vec<Value> =
            needs.iter().map(|other| json!({"pkg": other, "dep_kinds": [{"kind": null}]})).collect();
        json!({"id": name, "deps": needs})
    };
    let own: Vec<&str> =
        packages.iter().filter(|package| package.1.is_some()).map(|package| package.0).collect();
    let metadata = json!({
        "packages": packages.iter().map(describe).collect::<Vec<_>>(),
        "workspace_members": own,
        "resolve": {"nodes": packages.iter().map(need).collect::<Vec<_>>()},
    });
    Crates::read(&metadata).check().into_iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_library_with_one_user_is_found() {
    assert_eq!(rules(&[("a", Some("lib"), &[]), ("b", Some("bin"), &["a"])]), ["crate"]);
    assert!(
        rules(&[("a", Some("lib"), &[]), ("b", Some("bin"), &["a"]), ("c", Some("bin"), &["a"])]).is_empty()
    );
}

#[test]
fn an_outside_package_that_logic_reaches_over_another_is_found() {
    let tree = "conduit-logic v0.1.0 (/conduit/crates/logic)\nbytes v1.12.2\ntokio v1.54.1\n";
    assert_eq!(check_direction("conduit-logic", &["tokio", "mio"], tree).len(), 1);
    assert!(check_direction("conduit-logic", &["mio", "conduit-logic"], tree).is_empty());
}
