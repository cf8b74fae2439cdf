use super::*;

fn some() -> Files {
    let mut files = Files::default();
    files.add_text("/usr/share/b.txt", "b");
    files.add_text("/a.txt", "a");
    files.add_link("/bin/sh", "/bin/busybox");
    files.add_shared_folder("/tmp");
    files
}

#[test]
fn the_same_files_make_the_same_layer_in_whatever_order_they_come() {
    let mut other = Files::default();
    other.add_shared_folder("tmp");
    other.add_link("bin/sh", "/bin/busybox");
    other.add_text("a.txt", "a");
    other.add_text("usr/share/b.txt", "b");
    assert_eq!(some().layer().unwrap(), other.layer().unwrap());
    assert_eq!(
        compressed(&some().layer().unwrap(), 9).unwrap(),
        compressed(&other.layer().unwrap(), 9).unwrap()
    );
}

#[test]
fn a_layer_has_each_folder_before_what_is_in_it_and_nothing_of_this_machine() {
    let layer = some().layer().unwrap();
    let mut archive = tar::Archive::new(layer.as_slice());
    let mut paths = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        paths.push(entry.path().unwrap().to_string_lossy().into_owned());
    }
    assert_eq!(paths, ["a.txt", "bin/", "bin/sh", "tmp/", "usr/", "usr/share/", "usr/share/b.txt"]);
}

#[test]
fn a_program_comes_with_its_libraries_and_a_file_keeps_its_right_to_be_executed() {
    let mut files = Files::default();
    files.add_program(&fs::canonicalize("/bin/sh").unwrap()).unwrap();
    let is_library = |path: &String| path.contains("libc.so");
    assert!(files.entries.keys().any(is_library), "{:?}", files.entries.keys());
    assert!(files.entries.values().all(|entry| matches!(entry, Entry::File { .. })));
}
