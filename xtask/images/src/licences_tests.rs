use super::*;

fn component(folder: &Path, name: &str) -> Component {
    Component {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        licence: "MIT".to_owned(),
        checksum: "abc".to_owned(),
        purl: format!("pkg:cargo/{name}@1.0.0"),
        folder: folder.join(name),
        ..Component::default()
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_text_that_several_come_with_stands_once_below_their_names() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a/LICENSE-MIT"), "do as you like\n");
    write(&dir.path().join("b/license.txt"), "do as you like\r\n");
    write(&dir.path().join("b/src/license.rs"), "fn licence() {}");
    let text = text(&[component(dir.path(), "a"), component(dir.path(), "b")]).unwrap();
    assert_eq!(text.matches("do as you like").count(), 1);
    assert!(text.contains("a 1.0.0 (LICENSE-MIT)\nb 1.0.0 (license.txt)\n"), "{text}");
    assert!(!text.contains("fn licence"));
}

#[test]
fn bundled_sources_one_folder_down_have_their_text_too() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a/bundled/LICENSE"), "of the bundled library");
    write(&dir.path().join("a/LICENSES/BSD-3-Clause.txt"), "of the collection");
    write(&dir.path().join("a/LICENSES/GPL-2.0.txt"), "of something else");
    let licence = "MIT AND BSD-3-Clause".to_owned();
    let text = text(&[Component { licence, ..component(dir.path(), "a") }]).unwrap();
    assert!(text.contains("a 1.0.0 (bundled/LICENSE)") && text.contains("of the bundled library"));
    assert!(text.contains("a 1.0.0 (LICENSES/BSD-3-Clause.txt)") && !text.contains("of something else"));
}

#[test]
fn one_that_comes_without_a_text_is_named_with_its_expression() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a/README.md"), "no licence here");
    let text = text(&[component(dir.path(), "a")]).unwrap();
    assert!(
        text.contains(
            "come without a text of their own; their SPDX expression stands for it:\n\na 1.0.0: MIT"
        )
    );
}

#[test]
fn a_crate_of_this_repository_needs_no_text_beside_the_repositorys_own() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a/Cargo.toml"), "");
    let own = Component { checksum: String::new(), ..component(dir.path(), "a") };
    assert!(!text(&[own]).unwrap().contains("without a text"));
}
