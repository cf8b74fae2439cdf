use super::*;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-1\nstatus:\n  podIP: 10.1.0.2\n";

fn directory() -> (tempfile::TempDir, Directory) {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new(dir.path().to_owned());
    (dir, directory)
}

#[test]
fn a_manifest_is_applied_once_and_deleted_with_its_file() {
    let (dir, mut directory) = directory();
    let file = dir.path().join("web.yaml");
    std::fs::write(&file, POD).unwrap();
    assert!(matches!(directory.scan()[..], [Event::Apply(Object::Pod(_))]));
    assert_eq!(directory.scan(), []);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(directory.scan(), [Event::Delete(("Pod", "default".into(), "web-1".into()))]);
}

#[test]
fn a_broken_manifest_names_file_line_and_reason_and_what_it_said_stays() {
    let (dir, mut directory) = directory();
    let file = dir.path().join("web.yaml");
    std::fs::write(&file, POD).unwrap();
    directory.scan();
    let other = POD.replace("web-1", "web-2");
    std::fs::write(&file, format!("{other}---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: [web-1\n")).unwrap();
    assert!(matches!(&directory.scan()[..], [Event::Apply(Object::Pod(pod))] if pod.metadata.name == "web-2"));
    let problems = directory.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].line >= 8, "{problems:?}");
    assert!(problems[0].to_string().contains("web.yaml:"), "{problems:?}");
    std::fs::write(&file, &other).unwrap();
    assert_eq!(directory.scan(), [Event::Delete(("Pod", "default".into(), "web-1".into()))]);
    assert_eq!(directory.problems(), []);
}

#[test]
fn unknown_kinds_and_fields_are_no_problem() {
    let text = "kind: ConfigMap\napiVersion: v1\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a, x: 1}\nspec: {type: New}\n";
    let (objects, problems) = read(Path::new("a.yaml"), text);
    assert_eq!((objects.len(), problems.len()), (1, 0), "{problems:?}");
}
